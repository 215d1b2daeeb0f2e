"""Comparisons with several arms and seeds, run outside the notebooks: ``dcar experiment NAME``.

An experiment is a plain function in ``studies/study_NN.py``. Each run adds one JSON line to
``lessons/results/NAME.jsonl``; a run that is there already is not done again. Lessons read the
lines with :func:`results`.
"""

import json
import os
import pkgutil
import time
from importlib import import_module
from pathlib import Path
from typing import Any

from dcar_edu import __version__
from dcar_edu.course import budgets, studies
from dcar_edu.course.execute import ROOT, commit, device_name
from dcar_edu.course.studies import Experiment


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
        name: one of :func:`all_experiments`.
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
    known = all_experiments()
    if name not in known:
        raise ValueError(f"no experiment '{name}': choose among {', '.join(known)}.")
    chosen = known[name]
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


def all_experiments() -> dict[str, Experiment]:
    """Every experiment by name, in the order of the lessons, from ``dcar_edu/course/studies``."""
    names = sorted(module.name for module in pkgutil.iter_modules(studies.__path__))
    found: dict[str, Experiment] = {}
    for name in names:
        found |= import_module(f"dcar_edu.course.studies.{name}").EXPERIMENTS
    return found
