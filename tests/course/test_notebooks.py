"""The path from source to tested notebook, tried with notebooks broken on purpose."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from dcar_edu.course.builder import build
from dcar_edu.course.execute import ROOT
from dcar_edu.course.runner import run
from dcar_edu.course.source import read_lessons

pytestmark = pytest.mark.timeout(300)  # each test starts kernels, slow on a busy machine
NAME = "00_small_numbers"
GOLDEN = 'print("total", total)'


def change(root: Path, old: str, new: str) -> None:
    path = root / "lessons" / "src" / f"{NAME}.py"
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def test_editing_a_notebook_by_hand_fails_the_sync_check(
    executed: Path, capsys: pytest.CaptureFixture
):
    for view in ("lessons", "solutions"):
        assert build(check=True, root=executed) == 0
        path = executed / view / f"{NAME}.ipynb"
        text = path.read_text(encoding="utf-8")
        path.write_text(text.replace("This lesson stands alone", "This one stands alone"))
        capsys.readouterr()
        assert build(check=True, root=executed) == 1
        said = capsys.readouterr().out
        assert f"{view}/{NAME}.ipynb differs from lessons/src/{NAME}.py" in said
        assert "dcar course build" in said
        path.write_text(text, encoding="utf-8")


def test_a_broken_cell_stops_the_course_and_is_named(
    root: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("DCAR_HOME", str(root / "home"))
    change(root, "total = 1 + 2", "total = 1 + undefined_name")
    source = (root / "lessons" / "src" / f"{NAME}.py").read_text(encoding="utf-8")
    later = source.replace('"00"', '"01"').replace("00.1", "01.1")
    (root / "lessons" / "src" / "01_later.py").write_text(later, encoding="utf-8")
    build(root=root)
    assert run("smoke", root=root) == 1
    said = capsys.readouterr().out
    assert f"{NAME}: FAILED at cell 8 (id c12899e5)" in said
    assert "NameError: name 'undefined_name' is not defined" in said
    assert "stopped at lesson 00" in said
    assert "01_later: running" not in said
    folder = root / "build" / "course" / "smoke"
    report = (folder / "report.md").read_text(encoding="utf-8")
    assert f"| {NAME} | **failed** |" in report
    assert "| 01_later | not run |" in report
    assert "undefined_name" in (folder / f"{NAME}.html").read_text(encoding="utf-8")


def nbval(root: Path) -> subprocess.CompletedProcess:
    """Run nbval on the solutions as ``make test`` does, at smoke."""
    flags = (
        "-p no:cacheprovider -o addopts= --nbval-lax --nbval-current-env --nbval-cell-timeout 60"
    )
    config = ["--nbval-sanitize-with", str(ROOT / "tests" / "nbval_sanitize.cfg")]
    environment = dict(os.environ) | {
        "DCAR_BUDGET": "smoke",
        "DCAR_STRICT": "1",
        "DCAR_HOME": str(root / "home"),
        "PYTHONPATH": str(root / "solutions"),
    }
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *flags.split(), *config, "solutions"],
        cwd=root,
        env=environment,
        capture_output=True,
        text=True,
    )


def test_golden_text_is_compared_across_budgets(root: Path):
    second = '\n\n# %% tags=["nbval-check-output"]\nprint("budget", BUDGET)\n'
    change(root, GOLDEN, GOLDEN + second)
    assert build(root=root, execute="00", budget="cpu") == 0
    done = nbval(root)
    assert done.returncode == 1
    assert "1 failed, " in done.stdout  # the other golden cell and all the rest pass
    assert "budget smoke" in done.stdout
    assert "total 3" not in done.stdout


def stamps() -> dict[str, dict]:
    found = {}
    for lesson in read_lessons(ROOT):
        path = ROOT / "solutions" / f"{lesson.name}.ipynb"
        notebook = json.loads(path.read_text(encoding="utf-8"))
        found[lesson.name] = notebook["metadata"].get("dcar_edu", {})
    return found


HAS_LESSONS = any((ROOT / "lessons" / "src").glob("*.py"))


@pytest.mark.skipif(not HAS_LESSONS, reason="an installed package holds no lessons")
def test_solutions_were_executed_above_smoke():
    # make test compares their golden text with a run at smoke: so it is the same at both budgets.
    budgets = {name: stamp.get("budget") for name, stamp in stamps().items()}
    assert {name: got for name, got in budgets.items() if got not in ("cpu", "gpu")} == {}


@pytest.mark.skipif(not HAS_LESSONS, reason="an installed package holds no lessons")
def test_notebooks_of_this_repository_fit_their_sources(capsys: pytest.CaptureFixture):
    assert build(check=True) == 0, capsys.readouterr().out
