"""The model to evaluate: a whole DC-AR, or a tokenizer alone."""

import os
from dataclasses import dataclass

import torch

from dcar_edu.checkpoint import find_model
from dcar_edu.metrics.splits import Learnt
from dcar_edu.pipeline import DCAR
from dcar_edu.tokenizer import HybridTokenizer


@dataclass(frozen=True)
class Subject:
    """A model to evaluate: a whole DC-AR, or a tokenizer alone."""

    name: str
    tokenizer: HybridTokenizer
    whole: DCAR | None = None
    learnt: Learnt | None = None

    @classmethod
    def load(cls, name: str | os.PathLike, device: torch.device | str = "cpu") -> "Subject":
        """Load a folder, a shipped model or one of the Hub, whole or a tokenizer alone.

        Raises:
            ValueError: nothing of that name, or files that do not fit.
        """
        folder = find_model(name)
        known, learnt = folder.resolve().name, Learnt.read(folder)
        if (folder / "tokenizer").is_dir():
            model = DCAR.from_pretrained(folder).to(device)
            return cls(known, model.tokenizer, model, learnt)
        return cls(known, HybridTokenizer.from_pretrained(folder).to(device), None, learnt)

    def resolution(self, wanted: int | None) -> int:
        """The wanted side in pixels, or the model's own.

        Raises:
            ValueError: the tokens do not fill it, or nothing says which.
        """
        factor = self.tokenizer.config.downsample
        if wanted is None and self.whole is not None:
            wanted = self.whole.generator.config.grid[0] * factor
        if wanted is None and self.learnt is not None:
            wanted = self.learnt.resolution
        if wanted is None:
            raise ValueError(
                "a tokenizer alone does not say at which resolution to judge it. "
                f"Give one, a multiple of {factor}: --resolution 256."
            )
        if wanted < 32 or wanted % 32 or wanted % factor:
            raise ValueError(
                f"the resolution must be a multiple of 32 and of the tokenizer's {factor} pixels a "
                f"token, got {wanted}. Choose another --resolution."
            )
        return wanted
