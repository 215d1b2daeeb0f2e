"""Lesson 14, editing: exercises 14.1 to 14.4."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from torch import Tensor

from dcar_edu.course.checks import Exercise, Mistake, Wrong, same
from dcar_edu.course.lessons.quiz_14 import QUIZ, TERMS
from dcar_edu.generator.masking import reveal_counts

__all__ = ["EXERCISES", "QUIZ", "TERMS"]

# 14.1 -----------------------------------------------------------------------------------------


def token_mask(pixels: Tensor, f: int) -> Tensor:
    """Cells of which at least one pixel is masked: the reference answer of 14.1."""
    return rearrange(pixels, "b 1 (h i) (w j) -> b h w (i j)", i=f, j=f).any(-1)


def _test_token_mask(fn: Callable, reference: Callable, generator: torch.Generator) -> None:
    pixels = torch.zeros(2, 1, 12, 20, dtype=torch.bool)
    pixels[0, 0, 6, 13] = pixels[1, 0, 11, 19] = True
    got, want = fn(pixels, 4), reference(pixels, 4)
    if isinstance(got, Tensor) and got.dtype == torch.bool and got.shape == want.shape:
        count = int(got.sum())
        if count == 0:
            raise Wrong(
                "one single masked pixel in each picture: got no cell at all, expected the cell "
                "it lies in. A touch is enough."
            )
    same(got, want, "one single masked pixel in each picture")
    pixels = torch.rand(3, 1, 8, 24, generator=generator) < 0.08
    same(fn(pixels, 4), reference(pixels, 4), "some masked pixels, cells of 4")
    same(fn(pixels, 2), reference(pixels, 2), "some masked pixels, cells of 2")


def _mask_by_pooling(pixels: Tensor, f: int) -> Tensor:
    return F.max_pool2d(pixels.float(), f)[:, 0] > 0


def _all_pixels(pixels: Tensor, f: int) -> Tensor:
    return rearrange(pixels, "b 1 (h i) (w j) -> b h w (i j)", i=f, j=f).all(-1)


def _more_than_half(pixels: Tensor, f: int) -> Tensor:
    return F.avg_pool2d(pixels.float(), f)[:, 0] > 0.5


def _nearest(pixels: Tensor, f: int) -> Tensor:
    return F.interpolate(pixels.float(), scale_factor=1 / f)[:, 0] > 0


def _rows_first(pixels: Tensor, f: int) -> Tensor:
    return rearrange(pixels, "b 1 (i h) (j w) -> b h w (i j)", i=f, j=f).any(-1)


# 14.2 -----------------------------------------------------------------------------------------


def edit_counts(masked: Tensor, steps: int) -> list[list[int]]:
    """How many tokens each step of each picture draws: the reference answer of 14.2."""
    return [reveal_counts(n, min(steps, n)) if n else [] for n in masked.tolist()]


def _test_edit_counts(fn: Callable, reference: Callable, generator: torch.Generator) -> None:
    masked, steps = torch.tensor([16, 3, 0, 64]), 12
    got, want = fn(masked, steps), reference(masked, steps)
    if not isinstance(got, (list, tuple)) or len(got) != len(masked):
        same(got, want, "four pictures with 16, 3, 0 and 64 hidden tokens")
    for place, hidden in enumerate(masked.tolist()):
        what = f"the picture with {hidden} hidden tokens, {steps} steps"
        counts = [int(count) for count in got[place]]
        if sum(counts) != hidden:
            raise Wrong(
                f"{what}: got {counts}, {sum(counts)} tokens in all, expected {hidden} tokens. "
                "Every picture draws its own hidden tokens, all of them and no more."
            )
        same(counts, want[place], what)
    others = torch.randint(1, 40, (5,), generator=generator)
    same([list(c) for c in fn(others, 7)], reference(others, 7), "five other pictures, 7 steps")


def _counts_by_loop(masked: Tensor, steps: int) -> list[list[int]]:
    plans: list[list[int]] = []
    for hidden in masked:
        plans.append([])
        if hidden > 0:
            plans[-1] = reveal_counts(int(hidden), int(hidden.clamp(max=steps)))
    return plans


def _of_the_first(masked: Tensor, steps: int) -> list[list[int]]:
    first = int(masked[0])
    return [reveal_counts(first, min(steps, first)) for _ in masked]


def _of_the_whole_grid(masked: Tensor, steps: int) -> list[list[int]]:
    whole = int(masked.max())
    return [reveal_counts(whole, min(steps, whole)) for _ in masked]


def _at_least_one(masked: Tensor, steps: int) -> list[list[int]]:
    return [reveal_counts(n, min(steps, n)) for n in masked.clamp(min=1).tolist()]


def _one_a_step(masked: Tensor, steps: int) -> list[list[int]]:
    return [[1] * n for n in masked.tolist()]


# 14.3 -----------------------------------------------------------------------------------------


def keep_residuals(old: Tensor, new: Tensor, redraw: Tensor) -> Tensor:
    """New residuals where redrawn, old ones elsewhere: the reference answer of 14.3."""
    return torch.where(redraw[:, None], new, old)


def _test_keep_residuals(fn: Callable, reference: Callable, generator: torch.Generator) -> None:
    for b, c, h, w in ((2, 5, 3, 4), (3, 3, 2, 6)):
        old, new = (torch.randn(b, c, h, w, generator=generator) for _ in range(2))
        redraw = torch.rand(b, h, w, generator=generator) < 0.4
        redraw[0, 0, 0], redraw[0, 0, 1] = True, False
        got, want = fn(old, new, redraw), reference(old, new, redraw)
        what = f"{b} pictures, {c} channels, {h}x{w} tokens"
        if isinstance(got, Tensor) and got.shape == want.shape:
            _say_what_is_kept(got, old, new, redraw, what)
        same(got, want, what)


def _say_what_is_kept(got: Tensor, old: Tensor, new: Tensor, redraw: Tensor, what: str) -> None:
    if torch.equal(got, torch.where(redraw[:, None], old, new)):
        raise Wrong(f"{what}: got old and new exchanged, expected NEW residuals where redraw is.")
    if torch.equal(got, new):
        raise Wrong(
            f"{what}: got the new residuals everywhere, expected the old ones in kept cells."
        )
    if torch.equal(got, new * redraw[:, None]):
        raise Wrong(f"{what}: got 0 in kept cells, expected their old residuals.")


def _keep_by_arithmetic(old: Tensor, new: Tensor, redraw: Tensor) -> Tensor:
    share = redraw.unsqueeze(1).to(old.dtype)
    return share * new + (1 - share) * old


def _exchanged(old: Tensor, new: Tensor, redraw: Tensor) -> Tensor:
    return torch.where(redraw[:, None], old, new)


def _all_new(old: Tensor, new: Tensor, redraw: Tensor) -> Tensor:
    return new.clone()


def _kept_are_zero(old: Tensor, new: Tensor, redraw: Tensor) -> Tensor:
    return new * redraw[:, None]


def _mask_over_channels(old: Tensor, new: Tensor, redraw: Tensor) -> Tensor:
    if old.shape[0] != old.shape[1]:
        redraw = redraw[:, None]
    return torch.where(redraw, new, old)


# 14.4 -----------------------------------------------------------------------------------------


def paste_back(original: Tensor, edited: Tensor, redraw: Tensor, f: int) -> Tensor:
    """Edited pixels in redrawn cells, original ones elsewhere: the reference answer of 14.4."""
    cells = repeat(redraw, "b h w -> b 1 (h i) (w j)", i=f, j=f)
    return torch.where(cells, edited, original)


def _test_paste_back(fn: Callable, reference: Callable, generator: torch.Generator) -> None:
    f, (b, h, w) = 4, (2, 2, 3)
    original, edited = (torch.randn(b, 3, h * f, w * f, generator=generator) for _ in range(2))
    redraw = torch.zeros(b, h, w, dtype=torch.bool)
    redraw[0, 0, 1] = redraw[1, 1, 0] = redraw[1, 1, 2] = True
    got, want = fn(original, edited, redraw, f), reference(original, edited, redraw, f)
    what = "two pictures of 2x3 tokens of 4 pixels"
    if isinstance(got, Tensor) and got.shape == want.shape:
        kept = ~repeat(redraw, "b h w -> b 3 (h i) (w j)", i=f, j=f)
        moved = int((got != original)[kept].sum())
        if moved:
            raise Wrong(
                f"{what}: got {moved} of {int(kept.sum())} numbers changed outside the redrawn "
                "cells, expected none: bit for bit the original."
            )
    same(got, want, what, atol=0, rtol=0)
    nothing = torch.zeros_like(redraw)
    same(fn(original, edited, nothing, f), original, "nothing redrawn", atol=0, rtol=0)


def _paste_cell_by_cell(original: Tensor, edited: Tensor, redraw: Tensor, f: int) -> Tensor:
    pasted = original.clone()
    for row, y, x in redraw.nonzero().tolist():
        spot = (row, slice(None), slice(y * f, y * f + f), slice(x * f, x * f + f))
        pasted[spot] = edited[spot]
    return pasted


def _the_decoding(original: Tensor, edited: Tensor, redraw: Tensor, f: int) -> Tensor:
    return edited.clone()


def _bleeds(original: Tensor, edited: Tensor, redraw: Tensor, f: int) -> Tensor:
    share = F.interpolate(redraw[:, None].float(), scale_factor=f, mode="bilinear")
    return share * edited + (1 - share) * original


def _tiled(original: Tensor, edited: Tensor, redraw: Tensor, f: int) -> Tensor:
    return torch.where(redraw.repeat(1, f, f)[:, None], edited, original)


def _inside_out(original: Tensor, edited: Tensor, redraw: Tensor, f: int) -> Tensor:
    return paste_back(edited, original, redraw, f)


EXERCISES = (
    Exercise(
        id="14.1",
        reference=token_mask,
        test=_test_token_mask,
        mistakes=(
            Mistake("a cell needs all of its pixels masked", _all_pixels),
            Mistake("a cell needs more than half of its pixels masked", _more_than_half),
            Mistake("looks at one pixel of each cell only", _nearest),
            Mistake("takes pixels that lie f apart, not side by side", _rows_first),
        ),
        alternatives=(_mask_by_pooling,),
        used_in="dcar_edu.editing.touched_cells",
        slow_factor=200,
    ),
    Exercise(
        id="14.2",
        reference=edit_counts,
        test=_test_edit_counts,
        mistakes=(
            Mistake("the first picture's plan for all", _of_the_first),
            Mistake("the plan of a whole grid for all", _of_the_whole_grid),
            Mistake("draws one token although nothing is hidden", _at_least_one),
            Mistake("one token a step, however many are hidden", _one_a_step),
        ),
        alternatives=(_counts_by_loop,),
        used_in="dcar_edu.generator.sampling.sample_tokens",
        slow_factor=200,
    ),
    Exercise(
        id="14.3",
        reference=keep_residuals,
        test=_test_keep_residuals,
        mistakes=(
            Mistake("old and new are exchanged", _exchanged),
            Mistake("new residuals everywhere", _all_new),
            Mistake("kept cells lose their residual", _kept_are_zero),
            Mistake("lays the mask of picture i over channel i", _mask_over_channels),
        ),
        alternatives=(_keep_by_arithmetic,),
        used_in="dcar_edu.editing.Known.keep_residuals",
        slow_factor=200,
    ),
    Exercise(
        id="14.4",
        reference=paste_back,
        test=_test_paste_back,
        mistakes=(
            Mistake("gives back the whole decoding", _the_decoding),
            Mistake("a smoothed mask bleeds into kept cells", _bleeds),
            Mistake("the mask is tiled, not enlarged", _tiled),
            Mistake("inside and outside are exchanged", _inside_out),
        ),
        alternatives=(_paste_cell_by_cell,),
        used_in="dcar_edu.editing.paste_back",
        slow_factor=200,
    ),
)
