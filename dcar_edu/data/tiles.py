"""Tiles: emoji drawn once at one resolution and kept on disk, with a checksum.

The cache holds blocks of 32 tiles in hash order, so a lesson that wants a few hundred concepts
draws a few hundred. A block is written whole or not at all; two processes that start
together at worst draw the same block twice.
"""

import hashlib
import io
import os
import sys
import time
import zlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from dcar_edu.checkpoint import write_atomically
from dcar_edu.data.art import checksum, read_art, read_concepts

BLOCK = 32
DRAWING = 1  # raise it when `draw` changes: it is part of every cached file's name


def cache_folder() -> Path:
    """Where drawn tiles live: ``$DCAR_HOME/cache``, or the user's cache folder."""
    if home := os.environ.get("DCAR_HOME"):
        return Path(home) / "cache"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dcar_edu"


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


def _block_path(style: str, number: int, resolution: int) -> Path:
    name = f"{style}-{checksum(style)[:12]}-v{DRAWING}-{number:03d}.tiles"
    return cache_folder() / "emoji" / str(resolution) / name


def _read_block(path: Path, count: int, resolution: int) -> np.ndarray | None:
    """Read a block; None when it is absent or damaged (said aloud, it will be drawn again)."""
    try:
        stored = path.read_bytes()
    except FileNotFoundError:
        return None
    if hashlib.sha256(stored[32:]).digest() == stored[:32]:
        pixels = np.frombuffer(zlib.decompress(stored[32:]), np.uint8)
        return pixels.reshape(count, 4, resolution, resolution)
    print(f"cached tiles are damaged, drawing them again: {path.name}", file=sys.stderr)
    return None


def _draw_block(arts: dict[str, bytes | str], codes: list[str], path: Path, resolution: int):
    tiles = np.stack([draw(arts[code], resolution) for code in codes]).transpose(0, 3, 1, 2)
    packed = zlib.compress(np.ascontiguousarray(tiles).tobytes(), 1)
    write_atomically(path, hashlib.sha256(packed).digest() + packed)
    return tiles


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
    places: dict[str, dict[str, int]] = {}
    for place, (style, code) in enumerate(keys):
        places.setdefault(style, {})[code] = place
    missing = []
    for style, wanted in places.items():
        for number, codes in enumerate(_blocks(style)):
            if wanted.keys().isdisjoint(codes):
                continue
            path = _block_path(style, number, resolution)
            block = _read_block(path, len(codes), resolution)
            if block is None:
                missing.append((style, codes, path))
            else:
                _place(tiles, block, codes, wanted)
    for style, codes, block in _draw_missing(missing, resolution):
        _place(tiles, block, codes, places[style])
    return tiles


def _place(tiles: Tensor, block: np.ndarray, codes: list[str], wanted: dict[str, int]) -> None:
    for row, code in enumerate(codes):
        if code in wanted:
            tiles[wanted[code]] = torch.from_numpy(block[row].copy())


def _draw_missing(missing: list[tuple[str, list[str], Path]], resolution: int):
    """Draw blocks one after the other, with a progress line on a terminal."""
    total, done, start = sum(len(codes) for _, codes, _ in missing), 0, time.monotonic()
    arts: dict[str, dict[str, bytes | str]] = {}
    for style in {style for style, _, _ in missing}:
        arts[style] = read_art(style, {c for s, codes, _ in missing if s == style for c in codes})
    for style, codes, path in missing:
        block = _draw_block(arts[style], codes, path, resolution)
        done += len(codes)
        if sys.stderr.isatty():
            print(f"\rdrawing emoji at {resolution} px: {done}/{total}", end="", file=sys.stderr)
        yield style, codes, block
    if total:
        end = "\r" if sys.stderr.isatty() else ""
        seconds = time.monotonic() - start
        print(f"{end}drew {total} emoji at {resolution} px in {seconds:.1f} s; "
              f"the next start finds them in the cache", file=sys.stderr)  # fmt: skip
