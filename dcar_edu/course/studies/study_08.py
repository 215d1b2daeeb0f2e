"""Lesson 08: how many steps does a drawing need, in which order, and how hard should it be pushed?

Everything here draws tokens only, as residuals come in lesson 09. Arms of one seed draw the same
prompts from the same random sources. ``08_steps`` asks for pictures that the model has learnt,
``08_open`` for any picture at all: there steps have something to decide.
"""

import time
from dataclasses import replace
from functools import lru_cache

import torch

from dcar_edu.course.drawings import (
    MODEL,
    Judge,
    Learnt,
    Sampler,
    decode,
    draw_tokens,
    load_judge,
    load_learnt,
)
from dcar_edu.course.studies import Experiment
from dcar_edu.metrics import kid, token_match
from dcar_edu.metrics.alignment import picture_features
from dcar_edu.pipeline import DCAR

APART = 10_000
"""Distance of the random sources of two seeds: no picture of one is a picture of the other."""


BY_STEPS = {
    "1 step": Sampler(1),
    **{f"{steps} steps": Sampler(steps) for steps in (2, 4, 8, 12)},
    "token by token": Sampler(16),
    "12 steps, halton": Sampler(order="halton"),
    "12 steps, raster": Sampler(order="raster"),
}
"""16 steps for 16 tokens is one token a step."""
STEPS = {
    **BY_STEPS,
    "1 step, unguided": Sampler(1, guidance=0),
    "12 steps, unguided": Sampler(guidance=0),
}
"""Arms of ``08_steps``."""
OPEN = {name: replace(sampler, guidance=0, reads=False) for name, sampler in BY_STEPS.items()}
"""Arms of ``08_open``; without a prompt there is nothing to be guided by."""
GUIDANCES, TEMPERATURES = (0.0, 2.0, 4.5, 8.0), (0.0, 1.5, 3.0)
PUSHES = {
    f"guidance {s:g}, temperature {t:g}": Sampler(guidance=s, temperature=t)
    for s in GUIDANCES
    for t in TEMPERATURES
}
"""Arms of ``08_guidance``."""
TRUE = "true tokens"
"""An arm that draws nothing: what the tokenizer makes of the right tokens, the best case."""
PICTURES = {
    "08_steps": {"smoke": 4, "cpu": 64, "gpu": 556},
    "08_open": {"smoke": 8, "cpu": 48, "gpu": 556},
    "08_guidance": {"smoke": 8, "cpu": 32, "gpu": 280},
}
"""Prompts of one run; each is drawn once, and in ``08_guidance`` twice."""


def run_steps(arm: str, seed: int, judge: Judge) -> dict[str, float]:
    """Draw every prompt once with the sampler of an arm of ``08_steps``, and judge.

    Returns:
        What :meth:`Judge.judge` finds, ``passes`` of the network a picture, ``pictures``, and
        seconds a picture for the tokens alone: ``seconds`` by the clock, ``cpu_seconds`` of this
        process, which other programs do not disturb.
    """
    if arm == TRUE:
        return _rounded({**judge.judge(judge.indices), "pictures": len(judge.prompts)})
    sampler = STEPS[arm]
    draw_tokens(judge.model, judge.prompts[:2], sampler)  # the first run of all is slower
    clock, cpu = time.perf_counter(), time.process_time()
    drawn = draw_tokens(judge.model, judge.prompts, sampler, seed * APART)
    clock, cpu = time.perf_counter() - clock, time.process_time() - cpu
    return _rounded(
        {
            **judge.judge(drawn),
            "passes": sampler.passes,
            "seconds": clock / len(drawn),
            "cpu_seconds": cpu / len(drawn),
            "pictures": len(drawn),
        }
    )


def run_guidance(arm: str, seed: int, judge: Judge) -> dict[str, float]:
    """Draw every prompt twice with the sampler of an arm of ``08_guidance``.

    Returns:
        What :meth:`Judge.judge` finds in the first drawings, and ``variety``: the share of tokens
        in which the two drawings of a prompt differ.
    """
    first, second = (
        draw_tokens(judge.model, judge.prompts, PUSHES[arm], (2 * seed + again) * APART)
        for again in (0, 1)
    )
    variety = 1 - token_match(first, second).mean().item()
    return _rounded({**judge.judge(first), "variety": variety, "pictures": len(first)})


def run_open(arm: str, seed: int, learnt: Learnt) -> dict[str, float]:
    """Draw without a prompt, with the sampler of an arm of ``08_open``, and judge the set.

    Returns:
        ``kid_efficientnet`` times 1000 against learnt pictures; ``nearest``: share of tokens
        that a drawing has in common with the learnt picture most like it; ``variety``: share of
        tokens in which two drawings differ; ``passes`` and ``pictures``.
    """
    sampler = OPEN[arm]
    drawn = draw_tokens(learnt.model, learnt.prompts, sampler, seed * APART)
    seen = picture_features(learnt.eyes, decode(learnt.model, drawn))
    same = drawn.flatten(1)[:, None] == learnt.indices.flatten(1)[None]
    return _rounded(
        {
            "kid_efficientnet": 1000 * kid(learnt.real, seen),
            "nearest": same.float().mean(2).max(1).values.mean().item(),
            "variety": 1 - token_match(drawn, drawn.roll(1, 0)).mean().item(),
            "passes": sampler.passes,
            "pictures": len(drawn),
        }
    )


def _rounded(found: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 5) for name, value in found.items()}


def _model() -> DCAR:
    return DCAR.from_pretrained(MODEL).to("cuda" if torch.cuda.is_available() else "cpu")


@lru_cache(maxsize=1)
def _judge(prompts: int) -> Judge:
    """Arms that run one after another share their judge."""
    return load_judge(_model(), prompts)


@lru_cache(maxsize=1)
def _learnt(pictures: int) -> Learnt:
    return load_learnt(_model(), pictures)


def _steps(arm: str, seed: int, budget: str) -> dict[str, float]:
    return run_steps(arm, seed, _judge(PICTURES["08_steps"][budget]))


def _open(arm: str, seed: int, budget: str) -> dict[str, float]:
    return run_open(arm, seed, _learnt(PICTURES["08_open"][budget]))


def _guidance(arm: str, seed: int, budget: str) -> dict[str, float]:
    return run_guidance(arm, seed, _judge(PICTURES["08_guidance"][budget]))


EXPERIMENTS: dict[str, Experiment] = {
    "08_steps": Experiment(
        "learnt prompts: how many steps, and in which order", (*STEPS, TRUE), _steps
    ),
    "08_open": Experiment("no prompt: how many steps, and in which order", tuple(OPEN), _open),
    "08_guidance": Experiment(
        "learnt prompts: guidance against temperature", tuple(PUSHES), _guidance
    ),
}
