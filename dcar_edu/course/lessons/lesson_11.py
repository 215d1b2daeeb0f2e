"""Lesson 11, from 256 to 512: the exercises."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from dcar_edu.course.checks import Exercise, Mistake, Wrong, describe, same
from dcar_edu.course.costs import cost_to_reach, equal_compute
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


# 11.3 -----------------------------------------------------------------------------------------

CASES = ((1000.0, 4.0, 0.5, 1.0), (9000.0, 3.0, 0.2, 1.5), (640.0, 8.0, 0.25, 2.0))


def _test_equal_compute(fn: Callable, reference: Callable, generator: torch.Generator) -> None:
    drawn = torch.randint(2, 9, (2,), generator=generator).tolist()
    for total, high, share, low in (*CASES, (5040.0, 2.0 * drawn[0], 0.75, float(drawn[1]))):
        got = _three_steps(fn(total, high, share, low))
        what = f"equal_compute({total:g}, {high:g}, {share:g}, {low:g})"
        spent = got[0] * low + got[1] * high
        if abs(spent - total) > low + high:
            raise Wrong(
                f"{what}: got {got}; pre-training and fine-tuning cost {spent:g} together, "
                f"expected {total:g}."
            )
        if abs(got[2] * high - total) > high:
            raise Wrong(
                f"{what}: got {got[2]} steps from scratch, which cost {got[2] * high:g}, expected "
                f"{total:g}."
            )
        same(got[0] * low / total, share, f"{what}: the share of pre-training", atol=low / total)
    whole = _three_steps(fn(1000.0, 4.0, 0.0, 1.0))
    same(list(whole), [0, 250, 250], "no pre-training at all")


def _three_steps(got: Any) -> tuple[float, float, float]:
    if isinstance(got, Tensor):
        got = got.tolist()
    if not isinstance(got, (tuple, list)) or len(got) != 3:
        raise Wrong(f"got {describe(got)}, expected three numbers of steps: 256, 512, scratch.")
    first, second, third = (n.item() if isinstance(n, Tensor) else n for n in got)
    return first, second, third


def _steps_rounded_down(total: float, cost_512: float, share: float, cost_256: float) -> list[int]:
    before = total * share
    return [int(before // cost_256), int((total - before) // cost_512), int(total // cost_512)]


def _equal_steps(total: float, cost_512: float, share: float, cost_256: float) -> tuple:
    steps = round(total / cost_512)
    return round(share * steps), steps - round(share * steps), steps


def _free_pre_training(total: float, cost_512: float, share: float, cost_256: float) -> tuple:
    return round(share * total / cost_256), round(total / cost_512), round(total / cost_512)


def _same_cost(total: float, cost_512: float, share: float, cost_256: float) -> tuple:
    return equal_compute(total, cost_512, share, cost_512)


# 11.4 -----------------------------------------------------------------------------------------

Curve = Sequence[tuple[float, float]]


def _test_cost_to_reach(fn: Callable, reference: Callable, generator: torch.Generator) -> None:
    step = 1 + int(torch.randint(4, (1,), generator=generator))
    up = [(0.0, 0.0), (10.0, 0.4), (30.0, 0.8), (40.0, 0.9)]
    dip = [(0.0, 0.1), (2.0 * step, 0.5), (3.0 * step, 0.2), (5.0 * step, 0.6)]
    cases = (
        (up, 0.6, "between two points"),
        (up, 0.8, "just at a point"),
        (dip, 0.3, "on a curve that falls back once"),
        (dip, 0.1, "at the first point already"),
        (dip, 0.55, "after the curve fell back"),
    )
    if (got := fn(up, 0.95)) is not None:
        raise Wrong(f"a quality that is never reached: got {describe(got)}, expected None.")
    for curve, quality, where in cases:
        got, want = fn(curve, quality), reference(curve, quality)
        if got is None:
            raise Wrong(f"quality {quality} {where}: got None, expected {want:g}.")
        same(float(got), want, f"quality {quality} {where}, curve {curve}")


def _with_a_loop(curve: Curve, quality: float) -> float | None:
    for place, (cost, value) in enumerate(curve):
        if value < quality:
            continue
        if place == 0:
            return cost
        before, low = curve[place - 1]
        share = (quality - low) / (value - low)
        return (1 - share) * before + share * cost
    return None


def _last_cost(curve: Curve, quality: float) -> float | None:
    return curve[-1][0] if max(value for _, value in curve) >= quality else None


def _no_interpolation(curve: Curve, quality: float) -> float | None:
    return next((cost for cost, value in curve if value >= quality), None)


def _last_crossing(curve: Curve, quality: float) -> float | None:
    for (before, low), (cost, high) in list(zip(curve, curve[1:], strict=False))[::-1]:
        if low < quality <= high:
            return before + (quality - low) / (high - low) * (cost - before)
    return curve[0][0] if curve[0][1] >= quality else None


def _never_is_the_end(curve: Curve, quality: float) -> float | None:
    found = cost_to_reach(curve, quality)
    return curve[-1][0] if found is None else found


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
    Exercise(
        id="11.3",
        reference=equal_compute,
        test=_test_equal_compute,
        mistakes=(
            Mistake("equal steps instead of equal compute", _equal_steps),
            Mistake("pre-training for nothing", _free_pre_training),
            Mistake("a step costs the same at both sizes", _same_cost),
        ),
        alternatives=(_steps_rounded_down,),
        used_in="dcar_edu.course.costs.equal_compute",
        slow_factor=200,
    ),
    Exercise(
        id="11.4",
        reference=cost_to_reach,
        test=_test_cost_to_reach,
        mistakes=(
            Mistake("the cost at the end of the curve", _last_cost),
            Mistake("the next measured point, no interpolation", _no_interpolation),
            Mistake("the last time the curve crosses", _last_crossing),
            Mistake("a quality that is never reached costs the whole run", _never_is_the_end),
        ),
        alternatives=(_with_a_loop,),
        used_in="dcar_edu.course.costs.cost_to_reach",
        slow_factor=200,
    ),
)
