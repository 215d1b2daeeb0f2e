"""Draw prompts whose pictures are known, and judge what comes: both paths from the same tokens."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dcar_edu.drawing import in_chunks
from dcar_edu.metrics.alignment import Alignment, ahead, picture_features
from dcar_edu.metrics.distances import paired_distances
from dcar_edu.metrics.distribution import mean_interval
from dcar_edu.metrics.judge import PATHS
from dcar_edu.metrics.networks import Network
from dcar_edu.metrics.splits import Pictures
from dcar_edu.metrics.tokens import token_match
from dcar_edu.pipeline import DCAR

NAMES = (*PATHS, "real")
"""What is looked at: drawings by path, and the real pictures."""


@dataclass(frozen=True)
class Sampling:
    """How prompts are drawn; see :meth:`DCAR.generate`."""

    num_steps: int = 12
    guidance: float = 4.5
    guidance_schedule: str = "constant"
    temperature: float = 1.5
    residual_steps: int = 20
    residual_clip: float | None = None
    residual_method: str = "ancestral"


@dataclass(frozen=True)
class Drawn:
    """Tokens of every prompt, and what EfficientNet sees in their pictures."""

    indices: Tensor
    """int64 ``(n, h, w)``."""
    residuals: Tensor
    """``(n, c, h, w)``."""
    originals: Tensor
    """Tokens of the real pictures, int64 ``(n, h, w)``."""
    features: dict[str, Tensor]
    """EfficientNet's, of ``hybrid``, ``discrete`` and ``real``: ``(n, 1280)``."""
    seen: dict[str, Tensor]
    """Those that distances between sets look at, by the same names: ``(n, d)``."""


@torch.no_grad()
def draw_prompts(
    model: DCAR,
    pictures: Pictures,
    sampling: Sampling,
    alignment: Alignment,
    network: Network,
    seed: int,
    count: Callable[[int], None],
) -> Drawn:
    """Draw the captions of ``pictures`` at their size; picture i has the seed ``seed + i``.

    Distances between sets will look at the features of ``network``. ``count`` is told of each lot
    of pictures when it is done.
    """
    found: dict[str, list[Tensor]] = {}
    size = (pictures.data.resolution,) * 2
    chunks = in_chunks([example.caption for example in pictures.examples], seed)
    for (prompts, seeds), real in zip(chunks, pictures.batches(model.device), strict=True):
        indices, residuals = draw_lot(model, prompts, seeds, size, sampling)
        seen = {
            "indices": indices,
            "residuals": residuals,
            "originals": model.tokenizer.encode(real).indices,
        }
        drawn = [model.tokenizer.decode(indices, extra) for extra in (residuals, None)]
        for name, shown in zip(NAMES, (*drawn, real), strict=True):
            seen[name] = picture_features(alignment.eyes, shown)
            same = network.name == "efficientnet"
            seen[f"seen_{name}"] = seen[name] if same else network.see(shown)
        for name, values in seen.items():
            found.setdefault(name, []).append(values.cpu())
        count(len(prompts))
    whole = {name: torch.cat(parts) for name, parts in found.items()}
    features = {name: whole.pop(name) for name in NAMES}
    seen = {name: whole.pop(f"seen_{name}") for name in NAMES}
    return Drawn(**whole, features=features, seen=seen)


def draw_lot(
    model: DCAR, prompts: list[str], seeds: list[int], size: tuple[int, int], how: Sampling
) -> tuple[Tensor, Tensor]:
    """Tokens and residuals of one lot; residuals of no steps are zero: the discrete path."""
    drawing = model.draw(
        prompts,
        size=size,
        num_steps=how.num_steps,
        guidance=how.guidance,
        guidance_schedule=how.guidance_schedule,
        temperature=how.temperature,
        seed=seeds,
    )
    for _ in drawing.steps():
        pass
    residuals = drawing.residuals(how.residual_steps, how.residual_clip, method=how.residual_method)
    indices = drawing.indices.to(model.device)
    if residuals is None:
        residuals = torch.zeros_like(model.tokenizer.quantizer.look_up(indices))
    return indices, residuals


@dataclass(frozen=True)
class Places:
    """How many wrong labels come before the right one, ``(n,)`` each; and the margin."""

    ahead: dict[str, Tensor]
    """By path, and for the real pictures."""
    margin: Tensor
    """Hybrid path: cosine of the right label less that of the best wrong one ``(n,)``."""


@torch.no_grad()
def judge_prompts(
    drawn: Drawn,
    labels: Sequence[str],
    candidates: Sequence[str],
    alignment: Alignment,
    network: str,
    seed: int,
) -> tuple[dict[str, Any], Places]:
    """Retrieval and distances of both paths, with the real pictures as the ceiling.

    Args:
        drawn: from :func:`draw_prompts`.
        labels: the right label of each prompt.
        candidates: all labels that compete, each once.
        alignment: says which label a picture shows.
        network: whose features ``drawn.seen`` are.
        seed: of the bootstrap.

    Returns:
        ``prompts``, ``candidates``, ``chance``, ``token_match``; for each path and the real
        pictures ``r1`` and ``r5``; for each path ``kid_NETWORK`` (x1000, drawn against real
        pictures of the same prompts, no drawing against its own picture) and ``fid_NETWORK``. With
        each its 95 % interval ``NAME_interval``. And where each picture's label was ranked.
    """
    place = {label: number for number, label in enumerate(candidates)}
    wanted = torch.tensor([place[label] for label in labels])
    words = alignment.read(candidates).cpu()
    found: dict[str, Any] = {
        "prompts": len(labels),
        "candidates": len(candidates),
        "chance": 1 / len(candidates),
    }
    found |= _share("token_match", token_match(drawn.indices, drawn.originals), seed)
    places, margin = {}, torch.zeros(0)
    for name in NAMES:
        similarity = alignment.place(drawn.features[name]).cpu() @ words.T
        places[name] = ahead(similarity, wanted)
        found[name] = {}
        for k in (1, 5):
            found[name] |= _share(f"r{k}", places[name] < k, seed)
        if name == "hybrid":
            own = similarity.gather(1, wanted[:, None])[:, 0]
            others = similarity.scatter(1, wanted[:, None], -2.0)
            margin = own - others.max(1).values
        if name != "real":
            found[name] |= paired_distances(drawn.seen["real"], drawn.seen[name], network, seed)
    return found, Places(places, margin)


def _share(name: str, values: Tensor, seed: int) -> dict[str, Any]:
    """The mean of one number a picture, and its interval."""
    ends = mean_interval(values.double(), generator=torch.Generator().manual_seed(seed))
    return {name: values.double().mean().item(), f"{name}_interval": ends}
