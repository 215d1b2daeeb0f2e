"""Pictures with captions as they are found, before anybody has looked at them.

From a folder or from a Hub data set, one at a time. Nothing is refused here: an unreadable picture
and a missing caption are for :mod:`dcar_edu.data.checking` to name.
"""

import io
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image

from dcar_edu.data.folder import ENDINGS, find_pictures, upright_on_white
from dcar_edu.data.stored import caption_of, open_rows, picture_bytes, with_bytes

Captions = Literal["beside", "names"]
CAPTION_FILES = (".txt", ".jsonl")


@dataclass(frozen=True)
class RawPicture:
    """One stored picture and its caption."""

    name: str
    """The file, from its folder; or ``row 7`` of a data set."""
    caption: str
    """Empty where there is none."""
    stored: bytes | Path = field(default=b"", repr=False, compare=False)
    """The file's bytes; or where it lies, so that a folder of large photographs fits in memory."""

    @property
    def data(self) -> bytes:
        """The file's bytes; empty where there is no such file."""
        if isinstance(self.stored, bytes):
            return self.stored
        return self.stored.read_bytes() if self.stored.is_file() else b""

    @property
    def pixels(self) -> np.ndarray | None:
        """uint8 ``(h, w, 3)``, upright and on white, decoded anew each time; None: unreadable."""
        try:
            with Image.open(io.BytesIO(self.data)) as opened:
                return np.array(upright_on_white(opened))
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
            return None


def gather(
    source: str,
    *,
    captions: Captions = "beside",
    template: str = "{}",
    split: str = "train",
    image: str = "image",
    caption: str = "text",
    most: int | None = None,
) -> Iterator[RawPicture]:
    """Read pictures and captions, one at a time.

    Args:
        source: a folder, sub-folders included; or ``hub:NAME``, read as a stream, where NAME is a
            Hub id or a folder of Parquet files.
        captions: of a folder: ``"beside"``, from ``metadata.jsonl`` or ``NAME.txt`` beside
            ``NAME.png``; or ``"names"``, from the file's own name.
        template: the caption is put into its ``{}``: ``"a drawing of {}"``.
        split: of a data set.
        image: the column of the pictures of a data set.
        caption: the column of its texts.
        most: stop after so many.

    Raises:
        ValueError: the source or a column is not there, it holds no picture, a line of
            ``metadata.jsonl`` is broken, ``captions`` is neither of the two, or the template has
            no ``{}``.
    """
    if template.count("{}") != 1 or captions not in ("beside", "names"):
        raise ValueError(
            "captions are 'beside' or 'names', and a template holds {} once, got "
            f"'{captions}' and '{template}'. Write template='a drawing of {{}}'."
        )
    if source.startswith("hub:"):
        found = _rows(source.removeprefix("hub:"), split, image, caption)
    else:
        found = _files(Path(source), captions)
    empty = True
    for name, words, stored in islice(found, most):
        empty = False
        yield RawPicture(name, template.replace("{}", words) if words else "", stored)
    if empty:
        raise ValueError(
            f"'{source}' holds no picture. Of a folder, files that end in {', '.join(ENDINGS)} are "
            "read, in sub-folders too."
        )


Found = Iterator[tuple[str, str, bytes | Path]]
"""Name, caption, and the file's bytes or place."""


def _files(folder: Path, captions: Captions) -> Found:
    if not folder.is_dir():
        raise ValueError(f"there is no folder {folder}. Check the path.")
    if captions == "names":
        paths = (p for p in sorted(folder.rglob("*")) if p.suffix.lower() in ENDINGS)
        listed = [(p.relative_to(folder).as_posix(), caption_from(p.name)) for p in paths]
    else:
        listed = [(e.file, e.caption) for e in find_pictures(folder)]
    for name, caption in listed:
        yield name, caption, folder / name


def _rows(name: str, split: str, image: str, caption: str) -> Found:
    rows = with_bytes(open_rows(name, split, streaming=True), name, image, caption)
    for number, row in enumerate(rows):
        yield (
            f"row {number}",
            _or_empty(caption_of, row[caption], name, number) or "",
            _or_empty(picture_bytes, row[image], name, number) or b"",
        )


def _or_empty(read: Any, *arguments: Any) -> Any:
    """What is read, or None where there is nothing."""
    try:
        return read(*arguments)
    except ValueError:
        return None


def caption_from(name: str) -> str:
    """The words in a file's name: no ending, no number at the end, no dashes.

    Example:
        >>> [caption_from(name) for name in ("red_panda-02.jpg", "keyBlue.png", "IMG_42.jpg")]
        ['red panda', 'key blue', '']
    """
    apart = re.sub(
        r"(?<=[a-z])[A-Z](?=[a-z])", lambda found: f" {found[0].lower()}", Path(name).stem
    )
    words = re.sub(r"[\s_\-.]+", " ", apart).strip()
    words = re.sub(r"(?: ?\(?\d+\)?)+$", "", words)
    return "" if words.lower() in CAMERA else words


CAMERA = ("", "img", "dsc", "dscn", "dscf", "pxl", "image", "photo", "picture", "screenshot")
"""Names that a camera gives, which say nothing about the picture."""


def overlooked(folder: str | Path) -> dict[str, int]:
    """Files of a folder that are read neither as pictures nor as captions, counted by ending.

    Raw photographs, videos and ``.heic`` files of phones are among them: convert them first.
    """
    names = (p for p in Path(folder).rglob("*") if p.is_file() and not p.name.startswith("."))
    endings = Counter(path.suffix.lower() or "no ending" for path in names)
    return {e: n for e, n in sorted(endings.items()) if e not in (*ENDINGS, *CAPTION_FILES)}
