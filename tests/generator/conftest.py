"""A generator of a few thousand weights: 11 codes, 5 latent channels, prompts of 6 words."""

import pytest
import torch

from dcar_edu.generator import GeneratorConfig, MaskedGenerator


@pytest.fixture
def tiny() -> GeneratorConfig:
    return GeneratorConfig(
        width=16,
        depth=2,
        heads=2,
        mlp_width=24,
        num_codes=11,
        text_width=12,
        text_length=6,
        head_width=8,
        head_depth=2,
        grid=(3, 4),
        latent_channels=5,
    )


@pytest.fixture
def fresh(tiny) -> MaskedGenerator:
    """As a training run finds it: answers are zero."""
    torch.manual_seed(0)
    return MaskedGenerator(tiny).eval()


@pytest.fixture
def model(fresh) -> MaskedGenerator:
    """No weight is zero, so every input matters."""
    torch.manual_seed(1)
    for parameter in fresh.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return fresh


@pytest.fixture
def text() -> tuple[torch.Tensor, torch.Tensor]:
    """Two prompts of 6 and 3 words."""
    states = torch.randn(2, 6, 12, generator=torch.Generator().manual_seed(2))
    return states, torch.arange(6)[None] < torch.tensor([6, 3])[:, None]


@pytest.fixture
def indices() -> torch.Tensor:
    """Two grids of 3 x 4 tokens; 11 hides a token."""
    return torch.randint(12, (2, 3, 4), generator=torch.Generator().manual_seed(3))
