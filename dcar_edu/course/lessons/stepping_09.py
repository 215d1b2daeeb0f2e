"""Lesson 09: exercises 09.4 and 09.5, from noise back to data."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from dcar_edu.course.checks import Exercise, Mistake, Wrong, describe, same
from dcar_edu.generator.diffusion import cosine_alpha_bars

# 09.4 -----------------------------------------------------------------------------------------


def respaced(steps: int, total: int = 1000) -> list[int]:
    """Times spread evenly over 0 .. total - 1: the reference answer of 09.4."""
    if steps == 1:
        return [total - 1]
    stride = (total - 1) / (steps - 1)
    return [round(place * stride) for place in range(steps)]


def _test_respaced(fn: Callable, reference: Callable, generator: torch.Generator) -> None:
    for steps, total in ((8, 1000), (20, 1000), (32, 1000), (1000, 1000), (2, 7), (5, 98)):
        got, want = fn(steps, total), reference(steps, total)
        if isinstance(got, Tensor):
            got = got.tolist()
        if not isinstance(got, (list, tuple)) or len(got) != steps:
            raise Wrong(f"{steps} steps of {total}: got {describe(got)}, expected {steps} times.")
        got = [int(time) if float(time).is_integer() else time for time in got]
        if got[-1] != total - 1 or got[0] != 0:
            raise Wrong(
                f"{steps} steps of {total}: got times from {got[0]} to {got[-1]}, expected from 0 "
                f"to {total - 1}: drawing must begin at pure noise and end at the data."
            )
        same(got, want, f"{steps} steps of {total}")


def _with_linspace(steps: int, total: int = 1000) -> list[int]:
    times = torch.linspace(0, total - 1, steps, dtype=torch.float64)
    return times.round().long().tolist()


def _fixed_stride(steps: int, total: int = 1000) -> list[int]:
    return list(range(0, total, total // steps))[:steps]


def _counts_from_one(steps: int, total: int = 1000) -> list[int]:
    return [1 + round(place * (total - 1) / (steps - 1)) for place in range(steps)]


def _rounds_down(steps: int, total: int = 1000) -> list[int]:
    return [int(place * (total - 1) / (steps - 1)) for place in range(steps)]


# 09.5 -----------------------------------------------------------------------------------------


def step_back(x_t: Tensor, x0: Tensor, alpha_bar: float, previous: float, noise: Tensor) -> Tensor:
    """One step from noise towards data: the reference answer of 09.5."""
    beta = 1 - alpha_bar / previous
    mean = (
        math.sqrt(previous) * beta / (1 - alpha_bar) * x0
        + math.sqrt(1 - beta) * (1 - previous) / (1 - alpha_bar) * x_t
    )
    variance = beta * (1 - previous) / (1 - alpha_bar)
    return mean + math.sqrt(variance) * noise


def _test_step_back(fn: Callable, reference: Callable, generator: torch.Generator) -> None:
    x_t, x0, noise = (torch.randn(4, 3, generator=generator) for _ in range(3))
    bars = cosine_alpha_bars()
    last = fn(x_t, x0, bars[0].item(), 1.0, noise)
    if isinstance(last, Tensor) and last.shape == x0.shape and not torch.allclose(last, x0):
        gap = (last - x0).abs().max().item()
        raise Wrong(
            f"the last step (previous = 1): got something that differs from x0 by {gap:.3f}, "
            "expected x0 exactly: at the end no noise is left and none is added."
        )
    same(last, x0, "the last step (previous = 1)")
    for t, before in ((500, 499), (520, 500), (999, 946)):  # one step apart, 20 apart, the first
        alpha_bar, previous = bars[t].item(), bars[before].item()
        silence = torch.zeros_like(noise)
        what = f"from t = {t} to {before}"
        mean, want = (g(x_t, x0, alpha_bar, previous, silence) for g in (fn, reference))
        same(mean, want, f"{what}, noise = 0: the mean")
        got, want = (g(x_t, x0, alpha_bar, previous, noise) for g in (fn, reference))
        if isinstance(got, Tensor) and torch.equal(got, mean):
            raise Wrong(f"{what}: got the same with and without noise, expected noise to be added.")
        same(got, want, f"{what}, with noise")


def _as_two_shares(
    x_t: Tensor, x0: Tensor, alpha_bar: float, previous: float, noise: Tensor
) -> Tensor:
    kept = alpha_bar / previous
    left = 1 - alpha_bar
    spread = ((1 - kept) * (1 - previous) / left) ** 0.5
    towards_data = previous**0.5 * (1 - kept) * x0
    return (towards_data + kept**0.5 * (1 - previous) * x_t) / left + spread * noise


def _variance_for_deviation(
    x_t: Tensor, x0: Tensor, alpha_bar: float, previous: float, noise: Tensor
) -> Tensor:
    variance = (1 - alpha_bar / previous) * (1 - previous) / (1 - alpha_bar)
    still = step_back(x_t, x0, alpha_bar, previous, torch.zeros_like(noise))
    return still + variance * noise


def _beta_of_the_full_schedule(
    x_t: Tensor, x0: Tensor, alpha_bar: float, previous: float, noise: Tensor
) -> Tensor:
    bars = cosine_alpha_bars()
    place = int((bars - alpha_bar).abs().argmin())
    beta = 1 - alpha_bar / (bars[place - 1].item() if place else 1.0)
    mean = (
        math.sqrt(previous) * beta / (1 - alpha_bar) * x0
        + math.sqrt(1 - beta) * (1 - previous) / (1 - alpha_bar) * x_t
    )
    return mean + math.sqrt(beta * (1 - previous) / (1 - alpha_bar)) * noise


def _noise_in_the_last_step(
    x_t: Tensor, x0: Tensor, alpha_bar: float, previous: float, noise: Tensor
) -> Tensor:
    beta = 1 - alpha_bar / previous
    still = step_back(x_t, x0, alpha_bar, previous, torch.zeros_like(noise))
    return still + math.sqrt(beta) * noise


def _no_noise_at_all(
    x_t: Tensor, x0: Tensor, alpha_bar: float, previous: float, noise: Tensor
) -> Tensor:
    return step_back(x_t, x0, alpha_bar, previous, torch.zeros_like(noise))


STEPPING = (
    Exercise(
        id="09.4",
        reference=respaced,
        test=_test_respaced,
        mistakes=(
            Mistake("a fixed stride, which never reaches the last time", _fixed_stride),
            Mistake("counts from 1 to 1000", _counts_from_one),
            Mistake("rounds down", _rounds_down),
        ),
        alternatives=(_with_linspace,),
        used_in="dcar_edu.generator.diffusion.respaced",
        slow_factor=200,  # microseconds a call: on a busy machine they vary 20-fold
    ),
    Exercise(
        id="09.5",
        reference=step_back,
        test=_test_step_back,
        mistakes=(
            Mistake("the variance where the deviation belongs", _variance_for_deviation),
            Mistake(
                "beta of the full schedule, though steps were left out", _beta_of_the_full_schedule
            ),
            Mistake("adds noise in the last step too", _noise_in_the_last_step),
            Mistake("adds no noise at all", _no_noise_at_all),
        ),
        alternatives=(_as_two_shares,),
        used_in="dcar_edu.generator.diffusion.sample",
        slow_factor=200,
    ),
)
