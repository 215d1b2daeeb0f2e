"""Draw prompts whose pictures are known, and judge what comes: both paths from the same tokens."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dcar_edu.drawing import in_chunks
from dcar_edu.metrics.alignment import Alignment, ahead, picture_features, rank
from dcar_edu.metrics.distribution import mean_interval, paired_kid
from dcar_edu.metrics.judge import PATHS
from dcar_edu.metrics.splits import Pictures
from dcar_edu.metrics.tokens import token_match
from dcar_edu.pipeline import DCAR


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
    """``hybrid``, ``discrete`` and ``real``: ``(n, 1280)``."""


@torch.no_grad()
def draw_prompts(
    model: DCAR,
    pictures: Pictures,
    sampling: Sampling,
    alignment: Alignment,
    seed: int,
    count: Callable[[int], None],
) -> Drawn:
    """Draw the captions of ``pictures`` at their size; picture i has the seed ``seed + i``.

    ``count`` is told of each lot of pictures when it is done.
    """
    found: dict[str, list[Tensor]] = {}
    size = (pictures.data.resolution,) * 2
    chunks = in_chunks([example.caption for example in pictures.examples], seed)
    for (prompts, seeds), real in zip(chunks, pictures.batches(model.device), strict=True):
        indices, residuals = _draw(model, prompts, seeds, size, sampling)
        seen = {
            "indices": indices,
            "residuals": residuals,
            "originals": model.tokenizer.encode(real).indices,
            "real": picture_features(alignment.eyes, real),
        }
        for path, extra in zip(PATHS, (residuals, None), strict=True):
            seen[path] = picture_features(alignment.eyes, model.tokenizer.decode(indices, extra))
        for name, values in seen.items():
            found.setdefault(name, []).append(values.cpu())
        count(len(prompts))
    whole = {name: torch.cat(parts) for name, parts in found.items()}
    features = {name: whole.pop(name) for name in (*PATHS, "real")}
    return Drawn(**whole, features=features)


def _draw(
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
    drawn: Drawn, labels: Sequence[str], candidates: Sequence[str], alignment: Alignment, seed: int
) -> tuple[dict[str, Any], Places]:
    """Retrieval and distance of both paths, with the real pictures as the ceiling.

    Args:
        drawn: from :func:`draw_prompts`.
        labels: the right label of each prompt.
        candidates: all labels that compete, each once.
        alignment: says which label a picture shows.
        seed: of the bootstrap.

    Returns:
        ``prompts``, ``candidates``, ``chance``, ``token_match``; for each path and the real
        pictures ``r1``, ``r1_interval`` (95 %) and ``r5``; for each path ``kid_efficientnet``
        (x1000, drawn against real pictures of the same prompts, no drawing against its own
        picture) and its interval. And where each picture's label was ranked.
    """
    place = {label: number for number, label in enumerate(candidates)}
    wanted = torch.tensor([place[label] for label in labels])
    words = alignment.read(candidates).cpu()
    found: dict[str, Any] = {
        "prompts": len(labels),
        "candidates": len(candidates),
        "chance": 1 / len(candidates),
        "token_match": token_match(drawn.indices, drawn.originals).mean().item(),
    }
    places, margin = {}, torch.zeros(0)
    for path in (*PATHS, "real"):
        features = drawn.features[path]
        similarity = alignment.place(features).cpu() @ words.T
        places[path] = ahead(similarity, wanted)
        result, first = rank(similarity, wanted), (places[path] == 0).double()
        interval = mean_interval(first, generator=torch.Generator().manual_seed(seed))
        found[path] = {"r1": result.r1, "r1_interval": interval, "r5": result.r5}
        if path == "hybrid":
            own = similarity.gather(1, wanted[:, None])[:, 0]
            others = similarity.scatter(1, wanted[:, None], -2.0)
            margin = own - others.max(1).values
        if path != "real":
            found[path] |= paired_kid(drawn.features["real"], features, "kid_efficientnet", seed)
    return found, Places(places, margin)
