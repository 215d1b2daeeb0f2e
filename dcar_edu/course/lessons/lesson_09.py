"""Lesson 09, diffusion from nothing: exercises 09.1 to 09.3, and all five together.

09.4 and 09.5 stand in ``stepping_09.py``.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from dcar_edu.course.checks import Exercise, Mistake, Spy, Wrong, same, same_gradient
from dcar_edu.course.lessons.quiz_09 import QUIZ, TERMS
from dcar_edu.course.lessons.stepping_09 import STEPPING
from dcar_edu.generator.diffusion import cosine_alpha_bars

__all__ = ["EXERCISES", "QUIZ", "TERMS"]

# 09.1 -----------------------------------------------------------------------------------------


def noised(x0: Tensor, noise: Tensor, alpha_bar: Tensor) -> Tensor:
    """Add noise to clean data: the reference answer of 09.1."""
    share = alpha_bar[:, None]
    return share.sqrt() * x0 + (1 - share).sqrt() * noise


def _test_noised(fn: Callable, reference: Callable, generator: torch.Generator) -> None:
    x0, noise = (torch.randn(5, 3, generator=generator) for _ in range(2))
    alpha_bar = torch.tensor([0.9, 0.5, 0.01, 1.0, 0.3])
    got, want = fn(x0, noise, alpha_bar), reference(x0, noise, alpha_bar)
    if isinstance(got, Tensor) and got.shape == want.shape:
        if torch.allclose(got, noised(noise, x0, alpha_bar), atol=1e-4):
            raise Wrong(
                "data and noise have changed places: got mostly noise where alpha_bar is near 1, "
                "expected mostly data there."
            )
        if torch.allclose(got, alpha_bar[:, None] * x0 + (1 - alpha_bar)[:, None] * noise):
            raise Wrong(
                "the roots are missing: got shares that add up to 1, expected shares whose "
                "SQUARES add up to 1, so that the variance stays 1."
            )
    same(got, want, "five points, each with its own alpha_bar")


def _noised_by_power(x0: Tensor, noise: Tensor, alpha_bar: Tensor) -> Tensor:
    rows = [x * a**0.5 + n * (1 - a) ** 0.5 for x, n, a in zip(x0, noise, alpha_bar, strict=True)]
    return torch.stack(rows)


def _no_roots(x0: Tensor, noise: Tensor, alpha_bar: Tensor) -> Tensor:
    return alpha_bar[:, None] * x0 + (1 - alpha_bar[:, None]) * noise


def _swapped(x0: Tensor, noise: Tensor, alpha_bar: Tensor) -> Tensor:
    return noised(noise, x0, alpha_bar)


def _one_minus_root(x0: Tensor, noise: Tensor, alpha_bar: Tensor) -> Tensor:
    root = alpha_bar[:, None].sqrt()
    return root * x0 + (1 - root) * noise


def _one_level_for_all(x0: Tensor, noise: Tensor, alpha_bar: Tensor) -> Tensor:
    return noised(x0, noise, alpha_bar[:1].expand(len(x0)))


# 09.2 -----------------------------------------------------------------------------------------


def diffusion_loss(
    net: Callable, x0: Tensor, cond: Tensor, alpha_bars: Tensor, generator: torch.Generator
) -> Tensor:
    """Mean squared error of the guessed noise: the reference answer of 09.2."""
    t = torch.randint(len(alpha_bars), (len(x0),), generator=generator)
    noise = torch.randn(x0.shape, generator=generator)
    x = noised(x0, noise, alpha_bars[t].to(x0))
    return (net(x, t, cond) - noise).square().mean()


POINTS = 3000
"""So many points that a mean over them is known to about two per cent."""


def _test_diffusion_loss(fn: Callable, reference: Callable, generator: torch.Generator) -> None:
    x0 = 2 + 0.5 * torch.randn(POINTS, 3, generator=generator)
    cond = torch.randn(POINTS, 2, generator=generator)
    bars = cosine_alpha_bars()

    def silent(x: Tensor, t: Tensor, cond: Tensor) -> Tensor:
        return torch.zeros_like(x)

    spy = Spy(silent)
    loss = fn(spy, x0, cond, bars, generator)
    _check_call(spy, x0, cond)
    value = _number(loss)
    if not 0.9 < value < 1.1:
        raise Wrong(
            f"a network that always answers 0: got a loss of {value:.3f}, expected about 1.0, the "
            "variance of the noise. What is the target?"
        )

    def knowing(x: Tensor, t: Tensor, cond: Tensor) -> Tensor:
        share = bars[t].to(x)[:, None]
        return (x - share.sqrt() * x0) / (1 - share).sqrt()

    value = _number(fn(knowing, x0, cond, bars, generator))
    if value > 0.01:
        raise Wrong(
            f"a network that knows the noise exactly: got a loss of {value:.3f}, expected 0. The "
            "noise that is asked for must be the one that was added, at the time that was told."
        )
    _check_draws_and_gradient(fn, reference, x0, cond, generator.initial_seed())


def _check_draws_and_gradient(
    fn: Callable, reference: Callable, x0: Tensor, cond: Tensor, seed: int
) -> None:
    bars, weight = cosine_alpha_bars(), torch.tensor(0.5, requires_grad=True)

    def learning(x: Tensor, t: Tensor, cond: Tensor) -> Tensor:
        return weight * x

    one, two, ours = (torch.Generator().manual_seed(seed + 1) for _ in range(3))
    got = fn(learning, x0, cond, bars, one)
    if _number(got) != _number(fn(learning, x0, cond, bars, two)):
        raise Wrong(
            "the same seed twice: got two different losses, expected the same one. Draw times and "
            "noise from the generator that is passed."
        )
    want = reference(learning, x0, cond, bars, ours)
    if torch.allclose(got, want):  # the same draws, then the same gradient
        same_gradient(got, want, {"weight of the network": weight}, "the loss")
    elif torch.autograd.grad(got, weight, allow_unused=True)[0] is None:
        raise Wrong("got a loss without a gradient for the network, expected one.")


def _check_call(spy: Spy, x0: Tensor, cond: Tensor) -> None:
    if len(spy.calls) != 1 or len(spy.calls[0]) != 3:
        raise Wrong(f"got {len(spy.calls)} calls of the network, expected one: net(x_t, t, cond).")
    x, t, told = spy.calls[0]
    if not isinstance(t, Tensor) or t.shape != (len(x0),) or t.is_floating_point():
        raise Wrong(
            f"the times told to the network: got shape {tuple(getattr(t, 'shape', ()))}, expected "
            f"({len(x0)},) whole numbers, one time a row."
        )
    if t.min() < 0 or t.max() > 999 or t.max() < 900 or len(t.unique()) < 500:
        raise Wrong(
            f"the times told to the network: got {len(t.unique())} different ones from "
            f"{int(t.min())} to {int(t.max())}, expected a fresh draw from 0..999 for each row."
        )
    same(x.shape, x0.shape, "the shape of the noised data")
    same(told, cond, "the condition handed to the network")


def _number(loss: object) -> float:
    if not isinstance(loss, Tensor) or loss.ndim:
        raise Wrong(f"the loss: got {type(loss).__name__}, expected one number as a tensor.")
    return loss.item()


def _loss_by_hand(
    net: Callable, x0: Tensor, cond: Tensor, alpha_bars: Tensor, generator: torch.Generator
) -> Tensor:
    noise = torch.randn(x0.shape, generator=generator)
    t = (torch.rand(len(x0), generator=generator) * len(alpha_bars)).long()
    share = alpha_bars[t].reshape(-1, 1).float()
    gap = noise - net(torch.sqrt(share) * x0 + torch.sqrt(1 - share) * noise, t, cond)
    return torch.mean(gap**2)


def _one_time_a_batch(
    net: Callable, x0: Tensor, cond: Tensor, alpha_bars: Tensor, generator: torch.Generator
) -> Tensor:
    t = torch.randint(len(alpha_bars), (1,), generator=generator).expand(len(x0))
    noise = torch.randn(x0.shape, generator=generator)
    return (net(noised(x0, noise, alpha_bars[t].to(x0)), t, cond) - noise).square().mean()


def _target_is_the_data(
    net: Callable, x0: Tensor, cond: Tensor, alpha_bars: Tensor, generator: torch.Generator
) -> Tensor:
    t = torch.randint(len(alpha_bars), (len(x0),), generator=generator)
    noise = torch.randn(x0.shape, generator=generator)
    return (net(noised(x0, noise, alpha_bars[t].to(x0)), t, cond) - x0).square().mean()


def _fresh_noise_as_target(
    net: Callable, x0: Tensor, cond: Tensor, alpha_bars: Tensor, generator: torch.Generator
) -> Tensor:
    t = torch.randint(len(alpha_bars), (len(x0),), generator=generator)
    x = noised(x0, torch.randn(x0.shape, generator=generator), alpha_bars[t].to(x0))
    return (net(x, t, cond) - torch.randn(x0.shape, generator=generator)).square().mean()


def _own_seed(
    net: Callable, x0: Tensor, cond: Tensor, alpha_bars: Tensor, generator: torch.Generator
) -> Tensor:
    fresh = torch.Generator()
    fresh.seed()
    return diffusion_loss(net, x0, cond, alpha_bars, fresh)


# 09.3 -----------------------------------------------------------------------------------------


def predict_x0(x_t: Tensor, eps: Tensor, alpha_bar: float, clip: float | None = None) -> Tensor:
    """Clean data from noisy data and a guess of its noise: the reference answer of 09.3."""
    x0 = (x_t - math.sqrt(1 - alpha_bar) * eps) / math.sqrt(alpha_bar)
    return x0 if clip is None else x0.clamp(-clip, clip)


def _test_predict_x0(fn: Callable, reference: Callable, generator: torch.Generator) -> None:
    x_t, eps = (torch.randn(4, 3, generator=generator) for _ in range(2))
    for alpha_bar, clip in ((0.36, None), (0.9, 2.5), (0.04, 1.5)):
        got, want = fn(x_t, eps, alpha_bar, clip), reference(x_t, eps, alpha_bar, clip)
        same(got, want, f"alpha_bar = {alpha_bar}, clip = {clip}")
    same(fn(x_t, eps, 0.25), reference(x_t, eps, 0.25), "alpha_bar = 0.25, clip left out")


def _predict_with_torch(
    x_t: Tensor, eps: Tensor, alpha_bar: float, clip: float | None = None
) -> Tensor:
    share = torch.tensor(alpha_bar)
    x0 = x_t / share.sqrt() - (1 / share - 1).sqrt() * eps
    return x0 if clip is None else x0.maximum(torch.tensor(-clip)).minimum(torch.tensor(clip))


def _not_divided(x_t: Tensor, eps: Tensor, alpha_bar: float, clip: float | None = None) -> Tensor:
    x0 = x_t - math.sqrt(1 - alpha_bar) * eps
    return x0 if clip is None else x0.clamp(-clip, clip)


def _clips_what_comes_in(
    x_t: Tensor, eps: Tensor, alpha_bar: float, clip: float | None = None
) -> Tensor:
    x_t = x_t if clip is None else x_t.clamp(-clip, clip)
    return (x_t - math.sqrt(1 - alpha_bar) * eps) / math.sqrt(alpha_bar)


def _takes_all_noise_away(
    x_t: Tensor, eps: Tensor, alpha_bar: float, clip: float | None = None
) -> Tensor:
    x0 = (x_t - eps) / math.sqrt(alpha_bar)
    return x0 if clip is None else x0.clamp(-clip, clip)


def _always_clips(x_t: Tensor, eps: Tensor, alpha_bar: float, clip: float | None = None) -> Tensor:
    return predict_x0(x_t, eps, alpha_bar, clip or 1.0)


EXERCISES = (
    Exercise(
        id="09.1",
        reference=noised,
        test=_test_noised,
        mistakes=(
            Mistake("the roots are missing", _no_roots),
            Mistake("data and noise have changed places", _swapped),
            Mistake("1 minus the root, not the root of 1 minus", _one_minus_root),
            Mistake("the first row's alpha_bar for all rows", _one_level_for_all),
        ),
        alternatives=(_noised_by_power,),
        used_in="dcar_edu.generator.diffusion.add_noise",
        slow_factor=200,  # microseconds a call: on a busy machine they vary 20-fold
    ),
    Exercise(
        id="09.2",
        reference=diffusion_loss,
        test=_test_diffusion_loss,
        mistakes=(
            Mistake("one time for the whole batch", _one_time_a_batch),
            Mistake("asks for the data, not for the noise", _target_is_the_data),
            Mistake("asks for noise that was never added", _fresh_noise_as_target),
            Mistake("draws from a generator of its own", _own_seed),
        ),
        alternatives=(_loss_by_hand,),
        used_in="dcar_edu.generator.residual_head.ResidualHead.loss",
        slow_factor=50,
    ),
    Exercise(
        id="09.3",
        reference=predict_x0,
        test=_test_predict_x0,
        mistakes=(
            Mistake("does not divide by the root of alpha_bar", _not_divided),
            Mistake("clips the noisy input, not the answer", _clips_what_comes_in),
            Mistake(
                "takes away all of the guessed noise, whatever the time", _takes_all_noise_away
            ),
            Mistake("clips although no bound was given", _always_clips),
        ),
        alternatives=(_predict_with_torch,),
        used_in="dcar_edu.generator.diffusion.predict_x0",
        slow_factor=200,
    ),
    *STEPPING,
)
