"""Lesson 09: clouds of points to learn diffusion on, and residuals drawn in few or many steps."""

import json
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from einops import rearrange
from torch import Tensor, nn

from dcar_edu.checkpoint import find_model
from dcar_edu.course.stages import SHIPPED
from dcar_edu.course.studies import Experiment
from dcar_edu.data import CaptionedEmoji, EmojiExample
from dcar_edu.features import EfficientNetFeatures, load_features
from dcar_edu.generator import GeneratorConfig
from dcar_edu.generator.residual_head import ResidualHead
from dcar_edu.metrics import kid, psnr
from dcar_edu.pipeline import DCAR

CONDITION = 4
"""Width of the condition of the small network: room for four clouds."""
PART = 32
"""Pictures that are worked on together."""


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
    """The first layer of :func:`point_network`: a point, and sines and cosines of its axes.

    A small network that reads two plain numbers draws smooth shapes only; from waves it learns
    corners too.
    """

    def __init__(self, width: int, octaves: int = 5):
        super().__init__()
        self.octaves = octaves
        self.mix = nn.Linear(2 * (1 + 2 * octaves), width)

    def forward(self, x: Tensor) -> Tensor:
        """``(n, 2)`` to ``(n, width)``."""
        angles = torch.cat([x * 2**octave for octave in range(self.octaves)], dim=1)
        return self.mix(torch.cat([x, angles.sin(), angles.cos()], dim=1))


def point_network(seed: int = 0, width: int = 64) -> ResidualHead:
    """The network of the residual head for points: 2 numbers in and out, a condition of 4."""
    config = GeneratorConfig.preset(
        "nano", width=CONDITION, heads=1, latent_channels=2, head_width=width
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = ResidualHead(config)
        network.start()
        network.input = Waves(width)  # type: ignore[assignment]
    return network


@dataclass(frozen=True)
class Arm:
    """One way to draw residuals."""

    steps: int
    clip: float | None = 1.0
    """In units of the residual scale; 1 as in DC-AR's released code."""
    method: str = "ancestral"


ARMS: dict[str, Arm] = {
    **{f"{steps} step{'s' * (steps > 1)}": Arm(steps) for steps in (1, 2, 4, 8, 20, 50)},
    "20 steps, no clip": Arm(20, None),
    "50 steps, no clip": Arm(50, None),
    "20 steps, clip 3": Arm(20, 3.0),
    "20 steps, DDIM": Arm(20, method="ddim"),
}


@dataclass(frozen=True)
class Known:
    """Pictures that the shipped model has learnt, with all that a residual needs."""

    model: DCAR
    images: Tensor
    """``(b, 3, H, W)``."""
    indices: Tensor
    """Their true token ids ``(b, h, w)``."""
    residuals: Tensor
    """Their true residuals ``(b, h * w, c)``, in latent units."""
    hidden: Tensor
    """The transformer's last states ``(b, h * w, width)``, all true tokens seen, no guidance."""

    @property
    def scale(self) -> float:
        """The size of a residual: ``residual_scale``."""
        return self.model.generator.config.residual_scale

    @torch.no_grad()
    def decode(self, residuals: Tensor | None) -> Tensor:
        """The pictures of the true tokens with these residuals ``(b, h * w, c)`` or none."""
        grid = residuals
        if grid is not None:
            grid = rearrange(grid, "b (h w) c -> b c h w", h=self.indices.shape[1])
        some = self.indices.split(PART)
        pairs = zip(some, [None] * len(some) if grid is None else grid.split(PART), strict=True)
        return torch.cat([self.model.tokenizer.decode(i, r) for i, r in pairs])


LOOK = {"styles": ["3d"], "sizes": ["normal"]}
GROUNDS = ("white", "pale blue")
"""What the shipped generator has learnt; its concepts stand in its ``metrics.json``."""


@torch.no_grad()
def known_pictures(
    model: DCAR, emoji: CaptionedEmoji, examples: Sequence[EmojiExample] | None = None
) -> Known:
    """Encode pictures, and read their true tokens with the transformer, no guidance.

    Args:
        model: a trained pair.
        emoji: of 128 pixels.
        examples: some of ``emoji``; all when None.
    """
    examples = emoji.examples() if examples is None else examples
    images = emoji.render(examples)
    parts: list[tuple[Tensor, ...]] = []
    for place in range(0, len(examples), PART):
        captions = [example.caption for example in examples[place : place + PART]]
        seen = model.tokens(images[place : place + PART], captions)
        hidden = model.generator(seen.indices, seen.text, seen.text_mask).hidden
        flat = rearrange(seen.residuals.float(), "b c h w -> b (h w) c")
        parts.append((seen.indices, flat, hidden))
    indices, residuals, hidden = (torch.cat(column) for column in zip(*parts, strict=True))
    return Known(model, images, indices, residuals, hidden)


def learnt_pictures(count: int, seed: int, model: DCAR | None = None) -> Known:
    """Some of the pictures that the shipped generator has learnt, each one once.

    Args:
        count: how many, at most the 1113 that there are.
        seed: which ones.
        model: the shipped model; loaded when not given.
    """
    names = json.loads((find_model(SHIPPED) / "metrics.json").read_text())["concepts"]
    emoji = CaptionedEmoji("train", 128, concepts=names, backgrounds=GROUNDS, **LOOK)
    order = torch.randperm(len(emoji), generator=torch.Generator().manual_seed(seed))
    examples = [emoji[place] for place in order[:count].tolist()]
    labels = sorted({example.label for example in examples})  # draw no more tiles than needed
    emoji = CaptionedEmoji("train", 128, concepts=labels, backgrounds=GROUNDS, **LOOK)
    return known_pictures(model or DCAR.from_pretrained(SHIPPED), emoji, examples)


def one_picture(model: DCAR, label: str, background: str) -> Known:
    """A single learnt picture."""
    emoji = CaptionedEmoji("train", 128, concepts=[label], backgrounds=[background], **LOOK)
    return known_pictures(model, emoji)


@dataclass(frozen=True)
class _Baseline:
    known: Known
    features: EfficientNetFeatures
    pooled: Tensor
    numbers: dict[str, float]


@lru_cache(maxsize=1)
def _baseline(count: int, seed: int) -> _Baseline:
    """Everything that the arms of one seed share: pictures, and both ends of the scale."""
    known, features = learnt_pictures(count, seed), load_features("cpu")
    pooled = _pooled(features, known.images)
    numbers: dict[str, float] = {}
    for name, residuals in (("codes", None), ("true", known.residuals)):
        numbers |= {f"{k}_{name}": v for k, v in _look(known, residuals, features, pooled).items()}
    return _Baseline(known, features, pooled, numbers)


@torch.no_grad()
def _pooled(features: EfficientNetFeatures, images: Tensor) -> Tensor:
    return torch.cat([features(part).pooled for part in images.split(PART)])


def _look(
    known: Known, residuals: Tensor | None, features: EfficientNetFeatures, pooled: Tensor
) -> dict[str, float]:
    """PSNR (dB) and rKID (x1000) of decoded pictures against their originals."""
    drawn = known.decode(residuals)
    distance = kid(pooled, _pooled(features, drawn), paired=True)
    return {"psnr": psnr(drawn, known.images).mean().item(), "rkid_efficientnet": 1000 * distance}


def draw_residuals(known: Known, arm: Arm, seed: int) -> Tensor:
    """Residuals ``(b, h * w, c)`` in latent units, drawn by the shipped head without guidance."""
    return known.model.generator.sample_residuals(
        known.hidden,
        guidance=0,
        num_steps=arm.steps,
        clip=arm.clip,
        method=arm.method,
        generator=torch.Generator().manual_seed(seed),
    )


def residual_run(arm: str, seed: int, pictures: int) -> dict[str, float]:
    """Draw residuals for the true tokens of learnt pictures, and measure them.

    Args:
        arm: one of :data:`ARMS`.
        seed: of the pictures and of the noise.
        pictures: how many, at least 2.

    Returns:
        ``error`` and ``size``: root mean square of drawn minus true, and of drawn residuals, in
        units of the residual scale; ``seconds`` for drawing all of them; ``psnr`` and
        ``rkid_efficientnet`` of the decoded pictures, and the same with ``_codes`` (no residual)
        and ``_true`` (true residuals) on the same pictures; ``gain``: ``psnr - psnr_codes``.

    Raises:
        ValueError: no such arm.
    """
    if arm not in ARMS:
        raise ValueError(f"there is no arm '{arm}'. Choose among {', '.join(ARMS)}.")
    base = _baseline(pictures, seed)
    known = base.known
    began = time.perf_counter()
    drawn = draw_residuals(known, ARMS[arm], seed)
    seconds = time.perf_counter() - began
    found = _look(known, drawn, base.features, base.pooled)
    found |= {
        "error": ((drawn - known.residuals) / known.scale).square().mean().sqrt().item(),
        "size": (drawn / known.scale).square().mean().sqrt().item(),
        "seconds": seconds,
        "gain": found["psnr"] - base.numbers["psnr_codes"],
    }
    return {name: round(value, 4) for name, value in (found | base.numbers).items()}


def _residual_steps(arm: str, seed: int, budget: str) -> dict[str, float]:
    return residual_run(arm, seed, {"smoke": 8}.get(budget, 128))


EXPERIMENTS: dict[str, Experiment] = {
    "09_residual_steps": Experiment(
        "Steps and clip of the residual head, on the true tokens of learnt pictures",
        tuple(ARMS),
        _residual_steps,
    ),
}
