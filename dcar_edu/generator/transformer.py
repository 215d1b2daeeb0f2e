"""The bidirectional transformer: token ids in, logits and hidden states out.

Like PixArt without its time embedding: self-attention, cross-attention to the text, MLP.

Source: DC-AR's released code; PixArt-alpha (arXiv:2310.00426) for the block.
"""

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn


def positions(h: int, w: int, width: int, base: int = 16) -> Tensor:
    """Fixed sine-cosine position vectors; the same place has the same vector at every resolution.

    Coordinates run over ``0 .. base`` whatever the grid: a model trained on 8x8 tokens reads 16x16
    without surgery. The first half of the width tells the column, the second the row.

    Args:
        h: rows.
        w: columns.
        width: a multiple of 4.
        base: extent of the coordinates.

    Returns:
        float32 ``(h * w, width)``, row by row.

    Source:
        DC-AR's released code (base 16; a 16x16 grid has coordinates 0..15, an 8x8 grid 0, 2, ..).

    Deviates:
        Rows and columns are normalised each by its own number, so a grid need not be square.
    """
    quarter = width // 4
    frequencies = 10000.0 ** (-torch.arange(quarter, dtype=torch.float64) / quarter)

    def code(count: int) -> Tensor:
        angles = torch.arange(count, dtype=torch.float64)[:, None] * base / count * frequencies
        return torch.cat([angles.sin(), angles.cos()], dim=1)

    columns, rows = code(w).repeat(h, 1), code(h).repeat_interleave(w, dim=0)
    return torch.cat([columns, rows], dim=1).float()


def _heads(x: Tensor, heads: int) -> Tensor:
    return rearrange(x, "b n (head d) -> b head n d", head=heads)


class SelfAttention(nn.Module):
    """Every token looks at every token, or at those allowed; queries and keys are normalised."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.q_norm, self.k_norm = nn.LayerNorm(width, eps=1e-5), nn.LayerNorm(width, eps=1e-5)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor, allowed: Tensor | None = None) -> Tensor:
        """``(b, n, width)`` to the same shape; ``allowed`` (n, n): row may look at column."""
        q, k, v = self.qkv(x).chunk(3, dim=-1)
        q, k, v = (_heads(t, self.heads) for t in (self.q_norm(q), self.k_norm(k), v))
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=allowed)
        return self.proj(rearrange(mixed, "b head n d -> b n (head d)"))


class CrossAttention(nn.Module):
    """Every token looks at the words; their keys and values can be kept between steps."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.q = nn.Linear(width, width)
        self.kv = nn.Linear(width, 2 * width)
        self.proj = nn.Linear(width, width)

    def read(self, text: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values ``(b, heads, s, d)`` of text ``(b, s, width)``."""
        k, v = self.kv(text).chunk(2, dim=-1)
        return _heads(k, self.heads), _heads(v, self.heads)

    def forward(self, x: Tensor, keys: Tensor, values: Tensor, mask: Tensor) -> Tensor:
        """``(b, n, width)`` to the same shape; ``mask`` (b, s) is True for real words."""
        q = _heads(self.q(x), self.heads)
        mixed = F.scaled_dot_product_attention(q, keys, values, attn_mask=mask[:, None, None, :])
        return self.proj(rearrange(mixed, "b head n d -> b n (head d)"))


class MLP(nn.Sequential):
    """Two linear layers around a GELU (tanh form)."""

    def __init__(self, width_in: int, width: int, width_out: int):
        super().__init__(
            nn.Linear(width_in, width), nn.GELU(approximate="tanh"), nn.Linear(width, width_out)
        )


class Block(nn.Module):
    """``x + self(norm x)``, then ``x + cross(x)`` (no norm before it), then ``x + mlp(norm x)``."""

    def __init__(self, width: int, heads: int, mlp_width: int):
        super().__init__()
        self.norm1 = nn.LayerNorm(width, elementwise_affine=False, eps=1e-6)
        self.attention = SelfAttention(width, heads)
        self.cross = CrossAttention(width, heads)
        self.norm2 = nn.LayerNorm(width, elementwise_affine=False, eps=1e-6)
        self.mlp = MLP(width, mlp_width, width)

    def forward(
        self,
        x: Tensor,
        keys: Tensor,
        values: Tensor,
        mask: Tensor,
        allowed: Tensor | None = None,
    ) -> Tensor:
        """``(b, n, width)`` to the same shape; masks as in the two attentions."""
        x = x + self.attention(self.norm1(x), allowed)
        x = x + self.cross(x, keys, values, mask)
        return x + self.mlp(self.norm2(x))
