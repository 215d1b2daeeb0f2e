"""Which model does a lesson use: yours, the shipped one, or one that is trained now?

Tokenizer and generator come as a pair: a generator's tokens mean nothing to another tokenizer.
A lesson that trains a tokenizer alone keeps it alone. One printed line says whose model it is,
and why. :func:`keep_going` makes a training cell survive a stop.
"""

import json
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from dcar_edu.checkpoint import home, write_atomically
from dcar_edu.course.budgets import NAMES, TABLE

if TYPE_CHECKING:
    from dcar_edu.pipeline import DCAR
    from dcar_edu.state import TrainingState
    from dcar_edu.tokenizer.hybrid import HybridTokenizer

Item = TypeVar("Item")
Kind = Literal["pair", "tokenizer"]

SHIPPED = "emoji-128"
"""The pair that comes with the course."""
NOTE_EVERY = 20
"""Seconds between two lines of a training cell."""


def stage_folder(number: str) -> Path:
    """Where your model of lesson ``number`` is kept: ``$DCAR_HOME/checkpoints/NN``."""
    return home() / "checkpoints" / number


def save_stage(
    number: str,
    model: "DCAR | HybridTokenizer",
    *,
    budget: str,
    metrics: Mapping[str, float],
) -> Path:
    """Keep a model that you trained, with the numbers that say how good it is.

    Args:
        number: lesson, two digits.
        model: tokenizer, generator and text encoder; or a tokenizer alone.
        budget: what it was trained with: ``"smoke"``, ``"cpu"`` or ``"gpu"``.
        metrics: measured on this model, by the names the lesson's budget promises.

    Raises:
        ValueError: no such budget.
    """
    if budget not in NAMES:
        raise ValueError(f"budget must be one of {', '.join(NAMES)}, got '{budget}'.")
    folder = stage_folder(number)
    (folder / "stage.json").unlink(missing_ok=True)  # a half-written model has no stage.json
    model.save_pretrained(folder)
    facts = {
        "budget": budget,
        "kind": "pair" if hasattr(model, "generator") else "tokenizer",
        "metrics": {name: float(value) for name, value in metrics.items()},
    }
    write_atomically(folder / "stage.json", json.dumps(facts, indent=1, sort_keys=True).encode())
    return folder


def stage(
    number: str,
    source: Literal["auto", "yours", "shipped", "train"] = "auto",
    *,
    train: Callable[[], Any] | None = None,
    kind: Kind = "pair",
) -> Any:
    """Load the model a lesson works with, and say whose it is.

    Args:
        number: lesson whose model is wanted.
        source: ``"auto"`` takes yours if it was trained above smoke and reached what its lesson
            promised, otherwise the shipped one; ``"yours"`` takes yours in any case.
        train: called for ``"train"``, and by ``"auto"`` when nothing shipped is there.
        kind: ``"pair"`` for the whole model, ``"tokenizer"`` for a tokenizer alone.

    Returns:
        A ``DCAR`` or a ``HybridTokenizer``, in eval mode.

    Raises:
        ValueError: no such source, none of yours, no ``train`` given, or nothing found.
    """
    reason = why_not_yours(number, kind)
    if source == "yours" and not _saved(number, kind):
        raise ValueError(
            f"you have no {kind} for lesson {number} yet. Run its training cell, or use "
            "source='shipped'."
        )
    if source == "yours" or (source == "auto" and reason is None):
        note = f" ({reason})" if reason else ""
        return _say(f"yours, from lesson {number}{note}", _load(stage_folder(number), kind))
    if source in ("auto", "shipped"):
        try:
            model = _load(SHIPPED, kind)
        except ValueError:
            if source == "shipped" or train is None:
                raise
        else:
            why = "asked for" if source == "shipped" else reason
            return _say(f"the shipped {kind} {SHIPPED} ({why})", model)
    if source not in ("auto", "train"):
        raise ValueError(f"source must be auto, yours, shipped or train, got '{source}'.")
    if train is None:
        raise ValueError(f"lesson {number} trains no {kind}. Use source='shipped'.")
    return _say("trained now", train())


def why_not_yours(number: str, kind: Kind = "pair") -> str | None:
    """Why ``auto`` leaves your model alone; None if it takes it."""
    facts = _saved(number, kind)
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


def _saved(number: str, kind: Kind) -> dict[str, Any]:
    try:
        facts = json.loads((stage_folder(number) / "stage.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    if not isinstance(facts, dict) or not {"budget", "metrics"} <= set(facts):
        return {}
    return facts if facts.get("kind", "pair") == kind else {}


def _load(place: str | Path, kind: Kind) -> Any:
    from dcar_edu.pipeline import DCAR
    from dcar_edu.tokenizer.hybrid import HybridTokenizer

    if kind == "tokenizer" and isinstance(place, Path):
        return HybridTokenizer.from_pretrained(place)
    model = DCAR.from_pretrained(str(place))
    return model.tokenizer if kind == "tokenizer" else model


def _say(whose: str, model: Any) -> Any:
    print(f"model: {whose}")
    return model


def keep_going(
    name: str,
    state: "TrainingState",
    steps: Iterator[Item],
    *,
    total: int,
    every: float = 60,
) -> Iterator[Item]:
    """Run a training loop so that the cell can be stopped and run again: it then goes on.

    The state is saved every minute; a stopped cell, or a new session, goes on from there. After
    the last step the save is removed: running the cell once more trains anew.

    Args:
        name: of this run, with all it depends on: ``"04/three-stages-cpu-0"``.
        state: what the loop changes; filled from the save before the first step.
        steps: the loop, a generator that has not begun and reads ``state.step`` when it begins.
        total: steps of the whole run.
        every: seconds between two saves.

    Yields:
        What ``steps`` yields.

    Raises:
        ValueError: the save is damaged or belongs to another model.
    """
    folder = home() / "runs" / name
    if state.load(folder):
        print(f"going on at step {state.step} of {total}, from the save of an earlier run")
    first, began = state.step, time.monotonic()
    saved = said = began
    for item in steps:
        yield item
        now = time.monotonic()
        if now - said > NOTE_EVERY:
            said = now
            left = (now - began) / (state.step - first) * (total - state.step)
            print(f"step {state.step} of {total}, about {left:.0f} s left", flush=True)
        if now - saved > every:
            saved = now
            state.save(folder)
    shutil.rmtree(folder, ignore_errors=True)
    print(f"{total - first} steps in {time.monotonic() - began:.0f} s")
