"""What a recipe says about a checkpoint that it made, for the card."""

from collections.abc import Mapping

import torch

from dcar_edu.course.cards import Making, Part
from dcar_edu.course.costs import generator_flops, head_flops, tokenizer_flops
from dcar_edu.course.recipes import Recipe, learnt_examples
from dcar_edu.generator.training import TokenBatch
from dcar_edu.metrics.splits import Learnt
from dcar_edu.pipeline import DCAR

LIMITS = """It knows the listed concepts by heart and little else: a prompt outside them gives a
mixture. Faces and people were left out."""
FEW_TOKENS = """ Twelve steps for {tokens} tokens is nearly one token a step; the saving that the
paper is about needs larger grids."""


def learnt_by(recipe: Recipe) -> Learnt:
    """What the recipe teaches its generator, as the checkpoint lists it."""
    data, _ = learnt_examples(recipe)
    labels = tuple(concept.label for concept in data.concepts)
    return Learnt(data.split, recipe.resolution, data.styles, labels, data.backgrounds, data.sizes)


def making_of(
    name: str, recipe: Recipe, model: DCAR, minutes: Mapping[str, float | None], device: str
) -> Making:
    """The facts of a training by recipe; counts its operations on a step of each part.

    Args:
        name: of the recipe.
        recipe: what was done.
        model: the result, for its sizes.
        minutes: of ``tokenizer``, ``generator`` and ``head``.
        device: in words.
    """
    training = recipe.tokenizer_training
    shape = (recipe.tokenizer_batch, 3, recipe.resolution, recipe.resolution)
    generator, tokens = model.generator.config, _longest_batch(recipe, model)
    stages = tokenizer_flops(model.tokenizer.config, training, shape)
    head = head_flops(generator, recipe.head_training, recipe.head_batch)
    rest = generator_flops(generator, recipe.generator_training, tokens)
    known = round(recipe.learnt_share * recipe.tokenizer_batch)
    words = ", ".join(f"{stage.name} {stage.steps:,}" for stage in training.stages)
    cells = generator.grid[0] * generator.grid[1]
    pictures = f"{recipe.generator_batch} pictures"
    return Making(
        name=name,
        preset=recipe.preset,
        command=f"dcar checkpoints {name}",
        tokenizer_data=f"all four styles, twelve backgrounds and two sizes of the emoji in "
        f"`data/emoji` (split\n  `train`), mirrored half of the time; {known} of the "
        f"{recipe.tokenizer_batch} pictures of a step are ones that the\n  generator learns.",
        parts=(
            Part("tokenizer", training.steps, f"{recipe.tokenizer_batch} pictures",
                 sum(stages.values()), minutes["tokenizer"]),
            Part("generator", recipe.generator_training.steps, pictures, rest,
                 minutes["generator"]),
            Part("its residual head once more, alone", recipe.head_training.steps,
                 f"{recipe.head_batch} tokens", head, minutes["head"]),
        ),
        notes=f"Steps of the tokenizer's stages: {words}\n(not the paper's 1:4:1, see "
        f"`DEVIATIONS.md`). Pixel loss L1 + {training.l2:g} x MSE; no perceptual and no\n"
        "adversarial term. PFLOP: 10^15 operations, counted on one step of each part and "
        "multiplied.",
        limits=LIMITS + (FEW_TOKENS.format(tokens=cells) if cells < 24 else ""),
        device=device,
        torch=torch.__version__,
    )  # fmt: skip


def _longest_batch(recipe: Recipe, model: DCAR) -> TokenBatch:
    """A batch as the generator sees it: texts as long as the longest caption, tokens of nothing."""
    captions = [example.caption for example in learnt_examples(recipe)[1]]
    texts = sorted(captions, key=len)[-recipe.generator_batch :]
    texts = (texts * recipe.generator_batch)[: recipe.generator_batch]
    words, config = model.text_encoder(texts), model.generator.config
    grid = (len(texts), *config.grid)
    residuals = torch.ones(grid[0], config.latent_channels, *grid[1:])
    indices = torch.zeros(grid, dtype=torch.int64)
    return TokenBatch(indices, residuals, words.states.cpu(), words.mask.cpu())
