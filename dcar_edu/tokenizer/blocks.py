"""The parts of the deep compression autoencoder. Everything here keeps ``(b, c, h, w)``.

Two tricks make a factor of 32 trainable: shortcuts without parameters around every change of
resolution, and attention whose cost grows linearly with the number of positions.

Source: DC-AE (arXiv:2410.10733), Sec. 3; EfficientViT (arXiv:2205.14756) for the attention.
"""

import torch
import torch.nn.functional as F
from einops import rearrange, reduce, repeat
from torch import Tensor, nn

LINEAR_ABOVE = 32
"""Positions up to which the quadratic form of the attention is the cheaper one."""


def activation(name: str) -> nn.Module:
    """``"silu"`` or ``"relu"`` as a module."""
    return {"silu": nn.SiLU, "relu": nn.ReLU}[name]()


class ChannelNorm(nn.LayerNorm):
    """LayerNorm over the channels of every position; ``(b, c, h, w)`` in and out."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalise each position over its channels."""
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def norm(name: str, channels: int) -> nn.Module:
    """``"layer"`` (per position) or ``"batch"``, eps 1e-5."""
    return {"layer": ChannelNorm, "batch": nn.BatchNorm2d}[name](channels, eps=1e-5)


def shortcut_down(x: Tensor, channels: int, factor: int = 2) -> Tensor:
    """Shrink by moving pixels into channels, then averaging groups of neighbouring channels.

    Args:
        x: ``(b, c, h, w)``; ``h`` and ``w`` multiples of ``factor``.
        channels: channels to give back; divides ``c * factor**2``.
        factor: shrinks height and width by this much.

    Returns:
        ``(b, channels, h / factor, w / factor)``, without any parameter.

    Source:
        DC-AE, Sec. 3.1 (residual autoencoding).
    """
    x = F.pixel_unshuffle(x, factor)
    return reduce(x, "b (c group) h w -> b c h w", "mean", c=channels)


def shortcut_up(x: Tensor, channels: int, factor: int = 2) -> Tensor:
    """Enlarge by repeating channels, then moving them back into pixels.

    Args:
        x: ``(b, c, h, w)``.
        channels: channels to give back; ``c`` divides ``channels * factor**2``.
        factor: enlarges height and width by this much.

    Returns:
        ``(b, channels, h * factor, w * factor)``, without any parameter.

    Source:
        DC-AE, Sec. 3.1 (residual autoencoding).
    """
    copies = channels * factor**2 // x.shape[1]
    return F.pixel_shuffle(repeat(x, "b c h w -> b (c copies) h w", copies=copies), factor)


class Down(nn.Module):
    """Shrink by ``factor``: convolution, pixels into channels, plus the free shortcut."""

    def __init__(self, channels_in: int, channels: int, factor: int = 2, shortcut: bool = True):
        super().__init__()
        self.channels, self.factor, self.shortcut = channels, factor, shortcut
        self.conv = nn.Conv2d(channels_in, channels // factor**2, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """``(b, c_in, h, w)`` to ``(b, c, h / factor, w / factor)``."""
        main = F.pixel_unshuffle(self.conv(x), self.factor)
        return main + shortcut_down(x, self.channels, self.factor) if self.shortcut else main


class Up(nn.Module):
    """Enlarge by ``factor``: convolution, channels into pixels, plus the free shortcut."""

    def __init__(self, channels_in: int, channels: int, factor: int = 2, shortcut: bool = True):
        super().__init__()
        self.channels, self.factor, self.shortcut = channels, factor, shortcut
        self.conv = nn.Conv2d(channels_in, channels * factor**2, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """``(b, c_in, h, w)`` to ``(b, c, h * factor, w * factor)``."""
        main = F.pixel_shuffle(self.conv(x), self.factor)
        return main + shortcut_up(x, self.channels, self.factor) if self.shortcut else main


class ResBlock(nn.Module):
    """Two convolutions around the identity; the norm comes last.

    Source: DC-AR's released code (convolution with bias, activation, convolution without, norm).
    """

    def __init__(self, channels: int, norm_name: str = "layer", activation_name: str = "silu"):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.activation = activation(activation_name)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm = norm(norm_name, channels)

    def forward(self, x: Tensor) -> Tensor:
        """``(b, c, h, w)`` to the same shape."""
        return x + self.norm(self.conv2(self.activation(self.conv1(x))))


def relu_attention(q: Tensor, k: Tensor, v: Tensor, *, linear: bool | None = None) -> Tensor:
    """Attention with ReLU instead of softmax: ``relu(q) (relu(k)^T v) / (relu(q) sum(relu(k)))``.

    Multiplying ``k`` with ``v`` first costs n*d*d; multiplying ``q`` with ``k`` first costs n*n*d.
    Both give the same numbers.

    Args:
        q: queries ``(b, heads, n, d)``.
        k: keys, the same shape.
        v: values, the same shape.
        linear: the first form (True), the second (False), or the cheaper one for ``n`` (None).

    Returns:
        ``(b, heads, n, d)``; float32 or more inside, whatever comes in.

    Source:
        EfficientViT, Eq. 4; epsilon and precision as in DC-AR's released code.
    """
    kind, exact, eps = v.dtype, torch.promote_types(v.dtype, torch.float32), 1e-15
    with torch.autocast(q.device.type, enabled=False):
        q, k, v = F.relu(q.to(exact)), F.relu(k.to(exact)), v.to(exact)
        if linear is None:
            linear = q.shape[-2] > LINEAR_ABOVE
        if linear:
            numerator = q @ (k.transpose(-1, -2) @ v)
            denominator = q @ k.sum(-2, keepdim=True).transpose(-1, -2)
            return (numerator / (denominator + eps)).to(kind)
        weights = q @ k.transpose(-1, -2)
        return ((weights / (weights.sum(-1, keepdim=True) + eps)) @ v).to(kind)


class LinearAttention(nn.Module):
    """Mix all positions by :func:`relu_attention`, around the identity."""

    def __init__(self, channels: int, head_width: int = 32, norm_name: str = "layer"):
        super().__init__()
        self.head_width = head_width
        self.qkv = nn.Conv2d(channels, 3 * channels, 1, bias=False)
        self.proj = nn.Conv2d(channels, channels, 1, bias=False)
        self.norm = norm(norm_name, channels)

    def forward(self, x: Tensor) -> Tensor:
        """``(b, c, h, w)`` to the same shape; channels hold q, k, v of head 1, then of head 2."""
        q, k, v = rearrange(
            self.qkv(x), "b (head three d) h w -> three b head (h w) d", three=3, d=self.head_width
        )
        mixed = relu_attention(q, k, v)
        mixed = rearrange(mixed, "b head (h w) d -> b (head d) h w", h=x.shape[2])
        return x + self.norm(self.proj(mixed))


class GatedMLP(nn.Module):
    """Widen, look at the neighbours, gate one half by the other, narrow; around the identity."""

    def __init__(self, channels: int, expansion: int = 4, norm_name: str = "layer"):
        super().__init__()
        width = 2 * expansion * channels
        self.expand = nn.Conv2d(channels, width, 1)
        self.depthwise = nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.reduce = nn.Conv2d(width // 2, channels, 1, bias=False)
        self.norm = norm(norm_name, channels)

    def forward(self, x: Tensor) -> Tensor:
        """``(b, c, h, w)`` to the same shape."""
        value, gate = self.depthwise(F.silu(self.expand(x))).chunk(2, dim=1)
        return x + self.norm(self.reduce(value * F.silu(gate)))


class EViTBlock(nn.Sequential):
    """Linear attention over all positions, then a gated convolutional MLP."""

    def __init__(
        self, channels: int, head_width: int = 32, expansion: int = 4, norm_name: str = "layer"
    ):
        super().__init__(
            LinearAttention(channels, head_width, norm_name),
            GatedMLP(channels, expansion, norm_name),
        )
