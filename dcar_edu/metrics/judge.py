"""One table row for a tokenizer: every reconstruction metric, on both paths."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from dcar_edu.features import (
    EfficientNetFeatures,
    ImageFeatures,
    load_features,
    perceptual_distance,
)
from dcar_edu.metrics.distances import paired_distances
from dcar_edu.metrics.distribution import kid, mean_interval
from dcar_edu.metrics.networks import Network
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
    network: Network | None = None,
) -> dict[str, Tensor]:
    """The numbers of every picture, of which :func:`judge_tokenizer` gives the means.

    A batch is dropped when the next one comes; what stays is a few numbers and vectors a picture.

    Args:
        tokenizer: as there.
        batches: as there.
        features: as there.
        network: whose vectors distances between sets will look at; EfficientNet's if not given.

    Returns:
        With ``PATH`` in ``hybrid`` and ``discrete``: ``psnr_PATH``, ``ssim_PATH`` and
        ``perceptual_PATH``, each ``(n,)``; features ``pooled`` of the originals and
        ``pooled_PATH`` of what came back ``(n, d)``; ``indices`` and ``cosine`` of all tokens.
    """
    features = features or load_features(tokenizer.device)
    was_training = {module: module.training for module in tokenizer.modules()}
    tokenizer.eval()
    rows: dict[str, list[Tensor]] = {}
    try:
        for batch in batches:
            images = images_of(batch).to(tokenizer.device)
            for name, values in _measure(tokenizer, images, features, network).items():
                rows.setdefault(name, []).append(values.cpu())
            del batch, images  # before the next batch is asked for
    finally:
        for module, mode in was_training.items():
            module.training = mode
    return {name: torch.cat(parts) for name, parts in rows.items()}


def _measure(
    tokenizer: HybridTokenizer,
    images: Tensor,
    features: EfficientNetFeatures,
    network: Network | None,
) -> dict[str, Tensor]:
    """Every per-picture number of one batch."""
    encoded = tokenizer.encode(images)
    seen = features(images)
    found = {
        "indices": encoded.indices.flatten(),
        "cosine": torch.cosine_similarity(encoded.latents, encoded.quantized, dim=1).flatten(),
        "pooled": _vectors(network, images, seen),
    }
    for path, residuals in zip(PATHS, (encoded.residuals, None), strict=True):
        drawn = tokenizer.decode(encoded.indices, residuals).to(images)
        redrawn = features(drawn)
        found[f"psnr_{path}"] = psnr(drawn, images)
        found[f"ssim_{path}"] = ssim(drawn, images)
        found[f"perceptual_{path}"] = perceptual_distance(redrawn.taps, seen.taps).float()
        found[f"pooled_{path}"] = _vectors(network, drawn, redrawn)
    return found


def _vectors(network: Network | None, images: Tensor, seen: ImageFeatures) -> Tensor:
    """What distances between sets look at; EfficientNet has seen the pictures already."""
    if network is None or network.name == "efficientnet":
        return seen.pooled.float()
    return network.see(images).float()


def summary(
    found: dict[str, Tensor], num_codes: int, network: str = "efficientnet"
) -> dict[str, float]:
    """Means, set distances and code use out of :func:`judge_pictures`'s numbers.

    Args:
        found: from there.
        num_codes: of the codebook.
        network: whose vectors ``pooled`` are.

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
        result[f"rkid_{network}_{path}"] = 1000 * distance
    result |= {"usage": used.usage, "perplexity": used.perplexity}
    return result | {"cosine": found["cosine"].mean().item(), "images": float(pictures)}


def redrawn_numbers(
    found: dict[str, Tensor], num_codes: int, network: str, seed: int
) -> dict[str, Any]:
    """:func:`summary`, the Fréchet distance, and a 95 % bootstrap interval of every number.

    Args:
        found: from :func:`judge_pictures`.
        num_codes: of the codebook.
        network: whose vectors ``pooled`` are.
        seed: of the bootstrap.

    Returns:
        Also ``rfid_NETWORK_PATH``, and ``NAME_interval`` of all that is measured of each picture
        or of two sets of pictures.

    Raises:
        ValueError: fewer than two pictures.
    """
    numbers: dict[str, Any] = dict(summary(found, num_codes, network))
    for path in PATHS:
        for name in (f"psnr_{path}", f"ssim_{path}", f"perceptual_{path}"):
            generator = torch.Generator().manual_seed(seed)
            numbers[f"{name}_interval"] = mean_interval(found[name], generator=generator)
        numbers |= paired_distances(
            found["pooled"], found[f"pooled_{path}"], network, seed, before="r", after=f"_{path}"
        )
    return numbers | {"images": int(numbers["images"])}
