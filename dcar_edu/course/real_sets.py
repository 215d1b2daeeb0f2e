"""Sets of real pictures for lesson 13, their features, and the judge that looks at them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from dcar_edu.checkpoint import data_folder
from dcar_edu.data import CaptionedEmoji, ImageCaptionFolder
from dcar_edu.data.art import read_concepts
from dcar_edu.metrics.alignment import Alignment, load_alignment, picture_features
from dcar_edu.metrics.distribution import kid
from dcar_edu.metrics.frechet import frechet_of_features
from dcar_edu.metrics.references import ReferenceBatch, find_reference, read_batches


class Remembering(Alignment):
    """An alignment that reads the same labels only once."""

    @lru_cache(maxsize=4)  # noqa: B019 - there is one, and it stays
    def _read(self, texts: tuple[str, ...]) -> Tensor:
        return super().read(texts)

    def read(self, texts: Sequence[str]) -> Tensor:
        """Where labels lie: unit vectors ``(n, width)``."""
        return self._read(tuple(texts))


@lru_cache(maxsize=1)
def judge() -> Alignment:
    """The alignment head with its encoders, loaded once."""
    return Remembering(**vars(load_alignment()))


def every_label() -> list[str]:
    """Labels of all concepts, held out or not: they all compete."""
    return [concept.label for concept in read_concepts()]


def emoji_features(style: str, count: int, generator: torch.Generator) -> tuple[Tensor, list[str]]:
    """Features ``(count, 1280)`` of different concepts in one style on white, and their labels."""
    data = _plain_emoji(style, 2 * count)
    places = torch.randperm(len(data), generator=generator)[:count].tolist()
    examples = [data[place] for place in places]
    return features_of(data, examples), [example.label for example in examples]


def _plain_emoji(style: str, most: int) -> CaptionedEmoji:
    """Emoji of one style on white, of about ``most`` concepts: fewer are sooner drawn."""
    concepts = most if most < 1000 else None
    shared: dict[str, Any] = {"backgrounds": ["white"], "sizes": ["normal"]}
    return CaptionedEmoji("train", 128, styles=[style], concepts=concepts, **shared)


def features_of(data: CaptionedEmoji, examples: Sequence[Any]) -> Tensor:
    """What EfficientNet sees in examples of a data set ``(n, 1280)``."""
    parts = [
        picture_features(judge().eyes, data.render(examples[start : start + 32]))
        for start in range(0, len(examples), 32)
    ]
    return torch.cat(parts)


def against_number(x: Tensor, y: Tensor, counts: Iterable[int]) -> dict[str, list[float]]:
    """Both distances of the first n pictures of two sets, for several n; KID times 1000."""
    found: dict[str, list[float]] = {"FD": [], "KID x 1000": []}
    for n in counts:
        found["FD"].append(frechet_of_features(x[:n], y[:n]))
        found["KID x 1000"].append(1000 * kid(x[:n], y[:n]))
    return found


@dataclass(frozen=True)
class Rival:
    """A set of pictures that answers the captions of a reference."""

    says: str
    features: Tensor
    """``(n, 1280)``."""
    pictures: Tensor
    """The first few ``(k, 3, H, W)``."""


def rivals(count: int, seed: int, shown: int = 6) -> tuple[Rival, list[Rival], list[str]]:
    """A reference of 3D emoji, and two answers to its captions, all of them real pictures.

    Returns:
        The reference; the same concepts in Noto style, and other concepts in 3D style. And the
        label of each caption.
    """
    drawn = [_plain_emoji(style, 3 * count) for style in ("3d", "noto")]
    by_label = [{e.label: e for e in data.examples()} for data in drawn]
    labels = sorted(set(by_label[0]) & set(by_label[1]))
    mixed = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed)).tolist()
    wanted = [labels[place] for place in mixed[:count]]
    others = [labels[place] for place in mixed[count : 2 * count]]
    sets = (
        ("the reference: 3D emoji", drawn[0], [by_label[0][label] for label in wanted]),
        ("right things, Noto style", drawn[1], [by_label[1][label] for label in wanted]),
        ("wrong things, 3D style", drawn[0], [by_label[0][label] for label in others]),
    )
    found = [
        Rival(says, features_of(data, some), data.render(some[:shown])) for says, data, some in sets
    ]
    return found[0], found[1:], wanted


def photographs() -> tuple[Tensor, list[str]]:
    """Twelve photographs ``(12, 3, 256, 256)`` and their names; CC0, see ``data/photos``."""
    folder = ImageCaptionFolder(data_folder() / "photos", 256)
    names = [e.caption.removeprefix("a photo of ") for e in folder.examples()]
    return folder.images(torch.arange(len(folder))), names


def hub_batch(name: str, count: int) -> ReferenceBatch | None:
    """The first pictures of a known Hub set at 256 px; None when it cannot be reached."""
    try:
        return next(read_batches(find_reference(name), 256, count))
    except (ValueError, OSError):
        return None
