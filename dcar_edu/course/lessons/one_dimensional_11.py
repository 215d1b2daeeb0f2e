"""Lesson 11: a 1-D tokenizer, to see why its tokens cannot grow with the picture.

Encoder and decoder are transformers; quantizer, loss and training loop are those of the 2-D one,
because both have the same three parts.

Source: TiTok (arXiv:2406.07550), in one stage and with pixels for targets.
"""

import torch
from einops import rearrange
from torch import Tensor, nn

from dcar_edu.generator.transformer import positions
from dcar_edu.tokenizer.config import TokenizerConfig
from dcar_edu.tokenizer.hybrid import HybridTokenizer

PATCH, WIDTH, DEPTH, HEADS = 16, 96, 2, 4


class QueryEncoder(nn.Module):
    """Learnt queries read the patches of the whole picture; what they have read are the latents.

    There are as many latents as queries: a larger picture gets no more of them.
    """

    def __init__(self, tokens: int, channels: int):
        super().__init__()
        self.patches = nn.Conv2d(3, WIDTH, PATCH, stride=PATCH)
        self.queries = nn.Parameter(0.02 * torch.randn(tokens, WIDTH))
        self.blocks = _blocks()
        self.out = nn.Linear(WIDTH, channels)

    def forward(self, images: Tensor) -> Tensor:
        """Images ``(b, 3, H, W)`` to a row of latents ``(b, channels, 1, tokens)``."""
        seen = self.patches(images)
        h, w = seen.shape[2:]
        seen = rearrange(seen, "b d h w -> b (h w) d") + positions(h, w, WIDTH).to(seen)
        told = self.blocks(torch.cat([seen, self.queries.expand(len(seen), -1, -1)], dim=1))
        return rearrange(self.out(told[:, h * w :]), "b n c -> b c 1 n")


class MaskDecoder(nn.Module):
    """A grid of mask tokens, each with its place, is filled in from the row of codes."""

    def __init__(self, tokens: int, channels: int, grid: tuple[int, int]):
        super().__init__()
        self.grid = grid
        self.read = nn.Linear(channels, WIDTH)
        self.numbers = nn.Parameter(0.02 * torch.randn(tokens, WIDTH))
        self.mask = nn.Parameter(0.02 * torch.randn(WIDTH))
        self.blocks = _blocks()
        self.norm = nn.LayerNorm(WIDTH)
        self.pixels = nn.ConvTranspose2d(WIDTH, 3, PATCH, stride=PATCH)

    def forward(self, codes: Tensor, grid: tuple[int, int] | None = None) -> Tensor:
        """Codes ``(b, channels, 1, tokens)`` to images of ``grid`` patches; None: as trained."""
        h, w = grid or self.grid
        told = self.read(rearrange(codes, "b c 1 n -> b n c")) + self.numbers
        blank = (self.mask + positions(h, w, WIDTH).to(told)).expand(len(told), -1, -1)
        drawn = self.norm(self.blocks(torch.cat([blank, told], dim=1))[:, : h * w])
        return self.pixels(rearrange(drawn, "b (h w) d -> b d h w", h=h))


def _blocks() -> nn.Module:
    layer = nn.TransformerEncoderLayer(
        *(WIDTH, HEADS, 4 * WIDTH, 0.0, "gelu"), batch_first=True, norm_first=True
    )
    return nn.TransformerEncoder(layer, DEPTH, enable_nested_tensor=False)


def one_dimensional(config: TokenizerConfig, side: int, seed: int = 0) -> HybridTokenizer:
    """A tokenizer with another encoder and decoder: as many tokens as ``config`` gives at ``side``.

    Args:
        config: of the 2-D tokenizer; ``downsample`` must be 16.
        side: height and width in pixels of the training.
        seed: of the first weights.
    """
    tokens, channels = (side // config.downsample) ** 2, config.latent_channels
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        tokenizer = HybridTokenizer(config)
        parts: dict[str, nn.Module] = {
            "encoder": QueryEncoder(tokens, channels),
            "decoder": MaskDecoder(tokens, channels, (side // PATCH, side // PATCH)),
        }
    for name, part in parts.items():
        setattr(tokenizer, name, part)
    return tokenizer
