"""Rebuild ``data/emoji`` from five npm packages, byte for byte.

``python data/build_emoji.py`` fetches the packages with ``npm pack``, writes the art and
compares it with ``data/SHA256SUMS``. It needs Python 3.11 or newer and npm, nothing else.
``--tarballs DIR`` reads packages that are already there; ``--write-sums`` accepts new sums.
"""

import argparse
import bz2
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

DATA = Path(__file__).resolve().parent
LABELS = "emojibase-data-17.0.0.tgz"
ART = {  # style -> tarball; this is also the order of styles
    "3d": "lobehub-fluent-emoji-3d-1.1.0.tgz",
    "flat": "iconify-json-fluent-emoji-flat-1.2.6.tgz",
    "noto": "iconify-json-noto-1.2.9.tgz",
    "blob": "iconify-json-noto-v1-1.2.5.tgz",
}
PACKAGES = {  # what npm calls it -> the tarball and its sha256
    "emojibase-data@17.0.0": (
        LABELS,
        "d01d0e2ca4e22cb402679532155342c71e2e871f25c32223c013b8b166ebdf5a",
    ),
    "@lobehub/fluent-emoji-3d@1.1.0": (
        ART["3d"],
        "c1bb7eee7de090205a232518a9ab4adb3df458bfbe8a1f78232991194c8b2e58",
    ),
    "@iconify-json/fluent-emoji-flat@1.2.6": (
        ART["flat"],
        "7d064769dee690815f823bc5bcc511d957198caf9f5edd8dd9c1aa48a6aeb175",
    ),
    "@iconify-json/noto@1.2.9": (
        ART["noto"],
        "3e918d88fc945c0bb3d468dbace6f88caef67f01c9f0e7bcae0915a042e8f1ad",
    ),
    "@iconify-json/noto-v1@1.2.5": (
        ART["blob"],
        "2bf62c26c2c2884aa99e90aec942cdaee17a5921f05690694f4978ad4b017c37",
    ),
}
GROUPS = {
    "smileys-emotion", "people-body", "animals-nature", "food-drink",
    "travel-places", "activities", "objects",
}  # fmt: skip
COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "brown", "black", "white")
SHAPES = {"black large square": "black square", "white large square": "white square"} | {
    f"{colour} {shape}": f"{colour} {shape}"
    for shape in ("circle", "square")
    for colour in COLOURS
    if (shape, colour) not in (("square", "black"), ("square", "white"))
}
# Clock faces differ by one hand, families and couples by one hair: the pictures do not show it.
DROPPED = re.compile(r"o’clock$|-thirty$|^family|^(kiss|couple with heart): ")
SVG = (
    '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
    'viewBox="{:g} {:g} {:g} {:g}">{}</svg>'
)


def hexcode(text: str) -> str:
    """Name an emoji by its code points: ``1F9D1-FE0F`` becomes ``1f9d1``."""
    return "-".join(p.lstrip("0") for p in text.lower().split("-") if p != "fe0f")


def slug(label: str) -> str:
    """Spell a label the way icon sets name their icons."""
    plain = label.lower().replace("’", "").replace("ñ", "n")
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")


def plain_label(label: str) -> str:
    """Make a CLDR label read as a phrase: ``man: red hair`` becomes ``man with red hair``."""
    label = label.replace("’", "'").replace(": facing", " facing")
    if match := re.fullmatch(r"(man|woman|person): (.+)", label):
        who, what = match.groups()
        return {"bald": f"bald {who}", "beard": f"{who} with a beard"}.get(
            what, f"{who} with {what}"
        )
    return label


def member(tarball: Path, name: str) -> bytes:
    """Read one file of a tarball."""
    with tarfile.open(tarball) as archive:
        file = archive.extractfile(f"package/{name}")
        assert file is not None
        return file.read()


def read_concepts(tarball: Path) -> dict[str, dict]:
    """Read label, tags and group of every emoji that shows a thing, by hexcode."""
    groups = json.loads(member(tarball, "meta/groups.json"))["groups"]
    concepts = {}
    for row in json.loads(member(tarball, "en/data.json")):
        label, group = row["label"], groups.get(str(row.get("group")))
        if label in SHAPES:
            label, group = SHAPES[label], "shapes"
        elif group not in GROUPS or DROPPED.search(label):
            continue
        code = hexcode(row["hexcode"])
        concepts[code] = {
            "hexcode": code,
            "label": plain_label(label),
            "group": group,
            "tags": row.get("tags", []),
            "slug": slug(row["label"]),
        }
    return concepts


def read_webp(tarball: Path, concepts: dict[str, dict]) -> dict[str, bytes]:
    """Read the 3D tiles as they are, 256 pixels WebP, by hexcode."""
    tiles = {}
    with tarfile.open(tarball) as archive:
        for entry in archive:
            name = os.path.basename(entry.name)
            if name.endswith(".webp") and (code := hexcode(name[:-5])) in concepts:
                file = archive.extractfile(entry)
                assert file is not None
                tiles[code] = file.read()
    return tiles


def read_svg(tarball: Path, concepts: dict[str, dict]) -> dict[str, str]:
    """Read an icon set as one SVG text per emoji; the view box is made square, art centred."""
    icons = json.loads(member(tarball, "icons.json"))
    by_name = {row["slug"]: code for code, row in concepts.items()}
    for code, name in json.loads(member(tarball, "chars.json")).items():
        if hexcode(code) in concepts:
            by_name[name] = hexcode(code)
    tiles = {}
    for name, icon in icons["icons"].items():
        if name not in by_name or icon.get("hidden"):
            continue
        left, top, width, height = (
            icon.get(key, icons.get(key, default))
            for key, default in (("left", 0), ("top", 0), ("width", 16), ("height", 16))
        )
        side = max(width, height)
        box = left - (side - width) / 2, top - (side - height) / 2, side, side
        tiles[by_name[name]] = SVG.format(*box, icon["body"])
    return tiles


def drop_copies(tiles: dict, concepts: dict[str, dict]) -> dict:
    """Keep one of equal pictures, the one with the shortest label, so that none has two captions.

    "person running" and "man running" share a picture in one set; held out under one name it
    would be seen under the other.
    """
    order = sorted(tiles, key=lambda code: (len(concepts[code]["label"]), code))
    kept: dict = {}
    for code in order:
        kept.setdefault(tiles[code], code)
    return {code: picture for picture, code in kept.items()}


def pack_zip(tiles: dict[str, bytes]) -> bytes:
    """Store tiles in a zip, uncompressed, with fixed order and dates."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for code in sorted(tiles):
            info = zipfile.ZipInfo(f"{code}.webp", (1980, 1, 1, 0, 0, 0))
            info.create_system, info.external_attr = 3, 0o644 << 16
            archive.writestr(info, tiles[code])
    return buffer.getvalue()


def pack_lines(rows: list[dict]) -> bytes:
    """Write one JSON object a line."""
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def build(tarballs: Path) -> dict[str, bytes]:
    """Make every generated file of ``data/emoji``, by name."""
    concepts = read_concepts(tarballs / LABELS)
    art: dict[str, dict] = {"3d": read_webp(tarballs / ART["3d"], concepts)}
    for style in list(ART)[1:]:
        art[style] = read_svg(tarballs / ART[style], concepts)
    art = {style: drop_copies(tiles, concepts) for style, tiles in art.items()}
    rows = []
    for code in sorted(concepts):
        styles = [style for style in ART if code in art[style]]
        row = {k: v for k, v in concepts[code].items() if k != "slug"}
        if styles:
            rows.append(row | {"styles": styles})
    files = {"concepts.jsonl": pack_lines(rows), "3d.zip": pack_zip(art["3d"])}
    for style in list(ART)[1:]:
        lines = [{"hexcode": code, "svg": art[style][code]} for code in sorted(art[style])]
        # bzip2's bytes have been the same in every release since 2010; zlib's are not.
        files[f"{style}.jsonl.bz2"] = bz2.compress(pack_lines(lines), 9)
    files["LICENSE-emojibase-MIT.txt"] = member(tarballs / LABELS, "LICENSE")
    return files


def fetch(folder: Path) -> None:
    """Download what is missing in ``folder`` with npm and check every sum."""
    for package, (name, expected) in PACKAGES.items():
        path = folder / name
        if not path.exists():
            npm = shutil.which("npm")
            if npm is None:
                sys.exit(f"npm is not installed. Install it, or put {name} into --tarballs DIR.")
            subprocess.run([npm, "pack", "--silent", package], cwd=folder, check=True)
        if (found := hashlib.sha256(path.read_bytes()).hexdigest()) != expected:
            sys.exit(f"{name} has sha256 {found}, expected {expected}. Delete it and try again.")


def write(path: Path, data: bytes) -> None:
    """Write a file whole or not at all."""
    temporary = path.with_name(f".{path.name}.new")
    temporary.write_bytes(data)
    os.replace(temporary, path)


def sums() -> str:
    """Sum every file under ``data/emoji``, in the form that ``sha256sum -c`` reads."""
    files = sorted(p for p in (DATA / "emoji").rglob("*") if p.is_file() and p.name[0] != ".")
    return "".join(
        f"{hashlib.sha256(p.read_bytes()).hexdigest()}  {p.relative_to(DATA).as_posix()}\n"
        for p in files
    )


def main() -> int:
    """Build, print the sums, compare them with the recorded ones."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tarballs", type=Path, help="folder with the npm tarballs")
    parser.add_argument("--write-sums", action="store_true", help="record the new sums")
    options = parser.parse_args()
    (DATA / "emoji").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        tarballs = (options.tarballs or Path(temporary)).resolve()
        fetch(tarballs)
        for name, data in build(tarballs).items():
            write(DATA / "emoji" / name, data)
    record = DATA / "SHA256SUMS"
    before, now = record.read_text() if record.exists() else "", sums()
    print(now, end="")
    if options.write_sums:
        write(record, now.encode())
    elif now != before:
        for line in sorted(set(now.splitlines()) ^ set(before.splitlines())):
            print(f"DIFFERENT: {line}", file=sys.stderr)
        return 1
    print("written to data/SHA256SUMS" if options.write_sums else "the same as data/SHA256SUMS")
    return 0


if __name__ == "__main__":
    sys.exit(main())
