"""The two comparisons of lesson 11: resolutions at equal compute, and 2-D against 1-D tokens."""

from dataclasses import replace

import pytest
import torch

from dcar_edu.course.costs import cost_to_reach, equal_compute
from dcar_edu.course.lessons.one_dimensional_11 import one_dimensional
from dcar_edu.course.studies import study_11 as study
from dcar_edu.course.studies import study_11_tokens as tokens
from dcar_edu.generator import MaskedGenerator
from dcar_edu.generator.training import TokenBatch
from dcar_edu.pipeline import DCAR

PLAN = replace(study.PLANS["smoke"], steps=6, batch=3, points=2, judged=5)


@pytest.fixture(scope="module")
def model() -> DCAR:
    return DCAR.from_pretrained(study.TOKENIZER)


@pytest.fixture(scope="module")
def world(model: DCAR) -> study.World:
    return study.make_world(PLAN, model)


def test_both_resolutions_hold_the_same_pictures_and_every_eighth_is_not_learnt(world, model):
    count = len(world.examples)
    assert world.low.indices.shape == (count, 2, 2)
    assert world.high.indices.shape == (count, 4, 4)
    assert torch.equal(world.low.text, world.high.text)
    assert sorted([*world.learnt.tolist(), *world.unseen.tolist()]) == list(range(count))
    assert len(world.unseen) == 1
    plan = replace(PLAN, concepts=16)
    larger = study.make_world(plan, model)
    held = [larger.examples[place] for place in larger.unseen]
    assert {example.background for example in held} == set(study.GROUNDS)
    learnt = {larger.examples[place].label for place in larger.learnt}
    assert {example.label for example in held} <= learnt


def test_a_step_costs_nearly_four_times_as_much_on_four_times_the_tokens(world):
    low, high = (study.step_flops(PLAN, part) for part in (world.low, world.high))
    assert 1.5 < high / low < 4  # the words cost the same at both
    twice = study.step_flops(replace(PLAN, batch=2 * PLAN.batch), world.high)
    assert twice == 2 * high


def test_both_arms_spend_the_same_and_the_last_point_is_the_end(world, model):
    ends = {}
    for arm in ("scratch", "cross 1/2"):
        points = list(study.run(arm, 0, PLAN, world, study.new_generator(PLAN, model, 0)))
        spent = [point["tflop"] for point in points]
        assert spent[0] == 0
        assert spent == sorted(spent)
        assert len(points) >= PLAN.points + 1
        ends[arm] = points[-1]
    cost = study.step_flops(PLAN, world.high) / 1e12
    assert ends["scratch"]["tflop"] == pytest.approx(PLAN.steps * cost)
    assert abs(ends["cross 1/2"]["tflop"] - ends["scratch"]["tflop"]) < cost
    assert {"accuracy", "loss", "prompt", "unseen_accuracy", "low_accuracy"} <= set(
        ends["cross 1/2"]
    )


def test_cross_learns_at_both_resolutions(world, model, monkeypatch):
    grids = []

    def spy(model, batch, mask, drop):
        grids.append(tuple(batch.indices.shape))
        model.head.bias.sum().backward()

    monkeypatch.setattr(study, "learn", spy)
    monkeypatch.setattr(study, "step_flops", lambda plan, part: part.indices[0].numel())
    list(study.run("cross 1/2", 0, PLAN, world, study.new_generator(PLAN, model, 0)))
    assert grids == [(3, 2, 2)] * 12 + [(3, 4, 4)] * 3


def test_fine_tuning_begins_with_the_averaged_weights_and_a_constant_rate(world, model):
    generator = study.new_generator(PLAN, model, 0)
    averages = [a.head.weight.clone() for _, a in study.train(generator, world.low, PLAN, 5, 0)]
    assert torch.equal(generator.head.weight, averages[-1])
    assert study.training(PLAN, 5, 0).ema_decay < 1


def test_a_model_can_learn_the_small_world(world, model):
    generator = study.new_generator(PLAN, model, 1)
    before = study.measure(generator, world, PLAN)
    assert before["loss"] == pytest.approx(6.9315, abs=1e-3)  # ln 1024
    for _ in study.train(generator, world.high, PLAN, 30, 1):
        pass
    after = study.measure(generator, world, PLAN)
    assert after["loss"] < 6.2
    assert 0 <= study.matches(generator, world, PLAN)["match"] <= 1


def test_draw_takes_the_best_guess_everywhere():
    truth = torch.tensor([[[3, 1, 4], [1, 5, 2]]])

    class Oracle(MaskedGenerator):
        def predict(self, indices, memory):
            logits = torch.nn.functional.one_hot(truth.flatten(1), 7).float()
            return type("Out", (), {"logits": logits})()

    plan = replace(study.SMALL, width=8, heads=2, depth=1, mlp_width=8, num_codes=7)
    batch = TokenBatch(
        *(torch.zeros(1, 2, 3, dtype=torch.int64), torch.zeros(1, 32, 2, 3)),
        *(torch.zeros(1, 2, 384), torch.ones(1, 2, dtype=torch.bool)),
    )
    assert torch.equal(study.draw(Oracle(plan), batch), truth)


def test_equal_compute_counts_the_pre_training():
    assert equal_compute(1000, 4, 0.5, 1) == (500, 125, 250)
    assert equal_compute(1000, 4, 0, 1) == (0, 250, 250)


def test_cost_to_reach_interpolates_and_finds_the_first_crossing():
    curve = [(0, 0.1), (2, 0.5), (3, 0.2), (5, 0.6)]
    assert cost_to_reach(curve, 0.3) == pytest.approx(1)
    assert cost_to_reach(curve, 0.1) == 0
    assert cost_to_reach(curve, 0.7) is None
    assert cost_to_reach([], 0.7) is None


# Tokens ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pair():
    return {arm: tokens.new_tokenizer(arm, 3) for arm in tokens.ARMS}


def test_both_tokenizers_have_as_many_tokens_and_about_as_many_parameters(pair):
    sizes = {arm: sum(p.numel() for p in part.parameters()) for arm, part in pair.items()}
    assert sizes["1-D"] == pytest.approx(sizes["2-D"], rel=0.05)
    pictures = torch.zeros(2, 3, 64, 64)
    assert pair["2-D"].encode(pictures).indices.shape == (2, 4, 4)
    assert pair["1-D"].encode(pictures).indices.shape == (2, 1, 16)
    again = tokens.new_tokenizer("1-D", 3)
    assert torch.equal(again.encoder.queries, pair["1-D"].encoder.queries)


def test_only_the_grid_grows_with_the_picture(pair):
    wide = torch.rand(2, 3, 48, 80) * 2 - 1
    for arm, count in (("2-D", 15), ("1-D", 16)):
        drawn, written = tokens.rebuild(pair[arm], wide, arm)
        assert drawn.shape == wide.shape
        assert written == count
        small = tokens.through_small(pair[arm], wide)
        assert small.shape == wide.shape


def test_the_decoder_of_1_d_draws_any_grid_and_by_default_the_trained_one(pair):
    one = one_dimensional(pair["2-D"].config, 32, seed=0)
    indices = one.encode(torch.rand(2, 3, 64, 32)).indices
    assert indices.shape == (2, 1, 4)
    assert one.decode(indices).shape == (2, 3, 32, 32)
    assert one.decoder(one.quantizer.look_up(indices), (2, 3)).shape == (2, 3, 32, 48)


def test_influence_gives_shares_and_squares_counts_them(pair):
    maps = tokens.influence(pair["1-D"], tokens.pictures(64)[:3])
    assert maps.shape == (16, 4, 4)
    assert torch.allclose(maps.sum((1, 2)), torch.ones(16), atol=1e-4)
    alone, everywhere = torch.zeros(2, 4, 4), torch.full((2, 4, 4), 1 / 16)
    alone[0, 1, 2] = alone[1, 3, 0] = 1
    assert tokens.squares(alone) == pytest.approx(1)
    assert tokens.squares(everywhere) == pytest.approx(16)


def test_training_learns_and_sizes_are_what_their_names_say(monkeypatch):
    monkeypatch.setattr(tokens, "CONCEPTS", 4)
    tokens.pictures.cache_clear()
    for arm in tokens.ARMS:
        losses = list(tokens.train(tokens.new_tokenizer(arm, 0), tokens.training(14, 0)))
        assert len(losses) == 14
        assert sum(losses[-3:]) < sum(losses[:3])
    for name, images in tokens.sizes(3).items():
        assert name == f"{images.shape[2]}x{images.shape[3]}"
    tokens.pictures.cache_clear()
