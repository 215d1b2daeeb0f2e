"""How alike two *sets* of pictures are, whichever picture belongs to which.

The kernel distance KID looks at feature vectors. Ours are EfficientNet-Lite0's, so a value is
called KID *on EfficientNet features* and compares only with others of this library, not with
published numbers, which use Inception's.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


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
    if paired and len(x) != len(y):
        raise ValueError(
            f"paired sets need as many reconstructions as pictures, got {len(x)} and {len(y)}. "
            "Pass both in one order, or paired=False."
        )
    x, y = x.detach().double(), y.detach().double()
    within = sum(_mean_off_diagonal(_kernel(z, z)) for z in (x, y))
    across = _kernel(x, y)
    return float(within - 2 * (_mean_off_diagonal(across) if paired else across.mean()))


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


def _kernel(a: Tensor, b: Tensor) -> Tensor:
    return (a @ b.T / a.shape[1] + 1) ** 3


def _mean_off_diagonal(similarities: Tensor) -> Tensor:
    n = len(similarities)
    return (similarities.sum() - similarities.trace()) / (n * (n - 1))
