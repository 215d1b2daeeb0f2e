"""Lesson 12: where the time goes, and how long other models of our size take."""

import time
from functools import partial

from dcar_edu.bench import contest, peers
from dcar_edu.bench.timing import Stopwatch, timed, with_threads
from dcar_edu.course.studies import Experiment

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
        new_watch = partial(Stopwatch, clock=time.process_time)
        results = contest.compare(
            painters, repeats=1 if smoke else 3, limit=0 if smoke else 8, new_watch=new_watch
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
