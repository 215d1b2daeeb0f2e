"""Lesson 02, deep compression autoencoder: exercises with the wrong answers people give."""

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from torch import Tensor

from dcar_edu.course.checks import Exercise, Mistake, Wrong, same
from dcar_edu.course.lessons.attention_02 import LINEAR_ATTENTION
from dcar_edu.course.lessons.quiz_02 import QUIZ, TERMS

__all__ = ["EXERCISES", "QUIZ", "TERMS"]


def _numbered(b: int, c: int, h: int, w: int) -> Tensor:
    """Every value says where it stands: 1000 picture + 100 channel + 10 row + column."""
    places = torch.cartesian_prod(*(torch.arange(n) for n in (b, c, h, w)))
    return (places * torch.tensor([1000, 100, 10, 1])).sum(1).reshape(b, c, h, w).float()


def _traps(got: Tensor, want: Tensor, what: str, traps: Mapping[str, Tensor]) -> None:
    """Name the symptom when ``got`` is one of the tempting wrong results."""
    if not isinstance(got, Tensor) or got.shape != want.shape:
        return
    for symptom, wrong in traps.items():
        fooled = wrong.shape == want.shape and not torch.allclose(wrong, want, atol=1e-5)
        if fooled and torch.allclose(got.to(wrong.dtype), wrong, atol=1e-5):
            raise Wrong(f"{what}: {symptom}. At row 0, column 0: {_first(got, want)}.")


def _first(got: Tensor, want: Tensor) -> str:
    mine, ours = (
        [round(value, 3) for value in values[0, :, 0, 0].tolist()][:6] for values in (got, want)
    )
    more = ", ..." if want.shape[1] > 6 else ""
    return f"got channels {str(mine)[:-1]}{more}], expected {str(ours)[:-1]}{more}]"


# 02.1 -----------------------------------------------------------------------------------------


def space_to_depth(x: Tensor, f: int) -> Tensor:
    """Move each f x f block of pixels into channels: the reference answer of 02.1."""
    b, c, height, width = x.shape
    x = x.reshape(b, c, height // f, f, width // f, f)
    return x.permute(0, 1, 3, 5, 2, 4).reshape(b, c * f * f, height // f, width // f)


def _test_space_to_depth(fn: Callable, reference: Callable, generator: torch.Generator) -> None:
    x = _numbered(2, 3, 4, 6)
    got, want = fn(x, 2), reference(x, 2)
    what = "x (2, 3, 4, 6) with values 1000 picture + 100 channel + 10 row + column, f=2"
    _traps(
        got,
        want,
        what,
        {
            "the three colours of one pixel stand together, but all pixels of one colour should": (
                rearrange(x, "b c (h fy) (w fx) -> b (fy fx c) h w", fy=2, fx=2)
            ),
            "within a block the pixel below comes before the pixel to the right": (
                rearrange(x, "b c (h fy) (w fx) -> b (c fx fy) h w", fy=2, fx=2)
            ),
            "the numbers were only counted off in a new shape; a channel must take every second "
            "row and column": x.reshape(2, 12, 2, 3),
            "each channel is one large part of the picture; it must be every second pixel of it": (
                rearrange(x, "b c (fy h) (fx w) -> b (c fy fx) h w", fy=2, fx=2)
            ),
        },
    )
    same(got, want, what)
    x = _numbered(1, 2, 6, 9) + torch.rand(1, generator=generator)
    same(fn(x, 3), reference(x, 3), "x (1, 2, 6, 9), f=3")


def _by_slices(x: Tensor, f: int) -> Tensor:
    parts = [x[:, :, row::f, column::f] for row in range(f) for column in range(f)]
    return torch.stack(parts, dim=2).flatten(1, 2)


def _by_unfold(x: Tensor, f: int) -> Tensor:
    grid = x.shape[-2] // f, x.shape[-1] // f
    return F.unfold(x, f, stride=f).unflatten(-1, grid)


def _colours_together(x: Tensor, f: int) -> Tensor:
    return rearrange(x, "b c (h fy) (w fx) -> b (fy fx c) h w", fy=f, fx=f)


def _columns_first(x: Tensor, f: int) -> Tensor:
    return rearrange(x, "b c (h fy) (w fx) -> b (c fx fy) h w", fy=f, fx=f)


def _only_reshaped(x: Tensor, f: int) -> Tensor:
    b, c, height, width = x.shape
    return x.reshape(b, c * f * f, height // f, width // f)


def _large_parts(x: Tensor, f: int) -> Tensor:
    return rearrange(x, "b c (fy h) (fx w) -> b (c fy fx) h w", fy=f, fx=f)


def _always_two(x: Tensor, f: int) -> Tensor:
    return space_to_depth(x, 2 if x.shape[-2] % 2 == 0 and x.shape[-1] % 2 == 0 else 1)


# 02.2 -----------------------------------------------------------------------------------------


def shortcut_down(x: Tensor, out_channels: int, f: int = 2) -> Tensor:
    """Pixels into channels, then means of neighbouring channels: the reference answer of 02.2."""
    x = F.pixel_unshuffle(x, f)
    b, c, h, w = x.shape
    return x.reshape(b, out_channels, c // out_channels, h, w).mean(dim=2)


def _test_shortcut_down(fn: Callable, reference: Callable, generator: torch.Generator) -> None:
    x = torch.arange(16.0).reshape(1, 1, 4, 4)
    cases = [
        ("the numbers 0 to 15 in a 4 x 4 picture, 1 channel to 2", x, 2, 2),
        ("x (2, 3, 4, 6), 3 channels to 6", torch.rand(2, 3, 4, 6, generator=generator), 6, 2),
        ("x (2, 4, 6, 2), 4 channels to 4", torch.rand(2, 4, 6, 2, generator=generator), 4, 2),
        ("x (2, 8, 3, 5), 8 channels to 2, f=1", torch.rand(2, 8, 3, 5, generator=generator), 2, 1),
        ("x (1, 2, 6, 9), 2 channels to 6, f=3", torch.rand(1, 2, 6, 9, generator=generator), 6, 3),
    ]
    for what, x, channels, f in cases:
        got, want = fn(x, channels, f), reference(x, channels, f)
        deep = F.pixel_unshuffle(x, f)
        size = deep.shape[1] // channels
        squares = F.avg_pool2d(x, f)
        _traps(
            got,
            want,
            what,
            {
                "the channels of a group must stand side by side; yours stand far apart": (
                    rearrange(deep, "b (group c) h w -> b c h w group", c=channels).mean(-1)
                ),
                f"every value is {size} times too large, a sum and not a mean": want * size,
                "the other channels are thrown away, so their pixels are lost": deep[:, :channels],
                "this is the mean of whole squares, the same in several channels; the pixels side "
                "by side must stay apart": squares.repeat_interleave(
                    max(channels // x.shape[1], 1), 1
                ),
            },
        )
        same(got, want, what)


def _by_pooling_over_channels(x: Tensor, out_channels: int, f: int = 2) -> Tensor:
    deep = rearrange(F.pixel_unshuffle(x, f), "b c h w -> b h w c")
    pooled = F.adaptive_avg_pool1d(deep.flatten(0, 1), out_channels)
    return rearrange(pooled, "(b h) w c -> b c h w", b=len(x))


def _by_a_fixed_matrix(x: Tensor, out_channels: int, f: int = 2) -> Tensor:
    deep = F.pixel_unshuffle(x, f)
    size = deep.shape[1] // out_channels
    weights = torch.eye(out_channels).repeat_interleave(size, 1) / size
    return torch.einsum("oc,bchw->bohw", weights, deep)


def _strided_channels(x: Tensor, out_channels: int, f: int = 2) -> Tensor:
    deep = F.pixel_unshuffle(x, f)
    return rearrange(deep, "b (group c) h w -> b c h w group", c=out_channels).mean(-1)


def _sum_of_groups(x: Tensor, out_channels: int, f: int = 2) -> Tensor:
    deep = F.pixel_unshuffle(x, f)
    return rearrange(deep, "b (c group) h w -> b c h w group", c=out_channels).sum(-1)


def _first_channels(x: Tensor, out_channels: int, f: int = 2) -> Tensor:
    return F.pixel_unshuffle(x, f)[:, :out_channels]


def _mean_of_squares(x: Tensor, out_channels: int, f: int = 2) -> Tensor:
    return F.avg_pool2d(x, f).repeat_interleave(max(out_channels // x.shape[1], 1), 1)


# 02.3 -----------------------------------------------------------------------------------------


def shortcut_up(x: Tensor, out_channels: int, f: int = 2) -> Tensor:
    """Repeat channels, then channels into pixels: the reference answer of 02.3."""
    copies = out_channels * f * f // x.shape[1]
    return F.pixel_shuffle(x.repeat_interleave(copies, dim=1), f)


def _test_shortcut_up(fn: Callable, reference: Callable, generator: torch.Generator) -> None:
    for channels, f in [(4, 2), (8, 2), (16, 2), (32, 1), (8, 3)]:
        x = torch.rand(2, 8, 2, 3, generator=generator)
        what = f"x (2, 8, 2, 3), 8 channels to {channels}, f={f}"
        copies = channels * f * f // 8
        got, want = fn(x, channels, f), reference(x, channels, f)
        _traps(
            got,
            want,
            what,
            {
                "the copies of one channel must stand side by side; here the whole stack of "
                "channels was repeated": F.pixel_shuffle(x.repeat(1, copies, 1, 1), f),
                f"every value is {copies} times too small; what was averaged on the way down was "
                "already small": want / copies,
                "each pixel became a square of one value; when channels get fewer, two channels "
                "fill the square": _nearest(x, channels, f),
            },
        )
        same(got, want, what)


def _by_index(x: Tensor, out_channels: int, f: int = 2) -> Tensor:
    b, c, h, w = x.shape
    out = x.new_empty(b, out_channels, h * f, w * f)
    for channel in range(out_channels):
        for row in range(f):
            for column in range(f):
                deep = (channel * f + row) * f + column
                out[:, channel, row::f, column::f] = x[:, deep * c // (out_channels * f * f)]
    return out


def _by_einops(x: Tensor, out_channels: int, f: int = 2) -> Tensor:
    copies = out_channels * f * f // x.shape[1]
    deep = repeat(x, "b c h w -> b (c copies) h w", copies=copies)
    return rearrange(deep, "b (c fy fx) h w -> b c (h fy) (w fx)", fy=f, fx=f)


def _whole_stack(x: Tensor, out_channels: int, f: int = 2) -> Tensor:
    copies = out_channels * f * f // x.shape[1]
    return F.pixel_shuffle(x.repeat(1, copies, 1, 1), f)


def _divided(x: Tensor, out_channels: int, f: int = 2) -> Tensor:
    return shortcut_up(x, out_channels, f) / (out_channels * f * f // x.shape[1])


def _nearest(x: Tensor, out_channels: int, f: int = 2) -> Tensor:
    large = F.interpolate(x, scale_factor=f, mode="nearest")
    if out_channels >= x.shape[1]:
        return large.repeat_interleave(out_channels // x.shape[1], 1)
    return large.unflatten(1, (out_channels, -1)).mean(2)


def _columns_before_rows(x: Tensor, out_channels: int, f: int = 2) -> Tensor:
    copies = out_channels * f * f // x.shape[1]
    deep = x.repeat_interleave(copies, dim=1)
    return rearrange(deep, "b (c fx fy) h w -> b c (h fy) (w fx)", fy=f, fx=f)


EXERCISES = (
    Exercise(
        id="02.1",
        reference=space_to_depth,
        test=_test_space_to_depth,
        mistakes=(
            Mistake("order (fy, fx, c): the colours of a pixel together", _colours_together),
            Mistake("columns before rows within a block", _columns_first),
            Mistake("a plain reshape", _only_reshaped),
            Mistake("cuts the picture into f x f large parts", _large_parts),
            Mistake("works for f = 2 only", _always_two),
        ),
        alternatives=(_by_slices, _by_unfold),
        used_in="dcar_edu.tokenizer.blocks.Down",
    ),
    Exercise(
        id="02.2",
        reference=shortcut_down,
        test=_test_shortcut_down,
        mistakes=(
            Mistake("groups channels that stand far apart", _strided_channels),
            Mistake("a sum, not a mean", _sum_of_groups),
            Mistake("keeps the first channels", _first_channels),
            Mistake("avg_pool2d: the mean of squares", _mean_of_squares),
        ),
        alternatives=(_by_pooling_over_channels, _by_a_fixed_matrix),
        used_in="dcar_edu.tokenizer.blocks.shortcut_down",
    ),
    Exercise(
        id="02.3",
        reference=shortcut_up,
        test=_test_shortcut_up,
        mistakes=(
            Mistake("repeats the whole stack of channels", _whole_stack),
            Mistake("divides by the number of copies", _divided),
            Mistake("nearest enlarging, wrong when channels get fewer", _nearest),
            Mistake("columns before rows", _columns_before_rows),
        ),
        alternatives=(_by_einops, _by_index),
        used_in="dcar_edu.tokenizer.blocks.shortcut_up",
    ),
    LINEAR_ATTENTION,
)
