"""The small diffusion head: draws the residual of one token from its hidden state.

Source: MAR (arXiv:2406.11838), Sec. 3.2 and its MLP with adaLN; sizes as in DC-AR's released code.
"""

import math

import torch
import torch.nn.functional as F
from einops import repeat
from torch import Tensor, nn

from dcar_edu.generator.config import GeneratorConfig
from dcar_edu.generator.diffusion import (
    Schedule,
    add_noise,
    cosine_alpha_bars,
    sample,
    variance_bound,
)
from dcar_edu.generator.guidance import guide

TIME_WIDTH = 256
"""Numbers that tell the head the time: cosines and sines at half as many frequencies."""


def frequencies(device: torch.device | str = "cpu") -> Tensor:
    """128 frequencies from 1 down to nearly 1/10000, float32 as in the released code."""
    half = TIME_WIDTH // 2
    exponents = torch.arange(half, dtype=torch.float32, device=device) / half
    return torch.exp(-math.log(10000) * exponents)


def time_features(t: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """Cosines, then sines, of time at 128 frequencies: ``(n,)`` to ``(n, 256)``."""
    exact = torch.promote_types(dtype, torch.float32)
    angles = t.to(exact)[:, None] * frequencies(t.device).to(exact)
    return torch.cat([angles.cos(), angles.sin()], dim=-1).to(dtype)


class AdaLNBlock(nn.Module):
    """An MLP whose shift, scale and gate come from the condition; the identity at the start."""

    def __init__(self, width: int):
        super().__init__()
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.mlp = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
        self.modulation = nn.Linear(width, 3 * width)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """``(n, width)`` to the same shape."""
        shift, scale, gate = self.modulation(F.silu(condition)).chunk(3, dim=-1)
        return x + gate * self.mlp(self.norm(x) * (1 + scale) + shift)


class FinalLayer(nn.Module):
    """Modulated norm, then one linear layer; answers 0 at the start."""

    def __init__(self, width: int, channels: int):
        super().__init__()
        self.norm = nn.LayerNorm(width, elementwise_affine=False, eps=1e-6)
        self.linear = nn.Linear(width, channels)
        self.modulation = nn.Linear(width, 2 * width)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """``(n, width)`` to ``(n, channels)``."""
        shift, scale = self.modulation(F.silu(condition)).chunk(2, dim=-1)
        return self.linear(self.norm(x) * (1 + scale) + shift)


class ResidualHead(nn.Module):
    """Guess the noise in a residual, given time and the token's hidden state.

    Deviates:
        Modulations and the last layer start at zero, as in MAR. The released generator overwrites
        them with Xavier weights: ``start(official=True)``.
    """

    def __init__(self, config: GeneratorConfig):
        super().__init__()
        self.config = config
        width, channels = config.head_width, config.latent_channels
        self.time = nn.Sequential(nn.Linear(TIME_WIDTH, width), nn.SiLU(), nn.Linear(width, width))
        self.condition = nn.Linear(config.width, width)
        self.input = nn.Linear(channels, width)
        self.blocks = nn.ModuleList(AdaLNBlock(width) for _ in range(config.head_depth))
        self.output = FinalLayer(width, channels * (2 if config.learned_variance else 1))

    def start(self, official: bool = False) -> None:
        """Set the starting weights: Xavier, small time layers, zero modulation and output.

        Args:
            official: Xavier everywhere, as the released generator really starts. Its first loss is
                about 3.8 at ``paper``, not 1.
        """
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        if official:
            return
        for place in (0, 2):
            nn.init.normal_(self.time[place].weight, std=0.02)  # type: ignore[arg-type]
        zeroed = [block.modulation for block in self.blocks]
        for layer in (*zeroed, self.output.modulation, self.output.linear):
            nn.init.zeros_(layer.weight)  # type: ignore[arg-type, union-attr]
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type, union-attr]

    def forward(self, x: Tensor, t: Tensor, hidden: Tensor) -> Tensor:
        """Residuals ``(n, c)``, times ``(n,)``, hidden ``(n, width)``; gives ``(n, c or 2c)``."""
        condition = self.condition(hidden) + self.time(time_features(t, hidden.dtype))
        x = self.input(x)
        for block in self.blocks:
            x = block(x, condition)
        return self.output(x, condition)

    def guess(self, x: Tensor, t: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor | None]:
        """The guessed noise ``(n, c)`` and, if learned, where the variance lies."""
        answer = self(x, t, hidden)
        if not self.config.learned_variance:
            return answer, None
        noise, fraction = answer.chunk(2, dim=-1)
        return noise, fraction

    def loss(
        self,
        hidden: Tensor,
        residuals: Tensor,
        generator: torch.Generator | None = None,
        *,
        t: Tensor | None = None,
        noise: Tensor | None = None,
    ) -> Tensor:
        """Diffusion loss of every token, each at several independent times.

        Args:
            hidden: ``(n, width)``; the gradient flows on into the transformer.
            residuals: ``(n, c)``, in latent units; divided by ``residual_scale`` here.
            generator: the CPU source of times and noise.
            t: stored times instead, int64 ``(n * repeats,)``.
            noise: stored noise instead, ``(n * repeats, c)``.

        Returns:
            A scalar: mean squared error of the noise, plus the variance's bound if it is learned.

        Source:
            MAR, Eq. 5; all tokens and four repeats as in DC-AR's released code.
        """
        config = self.config
        repeats = config.diffusion_repeats
        hidden = repeat(hidden, "n width -> (repeats n) width", repeats=repeats)
        x0 = repeat(residuals / config.residual_scale, "n c -> (repeats n) c", repeats=repeats)
        if t is None:
            t = torch.randint(config.diffusion_steps, (len(x0),), generator=generator)
        if noise is None:
            noise = torch.randn(x0.shape, generator=generator)
        noise = noise.to(x0)
        alpha_bars = cosine_alpha_bars(config.diffusion_steps)[t.cpu()]
        x = add_noise(x0, noise, alpha_bars)
        guessed, fraction = self.guess(x, t.to(x.device), hidden)
        guessed = guessed.to(x)  # the formulas stay in float32 when the network is autocast
        loss = (guessed - noise).square().mean()
        if fraction is not None:
            bound = variance_bound(x0, x, t.to(x.device), guessed, fraction, config.diffusion_steps)
            loss = loss + bound.mean()
        return loss

    @torch.no_grad()
    def sample(
        self,
        hidden: Tensor,
        null_hidden: Tensor | None,
        noise: Tensor,
        *,
        guidance: float,
        clip: float | None,
        method: str = "ancestral",
    ) -> Tensor:
        """Draw residuals ``(n, c)`` in latent units.

        Args:
            hidden: ``(n, width)``.
            null_hidden: the same without text; None or ``guidance=0``: no guidance.
            noise: ``(steps + 1, n, c)``.
            guidance: ``s`` of :func:`guide`.
            clip: bound of the predicted residual in units of ``residual_scale``.
            method: ``"ancestral"`` or ``"ddim"``.
        """
        schedule = Schedule.respaced(len(noise) - 1, self.config.diffusion_steps)

        def guess(x: Tensor, t: Tensor) -> tuple[Tensor, Tensor | None]:
            cond, fraction = self.guess(x, t, hidden)
            if null_hidden is None or guidance == 0:
                return cond, fraction
            uncond, _ = self.guess(x, t, null_hidden)
            return guide(cond, uncond, guidance), fraction

        drawn = sample(guess, noise, schedule, clip=clip, method=method)
        return drawn * self.config.residual_scale
