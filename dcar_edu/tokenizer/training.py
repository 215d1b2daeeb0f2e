"""Training the tokenizer: three stages, written as data.

1. *Warm-up*: continuous path; encoder and decoder find a good latent space.
2. *Discrete*: discrete path; encoder, codes and decoder settle on a codebook.
3. *Alternate*: encoder and codes are frozen, so token ids keep their meaning; the decoder learns
   to read both paths.

Source: DC-AR (arXiv:2507.04947), three-stage adaptation; 1:4:1 from its 10/40/10 epochs.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from dcar_edu.state import TrainingState, endless, warmed_cosine
from dcar_edu.team import Team
from dcar_edu.tokenizer.adversary import begin_discriminator, learn_difference
from dcar_edu.tokenizer.hybrid import PARTS, HybridTokenizer, OnePath, drawn_path
from dcar_edu.tokenizer.latents import LatentStatistics, images_of, measure_latents
from dcar_edu.tokenizer.restarting import revive, start_codes
from dcar_edu.tokenizer.stages import Stage, TokenizerTraining, three_stages
from dcar_edu.tokenizer.step import active_rival, add_gradients

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
    path: OnePath
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


def begin(
    tokenizer: HybridTokenizer, config: TokenizerTraining, team: Team | None = None
) -> TrainingState:
    """A fresh state for :func:`train_tokenizer`; save and load it to survive a stop."""
    state = TrainingState.begin(
        tokenizer,
        learning_rate=config.learning_rate,
        betas=config.betas,
        weight_decay=config.weight_decay,
        ema_decay=config.ema_decay,
        seed=config.seed,
        team=team,
    )
    if config.gan_weight:
        state.rival = begin_discriminator(config, tokenizer.device)  # the seed makes all equal
    return state


def train_tokenizer(
    tokenizer: HybridTokenizer,
    batches: Iterable[Any],
    config: TokenizerTraining,
    *,
    state: TrainingState | None = None,
    perceptual: nn.Module | None = None,
    team: Team | None = None,
) -> Iterator[TokenizerStep]:
    """Train in place, one yielded record a step; at the end the averaged weights are in.

    Each stage begins from the averaged weights of the one before, so what gets frozen is the
    average. After the last step the tokenizer is in eval mode.

    Args:
        tokenizer: trained where it is, on its device.
        batches: images ``(b, 3, H, W)`` in [-1, 1], or things with ``.images``; repeated as needed.
            In a team: this process's rows.
        config: stages and numbers.
        state: from :func:`begin`, to go on with a run; draw data from ``state.generator`` too and
            the run goes on exactly.
        perceptual: see :func:`dcar_edu.tokenizer.losses.reconstruction_loss`; on the same device.
        team: the processes that train together; the one given to :func:`begin`, if any.

    Raises:
        ValueError: the batches end too soon, the loss is no longer a number, or ``state`` was
            begun without the discriminator that ``config`` asks for.

    Source:
        DC-AR, three-stage training. Optimizer, EMA and learning rate: ours, not stated.
    """
    state = _begun(tokenizer, config, state, team)
    supply = endless(batches)
    while state.step < config.steps:
        stage, within = config.stage_at(state.step)
        if within == 0 or not state.memory:
            _enter(tokenizer, stage, within, supply, state)
        freeze(tokenizer, stage.trains)
        images = images_of(next(supply)).to(tokenizer.device)
        path = drawn_path(stage.path, state.generator)
        seen = state.attempt(add_gradients, tokenizer, images, path, stage, config, perceptual)
        numbers = state.team.total(seen.numbers)
        _check_finite(numbers[0], state.step, stage)
        share = warmed_cosine(state.step, config.steps, config.warmup_steps)
        norm = state.apply_gradients(config.learning_rate * share, config.clip)
        lost = 0.0
        if rival := active_rival(state, stage, config):
            rate = config.gan_learning_rate * share
            lost = learn_difference(rival, images, seen.images, rate, config.gan_lecam, state.team)
        counts = state.team.total(seen.counts).cpu()
        if "quantizer" in stage.trains and config.revive_every:
            state.memory["counts"] += counts
            if (within + 1) % config.revive_every == 0:
                revive(tokenizer, state.memory["counts"], seen.latents, state)
                state.memory["counts"].zero_()
        yield _record(state, stage, path, numbers, counts, norm, lost)
    state.use_average()
    freeze(tokenizer, PARTS)
    tokenizer.eval()


def _begun(
    tokenizer: HybridTokenizer,
    config: TokenizerTraining,
    state: TrainingState | None,
    team: Team | None,
) -> TrainingState:
    state = state or begin(tokenizer, config, team)
    state.join(team)
    if config.gan_weight and not state.rival:
        raise ValueError(
            f"gan_weight={config.gan_weight} needs a discriminator, and the state has none. "
            "Begin the state with the same config."
        )
    return state


def _enter(
    tokenizer: HybridTokenizer,
    stage: Stage,
    within: int,
    supply: Iterator[Any],
    state: TrainingState,
) -> None:
    """Begin a stage: averaged weights, fresh counts, and codes at real latents if asked."""
    if within == 0:
        if state.step:
            state.use_average()
        if stage.starts_codes:
            start_codes(tokenizer, supply, state)
    state.memory = {"counts": torch.zeros(tokenizer.config.num_codes, dtype=torch.int64)}


def _check_finite(loss: Tensor, step: int, stage: Stage) -> None:
    if not torch.isfinite(loss):
        raise ValueError(
            f"the loss is {loss.item()} at step {step} ({stage.name}). "
            "Lower learning_rate, or train in float32."
        )


def _record(
    state: TrainingState,
    stage: Stage,
    path: OnePath,
    numbers: Tensor,
    counts: Tensor,
    norm: float,
    lost: float,
) -> TokenizerStep:
    loss, pixels, code_loss, cosine, _, gan_loss, gan_weight = numbers.tolist()
    return TokenizerStep(
        number=state.step,
        stage=stage.name,
        path=path,
        loss=loss,
        pixel_loss=pixels,
        code_loss=code_loss,
        codes_used=int((counts > 0).sum()),
        cosine=cosine,
        residual_std=numbers[4].sqrt().item(),
        gradient_norm=norm,
        learning_rate=state.optimizer.param_groups[0]["lr"],
        gan_loss=gan_loss,
        gan_weight=gan_weight,
        discriminator_loss=lost,
    )
