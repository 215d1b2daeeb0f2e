"""Vector quantization on the unit sphere: every latent becomes the nearest of K codes.

Vocabulary: a *latent* is the vector of one grid position, a *code* is a row of the codebook, an
*index* is a code's row number. DC-HT normalises latents and codes to length 1 first.

Source: VQ-VAE (arXiv:1711.00937); L2 normalisation, losses and float32 as in DC-AR's released code.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

CHUNK = 2**21
"""Largest number of distances held at once: 8 MB, which a processor's cache can hold."""


@dataclass(frozen=True)
class Quantized:
    """What one pass through the codebook gives back."""

    latents: Tensor
    """The latents as they were compared: on the unit sphere, float32 ``(b, c, h, w)``."""
    quantized: Tensor
    """Their codes ``(b, c, h, w)``; the gradient passes straight through to ``latents``."""
    indices: Tensor
    """Codebook row of every position, int64 ``(b, h, w)``, 0 to ``num_codes - 1``."""
    loss: Tensor
    """Codebook loss plus ``commitment`` times commitment loss, a mean over all elements."""


@dataclass(frozen=True)
class CodeUsage:
    """How well a codebook is used over some set of indices."""

    usage: float
    """Share of the codes that occur at all, 0 to 1."""
    perplexity: float
    """exp(entropy): how many equally frequent codes would be as varied, 1 to ``num_codes``."""


def straight_through(latents: Tensor, codes: Tensor) -> Tensor:
    """Give the value of ``codes`` and the gradient of ``latents`` (VQ-VAE, Sec. 3.2)."""
    return latents + (codes - latents).detach()


def code_usage(indices: Tensor, num_codes: int) -> CodeUsage:
    """Measure usage and perplexity of a codebook.

    Args:
        indices: int64 of any shape, at least one.
        num_codes: ``K``.

    Raises:
        ValueError: no index given.

    Example:
        >>> code_usage(torch.tensor([0, 0, 1, 1]), num_codes=4)
        CodeUsage(usage=0.5, perplexity=2.0)
    """
    if indices.numel() == 0:
        raise ValueError("code_usage needs at least one index, got none. Encode a picture first.")
    counts = torch.bincount(indices.flatten(), minlength=num_codes).double()
    shares = counts[counts > 0] / counts.sum()
    entropy = -(shares * shares.log()).sum().item()
    return CodeUsage(len(shares) / num_codes, round(math.exp(entropy), 6))


class VectorQuantizer(nn.Module):
    """Replace every latent vector by its nearest code.

    Args:
        num_codes: ``K``, rows of the codebook.
        channels: ``c``, width of a code.
        normalize: put latents and codes on the unit sphere before comparing.
        commitment: ``beta``, weight of the term that pulls the *encoder* towards the codes.
    """

    def __init__(
        self, num_codes: int, channels: int, *, normalize: bool = True, commitment: float = 0.25
    ):
        super().__init__()
        self.num_codes, self.normalize, self.commitment = num_codes, normalize, commitment
        self.codes = nn.Parameter(torch.empty(num_codes, channels))
        nn.init.uniform_(self.codes, -1 / num_codes, 1 / num_codes)

    def on_sphere(self, vectors: Tensor, axis: int = -1) -> Tensor:
        """Vectors of length 1 along ``axis`` (unchanged when not normalising), float32 or more."""
        vectors = vectors.to(torch.promote_types(vectors.dtype, torch.float32))
        return F.normalize(vectors, dim=axis) if self.normalize else vectors

    def forward(self, latents: Tensor) -> Quantized:
        """Quantise latents ``(b, c, h, w)``; float32 or more, whatever the autocast says."""
        with torch.autocast(latents.device.type, enabled=False):
            latents = self.on_sphere(latents, axis=1)
            indices = self.nearest(rearrange(latents.detach(), "b c h w -> (b h w) c"))
            indices = rearrange(indices, "(b h w) -> b h w", b=len(latents), h=latents.shape[2])
            codes = self.look_up(indices)
            # The codebook moves to the encoder; beta only holds back the encoder.
            codebook_loss = F.mse_loss(codes, latents.detach())
            commitment_loss = F.mse_loss(latents, codes.detach())
            loss = codebook_loss + self.commitment * commitment_loss
            return Quantized(latents, straight_through(latents, codes), indices, loss)

    @torch.no_grad()
    def nearest(self, vectors: Tensor) -> Tensor:
        """Index of the nearest code for vectors ``(n, c)``; the first one where two are as near.

        The vectors are compared in chunks that share one buffer, so memory does not grow with
        ``n * num_codes``. Of the squared distance ``|e|^2 - 2 v e + |v|^2`` the last term is left
        out: it is the same for every code ``e`` of a vector ``v``.
        """
        codes = self.on_sphere(self.codes)
        squares = codes.square().sum(1)
        rows = min(max(1, CHUNK // self.num_codes), len(vectors))
        distances = codes.new_empty(rows, self.num_codes)
        found = torch.empty(len(vectors), dtype=torch.int64, device=codes.device)
        for start in range(0, len(vectors), max(1, rows)):
            part = vectors[start : start + rows].to(codes)
            chunk = distances[: len(part)]
            torch.addmm(squares, part, codes.T, alpha=-2, out=chunk)
            torch.argmin(chunk, 1, out=found[start : start + rows])
        return found

    def look_up(self, indices: Tensor) -> Tensor:
        """The codes ``(b, c, h, w)`` of indices ``(b, h, w)``."""
        return rearrange(self.on_sphere(F.embedding(indices, self.codes)), "b h w c -> b c h w")

    @torch.no_grad()
    def restart(self, rows: Tensor, vectors: Tensor, generator: torch.Generator) -> None:
        """Put codes ``rows`` (n,) at n different latents drawn from ``vectors`` (m, c).

        Raises:
            ValueError: fewer vectors than rows.

        Deviates:
            The paper neither starts codes at data nor revives dead ones. With a few thousand
            pictures most of a random codebook would never be used.
        """
        if len(vectors) < len(rows):
            raise ValueError(
                f"restart needs at least as many vectors as codes, got {len(vectors)} for "
                f"{len(rows)} codes. Encode more pictures first."
            )
        drawn = torch.randperm(len(vectors), generator=generator)[: len(rows)].to(vectors.device)
        self.codes[rows] = self.on_sphere(vectors[drawn]).to(self.codes.dtype)
