"""Which model does a lesson use: yours, the shipped one, or one that is trained now?

Tokenizer and generator always come as a pair: a generator's tokens mean nothing to another
tokenizer. One printed line says whose pair it is, and why.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from dcar_edu.checkpoint import home, write_atomically
from dcar_edu.course.budgets import NAMES, TABLE

if TYPE_CHECKING:
    from dcar_edu.pipeline import DCAR

SHIPPED = "emoji-128"
"""The pair that comes with the course."""


def stage_folder(number: str) -> Path:
    """Where your pair of lesson ``number`` is kept: ``$DCAR_HOME/checkpoints/NN``."""
    return home() / "checkpoints" / number


def save_stage(number: str, model: "DCAR", *, budget: str, metrics: Mapping[str, float]) -> Path:
    """Keep a pair that you trained, with the numbers that say how good it is.

    Args:
        number: lesson, two digits.
        model: tokenizer, generator and text encoder.
        budget: what it was trained with: ``"smoke"``, ``"cpu"`` or ``"gpu"``.
        metrics: measured on this pair, by the names the lesson's budget promises.

    Raises:
        ValueError: no such budget.
    """
    if budget not in NAMES:
        raise ValueError(f"budget must be one of {', '.join(NAMES)}, got '{budget}'.")
    folder = stage_folder(number)
    (folder / "stage.json").unlink(missing_ok=True)  # a half-written pair has no stage.json
    model.save_pretrained(folder)
    facts = {"budget": budget, "metrics": {name: float(value) for name, value in metrics.items()}}
    write_atomically(folder / "stage.json", json.dumps(facts, indent=1, sort_keys=True).encode())
    return folder


def stage(
    number: str,
    source: Literal["auto", "yours", "shipped", "train"] = "auto",
    *,
    train: Callable[[], "DCAR"] | None = None,
) -> "DCAR":
    """Load the pair a lesson works with, and say whose it is.

    Args:
        number: lesson whose pair is wanted.
        source: ``"auto"`` takes yours if it was trained above smoke and reached what its lesson
            promised, otherwise the shipped pair; ``"yours"`` takes yours in any case.
        train: called for ``"train"``, and by ``"auto"`` when no shipped pair is there.

    Returns:
        The whole model, in eval mode.

    Raises:
        ValueError: no such source, no pair of yours, no ``train`` given, or nothing found.
    """
    reason = why_not_yours(number)
    if source == "yours" and not _saved(number):
        raise ValueError(
            f"you have no pair for lesson {number} yet. Run its training cell, or use "
            "source='shipped'."
        )
    if source == "yours" or (source == "auto" and reason is None):
        note = f" ({reason})" if reason else ""
        return _say(f"yours, from lesson {number}{note}", _load(stage_folder(number)))
    if source in ("auto", "shipped"):
        try:
            model = _load(SHIPPED)
        except ValueError:
            if source == "shipped" or train is None:
                raise
        else:
            return _say(f"the shipped pair {SHIPPED} ({reason or 'asked for'})", model)
    if source not in ("auto", "train"):
        raise ValueError(f"source must be auto, yours, shipped or train, got '{source}'.")
    if train is None:
        raise ValueError(f"lesson {number} trains no pair. Use source='shipped'.")
    return _say("trained now", train())


def why_not_yours(number: str) -> str | None:
    """Why ``auto`` leaves your pair alone; None if it takes it."""
    facts = _saved(number)
    if not facts:
        return "you have not trained one"
    if facts["budget"] == "smoke":
        return "yours was trained at smoke, which only tests the mechanics"
    for row in TABLE:
        if (row.lesson, row.name) != (number, facts["budget"]):
            continue
        for name, (low, high) in row.promised.items():
            value = facts["metrics"].get(name)
            if value is None:
                return f"yours has no {name}, which lesson {number} promises"
            if not low <= value <= high:
                return f"yours has {name} {value:.4g}, promised was {low:g} to {high:g}"
    return None


def _saved(number: str) -> dict[str, Any]:
    try:
        facts = json.loads((stage_folder(number) / "stage.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return facts if isinstance(facts, dict) and {"budget", "metrics"} <= set(facts) else {}


def _load(place: str | Path) -> "DCAR":
    from dcar_edu.pipeline import DCAR

    return DCAR.from_pretrained(str(place))


def _say(whose: str, model: "DCAR") -> "DCAR":
    print(f"model: {whose}")
    return model
