"""Experiments: one line a run, no run twice, honest numbers."""

import json
import threading
from pathlib import Path

import pytest
import torch

from dcar_edu.course import experiments
from dcar_edu.course.experiments import _append, all_experiments, experiment, results
from dcar_edu.course.studies import Experiment
from dcar_edu.course.studies.study_01 import shrink_and_enlarge
from dcar_edu.metrics import psnr


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list:
    """A made-up experiment that writes down how it was run."""
    made: list = []

    def run(arm: str, seed: int, budget: str) -> dict[str, float]:
        made.append((arm, seed, budget))
        return {"score": float(seed)}

    toy = Experiment("a toy", ("a", "b"), run)
    monkeypatch.setattr(experiments, "all_experiments", lambda: {"toy": toy})
    monkeypatch.delenv("DCAR_BUDGET", raising=False)
    return made


def test_a_finished_run_is_not_done_again_unless_forced(tmp_path: Path, calls: list):
    experiment("toy", "a", 3, "smoke", root=tmp_path)
    experiment("toy", "a", 3, "smoke", root=tmp_path)
    assert calls == [("a", 3, "smoke")]
    experiment("toy", seed=3, budget="smoke", root=tmp_path)
    assert calls[1:] == [("b", 3, "smoke")]
    experiment("toy", "a", 4, "smoke", root=tmp_path)
    experiment("toy", "a", 3, "cpu", root=tmp_path)
    experiment("toy", "a", 3, "smoke", force=True, root=tmp_path)
    assert len(calls) == 5
    lines = results("toy", tmp_path)
    assert len(lines) == 5
    keys = {"name", "arm", "seed", "budget", "metrics", "minutes", "device", "commit", "version"}
    assert set(lines[0]) == keys
    assert lines[0]["metrics"] == {"score": 3.0}


def test_the_budget_comes_from_the_environment(
    tmp_path: Path, calls: list, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("DCAR_BUDGET", "smoke")
    experiment("toy", "a", root=tmp_path)
    assert calls == [("a", 0, "smoke")]


def test_unknown_names(tmp_path: Path, calls: list):
    with pytest.raises(ValueError, match="no experiment 'other': choose among toy"):
        experiment("other", root=tmp_path)
    with pytest.raises(ValueError, match="toy has no arm 'c': choose among a, b"):
        experiment("toy", "c", root=tmp_path)


def test_a_torn_line_is_named(tmp_path: Path, calls: list):
    experiment("toy", "a", 0, "smoke", root=tmp_path)
    with (tmp_path / "lessons" / "results" / "toy.jsonl").open("a") as file:
        file.write('{"name": "to')
    with pytest.raises(ValueError, match=r"toy\.jsonl, line 2 is no JSON object"):
        results("toy", tmp_path)


def test_lines_written_at_once_stay_whole(tmp_path: Path):
    file = tmp_path / "r" / "toy.jsonl"
    line = {"text": "x" * 3000}
    work = [threading.Thread(target=lambda: [_append(file, line) for _ in range(9)]) for _ in "abc"]
    for thread in work:
        thread.start()
    for thread in work:
        thread.join()
    assert [json.loads(text) for text in file.read_text().splitlines()] == [line] * 27


def test_psnr_by_hand():
    images = torch.zeros(2, 3, 4, 6)
    others = images + torch.tensor([0.1, 0.4]).view(2, 1, 1, 1)
    # 10 log10(4 / 0.01) and 10 log10(4 / 0.16)
    assert psnr(images, others).tolist() == pytest.approx([26.0206, 13.9794], abs=1e-4)


def test_shrinking_keeps_the_size_and_a_plain_colour():
    images = torch.full((2, 3, 32, 64), 0.25)
    assert torch.allclose(shrink_and_enlarge(images, 8), images)
    noise = torch.rand(1, 3, 32, 64, generator=torch.Generator().manual_seed(0)) - 0.5
    assert psnr(noise, shrink_and_enlarge(noise, 2)) > psnr(noise, shrink_and_enlarge(noise, 16))


def test_compression_loses_more_the_deeper_it_goes(tmp_path: Path):
    experiment("01_compression", budget="smoke", root=tmp_path)
    found = {line["arm"]: line["metrics"]["psnr"] for line in results("01_compression", tmp_path)}
    assert list(found) == list(all_experiments()["01_compression"].arms)
    assert found["f8"] > found["f16"] + 1 > found["f32"] + 2
    again = all_experiments()["01_compression"].run("f16", 0, "smoke")
    assert again["psnr"] == found["f16"]


def test_an_experiment_bears_the_number_of_its_lesson():
    for name, found in all_experiments().items():
        module = found.run.__module__.rpartition(".")[2]
        assert module in (f"study_{name[:2]}", f"study_{name}"), name
        assert found.says
        assert len(set(found.arms)) == len(found.arms)
