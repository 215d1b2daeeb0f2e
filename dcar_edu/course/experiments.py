"""Comparisons with several arms and seeds, run outside the notebooks: ``dcar experiment NAME``.

An experiment is a plain function. Each run adds one JSON line to ``lessons/results/NAME.jsonl``;
a run that is there already is not done again. Lessons read the lines with :func:`results`.
"""

import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dcar_edu import __version__
from dcar_edu.course import budgets
from dcar_edu.course.execute import ROOT, commit, device_name
from dcar_edu.data import CaptionedEmoji
from dcar_edu.images import resize


@dataclass(frozen=True)
class Experiment:
    """What is compared.

    ``run(arm, seed, budget)`` gives the metrics of one run as plain numbers.
    """

    says: str
    arms: tuple[str, ...]
    run: Callable[[str, int, str], dict[str, float]]


def experiment(
    name: str,
    arm: str | None = None,
    seed: int = 0,
    budget: str | None = None,
    force: bool = False,
    root: str | Path | None = None,
) -> int:
    """Run one arm of an experiment, or all of them, and append a line a run.

    Args:
        name: a key of ``EXPERIMENTS``.
        arm: one of its arms; every arm when None.
        seed: start of the run's random numbers.
        budget: smoke, cpu or gpu; ``$DCAR_BUDGET``, else gpu when there is one, else cpu.
        force: run again although the line is there.
        root: the repository; the checkout this file lies in by default.

    Returns:
        0.

    Raises:
        ValueError: unknown experiment, arm or budget.
    """
    root = Path(root or ROOT)
    if name not in EXPERIMENTS:
        raise ValueError(f"no experiment '{name}': choose among {', '.join(EXPERIMENTS)}.")
    chosen = EXPERIMENTS[name]
    if arm is not None and arm not in chosen.arms:
        raise ValueError(f"{name} has no arm '{arm}': choose among {', '.join(chosen.arms)}.")
    size = budgets.resolve(budget or os.environ.get("DCAR_BUDGET") or "auto", live=True)
    for one in chosen.arms if arm is None else (arm,):
        run = {"name": name, "arm": one, "seed": seed, "budget": size}
        label = f"{name} arm {one} seed {seed} budget {size}"
        if not force and any(run.items() <= line.items() for line in results(name, root)):
            print(f"{label}: done before")
            continue
        began = time.monotonic()
        metrics = chosen.run(one, seed, size)
        run |= {
            "metrics": metrics,
            "minutes": round((time.monotonic() - began) / 60, 2),
            "device": device_name(),
            "commit": commit(root),
            "version": __version__,
        }
        _append(_file(name, root), run)
        shown = ", ".join(f"{key} {value:.4g}" for key, value in metrics.items())
        print(f"{label}: {shown}", flush=True)
    return 0


def results(name: str, root: str | Path | None = None) -> list[dict[str, Any]]:
    """Read every run of an experiment, oldest first; an empty list when there is none.

    Raises:
        ValueError: a line is no JSON object; names the line.
    """
    file = _file(name, Path(root or ROOT))
    if not file.exists():
        return []
    lines = []
    for number, text in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
        try:
            lines.append(dict(json.loads(text)))
        except (ValueError, TypeError) as error:
            raise ValueError(
                f"{file.name}, line {number} is no JSON object: {text[:40]!r}. Delete that line."
            ) from error
    return lines


def _file(name: str, root: Path) -> Path:
    return root / "lessons" / "results" / f"{name}.jsonl"


def _append(file: Path, run: dict[str, Any]) -> None:
    """Add one line in one write, so that two processes never mix their lines."""
    file.parent.mkdir(parents=True, exist_ok=True)
    line = (json.dumps(run, sort_keys=True) + "\n").encode("utf-8")
    handle = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(handle, line)
        os.fsync(handle)
    finally:
        os.close(handle)


def psnr(images: Tensor, others: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB of each image in [-1, 1], shape ``(b,)``."""
    error = (images - others).pow(2).flatten(1).mean(1)
    return 10 * torch.log10(4 / error)


def shrink_and_enlarge(images: Tensor, factor: int) -> Tensor:
    """Make images ``(b, 3, h, w)`` ``factor`` times smaller, then as large as before."""
    height, width = images.shape[-2:]
    return resize(resize(images, (height // factor, width // factor)), (height, width))


def _compression(arm: str, seed: int, budget: str) -> dict[str, float]:
    """How much of 128 px emoji survives when they are shrunk ``f`` times and enlarged again."""
    pictures = 32 if budget == "smoke" else 512
    data = CaptionedEmoji("train", 128, concepts=32 if budget == "smoke" else 256)
    images = data.batch(pictures, generator=torch.Generator().manual_seed(seed)).images
    values = psnr(images, shrink_and_enlarge(images, int(arm.removeprefix("f"))))
    return {
        "psnr": round(values.mean().item(), 3),
        "psnr_std": round(values.std().item(), 3),
        "pictures": pictures,
    }


EXPERIMENTS: dict[str, Experiment] = {
    "01_compression": Experiment(
        "PSNR of 128 px emoji shrunk f times and enlarged again", ("f8", "f16", "f32"), _compression
    ),
}
