"""A tokenizer of a few thousand weights: f = 4, 7 codes of 4 channels."""

import pytest
import torch

from dcar_edu.tokenizer import HybridTokenizer, TokenizerConfig


@pytest.fixture
def tiny() -> TokenizerConfig:
    return TokenizerConfig(
        widths=(4, 8, 8),
        encoder_depths=(0, 1, 1),
        decoder_depths=(0, 1, 1),
        blocks=("res", "res", "evit"),
        decoder_norms=("batch", "batch", "layer"),
        decoder_activations=("relu", "relu", "silu"),
        num_codes=7,
        latent_channels=4,
        head_width=4,
        expansion=2,
    )


@pytest.fixture
def tokenizer(tiny) -> HybridTokenizer:
    """In eval mode; not symmetric in anything: all weights and averages are random."""
    torch.manual_seed(0)
    made = HybridTokenizer(tiny).eval()
    made.train()(torch.randn(8, 3, 8, 12), "continuous")  # moves the BatchNorm averages
    return made.eval()


@pytest.fixture
def images() -> torch.Tensor:
    """Two pictures of 8 x 12 pixels: a grid of 2 x 3 tokens."""
    return torch.rand(2, 3, 8, 12, generator=torch.Generator().manual_seed(1)) * 2 - 1
