"""Training the generator: hide tokens, guess them; noise residuals, guess the noise.

Source: MaskGIT for the masked loss; MAR for the diffusion loss; DC-AR adds the two. Optimizer and
schedule: ours, after 1d-tokenizer's recipe; DC-AR states none.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dcar_edu.generator.losses import Draws, TokenBatch, masked_loss, shared_losses
from dcar_edu.generator.model import MaskedGenerator
from dcar_edu.state import TrainingState, endless, warmed_cosine
from dcar_edu.team import Team

__all__ = [
    "GeneratorEvaluation",
    "GeneratorStep",
    "GeneratorTraining",
    "TokenBatch",
    "begin",
    "evaluate_generator",
    "losses",
    "masked_loss",
    "train_generator",
]


@dataclass(frozen=True)
class GeneratorTraining:
    """How to train; DC-AR states the schedule of masks and the losses, the numbers are ours."""

    steps: int
    """Optimizer steps."""
    learning_rate: float = 1e-3
    """At its highest; then half a cosine down to a twentieth."""
    betas: tuple[float, ...] = (0.9, 0.96)  # 1d-tokenizer
    """Memory of AdamW's two averages."""
    weight_decay: float = 0.03  # 1d-tokenizer
    """Of matrices only."""
    warmup_steps: int = 100
    """Steps in which the learning rate rises."""
    clip: float = 1.0  # 1d-tokenizer
    """Longest gradient; a longer one is shortened to it."""
    ema_decay: float = 0.999  # 1d-tokenizer
    """Memory of the averaged weights, which are the result."""
    schedule: str = "arccos"  # released code
    """How the number of hidden tokens is drawn."""
    label_smoothing: float = 0.1  # 1d-tokenizer
    """Share of the target that is spread over all codes."""
    unmasked_weight: float = 0.1  # 1d-tokenizer
    """Weight of a visible token in the loss; a hidden one has 1."""
    text_drop: float = 0.1  # released code; in training only
    """Share of the captions left out, for guidance."""
    diffusion_weight: float = 1.0  # ours: not stated
    """Of the residual head's loss."""
    seed: int = 0
    """Of all that is drawn at random, the first weights included."""


@dataclass(frozen=True)
class GeneratorStep:
    """What one step was like, in plain numbers."""

    number: int
    loss: float
    token_loss: float
    diffusion_loss: float
    accuracy: float
    """Share of the hidden tokens whose best guess was right."""
    gradient_norm: float
    learning_rate: float


@dataclass(frozen=True)
class GeneratorEvaluation:
    """Means over all pictures, in plain numbers."""

    token_loss: float
    diffusion_loss: float
    accuracy: float


def begin(model: nn.Module, config: GeneratorTraining, team: Team | None = None) -> TrainingState:
    """A fresh state for :func:`train_generator`; save and load it to survive a stop."""
    return TrainingState.begin(
        model,
        learning_rate=config.learning_rate,
        betas=config.betas,
        weight_decay=config.weight_decay,
        ema_decay=config.ema_decay,
        seed=config.seed,
        team=team,
    )


def train_generator(
    model: MaskedGenerator,
    batches: Iterable[TokenBatch],
    config: GeneratorTraining,
    *,
    state: TrainingState | None = None,
    team: Team | None = None,
) -> Iterator[GeneratorStep]:
    """Train in place, one yielded record a step; at the end the averaged weights are in.

    A step: hide some tokens, guess them; noise all residuals, guess the noise; learn from both.
    Between two steps ``state.model`` holds the raw weights and ``state.average.module`` the
    averaged ones; :func:`evaluate_generator` takes either.

    Args:
        model: trained where it is, on its device; in eval mode afterwards.
        batches: tokens with texts; repeated as needed. Made beforehand, or on the fly by
            an iterator over :meth:`dcar_edu.DCAR.tokens`. In a team: this process's rows.
        config: the numbers.
        state: from :func:`begin`, to go on with a run; draw data from ``state.generator`` too and
            the run goes on exactly.
        team: the processes that train together; the one given to :func:`begin`, if any.

    Raises:
        ValueError: the batches end too soon, or the loss is no longer a number.

    Source:
        DC-AR: ``L = L_token + L_diffusion``, the residuals of all tokens, 10 % dropped texts.
    """
    state = state or begin(model, config, team)
    state.join(team)
    supply = endless(batches)
    while state.step < config.steps:
        model.train()
        numbers = state.team.total(state.attempt(_learn, model, next(supply), config))
        loss, token, diffusion, right, hidden = numbers.tolist()
        if not math.isfinite(loss):
            raise ValueError(
                f"the loss is {loss} at step {state.step} (tokens {token:.4g}, "
                f"diffusion {diffusion:.4g}). Lower learning_rate, or train in float32."
            )
        rate = config.learning_rate * warmed_cosine(state.step, config.steps, config.warmup_steps)
        norm = state.apply_gradients(rate, config.clip)
        yield GeneratorStep(
            number=state.step,
            loss=loss,
            token_loss=token,
            diffusion_loss=diffusion,
            accuracy=right / hidden,
            gradient_norm=norm,
            learning_rate=rate,
        )
    state.use_average()
    model.eval()


def _learn(
    model: MaskedGenerator, batch: TokenBatch, config: GeneratorTraining, state: TrainingState
) -> Tensor:
    """Add up the gradients of this process's rows, one micro-batch after another.

    Returns:
        What they add to loss, token loss, diffusion loss, right guesses and hidden tokens ``(5,)``.
    """
    team, (b, h, w) = state.team, batch.indices.shape
    whole = _draw(model, b * team.size, h * w, config, state.generator)
    mine, numbers = whole[team.rows(b * team.size)], []
    for rows in team.parts(b):
        with team.precision():
            token, diffusion, *counts = shared_losses(
                model,
                batch[rows],
                mine[rows],
                whole.mask,
                smoothing=config.label_smoothing,
                unmasked=config.unmasked_weight,
            )
        loss = token + config.diffusion_weight * diffusion
        loss.backward()
        numbers.append(torch.stack([loss, token, diffusion, *(c.to(loss) for c in counts)]))
    return torch.stack(numbers).detach().sum(0)


@torch.no_grad()
def evaluate_generator(
    model: MaskedGenerator, batches: Iterable[TokenBatch], config: GeneratorTraining, seed: int = 0
) -> GeneratorEvaluation:
    """Both losses and the accuracy in eval mode, without dropped texts; one seed, one result.

    Args:
        model: raw or averaged weights; its mode is put back afterwards.
        batches: gone through once.
        config: as in training.
        seed: of masks, times and noise.

    Raises:
        ValueError: no batch.

    Deviates:
        The released code drops a tenth of the texts in evaluation too, unless told otherwise.
    """
    generator, training = torch.Generator().manual_seed(seed), model.training
    model.eval()
    sums, pictures = torch.zeros(3, dtype=torch.float64), 0
    for batch in batches:
        numbers = [float(number) for number in losses(model, batch, config, generator)]
        sums += len(batch.indices) * torch.tensor(numbers)
        pictures += len(batch.indices)
    model.train(training)
    if not pictures:
        raise ValueError("there is no batch to evaluate on. Pass at least one.")
    return GeneratorEvaluation(*(sums / pictures).tolist())


def losses(
    model: MaskedGenerator,
    batch: TokenBatch,
    config: GeneratorTraining,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor, float]:
    """Token loss, diffusion loss and accuracy on the hidden tokens, for one batch.

    The draws come from ``generator`` in this order: masks, dropped texts, times, noise. Texts are
    dropped in training mode only.
    """
    b, h, w = batch.indices.shape
    draws = _draw(model, b, h * w, config, generator)
    numbers = shared_losses(
        model,
        batch,
        draws,
        draws.mask,
        smoothing=config.label_smoothing,
        unmasked=config.unmasked_weight,
    )
    token, diffusion, right, hidden = numbers
    return token, diffusion, right.item() / hidden.item()


def _draw(
    model: MaskedGenerator,
    b: int,
    n: int,
    config: GeneratorTraining,
    generator: torch.Generator,
) -> Draws:
    drop = config.text_drop if model.training else 0.0
    return Draws.of(b, n, model.config, generator, schedule=config.schedule, text_drop=drop)
