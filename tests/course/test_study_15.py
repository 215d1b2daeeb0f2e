"""The study of lesson 15: a fair race, drawings by hand, and what may be said of runs."""

import math
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from dcar_edu.course.lessons import reading_15 as reading
from dcar_edu.course.lessons import scales_15 as arms
from dcar_edu.course.studies import study_15 as study
from dcar_edu.data import EmojiExample
from dcar_edu.generator.scale_training import ScaleBatch
from dcar_edu.generator.training import TokenBatch
from dcar_edu.text import TextStates

PLAN = replace(study.PLANS["smoke"], concepts=6, learnt=2, judged=1, codes=24, steps=6, rounds=3)


@pytest.fixture(scope="module")
def world():
    """Six concepts on two grounds: noise for pictures, and latents of four channels."""
    source = torch.Generator().manual_seed(0)
    labels = tuple(f"thing {n}" for n in range(6))
    examples = [
        EmojiExample(**dict.fromkeys(EmojiExample.__dataclass_fields__, "x") | {"label": label})
        for label in labels
        for _ in range(2)
    ]
    words = TextStates(torch.randn(4, 5, 384, generator=source), torch.ones(4, 5).bool())
    return arms.World(
        tuple(examples),
        torch.rand(12, 3, 128, 128, generator=source) * 2 - 1,
        torch.randn(12, 4, 4, 4, generator=source),
        words,
        torch.arange(4),
        torch.arange(10, 12),
        labels,
    )


@pytest.fixture(scope="module")
def decoder():
    torch.manual_seed(1)
    return nn.ConvTranspose2d(4, 3, 32, stride=32)


@pytest.fixture(scope="module")
def prepared(world, decoder):
    return {name: study.prepare(name, 2, world, PLAN, decoder) for name in study.SCALES}


def test_the_race_is_fair(world):
    for plan in (study.PLANS["smoke"], study.PLANS["cpu"], PLAN):
        sizes = [
            sum(p.numel() for p in arms.new_generator(name, plan, 32, 0.1, 0).parameters())
            for name in study.SCALES
        ]
        assert abs(sizes[0] / sizes[1] - 1) < 0.01
    plan = replace(study.PLANS["cpu"], width=64, depth=1)
    steps, spent = zip(
        *(arms.equal_steps(name, plan, world.words, 32) for name in study.SCALES), strict=True
    )
    assert steps[1] == plan.steps
    assert steps[0] != steps[1]
    assert spent[0] == pytest.approx(spent[1], rel=0.005)


def test_flops_grow_with_the_batch(world):
    small, large = (
        arms.step_flops("next-scale", replace(PLAN, batch=size), world.words, 4) for size in (4, 12)
    )
    assert large == 3 * small


def test_judged_pictures_are_kept_from_codes_and_decoder(world, decoder):
    assert world.others().tolist() == list(range(10))
    odd = replace(world, latents=world.latents.clone(), images=world.images.clone())
    odd.latents[world.judged] += 100
    odd.images[world.judged] = 0
    for name in study.SCALES:
        one, other = (arms.new_quantizer(name, w, PLAN, 3) for w in (world, odd))
        assert torch.equal(one.codes, other.codes)
        assert one.config.sizes == study.SCALES[name]
        assert one.config.num_codes == PLAN.codes
        assert not torch.equal(one.codes, arms.new_quantizer(name, world, PLAN, 4).codes)
    a, b = (study.prepare("masked", 3, w, PLAN, decoder).decoder.weight for w in (world, odd))
    assert torch.equal(a, b)


def test_a_decoder_learns_and_the_given_one_does_not(world, decoder, prepared):
    before = decoder.weight.clone()
    own = nn.ConvTranspose2d(4, 3, 32, stride=32)
    own.load_state_dict(decoder.state_dict())
    plan = replace(PLAN, decoder_steps=30, batch=8)
    losses = list(arms.tune_decoder(own, prepared["masked"].quantizer, world, plan, 5))
    assert len(losses) == 30
    assert sum(losses[-6:]) < sum(losses[:6])
    study.prepare("masked", 5, world, plan, decoder)
    assert torch.equal(decoder.weight, before)


def test_a_decoder_reads_codes_and_latents_in_turn(world, prepared):
    class Spy(nn.ConvTranspose2d):
        def forward(self, latents):
            self.told.append(latents)
            return super().forward(latents)

    decoder = Spy(4, 3, 32, stride=32)
    decoder.told = []
    plan = replace(PLAN, decoder_steps=4, batch=3)
    list(arms.tune_decoder(decoder, prepared["next-scale"].quantizer, world, plan, 6))
    assert len(decoder.told) == 4
    rows = list(world.latents)
    sums = list(prepared["next-scale"].quantizer(world.latents).quantized)
    for step, told in enumerate(decoder.told):
        known = sums if step % 2 == 0 else rows
        assert all(any(torch.equal(one, other) for other in known) for one in told)


def test_both_arms_draw_all_their_tokens(world, prepared):
    for name, tokens, passes in (("next-scale", 21, 6), ("masked", 16, 24)):
        model = study.start(prepared[name], world, PLAN, 6)
        drawn = study.draw(model, prepared[name].quantizer, world.words, 7, residual_steps=2)
        assert drawn.ids.shape == (4, tokens)
        assert drawn.passes == passes
        assert len(drawn.sums) == passes // 2
        assert drawn.residuals.shape == (4, 4, 4, 4)
        assert drawn.residuals.abs().max() > 0
        sizes = study.SCALES[name]
        ids = [
            part.view(4, size, size)
            for part, size in zip(drawn.ids.split([s * s for s in sizes], 1), sizes, strict=True)
        ]
        torch.testing.assert_close(prepared[name].quantizer.sums(ids)[-1], drawn.sums[-1])
        fewer = study.draw(model, prepared[name].quantizer, world.words, 7, 0, num_steps=3)
        assert fewer.passes == 6
        without = study.draw(model, prepared[name].quantizer, world.words, 7, residual_steps=0)
        assert torch.equal(without.ids, drawn.ids)
        assert not without.residuals.any()


def test_hidden_tokens_count_as_zero(prepared):
    quantizer = prepared["masked"].quantizer
    indices = torch.tensor([[1, 24, 2, 24]] * 4).view(1, 4, 4)
    known = study._known(quantizer, indices, mask_id=24)
    assert not known[0, :, :, 1].any()
    assert torch.equal(known[0, :, 0, 0], quantizer.codes[1])
    assert torch.equal(known[0, :, 3, 2], quantizer.codes[2])


def test_missing_is_a_share():
    latents = torch.full((2, 3, 4, 4), 2.0)
    assert arms.missing(latents, latents) == 0
    assert arms.missing(latents, 0 * latents) == 1
    assert arms.missing(latents, latents / 2) == 0.25


def test_rebuilding_knows_the_leftover(world, prepared):
    arm = prepared["next-scale"]
    found = study.rebuilt(arm, world, world.learnt)
    latents = world.latents[world.learnt]
    assert found["error"] == pytest.approx(
        (arm.quantizer(latents).leftover.square().sum() / latents.square().sum()).item(), rel=1e-5
    )
    whole = arms.decode(arm.decoder, latents)
    error = ((whole - world.images[world.learnt]) / 2).square().mean((1, 2, 3))
    assert found["psnr_hybrid"] == pytest.approx((-10 * error.log10()).mean().item(), abs=1e-3)
    assert found["psnr_hybrid"] != found["psnr_discrete"]


def test_batches_are_what_each_arm_learns_from(world, prepared):
    kinds = {"next-scale": ScaleBatch, "masked": TokenBatch}
    for name, kind in kinds.items():
        found = prepared[name].quantizer(world.latents[world.learnt])
        tokens = arms.new_batch(name, found, world.words)
        assert type(tokens) is kind
        assert torch.equal(tokens.residuals, found.leftover)
        assert len(tokens[1:3].text) == 2


def test_the_curve_ends_with_the_run(world, prepared):
    plan = replace(PLAN, steps=7, points=3)
    model = study.start(prepared["masked"], world, plan, 8)
    marks = list(study.curve(prepared["masked"], model, world, plan, 8))
    assert len(marks) == 3
    _, tflop = arms.equal_steps("masked", plan, world.words, 4)
    assert marks[-1][0] == pytest.approx(tflop)
    drawn = study.draw(model, prepared["masked"].quantizer, world.words, residual_steps=0)
    truth = world.latents[world.learnt]
    assert marks[-1][1] == pytest.approx(arms.missing(truth, drawn.sums[-1]), rel=1e-4)


def test_a_run_reports_plain_numbers(monkeypatch, world, decoder):
    class Judge:
        def see(self, pictures):
            return torch.ones(len(pictures), 2)

        def read(self, labels):
            return torch.linspace(0, 1, len(labels))[:, None].expand(-1, 2)

    shipped = SimpleNamespace(tokenizer=SimpleNamespace(decoder=decoder))
    monkeypatch.setitem(study.PLANS, "smoke", PLAN)
    monkeypatch.setattr(study, "_shipped", lambda: shipped)
    monkeypatch.setattr(study, "_world", lambda budget: world)
    monkeypatch.setattr(study, "_alignment", Judge)
    for name in study.SCALES:
        found = study.EXPERIMENTS["15_next_scale"].run(name, 1, "smoke")
        assert all(isinstance(v, float) and math.isfinite(v) for v in found.values())
        assert (set(reading.QUALITY) | set(reading.COST)) - {"reach"} <= set(found)
        assert len(reading.points(found)) == PLAN.points
        assert found["r1_hybrid"] == 0  # the judge always says the last label


def test_a_table_has_a_line_a_metric():
    keys = {*reading.QUALITY, *reading.COST} - {"reach"}
    curve = {"tflop_01": 1.0, "error_01": 0.2}
    runs = {
        arm: {seed: dict.fromkeys(keys, value + seed) | curve for seed in range(3)}
        for arm, value in (("next-scale", 10.0), ("masked", 20.0))
    }
    lines = reading.table(runs)
    assert len(lines) == 1 + len(reading.QUALITY) + len(reading.COST)
    shown = {line[:44].strip(): line[44:].split() for line in lines[1:]}
    assert shown["error of drawn latents at the end"] == [
        *("11.000", "+-", "1.000", "21.000", "+-", "1.000", "better")
    ]
    assert shown["drawings, with residuals, dB"][-1] == "worse"
    assert shown["tokens a picture"] == ["11", "21", "0.52", "times"]
    runs["masked"][1]["error_01"] = 0.9
    assert "not reached by all" in reading.table(runs)[4]


def runs_of(ours, theirs, key):
    def line(arm, seed, value):
        return {"arm": arm, "seed": seed, "budget": "cpu", "metrics": {key: value}}

    return [
        *(line("next-scale", seed, value) for seed, value in enumerate(ours)),
        *(line("masked", seed, value) for seed, value in enumerate(theirs)),
    ]


def test_runs_are_sorted_and_only_common_seeds_count():
    lines = runs_of([1.0, 2.0, 3.0], [4.0, 5.0], "error")
    lines.append({"arm": "masked", "seed": 2, "budget": "smoke", "metrics": {"error": 9.0}})
    runs = reading.sort(lines)
    assert reading.values(runs, "next-scale", "error") == [1.0, 2.0]
    assert reading.values(runs, "masked", "error") == [4.0, 5.0]


def test_what_an_error_costs():
    run = {"tflop_01": 1.0, "error_01": 0.5, "tflop_02": 3.0, "error_02": 0.1, "error": 0.1}
    assert reading.points(run) == [(1.0, 0.5), (3.0, 0.1)]
    assert reading.reach(run, 0.3) == pytest.approx(2.0)
    assert reading.reach(run, 0.05) == math.inf
    runs = {
        arm: {0: run, 1: run | {"tflop_02": spent}}
        for arm, spent in (("next-scale", 9.0), ("masked", 5.0))
    }
    assert reading.values(runs, "next-scale", "reach") == pytest.approx([2.0, 5.0])
    assert reading.values(runs, "masked", "reach") == pytest.approx([2.0, 3.0])


@pytest.mark.parametrize(
    ("key", "ours", "theirs", "words"),
    [
        ("psnr_hybrid", (20.0, 20.2, 20.1), (18.0, 18.3, 18.0), "better"),
        ("error", (0.20, 0.21, 0.20), (0.50, 0.52, 0.49), "better"),
        ("error", (0.50, 0.52, 0.49), (0.20, 0.21, 0.20), "worse"),
        ("psnr_hybrid", (20.0, 20.2, 20.1), (20.3, 19.9, 20.2), "cannot tell"),
        ("passes", (6, 6, 6), (24, 24, 24), "0.25 times"),
    ],
)
def test_what_may_be_said(key, ours, theirs, words):
    assert reading.said(reading.sort(runs_of(ours, theirs, key)), key) == words
