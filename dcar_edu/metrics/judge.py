"""One table row for a tokenizer: every reconstruction metric, on both paths."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from dcar_edu.features import EfficientNetFeatures, load_features, perceptual_distance
from dcar_edu.metrics.distribution import kid
from dcar_edu.metrics.reconstruction import psnr, ssim
from dcar_edu.tokenizer.hybrid import HybridTokenizer
from dcar_edu.tokenizer.latents import images_of
from dcar_edu.tokenizer.quantizer import code_usage

PATHS = ("hybrid", "discrete")
"""Ways from tokens to a picture: with residuals and without."""


@torch.no_grad()
def judge_tokenizer(
    tokenizer: HybridTokenizer,
    batches: Iterable[Any],
    *,
    features: EfficientNetFeatures | None = None,
) -> dict[str, float]:
    """Encode and redraw pictures on both paths, and measure what came back.

    Args:
        tokenizer: in eval mode for the whole judgement, then as it was before.
        batches: images ``(b, 3, H, W)`` in [-1, 1], or things with ``.images``; two or more
            pictures in all. Only a batch is on the tokenizer's device at a time.
        features: from :func:`~dcar_edu.features.load_features`; loaded when not given. Load them
            once where several tokenizers are judged.

    Returns:
        With ``PATH`` in ``hybrid`` and ``discrete``, means over pictures ``psnr_PATH`` (dB),
        ``ssim_PATH`` and ``perceptual_PATH`` (EfficientNet taps); over the whole set
        ``rkid_efficientnet_PATH`` (x1000, redrawn against original, EfficientNet features, no
        picture against its own copy: see ``paired`` in :func:`~dcar_edu.metrics.kid`);
        ``usage`` and ``perplexity`` of the codebook, ``cosine`` of latents to their codes,
        and ``images``, how many pictures were judged.

    Raises:
        ValueError: fewer than two pictures.
    """
    found = judge_pictures(tokenizer, batches, features=features)
    return summary(found, tokenizer.config.num_codes)


@torch.no_grad()
def judge_pictures(
    tokenizer: HybridTokenizer,
    batches: Iterable[Any],
    *,
    features: EfficientNetFeatures | None = None,
) -> dict[str, Tensor]:
    """The numbers of every picture, of which :func:`judge_tokenizer` gives the means.

    Args:
        tokenizer: as there.
        batches: as there.
        features: as there.

    Returns:
        With ``PATH`` in ``hybrid`` and ``discrete``: ``psnr_PATH``, ``ssim_PATH`` and
        ``perceptual_PATH``, each ``(n,)``; features ``pooled`` of the originals and
        ``pooled_PATH`` of what came back ``(n, 1280)``; ``indices`` and ``cosine`` of all tokens.
    """
    features = features or load_features(tokenizer.device)
    was_training = {module: module.training for module in tokenizer.modules()}
    tokenizer.eval()
    rows: dict[str, list[Tensor]] = {}
    try:
        for batch in batches:
            images = images_of(batch)
            for name, values in _measure(tokenizer, images.to(tokenizer.device), features).items():
                rows.setdefault(name, []).append(values.cpu())
    finally:
        for module, mode in was_training.items():
            module.training = mode
    return {name: torch.cat(parts) for name, parts in rows.items()}


def _measure(
    tokenizer: HybridTokenizer, images: Tensor, features: EfficientNetFeatures
) -> dict[str, Tensor]:
    """Every per-picture number of one batch."""
    encoded = tokenizer.encode(images)
    seen = features(images)
    found = {
        "indices": encoded.indices.flatten(),
        "cosine": torch.cosine_similarity(encoded.latents, encoded.quantized, dim=1).flatten(),
        "pooled": seen.pooled.float(),
    }
    for path, residuals in zip(PATHS, (encoded.residuals, None), strict=True):
        drawn = tokenizer.decode(encoded.indices, residuals).to(images)
        redrawn = features(drawn)
        found[f"psnr_{path}"] = psnr(drawn, images)
        found[f"ssim_{path}"] = ssim(drawn, images)
        found[f"perceptual_{path}"] = perceptual_distance(redrawn.taps, seen.taps).float()
        found[f"pooled_{path}"] = redrawn.pooled.float()
    return found


def summary(found: dict[str, Tensor], num_codes: int) -> dict[str, float]:
    """Means, set distances and code use out of :func:`judge_pictures`'s numbers.

    Raises:
        ValueError: fewer than two pictures.
    """
    pictures = len(found.get("pooled", ()))
    if pictures < 2:
        raise ValueError(
            f"judge_tokenizer needs two or more pictures, got {pictures}. Pass more batches; a "
            "one-time iterator may have ended."
        )
    used = code_usage(found["indices"], num_codes)
    result = {}
    for path in PATHS:
        for name in ("psnr", "ssim", "perceptual"):
            result[f"{name}_{path}"] = found[f"{name}_{path}"].mean().item()
        distance = kid(found["pooled"], found[f"pooled_{path}"], paired=True)
        result[f"rkid_efficientnet_{path}"] = 1000 * distance
    result |= {"usage": used.usage, "perplexity": used.perplexity}
    return result | {"cosine": found["cosine"].mean().item(), "images": float(pictures)}
