"""Clouds of points with known numbers, and the small network that learns them."""

import math

import pytest
import torch

from dcar_edu.course import clouds


def source(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_two_moons_have_the_size_of_a_scaled_residual():
    points = clouds.two_moons(20000, source())
    assert points.shape == (20000, 2)
    assert points.mean(0).abs().max() < 0.02
    assert abs(points.square().mean().item() - 1) < 0.02
    radius = ((points * 0.706 - torch.tensor([-0.5, -0.25])).norm(dim=1) - 1).abs()
    other = ((points * 0.706 - torch.tensor([0.5, 0.25])).norm(dim=1) - 1).abs()
    assert torch.minimum(radius, other).max() < 0.2  # every point lies near one of the arcs


def test_the_outline_of_a_rectangle_is_its_border():
    alpha = torch.zeros(12, 20, dtype=torch.uint8)
    alpha[3:8, 4:16] = 255  # 5 high, 12 wide
    points, pixel = clouds.edge(alpha)
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
    points, _ = clouds.edge(alpha)
    top = points[points[:, 1] > points[:, 1].max() - 1e-5]
    bottom = points[points[:, 1] < points[:, 1].min() + 1e-5]
    assert len(top) < len(bottom)


@pytest.mark.parametrize("value", [0, 255])
def test_a_tile_without_outline_is_refused(value: int):
    with pytest.raises(ValueError, match="no outline: all its pixels are alike"):
        clouds.edge(torch.full((6, 7), value, dtype=torch.uint8))


def test_every_point_lies_on_the_outline_it_was_asked_for():
    edges = clouds.outlines(["key", "anchor"], 64)
    which = torch.tensor([1, 0, 0, 1] * 50)
    points = clouds.outline_points(edges, which, source())
    for number, (places, pixel) in enumerate(edges):
        nearest = torch.cdist(points[which == number], places).min(dim=1).values
        assert nearest.max() <= pixel * math.sqrt(0.5) + 1e-6
        assert nearest.std() > 0
    assert torch.equal(points, clouds.outline_points(edges, which, source()))
    swapped = clouds.outlines(["anchor", "key"], 64)
    assert torch.equal(swapped[0][0], edges[1][0])


def test_energy_distance_by_hand():
    x, y = torch.tensor([[0.0], [2.0]]), torch.tensor([[1.0], [5.0], [6.0]])
    # between: (1 + 5 + 6 + 1 + 3 + 4) / 6 = 10/3; within x: 2; within y: (4 + 5 + 1) / 3 = 10/3
    assert clouds.energy_distance(x, y) == pytest.approx(2 * 10 / 3 - 2 - 10 / 3, abs=1e-5)
    same = [clouds.two_moons(600, source(seed)) for seed in (1, 2)]
    assert abs(clouds.energy_distance(*same)) < 0.01
    assert clouds.energy_distance(same[0], same[1] + 0.5) > 0.1
    with pytest.raises(ValueError, match="two points in each cloud, got 2 and 1"):
        clouds.energy_distance(x, y[:1])


@pytest.mark.parametrize("octaves", [0, 3])
def test_the_small_network_answers_zero_at_first_and_depends_on_its_seed_alone(octaves: int):
    before = torch.get_rng_state()
    one, same, other = (clouds.point_network(seed, octaves) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert isinstance(one.input, clouds.Waves) == bool(octaves)
    x, t, cond = torch.randn(5, 2), torch.tensor([0, 9, 99, 500, 999]), torch.zeros(5, 4)
    assert torch.equal(one(x, t, cond), torch.zeros(5, 2))
    assert torch.equal(one.input(x), same.input(x))
    assert not torch.equal(one.input(x), other.input(x))


def test_waves_tell_near_points_apart_and_keep_the_point_itself():
    waves = clouds.Waves(3, octaves=4)
    with torch.no_grad():
        waves.mix.weight.zero_()
        waves.mix.bias.zero_()
        for row, feature in enumerate((1, 2 + 2 * 3, 2 + 8 + 1)):  # y, sin 8x, cos y
            waves.mix.weight[row, feature] = 1
    got = waves(torch.tensor([[0.3, -0.7], [0.1, 2.0]]))
    assert got[:, 0].tolist() == pytest.approx([-0.7, 2.0])
    assert got[:, 1].tolist() == pytest.approx([math.sin(2.4), math.sin(0.8)])
    assert got[:, 2].tolist() == pytest.approx([math.cos(-0.7), math.cos(2.0)])
