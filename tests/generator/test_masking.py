"""The arccos schedule: golden numbers, and rules that hold for all sizes."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dcar_edu.generator.masking import mask_ratio, picture_orders, random_mask, reveal_counts

GOLDEN = {
    (64, 8): [6, 5, 5, 6, 6, 7, 9, 20],
    (64, 12): [4, 3, 4, 3, 4, 4, 4, 4, 5, 6, 7, 16],
    (256, 12): [14, 14, 14, 14, 15, 15, 16, 17, 20, 22, 28, 67],
    (256, 8): [21, 21, 21, 23, 25, 28, 35, 82],
    (1024, 12): [55, 55, 55, 57, 59, 61, 65, 69, 77, 90, 113, 268],
    (16, 12): [1, 1, 1, 1, 1, 1, 1, 1, 1, 2, 1, 4],
    (5, 1): [5],
}


@pytest.mark.parametrize(("sizes", "counts"), GOLDEN.items())
def test_reveal_counts_golden(sizes, counts):
    assert reveal_counts(*sizes) == counts


@given(data=st.data(), tokens=st.integers(1, 300))
@settings(max_examples=60, deadline=None)
def test_every_step_reveals_something_and_all_is_revealed(data, tokens):
    steps = data.draw(st.integers(1, tokens))
    counts = reveal_counts(tokens, steps)
    assert len(counts) == steps
    assert min(counts) >= 1
    assert sum(counts) == tokens


@pytest.mark.parametrize("steps", [0, -1, 17])
def test_reveal_counts_refuses(steps):
    message = f"num_steps must be between 1 and num_tokens=16, got {steps}"
    with pytest.raises(ValueError, match=message):
        reveal_counts(16, steps)


def test_mask_ratio_golden():
    u = torch.tensor([0, 0.25, 0.5, 0.75, 1])
    assert [round(r, 3) for r in mask_ratio(u).tolist()] == [1, 0.839, 0.667, 0.46, 0]
    assert [round(r, 3) for r in mask_ratio(u, "cosine").tolist()] == [1, 0.924, 0.707, 0.383, 0]


@pytest.mark.parametrize("schedule", ["arccos", "cosine"])
def test_mask_ratio_falls_and_hides_two_thirds_on_average(schedule):
    ratio = mask_ratio(torch.linspace(0, 1, 2001), schedule)
    assert (ratio.diff() < 0).all()
    assert ratio.mean().item() == pytest.approx(0.6366, abs=1e-3)


def test_mask_ratio_refuses():
    with pytest.raises(ValueError, match="must be 'arccos' or 'cosine', got 'linear'"):
        mask_ratio(torch.zeros(1), "linear")


def test_random_mask_counts_are_exact():
    mask = random_mask(500, 12, torch.Generator().manual_seed(0))
    u = torch.rand(500, generator=torch.Generator().manual_seed(0))
    counts = (12 * 2 / torch.pi * torch.arccos(u)).round().clamp(min=1).long()
    assert mask.dtype == torch.bool
    assert torch.equal(mask.sum(1), counts)
    assert counts.unique().tolist() == list(range(1, 13))


def test_random_mask_hides_every_place_equally_often():
    """3000 draws of about .64: a standard deviation of .009; .045 is a bound of five."""
    share = random_mask(3000, 12, torch.Generator().manual_seed(0)).float().mean(0)
    assert (share - share.mean()).abs().max() < 0.045
    assert share.mean().item() == pytest.approx(0.64, abs=0.02)


def test_random_mask_follows_its_generator():
    first, second = (random_mask(2, 12, torch.Generator().manual_seed(5)) for _ in range(2))
    assert torch.equal(first, second)
    assert not torch.equal(first, random_mask(2, 12, torch.Generator().manual_seed(6)))


@pytest.mark.parametrize("name", ["raster", "halton"])
@pytest.mark.parametrize(("h", "w"), [(1, 1), (3, 4), (5, 2), (8, 8)])
def test_orders_are_permutations(name, h, w):
    assert sorted(picture_orders(name, h, w).tolist()) == list(range(h * w))


def test_orders_golden():
    assert picture_orders("raster", 2, 3).tolist() == [0, 1, 2, 3, 4, 5]
    ranks = picture_orders("halton", 4, 4)
    places = [divmod(int(place), 4) for place in ranks.argsort()[:4]]
    assert places == [(2, 1), (1, 2), (3, 0), (0, 1)]  # (1/2,1/3) (1/4,2/3) (3/4,1/9) (1/8,4/9)


def test_unknown_order():
    with pytest.raises(ValueError, match="'confidence', 'halton' or 'raster', got 'spiral'"):
        picture_orders("spiral", 2, 2)
