"""Where the time of a picture goes: text encoder, words, every step, residual head, decoder."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from dcar_edu.bench.flops import Roof
from dcar_edu.bench.pictures import REPEATED, Drawn, Painter
from dcar_edu.bench.timing import NewWatch, Spread, Stopwatch, alternate, seconds_text


@dataclass(frozen=True)
class Component:
    """One part of one batch."""

    part: str
    seconds: Spread
    """Of the whole part, all its steps together."""
    share: float
    """Of the batch."""
    flops: float
    bytes: float
    """That its operations read and write, each apart, as eager mode does."""

    def of_peak(self, roof: Roof) -> float:
        """Model FLOP utilisation: the share of the device's operations that the part gets."""
        return self.flops / self.seconds.median / roof.flops

    def of_roof(self, roof: Roof) -> tuple[float, str]:
        """The share of the best this device could do, and which limit is nearer."""
        least, limit = roof.bound(self.flops, self.bytes)
        return least / self.seconds.median, limit


@dataclass(frozen=True)
class Breakdown:
    """One painter's batch, taken apart."""

    painter: Painter
    total: Spread
    """Seconds of a batch."""
    components: tuple[Component, ...]
    steps: tuple[float, ...]
    """Seconds of every step that was timed: its passes and its choice, the median run."""

    @property
    def images_per_second(self) -> float:
        """Throughput."""
        return self.painter.batch / self.total.median

    @property
    def shares(self) -> dict[str, float]:
        """Of every part."""
        return {component.part: component.share for component in self.components}


class _Traffic(TorchDispatchMode):
    """Counts the bytes of every operation's inputs and outputs; views move nothing."""

    bytes = 0.0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run it and add."""
        outputs = func(*args, **(kwargs or {}))
        if not func.is_view:
            for leaf in tree_leaves((args, kwargs, outputs)):
                if isinstance(leaf, Tensor):
                    self.bytes += leaf.numel() * leaf.element_size()
        return outputs


def work(painter: Painter) -> tuple[dict[str, float], dict[str, float]]:
    """Operations and bytes of every part of a batch, counted in a drawing of one step.

    The stopwatch of that drawing reads the counters instead of a clock.
    """
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        flops = painter.draw(1, lambda: Stopwatch(clock=counter.get_total_flops)).parts
    with _Traffic() as traffic:
        moved = painter.draw(1, lambda: Stopwatch(clock=lambda: traffic.bytes)).parts
    return flops, moved


def break_down(
    painters: Sequence[Painter],
    *,
    repeats: int = 3,
    new_watch: NewWatch = Stopwatch,
    like: Painter | None = None,
) -> list[Breakdown]:
    """Take batches apart, the painters in turn.

    Args:
        painters: with different names.
        repeats: timed batches of each, after one that is not timed.
        new_watch: starts a stopwatch; the wall clock by default.
        like: operations and bytes are counted in this painter, for all; None: each in its own. A
            compiled network hides them, so give it the same one as written.

    Raises:
        ValueError: two painters of one name.
    """
    check_names(painters)
    for painter in painters:
        painter.draw(1, new_watch)
    runs = {p.name: partial(p.draw, None, new_watch) for p in painters}
    rounds = list(alternate(runs, repeats))
    return [_broken(p, [r[p.name] for r in rounds], like or p) for p in painters]


def check_names(painters: Sequence[Painter]) -> None:
    """Raise a ValueError when two painters share a name."""
    names = [painter.name for painter in painters]
    if len(set(names)) < len(names):
        raise ValueError(f"painters need different names, got {', '.join(names)}.")


def _broken(painter: Painter, drawn: list[Drawn], like: Painter) -> Breakdown:
    flops, moved = work(like)
    parts = [one.parts for one in drawn]
    spreads = {name: Spread.of([p[name] for p in parts]) for name in parts[0]}
    whole = sum(spread.median for spread in spreads.values())
    components = tuple(
        Component(n, s, s.median / whole, flops[n], moved[n]) for n, s in spreads.items()
    )
    middle = sorted(drawn, key=lambda one: one.total)[len(drawn) // 2]
    laps = [middle.seconds[name] for name in REPEATED if name in middle.seconds]
    steps = tuple(map(sum, zip(*laps, strict=True)))
    return Breakdown(painter, Spread.of([one.total for one in drawn]), components, steps)


def table(found: Breakdown, roof: Roof | None = None) -> Iterator[str]:
    """Lines for people: a row a part, then the batch, then the steps."""
    painter = found.painter
    head = f"{'part':8} {'seconds':>9} {'low':>9} {'high':>9} {'share':>6} {'GFLOP':>9} {'MB':>8}"
    yield f"{painter.name}: {painter.size} px, batch {painter.batch}, {painter.num_steps} steps"
    yield head + (f" {'of peak':>8} {'of roof':>8}  limit" if roof else "")
    for c in found.components:
        line = f"{c.part:8} {_three(c.seconds)} {c.share:6.1%} {c.flops / 1e9:9.2f}"
        line += f" {c.bytes / 1e6:8.0f}"
        if roof and c.flops:
            share, limit = c.of_roof(roof)
            line += f" {c.of_peak(roof):8.1%} {share:8.1%}  {limit}"
        yield line
    work_done = sum(c.flops for c in found.components)
    yield f"{'batch':8} {_three(found.total)} {1:6.1%} {work_done / 1e9:9.2f}"
    if found.steps:
        low, high = seconds_text(min(found.steps)), seconds_text(max(found.steps))
        yield f"steps from {low} to {high}, the first {seconds_text(found.steps[0])}"
    yield f"{found.images_per_second:.2f} images a second"


def _three(spread: Spread) -> str:
    return " ".join(f"{seconds_text(s):>9}" for s in (spread.median, spread.low, spread.high))
