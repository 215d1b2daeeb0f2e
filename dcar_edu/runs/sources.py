"""Pictures for a run: several sources in one batch, drawn by number, rendered where needed.

A data set here has ``draw(n, generator)`` (records, no pixels yet) and ``render(records, device)``.
So every process draws the whole batch from the run's own source of chance and renders its rows
alone.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dcar_edu.data import (
    CaptionedEmoji,
    CaptionedScenes,
    HubPictures,
    HubStream,
    ImageCaptionFolder,
)
from dcar_edu.data.art import read_concepts
from dcar_edu.data.splits import choose
from dcar_edu.runs.plans import Pictures


@dataclass(frozen=True)
class Drawn:
    """One row of a batch: which source, which of its records, and whether it is mirrored."""

    part: int
    record: Any
    mirrored: bool = False

    @property
    def caption(self) -> str:
        """The words for this picture."""
        return self.record.caption


class Mixture:
    """The sources of a run as one.

    Args:
        parts: the sources and their shares.
        resolution: height and width in pixels.
        seed: of the order of streams.

    Raises:
        ValueError: a source is not there, or a choice is unknown.
    """

    def __init__(self, parts: Sequence[Pictures], resolution: int, seed: int = 0):
        self.parts = tuple(parts)
        self.data = [open_source(part, resolution, seed) for part in self.parts]

    def draw(self, n: int, generator: torch.Generator) -> list[Drawn]:
        """Choose the rows of a batch; the numbers of each source are fixed, their order is not."""
        whole, passed, rows = sum(part.share for part in self.parts), 0, []
        for number, part in enumerate(self.parts):
            begin = round(n * passed / whole)
            passed += part.share
            count = round(n * passed / whole) - begin
            records = self.data[number].draw(count, generator)
            flips = [False] * count
            if part.mirror:
                flips = (torch.rand(count, generator=generator) < 0.5).tolist()
            rows += [Drawn(number, r, flip) for r, flip in zip(records, flips, strict=True)]
        if len(self.parts) == 1:
            return rows
        return [rows[place] for place in torch.randperm(n, generator=generator).tolist()]

    def render(self, rows: Sequence[Drawn], device: torch.device | str = "cpu") -> Tensor:
        """The pictures of some rows, in their order: ``(n, 3, h, w)`` in [-1, 1]."""
        places = [
            [i for i, row in enumerate(rows) if row.part == p] for p in range(len(self.parts))
        ]
        drawn = [
            self.data[part].render([rows[i].record for i in mine], device)
            for part, mine in enumerate(places)
            if mine
        ]
        order = torch.tensor([i for mine in places for i in mine])
        images = torch.cat(drawn)[order.argsort().to(drawn[0].device)]
        mirrored = torch.tensor([row.mirrored for row in rows], device=images.device)
        return torch.where(mirrored[:, None, None, None], images.flip(-1), images)

    def finite(self, part: int) -> bool:
        """Whether a source has a list of all its pictures."""
        return hasattr(self.data[part], "examples")

    def listed(self, part: int) -> list[Drawn]:
        """Every row that a finite source can give."""
        flips = (False, True) if self.parts[part].mirror else (False,)
        return [Drawn(part, r, flip) for r in self.data[part].examples() for flip in flips]

    def fingerprint(self) -> str:
        """Name the data by 16 hex digits; other pictures or captions give another name."""
        names = [data.fingerprint() for data in self.data]
        return hashlib.sha256(" ".join(names).encode()).hexdigest()[:16]

    def position(self) -> dict[str, Any]:
        """Where the streams are, as plain JSON values; empty where there is none."""
        return {str(i): d.position() for i, d in enumerate(self.data) if hasattr(d, "position")}

    def go_to(self, position: dict[str, Any]) -> None:
        """Put the streams where :meth:`position` found them."""
        for number, where in position.items():
            self.data[int(number)].go_to(where)


def open_source(part: Pictures, resolution: int, seed: int = 0) -> Any:
    """The data set that a plan names.

    Raises:
        ValueError: it is not there, or a choice is unknown.
    """
    shared = {"styles": part.styles, "backgrounds": part.backgrounds}
    if part.source == "emoji":
        concepts = _concepts(part, resolution)
        return CaptionedEmoji(part.split, resolution, concepts=concepts, sizes=part.sizes, **shared)
    if part.source == "scenes":
        return CaptionedScenes(part.split, resolution, kinds=part.kinds, **shared)
    if not part.on_hub:
        return ImageCaptionFolder(part.source, resolution)
    name, columns = part.source.removeprefix("hub:"), {"image": part.image, "caption": part.caption}
    if part.streaming:
        return HubStream(name, resolution, split=part.split, **columns, seed=seed)
    return HubPictures(name, resolution, split=part.split, **columns)


def _concepts(part: Pictures, resolution: int) -> list[str] | int | None:
    """The labels that groups and ``first`` leave, among those that the styles draw."""
    if part.groups is None:
        if part.concepts is None:
            return part.first
        return list(part.concepts)[: part.first]
    known = dict.fromkeys(concept.group for concept in read_concepts())
    groups = choose("groups", part.groups, known)
    wide = CaptionedEmoji(
        part.split, resolution, styles=part.styles, concepts=part.concepts, backgrounds=None
    )
    shown = {example.label for example in wide.examples()}
    labels = [c.label for c in wide.concepts if c.group in groups and c.label in shown]
    if not labels:
        raise ValueError(f"no concept of the groups {', '.join(groups)} is drawn. Ask for more.")
    return labels[: part.first]
