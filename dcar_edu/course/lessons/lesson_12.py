"""Lesson 12, Where does the time go?: an honest stopwatch, a bill of operations, and Amdahl."""

import math
import statistics
from collections.abc import Callable, Mapping

import torch

from dcar_edu.course.checks import Exercise, Mistake, Wrong, same
from dcar_edu.course.lessons.quiz_12 import QUIZ, TERMS
from dcar_edu.course.studies.study_12 import PretendDevice

__all__ = ["EXERCISES", "QUIZ", "TERMS"]

# 12.1 -----------------------------------------------------------------------------------------


def timed(run: Callable, sync: Callable, clock: Callable, repeats: int, warmup: int) -> float:
    """Median seconds of a call: the reference answer of 12.1."""
    for _ in range(warmup):
        run()
    seconds = []
    for _ in range(repeats):
        sync()
        start = clock()
        run()
        sync()
        seconds.append(clock() - start)
    return statistics.median(seconds)


def _test_timed(fn: Callable, reference: Callable, generator: torch.Generator) -> None:
    cost, queue = (1 + torch.rand(2, generator=generator)).tolist()
    for repeats, warmup, slow, what in (
        (5, 1, (1, 6), "the first and the sixth call are slow, 1 warm-up, 5 repeats"),
        (1, 1, (1,), "the first call is slow, 1 warm-up, 1 repeat"),
        (3, 2, (1, 2), "the first two calls are slow, 2 warm-ups, 3 repeats"),
        (1, 0, (), "no warm-up, 1 repeat"),
    ):
        devices = [PretendDevice(cost=cost, queue=0.1 * queue, slow=slow) for _ in range(2)]
        got, want = (
            timer(device.run, device.sync, device.clock, repeats, warmup)
            for timer, device in zip((fn, reference), devices, strict=True)
        )
        if devices[0].calls != repeats + warmup:
            raise Wrong(
                f"{what}: got {devices[0].calls} calls of run, expected {repeats + warmup}."
            )
        same(got, want, what)


def _timed_drained_once(
    run: Callable, sync: Callable, clock: Callable, repeats: int, warmup: int
) -> float:
    """The queue is empty after each measurement, so it is drained once before the first."""
    for _ in range(warmup):
        run()
    sync()
    seconds = []
    for _ in range(repeats):
        start = clock()
        run()
        sync()
        seconds.append(clock() - start)
    seconds.sort()
    return (seconds[(repeats - 1) // 2] + seconds[repeats // 2]) / 2


def _no_sync(run: Callable, sync: Callable, clock: Callable, repeats: int, warmup: int) -> float:
    return timed(run, lambda: None, clock, repeats, warmup)


def _warm_up_counted(
    run: Callable, sync: Callable, clock: Callable, repeats: int, warmup: int
) -> float:
    return timed(run, sync, clock, repeats + warmup, 0)


def _mean(run: Callable, sync: Callable, clock: Callable, repeats: int, warmup: int) -> float:
    for _ in range(warmup):
        run()
    seconds = []
    for _ in range(repeats):
        sync()
        start = clock()
        run()
        sync()
        seconds.append(clock() - start)
    return statistics.mean(seconds)


def _not_drained(
    run: Callable, sync: Callable, clock: Callable, repeats: int, warmup: int
) -> float:
    for _ in range(warmup):
        run()
    seconds = []
    for _ in range(repeats):
        start = clock()
        run()
        sync()
        seconds.append(clock() - start)
    return statistics.median(seconds)


# 12.2 -----------------------------------------------------------------------------------------


def generation_flops(tokens: int, width: int, depth: int, steps: int, guided: bool) -> int:
    """Operations of the blocks for one picture: the reference answer of 12.2."""
    layers = 2 * 14 * width**2
    attention = 2 * 2 * tokens * width
    passes = steps * (2 if guided else 1)
    return passes * depth * tokens * (layers + attention)


def _test_generation_flops(fn: Callable, reference: Callable, generator: torch.Generator) -> None:
    extra = int(torch.randint(1, 50, (), generator=generator))
    for tokens, width, depth, steps, guided in (
        (1, 1, 1, 1, False),
        (64 + extra, 320, 6, 12, True),
        (64 + extra, 320, 6, 12, False),
        (4096, 64 + extra, 3, 5, False),
    ):
        got = fn(tokens, width, depth, steps, guided)
        want = reference(tokens, width, depth, steps, guided)
        case = f"{tokens} tokens, width {width}, {depth} blocks, {steps} steps"
        same(float(got), float(want), f"{case}, {'guided' if guided else 'not guided'}", rtol=1e-9)


def _sum_of_layers(tokens: int, width: int, depth: int, steps: int, guided: bool) -> int:
    total = 0
    for weights in (3 * width**2, width**2, width**2, width**2, 8 * width**2):
        total += 2 * tokens * weights
    total += 2 * tokens * tokens * width  # every query with every key
    total += 2 * tokens * tokens * width  # every share with every value
    return total * depth * steps * (1 + bool(guided))


def _guidance_free(tokens: int, width: int, depth: int, steps: int, guided: bool) -> int:
    return generation_flops(tokens, width, depth, steps, False)


def _multiply_adds(tokens: int, width: int, depth: int, steps: int, guided: bool) -> int:
    return generation_flops(tokens, width, depth, steps, guided) // 2


def _linear_attention(tokens: int, width: int, depth: int, steps: int, guided: bool) -> int:
    passes = steps * (2 if guided else 1)
    return passes * depth * tokens * (28 * width**2 + 4 * width)


# 12.3 -----------------------------------------------------------------------------------------


def total_speedup(parts: Mapping[str, float], faster: Mapping[str, float]) -> float:
    """How many times as fast the whole becomes: the reference answer of 12.3."""
    after = sum(seconds / faster.get(name, 1) for name, seconds in parts.items())
    return sum(parts.values()) / after


def _test_total_speedup(fn: Callable, reference: Callable, generator: torch.Generator) -> None:
    draws = (0.5 + torch.rand(4, generator=generator)).tolist()
    seconds = dict(zip(("text", "steps", "head", "decoder"), draws, strict=True))
    shares = {"text": 0.1, "steps": 0.6, "head": 0.1, "decoder": 0.2}
    for parts, faster, what in (
        (shares, {"steps": 5}, "shares .1/.6/.1/.2, steps 5 times as fast"),
        (seconds, {"steps": 3, "decoder": 2}, "seconds that do not add up to 1, two parts faster"),
        (seconds, {"head": 0.5}, "a head that takes twice as long"),
        (seconds, {}, "nothing faster"),
    ):
        kept = dict(parts), dict(faster)
        same(float(fn(parts, faster)), float(reference(*kept)), what, rtol=1e-9)
        if (parts, faster) != kept:
            raise Wrong(f"{what}: your function changes a dict it was given. Work on a copy.")


def _by_saved_time(parts: Mapping[str, float], faster: Mapping[str, float]) -> float:
    whole = math.fsum(parts.values())
    saved = math.fsum(parts[name] * (1 - 1 / factor) for name, factor in faster.items())
    return 1 / (1 - saved / whole)


def _product(parts: Mapping[str, float], faster: Mapping[str, float]) -> float:
    return math.prod(faster.values())


def _mean_factor(parts: Mapping[str, float], faster: Mapping[str, float]) -> float:
    whole = sum(parts.values())
    return sum(seconds / whole * faster.get(name, 1) for name, seconds in parts.items())


def _forgets_the_rest(parts: Mapping[str, float], faster: Mapping[str, float]) -> float:
    if not faster:
        return 1.0
    return sum(parts[name] for name in faster) / sum(parts[n] / f for n, f in faster.items())


EXERCISES = (
    Exercise(
        id="12.1",
        reference=timed,
        test=_test_timed,
        mistakes=(
            Mistake("never waits for the device", _no_sync),
            Mistake("counts the warm-up", _warm_up_counted),
            Mistake("the mean, which one disturbed call spoils", _mean),
            Mistake("does not empty the queue before it starts the clock", _not_drained),
        ),
        alternatives=(_timed_drained_once,),
        used_in="dcar_edu.bench.timing.timed",
    ),
    Exercise(
        id="12.2",
        reference=generation_flops,
        test=_test_generation_flops,
        mistakes=(
            Mistake("guidance for nothing", _guidance_free),
            Mistake("counts a multiplication and an addition as one", _multiply_adds),
            Mistake("attention that does not grow with the tokens", _linear_attention),
        ),
        alternatives=(_sum_of_layers,),
        used_in="dcar_edu.bench.flops.generation_flops",
    ),
    Exercise(
        id="12.3",
        reference=total_speedup,
        test=_test_total_speedup,
        mistakes=(
            Mistake("the product of the factors", _product),
            Mistake("the mean of the factors", _mean_factor),
            Mistake("forgets the parts that stay as they are", _forgets_the_rest),
        ),
        alternatives=(_by_saved_time,),
        used_in="dcar_edu.bench.flops.total_speedup",
    ),
)
