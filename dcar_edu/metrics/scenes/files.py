"""Prompts and pictures in a folder, so that any model can draw them."""

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from dcar_edu import checkpoint, images
from dcar_edu.metrics.scenes.specs import SceneSpec

PROMPTS = "prompts.jsonl"
ENDINGS = (".png", ".webp", ".jpg", ".jpeg")
HOW_TO = """# SceneEval: {count} prompts to draw

`{file}` holds one prompt a line: draw its `caption` and save the picture here under the name in
`picture`. The ending may also be .webp or .jpg; any size will do, square is best. One picture a
prompt, the first that comes. Then:

    dcar scenes score {folder}
"""


def write_prompts(folder: str | os.PathLike, specs: Sequence[SceneSpec]) -> Path:
    """Write ``prompts.jsonl``, one spec a line with the name of its picture, and how to go on.

    Raises:
        ValueError: the folder already holds other prompts.
    """
    folder = Path(folder)
    lines = [
        json.dumps({"picture": f"{number:03d}.png", **checkpoint.to_dict(spec)})
        for number, spec in enumerate(specs)
    ]
    text = "".join(f"{line}\n" for line in lines).encode()
    if (folder / PROMPTS).is_file() and (folder / PROMPTS).read_bytes() != text:
        raise ValueError(
            f"'{folder / PROMPTS}' holds other prompts already; pictures beside it are theirs. "
            "Choose another folder."
        )
    checkpoint.write_atomically(folder / PROMPTS, text)
    how = HOW_TO.format(count=len(specs), file=PROMPTS, folder=folder.name)
    checkpoint.write_atomically(folder / "README.md", how.encode())
    return folder / PROMPTS


def read_prompts(folder: str | os.PathLike) -> list[tuple[str, SceneSpec]]:
    """Read what :func:`write_prompts` wrote: the name of each picture, without ending, and spec.

    Raises:
        ValueError: no such file, or a line that is no spec.
    """
    path = Path(folder) / PROMPTS
    try:
        lines = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
        names = [Path(line.pop("picture")).stem for line in lines]
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise ValueError(
            f"no prompts in '{path}': {error}. Write them with dcar scenes export."
        ) from error
    specs = [
        checkpoint.from_dict(SceneSpec, line, f"{path.name}, line {number}")
        for number, line in enumerate(lines, 1)
    ]
    return list(zip(names, specs, strict=True))


def find_picture(folder: str | os.PathLike, name: str) -> Path | None:
    """The file of a picture, whatever its ending; None when it is not there."""
    places = (Path(folder) / f"{name}{ending}" for ending in ENDINGS)
    return next((place for place in places if place.is_file()), None)


def read_pictures(
    folder: str | os.PathLike, names: Sequence[str], side: int, lot: int = 64
) -> Iterator[Tensor]:
    """Read pictures lot by lot, resized to ``(b, 3, side, side)`` in [-1, 1].

    Raises:
        ValueError: a picture is missing or unreadable.
    """
    paths = [find_picture(folder, name) for name in names]
    missing = [name for name, path in zip(names, paths, strict=True) if path is None]
    if missing:
        raise ValueError(
            f"{len(missing)} of {len(names)} pictures are missing in '{folder}': "
            f"{', '.join(missing[:5])} ... Draw them under the names in {PROMPTS}."
        )
    for start in range(0, len(paths), lot):
        yield torch.stack([_read(path, side) for path in paths[start : start + lot] if path])


def _read(path: Path, side: int) -> Tensor:
    try:
        with Image.open(path) as picture:
            image = images.from_pil(picture)
    except (OSError, ValueError) as error:
        raise ValueError(f"cannot read the picture '{path}': {error}. Draw it again.") from error
    return images.resize(image[None], (side, side))[0]
