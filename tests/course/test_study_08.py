"""The sampling experiments: what the arms are, and that seeds and arms pair up."""

import pytest
import torch

from dcar_edu.course.drawings import Sampler, draw_tokens, load_judge, load_learnt
from dcar_edu.course.studies import study_08
from dcar_edu.course.studies.study_08 import (
    EXPERIMENTS,
    OPEN,
    PUSHES,
    STEPS,
    TRUE,
    run_guidance,
    run_open,
    run_steps,
)
from dcar_edu.pipeline import DCAR


@pytest.fixture(scope="module")
def model() -> DCAR:
    return DCAR.from_pretrained("emoji-128")


@pytest.fixture(scope="module")
def judge(model: DCAR) -> study_08.Judge:
    return load_judge(model, 3)


def test_arms_differ_in_what_their_names_say():
    assert EXPERIMENTS["08_steps"].arms == (*STEPS, TRUE)
    assert [STEPS[arm].steps for arm in list(STEPS)[:6]] == [1, 2, 4, 8, 12, 16]
    assert STEPS["token by token"].passes == 32
    assert STEPS["12 steps"] == Sampler()
    assert STEPS["12 steps, halton"].order == "halton"
    assert STEPS["12 steps, raster"].order == "raster"
    assert STEPS["12 steps, unguided"].passes == 12
    assert {(s.guidance, s.reads) for s in OPEN.values()} == {(0, False)}
    assert len(set(PUSHES.values())) == len(PUSHES) == 12
    assert PUSHES["guidance 4.5, temperature 1.5"] == Sampler()


def test_a_run_of_steps_reports_quality_and_cost(judge: study_08.Judge):
    found = run_steps("2 steps", 0, judge)
    assert found["passes"] == 4
    assert found["pictures"] == 3
    assert 0 < found["cpu_seconds"] < 60
    assert found["seconds"] > 0
    assert 0 <= found["r1"] <= found["r5"] <= 1
    best = run_steps(TRUE, 0, judge)
    assert best["token_match"] == 1
    assert "seconds" not in best


def test_a_seed_is_repeated_and_two_seeds_share_no_picture(
    judge: study_08.Judge, monkeypatch: pytest.MonkeyPatch
):
    asked: list[int] = []

    def spy(model: DCAR, prompts: tuple, sampler: Sampler, seed: int = 0) -> torch.Tensor:
        asked.append(seed)
        return draw_tokens(model, prompts, Sampler(1, guidance=0), seed)

    monkeypatch.setattr(study_08, "draw_tokens", spy)
    for seed in (0, 1):
        run_steps("4 steps", seed, judge)
        run_guidance("guidance 2, temperature 3", seed, judge)
    assert asked == [0, 0, 0, 10_000, 0, 10_000, 20_000, 30_000]


def test_variety_is_zero_without_noise_and_not_with_much(judge: study_08.Judge):
    still = run_guidance("guidance 0, temperature 0", 0, judge)
    assert still["variety"] == 0
    assert still["token_match"] > 0.8
    assert run_guidance("guidance 0, temperature 3", 0, judge)["variety"] > 0


def test_an_open_run_finds_memories(model: DCAR, monkeypatch: pytest.MonkeyPatch):
    learnt = load_learnt(model, 3)
    found = run_open("2 steps", 0, learnt)
    assert found["passes"] == 2
    assert 0 < found["nearest"] < 1
    assert 0 < found["variety"] <= 1
    monkeypatch.setattr(study_08, "draw_tokens", lambda *args: learnt.indices[[0, 400, 900]])
    known = run_open("2 steps", 0, learnt)
    assert known["nearest"] == 1
    assert known["variety"] > found["variety"] / 2
