"""Lesson 11, from 256 to 512: exercises 11.1 and 11.2, and all four together.

11.3 and 11.4 stand in ``computing_11.py``.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from dcar_edu.course.checks import Exercise, Mistake, Wrong, same
from dcar_edu.course.lessons.computing_11 import COMPUTING
from dcar_edu.course.lessons.quiz_11 import QUIZ, TERMS

__all__ = ["EXERCISES", "QUIZ", "TERMS"]

# 11.1 -----------------------------------------------------------------------------------------


def grid_coordinates(h: int, w: int, base: float = 16) -> Tensor:
    """Row and column of every token, in units of the picture: the reference answer of 11.1."""
    rows, columns = torch.arange(h) * base / h, torch.arange(w) * base / w
    return torch.stack([rows.repeat_interleave(w), columns.repeat(h)], dim=1)


def _test_grid_coordinates(fn: Callable, reference: Callable, generator: torch.Generator) -> None:
    h, w = (int(n) for n in torch.randperm(5, generator=generator)[:2] + 3)
    for rows, columns, base in ((2, 4, 16), (8, 8, 16), (16, 16, 16), (h, w, 10)):
        got, want = fn(rows, columns, base), reference(rows, columns, base)
        what = f"grid_coordinates({rows}, {columns}, base={base})"
        if isinstance(got, Tensor) and got.shape == want.shape:
            got = got.to(want.dtype)
            _say_which(got, want, rows, columns, what)
        same(got, want, what)
    same(fn(2, 4).float(), reference(2, 4), "grid_coordinates(2, 4), base left out")


def _say_which(got: Tensor, want: Tensor, rows: int, columns: int, what: str) -> None:
    if torch.allclose(got, want):
        return
    if torch.allclose(got, want.flip(1)):
        raise Wrong(f"{what}: got the column first, expected (row, column).")
    by_column = want.view(rows, columns, 2).transpose(0, 1).reshape(-1, 2)
    if torch.allclose(got, by_column):
        raise Wrong(
            f"{what}: got the tokens column by column, expected row by row, as `flatten` gives "
            "them."
        )
    if got.max() >= want.max() + 1e-4:
        raise Wrong(
            f"{what}: got coordinates up to {got.max():.4g}, expected up to {want.max():.4g}. The "
            "first token of every grid lies at 0, and a grid of `base` rows at 0, 1, 2, ..."
        )


def _coordinates_by_loop(h: int, w: int, base: float = 16) -> Tensor:
    return torch.tensor([[i * base / h, j * base / w] for i in range(h) for j in range(w)])


def _raw_index(h: int, w: int, base: float = 16) -> Tensor:
    return torch.cartesian_prod(torch.arange(h).float(), torch.arange(w).float())


def _with_the_end(h: int, w: int, base: float = 16) -> Tensor:
    return torch.cartesian_prod(torch.linspace(0, base, h), torch.linspace(0, base, w))


def _column_first(h: int, w: int, base: float = 16) -> Tensor:
    return grid_coordinates(h, w, base).flip(1)


def _column_by_column(h: int, w: int, base: float = 16) -> Tensor:
    return grid_coordinates(h, w, base).view(h, w, 2).transpose(0, 1).reshape(-1, 2)


def _one_side_for_both(h: int, w: int, base: float = 16) -> Tensor:
    return grid_coordinates(h, w, base) * torch.tensor([1.0, w / h])


# 11.2 -----------------------------------------------------------------------------------------


def position_code(coordinates: Tensor, width: int) -> Tensor:
    """Sines and cosines of column, then of row: the reference answer of 11.2."""
    quarter = width // 4
    frequencies = 10000.0 ** (-torch.arange(quarter) / quarter)
    rows, columns = coordinates[:, :1] * frequencies, coordinates[:, 1:] * frequencies
    return torch.cat([columns.sin(), columns.cos(), rows.sin(), rows.cos()], dim=1)


def _test_position_code(fn: Callable, reference: Callable, generator: torch.Generator) -> None:
    spots = 16 * torch.rand(7, 2, generator=generator)
    for coordinates, width in ((grid_coordinates(2, 3), 8), (spots, 24)):
        got, want = fn(coordinates, width), reference(coordinates, width)
        what = f"position_code of {len(coordinates)} places, width {width}"
        if isinstance(got, Tensor) and got.shape == want.shape:
            columns, rows = want.chunk(2, dim=1)
            if torch.allclose(got.to(want), torch.cat([rows, columns], dim=1), atol=1e-5):
                raise Wrong(
                    f"{what}: got the row in the first half, expected the column there. The "
                    "trained weights know it that way round."
                )
            one = want[:, : width // 4]
            if not torch.allclose(got[:, : width // 4].to(want), one, atol=1e-5) and torch.allclose(
                got.to(want).sort(1).values, want.sort(1).values, atol=1e-5
            ):
                raise Wrong(
                    f"{what}: got the right numbers in another order, expected all sines of the "
                    "column, then its cosines, then both of the row."
                )
        same(got, want, what)


def _code_by_outer(coordinates: Tensor, width: int) -> Tensor:
    speed = torch.exp(-math.log(10000) * torch.arange(0, 1, 4 / width))
    parts = []
    for column in (1, 0):
        angle = torch.outer(coordinates[:, column], speed)
        parts += [torch.sin(angle), torch.cos(angle)]
    return torch.hstack(parts)


def _halves_swapped(coordinates: Tensor, width: int) -> Tensor:
    return position_code(coordinates.flip(1), width)


def _interleaved(coordinates: Tensor, width: int) -> Tensor:
    sines, cosines = position_code(coordinates, width).view(-1, 2, 2, width // 4).unbind(2)
    return torch.stack([sines, cosines], dim=3).flatten(1)


def _sum_in_one_code(coordinates: Tensor, width: int) -> Tensor:
    half = width // 2
    speed = 10000.0 ** (-torch.arange(half) / half)
    angle = coordinates.sum(1, keepdim=True) * speed
    return torch.cat([angle.sin(), angle.cos()], dim=1)


def _one_speed(coordinates: Tensor, width: int) -> Tensor:
    angle = coordinates[:, [1, 0], None].expand(-1, -1, width // 4)
    return torch.cat([angle.sin(), angle.cos()], dim=2).flatten(1)


EXERCISES = (
    Exercise(
        id="11.1",
        reference=grid_coordinates,
        test=_test_grid_coordinates,
        mistakes=(
            Mistake("the raw index", _raw_index),
            Mistake("from 0 to base with the end", _with_the_end),
            Mistake("column before row", _column_first),
            Mistake("column by column", _column_by_column),
            Mistake("the number of rows for both sides", _one_side_for_both),
        ),
        alternatives=(_coordinates_by_loop,),
        used_in="dcar_edu.generator.transformer.positions",
        slow_factor=200,  # microseconds a call: on a busy machine they vary 20-fold
    ),
    Exercise(
        id="11.2",
        reference=position_code,
        test=_test_position_code,
        mistakes=(
            Mistake("row and column halves swapped", _halves_swapped),
            Mistake("sine and cosine take turns", _interleaved),
            Mistake("row + column in one code", _sum_in_one_code),
            Mistake("one frequency only", _one_speed),
        ),
        alternatives=(_code_by_outer,),
        used_in="dcar_edu.generator.transformer.positions",
        slow_factor=200,
    ),
    *COMPUTING,
)
