"""Against a reference set: its captions drawn and its pictures redrawn, one batch at a time."""

import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from dcar_edu.features import EfficientNetFeatures
from dcar_edu.metrics.distances import paired_distances
from dcar_edu.metrics.judge import PATHS, judge_pictures, redrawn_numbers
from dcar_edu.metrics.networks import Network
from dcar_edu.metrics.prompts import Sampling, draw_lot
from dcar_edu.metrics.references import ReferenceBatch
from dcar_edu.metrics.sheets import sheet
from dcar_edu.metrics.subject import Subject
from dcar_edu.pipeline import DCAR

SHOWN = 12
"""Pictures of a reference on each sheet: its first ones, as the rest is dropped."""


@dataclass
class Passing:
    """Draws, redraws and forgets the batches of a reference as they pass."""

    subject: Subject
    sampling: Sampling | None
    network: Network
    seed: int
    done: int = 0
    seen: dict[str, list[Tensor]] = field(default_factory=dict)
    """Features by path, and of the ``real`` pictures."""
    redrawn: list[tuple[list[Tensor], str]] = field(default_factory=list)
    """Cells of a sheet."""
    drawn: list[tuple[list[Tensor], str]] = field(default_factory=list)

    def watch(
        self, batches: Iterable[ReferenceBatch], count: Callable[[int], None]
    ) -> Iterator[Tensor]:
        """Hand the pictures on, for what else is measured of them."""
        for batch in batches:
            images = batch.images.to(self.subject.tokenizer.device)
            if self.done < SHOWN:
                self._keep(images[: SHOWN - self.done], batch.captions)
            if self.sampling and self.subject.whole and any(batch.captions):
                self._draw(self.subject.whole, images, batch.captions, self.sampling)
            yield images
            self.done += len(images)
            count(len(images))
            del batch, images  # before the next one is read

    def _keep(self, images: Tensor, captions: list[str]) -> None:
        tokenizer = self.subject.tokenizer
        seen = tokenizer.encode(images)
        paths = tokenizer.decode(seen.indices), tokenizer.decode(seen.indices, seen.residuals)
        self.redrawn += cells((images, *paths), captions)

    def _draw(self, model: DCAR, images: Tensor, captions: list[str], how: Sampling) -> None:
        first = self.seed + self.done
        seeds, size = list(range(first, first + len(images))), (images.shape[2], images.shape[3])
        indices, residuals = draw_lot(model, captions, seeds, size, how)
        pictures = {
            "hybrid": model.tokenizer.decode(indices, residuals),
            "discrete": model.tokenizer.decode(indices),
            "real": images,
        }
        for name, shown in pictures.items():
            self.seen.setdefault(name, []).append(self.network.see(shown).cpu())
        left = max(0, SHOWN - self.done)
        self.drawn += cells((pictures["hybrid"][:left], images[:left]), captions)


def cells(columns: Sequence[Tensor], captions: Sequence[str]) -> list[tuple[list[Tensor], str]]:
    """Cells of a sheet: picture i of each column, and caption i beneath."""
    words = [textwrap.shorten(caption, 90, placeholder=" ...") for caption in captions]
    rows = zip(*(column.cpu().clone() for column in columns), strict=True)  # no view of a batch
    return [(list(row), text) for row, text in zip(rows, words, strict=False)]


@torch.no_grad()
def compare(
    subject: Subject,
    batches: Iterable[ReferenceBatch],
    *,
    sampling: Sampling | None,
    features: EfficientNetFeatures,
    network: Network,
    seed: int = 0,
    count: Callable[[int], None] = lambda number: None,
) -> tuple[dict[str, Any], dict[str, Image.Image]]:
    """Measure how a model redraws the pictures of a reference, and how it draws their captions.

    What stays of a batch is a few numbers and feature vectors a picture; of the first
    :data:`SHOWN` pictures also what they look like.

    Args:
        subject: a model; the tokenizer alone is enough to redraw.
        batches: of the reference.
        sampling: how to draw the captions; None: draw none.
        features: for the perceptual distance.
        network: whose features the distances between sets look at.
        seed: of the drawings (picture i has ``seed + i``) and of the bootstrap.
        count: told of each lot of pictures that is done.

    Returns:
        ``redrawn``, as of a split; ``drawn``, by path: ``kid_NETWORK`` (x1000) and ``fid_NETWORK``
        between drawings and the pictures of the same captions, with intervals. And sheets
        ``reference_redrawn`` and ``reference_drawn``.

    Raises:
        ValueError: fewer than two pictures.
    """
    passing = Passing(subject, sampling, network, seed)
    found = judge_pictures(
        subject.tokenizer, passing.watch(batches, count), features=features, network=network
    )
    codes = subject.tokenizer.config.num_codes
    numbers: dict[str, Any] = {"redrawn": redrawn_numbers(found, codes, network.name, seed)}
    sheets = {"reference_redrawn": sheet(passing.redrawn, columns=2)}
    if passing.seen:
        seen = {name: torch.cat(parts) for name, parts in passing.seen.items()}
        numbers["drawn"] = {
            path: paired_distances(seen["real"], seen[path], network.name, seed) for path in PATHS
        }
        sheets["reference_drawn"] = sheet(passing.drawn, columns=4)
    return numbers, sheets
