"""How long something takes, measured so that the number can be believed.

Four rules: the first calls are not counted; a device must have finished before a clock is read;
the middle of several runs counts, with the spread beside it; and what is compared runs in turn in
one process, so that a busy minute falls on both sides.
"""

import contextlib
import math
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch

Result = TypeVar("Result")
Key = TypeVar("Key")
Clock = Callable[[], float]
NewWatch = Callable[[], "Stopwatch"]
"""Starts a stopwatch: which clock is read, and what is waited for, in one argument."""


@dataclass(frozen=True)
class Spread:
    """Several measurements of one thing: the middle one, and how far the others lie."""

    median: float
    low: float
    """The smallest."""
    high: float
    """The largest."""
    count: int

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Of one or more numbers.

        Raises:
            ValueError: no number.
        """
        if not values:
            raise ValueError("nothing was measured: ask for one repeat or more.")
        return cls(statistics.median(values), min(values), max(values), len(values))


def waits(device: torch.device | str) -> Callable[[], None]:
    """What waits until ``device`` has done all it was asked; does nothing for a CPU."""
    kind = torch.device(device).type
    if kind == "cpu":
        return lambda: None
    module = torch.get_device_module(kind)
    return lambda: module.synchronize(device)


def clock_named(name: str, *, threads: int, device: torch.device | str = "cpu") -> Clock:
    """A clock by name.

    Args:
        name: ``"wall"``, or ``"cpu"``: seconds that this process computed. On a machine that others
            use too it leaves out their turns, but it adds up threads and sees no GPU.
        threads: of the measurement.
        device: of the measurement.

    Raises:
        ValueError: no such clock, or the CPU's clock for several threads or for a GPU.
    """
    if name not in ("wall", "cpu"):
        raise ValueError(f"clocks are 'wall' and 'cpu', got '{name}'. Name one of them.")
    if name == "wall":
        return time.perf_counter
    if threads != 1 or torch.device(device).type != "cpu":
        raise ValueError(
            f"the CPU's clock adds up threads and sees no GPU; got {threads} threads on {device}. "
            "Use one thread of the CPU, or the wall clock."
        )
    return time.process_time


class Stopwatch:
    """Gives the seconds since the last lap a name.

    Example:
        >>> now = iter([10.0, 12.0, 17.0, 18.0])
        >>> watch = Stopwatch(clock=lambda: next(now))
        >>> for part in ("words", "step", "step"):
        ...     watch.lap(part)
        >>> watch.seconds
        {'words': [2.0], 'step': [5.0, 1.0]}
    """

    def __init__(
        self, *, wait: Callable[[], None] = lambda: None, clock: Clock | None = None
    ) -> None:
        self.seconds: dict[str, list[float]] = {}
        self._wait, self._clock = wait, clock or time.perf_counter
        self._wait()
        self._last = self._clock()

    def lap(self, part: str) -> None:
        """All since the last lap, or since the start, was ``part``."""
        self._wait()
        now = self._clock()
        self.seconds.setdefault(part, []).append(now - self._last)
        self._last = now


def timed(
    run: Callable[[], object],
    *,
    wait: Callable[[], None] = lambda: None,
    clock: Clock | None = None,
    repeats: int = 5,
    warmup: int = 1,
) -> Spread:
    """Seconds of ``run``: the median of several calls after some that are not counted.

    Args:
        run: what is timed.
        wait: see :func:`waits`; called before each reading of the clock, so that work still in the
            device's queue counts where it belongs.
        clock: seconds; the wall clock by default.
        repeats: counted calls.
        warmup: calls before them.

    Raises:
        ValueError: no repeats.

    Example:
        >>> now = iter([0.0, 2.0, 5.0, 5.5, 6.0, 7.0])
        >>> timed(lambda: None, clock=lambda: next(now), repeats=3, warmup=2)
        Spread(median=1.0, low=0.5, high=2.0, count=3)
    """
    for _ in range(warmup):
        run()
    seconds = []
    for _ in range(repeats):
        watch = Stopwatch(wait=wait, clock=clock)
        run()
        watch.lap("run")
        seconds += watch.seconds["run"]
    return Spread.of(seconds)


def alternate(
    runs: Mapping[Key, Callable[[], Result]], repeats: int
) -> Iterator[dict[Key, Result]]:
    """Call every run in turn, ``repeats`` times; yields one round's results.

    Every other round goes backwards: a machine that slows down steadily is then unfair to nobody.
    """
    names = list(runs)
    for number in range(repeats):
        order = names if number % 2 == 0 else names[::-1]
        done = {name: runs[name]() for name in order}
        yield {name: done[name] for name in names}


def ratios(theirs: Sequence[float], ours: Sequence[float]) -> Spread:
    """How many times as long as ours theirs took, round by round.

    Raises:
        ValueError: another number of rounds, or none.
    """
    if len(theirs) != len(ours):
        raise ValueError(f"rounds must pair up, got {len(theirs)} and {len(ours)}.")
    return Spread.of([t / o for t, o in zip(theirs, ours, strict=True)])


@contextlib.contextmanager
def with_threads(threads: int | None) -> Iterator[int]:
    """CPU threads while measuring, restored afterwards; None: as they are. Gives their number."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        yield torch.get_num_threads()
    finally:
        torch.set_num_threads(before)


def seconds_text(seconds: float) -> str:
    """Three digits and a unit: ``0.0123`` is ``"12.3 ms"``.

    Example:
        >>> [seconds_text(value) for value in (0.000456, 0.0123, 1.234, 127.4)]
        ['0.456 ms', '12.3 ms', '1.23 s', '127 s']
    """
    unit, value = ("s", seconds) if seconds >= 1 else ("ms", 1000 * seconds)
    digits = max(0, 2 - math.floor(math.log10(value))) if value > 0 else 0
    return f"{value:.{min(digits, 3)}f} {unit}"
