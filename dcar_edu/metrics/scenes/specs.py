"""What the prompts of SceneEval ask for: GenEval's six tasks, in the words of our scenes.

A spec is plain data: the caption that a model reads, and what the picture must then show.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from dcar_edu.data import CaptionedScenes, SceneExample
from dcar_edu.data.captions import counted, scene_caption
from dcar_edu.data.composition import COLOURS, NOUNS, SHAPE_STYLES, Plan, make_plan, pick

TASKS = ("single", "two", "counting", "colours", "position", "binding")
KIND = {
    "single": "single",
    "two": "two",
    "counting": "count",
    "colours": "colour",
    "position": "position",
    "binding": "binding",
}
"""The kind of scene that shows each task."""
COUNTS = {"single": 80, "two": 99, "counting": 80, "colours": 94, "position": 100, "binding": 100}
"""Prompts of each task, GenEval's numbers: 553 in all."""


@dataclass(frozen=True)
class Wanted:
    """Things of one name that a prompt asks for."""

    label: str
    """A noun such as "cat", or a shape such as "circle"."""
    colour: str | None = None
    """Of a shape; None: any."""
    count: int = 1


@dataclass(frozen=True)
class SceneSpec:
    """What one prompt asks for."""

    task: str
    """One of :data:`TASKS`."""
    caption: str
    """What the model is told."""
    objects: tuple[Wanted, ...]
    """One or two kinds of things."""
    relation: str | None
    """Of the first to the second thing: "to the left of", "to the right of", "above", "below"."""
    style: str
    background: str
    split: str
    """``train`` or ``held_out``: does :class:`CaptionedScenes` train on this composition?"""


def scene_prompts(
    seed: int = 0,
    *,
    styles: Sequence[str] | None = None,
    backgrounds: Sequence[str] | None = None,
    counts: dict[str, int] | None = None,
) -> list[SceneSpec]:
    """Write SceneEval's prompts, task after task, no caption twice.

    Single objects are all 80 nouns once; the rest is drawn as scenes are drawn, from both splits.
    A narrow choice of looks may hold fewer different prompts than asked for: then all of them.

    Args:
        seed: of the draws.
        styles: some of ``3d``, ``flat``, ``noto``, ``blob``; None: all.
        backgrounds: some of the twelve named colours; None: all.
        counts: prompts of each task, 0 or left out for none; default :data:`COUNTS`.

    Raises:
        ValueError: an unknown task, style or background, or no style that shows coloured shapes.

    Source:
        GenEval (arXiv:2310.11513): its tasks, their sizes and templates. Its captions begin
        "a photo of"; ours name a style and a background.
    """
    counts = COUNTS if counts is None else counts
    if strangers := sorted(set(counts) - set(TASKS)):
        raise ValueError(f"counts must name tasks of {', '.join(TASKS)}; got {strangers}.")
    generator = torch.Generator().manual_seed(seed)
    specs: list[SceneSpec] = []
    for task in TASKS:
        if count := counts.get(task, 0):
            # Either split would do here: prompts come from both.
            scenes = CaptionedScenes(
                "train", 128, kinds=[KIND[task]], styles=styles, backgrounds=backgrounds
            )
            specs += _prompts(task, count, scenes, generator)
    return specs


def _prompts(
    task: str, count: int, scenes: CaptionedScenes, generator: torch.Generator
) -> list[SceneSpec]:
    """Different prompts of one task; gives up where a hundred draws a prompt bring no more."""
    if task == "single":
        return _all_nouns(count, scenes, generator)
    shaped = task in ("colours", "binding")
    styles = [style for style in scenes.styles if style in SHAPE_STYLES or not shaped]
    specs: dict[str, SceneSpec] = {}
    for _ in range(100 * count):
        style, background = pick(generator, styles)[0], pick(generator, scenes.backgrounds)[0]
        plan = make_plan(KIND[task], background, generator)
        if scenes.can_show(plan, style, background):
            spec = _spec(task, plan, style, background)
            specs.setdefault(spec.caption, spec)
        if len(specs) == count:
            break
    return list(specs.values())


def _all_nouns(count: int, scenes: CaptionedScenes, generator: torch.Generator) -> list[SceneSpec]:
    """One prompt a noun, each in a look in which the noun is shown."""
    specs = []
    looks = [(style, background) for style in scenes.styles for background in scenes.backgrounds]
    for noun in pick(generator, list(NOUNS), len(NOUNS)):
        plan = Plan("single", counted(noun, 1), (noun,))
        fitting = [look for look in looks if scenes.can_show(plan, *look)]
        if fitting:
            chosen = int(torch.randint(len(fitting), (), generator=generator))
            specs.append(_spec("single", plan, *fitting[chosen]))
    return specs[:count]


def _spec(task: str, plan: Plan, style: str, background: str) -> SceneSpec:
    caption = scene_caption(plan.content, style, background, several=len(plan.nouns) > 1)
    objects = tuple(
        Wanted(*split_name(noun), number) for noun, number in Counter(plan.nouns).items()
    )
    split = "held_out" if plan.is_held_out else "train"
    return SceneSpec(task, caption, objects, plan.relation, style, background, split)


def split_name(noun: str) -> tuple[str, str | None]:
    """Name a scene's thing as label and colour; only coloured shapes have one.

    Example:
        >>> split_name("red circle"), split_name("hot dog")
        (('circle', 'red'), ('hot dog', None))
    """
    first, _, rest = noun.partition(" ")
    return (rest, first) if rest and first in COLOURS else (noun, None)


def real_scenes(
    specs: Sequence[SceneSpec], scenes: CaptionedScenes, generator: torch.Generator
) -> list[SceneExample]:
    """Lay out a scene for each prompt: what a perfect model might draw.

    Args:
        specs: from :func:`scene_prompts`.
        scenes: whose art is used, any split, all styles; draw with its ``render``.
        generator: of the places and sizes.
    """
    examples = []
    for spec in specs:
        nouns = [
            f"{thing.colour} {thing.label}" if thing.colour else thing.label
            for thing in spec.objects
            for _ in range(thing.count)
        ]
        content = spec.caption.partition(" of ")[2].rpartition(" on ")[0]
        plan = Plan(KIND[spec.task], content, tuple(nouns), spec.relation)
        examples.append(scenes.compose(plan, spec.style, spec.background, generator))
    return examples
