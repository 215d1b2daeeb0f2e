"""Lesson 05, exercises 3 and 4: the distance of two sets, and the verdict on two arms."""

import math
import statistics
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from dcar_edu.course.checks import Exercise, Mistake, Wrong

# 05.3 -----------------------------------------------------------------------------------------


def kid(x: Tensor, y: Tensor) -> float:
    """Kernel distance of two sets, without bias: the reference answer of 05.3."""
    d = x.shape[1]
    xx, yy, xy = ((a @ b.T / d + 1) ** 3 for a, b in ((x, x), (y, y), (x, y)))
    n, m = len(x), len(y)
    within_x = (xx.sum() - xx.trace()) / (n * (n - 1))
    within_y = (yy.sum() - yy.trace()) / (m * (m - 1))
    return float(within_x + within_y - 2 * xy.mean())


def _test_kid(fn: Callable, reference: Callable, generator: torch.Generator) -> None:
    x, y = torch.tensor([[0.0], [1.0]]), torch.tensor([[1.0], [1.0], [2.0]])
    _compare_kid(fn, reference, x, y, "features 0, 1 against 1, 1, 2")
    x = torch.randn(5, 3, generator=generator)
    y = torch.randn(8, 3, generator=generator) + 0.7
    _compare_kid(fn, reference, x, y, "5 against 8 vectors of width 3")


def _compare_kid(fn: Callable, reference: Callable, x: Tensor, y: Tensor, what: str) -> None:
    got, want = float(fn(x, y)), reference(x, y)
    wrong = {
        _diagonal_kept(x, y): "too large: pairs of a vector with itself are counted",
        _not_divided(x, y): "the product is not divided by the width d",
        _cross_once(x, y): "the cross term counts once; it must count twice",
        _square(x, y): "the kernel is squared; it must be cubed",
    }
    for value, symptom in wrong.items():
        if math.isclose(got, value, rel_tol=1e-4) and not math.isclose(got, want, rel_tol=1e-4):
            raise Wrong(f"{symptom}. {what}: got {got:.4f}, expected {want:.4f}")
    if not math.isclose(got, want, rel_tol=1e-3, abs_tol=1e-4):
        raise Wrong(f"{what}: got {got:.4f}, expected {want:.4f}")


def _with_masks(x: Tensor, y: Tensor) -> Tensor:
    def kernel(a: Tensor, b: Tensor) -> Tensor:
        return (torch.einsum("nd,md->nm", a, b) / a.shape[-1] + 1).pow(3)

    apart = [~torch.eye(len(z), dtype=torch.bool) for z in (x, y)]
    within = kernel(x, x)[apart[0]].mean() + kernel(y, y)[apart[1]].mean()
    return within - kernel(x, y).mean() - kernel(y, x).mean()


def _terms(x: Tensor, y: Tensor, width: float, power: int, trace: bool = True) -> list[float]:
    found = []
    for a, b in ((x, x), (y, y), (x, y)):
        k = (a @ b.T / width + 1) ** power
        if a is b and trace:
            found.append(float((k.sum() - k.trace()) / (len(a) * (len(a) - 1))))
        else:
            found.append(float(k.mean()))
    return found


def _diagonal_kept(x: Tensor, y: Tensor) -> float:
    xx, yy, xy = _terms(x, y, x.shape[1], 3, trace=False)
    return xx + yy - 2 * xy


def _not_divided(x: Tensor, y: Tensor) -> float:
    xx, yy, xy = _terms(x, y, 1, 3)
    return xx + yy - 2 * xy


def _cross_once(x: Tensor, y: Tensor) -> float:
    xx, yy, xy = _terms(x, y, x.shape[1], 3)
    return xx + yy - xy


def _square(x: Tensor, y: Tensor) -> float:
    xx, yy, xy = _terms(x, y, x.shape[1], 2)
    return xx + yy - 2 * xy


# 05.4 -----------------------------------------------------------------------------------------


def verdict(a: Sequence[float], b: Sequence[float], t: float = 4.30) -> str:
    """Is arm a better than arm b, judged by paired seeds? The reference answer of 05.4."""
    gaps = [one - other for one, other in zip(a, b, strict=True)]
    error = statistics.stdev(gaps) / math.sqrt(len(gaps))
    if abs(statistics.mean(gaps)) <= t * error:
        return "cannot tell"
    return "better" if statistics.mean(gaps) > 0 else "worse"


_CASES: tuple[tuple[str, list[float], list[float], float], ...] = (
    (
        "the mean gap is 0.23 dB, but one seed of three makes all of it: means alone do not tell",
        [20.9, 20.7, 20.0],
        [20.9, 20.0, 20.0],
        4.30,
    ),
    (
        "the best seed of a beats the best of b, the other two do not",
        [21.0, 18.5, 18.6],
        [20.0, 19.0, 19.2],
        4.30,
    ),
    (
        "seeds differ by 4 dB, the arms by 0.5 dB in every seed: compare each seed with itself",
        [18.5, 20.52, 22.49],
        [18.0, 20.0, 22.0],
        4.30,
    ),
    (
        "the gap is 1.1 standard deviations of the gaps, only 2.0 standard errors",
        [20.1, 20.2, 20.6],
        [20.0, 20.0, 20.0],
        4.30,
    ),
    (
        "the gap is 3.8 standard errors; with three seeds t = 4.30 are needed",
        [20.25, 20.35, 20.6],
        [20.0, 20.0, 20.0],
        4.30,
    ),
    (
        "the gap is 4 standard errors; with six seeds t = 2.57 is enough",
        [20.1, 20.2, 20.3, 20.4, 20.5, 20.1],
        [20.0, 20.0, 20.0, 20.0, 20.0, 20.0],
        2.57,
    ),
)


def _test_verdict(fn: Callable, reference: Callable, generator: torch.Generator) -> None:
    a = (20 + torch.rand(4, generator=generator)).tolist()
    cases = [*_CASES, ("an arm against itself", a, list(a), 3.18)]
    for what, one, other, t in cases:
        for first, second in ((one, other), (other, one)):
            got, want = fn(first, second, t), reference(first, second, t)
            if got != want:
                raise Wrong(f"{what}: got {got!r}, expected {want!r}.")
    got = fn([20.25, 20.35, 20.6], [20.0, 20.0, 20.0])
    if got != "cannot tell":
        raise Wrong(f"three seeds and no t given: got {got!r}, expected 'cannot tell' (t = 4.30).")


def _with_tensors(a: Sequence[float], b: Sequence[float], t: float = 4.30) -> str:
    gap = torch.tensor(a, dtype=torch.float64) - torch.tensor(b, dtype=torch.float64)
    reach = t * gap.std() / len(a) ** 0.5
    low, high = float(gap.mean() - reach), float(gap.mean() + reach)
    return "better" if low > 0 else "worse" if high < 0 else "cannot tell"


def _means_only(a: Sequence[float], b: Sequence[float], t: float = 4.30) -> str:
    gap = sum(a) - sum(b)
    return "better" if gap > 0 else "worse" if gap < 0 else "cannot tell"


def _best_seed(a: Sequence[float], b: Sequence[float], t: float = 4.30) -> str:
    return _means_only([max(a)], [max(b)])


def _unpaired(a: Sequence[float], b: Sequence[float], t: float = 4.30) -> str:
    error = math.sqrt((statistics.variance(a) + statistics.variance(b)) / len(a))
    gap = statistics.mean(a) - statistics.mean(b)
    return "cannot tell" if abs(gap) <= t * error else "better" if gap > 0 else "worse"


def _one_deviation(a: Sequence[float], b: Sequence[float], t: float = 4.30) -> str:
    gaps = [one - other for one, other in zip(a, b, strict=True)]
    if abs(statistics.mean(gaps)) <= statistics.stdev(gaps):
        return "cannot tell"
    return "better" if statistics.mean(gaps) > 0 else "worse"


def _always_two(a: Sequence[float], b: Sequence[float], t: float = 4.30) -> str:
    return verdict(a, b, 2.0)


KID = Exercise(
    "05.3",
    reference=kid,
    test=_test_kid,
    mistakes=(
        Mistake("the diagonal is kept, so the value is biased", _diagonal_kept),
        Mistake("the product is not divided by d", _not_divided),
        Mistake("the cross term counts once", _cross_once),
        Mistake("the kernel is squared", _square),
    ),
    alternatives=(_with_masks,),
    used_in="dcar_edu.metrics.kid",
)

VERDICT = Exercise(
    "05.4",
    reference=verdict,
    test=_test_verdict,
    mistakes=(
        Mistake("compares the means only", _means_only),
        Mistake("compares the best seeds", _best_seed),
        Mistake("not paired", _unpaired),
        Mistake("one standard deviation of the gaps", _one_deviation),
        Mistake("t = 2, whatever the number of seeds", _always_two),
    ),
    alternatives=(_with_tensors,),
    used_in="dcar_edu.course.studies.study_05.verdict",
)
