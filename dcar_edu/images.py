"""Pictures in and out: 8-bit pixels for people, floats in [-1, 1] for models.

``pixels`` are uint8, ``(..., h, w, 3)``; ``images`` are float, ``(..., 3, h, w)`` in [-1, 1].
"""

import io
import os
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from PIL import Image
from torch import Tensor

from dcar_edu.checkpoint import write_atomically


def to_model(pixels: Tensor | np.ndarray) -> Tensor:
    """Turn 8-bit pixels into images for a model.

    Args:
        pixels: uint8, shape ``(..., h, w, 3)``.

    Returns:
        Float32 images in [-1, 1], shape ``(..., 3, h, w)``.

    Raises:
        ValueError: the type is not uint8 or the last axis is not 3.

    Example:
        >>> to_model(torch.tensor([[[0, 51, 255]]], dtype=torch.uint8)).flatten().tolist()
        [-1.0, -0.6000000238418579, 1.0]
    """
    # A copy: NumPy views may run backwards or be read-only.
    pixels = torch.from_numpy(pixels.copy()) if isinstance(pixels, np.ndarray) else pixels
    if pixels.dtype != torch.uint8 or pixels.ndim < 3 or pixels.shape[-1] != 3:
        raise ValueError(
            f"pixels must be uint8 with shape (..., h, w, 3), got {pixels.dtype} "
            f"{tuple(pixels.shape)}. Move the colour axis to the end; keep values 0-255."
        )
    return rearrange(pixels, "... h w c -> ... c h w").float() / 127.5 - 1


def to_pixels(images: Tensor) -> Tensor:
    """Turn images back into 8-bit pixels, rounding to the nearest value.

    Args:
        images: float in [-1, 1] (values outside are clipped), shape ``(..., 3, h, w)``.

    Returns:
        uint8 pixels on the CPU, shape ``(..., h, w, 3)``.

    Raises:
        ValueError: the colour axis is not third from the end.

    Deviates:
        The released code truncates; rounding keeps ``to_pixels(to_model(x)) == x``.
    """
    if images.ndim < 3 or images.shape[-3] != 3:
        raise ValueError(
            f"images must have shape (..., 3, h, w), got {tuple(images.shape)}. "
            "Put the three colour channels before height and width."
        )
    values = (images.detach().float() + 1) * 127.5
    pixels = values.round().clamp(0, 255).to(torch.uint8).cpu()
    return rearrange(pixels, "... c h w -> ... h w c")


def to_pil(image: Tensor) -> Image.Image:
    """Turn one image ``(3, h, w)`` in [-1, 1] into a PIL picture."""
    return Image.fromarray(to_pixels(image).numpy())


def from_pil(picture: Image.Image) -> Tensor:
    """Turn a PIL picture into one image ``(3, h, w)`` in [-1, 1]; alpha goes onto white."""
    if picture.mode in ("RGBA", "LA", "P"):
        picture = picture.convert("RGBA")
        white = Image.new("RGBA", picture.size, (255, 255, 255, 255))
        picture = Image.alpha_composite(white, picture)
    return to_model(np.array(picture.convert("RGB")))


def resize(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize images ``(b, 3, h, w)`` to ``size = (height, width)``, antialiased."""
    if tuple(images.shape[-2:]) == tuple(size):
        return images
    resized = F.interpolate(images, size=size, mode="bilinear", antialias=True, align_corners=False)
    return resized.clamp(-1, 1)


def grid(images: Tensor, columns: int, gap: int = 2) -> Tensor:
    """Lay images out in rows of ``columns`` on a white sheet.

    Args:
        images: ``(b, 3, h, w)`` in [-1, 1].
        columns: pictures in a row, at least 1.
        gap: white pixels between pictures and around them.

    Returns:
        One image ``(3, H, W)`` in [-1, 1]; places left over stay white.

    Raises:
        ValueError: no image, or ``columns`` below 1.
    """
    if images.ndim != 4 or len(images) == 0 or columns < 1:
        raise ValueError(
            f"grid needs images (b, 3, h, w) with b >= 1 and columns >= 1, got "
            f"{tuple(images.shape)} and columns={columns}."
        )
    count, _, h, w = images.shape
    rows = -(-count // columns)
    sheet = images.new_ones(3, rows * (h + gap) + gap, columns * (w + gap) + gap)
    for place, image in enumerate(images):
        top = gap + place // columns * (h + gap)
        left = gap + place % columns * (w + gap)
        sheet[:, top : top + h, left : left + w] = image
    return sheet


def save(image: Tensor | Image.Image, path: str | os.PathLike) -> Path:
    """Write one image ``(3, h, w)`` or PIL picture; the file appears whole or not at all.

    Raises:
        ValueError: Pillow writes no format of the file's ending.
    """
    path = Path(path)
    kind = Image.registered_extensions().get(path.suffix.lower())
    if kind not in Image.SAVE:
        raise ValueError(
            f"the file's ending names the format, got '{path.name}'. Use .png, .webp or .jpg."
        )
    picture = image if isinstance(image, Image.Image) else to_pil(image)
    buffer = io.BytesIO()
    picture.save(buffer, format=kind)
    write_atomically(path, buffer.getvalue())
    return path
