"""Lesson 00, start here: three exercises with the wrong answers that people really give.

A test makes sure that each wrong answer is rejected; the same list tells an instructor what to
look out for.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from dcar_edu.course.checks import Exercise, Mistake, Wrong, rejects, same
from dcar_edu.course.lessons.quiz_00 import QUIZ, TERMS

__all__ = ["EXERCISES", "QUIZ", "TERMS"]

# 00.1 -----------------------------------------------------------------------------------------


def token_grid(height: int, width: int, f: int = 32) -> tuple[int, int]:
    """Rows and columns of tokens of a picture: the reference answer of 00.1."""
    if height % f or width % f:
        raise ValueError(f"height and width must be multiples of {f}, got {height}x{width}")
    return height // f, width // f


def _test_token_grid(fn: Callable, reference: Callable, generator: torch.Generator) -> None:
    rows, columns = (int(n) for n in torch.randint(2, 9, (2,), generator=generator))
    columns += rows  # never square: a swapped answer must differ
    for height, width, f in [(256, 512, 32), (96, 64, 16), (rows * 8, columns * 8, 8)]:
        call = f"token_grid({height}, {width}, f={f})"
        got, want = fn(height, width, f=f), reference(height, width, f=f)
        if isinstance(got, tuple | list) and tuple(got) == want[::-1]:
            raise Wrong(
                f"rows and columns are swapped: {call} got {tuple(got)}, expected {want}. "
                "Rows come from the height."
            )
        same(got, want, f"{call} = (rows, columns)")
        if any(isinstance(n, float) for n in got):
            raise Wrong(f"{call}: got {got}, expected whole numbers {want}. Use //, not /.")
    same(fn(256, 512), reference(256, 512), "token_grid(256, 512), where f is 32 by default")
    for height, width in [(100, 256), (256, 100)]:
        rejects(fn, height, width, what=f"token_grid({height}, {width}): pixels are left over")


def _with_divmod(height: int, width: int, f: int = 32) -> tuple[int, int]:
    (rows, below), (columns, right) = divmod(height, f), divmod(width, f)
    if below + right > 0:
        raise ValueError("pixels left over")
    return rows, columns


def _columns_first(height: int, width: int, f: int = 32) -> tuple[int, int]:
    return token_grid(width, height, f)


def _one_number(height: int, width: int, f: int = 32) -> int:
    rows, columns = token_grid(height, width, f)
    return rows * columns


def _rounds_down(height: int, width: int, f: int = 32) -> tuple[int, int]:
    return height // f, width // f


def _looks_at_the_height_only(height: int, width: int, f: int = 32) -> tuple[int, int]:
    if height % f:
        raise ValueError("height")
    return height // f, width // f


def _forgets_f(height: int, width: int, f: int = 32) -> tuple[int, int]:
    return token_grid(height, width, 32)


# 00.2 -----------------------------------------------------------------------------------------


def to_model(pixels: Tensor) -> Tensor:
    """Bytes (h, w, 3) to floats (3, h, w) in [-1, 1]: the reference answer of 00.2."""
    return pixels.permute(2, 0, 1).float() / 127.5 - 1


def _test_to_model(fn: Callable, reference: Callable, generator: torch.Generator) -> None:
    flat = torch.zeros(3, 5, 3, dtype=torch.uint8)
    for value in (0, 255, 128):
        got = fn(flat + value)
        if value == 255 and isinstance(got, Tensor) and got.float().max() < 0:
            raise Wrong(
                f"the largest byte, 255, became: got {got.max():.3f}, expected 1. A byte holds at "
                "most 255 and then starts again at 0. Make floats before you do arithmetic."
            )
        same(got, reference(flat + value), f"a picture where every byte is {value}")
    pixels = torch.randint(0, 256, (3, 5, 3), generator=generator, dtype=torch.uint8)
    got, want = fn(pixels), reference(pixels)
    if torch.allclose(got.float(), want.flip(0), atol=1e-5):
        raise Wrong("red and blue are swapped: got blue first, expected red first.")
    same(got, want, "a picture of random bytes, height 3, width 5")


def _halves(pixels: Tensor) -> Tensor:
    return (torch.stack(pixels.unbind(-1)) / 255 - 0.5) / 0.5


def _reshapes(pixels: Tensor) -> Tensor:
    height, width, _ = pixels.shape
    return pixels.reshape(3, height, width) / 127.5 - 1


def _from_zero_to_one(pixels: Tensor) -> Tensor:
    return pixels.permute(2, 0, 1) / 255


def _overflows(pixels: Tensor) -> Tensor:
    return pixels.permute(2, 0, 1) * 2 / 255 - 1


def _by_128(pixels: Tensor) -> Tensor:
    return pixels.permute(2, 0, 1) / 128 - 1


def _width_before_height(pixels: Tensor) -> Tensor:
    return pixels.permute(2, 1, 0) / 127.5 - 1


def _blue_first(pixels: Tensor) -> Tensor:
    return to_model(pixels).flip(0)


# 00.3 -----------------------------------------------------------------------------------------


def reveal_order(masks: Tensor) -> Tensor:
    """Step in which each token appeared, counted from 1: the reference answer of 00.3."""
    return masks.sum(0) + 1


def _test_reveal_order(fn: Callable, reference: Callable, generator: torch.Generator) -> None:
    order = torch.randint(1, 7, (3, 5), generator=generator)
    order[order == 4] = 3  # a step that reveals nothing
    order[0, 0], order[2, 4] = 1, 6
    masks = torch.arange(1, 7)[:, None, None] < order
    got, what = fn(masks), "the step in which each token appeared (6 steps, 3 x 5 tokens)"
    if isinstance(got, Tensor) and got.shape == order.shape:
        if torch.equal(got.long(), 6 - order) or torch.equal(got.long(), 7 - order):
            raise Wrong(
                f"{what}: counted from the end. The token revealed first got {int(got[0, 0])}, "
                "expected 1."
            )
        if int(got.max()) == int(got.min()):
            raise Wrong(
                f"{what}: every token got {int(got.max())}, expected 1 to 6. argmax finds the "
                "FIRST largest value; look at what your tensor holds in step 1."
            )
    same(got, reference(masks), what)


def _first_visible(masks: Tensor) -> Tensor:
    return (~masks).int().argmax(0) + 1


def _in_a_loop(masks: Tensor) -> Tensor:
    order = torch.ones(masks.shape[1:], dtype=torch.int32)
    for mask in masks:
        order = order + mask.int()
    return order


def _off_by_one(masks: Tensor) -> Tensor:
    return masks.sum(0)


def _from_the_end(masks: Tensor) -> Tensor:
    return (~masks).sum(0)


def _argmax_of_hidden(masks: Tensor) -> Tensor:
    return masks.int().argmax(0) + 2


def _over_the_rows(masks: Tensor) -> Tensor:
    return masks.sum(1) + 1


EXERCISES = (
    Exercise(
        id="00.1",
        reference=token_grid,
        test=_test_token_grid,
        mistakes=(
            Mistake("gives the columns first", _columns_first),
            Mistake("gives one number, the product", _one_number),
            Mistake("rounds down without an error", _rounds_down),
            Mistake("checks the height only", _looks_at_the_height_only),
            Mistake("always divides by 32", _forgets_f),
        ),
        alternatives=(_with_divmod,),
        used_in="dcar_edu.tokenizer.autoencoder.to_latent_grid",
    ),
    Exercise(
        id="00.2",
        reference=to_model,
        test=_test_to_model,
        mistakes=(
            Mistake("reshape instead of permute", _reshapes),
            Mistake("range [0, 1]", _from_zero_to_one),
            Mistake("doubles the bytes before making them floats", _overflows),
            Mistake("divides by 128", _by_128),
            Mistake("width before height", _width_before_height),
            Mistake("blue first", _blue_first),
        ),
        alternatives=(_halves,),
        used_in="dcar_edu.images.to_model",
    ),
    Exercise(
        id="00.3",
        reference=reveal_order,
        test=_test_reveal_order,
        mistakes=(
            Mistake("off by one", _off_by_one),
            Mistake("counts from the end", _from_the_end),
            Mistake("argmax of the hidden steps", _argmax_of_hidden),
            Mistake("adds up the rows, not the steps", _over_the_rows),
        ),
        alternatives=(_first_visible, _in_a_loop),
        used_in="dcar_edu.course.figures.reveal_map",
    ),
)
