"""Loss curves out of the tables that runs keep."""

import csv
import io
from collections.abc import Mapping
from pathlib import Path

from PIL import Image

SMOOTHED = 50
"""Points of a curve: each the mean of a stretch of steps."""


def draw_curves(logs: Mapping[str, Path]) -> Image.Image:
    """A panel for each loss of each run, the raw values behind means.

    Args:
        logs: by name a ``metrics.csv`` with a column ``step``; columns that end in ``loss`` and
            are not 0 throughout are drawn.

    Raises:
        ValueError: a table without a step or a loss.
    """
    from matplotlib.figure import Figure

    panels = [
        (f"{name}: {column.replace('_', ' ')}", steps, values)
        for name, path in logs.items()
        for column, steps, values in _losses(Path(path))
    ]
    columns = min(3, len(panels))
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(3.4 * columns, 2.3 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).flatten()
    for axis in axes[len(panels) :]:
        axis.axis("off")
    for axis, (title, steps, values) in zip(axes, panels, strict=False):
        stretch = max(1, len(values) // SMOOTHED)
        starts = range(0, len(values), stretch)
        means = [sum(values[i : i + stretch]) / len(values[i : i + stretch]) for i in starts]
        axis.plot(steps, values, color="0.8", linewidth=0.7)
        axis.plot([steps[min(i + stretch // 2, len(steps) - 1)] for i in starts], means)
        axis.set_title(title, fontsize=9)
        axis.set_xlabel("step", fontsize=8)
        axis.tick_params(labelsize=7)
        axis.grid(alpha=0.3)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100)
    return Image.open(buffer).convert("RGB")


def _losses(path: Path) -> list[tuple[str, list[int], list[float]]]:
    """The losses in a table, each with its steps."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    names = [name for name in rows[0] if name.endswith("loss")] if rows else []
    if not names or "step" not in rows[0]:
        raise ValueError(
            f"'{path.name}' needs a column 'step' and one that ends in 'loss', and a row. "
            "Give the metrics.csv of a run."
        )
    steps = [int(row["step"]) for row in rows]
    found = [(name, steps, [float(row[name] or 0) for row in rows]) for name in names]
    return [(name, at, values) for name, at, values in found if any(values)]
