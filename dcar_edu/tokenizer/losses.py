"""What "close to the original" means when the tokenizer learns.

Source: the DC-AE family trains with L1 plus a perceptual term; DC-AR states no weights.
"""

from torch import Tensor, nn


def pixel_loss(drawn: Tensor, images: Tensor, l1: float = 1.0, l2: float = 0.0) -> Tensor:
    """``l1`` times the mean absolute error plus ``l2`` times the mean squared error.

    Args:
        drawn: ``(b, 3, h, w)``.
        images: the originals, the same shape, in [-1, 1].
        l1: weight of the absolute error, which keeps edges and flat areas clean.
        l2: weight of the squared error, which PSNR measures.
    """
    error = drawn - images
    return l1 * error.abs().mean() + l2 * error.square().mean()


def reconstruction_loss(
    drawn: Tensor,
    images: Tensor,
    *,
    l1: float = 1.0,
    l2: float = 0.0,
    perceptual: nn.Module | None = None,
    perceptual_weight: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """Pixel loss plus an optional perceptual distance.

    Args:
        drawn: ``(b, 3, h, w)``.
        images: the originals, the same shape, in [-1, 1].
        l1: see :func:`pixel_loss`.
        l2: see :func:`pixel_loss`.
        perceptual: a frozen module, ``perceptual(drawn, images)`` gives one distance a picture,
            such as :class:`dcar_edu.features.PerceptualDistance`, or LPIPS where its weights are.
        perceptual_weight: its weight; 0 leaves it out.

    Returns:
        The whole loss and the pixel part alone.

    Raises:
        ValueError: a weight for a distance that is not given.
    """
    pixels = pixel_loss(drawn, images, l1, l2)
    if perceptual_weight == 0:
        return pixels, pixels
    if perceptual is None:
        raise ValueError(
            f"perceptual_weight={perceptual_weight} needs a module that measures the distance, got "
            "none. Pass perceptual=PerceptualDistance(load_features()), or set the weight to 0."
        )
    return pixels + perceptual_weight * perceptual(drawn, images).mean(), pixels
