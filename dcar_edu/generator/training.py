"""Training the generator: hide tokens, guess them; noise residuals, guess the noise.

Source: MaskGIT for the masked loss; MAR for the diffusion loss; DC-AR adds the two. Optimizer and
schedule: ours, after 1d-tokenizer's recipe; DC-AR states none.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from dcar_edu.generator.masking import random_mask
from dcar_edu.generator.model import MaskedGenerator
from dcar_edu.state import TrainingState, endless, warmed_cosine


@dataclass(frozen=True)
class TokenBatch:
    """Pictures as tokens, with their texts."""

    indices: Tensor
    """int64 ``(b, h, w)``."""
    residuals: Tensor
    """``(b, c, h, w)`` in latent units."""
    text: Tensor
    """``(b, s, text_width)``."""
    text_mask: Tensor
    """bool ``(b, s)``, True = real word."""


@dataclass(frozen=True)
class GeneratorTraining:
    """How to train; DC-AR states the schedule of masks and the losses, the numbers are ours."""

    steps: int
    learning_rate: float = 1e-3
    betas: tuple[float, ...] = (0.9, 0.96)  # 1d-tokenizer
    weight_decay: float = 0.03  # 1d-tokenizer
    warmup_steps: int = 100
    clip: float = 1.0  # 1d-tokenizer
    ema_decay: float = 0.999  # 1d-tokenizer
    schedule: str = "arccos"  # released code
    label_smoothing: float = 0.1  # 1d-tokenizer
    unmasked_weight: float = 0.1  # 1d-tokenizer
    text_drop: float = 0.1  # released code; in training only
    diffusion_weight: float = 1.0  # ours: not stated
    seed: int = 0


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


def masked_loss(
    logits: Tensor, targets: Tensor, mask: Tensor, smoothing: float = 0.1, unmasked: float = 0.1
) -> Tensor:
    """Cross-entropy of hidden tokens, with a small weight on the visible ones.

    Args:
        logits: ``(b, n, K)``.
        targets: int64 ``(b, n)``.
        mask: bool ``(b, n)``, True = hidden.
        smoothing: share of the target spread over all codes.
        unmasked: weight of a visible token; a hidden one has 1.

    Returns:
        The weighted mean over all tokens of the batch.

    Source:
        1d-tokenizer's masked loss, which DC-AR's released code contains.
    """
    exact = torch.promote_types(logits.dtype, torch.float32)
    each = F.cross_entropy(
        rearrange(logits.to(exact), "b n k -> b k n"),
        targets,
        reduction="none",
        label_smoothing=smoothing,
    )
    weights = torch.full_like(each, unmasked).masked_fill(mask, 1.0)
    return (weights * each).sum() / (weights.sum() + 1e-8)


def begin(model: nn.Module, config: GeneratorTraining) -> TrainingState:
    """A fresh state for :func:`train_generator`; save and load it to survive a stop."""
    return TrainingState.begin(
        model,
        learning_rate=config.learning_rate,
        betas=config.betas,
        weight_decay=config.weight_decay,
        ema_decay=config.ema_decay,
        seed=config.seed,
    )


def train_generator(
    model: MaskedGenerator,
    batches: Iterable[TokenBatch],
    config: GeneratorTraining,
    *,
    state: TrainingState | None = None,
) -> Iterator[GeneratorStep]:
    """Train in place, one yielded record a step; at the end the averaged weights are in.

    Between two steps ``state.model`` holds the raw weights and ``state.average.module`` the
    averaged ones; :func:`evaluate_generator` takes either.

    Args:
        model: trained where it is, on its device; in eval mode afterwards.
        batches: tokens with texts; repeated as needed. Made beforehand, or on the fly by
            an iterator over :meth:`dcar_edu.DCAR.tokens`.
        config: the numbers.
        state: from :func:`begin`, to go on with a run; draw data from ``state.generator`` too and
            the run goes on exactly.

    Raises:
        ValueError: the batches end too soon, or the loss is no longer a number.

    Source:
        DC-AR: ``L = L_token + L_diffusion``, the residuals of all tokens, 10 % dropped texts.
    """
    state = state or begin(model, config)
    supply = endless(batches)
    while state.step < config.steps:
        model.train()
        token, diffusion, accuracy = losses(model, next(supply), config, state.generator)
        loss = token + config.diffusion_weight * diffusion
        if not torch.isfinite(loss):
            raise ValueError(
                f"the loss is {loss.item()} at step {state.step} (tokens {token.item():.4g}, "
                f"diffusion {diffusion.item():.4g}). Lower learning_rate, or train in float32."
            )
        loss.backward()
        rate = config.learning_rate * warmed_cosine(state.step, config.steps, config.warmup_steps)
        norm = state.apply_gradients(rate, config.clip)
        yield GeneratorStep(
            number=state.step,
            loss=loss.item(),
            token_loss=token.item(),
            diffusion_loss=diffusion.item(),
            accuracy=accuracy,
            gradient_norm=norm,
            learning_rate=rate,
        )
    state.use_average()
    model.eval()


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
    device = model.device
    b, h, w = batch.indices.shape
    targets = rearrange(batch.indices, "b h w -> b (h w)").to(device)
    mask = random_mask(b, h * w, generator, config.schedule).to(device)
    drop = (torch.rand(b, generator=generator) < config.text_drop) & model.training
    hidden_ids = torch.where(mask, model.mask_id, targets).reshape(b, h, w)
    out = model(hidden_ids, batch.text, batch.text_mask, drop)
    token = masked_loss(out.logits, targets, mask, config.label_smoothing, config.unmasked_weight)
    residuals = rearrange(batch.residuals, "b c h w -> (b h w) c").to(device, torch.float32)
    hidden = rearrange(out.hidden, "b n width -> (b n) width")
    diffusion = model.residual_head.loss(hidden, residuals, generator)
    with torch.no_grad():
        right = out.logits.argmax(-1) == targets
        accuracy = (right & mask).sum().item() / mask.sum().item()
    return token, diffusion, accuracy
