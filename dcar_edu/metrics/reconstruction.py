"""How close a reconstruction is to its original."""

from torch import Tensor


def psnr(images: Tensor, originals: Tensor) -> Tensor:
    """Peak signal-to-noise ratio of each picture, in decibels.

    Args:
        images: ``(b, 3, h, w)`` in [-1, 1].
        originals: the same shape.

    Returns:
        ``(b,)``; ``10 log10(4 / mse)`` because values span 2. Infinite for equal pictures.

    Raises:
        ValueError: shapes differ, or there is no batch axis.

    Example:
        >>> import torch
        >>> zeros = torch.zeros(1, 3, 4, 5)
        >>> round(psnr(zeros + 0.1, zeros).item(), 2)
        26.02
    """
    if images.shape != originals.shape or images.ndim != 4:
        raise ValueError(
            f"psnr compares two batches (b, 3, h, w) of one shape, got {tuple(images.shape)} and "
            f"{tuple(originals.shape)}. Resize one, or add the batch axis."
        )
    error = (images.double() - originals.double()).square().mean(dim=(1, 2, 3))
    return (10 * (4 / error).log10()).float()
