"""Learnt pictures as tokens, once, and batches of them: for the lessons that train on these."""

from collections.abc import Iterator

import torch

from dcar_edu.data import CaptionedEmoji, EmojiExample
from dcar_edu.generator.training import TokenBatch
from dcar_edu.state import TrainingState
from dcar_edu.text import TextEncoder
from dcar_edu.tokenizer import HybridTokenizer


def encode_all(
    data: CaptionedEmoji,
    examples: list[EmojiExample],
    tokenizer: HybridTokenizer,
    encoder: TextEncoder,
) -> TokenBatch:
    """Every example as tokens and text states, once; training then draws rows of it."""
    chunks = [examples[i : i + 64] for i in range(0, len(examples), 64)]
    encoded = [tokenizer.encode(data.render(chunk)) for chunk in chunks]
    words = encoder([example.caption for example in examples])
    return TokenBatch(
        torch.cat([e.indices for e in encoded]).cpu(),
        torch.cat([e.residuals for e in encoded]).cpu(),
        words.states.cpu(),
        words.mask.cpu(),
    )


def rows(tokens: TokenBatch, size: int, state: TrainingState) -> Iterator[TokenBatch]:
    """Endless batches of ``size`` rows, drawn from the state's own source of chance."""
    while True:
        chosen = torch.randint(len(tokens.indices), (size,), generator=state.generator)
        yield TokenBatch(
            tokens.indices[chosen],
            tokens.residuals[chosen],
            tokens.text[chosen],
            tokens.text_mask[chosen],
        )
