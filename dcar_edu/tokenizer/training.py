"""Training the tokenizer: three stages, written as data.

1. *Warm-up*: continuous path; encoder and decoder find a good latent space.
2. *Discrete*: discrete path; encoder, codes and decoder settle on a codebook.
3. *Alternate*: encoder and codes are frozen, so token ids keep their meaning; the decoder learns
   to read both paths.

Source: DC-AR (arXiv:2507.04947), three-stage adaptation; 1:4:1 from its 10/40/10 epochs.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal

import torch
from einops import rearrange
from torch import Tensor, nn

from dcar_edu.state import TrainingState, endless, warmed_cosine
from dcar_edu.tokenizer.hybrid import PARTS, HybridTokenizer, LatentPath, Reconstruction
from dcar_edu.tokenizer.losses import reconstruction_loss


@dataclass(frozen=True)
class Stage:
    """One stretch of training: how long, on which path, and which parts learn."""

    name: str
    steps: int
    path: LatentPath
    trains: tuple[str, ...] = PARTS
    starts_codes: bool = False
    """Put the codes at latents of the first batches before the stage begins."""

    def __post_init__(self) -> None:
        """Check the parts' names."""
        if self.steps < 0 or not set(self.trains) <= set(PARTS):
            raise ValueError(
                f"a stage trains parts out of {PARTS} for 0 or more steps, got {self.trains} and "
                f"{self.steps}. Correct the stage '{self.name}'."
            )


def three_stages(steps: int, shares: tuple[int, ...] = (1, 4, 1)) -> tuple[Stage, ...]:
    """The paper's plan for a run of ``steps`` steps in all.

    Raises:
        ValueError: not three shares, or fewer steps than shares.

    Example:
        >>> [(stage.name, stage.steps) for stage in three_stages(600)]
        [('warm-up', 100), ('discrete', 400), ('alternate', 100)]
    """
    if len(shares) != 3 or steps < sum(shares):
        raise ValueError(
            f"three_stages needs three shares and at least {sum(shares)} steps, got shares="
            f"{shares} and steps={steps}. Train longer."
        )
    warmup, last = (steps * share // sum(shares) for share in (shares[0], shares[2]))
    return (
        Stage("warm-up", warmup, "continuous", ("encoder", "decoder")),
        Stage("discrete", steps - warmup - last, "discrete", starts_codes=True),
        Stage("alternate", last, "alternate", ("decoder",)),
    )


@dataclass(frozen=True)
class TokenizerTraining:
    """How to train; the paper states stages only, the other numbers are ours."""

    stages: tuple[Stage, ...]
    learning_rate: float = 1e-3
    betas: tuple[float, ...] = (0.9, 0.99)
    weight_decay: float = 1e-4
    warmup_steps: int = 50
    clip: float = 1.0
    ema_decay: float = 0.999
    l1: float = 1.0
    l2: float = 0.0
    perceptual_weight: float = 0.0
    code_weight: float = 1.0
    revive_every: int = 0
    """Restart unused codes every so many steps of a stage that trains codes; 0: never."""
    seed: int = 0

    @property
    def steps(self) -> int:
        """Steps of all stages."""
        return sum(stage.steps for stage in self.stages)

    def stage_at(self, step: int) -> tuple[Stage, int]:
        """The stage of ``step`` (counted from 0) and the step inside it."""
        for stage in self.stages:
            if step < stage.steps:
                return stage, step
            step -= stage.steps
        raise ValueError(f"the plan ends {step + 1} steps earlier. Add steps to a stage.")


@dataclass(frozen=True)
class TokenizerStep:
    """What one step was like, in plain numbers."""

    number: int
    stage: str
    path: Literal["continuous", "discrete"]
    loss: float
    pixel_loss: float
    code_loss: float
    codes_used: int
    """How many different codes this batch used."""
    cosine: float
    """Mean cosine between latents and their codes (on the sphere: 1 - |residual|^2 / 2)."""
    residual_std: float
    """Root mean square of one residual element."""
    gradient_norm: float
    learning_rate: float


def freeze(tokenizer: HybridTokenizer, trains: tuple[str, ...]) -> None:
    """Let only the parts in ``trains`` learn; frozen parts also stop moving BatchNorm averages."""
    for name in PARTS:
        part: nn.Module = getattr(tokenizer, name)
        part.requires_grad_(name in trains)
        part.train(name in trains)


def begin(tokenizer: HybridTokenizer, config: TokenizerTraining) -> TrainingState:
    """A fresh state for :func:`train_tokenizer`; save and load it to survive a stop."""
    return TrainingState.begin(
        tokenizer,
        learning_rate=config.learning_rate,
        betas=config.betas,
        weight_decay=config.weight_decay,
        ema_decay=config.ema_decay,
        seed=config.seed,
    )


def train_tokenizer(
    tokenizer: HybridTokenizer,
    batches: Iterable[Any],
    config: TokenizerTraining,
    *,
    state: TrainingState | None = None,
    perceptual: nn.Module | None = None,
) -> Iterator[TokenizerStep]:
    """Train in place, one yielded record a step; at the end the averaged weights are in.

    Each stage begins from the averaged weights of the one before, so what gets frozen is the
    average. After the last step the tokenizer is in eval mode.

    Args:
        tokenizer: trained where it is, on its device.
        batches: images ``(b, 3, H, W)`` in [-1, 1], or things with ``.images``; repeated as needed.
        config: stages and numbers.
        state: from :func:`begin`, to go on with a run; draw data from ``state.generator`` too and
            the run goes on exactly.
        perceptual: see :func:`dcar_edu.tokenizer.losses.reconstruction_loss`.

    Raises:
        ValueError: the batches end too soon, or the loss is no longer a number.

    Source:
        DC-AR, three-stage training. Optimizer, EMA and learning rate: ours, not stated.
    """
    state = state or begin(tokenizer, config)
    supply = endless(batches)
    while state.step < config.steps:
        stage, within = config.stage_at(state.step)
        if within == 0 or not state.memory:
            _enter(tokenizer, stage, within, supply, state)
        freeze(tokenizer, stage.trains)
        images = _images(next(supply)).to(tokenizer.device)
        drawn = tokenizer(images, stage.path, state.generator)
        loss, pixels = reconstruction_loss(
            drawn.images,
            images,
            l1=config.l1,
            l2=config.l2,
            perceptual=perceptual,
            perceptual_weight=config.perceptual_weight,
        )
        if "quantizer" in stage.trains:
            loss = loss + config.code_weight * drawn.middle.loss
        if not torch.isfinite(loss):
            raise ValueError(
                f"the loss is {loss.item()} at step {state.step} ({stage.name}). "
                "Lower learning_rate, or train in float32."
            )
        loss.backward()
        rate = config.learning_rate * warmed_cosine(
            state.step, config.steps, config.warmup_steps
        )
        norm = state.apply_gradients(rate, config.clip)
        if "quantizer" in stage.trains:
            _count_and_revive(tokenizer, drawn, within, config.revive_every, state)
        yield _record(state.step, stage, drawn, loss, pixels, norm, rate)
    state.use_average()
    freeze(tokenizer, PARTS)
    tokenizer.eval()


def _images(batch: Any) -> Tensor:
    return batch if isinstance(batch, Tensor) else batch.images


def _enter(
    tokenizer: HybridTokenizer,
    stage: Stage,
    within: int,
    supply: Iterator[Any],
    state: TrainingState,
) -> None:
    """Begin a stage: averaged weights, fresh counts, and codes at real latents if asked."""
    codes = tokenizer.quantizer.codes
    if within == 0:
        if state.step:
            state.use_average()
        if stage.starts_codes:
            with torch.no_grad():
                wanted, latents = 4 * len(codes), []
                while sum(map(len, latents)) < wanted:
                    images = torch.cat([_images(b) for b in islice(supply, 4)])
                    features = tokenizer.encoder(images.to(tokenizer.device))
                    latents.append(rearrange(features, "b c h w -> (b h w) c"))
            everyone = torch.arange(len(codes), device=codes.device)
            _restart(tokenizer, everyone, torch.cat(latents), state)
    state.memory = {"counts": torch.zeros(len(codes), dtype=torch.int64)}


@torch.no_grad()
def _restart(
    tokenizer: HybridTokenizer, rows: Tensor, latents: Tensor, state: TrainingState
) -> None:
    tokenizer.quantizer.restart(rows, latents, state.generator)
    state.average.module.quantizer.codes[rows] = tokenizer.quantizer.codes[rows]  # type: ignore[union-attr, index]


def _count_and_revive(
    tokenizer: HybridTokenizer,
    drawn: Reconstruction,
    within: int,
    every: int,
    state: TrainingState,
) -> None:
    """Count how often each code is used; now and then put unused ones at real latents."""
    if not every:
        return
    codes = tokenizer.config.num_codes
    state.memory["counts"] += torch.bincount(drawn.middle.indices.flatten(), minlength=codes).cpu()
    if (within + 1) % every:
        return
    dead = (state.memory["counts"] == 0).nonzero().flatten()
    latents = rearrange(drawn.middle.latents.detach(), "b c h w -> (b h w) c")
    if len(dead):
        dead = dead[torch.randperm(len(dead), generator=state.generator)[: len(latents) // 2]]
        _restart(tokenizer, dead.to(latents.device), latents, state)
    state.memory["counts"].zero_()


@torch.no_grad()
def _record(
    number: int,
    stage: Stage,
    drawn: Reconstruction,
    loss: Tensor,
    pixels: Tensor,
    norm: float,
    rate: float,
) -> TokenizerStep:
    middle = drawn.middle
    codes = middle.quantized
    cosine = torch.cosine_similarity(middle.latents, codes, dim=1).mean()
    return TokenizerStep(
        number=number,
        stage=stage.name,
        path=drawn.path,
        loss=loss.item(),
        pixel_loss=pixels.item(),
        code_loss=middle.loss.item(),
        codes_used=len(middle.indices.unique()),
        cosine=cosine.item(),
        residual_std=(middle.latents - codes).square().mean().sqrt().item(),
        gradient_norm=norm,
        learning_rate=rate,
    )
