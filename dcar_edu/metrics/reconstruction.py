"""How close a reconstruction is to its original: one number a picture."""

import importlib.util

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
    _check("psnr", images, originals)
    error = (images.double() - originals.double()).square().mean(dim=(1, 2, 3))
    return (10 * (4 / error).log10()).float()


def ssim(images: Tensor, originals: Tensor) -> Tensor:
    """Structural similarity of each picture: brightness, contrast and structure of its patches.

    Args:
        images: ``(b, 3, h, w)`` in [-1, 1]; sides of at least 11, the Gaussian window.
        originals: the same shape.

    Returns:
        ``(b,)``, at most 1, which equal pictures have.

    Raises:
        ValueError: shapes differ, a side is too short, or torchmetrics is not installed.

    Source:
        SSIM (Wang et al. 2004) on values in [0, 1], by torchmetrics with its defaults.
    """
    _check("ssim", images, originals)
    if min(images.shape[2:]) < 11:
        raise ValueError(
            f"ssim needs sides of at least 11, its window, got {tuple(images.shape)}. "
            "Enlarge both batches alike."
        )
    if importlib.util.find_spec("torchmetrics") is None:
        raise ValueError(
            "ssim needs the torchmetrics library, which is not installed. "
            "Run: pip install 'dcar_edu[metrics]'"
        )
    from torchmetrics.functional.image import structural_similarity_index_measure

    # SSIM compares brightness, so black must be 0: in [-1, 1] it would be as bright as white.
    a, b = ((batch.float() + 1) / 2 for batch in (images, originals))
    found = structural_similarity_index_measure(a, b, data_range=1.0, reduction="none")
    assert isinstance(found, Tensor)
    return found.reshape(len(images))


def _check(name: str, images: Tensor, originals: Tensor) -> None:
    if images.shape != originals.shape or images.ndim != 4:
        raise ValueError(
            f"{name} compares two batches (b, 3, h, w) of one shape, got {tuple(images.shape)} and "
            f"{tuple(originals.shape)}. Resize one, or add the batch axis."
        )
