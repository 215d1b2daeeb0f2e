"""Stand-ins for what needs packages, weights or minutes: two encoders, a DC-AR of pocket size."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from dcar_edu.features import ImageFeatures
from dcar_edu.generator import GeneratorConfig
from dcar_edu.generator import config as generator_sizes
from dcar_edu.text import TextEncoder
from dcar_edu.tokenizer import TokenizerConfig
from dcar_edu.tokenizer import config as tokenizer_sizes

TOKENIZER = TokenizerConfig(
    widths=(8, 8, 16, 16),
    encoder_depths=(0, 0, 1, 1),
    decoder_depths=(0, 0, 1, 1),
    blocks=("res",) * 4,
    decoder_norms=("layer",) * 4,
    decoder_activations=("silu",) * 4,
    num_codes=7,
    latent_channels=4,
)
GENERATOR = GeneratorConfig(
    width=16, depth=1, heads=2, mlp_width=24, num_codes=7, text_width=12, text_length=7,
    head_width=8, head_depth=1, grid=(4, 4), latent_channels=4,
)  # fmt: skip
"""4x4 tokens of 7 codes at 32 px, a few thousand weights in all."""


def pocket_preset(patch: pytest.MonkeyPatch) -> None:
    """Make these sizes the preset ``pocket``."""
    patch.setitem(tokenizer_sizes._PRESETS, "pocket", vars(TOKENIZER))
    patch.setitem(generator_sizes._PRESETS, "pocket", vars(GENERATOR))


class Letters(nn.Module):
    """A language model that looks letters up."""

    def __init__(self, width):
        super().__init__()
        self.letters = nn.Embedding(128, width)
        self.config = SimpleNamespace(hidden_size=width)

    def forward(self, input_ids, attention_mask):
        return SimpleNamespace(last_hidden_state=self.letters(input_ids))


def pieces(prompts, **_):
    """The first three letters and the last one to three: lengths differ, and none is cut."""
    rows = [[ord(letter) % 128 for letter in p[:3] + p[-1 - len(p) % 3 :]] for p in prompts]
    mask = torch.arange(max(map(len, rows)))[None] < torch.tensor([[len(row)] for row in rows])
    ids = torch.zeros(mask.shape, dtype=torch.int64)
    ids[mask] = torch.tensor(sum(rows, []))
    return {"input_ids": ids, "attention_mask": mask.long()}


def text_encoder(name="letters", *, length=GENERATOR.text_length, width=GENERATOR.text_width):
    """In place of `load_text_encoder`: always the same random table."""
    torch.manual_seed(3)
    return TextEncoder(name, Letters(width), pieces, length)


class Features(nn.Module):
    """In place of EfficientNet: one tap, pooled to 5 numbers."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(3)
        self.conv = nn.Conv2d(3, 5, 3, 2).requires_grad_(False)

    def forward(self, images):
        tap = self.conv(images)
        return ImageFeatures((tap,), tap.square().mean((2, 3)))
