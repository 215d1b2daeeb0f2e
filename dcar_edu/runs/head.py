"""Training the residual head alone, on hidden states of a transformer that no longer learns."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Tensor

from dcar_edu.generator.masking import random_mask
from dcar_edu.generator.model import MaskedGenerator
from dcar_edu.generator.training import GeneratorTraining, TokenBatch
from dcar_edu.state import TrainingState, warmed_cosine
from dcar_edu.team import Team

POOL = 64
"""Batches of pictures whose hidden states are made at a time."""


@dataclass(frozen=True)
class HeadStep:
    """What one step was like, in plain numbers."""

    number: int
    diffusion_loss: float
    gradient_norm: float
    learning_rate: float


def train_head(
    model: MaskedGenerator,
    batch_of: Callable[[torch.Generator], TokenBatch],
    batch: int,
    reuse: int,
    config: GeneratorTraining,
    *,
    state: TrainingState,
) -> Iterator[HeadStep]:
    """Train `model.residual_head` in place; the rest of the model stays bit-equal.

    Hidden states are made for a pool of pictures at a time, each picture hidden anew as in
    training, a share of the texts dropped; a step learns from tokens drawn out of the pool.

    Args:
        model: its transformer is frozen; `state.model` is its residual head.
        batch_of: draws a whole batch of `batch` pictures.
        batch: pictures' worth of tokens a step, over all processes.
        reuse: how often a token is drawn, on average, before the next pool is made.
        config: the numbers.
        state: of the head; with its step the pools are found again after a stop.

    Source:
        Ours: trained on together, the residuals became better and the tokens worse.
    """
    hidden, residuals, filled = torch.empty(0), torch.empty(0), -1
    while state.step < config.steps:
        number = state.step // (POOL * reuse)
        if number != filled:
            source = torch.Generator().manual_seed(config.seed * 1_000_003 + number)
            hidden, residuals = _pool(model, batch_of, config, state.team, source)
            filled = number
        tokens = batch * len(hidden) // (POOL * batch)
        state.model.train()
        loss = state.team.total(state.attempt(_learn, model, hidden, residuals, tokens))
        share = warmed_cosine(state.step, config.steps, config.warmup_steps)
        norm = state.apply_gradients(config.learning_rate * share, config.clip)
        yield HeadStep(state.step, float(loss), norm, config.learning_rate * share)
    state.use_average()
    state.model.eval()


def _learn(
    model: MaskedGenerator, hidden: Tensor, residuals: Tensor, tokens: int, state: TrainingState
) -> Tensor:
    """Add up the gradients of this process's tokens, one micro-batch after another.

    Returns:
        What they add to the loss of all `tokens`.
    """
    team, chance = state.team, state.generator
    chosen = torch.randint(len(hidden), (tokens,), generator=chance)
    shape = (model.config.diffusion_repeats, tokens, residuals.shape[1])
    t = torch.randint(model.config.diffusion_steps, shape[:2], generator=chance)
    noise = torch.randn(shape, generator=chance)
    mine, losses = torch.arange(tokens)[team.rows(tokens)], []
    for rows in (mine[part] for part in team.parts(len(mine))):
        with team.precision():
            mean = model.residual_head.loss(
                hidden[chosen[rows]],
                residuals[chosen[rows]],
                t=t[:, rows].flatten(),
                noise=noise[:, rows].flatten(0, 1),
            )
        loss = mean * (len(rows) / tokens)
        loss.backward()
        losses.append(loss.detach())
    return torch.stack(losses).sum()


@torch.no_grad()
def _pool(
    model: MaskedGenerator,
    batch_of: Callable[[torch.Generator], TokenBatch],
    config: GeneratorTraining,
    team: Team,
    source: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """Hidden states `(n, width)` and residuals `(n, c)` of :data:`POOL` batches."""
    model.eval()
    hidden, residuals = [], []
    for _ in range(POOL):
        batch = batch_of(source)
        b, h, w = batch.indices.shape
        mask = random_mask(b, h * w, source, config.schedule).reshape(b, h, w).to(model.device)
        drop = torch.rand(b, generator=source) < config.text_drop
        ids = torch.where(mask, model.mask_id, batch.indices.to(model.device))
        for rows in team.parts(b):
            some = batch[rows]
            seen = model(ids[rows], some.text, some.text_mask, drop[rows])
            hidden.append(seen.hidden.flatten(0, 1))
        residuals.append(rearrange(batch.residuals.to(model.device), "b c h w -> (b h w) c"))
    return torch.cat(hidden), torch.cat(residuals)
