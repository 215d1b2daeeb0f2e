"""Encoder and decoder of the deep compression autoencoder (DC-AE).

Source: DC-AE (arXiv:2410.10733); layout as in DC-AR's released code.
"""

from torch import Tensor, nn

from dcar_edu.tokenizer.blocks import ChannelNorm, Down, EViTBlock, ResBlock, Up
from dcar_edu.tokenizer.config import TokenizerConfig


def _blocks(
    config: TokenizerConfig, stage: int, depth: int, norm: str, activation: str
) -> list[nn.Module]:
    width = config.widths[stage]
    if config.blocks[stage] == "res":
        return [ResBlock(width, norm, activation) for _ in range(depth)]
    return [EViTBlock(width, config.head_width, config.expansion, norm) for _ in range(depth)]


class Encoder(nn.Sequential):
    """Images ``(b, 3, H, W)`` to latents ``(b, c, H/f, W/f)``, not yet on the unit sphere."""

    def __init__(self, config: TokenizerConfig):
        stem, widths = config.stem, config.widths
        layers: list[nn.Module] = [Down(3, widths[stem], 2**stem, shortcut=False)]
        for stage in range(stem, len(widths)):
            layers += _blocks(config, stage, config.encoder_depths[stage], "layer", "silu")
            if stage + 1 < len(widths):
                layers.append(Down(widths[stage], widths[stage + 1]))
        layers.append(Down(widths[-1], config.latent_channels, factor=1))
        super().__init__(*layers)


class Decoder(nn.Sequential):
    """Latents ``(b, c, h, w)`` to images ``(b, 3, h*f, w*f)``, about [-1, 1]."""

    def __init__(self, config: TokenizerConfig):
        stem, widths = config.stem, config.widths
        layers: list[nn.Module] = [Up(config.latent_channels, widths[-1], factor=1)]
        for stage in reversed(range(stem, len(widths))):
            if stage + 1 < len(widths):
                layers.append(Up(widths[stage + 1], widths[stage]))
            norm, activation = config.decoder_norms[stage], config.decoder_activations[stage]
            layers += _blocks(config, stage, config.decoder_depths[stage], norm, activation)
        layers += [ChannelNorm(widths[stem], eps=1e-5), nn.ReLU()]
        layers.append(Up(widths[stem], 3, 2**stem, shortcut=False))
        super().__init__(*layers)


def count_parameters(module: nn.Module) -> int:
    """How many trainable numbers a module holds."""
    return sum(p.numel() for p in module.parameters())


def to_latent_grid(images: Tensor, factor: int) -> tuple[int, int]:
    """The token grid ``(h, w)`` of images ``(b, 3, H, W)``.

    Raises:
        ValueError: not a batch of colour pictures, or H or W is no multiple of ``factor``.
    """
    if images.ndim != 4 or images.shape[1] != 3:
        raise ValueError(
            f"images must have shape (b, 3, H, W), got {tuple(images.shape)}. "
            "Add the batch axis with images[None]; give pictures exactly red, green and blue."
        )
    height, width = images.shape[-2:]
    if height % factor or width % factor or not height or not width:
        raise ValueError(
            f"height and width must be multiples of {factor}, got {height}x{width}. "
            f"Resize or crop, for example to {max(height // factor, 1) * factor}x"
            f"{max(width // factor, 1) * factor}."
        )
    return height // factor, width // factor


def check_images(images: Tensor, factor: int) -> None:
    """Refuse what the encoder cannot read, before it gives nonsense or an error deep inside.

    Args:
        images: ``(b, 3, H, W)``, floats in [-1, 1].
        factor: ``f``, which must divide H and W.

    Raises:
        ValueError: another shape, no picture at all, whole numbers, or values that are no numbers.
    """
    to_latent_grid(images, factor)
    if not len(images):
        raise ValueError(
            f"images must hold at least one picture, got an empty batch {tuple(images.shape)}. "
            "Leave empty batches out."
        )
    if not images.is_floating_point():
        raise ValueError(
            f"images must be floats in [-1, 1], got {images.dtype}. "
            "Convert pixels (h, w, 3) with dcar_edu.images.to_model."
        )
    finite = images.isfinite().flatten(1).all(1)
    if not finite.all():
        raise ValueError(
            "images must be finite, got NaN or infinity in pictures "
            f"{(~finite).nonzero().flatten().tolist()} of the batch. Look where they were made."
        )
