"""One step of the tokenizer, up to its gradients.

Every loss is a *share*: what the rows at hand add to the mean over the whole batch.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from dcar_edu.state import Learner, TrainingState
from dcar_edu.tokenizer.adversary import Contest, fool
from dcar_edu.tokenizer.hybrid import HybridTokenizer, OnePath, Reconstruction
from dcar_edu.tokenizer.losses import reconstruction_loss
from dcar_edu.tokenizer.stages import Stage, TokenizerTraining


@dataclass(frozen=True)
class Seen:
    """What this process's rows came to in one step; without gradients."""

    images: Tensor
    """As drawn ``(b, 3, H, W)``."""
    latents: Tensor
    """On the unit sphere ``(b, c, h, w)``."""
    counts: Tensor
    """How often each code was used ``(num_codes,)``."""
    numbers: Tensor
    """Their share of loss, pixel loss, code loss, cosine, squared residual, GAN loss and weight."""


def add_gradients(
    tokenizer: HybridTokenizer,
    images: Tensor,
    path: OnePath,
    stage: Stage,
    config: TokenizerTraining,
    perceptual: nn.Module | None,
    state: TrainingState,
) -> Seen:
    """Add up the gradients of this process's rows, one micro-batch after another.

    Deviates:
        With micro-batches the adaptive weight of the adversarial loss is that of each of them; and
        BatchNorm sees only them.
    """
    team, rival = state.team, active_rival(state, stage, config)
    drawings, latents, indices, numbers = [], [], [], []
    for rows in team.parts(len(images)):
        with team.precision():
            drawn = tokenizer(images[rows], path)
        drawn = replace(drawn, images=drawn.images.to(images))
        loss, pixels = _losses(drawn, images[rows], stage, config, perceptual)
        contest = Contest()
        if rival:
            pull, contest = fool(rival.model, drawn.images, loss, last_layer(tokenizer), team)
            loss = loss + config.gan_weight * pull
        share = len(drawn.images) / (len(images) * team.size)
        (share * loss).backward()
        drawings.append(drawn.images.detach())
        latents.append(drawn.middle.latents.detach())
        indices.append(drawn.middle.indices.flatten())
        numbers.append(share * _numbers(drawn, loss, pixels, contest))
    counts = torch.bincount(torch.cat(indices), minlength=tokenizer.config.num_codes)
    return Seen(torch.cat(drawings), torch.cat(latents), counts, torch.stack(numbers).sum(0))


def active_rival(state: TrainingState, stage: Stage, config: TokenizerTraining) -> Learner | None:
    """The discriminator, in stages where it takes part."""
    return state.rival if stage.adversarial and config.gan_weight else None


def last_layer(tokenizer: HybridTokenizer) -> Tensor:
    """The weight that makes pixels: where both losses are compared."""
    return [p for p in tokenizer.decoder.parameters() if p.ndim == 4][-1]


def _losses(
    drawn: Reconstruction,
    images: Tensor,
    stage: Stage,
    config: TokenizerTraining,
    perceptual: nn.Module | None,
) -> tuple[Tensor, Tensor]:
    """The whole loss and its pixel part; the code loss only while the codebook learns."""
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
    return loss, pixels


@torch.no_grad()
def _numbers(drawn: Reconstruction, loss: Tensor, pixels: Tensor, contest: Contest) -> Tensor:
    middle = drawn.middle
    cosine = torch.cosine_similarity(middle.latents, middle.quantized, dim=1).mean()
    square = (middle.latents - middle.quantized).square().mean()
    gan = loss.new_tensor([contest.gan_loss, contest.gan_weight])
    return torch.cat([torch.stack([loss, pixels, middle.loss, cosine, square]), gan])
