"""Drawing tokens in a few steps: guess all, keep the surest, hide the rest, repeat.

``sample_tokens`` takes any function that gives logits, so it can be tried with an oracle.

Source: MaskGIT (arXiv:2202.04200), Sec. 3.2; schedule, annealing and Gumbel noise as in DC-AR's
released code.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Tensor

from dcar_edu.generator.masking import picture_orders, reveal_counts

Predict = Callable[[Tensor, int], Tensor]
"""``(indices (b, h, w), step) -> logits (b, h * w, num_codes)``, guidance included."""
Sources = torch.Generator | Sequence[torch.Generator] | None


@dataclass(frozen=True)
class SamplingStep:
    """The state after one step."""

    step: int
    """From 1."""
    indices: Tensor
    """int64 ``(b, h, w)``; still hidden tokens hold ``num_codes``."""
    mask: Tensor
    """bool ``(b, h, w)``, True = still hidden."""
    confidence: Tensor
    """float ``(b, h, w)``: the score of each guess; +inf where the token was known before."""
    active: Tensor
    """bool ``(b,)``: this picture was still being drawn in this step."""


def gumbel(uniform: Tensor) -> Tensor:
    """Gumbel noise from uniform numbers: adding it to logits and taking the best is a draw."""
    inner = -uniform.clamp(min=1e-20).log()
    return -inner.clamp(min=1e-20).log()


def annealing(share: Tensor) -> Tensor:
    """Softmax temperature at progress ``share`` in (0, 1]: from 1.3 down to 0.5."""
    return 0.5 + 0.8 * (1 - share)


def sample_tokens(
    predict: Predict,
    shape: tuple[int, int, int],
    num_codes: int,
    *,
    num_steps: int = 12,
    temperature: float = 1.5,
    order: str = "confidence",
    initial: Tensor | None = None,
    generator: Sources = None,
    noise: Sequence[tuple[Tensor, Tensor]] | None = None,
    schedule_on: str = "hidden",
) -> Iterator[SamplingStep]:
    """Fill a grid of tokens step by step.

    Args:
        predict: gives the (guided) logits of all tokens; see :data:`Predict`.
        shape: ``(b, h, w)``.
        num_codes: ``K``; also the index of a hidden token.
        num_steps: steps of a picture; one with fewer hidden tokens takes as many as it has.
        temperature: of the Gumbel noise, falling to 0 at the last step; 0: always the best guess.
        order: ``"confidence"``, or a fixed ``"halton"`` or ``"raster"``.
        initial: int64 ``(b, h, w)`` with known tokens; hidden ones hold ``num_codes``.
        generator: CPU random source, or one a picture: then a picture does not depend on its
            neighbours. None: a new seed each time.
        noise: stored uniform numbers for each step, ``(b, n, K)`` and ``(b, n)``.
        schedule_on: ``"hidden"``: a picture's steps and counts follow its own hidden tokens;
            ``"all"``: all its tokens, known ones too, as the released code plans.

    Yields:
        One record a step; in the last, nothing is hidden. None at all when nothing was hidden.

    Raises:
        ValueError: no steps, more steps than tokens, indices out of range, or too few generators.

    Source:
        DC-AR's released code, the sampling loop.

    Deviates:
        Each picture follows the schedule of its own hidden tokens (the released code takes the
        first picture's count for all). Exactly as many tokens stay hidden as planned, also when
        scores tie.
    """
    b, h, w = shape
    indices = _start(shape, num_codes, num_steps, initial)
    hidden = rearrange(indices == num_codes, "b h w -> b (h w)")
    plans = [_plan(n, h * w, num_steps, schedule_on) for n in hidden.sum(1).tolist()]
    ranks = None if order == "confidence" else picture_orders(order, h, w)
    sources = _sources(generator, b)
    lengths = torch.tensor([len(plan) for plan in plans])
    for step in range(1, int(lengths.max()) + 1):
        logits = predict(indices, step).detach().cpu()
        share = (step / lengths.clamp(min=1)).clamp(max=1)[:, None]
        active = lengths >= step
        uniform = noise[step - 1] if noise else _uniform(sources, active, h * w, num_codes)
        guess, score = _drawn(logits, share, temperature * (1 - share), uniform)
        if ranks is not None:
            score = -ranks.float().expand(b, -1)
        flat = indices.flatten(1)
        known = ~hidden
        score = score.masked_fill(known, torch.inf)
        reveal = _surest(score, hidden, [p[step - 1] if step <= len(p) else 0 for p in plans])
        flat = torch.where(reveal, guess, flat)
        hidden = hidden & ~reveal
        indices = flat.reshape(shape)
        grids = [rearrange(t, "b (h w) -> b h w", h=h) for t in (hidden, score)]
        yield SamplingStep(step, indices, grids[0], grids[1], active)


def _plan(hidden: int, total: int, num_steps: int, schedule_on: str) -> list[int]:
    """Tokens that each step reveals in a picture with so many hidden ones."""
    if schedule_on not in ("hidden", "all"):
        raise ValueError(f"schedule_on must be 'hidden' or 'all', got '{schedule_on}'.")
    if not hidden:
        return []
    if schedule_on == "all":
        return reveal_counts(hidden, num_steps, total)
    return reveal_counts(hidden, min(num_steps, hidden))


def _drawn(
    logits: Tensor, share: Tensor, heat: Tensor, uniform: tuple[Tensor, Tensor]
) -> tuple[Tensor, Tensor]:
    """A code for every token and how sure it is, with Gumbel noise on both; ``heat`` (b, 1)."""
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    logits = logits / annealing(share)[..., None]
    guess = (logits + heat[..., None] * gumbel(uniform[0])).argmax(-1)
    return guess, logits.gather(-1, guess[..., None])[..., 0] + heat * gumbel(uniform[1])


def _surest(score: Tensor, hidden: Tensor, counts: list[int]) -> Tensor:
    """Mark, in each row, the given number of hidden places with the highest score."""
    order = score.masked_fill(~hidden, -torch.inf).argsort(dim=1, descending=True, stable=True)
    rank = order.argsort(dim=1)
    return (rank < torch.tensor(counts)[:, None]) & hidden


def _start(
    shape: tuple[int, int, int], num_codes: int, num_steps: int, initial: Tensor | None
) -> Tensor:
    b, h, w = shape
    if not 1 <= num_steps <= h * w:
        raise ValueError(
            f"num_steps must be between 1 and the {h * w} tokens of a {h}x{w} grid, got "
            f"{num_steps}: each step reveals at least one token. Use fewer steps."
        )
    if initial is None:
        return torch.full(shape, num_codes)
    if tuple(initial.shape) != tuple(shape) or initial.min() < 0 or initial.max() > num_codes:
        raise ValueError(
            f"initial must have shape {tuple(shape)} and values 0..{num_codes} (the last hides a "
            f"token), got {tuple(initial.shape)} with {int(initial.min())}..{int(initial.max())}."
        )
    return initial.cpu().clone()


def _sources(generator: Sources, b: int) -> list[torch.Generator]:
    if generator is None:
        generator = torch.Generator()
        generator.seed()
    if isinstance(generator, torch.Generator):
        return [generator] * b
    if len(generator) != b:
        raise ValueError(
            f"give one generator, or one for each of the {b} pictures; got {len(generator)}."
        )
    return list(generator)


def _uniform(
    sources: list[torch.Generator], active: Tensor, n: int, num_codes: int
) -> tuple[Tensor, Tensor]:
    """Uniform numbers for guesses and scores; a finished picture's source rests."""
    guesses, scores = torch.zeros(len(sources), n, num_codes), torch.zeros(len(sources), n)
    for i, source in enumerate(sources):
        if active[i]:
            guesses[i] = torch.rand(n, num_codes, generator=source)
            scores[i] = torch.rand(n, generator=source)
    return guesses, scores
