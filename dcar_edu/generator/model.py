"""The masked generator: guess hidden tokens from those that are seen, in any order.

Source: DC-AR (arXiv:2507.04947) and its released inference code.
"""

import torch
from einops import rearrange
from torch import Tensor, nn

from dcar_edu.generator.config import GeneratorConfig
from dcar_edu.generator.shared import GeneratorOutput, TextMemory, TokenTransformer
from dcar_edu.generator.transformer import positions

__all__ = ["GeneratorOutput", "MaskedGenerator", "TextMemory"]


class MaskedGenerator(TokenTransformer):
    """Fill in hidden tokens under a text, and draw the residual of every token.

    Example:
        >>> model = MaskedGenerator(GeneratorConfig.preset("nano"))
        >>> indices = torch.full((2, 3, 4), model.mask_id)
        >>> words = torch.randn(2, 5, 384), torch.ones(2, 5, dtype=torch.bool)
        >>> out = model(indices, *words)
        >>> tuple(out.logits.shape), tuple(out.hidden.shape)
        ((2, 12, 1024), (2, 12, 256))
    """

    def __init__(self, config: GeneratorConfig, generator: torch.Generator | None = None):
        super().__init__(config, nn.Embedding(config.num_codes + 1, config.width), generator)

    @property
    def mask_id(self) -> int:
        """The index of a hidden token: ``num_codes``, one past the last code."""
        return self.config.num_codes

    def forward(
        self,
        indices: Tensor,
        text: Tensor | None,
        text_mask: Tensor,
        drop_text: Tensor | None = None,
    ) -> GeneratorOutput:
        """Guess every token, seen or hidden.

        Args:
            indices: int64 ``(b, h, w)``; hidden tokens hold ``mask_id``. Any h and w.
            text: see :meth:`read_text`.
            text_mask: see :meth:`read_text`.
            drop_text: see :meth:`read_text`.

        Raises:
            ValueError: see :meth:`read_text`; or indices of another shape or range.
        """
        return self.predict(indices, self.read_text(text, text_mask, drop_text))

    def predict(self, indices: Tensor, memory: TextMemory) -> GeneratorOutput:
        """The same as calling the model, with words that were read before."""
        if indices.ndim != 3 or len(indices) != len(memory.mask):
            raise ValueError(
                f"indices must have shape (b, h, w) with one text a picture, got "
                f"{tuple(indices.shape)} and {len(memory.mask)} texts. Keep the grid."
            )
        h, w = indices.shape[1:]
        config = self.config
        x = self.tokens(rearrange(indices, "b h w -> b (h w)"))
        x = x + positions(h, w, config.width, config.position_base).to(x)
        return GeneratorOutput(*self.run(x, memory.keys, memory.values, memory.mask))
