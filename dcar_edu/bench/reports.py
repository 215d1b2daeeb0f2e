"""What ``dcar bench parts`` and ``dcar bench peers`` print."""

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import product
from typing import Any

import torch

from dcar_edu.bench import components, contest
from dcar_edu.bench.flops import measure_roof
from dcar_edu.bench.ours import Place, ours
from dcar_edu.bench.peers import contestants
from dcar_edu.bench.timing import Stopwatch, clock_named, waits, with_threads

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
KINDS = {batch: kind for kind, batch in contest.BATCHES.items()}


def parts_report(
    *,
    sizes: Sequence[int] = (256, 512),
    batches: Sequence[int] = (1, 8),
    way: str = "eager",
    dtype: str = "float32",
    peak: float | None = None,
    device: str = "cpu",
    clock: str = "wall",
    repeats: int = 3,
    threads: int | None = None,
    **model: Any,
) -> Iterator[str]:
    """Every part of a picture: seconds, share, operations, and how near the device's best.

    Args:
        sizes: pixels of a side.
        batches: pictures drawn together.
        way: of :data:`dcar_edu.bench.ours.WAYS`; other than eager is measured beside eager.
        dtype: of weights and numbers.
        peak: TFLOP/s of the device; None: measured.
        device: where.
        clock: ``"wall"`` or ``"cpu"``.
        repeats: timed batches.
        threads: CPU threads while measuring, restored afterwards; None: as they are.
        model: the other options of :func:`dcar_edu.bench.ours.ours`.

    Raises:
        ValueError: an option that does not exist or does not go with another.
    """
    if dtype not in DTYPES:
        raise ValueError(f"dtype must be one of {', '.join(DTYPES)}, got '{dtype}'.")
    places = {name: Place(device, DTYPES[dtype], name) for name in dict.fromkeys(("eager", way))}
    with with_threads(threads) as used:
        reads = clock_named(clock, threads=used, device=device)
        new_watch = partial(Stopwatch, wait=waits(device), clock=reads)
        roof = measure_roof(device, DTYPES[dtype], peak=peak and peak * 1e12, clock=reads)
        yield _machine(device, used, dtype, clock, repeats)
        yield ", ".join(f"{name} {value}" for name, value in model.items())
        yield (
            f"roof: {roof.flops / 1e9:,.0f} GFLOP/s ({'measured' if roof.measured else 'given'}), "
            f"{roof.bytes / 1e9:,.1f} GB/s (measured); random weights"
        )
        for size, batch in product(sizes, batches):
            painters = [
                ours(size=size, batch=batch, place=place, name=name, **model)
                for name, place in places.items()
            ]
            found = components.break_down(
                painters, repeats=repeats, new_watch=new_watch, like=painters[0]
            )
            for one in found:
                yield ""
                yield from components.table(one, roof)
            if len(found) > 1:
                faster = found[0].total.median / found[1].total.median
                yield f"{way} is {faster:.2f} times as fast as eager"


def peers_report(
    *,
    sizes: Sequence[int] = (256, 512),
    batches: Sequence[int] = (1, 8),
    limit: float = 30.0,
    device: str = "cpu",
    clock: str = "wall",
    repeats: int = 3,
    threads: int | None = None,
) -> Iterator[str]:
    """Our model beside others of its size: seconds, ratios, and the paper's claims at 512 pixels.

    Args:
        sizes: pixels of a side.
        batches: pictures drawn together; 1 gives the latency, 8 the throughput.
        limit: see :func:`dcar_edu.bench.contest.compare`.
        device: where.
        clock: ``"wall"`` or ``"cpu"``.
        repeats: rounds.
        threads: CPU threads while measuring, restored afterwards; None: as they are.

    Raises:
        ValueError: diffusers is not installed, or an option does not go with another.
    """
    with with_threads(threads) as used:
        reads = clock_named(clock, threads=used, device=device)
        new_watch = partial(Stopwatch, wait=waits(device), clock=reads)
        yield _machine(device, used, "float32", clock, repeats)
        yield "random weights, guidance on, text states given; bodies within 5 % of each other"
        for size, batch in product(sizes, batches):
            painters = contestants(size, batch, Place(device))
            results = contest.compare(painters, repeats=repeats, limit=limit, new_watch=new_watch)
            yield ""
            yield from contest.table(results)
            if size == 512 and batch in KINDS:
                for result in results[1:]:
                    yield contest.claim(result, results[0], KINDS[batch])


def _machine(device: str, threads: int, dtype: str, clock: str, repeats: int) -> str:
    kind = torch.device(device).type
    if kind != "cpu":
        device = f"{device} ({torch.get_device_module(kind).get_device_name()})"
    return f"{device}, {threads} CPU threads, {dtype}, {clock} clock, median of {repeats} runs"
