"""Diffusion in formulas: add noise, guess it, step back.

Vocabulary: ``x0`` is clean data, ``noise`` a normal draw, ``t`` the time (0: nearly clean, 999:
pure noise), ``alpha_bar[t]`` the share of ``x0``'s variance that is left at time ``t``.

Source: DDPM (arXiv:2006.11239); cosine schedule, learned variance and respacing from Improved DDPM
(arXiv:2102.09672), as MAR (arXiv:2406.11838) and DC-AR's released code use them.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

Guess = Callable[[Tensor, Tensor], tuple[Tensor, Tensor | None]]
"""``(x_t, t) -> (noise, fraction)``; ``fraction`` in [-1, 1] places a learned variance."""


def cosine_alpha_bars(steps: int = 1000) -> Tensor:
    """``alpha_bar`` of every time, float64 ``(steps,)``; betas are cut at 0.999.

    Source:
        Improved DDPM, Eq. 17.

    Example:
        >>> [round(a, 5) for a in cosine_alpha_bars()[[0, 499]].tolist()]
        [0.99996, 0.49384]
    """
    share = torch.arange(steps + 1, dtype=torch.float64) / steps
    curve = torch.cos((share + 0.008) / 1.008 * math.pi / 2).square()
    betas = (1 - curve[1:] / curve[:-1]).clamp(max=0.999)
    return torch.cumprod(1 - betas, dim=0)


def respaced(num_steps: int, total: int = 1000) -> list[int]:
    """``num_steps`` times spread evenly over ``0 .. total - 1``, both ends included.

    Raises:
        ValueError: outside 1..total.

    Example:
        >>> respaced(8)
        [0, 143, 285, 428, 571, 714, 856, 999]
    """
    if not 1 <= num_steps <= total:
        raise ValueError(
            f"residual steps must be between 1 and {total}, got {num_steps}. DC-AR uses 20."
        )
    stride = (total - 1) / max(1, num_steps - 1)
    times, place = [], 0.0
    for _ in range(num_steps):
        times.append(round(place))
        place += stride
    return times if num_steps > 1 else [total - 1]


def add_noise(x0: Tensor, noise: Tensor, alpha_bar: Tensor) -> Tensor:
    """``sqrt(alpha_bar) x0 + sqrt(1 - alpha_bar) noise``; one ``alpha_bar`` a row (DDPM, Eq. 4)."""
    alpha_bar = alpha_bar.reshape(-1, *[1] * (x0.ndim - 1)).to(x0.device)
    return alpha_bar.sqrt().to(x0.dtype) * x0 + (1 - alpha_bar).sqrt().to(x0.dtype) * noise


@dataclass(frozen=True)
class Schedule:
    """The numbers of one chain of times, from clean (first) to noise (last)."""

    times: tuple[int, ...]
    """The times given to the network, 0..999, ascending."""
    alpha_bars: Tensor
    """Their ``alpha_bar``, float64."""

    @classmethod
    def respaced(cls, num_steps: int, total: int = 1000) -> "Schedule":
        """The chain of ``num_steps`` times used for sampling."""
        times = respaced(num_steps, total)
        return cls(tuple(times), cosine_alpha_bars(total)[times])

    @property
    def previous(self) -> Tensor:
        """``alpha_bar`` one step closer to the data; 1 before the first."""
        return torch.cat([self.alpha_bars.new_ones(1), self.alpha_bars[:-1]])

    @property
    def betas(self) -> Tensor:
        """The variance that one step of this chain adds."""
        return 1 - self.alpha_bars / self.previous

    @property
    def posterior_log_variances(self) -> Tensor:
        """Log of the smallest sensible variance (DDPM, Eq. 7); its first entry is the second's."""
        variances = self.betas * (1 - self.previous) / (1 - self.alpha_bars)
        if len(variances) > 1:
            variances[0] = variances[1]
        return variances.clamp(min=1e-20).log()


def predict_x0(x: Tensor, noise: Tensor, alpha_bar: float, clip: float | None = None) -> Tensor:
    """The clean data that ``x`` and its guessed noise imply, cut to ``[-clip, clip]`` if given.

    At t = 999 this multiplies an error in the noise by 20,291: clipping tames the first steps.
    """
    x0 = (x - math.sqrt(1 - alpha_bar) * noise) / math.sqrt(alpha_bar)
    return x0 if clip is None else x0.clamp(-clip, clip)


def sample(
    guess: Guess,
    noise: Tensor,
    schedule: Schedule,
    *,
    clip: float | None = None,
    method: str = "ancestral",
) -> Tensor:
    """From pure noise to data.

    Args:
        guess: the network (guidance included).
        noise: ``(len(schedule.times) + 1, ...)``: the start, then one draw for each step.
        schedule: the chain of times.
        clip: bound of the predicted data, in its own units; None: no bound.
        method: ``"ancestral"`` draws each step from the posterior; ``"ddim"`` adds no noise after
            the start.

    Returns:
        ``x0``, shaped like ``noise[0]``.

    Raises:
        ValueError: unknown method.

    Source:
        DDPM, Algorithm 2, with the posterior mean of Eq. 7 on the respaced chain; DDIM
        (arXiv:2010.02502), Eq. 12 with sigma 0.
    """
    if method not in ("ancestral", "ddim"):
        raise ValueError(f"method must be 'ancestral' or 'ddim', got '{method}'.")
    x = noise[0]
    betas, previous = schedule.betas.tolist(), schedule.previous.tolist()
    floors = schedule.posterior_log_variances.tolist()
    for step, place in enumerate(reversed(range(len(schedule.times)))):
        alpha_bar, before, beta = schedule.alpha_bars[place].item(), previous[place], betas[place]
        t = torch.full((len(x),), schedule.times[place], device=x.device)
        guessed, fraction = guess(x, t)
        x0 = predict_x0(x, guessed, alpha_bar, clip)
        if method == "ddim":
            implied = (x - math.sqrt(alpha_bar) * x0) / math.sqrt(1 - alpha_bar)
            x = math.sqrt(before) * x0 + math.sqrt(1 - before) * implied
            continue
        mean = (
            math.sqrt(before) * beta / (1 - alpha_bar) * x0
            + math.sqrt(1 - beta) * (1 - before) / (1 - alpha_bar) * x
        )
        if place == 0:
            return mean
        spread = math.exp(0.5 * floors[place])
        deviation = spread if fraction is None else _interpolated(fraction, floors[place], beta)
        x = mean + deviation * noise[step + 1]
    return x


def _interpolated(fraction: Tensor, floor: float, beta: float) -> Tensor:
    """Standard deviation between the smallest and the largest sensible one (IDDPM, Eq. 15)."""
    share = (fraction + 1) / 2
    return (0.5 * (share * math.log(beta) + (1 - share) * floor)).exp()


def variance_bound(
    x0: Tensor, x: Tensor, t: Tensor, noise: Tensor, fraction: Tensor, steps: int = 1000
) -> Tensor:
    """The variational bound in bits that trains a learned variance; one number a row.

    Args:
        x0: data ``(n, c)``.
        x: noised data at ``t``.
        t: int64 ``(n,)``.
        noise: the guessed noise; it gets no gradient from here.
        fraction: the guessed place of the variance, about [-1, 1].
        steps: times of the full chain.

    Source:
        Improved DDPM, Sec. 3.1. At t = 0 the likelihood of 8-bit bins, as the released code does,
        though residuals are no 8-bit values.
    """
    chain = Schedule(tuple(range(steps)), cosine_alpha_bars(steps))

    def at(values: Tensor) -> Tensor:
        return values[t.cpu()].to(x0.device, x0.dtype)[:, None]

    # Weights are made in float64: in float32, 1 - alpha_bar loses its digits near t = 0.
    bars, left, betas = chain.alpha_bars, 1 - chain.alpha_bars, chain.betas
    take = at(chain.previous.sqrt() * betas / left)
    keep = at((1 - betas).sqrt() * (1 - chain.previous) / left)
    guessed = at((1 / bars).sqrt()) * x - at((1 / bars - 1).sqrt()) * noise.detach()
    mean, guess = take * x0 + keep * x, take * guessed + keep * x
    share, floor = (fraction + 1) / 2, at(chain.posterior_log_variances)
    log_variance = share * at(betas.log()) + (1 - share) * floor
    kl = 0.5 * (
        log_variance - floor - 1
        + (floor - log_variance).exp()
        + (mean - guess).square() * (-log_variance).exp()
    )  # fmt: skip
    likelihood = _bin_likelihood(x0, guess, 0.5 * log_variance)
    return torch.where(t == 0, -likelihood.mean(1), kl.mean(1)) / math.log(2)


def _bin_likelihood(x: Tensor, mean: Tensor, log_scale: Tensor) -> Tensor:
    """Log-probability of the 1/255-wide bin around ``x`` under a normal (tanh approximation)."""

    def below(value: Tensor) -> Tensor:
        return 0.5 * (1 + torch.tanh(math.sqrt(2 / math.pi) * (value + 0.044715 * value**3)))

    inverse = (-log_scale).exp()
    upper = below(inverse * (x - mean + 1 / 255))
    lower = below(inverse * (x - mean - 1 / 255))
    first, last = upper.clamp(min=1e-12), (1 - lower).clamp(min=1e-12)
    middle = (upper - lower).clamp(min=1e-12)
    return torch.where(x < -0.999, first, torch.where(x > 0.999, last, middle)).log()
