"""Clouds with known numbers, and the arms of the residual experiment on a few pictures."""

import math

import pytest
import torch

from dcar_edu.course.studies import study_09 as study


def source(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_two_moons_have_the_size_of_a_scaled_residual():
    points = study.two_moons(20000, source())
    assert points.shape == (20000, 2)
    assert points.mean(0).abs().max() < 0.02
    assert abs(points.square().mean().item() - 1) < 0.02
    radius = ((points * 0.706 - torch.tensor([-0.5, -0.25])).norm(dim=1) - 1).abs()
    other = ((points * 0.706 - torch.tensor([0.5, 0.25])).norm(dim=1) - 1).abs()
    assert torch.minimum(radius, other).max() < 0.2  # every point lies near one of the arcs


def test_the_outline_of_a_rectangle_is_its_border():
    alpha = torch.zeros(12, 20, dtype=torch.uint8)
    alpha[3:8, 4:16] = 255  # 5 high, 12 wide
    points, pixel = study.edge(alpha)
    assert points.mean(0).abs().max() < 1e-5
    assert points.square().mean().item() == pytest.approx(1)
    spans = (points.max(0).values - points.min(0).values) / pixel
    assert spans.tolist() == pytest.approx([12, 5])  # x first
    inner = (points / pixel).abs()
    assert not ((inner[:, 0] < 4) & (inner[:, 1] < 1)).any()


def test_the_outline_stands_upright():
    alpha = torch.zeros(10, 14, dtype=torch.uint8)
    alpha[1:3, 6:8] = 255  # a narrow top
    alpha[3:9, 2:12] = 255
    points, _ = study.edge(alpha)
    top = points[points[:, 1] > points[:, 1].max() - 1e-5]
    bottom = points[points[:, 1] < points[:, 1].min() + 1e-5]
    assert len(top) < len(bottom)


@pytest.mark.parametrize("value", [0, 255])
def test_a_tile_without_outline_is_refused(value: int):
    with pytest.raises(ValueError, match="no outline: all its pixels are alike"):
        study.edge(torch.full((6, 7), value, dtype=torch.uint8))


def test_every_point_lies_on_the_outline_it_was_asked_for():
    edges = study.outlines(["key", "anchor"], 64)
    which = torch.tensor([1, 0, 0, 1] * 50)
    points = study.outline_points(edges, which, source())
    for number, (places, pixel) in enumerate(edges):
        nearest = torch.cdist(points[which == number], places).min(dim=1).values
        assert nearest.max() <= pixel * math.sqrt(0.5) + 1e-6
        assert nearest.std() > 0
    assert torch.equal(points, study.outline_points(edges, which, source()))
    swapped = study.outlines(["anchor", "key"], 64)
    assert torch.equal(swapped[0][0], edges[1][0])


def test_energy_distance_by_hand():
    x, y = torch.tensor([[0.0], [2.0]]), torch.tensor([[1.0], [5.0], [6.0]])
    # between: (1 + 5 + 6 + 1 + 3 + 4) / 6 = 10/3; within x: 2; within y: (4 + 5 + 1) / 3 = 10/3
    assert study.energy_distance(x, y) == pytest.approx(2 * 10 / 3 - 2 - 10 / 3, abs=1e-5)
    same = [study.two_moons(600, source(seed)) for seed in (1, 2)]
    assert abs(study.energy_distance(*same)) < 0.01
    assert study.energy_distance(same[0], same[1] + 0.5) > 0.1
    with pytest.raises(ValueError, match="two points in each cloud, got 2 and 1"):
        study.energy_distance(x, y[:1])


def test_the_small_network_answers_zero_at_first_and_depends_on_its_seed_alone():
    before = torch.get_rng_state()
    one, same, other = (study.point_network(seed) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    x, t, cond = torch.randn(5, 2), torch.tensor([0, 9, 99, 500, 999]), torch.zeros(5, 4)
    assert torch.equal(one(x, t, cond), torch.zeros(5, 2))
    assert torch.equal(one.input.mix.weight, same.input.mix.weight)
    assert not torch.equal(one.input.mix.weight, other.input.mix.weight)


def test_waves_tell_near_points_apart_and_keep_the_point_itself():
    waves = study.Waves(3, octaves=4)
    with torch.no_grad():
        waves.mix.weight.zero_()
        waves.mix.bias.zero_()
        for row, feature in enumerate((1, 2 + 2 * 3, 2 + 8 + 1)):  # y, sin 8x, cos y
            waves.mix.weight[row, feature] = 1
    got = waves(torch.tensor([[0.3, -0.7], [0.1, 2.0]]))
    assert got[:, 0].tolist() == pytest.approx([-0.7, 2.0])
    assert got[:, 1].tolist() == pytest.approx([math.sin(2.4), math.sin(0.8)])
    assert got[:, 2].tolist() == pytest.approx([math.cos(-0.7), math.cos(2.0)])


@pytest.fixture(scope="module")
def known() -> study.Known:
    return study.learnt_pictures(3, 5)


def test_learnt_pictures_carry_true_tokens_residuals_and_hidden_states(known: study.Known):
    encoded = known.model.tokenizer.encode(known.images)
    assert torch.equal(known.indices, encoded.indices)
    assert known.hidden.shape[:2] == known.residuals.shape[:2] == (3, 16)
    whole = known.decode(known.residuals)
    assert torch.allclose(
        whole, known.model.tokenizer.decode(encoded.indices, encoded.residuals), atol=1e-4
    )
    assert torch.equal(known.decode(None), known.model.tokenizer.decode(encoded.indices))
    again = study.learnt_pictures(3, 6, known.model)
    assert not torch.equal(known.images, again.images)


def test_clip_bounds_what_is_drawn_and_a_seed_repeats_it(known: study.Known):
    bound = known.scale * (1 + 1e-5)
    for arm in (study.Arm(4), study.Arm(4, method="ddim")):
        drawn = study.draw_residuals(known, arm, 3)
        assert drawn.shape == known.residuals.shape
        assert drawn.abs().max() <= bound
        assert torch.equal(drawn, study.draw_residuals(known, arm, 3))
    free = study.draw_residuals(known, study.Arm(4, clip=None), 3)
    assert free.abs().max() > bound


def test_arms_are_what_their_names_say():
    assert study.EXPERIMENTS["09_residual_steps"].arms == tuple(study.ARMS)
    for name, arm in study.ARMS.items():
        assert name.split()[0] == str(arm.steps)
        assert (arm.clip is None) == ("no clip" in name)
        assert (arm.clip == 3) == ("clip 3" in name)
        assert (arm.method == "ddim") == ("DDIM" in name)


def test_a_run_measures_the_arm_and_both_ends_of_the_scale():
    runs = {name: study.residual_run(name, 2, 4) for name in ("1 step", "20 steps, no clip")}
    for found in runs.values():
        for name in ("psnr", "rkid_efficientnet"):
            assert {name, f"{name}_codes", f"{name}_true"} <= set(found)
        assert found["gain"] == pytest.approx(found["psnr"] - found["psnr_codes"], abs=2e-4)
        assert found["psnr_true"] > found["psnr_codes"]
        assert found["seconds"] > 0
    clipped, free = runs.values()
    assert clipped["size"] <= 1.0001
    assert free["error"] > clipped["error"]
    assert clipped["psnr_codes"] == free["psnr_codes"]
    with pytest.raises(ValueError, match="there is no arm '3 steps'"):
        study.residual_run("3 steps", 0, 4)
