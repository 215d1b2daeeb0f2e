"""A lesson's first and last cell: ``L = course.start("00", BUDGET, SEED)`` ... ``L.finish()``."""

import contextlib
import os
import platform
import random
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image

import dcar_edu
from dcar_edu import images
from dcar_edu.checkpoint import data_folder, home, write_atomically
from dcar_edu.course import budgets, checks, figures, progress
from dcar_edu.course.frontend import is_live


class LessonName(NamedTuple):
    """One line of the table of contents."""

    number: str
    slug: str
    title: str
    line: str


LESSONS: tuple[LessonName, ...] = tuple(
    LessonName(*row)
    for row in (
        ("00", "start_here", "Start here", "your first picture from a prompt"),
        ("01", "data_and_compression", "Data and compression", "what f8, f16 and f32 buy"),
        ("02", "deep_compression", "Deep compression autoencoder", "32 times smaller, and back"),
        ("03", "vector_quantization", "Vector quantization", "a picture as a few whole numbers"),
        ("04", "hybrid_tokenizer", "The hybrid tokenizer", "token and residual, in three stages"),
        ("05", "judging_a_tokenizer", "Judging a tokenizer", "sharp or close? losses and scores"),
        ("06", "text_conditioning", "Text conditioning", "words that steer a picture"),
        ("07", "masked_modelling", "Masked modelling", "hide tokens, guess them, learn"),
        ("08", "drawing_in_12_steps", "Drawing in 12 steps", "the sampler: sure tokens first"),
        ("09", "diffusion_from_nothing", "Diffusion from nothing", "noise, guess, step back"),
        ("10", "dc_ar_whole", "DC-AR whole", "tokens and residuals: text to picture"),
        ("11", "from_256_to_512", "From 256 to 512", "the same model on a larger grid"),
        ("12", "where_does_the_time_go", "Where does the time go?", "which idea buys what"),
        ("13", "evaluation", "Evaluation", "how good, with an error bar"),
        ("14", "editing", "Editing", "redraw a part, grow a picture"),
        ("15", "beyond_the_paper", "Beyond the paper", "two open questions at small scale"),
        ("16", "your_own_project", "Your own project", "a model of your own"),
    )
)


def lesson_name(number: str) -> LessonName:
    """The table-of-contents line of a lesson.

    Raises:
        ValueError: there is no such lesson.
    """
    for name in LESSONS:
        if name.number == number:
            return name
    raise ValueError(f"lessons are '00' to '{LESSONS[-1].number}', two digits, got '{number}'.")


@dataclass
class Lesson:
    """One lesson while it runs; made by :func:`start`."""

    number: str
    budget: budgets.Budget
    """This lesson's row of the budget table: ``L.budget.pictures``, ``L.budget.minutes``."""
    seed: int
    device: torch.device
    dtype: torch.dtype
    """What training computes in: bfloat16 on GPUs that are fast at it, float32 elsewhere."""
    metrics: dict[str, float] = field(default_factory=dict)
    began: float = field(default_factory=time.monotonic)

    def generator(self, extra: int = 0) -> torch.Generator:
        """A fresh CPU random source from the lesson's seed; ``extra`` gives another one."""
        return torch.Generator().manual_seed(self.seed + extra)

    def report(self, **metrics: float) -> None:
        """Print results and keep them for the course's report: ``L.report(psnr=26.02)``."""
        for name, value in metrics.items():
            self.metrics[name] = float(value)
            low, high = self.budget.promised.get(name, (-float("inf"), float("inf")))
            promise = f" (promised {low:g} to {high:g})" if name in self.budget.promised else ""
            outside = "" if low <= value <= high else ": outside the promised band"
            print(f"{name} {float(value):.4g}{promise}{outside}")

    def save_answers(self) -> Path:
        """Write the answers that passed in this session to ``$DCAR_HOME/answers/NN.py``.

        On Colab the browser downloads the file too.
        """
        own = {id: text for id, text in checks.passed.items() if id.startswith(self.number)}
        path = home() / "answers" / f"{self.number}.py"
        parts = [f"# {id}\n{text.rstrip()}\n" for id, text in sorted(own.items())]
        write_atomically(path, "\n\n".join(parts).encode())
        print(f"{len(own)} answers saved in {_short(path)}")
        if "google.colab" in sys.modules:
            sys.modules["google.colab"].files.download(str(path))
        return path

    def finish(self, wolf: Any = None) -> None:
        """Note time, memory and metrics, show the wolf strip, and name the next lesson.

        Args:
            wolf: this lesson's tile, a PIL picture or a tensor ``(3, h, w)`` in [-1, 1].
        """
        seconds = time.monotonic() - self.began
        with contextlib.suppress(OSError):  # a full disk must not stop a lesson
            progress.record(
                self.number,
                finished=True,
                budget=self.budget.name,
                seconds=round(seconds, 1),
                peak_memory_gb=round(peak_memory_gb(self.device), 2),
                metrics=self.metrics,
            )
        print(
            f"Lesson {self.number} is finished after {seconds / 60:.1f} minutes "
            f"(waiting promised: {self.budget.minutes:g}); most memory used: "
            f"{peak_memory_gb(self.device):.1f} GB (promised: {self.budget.memory_gb:g})."
        )
        if wolf is not None:
            self._add_tile(wolf)
        after = [name for name in LESSONS if name.number > self.number]
        if after:
            print(f"Next: {after[0].number} {after[0].title}, {after[0].line}.")

    def _add_tile(self, wolf: Any) -> None:
        folder = home() / "wolf"
        images.save(figures.to_picture(wolf), folder / f"{self.number}.png")
        tiles = {}
        for path in sorted(folder.glob("[0-9][0-9].png")):
            with Image.open(path) as picture:
                tiles[path.stem] = picture.convert("RGB")
        figures.wolf_strip(tiles)


def start(number: str, budget: str = "auto", seed: int = 0) -> Lesson:
    """Begin a lesson: seed everything, pick the device, and print what to expect.

    Args:
        number: two digits, ``"00"``.
        budget: ``"auto"``, ``"smoke"``, ``"cpu"`` or ``"gpu"``.
        seed: start of every random number in the lesson.

    Returns:
        The running lesson, ``L`` in every notebook.

    Raises:
        ValueError: no such lesson or budget, or ``"gpu"`` without a GPU.
    """
    name = lesson_name(number)
    row = budgets.budget(number, budgets.resolve(budget, live=is_live()))
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - for libraries that still draw from the global state
    torch.manual_seed(seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    lesson = Lesson(number, row, seed, device, fast_dtype(device))
    figures.use_style()
    chosen = f"{budget} -> {row.name}" if budget == "auto" else row.name
    print(f"Lesson {number}: {name.title}")
    print(f"budget    {chosen}: about {row.minutes:g} min of waiting, {row.memory_gb:g} GB")
    print(f"device    {describe_device(device)}; training computes in {str(lesson.dtype)[6:]}")
    print(
        f"versions  dcar_edu {dcar_edu.__version__}, torch {torch.__version__}, "
        f"numpy {np.__version__}, Python {platform.python_version()}"
    )
    shipped, yours = checkpoints()
    print(f"models    shipped: {', '.join(shipped) or 'none'}; yours: {', '.join(yours) or 'none'}")
    return lesson


def fast_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 from compute capability 8.0 on, else float32.

    ``torch.cuda.is_bf16_supported()`` is not asked: it says yes on a T4, where bfloat16 is
    emulated and slow.
    """
    if device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0):
        return torch.bfloat16
    return torch.float32


def describe_device(device: torch.device) -> str:
    """Name and free memory of the device, in one line."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return f"{torch.cuda.get_device_name(device)}, {free / 1e9:.1f} GB free"
    threads = torch.get_num_threads()
    line = f"CPU, {threads} thread{'s' if threads > 1 else ''}"
    with contextlib.suppress(OSError, ValueError, AttributeError):  # not every system tells
        pages = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        line += f", {pages / 1e9:.1f} GB free"
    return line


def peak_memory_gb(device: torch.device) -> float:
    """Most memory used so far, on the GPU or by this process; 0 where the system does not tell."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e9
    try:
        import resource
    except ImportError:  # Windows
        return 0.0
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9


def checkpoints() -> tuple[list[str], list[str]]:
    """Names of the shipped models, and of those in ``$DCAR_HOME/checkpoints``."""
    places = [home() / "checkpoints"]
    with contextlib.suppress(ValueError):
        places.insert(0, data_folder() / "checkpoints")
    found = [sorted(p.name for p in place.glob("*") if p.is_dir()) for place in places]
    return (found[0] if len(places) == 2 else []), found[-1]


def _short(path: Path) -> str:
    """A path without the user's name in it."""
    with contextlib.suppress(ValueError):
        return str(Path("~") / path.relative_to(Path.home()))
    return str(path)
