"""Which tokens are hidden: the arccos schedule for training and for drawing.

``mask`` is True where a token is hidden.

Source: MaskGIT (arXiv:2202.04200) for the idea; the arccos curve as in DC-AR's released code.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor


def mask_ratio(u: Tensor, schedule: str = "arccos") -> Tensor:
    """Share of hidden tokens for ``u`` in [0, 1]: 1 at u = 0, falling to 0 at u = 1.

    Args:
        u: progress, or a uniform random number in training.
        schedule: ``"arccos"`` (DC-AR) or ``"cosine"`` (MaskGIT).

    Raises:
        ValueError: unknown schedule.

    Example:
        >>> mask_ratio(torch.tensor([0.0, 0.5, 1.0])).tolist()
        [1.0, 0.6666666865348816, 0.0]
    """
    if schedule == "arccos":
        return torch.arccos(u) * (2 / math.pi)
    if schedule == "cosine":
        return torch.cos(u * (math.pi / 2))
    raise ValueError(f"schedule must be 'arccos' or 'cosine', got '{schedule}'. Use 'arccos'.")


def random_mask(
    batch: int, num_tokens: int, generator: torch.Generator, schedule: str = "arccos"
) -> Tensor:
    """Hide a random share of each picture's tokens, at least one.

    Args:
        batch: pictures.
        num_tokens: tokens of a picture.
        generator: on the CPU.
        schedule: see :func:`mask_ratio`.

    Returns:
        bool ``(batch, num_tokens)``, True = hidden; counts are exact, places uniformly random.

    Source:
        DC-AR's released code: ratio clipped to [1e-6, 1], count rounded, at least 1.
    """
    ratio = mask_ratio(torch.rand(batch, generator=generator), schedule).clamp(1e-6, 1)
    counts = (num_tokens * ratio).round().clamp(min=1)
    order = torch.rand(batch, num_tokens, generator=generator).argsort(dim=1)
    return order < counts[:, None]


def reveal_counts(num_tokens: int, num_steps: int, total: int | None = None) -> list[int]:
    """How many tokens each sampling step reveals under the arccos schedule.

    After step ``k`` (counted from 1) ``floor(L * 2/pi * arccos(k/K))`` tokens stay hidden; the
    counts are the differences. Steps reveal about equally many tokens until the last ones, which
    reveal most: by then the picture is nearly decided.

    Args:
        num_tokens: ``L``, hidden tokens at the start, at least ``num_steps``.
        num_steps: ``K``, at least 1 (DC-AR uses 12).
        total: plan for so many tokens, of which ``num_tokens`` are hidden: the released way when
            some tokens are known. One token a step until the plan is met; with fewer hidden tokens
            than steps, the last one waits for the last step. None: ``num_tokens``.

    Returns:
        ``num_steps`` counts that add up to ``num_tokens``, each at least 1 without ``total``.

    Raises:
        ValueError: ``num_steps`` is below 1 or above the tokens planned for.

    Source:
        DC-AR's released code (schedule and floor).

    Deviates:
        Every step reveals at least one token; the released code can idle when there are hardly
        more tokens than steps. Equal at 12 steps for 64, 256 and 1024 tokens.

    Example:
        >>> reveal_counts(num_tokens=256, num_steps=12)
        [14, 14, 14, 14, 15, 15, 16, 17, 20, 22, 28, 67]
    """
    total = num_tokens if total is None else total
    if not 1 <= num_steps <= total:
        raise ValueError(
            f"num_steps must be between 1 and num_tokens={total}, got {num_steps}: each step "
            "reveals at least one token. Use fewer steps or a larger picture."
        )
    counts, hidden = [], num_tokens
    for k in range(1, num_steps + 1):
        planned = math.floor(total * (2 / math.pi) * math.acos(k / num_steps))
        after = 0 if k == num_steps else max(1, min(hidden - 1, planned))
        counts.append(hidden - after)
        hidden = after
    return counts


def picture_orders(name: str, h: int, w: int) -> Tensor:
    """A fixed order of revealing: rank of every position, 0 first, int64 ``(h * w,)``.

    Args:
        name: ``"raster"`` (row by row) or ``"halton"`` (spread evenly, arXiv:2503.17076).
        h: rows.
        w: columns.

    Raises:
        ValueError: unknown order.
    """
    if name == "raster":
        return torch.arange(h * w)
    if name != "halton":
        raise ValueError(
            f"order must be 'confidence', 'halton' or 'raster', got '{name}'. Use 'confidence'."
        )
    places: list[int] = []
    number = 1
    while len(places) < h * w:
        row, column = int(_halton(number, 2) * h), int(_halton(number, 3) * w)
        if (place := row * w + column) not in places:
            places.append(place)
        number += 1
    return _ranks(places)


def _halton(number: int, base: int) -> float:
    value, share = 0.0, 1.0
    while number:
        share /= base
        number, digit = divmod(number, base)
        value += share * digit
    return value


def _ranks(places: Sequence[int]) -> Tensor:
    ranks = torch.empty(len(places), dtype=torch.int64)
    ranks[torch.tensor(places)] = torch.arange(len(places))
    return ranks
