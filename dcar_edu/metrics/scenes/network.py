"""A small detector of things in scenes: every cell of a grid names what has its centre there.

Letters: b pictures, n names, c colours, g cells along a side (16 for pictures of 128 pixels).
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dcar_edu import checkpoint
from dcar_edu.data import SceneExample
from dcar_edu.data.composition import COLOURS, NOUNS, SHAPES
from dcar_edu.metrics.scenes.specs import split_name

STRIDE = 8
"""Pixels along a cell's side."""
INSIDE, NEAR = 1.0, 2.0
"""Cells nearer to a thing's centre than the first, along both axes, must name it; those nearer
than the second may say anything; all others must say that nothing is there."""


@dataclass(frozen=True)
class SceneNetworkConfig:
    """What the network knows, and its sizes."""

    labels: tuple[str, ...] = (*NOUNS, *SHAPES)
    colours: tuple[str, ...] = COLOURS
    """Of shapes."""
    side: int = 128
    """Pictures of other sizes are resized to this many pixels."""
    widths: tuple[int, ...] = (16, 32, 64, 128, 128)
    """Channels at 1/2, 1/4, 1/8, 1/16 and 1/32 of the side."""


@dataclass(frozen=True)
class CellOutput:
    """What each cell says."""

    names: Tensor
    """Logits ``(b, 1 + n, g, g)``; the first means nothing has its centre here."""
    colours: Tensor
    """Logits ``(b, c, g, g)``; they mean something for shapes alone."""
    boxes: Tensor
    """``(b, 4, g, g)``: from the cell's centre to the thing's, right and down, in cells; and the
    logarithm of its width and height in cells."""


class SceneNetwork(nn.Module):
    """A fully convolutional network with a fine, a coarse and a wide look at every cell.

    Raises:
        ValueError: a side that five halvings do not divide, or not five widths.

    Source:
        One label a cell around a thing's centre: FCOS (arXiv:1904.01355). The centre and size:
        CenterNet (arXiv:1904.07850). Coarser looks, enlarged and added: FPN (arXiv:1612.03144).

    Deviates:
        A softmax over all names and "nothing" in place of sigmoids with focal loss: a thing has
        one name, and the scores are probabilities as they stand.
    """

    def __init__(self, config: SceneNetworkConfig | None = None):
        super().__init__()
        self.config = config = config or SceneNetworkConfig()
        if config.side % 32 or len(config.widths) != 5:
            raise ValueError(
                f"side must be a multiple of 32 and widths five, got side {config.side} and widths "
                f"{config.widths}. Change the config."
            )
        half, quarter, fine, coarse, wide = config.widths
        self.fine = nn.Sequential(
            _convolution(3, half, stride=2),
            _convolution(half, quarter, stride=2),
            _convolution(quarter, fine, stride=2),
            Residual(fine),
        )
        self.coarse = nn.Sequential(_convolution(fine, coarse, stride=2), Residual(coarse))
        self.wide = nn.Sequential(_convolution(coarse, wide, stride=2), Residual(wide))
        self.from_wide = nn.Conv2d(wide, coarse, 1)
        self.from_coarse = nn.Conv2d(coarse, fine, 1)
        self.merge = _convolution(fine, fine)
        self.sizes = (1 + len(config.labels), len(config.colours), 4)
        self.head = nn.Conv2d(fine, sum(self.sizes), 1)
        start = torch.zeros(sum(self.sizes))
        start[0] = 8.0  # "nothing" is right for most cells: begin there
        self.head.bias = nn.Parameter(start)

    def forward(self, images: Tensor) -> CellOutput:
        """Look at pictures ``(b, 3, side, side)`` in [-1, 1]."""
        fine = self.fine(images)
        coarse = self.coarse(fine)
        coarse = coarse + F.interpolate(self.from_wide(self.wide(coarse)), scale_factor=2.0)
        fine = fine + F.interpolate(self.from_coarse(coarse), scale_factor=2.0)
        names, colours, boxes = self.head(self.merge(fine)).split(self.sizes, dim=1)
        return CellOutput(names, colours, boxes)

    def save_pretrained(
        self, folder: str | os.PathLike, *, dtype: torch.dtype | None = None
    ) -> Path:
        """Write ``config.json`` and the weights to ``folder``."""
        return checkpoint.save_module(folder, self, self.config, dtype=dtype)

    @classmethod
    def from_pretrained(cls, folder: str | os.PathLike) -> Self:
        """Read what :meth:`save_pretrained` wrote.

        Raises:
            ValueError: config or weights do not fit.
        """
        network = cls(checkpoint.read_config(folder, SceneNetworkConfig))
        checkpoint.load_weights(folder, network)
        return network.eval()


class Residual(nn.Module):
    """Two convolutions beside a shortcut."""

    def __init__(self, channels: int):
        super().__init__()
        self.path = nn.Sequential(
            _convolution(channels, channels),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
        )

    def forward(self, features: Tensor) -> Tensor:
        """Shapes stay."""
        return F.relu(features + self.path(features))


def _convolution(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


@dataclass(frozen=True)
class CellTargets:
    """What each cell should say; the shapes of :class:`CellOutput`, without its classes' axis."""

    names: Tensor
    """int64 ``(b, g, g)``: 0 nothing, i + 1 the i-th label, -1 anything goes."""
    colours: Tensor
    """int64 ``(b, g, g)``, -1 where no shape is."""
    boxes: Tensor
    """``(b, 4, g, g)``, read where ``names`` is above 0."""


Thing = tuple[str, tuple[float, float, float, float]]
"""A name such as "cat" or "red circle", and its box in [0, 1]."""


def things_of(example: SceneExample) -> list[Thing]:
    """What is in a scene, as :func:`cell_targets` wants it."""
    return [(thing.noun, thing.box) for thing in example.objects]


def cell_targets(pictures: Sequence[Sequence[Thing]], config: SceneNetworkConfig) -> CellTargets:
    """Turn boxes into what each cell should say.

    Args:
        pictures: the things of each picture.
        config: says the names, the colours and the number of cells.
    """
    cells = config.side // STRIDE
    names = torch.zeros(len(pictures), cells, cells, dtype=torch.int64)
    colours = torch.full_like(names, -1)
    boxes = torch.zeros(len(pictures), 4, cells, cells)
    middle = torch.arange(cells) + 0.5
    for picture, things in enumerate(pictures):
        for noun, box in things:
            left, top, right, bottom = (value * cells for value in box)
            across = ((left + right) / 2 - middle).expand(cells, cells)
            down = ((top + bottom) / 2 - middle)[:, None].expand(cells, cells)
            far = torch.maximum(across.abs(), down.abs())
            names[picture][(far < NEAR) & (names[picture] == 0)] = -1
            here = far < INSIDE
            label, colour = split_name(noun)
            names[picture][here] = config.labels.index(label) + 1
            colours[picture][here] = config.colours.index(colour) if colour else -1
            sizes = torch.tensor([right - left, bottom - top]).log()
            sizes = sizes[:, None, None].expand(2, cells, cells)
            boxes[picture][:, here] = torch.cat([across[None], down[None], sizes])[:, here]
    return CellTargets(names, colours, boxes)


def cell_loss(output: CellOutput, targets: CellTargets) -> Tensor:
    """Cross entropy of names and colours, and a smooth L1 of boxes; a mean over things' cells."""
    inside = targets.names > 0
    count = inside.sum().clamp(min=1)
    named = F.cross_entropy(output.names, targets.names, ignore_index=-1, reduction="sum")
    coloured = F.cross_entropy(output.colours, targets.colours, ignore_index=-1, reduction="sum")
    off = F.smooth_l1_loss(output.boxes, targets.boxes, beta=0.2, reduction="none").sum(1)
    return (named + coloured + (off * inside).sum()) / count
