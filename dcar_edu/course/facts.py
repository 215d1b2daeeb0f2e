"""What a recipe says about a checkpoint that it made, for the card."""

from collections.abc import Mapping
from pathlib import Path

import torch

from dcar_edu.course import cards
from dcar_edu.course.costs import generator_flops, head_flops, tokenizer_flops
from dcar_edu.course.recipes import Part, Recipe, learnt_examples
from dcar_edu.features import PerceptualDistance, load_features
from dcar_edu.generator.training import TokenBatch
from dcar_edu.metrics.splits import Learnt
from dcar_edu.pipeline import DCAR
from dcar_edu.runs import GeneratorRun, Pictures, TokenizerRun

BY_HEART = """It knows the listed concepts by heart and little else: a prompt outside them gives a
mixture. Faces and people were left out."""
WIDE = """It saw every captioned emoji of the split `train`, and scenes: more than it can keep.
Photographs and anything that is no emoji were never seen."""
FEW_TOKENS = """ Twelve steps for {tokens} tokens is nearly one token a step; the saving that the
paper is about needs larger grids."""


def learnt_by(recipe: Recipe) -> Learnt:
    """What the recipe teaches its generator, as the checkpoint lists it."""
    data, _ = learnt_examples(recipe)
    labels = tuple(concept.label for concept in data.concepts)
    return Learnt(data.split, recipe.resolution, data.styles, labels, data.backgrounds, data.sizes)


def making_of(
    name: str, recipe: Recipe, folder: Path, minutes: Mapping[str, float | None], device: str
) -> cards.Making:
    """The facts of a training by recipe; counts its operations on a step of each part.

    Args:
        name: of the recipe.
        recipe: what was done.
        folder: the result, for its sizes.
        minutes: of each part, by its name.
        device: in words.
    """
    model = DCAR.from_pretrained(folder)
    tokens = model.generator.config.grid[0] * model.generator.config.grid[1]
    limits = BY_HEART if recipe.learnt == recipe.parts[-1].plan.data[0] else WIDE
    limits += FEW_TOKENS.format(tokens=tokens) if tokens < 24 else ""
    runs = {part.name: part.plan for part in recipe.parts if isinstance(part.plan, TokenizerRun)}
    return cards.Making(
        name=name,
        preset=recipe.preset,
        command=f"dcar checkpoints {name}",
        tokenizer_data=_data(next(iter(runs.values())).data) if runs else _source(recipe),
        parts=tuple(
            cards.Part(part.name, part.plan.training.steps, _batch(part, tokens),
                       _flops(part, recipe, model), minutes[part.name])
            for part in recipe.parts
        ),
        notes="".join(map(_notes, runs, runs.values())) + "PFLOP: 10^15 operations, counted on\n"
        "one step of each part and multiplied.",
        limits=limits,
        device=device,
        torch=torch.__version__,
    )  # fmt: skip


def _source(recipe: Recipe) -> str:
    return f"that of `{recipe.parts[0].tokenizer}`, unchanged."


def _data(sources: tuple[Pictures, ...]) -> str:
    """The data as an option of ``dcar train``; a list of concepts is long enough without."""
    written = " + ".join(f"`{source.text}`" for source in sources)
    return f"as `dcar train --data` writes it, {written}."


def _batch(part: Part, tokens: int) -> str:
    alone = isinstance(part.plan, GeneratorRun) and part.plan.learns == "head"
    return f"{part.plan.batch * tokens} tokens" if alone else f"{part.plan.batch} pictures"


def _notes(name: str, plan: TokenizerRun) -> str:
    training = plan.training
    stages = ", ".join(f"{stage.name} {stage.steps:,}" for stage in training.stages)
    losses = [f"L1 + {training.l2:g} x MSE"]
    if training.perceptual_weight:
        where = f" at {plan.perceptual_side} px" if plan.perceptual_side else ""
        losses.append(f"{training.perceptual_weight:g} x perceptual (EfficientNet-Lite0{where})")
    losses += [f"{training.gan_weight:g} x adversarial"] if training.gan_weight else []
    return f"Steps of the {name}'s stages: {stages}.\nIts loss: {' + '.join(losses)}. "


def _flops(part: Part, recipe: Recipe, model: DCAR) -> float:
    """Operations of all steps of a part."""
    plan = part.plan
    if isinstance(plan, TokenizerRun):
        shape = (plan.batch, 3, plan.resolution, plan.resolution)
        weight = plan.training.perceptual_weight
        seen = PerceptualDistance(load_features(), plan.perceptual_side) if weight else None
        return sum(tokenizer_flops(model.tokenizer.config, plan.training, shape, seen).values())
    config = model.generator.config
    if plan.learns == "head":
        return head_flops(config, plan.training, plan.batch * config.grid[0] * config.grid[1])
    return generator_flops(config, plan.training, _longest_batch(recipe, model, plan.batch))


def _longest_batch(recipe: Recipe, model: DCAR, batch: int) -> TokenBatch:
    """A batch as the generator sees it: texts as long as the longest caption, tokens of nothing."""
    captions = {example.caption for example in learnt_examples(recipe)[1]}
    texts = sorted(sorted(captions), key=len)[-batch:]
    texts = (texts * batch)[:batch]
    words, config = model.text_encoder(texts), model.generator.config
    grid = (len(texts), *config.grid)
    residuals = torch.ones(grid[0], config.latent_channels, *grid[1:])
    indices = torch.zeros(grid, dtype=torch.int64)
    return TokenBatch(indices, residuals, words.states.cpu(), words.mask.cpu())
