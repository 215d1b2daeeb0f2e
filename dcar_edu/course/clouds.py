"""Points on paper for lesson 09: two moons, outlines of emoji, and a small network for both."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dcar_edu.data import CaptionedEmoji
from dcar_edu.generator import GeneratorConfig
from dcar_edu.generator.residual_head import ResidualHead

CONDITION = 4
"""Width of the condition of the small network: room for four clouds."""


def two_moons(count: int, generator: torch.Generator) -> Tensor:
    """Points on two half circles that reach into each other, ``(count, 2)``.

    Mean 0, and a mean square of 1 over both axes, as residuals have once they are divided by
    their scale.
    """
    angle = math.pi * torch.rand(count, generator=generator)
    upper = torch.rand(count, generator=generator) < 0.5
    x = torch.where(upper, angle.cos() - 0.5, 0.5 - angle.cos())
    y = torch.where(upper, angle.sin() - 0.25, 0.25 - angle.sin())
    wobble = 0.03 * torch.randn(count, 2, generator=generator)
    return (torch.stack([x, y], dim=1) + wobble) / 0.706


def edge(alpha: Tensor) -> tuple[Tensor, float]:
    """Where the outline of a tile runs.

    Args:
        alpha: uint8 ``(h, w)``: a tile's fourth channel.

    Returns:
        Places ``(m, 2)``, x to the right and y upwards, with mean 0 and a mean square of 1; and
        the distance between two neighbouring pixels in these units.

    Raises:
        ValueError: the tile is empty or full, so that it has no outline.
    """
    inside = alpha > 127
    steps = torch.zeros_like(inside)
    steps[:, 1:] |= inside[:, 1:] != inside[:, :-1]
    steps[1:] |= inside[1:] != inside[:-1]
    places = steps.nonzero().float()
    if not len(places):
        raise ValueError("this tile has no outline: all its pixels are alike. Take another one.")
    points = torch.stack([places[:, 1], -places[:, 0]], dim=1)
    points = points - points.mean(dim=0)
    pixel = 1 / points.square().mean().sqrt().item()
    return points * pixel, pixel


def outlines(labels: Sequence[str], resolution: int = 128) -> list[tuple[Tensor, float]]:
    """The :func:`edge` of some 3D emoji, in the order of their labels."""
    emoji = CaptionedEmoji("train", resolution, styles=["3d"], concepts=list(labels))
    tiles = dict(zip([e.label for e in emoji.concepts], emoji.tiles(), strict=True))
    return [edge(tiles[label][3]) for label in labels]


def outline_points(
    edges: Sequence[tuple[Tensor, float]], which: Tensor, generator: torch.Generator
) -> Tensor:
    """Random points on outlines ``(n, 2)``.

    Args:
        edges: what :func:`outlines` gives.
        which: int64 ``(n,)``: the outline that each point lies on.
        generator: the CPU source of places, and of a shift by half a pixel at most.
    """
    share = torch.rand(len(which), generator=generator)
    shift = torch.rand(len(which), 2, generator=generator) - 0.5
    points = torch.empty(len(which), 2)
    for number, (places, pixel) in enumerate(edges):
        rows = which == number
        chosen = (share[rows] * len(places)).long()
        points[rows] = places[chosen] + pixel * shift[rows]
    return points


def energy_distance(x: Tensor, y: Tensor) -> float:
    """How differently two clouds are spread: ``2 E|x-y| - E|x-x'| - E|y-y'|``.

    0 on average for two draws of one distribution (it may be a little negative), as no point is
    compared with itself.

    Args:
        x: ``(n, d)``, n at least 2.
        y: ``(m, d)``, m at least 2.

    Raises:
        ValueError: fewer than two points in a cloud.
    """
    n, m = len(x), len(y)
    if min(n, m) < 2:
        raise ValueError(f"energy_distance needs two points in each cloud, got {n} and {m}.")
    within = torch.cdist(x, x).sum() / (n * (n - 1)) + torch.cdist(y, y).sum() / (m * (m - 1))
    return (2 * torch.cdist(x, y).mean() - within).item()


class Waves(nn.Module):
    """A first layer for :func:`point_network`: a point, and sines and cosines of its axes.

    A small network that reads two plain numbers draws smooth shapes only; from waves it learns
    corners too.
    """

    def __init__(self, width: int, octaves: int):
        super().__init__()
        self.octaves = octaves
        self.mix = nn.Linear(2 * (1 + 2 * octaves), width)

    def forward(self, x: Tensor) -> Tensor:
        """``(n, 2)`` to ``(n, width)``."""
        angles = torch.cat([x * 2**octave for octave in range(self.octaves)], dim=1)
        return self.mix(torch.cat([x, angles.sin(), angles.cos()], dim=1))


def point_network(seed: int = 0, octaves: int = 0, width: int = 64) -> ResidualHead:
    """The network of the residual head for points: 2 numbers in and out, a condition of 4.

    Args:
        seed: of its starting weights.
        octaves: of the :class:`Waves` it reads the points through; 0: plain, as residuals are.
        width: of its layers.
    """
    config = GeneratorConfig.preset(
        "nano", width=CONDITION, heads=1, latent_channels=2, head_width=width
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = ResidualHead(config)
        network.start()
        if octaves:
            network.input = Waves(width, octaves)  # type: ignore[assignment]
    return network
