"""What a training costs: floating-point operations, counted on one step and multiplied.

And what may be compared: equal compute, and the compute at which a quality was reached.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import pairwise

import torch
from torch import nn

from dcar_edu.bench.flops import count_flops
from dcar_edu.generator import GeneratorConfig, MaskedGenerator
from dcar_edu.generator.training import GeneratorTraining, TokenBatch, train_generator
from dcar_edu.tokenizer import HybridTokenizer, TokenizerConfig
from dcar_edu.tokenizer.training import TokenizerTraining, train_tokenizer


def tokenizer_flops(
    config: TokenizerConfig,
    training: TokenizerTraining,
    shape: tuple[int, int, int, int],
    perceptual: nn.Module | None = None,
) -> dict[str, float]:
    """Of every stage, for all its steps.

    Args:
        config: sizes of the tokenizer; a fresh one is trained for a step of each stage.
        training: the plan.
        shape: of a batch of images, ``(b, 3, H, W)``.
        perceptual: as in ``train_tokenizer``.
    """
    images = torch.zeros(shape).uniform_(-1, 1, generator=torch.Generator().manual_seed(0))
    found = {}
    for stage in training.stages:
        tokenizer = HybridTokenizer(config)
        step = replace(
            training,
            stages=(replace(stage, steps=1, starts_codes=False),),
            gan_weight=training.gan_weight if stage.adversarial else 0.0,
        )
        loop = train_tokenizer(tokenizer, [images], step, perceptual=perceptual)
        found[stage.name] = float(stage.steps) * count_flops(partial(list, loop))
    return found


def generator_flops(
    config: GeneratorConfig, training: GeneratorTraining, tokens: TokenBatch
) -> float:
    """Of all steps on batches like ``tokens``."""
    model, step = MaskedGenerator(config), replace(training, steps=1)
    flops = count_flops(lambda: list(train_generator(model, [tokens], step)))
    return float(training.steps) * flops


def head_flops(config: GeneratorConfig, training: GeneratorTraining, tokens: int) -> float:
    """Of all steps of the residual head alone, ``tokens`` at a time."""
    head = MaskedGenerator(config).residual_head
    hidden, residuals = (
        torch.zeros(tokens, config.width),
        torch.ones(tokens, config.latent_channels),
    )
    source = torch.Generator().manual_seed(0)
    flops = count_flops(lambda: head.loss(hidden, residuals, source).backward())
    return float(training.steps) * flops


def equal_compute(
    total: float, cost_512: float, share: float, cost_256: float
) -> tuple[int, int, int]:
    """Steps that one amount of compute buys: at 256 px, then at 512 px; or at 512 px alone.

    Args:
        total: compute of each of the two runs.
        cost_512: of a step at the high resolution.
        share: of ``total`` that is spent at the low resolution, 0 to 1.
        cost_256: of a step there.
    """
    first, then = share * total / cost_256, (1 - share) * total / cost_512
    return round(first), round(then), round(total / cost_512)


def cost_to_reach(curve: Sequence[tuple[float, float]], quality: float) -> float | None:
    """Compute at which a curve reaches a quality for the first time; None: it never does.

    Args:
        curve: pairs of compute and quality, in the order of the run; between two pairs the curve is
            a straight line.
        quality: higher is better.

    Example:
        >>> cost_to_reach([(0, 0.0), (10, 0.4), (30, 0.8)], 0.6)
        20.0
    """
    if curve and curve[0][1] >= quality:
        return curve[0][0]
    for (before, low), (cost, high) in pairwise(curve):
        if low < quality <= high:
            return before + (quality - low) / (high - low) * (cost - before)
    return None
