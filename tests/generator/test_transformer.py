"""Blocks of the transformer against slow forms, and the fixed positions."""

import pytest
import torch
from torch import nn

from dcar_edu.generator.transformer import Block, CrossAttention, SelfAttention, positions

B, N, S, WIDTH, HEADS = 2, 5, 3, 12, 3


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.mark.parametrize(("side", "coordinates"), [(8, range(0, 16, 2)), (16, range(16))])
def test_coordinates_golden(side, coordinates):
    """The fastest sine of the first half is sin(column), of the second sin(row)."""
    code = positions(side, side, 16).reshape(side, side, 16)
    angles = torch.tensor(list(coordinates)).float()
    torch.testing.assert_close(code[3, :, 0], angles.sin())
    torch.testing.assert_close(code[:, 3, 8], angles.sin())
    torch.testing.assert_close(code[3, :, 4], angles.cos())


@pytest.mark.parametrize(("h", "w", "width"), [(3, 4, 12), (16, 16, 1152)])
def test_positions_have_half_the_width_as_squared_length(h, w, width):
    code = positions(h, w, width)
    assert code.shape == (h * w, width)
    assert code.dtype == torch.float32
    lengths = code.square().sum(1)
    torch.testing.assert_close(lengths, torch.full_like(lengths, width / 2))
    assert len(code.unique(dim=0)) == h * w


def test_positions_tell_columns_first_and_keep_their_frame():
    code = positions(3, 4, 16).reshape(3, 4, 16)
    assert torch.equal(code[0, :, :8], code[2, :, :8])
    assert torch.equal(code[:, 0, 8:], code[:, 3, 8:])
    # Twice as many rows and columns: every second place is the old one.
    torch.testing.assert_close(positions(6, 8, 16).reshape(6, 8, 16)[::2, ::2], code)
    # frequencies 10000 ** (-i / 4) for a half of 8, coordinate 2 * 16 / 4
    expected = [8 * 10000 ** (-i / 4) for i in range(4)]
    torch.testing.assert_close(code[0, 2, :4], torch.tensor(expected).sin())
    torch.testing.assert_close(positions(2, 2, 16, base=1)[1, :1], torch.tensor([0.5]).sin())


def softmax_attention(q, k, v, mask):
    """One picture, full-width q (n, d), k and v (s, d), head by head."""
    out = torch.empty_like(q)
    d = q.shape[1] // HEADS
    for head in range(HEADS):
        part = slice(d * head, d * head + d)
        scores = q[:, part] @ k[:, part].T / d**0.5
        out[:, part] = scores.masked_fill(~mask, -torch.inf).softmax(1) @ v[:, part]
    return out


def layer_norm(x, norm, eps):
    centred = x - x.mean(-1, keepdim=True)
    return (
        centred / (x.var(-1, keepdim=True, unbiased=False) + eps).sqrt() * norm.weight + norm.bias
    )


def test_self_attention_normalises_queries_and_keys_over_the_full_width():
    layer, x = SelfAttention(WIDTH, HEADS).double(), torch.randn(B, N, WIDTH).double()
    layer.qkv.weight.data *= 0.01  # small queries, so that the epsilon shows
    for norm in (layer.q_norm, layer.k_norm):
        nn.init.normal_(norm.weight)
        nn.init.normal_(norm.bias)
    q, k, v = layer.qkv(x).split(WIDTH, dim=-1)
    q, k = layer_norm(q, layer.q_norm, 1e-5), layer_norm(k, layer.k_norm, 1e-5)
    everything = torch.ones(N, N, dtype=torch.bool)
    mixed = [softmax_attention(*qkv, everything) for qkv in zip(q, k, v, strict=True)]
    torch.testing.assert_close(layer(x), layer.proj(torch.stack(mixed)), atol=1e-10, rtol=1e-9)


def test_cross_attention_reads_real_words_only():
    layer, x, words = (
        CrossAttention(WIDTH, HEADS),
        torch.randn(B, N, WIDTH),
        torch.randn(B, S, WIDTH),
    )
    mask = torch.tensor([[True, True, False], [True, False, False]])
    k, v = layer.kv(words).split(WIDTH, dim=-1)
    mixed = [softmax_attention(layer.q(x)[b], k[b], v[b], mask[b].expand(N, S)) for b in range(B)]
    found = layer(x, *layer.read(words), mask)
    torch.testing.assert_close(found, layer.proj(torch.stack(mixed)), atol=1e-6, rtol=1e-5)


def test_block_has_no_norm_before_cross_attention():
    block, x, words = (
        Block(WIDTH, HEADS, 20),
        3 * torch.randn(B, N, WIDTH),
        torch.randn(B, S, WIDTH),
    )
    mask = torch.ones(B, S, dtype=torch.bool)
    kv = block.cross.read(words)

    def norm(t):
        return nn.functional.layer_norm(t, (WIDTH,), eps=1e-6)

    expected = x + block.attention(norm(x))
    expected = expected + block.cross(expected, *kv, mask)
    expected = expected + block.mlp(norm(expected))
    torch.testing.assert_close(block(x, *kv, mask), expected)


def test_the_epsilons():
    block = Block(WIDTH, HEADS, 20)
    assert (block.norm1.eps, block.norm2.eps) == (1e-6, 1e-6)
    assert (block.attention.q_norm.eps, block.attention.k_norm.eps) == (1e-5, 1e-5)


def test_the_mlp_uses_the_tanh_form_of_gelu():
    mlp = Block(WIDTH, HEADS, 20).mlp
    x = torch.randn(B, N, WIDTH)
    inner = nn.functional.gelu(mlp[0](x), approximate="tanh")
    assert torch.equal(mlp(x), mlp[2](inner))
