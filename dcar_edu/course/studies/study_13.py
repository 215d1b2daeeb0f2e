"""Lesson 13: how good is the shipped model, on what it learnt and on what it never saw?"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from dcar_edu import images
from dcar_edu.course import figures
from dcar_edu.course.real_sets import every_label, judge
from dcar_edu.course.studies import Experiment
from dcar_edu.data import CaptionedEmoji, CaptionedScenes, SceneExample
from dcar_edu.data.captions import BACKGROUNDS, STYLES
from dcar_edu.metrics.judge import PATHS, judge_pictures
from dcar_edu.metrics.networks import load_network
from dcar_edu.metrics.prompts import Drawn, Places, Sampling, draw_prompts, judge_prompts
from dcar_edu.metrics.scenes import (
    TASKS,
    Found,
    SceneSpec,
    load_scene_judge,
    real_scenes,
    scene_prompts,
    scene_report,
)
from dcar_edu.metrics.scenes.specs import split_name
from dcar_edu.metrics.splits import Learnt, Pictures
from dcar_edu.metrics.subject import Subject

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MODEL = "emoji-256-cpu"
KINDS = ("learnt", "colours", "styles", "concepts")
"""What is new in a prompt: nothing, the background, the style, or the concept."""
SAMPLING = Sampling(guidance=1.0)
"""As the model's card says; residuals within the model's own bound."""


def asked(kind: str, count: int, seed: int, learnt: Learnt, resolution: int) -> Pictures:
    """Prompts with their real pictures, in which one thing at most is new to the model.

    Args:
        kind: one of :data:`KINDS`. ``colours``: a background it has not learnt; ``styles``: a
            style; ``concepts``: a concept that no part of the model or tokenizer has seen.
        count: how many, none twice.
        seed: which ones.
        learnt: what the model learnt.
        resolution: of the pictures.

    Raises:
        ValueError: no such kind.
    """
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {', '.join(KINDS)}; got '{kind}'.")
    options: dict[str, Any] = {
        "styles": learnt.styles, "concepts": learnt.concepts, "backgrounds": learnt.backgrounds,
        "sizes": learnt.sizes,
    }  # fmt: skip
    if kind == "colours":
        options["backgrounds"] = [b for b in BACKGROUNDS if b not in learnt.backgrounds]
    elif kind == "styles":
        options["styles"] = [s for s in STYLES if s not in learnt.styles]
    elif kind == "concepts":
        options["concepts"] = None
    split = "held_out_concepts" if kind == "concepts" else "train"
    data = CaptionedEmoji(split, resolution, **options)
    generator = torch.Generator().manual_seed(seed)
    places = torch.randperm(len(data), generator=generator)[:count].sort().values
    part = data.only(places.tolist())
    return Pictures(part, tuple(part.examples()))


@dataclass(frozen=True)
class Result:
    """Prompts of one kind, drawn and judged."""

    pictures: Pictures
    drawn: Drawn
    numbers: dict[str, Any]
    """See :func:`~dcar_edu.metrics.prompts.judge_prompts`."""
    places: Places


def draw_kind(subject: Subject, kind: str, count: int, seed: int) -> Result:
    """Draw prompts of one kind and judge them among all labels."""
    assert subject.whole is not None
    assert subject.learnt is not None
    pictures = asked(kind, count, seed, subject.learnt, subject.resolution(None))
    eyes = judge().eyes
    drawn = draw_prompts(
        subject.whole,
        pictures,
        SAMPLING,
        judge(),
        load_network("efficientnet", eyes),
        1000 * seed,
        lambda done: None,
    )
    labels = [example.label for example in pictures.examples]
    numbers, places = judge_prompts(drawn, labels, every_label(), judge(), "efficientnet", seed)
    return Result(pictures, drawn, numbers, places)


@torch.no_grad()
def show(subject: Subject, result: Result, places: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Drawn and real pictures at these places, ``(n, 3, H, W)`` each."""
    rows = list(places)
    indices, residuals = result.drawn.indices[rows], result.drawn.residuals[rows]
    return subject.tokenizer.decode(indices, residuals), result.pictures.some(rows)


def order(result: Result) -> list[int]:
    """Places from best to worst: by the rank of the right label, then by how far it leads."""
    ahead, margin = result.places.ahead["hybrid"].tolist(), result.places.margin.tolist()
    return sorted(range(len(ahead)), key=lambda place: (ahead[place], -margin[place]))


def _splits(arm: str, seed: int, budget: str) -> dict[str, float]:
    subject, count = Subject.load(MODEL), {"smoke": 4}.get(budget, 64)
    result = draw_kind(subject, arm, count, seed)
    seen = judge_pictures(subject.tokenizer, result.pictures.batches(), features=judge().eyes)
    found: dict[str, float] = {"prompts": len(result.pictures)}
    for path in PATHS:
        found[f"psnr_{path}"] = seen[f"psnr_{path}"].mean().item()
        for name in ("r1", "r5", "kid_efficientnet", "fid_efficientnet"):
            found[f"{name}_{path}"] = result.numbers[path][name]
    found["r1_real"] = result.numbers["real"]["r1"]
    return {name: round(value, 4) for name, value in found.items()}


def truly_found(example: SceneExample) -> list[Found]:
    """What a judge without any fault would find in a real scene."""
    return [Found(*split_name(thing.noun), thing.box, 1.0) for thing in example.objects]


@dataclass(frozen=True)
class Scenes:
    """Prompts of SceneEval, pictures, and what the judge found in them."""

    specs: list[SceneSpec]
    pictures: Tensor
    """``(n, 3, H, W)``."""
    found: list[list[Found]]


def draw_scenes(subject: Subject, each: int, seed: int) -> Scenes:
    """Draw ``each`` prompts of every task, in looks that the model has learnt, and judge them."""
    assert subject.whole is not None
    specs = _specs(subject, each, seed)
    captions = [spec.caption for spec in specs]
    drawn = subject.whole.generate(captions, guidance=SAMPLING.guidance, seed=1000 * seed)
    pictures = torch.stack([images.from_pil(picture) for picture in drawn])
    return Scenes(specs, pictures, load_scene_judge()(pictures))


def _specs(subject: Subject, each: int, seed: int) -> list[SceneSpec]:
    assert subject.learnt is not None
    looks = {"styles": subject.learnt.styles, "backgrounds": subject.learnt.backgrounds}
    return scene_prompts(seed, **looks, counts=dict.fromkeys(TASKS, each))


def _scenes(arm: str, seed: int, budget: str) -> dict[str, float]:
    subject, each = Subject.load(MODEL), {"smoke": 1}.get(budget, 20)
    if arm == MODEL:
        scenes = draw_scenes(subject, each, seed)
        specs, found = scenes.specs, scenes.found
    else:
        specs = _specs(subject, each, seed)
        styles = sorted({spec.style for spec in specs})
        data = CaptionedScenes("train", 256, styles=styles)
        laid_out = real_scenes(specs, data, torch.Generator().manual_seed(seed))
        pictures = data.render(laid_out)
        found = load_scene_judge()(torch.ones_like(pictures) if arm == "blank" else pictures)
    if arm == "shuffled captions":  # each picture answers the next prompt
        found = found[1:] + found[:1]
    report = scene_report(specs, found, seed=seed)
    scores = {task: round(score.score, 4) for task, score in report.tasks.items()}
    counts = {f"prompts_{task}": score.prompts for task, score in report.tasks.items()}
    return scores | {"overall": round(report.overall.score, 4)} | counts


def boxed(pictures: Tensor, found: Sequence[Sequence[Found]], titles: Sequence[str]) -> "Figure":
    """Pictures ``(b, 3, H, W)`` with a box around each thing that was found, in one row."""
    from matplotlib.patches import Rectangle

    figure = figures.image_grid(pictures, list(titles), columns=len(pictures), tile=1.25)
    for axis, things in zip(figure.axes, found, strict=False):
        for number, thing in enumerate(things):
            left, top, right, bottom = (pictures.shape[-1] * side for side in thing.box)
            style = ("-", "--", "-.", ":")[number % 4]
            look: Any = {"fill": False, "edgecolor": f"C{number % 4}", "linestyle": style}
            axis.add_patch(
                Rectangle((left, top), right - left, bottom - top, linewidth=1.5, **look)
            )
    return figure


EXPERIMENTS: dict[str, Experiment] = {
    "13_splits": Experiment(
        "The shipped model on what it learnt, and with one thing new: background, style, concept",
        KINDS,
        _splits,
    ),
    "13_scenes": Experiment(
        "SceneEval of the shipped model, between real scenes, shuffled captions and blank pictures",
        (MODEL, "real scenes", "shuffled captions", "blank"),
        _scenes,
    ),
}
