"""f16, f32 and f64 at equal numbers a picture, equal parameters and equal compute."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from dcar_edu.course.costs import tokenizer_flops
from dcar_edu.course.studies import study_15_f64 as study
from dcar_edu.data import CaptionedEmoji
from dcar_edu.images import resize
from dcar_edu.tokenizer.training import three_stages

TINY = replace(study.SETTINGS["smoke"], tflop=0, judged=5)
"""Six steps: one or more of each stage."""


def runs_of(values: dict[str, list[float]], metric: str = "psnr_hybrid") -> study.Runs:
    return {
        arm: {seed: {metric: value} for seed, value in enumerate(row)}
        for arm, row in values.items()
    }


def test_every_arm_writes_a_picture_as_equally_many_numbers():
    found = {arm: study.sizes(arm, study.SETTINGS["cpu"]) for arm in study.DEPTHS}
    assert {arm: row["tokens"] for arm, row in found.items()} == {"f16": 64, "f32": 16, "f64": 4}
    assert {row["values"] for row in found.values()} == {512}
    assert [row["bits"] for row in found.values()] == [512, 128, 32]
    with torch.no_grad():
        for arm, channels in {"f16": 8, "f32": 32, "f64": 128}.items():
            side = 64 // study.factor(arm)
            encoded = study.new_tokenizer(arm, 0).encode(torch.zeros(1, 3, 64, 128))
            assert encoded.latents.shape == (1, channels, side, 2 * side)


def test_parameters_and_compute_are_equal_within_two_percent():
    setting = study.SETTINGS["cpu"]
    found = [study.sizes(arm, setting) for arm in study.DEPTHS]
    parameters = [row["parameters"] for row in found]
    assert max(parameters) / min(parameters) < 1.02
    for row in found:
        assert row["tflop"] == pytest.approx(setting.tflop, rel=0.01)
    assert found[0]["steps"] < found[1]["steps"]  # the dearer step has fewer


def test_compute_is_counted_over_the_three_stages_and_the_batch():
    once, large = study.flops("f32", TINY, 12), (TINY.batch, 3, 128, 128)
    counted = sum(tokenizer_flops(study.config_of("f32"), study.plan(12, 0), large).values())
    assert study.flops("f32", replace(TINY, side=128), 12) == counted
    assert study.flops("f32", replace(TINY, batch=3 * TINY.batch), 12) == 3 * once
    assert study.flops("f32", TINY, 24) == 2 * once
    double = study.steps_for("f64", replace(study.SETTINGS["smoke"], tflop=0.1))
    assert double / study.steps_for("f64", replace(TINY, tflop=0.05)) == pytest.approx(2, rel=0.02)


def test_the_schedule_is_the_papers():
    assert study.plan(600, 5).stages == three_stages(600)
    assert study.plan(600, 5).seed == 5
    assert not study.plan(600, 5).gan_weight


def test_arms_of_a_seed_learn_the_same_pictures(monkeypatch):
    seen: list[torch.Tensor] = []

    class Watched(CaptionedEmoji):
        def batch(self, *arguments, **named):
            found = super().batch(*arguments, **named)
            seen.append(found.images)
            return found

    monkeypatch.setattr(study, "CaptionedEmoji", Watched)
    monkeypatch.setattr(study, "CODES", 8)  # its start draws pictures too
    firsts = []
    for arm, seed in (("f16", 3), ("f64", 3), ("f64", 4)):
        seen.clear()
        stages = [stage for _, stage, _ in study.train(arm, seed, TINY)]
        assert stages == ["warm-up", *["discrete"] * 4, "alternate"]
        firsts.append(torch.cat(seen[:6]))
    assert torch.equal(firsts[0], firsts[1])
    assert not torch.equal(firsts[1], firsts[2])


def test_it_learns_and_is_judged_on_concepts_that_it_never_saw():
    setting = replace(TINY, tflop=0.02)
    *_, (step, _, trained) = study.train("f16", 0, setting)
    assert step == study.steps_for("f16", setting)
    pictures = study.unseen(setting)
    assert pictures.shape == (5, 3, 64, 64)
    assert len({picture.numpy().tobytes() for picture in pictures}) == 5
    before, after = (
        (study.redraw(model, pictures)[0] - pictures).square().mean().item()
        for model in (study.new_tokenizer("f16", 0), trained)
    )
    assert after < 0.6 * before


def test_judged_concepts_are_held_out():
    learnt = CaptionedEmoji("train", 64, **study.LOOK)
    held = CaptionedEmoji("held_out_concepts", 64, **study.LOOK)
    known = {tile.numpy().tobytes() for tile in held.render(held.examples())}
    pictures = study.unseen(replace(TINY, judged=12))
    assert all(picture.numpy().tobytes() in known for picture in pictures)
    labels = {example.label for example in held.examples()}
    assert not labels & {example.label for example in learnt.examples()}


def test_stored_pictures_come_back_in_their_rows(tmp_path: Path):
    setting = replace(TINY, side=128)
    tokenizer = study.new_tokenizer("f32", 1)
    study.store("f32", tokenizer, setting, tmp_path)
    back = study.stored("f32", tmp_path)
    assert back.shape == (2, study.SHOWN, 3, 128, 128)
    want = study.redraw(tokenizer, study.unseen(setting)[: study.SHOWN])
    coarse = [resize(rows.flatten(0, 1), (4, 4)) for rows in (back, want)]
    assert (coarse[0] - coarse[1]).abs().max() < 0.12
    with pytest.raises(ValueError, match="arms are f16, f32, f64; got 'f8'"):
        study.stored("f8", tmp_path)


def test_only_seeds_that_every_arm_has_are_compared():
    lines = [
        {"arm": arm, "seed": seed, "budget": budget, "metrics": {"psnr_hybrid": seed}}
        for arm, seed, budget in [
            *((arm, seed, "cpu") for arm in study.DEPTHS for seed in (2, 0)),
            ("f16", 1, "cpu"),
            *((arm, 3, "smoke") for arm in study.DEPTHS),
        ]
    ]
    assert {arm: list(found) for arm, found in study.by_arm(lines).items()} == {
        arm: [0, 2] for arm in study.DEPTHS
    }
    assert study.by_arm([]) == {arm: {} for arm in study.DEPTHS}


def test_mean_and_spread_by_hand():
    runs = runs_of({"f16": [1.0, 2.0, 6.0], "f64": [4.0, 4.0, 4.0]})
    assert study.mean_spread(runs, "psnr_hybrid") == {
        "f16": (3.0, pytest.approx(7**0.5)),
        "f64": (4.0, 0.0),
    }


def test_a_comparison_is_paired_and_knows_which_way_is_better():
    rows = {"f32": [10.0, 20.0, 30.0], "f64": [9.0, 19.1, 28.9]}
    gap, said = study.compare(runs_of(rows), "f64", "f32", "psnr_hybrid")
    assert gap == pytest.approx(-1.0)
    assert said == "worse"
    lower = runs_of(rows, "perceptual_hybrid")
    assert study.compare(lower, "f64", "f32", "perceptual_hybrid")[1] == "better"
    rows["f64"] = [9.0, 21.0, 28.0]
    assert study.compare(runs_of(rows), "f64", "f32", "psnr_hybrid")[1] == "cannot tell"
    with pytest.raises(ValueError, match="two or more seeds"):
        study.compare(runs_of({"f32": [1.0], "f64": [2.0]}), "f64", "f32", "psnr_hybrid")
