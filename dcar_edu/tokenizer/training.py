"""Training the tokenizer: three stages, written as data.

1. *Warm-up*: continuous path; encoder and decoder find a good latent space.
2. *Discrete*: discrete path; encoder, codes and decoder settle on a codebook.
3. *Alternate*: encoder and codes are frozen, so token ids keep their meaning; the decoder learns
   to read both paths.

Source: DC-AR (arXiv:2507.04947), three-stage adaptation; 1:4:1 from its 10/40/10 epochs.
"""

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from itertools import islice
from typing import Any, Literal

import torch
from einops import rearrange
from torch import Tensor, nn

from dcar_edu.state import TrainingState, endless, warmed_cosine
from dcar_edu.tokenizer.adversary import Contest, begin_discriminator, fool, learn_difference
from dcar_edu.tokenizer.hybrid import PARTS, HybridTokenizer, Reconstruction
from dcar_edu.tokenizer.latents import LatentStatistics, images_of, measure_latents
from dcar_edu.tokenizer.losses import reconstruction_loss
from dcar_edu.tokenizer.stages import Stage, TokenizerTraining, three_stages

__all__ = [
    "LatentStatistics",
    "Stage",
    "TokenizerStep",
    "TokenizerTraining",
    "begin",
    "freeze",
    "measure_latents",
    "three_stages",
    "train_tokenizer",
]


@dataclass(frozen=True)
class TokenizerStep:
    """What one step was like, in plain numbers."""

    number: int
    stage: str
    path: Literal["continuous", "discrete"]
    loss: float
    pixel_loss: float
    code_loss: float
    codes_used: int
    """How many different codes this batch used."""
    cosine: float
    """Mean cosine between latents and their codes (on the sphere: 1 - |residual|^2 / 2)."""
    residual_std: float
    """Root mean square of one residual element."""
    gradient_norm: float
    learning_rate: float
    gan_loss: float = 0.0
    """Minus the discriminator's mean score of the drawings; 0 where none takes part."""
    gan_weight: float = 0.0
    """The adaptive weight."""
    discriminator_loss: float = 0.0
    """Its hinge loss: 1 at the start, 0 when it wins."""


def freeze(tokenizer: HybridTokenizer, trains: tuple[str, ...]) -> None:
    """Let only the parts in ``trains`` learn; frozen parts also stop moving BatchNorm averages."""
    for name in PARTS:
        part: nn.Module = getattr(tokenizer, name)
        part.requires_grad_(name in trains)
        part.train(name in trains)


def begin(tokenizer: HybridTokenizer, config: TokenizerTraining) -> TrainingState:
    """A fresh state for :func:`train_tokenizer`; save and load it to survive a stop."""
    state = TrainingState.begin(
        tokenizer,
        learning_rate=config.learning_rate,
        betas=config.betas,
        weight_decay=config.weight_decay,
        ema_decay=config.ema_decay,
        seed=config.seed,
    )
    if config.gan_weight:
        state.rival = begin_discriminator(config, tokenizer.device)
    return state


def train_tokenizer(
    tokenizer: HybridTokenizer,
    batches: Iterable[Any],
    config: TokenizerTraining,
    *,
    state: TrainingState | None = None,
    perceptual: nn.Module | None = None,
) -> Iterator[TokenizerStep]:
    """Train in place, one yielded record a step; at the end the averaged weights are in.

    Each stage begins from the averaged weights of the one before, so what gets frozen is the
    average. After the last step the tokenizer is in eval mode.

    Args:
        tokenizer: trained where it is, on its device.
        batches: images ``(b, 3, H, W)`` in [-1, 1], or things with ``.images``; repeated as needed.
        config: stages and numbers.
        state: from :func:`begin`, to go on with a run; draw data from ``state.generator`` too and
            the run goes on exactly.
        perceptual: see :func:`dcar_edu.tokenizer.losses.reconstruction_loss`; on the same device.

    Raises:
        ValueError: the batches end too soon, the loss is no longer a number, or ``state`` was
            begun without the discriminator that ``config`` asks for.

    Source:
        DC-AR, three-stage training. Optimizer, EMA and learning rate: ours, not stated.
    """
    state = _begun(tokenizer, config, state)
    supply = endless(batches)
    while state.step < config.steps:
        stage, within = config.stage_at(state.step)
        if within == 0 or not state.memory:
            _enter(tokenizer, stage, within, supply, state)
        freeze(tokenizer, stage.trains)
        images = images_of(next(supply)).to(tokenizer.device)
        drawn = tokenizer(images, stage.path, state.generator)
        loss, pixels = _losses(drawn, images, stage, config, perceptual)
        rival = state.rival if stage.adversarial and config.gan_weight else None
        contest = Contest()
        if rival:
            pull, contest = fool(rival.model, drawn.images, loss, _last_layer(tokenizer))
            loss = loss + config.gan_weight * pull
        _check_finite(loss, state.step, stage)
        loss.backward()
        share = warmed_cosine(state.step, config.steps, config.warmup_steps)
        norm = state.apply_gradients(config.learning_rate * share, config.clip)
        if rival:
            rate = config.gan_learning_rate * share
            lost = learn_difference(rival, images, drawn.images, rate, config.gan_lecam)
            contest = replace(contest, discriminator_loss=lost)
        if "quantizer" in stage.trains:
            _count_and_revive(tokenizer, drawn, within, config.revive_every, state)
        yield _record(state, stage, drawn, loss, pixels, norm, contest)
    state.use_average()
    freeze(tokenizer, PARTS)
    tokenizer.eval()


def _begun(
    tokenizer: HybridTokenizer, config: TokenizerTraining, state: TrainingState | None
) -> TrainingState:
    state = state or begin(tokenizer, config)
    if config.gan_weight and not state.rival:
        raise ValueError(
            f"gan_weight={config.gan_weight} needs a discriminator, and the state has none. "
            "Begin the state with the same config."
        )
    return state


def _losses(
    drawn: Reconstruction,
    images: Tensor,
    stage: Stage,
    config: TokenizerTraining,
    perceptual: nn.Module | None,
) -> tuple[Tensor, Tensor]:
    """The whole loss and its pixel part; the code loss only while the codebook learns."""
    loss, pixels = reconstruction_loss(
        drawn.images,
        images,
        l1=config.l1,
        l2=config.l2,
        perceptual=perceptual,
        perceptual_weight=config.perceptual_weight,
    )
    if "quantizer" in stage.trains:
        loss = loss + config.code_weight * drawn.middle.loss
    return loss, pixels


def _last_layer(tokenizer: HybridTokenizer) -> Tensor:
    """The weight that makes pixels: where both losses are compared."""
    return [p for p in tokenizer.decoder.parameters() if p.ndim == 4][-1]


def _check_finite(loss: Tensor, step: int, stage: Stage) -> None:
    if not torch.isfinite(loss):
        raise ValueError(
            f"the loss is {loss.item()} at step {step} ({stage.name}). "
            "Lower learning_rate, or train in float32."
        )


def _enter(
    tokenizer: HybridTokenizer,
    stage: Stage,
    within: int,
    supply: Iterator[Any],
    state: TrainingState,
) -> None:
    """Begin a stage: averaged weights, fresh counts, and codes at real latents if asked."""
    codes = tokenizer.quantizer.codes
    if within == 0:
        if state.step:
            state.use_average()
        if stage.starts_codes:
            with torch.no_grad():
                latents: list[Tensor] = []
                while sum(len(part) for part in latents) < 4 * len(codes):
                    images = torch.cat([images_of(b) for b in islice(supply, 4)])
                    features = tokenizer.encoder(images.to(tokenizer.device))
                    latents.append(rearrange(features, "b c h w -> (b h w) c"))
            everyone = torch.arange(len(codes), device=codes.device)
            _restart(tokenizer, everyone, torch.cat(latents), state)
    state.memory = {"counts": torch.zeros(len(codes), dtype=torch.int64)}


@torch.no_grad()
def _restart(
    tokenizer: HybridTokenizer, rows: Tensor, latents: Tensor, state: TrainingState
) -> None:
    tokenizer.quantizer.restart(rows, latents, state.generator)
    state.average.module.quantizer.codes[rows] = tokenizer.quantizer.codes[rows]  # type: ignore[union-attr, index, operator]


def _count_and_revive(
    tokenizer: HybridTokenizer,
    drawn: Reconstruction,
    within: int,
    every: int,
    state: TrainingState,
) -> None:
    """Count how often each code is used; now and then put unused ones at real latents."""
    if not every:
        return
    codes = tokenizer.config.num_codes
    state.memory["counts"] += torch.bincount(drawn.middle.indices.flatten(), minlength=codes).cpu()
    if (within + 1) % every:
        return
    dead = (state.memory["counts"] == 0).nonzero().flatten()
    latents = rearrange(drawn.middle.latents.detach(), "b c h w -> (b h w) c")
    if len(dead):
        dead = dead[torch.randperm(len(dead), generator=state.generator)[: len(latents) // 2]]
        _restart(tokenizer, dead.to(latents.device), latents, state)
    state.memory["counts"].zero_()


@torch.no_grad()
def _record(
    state: TrainingState,
    stage: Stage,
    drawn: Reconstruction,
    loss: Tensor,
    pixels: Tensor,
    norm: float,
    contest: Contest,
) -> TokenizerStep:
    middle = drawn.middle
    codes = middle.quantized
    cosine = torch.cosine_similarity(middle.latents, codes, dim=1).mean()
    return TokenizerStep(
        number=state.step,
        stage=stage.name,
        path=drawn.path,
        loss=loss.item(),
        pixel_loss=pixels.item(),
        code_loss=middle.loss.item(),
        codes_used=len(middle.indices.unique()),
        cosine=cosine.item(),
        residual_std=(middle.latents - codes).square().mean().sqrt().item(),
        gradient_norm=norm,
        learning_rate=state.optimizer.param_groups[0]["lr"],
        **asdict(contest),
    )
