"""KID against a naive double loop, by hand, and its meaning."""

import pytest
import torch

from dcar_edu.metrics import kid, kid_interval, kid_of_subsets, mean_interval


def vectors(n, d=5, seed=0, shift=0.0):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed)) + shift


def naive(x, y, paired=False):
    """The definition, one pair at a time."""
    x, y = x.double().tolist(), y.double().tolist()
    n, m, d = len(x), len(y), len(x[0])

    def k(a, b):
        return (sum(p * q for p, q in zip(a, b, strict=True)) / d + 1) ** 3

    xx = sum(k(x[i], x[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    yy = sum(k(y[i], y[j]) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
    pairs = [(i, j) for i in range(n) for j in range(m) if not (paired and i == j)]
    return xx + yy - 2 * sum(k(x[i], y[j]) for i, j in pairs) / len(pairs)


def test_kid_agrees_with_a_double_loop_on_unequal_sets():
    x, y = vectors(7), vectors(4, seed=1, shift=0.5)
    assert kid(x, y) == pytest.approx(naive(x, y), abs=1e-10)
    assert kid(y, x) == pytest.approx(kid(x, y), abs=1e-10)


def test_kid_by_hand():
    """Within x: k(0,1) = 1; within y: (8 + 27 + 27) / 3; across: (3 * 1 + 8 + 8 + 27) / 6."""
    x, y = torch.tensor([[0.0], [1.0]]), torch.tensor([[1.0], [1.0], [2.0]])
    assert kid(x, y) == pytest.approx(1 + 62 / 3 - 2 * 46 / 6)


def test_kid_agrees_with_torchmetrics():
    image = pytest.importorskip("torchmetrics.image.kid")
    x, y = vectors(9), vectors(6, seed=1, shift=0.5)
    theirs = image.poly_mmd(x[:6].double(), y.double())
    assert kid(x[:6], y) == pytest.approx(theirs.item(), abs=1e-8)


def test_kid_is_zero_on_average_for_sets_of_one_kind_and_may_be_negative():
    values = torch.tensor([kid(vectors(12, seed=2 * s), vectors(9, seed=2 * s + 1))
                           for s in range(200)])  # fmt: skip
    assert values.min() < 0 < values.max()
    assert abs(values.mean()) < 3 * values.std() / 200**0.5
    assert kid(vectors(12), vectors(9, seed=1, shift=1.0)) > values.max()


def test_pairs_of_a_picture_with_its_own_copy_are_left_out():
    """With them, a perfect copy of few pictures would score below 0."""
    x = vectors(6)
    assert kid(x, x, paired=True) == pytest.approx(0, abs=1e-12)
    assert kid(x, x) < -0.5
    y = x + 0.3 * vectors(6, seed=1)
    assert kid(x, y, paired=True) == pytest.approx(naive(x, y, paired=True), abs=1e-10)


def test_float32_features_are_compared_in_float64():
    x, y = 100 * vectors(8, 50), 100 * vectors(8, 50, seed=1)
    assert kid(x, y) == pytest.approx(kid(x.double(), y.double()), rel=1e-12)


def test_subsets_give_the_value_of_the_whole_on_average_and_its_spread():
    x, y = vectors(40), vectors(60, seed=1, shift=0.5)
    found = kid_of_subsets(x, y, size=20, count=300, generator=torch.Generator().manual_seed(0))
    assert found.mean == pytest.approx(kid(x, y), abs=4 * found.std / 300**0.5)
    assert found.std > 0
    again = kid_of_subsets(x, y, size=20, count=300, generator=torch.Generator().manual_seed(0))
    assert again == found
    alone = kid_of_subsets(x, y[:40], size=40, count=2, generator=torch.Generator())
    assert alone.mean == pytest.approx(kid(x, y[:40]))
    assert alone.std == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(
    ("x", "y", "paired", "message"),
    [
        (vectors(1), vectors(4), False, r"n and m at least 2, got \(1, 5\) and \(4, 5\)"),
        (vectors(4), vectors(4, 6), False, r"got \(4, 5\) and \(4, 6\)"),
        (vectors(4)[0], vectors(4), False, "Use one network and more pictures"),
        (vectors(4), vectors(3), True, "as many reconstructions as pictures, got 4 and 3"),
    ],
)
def test_kid_refuses(x, y, paired, message):
    with pytest.raises(ValueError, match=message):
        kid(x, y, paired=paired)


@pytest.mark.parametrize(("size", "count"), [(1, 5), (5, 5), (3, 1)])
def test_subsets_refuse(size, count):
    with pytest.raises(ValueError, match=rf"size in 2..4 .* size={size} and count={count}"):
        kid_of_subsets(vectors(6), vectors(4), size=size, count=count, generator=torch.Generator())


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("paired", [False, True])
def test_an_interval_weighs_what_is_drawn_twice_and_never_compares_it_with_itself(paired):
    """The definition once more, one resample at a time."""
    x, y = vectors(6).double(), vectors(6 if paired else 8, seed=1, shift=0.3).double()
    rows = torch.randint(6, (200, 6), generator=(generator := seeded(2)))
    other = rows if paired else torch.randint(8, (200, 8), generator=generator)
    values = []
    for a, b in zip(rows.tolist(), other.tolist(), strict=True):

        def mean(u, v, i, j, whole):
            pairs = [(p, q) for p in i for q in j if whole or p != q]
            return sum((u[p] @ v[q] / 5 + 1) ** 3 for p, q in pairs) / max(len(pairs), 1)

        values.append(
            mean(x, x, a, a, False) + mean(y, y, b, b, False) - 2 * mean(x, y, a, b, not paired)
        )
    wanted = torch.stack(values).double().quantile(torch.tensor([0.1, 0.9]).double())
    found = kid_interval(x, y, paired=paired, generator=seeded(2), resamples=200, level=0.8)
    assert found == pytest.approx(wanted.tolist(), rel=1e-4)


def test_an_interval_holds_the_value_and_narrows_with_more_pictures():
    widths = []
    for n in (30, 300):
        x, y = vectors(n), vectors(n + 7, seed=1, shift=0.4)
        low, high = kid_interval(x, y, generator=seeded())
        assert low < kid(x, y) < high
        widths.append(high - low)
    assert widths[1] < widths[0] / 2
    assert kid_interval(x, x, paired=True, generator=seeded()) == pytest.approx((0, 0), abs=1e-9)
    with pytest.raises(ValueError, match="as many reconstructions as pictures"):
        kid_interval(x, y, paired=True, generator=seeded())


def test_the_interval_of_a_share_is_the_binomials():
    hits = (torch.arange(400) < 120).double()
    low, high = mean_interval(hits, generator=seeded(), resamples=4000)
    half = 1.96 * (0.3 * 0.7 / 400) ** 0.5
    assert (low, high) == pytest.approx((0.3 - half, 0.3 + half), abs=0.006)
