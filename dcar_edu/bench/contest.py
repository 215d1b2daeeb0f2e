"""Ours against others: painters in turn, ratios round by round, and the paper's claims."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from dcar_edu.bench.components import check_names
from dcar_edu.bench.pictures import REPEATED, Drawn, Painter
from dcar_edu.bench.timing import NewWatch, Spread, Stopwatch, alternate, ratios, seconds_text

CLAIMS = {"latency": 2.0, "throughput": 1.5}
"""The paper's least ratios at 512 pixels: 2.0 to 3.5 times the latency and 1.5 to 7.9 times the
throughput of the models it compares with."""
BATCHES = {"latency": 1, "throughput": 8}
"""Pictures drawn together where each is measured."""


@dataclass(frozen=True)
class Result:
    """One painter's rounds beside those of the first one, which is ours."""

    painter: Painter
    timed_steps: int
    """Of every drawing; where these are fewer than all, their time is multiplied."""
    total: Spread
    """Seconds of a batch."""
    parts: dict[str, float]
    """Seconds of every part, the median round."""
    ratio: Spread
    """How many times as long as ours."""
    without_decoder: Spread
    """The same ratio, no decoder counted on either side."""

    @property
    def generating(self) -> float:
        """Seconds before the decoder."""
        return sum(value for name, value in self.parts.items() if name != "decoder")


def compare(
    painters: Sequence[Painter],
    *,
    repeats: int = 3,
    limit: float = 30.0,
    new_watch: NewWatch = Stopwatch,
) -> list[Result]:
    """Time painters in turn.

    Args:
        painters: the first is compared with all others.
        repeats: rounds, after one drawing in a single step that is not counted.
        limit: seconds of steps in one drawing. Where all would take longer, as many are run as fit
            (one at least) and their time is multiplied; every step is a pass over all tokens.
        new_watch: starts a stopwatch; the wall clock by default.

    Raises:
        ValueError: two painters of one name.
    """
    check_names(painters)
    steps, runs = {}, {}
    for painter in painters:
        once = painter.draw(1, new_watch)
        steps[painter.name] = _affordable(once, limit)
        runs[painter.name] = partial(painter.draw, steps[painter.name], new_watch)
    rounds = list(alternate(runs, repeats))
    ours = [one[painters[0].name] for one in rounds]
    return [_result(p, steps[p.name], [one[p.name] for one in rounds], ours) for p in painters]


def _affordable(once: Drawn, limit: float) -> int:
    """How many steps fit into ``limit`` seconds, judged by one; at least one."""
    one_step = sum(sum(once.seconds[name]) for name in REPEATED if name in once.seconds)
    fits = int(limit / one_step) if one_step else once.num_steps
    return min(once.num_steps, max(1, fits))


def _result(painter: Painter, steps: int, theirs: list[Drawn], ours: list[Drawn]) -> Result:
    totals = [one.total for one in theirs]
    parts = [one.parts for one in theirs]
    bodies = [[one.total - one.parts["decoder"] for one in side] for side in (theirs, ours)]
    return Result(
        painter,
        steps,
        Spread.of(totals),
        {name: Spread.of([p[name] for p in parts]).median for name in parts[0]},
        ratios(totals, [one.total for one in ours]),
        ratios(*bodies),
    )


def table(results: Sequence[Result]) -> Iterator[str]:
    """Lines for people: a row a painter, its ratio to ours with the lowest and highest round."""
    first = results[0].painter
    per = "a picture" if first.batch == 1 else f"a batch of {first.batch}"
    yield f"{first.size} px, seconds for {per}; ratio: times ours (lowest - highest round)"
    yield (
        f"{'model':15} {'tokens':>6} {'steps':>5} {'timed':>5} {'body M':>6} {'dec. M':>6} "
        f"{'steps':>8} {'head':>8} {'decoder':>8} {'total':>8}  "
        f"{'ratio':18} without decoders"
    )
    for result in results:
        painter, parts = result.painter, result.parts
        head, decoder = parts.get("head", 0.0), parts["decoder"]
        rest = result.generating - head
        yield (
            f"{painter.name:15} {painter.tokens:6} {painter.num_steps:5} {result.timed_steps:5} "
            f"{painter.weights.body / 1e6:6.2f} {painter.weights.decoder / 1e6:6.2f} "
            f"{seconds_text(rest):>8} {seconds_text(head) if head else '-':>8} "
            f"{seconds_text(decoder):>8} {seconds_text(result.total.median):>8}  "
            f"{_ratio(result.ratio):18} {_ratio(result.without_decoder)}"
        )


def claim(result: Result, ours: Result, kind: str) -> str:
    """One line: the paper's least ratio is met, or the parts that keep it from it.

    Args:
        result: of another painter at 512 pixels.
        ours: of the same rounds.
        kind: ``"latency"`` or ``"throughput"``.
    """
    least = CLAIMS[kind]
    shown = f"{kind} against {result.painter.name}: {_ratio(result.ratio)}, the paper's least is "
    shown += f"{least}"
    if result.ratio.low >= least:
        return f"{shown}: met"
    verdict = "met in the middle round only" if result.ratio.median >= least else "not met"
    mine, theirs = _grouped(ours), _grouped(result)
    why = [
        f"{name} {theirs[name] / mine[name]:.2f}x of {mine[name] / sum(mine.values()):.0%} of ours"
        for name in mine
        if mine[name] and theirs[name]
    ]
    if mine["head"] and not theirs["head"]:
        why.append(f"head {mine['head'] / sum(mine.values()):.0%} of ours, which they lack")
    return f"{shown}: {verdict} ({'; '.join(why)})"


def _grouped(result: Result) -> dict[str, float]:
    """Seconds of the three parts that every painter can have."""
    head, decoder = result.parts.get("head", 0.0), result.parts["decoder"]
    return {"steps": result.generating - head, "head": head, "decoder": decoder}


def _ratio(spread: Spread) -> str:
    return f"{spread.median:.2f} ({spread.low:.2f} - {spread.high:.2f})"


def numbers(results: Sequence[Result]) -> dict[str, float]:
    """Plain numbers of a comparison, as ``dcar experiment`` keeps them."""
    found: dict[str, float] = {
        "pictures": results[0].painter.batch,
        "rounds": results[0].total.count,
    }
    for result in results:
        name = result.painter.name.replace(" ", "_")
        found |= {
            f"{name}_seconds": result.total.median,
            f"{name}_seconds_low": result.total.low,
            f"{name}_seconds_high": result.total.high,
            f"{name}_steps": result.painter.num_steps,
            f"{name}_timed_steps": result.timed_steps,
            f"{name}_tokens": result.painter.tokens,
            f"{name}_body": result.painter.weights.body,
            f"{name}_decoder": result.painter.weights.decoder,
            f"{name}_ratio": result.ratio.median,
            f"{name}_ratio_low": result.ratio.low,
            f"{name}_ratio_high": result.ratio.high,
            f"{name}_without_decoder_ratio": result.without_decoder.median,
        }
        found |= {f"{name}_part_{part}": seconds for part, seconds in result.parts.items()}
    return {key: round(value, 4) for key, value in found.items()}
