"""Redraw a part of a picture: from a mask of pixels to tokens to draw again, and back.

A token stands for a cell of ``f x f`` pixels. A mask redraws every cell that it touches; all other
cells keep their token, their residual and, in the end, their pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypedDict, TypeVar, cast

import numpy as np
import torch
from einops import rearrange, repeat
from PIL import Image
from torch import Tensor

from dcar_edu import images

One = TypeVar("One")


class EditOptions(TypedDict, total=False):
    """How edits are drawn; as in :meth:`DCAR.generate`."""

    num_steps: int
    guidance: float
    guidance_schedule: str
    temperature: float
    residual_steps: int
    residual_clip: float | None


@dataclass(frozen=True)
class Known:
    """Pictures as tokens, and which of them are drawn again."""

    indices: Tensor
    """int64 ``(b, h, w)``."""
    residuals: Tensor
    """``(b, c, h, w)``."""
    redraw: Tensor
    """bool ``(b, h, w)``."""

    def start(self, mask_id: int) -> Tensor:
        """The tokens that the sampler begins with: those to redraw hold ``mask_id``."""
        return self.indices.masked_fill(self.redraw, mask_id)

    def keep_residuals(self, drawn: Tensor | None) -> Tensor:
        """Residuals ``(b, c, h, w)``: drawn where redrawn (None: 0 there), else the old ones."""
        new = torch.zeros_like(self.residuals) if drawn is None else drawn.to(self.residuals)
        return torch.where(self.redraw[:, None].to(new.device), new, self.residuals)


def touched_cells(masks: Tensor, f: int) -> Tensor:
    """Cells of which a mask touches at least one pixel.

    Args:
        masks: bool ``(b, H, W)``, both multiples of ``f``; True = redraw.
        f: pixels of a cell on each side.

    Returns:
        bool ``(b, H / f, W / f)``.

    Example:
        >>> touched_cells(torch.arange(12).reshape(1, 2, 6) == 3, 2)
        tensor([[[False,  True, False]]])
    """
    return rearrange(masks, "b (h i) (w j) -> b h w (i j)", i=f, j=f).any(-1)


def paste_back(originals: Tensor, drawn: Tensor, redraw: Tensor) -> Tensor:
    """Pictures ``(b, 3, H, W)``: the drawn pixels in redrawn cells, the original ones elsewhere.

    Args:
        originals: ``(b, 3, H, W)``.
        drawn: as large.
        redraw: bool cells ``(b, h, w)``.
    """
    f = originals.shape[-1] // redraw.shape[-1]
    cells = repeat(redraw, "b h w -> b 1 (h i) (w j)", i=f, j=f)
    return torch.where(cells.to(drawn.device), drawn, originals.to(drawn))


def scattered_cells(h: int, w: int, strength: float, generator: torch.Generator) -> Tensor:
    """A share of all cells, chosen at random: bool ``(1, h, w)``, at least one above strength 0.

    Raises:
        ValueError: a strength outside [0, 1].
    """
    if not 0 <= strength <= 1:
        raise ValueError(
            f"strength is the share of tokens drawn again, 0 to 1; got {strength}. "
            "Use 0.5 for half of them."
        )
    count = max(round(strength * h * w), strength > 0)
    order = torch.randperm(h * w, generator=generator)
    return rearrange(order < count, "(h w) -> 1 h w", h=h)


def read_pictures(pictures: Sequence[Image.Image], f: int) -> Tensor:
    """PIL pictures of one size as images ``(b, 3, H, W)`` in [-1, 1].

    Raises:
        ValueError: something else than pictures, several sizes, or one that cells do not fill.
    """
    strange = [type(p).__name__ for p in pictures if not isinstance(p, Image.Image)]
    if strange or not pictures:
        raise ValueError(
            f"edits take PIL pictures, one or a list; got {strange[0] if strange else 'none'}. "
            "Turn an image in [-1, 1] into one with dcar_edu.images.to_pil."
        )
    sizes = {picture.size for picture in pictures}
    if len(sizes) > 1:
        raise ValueError(
            f"pictures of one call share one size, got {sorted(sizes)} (width, height). "
            "Call once for each size."
        )
    (width, height), *_ = sizes
    if width % f or height % f:
        raise ValueError(
            f"width and height must be multiples of {f} pixels, got {width} and {height}. Crop or "
            f"resize the picture first, to {max(1, width // f) * f}x{max(1, height // f) * f} say."
        )
    return torch.stack([images.from_pil(picture) for picture in pictures])


def read_masks(masks: Sequence[Image.Image], size: tuple[int, int]) -> Tensor:
    """Masks as bool ``(b, H, W)``, True where white.

    Args:
        masks: PIL pictures, pure black and white, in any mode.
        size: height and width of the pictures they belong to.

    Raises:
        ValueError: no PIL picture, another size, or greys and colours.
    """
    found = []
    for mask in masks:
        if not isinstance(mask, Image.Image):
            raise ValueError(
                f"a mask is a PIL picture, white where to redraw; got {type(mask).__name__}. "
                "Try PIL.Image.fromarray(array_of_bool)."
            )
        if mask.size != size[::-1]:
            raise ValueError(
                f"a mask must be as large as its picture, {size[1]}x{size[0]} pixels (width x "
                f"height), got {mask.size[0]}x{mask.size[1]}. Draw it on a copy of the picture."
            )
        pixels = np.asarray(mask.convert("RGB"))
        levels = sorted(set(np.unique(pixels).tolist()) - {0, 255})
        white = pixels.min(-1) == 255
        if levels or (pixels.max(-1) > 0)[~white].any():
            raise ValueError(
                "a mask must be pure black (keep) and white (redraw), got "
                f"{'level ' + str(levels[0]) if levels else 'colours'}. Make it so with "
                "mask.convert('L').point(lambda level: 255 * (level >= 128))."
            )
        found.append(torch.from_numpy(white))
    return torch.stack(found)


def canvas(known: Known, size: tuple[int, int], offset: tuple[int, int]) -> Known:
    """Lay tokens on a larger grid; everything around them is to be drawn.

    Args:
        known: of the picture; nothing in it is to be redrawn.
        size: rows and columns of the new grid.
        offset: row and column of the picture's first token on it.

    Raises:
        ValueError: the picture does not lie inside.
    """
    b, h, w = known.indices.shape
    (rows, columns), (top, left) = size, offset
    if top < 0 or left < 0 or top + h > rows or left + w > columns:
        raise ValueError(
            f"a picture of {h}x{w} tokens does not lie inside {rows}x{columns} tokens at row "
            f"{top}, column {left}. Give a larger size or a smaller offset."
        )
    spot = (..., slice(top, top + h), slice(left, left + w))
    indices = known.indices.new_zeros(b, rows, columns)
    residuals = known.residuals.new_zeros(b, known.residuals.shape[1], rows, columns)
    redraw = torch.ones_like(indices, dtype=torch.bool)
    indices[spot], residuals[spot], redraw[spot] = known.indices, known.residuals, False
    return Known(indices, residuals, redraw)


def in_cells(pixels: tuple[int, int], f: int, what: str) -> tuple[int, int]:
    """Two lengths in pixels as numbers of cells.

    Raises:
        ValueError: no multiples of a cell.
    """
    if len(pixels) != 2 or pixels[0] % f or pixels[1] % f:
        raise ValueError(
            f"{what} must be two multiples of {f} pixels, (down, across); got {tuple(pixels)}."
        )
    return pixels[0] // f, pixels[1] // f


def one_each(name: str, value: One | Sequence[One], count: int) -> list[One]:
    """A list of ``count``; one alone serves all.

    Raises:
        ValueError: a list of another length; names it.
    """
    each = list(value) if isinstance(value, list | tuple) else [cast(One, value)] * count
    if len(each) != count:
        raise ValueError(
            f"give one of {name} for all, or one for each of the {count} pictures; got {len(each)}."
        )
    return each


def how_many(*given: object) -> int:
    """The length of the longest list, 1 when none is one."""
    return max((len(value) for value in given if isinstance(value, list | tuple)), default=1)
