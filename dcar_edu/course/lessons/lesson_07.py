"""Lesson 07, masked modelling: exercises 07.1 to 07.3, and all five together.

07.4 and 07.5 stand in ``network_07.py``.
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from dcar_edu.course.checks import Exercise, Mistake, Wrong, describe, same, same_gradient
from dcar_edu.course.lessons.network_07 import NETWORK
from dcar_edu.course.lessons.quiz_07 import QUIZ, TERMS

__all__ = ["EXERCISES", "QUIZ", "TERMS"]

# 07.1 -----------------------------------------------------------------------------------------


def mask_ratio(u: Tensor) -> Tensor:
    """Share of hidden tokens for a number in [0, 1]: the reference answer of 07.1."""
    return torch.arccos(u) * (2 / math.pi)


def _test_mask_ratio(fn: Callable, reference: Callable, generator: torch.Generator) -> None:
    for u in (torch.tensor([0.0, 0.25, 0.5, 0.75, 1.0]), torch.rand(2, 3, generator=generator)):
        got, want = fn(u), reference(u)
        cosine = torch.cos(u * math.pi / 2)
        if isinstance(got, Tensor) and got.shape == u.shape and torch.allclose(got, cosine):
            raise Wrong(
                "this is the cosine schedule: got MaskGIT's curve, expected DC-AR's, which is its "
                "inverse function."
            )
        same(got, want, f"u of shape {tuple(u.shape)}")


def _by_arcsin(u: Tensor) -> Tensor:
    return 1 - 2 * torch.arcsin(u) / math.pi


def _cosine(u: Tensor) -> Tensor:
    return torch.cos(u * math.pi / 2)


def _reversed(u: Tensor) -> Tensor:
    return 1 - mask_ratio(u)


def _without_two_over_pi(u: Tensor) -> Tensor:
    return torch.arccos(u)


# 07.2 -----------------------------------------------------------------------------------------


def random_mask(counts: Tensor, tokens: int, generator: torch.Generator) -> Tensor:
    """Hide exactly so many random tokens in each row: the reference answer of 07.2."""
    order = torch.rand(len(counts), tokens, generator=generator).argsort(dim=1)
    return order < counts[:, None]


ROWS = 400
"""Rows of the check; a share of hidden tokens is then known to about 2.5 per cent."""


def _test_random_mask(fn: Callable, reference: Callable, generator: torch.Generator) -> None:
    counts = torch.tensor([1, 4, 9, 0, 6])
    got = fn(counts, 9, generator)
    if not isinstance(got, Tensor) or got.shape != (5, 9) or got.dtype != torch.bool:
        raise Wrong(f"5 rows of 9 tokens: got {describe(got)}, expected a bool tensor (5, 9).")
    same(got.sum(1), reference(counts, 9, generator).sum(1), "hidden tokens in each of five rows")
    many = fn(torch.full((ROWS,), 3), 8, generator)
    if (many == many[0]).all():
        raise Wrong(
            f"{ROWS} rows with 3 of 8 hidden: got one mask for all rows, expected each its own."
        )
    share = many.float().mean(0)
    if (share - 3 / 8).abs().max() > 0.13:
        raise Wrong(
            f"{ROWS} rows with 3 of 8 hidden: got shares of {[round(s, 2) for s in share.tolist()]}"
            " at the eight places, expected about 0.38 at each."
        )
    seeds = [torch.Generator().manual_seed(generator.initial_seed() + 1) for _ in range(2)]
    if not torch.equal(*(fn(counts, 9, seed) for seed in seeds)):
        raise Wrong(
            "the same seed twice: got two different masks, expected the same. Draw from the "
            "generator that is passed."
        )


def _by_rank(counts: Tensor, tokens: int, generator: torch.Generator) -> Tensor:
    noise = torch.rand(len(counts), tokens, generator=generator)
    return noise.argsort(dim=1).argsort(dim=1) < counts[:, None]


def _coin_flips(counts: Tensor, tokens: int, generator: torch.Generator) -> Tensor:
    return torch.rand(len(counts), tokens, generator=generator) < counts[:, None] / tokens


def _one_mask_for_all(counts: Tensor, tokens: int, generator: torch.Generator) -> Tensor:
    return torch.randperm(tokens, generator=generator)[None] < counts[:, None]


def _the_first_ones(counts: Tensor, tokens: int, generator: torch.Generator) -> Tensor:
    return torch.arange(tokens)[None] < counts[:, None]


def _one_too_many(counts: Tensor, tokens: int, generator: torch.Generator) -> Tensor:
    order = torch.rand(len(counts), tokens, generator=generator).argsort(dim=1)
    return order <= counts[:, None]


# 07.3 -----------------------------------------------------------------------------------------


def masked_loss(
    logits: Tensor,
    targets: Tensor,
    mask: Tensor,
    smoothing: float = 0.1,
    unmasked_weight: float = 0.1,
) -> Tensor:
    """Cross-entropy, hidden tokens first of all: the reference answer of 07.3."""
    each = F.cross_entropy(
        logits.transpose(1, 2), targets, reduction="none", label_smoothing=smoothing
    )
    weights = torch.where(mask, 1.0, unmasked_weight)
    return (weights * each).sum() / weights.sum()


def _test_masked_loss(fn: Callable, reference: Callable, generator: torch.Generator) -> None:
    logits = (2 * torch.randn(3, 4, 7, generator=generator)).requires_grad_()
    targets = torch.randint(7, (3, 4), generator=generator)
    mask = torch.tensor([[1, 0, 0, 0], [1, 1, 1, 0], [1, 1, 1, 1]]).bool()  # unequal counts
    for numbers in ((0.1, 0.1), (0.0, 0.0), (0.2, 0.5)):
        got, want = (f(logits, targets, mask, *numbers) for f in (fn, reference))
        what = f"smoothing {numbers[0]}, weight of visible tokens {numbers[1]}"
        if isinstance(got, Tensor) and got.ndim == 0:
            turned = reference(logits, targets, ~mask, *numbers)
            if torch.allclose(got, turned):
                raise Wrong(
                    f"{what}: got the loss of the VISIBLE tokens, expected that of the hidden "
                    "ones: True in the mask means hidden."
                )
        same(got, want, what)
        same_gradient(got, want, {"logits": logits}, what)
    same(fn(logits, targets, mask), reference(logits, targets, mask), "the two numbers left out")


def _loss_by_hand(
    logits: Tensor,
    targets: Tensor,
    mask: Tensor,
    smoothing: float = 0.1,
    unmasked_weight: float = 0.1,
) -> Tensor:
    logs = logits.log_softmax(-1)
    right = logs.gather(-1, targets[..., None])[..., 0]
    each = -((1 - smoothing) * right + smoothing * logs.mean(-1))
    weights = mask + unmasked_weight * ~mask
    return (each * weights / weights.sum()).sum()


def _inverted(
    logits: Tensor, targets: Tensor, mask: Tensor, smoothing: float = 0.1, weight: float = 0.1
) -> Tensor:
    return masked_loss(logits, targets, ~mask, smoothing, weight)


def _over_all_tokens(
    logits: Tensor, targets: Tensor, mask: Tensor, smoothing: float = 0.1, weight: float = 0.1
) -> Tensor:
    weights = torch.where(mask, 1.0, weight)
    return masked_loss(logits, targets, mask, smoothing, weight) * weights.sum() / mask.numel()


def _softmax_twice(
    logits: Tensor, targets: Tensor, mask: Tensor, smoothing: float = 0.1, weight: float = 0.1
) -> Tensor:
    return masked_loss(logits.softmax(-1), targets, mask, smoothing, weight)


def _mean_of_pictures(
    logits: Tensor, targets: Tensor, mask: Tensor, smoothing: float = 0.1, weight: float = 0.1
) -> Tensor:
    rows = [
        masked_loss(logits[i : i + 1], targets[i : i + 1], mask[i : i + 1], smoothing, weight)
        for i in range(len(logits))
    ]
    return torch.stack(rows).mean()


EXERCISES = (
    Exercise(
        id="07.1",
        reference=mask_ratio,
        test=_test_mask_ratio,
        mistakes=(
            Mistake("the cosine schedule", _cosine),
            Mistake("reversed: grows with u", _reversed),
            Mistake("without 2/pi: reaches 1.57", _without_two_over_pi),
        ),
        alternatives=(_by_arcsin,),
        used_in="dcar_edu.generator.masking.mask_ratio",
        slow_factor=200,  # microseconds a call: on a busy machine they vary 20-fold
    ),
    Exercise(
        id="07.2",
        reference=random_mask,
        test=_test_random_mask,
        mistakes=(
            Mistake("a coin for each token: counts are not exact", _coin_flips),
            Mistake("one mask for all rows", _one_mask_for_all),
            Mistake("always the first tokens", _the_first_ones),
            Mistake("one token too many", _one_too_many),
        ),
        alternatives=(_by_rank,),
        used_in="dcar_edu.generator.masking.random_mask",
        slow_factor=200,
    ),
    Exercise(
        id="07.3",
        reference=masked_loss,
        test=_test_masked_loss,
        mistakes=(
            Mistake("the mask the wrong way round", _inverted),
            Mistake("divides by all tokens", _over_all_tokens),
            Mistake("a softmax before the cross-entropy", _softmax_twice),
            Mistake("the mean of each picture's mean", _mean_of_pictures),
        ),
        alternatives=(_loss_by_hand,),
        used_in="dcar_edu.generator.training.masked_loss",
        slow_factor=200,
    ),
    *NETWORK,
)
