"""Emoji with captions: four styles, twelve backgrounds, two sizes, composed on the device.

A split is fixed by the sha256 of a concept's code points, never by style, seed or order.
"""

import copy
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from dcar_edu.data.art import checksum
from dcar_edu.data.captions import BACKGROUNDS, SIZES, emoji_caption
from dcar_edu.data.splits import (
    SPLITS,
    check_resolution,
    choose,
    choose_concepts,
    choose_styles,
    concept_role,
    split_of,
)
from dcar_edu.data.tiles import load_tiles


@dataclass(frozen=True)
class EmojiExample:
    """One emoji on a background: everything its picture and caption depend on."""

    style: str
    label: str
    hexcode: str
    background: str
    size: str = "normal"

    @property
    def caption(self) -> str:
        """The words for this picture."""
        return emoji_caption(self.label, self.style, self.background, self.size)


@dataclass(frozen=True)
class EmojiBatch:
    """Images ``(n, 3, h, w)`` in [-1, 1], their captions, and what is in each."""

    images: Tensor
    captions: list[str]
    records: tuple


class CaptionedEmoji:
    """Emoji of one split with captions such as "a 3D emoji of a wolf on a pale blue background".

    Args:
        split: ``train``, or what it never shows: ``held_out_concepts`` (in no style),
            ``held_out_styles`` (a concept in one style, seen in others) or ``held_out_colours``
            (a concept on one background, seen on others).
        resolution: height and width in pixels, a multiple of 4.
        styles: some of ``3d``, ``flat``, ``noto``, ``blob``. None: all that can be
            drawn at this resolution (``3d`` ends at 256 pixels).
        concepts: None for all, a number n for the first n in hash order (nested: the first 64 are
            among the first 512, for ``train``, ``held_out_styles`` and ``held_out_colours``
            alike), or labels.
        backgrounds: some of the twelve named colours; None: all.
        sizes: some of ``normal`` and ``small`` (half as high and wide); None: both.

    Raises:
        ValueError: a name is unknown, nothing is left, or 3D art is asked for above 256 pixels.
    """

    def __init__(
        self,
        split: str,
        resolution: int,
        *,
        styles: Sequence[str] | None = None,
        concepts: int | Sequence[str] | None = None,
        backgrounds: Sequence[str] | None = None,
        sizes: Sequence[str] | None = None,
    ):
        (self.split,) = choose("split", split, SPLITS)
        check_resolution(resolution, 4)
        self.resolution = resolution
        self.styles = choose_styles(styles, resolution)
        self.backgrounds = choose("backgrounds", backgrounds, BACKGROUNDS)
        self.sizes = choose("sizes", sizes, SIZES)
        self.concepts = choose_concepts(split, concepts)
        self._keys, self._rows = self._enumerate()
        if not len(self._rows):
            raise ValueError(
                f"split '{split}' holds nothing for these styles, concepts and backgrounds. "
                "Ask for more of them."
            )
        self._place = {key: place for place, key in enumerate(self._keys)}
        self._labels = {concept.hexcode: concept.label for concept in self.concepts}
        self._tiles: dict[torch.device, Tensor] = {}

    def _enumerate(self) -> tuple[list[tuple[str, str]], np.ndarray]:
        """List the tiles (style, hexcode) and the examples (tile, background, size)."""
        keys: list[tuple[str, str]] = []
        rows = []
        for concept in self.concepts:
            role = concept_role(concept)
            for style in self.styles:
                grounds = [
                    place
                    for place, name in enumerate(self.backgrounds)
                    if style in concept.styles and split_of(role, style, name) == self.split
                ]
                if grounds:
                    keys.append((style, concept.hexcode))
                rows += [(len(keys) - 1, g, s) for g in grounds for s in range(len(self.sizes))]
        return keys, np.array(rows, dtype=np.int64).reshape(-1, 3)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, place: int) -> EmojiExample:
        tile, ground, size = self._rows[place]
        style, hexcode = self._keys[tile]
        label = self._labels[hexcode]
        return EmojiExample(style, label, hexcode, self.backgrounds[ground], self.sizes[size])

    def examples(self) -> list[EmojiExample]:
        """List every example: concepts in hash order, then style, background, size."""
        return [self[place] for place in range(len(self))]

    def only(self, places: Sequence[int]) -> Self:
        """The examples at these places as a data set of their own, which loads only their tiles.

        Example:
            ``data.only([5, 2])[0] == data[5]``
        """
        rows = self._rows[np.asarray(places, dtype=np.int64)]
        tiles, renumbered = np.unique(rows[:, 0], return_inverse=True)
        part = copy.copy(self)
        part._keys = [self._keys[tile] for tile in tiles]
        part._rows = np.column_stack([renumbered, rows[:, 1:]])
        part._place = {key: place for place, key in enumerate(part._keys)}
        part._tiles = {}
        return part

    def example(
        self, label: str, style: str = "3d", background: str = "white", size: str | None = None
    ) -> EmojiExample:
        """Find one example of this split.

        Raises:
            ValueError: the split does not hold it; the message says what it lacks.
        """
        choose("style", style, self.styles)
        choose("background", background, BACKGROUNDS)
        (size,) = choose("size", size or "normal", SIZES)
        for concept in self.concepts:
            if concept.label == label and style in concept.styles:
                if split_of(concept_role(concept), style, background) == self.split:
                    return EmojiExample(style, label, concept.hexcode, background, size)
                break
        raise ValueError(
            f"split '{self.split}' holds no '{label}' in style '{style}' on {background}. "
            "It may be held out, not drawn in this style, or not among the chosen concepts."
        )

    def tiles(self, device: torch.device | str = "cpu") -> Tensor:
        """Give all tiles as one uint8 RGBA tensor ``(n, 4, h, w)`` on the device."""
        device = torch.device(device)
        if device not in self._tiles:
            if not self._tiles:
                self._tiles[torch.device("cpu")] = load_tiles(self._keys, self.resolution)
            self._tiles[device] = self._tiles[torch.device("cpu")].to(device)
        return self._tiles[device]

    def render(
        self, examples: Sequence[EmojiExample], device: torch.device | str = "cpu"
    ) -> Tensor:
        """Draw examples of this data set, in the given order.

        Returns:
            Images ``(n, 3, h, w)``, float32 in [-1, 1], on the device.

        Raises:
            ValueError: an example's tile is not in this data set.
        """
        try:
            places = [self._place[example.style, example.hexcode] for example in examples]
        except KeyError as key:
            raise ValueError(
                f"this data set holds no tile {key}. Render with the data set that gave it."
            ) from None
        tiles = self.tiles(device)
        index = torch.tensor(places, dtype=torch.int64, device=tiles.device)
        colours = torch.tensor([BACKGROUNDS[e.background] for e in examples], dtype=torch.float32)
        colours = colours.reshape(-1, 3).to(tiles.device)
        small = torch.tensor([e.size == "small" for e in examples], dtype=torch.bool)
        images = torch.empty(len(places), 3, *tiles.shape[2:], device=tiles.device)
        rows = 32 if tiles.device.type == "cpu" else max(len(places), 1)  # 32 fit in a CPU's cache
        for start in range(0, len(places), rows):
            part = slice(start, start + rows)
            compose(tiles[index[part]], colours[part], small[part], images[part])
        return images

    def draw(self, n: int, generator: torch.Generator) -> tuple[EmojiExample, ...]:
        """Choose ``n`` examples at random, each equally likely, without drawing pictures."""
        places = torch.randint(len(self), (n,), generator=generator)
        return tuple(self[place] for place in places.tolist())

    def fingerprint(self) -> str:
        """Name what this data set holds by 16 hex digits: its choices and the art itself."""
        held = [self.resolution, self._keys, self._rows.tobytes(), self.backgrounds, self.sizes]
        art = [checksum(style) for style in self.styles]
        return hashlib.sha256(repr([held, art]).encode()).hexdigest()[:16]

    def batch(
        self, n: int, *, device: torch.device | str = "cpu", generator: torch.Generator
    ) -> EmojiBatch:
        """Draw ``n`` examples at random, each equally likely.

        Args:
            n: how many.
            device: where the images are composed.
            generator: on the CPU; one seed gives one batch on every device.
        """
        records = self.draw(n, generator)
        images = self.render(records, device)
        return EmojiBatch(images, [record.caption for record in records], records)


def compose(tiles: Tensor, colours: Tensor, small: Tensor, images: Tensor) -> None:
    """Lay tiles onto plain colours: ``colour + alpha (tile - colour)``.

    Args:
        tiles: uint8 RGBA ``(n, 4, h, w)``, straight alpha.
        colours: ``(n, 3)`` in 0..255.
        small: ``(n,)`` bool, on the CPU; True shrinks the tile to half its height and width,
            centred. Shrinking after laying on a plain colour averages with premultiplied alpha.
        images: ``(n, 3, h, w)``, filled with float32 in [-1, 1].
    """
    layers = tiles.float()
    ground = (colours / 127.5 - 1)[:, :, None, None]
    alpha = layers[:, 3:].div_(255).expand(-1, 3, -1, -1)
    art = layers[:, :3].div_(127.5).sub_(1)
    torch.lerp(ground.expand_as(art), art, alpha, out=images)
    h, w = images.shape[-2:]
    middle = (slice(h // 4, h // 4 + h // 2), slice(w // 4, w // 4 + w // 2))
    for row in small.nonzero().flatten().tolist():
        shrunk = avg_pool2d(images[row], 2)
        images[row] = ground[row]
        images[row][:, *middle] = shrunk
