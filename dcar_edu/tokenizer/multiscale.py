"""One picture as several grids of codes: the coarsest says most, each finer one mends the rest.

For every size, coarsest first: average what is left of the latents over a grid of ``size x size``,
take the nearest code of every average, spread the codes over the full grid again, and subtract
them. What is left after the last size is the continuous residual of the hybrid tokenizer.

Source: VAR (arXiv:2404.02905), Algorithms 1 and 2.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from dcar_edu import checkpoint
from dcar_edu.tokenizer.quantizer import VectorQuantizer


@dataclass(frozen=True)
class MultiScaleConfig:
    """Sizes of a :class:`MultiScaleQuantizer`.

    Raises:
        ValueError: no size, or sizes that do not rise from 1 or more.
    """

    num_codes: int
    """``K``; all scales share one codebook."""
    channels: int
    """``c`` of the latents."""
    sizes: tuple[int, ...]
    """Tokens a side of every scale, coarsest first; the last is the side of the latents."""

    def __post_init__(self) -> None:
        """Check the sizes."""
        rising = all(a < b for a, b in zip((0, *self.sizes), self.sizes, strict=False))
        if not self.sizes or not rising:
            raise ValueError(
                f"sizes must rise and be at least 1, got {self.sizes}. "
                "Name the coarsest first, such as (1, 2, 4)."
            )


@dataclass(frozen=True)
class MultiScale:
    """Latents as codes of several scales; ``latents == sums[-1] + leftover``."""

    ids: tuple[Tensor, ...]
    """int64 ``(b, s, s)`` for every size ``s``, coarsest first."""
    sums: tuple[Tensor, ...]
    """What the codes add up to after each scale, ``(b, c, side, side)``."""
    leftover: Tensor
    """What no scale has said ``(b, c, side, side)``: the residual that the residual head draws."""

    @property
    def quantized(self) -> Tensor:
        """The sum of all scales ``(b, c, side, side)``."""
        return self.sums[-1]


def pool(latents: Tensor, size: int) -> Tensor:
    """Means of the latents ``(b, c, h, w)`` over a grid of ``size x size``.

    Example:
        >>> pool(torch.arange(16.0).view(1, 1, 4, 4), 2).flatten().tolist()
        [2.5, 4.5, 10.5, 12.5]
    """
    return F.interpolate(latents, size=(size, size), mode="area")


def spread(codes: Tensor, side: int) -> Tensor:
    """Codes ``(b, c, s, s)`` over a grid of ``side x side``, straight lines between their centres.

    Deviates:
        VAR goes by bicubic curves and then through a small trained convolution a scale. Nothing is
        trained here, so that a code means the same vector at every scale.
    """
    return F.interpolate(codes, size=(side, side), mode="bilinear", align_corners=False)


class MultiScaleQuantizer(nn.Module):
    """A residual quantizer over scales; it belongs to latents, and never sees a pixel.

    With one size it is a plain vector quantizer.

    Example:
        >>> quantizer = MultiScaleQuantizer(MultiScaleConfig(7, channels=5, sizes=(1, 2, 4)))
        >>> found = quantizer(torch.randn(3, 5, 4, 4))
        >>> [tuple(ids.shape) for ids in found.ids], tuple(found.leftover.shape)
        ([(3, 1, 1), (3, 2, 2), (3, 4, 4)], (3, 5, 4, 4))

    Deviates:
        VAR trains codes and encoder together. Here the encoder stays as it is, and :meth:`fit` puts
        the codes where its latents lie. Codes are not put on the unit sphere: what is left becomes
        shorter from scale to scale, and so must its codes. Code 0 stays the zero vector: a scale
        with nothing to say can say that, and rounding never makes a vector longer.
    """

    def __init__(self, config: MultiScaleConfig):
        super().__init__()
        self.config = config
        self.quantizer = VectorQuantizer(config.num_codes, config.channels, normalize=False)
        self.quantizer.requires_grad_(False)
        self.codes[0] = 0

    @property
    def codes(self) -> Tensor:
        """The codebook ``(num_codes, c)``."""
        return self.quantizer.codes

    @torch.no_grad()
    def forward(self, latents: Tensor) -> MultiScale:
        """Quantise latents ``(b, c, side, side)``.

        Raises:
            ValueError: another shape.
        """
        self._check(latents)
        ids, sums = [], []
        total = torch.zeros_like(latents)
        for size in self.config.sizes:
            vectors = pool(latents - total, size)  # what coarser scales left, not the latents
            rows = self.quantizer.nearest(rearrange(vectors, "b c h w -> (b h w) c"))
            ids.append(rearrange(rows, "(b h w) -> b h w", h=size, w=size))
            total = self.grow(total, ids[-1])
            sums.append(total)
        return MultiScale(tuple(ids), tuple(sums), latents - total)

    def grow(self, total: Tensor, ids: Tensor) -> Tensor:
        """Add the codes of one scale, int64 ``(b, s, s)``, to a sum ``(b, c, side, side)``."""
        return total + spread(self.quantizer.look_up(ids.to(total.device)), total.shape[-1])

    def sums(self, ids: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """What ids add up to after each scale, ``(b, c, side, side)``; any number of scales.

        Raises:
            ValueError: no ids, or grids that are not those of the first sizes.
        """
        shapes = [tuple(part.shape[1:]) for part in ids]
        sizes = self.config.sizes
        if not ids or shapes != [(size, size) for size in sizes[: len(ids)]]:
            raise ValueError(
                f"ids must be grids (b, s, s) of the sizes {sizes}, coarsest first, got {shapes}. "
                "Leave out fine ones only."
            )
        found = [self.codes.new_zeros(len(ids[0]), self.config.channels, sizes[-1], sizes[-1])]
        for part in ids:
            found.append(self.grow(found[-1], part))
        return tuple(found[1:])

    @torch.no_grad()
    def fit(self, latents: Tensor, *, rounds: int, generator: torch.Generator) -> Iterator[float]:
        """Move the codes to where the latents lie, by k-means over the vectors of all scales.

        A round quantises everything, then puts each code at the mean of what chose it; a code that
        nothing chose goes to a vector drawn at random; code 0 stays where it is. Begins anew, at
        random latents.

        Args:
            latents: ``(b, c, side, side)``, at least as many positions as codes.
            rounds: of moving.
            generator: on the CPU.

        Yields:
            The mean squared leftover before each round, and at last after all of them.

        Raises:
            ValueError: latents of another shape, or too few.
        """
        self._check(latents)
        others = torch.arange(1, self.config.num_codes)
        self.quantizer.restart(others, rearrange(latents, "b c h w -> (b h w) c"), generator)
        self.codes[0] = 0
        for _ in range(rounds):
            found = self(latents)
            yield found.leftover.square().mean().item()
            self._move(latents, found, generator)
        yield self(latents).leftover.square().mean().item()

    def _move(self, latents: Tensor, found: MultiScale, generator: torch.Generator) -> None:
        before = (torch.zeros_like(latents), *found.sums[:-1])
        pooled = [
            rearrange(pool(latents - total, size), "b c h w -> (b h w) c")
            for total, size in zip(before, self.config.sizes, strict=True)
        ]
        vectors, rows = torch.cat(pooled), torch.cat([ids.flatten() for ids in found.ids])
        counts = torch.bincount(rows, minlength=self.config.num_codes)
        means = torch.zeros_like(self.codes).index_add_(0, rows, vectors.to(self.codes))
        self.codes.copy_(means / counts.clamp(min=1)[:, None])
        self.quantizer.restart((counts == 0).nonzero().flatten(), vectors, generator)
        self.codes[0] = 0

    def _check(self, latents: Tensor) -> None:
        side = self.config.sizes[-1]
        if latents.ndim != 4 or tuple(latents.shape[1:]) != (self.config.channels, side, side):
            raise ValueError(
                f"latents must have shape (b, {self.config.channels}, {side}, {side}), got "
                f"{tuple(latents.shape)}. The last size is the side of the latents."
            )

    def save_pretrained(self, folder: str | os.PathLike) -> Path:
        """Write ``config.json`` and the codes to ``folder``."""
        return checkpoint.save_module(folder, self, self.config)

    @classmethod
    def from_pretrained(cls, folder: str | os.PathLike) -> Self:
        """Read a folder that :meth:`save_pretrained` wrote.

        Raises:
            ValueError: config or codes do not fit.
        """
        quantizer = cls(checkpoint.read_config(folder, MultiScaleConfig))
        checkpoint.load_weights(folder, quantizer)
        return quantizer.eval()
