"""The shipped art: sums, licences, sizes, and the card's numbers."""

import bz2
import hashlib
import importlib.util
import io
import json
import re
import sys
import tarfile
import zipfile
from collections import Counter
from pathlib import Path

import pytest

from dcar_edu.data import CaptionedEmoji
from dcar_edu.data.art import FILES, read_art, read_concepts
from dcar_edu.data.splits import SPLITS

DATA = Path(__file__).resolve().parents[2] / "data"
MB = 10**6


@pytest.fixture(scope="module")
def build():
    spec = importlib.util.spec_from_file_location("build_emoji", DATA / "build_emoji.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def recorded():
    lines = (DATA / "SHA256SUMS").read_text("utf-8").splitlines()
    return {name: value for value, name in (line.split("  ") for line in lines)}


def test_every_file_has_its_recorded_sum():
    files = [p for p in (DATA / "emoji").rglob("*") if p.is_file() and p.name[0] != "."]
    found = {
        p.relative_to(DATA).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in files
    }
    assert found == recorded()


def test_the_art_is_small():
    sizes = [p.stat().st_size for p in (DATA / "emoji").iterdir()]
    assert max(sizes) < 15 * MB
    assert sum(sizes) < 15 * MB


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("LICENSE-fluent-MIT.txt", "Copyright (c) Microsoft Corporation"),
        ("LICENSE-emojibase-MIT.txt", "Copyright (c) 2017-2019 Miles Johnson"),
        ("LICENSE-noto-Apache-2.0.txt", "Version 2.0, January 2004"),
    ],
)
def test_licences_are_there(name, words):
    text = (DATA / "emoji" / name).read_text("utf-8")
    assert words in text
    assert len(text) > 1000
    assert name in (DATA / "README.md").read_text("utf-8")


def test_every_listed_style_has_its_picture():
    for style in FILES:
        listed = {c.hexcode for c in read_concepts() if style in c.styles}
        assert set(read_art(style, listed)) == listed


def test_no_style_shows_one_picture_under_two_names():
    with zipfile.ZipFile(DATA / "emoji" / "3d.zip") as archive:
        assert len({archive.read(n) for n in archive.namelist()}) == len(archive.namelist())
    for style in ("flat", "noto", "blob"):
        with bz2.open(DATA / "emoji" / FILES[style], "rt") as lines:
            pictures = [json.loads(line)["svg"] for line in lines]
        assert len(set(pictures)) == len(pictures)


def test_labels_are_unique_and_read_as_phrases():
    labels = [concept.label for concept in read_concepts()]
    assert len(set(labels)) == len(labels)
    assert not [x for x in labels if re.search(r"[:’_]|o'clock|-thirty|^family|skin tone", x)]


def table(first):
    """Rows of the card's table whose first column's title is given."""
    text = (DATA / "README.md").read_text("utf-8")
    block = text[text.index(f"| {first} |") :].split("\n\n")[0].splitlines()[2:]
    return [[cell.strip(" `") for cell in row.strip("|").split("|")] for row in block]


def test_the_card_counts_styles_and_groups():
    groups = ["smileys-emotion", "people-body", "animals-nature", "food-drink", "travel-places"]
    groups += ["activities", "objects", "shapes"]
    counts = Counter((style, c.group) for c in read_concepts() for style in c.styles)
    for style, *numbers in table("style"):
        expected = [counts[style, group] for group in groups]
        assert [int(number) for number in numbers] == [*expected, sum(expected)]
    assert f"{sum(counts.values()):,} pairs" in (DATA / "README.md").read_text("utf-8")


def test_the_card_counts_splits():
    rows = table("split")
    assert [row[0] for row in rows] == list(SPLITS)
    for split, concepts, tiles, examples, _ in rows:
        data = CaptionedEmoji(split, 16)
        keys = {(e.style, e.hexcode) for e in data.examples()}
        assert len({code for _, code in keys}) == int(concepts)
        assert (len(keys), len(data)) == (int(tiles), int(examples))


# The build script, on packages of three emoji.


def tarball(path, files):
    with tarfile.open(path, "w:gz") as archive:
        for name, data in files.items():
            data = data if isinstance(data, bytes) else json.dumps(data).encode()
            info = tarfile.TarInfo(f"package/{name}")
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))


@pytest.fixture
def packages(tmp_path, build):
    row = {"tags": ["x"], "group": 3}
    rows = [
        row | {"label": "man: red hair", "hexcode": "1F468-FE0F"},
        row | {"label": "Piñata", "hexcode": "1FA85"},
        row | {"label": "copy of piñata", "hexcode": "1FA86"},
        row | {"label": "two o’clock", "hexcode": "1F551"},
        row | {"label": "flag", "hexcode": "1F3F4", "group": 9},
        row | {"label": "black large square", "hexcode": "2B1B", "group": 9},
    ]
    tarball(
        tmp_path / build.LABELS,
        {
            "meta/groups.json": {"groups": {"3": "objects", "9": "flags"}},
            "en/data.json": rows,
            "LICENSE": b"MIT",
        },
    )
    tarball(tmp_path / build.ART["3d"], {"assets/1fa85.webp": b"a", "assets/1f3f4.webp": b"b"})
    icons = {
        "pinata": {"body": "<p/>", "width": 8, "height": 4},
        "copy-of-pinata": {"body": "<p/>", "width": 8, "height": 4},
        "red": {"body": "<r/>"},
        "two-oclock": {"body": "<t/>"},
        "black-large-square": {"body": "<s/>", "hidden": True},
    }
    for style in ("flat", "noto", "blob"):
        tarball(
            tmp_path / build.ART[style],
            {"icons.json": {"icons": icons}, "chars.json": {"1f468": "red"}},
        )
    return tmp_path


def test_build_keeps_pictures_cleans_labels_and_drops_the_rest(build, packages):
    files = build.build(packages)
    rows = [json.loads(line) for line in files["concepts.jsonl"].splitlines()]
    assert [(r["hexcode"], r["label"], r["styles"]) for r in rows] == [
        ("1f468", "man with red hair", ["flat", "noto", "blob"]),
        ("1fa85", "Piñata", ["3d", "flat", "noto", "blob"]),
    ]
    svg = [json.loads(line)["svg"] for line in bz2.decompress(files["flat.jsonl.bz2"]).splitlines()]
    assert 'viewBox="0 -2 8 8"><p/></svg>' in svg[1]
    assert zipfile.ZipFile(io.BytesIO(files["3d.zip"])).namelist() == ["1fa85.webp"]
    assert build.build(packages) == files


def test_build_refuses_another_package(build, packages):
    with pytest.raises(SystemExit, match="emojibase-data-17.0.0.tgz has sha256 .*, expected d01d0"):
        build.fetch(packages)


def test_build_says_what_is_missing_without_npm(build, tmp_path, monkeypatch):
    monkeypatch.setattr(build.shutil, "which", lambda name: None)
    with pytest.raises(SystemExit, match="npm is not installed. .* --tarballs"):
        build.fetch(tmp_path)


def test_build_reports_a_difference_and_exits_with_one(build, packages, monkeypatch, capsys):
    out = packages / "data"
    out.mkdir()
    monkeypatch.setattr(build, "DATA", out)
    monkeypatch.setattr(build, "fetch", lambda folder: None)
    monkeypatch.setattr(sys, "argv", ["build_emoji.py", "--tarballs", str(packages)])
    assert build.main() == 1
    assert "DIFFERENT: " in capsys.readouterr().err
    monkeypatch.setattr(sys, "argv", [*sys.argv, "--write-sums"])
    assert build.main() == 0
    monkeypatch.setattr(sys, "argv", sys.argv[:-1])
    assert build.main() == 0
    assert "the same as data/SHA256SUMS" in capsys.readouterr().out
