"""Lesson 04: both paths of the tokenizer through the three stages, and an encoder left unfrozen."""

from collections.abc import Iterator
from dataclasses import replace
from typing import cast

import torch
from torch import Tensor

from dcar_edu.course.budgets import Budget
from dcar_edu.course.budgets import budget as row
from dcar_edu.course.studies import Experiment
from dcar_edu.data import CaptionedEmoji
from dcar_edu.metrics import psnr
from dcar_edu.tokenizer.config import TokenizerConfig
from dcar_edu.tokenizer.hybrid import HybridTokenizer
from dcar_edu.tokenizer.training import (
    Stage,
    TokenizerTraining,
    begin,
    three_stages,
    train_tokenizer,
)

SIDE = 64
"""Height and width of the pictures: 4 x 4 tokens at f16."""
LOOK: dict[str, tuple[str, ...]] = {"backgrounds": ("white", "pale blue"), "sizes": ("normal",)}
"""Few grounds: with all twelve, a small codebook would be spent on them."""
LEARNING_RATE, WARMUP = 2e-3, 20


def small_tokenizer(seed: int = 0) -> HybridTokenizer:
    """A tokenizer of 0.6 million numbers for 64 px pictures: f16, 128 codes of 16 numbers."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return HybridTokenizer(
            TokenizerConfig(
                widths=(64,) * 5,
                encoder_depths=(0, 0, 0, 1, 1),
                decoder_depths=(0, 0, 0, 1, 1),
                blocks=("res",) * 5,
                decoder_norms=("layer",) * 5,
                decoder_activations=("silu",) * 5,
                num_codes=128,
                latent_channels=16,
                expansion=2,
            )
        )


@torch.no_grad()
def look(tokenizer: HybridTokenizer, pictures: Tensor, meant: Tensor | None) -> dict[str, float]:
    """Measure both paths on pictures ``(b, 3, h, w)``.

    Args:
        tokenizer: as it stands.
        pictures: in [-1, 1].
        meant: the pictures' indices ``(b, h, w)`` at the end of the discrete stage; None before.

    Returns:
        PSNR of ``discrete`` and ``hybrid`` path, ``cosine`` of latents and codes, and ``kept``: the
        share of places whose index is still the one that was meant.
    """
    parts = [tokenizer.encode(part) for part in pictures.split(32)]
    indices = torch.cat([part.indices for part in parts])
    codes = torch.cat([tokenizer.decode(part.indices) for part in parts])
    both = torch.cat([tokenizer.decode(part.indices, part.residuals) for part in parts])
    residuals = torch.cat([part.residuals for part in parts])
    return {
        "discrete": psnr(codes, pictures.to(codes)).mean().item(),
        "hybrid": psnr(both, pictures.to(both)).mean().item(),
        "cosine": 1 - residuals.square().sum(1).mean().item() / 2,
        "kept": 1.0 if meant is None else (indices == meant).float().mean().item(),
    }


def train(
    tokenizer: HybridTokenizer, stages: tuple[Stage, ...], plan: Budget, seed: int
) -> Iterator[tuple[int, HybridTokenizer]]:
    """Train through some stages; yields the step and the averaged tokenizer after every step."""
    config = TokenizerTraining(
        stages=stages, learning_rate=LEARNING_RATE, warmup_steps=WARMUP, seed=seed
    )
    state = begin(tokenizer, config)
    data = CaptionedEmoji("train", SIDE, concepts=plan.concepts, **LOOK)

    def batches() -> Iterator[Tensor]:
        while True:
            yield data.batch(plan.batch, device=tokenizer.device, generator=state.generator).images

    for step in train_tokenizer(tokenizer, batches(), config, state=state):
        yield step.number, cast(HybridTokenizer, state.average.module)


def _stages(arm: str, seed: int, budget: str) -> dict[str, float]:
    """Train one tokenizer; every measurement becomes ``name_step``, such as ``hybrid_1800``."""
    plan = row("04", budget)
    tokenizer = small_tokenizer(seed).to("cuda" if budget == "gpu" else "cpu")
    *settle, last = three_stages(plan.steps)
    if arm == "unfrozen":
        last = replace(last, trains=("encoder", "decoder"))
    unseen = CaptionedEmoji("held_out_concepts", SIDE, concepts=plan.pictures, **LOOK)
    pictures = unseen.batch(plan.pictures, generator=torch.Generator().manual_seed(0)).images
    found: dict[str, float] = {}
    meant, done = None, 0
    for stages in (tuple(settle), (last,)):
        for step, average in train(tokenizer, stages, plan, seed + done):
            if (done + step) % plan.every and done + step != plan.steps:
                continue
            seen = look(average, pictures, meant)
            found |= {f"{name}_{done + step}": round(value, 4) for name, value in seen.items()}
        done += sum(stage.steps for stage in stages)
        meant = tokenizer.encode(pictures).indices
    return found


EXPERIMENTS: dict[str, Experiment] = {
    "04_stages": Experiment(
        "PSNR of the discrete and the hybrid path through the three stages, with the encoder "
        "frozen in the last one and without",
        ("three stages", "unfrozen"),
        _stages,
    ),
}
