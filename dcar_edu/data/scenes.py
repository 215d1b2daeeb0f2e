"""Scenes of one to four emoji with captions about number, place, size and colour.

Each example carries its ground truth: what is where, in which colour, in which relation.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from dcar_edu.data.art import Concept, checksum, read_concepts
from dcar_edu.data.captions import BACKGROUNDS, scene_caption
from dcar_edu.data.composition import (
    COLOURS,
    KINDS,
    NOUNS,
    SHAPE_STYLES,
    SHAPES,
    UNITS,
    Plan,
    draw_integer,
    lay_out,
    make_plan,
    pick,
)
from dcar_edu.data.emoji import EmojiBatch
from dcar_edu.data.splits import check_resolution, choose, choose_styles, concept_role, split_of
from dcar_edu.data.tiles import load_tiles

SPLITS = ("train", "held_out")
VISIBLE = 8  # of 255: fainter alpha does not count as part of a thing


@dataclass(frozen=True)
class SceneObject:
    """One thing in a scene; ``box`` is left, top, right, bottom in [0, 1], tight around it."""

    noun: str
    label: str
    hexcode: str
    colour: str | None
    place: tuple[int, int, int]  # left, top, side of its tile, in 1/32 of the picture
    box: tuple[float, float, float, float]


@dataclass(frozen=True)
class SceneExample:
    """A scene's caption and ground truth; ``relation`` holds between the first two objects."""

    kind: str
    caption: str
    style: str
    background: str
    objects: tuple[SceneObject, ...]
    relation: str | None = None


class CaptionedScenes:
    """Scenes such as "3D emoji of a cat to the left of a tree on a white background".

    Args:
        split: ``train`` or ``held_out``: a tenth of all compositions (a pair of nouns, a noun and
            a number, a pair of coloured shapes ...), fixed by hash, never seen in ``train``.
        resolution: height and width in pixels, a multiple of 32.
        kinds: some of ``single``, ``two``, ``count``, ``position``, ``size``, ``colour``,
            ``binding``; None: all.
        styles: some of ``3d``, ``flat``, ``noto``, ``blob``; one scene has one style.
            The coloured shapes of ``colour`` and ``binding`` exist in the first three.
        backgrounds: some of the twelve named colours; None: all.

    Neither split shows an emoji that ``CaptionedEmoji`` holds out.

    Raises:
        ValueError: a name is unknown, or no scene fits the choice.
    """

    def __init__(
        self,
        split: str,
        resolution: int,
        *,
        kinds: Sequence[str] | None = None,
        styles: Sequence[str] | None = None,
        backgrounds: Sequence[str] | None = None,
    ):
        (self.split,) = choose("split", split, SPLITS)
        check_resolution(resolution, UNITS)
        self.resolution = resolution
        self.kinds = choose("kinds", kinds, KINDS)
        self.backgrounds = choose("backgrounds", backgrounds, BACKGROUNDS)
        self.styles = choose_styles(styles, resolution)
        self._kinds = self._pairs()
        if not self._kinds:
            raise ValueError(
                f"kinds {', '.join(self.kinds)} exist in styles {', '.join(SHAPE_STYLES)} only; "
                f"got {', '.join(self.styles)}. Add one of them."
            )
        by_label = {concept.label: concept for concept in read_concepts()}
        words = {f"{c} {s}": f"{c} {s}" for c in COLOURS for s in SHAPES} | NOUNS
        self._concepts: dict[str, Concept] = {n: by_label[label] for n, label in words.items()}
        self._tiles: dict[torch.device, Tensor] = {}
        keys = [
            (style, concept.hexcode)
            for style in self.styles
            for concept in self._concepts.values()
            if style in concept.styles
        ]
        self._place = {key: place for place, key in enumerate(keys)}
        self._boxes: Tensor | None = None

    def _pairs(self) -> list[tuple[str, str]]:
        """List the kinds with the styles that can show them."""
        shaped = ("colour", "binding")
        return [
            (kind, style)
            for kind in self.kinds
            for style in self.styles
            if kind not in shaped or style in SHAPE_STYLES
        ]

    def tiles(self, device: torch.device | str = "cpu") -> Tensor:
        """Give all tiles as one uint8 RGBA tensor ``(n, 4, h, w)`` on the device."""
        device = torch.device(device)
        if not self._tiles:
            self._tiles[torch.device("cpu")] = load_tiles(list(self._place), self.resolution)
        if device not in self._tiles:
            self._tiles[device] = self._tiles[torch.device("cpu")].to(device)
        return self._tiles[device]

    def sample(self, generator: torch.Generator) -> SceneExample:
        """Draw one scene: kind, style and background first, then what it shows."""
        while True:
            kind, style = self._kinds[draw_integer(generator, 0, len(self._kinds) - 1)]
            background = pick(generator, self.backgrounds)[0]
            plan = make_plan(kind, background, generator)
            ours = plan.is_held_out == (self.split == "held_out")
            if ours and self.can_show(plan, style, background):
                return self.compose(plan, style, background, generator)

    def can_show(self, plan: Plan, style: str, background: str) -> bool:
        """Say whether a style has all that a plan names, and emoji hold nothing of it out."""
        shown = [self._concepts[noun] for noun in plan.nouns]
        return all(
            style in c.styles and split_of(concept_role(c), style, background) == "train"
            for c in shown
        )

    def compose(
        self, plan: Plan, style: str, background: str, generator: torch.Generator
    ) -> SceneExample:
        """Lay out a plan of either split in a look that :meth:`can_show` it."""
        objects = tuple(
            self._object(noun, style, place)
            for noun, place in zip(plan.nouns, lay_out(plan, generator), strict=True)
        )
        caption = scene_caption(plan.content, style, background, several=len(objects) > 1)
        return SceneExample(plan.kind, caption, style, background, objects, plan.relation)

    def _object(self, noun: str, style: str, place: tuple[int, int, int]) -> SceneObject:
        concept, (left, top, side) = self._concepts[noun], place
        x0, y0, x1, y1 = self._tight_boxes()[self._place[style, concept.hexcode]].tolist()
        box = (left + side * x0, top + side * y0, left + side * x1, top + side * y1)
        colour = noun.split()[0] if noun.split()[0] in COLOURS else None
        inside = tuple(value / UNITS for value in box)
        return SceneObject(noun, concept.label, concept.hexcode, colour, place, inside)

    def _tight_boxes(self) -> Tensor:
        """Find the box around each tile's visible pixels ``(n, 4)``, in [0, 1] of the tile."""
        if self._boxes is None:
            visible = self.tiles()[:, 3] >= VISIBLE
            edges = []
            for axis in (1, 2):  # over rows gives columns, over columns gives rows
                line = visible.any(dim=axis).float()
                edges += [line.argmax(1), self.resolution - line.flip(1).argmax(1)]
            self._boxes = torch.stack([edges[0], edges[2], edges[1], edges[3]], 1) / self.resolution
        return self._boxes

    def render(
        self, examples: Sequence[SceneExample], device: torch.device | str = "cpu"
    ) -> Tensor:
        """Draw scenes of this data set, in the given order.

        Returns:
            Images ``(n, 3, h, w)``, float32 in [-1, 1], on the device.
        """
        tiles, unit = self.tiles(device), self.resolution // UNITS
        colours = torch.tensor([BACKGROUNDS[e.background] for e in examples]) / 127.5 - 1
        images = colours.to(tiles.device)[:, :, None, None].repeat(
            1, 1, self.resolution, self.resolution
        )
        by_side: dict[int, list[tuple[int, str, SceneObject]]] = {}
        for number, example in enumerate(examples):
            for thing in example.objects:
                by_side.setdefault(thing.place[2], []).append((number, example.style, thing))
        for side, things in by_side.items():
            index = torch.tensor([self._place[style, t.hexcode] for _, style, t in things])
            colour, alpha = _shrink(tiles[index.to(tiles.device)], side * unit)
            for (number, _, thing), c, a in zip(things, colour, alpha, strict=True):
                x, y = thing.place[0] * unit, thing.place[1] * unit
                spot = images[number, :, y : y + side * unit, x : x + side * unit]
                spot.mul_(1 - a).add_(c)
        return images

    def draw(self, n: int, generator: torch.Generator) -> tuple[SceneExample, ...]:
        """Choose ``n`` scenes at random, without drawing pictures."""
        return tuple(self.sample(generator) for _ in range(n))

    def fingerprint(self) -> str:
        """Name what this data set draws from by 16 hex digits: its choices and the art itself."""
        held = [self.split, self.resolution, self._kinds, self.backgrounds, list(self._place)]
        art = [checksum(style) for style in self.styles]
        return hashlib.sha256(repr([held, art]).encode()).hexdigest()[:16]

    def batch(
        self, n: int, *, device: torch.device | str = "cpu", generator: torch.Generator
    ) -> EmojiBatch:
        """Draw ``n`` scenes at random.

        Args:
            n: how many.
            device: where the images are composed.
            generator: on the CPU; one seed gives one batch on every device.
        """
        records = self.draw(n, generator)
        images = self.render(records, device)
        return EmojiBatch(images, [record.caption for record in records], records)


def _shrink(tiles: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """Resize RGBA tiles; gives colour times alpha in [-1, 1] and alpha in [0, 1]."""
    layers = tiles / 255
    layers[:, :3].mul_(2).sub_(1).mul_(layers[:, 3:])
    layers = interpolate(layers, (side, side), mode="bilinear", antialias=True)
    return layers[:, :3], layers[:, 3:]
