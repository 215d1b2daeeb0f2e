"""A folder of pictures with captions: your own data."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from dcar_edu.data.emoji import EmojiBatch
from dcar_edu.images import to_model

ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif")


def upright_on_white(picture: Image.Image) -> Image.Image:
    """The picture as RGB: turned as its camera says (EXIF), transparency laid on white."""
    picture = ImageOps.exif_transpose(picture).convert("RGBA")
    white = Image.new("RGBA", picture.size, (255, 255, 255, 255))
    return Image.alpha_composite(white, picture).convert("RGB")


def square(picture: Image.Image, resolution: int) -> np.ndarray:
    """The middle square of a picture on white, as uint8 ``(resolution, resolution, 3)``."""
    picture = upright_on_white(picture)
    side = min(picture.size)
    left, top = (picture.width - side) // 2, (picture.height - side) // 2
    middle = picture.crop((left, top, left + side, top + side))
    return np.array(middle.resize((resolution, resolution), Image.Resampling.LANCZOS))


@dataclass(frozen=True)
class FolderExample:
    """One picture file and its caption."""

    file: str
    caption: str


def find_pictures(folder: Path) -> Iterator[FolderExample]:
    """List the pictures of a folder with the captions found, or with empty ones.

    Raises:
        ValueError: a line of ``metadata.jsonl`` is broken.
    """
    metadata = folder / "metadata.jsonl"
    if metadata.is_file():
        for number, line in enumerate(metadata.read_text("utf-8").splitlines(), 1):
            if line.strip():
                yield _parse(line, f"line {number} of {metadata}")
        return
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in ENDINGS:
            text = path.with_suffix(".txt")
            caption = text.read_text("utf-8").strip() if text.is_file() else ""
            yield FolderExample(path.relative_to(folder).as_posix(), caption)


def _parse(line: str, where: str) -> FolderExample:
    try:
        row = json.loads(line)
        return FolderExample(str(row["file_name"]), str(row.get("text") or "").strip())
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ValueError(
            f'{where} is broken. Each line must read {{"file_name": "a.png", "text": "a cat"}}.'
        ) from None


def read_square(path: Path, resolution: int) -> np.ndarray:
    """The middle square of a picture file, as :func:`square` gives it.

    Raises:
        ValueError: it cannot be read.
    """
    try:
        with Image.open(path) as opened:
            return square(opened, resolution)
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(
            f"{path} cannot be read as a picture ({error}). "
            "Repair or remove it, or pass skip_bad=True."
        ) from None


class ImageCaptionFolder:
    """Pictures of a folder, cropped to the middle square and resized.

    Captions come from ``metadata.jsonl``, as Hub data sets have it (a line reads
    ``{"file_name": "a.png", "text": "a cat"}``), or, where there is no such file, from
    ``NAME.txt`` beside ``NAME.png``. Pictures with transparency are laid on white.

    Args:
        folder: where the pictures are; sub-folders count.
        resolution: height and width in pixels, at least 16.
        skip_bad: leave out pictures that cannot be read or lack a caption, and count
            them in ``skipped``, instead of stopping at the first.

    Raises:
        ValueError: no folder, no picture, an unreadable picture, a missing or empty caption, or
            a broken line of ``metadata.jsonl``; the message names the file.
    """

    def __init__(self, folder: str | Path, resolution: int, *, skip_bad: bool = False):
        self.folder, self.resolution, self.skipped = Path(folder), resolution, 0
        if resolution < 16:
            raise ValueError(f"resolution must be at least 16, got {resolution}.")
        if not self.folder.is_dir():
            raise ValueError(f"there is no folder {self.folder}. Check the path.")
        pixels, self._examples = [], []
        for example in find_pictures(self.folder):
            try:
                if not example.caption:
                    raise ValueError(
                        f"{example.file} has no caption. Add a line to metadata.jsonl or a file "
                        f"{Path(example.file).with_suffix('.txt')}, or pass skip_bad=True."
                    )
                pixels.append(read_square(self.folder / example.file, resolution))
            except ValueError:
                if not skip_bad:
                    raise
                self.skipped += 1
                continue
            self._examples.append(example)
        if not pixels:
            bad = f" ({self.skipped} were skipped)" if self.skipped else ""
            raise ValueError(
                f"{self.folder} holds no usable picture{bad}. "
                f"Supported are {', '.join(ENDINGS)} files with captions."
            )
        self._pixels = torch.from_numpy(np.stack(pixels))
        self._place = {example: place for place, example in enumerate(self._examples)}

    def __len__(self) -> int:
        return len(self._examples)

    def __getitem__(self, place: int) -> FolderExample:
        return self._examples[place]

    def examples(self) -> list[FolderExample]:
        """List every example, by file name or in the order of ``metadata.jsonl``."""
        return list(self._examples)

    def images(self, places: Tensor, device: torch.device | str = "cpu") -> Tensor:
        """Give pictures by number ``(n,)`` as images ``(n, 3, h, w)`` in [-1, 1]."""
        return to_model(self._pixels[places].to(device))

    def draw(self, n: int, generator: torch.Generator) -> tuple[FolderExample, ...]:
        """Choose ``n`` pictures at random, with repetition."""
        places = torch.randint(len(self), (n,), generator=generator)
        return tuple(self._examples[place] for place in places.tolist())

    def render(
        self, examples: Sequence[FolderExample], device: torch.device | str = "cpu"
    ) -> Tensor:
        """Give pictures of this folder, in the given order, as images in [-1, 1]."""
        return self.images(torch.tensor([self._place[e] for e in examples]), device)

    def fingerprint(self) -> str:
        """Name the pictures and captions by 16 hex digits."""
        digest = hashlib.sha256(repr(self._examples).encode())
        digest.update(self._pixels.numpy().tobytes())
        return digest.hexdigest()[:16]

    def batch(
        self, n: int, *, device: torch.device | str = "cpu", generator: torch.Generator
    ) -> EmojiBatch:
        """Draw ``n`` pictures at random, with repetition; one seed gives one batch."""
        records = self.draw(n, generator)
        return EmojiBatch(self.render(records, device), [r.caption for r in records], records)
