"""Lesson 12: where the time goes, and how long other models of our size take."""

import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from dcar_edu.bench import contest, peers
from dcar_edu.bench.pictures import Painter, draw_ours
from dcar_edu.bench.timing import Clock, NewWatch, Stopwatch, alternate, timed, waits, with_threads
from dcar_edu.course.studies import Experiment
from dcar_edu.pipeline import DCAR


@dataclass
class PretendDevice:
    """A device with a queue and a clock of its own: an honest stopwatch can be checked on it.

    ``run`` only puts work into the queue, as a GPU's caller does; ``sync`` waits until it is done.
    """

    cost: float = 2.0
    """Seconds of a call on the device."""
    queue: float = 0.1
    """Seconds to put it there."""
    slow: tuple[int, ...] = (1, 6)
    """These calls take ten times as long: the first warms up, another is disturbed."""
    calls: int = 0
    now: float = 0.0
    free: float = 0.0
    """When the device will have done all that was put into its queue."""
    done: list[tuple[float, float]] = field(default_factory=list)
    """When each call began and ended on the device."""

    def run(self) -> None:
        """Put one call into the queue."""
        self.calls += 1
        self.now += self.queue
        start = max(self.free, self.now)
        self.free = start + self.cost * (10 if self.calls in self.slow else 1)
        self.done.append((start, self.free))

    def sync(self) -> None:
        """Wait for the device."""
        self.now = max(self.now, self.free)

    def clock(self) -> float:
        """Read the clock."""
        return self.now


def clock(device: str | torch.device) -> Clock:
    """On a CPU the process's own seconds, which other programs leave alone; else the wall's."""
    return time.process_time if torch.device(device).type == "cpu" else time.perf_counter


def new_watch(device: str | torch.device) -> NewWatch:
    """Start stopwatches that read this clock and wait for the device."""
    return partial(Stopwatch, wait=waits(device), clock=clock(device))


def take_apart(
    painters: Sequence[Painter], device: str | torch.device, *, repeats: int, steps: int
) -> dict[str, dict[str, float]]:
    """Median seconds of every part of a picture, painters in turn, on one thread of the CPU.

    Args:
        painters: with different names.
        device: where they are.
        repeats: timed drawings of each, after one step that is not timed.
        steps: run and timed; the time of the others is theirs.

    Returns:
        ``{painter: {part: seconds a picture}}``.
    """
    watch = new_watch(device)
    with with_threads(1):
        for painter in painters:
            painter.draw(1, watch)
        runs = {p.name: partial(p.draw, min(steps, p.num_steps), watch) for p in painters}
        rounds = list(alternate(runs, repeats))
    return {
        p.name: {
            part: statistics.median(one[p.name].parts[part] / p.batch for one in rounds)
            for part in rounds[0][p.name].parts
        }
        for p in painters
    }


@torch.no_grad()
def draw_timed(
    model: DCAR, prompts: Sequence[str], **options: Any
) -> tuple[Tensor, dict[str, float]]:
    """Pictures of a trained model with the seconds of every part, at guidance 1.

    Args:
        model: draws.
        prompts: an empty one: no text at all, guidance or not.
        options: of :func:`dcar_edu.bench.pictures.draw_ours`.
    """

    def read() -> tuple[Tensor, Tensor]:
        words = model.text_encoder([prompt or "nothing" for prompt in prompts])
        nothing = model.generator.null_text[: words.mask.shape[1]].to(words.states)
        empty = torch.tensor([not prompt for prompt in prompts], device=words.mask.device)
        return torch.where(empty[:, None, None], nothing, words.states), words.mask

    with with_threads(1):
        watch = new_watch(model.device)()
        pictures = draw_ours(watch, model.generator, model.tokenizer, read, guidance=1.0, **options)
    return pictures, {part: sum(laps) for part, laps in watch.seconds.items()}


def reached(run: Mapping[str, float], accuracy: float) -> float | None:
    """TFLOP that a run of ``11_cross`` had spent when it first reached an accuracy, or None."""
    steps = sorted(key.removeprefix("tflop_") for key in run if key.startswith("tflop_"))
    for before, after in pairwise(steps):
        low, high = run[f"accuracy_{before}"], run[f"accuracy_{after}"]
        if low < accuracy <= high:
            share = (accuracy - low) / (high - low)
            return run[f"tflop_{before}"] + share * (run[f"tflop_{after}"] - run[f"tflop_{before}"])
    return None


PEER_ARMS = tuple(f"{size}px_{kind}" for size in (256, 512) for kind in contest.BATCHES)


def _peers(arm: str, seed: int, budget: str) -> dict[str, float]:
    """Ours against twins and peers: CPU seconds of one thread, which busy neighbours leave alone.

    The seed is of nothing but the name of the run: weights are random and times are measured.
    """
    del seed
    smoke = budget == "smoke"
    with with_threads(1):
        if arm == "published_decoders":
            return _published(1 if smoke else 2, (64,) if smoke else (256, 512))
        side, kind = arm.split("px_")
        painters = peers.contestants(128 if smoke else int(side), contest.BATCHES[kind])
        results = contest.compare(
            painters, repeats=1 if smoke else 3, limit=0 if smoke else 8, new_watch=new_watch("cpu")
        )
        return contest.numbers(results)


def _published(repeats: int, sizes: tuple[int, ...]) -> dict[str, float]:
    """Seconds of one picture through the peers' decoders at their published widths."""
    found: dict[str, float] = {}
    for size in sizes:
        for name, (net, draw) in peers.published_decoders(size).items():
            spread = timed(draw, clock=time.process_time, repeats=repeats)
            found[f"{name}_{size}px_seconds"] = round(spread.median, 3)
            found[f"{name}_weights"] = sum(p.numel() for p in net.parameters())
    return found


EXPERIMENTS: dict[str, Experiment] = {
    "12_peers": Experiment(
        "ours, its twins and peers of its size: CPU seconds on one thread",
        (*PEER_ARMS, "published_decoders"),
        _peers,
    ),
}
