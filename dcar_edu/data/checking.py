"""Looking at pictures before training on them: verdicts, a report, and a clean folder.

Of own pictures, the mistakes are always the same few: files that do not open, pictures too small
for the model, the same picture twice, captions without a word. Each is named here, none is mended.
"""

import hashlib
import io
import json
import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image

from dcar_edu.checkpoint import write_atomically
from dcar_edu.data.gathering import RawPicture

Verdict = Literal["fine", "unreadable", "too small", "no caption", "duplicate"]
VERDICTS: tuple[Verdict, ...] = ("fine", "unreadable", "too small", "no caption", "duplicate")
"""In the order in which they are asked for, after ``fine``; the first that holds is given."""


@dataclass(frozen=True)
class Checked:
    """What was found out about one picture."""

    name: str
    caption: str
    height: int
    """In pixels; 0 where it cannot be read."""
    width: int
    verdict: Verdict
    twin: str = ""
    """Of a duplicate: the name of the picture that came first."""


@dataclass(frozen=True)
class DataReport:
    """What was found out about all of them."""

    min_side: int
    """Pixels that the short side must have."""
    pictures: tuple[Checked, ...]
    overlooked: Mapping[str, int] = field(default_factory=dict)
    """Files that are neither pictures nor captions, by ending."""

    @property
    def counts(self) -> dict[Verdict, int]:
        """How many pictures got each verdict."""
        found = Counter(picture.verdict for picture in self.pictures)
        return {verdict: found[verdict] for verdict in VERDICTS}

    @property
    def fine(self) -> tuple[Checked, ...]:
        """Those that can be trained on."""
        return tuple(p for p in self.pictures if p.verdict == "fine")

    def __str__(self) -> str:
        """One screen for people: counts, every problem by name, sizes and captions."""
        bad = [p for p in self.pictures if p.verdict != "fine"]
        lines = [", ".join(f"{count} {verdict}" for verdict, count in self.counts.items() if count)]
        lines += [f"  {p.verdict:11s} {p.name}{_why(p, self.min_side)}" for p in bad[:SHOWN]]
        if len(bad) > SHOWN:
            lines.append(f"  and {len(bad) - SHOWN} more")
        if self.overlooked:
            named = ", ".join(f"{count} {ending}" for ending, count in self.overlooked.items())
            lines.append(f"not looked at: {named}")
        return "\n".join(lines + _of_the_fine(self.fine))


SHOWN = 12
"""Problems that a report names one by one."""


def check_pictures(pictures: Iterable[Any], min_side: int) -> dict[str, Verdict]:
    """The verdict on every picture, by name; see :func:`report_on`."""
    return {found.name: found.verdict for found in report_on(pictures, min_side).pictures}


def report_on(
    pictures: Iterable[Any], min_side: int, overlooked: Mapping[str, int] | None = None
) -> DataReport:
    """Look at every picture once.

    A picture is a duplicate when its pixels equal those of an earlier one that is fine, whatever
    both files are called. Pictures that were resized or stored again with losses are not found.

    Args:
        pictures: each with ``name``, ``caption`` and ``pixels``, uint8 ``(h, w, 3)`` or None:
            :class:`~dcar_edu.data.gathering.RawPicture`. Only one is decoded at a time.
        min_side: pixels that the short side must have, at least 1: the model's resolution.
        overlooked: from :func:`~dcar_edu.data.gathering.overlooked`, to be told of.

    Raises:
        ValueError: no picture, one name twice, or ``min_side`` below 1.
    """
    if min_side < 1:
        raise ValueError(f"min_side must be at least 1 pixel, got {min_side}.")
    first: dict[str, str] = {}
    rows: dict[str, Checked] = {}
    for picture in pictures:
        if picture.name in rows:
            raise ValueError(f"two pictures are called '{picture.name}'. Give each its own name.")
        rows[picture.name] = _look(picture, min_side, first)
    if not rows:
        raise ValueError("there is no picture to look at. Check the source.")
    return DataReport(min_side, tuple(rows.values()), overlooked or {})


def keep_fine(
    pictures: Sequence[RawPicture], verdicts: Mapping[str, str], least: int = 4
) -> list[RawPicture]:
    """The pictures that can be trained on.

    Args:
        pictures: all of them.
        verdicts: from :func:`check_pictures`.
        least: how many there must be.

    Raises:
        ValueError: there are fewer; says what is most often wrong, and what to do.
    """
    fine = [picture for picture in pictures if verdicts[picture.name] == "fine"]
    if len(fine) < least:
        usual = Counter(v for v in verdicts.values() if v != "fine").most_common(1)
        most = f"; {usual[0][1]} are '{usual[0][0]}'" if usual else ""
        raise ValueError(
            f"{len(fine)} of {len(pictures)} pictures are fine, and at least {least} are needed"
            f"{most}. {ADVICE.get(usual[0][0] if usual else '', 'Bring more pictures.')}"
        )
    return fine


ADVICE = {
    "no caption": "Write NAME.txt beside NAME.png, or take captions from the names of the files.",
    "too small": "Begin from a model that draws smaller pictures, or bring larger ones.",
    "unreadable": "Save them again as PNG or JPEG, or fetch them again.",
    "duplicate": "Bring pictures that differ.",
}
"""What to do about a verdict."""


def _look(picture: Any, min_side: int, first: dict[str, str]) -> Checked:
    """The verdict on one picture; ``first`` maps content to the fine picture that had it first."""
    pixels = picture.pixels
    if pixels is None:
        return Checked(picture.name, picture.caption, 0, 0, "unreadable")
    height, width = pixels.shape[:2]
    verdict: Verdict = "fine"
    content = f"{height} {width} {hashlib.sha256(np.asarray(pixels).tobytes()).hexdigest()}"
    twin = first.get(content, "")
    if min(height, width) < min_side:
        verdict = "too small"
    elif not picture.caption.strip():
        verdict = "no caption"
    elif twin:
        verdict = "duplicate"
    else:
        first[content] = picture.name
    twin = twin if verdict == "duplicate" else ""
    return Checked(picture.name, picture.caption, height, width, verdict, twin)


def _why(found: Checked, min_side: int) -> str:
    if found.verdict == "too small":
        return f": {found.width}x{found.height} pixels, the short side needs {min_side}"
    return f": the same pixels as {found.twin}" if found.twin else ""


def _of_the_fine(fine: Sequence[Checked]) -> list[str]:
    """Sizes and captions of what is left."""
    if not fine:
        return ["nothing is left to train on"]
    sides = [min(p.height, p.width) for p in fine]
    cut = statistics.median(1 - min(p.height, p.width) / max(p.height, p.width) for p in fine)
    told = sorted((p.caption for p in fine), key=lambda caption: len(caption.split()))
    return [
        f"short side {min(sides)} to {max(sides)} pixels, half have {statistics.median(sides):g} "
        f"or less; the square crop cuts {cut:.0%} off a picture (median)",
        f"{len(set(told))} different captions of {len(told[0].split())} to {len(told[-1].split())} "
        f"words; the shortest: {told[0]}; the longest: {told[-1]}",
    ]


def write_folder(pictures: Iterable[RawPicture], folder: str | Path) -> Path:
    """Write pictures as a folder that ``ImageCaptionFolder`` and ``dcar train`` read.

    The stored bytes are copied as they are, numbered, beside a ``metadata.jsonl``. What lay there
    before is read no more.

    Args:
        pictures: those to train on, or to keep for the end.
        folder: made when missing.

    Raises:
        ValueError: a picture cannot be read.
    """
    folder, lines = Path(folder), []
    for number, picture in enumerate(pictures):
        try:
            with Image.open(io.BytesIO(picture.data)) as opened:
                ending = f".{str(opened.format).lower()}"
        except OSError as error:
            raise ValueError(
                f"{picture.name} cannot be read as a picture ({error}). Leave it out: its verdict "
                "is 'unreadable'."
            ) from error
        file = f"{number:05d}{ending}"
        write_atomically(folder / file, picture.data)
        row = {"file_name": file, "text": picture.caption, "from": picture.name}
        lines.append(json.dumps(row, ensure_ascii=False))
    write_atomically(folder / "metadata.jsonl", ("\n".join(lines) + "\n").encode())
    return folder


def groups_of(
    pictures: Sequence[RawPicture], by: Literal["caption", "folder"] | Callable[[RawPicture], str]
) -> list[str]:
    """Which pictures belong together, so that a split does not tear them apart.

    Args:
        pictures: any.
        by: ``"caption"``: those of one caption; ``"folder"``: those of one sub-folder; or your own
            rule, from a picture to the name of its group.

    Raises:
        ValueError: none of these, or all pictures are of one group.
    """
    if callable(by):
        groups = [by(picture) for picture in pictures]
    elif by == "caption":
        groups = [picture.caption.strip().lower() for picture in pictures]
    elif by == "folder":
        groups = [Path(picture.name).parent.as_posix() for picture in pictures]
    else:
        raise ValueError(f"group by 'caption', 'folder' or a rule of your own, got {by!r}.")
    if len(set(groups)) < 2:
        raise ValueError(
            f"all {len(groups)} pictures are of one group, {groups[:1]}, so none can be held out. "
            "Group by 'caption', by 'folder', or by a rule of your own."
        )
    return groups
