"""What must be computed: counted operations, the formula behind them, and what a device can do.

Counted are matrix products and convolutions, as torch's FLOP counter does; attention is run as
plain matrix products, because the counter knows no CPU kernel for it.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from dcar_edu.bench.timing import Clock, timed, waits

Shape = Sequence[int]


def count_flops(run: Callable[[], object]) -> int:
    """Floating-point operations of a call, a multiplication and an addition counted as two.

    Example:
        >>> count_flops(lambda: torch.ones(3, 5) @ torch.ones(5, 7))
        210
    """
    mapping = {torch.ops.aten.convolution_backward: _convolution_backward}
    counter = FlopCounterMode(display=False, custom_mapping=mapping)
    with counter, sdpa_kernel(SDPBackend.MATH):
        run()
    return counter.get_total_flops()


def _convolution_backward(grad: Shape, x: Shape, weight: Shape, *rest: Any, **_: Any) -> int:
    """The gradients of input and weights, those that are asked for: each costs as the way forward.

    Torch's own formula leaves groups out: a depth-wise convolution of c channels would cost c times
    too much.
    """
    transposed, wanted = rest[4], rest[7][:2]
    batch, _channels, *places = x if transposed else grad
    return 2 * batch * math.prod(places) * math.prod(weight) * sum(wanted)


def generation_flops(tokens: int, width: int, depth: int, steps: int, guided: bool) -> int:
    """Operations of the transformer's blocks for one picture, from its sizes alone.

    A token meets ``14 width^2`` weights in a block (self-attention 4, its questions to the words 2,
    MLP 8), two operations each; attention costs ``4 tokens width`` more. Guidance runs every
    step twice. Reading the words and the token head are left out.

    Args:
        tokens: of a picture.
        width: of the transformer.
        depth: its blocks.
        steps: of the sampler.
        guided: whether every step also runs without text.

    Example:
        >>> passes = [generation_flops(n, 1152, 28, 1, False) for n in (4096, 256)]
        >>> round(passes[0] / passes[1], 1)
        23.4
    """
    one_pass = depth * tokens * (28 * width**2 + 4 * tokens * width)
    return one_pass * steps * (2 if guided else 1)


def total_speedup(parts: Mapping[str, float], faster: Mapping[str, float]) -> float:
    """How many times as fast the whole becomes when some parts do.

    Args:
        parts: the share (or the seconds) of every part.
        faster: how many times as fast some of them become; the rest stays.

    Raises:
        ValueError: a factor for a part that is not there, or one that is not above 0.

    Source:
        Amdahl's law.

    Example:
        >>> parts = {"text": 0.1, "steps": 0.6, "head": 0.1, "decoder": 0.2}
        >>> round(total_speedup(parts, {"steps": 5}), 2)
        1.92
    """
    if unknown := sorted(set(faster) - set(parts)):
        raise ValueError(f"parts are {', '.join(parts)}; got a factor for {', '.join(unknown)}.")
    if wrong := [name for name, factor in faster.items() if factor <= 0]:
        raise ValueError(f"a factor must be above 0: mend {', '.join(wrong)}.")
    after = sum(seconds / faster.get(name, 1.0) for name, seconds in parts.items())
    return sum(parts.values()) / after


@dataclass(frozen=True)
class Roof:
    """The best that a device can do: no part can be faster than the lower of the two allows."""

    flops: float
    """Operations a second."""
    bytes: float
    """Bytes of memory read and written a second."""
    measured: bool
    """Here and now, rather than given."""

    def bound(self, flops: float, bytes_moved: float) -> tuple[float, str]:
        """The least seconds, and which limit sets them: ``"compute"`` or ``"memory"``."""
        compute, memory = flops / self.flops, bytes_moved / self.bytes
        return max(compute, memory), "compute" if compute >= memory else "memory"


def measure_roof(
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    *,
    side: int | None = None,
    peak: float | None = None,
    clock: Clock | None = None,
) -> Roof:
    """Time one large matrix product and one large copy.

    Args:
        device: where.
        dtype: of the numbers.
        side: of the matrices; the default is large enough for the device.
        peak: operations a second from the maker's data sheet, instead of the product.
        clock: seconds; the wall clock by default.
    """
    on_cpu = torch.device(device).type == "cpu"
    side = side or (1536 if on_cpu else 8192)
    a, b = (torch.ones(side, side, device=device, dtype=dtype) for _ in range(2))
    source = torch.ones(16 * side * side, device=device, dtype=dtype)
    target = torch.empty_like(source)
    wait = waits(device)
    copying = timed(lambda: target.copy_(source), wait=wait, clock=clock, warmup=2)
    moved = 2 * source.numel() * source.element_size()
    product = timed(lambda: a @ b, wait=wait, clock=clock, warmup=2)
    return Roof(peak or 2 * side**3 / product.low, moved / copying.low, peak is None)
