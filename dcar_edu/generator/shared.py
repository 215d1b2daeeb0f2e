"""What both generators share: the words, the blocks, the two heads, and their files.

They differ in what a token is before it is drawn, and in which tokens may look at which.

Source: DC-AR (arXiv:2507.04947) and its released inference code.
"""

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

import torch
from einops import rearrange
from torch import Tensor, nn

from dcar_edu import checkpoint
from dcar_edu.generator.config import GeneratorConfig
from dcar_edu.generator.residual_head import ResidualHead
from dcar_edu.generator.transformer import MLP, Block


@dataclass(frozen=True)
class TextMemory:
    """What the transformer keeps of the words; made once a prompt, used in every step."""

    keys: tuple[Tensor, ...]
    """One ``(b, heads, s, d)`` a block."""
    values: tuple[Tensor, ...]
    mask: Tensor
    """bool ``(b, s)``, True = real word."""


@dataclass(frozen=True)
class GeneratorOutput:
    """What one pass over the tokens gives."""

    logits: Tensor
    """``(b, h * w, num_codes)``."""
    hidden: Tensor
    """The last block's raw output ``(b, h * w, width)``: the residual head's condition."""


class TokenTransformer(nn.Module):
    """Text, blocks, token head and residual head, whatever goes in as tokens.

    Args:
        config: the sizes.
        tokens: makes a vector of ``width`` of every token: a table of ids, or a linear layer.
        generator: the source of the null text.
    """

    config_type: ClassVar[type[GeneratorConfig]] = GeneratorConfig
    null_text: Tensor

    def __init__(
        self, config: GeneratorConfig, tokens: nn.Module, generator: torch.Generator | None = None
    ):
        super().__init__()
        self.config = config
        self.tokens = tokens
        self.text = MLP(config.text_width, config.width, config.width)
        self.blocks = nn.ModuleList(
            Block(config.width, config.heads, config.mlp_width) for _ in range(config.depth)
        )
        self.norm = nn.LayerNorm(config.width, elementwise_affine=False, eps=1e-6)
        self.head = nn.Linear(config.width, config.num_codes)
        self.residual_head = ResidualHead(config)
        null = torch.randn(config.text_length, config.text_width, generator=generator)
        self.register_buffer("null_text", null / math.sqrt(config.text_width))
        self.start()

    def start(self, residual_head: str = "zero") -> None:
        """Set the starting weights, general ones first, zeros last.

        Args:
            residual_head: ``"zero"`` (default) or ``"official"``, see :meth:`ResidualHead.start`.

        Raises:
            ValueError: neither of the two.

        | part | start |
        |---|---|
        | linear layers | Xavier-uniform, bias 0 |
        | token table, caption MLP | normal, std 0.02 |
        | token head | 0: every code equally likely, loss ln K |
        | residual head | its own: modulation and output 0 |
        """
        if residual_head not in ("zero", "official"):
            raise ValueError(f"residual_head must be 'zero' or 'official', got '{residual_head}'.")
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        if isinstance(self.tokens, nn.Embedding):
            nn.init.trunc_normal_(self.tokens.weight, std=0.02)
        for place in (0, 2):
            nn.init.normal_(self.text[place].weight, std=0.02)  # type: ignore[arg-type]
        nn.init.zeros_(self.head.weight)
        self.residual_head.start(official=residual_head == "official")

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.null_text.device

    def read_text(
        self, text: Tensor | None, text_mask: Tensor, drop_text: Tensor | None = None
    ) -> TextMemory:
        """Turn text states into every block's keys and values.

        Args:
            text: ``(b, s, text_width)``; None: the null text under the same mask.
            text_mask: bool ``(b, s)``, True = real word; padding changes nothing.
            drop_text: bool ``(b,)``, True = null text for this picture.

        Raises:
            ValueError: shapes do not fit, too many words, or a prompt without any.

        Source:
            DC-AR's released code: the null text is a fixed random table, never trained.
        """
        self._check_text(text, text_mask)
        text_mask = text_mask.to(self.device)
        null = self.null_text[: text_mask.shape[1]].expand(len(text_mask), -1, -1)
        states = null if text is None else text.to(null)
        if drop_text is not None:
            states = torch.where(drop_text.to(self.device)[:, None, None], null, states)
        words = self.text(states)
        pairs = [block.cross.read(words) for block in self.blocks]  # type: ignore[operator, union-attr]
        keys, values = zip(*pairs, strict=True)
        return TextMemory(tuple(keys), tuple(values), text_mask)

    def run(
        self,
        x: Tensor,
        keys: tuple[Tensor, ...],
        values: tuple[Tensor, ...],
        mask: Tensor,
        allowed: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """The blocks and the token head: tensors in and out, as ``torch.compile`` likes them.

        Args:
            x: tokens with their positions ``(b, n, width)``.
            keys: of the words, one a block.
            values: likewise.
            mask: bool ``(b, s)``, True = real word.
            allowed: bool ``(n, n)``, True where a token (row) may look at another (column); None:
                everywhere.

        Returns:
            Logits ``(b, n, num_codes)`` and the last block's raw output ``(b, n, width)``.
        """
        for block, key, value in zip(self.blocks, keys, values, strict=True):
            x = block(x, key, value, mask, allowed)
        return self.head(self.norm(x)), x

    def sample_residuals(
        self,
        hidden: Tensor,
        null_hidden: Tensor | None = None,
        *,
        guidance: float,
        num_steps: int,
        clip: float | None,
        generator: torch.Generator | None = None,
        noise: Tensor | None = None,
        method: str = "ancestral",
    ) -> Tensor:
        """Draw the residual of every token, all in parallel.

        Args:
            hidden: ``(b, h * w, width)``.
            null_hidden: the same without text; None: no guidance.
            guidance: ``s`` in ``cond + s * (cond - uncond)``; 0: off.
            num_steps: 1 to 1000; DC-AR uses 20.
            clip: bound of the predicted residual in units of ``residual_scale``; None: none.
            generator: the CPU source of noise.
            noise: stored noise instead, ``(num_steps + 1, b, h * w, c)``.
            method: ``"ancestral"``, or ``"ddim"``, which adds no noise after the start.

        Returns:
            ``(b, h * w, c)`` in latent units.

        Raises:
            ValueError: too many or too few steps, noise of another shape, or unknown method.
        """
        b, n, _ = hidden.shape
        shape = (num_steps + 1, b, n, self.config.latent_channels)
        if noise is None:
            noise = torch.randn(shape, generator=generator)
        if tuple(noise.shape) != shape:
            raise ValueError(f"noise must have shape {shape}, got {tuple(noise.shape)}.")
        flat = rearrange(noise.to(hidden), "steps b n c -> steps (b n) c")
        null = None if null_hidden is None else null_hidden.flatten(0, 1)
        drawn = self.residual_head.sample(
            hidden.flatten(0, 1), null, flat, guidance=guidance, clip=clip, method=method
        )
        return rearrange(drawn, "(b n) c -> b n c", b=b)

    def save_pretrained(
        self, folder: str | os.PathLike, *, dtype: torch.dtype | None = None
    ) -> Path:
        """Write ``config.json`` and the weights to ``folder``; ``dtype`` stores them smaller."""
        return checkpoint.save_module(folder, self, self.config, dtype=dtype)

    @classmethod
    def from_pretrained(cls, folder: str | os.PathLike) -> Self:
        """Read a folder that :meth:`save_pretrained` wrote; float32, in eval mode.

        Raises:
            ValueError: config or weights do not fit.
        """
        config = checkpoint.read_config(folder, cls.config_type)
        model = cls(config)  # type: ignore[call-arg]  # each kind makes its own tokens
        checkpoint.load_weights(folder, model)
        return model.eval()

    def _check_text(self, text: Tensor | None, text_mask: Tensor) -> None:
        config = self.config
        if text_mask.ndim != 2 or text_mask.dtype != torch.bool or not text_mask.any(1).all():
            raise ValueError(
                "text_mask must be bool (b, s) with a real word (True) in every row, got "
                f"{text_mask.dtype} {tuple(text_mask.shape)}. Use the encoder's states.mask."
            )
        if text_mask.shape[1] > config.text_length:
            raise ValueError(
                f"texts may have {config.text_length} words at most, got {text_mask.shape[1]}. "
                "Shorten the prompt, or load the encoder with this length."
            )
        wanted = (*text_mask.shape, config.text_width)
        if text is not None and tuple(text.shape) != wanted:
            raise ValueError(
                f"text must have shape {wanted}, got {tuple(text.shape)}. Use the text encoder "
                f"that the generator was trained with ('{config.text_encoder}')."
            )
