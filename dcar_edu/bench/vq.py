"""How fast the nearest code is found: ours, ``torch.cdist`` and vector-quantize-pytorch."""

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dcar_edu.bench.timing import alternate, timed, with_threads
from dcar_edu.tokenizer.quantizer import VectorQuantizer

PEER = "vector-quantize-pytorch"


@dataclass(frozen=True)
class Contest:
    """Two ways to the same indices, timed in turn in one process."""

    against: str
    vectors: int
    seconds: float
    """Ours, the median run."""
    their_seconds: float
    megabytes: float | None
    """Ours beyond the inputs, at the peak of the first run; None where it cannot be measured."""
    their_megabytes: float | None

    @property
    def speed(self) -> float:
        """How many times as fast we are."""
        return self.their_seconds / self.seconds

    @property
    def memory(self) -> float | None:
        """How many times the memory they need."""
        if self.megabytes is None or self.their_megabytes is None:
            return None
        return self.their_megabytes / max(self.megabytes, 1.0)


def against_cdist(
    vectors: int = 65_536, num_codes: int = 16_384, channels: int = 32, *, repeats: int = 3
) -> Contest:
    """Time ``VectorQuantizer.nearest`` and ``torch.cdist(x, e).argmin(1)``.

    Args:
        vectors: how many latents are compared.
        num_codes: ``K``.
        channels: ``c``.
        repeats: timed runs of each, after one that is not timed.

    Raises:
        ValueError: the indices differ.
    """
    quantizer, latents = _codes_and_latents(vectors, num_codes, channels)
    codes = quantizer.codes.detach()
    return _contest(
        "torch.cdist",
        vectors,
        lambda: quantizer.nearest(latents),
        lambda: torch.cdist(latents, codes).argmin(1),
        repeats,
    )


def against_peer(
    vectors: int = 8_192, num_codes: int = 16_384, channels: int = 32, *, repeats: int = 5
) -> Contest | None:
    """Time a whole pass through our quantizer and through vector-quantize-pytorch's.

    Both in eval mode, without gradients, with the same codes on the unit sphere (the peer's
    ``use_cosine_sim``, its faster way). None when the peer is not installed.

    Args:
        vectors: how many latents are compared.
        num_codes: ``K``.
        channels: ``c``.
        repeats: timed runs of each, after one that is not timed.

    Raises:
        ValueError: the indices differ.
    """
    try:
        from vector_quantize_pytorch import VectorQuantize
    except ImportError:
        return None
    quantizer, latents = _codes_and_latents(vectors, num_codes, channels)
    peer: Any = VectorQuantize(dim=channels, codebook_size=num_codes, use_cosine_sim=True).eval()
    peer._codebook.embed.copy_(quantizer.codes.detach()[None])
    grid = latents.T[None, :, None].contiguous()
    return _contest(
        f"{PEER} {metadata.version(PEER)}",
        vectors,
        lambda: quantizer(grid).indices.flatten(),
        lambda: peer(latents[None])[1].flatten(),
        repeats,
    )


def report(*, repeats: int = 3, threads: int | None = None, **sizes: int) -> str:
    """Both contests in words: ``speed``, ``memory``, then the peer.

    Args:
        repeats: timed runs of each side.
        threads: CPU threads while measuring, restored afterwards; None: as they are.
        sizes: ``num_codes`` and ``channels`` of both contests.
    """
    with with_threads(threads) as used:
        lines = _lines(against_cdist(repeats=repeats, **sizes))
        peer = against_peer(repeats=repeats, **sizes)
    if peer is None:
        lines.append(f"peer not installed: pip install {PEER} (torch must stay as it is)")
    else:
        lines.append(f"peer {_lines(peer)[0]}")
    return "\n".join([*lines, f"indices equal; {used} CPU threads, median of {repeats} runs"])


def _lines(contest: Contest) -> list[str]:
    theirs = f"{contest.against} at {contest.vectors:,} vectors"
    speed = f"speed {contest.speed:.2f}x  {contest.seconds:.3f} s, {theirs} "
    if contest.memory is None:
        memory = "memory not measured: this system does not tell the peak of a process"
    else:
        memory = f"memory {contest.memory:.2f}x  {contest.megabytes:,.0f} MB beside the inputs, "
        memory += f"{contest.against} {contest.their_megabytes:,.0f} MB"
    return [f"{speed}{contest.their_seconds:.3f} s", memory]


def _codes_and_latents(
    vectors: int, num_codes: int, channels: int
) -> tuple[VectorQuantizer, Tensor]:
    """Codes on the unit sphere and latents as near to some of them as trained ones are.

    At a cosine of 0.95 the nearest code is nearest beyond every rounding, so that indices of
    different libraries must be equal.
    """
    generator = torch.Generator().manual_seed(0)
    quantizer = VectorQuantizer(num_codes, channels).eval()
    directions = torch.randn(num_codes, channels, generator=generator)
    codes = torch.nn.functional.normalize(directions)
    quantizer.codes.data = codes
    picked = codes[torch.randint(num_codes, (vectors,), generator=generator)]
    noise = torch.randn(vectors, channels, generator=generator) * 0.33 / channels**0.5
    return quantizer, torch.nn.functional.normalize(picked + noise)


@torch.no_grad()
def _contest(
    against: str,
    vectors: int,
    ours: Callable[[], Tensor],
    theirs: Callable[[], Tensor],
    repeats: int,
) -> Contest:
    """Run both once for the indices and the memory, then in turn for the time."""
    (mine, megabytes), (other, their_megabytes) = _peak(ours), _peak(theirs)
    if different := int((mine != other).sum()):
        raise ValueError(
            f"our indices and those of {against} differ at {different} of {vectors} vectors. "
            "One of the two is wrong: run the tests of the quantizer."
        )
    runs = {"ours": partial(_seconds, ours), "theirs": partial(_seconds, theirs)}
    rounds = list(alternate(runs, repeats))
    mine_median, their_median = (
        statistics.median(one[side] for one in rounds) for side in ("ours", "theirs")
    )
    return Contest(against, vectors, mine_median, their_median, megabytes, their_megabytes)


def _seconds(run: Callable[[], object]) -> float:
    return timed(run, repeats=1, warmup=0).median


def _peak(run: Callable[[], Tensor]) -> tuple[Tensor, float | None]:
    """What ``run`` gives, and how many MB the process grew at its peak (Linux only)."""
    process = Path("/proc/self")
    try:
        (process / "clear_refs").write_text("5")  # the peak begins at the present size
    except OSError:
        return run(), None
    before = _megabytes(process, "VmRSS")
    result = run()
    return result, _megabytes(process, "VmHWM") - before


def _megabytes(process: Path, field: str) -> float:
    status = (process / "status").read_text()
    return int(status.split(f"{field}:")[1].split()[0]) * 1024 / 1e6
