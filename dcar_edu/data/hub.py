"""Pictures with captions of a Hub data set, whole or as a stream; local Parquet and Arrow too.

Pictures stay as the bytes they were stored in until one is drawn.
"""

import copy
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import Any

import torch
from torch import Tensor

from dcar_edu.data.emoji import EmojiBatch
from dcar_edu.data.stored import caption_of, decode, open_rows, picture_bytes, with_bytes

WINDOW = 512
"""Pictures of a stream that are held, as stored bytes, to be given in a mixed order."""
TURNS = 32
"""Files of a data set that :func:`read_once` has open at once."""


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
        opened = open_rows(self.name, self.split, streaming=streaming)
        return with_bytes(opened, self.name, self.image, self.caption)


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
        return HubExample(place, caption_of(self._captions[place][self.caption], self.name, place))

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
        stored = [
            picture_bytes(self._images[e.row][self.image], self.name, e.row) for e in examples
        ]
        return decode(stored, [e.row for e in examples], self.name, self.resolution).to(device)

    def fingerprint(self) -> str:
        """Name what is in it by 16 hex digits: its length and up to 256 rows, evenly spread."""
        digest = hashlib.sha256(
            f"{len(self)} {self.image, self.caption} {self.resolution}".encode()
        )
        for place in range(0, len(self), max(1, len(self) // 256)):
            stored = picture_bytes(self._images[place][self.image], self.name, place)
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
            stored = picture_bytes(row[self.image], self.name, number)
            found.append(
                HubExample(number, caption_of(row[self.caption], self.name, number), stored)
            )
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
        images = decode([e.data for e in examples], rows, self.name, self.resolution)
        return images.to(device)

    def fingerprint(self) -> str:
        """Name it by 16 hex digits: by its columns and first picture, all that can be known."""
        here = self.position()
        first = next(self._from(self._first), None)
        self.go_to(here)
        held = f"{self.image, self.caption} {self.resolution}".encode()
        if first:
            held += (
                picture_bytes(first[self.image], self.name, 0) + str(first[self.caption]).encode()
            )
        return hashlib.sha256(held).hexdigest()[:16]


def read_once(
    name: str, *, split: str = "train", image: str = "image", captions: Sequence[str] = ("text",)
) -> Iterator[HubExample]:
    """Every picture of a data set once, as a stream: its files take turns.

    Sets are often sorted by kind, and the first pictures of all files together show more kinds than
    the first of one file.

    Args:
        name: as in :class:`HubPictures`.
        split: which part of it.
        image: the column of the pictures.
        captions: names that the column of the texts may have; the first that is there is read.
            Empty: there are no texts, and every caption is "".

    Raises:
        ValueError: as in :class:`HubPictures`.
    """
    opened = open_rows(name, split, streaming=True)
    columns = opened.column_names or []
    usual = captions[0] if captions else None
    caption = next((column for column in captions if column in columns), usual)
    rows = with_bytes(opened, name, image, caption)
    files = min(rows.num_shards, TURNS)
    for number, row in enumerate(_in_turn([iter(rows.shard(files, i)) for i in range(files)])):
        text = caption_of(row[caption], name, number) if caption else ""
        yield HubExample(number, text, picture_bytes(row[image], name, number))


def _in_turn(waiting: list[Iterator[Any]]) -> Iterator[Any]:
    """One of each, then the next of each, until all have ended."""
    while waiting:
        left = []
        for rows in waiting:
            for row in rows:
                yield row
                left.append(rows)
                break
        waiting = left
