"""Training the next-scale generator: guess all tokens of all scales in one pass.

Source: VAR (arXiv:2404.02905), Sec. 3.2, for the token loss; DC-AR for the residuals'.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Self

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from dcar_edu.generator.next_scale import NextScaleGenerator
from dcar_edu.generator.scales import scale_inputs
from dcar_edu.generator.training import GeneratorStep, GeneratorTraining, begin
from dcar_edu.state import TrainingState, endless, warmed_cosine


@dataclass(frozen=True)
class ScaleBatch:
    """Pictures as tokens of all scales, with their texts."""

    ids: Tensor
    """int64 ``(b, n)``, coarsest scale first."""
    inputs: Tensor
    """What every token is told ``(b, n, c)``."""
    quantized: Tensor
    """What all scales add up to ``(b, c, side, side)``."""
    residuals: Tensor
    """What is left ``(b, c, side, side)``, in latent units."""
    text: Tensor
    """``(b, s, text_width)``."""
    text_mask: Tensor
    """bool ``(b, s)``, True = real word."""

    @classmethod
    def of(
        cls,
        ids: Sequence[Tensor],
        sums: Sequence[Tensor],
        leftover: Tensor,
        text: Tensor,
        text_mask: Tensor,
    ) -> Self:
        """From the parts of a :class:`dcar_edu.tokenizer.multiscale.MultiScale`, and texts."""
        flat = torch.cat([part.flatten(1) for part in ids], dim=1)
        inputs = scale_inputs(sums, [part.shape[-1] for part in ids])
        return cls(flat, inputs, sums[-1], leftover, text, text_mask)

    def __getitem__(self, rows: slice | Tensor) -> Self:
        """Some of the pictures."""
        return type(self)(*(getattr(self, field.name)[rows] for field in fields(self)))


def scale_losses(
    model: NextScaleGenerator,
    batch: ScaleBatch,
    generator: torch.Generator,
    *,
    smoothing: float = 0.1,
    text_drop: float = 0.0,
) -> tuple[Tensor, Tensor, float]:
    """Token loss, diffusion loss, and the share of the tokens whose best guess was right.

    Every token is told the *right* coarser scales (teacher forcing), so one pass trains all.

    Args:
        model: in training mode or not.
        batch: the pictures.
        generator: the source of dropped texts, times and noise, in this order.
        smoothing: share of the target spread over all codes.
        text_drop: share of the texts left out.
    """
    b, device = len(batch.ids), model.device
    drop = torch.rand(b, generator=generator) < text_drop
    out = model(batch.inputs, batch.text, batch.text_mask, drop)
    targets = batch.ids.to(device)
    exact = torch.promote_types(out.logits.dtype, torch.float32)
    token = F.cross_entropy(
        rearrange(out.logits.to(exact), "b n k -> b k n"), targets, label_smoothing=smoothing
    )
    diffusion = model.residual_head.loss(
        rearrange(model.settle(out.hidden, batch.quantized), "b n width -> (b n) width"),
        rearrange(batch.residuals, "b c h w -> (b h w) c").to(device, exact),
        generator,
    )
    right = (out.logits.detach().argmax(-1) == targets).float().mean().item()
    return token, diffusion, right


def train_next_scale(
    model: NextScaleGenerator,
    batches: Iterable[ScaleBatch],
    config: GeneratorTraining,
    *,
    state: TrainingState | None = None,
) -> Iterator[GeneratorStep]:
    """Train in place, one yielded record a step; at the end the averaged weights are in.

    Args:
        model: trained where it is, on its device; in eval mode afterwards.
        batches: tokens with texts; repeated as needed.
        config: the numbers. ``schedule`` and ``unmasked_weight`` are for masks, which there are
            none of here.
        state: from :func:`dcar_edu.generator.training.begin`, to go on with a run.

    Raises:
        ValueError: the batches end too soon, or the loss is no longer a number.

    Source:
        VAR: cross-entropy of all tokens. DC-AR: plus the diffusion loss, 10 % dropped texts.
    """
    state = state or begin(model, config)
    supply = endless(batches)
    while state.step < config.steps:
        model.train()
        token, diffusion, right = scale_losses(
            model,
            next(supply),
            state.generator,
            smoothing=config.label_smoothing,
            text_drop=config.text_drop,
        )
        loss = token + config.diffusion_weight * diffusion
        if not math.isfinite(loss.item()):
            raise ValueError(
                f"the loss is {loss.item()} at step {state.step} (tokens {token.item():.4g}, "
                f"diffusion {diffusion.item():.4g}). Lower learning_rate, or train in float32."
            )
        loss.backward()
        rate = config.learning_rate * warmed_cosine(state.step, config.steps, config.warmup_steps)
        norm = state.apply_gradients(rate, config.clip)
        yield GeneratorStep(
            state.step, loss.item(), token.item(), diffusion.item(), right, norm, rate
        )
    state.use_average()
    model.eval()
