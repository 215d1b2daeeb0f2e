"""Scores of a set of pictures: a row for each task, the judge's own ceiling beside it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dcar_edu.metrics.distribution import interval_of
from dcar_edu.metrics.scenes.scoring import Found, faults
from dcar_edu.metrics.scenes.specs import TASKS, SceneSpec
from dcar_edu.metrics.tables import markdown

RESAMPLES = 1000


@dataclass(frozen=True)
class Score:
    """The share of pictures that pass."""

    score: float
    """0 to 1."""
    interval: tuple[float, float]
    """95 % bootstrap interval; of no width where all pass, or none: then it says nothing."""
    prompts: int


@dataclass(frozen=True)
class SceneReport:
    """What a model scores."""

    tasks: dict[str, Score]
    """In the order of :data:`TASKS`, those that were asked."""
    overall: Score
    """The mean of the tasks, each weighing the same, as GenEval has it."""
    splits: dict[str, Score]
    """All pictures of compositions that :class:`CaptionedScenes` trains on or holds out."""
    faults: list[list[str]]
    """What is wrong with each picture; empty: it passes."""
    ceiling: Mapping[str, float] | None = None
    """What real scenes score with this judge, by task and ``overall``."""

    def markdown(self) -> str:
        """A table, scores in percent."""
        ceiling = self.ceiling or {}
        rows = [
            [name, _percent(score), _share(ceiling.get(name)), str(score.prompts)]
            for name, score in (*self.tasks.items(), ("overall", self.overall))
        ]
        heads = ("task", "pictures that pass, % [95 %]", "real scenes, %", "prompts")
        apart = "; ".join(
            f"{name.replace('_', ' ')} compositions {_percent(score)}"
            for name, score in self.splits.items()
        )
        return f"{markdown(heads, rows)}\n\n{ABOUT}By split of the scenes: {apart}.\n"


ABOUT = (
    "A picture passes by GenEval's rules on what the judge in `data/judges/scenes` finds in it. "
    "Real scenes: what perfect pictures of such prompts score with this judge, the ceiling. "
    "Overall: mean of the tasks. In brackets: 95 % bootstrap interval over prompts. "
)


def scene_report(
    specs: Sequence[SceneSpec],
    found: Sequence[Sequence[Found]],
    *,
    ceiling: Mapping[str, float] | None = None,
    seed: int = 0,
) -> SceneReport:
    """Score pictures against what was asked.

    Args:
        specs: what was asked.
        found: what the judge found in each picture, in the same order.
        ceiling: from :func:`~dcar_edu.metrics.scenes.judge.scene_ceiling`, shown beside.
        seed: of the bootstrap.

    Raises:
        ValueError: no picture, or not one a spec.

    Deviates:
        GenEval judges four pictures a prompt; here it is one, and the intervals are over prompts.
    """
    if not specs or len(specs) != len(found):
        raise ValueError(
            f"scene_report needs one list of found things for each spec, at least one, got "
            f"{len(specs)} specs and {len(found)} lists. Judge one picture a prompt, in order."
        )
    wrong = [faults(spec, seen) for spec, seen in zip(specs, found, strict=True)]
    passed = torch.tensor([not listed for listed in wrong], dtype=torch.float64)
    generator = torch.Generator().manual_seed(seed)
    tasks, means = {}, []
    for task in TASKS:
        own = passed[torch.tensor([spec.task == task for spec in specs])]
        if len(own):
            means.append(_resampled(own, generator))
            tasks[task] = _score(own.mean(), means[-1], len(own))
    whole = torch.tensor([score.score for score in tasks.values()], dtype=torch.float64).mean()
    overall = _score(whole, torch.stack(means).mean(0), len(specs))
    splits = {}
    for split in ("train", "held_out"):
        own = passed[torch.tensor([spec.split == split for spec in specs])]
        if len(own):
            splits[split] = _score(own.mean(), _resampled(own, generator), len(own))
    return SceneReport(tasks, overall, splits, wrong, ceiling)


def _resampled(passed: Tensor, generator: torch.Generator) -> Tensor:
    """Means of as many pictures drawn anew from these, a thousand times."""
    rows = torch.randint(len(passed), (RESAMPLES, len(passed)), generator=generator)
    return passed[rows].mean(1)


def _score(mean: Tensor, means: Tensor, prompts: int) -> Score:
    return Score(mean.item(), interval_of(means, 0.95), prompts)


def _percent(score: Score) -> str:
    low, high = score.interval
    return f"{100 * score.score:.1f} [{100 * low:.1f}, {100 * high:.1f}]"


def _share(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.1f}"
