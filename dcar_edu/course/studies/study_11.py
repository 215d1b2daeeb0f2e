"""Lesson 11: learn at the low resolution first, or at the high one from the start?

All arms of a seed have the same compute, counted in FLOPs, pre-training included. The learning
rate is constant after its warm-up, so every point of a curve is as far as that run could be by
then; averaged weights take the place of a falling rate. Tokens only: no residual head.
"""

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from dcar_edu.bench.flops import count_flops
from dcar_edu.course.costs import equal_compute
from dcar_edu.course.encoding import encode_all
from dcar_edu.course.studies import Experiment
from dcar_edu.course.studies.study_07 import fixed_mask, look, on_device, rows_of
from dcar_edu.data import CaptionedEmoji, EmojiExample
from dcar_edu.generator.config import GeneratorConfig
from dcar_edu.generator.masking import random_mask
from dcar_edu.generator.model import MaskedGenerator
from dcar_edu.generator.sampling import sample_tokens
from dcar_edu.generator.training import GeneratorTraining, TokenBatch, begin, masked_loss
from dcar_edu.pipeline import DCAR

TOKENIZER = "emoji-256-cpu"
"""Its encoder and codes are those of ``emoji-128``, so one vocabulary serves both sizes."""
GROUNDS = ("white", "pale blue")
HELD_BACK = 8
"""One picture in so many is not learnt; its concept is, on the other ground."""


@dataclass(frozen=True)
class Plan:
    """Sizes of a comparison."""

    style: str
    low: int
    """Pixels of the pre-training; the high resolution has twice as many a side."""
    concepts: int
    generator: GeneratorConfig
    steps: int
    """Of the run that sees the high resolution only; the others get the same FLOPs."""
    batch: int
    points: int
    """Of a curve."""
    judged: int
    """Pictures that a point is measured on."""
    learning_rate: float = 2e-3


SMALL = GeneratorConfig.preset("nano", width=128, depth=3, mlp_width=512)
"""Lesson 07's generator: 3 blocks of width 128."""
PLANS = {
    "smoke": Plan("3d", 64, 4, SMALL, steps=4, batch=2, points=2, judged=4),
    "cpu": Plan("3d", 128, 48, SMALL, steps=440, batch=16, points=20, judged=48),
    "gpu": Plan(
        *("noto", 256, 1024),
        GeneratorConfig.preset("small", num_codes=1024),
        steps=6000,
        batch=128,
        points=60,
        judged=256,
        learning_rate=1e-3,
    ),
}
SHARES = {"scratch": 0.0, "cross 1/2": 1 / 2, "cross 1/4": 1 / 4, "cross 1/8": 1 / 8}
"""Share of the compute that is spent at the low resolution; the paper's is about one half."""


@dataclass(frozen=True)
class World:
    """The same pictures as tokens at two resolutions."""

    examples: tuple[EmojiExample, ...]
    low: TokenBatch
    high: TokenBatch
    learnt: Tensor
    """Rows that are learnt, int64."""
    unseen: Tensor
    """The others."""


def make_world(plan: Plan, model: DCAR) -> World:
    """Encode every concept on two grounds with the frozen tokenizer, at both resolutions."""

    def encoded(pixels: int) -> tuple[list[EmojiExample], TokenBatch]:
        data = CaptionedEmoji(
            "train",
            pixels,
            styles=(plan.style,),
            concepts=plan.concepts,
            backgrounds=GROUNDS,
            sizes=("normal",),
        )
        examples = data.examples()
        tokens = encode_all(data, examples, model.tokenizer, model.text_encoder)
        return examples, on_device(tokens, model.device)

    (examples, low), (_, high) = encoded(plan.low), encoded(2 * plan.low)
    place = torch.arange(len(examples))
    held = place % HELD_BACK == place // HELD_BACK % 2  # now on the one ground, now on the other
    return World(tuple(examples), low, high, place[~held], place[held])


def new_generator(plan: Plan, model: DCAR, seed: int) -> MaskedGenerator:
    """A generator that has learnt nothing; the same for all arms of a seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return MaskedGenerator(plan.generator).to(model.device)


def training(plan: Plan, steps: int, seed: int) -> GeneratorTraining:
    """The numbers of a run or of a part of one."""
    return GeneratorTraining(
        steps=steps,
        learning_rate=plan.learning_rate,
        warmup_steps=50,
        ema_decay=0.99,
        label_smoothing=0.0,
        seed=seed,
    )


def train(
    model: MaskedGenerator, tokens: TokenBatch, plan: Plan, steps: int, seed: int
) -> Iterator[tuple[int, MaskedGenerator]]:
    """Learn hidden tokens at a constant rate; yields the step and the averaged model."""
    config = training(plan, steps, seed)
    state = begin(model, config)
    while state.step < steps:
        chosen = torch.randint(len(tokens.indices), (plan.batch,), generator=state.generator)
        drop = torch.rand(plan.batch, generator=state.generator) < config.text_drop
        batch = rows_of(tokens, chosen.to(model.device))
        mask = random_mask(plan.batch, batch.indices[0].numel(), state.generator)
        learn(model, batch, mask, drop)
        rise = min(1.0, (state.step + 1) / config.warmup_steps)
        state.apply_gradients(config.learning_rate * rise, config.clip)
        yield state.step, cast(MaskedGenerator, state.average.module)
    state.use_average()


def learn(model: MaskedGenerator, batch: TokenBatch, mask: Tensor, drop: Tensor) -> None:
    """One pass forward and one back."""
    targets, mask = batch.indices.flatten(1), mask.to(model.device)
    ids = torch.where(mask, model.mask_id, targets).view_as(batch.indices)
    out = model(ids, batch.text, batch.text_mask, drop)
    masked_loss(out.logits, targets, mask, smoothing=0.0).backward()


def step_flops(plan: Plan, tokens: TokenBatch) -> int:
    """Floating-point operations of a training step, forward and back, words included."""
    model, batch = MaskedGenerator(plan.generator), on_device(rows_of(tokens, slice(1)), CPU)
    mask, drop = torch.ones(1, batch.indices[0].numel(), dtype=torch.bool), torch.zeros(1) > 0
    return plan.batch * count_flops(lambda: learn(model, batch, mask, drop))


CPU = torch.device("cpu")


@torch.no_grad()
def draw(model: MaskedGenerator, tokens: TokenBatch, steps: int = 12) -> Tensor:
    """Token ids ``(b, h, w)`` for the texts: always the best guess, the surest first, no guidance.

    Nothing is left to chance, so two models differ by what they have learnt alone.
    """
    memory = model.read_text(tokens.text, tokens.text_mask)
    b, h, w = tokens.indices.shape

    def predict(indices: Tensor, _: int) -> Tensor:
        return model.predict(indices.to(model.device), memory).logits

    codes, steps = model.config.num_codes, min(steps, h * w)
    *_, last = sample_tokens(predict, (b, h, w), codes, num_steps=steps, temperature=0)
    return last.indices.to(model.device)


def measure(model: MaskedGenerator, world: World, plan: Plan) -> dict[str, float]:
    """How good a model is at the high resolution.

    Returns:
        ``accuracy`` and ``loss`` of guessing hidden tokens of learnt pictures, under fixed masks as
        in training; ``prompt``: the accuracy when all tokens are hidden. With ``unseen_`` the same
        for known concepts on the ground on which they were not learnt, with ``low_`` for learnt
        pictures at the low resolution.
    """
    model.eval()
    found: dict[str, float] = {}
    for name, part in judged(world, plan).items():
        count, tokens = len(part.indices), part.indices[0].numel()
        seen = look(model, part, fixed_mask(count, tokens=tokens))
        blind = look(model, part, fixed_mask(count, tokens, tokens))
        found |= {f"{name}{key}": value for key, value in seen.items()}
        found[f"{name}prompt"] = blind["accuracy"]
    return found


def judged(world: World, plan: Plan) -> dict[str, TokenBatch]:
    """The pictures that a point is measured on, by the start of the numbers' names."""
    parts = {"": (world.high, world.learnt), "unseen_": (world.high, world.unseen)}
    return {
        name: rows_of(tokens, rows[: plan.judged].to(tokens.indices.device))
        for name, (tokens, rows) in (parts | {"low_": (world.low, world.learnt)}).items()
    }


def matches(model: MaskedGenerator, world: World, plan: Plan) -> dict[str, float]:
    """``match`` and others: share of the tokens that are right when drawn in 12 steps."""
    model.eval()
    return {
        f"{name}match": (draw(model, part) == part.indices).float().mean().item()
        for name, part in judged(world, plan).items()
    }


@functools.cache
def _shipped() -> DCAR:
    return DCAR.from_pretrained(TOKENIZER).to("cuda" if torch.cuda.is_available() else "cpu")


@functools.lru_cache(maxsize=1)
def _world(budget: str) -> World:
    return make_world(PLANS[budget], _shipped())


def run(
    arm: str, seed: int, plan: Plan, world: World, model: MaskedGenerator
) -> Iterator[dict[str, float]]:
    """Train one arm; yields ``tflop`` spent and what :func:`measure` finds, at even distances.

    The last point is the end of the run.
    """
    costs = [step_flops(plan, tokens) / 1e12 for tokens in (world.low, world.high)]
    total = plan.steps * costs[1]
    low, high, _ = equal_compute(total, costs[1], SHARES[arm], costs[0])
    yield {"tflop": 0.0, **measure(model, world, plan)}
    spent, number = 0.0, 1
    for tokens, steps, cost in ((world.low, low, costs[0]), (world.high, high, costs[1])):
        learnt = rows_of(tokens, world.learnt.to(model.device))
        for step, average in train(model, learnt, plan, steps, seed):
            spent += cost
            over = tokens is world.high and step == steps
            if over or spent >= total * number / plan.points:
                yield {"tflop": spent, **measure(average, world, plan)}
                number += 1


def _cross(arm: str, seed: int, budget: str) -> dict[str, float]:
    """Every point of the curve as ``name_NN``, and what :func:`matches` finds at the end."""
    plan, world = PLANS[budget], _world(budget)
    model = new_generator(plan, _shipped(), seed)
    found: dict[str, float] = {}
    for number, seen in enumerate(run(arm, seed, plan, world, model)):
        found |= {f"{name}_{number:02d}": round(value, 5) for name, value in seen.items()}
        print(f"{arm}, {seen['tflop']:.2f} TFLOP: accuracy {seen['accuracy']:.3f}", flush=True)
    found |= {name: round(value, 5) for name, value in matches(model, world, plan).items()}
    return found


EXPERIMENTS: dict[str, Experiment] = {
    "11_cross": Experiment(
        "pre-training at the low resolution against the high one from the start, equal FLOPs",
        tuple(SHARES),
        _cross,
    ),
}
