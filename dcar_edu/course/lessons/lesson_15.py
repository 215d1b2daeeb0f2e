"""Lesson 15, beyond the paper: exercises 15.1 to 15.3."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from dcar_edu.course.checks import Exercise, Mistake, Wrong, same
from dcar_edu.course.lessons.quiz_15 import QUIZ, TERMS
from dcar_edu.tokenizer.multiscale import pool, spread

__all__ = ["EXERCISES", "QUIZ", "TERMS"]

# 15.1 -----------------------------------------------------------------------------------------


def multi_scale(z: Tensor, codes: Tensor, sizes: Sequence[int]) -> tuple[list[Tensor], Tensor]:
    """Ids of every size, and what they leave of the latents: the reference answer of 15.1."""
    ids, rest = [], z
    for size in sizes:
        ids.append(_nearest(pool(rest, size), codes))
        rest = rest - _spread(codes, ids[-1], z.shape[-1])
    return ids, rest


def _nearest(vectors: Tensor, codes: Tensor) -> Tensor:
    return (vectors[:, None] - codes[None, :, :, None, None]).square().sum(2).argmin(1)


def _spread(codes: Tensor, ids: Tensor, side: int) -> Tensor:
    return spread(codes[ids].permute(0, 3, 1, 2), side)


def _test_multi_scale(fn: Callable, reference: Callable, generator: torch.Generator) -> None:
    codes = torch.randn(9, 5, generator=generator)
    z = 1.5 * torch.randn(3, 5, 4, 4, generator=generator)
    for sizes in ((4,), (1, 2, 4)):
        got, want = fn(z, codes, sizes), reference(z, codes, sizes)
        what = f"3 pictures, 5 channels, 9 codes, sizes {sizes}"
        if not isinstance(got, (tuple, list)) or len(got) != 2:
            raise Wrong(f"{what}: expected two things, the list of ids and the leftover.")
        ids, leftover = list(got[0]), got[1]
        shapes = [tuple(part.shape) for part in ids if isinstance(part, Tensor)]
        if shapes[::-1] == [(3, size, size) for size in sizes] and len(sizes) > 1:
            raise Wrong(f"{what}: got ids of shapes {shapes}, expected the coarsest first.")
        same(ids, want[0], f"{what}: ids")
        if isinstance(leftover, Tensor) and leftover.shape == z.shape:
            _say_what_is_left(leftover, want[1], z, what)
        same(leftover, want[1], f"{what}: leftover")


def _say_what_is_left(got: Tensor, want: Tensor, z: Tensor, what: str) -> None:
    if torch.allclose(got, z - want, atol=1e-5):
        raise Wrong(f"{what}: got the sum of the codes, expected what they leave of z.")


def _multi_scale_by_sums(
    z: Tensor, codes: Tensor, sizes: Sequence[int]
) -> tuple[tuple[Tensor, ...], Tensor]:
    total, ids = torch.zeros_like(z), []
    for size in sizes:
        flat = pool(z - total, size).permute(0, 2, 3, 1).reshape(-1, z.shape[1])
        ids.append(torch.cdist(flat, codes).argmin(1).view(len(z), size, size))
        total = total + _spread(codes, ids[-1], z.shape[-1])
    return tuple(ids), z - total


def _z_each_time(z: Tensor, codes: Tensor, sizes: Sequence[int]) -> tuple[list[Tensor], Tensor]:
    ids, rest = [], z
    for size in sizes:
        ids.append(_nearest(pool(z, size), codes))
        rest = rest - _spread(codes, ids[-1], z.shape[-1])
    return ids, rest


def _finest_first(z: Tensor, codes: Tensor, sizes: Sequence[int]) -> tuple[list[Tensor], Tensor]:
    return multi_scale(z, codes, sizes[::-1])


def _subtracts_before(z: Tensor, codes: Tensor, sizes: Sequence[int]) -> tuple[list, Tensor]:
    ids, rest = [], z
    for size in sizes:
        means = pool(rest, size)
        ids.append(_nearest(means, codes))
        rest = rest - spread(means, z.shape[-1])
    return ids, rest


def _gives_the_sum(z: Tensor, codes: Tensor, sizes: Sequence[int]) -> tuple[list[Tensor], Tensor]:
    ids, rest = multi_scale(z, codes, sizes)
    return ids, z - rest


def _last_alone(z: Tensor, codes: Tensor, sizes: Sequence[int]) -> tuple[list[Tensor], Tensor]:
    ids, _ = multi_scale(z, codes, sizes)
    return ids, z - _spread(codes, ids[-1], z.shape[-1])


# 15.2 -----------------------------------------------------------------------------------------


def scale_mask(sizes: Sequence[int]) -> Tensor:
    """True where a token (row) may look at another (column): the reference answer of 15.2."""
    scale = torch.tensor([k for k, size in enumerate(sizes) for _ in range(size * size)])
    return scale[:, None] >= scale[None]


def _test_scale_mask(fn: Callable, reference: Callable, generator: torch.Generator) -> None:
    drawn = int(torch.randint(3, 5, (), generator=generator))
    for sizes in ((1, 2), (2, 3), (1, 2, drawn)):
        got, want = fn(sizes), reference(sizes)
        what = f"sizes {sizes}, {len(want)} tokens"
        if isinstance(got, Tensor) and got.dtype == torch.bool and got.shape == want.shape:
            _say_who_looks(got, want, sizes, what)
        same(got, want, what)


def _say_who_looks(got: Tensor, want: Tensor, sizes: Sequence[int], what: str) -> None:
    if torch.equal(got, want.T):
        raise Wrong(
            f"{what}: got the mask transposed, so that coarse tokens look at finer ones; expected "
            "those that look in rows, those that are looked at in columns."
        )
    if not got.diagonal().all():
        raise Wrong(f"{what}: got tokens that may not look at their own scale, expected they may.")
    if torch.equal(got, torch.ones_like(got).tril()):
        raise Wrong(
            f"{what}: got a plain causal mask, expected all tokens of a scale to see each other: "
            "they are drawn together."
        )


def _mask_by_blocks(sizes: Sequence[int]) -> Tensor:
    ends = [sum(size * size for size in sizes[: k + 1]) for k in range(len(sizes))]
    allowed = torch.zeros(ends[-1], ends[-1], dtype=torch.bool)
    for begin, end in zip([0, *ends], ends, strict=False):
        allowed[begin:end, :end] = True
    return allowed


def _causal(sizes: Sequence[int]) -> Tensor:
    n = sum(size * size for size in sizes)
    return torch.ones(n, n, dtype=torch.bool).tril()


def _own_hidden(sizes: Sequence[int]) -> Tensor:
    scale = torch.tensor([k for k, size in enumerate(sizes) for _ in range(size * size)])
    return scale[:, None] > scale[None]


def _transposed(sizes: Sequence[int]) -> Tensor:
    return scale_mask(sizes).T


def _own_alone(sizes: Sequence[int]) -> Tensor:
    scale = torch.tensor([k for k, size in enumerate(sizes) for _ in range(size * size)])
    return scale[:, None] == scale[None]


# 15.3 -----------------------------------------------------------------------------------------


def channels_for(f: int) -> int:
    """Channels for as many latent values as f32 with 32 channels: the reference answer of 15.3."""
    return f * f // 32


def _test_channels_for(fn: Callable, reference: Callable, generator: torch.Generator) -> None:
    for f in (32, 64, 16, 8, 128):
        got = fn(f)
        if f != 32 and isinstance(got, (int, float)):
            places, wanted = (256 // f) ** 2, 64 * 32
            if got * places != wanted:
                raise Wrong(
                    f"f = {f}: got {got} channels, so {got * places:g} values for 256 x 256 "
                    f"pixels, expected {wanted}: as many as f32 with 32 channels."
                )
        same(got, reference(f), f"channels at f = {f}")


def _channels_by_counting(f: int) -> int:
    side = 4096
    return (side // 32) ** 2 * 32 // (side // f) ** 2


def _the_same(f: int) -> int:
    return 32


def _grows_with_f(f: int) -> int:
    return f


def _inverse(f: int) -> int:
    return 32 * 32 * 32 // (f * f)


EXERCISES = (
    Exercise(
        id="15.1",
        reference=multi_scale,
        test=_test_multi_scale,
        mistakes=(
            Mistake("quantises z each time, not what is left", _z_each_time),
            Mistake("the finest scale first", _finest_first),
            Mistake("subtracts the means before rounding them to codes", _subtracts_before),
            Mistake("gives back the sum of the codes, not what they leave", _gives_the_sum),
            Mistake("the leftover forgets the coarser scales", _last_alone),
        ),
        alternatives=(_multi_scale_by_sums,),
        used_in="dcar_edu.tokenizer.multiscale.MultiScaleQuantizer.forward",
        slow_factor=200,
    ),
    Exercise(
        id="15.2",
        reference=scale_mask,
        test=_test_scale_mask,
        mistakes=(
            Mistake("a plain causal mask, token after token", _causal),
            Mistake("a scale does not see itself", _own_hidden),
            Mistake("transposed: coarse tokens look at finer ones", _transposed),
            Mistake("a scale sees itself alone", _own_alone),
        ),
        alternatives=(_mask_by_blocks,),
        used_in="dcar_edu.generator.scales.scale_mask",
        slow_factor=200,
    ),
    Exercise(
        id="15.3",
        reference=channels_for,
        test=_test_channels_for,
        mistakes=(
            Mistake("the same channels at every f", _the_same),
            Mistake("grows with f, not with its square", _grows_with_f),
            Mistake("the inverse: fewer channels at a larger f", _inverse),
        ),
        alternatives=(_channels_by_counting,),
        used_in="dcar_edu.course.studies.study_15_f64.config_of",
        slow_factor=200,
    ),
)
