"""What an evaluation found: numbers, tables, sheets of pictures; and its files."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from PIL import Image

from dcar_edu import checkpoint, images
from dcar_edu.metrics.tables import table


@dataclass(frozen=True)
class Evaluation:
    """What was measured, and sheets of what it looks like."""

    numbers: dict[str, Any]
    """Plain numbers, as in ``evaluation.json``."""
    sheets: dict[str, Image.Image]
    """By name: a split, or ``prompts``."""

    @classmethod
    def read(cls, folder: str | os.PathLike) -> Self:
        """Read what :meth:`save` wrote.

        Raises:
            ValueError: no evaluation in this folder.
        """
        path = Path(folder) / "evaluation.json"
        try:
            numbers = json.loads(path.read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise ValueError(
                f"no evaluation at '{path}': {error}. Give the folder that dcar evaluate wrote."
            ) from error
        names = [*numbers["splits"], *(["prompts"] if "prompts" in numbers else [])]
        parts = [part for part in ("redrawn", "drawn") if part in numbers.get("reference", ())]
        names += [f"reference_{part}" for part in parts]
        return cls(numbers, {name: Image.open(path.with_name(f"{name}.webp")) for name in names})

    def markdown(self) -> str:
        """The tables."""
        return table(self.numbers)

    def save(self, folder: str | os.PathLike) -> Path:
        """Write ``evaluation.md``, ``evaluation.json`` and a sheet each as WebP."""
        folder = Path(folder)
        text = json.dumps(self.numbers, indent=1, ensure_ascii=False)
        checkpoint.write_atomically(folder / "evaluation.json", text.encode())
        links = "".join(f"\n![{_alt(name)}]({name}.webp)\n" for name in self.sheets)
        checkpoint.write_atomically(folder / "evaluation.md", (self.markdown() + links).encode())
        for name, picture in self.sheets.items():
            images.save(picture, folder / f"{name}.webp")
        return folder


def _alt(name: str) -> str:
    if name in ("prompts", "reference_drawn"):
        return "Drawn from prompts (left of each pair) beside the pictures they describe"
    if name == "reference_redrawn":
        return "First pictures of the reference: original, discrete path, hybrid path"
    return f"Split {name}: original, discrete path, hybrid path; best, median and worst"
