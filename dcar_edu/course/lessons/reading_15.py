"""Lesson 15: what the runs of ``15_next_scale`` say, as rows of a table."""

import math
import statistics
from collections.abc import Iterable, Mapping
from typing import Any

from dcar_edu.course.costs import cost_to_reach
from dcar_edu.course.studies.study_05 import SURE, verdict

Runs = Mapping[str, Mapping[int, Mapping[str, float]]]
"""Arm -> seed -> metrics."""
OURS, THEIRS = "next-scale", "masked"
QUALITY = {
    "unseen_psnr_discrete": ("unseen pictures rebuilt, codes alone, dB", 2),
    "unseen_psnr_hybrid": ("unseen pictures rebuilt, with leftover, dB", 2),
    "learnt_psnr_discrete": ("learnt pictures rebuilt, codes alone, dB", 2),
    "reach": ("training TFLOP to an error of 0.3", 2),
    "error": ("error of drawn latents at the end", 3),
    "psnr_discrete": ("drawings, codes alone, dB", 2),
    "psnr_hybrid": ("drawings, with residuals, dB", 2),
    "r1_discrete": ("drawings named right, codes alone", 3),
    "r1_hybrid": ("drawings named right, with residuals", 3),
}
"""Metrics that are judged by a test over seeds, with their label and digits."""
COST = {
    "parameters": ("parameters", 0),
    "tokens": ("tokens a picture", 0),
    "passes": ("passes of the transformer, guided", 0),
    "gflop_steps": ("GFLOP of these passes", 3),
    "seconds_steps": ("seconds of these passes", 4),
    "seconds": ("seconds of a whole picture", 4),
}
"""Metrics that are compared by their ratio."""


def sort(lines: Iterable[Mapping[str, Any]], budget: str = "cpu") -> Runs:
    """Lines of ``results("15_next_scale")`` by arm and seed; only seeds that both arms have."""
    found: dict[str, dict[int, Mapping[str, float]]] = {OURS: {}, THEIRS: {}}
    for line in lines:
        if line["budget"] == budget:
            found[line["arm"]][line["seed"]] = line["metrics"]
    seeds = sorted(set(found[OURS]) & set(found[THEIRS]))
    return {arm: {seed: by_seed[seed] for seed in seeds} for arm, by_seed in found.items()}


def values(runs: Runs, arm: str, key: str) -> list[float]:
    """One number a seed; ``reach`` is infinite for a run that never came so far."""
    if key == "reach":
        return [reach(metrics) for metrics in runs[arm].values()]
    return [metrics[key] for metrics in runs[arm].values()]


def reach(metrics: Mapping[str, float], error: float = 0.3) -> float:
    """TFLOP at which a run's drawings came to an error for the first time; infinite: never."""
    curve = [(spent, -found) for spent, found in points(metrics)]
    cost = cost_to_reach(curve, -error)
    return math.inf if cost is None else cost


def said(runs: Runs, key: str) -> str:
    """What may be said of next-scale in one metric: a paired test, or how many times as much.

    Raises:
        ValueError: a quality with fewer than two seeds.
    """
    ours, theirs = (values(runs, arm, key) for arm in (OURS, THEIRS))
    if key in COST:
        return f"{statistics.mean(ours) / statistics.mean(theirs):.2f} times"
    if not all(map(math.isfinite, (*ours, *theirs))):
        return "not reached by all"
    if key in ("error", "reach"):  # lower is better
        ours, theirs = theirs, ours
    return verdict(ours, theirs, SURE.get(len(ours), 2.57))


def table(runs: Runs) -> list[str]:
    """Lines of text: both arms as mean and standard deviation over seeds, and :func:`said`."""
    lines = [f"{'':44s}{OURS:>18s}{THEIRS:>18s}   {OURS} is"]
    for key, (label, digits) in (QUALITY | COST).items():
        cells = []
        for arm in (OURS, THEIRS):
            found = values(runs, arm, key)
            tested = key in QUALITY and all(map(math.isfinite, found))
            spread = f" +- {statistics.stdev(found):.{digits}f}" if tested else ""
            cells.append(f"{statistics.mean(found):,.{digits}f}{spread}")
        lines.append(f"{label:44s}{cells[0]:>18s}{cells[1]:>18s}   {said(runs, key)}")
    return lines


def points(metrics: Mapping[str, float]) -> list[tuple[float, float]]:
    """The curve of a run: TFLOP spent and error of drawings."""
    numbers = sorted(key[-2:] for key in metrics if key.startswith("tflop_"))
    return [(metrics[f"tflop_{n}"], metrics[f"error_{n}"]) for n in numbers]
