"""Pictures for a project when there are none at hand: a small folder with faults on purpose."""

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from dcar_edu import images
from dcar_edu.checkpoint import write_atomically
from dcar_edu.data import CaptionedEmoji

THINGS = (
    *("fox", "owl", "frog", "penguin", "koala", "panda", "lion", "octopus", "whale", "snail"),
    *("cactus", "mushroom", "tulip", "avocado", "pineapple", "pizza", "rocket", "sailboat"),
    *("house", "guitar"),
)
GROUNDS = ("pale yellow", "pale green")
LOOK = "pixel art of"
"""How its captions begin: a look that no shipped model has ever seen."""
DATA = "Pixel art of 20 things on two backgrounds, made of Fluent Emoji (flat)."
RIGHTS = "Fluent Emoji is under the MIT license, which allows training and publishing."
"""What its card says of it."""
CELLS, COLOURS = 16, 8
"""Squares on each side of such a picture, and how many colours it has."""


@dataclass(frozen=True)
class Record:
    """A picture as exercise 16.1 sees it."""

    name: str
    caption: str
    pixels: np.ndarray | None
    """uint8 ``(h, w, 3)``; None where the file does not open."""


def fixture() -> list[Record]:
    """Six records, one a verdict and one that is only large: 32 pixels are asked for."""

    def plain(height: int, width: int, level: int) -> np.ndarray:
        return np.full((height, width, 3), level, np.uint8)

    return [
        Record("fox.png", "a fox", plain(40, 48, 200)),
        Record("bear.png", "a bear", None),
        Record("banner.png", "a long street", plain(16, 400, 90)),
        Record("IMG_0042.png", "the same fox", plain(40, 48, 200)),
        Record("owl.png", "  ", plain(64, 64, 30)),
        Record("old/fox.png", "a lion", plain(32, 80, 120)),
    ]


def example_folder(folder: str | Path, side: int = 128, things: int = 20) -> Path:
    """Write emoji as pixel art, on backgrounds that the shipped generators have not learnt.

    Two pictures a thing, in a sub-folder of its name, with a caption in ``NAME.txt``; and five
    faults: a copy under another name, a file that does not open, a banner that is too low, a blank
    caption, and a file that is no picture.

    Args:
        folder: made when missing.
        side: of the pictures, in pixels.
        things: so many of the twenty.
    """
    folder = Path(folder)
    labels = THINGS[:things]
    data = CaptionedEmoji(
        "train", side, styles=["flat"], concepts=labels, backgrounds=GROUNDS, sizes=["normal"]
    )
    for example in data.examples():
        name = folder / example.label / f"{example.background.split()[-1]}.png"
        words = example.caption.replace("a flat emoji of", LOOK)
        _write(name, pixel_art(images.to_pil(data.render([example])[0])), words)
    first = folder / labels[0] / f"{GROUNDS[0].split()[-1]}.png"
    _copy(first, folder / "unsorted" / "IMG_0042.png", f"{LOOK} a {labels[0]}, once more")
    write_atomically(folder / "broken.png", first.read_bytes()[:100])
    write_atomically(folder / "broken.txt", f"{LOOK} a broken file".encode())
    _write(folder / "banner.png", Image.new("RGB", (6 * side, side // 2), "#56B4E9"), "a banner")
    _write(folder / "mute.png", Image.new("RGB", (side, side), "pink"), " ")
    write_atomically(folder / "clip.mov", b"a film is no picture")
    return folder


def pixel_art(picture: Image.Image) -> Image.Image:
    """A square picture as few large squares of few colours, as large as it was."""
    few = picture.resize((CELLS, CELLS), Image.Resampling.BOX).quantize(COLOURS).convert("RGB")
    return few.resize(picture.size, Image.Resampling.NEAREST)


def fitted(pixels: np.ndarray, side: int = 128) -> Image.Image:
    """The whole picture in a grey square, for a contact sheet: nothing is cut off."""
    picture = Image.fromarray(pixels)
    picture.thumbnail((side, side))
    sheet = Image.new("RGB", (side, side), (225, 225, 225))
    sheet.paste(picture, ((side - picture.width) // 2, (side - picture.height) // 2))
    return sheet


def _write(path: Path, picture: Image.Image, caption: str) -> None:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    write_atomically(path, buffer.getvalue())
    write_atomically(path.with_suffix(".txt"), caption.encode())


def _copy(old: Path, new: Path, caption: str) -> None:
    write_atomically(new, old.read_bytes())
    write_atomically(new.with_suffix(".txt"), caption.encode())
