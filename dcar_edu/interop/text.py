"""T5 as the released generator was trained with it: padding takes part in the reading."""

from typing import Any

from torch import Tensor, nn

from dcar_edu.text import TextEncoder


class UnmaskedEncoder(nn.Module):
    """A language model that is called without its attention mask."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model
        self.config = model.config

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Any:
        """Read ids ``(b, s)``; every position attends to every other, padding included."""
        return self.model(input_ids=input_ids)


class FullLength:
    """A Hugging Face tokenizer that pads each batch to the full length.

    Args:
        pieces: the tokenizer.
    """

    def __init__(self, pieces: Any):
        self.pieces = pieces

    def __call__(self, texts: Any, **options: Any) -> Any:
        """Cut texts into word pieces; ``padding=True`` pads to ``max_length``."""
        if options.get("padding") is True:
            options["padding"] = "max_length"
        return self.pieces(texts, **options)


def as_released(encoder: TextEncoder) -> TextEncoder:
    """The same encoder, called as DC-AR's released code calls T5.

    Prompts are padded to exactly ``encoder.length`` and T5 gets no attention mask, so the states of
    the words depend on the padding. Weights that were trained with such states need them.

    Args:
        encoder: from ``load_text_encoder("google-t5/t5-base", length=300)``.

    Source:
        DC-AR's released code. The usual, masked call gives other states.
    """
    return TextEncoder(
        encoder.name,
        UnmaskedEncoder(encoder.model),
        FullLength(encoder.pieces),
        encoder.length,
        encoder.cache,
    )
