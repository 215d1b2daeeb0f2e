"""Tiles: drawing, and a cache that is whole, shared and mended."""

import io
import os
import subprocess
import sys
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from dcar_edu.data import tiles
from dcar_edu.data.art import read_art, read_concepts

SQUARE = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 8 8">{}</svg>'


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("DCAR_HOME", str(tmp_path))
    return tmp_path / "cache"


@pytest.fixture
def keys():
    """Three flat tiles from one block, not in the block's order."""
    codes = [c.hexcode for c in read_concepts() if "flat" in c.styles][:5]
    return [("flat", codes[place]) for place in (4, 0, 2)]


def files(cache):
    return sorted(p for p in cache.rglob("*") if p.is_file())


def webp(pixels):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="WEBP", lossless=True, exact=True)
    return buffer.getvalue()


def test_draw_fills_the_square_from_svg():
    pixels = tiles.draw(SQUARE.format('<path fill="#f00" d="M0 0h4v8H0z"/>'), 16)
    assert (pixels[:, :8] == [255, 0, 0, 255]).all()
    assert (pixels[:, 8:] == 0).all()


def test_draw_centres_what_is_not_square():
    pixels = tiles.draw(webp(np.full((32, 16, 4), 255, np.uint8)), 16)
    assert (pixels[:, :4] == 0).all()
    assert (pixels[:, 4:12] == 255).all()
    assert (pixels[:, 12:] == 0).all()


def test_draw_shrinks_with_premultiplied_alpha():
    """Hidden colour under alpha 0 must not bleed into the edge: no halo."""
    source = np.zeros((32, 32, 4), np.uint8)
    source[..., :3] = [0, 255, 0]  # green, invisible
    source[:, ::2] = [255, 0, 0, 255]
    pixels = tiles.draw(webp(source), 16)
    assert (pixels[..., :3] == [255, 0, 0]).all()
    assert set(np.unique(pixels[..., 3])) <= {127, 128}


def test_draw_clears_colour_where_nothing_is_visible():
    source = np.full((16, 16, 4), [9, 8, 7, 0], np.uint8)
    assert not tiles.draw(webp(source), 16).any()


def test_tiles_come_in_the_asked_order(cache, keys):
    found = tiles.load_tiles(keys, 16)
    assert found.shape == (3, 4, 16, 16)
    art = read_art("flat", {code for _, code in keys})
    for tile, (_, code) in zip(found, keys, strict=True):
        expected = torch.from_numpy(tiles.draw(art[code], 16)).permute(2, 0, 1)
        assert torch.equal(tile, expected)


def test_a_second_load_draws_nothing(cache, keys, monkeypatch, capfd):
    first = tiles.load_tiles(keys, 16)
    assert "drew 3 emoji at 16 px" in capfd.readouterr().err
    monkeypatch.setattr(tiles, "draw", None)
    assert torch.equal(tiles.load_tiles(keys, 16), first)
    assert len(files(cache)) == 1
    assert capfd.readouterr().err == ""


def test_only_what_is_new_is_drawn(cache, capfd):
    codes = [("flat", c.hexcode) for c in read_concepts() if "flat" in c.styles]
    first, second = codes[30:34], codes[28:36:2]
    apart = [tiles.load_tiles([key], 32)[0] for key in second]
    tiles.load_tiles(first, 16)
    assert len(files(cache)) == 4 + 2  # tiles 30 and 31 lie in one block, 32 and 33 in the next
    capfd.readouterr()
    tiles.load_tiles(second, 16)
    assert "drew 2 emoji at 16 px" in capfd.readouterr().err
    assert [path.name[-18:] for path in files(cache) if path.parent.name == "16"] == [
        "000-10000000.tiles",
        "000-c0000000.tiles",
        "001-00000003.tiles",
        "001-00000004.tiles",
    ]
    again = tiles.load_tiles(second, 32)
    assert all(torch.equal(*pair) for pair in zip(again, apart, strict=True))
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    "damage",
    [
        lambda stored: b"",
        lambda stored: stored[:-9],
        lambda stored: stored[:40] + b"?" + stored[41:],
        lambda stored: b"0" * 32 + stored[32:],
    ],
)
def test_a_damaged_block_is_drawn_again_and_said(cache, keys, capfd, damage):
    first = tiles.load_tiles(keys, 16)
    (path,) = files(cache)
    good = path.read_bytes()
    path.write_bytes(damage(good))
    capfd.readouterr()
    assert torch.equal(tiles.load_tiles(keys, 16), first)
    assert "cached tiles are damaged, drawing them again" in capfd.readouterr().err
    assert path.read_bytes() == good


def test_other_art_means_another_cache(cache, keys, monkeypatch):
    tiles.load_tiles(keys, 16)
    tiles.load_tiles(keys, 32)
    monkeypatch.setattr(tiles, "checksum", lambda style: "0" * 64)
    tiles.load_tiles(keys, 16)
    assert len(files(cache)) == 3


def test_other_files_in_the_cache_are_left_alone(cache, keys):
    """A name of an older version, a temporary file of another process."""
    first = tiles.load_tiles(keys, 16)
    (path,) = files(cache)
    strangers = [path.with_name(f"{path.name[:-19]}{end}") for end in ("-003.tiles", "-x-y.tiles")]
    for stranger in [*strangers, path.with_name(f".{path.name}.abc")]:
        stranger.write_bytes(b"")
    assert torch.equal(tiles.load_tiles(keys, 16), first)
    assert len(files(cache)) == 4


def test_nothing_half_written_is_left_when_drawing_stops(cache, keys, monkeypatch):
    monkeypatch.setattr(os, "replace", lambda *names: (_ for _ in ()).throw(OSError("full")))
    with pytest.raises(OSError, match="full"):
        tiles.load_tiles(keys, 16)
    assert files(cache) == []


def test_two_processes_can_start_at_once(cache):
    code = """
import hashlib
from dcar_edu.data import CaptionedEmoji
tiles = CaptionedEmoji("train", 16, styles=["flat"], concepts=["wolf", "owl", "cat"]).tiles()
print(hashlib.sha256(tiles.numpy().tobytes()).hexdigest())
"""
    runs = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    sums = [run.communicate(timeout=100)[0] for run in runs]
    assert [run.returncode for run in runs] == [0, 0]
    assert len(sums[0]) == 65
    assert sums[0] == sums[1]
    for path in files(cache):
        assert path.suffix == ".tiles"
        assert len(zlib.decompress(path.read_bytes()[32:])) % (4 * 16 * 16) == 0


def test_the_cache_folder_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.delenv("DCAR_HOME", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "x"))
    assert tiles.cache_folder() == tmp_path / "x" / "dcar_edu"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert tiles.cache_folder() == tmp_path / ".cache" / "dcar_edu"
    monkeypatch.setenv("DCAR_HOME", str(tmp_path / "home"))
    assert tiles.cache_folder() == tmp_path / "home" / "cache"


def test_a_missing_rasteriser_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "resvg_py", None)
    with pytest.raises(
        RuntimeError, match=r"needs resvg-py. Run: pip install 'dcar_edu\[course\]'"
    ):
        tiles.draw(SQUARE.format(""), 16)


def test_incomplete_art_is_named(monkeypatch, tmp_path):
    (tmp_path / "emoji").mkdir()
    monkeypatch.setenv("DCAR_DATA", str(tmp_path))
    with pytest.raises(ValueError, match="incomplete: .*concepts.jsonl is missing. Run `python"):
        read_concepts()
