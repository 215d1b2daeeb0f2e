"""Lesson 09: residuals drawn in few or many steps, with and without clip."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from einops import rearrange
from torch import Tensor

from dcar_edu.checkpoint import find_model
from dcar_edu.course.stages import SHIPPED
from dcar_edu.course.studies import Experiment
from dcar_edu.data import CaptionedEmoji, EmojiExample
from dcar_edu.features import EfficientNetFeatures, load_features
from dcar_edu.metrics import kid, psnr
from dcar_edu.metrics.splits import Learnt
from dcar_edu.pipeline import DCAR

PART = 32
"""Pictures that are worked on together."""


@dataclass(frozen=True)
class Arm:
    """One way to draw residuals."""

    steps: int
    clip: float | None = 1.0
    """In units of the residual scale; 1 as in DC-AR's released code."""
    method: str = "ancestral"


ARMS: dict[str, Arm] = {
    **{f"{steps} step{'s' * (steps > 1)}": Arm(steps) for steps in (1, 2, 4, 8, 20, 50)},
    "20 steps, no clip": Arm(20, None),
    "50 steps, no clip": Arm(50, None),
    "20 steps, clip 3": Arm(20, 3.0),
    "20 steps, DDIM": Arm(20, method="ddim"),
}


@dataclass(frozen=True)
class Known:
    """Pictures that the shipped model has learnt, with all that a residual needs."""

    model: DCAR
    images: Tensor
    """``(b, 3, H, W)``."""
    indices: Tensor
    """Their true token ids ``(b, h, w)``."""
    residuals: Tensor
    """Their true residuals ``(b, h * w, c)``, in latent units."""
    hidden: Tensor
    """The transformer's last states ``(b, h * w, width)``, all true tokens seen, no guidance."""

    @property
    def scale(self) -> float:
        """The size of a residual: ``residual_scale``."""
        return self.model.generator.config.residual_scale

    @torch.no_grad()
    def decode(self, residuals: Tensor | None) -> Tensor:
        """The pictures of the true tokens with these residuals ``(b, h * w, c)`` or none."""
        grid = residuals
        if grid is not None:
            grid = rearrange(grid, "b (h w) c -> b c h w", h=self.indices.shape[1])
        some = self.indices.split(PART)
        pairs = zip(some, [None] * len(some) if grid is None else grid.split(PART), strict=True)
        return torch.cat([self.model.tokenizer.decode(i, r) for i, r in pairs])


LOOK = {"styles": ["3d"], "sizes": ["normal"]}
GROUNDS = ("white", "pale blue")
"""What the shipped generator has learnt; its concepts stand in its ``learnt.json``."""


@torch.no_grad()
def known_pictures(
    model: DCAR, emoji: CaptionedEmoji, examples: Sequence[EmojiExample] | None = None
) -> Known:
    """Encode pictures, and read their true tokens with the transformer, no guidance.

    Args:
        model: a trained pair.
        emoji: of 128 pixels.
        examples: some of ``emoji``; all when None.
    """
    examples = emoji.examples() if examples is None else examples
    images = emoji.render(examples)
    parts: list[tuple[Tensor, ...]] = []
    for place in range(0, len(examples), PART):
        captions = [example.caption for example in examples[place : place + PART]]
        seen = model.tokens(images[place : place + PART], captions)
        hidden = model.generator(seen.indices, seen.text, seen.text_mask).hidden
        flat = rearrange(seen.residuals.float(), "b c h w -> b (h w) c")
        parts.append((seen.indices, flat, hidden))
    indices, residuals, hidden = (torch.cat(column) for column in zip(*parts, strict=True))
    return Known(model, images, indices, residuals, hidden)


def learnt_pictures(count: int, seed: int, model: DCAR | None = None) -> Known:
    """Some of the pictures that the shipped generator has learnt, each one once.

    Args:
        count: how many, at most the 1113 that there are.
        seed: which ones.
        model: the shipped model; loaded when not given.
    """
    learnt = Learnt.read(find_model(SHIPPED))
    assert learnt is not None, "a shipped model lists what it learnt"
    emoji = CaptionedEmoji("train", 128, concepts=learnt.concepts, backgrounds=GROUNDS, **LOOK)
    order = torch.randperm(len(emoji), generator=torch.Generator().manual_seed(seed))
    examples = [emoji[place] for place in order[:count].tolist()]
    labels = sorted({example.label for example in examples})  # draw no more tiles than needed
    emoji = CaptionedEmoji("train", 128, concepts=labels, backgrounds=GROUNDS, **LOOK)
    return known_pictures(model or DCAR.from_pretrained(SHIPPED), emoji, examples)


def one_picture(model: DCAR, label: str, background: str) -> Known:
    """A single learnt picture."""
    emoji = CaptionedEmoji("train", 128, concepts=[label], backgrounds=[background], **LOOK)
    return known_pictures(model, emoji)


@dataclass(frozen=True)
class _Baseline:
    known: Known
    features: EfficientNetFeatures
    pooled: Tensor
    numbers: dict[str, float]


@lru_cache(maxsize=1)
def _baseline(count: int, seed: int) -> _Baseline:
    """Everything that the arms of one seed share: pictures, and both ends of the scale."""
    known, features = learnt_pictures(count, seed), load_features("cpu")
    pooled = _pooled(features, known.images)
    numbers: dict[str, float] = {}
    for name, residuals in (("codes", None), ("true", known.residuals)):
        numbers |= {f"{k}_{name}": v for k, v in _look(known, residuals, features, pooled).items()}
    return _Baseline(known, features, pooled, numbers)


@torch.no_grad()
def _pooled(features: EfficientNetFeatures, images: Tensor) -> Tensor:
    return torch.cat([features(part).pooled for part in images.split(PART)])


def _look(
    known: Known, residuals: Tensor | None, features: EfficientNetFeatures, pooled: Tensor
) -> dict[str, float]:
    """PSNR (dB) and rKID (x1000) of decoded pictures against their originals."""
    drawn = known.decode(residuals)
    distance = kid(pooled, _pooled(features, drawn), paired=True)
    return {"psnr": psnr(drawn, known.images).mean().item(), "rkid_efficientnet": 1000 * distance}


def draw_residuals(known: Known, arm: Arm, seed: int) -> Tensor:
    """Residuals ``(b, h * w, c)`` in latent units, drawn by the shipped head without guidance."""
    return known.model.generator.sample_residuals(
        known.hidden,
        guidance=0,
        num_steps=arm.steps,
        clip=arm.clip,
        method=arm.method,
        generator=torch.Generator().manual_seed(seed),
    )


def residual_run(arm: str, seed: int, pictures: int) -> dict[str, float]:
    """Draw residuals for the true tokens of learnt pictures, and measure them.

    Args:
        arm: one of :data:`ARMS`.
        seed: of the pictures and of the noise.
        pictures: how many, at least 2.

    Returns:
        ``error`` and ``size``: root mean square of drawn minus true, and of drawn residuals, in
        units of the residual scale; ``seconds`` for drawing all of them; ``psnr`` and
        ``rkid_efficientnet`` of the decoded pictures, and the same with ``_codes`` (no residual)
        and ``_true`` (true residuals) on the same pictures; ``gain``: ``psnr - psnr_codes``.

    Raises:
        ValueError: no such arm.
    """
    if arm not in ARMS:
        raise ValueError(f"there is no arm '{arm}'. Choose among {', '.join(ARMS)}.")
    base = _baseline(pictures, seed)
    known = base.known
    began = time.perf_counter()
    drawn = draw_residuals(known, ARMS[arm], seed)
    seconds = time.perf_counter() - began
    found = _look(known, drawn, base.features, base.pooled)
    found |= {
        "error": ((drawn - known.residuals) / known.scale).square().mean().sqrt().item(),
        "size": (drawn / known.scale).square().mean().sqrt().item(),
        "seconds": seconds,
        "gain": found["psnr"] - base.numbers["psnr_codes"],
    }
    return {name: round(value, 4) for name, value in (found | base.numbers).items()}


def _residual_steps(arm: str, seed: int, budget: str) -> dict[str, float]:
    return residual_run(arm, seed, {"smoke": 8}.get(budget, 128))


EXPERIMENTS: dict[str, Experiment] = {
    "09_residual_steps": Experiment(
        "Steps and clip of the residual head, on the true tokens of learnt pictures",
        tuple(ARMS),
        _residual_steps,
    ),
}
