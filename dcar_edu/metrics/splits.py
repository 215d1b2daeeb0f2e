"""Which pictures a model is judged on: the splits of the data, and what a model has learnt."""

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from dcar_edu import checkpoint
from dcar_edu.data import CaptionedEmoji, CaptionedScenes
from dcar_edu.data.splits import SPLITS as EMOJI_SPLITS

SCENES = "held_out_scenes"
LEARNT = "learnt"
SPLITS = (*EMOJI_SPLITS, SCENES, LEARNT)
"""The splits of ``CaptionedEmoji``; ``held_out`` of ``CaptionedScenes``; what the model learnt."""
CHUNK = 32
"""Pictures drawn at once."""


@dataclass(frozen=True)
class Learnt:
    """The pictures that a generator was taught, as ``learnt.json`` beside its weights.

    The fields are the arguments of :class:`~dcar_edu.data.CaptionedEmoji`.
    """

    split: str
    resolution: int
    styles: tuple[str, ...]
    concepts: tuple[str, ...]
    """Labels."""
    backgrounds: tuple[str, ...]
    sizes: tuple[str, ...]

    @classmethod
    def read(cls, folder: str | os.PathLike) -> Self | None:
        """What a model's folder lists; None when it lists nothing.

        Raises:
            ValueError: the file is no JSON, or not with these keys.
        """
        path = Path(folder) / "learnt.json"
        if not path.is_file():
            return None
        try:
            values = json.loads(path.read_text("utf-8"))
        except ValueError as error:
            raise ValueError(
                f"'{path}' is no JSON: {error}. Write it again, or drop it."
            ) from error
        return checkpoint.from_dict(cls, values, where=path.name)

    def write(self, folder: str | os.PathLike) -> None:
        """Write ``learnt.json``."""
        text = json.dumps(checkpoint.to_dict(self), indent=1, ensure_ascii=False)
        checkpoint.write_atomically(Path(folder) / "learnt.json", text.encode())

    def data(self, resolution: int | None = None) -> CaptionedEmoji:
        """The data set of these pictures, at their own resolution or another.

        Raises:
            ValueError: names or sizes that the data does not have.
        """
        return CaptionedEmoji(
            self.split,
            resolution or self.resolution,
            styles=self.styles,
            concepts=self.concepts,
            backgrounds=self.backgrounds,
            sizes=self.sizes,
        )


@dataclass(frozen=True)
class Pictures:
    """Some examples of a data set, in a fixed order."""

    data: Any
    """Draws the examples: ``CaptionedEmoji`` or ``CaptionedScenes``."""
    examples: tuple[Any, ...]

    def __len__(self) -> int:
        return len(self.examples)

    def batches(self, device: torch.device | str = "cpu") -> Iterator[Tensor]:
        """All pictures ``(b, 3, H, W)``, :data:`CHUNK` at a time."""
        for start in range(0, len(self), CHUNK):
            yield self.data.render(self.examples[start : start + CHUNK], device)

    def some(self, places: Sequence[int], device: torch.device | str = "cpu") -> Tensor:
        """The pictures at these places."""
        return self.data.render([self.examples[place] for place in places], device)


def choose_pictures(
    split: str, resolution: int, count: int, seed: int, learnt: Learnt | None = None
) -> Pictures:
    """Draw pictures of a split, none twice; all of them when it has no more than ``count``.

    Args:
        split: one of :data:`SPLITS`.
        resolution: height and width in pixels.
        count: how many.
        seed: which ones.
        learnt: what the model learnt, for the split of that name.

    Raises:
        ValueError: unknown split, a resolution that the data cannot be drawn at, or ``learnt``
            of a model that lists nothing.
    """
    check_splits([split], learnt)
    generator = torch.Generator().manual_seed(seed)
    if split == SCENES:
        scenes = CaptionedScenes("held_out", resolution)
        return Pictures(scenes, tuple(scenes.sample(generator) for _ in range(count)))
    if split == LEARNT:
        assert learnt is not None, "check_splits raises"
        data = learnt.data(resolution)
    else:
        data = CaptionedEmoji(split, resolution)
    places = torch.randperm(len(data), generator=generator)[:count].sort().values
    part = data.only(places.tolist())
    return Pictures(part, tuple(part.examples()))


def check_splits(splits: Sequence[str], learnt: Learnt | None) -> None:
    """Refuse splits that there are not, or not for this model.

    Raises:
        ValueError: says which there are.
    """
    unknown = [split for split in splits if split not in SPLITS]
    if unknown:
        raise ValueError(
            f"splits must be chosen from {', '.join(SPLITS)}; got {', '.join(unknown)}."
        )
    if LEARNT in splits and learnt is None:
        raise ValueError(
            f"the split '{LEARNT}' needs a learnt.json in the model's folder, which lists what it "
            "was taught, and there is none. Leave the split out, or write that file "
            "(dcar_edu.metrics.splits.Learnt)."
        )
