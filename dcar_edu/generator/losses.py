"""What the generator learns from: its two losses, and the random numbers that go into them.

A batch may be cut by rows, over processes or into micro-batches. The random numbers are drawn for
the whole batch and cut along with it, and every loss is a *share*: the shares of all rows add up
to the loss of the whole batch.

Source: MaskGIT for the masked loss; MAR for the diffusion loss; DC-AR adds the two.
"""

from dataclasses import dataclass, fields
from typing import Self

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from dcar_edu.generator.config import GeneratorConfig
from dcar_edu.generator.masking import random_mask
from dcar_edu.generator.model import MaskedGenerator


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

    def __getitem__(self, rows: slice) -> Self:
        """Some of the pictures."""
        return type(self)(*(getattr(self, field.name)[rows] for field in fields(self)))


@dataclass(frozen=True)
class Draws:
    """The random numbers of one step, for ``b`` pictures of ``n`` tokens."""

    mask: Tensor
    """bool ``(b, n)``, True = hidden."""
    drop: Tensor
    """bool ``(b,)``, True = without its text."""
    times: Tensor
    """Of the diffusion, int64 ``(repeats, b, n)``."""
    noise: Tensor
    """``(repeats, b, n, c)``."""

    @classmethod
    def of(
        cls,
        b: int,
        n: int,
        config: GeneratorConfig,
        generator: torch.Generator,
        *,
        schedule: str = "arccos",
        text_drop: float = 0.0,
    ) -> Self:
        """Draw in this order: masks, dropped texts, times, noise."""
        shape = (config.diffusion_repeats, b, n)
        return cls(
            mask=random_mask(b, n, generator, schedule),
            drop=torch.rand(b, generator=generator) < text_drop,
            times=torch.randint(config.diffusion_steps, shape, generator=generator),
            noise=torch.randn(*shape, config.latent_channels, generator=generator),
        )

    def __getitem__(self, rows: slice) -> Self:
        """Those of some of the pictures."""
        return type(self)(
            self.mask[rows], self.drop[rows], self.times[:, rows], self.noise[:, rows]
        )


def masked_loss(
    logits: Tensor,
    targets: Tensor,
    mask: Tensor,
    smoothing: float = 0.1,
    unmasked: float = 0.1,
    *,
    whole: Tensor | None = None,
) -> Tensor:
    """Cross-entropy of hidden tokens, with a small weight on the visible ones.

    Args:
        logits: ``(b, n, K)``.
        targets: int64 ``(b, n)``.
        mask: bool ``(b, n)``, True = hidden.
        smoothing: share of the target spread over all codes.
        unmasked: weight of a visible token; a hidden one has 1.
        whole: the mask of the whole batch, when these rows are only some of it.

    Returns:
        The weighted mean over all tokens of the batch; of some rows, their share of it.

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

    def weights(hidden: Tensor) -> Tensor:
        return each.new_full(hidden.shape, unmasked).masked_fill(hidden, 1.0)

    total = weights(mask if whole is None else whole).sum()
    return (weights(mask) * each).sum() / (total + 1e-8)


def shared_losses(
    model: MaskedGenerator,
    batch: TokenBatch,
    draws: Draws,
    whole: Tensor,
    *,
    smoothing: float = 0.1,
    unmasked: float = 0.1,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """What some rows add to the losses and counts of the whole batch.

    Args:
        model: in training mode or not.
        batch: the rows.
        draws: their random numbers.
        whole: the mask of the whole batch.
        smoothing: see :func:`masked_loss`.
        unmasked: see :func:`masked_loss`.

    Returns:
        Token loss and diffusion loss, with gradients; how many hidden tokens' best guess was right;
        and how many were hidden.
    """
    device = model.device
    b, h, w = batch.indices.shape
    targets = rearrange(batch.indices, "b h w -> b (h w)").to(device)
    mask = draws.mask.to(device)
    hidden_ids = torch.where(mask, model.mask_id, targets).reshape(b, h, w)
    out = model(hidden_ids, batch.text, batch.text_mask, draws.drop)
    token = masked_loss(out.logits, targets, mask, smoothing, unmasked, whole=whole.to(device))
    exact = torch.promote_types(out.hidden.dtype, torch.float32)
    diffusion = model.residual_head.loss(
        rearrange(out.hidden, "b n width -> (b n) width"),
        rearrange(batch.residuals, "b c h w -> (b h w) c").to(device, exact),
        t=rearrange(draws.times, "repeats b n -> (repeats b n)"),
        noise=rearrange(draws.noise, "repeats b n c -> (repeats b n) c"),
    )
    right = (out.logits.detach().argmax(-1) == targets) & mask
    return token, diffusion * (b / len(whole)), right.sum(), mask.sum()
