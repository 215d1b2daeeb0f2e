"""Lesson 10, DC-AR whole: exercises 10.1 and 10.2, and all four together.

10.3 and 10.4 stand in ``decoding_10.py``.
"""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dcar_edu.course.checks import Exercise, Mistake, Spy, Wrong, same, same_gradient
from dcar_edu.course.lessons.decoding_10 import DECODING
from dcar_edu.course.lessons.quiz_10 import QUIZ, TERMS
from dcar_edu.generator.diffusion import add_noise, cosine_alpha_bars

__all__ = ["EXERCISES", "QUIZ", "TERMS"]

# 10.1 -----------------------------------------------------------------------------------------


def adaln_block(h: Tensor, y: Tensor, parts: SimpleNamespace) -> Tensor:
    """An MLP steered by a condition: the reference answer of 10.1."""
    shift, scale, gate = parts.modulation(F.silu(y)).chunk(3, dim=-1)
    return h + gate * parts.mlp(parts.norm(h) * (1 + scale) + shift)


def _parts(width: int, generator: torch.Generator) -> SimpleNamespace:
    """Norm, MLP and modulation with weights drawn from ``generator``."""

    def linear(wide: int) -> nn.Linear:
        layer = nn.utils.skip_init(nn.Linear, width, wide)
        with torch.no_grad():
            layer.weight.copy_(0.5 * torch.randn(wide, width, generator=generator))
            layer.bias.copy_(0.5 * torch.randn(wide, generator=generator))
        return layer

    mlp = nn.Sequential(linear(width), nn.SiLU(), linear(width))
    norm = nn.LayerNorm(width, elementwise_affine=False, eps=1e-6)
    return SimpleNamespace(norm=norm, mlp=mlp, modulation=linear(3 * width))


def _test_adaln_block(fn: Callable, reference: Callable, generator: torch.Generator) -> None:
    parts = _parts(6, generator)
    h, y = (torch.randn(5, 6, generator=generator).requires_grad_() for _ in range(2))
    with torch.no_grad():
        still = SimpleNamespace(**{**vars(parts), "modulation": lambda y: torch.zeros(5, 18)})
        got = fn(h, y, still)
        if isinstance(got, Tensor) and got.shape == h.shape and not torch.equal(got, h):
            gap = (got - h).abs().max().item()
            raise Wrong(
                f"a modulation of zeros: got a change of {gap:.3f}, expected the identity, so that "
                "an untrained block does no harm."
            )
    got, want = fn(h, y, parts), reference(h, y, parts)
    same(got, want, "a random modulation")
    leaves = {"h": h, "y": y, "weight of the modulation": parts.modulation.weight}
    same_gradient(got, want, leaves, "a random modulation")


def _block_in_slices(h: Tensor, y: Tensor, parts: SimpleNamespace) -> Tensor:
    wide = h.shape[-1]
    told = parts.modulation(y * torch.sigmoid(y))
    moved = parts.norm(h) + parts.norm(h) * told[:, wide : 2 * wide] + told[:, :wide]
    return told[:, 2 * wide :] * parts.mlp(moved) + h


def _no_gate(h: Tensor, y: Tensor, parts: SimpleNamespace) -> Tensor:
    shift, scale, _ = parts.modulation(F.silu(y)).chunk(3, dim=-1)
    return h + parts.mlp(parts.norm(h) * (1 + scale) + shift)


def _scale_without_one(h: Tensor, y: Tensor, parts: SimpleNamespace) -> Tensor:
    shift, scale, gate = parts.modulation(F.silu(y)).chunk(3, dim=-1)
    return h + gate * parts.mlp(parts.norm(h) * scale + shift)


def _gate_over_everything(h: Tensor, y: Tensor, parts: SimpleNamespace) -> Tensor:
    shift, scale, gate = parts.modulation(F.silu(y)).chunk(3, dim=-1)
    return gate * (h + parts.mlp(parts.norm(h) * (1 + scale) + shift))


def _no_silu(h: Tensor, y: Tensor, parts: SimpleNamespace) -> Tensor:
    shift, scale, gate = parts.modulation(y).chunk(3, dim=-1)
    return h + gate * parts.mlp(parts.norm(h) * (1 + scale) + shift)


# 10.2 -----------------------------------------------------------------------------------------


def residual_loss(
    head: Callable,
    hidden: Tensor,
    residual: Tensor,
    scale: float,
    times: int,
    generator: torch.Generator,
) -> Tensor:
    """Diffusion loss of every token's residual: the reference answer of 10.2."""
    hidden = hidden.repeat(times, 1)
    x0 = (residual / scale).repeat(times, 1)
    t = torch.randint(1000, (len(x0),), generator=generator)
    noise = torch.randn(x0.shape, generator=generator).to(x0)
    x = add_noise(x0, noise, cosine_alpha_bars()[t])
    return (head(x, t.to(x.device), hidden) - noise).square().mean()


TOKENS, TIMES, SCALE = 700, 4, 0.1


def _test_residual_loss(fn: Callable, reference: Callable, generator: torch.Generator) -> None:
    unit = torch.randn(TOKENS, 3, generator=generator)
    hidden = torch.cat([unit, torch.randn(TOKENS, 2, generator=generator)], dim=1)
    hidden.requires_grad_()
    told = (hidden, SCALE * unit, SCALE, TIMES, generator)
    spy = Spy(lambda x, t, hidden: torch.zeros_like(x))
    _check_rows(spy, fn(spy, *told).item(), reference(spy.fn, *told).item())

    def knowing(x: Tensor, t: Tensor, hidden: Tensor) -> Tensor:
        share = cosine_alpha_bars()[t].to(x)[:, None]
        return (x - share.sqrt() * hidden[:, :3]) / (1 - share).sqrt()

    value = fn(knowing, *told).item()
    if value > 0.01:
        raise Wrong(
            f"a head that reads residual / scale from the hidden state: got a loss of {value:.3f}, "
            "expected 0. Is the residual divided by the scale, and does row i of the hidden states "
            "belong to row i of the residuals?"
        )
    weight = torch.randn(5, 3, generator=generator)
    loss = fn(lambda x, t, hidden: hidden @ weight, *told)
    if not loss.requires_grad or torch.autograd.grad(loss, hidden, allow_unused=True)[0] is None:
        raise Wrong(
            "the gradient: got none at the hidden states, expected one. This loss also teaches "
            "the transformer."
        )
    seeds = [torch.Generator().manual_seed(5) for _ in range(2)]
    one, two = (fn(spy, *told[:4], seed).item() for seed in seeds)
    if one != two:
        raise Wrong("the same seed twice: got two different losses, expected the same one.")


def _check_rows(spy: Spy, loss: float, ours: float) -> None:
    rows = sum(len(call[0]) for call in spy.calls)
    if rows != TIMES * TOKENS:
        raise Wrong(
            f"{TOKENS} tokens, each {TIMES} times: got {rows} rows in the head, expected "
            f"{TIMES * TOKENS}."
        )
    drawn = torch.cat([call[1] for call in spy.calls])
    if len(drawn.unique()) < 700 or drawn.min() < 0 or drawn.max() > 999:
        raise Wrong(
            f"the times told to the head: got {len(drawn.unique())} different ones, expected a "
            f"fresh draw from 0..999 for each of {TIMES * TOKENS} rows."
        )
    if abs(loss - ours) > 0.1:
        raise Wrong(
            f"a head that answers 0: got a loss of {loss:.3f}, expected about {ours:.1f}, the "
            "variance of the noise."
        )


def _loss_in_turns(
    head: Callable,
    hidden: Tensor,
    residual: Tensor,
    scale: float,
    times: int,
    generator: torch.Generator,
) -> Tensor:
    losses = []
    for _ in range(times):
        t = torch.randint(1000, (len(residual),), generator=generator)
        noise = torch.randn(residual.shape, generator=generator)
        x = add_noise(residual / scale, noise, cosine_alpha_bars()[t])
        losses.append(F.mse_loss(head(x, t, hidden), noise))
    return torch.stack(losses).mean()


def _multiplied(
    head: Callable, hidden: Tensor, residual: Tensor, scale: float, *told: Any
) -> Tensor:
    return residual_loss(head, hidden, residual * scale * scale, scale, *told)


def _detached(head: Callable, hidden: Tensor, *told: Any) -> Tensor:
    return residual_loss(head, hidden.detach(), *told)


def _not_repeated(
    head: Callable, hidden: Tensor, residual: Tensor, scale: float, times: int, *told: Any
) -> Tensor:
    return residual_loss(head, hidden, residual, scale, 1, *told)


def _different_orders(
    head: Callable, hidden: Tensor, residual: Tensor, scale: float, times: int, *told: Any
) -> Tensor:
    many = hidden.repeat_interleave(times, dim=0)
    return residual_loss(head, many, residual.repeat(times, 1), scale, 1, *told)


EXERCISES = (
    Exercise(
        id="10.1",
        reference=adaln_block,
        test=_test_adaln_block,
        mistakes=(
            Mistake("no gate", _no_gate),
            Mistake("the scale without 1 +", _scale_without_one),
            Mistake("the gate over everything, the shortcut too", _gate_over_everything),
            Mistake("no SiLU before the modulation", _no_silu),
        ),
        alternatives=(_block_in_slices,),
        used_in="dcar_edu.generator.residual_head.AdaLNBlock",
        slow_factor=200,  # microseconds a call: on a busy machine they vary 20-fold
    ),
    Exercise(
        id="10.2",
        reference=residual_loss,
        test=_test_residual_loss,
        mistakes=(
            Mistake("multiplies by the scale", _multiplied),
            Mistake("cuts the gradient into the transformer", _detached),
            Mistake("each token once only", _not_repeated),
            Mistake("hidden states and residuals repeated in different orders", _different_orders),
        ),
        alternatives=(_loss_in_turns,),
        used_in="dcar_edu.generator.residual_head.ResidualHead.loss",
        slow_factor=50,
    ),
    *DECODING,
)
