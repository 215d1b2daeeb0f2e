"""How good the judge of scenes is, and its card."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from dcar_edu.data import CaptionedEmoji, CaptionedScenes, SceneExample
from dcar_edu.data.captions import BACKGROUNDS
from dcar_edu.metrics.scenes.accuracy import Accuracy, accuracy, by
from dcar_edu.metrics.scenes.judge import SceneJudge
from dcar_edu.metrics.scenes.network import STRIDE
from dcar_edu.metrics.scenes.report import scene_report
from dcar_edu.metrics.scenes.scoring import CONFIDENCE, Found
from dcar_edu.metrics.scenes.specs import TASKS, SceneSpec, real_scenes, scene_prompts
from dcar_edu.metrics.tables import markdown
from dcar_edu.pipeline import DCAR
from dcar_edu.tokenizer import HybridTokenizer

MODEL = "emoji-256-cpu"
"""Its tokenizer redraws the real scenes."""
HELD_OUT, SEED = 2000, 1
"""Real scenes that no training saw, and the seed that draws them and the places of prompts."""


def measure(judge: SceneJudge, others: Mapping[str, CaptionedEmoji]) -> dict[str, Any]:
    """Everything on the card: accuracy, false alarms, and what known pictures score.

    Args:
        judge: as it is stored.
        others: emoji in which nothing is to be found, by split.
    """
    side = judge.network.config.side
    scenes, generator = CaptionedScenes("held_out", side), torch.Generator().manual_seed(SEED)
    records = scenes.draw(HELD_OUT, generator)
    found = _look(judge, records, scenes.render)
    numbers: dict[str, Any] = {"held_out": _plain(accuracy(records, found))}
    for what in ("style", "kind"):
        rows = by(what, records, found)
        numbers[what] = {name: _plain(result) for name, result in rows.items()}
    numbers["alarms"] = {}
    for split, emoji in others.items():
        chosen = emoji.draw(500, torch.Generator().manual_seed(SEED))
        seen = _look(judge, chosen, emoji.render)
        alarmed = [any(thing.score > CONFIDENCE for thing in things) for things in seen]
        numbers["alarms"][split] = sum(alarmed) / len(alarmed)
    return numbers | {"network": _about(judge)} | _scores(judge)


def _scores(judge: SceneJudge) -> dict[str, Any]:
    """What real pictures of the prompts score, redrawn ones, and wrong ones."""
    specs, scenes = scene_prompts(), CaptionedScenes("train", 256)
    generator = torch.Generator().manual_seed(SEED)
    records = real_scenes(specs, scenes, generator)
    tokenizer = DCAR.from_pretrained(MODEL).tokenizer
    views = {"real": _look(judge, records, scenes.render)}
    for path in ("hybrid", "codes_only"):

        def redrawn(some: Sequence[SceneExample], path: str = path) -> Tensor:
            return _redraw(tokenizer, scenes.render(some), path)

        views[f"redrawn_{path}"] = _look(judge, records, redrawn)
    blank = torch.tensor(list(BACKGROUNDS.values())) / 127.5 - 1
    views["blank"] = judge(blank[:, :, None, None].expand(-1, 3, 256, 256)) * 47
    scores = {name: _by_task(specs, found[: len(specs)]) for name, found in views.items()}
    return scores | {"shuffled": _by_task(specs, [views["real"][p] for p in next_of_task(specs)])}


def next_of_task(specs: Sequence[SceneSpec]) -> list[int]:
    """For each prompt the place of the next one of its task, after the last the first."""
    places = {task: [p for p, s in enumerate(specs) if s.task == task] for task in TASKS}
    following = {
        place: after
        for own in places.values()
        for place, after in zip(own, own[1:] + own[:1], strict=True)
    }
    return [following[place] for place in range(len(specs))]


def _look(
    judge: SceneJudge, records: Sequence[Any], render: Callable[[Sequence[Any]], Tensor]
) -> list[list[Found]]:
    """Judge pictures, drawn lot by lot."""
    lots = (records[start : start + 32] for start in range(0, len(records), 32))
    return [things for lot in lots for things in judge(render(lot))]


@torch.no_grad()
def _redraw(tokenizer: HybridTokenizer, pictures: Tensor, path: str) -> Tensor:
    encoded = tokenizer.encode(pictures)
    return tokenizer.decode(encoded.indices, encoded.residuals if path == "hybrid" else None)


def _by_task(specs: Sequence[SceneSpec], found: Sequence[Sequence[Found]]) -> dict[str, float]:
    report = scene_report(specs, found)
    scores = {task: score.score for task, score in report.tasks.items()}
    return scores | {"overall": report.overall.score}


def _plain(result: Accuracy) -> dict[str, float]:
    return {
        "pictures": result.pictures,
        "things": result.things,
        "right": result.per_thing,
        "alarms": result.alarms_per_picture,
    }


def _about(judge: SceneJudge) -> dict[str, int]:
    config = judge.network.config
    parameters = sum(weights.numel() for weights in judge.network.parameters())
    cells = config.side // STRIDE
    return {
        "names": len(config.labels),
        "side": config.side,
        "cells": cells,
        "parameters": parameters,
    }


CARD = """# The judge of scenes

Which of {names} things are in a picture, where, and in which colour? A convolutional network with
{parameters:,} parameters looks at {side} px and says for each of {cells} x {cells} cells what has
its centre there. `dcar_edu.metrics.scenes.load_scene_judge()` loads it; `dcar scenes score` asks.

## Measured, on the stored bfloat16 weights
{pictures} real scenes of compositions that training never showed, with {things} things. A thing is
right when its name and colour are, and its box overlaps the true one by half or more. All things:
**{right:.2%}** right, {alarms:.4f} false alarms a picture.

| scenes | things | right, % | false alarms a picture |
|---|---|---|---|
{accuracy}

Single emoji of other names, in which it should find nothing: it finds something in {seen:.1%} of
those whose names were in training, in {unseen:.1%} of those whose names were not.

What pictures of the 553 prompts score by GenEval's rules, in percent; the first row is the ceiling
of every score:

{scores}

Shuffled: each picture judged against the next prompt of its task. Redrawn: real scenes through the
tokenizer of `{model}` at 256 px, with residuals or from codes alone. `counting` asks for a
confidence of 0.9, as GenEval does, and of soft pictures the judge is less sure: a low score there
may also mean that it saw four whales at 0.8 each.

## How it was trained
By `dcar checkpoints scenes`: {steps} steps of {batch} pictures, seed {seed}, {cpu_minutes} minutes
of one CPU core. Real scenes of all styles and backgrounds (split `train`), moved and zoomed; one
thing of a scene, the others painted over, enlarged up to 2.6 times; four small scenes in one
picture; and single emoji of {others} other names, in which nothing is to be found. Half of the
pictures but for the mosaics are shrunk and enlarged again, all are tinted and noisy: drawn pictures
are soft. No picture of any model was in training.

## Limits
- It knows the {names} names as these four emoji styles draw them, no photographs, and has seen
  every drawing of every name: the numbers above are about new compositions, not new drawings.
- It names the nearest thing it knows. A cat drawn as a tiger is a tiger to it, and an emoji it
  never saw is now and then taken for one that it knows (the share above).
- Nouns that training never shows alone and large are its weakest (kind single above).
- Colours are those of circles, squares and hearts; it says nothing about the colour of a cat.
- It does not judge beauty, style or background: a pale, blurred cat on the wrong ground is a cat.
- Things that cover each other, things whose centres are nearer than a quarter of the side, and
  things smaller than a seventh of it were not in training. Pictures are squeezed to a square.

Licences: Fluent emoji (MIT), Noto emoji (Apache-2.0), see `data/emoji`. These weights: MIT.
"""

ROWS = {
    "real": "real scenes",
    "redrawn_hybrid": "redrawn, hybrid",
    "redrawn_codes_only": "redrawn, codes only",
    "shuffled": "real scenes, shuffled",
    "blank": "plain colour",
}


def card(numbers: Mapping[str, Any]) -> str:
    """The card as Markdown, of :func:`measure` and how it was made."""
    rows = []
    for what in ("style", "kind"):
        for name, result in numbers[what].items():
            figures = f"{100 * result['right']:.2f} | {result['alarms']:.4f}"
            rows.append(f"| {what} {name} | {result['things']} | {figures} |")
    scores = [
        [words, *(f"{100 * numbers[name][task]:.1f}" for task in (*TASKS, "overall"))]
        for name, words in ROWS.items()
    ]
    return CARD.format(
        **numbers["made"],
        **numbers["held_out"],
        **numbers["network"],
        accuracy="\n".join(rows),
        seen=numbers["alarms"]["train"],
        unseen=numbers["alarms"]["held_out_concepts"],
        scores=markdown(["pictures", *TASKS, "overall"], scores),
        model=MODEL,
    )
