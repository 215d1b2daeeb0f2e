"""Sets of real pictures to compare with: on the Hub, in a folder, or one that the field knows.

``dcar evaluate MODEL --reference mjhq-30k``. Pictures come as a stream and are dropped again.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from dcar_edu.data.folder import find_pictures, read_square
from dcar_edu.data.hub import read_once
from dcar_edu.data.stored import decode
from dcar_edu.drawing import CHUNK
from dcar_edu.images import to_model

Example = TypeVar("Example")


@dataclass(frozen=True)
class Reference:
    """Where the pictures are, and what their columns are called."""

    source: str
    """``hub:NAME``, or a folder of picture files or of Parquet files."""
    split: str = "train"
    image: str = "image"
    captions: tuple[str, ...] = ("text", "caption", "prompt")
    """Columns tried in this order; empty: there are no captions, and pictures are only redrawn."""


REFERENCES = {
    # 30,000 pictures of ten kinds that people chose in Midjourney, with their prompts. The set's
    # page does not name its columns: the usual ones are tried.
    "mjhq-30k": Reference(
        "hub:playgroundai/MJHQ-30K", "test", captions=("prompt", "text", "caption")
    ),
    # 5,000 photographs, a list of about five captions each, of which the first is drawn.
    "coco": Reference("hub:lmms-lab/COCO-Caption2017", "val", captions=("answer",)),
    # 30,000 faces with captions by a network. The pictures: for research that is not commercial.
    "celeba-hq": Reference("hub:Ryan-sjtu/celebahq-caption", "train", captions=("text",)),
    # 15,157 of LSUN's bedrooms, without captions: they are redrawn, and nothing is drawn.
    "lsun": Reference("hub:pcuenq/lsun-bedrooms", "test", captions=()),
}
"""Sets that papers compare with, by the name that ``--reference`` takes."""


@dataclass(frozen=True)
class ReferenceBatch:
    """Some pictures of a reference and their captions."""

    images: Tensor
    """``(b, 3, H, W)`` in [-1, 1]."""
    captions: list[str]
    """Empty texts where the reference has no captions."""


def find_reference(
    name: str, *, split: str | None = None, image: str | None = None, caption: str | None = None
) -> Reference:
    """The reference of this name, with what is given in place of what is usual.

    Args:
        name: one of :data:`REFERENCES`, ``hub:NAME``, or a folder.
        split: which part of a data set.
        image: the column of the pictures.
        caption: the column of the captions; "" if it has none.

    Raises:
        ValueError: none of these.
    """
    found = REFERENCES.get(name)
    if found is None:
        if not name.startswith("hub:") and not Path(name).is_dir():
            raise ValueError(
                f"a reference is one of {', '.join(REFERENCES)}, or hub:NAME for a data set of the "
                f"Hub, or a folder of pictures or Parquet files; got '{name}'."
            )
        found = Reference(name)
    if caption is not None:
        found = replace(found, captions=(caption,) if caption else ())
    return replace(found, split=split or found.split, image=image or found.image)


def read_batches(
    reference: Reference, resolution: int, count: int, seed: int = 0
) -> Iterator[ReferenceBatch]:
    """Up to ``count`` pictures at most :data:`~dcar_edu.drawing.CHUNK` at a time, none twice.

    Of a data set these are the first of all its files, which take turns; of a folder of picture
    files, some drawn at random.

    Args:
        reference: where they are.
        resolution: height and width in pixels; the middle square is resized.
        count: how many.
        seed: which files of a folder.

    Raises:
        ValueError: it cannot be read, holds no picture, or lacks a caption; says which.
    """
    batches = _batches(reference, resolution, count, seed)
    empty = True
    for batch in batches:
        empty = False
        yield batch
        del batch  # before the next one is read
    if empty:
        raise ValueError(f"the reference '{reference.source}' holds no picture. Check its name.")


def _batches(
    reference: Reference, resolution: int, count: int, seed: int
) -> Iterator[ReferenceBatch]:
    folder = Path(reference.source)
    on_hub = reference.source.startswith("hub:")
    if not on_hub and not _saved(folder) and not any(folder.rglob("*.parquet")):
        yield from _files(folder, bool(reference.captions), resolution, count, seed)
        return
    name = reference.source.removeprefix("hub:")
    rows = read_once(
        name, split=reference.split, image=reference.image, captions=reference.captions
    )
    for part in _parts(islice(rows, count)):
        images = decode([e.data for e in part], [e.row for e in part], name, resolution)
        yield ReferenceBatch(images, [e.caption for e in part])
        del images


def _parts(examples: Iterable[Example]) -> Iterator[tuple[Example, ...]]:
    waiting = iter(examples)
    while part := tuple(islice(waiting, CHUNK)):
        yield part


def _saved(folder: Path) -> bool:
    return any((folder / name).is_file() for name in ("state.json", "dataset_dict.json"))


def _files(
    folder: Path, captioned: bool, resolution: int, count: int, seed: int
) -> Iterator[ReferenceBatch]:
    """Of picture files; without captions if none has one."""
    examples = list(find_pictures(folder))
    captioned = captioned and any(e.caption for e in examples)
    generator = torch.Generator().manual_seed(seed)
    places = torch.randperm(len(examples), generator=generator)[:count].sort().values.tolist()
    for part in _parts(examples[place] for place in places):
        silent = [e.file for e in part if not e.caption]
        if captioned and silent:
            raise ValueError(
                f"{folder / silent[0]} has no caption, and others have. Add it, or say that none "
                "is to be read: --caption-column ''."
            )
        pixels = [torch.from_numpy(read_square(folder / e.file, resolution)) for e in part]
        yield ReferenceBatch(
            to_model(torch.stack(pixels)), [e.caption if captioned else "" for e in part]
        )
