"""How the shipped checkpoints are made: ``dcar checkpoints emoji-128``.

The runs of a recipe, one after the other. A call that was stopped or killed goes on where it was
when the same command is given again.
"""

import json
import shutil
import time
from dataclasses import replace
from pathlib import Path

import torch

from dcar_edu import checkpoint
from dcar_edu.course.cards import write_card
from dcar_edu.course.facts import learnt_by, making_of
from dcar_edu.course.recipes import RECIPES, Part, Recipe
from dcar_edu.generator import GeneratorConfig
from dcar_edu.metrics.evaluation import Plan
from dcar_edu.metrics.prompts import Sampling
from dcar_edu.runs import Call, GeneratorRun, run_generator, run_tokenizer
from dcar_edu.runs.table import seconds_spent


def train(
    name: str,
    minutes: float | None = None,
    out: str | Path | None = None,
    evaluation: Plan | None = None,
) -> Path | None:
    """Train a shipped checkpoint, or go on with it.

    Args:
        name: one of the recipes.
        minutes: stop this call after so many minutes; the next call goes on.
        out: folder of the finished checkpoint; default ``data/checkpoints/NAME``.
        evaluation: how its card is measured; as the recipe says if not given.

    Returns:
        The finished checkpoint's folder, or None when the minutes ended first.

    Raises:
        ValueError: no such recipe, or see the runs.
        KeyboardInterrupt: Ctrl-C; the state is saved.
    """
    if name not in RECIPES:
        raise ValueError(f"recipes are {', '.join(RECIPES)}; got '{name}'. Name one of them.")
    recipe, began = RECIPES[name], time.monotonic()
    work = checkpoint.home() / "recipes" / name
    folder = Path(out) if out else checkpoint.data_folder() / "checkpoints" / name
    model: Path | None = None
    for part in recipe.parts:
        print(f"{name}: {part.name}", flush=True)
        left = None if minutes is None else minutes - (time.monotonic() - began) / 60
        model = run_part(part, recipe, work, left)
        if model is None:
            print(f"stopped after {minutes} minutes; the same command goes on from {work}")
            return None
    assert model is not None, "a recipe has parts"
    store(model, folder, recipe.residual_clip)
    finish(folder, name, recipe, work, evaluation)
    print(f"finished: {folder}")
    return folder


def run_part(part: Part, recipe: Recipe, work: Path, minutes: float | None) -> Path | None:
    """One run of a recipe; its model's folder, or None when the minutes ended first."""

    def place(name: str | None) -> str | None:
        """The model of an earlier part, or a name that is shipped."""
        earlier = any(name == other.name for other in recipe.parts)
        return str(work / str(name) / "model") if earlier else name

    plan, call = replace(part.plan, start=place(part.plan.start)), Call(stop_after=minutes)
    if isinstance(plan, GeneratorRun):
        return run_generator(plan, work / part.name, place(part.tokenizer), call=call)
    return run_tokenizer(plan, work / part.name, call=call)


def store(model: Path, folder: Path, residual_clip: float) -> None:
    """Put a finished model where it is shipped; the card and what is told of it stay.

    Args:
        model: what the last run made.
        folder: where it is shipped.
        residual_clip: replaces the generator's own.
    """
    for name in ("tokenizer", "generator"):
        shutil.rmtree(folder / name, ignore_errors=True)
    shutil.copytree(model, folder, dirs_exist_ok=True)
    config = checkpoint.read_config(folder / "generator", GeneratorConfig)
    values = checkpoint.to_dict(replace(config, residual_clip=residual_clip))
    data = json.dumps(values, indent=1).encode()
    checkpoint.write_atomically(folder / "generator" / "config.json", data)


def finish(folder: Path, name: str, recipe: Recipe, work: Path, plan: Plan | None) -> None:
    """Write beside the weights what they learnt, and their card."""
    learnt_by(recipe).write(folder)
    cuda = torch.cuda.is_available()
    threads = f"a CPU, {torch.get_num_threads()} thread(s)"
    device = torch.cuda.get_device_name() if cuda else threads
    minutes = {part.name: seconds_spent(work / part.name) / 60 for part in recipe.parts}
    logs = {part.name: work / part.name / "metrics.csv" for part in recipe.parts}
    plan = plan or Plan(sampling=Sampling(guidance=recipe.guidance))
    write_card(folder, making_of(name, recipe, folder, minutes, device), logs=logs, plan=plan)
