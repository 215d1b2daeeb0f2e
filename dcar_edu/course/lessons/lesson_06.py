"""Lesson 06, text conditioning: exercises 06.1 and 06.2, and all four together.

06.3 and 06.4 stand in ``words_06.py``.
"""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from dcar_edu.course.checks import Exercise, Mistake, Wrong, describe, same, same_gradient
from dcar_edu.course.lessons.quiz_06 import QUIZ, TERMS
from dcar_edu.course.lessons.words_06 import WORDS

__all__ = ["EXERCISES", "QUIZ", "TERMS"]

Lists = Sequence[Sequence[int]]

# 06.1 -----------------------------------------------------------------------------------------


def pad_and_mask(ids: Lists, length: int) -> tuple[Tensor, Tensor]:
    """Lists of word pieces as one tensor and its mask: the reference answer of 06.1."""
    padded = torch.zeros(len(ids), length, dtype=torch.int64)
    mask = torch.zeros(len(ids), length, dtype=torch.bool)
    for row, pieces in enumerate(ids):
        kept = list(pieces)[:length]
        padded[row, : len(kept)] = torch.tensor(kept)
        mask[row, : len(kept)] = True
    return padded, mask


def _test_pad_and_mask(fn: Callable, reference: Callable, generator: torch.Generator) -> None:
    draw = torch.randint(1, 90, (12,), generator=generator).tolist()
    ids = [
        draw[:2],
        [5, 0, 7, *draw[2:4]],
        draw[4:],
    ]  # a real 0 in the second, 8 pieces in the third
    for length in (6, 9):
        got, want = fn(ids, length), reference(ids, length)
        if not isinstance(got, (tuple, list)) or len(got) != 2:
            raise Wrong(f"length {length}: got {describe(got)}, expected the pair (ids, mask).")
        what = f"prompts of 2, 5 and 8 pieces at length {length}"
        if isinstance(got[1], Tensor) and got[1].shape == want[1].shape:
            if torch.equal(got[1].bool(), ~want[1]):
                raise Wrong(f"{what}: got a mask the wrong way round, expected True = real word.")
            if not got[1][1, 1]:
                raise Wrong(
                    f"{what}: got False for a real piece whose id is 0, expected True. Ask how "
                    "long the prompt is, not what its ids are."
                )
        same(got[0], want[0], f"{what}: the ids")
        same(got[1], want[1], f"{what}: the mask")


def _pad_lists(ids: Lists, length: int) -> tuple[Tensor, Tensor]:
    counts = torch.tensor([min(len(pieces), length) for pieces in ids])
    rows = [[*pieces, *[0] * length][:length] for pieces in ids]
    return torch.tensor(rows), torch.arange(length)[None] < counts[:, None]


def _mask_inverted(ids: Lists, length: int) -> tuple[Tensor, Tensor]:
    padded, mask = pad_and_mask(ids, length)
    return padded, ~mask


def _mask_from_ids(ids: Lists, length: int) -> tuple[Tensor, Tensor]:
    padded, _ = pad_and_mask(ids, length)
    return padded, padded != 0


def _cuts_the_front(ids: Lists, length: int) -> tuple[Tensor, Tensor]:
    return pad_and_mask([list(pieces)[-length:] for pieces in ids], length)


# 06.2 -----------------------------------------------------------------------------------------


def cross_attention(q: Tensor, k: Tensor, v: Tensor, text_mask: Tensor) -> Tensor:
    """Every place looks at the real words: the reference answer of 06.2."""
    scores = q @ k.transpose(1, 2) / q.shape[-1] ** 0.5
    scores = scores.masked_fill(~text_mask[:, None], float("-inf"))
    return scores.softmax(dim=-1) @ v


def _test_cross_attention(fn: Callable, reference: Callable, generator: torch.Generator) -> None:
    q = torch.randn(2, 5, 4, generator=generator).requires_grad_()
    k = torch.randn(2, 3, 4, generator=generator).requires_grad_()
    v = torch.randn(2, 3, 6, generator=generator).requires_grad_()
    mask = torch.tensor([[True, True, True], [True, False, False]])
    got, want = fn(q, k, v, mask), reference(q, k, v, mask)
    if isinstance(got, Tensor) and got.shape == want.shape:
        with torch.no_grad():
            other = torch.where(mask[..., None], k, k + 9), torch.where(mask[..., None], v, v - 7)
            moved = fn(q, *other, mask)
        if not torch.allclose(moved, got, atol=1e-4):
            gap = (moved - got).abs().max().item()
            raise Wrong(
                f"other padding words: got a change of {gap:.3f} in the answer, expected 0. "
                "Padding must not count at all."
            )
    same(got, want, "prompts of 3 words and of 1 word")
    same_gradient(got, want, {"q": q, "k": k, "v": v}, "prompts of 3 words and of 1 word")


def _by_sdpa(q: Tensor, k: Tensor, v: Tensor, text_mask: Tensor) -> Tensor:
    return F.scaled_dot_product_attention(q, k, v, attn_mask=text_mask[:, None])


def _mask_after_softmax(q: Tensor, k: Tensor, v: Tensor, text_mask: Tensor) -> Tensor:
    weights = (q @ k.transpose(1, 2) / q.shape[-1] ** 0.5).softmax(dim=-1)
    return (weights * text_mask[:, None]) @ v


def _score_zero(q: Tensor, k: Tensor, v: Tensor, text_mask: Tensor) -> Tensor:
    scores = q @ k.transpose(1, 2) / q.shape[-1] ** 0.5
    return scores.masked_fill(~text_mask[:, None], 0.0).softmax(dim=-1) @ v


def _softmax_over_places(q: Tensor, k: Tensor, v: Tensor, text_mask: Tensor) -> Tensor:
    scores = q @ k.transpose(1, 2) / q.shape[-1] ** 0.5
    return (scores.softmax(dim=1) * text_mask[:, None]) @ v


def _not_scaled(q: Tensor, k: Tensor, v: Tensor, text_mask: Tensor) -> Tensor:
    return cross_attention(q * q.shape[-1] ** 0.5, k, v, text_mask)


EXERCISES = (
    Exercise(
        id="06.1",
        reference=pad_and_mask,
        test=_test_pad_and_mask,
        mistakes=(
            Mistake("the mask the wrong way round", _mask_inverted),
            Mistake("takes every 0 for padding: a real id can be 0", _mask_from_ids),
            Mistake("cuts the front of a long prompt", _cuts_the_front),
        ),
        alternatives=(_pad_lists,),
        used_in="dcar_edu.text.TextEncoder",
        slow_factor=200,  # microseconds a call: on a busy machine they vary 20-fold
    ),
    Exercise(
        id="06.2",
        reference=cross_attention,
        test=_test_cross_attention,
        mistakes=(
            Mistake("masks after the softmax", _mask_after_softmax),
            Mistake("gives padding the score 0 instead of minus infinity", _score_zero),
            Mistake("softmax over places, not over words", _softmax_over_places),
            Mistake("does not divide by the root of d", _not_scaled),
        ),
        alternatives=(_by_sdpa,),
        used_in="dcar_edu.generator.transformer.CrossAttention",
        slow_factor=200,
    ),
    *WORDS,
)
