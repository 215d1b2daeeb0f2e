"""DC-HT, the hybrid tokenizer: a picture as code indices plus a continuous residual.

``latents = quantized + residuals``: the codes carry structure, the residuals the detail that
rounding to a code loses. The decoder reads either path.

Source: DC-AR (arXiv:2507.04947), hybrid tokenizer; path choice as in HART (arXiv:2410.10812).
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self, get_args

import torch
from torch import Tensor, nn

from dcar_edu import checkpoint
from dcar_edu.tokenizer.autoencoder import Decoder, Encoder, check_images
from dcar_edu.tokenizer.config import TokenizerConfig
from dcar_edu.tokenizer.quantizer import Quantized, VectorQuantizer

LatentPath = Literal["continuous", "discrete", "alternate"]
OnePath = Literal["continuous", "discrete"]


def drawn_path(path: LatentPath, generator: torch.Generator | None) -> OnePath:
    """The path itself, or for "alternate" either of the other two by the toss of a coin."""
    if path != "alternate":
        return path
    return "continuous" if torch.rand((), generator=generator).item() < 0.5 else "discrete"


@dataclass(frozen=True)
class Encoded:
    """A batch of pictures as the tokenizer sees them; ``latents == quantized + residuals``."""

    indices: Tensor
    """int64 ``(b, h, w)``, 0 to ``num_codes - 1``."""
    latents: Tensor
    """Continuous latents on the unit sphere ``(b, c, h, w)``."""
    quantized: Tensor
    """Their codes ``(b, c, h, w)``."""
    residuals: Tensor
    """What the codes miss ``(b, c, h, w)``."""


@dataclass(frozen=True)
class Reconstruction:
    """One training pass: the picture that came out and what happened in the middle."""

    images: Tensor
    """``(b, 3, H, W)``, about [-1, 1]."""
    path: OnePath
    """The path that was taken, for the whole batch."""
    middle: Quantized


class HybridTokenizer(nn.Module):
    """Encoder, quantizer and decoder in one; 32x smaller on each side.

    Example:
        >>> tokenizer = HybridTokenizer(TokenizerConfig.preset("nano"))
        >>> encoded = tokenizer.encode(torch.zeros(2, 3, 64, 96))
        >>> tuple(encoded.indices.shape), tuple(encoded.residuals.shape)
        ((2, 2, 3), (2, 32, 2, 3))
        >>> tuple(tokenizer.decode(encoded.indices, encoded.residuals).shape)
        (2, 3, 64, 96)
    """

    def __init__(self, config: TokenizerConfig):
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.quantizer = VectorQuantizer(
            config.num_codes,
            config.latent_channels,
            normalize=config.normalize_codes,
            commitment=config.commitment,
        )
        self.decoder = Decoder(config)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.quantizer.codes.device

    @torch.no_grad()
    def encode(self, images: Tensor) -> Encoded:
        """Encode images ``(b, 3, H, W)`` in [-1, 1]; H and W multiples of ``downsample``.

        Raises:
            ValueError: wrong shape, a side that is no multiple, no picture, or no finite floats.
        """
        middle = self._middle(images)
        codes = self.quantizer.look_up(middle.indices)
        return Encoded(middle.indices, middle.latents, codes, middle.latents - codes)

    @torch.no_grad()
    def decode(self, indices: Tensor, residuals: Tensor | None = None) -> Tensor:
        """Draw the pictures of code indices.

        Args:
            indices: int64 ``(b, h, w)``.
            residuals: ``(b, c, h, w)``: the hybrid path; ``None``: the discrete path.

        Returns:
            Images ``(b, 3, h*f, w*f)``, clipped to [-1, 1].

        Raises:
            ValueError: no index, one outside the codebook, or shapes that do not belong together.
        """
        self._check_codes(indices, residuals)
        latents = self.quantizer.look_up(indices.to(self.device))
        if residuals is not None:
            latents = latents + residuals.to(latents)
        return self.decode_latents(latents)

    def decode_latents(self, latents: Tensor) -> Tensor:
        """Draw the pictures of latents ``(b, c, h, w)``, clipped to [-1, 1]."""
        kind = next(self.decoder.parameters()).dtype
        return self.decoder(latents.to(kind)).clamp(-1, 1)

    def forward(
        self, images: Tensor, path: LatentPath, generator: torch.Generator | None = None
    ) -> Reconstruction:
        """One training pass.

        Args:
            images: ``(b, 3, H, W)`` in [-1, 1].
            path: what the decoder reads: latents ("continuous"), codes ("discrete") or, by one
                draw for the whole batch, either with probability 1/2 ("alternate").
            generator: the source of that draw; needed for "alternate".

        Raises:
            ValueError: unknown path, "alternate" without a generator, or images that
                :meth:`encode` refuses too.

        Source:
            DC-AR, three-stage training; one draw a batch as in the released code.

        Deviates:
            The draw comes from ``generator``; the released code uses Python's ``random``.
        """
        if path not in get_args(LatentPath) or (path == "alternate" and generator is None):
            raise ValueError(
                f"path must be one of {get_args(LatentPath)}, 'alternate' with a generator; got "
                f"'{path}' and {generator}. Pass generator=torch.Generator()."
            )
        path = drawn_path(path, generator)
        middle = self._middle(images)
        latents = middle.latents if path == "continuous" else middle.quantized
        return Reconstruction(self.decoder(latents), path, middle)

    def fingerprint(self) -> str:
        """Name encoder and codebook by 16 hex digits; training only the decoder keeps it."""
        parts = {f"encoder.{k}": v for k, v in self.encoder.state_dict().items()}
        return checkpoint.fingerprint({**parts, "codes": self.quantizer.codes})

    def save_pretrained(
        self, folder: str | os.PathLike, *, dtype: torch.dtype | None = None
    ) -> Path:
        """Write ``config.json`` and the weights to ``folder``; ``dtype`` stores them smaller."""
        return checkpoint.save_module(folder, self, self.config, dtype=dtype)

    @classmethod
    def from_pretrained(cls, folder: str | os.PathLike) -> Self:
        """Read a folder that :meth:`save_pretrained` wrote; float32, in eval mode.

        Raises:
            ValueError: config or weights do not fit.
        """
        tokenizer = cls(checkpoint.read_config(folder, TokenizerConfig))
        checkpoint.load_weights(folder, tokenizer)
        return tokenizer.eval()

    def _middle(self, images: Tensor) -> Quantized:
        check_images(images, self.config.downsample)
        weights = next(self.encoder.parameters())
        return self.quantizer(self.encoder(images.to(weights)))

    def _check_codes(self, indices: Tensor, residuals: Tensor | None) -> None:
        if indices.ndim != 3 or indices.is_floating_point():
            raise ValueError(
                f"indices must be integers (b, h, w), got {indices.dtype} {tuple(indices.shape)}. "
                "Keep the grid: do not flatten it."
            )
        codes = self.config.num_codes
        if not indices.numel():
            raise ValueError(
                f"indices must hold at least one code, got shape {tuple(indices.shape)}. "
                "Leave empty batches out."
            )
        if not 0 <= int(indices.min()) <= int(indices.max()) < codes:
            raise ValueError(
                f"indices must lie in 0..{codes - 1}, got {int(indices.min())}.."
                f"{int(indices.max())}. {codes} itself is the mask: finish sampling first."
            )
        b, h, w = indices.shape
        wanted = (b, self.config.latent_channels, h, w)
        if residuals is not None and tuple(residuals.shape) != wanted:
            raise ValueError(
                f"residuals must have shape {wanted} to fit the indices, got "
                f"{tuple(residuals.shape)}. Pass the pair that encode() gave."
            )


PARTS = ("encoder", "quantizer", "decoder")
"""The parts a training stage can train or freeze."""
