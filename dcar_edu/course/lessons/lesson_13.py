"""Lesson 13, evaluation: exercises 13.1, 13.2 and 13.4, and all four together.

13.3 stands in ``scoring_13.py``.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from dcar_edu.course.checks import Exercise, Mistake, Wrong, same
from dcar_edu.course.lessons.quiz_13 import QUIZ, TERMS
from dcar_edu.course.lessons.scoring_13 import SCORING

__all__ = ["EXERCISES", "QUIZ", "TERMS"]

# 13.1 -----------------------------------------------------------------------------------------


def frechet(m1: Tensor, c1: Tensor, m2: Tensor, c2: Tensor) -> Tensor:
    """Distance of two clouds by mean and covariance: the reference answer of 13.1."""
    shared = torch.linalg.eigvals(c1 @ c2).real.clamp(min=0).sqrt().sum()
    return (m1 - m2).square().sum() + c1.trace() + c2.trace() - 2 * shared


def _cloud(d: int, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Mean and covariance of n points that spread in directions of their own."""
    turn = torch.randn(d, d, generator=generator, dtype=torch.float64)
    points = torch.randn(n, d, generator=generator, dtype=torch.float64) @ turn + turn[0]
    return points.mean(0), points.T.cov()


def _test_frechet(fn: Callable, reference: Callable, generator: torch.Generator) -> None:
    one, four = torch.ones(1, 1).double(), torch.full((1, 1), 4.0).double()
    zero, three = torch.zeros(1).double(), torch.full((1,), 3.0).double()
    same(_value(fn(zero, one, three, four)), 10.0, "N(0, 1) and N(3, 4)", rtol=1e-3)
    (m1, c1), (m2, c2) = _cloud(4, 30, generator), _cloud(4, 50, generator)
    got, want = _value(fn(m1, c1, m2, c2)), _value(reference(m1, c1, m2, c2))
    for wrong, says in (
        (_product_of_roots, "the trace of the product of the two roots, which is too small here"),
        (_root_of_each_number, "roots of the single numbers, not of the matrix"),
    ):
        if abs(got - _value(wrong(m1, c1, m2, c2))) < 1e-3:
            raise Wrong(
                f"two clouds that spread in different directions: got {got:.3f}, expected "
                f"{want:.3f}. It is what comes of {says}."
            )
    same(got, want, "two clouds that spread in different directions", rtol=1e-3, atol=1e-3)
    same(_value(fn(m1, c1, m1, c1)), 0.0, "a cloud and itself", atol=1e-3)
    flat_mean, flat = _cloud(4, 3, generator)  # three points: no spread in two directions
    got = _value(fn(flat_mean, flat, m2, c2))
    want = _value(reference(flat_mean, flat, m2, c2))
    same(got, want, "fewer points than features", rtol=1e-2, atol=1e-2)


def _value(got: object) -> float:
    """The number that was given back."""
    if isinstance(got, Tensor) and got.numel() == 1:
        if got.is_complex():
            raise Wrong("got a complex number, expected a real one. Eigenvalues come complex.")
        return float(got)
    if isinstance(got, (int, float)):
        return float(got)
    raise Wrong(f"got {type(got).__name__}, expected one number.")


def _root(c: Tensor) -> Tensor:
    values, vectors = torch.linalg.eigh(c)
    return vectors * values.clamp(min=0).sqrt() @ vectors.T


def _by_symmetric_roots(m1: Tensor, c1: Tensor, m2: Tensor, c2: Tensor) -> float:
    inner = torch.linalg.eigvalsh(_root(c1) @ c2 @ _root(c1)).clamp(min=0)
    gap = m1 - m2
    return (gap @ gap + torch.trace(c1 + c2) - 2 * inner.sqrt().sum()).item()


def _product_of_roots(m1: Tensor, c1: Tensor, m2: Tensor, c2: Tensor) -> Tensor:
    shared = (_root(c1) @ _root(c2)).trace()
    return (m1 - m2).square().sum() + c1.trace() + c2.trace() - 2 * shared


def _shared_once(m1: Tensor, c1: Tensor, m2: Tensor, c2: Tensor) -> Tensor:
    shared = torch.linalg.eigvals(c1 @ c2).real.clamp(min=0).sqrt().sum()
    return (m1 - m2).square().sum() + c1.trace() + c2.trace() - shared


def _distance_not_squared(m1: Tensor, c1: Tensor, m2: Tensor, c2: Tensor) -> Tensor:
    return frechet(m1, c1, m2, c2) - (m1 - m2).square().sum() + (m1 - m2).norm()


def _root_of_each_number(m1: Tensor, c1: Tensor, m2: Tensor, c2: Tensor) -> Tensor:
    shared = (c1 @ c2).clamp(min=0).sqrt().trace()
    return (m1 - m2).square().sum() + c1.trace() + c2.trace() - 2 * shared


# 13.2 -----------------------------------------------------------------------------------------


def recall_at(similarity: Tensor, k: int) -> Tensor:
    """Share of pictures whose own text is among their first k: the reference answer of 13.2."""
    rows = torch.arange(len(similarity))
    own = similarity[rows, rows][:, None]
    ahead = (similarity >= own).sum(1) - 1
    return (ahead < k).float().mean()


def _test_recall(fn: Callable, reference: Callable, generator: torch.Generator) -> None:
    for n, m in ((5, 8), (12, 12)):
        similarity = torch.randn(n, m, generator=generator)
        similarity[torch.arange(n), torch.arange(n)] += 0.7
        for k in (1, 2, 4):
            got, want = fn(similarity, k), reference(similarity, k)
            same(_value(got), _value(want), f"{n} pictures, {m} texts, k = {k}", rtol=1e-4)
    blind = torch.zeros(4, 7)
    value = _value(fn(blind, 1))
    if value > 0:
        raise Wrong(
            f"a judge that says 0 to everything: got a recall of {value:.2f}, expected 0. A text "
            "that ties with the right one has not lost against it."
        )
    same(_value(fn(blind, 6)), 0.0, "all tie, k = 6 of 7")
    same(_value(fn(blind, 7)), 1.0, "all tie, k = 7 of 7")
    one_tie = torch.tensor([[0.9, 0.9, 0.1], [0.2, 0.8, 0.3]])
    same(_value(fn(one_tie, 1)), 0.5, "the first of two pictures ties with a wrong text")


def _by_sorting(similarity: Tensor, k: int) -> float:
    hits = 0
    for row, line in enumerate(similarity.tolist()):
        better = [value for place, value in enumerate(line) if place != row and value >= line[row]]
        hits += len(better) < k
    return hits / len(similarity)


def _over_texts(similarity: Tensor, k: int) -> Tensor:
    rows = torch.arange(len(similarity))
    own = similarity[rows, rows][None]
    return ((similarity[:, : len(rows)] >= own).sum(0) - 1 < k).float().mean()


def _ties_win(similarity: Tensor, k: int) -> Tensor:
    rows = torch.arange(len(similarity))
    own = similarity[rows, rows][:, None]
    return ((similarity > own).sum(1) < k).float().mean()


def _any_hit(similarity: Tensor, k: int) -> Tensor:
    rows = torch.arange(len(similarity))
    own = similarity[rows, rows][:, None]
    return ((similarity >= own).sum(1) - 1 < k).any().float()


# 13.4 -----------------------------------------------------------------------------------------


def interval(values: Tensor, n: int, generator: torch.Generator) -> tuple[float, float]:
    """Bootstrap interval of the mean at 95 %: the reference answer of 13.4."""
    rows = torch.randint(len(values), (n, len(values)), generator=generator)
    means = values[rows].float().mean(1)
    low, high = means.quantile(torch.tensor([0.025, 0.975]))
    return low.item(), high.item()


def _test_interval(fn: Callable, reference: Callable, generator: torch.Generator) -> None:
    hits = (torch.arange(100) < 40).float()
    low, high = _ends(fn(hits, 2000, generator))
    if high - low < 0.02:
        raise Wrong(
            f"40 hits in 100: got [{low:.3f}, {high:.3f}], expected about [0.30, 0.50]. All "
            "resamples have the same mean: each must be drawn with repetition."
        )
    for end, want in ((low, 0.3), (high, 0.5)):
        if abs(end - want) > 0.025:
            raise Wrong(
                f"40 hits in 100: got [{low:.3f}, {high:.3f}], expected about [0.30, 0.50]. "
                "Is each resample as long as the values, and is it their means you look at?"
            )
    values = torch.rand(37, generator=generator) ** 3
    low, high = _ends(fn(values, 2000, generator))
    ours = reference(values, 2000, generator)
    width = ours[1] - ours[0]
    if max(abs(low - ours[0]), abs(high - ours[1])) > 0.15 * width:
        raise Wrong(
            f"37 skewed values: got [{low:.3f}, {high:.3f}], expected about [{ours[0]:.3f}, "
            f"{ours[1]:.3f}]."
        )
    pair = [fn(values, 50, torch.Generator().manual_seed(3)) for _ in range(2)]
    if _ends(pair[0]) != _ends(pair[1]):
        raise Wrong("the same seed twice: got two intervals. Draw from the generator passed.")


def _ends(got: object) -> tuple[float, float]:
    if isinstance(got, Tensor) and got.shape == (2,):
        got = tuple(got.tolist())
    if not isinstance(got, (tuple, list)) or len(got) != 2:
        raise Wrong(f"got {type(got).__name__}, expected two numbers: (low, high).")
    return _value(got[0]), _value(got[1])


def _by_sorted_means(values: Tensor, n: int, generator: torch.Generator) -> tuple[float, float]:
    size = len(values)
    means = sorted(
        values[(torch.rand(size, generator=generator) * size).long()].mean().item()
        for _ in range(n)
    )
    return means[int(0.025 * n)], means[int(0.975 * n)]


def _without_repetition(values: Tensor, n: int, generator: torch.Generator) -> tuple[float, float]:
    rows = torch.stack([torch.randperm(len(values), generator=generator) for _ in range(n)])
    low, high = values[rows].mean(1).quantile(torch.tensor([0.025, 0.975]))
    return low.item(), high.item()


def _spread_of_values(values: Tensor, n: int, generator: torch.Generator) -> tuple[float, float]:
    rows = torch.randint(len(values), (n, len(values)), generator=generator)
    low, high = values[rows].flatten()[:100000].quantile(torch.tensor([0.025, 0.975]))
    return low.item(), high.item()


def _quarter_size(values: Tensor, n: int, generator: torch.Generator) -> tuple[float, float]:
    rows = torch.randint(len(values), (n, len(values) // 4), generator=generator)
    low, high = values[rows].mean(1).quantile(torch.tensor([0.025, 0.975]))
    return low.item(), high.item()


EXERCISES = (
    Exercise(
        id="13.1",
        reference=frechet,
        test=_test_frechet,
        mistakes=(
            Mistake("the product of two roots, not the root of the product", _product_of_roots),
            Mistake("takes the shared spread away once, not twice", _shared_once),
            Mistake("the distance of the means is not squared", _distance_not_squared),
            Mistake("the root of each number of the matrix", _root_of_each_number),
        ),
        alternatives=(_by_symmetric_roots,),
        used_in="dcar_edu.metrics.frechet.frechet_distance",
        slow_factor=200,
    ),
    Exercise(
        id="13.2",
        reference=recall_at,
        test=_test_recall,
        mistakes=(
            Mistake("ranks pictures for a text, not texts for a picture", _over_texts),
            Mistake("a tie counts as right", _ties_win),
            Mistake("one hit anywhere is enough", _any_hit),
        ),
        alternatives=(_by_sorting,),
        used_in="dcar_edu.metrics.alignment.rank",
        slow_factor=200,
    ),
    *SCORING,
    Exercise(
        id="13.4",
        reference=interval,
        test=_test_interval,
        mistakes=(
            Mistake("resamples without repetition", _without_repetition),
            Mistake("the spread of the values, not of their mean", _spread_of_values),
            Mistake("resamples of a quarter of the size", _quarter_size),
        ),
        alternatives=(_by_sorted_means,),
        used_in="dcar_edu.metrics.distribution.mean_interval",
        slow_factor=2000,  # resample by resample in a loop is right
    ),
)
