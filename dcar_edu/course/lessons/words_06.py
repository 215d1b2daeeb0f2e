"""Lesson 06: exercises 06.3 and 06.4, dropped texts and where a word is looked at."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from dcar_edu.course.checks import Exercise, Mistake, Wrong, describe, same

# 06.3 -----------------------------------------------------------------------------------------


def drop_text(text: Tensor, null: Tensor, p: float, generator: torch.Generator) -> Tensor:
    """Now and then the null text instead of the prompt: the reference answer of 06.3."""
    drop = torch.rand(len(text), generator=generator) < p
    return torch.where(drop[:, None, None], null, text)


PICTURES = 600
"""So many that a share of 10 per cent is known to about one."""


def _test_drop_text(fn: Callable, reference: Callable, generator: torch.Generator) -> None:
    text = torch.randn(PICTURES, 3, 2, generator=generator)
    null = torch.randn(3, 2, generator=generator)
    same(fn(text, null, 0.0, generator), reference(text, null, 0.0, generator), "p = 0: all kept")
    same(fn(text, null, 1.0, generator), null.expand_as(text), "p = 1: all dropped")
    got = fn(text, null, 0.1, generator)
    if not isinstance(got, Tensor) or got.shape != text.shape:
        raise Wrong(f"p = 0.1: got {describe(got)}, expected a tensor {tuple(text.shape)}.")
    dropped, kept = (got == null).all(2), (got == text).all(2)
    mixed = ~(dropped.all(1) | kept.all(1))
    if mixed.any():
        raise Wrong(
            f"p = 0.1: got {int(mixed.sum())} pictures with a text that is neither the prompt nor "
            "the null text, expected none: a text is kept or dropped as a whole."
        )
    share = dropped.all(1).float().mean().item()
    if not 0.04 < share < 0.17:
        raise Wrong(f"p = 0.1: got {share:.0%} of {PICTURES} texts dropped, expected about 10 %.")
    seeds = [torch.Generator().manual_seed(generator.initial_seed() + 1) for _ in range(2)]
    if not torch.equal(*(fn(text, null, 0.5, seed) for seed in seeds)):
        raise Wrong(
            "the same seed twice: got other texts dropped, expected the same ones. Draw from the "
            "generator that is passed."
        )


def _drop_by_index(text: Tensor, null: Tensor, p: float, generator: torch.Generator) -> Tensor:
    answer = text.clone()
    answer[torch.rand(len(text), generator=generator) < p] = null
    return answer


def _the_whole_batch(text: Tensor, null: Tensor, p: float, generator: torch.Generator) -> Tensor:
    drop = torch.rand((), generator=generator).item() < p
    return null.expand_as(text) if drop else text


def _keeps_with_p(text: Tensor, null: Tensor, p: float, generator: torch.Generator) -> Tensor:
    return drop_text(text, null, 1 - p, generator)


def _drops_words(text: Tensor, null: Tensor, p: float, generator: torch.Generator) -> Tensor:
    drop = torch.rand(text.shape[:2], generator=generator) < p
    return torch.where(drop[..., None], null, text)


def _zeros(text: Tensor, null: Tensor, p: float, generator: torch.Generator) -> Tensor:
    return drop_text(text, torch.zeros_like(null), p, generator)


# 06.4 -----------------------------------------------------------------------------------------


def word_map(weights: Tensor, pieces: Sequence[int], h: int, w: int) -> Tensor:
    """Where one word is looked at: the reference answer of 06.4."""
    return weights[:, :, list(pieces)].sum(dim=2).mean(dim=0).reshape(h, w)


def _test_word_map(fn: Callable, reference: Callable, generator: torch.Generator) -> None:
    weights = torch.rand(5, 3 * 4, 7, generator=generator).softmax(dim=-1)
    for pieces in ([2], [1, 4, 5]):
        got, want = fn(weights, pieces, 3, 4), reference(weights, pieces, 3, 4)
        same(got, want, f"a word of {len(pieces)} piece{'s' * (len(pieces) > 1)}, h = 3, w = 4")
    got = sum(fn(weights, [piece], 3, 4) for piece in range(7))
    same(got, torch.ones(3, 4), "the sum of the maps of all seven pieces")


def _by_einsum(weights: Tensor, pieces: Sequence[int], h: int, w: int) -> Tensor:
    chosen = torch.zeros(weights.shape[2])
    chosen[list(pieces)] = 1 / len(weights)
    return torch.einsum("ans,s->n", weights, chosen).view(h, w)


def _first_piece_only(weights: Tensor, pieces: Sequence[int], h: int, w: int) -> Tensor:
    return word_map(weights, pieces[:1], h, w)


def _sides_swapped(weights: Tensor, pieces: Sequence[int], h: int, w: int) -> Tensor:
    return word_map(weights, pieces, w, h)


def _columns_first(weights: Tensor, pieces: Sequence[int], h: int, w: int) -> Tensor:
    return word_map(weights, pieces, w, h).T


def _largest_head(weights: Tensor, pieces: Sequence[int], h: int, w: int) -> Tensor:
    return weights[:, :, list(pieces)].sum(dim=2).amax(dim=0).reshape(h, w)


WORDS = (
    Exercise(
        id="06.3",
        reference=drop_text,
        test=_test_drop_text,
        mistakes=(
            Mistake("drops the whole batch at once", _the_whole_batch),
            Mistake("keeps with probability p", _keeps_with_p),
            Mistake("drops single words", _drops_words),
            Mistake("zeros instead of the null text", _zeros),
        ),
        alternatives=(_drop_by_index,),
        used_in="dcar_edu.generator.MaskedGenerator.read_text",
        slow_factor=200,  # microseconds a call: on a busy machine they vary 20-fold
    ),
    Exercise(
        id="06.4",
        reference=word_map,
        test=_test_word_map,
        mistakes=(
            Mistake("the first piece of the word only", _first_piece_only),
            Mistake("height and width swapped", _sides_swapped),
            Mistake("fills columns first", _columns_first),
            Mistake("the largest head instead of the mean", _largest_head),
        ),
        alternatives=(_by_einsum,),
        slow_factor=200,
    ),
)
