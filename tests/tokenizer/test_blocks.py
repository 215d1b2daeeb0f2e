"""Shortcuts and attention against numbers worked out by hand or by slow loops."""

import pytest
import torch
from torch import nn

from dcar_edu.tokenizer import blocks
from dcar_edu.tokenizer.blocks import (
    ChannelNorm,
    Down,
    EViTBlock,
    GatedMLP,
    LinearAttention,
    ResBlock,
    Up,
    relu_attention,
    shortcut_down,
    shortcut_up,
)

B, C, H, W = 2, 8, 6, 4


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def test_shortcut_down_golden():
    x = torch.arange(16.0).reshape(1, 1, 4, 4)
    expected = [[[0.5, 2.5], [8.5, 10.5]], [[4.5, 6.5], [12.5, 14.5]]]
    assert shortcut_down(x, 2)[0].tolist() == expected


def test_shortcut_up_golden():
    x = torch.arange(4.0).reshape(1, 4, 1, 1)
    assert shortcut_up(x, 2)[0].tolist() == [[[0, 0], [1, 1]], [[2, 2], [3, 3]]]


def test_shortcut_down_averages_neighbouring_channels():
    """Factor 1: channels 0 and 1 become one, then 2 and 3; strided channels would mix 0 and 2."""
    x = torch.tensor([0.0, 2.0, 10.0, 20.0]).reshape(1, 4, 1, 1)
    assert shortcut_down(x, 2, factor=1).flatten().tolist() == [1, 15]
    assert shortcut_up(x, 8, factor=1).flatten().tolist() == [0, 0, 2, 2, 10, 10, 20, 20]


@pytest.mark.parametrize(("channels", "factor"), [(4, 2), (8, 2), (16, 2), (32, 2), (2, 1)])
def test_shortcuts_shapes_and_mean(channels, factor):
    x = torch.randn(B, C, H, W)
    small = shortcut_down(x, channels, factor)
    assert small.shape == (B, channels, H // factor, W // factor)
    back = shortcut_up(small, C, factor)
    assert back.shape == x.shape
    torch.testing.assert_close(back.mean((1, 2, 3)), x.mean((1, 2, 3)))
    flat = torch.full_like(x, 0.7)
    assert torch.allclose(shortcut_down(flat, channels, factor), torch.tensor(0.7))


@pytest.mark.parametrize(("kind", "shape"), [(Down, (B, 16, H // 2, W // 2)), (Up, (B, 4, 12, 8))])
def test_zero_main_path_leaves_the_shortcut(kind, shape):
    x = torch.randn(B, C, H, W)
    layer, bare = kind(C, shape[1]), kind(C, shape[1], shortcut=False)
    assert layer(x).shape == shape
    free = (shortcut_down if kind is Down else shortcut_up)(x, shape[1])
    bare.load_state_dict(layer.state_dict())
    torch.testing.assert_close(layer(x), bare(x) + free)
    for p in layer.parameters():
        nn.init.zeros_(p)
    assert torch.equal(layer(x), free)


def test_channel_norm_normalises_each_position_over_channels():
    x = 3 * torch.randn(B, C, H, W) + 5
    y = ChannelNorm(C, eps=1e-5)(x)
    assert y.shape == x.shape
    torch.testing.assert_close(y.mean(1), torch.zeros(B, H, W), atol=1e-5, rtol=0)
    mean, variance = x.mean(1, keepdim=True), x.var(1, keepdim=True, unbiased=False)
    torch.testing.assert_close(y, (x - mean) / (variance + 1e-5).sqrt())


@pytest.mark.parametrize("kind", [ResBlock, LinearAttention, GatedMLP])
def test_the_norm_comes_last_so_zero_norm_is_the_identity(kind):
    block = kind(C, 4) if kind is LinearAttention else kind(C)
    x = torch.randn(B, C, H, W)
    assert not torch.allclose(block(x), x)
    nn.init.zeros_(block.norm.weight)
    assert torch.equal(block(x), x)


def test_res_block_is_convolution_activation_convolution_norm():
    block, x = ResBlock(C, "batch", "relu").eval(), torch.randn(B, C, H, W)
    inner = torch.conv2d(x, block.conv1.weight, block.conv1.bias, padding=1).clamp(min=0)
    inner = torch.conv2d(inner, block.conv2.weight, padding=1) / (1 + 1e-5) ** 0.5
    torch.testing.assert_close(block(x), x + inner)
    assert block.conv2.bias is None


def slow_attention(q, k, v):
    """One head, one query at a time."""
    q, k = q.clamp(min=0), k.clamp(min=0)
    rows = []
    for query in q:
        weights = torch.stack([query @ key for key in k])
        rows.append((weights[:, None] * v).sum(0) / (weights.sum() + 1e-15))
    return torch.stack(rows)


@pytest.mark.parametrize("linear", [True, False, None])
@pytest.mark.parametrize("n", [5, 40])
def test_attention_equals_the_slow_loop(linear, n):
    q, k, v = torch.randn(3, B, 3, n, 4)
    q[0, 0, 0] = -1  # this query sees nothing: the answer is 0, not a division by 0
    out = relu_attention(q, k, v, linear=linear)
    expected = torch.stack(
        [torch.stack([slow_attention(*qkv) for qkv in zip(*abc, strict=True)])
         for abc in zip(q, k, v, strict=True)]
    )  # fmt: skip
    torch.testing.assert_close(out, expected, atol=1e-5, rtol=1e-4)
    assert out[0, 0, 0].tolist() == [0, 0, 0, 0]


def test_attention_picks_the_cheaper_form():
    """The two forms differ in the last bits, so the one that was taken can be told."""
    for n in (blocks.LINEAR_ABOVE, blocks.LINEAR_ABOVE + 1):
        q, k, v = torch.randn(3, B, 2, n, 16)
        forms = [relu_attention(q, k, v, linear=flag) for flag in (False, True)]
        assert not torch.equal(*forms)
        assert torch.equal(relu_attention(q, k, v), forms[n > blocks.LINEAR_ABOVE])


def test_attention_computes_in_float32_and_gives_back_the_type():
    q, k, v = (300 * torch.rand(3, B, 2, 40, 4)).half()
    out = relu_attention(q, k, v)  # sums of products pass 65504, the largest half
    assert out.dtype == torch.float16
    assert out.isfinite().all()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        same = relu_attention(q.float(), k.float(), v.float())
    assert same.dtype == torch.float32
    assert torch.equal(same, relu_attention(q.float(), k.float(), v.float()))


def test_linear_attention_groups_q_k_v_by_head():
    layer, x = LinearAttention(C, head_width=4), torch.randn(B, C, H, W)
    nn.init.normal_(layer.norm.weight)
    flat = x.flatten(2)
    mixed = torch.empty_like(flat)
    for head in range(2):
        rows = [layer.qkv.weight[12 * head + 4 * i :][:4, :, 0, 0] for i in range(3)]
        for b in range(B):
            mixed[b, 4 * head : 4 * head + 4] = slow_attention(*[(r @ flat[b]).T for r in rows]).T
    expected = x + layer.norm(layer.proj(mixed.reshape(x.shape)))
    torch.testing.assert_close(layer(x), expected, atol=1e-5, rtol=1e-4)


def test_attention_is_permutation_equivariant_the_gated_mlp_is_not():
    x, order = torch.randn(B, C, H, W), torch.randperm(H * W)

    def shuffled(t):
        return t.flatten(2)[..., order].reshape(t.shape)

    layer = LinearAttention(C, head_width=4)
    torch.testing.assert_close(layer(shuffled(x)), shuffled(layer(x)), atol=1e-5, rtol=1e-4)
    mlp = GatedMLP(C, 2)
    assert not torch.allclose(mlp(shuffled(x)), shuffled(mlp(x)), atol=1e-3)


def test_gated_mlp_gates_the_first_half_by_the_second():
    mlp, x = GatedMLP(C, 2), torch.randn(B, C, H, W)
    wide = torch.nn.functional.silu(mlp.expand(x))
    wide = torch.conv2d(wide, mlp.depthwise.weight, mlp.depthwise.bias, padding=1, groups=4 * C)
    value, gate = wide[:, : 2 * C], wide[:, 2 * C :]
    inner = mlp.reduce(value * gate / (1 + (-gate).exp()))
    torch.testing.assert_close(mlp(x), x + mlp.norm(inner), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("block", "published"),
    [
        (lambda: ResBlock(256, "batch"), 1_180_416),
        (lambda: EViTBlock(512), 4_241_408),
        (lambda: EViTBlock(1024), 16_871_424),
    ],
)
def test_block_sizes_are_the_published_ones(block, published):
    with torch.device("meta"):
        assert sum(p.numel() for p in block().parameters()) == published
