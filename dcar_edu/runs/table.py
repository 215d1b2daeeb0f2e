"""The table of a run, `metrics.csv`: its rows read and cut, its losses drawn."""

import csv
import io
from collections.abc import Mapping
from pathlib import Path

from PIL import Image

from dcar_edu import checkpoint

SMOOTHED = 50
"""Points of a curve: each the mean of a stretch of steps."""


def read_rows(path: Path) -> list[dict[str, str]]:
    """The whole rows of a table; a last line that a kill cut short is left out."""
    text = path.read_text("utf-8")
    whole = text[: text.rfind("\n") + 1]
    rows = csv.DictReader(io.StringIO(whole))
    return [row for row in rows if None not in row.values() and None not in row]


def cut_rows(path: Path, step: int) -> None:
    """Leave out every row after `step`; at 0 the table goes."""
    if not path.is_file():
        return
    rows = [row for row in read_rows(path) if int(row["step"]) <= step]
    if not rows:
        path.unlink()
        return
    buffer = io.StringIO(newline="")
    table = csv.DictWriter(buffer, list(rows[0]), lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    checkpoint.write_atomically(path, buffer.getvalue().encode())


def seconds_spent(out: Path) -> float:
    """Time that a run has taken so far, over all its calls; what a kill undid is not counted."""
    path = out / "metrics.csv"
    rows = read_rows(path) if path.is_file() else []
    return float(rows[-1]["seconds"]) if rows else 0.0


def losses(path: Path) -> dict[str, list[float]]:
    """The columns of a table that end in `loss` and are not 0 throughout; none is left: empty."""
    rows = read_rows(path)
    names = [name for name in rows[0] if name.endswith("loss")] if rows else []
    found = {name: [float(row[name]) for row in rows] for name in names}
    return {name: values for name, values in found.items() if any(values)}


def draw_curves(logs: Mapping[str, Path]) -> Image.Image:
    """A panel for each of the :func:`losses` of each run, the raw values behind means.

    Args:
        logs: by name a ``metrics.csv`` with a column ``step``.

    Raises:
        ValueError: a table without a step or a loss.
    """
    from matplotlib.figure import Figure

    panels = [panel for name, path in logs.items() for panel in _panels(name, Path(path))]
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
        middles = [steps[min(i + stretch // 2, len(steps) - 1)] for i in starts]
        axis.plot(middles, means, color="tab:blue")
        axis.set_title(title, fontsize=9)
        axis.set_xlabel("step", fontsize=8)
        axis.tick_params(labelsize=7)
        axis.grid(alpha=0.3)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100)
    return Image.open(buffer).convert("RGB")


def _panels(run: str, path: Path) -> list[tuple[str, list[int], list[float]]]:
    """Title, steps and values of each loss of a run."""
    found, rows = losses(path), read_rows(path)
    if not found or "step" not in rows[0]:
        raise ValueError(
            f"'{path.name}' needs a column 'step' and one that ends in 'loss' and is not 0 "
            "throughout, and a row. Give the metrics.csv of a run."
        )
    steps = [int(row["step"]) for row in rows]
    return [(f"{run}: {name.replace('_', ' ')}", steps, found[name]) for name in found]
