"""f16, f32 and f64 from one start, at equal numbers a picture and equal compute."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from dcar_edu.course.execute import ROOT
from dcar_edu.course.experiments import results
from dcar_edu.course.studies import study_15_f64 as study
from dcar_edu.data import CaptionedEmoji
from dcar_edu.images import resize
from dcar_edu.metrics import psnr
from dcar_edu.pipeline import DCAR
from dcar_edu.tokenizer.hybrid import HybridTokenizer
from dcar_edu.tokenizer.training import three_stages

TINY = replace(study.SETTINGS["smoke"], steps=6, judged=5)
"""Six steps: one or more of each stage."""


@pytest.fixture(scope="module")
def shipped() -> HybridTokenizer:
    return DCAR.from_pretrained(study.START).tokenizer


@pytest.fixture(scope="module")
def started() -> dict[str, HybridTokenizer]:
    return {arm: study.new_tokenizer(arm) for arm in study.ARMS}


def runs_of(values: dict[str, list[float]], metric: str = "psnr_hybrid") -> study.Runs:
    return {
        arm: {seed: {metric: value} for seed, value in enumerate(row)}
        for arm, row in values.items()
    }


def test_every_arm_writes_a_picture_as_equally_many_numbers(started):
    setting = study.SETTINGS["cpu"]
    found = {arm: study.sizes(tokenizer, arm, setting) for arm, tokenizer in started.items()}
    assert {arm: row["tokens"] for arm, row in found.items()} == {"f16": 64, "f32": 16, "f64": 4}
    assert [row["bits"] for row in found.values()] == [512, 128, 32]
    for equal in ("values", "parameters", "forward_gflop", "steps"):
        assert len({row[equal] for row in found.values()}) == 1, equal
    assert found["f64"]["values"] == 512
    for arm, channels in {"f16": 8, "f32": 32, "f64": 128}.items():
        side = 64 // study.factor(arm)
        encoded = started[arm].encode(torch.zeros(1, 3, 64, 128))
        assert encoded.latents.shape == (1, channels, side, 2 * side)


def test_grouping_anew_moves_numbers_and_keeps_their_scale():
    generator = torch.Generator().manual_seed(0)
    x = torch.nn.functional.normalize(torch.randn(2, 32, 4, 6, generator=generator), dim=1)
    for f, shape in {16: (2, 8, 8, 12), 32: (2, 32, 4, 6), 64: (2, 128, 2, 3)}.items():
        places = study.Regroup(f)(x)
        assert places.shape == shape
        assert torch.allclose(places.flatten().sort().values, x.flatten().sort().values)
        again = study.Regroup(f, back=True)(torch.nn.functional.normalize(places, dim=1))
        assert again.norm(dim=1).mean().item() == pytest.approx(1, abs=0.05)
        if f >= 32:  # at f16 four lengths become one
            assert torch.allclose(again, x, atol=1e-6)
    square = study.Regroup(64)(x)[0, :, 1, 2].view(32, 2, 2)
    assert torch.allclose(square, x[0, :, 2:4, 4:6])  # a place at f64 is a square of four at f32


def test_the_start_is_the_shipped_tokenizer(started, shipped):
    pictures = study.unseen(replace(TINY, side=128))
    encoded = shipped.encode(pictures)
    want = shipped.decode(encoded.indices, encoded.residuals)
    for arm in ("f32", "f64"):
        assert torch.allclose(study.redraw(started[arm], pictures)[0], want, atol=1e-4)
    from_f16 = study.redraw(started["f16"], pictures)[0]
    assert 1e-3 < (from_f16 - want).abs().mean() < 0.05


def test_an_unknown_arm_is_named():
    with pytest.raises(ValueError, match="arms are f16, f32, f64; got 'f8'"):
        study.factor("f8")


def test_the_schedule_is_the_papers():
    assert study.plan(600, 5).stages == three_stages(600)
    assert study.plan(600, 5).seed == 5
    assert not study.plan(600, 5).gan_weight


def test_arms_of_a_seed_draw_from_one_stream_of_pictures(monkeypatch):
    seen: list[torch.Tensor] = []

    class Watched(CaptionedEmoji):
        def batch(self, *arguments, **named):
            found = super().batch(*arguments, **named)
            seen.append(found.images)
            return found

    monkeypatch.setattr(study, "CaptionedEmoji", Watched)
    firsts = []
    for arm, seed in (("f16", 3), ("f64", 3), ("f64", 4)):
        seen.clear()
        assert next(study.train(arm, seed, TINY))[:2] == (1, "warm-up")
        firsts.append(seen[0])
    assert torch.equal(firsts[0], firsts[1])
    assert not torch.equal(firsts[1], firsts[2])


def test_codes_learn_and_all_parts_move_in_their_stages(monkeypatch, started):
    monkeypatch.setattr(study, "CODES", 8)
    before = started["f64"].state_dict()
    encoders, decoders = [], []
    for _, _, trained in study.train("f64", 0, TINY):
        encoders.append(trained.encoder[0][0].conv.weight.clone())
        decoders.append(trained.decoder[1][0].conv.weight.clone())
    assert not torch.equal(encoders[3], before["encoder.0.0.conv.weight"])
    assert torch.equal(encoders[4], encoders[5])  # frozen in the last stage
    assert not torch.equal(decoders[4], decoders[5])
    pictures = study.unseen(TINY)
    errors = [
        (study.redraw(model, pictures)[1] - pictures).square().mean()
        for model in (started["f64"], trained)
    ]
    assert errors[1] < 0.8 * errors[0]


def test_judged_concepts_are_held_out():
    learnt = CaptionedEmoji("train", 64, **study.LOOK)
    held = CaptionedEmoji("held_out_concepts", 64, **study.LOOK)
    known = {tile.numpy().tobytes() for tile in held.render(held.examples())}
    pictures = study.unseen(replace(TINY, judged=12))
    assert all(picture.numpy().tobytes() in known for picture in pictures)
    assert len({picture.numpy().tobytes() for picture in pictures}) == 12
    labels = {example.label for example in held.examples()}
    assert not labels & {example.label for example in learnt.examples()}


def test_stored_pictures_come_back_in_their_rows(tmp_path: Path, started):
    setting = replace(TINY, side=128)
    study.store("f32", started["f32"], setting, tmp_path)
    back = study.stored("f32", tmp_path)
    assert back.shape == (2, study.SHOWN, 3, 128, 128)
    want = study.redraw(started["f32"], study.unseen(setting)[: study.SHOWN])
    coarse = [resize(rows.flatten(0, 1), (4, 4)) for rows in (back, want)]
    assert (coarse[0] - coarse[1]).abs().max() < 0.12
    with pytest.raises(ValueError, match="arms are f16, f32, f64; got 'f8'"):
        study.stored("f8", tmp_path)


def test_only_seeds_that_every_arm_has_are_compared():
    lines = [
        {"arm": arm, "seed": seed, "budget": budget, "metrics": {"psnr_hybrid": seed}}
        for arm, seed, budget in [
            *((arm, seed, "cpu") for arm in study.ARMS for seed in (2, 0)),
            ("f16", 1, "cpu"),
            *((arm, 3, "smoke") for arm in study.ARMS),
        ]
    ]
    assert {arm: list(found) for arm, found in study.by_arm(lines).items()} == {
        arm: [0, 2] for arm in study.ARMS
    }
    assert study.by_arm([]) == {arm: {} for arm in study.ARMS}


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


def test_the_committed_lines_are_three_whole_seeds_at_equal_cost():
    runs = study.by_arm(results("15_f64"))
    assert {arm: list(found) for arm, found in runs.items()} == {
        arm: [0, 1, 2] for arm in study.ARMS
    }
    every = [metrics for found in runs.values() for metrics in found.values()]
    for equal in ("values", "parameters", "forward_gflop"):
        assert len({metrics[equal] for metrics in every}) == 1, equal
    assert {metrics["steps"] for metrics in every} == {study.SETTINGS["cpu"].steps}
    assert {metrics["images"] for metrics in every} == {study.SETTINGS["cpu"].judged}
    assert {arm: found[0]["tokens"] for arm, found in runs.items()} == {
        "f16": 64,
        "f32": 16,
        "f64": 4,
    }


def test_the_committed_pictures_are_small_and_show_what_the_names_say():
    paths = [ROOT / "lessons" / "results" / f"15_f64_{arm}.webp" for arm in study.ARMS]
    assert sum(path.stat().st_size for path in paths) < 50_000
    originals = resize(study.unseen(study.SETTINGS["cpu"])[: study.SHOWN], (128, 128))
    for arm in study.ARMS:
        hybrid, discrete = (psnr(rows, originals).mean() for rows in study.stored(arm))
        assert hybrid > discrete > 12
