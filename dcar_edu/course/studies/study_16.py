"""Lesson 16: what fine-tuning makes a generator forget, with old pictures mixed in and without."""

import tempfile
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import torch

from dcar_edu import DCAR
from dcar_edu.checkpoint import find_model, find_tokenizer
from dcar_edu.course import budgets, own_data, own_model
from dcar_edu.course.studies import Experiment
from dcar_edu.data import CaptionedEmoji, ImageCaptionFolder
from dcar_edu.data.checking import check_pictures, groups_of, write_folder
from dcar_edu.data.gathering import gather
from dcar_edu.data.splits import split_groups
from dcar_edu.generator.training import GeneratorTraining
from dcar_edu.metrics import token_match
from dcar_edu.metrics.splits import Learnt
from dcar_edu.runs import GeneratorRun, Pictures, run_generator

START = "emoji-128"
MINE = 3
"""Of so many new pictures in a batch, the arms mix in 0 or 1 old one."""
ALONE, MIXED = "new pictures only", "a quarter old pictures"
ARMS = {ALONE: 0, MIXED: 1}


def forget(arm: str, seed: int, size: str) -> dict[str, float]:
    """Fine-tune the generator on the example's pictures, and count tokens drawn right.

    Args:
        arm: one of :data:`ARMS`.
        seed: of the split, the training and the drawings.
        size: the budget.

    Returns:
        Shares of right tokens: ``new`` captions that it learnt from, ``held_out`` ones, ``old``
        captions that the model knew before, and the same of that model as ``before_NAME``.
    """
    budget = budgets.budget("16", size)
    with tempfile.TemporaryDirectory() as place, redirect_stdout(StringIO()):
        sides = _sides(Path(place), budget.things, seed)
        mine = Pictures(str(Path(place) / "new"), MINE)
        plan = GeneratorRun(
            data=(mine, *own_model.old_pictures(START, ARMS[arm])),
            batch=4 * budget.batch,
            start=START,
            training=GeneratorTraining(
                budget.generator_steps, learning_rate=5e-4, warmup_steps=20, seed=seed
            ),
        )
        made = run_generator(plan, Path(place) / "run", find_tokenizer(START))
        assert made is not None
        models = {"": DCAR.from_pretrained(made), "before_": DCAR.from_pretrained(START)}
    asked: dict[str, Any] = {**sides, "old": _old()}
    return {
        f"{when}{name}": right_tokens(model, data, budget.drawn, budget.steps, seed)
        for when, model in models.items()
        for name, data in asked.items()
    }


def right_tokens(model: DCAR, data: Any, most: int, steps: int, seed: int) -> float:
    """Share of the tokens of some pictures that their captions draw."""
    places = torch.randperm(len(data), generator=torch.Generator().manual_seed(seed))[:most]
    if isinstance(data, CaptionedEmoji):
        data = data.only(places.tolist())
        places = torch.arange(len(data))
    examples = [data[place] for place in places.tolist()]
    truth = model.tokenizer.encode(data.render(examples)).indices
    captions = [example.caption for example in examples]
    drawn = model.generate_tokens(captions, num_steps=steps, guidance=1.0, seed=seed)
    return token_match(drawn, truth).float().mean().item()


def _sides(place: Path, things: int, seed: int) -> dict[str, ImageCaptionFolder]:
    """The example's pictures, checked and split: to learn from, and held out."""
    raw = list(gather(str(own_data.example_folder(place / "raw", things=things))))
    verdicts = check_pictures(raw, 128)
    fine = [picture for picture in raw if verdicts[picture.name] == "fine"]
    held = split_groups(groups_of(fine, "folder"), 0.2, torch.Generator().manual_seed(seed))
    sides = {"new": False, "held_out": True}
    return {
        name: ImageCaptionFolder(
            write_folder(
                [p for p, out in zip(fine, held, strict=True) if out is side], place / name
            ),
            128,
        )
        for name, side in sides.items()
    }


def _old() -> CaptionedEmoji:
    learnt = Learnt.read(find_model(START))
    assert learnt is not None
    return learnt.data()


EXPERIMENTS = {
    "16_forgetting": Experiment(
        "fine-tuning on new pictures alone, or with old ones mixed in", tuple(ARMS), forget
    )
}
