"""Drawing from coarse to fine: which token may look at which, and one step a scale.

``sample_scales`` takes any function that gives logits, so it can be tried with an oracle.

Source: VAR (arXiv:2404.02905), Sec. 3.2.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from dcar_edu.generator.sampling import gumbel

Grow = Callable[[Tensor, Tensor], Tensor]
"""``(sum (b, c, side, side), ids (b, s, s)) -> sum`` with one more scale in it."""
PredictScale = Callable[[Tensor], Tensor]
"""``inputs (b, n, c) of all scales so far -> logits (b, s * s, num_codes)`` of the last of them."""


@dataclass(frozen=True)
class ScaleStep:
    """The state after one scale."""

    step: int
    """From 1."""
    size: int
    """Tokens a side of the scale that was drawn."""
    ids: Tensor
    """int64 ``(b, size, size)``."""
    total: Tensor
    """What all scales so far add up to ``(b, c, side, side)``."""


def check_sizes(sizes: Sequence[int]) -> None:
    """Refuse sizes that are no scales.

    Raises:
        ValueError: no size, or sizes that do not rise from 1 or more.
    """
    rising = all(a < b for a, b in zip((0, *sizes), sizes, strict=False))
    if not sizes or not rising:
        raise ValueError(
            f"sizes must rise and be at least 1, got {tuple(sizes)}. "
            "Name the coarsest first, such as (1, 2, 4)."
        )


def scale_mask(sizes: Sequence[int]) -> Tensor:
    """Which token (row) may look at which (column): all coarser scales and its own.

    Returns:
        bool ``(n, n)`` for the ``n = sum(s * s)`` tokens, coarsest scale first.

    Raises:
        ValueError: see :func:`check_sizes`.

    Example:
        >>> scale_mask([1, 2]).int().tolist()
        [[1, 0, 0, 0, 0], [1, 1, 1, 1, 1], [1, 1, 1, 1, 1], [1, 1, 1, 1, 1], [1, 1, 1, 1, 1]]
    """
    check_sizes(sizes)
    scale = scale_numbers(sizes)
    return scale[:, None] >= scale[None]


def scale_numbers(sizes: Sequence[int]) -> Tensor:
    """The number of every token's scale, from 0, int64 ``(n,)``."""
    return torch.arange(len(sizes)).repeat_interleave(torch.tensor([s * s for s in sizes]))


def scale_inputs(sums: Sequence[Tensor], sizes: Sequence[int]) -> Tensor:
    """What every token is told before it is drawn: the sum of all coarser scales, at its place.

    Args:
        sums: ``(b, c, side, side)`` after each scale; finer ones than needed are not looked at.
        sizes: of the scales to make the inputs of.

    Returns:
        ``(b, n, c)``; the coarsest scale is told 0, the sum of nothing.

    Raises:
        ValueError: too few sums.

    Source:
        VAR, Fig. 4: the sum so far, resized to the next scale.
    """
    if len(sums) < max(1, len(sizes) - 1):
        raise ValueError(
            f"{len(sizes)} scales need the sums of all but the last, got {len(sums)}. "
            "Pass the sums of a MultiScale."
        )
    told = [torch.zeros_like(sums[0]), *sums][: len(sizes)]
    parts = [
        F.interpolate(total, size=(size, size), mode="area")
        for total, size in zip(told, sizes, strict=True)
    ]
    return torch.cat([rearrange(part, "b c h w -> b (h w) c") for part in parts], dim=1)


def sample_scales(
    predict: PredictScale,
    grow: Grow,
    start: Tensor,
    sizes: Sequence[int],
    *,
    temperature: float = 1.0,
    generator: torch.Generator | None = None,
) -> Iterator[ScaleStep]:
    """Draw all tokens of a scale at once, the coarsest scale first; each scale exactly once.

    Args:
        predict: gives the (guided) logits of the next scale; see :data:`PredictScale`.
        grow: adds the codes of a scale to the sum; see :data:`Grow`.
        start: the sum of nothing, zeros ``(b, c, side, side)``.
        sizes: tokens a side of every scale, coarsest first.
        temperature: of the Gumbel noise: 1 draws from the softmax, 0 takes the best guess.
        generator: CPU random source. None: a new seed each time.

    Yields:
        One record a scale.

    Raises:
        ValueError: see :func:`check_sizes`; or a temperature below 0.

    Source:
        VAR, Sec. 3.2.

    Deviates:
        VAR keeps the 900 best codes and of these the surest 96 %; here the temperature alone
        decides. Keys and values of coarser scales are made again in every step, not kept.
    """
    check_sizes(sizes)
    if temperature < 0:
        raise ValueError(f"temperature must be 0 or more, got {temperature}. 0: the best guess.")
    if generator is None:
        generator = torch.Generator()
        generator.seed()
    sums: list[Tensor] = []
    for step, size in enumerate(sizes, 1):
        inputs = scale_inputs(sums or [start], sizes[:step])
        logits = predict(inputs).detach().cpu().float()
        noise = gumbel(torch.rand(logits.shape, generator=generator))
        guess = (logits + temperature * noise).argmax(-1)
        ids = rearrange(guess, "b (h w) -> b h w", h=size, w=size)
        sums.append(grow(sums[-1] if sums else start, ids.to(start.device)))
        yield ScaleStep(step, size, ids, sums[-1])
