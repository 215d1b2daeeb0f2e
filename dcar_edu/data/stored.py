"""Rows of a Hub data set, before they are pictures and captions: opened, checked, decoded."""

import importlib.util
import io
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from dcar_edu.data.folder import square
from dcar_edu.images import to_model


def open_rows(name: str, split: str, *, streaming: bool) -> Any:
    """A data set of the library ``datasets``, from the Hub or from a folder.

    Raises:
        ValueError: the library is not installed, or the data set cannot be read.
    """
    if importlib.util.find_spec("datasets") is None:
        raise ValueError(
            "Hub data sets need the datasets library, which is not installed. "
            "Run: pip install 'dcar_edu[train]'"
        )
    import datasets

    folder = Path(name)
    try:
        if (folder / "state.json").is_file():
            opened = datasets.load_from_disk(name)
        elif (folder / "dataset_dict.json").is_file():
            opened = datasets.load_from_disk(name)[split]
        else:
            return datasets.load_dataset(name, split=split, streaming=streaming)
    except Exception as error:
        raise ValueError(
            f"cannot read the data set '{name}', split '{split}': {error}. Give a Hub id such as "
            "'somebody/some-pictures', or a folder of Parquet files."
        ) from error
    return opened.to_iterable_dataset() if streaming else opened


def with_bytes(opened: Any, name: str, image: str, caption: str | None) -> Any:
    """The data set with its picture column as stored bytes; no captions where there is no column.

    Raises:
        ValueError: a column is not there.
    """
    import datasets

    columns, wanted = opened.column_names or [], [image, *([caption] if caption else [])]
    if not set(wanted) <= set(columns):
        words = f"'{image}' as pictures" + (f" and '{caption}' as captions" if caption else "")
        raise ValueError(
            f"the data set '{name}' has the columns {', '.join(columns)}; asked for {words}. "
            "Name the right ones with image= and caption=."
        )
    opened = opened.select_columns(wanted)
    return opened.cast_column(image, datasets.Image(decode=False))


def picture_bytes(stored: Any, name: str, row: int) -> bytes:
    """The bytes of a stored picture, from the row or from the file it names.

    Raises:
        ValueError: there are none.
    """
    if stored and stored.get("bytes"):
        return stored["bytes"]
    if stored and stored.get("path") and Path(stored["path"]).is_file():
        return Path(stored["path"]).read_bytes()
    raise ValueError(f"row {row} of the data set '{name}' holds no picture. Filter it out.")


def caption_of(caption: Any, name: str, row: int) -> str:
    """The text of a row; the first where there is a list of texts.

    Raises:
        ValueError: there is none.
    """
    if isinstance(caption, list | tuple) and caption:
        caption = caption[0]
    if not isinstance(caption, str) or not caption.strip():
        raise ValueError(
            f"row {row} of the data set '{name}' has no caption, got {caption!r:.40}. "
            "Filter it out, or name another column."
        )
    return caption.strip()


def decode(stored: Sequence[bytes], rows: Sequence[int], name: str, resolution: int) -> Tensor:
    """Pictures ``(n, 3, resolution, resolution)`` in [-1, 1]: the middle square, resized.

    Raises:
        ValueError: one cannot be read; names its row.
    """

    def one(item: tuple[bytes, int]) -> np.ndarray:
        try:
            with Image.open(io.BytesIO(item[0])) as picture:
                return square(picture, resolution)
        except (OSError, SyntaxError, Image.DecompressionBombError) as error:
            raise ValueError(
                f"row {item[1]} of the data set '{name}' cannot be read as a picture ({error}). "
                "Filter it out."
            ) from None

    with ThreadPoolExecutor(max_workers=8) as pool:
        pixels = list(pool.map(one, zip(stored, rows, strict=True)))
    return to_model(torch.from_numpy(np.stack(pixels)))
