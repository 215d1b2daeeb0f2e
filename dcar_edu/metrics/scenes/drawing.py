"""Draw a folder's prompts with a model of this library."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dcar_edu import images
from dcar_edu.metrics.scenes.files import PROMPTS, find_picture, read_prompts, write_prompts
from dcar_edu.metrics.scenes.specs import scene_prompts
from dcar_edu.pipeline import DCAR

LOT = 8
"""Pictures drawn together: what a stop in between can lose."""


def draw_prompts(
    model: DCAR, folder: str | os.PathLike, seed: int = 0, **options: Any
) -> Iterator[tuple[int, int]]:
    """Draw what is not there yet; prompt i has the seed ``seed + i``, whenever it is drawn.

    Args:
        model: draws.
        folder: with ``prompts.jsonl``; without, all prompts of seed 0 are written to it.
        seed: of the first picture.
        options: of :meth:`DCAR.generate`, such as ``guidance``. Pictures that are there stay as
            they are, also when other options drew them.

    Yields:
        After each lot how many pictures are there, and how many there will be.

    Raises:
        ValueError: prompts that cannot be read, or an option that the model refuses.
    """
    folder = Path(folder)
    if not (folder / PROMPTS).exists():
        write_prompts(folder, scene_prompts())
    prompts = read_prompts(folder)
    missing = [
        (place, name, spec.caption)
        for place, (name, spec) in enumerate(prompts)
        if find_picture(folder, name) is None
    ]
    done = len(prompts) - len(missing)
    for start in range(0, len(missing), LOT):
        places, names, captions = zip(*missing[start : start + LOT], strict=True)
        seeds = [seed + place for place in places]
        drawn = model.generate(captions, seed=seeds, **options)
        for name, picture in zip(names, drawn, strict=True):
            images.save(picture, folder / f"{name}.png")
        done += len(drawn)
        yield done, len(prompts)
