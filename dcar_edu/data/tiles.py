"""Tiles: emoji drawn once at one resolution and kept on disk, with a checksum.

A cached file holds up to 32 tiles that are neighbours in hash order; its name says which. Only
tiles that are asked for are drawn. A file is written whole or not at all; two processes that
start together at worst draw the same tiles twice.
"""

import hashlib
import io
import sys
import time
import zlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from dcar_edu.checkpoint import cache_folder, write_atomically
from dcar_edu.data.art import checksum, read_art, read_concepts

BLOCK = 32
DRAWING = 1  # raise it when `draw` changes: it is part of every cached file's name


def draw(art: bytes | str, resolution: int) -> np.ndarray:
    """Draw one emoji.

    Args:
        art: SVG text or the bytes of a picture file.
        resolution: height and width in pixels.

    Returns:
        uint8 RGBA ``(resolution, resolution, 4)``, straight alpha; colour is 0 where alpha is 0.
        Pictures that are not square are centred.
    """
    if isinstance(art, str):
        art = _rasterise(art, resolution)
    picture = Image.open(io.BytesIO(art)).convert("RGBA")
    if picture.size != (resolution, resolution):
        side = max(picture.size)
        square = Image.new("RGBA", (side, side))
        square.paste(picture, ((side - picture.width) // 2, (side - picture.height) // 2))
        picture = square.resize((resolution, resolution), Image.Resampling.BOX)
    pixels = np.array(picture)
    pixels[pixels[..., 3] == 0] = 0
    return pixels


def _rasterise(svg: str, resolution: int) -> bytes:
    try:
        import resvg_py
    except ImportError as error:
        raise RuntimeError(
            "drawing emoji needs resvg-py. Run: pip install 'dcar_edu[course]'"
        ) from error
    picture = resvg_py.svg_to_bytes(
        svg_string=svg, width=resolution, height=resolution, skip_system_fonts=True
    )
    return bytes(picture)


def _blocks(style: str) -> list[list[str]]:
    codes = [concept.hexcode for concept in read_concepts() if style in concept.styles]
    return [codes[start : start + BLOCK] for start in range(0, len(codes), BLOCK)]


def _rows(mask: int) -> list[int]:
    return [row for row in range(BLOCK) if mask >> row & 1]


def _prefix(style: str) -> str:
    return f"{style}-{checksum(style)[:12]}-v{DRAWING}"


def _cached(style: str, folder: Path) -> dict[int, list[tuple[int, Path]]]:
    """Find a style's cached files: by block number, each with the mask of rows that it holds."""
    found: dict[int, list[tuple[int, Path]]] = {}
    for path in sorted(folder.glob(f"{_prefix(style)}-*.tiles")):
        number, mask = path.stem.split("-")[-2:]
        if number.isdigit():  # files of an older layout stay unread
            found.setdefault(int(number), []).append((int(mask, 16), path))
    return found


def _read(path: Path, count: int, resolution: int) -> np.ndarray | None:
    """Read cached tiles; None when they are damaged (said aloud, they will be drawn again)."""
    try:
        stored = path.read_bytes()
    except FileNotFoundError:  # another process found it damaged first
        return None
    if hashlib.sha256(stored[32:]).digest() == stored[:32]:
        pixels = np.frombuffer(zlib.decompress(stored[32:]), np.uint8)
        return pixels.reshape(count, 4, resolution, resolution)
    print(f"cached tiles are damaged, drawing them again: {path.name}", file=sys.stderr)
    path.unlink(missing_ok=True)
    return None


def load_tiles(keys: Iterable[tuple[str, str]], resolution: int) -> Tensor:
    """Load tiles, drawing those that the cache lacks.

    Args:
        keys: pairs of style and hexcode.
        resolution: height and width in pixels.

    Returns:
        uint8 RGBA ``(n, 4, resolution, resolution)``, one tile per key, in their order.
    """
    keys = list(keys)
    tiles = torch.empty(len(keys), 4, resolution, resolution, dtype=torch.uint8)
    folder = cache_folder() / "emoji" / str(resolution)
    missing = []
    for style in dict.fromkeys(style for style, _ in keys):
        places = {code: place for place, (s, code) in enumerate(keys) if s == style}
        cached = _cached(style, folder)
        for number, codes in enumerate(_blocks(style)):
            wanted = {row: places[code] for row, code in enumerate(codes) if code in places}
            for mask, path in cached.get(number, []):
                _take(tiles, wanted, path, _rows(mask), resolution)
            if wanted:
                path = folder / f"{_prefix(style)}-{number:03d}"
                missing.append((style, {row: codes[row] for row in wanted}, wanted, path))
    _draw_missing(tiles, missing, resolution)
    return tiles


def _take(
    tiles: Tensor, wanted: dict[int, int], path: Path, rows: list[int], resolution: int
) -> None:
    """Copy the wanted rows of a cached file and strike them off."""
    if wanted.keys().isdisjoint(rows):
        return
    block = _read(path, len(rows), resolution)
    if block is not None:
        for tile, row in zip(block, rows, strict=True):
            if row in wanted:
                tiles[wanted.pop(row)] = torch.from_numpy(tile.copy())


def _draw_missing(tiles: Tensor, missing: list, resolution: int) -> None:
    """Draw and store what no file held, with a progress line on a terminal."""
    total, done, start = sum(len(codes) for _, codes, _, _ in missing), 0, time.monotonic()
    live = sys.stderr.isatty()
    arts: dict[str, dict[str, bytes | str]] = {}
    for style in {style for style, *_ in missing}:
        wanted = {code for s, codes, *_ in missing if s == style for code in codes.values()}
        arts[style] = read_art(style, wanted)
    for style, codes, places, path in missing:
        rows = sorted(codes)
        drawn = np.stack([draw(arts[style][codes[row]], resolution) for row in rows])
        drawn = np.ascontiguousarray(drawn.transpose(0, 3, 1, 2))
        packed = zlib.compress(drawn.tobytes(), 1)
        mask = sum(1 << row for row in rows)
        write_atomically(
            path.with_name(f"{path.name}-{mask:08x}.tiles"),
            hashlib.sha256(packed).digest() + packed,
        )
        tiles[[places[row] for row in rows]] = torch.from_numpy(drawn)
        done += len(rows)
        if live:
            print(f"\rdrawing emoji at {resolution} px: {done}/{total}", end="", file=sys.stderr)
    if total:
        words = f"drew {total} emoji at {resolution} px in {time.monotonic() - start:.1f} s"
        print(f"{chr(13) * live}{words}; the next start finds them in the cache", file=sys.stderr)
