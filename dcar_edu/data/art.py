"""The emoji art as shipped in ``data/emoji``: what there is, and each picture's source."""

import bz2
import hashlib
import json
import zipfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from dcar_edu.checkpoint import data_folder

FILES = {
    "3d": "3d.zip",
    "flat": "flat.jsonl.bz2",
    "noto": "noto.jsonl.bz2",
    "blob": "blob.jsonl.bz2",
}
# Chosen among random salts so that the lessons' wolf comes early (data/README.md says how).
ORDER = "order 5942"


@dataclass(frozen=True)
class Concept:
    """One thing that emoji show, with its CLDR label and the styles that draw it."""

    hexcode: str
    label: str
    group: str
    tags: tuple[str, ...]
    styles: tuple[str, ...]


def fraction(salt: str, hexcode: str) -> float:
    """Give a concept a fixed place in [0, 1) by sha256: the base of every split and order."""
    return int(hashlib.sha256(f"{salt}:{hexcode}".encode()).hexdigest()[:12], 16) / 16**12


def art_file(name: str) -> Path:
    """Find a file of ``data/emoji``.

    Raises:
        ValueError: it is not there.
    """
    path = data_folder() / "emoji" / name
    if not path.is_file():
        raise ValueError(
            f"the emoji art is incomplete: {path} is missing. "
            "Run `python data/build_emoji.py`, or point DCAR_DATA at a complete data/ folder."
        )
    return path


@lru_cache(maxsize=4)
def _read_concepts(path: Path) -> tuple[Concept, ...]:
    rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    found = [
        Concept(r["hexcode"], r["label"], r["group"], tuple(r["tags"]), tuple(r["styles"]))
        for r in rows
    ]
    return tuple(sorted(found, key=lambda concept: fraction(ORDER, concept.hexcode)))


def read_concepts() -> tuple[Concept, ...]:
    """Read every concept, in hash order: the first n are a fair sample for any n."""
    return _read_concepts(art_file("concepts.jsonl"))


@lru_cache(maxsize=8)
def _checksum(path: Path, _size: int, _changed: int) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def checksum(style: str) -> str:
    """Sum the file that holds a style's art."""
    path = art_file(FILES[style])
    return _checksum(path, path.stat().st_size, path.stat().st_mtime_ns)


def read_art(style: str, hexcodes: set[str]) -> dict[str, bytes | str]:
    """Read pictures of one style as shipped: WebP bytes for ``3d``, SVG text for the others."""
    path = art_file(FILES[style])
    if style == "3d":
        with zipfile.ZipFile(path) as archive:
            return {code: archive.read(f"{code}.webp") for code in sorted(hexcodes)}
    with bz2.open(path, "rt", encoding="utf-8") as lines:
        rows = map(json.loads, lines)
        return {row["hexcode"]: row["svg"] for row in rows if row["hexcode"] in hexcodes}
