"""What a finished latent space is like: the generator must know how far latents lie from codes."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from dcar_edu.tokenizer.hybrid import HybridTokenizer
from dcar_edu.tokenizer.quantizer import code_usage


@dataclass(frozen=True)
class LatentStatistics:
    """What the generator needs to know of a finished latent space."""

    residual_std: float
    """Root mean square of one residual element: the scale of the diffusion head."""
    code_cosine: float
    """Mean cosine between a latent and its code."""
    usage: float
    """Share of the codebook in use."""
    perplexity: float
    """exp(entropy) of the codes in use."""


def measure_latents(tokenizer: HybridTokenizer, batches: Iterable[Any]) -> LatentStatistics:
    """Measure residuals and code use over some batches, and note them in the tokenizer's config.

    Call it after the discrete stage or later: the encoder no longer changes then.

    Source:
        DC-AR's released code divides residuals by 0.107, the same statistic of its tokenizer.
    """
    encoded = [tokenizer.encode(images_of(batch)) for batch in batches]
    residuals = torch.cat([e.residuals for e in encoded])
    latents, codes = (torch.cat([getattr(e, n) for e in encoded]) for n in ("latents", "quantized"))
    used = code_usage(torch.cat([e.indices for e in encoded]), tokenizer.config.num_codes)
    found = LatentStatistics(
        residual_std=round(residuals.square().mean().sqrt().item(), 6),
        code_cosine=round(torch.cosine_similarity(latents, codes, dim=1).mean().item(), 6),
        usage=used.usage,
        perplexity=used.perplexity,
    )
    tokenizer.config = replace(
        tokenizer.config, residual_std=found.residual_std, code_cosine=found.code_cosine
    )
    return found


def images_of(batch: Any) -> Tensor:
    """The pictures of a batch: itself, or its ``.images``."""
    return batch if isinstance(batch, Tensor) else batch.images
