"""The three parts of a DC-AR as one module: fitting together, in a folder, beginning to draw."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import torch
from torch import Tensor, nn

from dcar_edu import checkpoint
from dcar_edu.drawing import Drawing, seeds
from dcar_edu.generator import GeneratorConfig, MaskedGenerator
from dcar_edu.generator.guidance import Guidance
from dcar_edu.generator.training import TokenBatch
from dcar_edu.text import TextEncoder, load_text_encoder
from dcar_edu.tokenizer import HybridTokenizer


class Parts(nn.Module):
    """Tokenizer, generator and text encoder, in eval mode; arguments as for :class:`DCAR`."""

    def __init__(
        self, tokenizer: HybridTokenizer, generator: MaskedGenerator, text_encoder: TextEncoder
    ):
        super().__init__()
        _check(tokenizer, generator, text_encoder)
        self.tokenizer, self.generator = tokenizer.eval(), generator.eval()
        self.text_encoder = text_encoder

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.generator.device

    @torch.no_grad()
    def tokens(self, images: Tensor, captions: Sequence[str]) -> TokenBatch:
        """Pictures and their captions as the generator learns them.

        Args:
            images: ``(b, 3, H, W)`` in [-1, 1].
            captions: one a picture.

        Raises:
            ValueError: another number of captions, or see ``tokenizer.encode``.

        Example:
            ``train_generator(model.generator, (model.tokens(x, c) for x, c in data), plan)``
            encodes on the fly.
        """
        if isinstance(captions, str) or len(captions) != len(images):
            raise ValueError(
                f"give one caption for each of the {len(images)} pictures, got {captions!r:.80}."
            )
        seen = self.tokenizer.encode(images.to(self.device))
        words = self.text_encoder(list(captions))
        return TokenBatch(seen.indices, seen.residuals, words.states, words.mask)

    def save_pretrained(
        self,
        folder: str | os.PathLike,
        *,
        dtype: torch.dtype | None = None,
        tokenizer: str | None = None,
    ) -> Path:
        """Write ``config.json``, ``generator/`` and ``tokenizer/``, or name another model's one."""
        folder = Path(folder)
        if tokenizer is None:
            self.tokenizer.save_pretrained(folder / "tokenizer", dtype=dtype)
        self.generator.save_pretrained(folder / "generator", dtype=dtype)
        _write(folder, tokenizer or "tokenizer", self.text_encoder.name)
        return folder

    @classmethod
    def from_pretrained(cls, name: str | os.PathLike) -> Self:
        """Load a model in eval mode.

        Args:
            name: a folder that :meth:`save_pretrained` wrote, the name of a shipped model such as
                ``"emoji-128"``, or a Hub id such as ``"somebody/some-model"``.

        Raises:
            ValueError: nothing of that name, or files that do not fit.
        """
        return cls(*_load(name)).eval()

    def draw(
        self,
        prompts: str | Sequence[str],
        *,
        size: tuple[int, int] | None = None,
        num_steps: int = 12,
        guidance: float = 4.5,
        guidance_schedule: str = "constant",
        temperature: float = 1.5,
        residual_guidance: float | None = None,
        initial: Tensor | None = None,
        seed: int | Sequence[int] | None = None,
    ) -> Drawing:
        """Begin a drawing: run its ``steps()``, then ask it for tokens and residuals.

        Draws all prompts together, see :func:`dcar_edu.drawing.in_chunks` for many; the arguments
        are those of :meth:`generate`, which says what it raises. ``initial``: known tokens, int64
        ``(b, h, w)``; those to draw hold ``generator.mask_id``.
        """
        prompts = [prompts] if isinstance(prompts, str) else list(prompts)
        push = Guidance(guidance, guidance_schedule, residual=residual_guidance)
        f, grid = self.tokenizer.config.downsample, self.generator.config.grid
        size = size or (grid[0] * f, grid[1] * f)
        if min(size) < f or size[0] % f or size[1] % f:
            raise ValueError(
                f"size must be (height, width) in multiples of {f} pixels, got {tuple(size)}. "
                f"This model was trained at {(grid[0] * f, grid[1] * f)}."
            )
        text = self.text_encoder(prompts)
        read = self.generator.read_text
        with torch.no_grad():
            cond = read(text.states.to(self.device), text.mask)
            null = None if push.off else read(None, text.mask)
        return Drawing(
            self.generator,
            cond,
            null,
            (len(prompts), size[0] // f, size[1] // f),
            num_steps,
            push,
            temperature,
            seeds(seed, len(prompts)),
            initial,
        )


def _check(
    tokenizer: HybridTokenizer, generator: MaskedGenerator, text_encoder: TextEncoder
) -> None:
    """Ask that a generator was trained with this tokenizer and reads this text encoder's words.

    Raises:
        ValueError: another tokenizer, or sizes that do not agree.
    """
    config: GeneratorConfig = generator.config
    wanted = config.tokenizer_fingerprint
    if wanted is not None and wanted != tokenizer.fingerprint():
        raise ValueError(
            f"this generator was trained on the tokens of another tokenizer ({wanted}, not "
            f"{tokenizer.fingerprint()}): its pictures would be noise. Load the pair together."
        )
    pairs = [
        ("num_codes", config.num_codes, tokenizer.config.num_codes),
        ("latent_channels", config.latent_channels, tokenizer.config.latent_channels),
        ("text_width", config.text_width, text_encoder.width),
    ]
    for name, here, there in pairs:
        if here != there:
            raise ValueError(
                f"{name} must agree: the generator has {here}, its partner {there}. "
                "Build the generator for this tokenizer and text encoder."
            )


def _write(folder: Path, tokenizer: str, text_encoder: str) -> None:
    """Write ``config.json``: where the tokenizer is, and the name of the text encoder."""
    content = {"tokenizer": tokenizer, "text_encoder": text_encoder}
    checkpoint.write_atomically(folder / "config.json", json.dumps(content, indent=1).encode())


def _load(
    name: str | os.PathLike,
) -> tuple[HybridTokenizer, MaskedGenerator, TextEncoder]:
    """Load a folder, a shipped model or one of the Hub.

    Raises:
        ValueError: nothing of that name, or files that do not fit.
    """
    folder = checkpoint.find_model(name)
    config = folder / "config.json"
    try:
        content = json.loads(config.read_text())
        named, text = content["tokenizer"], content["text_encoder"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"'{folder}' holds no DC-AR model: {error}. It needs the config.json, tokenizer/ "
            "and generator/ that save_pretrained writes."
        ) from error
    generator = MaskedGenerator.from_pretrained(folder / "generator")
    tokenizer = HybridTokenizer.from_pretrained(checkpoint.partner(folder, named))
    return tokenizer, generator, load_text_encoder(text, length=generator.config.text_length)
