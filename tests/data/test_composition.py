"""Layouts: every thing in a cell of its own, and the relation plain to see."""

import itertools

import pytest
import torch

from dcar_edu.data.composition import RELATIONS, UNITS, Plan, lay_out


def layouts(plan, count=300):
    generator = torch.Generator().manual_seed(0)
    return [lay_out(plan, generator) for _ in range(count)]


@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_tiles_lie_inside_and_apart(number):
    for places in layouts(Plan("count", "", ("cat",) * number)):
        assert len(places) == number
        for x, y, side in places:
            assert min(x, y) >= 0
            assert max(x, y) + side <= UNITS
        for (x1, y1, s1), (x2, y2, s2) in itertools.combinations(places, 2):
            assert x1 + s1 <= x2 or x2 + s2 <= x1 or y1 + s1 <= y2 or y2 + s2 <= y1


@pytest.mark.parametrize("relation", RELATIONS)
def test_the_relation_is_clearly_the_larger_distance(relation):
    across, down = RELATIONS[relation]
    for (x1, y1, s1), (x2, y2, s2) in layouts(Plan("position", "", ("cat", "dog"), relation)):
        dx, dy = x1 + s1 / 2 - x2 - s2 / 2, y1 + s1 / 2 - y2 - s2 / 2
        along, other = (dx * across, dy) if across else (dy * down, dx)
        assert along > 1.5 * abs(other)
