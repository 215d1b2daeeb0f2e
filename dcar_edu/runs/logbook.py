"""What a run shows of itself: `metrics.csv`, `curve.png`, `samples/`, a line or a bar, TensorBoard.

Nothing here is needed to go on; what belongs to steps after the state that a run goes on from is
cut off, so that no step appears twice.
"""

import csv
import importlib.util
import json
import math
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import Tensor

from dcar_edu import checkpoint, images
from dcar_edu.runs.table import cut_rows, draw_curves, losses, seconds_spent

ROWS = 5000
"""About how many rows a whole run's `metrics.csv` has."""


class Logbook:
    """Writes down what each step was like, and says now and then how far the run is.

    Args:
        out: the run's folder.
        steps: of the whole run.
        start: the step that this call begins at; later rows of an earlier call are cut off.
        tensorboard: write event files for TensorBoard too, into `OUT/tensorboard`.
        every: seconds between two lines in a log; a terminal's line is renewed each half second.

    Raises:
        ValueError: TensorBoard is asked for and not installed.
    """

    def __init__(
        self,
        out: Path,
        steps: int,
        start: int = 0,
        *,
        tensorboard: bool = False,
        every: float = 30.0,
    ):
        self.out, self.steps, self.start, self.every = out, steps, start, every
        self.stride = max(1, steps // ROWS)
        self.began, self.said = time.monotonic(), -math.inf
        self.live = sys.stderr.isatty()
        self.path = out / "metrics.csv"
        out.mkdir(parents=True, exist_ok=True)
        cut_rows(self.path, start)
        self.before = seconds_spent(out)
        self._events = _event_writer(out / "tensorboard", start) if tensorboard else None

    def write(self, record: Any, step: int) -> None:
        """Add a step's record to the table, if its turn has come, and say how far the run is."""
        now = time.monotonic()
        if step % self.stride == 0 or step == self.steps:
            seconds = round(self.before + now - self.began, 1)
            values = {"step": step, "seconds": seconds, **asdict(record)}
            del values["number"]
            self._append(values)
            if self._events:
                for name, value in values.items():
                    if isinstance(value, float | int):
                        self._events.add_scalar(name, value, step)
        if now - self.said > (0.5 if self.live else self.every) or step == self.steps:
            self.said = now
            self._say(record, step, now)

    def _append(self, values: dict[str, Any]) -> None:
        new = not self.path.is_file()
        with self.path.open("a", newline="", encoding="utf-8") as file:
            rows = csv.DictWriter(file, list(values), lineterminator="\n")
            if new:
                rows.writeheader()
            rows.writerow(values)

    def _say(self, record: Any, step: int, now: float) -> None:
        speed = (step - self.start) / max(now - self.began, 1e-9)
        left = _time((self.steps - step) / max(speed, 1e-9))
        said = f"{step}/{self.steps}  {speed:.2f} it/s  {left} left  {_in_words(record)}"
        if not self.live:
            print(said, flush=True)
            return
        filled = 20 * step // max(self.steps, 1)
        bar = "#" * filled + "." * (20 - filled)
        print(f"\r[{bar}] {said}\033[K", end="", file=sys.stderr, flush=True)

    def sample(self, sheet: Tensor, step: int) -> Path:
        """Keep a sheet of pictures `(3, H, W)` as `samples/STEP.png`; renews the curve too."""
        path = images.save(sheet, self.out / "samples" / f"{step:07d}.png")
        if self._events:
            self._events.add_image("samples", (sheet.clamp(-1, 1) + 1) / 2, step)
        self.draw_curve()
        return path

    def note(self, captions: list[str]) -> None:
        """Keep the captions of the sheets' pictures, in their order."""
        text = json.dumps(captions, indent=1, ensure_ascii=False)
        checkpoint.write_atomically(self.out / "samples" / "captions.json", text.encode())

    def draw_curve(self) -> None:
        """Draw the losses over the steps into `curve.png`, if matplotlib is here."""
        if importlib.util.find_spec("matplotlib") is None or not self.path.is_file():
            return
        if losses(self.path):
            images.save(draw_curves({self.out.name: self.path}), self.out / "curve.png")

    def close(self) -> None:
        """End the bar's line and the event file."""
        if self.live:
            print(file=sys.stderr)
        if self._events:
            self._events.close()


def _in_words(record: Any) -> str:
    values = asdict(record)
    shown = [str(values[name]) for name in ("stage", "path") if name in values]
    for name in ("loss", "pixel_loss", "token_loss", "diffusion_loss", "accuracy", "codes_used"):
        if name in values:
            value = values[name]
            text = f"{value:.4f}" if isinstance(value, float) else str(value)
            shown.append(f"{name.replace('_', ' ')} {text}")
    return "  ".join(shown)


def _time(seconds: float) -> str:
    """Seconds as people say them.

    Example:
        >>> _time(42), _time(3000), _time(100_000)
        ('42 s', '50 min', '27.8 h')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _event_writer(folder: Path, step: int) -> Any:
    if importlib.util.find_spec("tensorboard") is None:
        raise ValueError(
            "TensorBoard is not installed. Run: pip install tensorboard, or leave --tensorboard "
            "out: metrics.csv holds the same numbers."
        )
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(folder), purge_step=step)
