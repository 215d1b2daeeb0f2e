"""Lesson 01: what survives when pictures are shrunk."""

import torch
from torch import Tensor

from dcar_edu.course.studies import Experiment
from dcar_edu.data import CaptionedEmoji
from dcar_edu.images import resize
from dcar_edu.metrics import psnr


def shrink_and_enlarge(images: Tensor, factor: int) -> Tensor:
    """Make images ``(b, 3, h, w)`` ``factor`` times smaller, then as large as before."""
    height, width = images.shape[-2:]
    return resize(resize(images, (height // factor, width // factor)), (height, width))


def _compression(arm: str, seed: int, budget: str) -> dict[str, float]:
    """How much of 128 px emoji survives when they are shrunk ``f`` times and enlarged again."""
    pictures = 32 if budget == "smoke" else 512
    data = CaptionedEmoji("train", 128, concepts=32 if budget == "smoke" else 256)
    images = data.batch(pictures, generator=torch.Generator().manual_seed(seed)).images
    values = psnr(images, shrink_and_enlarge(images, int(arm.removeprefix("f"))))
    return {
        "psnr": round(values.mean().item(), 3),
        "psnr_std": round(values.std().item(), 3),
        "pictures": pictures,
    }


EXPERIMENTS: dict[str, Experiment] = {
    "01_compression": Experiment(
        "PSNR of 128 px emoji shrunk f times and enlarged again", ("f8", "f16", "f32"), _compression
    ),
}
