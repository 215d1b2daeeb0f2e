"""Lesson 11: exercises 11.3 and 11.4, what may be compared and what a quality costs."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from dcar_edu.course.checks import Exercise, Mistake, Wrong, describe, same
from dcar_edu.course.costs import cost_to_reach, equal_compute

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


COMPUTING = (
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
