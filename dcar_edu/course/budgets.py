"""The one table of budgets: what each lesson may spend at ``smoke``, ``cpu`` and ``gpu``.

``smoke`` checks the mechanics, ``cpu`` shows learning in at most 10 minutes a lesson, ``gpu``
gives real results in at most 12 GB. Notebooks, ``make``, the command line and tests read this.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

import torch

Name = Literal["smoke", "cpu", "gpu"]
NAMES: tuple[Name, ...] = ("smoke", "cpu", "gpu")


@dataclass(frozen=True)
class Budget:
    """One row: a lesson at a budget. Its own numbers are attributes: ``L.budget.pictures``."""

    lesson: str
    name: Name
    minutes: float
    """Promised waiting time of the whole notebook."""
    memory_gb: float
    """Promised peak memory of the process, or of the GPU at ``gpu``."""
    cell_seconds: int
    """A cell that takes longer is stopped."""
    numbers: Mapping[str, int] = field(default_factory=dict)
    """Sizes and counts of this lesson: pictures, concepts, steps, batch."""
    promised: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """Metric -> the band (lowest, highest) it should fall into."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "numbers", MappingProxyType(dict(self.numbers)))
        object.__setattr__(self, "promised", MappingProxyType(dict(self.promised)))

    def __getattr__(self, name: str) -> int:
        numbers = self.__dict__.get("numbers", {})
        if name in numbers:
            return numbers[name]
        raise AttributeError(
            f"lesson {self.__dict__.get('lesson')} has no number '{name}' in budgets.py. "
            f"It has {', '.join(numbers) or 'none'}."
        )


_EMOJI_256 = {
    "token_match": (0.98, 1),
    "psnr_drawn_tokens": (21.5, 23),
    "psnr_with_drawn_residual": (21.5, 23),
    "psnr_best_of_tokenizer": (24, 25),
}
TABLE: tuple[Budget, ...] = (
    Budget("00", "smoke", 0.75, 1.5, 60, {"prompts": 2, "seeds": 2, "pairs": 6}),
    Budget("00", "cpu", 1, 1.5, 180, {"prompts": 4, "seeds": 4, "pairs": 24}, _EMOJI_256),
    Budget("00", "gpu", 1, 3, 180, {"prompts": 4, "seeds": 4, "pairs": 24}, _EMOJI_256),
    Budget("01", "smoke", 0.75, 1.5, 60, {"pictures": 16, "repeats": 2, "most_tokens": 256}),
    Budget(
        *("01", "cpu", 1, 1.5, 180),
        {"pictures": 128, "repeats": 5, "most_tokens": 4096},
        {"tokens": (19, 21), "tokens_residuals": (20, 22)},
    ),
    Budget(
        *("01", "gpu", 2, 3, 180),
        {"pictures": 256, "repeats": 10, "most_tokens": 4096},
        {"tokens": (19, 21), "tokens_residuals": (20, 22)},
    ),
    Budget(
        *("02", "smoke", 0.5, 2, 60),
        {"concepts": 4, "steps": 4, "pictures": 8, "repeats": 2, "most_places": 256},
    ),
    Budget(
        *("02", "cpu", 3, 2, 300),
        {"concepts": 128, "steps": 250, "pictures": 64, "repeats": 5, "most_places": 4096},
    ),
    Budget(
        *("02", "gpu", 2, 3, 300),
        {"concepts": 128, "steps": 1200, "pictures": 96, "repeats": 10, "most_places": 4096},
    ),
    Budget(
        *("03", "smoke", 0.5, 2, 60),
        {"concepts": 12, "steps": 20, "batch": 8, "pictures": 16},
    ),
    Budget(
        *("03", "cpu", 3, 2, 300),
        {"concepts": 128, "steps": 500, "batch": 16, "pictures": 96},
    ),
    Budget(
        *("03", "gpu", 1, 3, 300),
        {"concepts": 128, "steps": 2000, "batch": 16, "pictures": 256},
    ),
    Budget(
        *("04", "smoke", 0.5, 2, 120),
        {"steps": 18, "every": 3, "batch": 8, "concepts": 16, "pictures": 8},
    ),
    Budget(
        *("04", "cpu", 4, 2, 900),
        {"steps": 1500, "every": 50, "batch": 16, "concepts": 512, "pictures": 64},
        {"psnr_discrete": (14.3, 17), "psnr_hybrid": (14.6, 17.5)},
    ),
    Budget(
        *("04", "gpu", 8, 4, 900),
        {"steps": 12000, "every": 500, "batch": 64, "concepts": 1000, "pictures": 256},
        {"psnr_discrete": (14.8, 24), "psnr_hybrid": (15.2, 26)},
    ),
    Budget(
        *("05", "smoke", 0.5, 2, 120),
        {"pictures": 32, "patch_steps": 6, "repeats": 3},
    ),
    Budget(
        *("05", "cpu", 7, 2, 900),
        {"pictures": 256, "patch_steps": 80, "repeats": 20},
    ),
    Budget(
        *("05", "gpu", 6, 4, 900),
        {"pictures": 512, "patch_steps": 200, "repeats": 20},
    ),
    Budget(*("08", "smoke", 0.75, 1.5, 120), {"prompts": 4, "temperatures": 1, "columns": 3}),
    Budget(*("08", "cpu", 3, 2, 900), {"prompts": 64, "temperatures": 3, "columns": 8}),
    Budget(*("08", "gpu", 2, 3, 900), {"prompts": 64, "temperatures": 3, "columns": 8}),
    Budget(
        *("06", "smoke", 0.75, 2, 60),
        {"concepts": 9, "steps": 6, "things": 4, "scene_steps": 4},
    ),
    Budget(
        *("06", "cpu", 3, 2, 600),
        {"concepts": 24, "steps": 800, "things": 6, "scene_steps": 400},
    ),
    Budget(
        *("06", "gpu", 2, 3, 600),
        {"concepts": 96, "steps": 4000, "things": 12, "scene_steps": 2000},
    ),
    Budget(
        *("07", "smoke", 0.75, 2, 120),
        {
            **{"concepts": 8, "most": 16, "unseen": 8, "judged": 8, "shown": 3},
            **{"steps": 6, "every": 3, "batch": 4},
        },
    ),
    Budget(
        *("07", "cpu", 3, 2, 900),
        {
            **{"concepts": 128, "most": 0, "unseen": 64, "judged": 64, "shown": 8},
            **{"steps": 600, "every": 50, "batch": 16},
        },
        {"accuracy": (0.6, 0.85)},
    ),
    Budget(
        *("07", "gpu", 2, 4, 900),
        {
            **{"concepts": 256, "most": 0, "unseen": 0, "judged": 256, "shown": 8},
            **{"steps": 4000, "every": 200, "batch": 64},
        },
        {"accuracy": (0.6, 1)},
    ),
    Budget(
        *("09", "smoke", 0.75, 2, 60),
        {"steps": 20, "outline_steps": 20, "batch": 64, "points": 200, "pictures": 4},
    ),
    Budget(
        *("09", "cpu", 3, 2, 300),
        {"steps": 1200, "outline_steps": 2500, "batch": 256, "points": 1500, "pictures": 64},
    ),
    Budget(
        *("09", "gpu", 3, 2, 300),
        {"steps": 3000, "outline_steps": 6000, "batch": 256, "points": 1500, "pictures": 64},
    ),
    Budget(
        *("10", "smoke", 0.75, 2, 120),
        {"pictures": 4, "learnt": 2, "steps": 4, "repeats": 1},
    ),
    Budget(
        *("10", "cpu", 4, 2, 900),
        {"pictures": 64, "learnt": 16, "steps": 250, "repeats": 2},
        {"diffusion_loss": (0.05, 0.45), "psnr_discrete": (19, 22), "psnr_hybrid": (19, 22)},
    ),
    Budget(
        *("10", "gpu", 4, 4, 900),
        {"pictures": 256, "learnt": 64, "steps": 2000, "repeats": 5},
        {"psnr_discrete": (19, 22), "psnr_hybrid": (19, 22)},
    ),
    Budget(
        *("11", "smoke", 0.75, 2, 120),
        {"pictures": 2, "token_steps": 14, "concepts": 4, "steps": 4, "points": 2},
    ),
    Budget(
        *("11", "cpu", 6, 2, 900),
        {"pictures": 16, "token_steps": 600, "concepts": 24, "steps": 180, "points": 12},
    ),
    Budget(
        *("11", "gpu", 6, 4, 900),
        {"pictures": 64, "token_steps": 4000, "concepts": 128, "steps": 250, "points": 20},
    ),
    Budget(
        *("12", "smoke", 0.75, 2, 120),
        {"small": 0, "repeats": 1, "steps": 1, "batches": 2},
    ),
    Budget(
        *("12", "cpu", 4, 2, 600),
        {"small": 1, "repeats": 3, "steps": 4, "batches": 4},
        {"slowdown_64_steps": (3, 5.4), "slowdown_f16": (2, 4)},
    ),
    Budget(
        *("12", "gpu", 3, 4, 600),
        {"small": 1, "repeats": 5, "steps": 64, "batches": 4},
        {"slowdown_64_steps": (2, 5.4)},
    ),
    Budget(*("14", "smoke", 0.75, 2, 120), {"edits": 2, "pictures": 2, "strengths": 1}),
    Budget(
        *("14", "cpu", 3, 2, 900),
        {"edits": 8, "pictures": 12, "strengths": 4},
        {"psnr_discrete": (18, 32), "psnr_hybrid": (18, 32)},
    ),
    Budget(
        *("14", "gpu", 2, 3, 900),
        {"edits": 8, "pictures": 64, "strengths": 4},
        {"psnr_discrete": (18, 32), "psnr_hybrid": (18, 32)},
    ),
    Budget(
        *("16", "smoke", 0.75, 2, 120),
        {
            **{"things": 5, "decoder_steps": 2, "generator_steps": 2, "batch": 2},
            **{"drawn": 2, "steps": 2, "spread": 0},
        },
    ),
    Budget(
        *("16", "cpu", 5, 2, 900),
        {
            **{"things": 20, "decoder_steps": 60, "generator_steps": 80, "batch": 8},
            **{"drawn": 16, "steps": 12, "spread": 1},
        },
    ),
    Budget(
        *("16", "gpu", 4, 3, 900),
        {
            **{"things": 20, "decoder_steps": 1000, "generator_steps": 600, "batch": 16},
            **{"drawn": 32, "steps": 12, "spread": 1},
        },
    ),
    Budget(*("15", "smoke", 0.75, 2, 120), {"concepts": 12, "learnt": 2, "steps": 2}),
    Budget(*("15", "cpu", 5, 2, 900), {"concepts": 96, "learnt": 8, "steps": 200}),
    Budget(*("15", "gpu", 4, 4, 900), {"concepts": 400, "learnt": 64, "steps": 2000}),
    Budget(*("13", "smoke", 0.75, 2, 120), {"drawn": 3, "scenes": 1, "pictures": 32}),
    Budget(*("13", "cpu", 4, 2, 900), {"drawn": 16, "scenes": 2, "pictures": 500}),
    Budget(*("13", "gpu", 3, 3, 900), {"drawn": 64, "scenes": 20, "pictures": 500}),
)


def budget(lesson: str, name: str) -> Budget:
    """Look up a row.

    Args:
        lesson: two digits, ``"00"``.
        name: ``"smoke"``, ``"cpu"`` or ``"gpu"``.

    Raises:
        ValueError: the table has no such row.
    """
    for row in TABLE:
        if (row.lesson, row.name) == (lesson, name):
            return row
    lessons = sorted({row.lesson for row in TABLE})
    raise ValueError(
        f"no budget '{name}' for lesson '{lesson}'. Budgets are {', '.join(NAMES)}; lessons with "
        f"a row are {', '.join(lessons)}. Add one to TABLE in dcar_edu/course/budgets.py."
    )


def resolve(name: str, *, live: bool) -> Name:
    """Turn ``"auto"`` into a budget, and check that the machine fits the one that was asked for.

    Args:
        name: ``"auto"`` or a budget's name.
        live: somebody sits in front of the notebook; without a GPU ``auto`` is then ``"cpu"``
            instead of ``"smoke"``.

    Raises:
        ValueError: no such budget, or ``"gpu"`` without a GPU.
    """
    has_gpu = torch.cuda.is_available()
    if name == "auto":
        return "gpu" if has_gpu else "cpu" if live else "smoke"
    for known in NAMES:
        if known == name and (name != "gpu" or has_gpu):
            return known
    if name == "gpu":
        raise ValueError(
            "BUDGET = 'gpu' needs an NVIDIA GPU, and torch finds none: it would take hours. On "
            "Colab choose Runtime > Change runtime type > T4 GPU, or use BUDGET = 'cpu'."
        )
    raise ValueError(f"BUDGET must be one of auto, {', '.join(NAMES)}, got '{name}'.")
