"""Pictures with captions of a Hub data set, whole or as a stream; local Parquet and Arrow too.

Pictures stay as the bytes they were stored in until one is drawn.
"""

import copy
import hashlib
import importlib.util
import io
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from dcar_edu.data.emoji import EmojiBatch
from dcar_edu.data.folder import square
from dcar_edu.images import to_model

WINDOW = 512
"""Pictures of a stream that are held, as stored bytes, to be given in a mixed order."""


@dataclass(frozen=True)
class HubExample:
    """One picture of a data set: its row (of a stream: how many came before) and caption."""

    row: int
    caption: str
    data: bytes = field(default=b"", repr=False, compare=False)
    """The stored picture; empty where the row is read again for it."""


@dataclass(eq=False)
class HubData:
    """What both ways to read a data set are told.

    Args:
        name: a Hub id such as ``"lambdalabs/naruto-blip-captions"``, or a folder of Parquet files,
            or one that ``save_to_disk`` wrote.
        resolution: height and width in pixels; the middle square is resized.
        split: which part of it.
        image: the column of the pictures.
        caption: the column of the texts.

    Raises:
        ValueError: ``datasets`` is not installed, the data set cannot be read, or a column is not
            there; says which there are.
    """

    name: str
    resolution: int
    _: KW_ONLY
    split: str = "train"
    image: str = "image"
    caption: str = "text"

    def _opened(self, *, streaming: bool) -> Any:
        """The rows of the data set, pictures as stored bytes."""
        opened = _open(self.name, self.split, streaming=streaming)
        return _encoded(opened, self.name, self.image, self.caption)


@dataclass(eq=False)
class HubPictures(HubData):
    """Pictures of a data set that is on this machine, or is downloaded whole."""

    def __post_init__(self) -> None:
        """Open the data set."""
        self._images = self._opened(streaming=False)
        self._captions = self._images.select_columns([self.caption])

    def __len__(self) -> int:
        return len(self._captions)

    def __getitem__(self, place: int) -> HubExample:
        return HubExample(place, _text(self._captions[place][self.caption], self.name, place))

    def examples(self) -> list[HubExample]:
        """List every example, in the order of the data set."""
        return [self[place] for place in range(len(self))]

    def draw(self, n: int, generator: torch.Generator) -> tuple[HubExample, ...]:
        """Choose ``n`` pictures at random, with repetition."""
        places = torch.randint(len(self), (n,), generator=generator)
        return tuple(self[place] for place in places.tolist())

    def render(self, examples: Sequence[HubExample], device: torch.device | str = "cpu") -> Tensor:
        """Read pictures, in the given order, as images ``(n, 3, h, w)`` in [-1, 1].

        Raises:
            ValueError: one cannot be read; names its row.
        """
        stored = [_bytes(self._images[e.row][self.image], self.name, e.row) for e in examples]
        return _decode(stored, [e.row for e in examples], self.name, self.resolution).to(device)

    def fingerprint(self) -> str:
        """Name what is in it by 16 hex digits: its length and up to 256 rows, evenly spread."""
        digest = hashlib.sha256(
            f"{len(self)} {self.image, self.caption} {self.resolution}".encode()
        )
        for place in range(0, len(self), max(1, len(self) // 256)):
            stored = _bytes(self._images[place][self.image], self.name, place)
            digest.update(self[place].caption.encode() + stored)
        return digest.hexdigest()[:16]

    def batch(
        self, n: int, *, device: torch.device | str = "cpu", generator: torch.Generator
    ) -> EmojiBatch:
        """Draw ``n`` pictures at random, with repetition; one seed gives one batch."""
        records = self.draw(n, generator)
        return EmojiBatch(self.render(records, device), [r.caption for r in records], records)


@dataclass(eq=False)
class HubStream(HubData):
    """Pictures of a data set read from one end to the other, again and again, mixed in windows.

    The order depends on ``seed`` alone, and :meth:`position` with :meth:`go_to` goes on at any
    picture. The other arguments are those of :class:`HubData`.

    Args:
        seed: of the order inside each window of 512 pictures.
    """

    seed: int = 0

    def __post_init__(self) -> None:
        """Open the data set and go to its beginning."""
        self._stream = self._opened(streaming=True)
        self._first = copy.deepcopy(self._stream.state_dict())
        self.go_to({"window": 0, "taken": 0, "passed": 0, "stream": self._first})

    def position(self) -> dict[str, Any]:
        """Where the next picture is, as plain JSON values."""
        return copy.deepcopy({**self._window_start, "taken": self._taken})

    def go_to(self, position: dict[str, Any]) -> None:
        """Go to where :meth:`position` was called."""
        self._window, self._passed = position["window"], position["passed"]
        self._rows = self._from(position["stream"])
        self._window_start, self._taken = position, 0
        self._waiting: list[HubExample] = []
        if position["taken"]:
            self._fill()
            self._taken = position["taken"]

    def _from(self, state: dict[str, Any]) -> Iterator[dict[str, Any]]:
        self._stream.load_state_dict(copy.deepcopy(state))
        self._at = state  # the stream itself says so only after its next row
        return iter(self._stream)

    def _fill(self) -> None:
        """Read the next window and mix it."""
        state, window = self._at, self._read()
        if not window:  # the end: from the beginning again
            self._rows = self._from(self._first)
            state, window = self._at, self._read()
        if not window:
            raise ValueError(f"the data set '{self.name}' is empty. Check its name and split.")
        self._window_start = {"window": self._window, "passed": self._passed, "stream": state}
        mixed = torch.Generator().manual_seed(self.seed * 1_000_003 + self._window)
        order = torch.randperm(len(window), generator=mixed).tolist()
        self._waiting, self._taken = [window[place] for place in order], 0
        self._window, self._passed = self._window + 1, self._passed + len(window)

    def _read(self) -> list[HubExample]:
        found: list[HubExample] = []
        for row in self._rows:
            number = self._passed + len(found)
            stored = _bytes(row[self.image], self.name, number)
            found.append(HubExample(number, _text(row[self.caption], self.name, number), stored))
            if len(found) == WINDOW:
                break
        self._at = copy.deepcopy(self._stream.state_dict())
        return found

    def draw(self, n: int, generator: torch.Generator | None = None) -> tuple[HubExample, ...]:
        """Take the next ``n`` pictures; the generator is not used."""
        taken: list[HubExample] = []
        while len(taken) < n:
            if self._taken == len(self._waiting):
                self._fill()
            some = self._waiting[self._taken : self._taken + n - len(taken)]
            taken += some
            self._taken += len(some)
        return tuple(taken)

    def render(self, examples: Sequence[HubExample], device: torch.device | str = "cpu") -> Tensor:
        """Decode pictures, in the given order, as images ``(n, 3, h, w)`` in [-1, 1].

        Raises:
            ValueError: one cannot be read; names its row.
        """
        rows = [e.row for e in examples]
        images = _decode([e.data for e in examples], rows, self.name, self.resolution)
        return images.to(device)

    def fingerprint(self) -> str:
        """Name it by 16 hex digits: by its columns and first picture, all that can be known."""
        here = self.position()
        first = next(self._from(self._first), None)
        self.go_to(here)
        held = f"{self.image, self.caption} {self.resolution}".encode()
        if first:
            held += _bytes(first[self.image], self.name, 0) + str(first[self.caption]).encode()
        return hashlib.sha256(held).hexdigest()[:16]


def _open(name: str, split: str, *, streaming: bool) -> Any:
    """A data set of the library ``datasets``, from the Hub or from a folder."""
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


def _encoded(opened: Any, name: str, image: str, caption: str) -> Any:
    """The data set with its picture column as stored bytes.

    Raises:
        ValueError: a column is not there.
    """
    import datasets

    columns = opened.column_names or []
    if image not in columns or caption not in columns:
        raise ValueError(
            f"the data set '{name}' has the columns {', '.join(columns)}; asked for '{image}' as "
            f"pictures and '{caption}' as captions. Name the right ones with image= and caption=."
        )
    opened = opened.select_columns([image, caption])
    return opened.cast_column(image, datasets.Image(decode=False))


def _bytes(stored: Any, name: str, row: int) -> bytes:
    """The bytes of a stored picture, from the row or from the file it names."""
    if stored and stored.get("bytes"):
        return stored["bytes"]
    if stored and stored.get("path") and Path(stored["path"]).is_file():
        return Path(stored["path"]).read_bytes()
    raise ValueError(f"row {row} of the data set '{name}' holds no picture. Filter it out.")


def _text(caption: Any, name: str, row: int) -> str:
    if not isinstance(caption, str) or not caption.strip():
        raise ValueError(
            f"row {row} of the data set '{name}' has no caption, got {caption!r:.40}. "
            "Filter it out, or name another column."
        )
    return caption.strip()


def _decode(stored: Sequence[bytes], rows: Sequence[int], name: str, resolution: int) -> Tensor:
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
