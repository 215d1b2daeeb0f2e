"""Emoji with captions: four styles, twelve backgrounds, two sizes, composed on the device.

A split is fixed by the sha256 of a concept's code points, never by style, seed or order.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from dcar_edu.data.art import Concept, fraction, read_concepts
from dcar_edu.data.captions import BACKGROUNDS, SIZES, STYLES, emoji_caption
from dcar_edu.data.tiles import load_tiles

SPLITS = ("train", "held_out_concepts", "held_out_styles", "held_out_colours")
HELD_OUT = 0.075  # of the concepts, for each of the three kinds: about 100
ROLE = "role 70330"  # chosen so that what lessons draw is held out nowhere (data/README.md)
NATIVE_3D = 256  # pixels; Fluent 3D is not drawn, it comes as pictures of this size


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


def concept_role(concept: Concept) -> tuple[str, str | None]:
    """Say what is held out about a concept.

    Returns:
        ``("concept", None)``, ``("style", one style)``, ``("colour", one background)``
        or ``("nothing", None)``.
    """
    place, pick = fraction(ROLE, concept.hexcode), fraction(f"{ROLE} pick", concept.hexcode)
    if place < HELD_OUT:
        return "concept", None
    if place < 2 * HELD_OUT and len(concept.styles) > 1:
        return "style", concept.styles[int(pick * len(concept.styles))]
    if 2 * HELD_OUT <= place < 3 * HELD_OUT:
        return "colour", list(BACKGROUNDS)[int(pick * len(BACKGROUNDS))]
    return "nothing", None


def _in_split(split: str, role: tuple[str, str | None], style: str, background: str) -> bool:
    kind, value = role
    if kind == "concept":
        return split == "held_out_concepts"
    if kind == "style" and style == value:
        return split == "held_out_styles"
    if kind == "colour" and background == value:
        return split == "held_out_colours"
    return split == "train"


def _choose(what: str, wanted: Iterable[str] | None, known: Iterable[str]) -> tuple[str, ...]:
    known = tuple(known)
    if wanted is None:
        return known
    wanted = (wanted,) if isinstance(wanted, str) else tuple(wanted)
    unknown = [name for name in wanted if name not in known]
    if unknown or not wanted:
        raise ValueError(
            f"{what} must be chosen from {', '.join(known)}; got {', '.join(unknown) or 'none'}."
        )
    return wanted


def _choose_concepts(split: str, wanted: int | Sequence[str] | None) -> list[Concept]:
    held_out = split == "held_out_concepts"
    pool = [c for c in read_concepts() if (concept_role(c)[0] == "concept") == held_out]
    if wanted is None:
        return pool
    if isinstance(wanted, int):
        if not 1 <= wanted <= len(pool):
            raise ValueError(
                f"concepts must be between 1 and {len(pool)} for split '{split}', got {wanted}."
            )
        return pool[:wanted]
    by_label = {concept.label: concept for concept in pool}
    unknown = [label for label in wanted if label not in by_label]
    if unknown or not wanted:
        raise ValueError(
            f"no concept of split '{split}' is called {', '.join(map(repr, unknown)) or 'nothing'}."
            " Labels are CLDR names such as 'wolf'; data/emoji/concepts.jsonl lists them all."
        )
    return [by_label[label] for label in wanted]


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
        if split not in SPLITS:
            raise ValueError(f"split must be one of {', '.join(SPLITS)}; got '{split}'.")
        if resolution < 16 or resolution % 4:
            raise ValueError(
                f"resolution must be a multiple of 4 and at least 16, got {resolution}."
            )
        self.split, self.resolution = split, resolution
        self.styles = self._check_styles(styles)
        self.backgrounds = _choose("backgrounds", backgrounds, BACKGROUNDS)
        self.sizes = _choose("sizes", sizes, SIZES)
        self.concepts = _choose_concepts(split, concepts)
        self._keys, self._rows = self._enumerate()
        if not len(self._rows):
            raise ValueError(
                f"split '{split}' holds nothing for these styles, concepts and backgrounds. "
                "Ask for more of them."
            )
        self._place = {key: place for place, key in enumerate(self._keys)}
        self._labels = {concept.hexcode: concept.label for concept in self.concepts}
        self._tiles: dict[torch.device, Tensor] = {}

    def _check_styles(self, styles: Sequence[str] | None) -> tuple[str, ...]:
        chosen = _choose("styles", styles, STYLES)
        if self.resolution <= NATIVE_3D:
            return chosen
        if styles is not None and "3d" in chosen:
            raise ValueError(
                f"style '3d' comes as {NATIVE_3D} px pictures, got resolution {self.resolution}. "
                "Above that use styles=('flat', 'noto', 'blob')."
            )
        return tuple(style for style in chosen if style != "3d")

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
                    if style in concept.styles and _in_split(self.split, role, style, name)
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

    def example(
        self, label: str, style: str = "3d", background: str = "white", size: str | None = None
    ) -> EmojiExample:
        """Find one example of this split.

        Raises:
            ValueError: the split does not hold it; the message says what it lacks.
        """
        _choose("style", style, self.styles)
        _choose("background", background, self.backgrounds)
        size = _choose("size", size or "normal", SIZES)[0]
        for concept in self.concepts:
            if concept.label == label and style in concept.styles:
                if _in_split(self.split, concept_role(concept), style, background):
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
        small = torch.tensor([e.size == "small" for e in examples], device=tiles.device)
        return compose(tiles[index], colours.to(tiles.device), small)

    def batch(
        self, n: int, *, device: torch.device | str = "cpu", generator: torch.Generator
    ) -> EmojiBatch:
        """Draw ``n`` examples at random, each equally likely.

        Args:
            n: how many.
            device: where the images are composed.
            generator: on the CPU; one seed gives one batch on every device.
        """
        places = torch.randint(len(self), (n,), generator=generator)
        records = tuple(self[place] for place in places.tolist())
        images = self.render(records, device)
        return EmojiBatch(images, [record.caption for record in records], records)


def compose(tiles: Tensor, colours: Tensor, small: Tensor) -> Tensor:
    """Lay tiles onto plain colours: ``colour + alpha (tile - colour)``.

    Args:
        tiles: uint8 RGBA ``(n, 4, h, w)``, straight alpha.
        colours: ``(n, 3)`` in 0..255.
        small: ``(n,)`` bool; True shrinks the tile to half its height and width, centred.
            Shrinking after laying on a plain colour averages with premultiplied alpha.

    Returns:
        Images ``(n, 3, h, w)``, float32 in [-1, 1].
    """
    colours = (colours / 127.5 - 1)[:, :, None, None]
    images = tiles[:, :3] / 127.5
    images -= 1
    alpha = tiles[:, 3:] / 255
    images = torch.lerp(colours.expand_as(images), images, alpha.expand_as(images))
    if small.any():
        h, w = images.shape[-2:]
        shrunk = avg_pool2d(images[small], 2)
        canvas = colours[small].expand(-1, -1, h, w).clone()
        canvas[:, :, h // 4 : h // 4 + h // 2, w // 4 : w // 4 + w // 2] = shrunk
        images[small] = canvas
    return images
