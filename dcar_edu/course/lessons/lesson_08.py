"""Lesson 08, drawing in 12 steps: exercises 08.1 to 08.3, and all five together.

08.4 and 08.5 stand in ``loop_08.py``.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from dcar_edu.course.checks import Exercise, Mistake, Wrong, describe, same, same_gradient
from dcar_edu.course.lessons.loop_08 import LOOP, masked_after
from dcar_edu.course.lessons.quiz_08 import QUIZ, TERMS

__all__ = ["EXERCISES", "QUIZ", "TERMS"]

# 08.1 -----------------------------------------------------------------------------------------


def _test_masked_after(fn: Callable, reference: Callable, generator: torch.Generator) -> None:
    for tokens, steps in ((64, 12), (256, 12), (16, 12), (64, 64), (5, 1)):
        got, want = fn(tokens, steps), reference(tokens, steps)
        what = f"{tokens} tokens in {steps} steps"
        if isinstance(got, Tensor):
            got = got.tolist()
        if not isinstance(got, (list, tuple)) or len(got) != steps:
            raise Wrong(f"{what}: got {describe(got)}, expected a list of {steps} counts.")
        got = [int(count) if float(count).is_integer() else count for count in got]
        if got[-1] != 0:
            raise Wrong(f"{what}: got {got[-1]} hidden at the end, expected 0.")
        idle = [k + 2 for k in range(steps - 1) if got[k + 1] >= got[k]]
        if idle:
            raise Wrong(
                f"{what}: step {idle[0]} reveals nothing, got {got[idle[0] - 1]} hidden before and "
                f"after it, expected at least one token less."
            )
        same(list(got), want, what)


def _with_running_minimum(tokens: int, steps: int) -> list[int]:
    share = torch.arccos(torch.arange(1, steps + 1, dtype=torch.float64) / steps) * 2 / math.pi
    counts = (tokens * share).floor().long().tolist()
    counts[-1] = 0
    for k in range(steps - 1):
        counts[k] = min(counts[k], (counts[k - 1] if k else tokens) - 1)
    return counts


def _cosine(tokens: int, steps: int) -> list[int]:
    counts, hidden = [], tokens
    for step in range(1, steps + 1):
        planned = math.floor(tokens * math.cos(math.pi / 2 * step / steps))
        hidden = min(hidden - 1, planned) if step < steps else 0
        counts.append(hidden)
    return counts


def _not_clamped(tokens: int, steps: int) -> list[int]:
    share = [(2 / math.pi) * math.acos(step / steps) for step in range(1, steps + 1)]
    return [math.floor(tokens * one) for one in share]


def _starts_at_step_0(tokens: int, steps: int) -> list[int]:
    counts, hidden = [], tokens + 1
    for step in range(steps):
        planned = math.floor(tokens * (2 / math.pi) * math.acos(step / steps))
        hidden = min(hidden - 1, planned)
        counts.append(hidden)
    return counts


def _linear(tokens: int, steps: int) -> list[int]:
    return [tokens - tokens * step // steps for step in range(1, steps + 1)]


# 08.2 -----------------------------------------------------------------------------------------


def guide(cond: Tensor, uncond: Tensor, scale: float) -> Tensor:
    """Push logits away from those without text: the reference answer of 08.2."""
    return cond + scale * (cond - uncond)


def _test_guide(fn: Callable, reference: Callable, generator: torch.Generator) -> None:
    cond, uncond = (torch.randn(2, 3, 5, generator=generator).requires_grad_() for _ in range(2))
    off = fn(cond, uncond, 0.0)
    if isinstance(off, Tensor) and off.shape == cond.shape and torch.allclose(off, uncond):
        raise Wrong(
            "scale 0: got the logits WITHOUT text, expected those with text. This is the other "
            "convention, where 1 means no guidance."
        )
    for scale in (0.0, 1.0, 4.5):
        got, want = fn(cond, uncond, scale), reference(cond, uncond, scale)
        same(got, want, f"scale {scale}")
        leaves = {"cond": cond, "uncond": uncond}
        same_gradient(got, want, leaves, f"scale {scale}")


def _guide_as_weights(cond: Tensor, uncond: Tensor, scale: float) -> Tensor:
    return (1 + scale) * cond - scale * uncond


def _other_convention(cond: Tensor, uncond: Tensor, scale: float) -> Tensor:
    return uncond + scale * (cond - uncond)


def _reversed(cond: Tensor, uncond: Tensor, scale: float) -> Tensor:
    return cond + scale * (uncond - cond)


def _interpolation(cond: Tensor, uncond: Tensor, scale: float) -> Tensor:
    return (1 - scale) * cond + scale * uncond


# 08.3 -----------------------------------------------------------------------------------------


def draw(logits: Tensor, temperature: float, generator: torch.Generator) -> Tensor:
    """Draw an index from each row of logits by Gumbel noise: the reference answer of 08.3."""
    uniform = torch.rand(logits.shape, generator=generator).clamp(min=1e-20)
    gumbel = -(-uniform.log()).clamp(min=1e-20).log()
    return (logits + temperature * gumbel).argmax(dim=-1)


DRAWS = 4000
"""Draws of a row; a share is then known to about one per cent."""


def _test_draw(fn: Callable, reference: Callable, generator: torch.Generator) -> None:
    logits = torch.randn(3, 7, generator=generator)
    same(fn(logits, 0.0, generator), logits.argmax(-1), "temperature 0: always the largest")
    shares = torch.tensor([0.5, 0.3, 0.15, 0.05])
    for temperature in (1.0, 2.0):
        many = (shares.log()).expand(DRAWS, 4).contiguous()
        drawn = fn(many, temperature, generator)
        if not isinstance(drawn, Tensor) or drawn.shape != (DRAWS,) or drawn.is_floating_point():
            raise Wrong(
                f"{DRAWS} rows of 4 logits: got {describe(drawn)}, expected {DRAWS} whole numbers."
            )
        want = torch.softmax(shares.log() / temperature, 0)
        found = torch.bincount(drawn, minlength=4) / DRAWS
        if (found[:4] - want).abs().max() > 0.035:
            raise Wrong(
                f"temperature {temperature}, {DRAWS} draws: got the shares "
                f"{[round(s, 2) for s in found.tolist()]}, expected about "
                f"{[round(s, 2) for s in want.tolist()]}."
            )
    seeds = [torch.Generator().manual_seed(generator.initial_seed() + 1) for _ in range(2)]
    flat = torch.zeros(50, 9)
    if not torch.equal(fn(flat, 1.0, seeds[0]), fn(flat, 1.0, seeds[1])):
        raise Wrong(
            "the same seed twice: got other indices, expected the same ones. Draw from the "
            "generator that is passed."
        )


def _draw_with_exponentials(
    logits: Tensor, temperature: float, generator: torch.Generator
) -> Tensor:
    waiting = torch.empty(logits.shape).exponential_(generator=generator)
    return (logits - temperature * waiting.log()).argmax(-1)


def _one_log(logits: Tensor, temperature: float, generator: torch.Generator) -> Tensor:
    noise = -torch.rand(logits.shape, generator=generator).clamp(min=1e-20).log()
    return (logits + temperature * noise).argmax(dim=-1)


def _clamped_before_the_minus(
    logits: Tensor, temperature: float, generator: torch.Generator
) -> Tensor:
    uniform = torch.rand(logits.shape, generator=generator).clamp(min=1e-20)
    noise = -(-(uniform.log().clamp(min=1e-20))).abs().log()  # a log below 0, clamped above 0
    return (logits + temperature * noise).argmax(dim=-1)


def _uniform_noise(logits: Tensor, temperature: float, generator: torch.Generator) -> Tensor:
    noise = torch.rand(logits.shape, generator=generator)
    return (logits + temperature * noise).argmax(dim=-1)


def _one_noise_for_all_rows(
    logits: Tensor, temperature: float, generator: torch.Generator
) -> Tensor:
    uniform = torch.rand(logits.shape[-1], generator=generator).clamp(min=1e-20)
    return (logits - temperature * (-uniform.log()).log()).argmax(dim=-1)


def _always_the_best(logits: Tensor, temperature: float, generator: torch.Generator) -> Tensor:
    return logits.argmax(dim=-1)


EXERCISES = (
    Exercise(
        id="08.1",
        reference=masked_after,
        test=_test_masked_after,
        mistakes=(
            Mistake("the cosine schedule", _cosine),
            Mistake("not clamped: some steps reveal nothing", _not_clamped),
            Mistake("begins with step 0 and never ends", _starts_at_step_0),
            Mistake("the same number in every step", _linear),
        ),
        alternatives=(_with_running_minimum,),
        used_in="dcar_edu.generator.masking.reveal_counts",
        slow_factor=200,  # microseconds a call: on a busy machine they vary 20-fold
    ),
    Exercise(
        id="08.2",
        reference=guide,
        test=_test_guide,
        mistakes=(
            Mistake("the other convention: uncond + s (cond - uncond)", _other_convention),
            Mistake("pushes towards the picture without text", _reversed),
            Mistake("blends the two", _interpolation),
        ),
        alternatives=(_guide_as_weights,),
        used_in="dcar_edu.generator.guidance.guide",
        slow_factor=200,
    ),
    Exercise(
        id="08.3",
        reference=draw,
        test=_test_draw,
        mistakes=(
            Mistake("one logarithm instead of two", _one_log),
            Mistake("clamps before the minus: all noise is equal", _clamped_before_the_minus),
            Mistake("uniform noise", _uniform_noise),
            Mistake("one noise for all rows", _one_noise_for_all_rows),
            Mistake("no noise: always the largest", _always_the_best),
        ),
        alternatives=(_draw_with_exponentials,),
        used_in="dcar_edu.generator.sampling.gumbel",
        slow_factor=50,
    ),
    *LOOP,
)
