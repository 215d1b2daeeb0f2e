"""Going through a loop's steps: writes down, saves, stops; and finds out how long a step takes."""

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dcar_edu.runs.keeping import Keeper, room_on_disk
from dcar_edu.runs.logbook import Logbook
from dcar_edu.runs.sources import Mixture
from dcar_edu.state import TrainingState
from dcar_edu.team import Team

SAVING_SHARE = 0.05
"""At most so much of the time goes into saving states."""


@dataclass(frozen=True)
class Call:
    """What one call of a run may do; nothing here changes what is learnt."""

    stop_after: float | None = None
    """Minutes after which this call ends; the same command goes on later."""
    save_every: float = 60.0
    """Seconds between two saved states; more where saving takes long; 0: after every step."""
    sample_every: float = 10.0
    """Minutes between two sheets of sample pictures."""
    tensorboard: bool = False
    """Write event files for TensorBoard too."""


class Asked:
    """Whether someone asked the process to end: Ctrl-C or SIGTERM."""

    def __init__(self) -> None:
        self.to_stop = False

    def __call__(self, number: int, frame: Any) -> None:
        """Note a first signal; a second one ends the process at once."""
        if self.to_stop:
            raise KeyboardInterrupt
        self.to_stop = True


@contextmanager
def listening() -> Iterator[Asked]:
    """Note Ctrl-C and SIGTERM instead of dying of them, where this is the main thread."""
    asked = Asked()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return
    before = {number: signal.signal(number, asked) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def follow(
    records: Iterator[Any],
    state: TrainingState,
    steps: int,
    out: Path,
    source: Mixture,
    keeper: Keeper,
    call: Call,
    draw: Callable[[], Tensor],
    captions: Sequence[str] = (),
) -> bool:
    """Take every step of `records`, and save, show and stop in between.

    Args:
        records: a loop, at work on `state`.
        state: saved every `call.save_every` seconds, at the end and before any stop.
        steps: of the whole run.
        out: the run's folder.
        source: the data; where its streams are is saved with the state.
        keeper: of the states.
        call: what this call may do.
        draw: makes a sheet of sample pictures with the averaged weights.
        captions: what the pictures on it show, if it was drawn from words.

    Returns:
        True at the end of the run, False when the minutes of this call ended first.

    Raises:
        KeyboardInterrupt: Ctrl-C or SIGTERM, after the state was saved.
        ValueError: a number is no longer finite, or the disk is full; the last good state is kept.
    """
    team, clock = state.team, Clock(call)
    book = _book(out, steps, state.step, call, captions) if team.is_first else None
    stop = False
    with listening() as asked, room_on_disk(keeper):
        for record in _finite(records, keeper):
            if book:
                book.write(record, state.step)
            last = state.step == steps
            stop, over = team.any(asked.to_stop), team.agree(clock.over())
            if last or stop or over or team.agree(clock.must_save()):
                clock.save(keeper, state, source.position())
            if last or (not (stop or over) and team.agree(clock.must_sample())):
                _sample(book, state, draw)
            if (stop or over) and not last:
                break  # never after the last step, when the loop has still to use the average
    if book:
        book.close()
    if state.step == steps:
        return True
    why = "" if stop else f" after {call.stop_after:g} minutes"
    team.say(f"stopped{why} at step {state.step} of {steps}; the same command goes on")
    if stop:
        raise KeyboardInterrupt
    return False


class Clock:
    """Says when to save, to show samples and to stop."""

    def __init__(self, call: Call):
        self.call, self.pause = call, call.save_every
        self.began = self.saved = self.sampled = time.monotonic()

    def over(self) -> bool:
        """Whether the minutes of this call have ended."""
        minutes = self.call.stop_after
        return minutes is not None and time.monotonic() - self.began > 60 * minutes

    def must_save(self) -> bool:
        """Whether a state is due."""
        return time.monotonic() - self.saved > self.pause

    def save(self, keeper: Keeper, state: TrainingState, position: dict[str, Any]) -> None:
        """Save, and take care that saving stays a small part of the time."""
        before = time.monotonic()
        keeper.save(state, position)
        self.saved = time.monotonic()
        if self.call.save_every:
            self.pause = max(self.call.save_every, (self.saved - before) / SAVING_SHARE)

    def must_sample(self) -> bool:
        """Whether a sheet of samples is due; then the next one is due later."""
        due = time.monotonic() - self.sampled > 60 * self.call.sample_every
        if due:
            self.sampled = time.monotonic()
        return due


def _book(out: Path, steps: int, start: int, call: Call, captions: Sequence[str]) -> Logbook:
    if start:
        print(f"going on from step {start} of {steps}", flush=True)
    book = Logbook(out, steps, start, tensorboard=call.tensorboard)
    if captions:
        book.note(list(captions))
    return book


def _sample(book: Logbook | None, state: TrainingState, draw: Callable[[], Tensor]) -> None:
    if book and not state.team.sharded:  # a process of a sharded run holds no whole model
        book.sample(draw(), state.step)


def _finite(records: Iterator[Any], keeper: Keeper) -> Iterator[Any]:
    """The records, as long as every number in them is one.

    A gradient that is not finite has already spoilt the weights: they must not be saved.
    """
    try:
        for record in records:
            spoilt = [
                f"{name.replace('_', ' ')} is {value}"
                for name, value in asdict(record).items()
                if isinstance(value, float) and not math.isfinite(value)
            ]
            if spoilt:
                raise ValueError(
                    f"{', '.join(spoilt)} after step {record.number}. Lower learning_rate, or "
                    "train in float32."
                )
            yield record
    except ValueError as error:
        safe = f"the state of step {keeper.last} is kept" if keeper.last else "no state was saved"
        raise ValueError(f"{error} ({safe}; a changed plan needs a folder of its own)") from error


def seconds_a_step(records: Iterator[Any], team: Team, steps: int = 5) -> float:
    """The time of one step: the median of some, after two that warm up."""
    times, before = [], time.monotonic()
    for _, _ in zip(range(steps + 2), records, strict=False):
        now = time.monotonic()
        times.append(now - before)
        before = now
    mine = torch.tensor(times[2:], device=team.device).median()
    return float(team.mean(mine))


def steps_in(minutes: float, seconds: float) -> int:
    """Steps that fit into the minutes, a twentieth left for saving and samples."""
    return max(1, int(60 * minutes * (1 - SAVING_SHARE) / seconds))
