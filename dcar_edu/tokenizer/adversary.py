"""A second network that tells drawings from originals, and so teaches the decoder to be sharp.

L1 alone prefers a blur: it is the safest guess. The *discriminator* learns what real patches look
like; the tokenizer learns to *fool* it. Off unless a plan asks for it (``gan_weight``).

Source: DC-AR says "reconstruction + GAN" only. Patches: pix2pix (arXiv:1611.07004); hinge and
adaptive weight: VQGAN (arXiv:2012.09841); LeCam regulariser: arXiv:2104.03310.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dcar_edu.state import Learner
from dcar_edu.team import Team
from dcar_edu.tokenizer.stages import TokenizerTraining


class PatchDiscriminator(nn.Sequential):
    """Score every patch of a picture: high for real, low for drawn.

    Args:
        width: channels of the first layer, a multiple of 8.
        layers: how often it halves the picture; 3 sees patches of 70 x 70 pixels, 1 of 16 x 16.
        generator: the source of its first weights.

    Source:
        pix2pix's PatchGAN, start weights N(0, 0.02).

    Deviates:
        GroupNorm instead of BatchNorm: real and drawn pictures come in small, separate batches.
    """

    def __init__(self, width: int, layers: int, generator: torch.Generator):
        modules: list[nn.Module] = [nn.Conv2d(3, width, 4, 2, 1), nn.LeakyReLU(0.2)]
        widths = [width * min(2**n, 8) for n in range(layers + 1)]
        for n in range(layers):
            stride = 2 if n + 1 < layers else 1
            conv = nn.Conv2d(widths[n], widths[n + 1], 4, stride, 1, bias=False)
            modules += [conv, nn.GroupNorm(8, widths[n + 1]), nn.LeakyReLU(0.2)]
        super().__init__(*modules, nn.Conv2d(widths[-1], 1, 4, 1, 1))
        self.smallest = 3 * 2**layers
        self.register_buffer("anchors", torch.zeros(2))
        self.anchors: Tensor
        """Running means of the scores of real and drawn pictures; only LeCam uses them."""
        for conv in (m for m in self if isinstance(m, nn.Conv2d)):
            nn.init.normal_(conv.weight, 0, 0.02, generator=generator)
            if conv.bias is not None:
                nn.init.zeros_(conv.bias)

    def forward(self, images: Tensor) -> Tensor:
        """Scores ``(b, 1, h, w)`` of images ``(b, 3, H, W)`` in [-1, 1].

        Raises:
            ValueError: images smaller than one patch needs.
        """
        if min(images.shape[-2:]) < self.smallest:
            raise ValueError(
                f"the discriminator needs sides of at least {self.smallest}, got "
                f"{tuple(images.shape)}. Lower gan_layers, or enlarge the images."
            )
        return super().forward(images)


def hinge_losses(real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
    """What the discriminator and the network that draws each want.

    Args:
        real: scores of originals, any shape.
        fake: scores of drawings, any shape.

    Returns:
        The discriminator's loss, 0 once real scores exceed 1 and drawn ones fall below -1; and the
        drawing network's, which has no hinge.

    Source:
        VQGAN's released code, with its factor of a half.

    Example:
        >>> real, fake = torch.tensor([1.0, -1.0, 3.0]), torch.tensor([1.0, -1.0, -3.0])
        >>> [round(loss.item(), 3) for loss in hinge_losses(real, fake)]
        [0.667, 1.0]
    """
    discriminator = 0.5 * (F.relu(1 - real).mean() + F.relu(1 + fake).mean())
    return discriminator, -fake.mean()


def adaptive_weight(
    loss: Tensor, gan_loss: Tensor, last_layer: Tensor, team: Team | None = None
) -> Tensor:
    """Weight that gives both losses the same pull on the decoder's last layer; no gradient.

    Args:
        loss: reconstruction loss, a scalar. Terms that do not depend on ``last_layer`` change
            nothing.
        gan_loss: the drawing network's loss, a scalar.
        last_layer: a weight that both depend on.
        team: the processes whose mean gradients are compared.

    Returns:
        A scalar in [0, 10,000].

    Source:
        VQGAN, Eq. 7, bounds and 1e-4 from its released code (the paper has 1e-6).
    """
    team = team or Team()
    pull, gan_pull = (
        team.mean(torch.autograd.grad(value, last_layer, retain_graph=True)[0]).norm()
        for value in (loss, gan_loss)
    )
    return (pull / (gan_pull + 1e-4)).clamp(0, 1e4)


@dataclass(frozen=True)
class Contest:
    """How one step of the two networks went; all 0 where no discriminator took part."""

    gan_loss: float = 0.0
    gan_weight: float = 0.0
    discriminator_loss: float = 0.0


def begin_discriminator(config: TokenizerTraining, device: torch.device) -> Learner:
    """A fresh discriminator and its optimizer; the same seed gives the same weights."""
    with torch.random.fork_rng(devices=[]):  # building a layer draws from torch's own source
        source = torch.Generator().manual_seed(config.seed)
        model = PatchDiscriminator(config.gan_width, config.gan_layers, source)
    model.to(device)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=config.gan_learning_rate, betas=(0.5, 0.9), weight_decay=0.0
    )
    return Learner(model, optimizer)


def fool(
    discriminator: nn.Module,
    drawn: Tensor,
    loss: Tensor,
    last_layer: Tensor,
    team: Team | None = None,
) -> tuple[Tensor, Contest]:
    """The loss of being found out times its adaptive weight; teaches the discriminator nothing.

    The weight is that of the pictures at hand: with micro-batches each has its own.
    """
    discriminator.requires_grad_(False)
    scores = discriminator(drawn)
    _, gan_loss = hinge_losses(scores, scores)
    weight = adaptive_weight(loss, gan_loss, last_layer, team)
    return weight * gan_loss, Contest(gan_loss.item(), weight.item())


def learn_difference(
    rival: Learner,
    images: Tensor,
    drawn: Tensor,
    learning_rate: float,
    lecam: float,
    team: Team | None = None,
) -> float:
    """One step of the discriminator on originals and drawings; returns its hinge loss."""
    team = team or Team()
    rival.model.requires_grad_(True)
    lost = images.new_zeros(())
    for rows in team.parts(len(images)):
        real, fake = rival.model(images[rows]), rival.model(drawn[rows].detach())
        hinge, _ = hinge_losses(real, fake)
        loss = hinge
        if lecam:
            decay = 0.99 ** (1 / team.micro)  # micro-batches together move the anchors once
            loss = hinge + lecam * lecam_penalty(real, fake, rival.model.anchors, decay, team)  # type: ignore[arg-type]
        share = len(real) / (len(images) * team.size)
        (share * loss).backward()
        lost += share * hinge.detach()
    team.sum_gradients(rival.model)
    for group in rival.optimizer.param_groups:
        group["lr"] = learning_rate
    rival.optimizer.step()
    rival.optimizer.zero_grad(set_to_none=True)
    return team.total(lost).item()


def lecam_penalty(
    real: Tensor, fake: Tensor, anchors: Tensor, decay: float = 0.99, team: Team | None = None
) -> Tensor:
    """Hold scores near the running mean of the *other* side: a brake for small data sets.

    Args:
        real: scores of originals, any shape.
        fake: scores of drawings, any shape.
        anchors: ``(2,)``, running means of both, moved in place.
        decay: share of the old mean that stays.
        team: the processes over whose scores the means are taken.

    Returns:
        A scalar, 0 or more.

    Source:
        LeCam-GAN, R_LC, one-sided as in its released code.
    """
    with torch.no_grad():
        means = (team or Team()).mean(torch.stack([real.mean(), fake.mean()]).to(anchors))
        anchors.lerp_(means, 1 - decay)
    real_anchor, fake_anchor = anchors.detach().clone()
    return F.relu(real - fake_anchor).square().mean() + F.relu(real_anchor - fake).square().mean()
