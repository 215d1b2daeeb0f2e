"""How alike two *sets* of pictures are, whichever picture belongs to which.

The kernel distance KID looks at feature vectors. Ours are EfficientNet-Lite0's unless Inception's
weights are there (:mod:`dcar_edu.metrics.networks`), so a value carries the network's name and
compares only with others on the same features.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

ROWS = 1024
"""Vectors compared with all others at once: 30,000 pictures need 0.25 GB, not 7."""


def kid(x: Tensor, y: Tensor, *, paired: bool = False) -> float:
    """Kernel distance between two sets of features: 0 on average for sets of one kind.

    The squared maximum mean discrepancy under the kernel ``(a.b / d + 1)^3``, without bias: pairs
    of a vector with itself are left out, so it can be a little negative. Times 1000 is usual.

    Args:
        x: features ``(n, d)``, n at least 2.
        y: features ``(m, d)``, m at least 2; m may differ from n.
        paired: ``y[i]`` is a reconstruction of picture ``x[i]``. A picture is unusually like its
            own reconstruction; left in, those pairs would make few pictures look better than many.
            Left out, a perfect reconstruction has exactly 0.

    Raises:
        ValueError: fewer than two vectors in a set, different widths, or unequal paired sets.

    Source:
        KID (arXiv:1801.01401), Eq. 4, there on Inception features; ``paired``: the statistic for
        equal sizes in Gretton et al. 2012, Lemma 6.

    Example:
        >>> round(kid(torch.tensor([[0.0], [1.0]]), torch.tensor([[1.0], [1.0], [2.0]])), 3)
        6.333
    """
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1] or min(len(x), len(y)) < 2:
        raise ValueError(
            "kid compares two sets of features (n, d) and (m, d) with n and m at least 2, got "
            f"{tuple(x.shape)} and {tuple(y.shape)}. Use one network and more pictures."
        )
    check_paired(x, y, paired)
    x, y = x.detach().double(), y.detach().double()
    a, b = torch.ones(1, len(x)).to(x), torch.ones(1, len(y)).to(y)
    return float(_distances(x, y, a, b, paired))


def check_paired(x: Tensor, y: Tensor, paired: bool) -> None:
    """Raise a ValueError when sets that should be paired differ in length."""
    if paired and len(x) != len(y):
        raise ValueError(
            f"paired sets need as many reconstructions as pictures, got {len(x)} and {len(y)}. "
            "Pass both in one order, or paired=False."
        )


def kid_interval(
    x: Tensor,
    y: Tensor,
    *,
    paired: bool = False,
    generator: torch.Generator,
    resamples: int = 1000,
    level: float = 0.95,
) -> tuple[float, float]:
    """How far chance in the choice of pictures may have moved :func:`kid`: a bootstrap interval.

    Each resample draws as many pictures as there are, with repetition. A picture drawn twice is
    weighed double and never compared with itself, else every resample would lie too high.

    Args:
        x: as in :func:`kid`.
        y: as in :func:`kid`.
        paired: as in :func:`kid`; pictures are then drawn with their partners.
        generator: the source of the draws, on the CPU.
        resamples: how many.
        level: share of the resamples inside.

    Returns:
        Lower and upper end.

    Raises:
        ValueError: see :func:`kid`.

    Source:
        Percentile bootstrap (Efron 1979), multinomial weights.
    """
    kid(x, y, paired=paired)  # raises for sets that do not fit
    x, y = x.detach().double().cpu(), y.detach().double().cpu()
    a = draws(len(x), resamples, generator)
    b = a if paired else draws(len(y), resamples, generator)
    return interval_of(_distances(x, y, a, b, paired), level)


def mean_interval(
    values: Tensor, *, generator: torch.Generator, resamples: int = 1000, level: float = 0.95
) -> tuple[float, float]:
    """Bootstrap interval of the mean of one number a picture ``(n,)``; see :func:`kid_interval`.

    Example:
        >>> mean_interval(torch.ones(5), generator=torch.Generator())
        (1.0, 1.0)
    """
    drawn = draws(len(values), resamples, generator)
    return interval_of(drawn @ values.double().cpu() / len(values), level)


def interval_of(values: Tensor, level: float) -> tuple[float, float]:
    """The middle ``level`` of resampled values."""
    low, high = values.nanquantile(torch.tensor([1 - level, 1 + level], dtype=values.dtype) / 2)
    return low.item(), high.item()


@dataclass(frozen=True)
class KIDEstimate:
    """KID over random sub-sets."""

    mean: float
    std: float
    """Standard deviation over sub-sets: how far one sub-set's value may be off."""


def kid_of_subsets(
    x: Tensor, y: Tensor, *, size: int, count: int, generator: torch.Generator
) -> KIDEstimate:
    """Draw ``count`` pairs of sub-sets of ``size`` vectors and average their :func:`kid`.

    Args:
        x: features ``(n, d)``.
        y: features ``(m, d)``.
        size: vectors drawn from each set without repetition, 2 to the smaller set's size.
        count: how many pairs of sub-sets, at least 2.
        generator: the source of the draws, on the CPU.

    Raises:
        ValueError: sizes that cannot be drawn.

    Source:
        KID (arXiv:1801.01401) reports 100 sub-sets of 1000.
    """
    smaller = min(len(x), len(y))
    if not 2 <= size <= smaller or count < 2:
        raise ValueError(
            f"kid_of_subsets needs size in 2..{smaller} and count of at least 2, got size={size} "
            f"and count={count}. Draw smaller sub-sets, or use kid on the whole sets."
        )

    def some(vectors: Tensor) -> Tensor:
        rows = torch.randperm(len(vectors), generator=generator)[:size]
        return vectors[rows.to(vectors.device)]

    values = torch.tensor([kid(some(x), some(y)) for _ in range(count)], dtype=torch.float64)
    return KIDEstimate(values.mean().item(), values.std().item())


def draws(n: int, resamples: int, generator: torch.Generator) -> Tensor:
    """How often each of ``n`` pictures is in each resample, ``(resamples, n)``."""
    rows = torch.randint(n, (resamples, n), generator=generator)
    return torch.zeros(resamples, n, dtype=torch.float64).scatter_add_(
        1, rows, torch.ones(resamples, n, dtype=torch.float64)
    )


def _distances(x: Tensor, y: Tensor, a: Tensor, b: Tensor, paired: bool) -> Tensor:
    """:func:`kid` once for each row of ``a`` and ``b``: how often every vector is there."""
    return (
        _similarity(x, x, a, a, itself=False)
        + _similarity(y, y, b, b, itself=False)
        - 2 * _similarity(x, y, a, b, itself=not paired)
    )


def _similarity(x: Tensor, y: Tensor, a: Tensor, b: Tensor, *, itself: bool) -> Tensor:
    """Mean kernel of all pairs, weighed by how often both are there: ``(r,)`` for ``a (r, n)``.

    The kernel of all pairs is never held: rows of ``x`` are looked at :data:`ROWS` at a time.

    Args:
        x: ``(n, d)``.
        y: ``(m, d)``.
        a: times of each x ``(r, n)``.
        b: times of each y ``(r, m)``.
        itself: whether pairs of one number count.
    """
    total, weight = torch.zeros_like(a[:, 0]), a.sum(1) * b.sum(1)
    for start in range(0, len(x), ROWS):
        rows = slice(start, start + ROWS)
        kernel = (x[rows] @ y.T / x.shape[1] + 1) ** 3
        total += ((a[:, rows] @ kernel) * b).sum(1)
        if not itself:
            total -= (a[:, rows] * b[:, rows]) @ kernel.diagonal(start)
    return total / (weight if itself else weight - (a * b).sum(1))
