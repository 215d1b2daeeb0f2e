"""How fast captioned emoji are composed."""

import statistics
import time

import torch

from dcar_edu.data import CaptionedEmoji

BATCH = 64
CONCEPTS = 256


def measure(
    resolution: int = 128,
    seconds: float = 3.0,
    *,
    threads: int = 2,
    device: torch.device | str = "cpu",
) -> dict:
    """Time batches of 64 composed emoji of 256 concepts, captions included.

    Drawing the tiles and one warm-up batch are not counted.

    Args:
        resolution: pixels.
        seconds: how long to measure; at least three batches are timed.
        threads: CPU threads while measuring; restored afterwards.
        device: where batches are composed.

    Returns:
        ``images_per_second`` (of the median batch), ``milliseconds_per_batch``, ``batches``,
        ``batch_size``, ``resolution``, ``threads``, ``device``.
    """
    data = CaptionedEmoji("train", resolution, concepts=CONCEPTS)
    generator = torch.Generator().manual_seed(0)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        data.batch(BATCH, device=device, generator=generator)
        times: list[float] = []
        end = time.perf_counter() + seconds
        while len(times) < 3 or time.perf_counter() < end:
            start = time.perf_counter()
            batch = data.batch(BATCH, device=device, generator=generator)
            float(batch.images[0, 0, 0, 0])  # wait for the device
            times.append(time.perf_counter() - start)
    finally:
        torch.set_num_threads(before)
    median = statistics.median(times)
    return {
        "images_per_second": BATCH / median,
        "milliseconds_per_batch": median * 1000,
        "batches": len(times),
        "batch_size": BATCH,
        "resolution": resolution,
        "threads": threads,
        "device": str(device),
    }
