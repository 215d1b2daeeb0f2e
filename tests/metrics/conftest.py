"""A whole DC-AR of a few thousand weights at 32 px, and judges that need no packages."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from dcar_edu import DCAR
from dcar_edu.features import ImageFeatures
from dcar_edu.generator import GeneratorConfig, MaskedGenerator
from dcar_edu.metrics.alignment import Alignment, AlignmentConfig, AlignmentHead
from dcar_edu.metrics.splits import Learnt
from dcar_edu.metrics.subject import Subject
from dcar_edu.text import TextEncoder
from dcar_edu.tokenizer import HybridTokenizer, TokenizerConfig

CONCEPTS = ("wolf", "owl", "rocket", "pineapple", "key", "frog")


class Features(nn.Module):
    """In place of EfficientNet: one tap, pooled to 5 numbers."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(3)
        self.conv = nn.Conv2d(3, 5, 3, 2).requires_grad_(False)

    def forward(self, images):
        tap = self.conv(images)
        return ImageFeatures((tap,), tap.square().mean((2, 3)))


class Table(nn.Module):
    """A language model that looks letters up."""

    def __init__(self):
        super().__init__()
        self.letters = nn.Embedding(128, 12)
        self.config = SimpleNamespace(hidden_size=12)

    def forward(self, input_ids, attention_mask):
        return SimpleNamespace(last_hidden_state=self.letters(input_ids))


def pieces(prompts, **_):
    """The first letters and the last."""
    ids = torch.tensor([[ord(letter) % 128 for letter in (p * 9)[:4] + p[-2:]] for p in prompts])
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


def text_encoder(name="table", *, length=7):
    torch.manual_seed(3)
    return TextEncoder(name, Table(), pieces, length)


@pytest.fixture
def alignment() -> Alignment:
    torch.manual_seed(5)
    sizes = AlignmentConfig(picture_width=5, text_width=12, hidden=8, width=7)
    return Alignment(AlignmentHead(sizes).eval(), Features(), text_encoder())


@pytest.fixture
def learnt() -> Learnt:
    return Learnt("train", 32, ("3d",), CONCEPTS, ("white", "pale blue"), ("normal",))


@pytest.fixture
def subject(learnt) -> Subject:
    """Untrained; 4x4 tokens of 7 codes."""
    torch.manual_seed(0)
    tokenizer = HybridTokenizer(
        TokenizerConfig(
            widths=(8, 8, 16, 16), encoder_depths=(0, 0, 1, 1), decoder_depths=(0, 0, 1, 1),
            blocks=("res",) * 4, decoder_norms=("layer",) * 4, decoder_activations=("silu",) * 4,
            num_codes=7, latent_channels=4,
        )
    )  # fmt: skip
    generator = MaskedGenerator(
        GeneratorConfig(
            width=16, depth=1, heads=2, mlp_width=24, num_codes=7, text_width=12, text_length=7,
            head_width=8, head_depth=1, grid=(4, 4), latent_channels=4, residual_scale=0.2,
        )
    )  # fmt: skip
    for weight in generator.parameters():  # zero at the start, so that nothing would differ
        nn.init.normal_(weight, std=0.2)
    whole = DCAR(tokenizer, generator, text_encoder())
    return Subject("tiny", tokenizer.eval(), whole.eval(), learnt)
