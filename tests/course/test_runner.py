"""The runner: in order, resumable, with a report that is there even after a failure."""

import json
import os
import time
from pathlib import Path

import pytest

from dcar_edu.course import runner
from dcar_edu.course.budgets import Budget, budget
from dcar_edu.course.builder import build
from dcar_edu.course.execute import kernel_environment
from dcar_edu.course.runner import Run, report, run
from dcar_edu.course.source import read_lessons

NAME = "00_small_numbers"


@pytest.fixture(autouse=True)
def _own_home(root: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("DCAR_HOME", str(root / "build" / "home"))
    monkeypatch.setattr(runner, "library_hash", lambda: "one")


@pytest.fixture
def built(root: Path) -> Path:
    assert build(root=root) == 0
    return root


def test_a_run_keeps_everything_and_a_second_call_resumes(
    built: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    assert run("smoke", "00", root=built) == 0
    folder = built / "build" / "course" / "smoke"
    executed = json.loads((folder / f"{NAME}.ipynb").read_text(encoding="utf-8"))
    injected = [c for c in executed["cells"] if "injected-parameters" in c["metadata"]["tags"]]
    assert 'BUDGET = "smoke"' in "".join(injected[0]["source"])
    assert "total 3" in (folder / f"{NAME}.html").read_text(encoding="utf-8")
    table = (folder / "report.md").read_text(encoding="utf-8")
    assert f"| {NAME} | ok |" in table
    promised = budget("00", "smoke")
    assert f"| {promised.minutes:g} | 0.5 | {promised.memory_gb:g} | score 3 |" in table
    said = capsys.readouterr().out
    assert f"{NAME}: running" in said
    assert f"{NAME}: ok in" in said

    assert run("smoke", "00", root=built) == 0
    assert f"{NAME}: finished before" in capsys.readouterr().out

    did = []
    monkeypatch.setattr(runner, "_execute", lambda *given: did.append(given) or Run("other"))
    run("smoke", "00", fresh=True, root=built)
    assert len(did) == 1
    run("smoke", "00", root=built)  # the entry written just now has another key
    assert len(did) == 2


def test_student_view_runs_unfilled_to_its_end(built: Path):
    assert run("smoke", ["00"], view="student", root=built) == 0
    folder = built / "build" / "course" / "smoke" / "student"
    assert "YOUR CODE HERE" in (folder / f"{NAME}.ipynb").read_text(encoding="utf-8")
    assert (folder / "report.md").exists()


@pytest.mark.parametrize("what", ["code", "budget", "library"])
def test_a_finished_lesson_counts_only_while_nothing_changed(
    built: Path, what: str, monkeypatch: pytest.MonkeyPatch
):
    path = built / "solutions" / f"{NAME}.ipynb"
    before = runner._key(path, "smoke")
    assert before == runner._key(path, "smoke")
    if what == "code":
        path.write_text(path.read_text().replace("total = x + y", "total = y + x"))
    if what == "library":
        monkeypatch.setattr(runner, "library_hash", lambda: "two")
    assert runner._key(path, "cpu" if what == "budget" else "smoke") != before


def test_the_report_forgets_what_was_run_with_other_code(
    built: Path, monkeypatch: pytest.MonkeyPatch
):
    folder = built / "build" / "course" / "smoke"
    folder.mkdir(parents=True)
    (folder / "state.json").write_text('{"00": {"key": "old", "seconds": 99}}')
    monkeypatch.setattr(runner, "choose", lambda lessons, wanted: [])
    run("smoke", root=built)
    assert "| not run |" in (folder / "report.md").read_text(encoding="utf-8")


def test_a_failed_lesson_is_not_finished(built: Path, monkeypatch: pytest.MonkeyPatch):
    key = runner._key(built / "solutions" / f"{NAME}.ipynb", "smoke")
    calls = []
    monkeypatch.setattr(
        runner, "_execute", lambda *given: calls.append(given) or Run(key, error="cell 3")
    )
    assert run("smoke", root=built) == 1
    assert run("smoke", root=built) == 1
    assert len(calls) == 2


def test_what_is_asked_for_must_be_there(built: Path):
    with pytest.raises(ValueError, match="no lesson 07: choose among 00"):
        run("smoke", "00 07", root=built)
    with pytest.raises(ValueError, match="view must be one of student, solutions, got 'both'"):
        run("smoke", view="both", root=built)
    with pytest.raises(ValueError, match="BUDGET must be one of auto, smoke, cpu, gpu, got 'big'"):
        run("big", root=built)
    (built / "solutions" / f"{NAME}.ipynb").unlink()
    with pytest.raises(ValueError, match=r"small_numbers\.ipynb is missing\. Run: dcar course b"):
        run("smoke", root=built)


def test_auto_says_what_it_picked(
    built: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(runner, "_execute", lambda *given: Run("x"))
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    run("auto", root=built)
    assert "budget smoke (auto: torch sees cpu)" in capsys.readouterr().out


def test_the_report_compares_with_what_was_promised(root: Path, monkeypatch: pytest.MonkeyPatch):
    bands = {"psnr": (20, 30), "match": (0.5, 1), "fid": (0, 9)}
    row = Budget("00", "cpu", 2, 1, 60, promised=bands)
    monkeypatch.setattr(runner.budgets, "TABLE", (row,))
    runs = {"00": Run("k", 180, 0.7, {"psnr": 12.0, "match": 0.75, "loss": 4.0}, "cell 3\nbroken")}
    text = report(runs, read_lessons(root), "cpu", "solutions", "abc")
    assert (
        "| 00_small_numbers | **failed** | 3.0 **above** | 2 | 0.7 | 1 | fid **missing** (0 to 9), "
        "loss 4, match 0.75 (0.5 to 1), psnr 12 (20 to 30) **outside** |"
    ) in text
    assert "## 00_small_numbers failed\n\n```\ncell 3\nbroken\n```" in text
    assert "| 00_small_numbers | not run |" in report({}, read_lessons(root), "cpu", "student", "a")


def test_metrics_of_an_older_run_are_not_taken(root: Path):
    file = root / "build" / "home" / "progress" / "00.json"
    file.parent.mkdir(parents=True)
    file.write_text('{"metrics": {"psnr": 1}, "peak_memory_gb": 2}')
    result = Run("k")
    runner._read_report(result, "00", time.time() + 60)
    assert (result.metrics, result.peak_memory_gb) == ({}, None)
    runner._read_report(result, "00", time.time() - 60)
    assert (result.metrics, result.peak_memory_gb) == ({"psnr": 1}, 2)


def test_the_environment_is_put_back(root: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("DCAR_STRICT", "7")
    monkeypatch.delenv("DCAR_HOME", raising=False)
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    before = dict(os.environ)
    with kernel_environment(root, "cpu", strict=True):
        assert os.environ["DCAR_STRICT"] == "1"
        assert os.environ["OMP_WAIT_POLICY"] == "PASSIVE"
        assert os.environ["DCAR_BUDGET"] == "cpu"
        assert os.environ["DCAR_HOME"] == str((root / "build" / "home").resolve())
    assert dict(os.environ) == before


@pytest.mark.parametrize(("budget", "threads"), [("smoke", "1"), ("cpu", None)])
def test_smoke_runs_on_one_thread(root: Path, monkeypatch: pytest.MonkeyPatch, budget, threads):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    with kernel_environment(root, budget, strict=True):
        assert os.environ.get("OMP_NUM_THREADS") == threads


def test_threads_are_as_the_user_says(root: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    with kernel_environment(root, "smoke", strict=True):
        assert os.environ["OMP_WAIT_POLICY"] == "ACTIVE"
        assert os.environ["OMP_NUM_THREADS"] == "3"
