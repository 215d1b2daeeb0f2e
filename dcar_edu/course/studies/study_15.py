"""Lesson 15: next-scale drawing against masked drawing, at equal parameters and equal compute.

The two arms are made in :mod:`dcar_edu.course.lessons.scales_15`; here they are trained and judged.
"""

import copy
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache, lru_cache

import torch
from einops import rearrange
from torch import Tensor, nn

from dcar_edu.bench.flops import count_flops
from dcar_edu.bench.timing import timed, waits
from dcar_edu.course.budgets import Budget
from dcar_edu.course.lessons import scales_15 as arms
from dcar_edu.course.lessons.scales_15 import SCALES, Model, Plan, World
from dcar_edu.course.studies import Experiment
from dcar_edu.generator.guidance import guide
from dcar_edu.generator.model import MaskedGenerator, TextMemory
from dcar_edu.generator.next_scale import ScaleDrawing
from dcar_edu.generator.sampling import sample_tokens
from dcar_edu.metrics import load_alignment, psnr
from dcar_edu.metrics.alignment import Alignment, retrieval
from dcar_edu.pipeline import DCAR
from dcar_edu.text import TextStates
from dcar_edu.tokenizer.multiscale import MultiScaleQuantizer

MODEL = "emoji-128"
GUIDANCE, STEPS, RESIDUAL_STEPS = 1.0, 12, 20
PLANS = {
    "smoke": Plan(12, 2, 2, 32, 2, 1, 2, 4, 2, repeats=1, width=64, depth=1),
    "cpu": Plan(400, 40, 48, 512, 10, 50, 800, 16, 8),
    "gpu": Plan(400, 300, 48, 1024, 20, 2000, 8000, 64, 20, width=256, depth=5),
}


def lesson_plan(row: Budget) -> Plan:
    """The plan of the two runs in the notebook: fewer pictures, so fewer codes and steps."""
    plan = PLANS[row.name]
    return replace(
        plan,
        concepts=row.concepts,
        learnt=row.learnt,
        judged=row.concepts // 6,
        codes=min(plan.codes, 3 * row.concepts),
        decoder_steps=(plan.decoder_steps + 1) // 2,
        steps=row.steps,
    )


@dataclass(frozen=True)
class Drawn:
    """Prompts drawn as latents; nothing is left to chance but the residuals."""

    ids: Tensor
    """int64 ``(b, n)``, of all scales."""
    sums: tuple[Tensor, ...]
    """What was drawn after every step ``(b, c, side, side)``; a hidden token counts as 0."""
    residuals: Tensor
    """``(b, c, side, side)``; 0 without residual steps."""
    passes: int
    """Runs of the transformer for each picture."""


@torch.no_grad()
def draw(
    model: Model,
    quantizer: MultiScaleQuantizer,
    words: TextStates,
    seed: int = 0,
    residual_steps: int = RESIDUAL_STEPS,
    num_steps: int = STEPS,
) -> Drawn:
    """Draw prompts: always the best guess, guided; masked ones the surest first, in some steps."""
    cond = model.read_text(words.states.to(model.device), words.mask)
    null = model.read_text(None, words.mask)
    source = torch.Generator().manual_seed(seed)
    if isinstance(model, MaskedGenerator):
        return _draw_masked(model, quantizer, cond, null, source, residual_steps, num_steps)
    scales = ScaleDrawing(model, cond, null, quantizer.grow, GUIDANCE, temperature=0.0)
    steps = list(scales.steps(source))
    ids = torch.cat([step.ids.flatten(1) for step in steps], dim=1).to(model.device)
    sums = tuple(step.total for step in steps)
    rest = scales.residuals(residual_steps, source) if residual_steps else 0 * sums[-1]
    return Drawn(ids, sums, rest, 2 * len(steps))


def _draw_masked(
    model: MaskedGenerator,
    quantizer: MultiScaleQuantizer,
    cond: TextMemory,
    null: TextMemory,
    source: torch.Generator,
    residual_steps: int,
    num_steps: int,
) -> Drawn:
    h, w = model.config.grid
    shape, codes, count = (len(cond.mask), h, w), model.config.num_codes, min(num_steps, h * w)
    hidden: list[Tensor] = []

    def predict(indices: Tensor, _: int) -> Tensor:
        outs = [model.predict(indices.to(model.device), memory) for memory in (cond, null)]
        hidden[:] = [out.hidden for out in outs]
        return guide(outs[0].logits, outs[1].logits, GUIDANCE)

    sampler = sample_tokens(predict, shape, codes, num_steps=count, temperature=0, generator=source)
    grids = [step.indices.to(model.device) for step in sampler]
    sums = tuple(_known(quantizer, grid, model.mask_id) for grid in grids)
    rest = 0 * sums[-1]
    if residual_steps:
        drawn = model.sample_residuals(
            *hidden,
            guidance=GUIDANCE,
            num_steps=residual_steps,
            clip=model.config.residual_clip,
            generator=source,
        )
        rest = rearrange(drawn, "b (h w) c -> b c h w", h=h)
    return Drawn(grids[-1].flatten(1), sums, rest, 2 * len(grids))


def _known(quantizer: MultiScaleQuantizer, indices: Tensor, mask_id: int) -> Tensor:
    """What the tokens say that are not hidden; code 0 is the zero vector."""
    return quantizer.sums([indices.masked_fill(indices == mask_id, 0)])[-1]


@dataclass(frozen=True)
class Arm:
    """A quantizer and a decoder that reads its codes, before any generator."""

    name: str
    quantizer: MultiScaleQuantizer
    decoder: nn.Module


def prepare(name: str, seed: int, world: World, plan: Plan, decoder: nn.Module) -> Arm:
    """Put an arm's codes where the latents lie, and teach a copy of the decoder to read them."""
    quantizer = arms.new_quantizer(name, world, plan, seed)
    own = copy.deepcopy(decoder)
    for _ in arms.tune_decoder(own, quantizer, world, plan, seed):
        pass
    return Arm(name, quantizer, own)


def seen(
    arm: Arm,
    codes: Tensor,
    rest: Tensor,
    world: World,
    rows: Tensor,
    alignment: Alignment | None = None,
) -> dict[str, float]:
    """Decode codes alone ("discrete") and with their rest ("hybrid"), and look at the pictures.

    Returns:
        ``psnr_PATH`` to the true pictures in ``rows``; with an alignment ``r1_PATH``, the share
        that is named right.
    """
    labels = [world.examples[row].label for row in rows.tolist()]
    found = {}
    for path, latents in (("discrete", codes), ("hybrid", codes + rest)):
        pictures = arms.decode(arm.decoder, latents)
        found[f"psnr_{path}"] = psnr(pictures, world.images[rows]).mean().item()
        if alignment is not None:
            found[f"r1_{path}"] = retrieval(alignment, pictures, labels, world.labels).r1
    return found


def rebuilt(
    arm: Arm, world: World, rows: Tensor, alignment: Alignment | None = None
) -> dict[str, float]:
    """What encoding and decoding does to real pictures: the best that a drawing could be.

    Returns:
        That of :func:`seen`; and ``error``, squared leftover over the squared latents.
    """
    latents = world.latents[rows.to(world.latents.device)]
    found = arm.quantizer(latents)
    error = arms.missing(latents, found.quantized)
    return {"error": error, **seen(arm, found.quantized, found.leftover, world, rows, alignment)}


def judge(
    arm: Arm, model: Model, world: World, alignment: Alignment | None, seed: int
) -> dict[str, float]:
    """How good drawings of the learnt prompts are.

    Returns:
        ``match``: share of the tokens that are right; ``error``: squared distance of the drawn
        codes from the true latents, over the squared latents; and that of :func:`seen`.
    """
    rows = world.learnt
    truth = world.latents[rows.to(world.latents.device)]
    drawn = draw(model, arm.quantizer, world.words, seed)
    true_ids = torch.cat([ids.flatten(1) for ids in arm.quantizer(truth).ids], dim=1)
    found = {
        "match": (drawn.ids == true_ids).float().mean().item(),
        "error": arms.missing(truth, drawn.sums[-1]),
    }
    return found | seen(arm, drawn.sums[-1], drawn.residuals, world, rows, alignment)


def costs(arm: Arm, model: Model, words: TextStates, plan: Plan) -> dict[str, float]:
    """What one picture costs: tokens, passes, counted GFLOP, and seconds of one thread's computing.

    ``seconds_steps`` is the transformer alone; ``seconds`` has residuals and decoder too.
    """
    one = TextStates(words.states[:1], words.mask[:1])
    device = model.device
    clock = time.process_time if device.type == "cpu" else None

    def steps() -> Drawn:
        return draw(model, arm.quantizer, one, residual_steps=0)

    def whole() -> Tensor:
        drawn = draw(model, arm.quantizer, one)
        return arms.decode(arm.decoder, drawn.sums[-1] + drawn.residuals)

    how = {"wait": waits(device), "clock": clock, "repeats": plan.repeats, "warmup": 2}
    drawn = steps()
    return {
        "tokens": drawn.ids.shape[1],
        "passes": drawn.passes,
        "gflop_steps": count_flops(steps) / 1e9,
        "seconds_steps": timed(steps, **how).median,  # type: ignore[arg-type]
        "seconds": timed(whole, **how).median,  # type: ignore[arg-type]
    }


@cache
def _shipped() -> DCAR:
    return DCAR.from_pretrained(MODEL).to("cuda" if torch.cuda.is_available() else "cpu")


@lru_cache(maxsize=1)
def _world(budget: str) -> World:
    return arms.make_world(PLANS[budget], _shipped())


@cache
def _alignment() -> Alignment:
    return load_alignment()


def curve(
    arm: Arm, model: Model, world: World, plan: Plan, seed: int
) -> Iterator[tuple[float, float, Model]]:
    """Train a generator on the learnt prompts.

    Yields:
        At even distances: the TFLOP spent, the error of drawings (see :func:`judge`), and the
        averaged model.
    """
    truth = world.latents[world.learnt.to(world.latents.device)]
    tokens = arms.new_batch(arm.name, arm.quantizer(truth), world.words)
    steps, tflop = arms.equal_steps(arm.name, plan, world.words, truth.shape[1])
    marks = {round(steps * point / plan.points) for point in range(1, plan.points + 1)}
    for step, average in arms.train(model, tokens, arms.training(plan, steps, seed), plan.batch):
        if step in marks:
            average.eval()
            drawn = draw(average, arm.quantizer, world.words, residual_steps=0)
            yield step * tflop / steps, arms.missing(truth, drawn.sums[-1]), average


def start(arm: Arm, world: World, plan: Plan, seed: int) -> Model:
    """A generator of this arm that has learnt nothing and knows the size of the leftover."""
    truth = world.latents[world.learnt.to(world.latents.device)]
    scale = arm.quantizer(truth).leftover.square().mean().sqrt().item()
    model = arms.new_generator(arm.name, plan, truth.shape[1], scale, seed)
    return model.to(truth.device)


def _next_scale(name: str, seed: int, budget: str) -> dict[str, float]:
    """Prepare an arm, train it, and judge it; ``error_NN`` and ``tflop_NN`` on the way."""
    plan, world = PLANS[budget], _world(budget)
    arm = prepare(name, seed, world, plan, _shipped().tokenizer.decoder)
    model = start(arm, world, plan, seed)
    found: dict[str, float] = {"parameters": sum(p.numel() for p in model.parameters())}
    for number, (tflop, error, _) in enumerate(curve(arm, model, world, plan, seed), 1):
        found |= {f"tflop_{number:02d}": tflop, f"error_{number:02d}": error}
        print(f"{name}, {tflop:.2f} TFLOP: error {error:.3f}", flush=True)
    for key, rows in (("unseen", world.judged), ("learnt", world.learnt)):
        scores = rebuilt(arm, world, rows, _alignment())
        found |= {f"{key}_{name}": value for name, value in scores.items()}
    found |= judge(arm, model, world, _alignment(), seed)
    found |= costs(arm, model, world.words, plan)
    return {key: round(float(value), 5) for key, value in found.items()}


EXPERIMENTS: dict[str, Experiment] = {
    "15_next_scale": Experiment(
        "next-scale against masked drawing: equal encoder, codes, parameters and FLOPs",
        tuple(SCALES),
        _next_scale,
    ),
}
