"""Lesson 07: exercises 07.4 and 07.5, a block of the transformer and the warm-up of the EMA."""

from collections.abc import Callable
from types import SimpleNamespace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dcar_edu.course.checks import Exercise, Mistake, Spy, Wrong, same, same_gradient

# 07.4 -----------------------------------------------------------------------------------------


def block(x: Tensor, text: Tensor, parts: SimpleNamespace) -> Tensor:
    """One block: look at the tokens, then at the words, then think: the reference of 07.4."""
    x = x + parts.attention(parts.norm1(x))
    x = x + parts.cross(x, text)
    return x + parts.mlp(parts.norm2(x))


def _parts(generator: torch.Generator) -> SimpleNamespace:
    """Small stand-ins: what matters is who is called with what, and in which order."""
    mix, words, first, second = (0.5 * torch.randn(6, 6, generator=generator) for _ in range(4))

    def attention(x: Tensor) -> Tensor:
        return torch.softmax(x @ x.transpose(1, 2), dim=-1) @ x @ mix

    def cross(x: Tensor, text: Tensor) -> Tensor:
        return torch.softmax(x @ text.transpose(1, 2), dim=-1) @ text @ words

    def mlp(x: Tensor) -> Tensor:
        return F.gelu(x @ first) @ second

    norm = nn.LayerNorm(6, elementwise_affine=False, eps=1e-6)
    return SimpleNamespace(attention=attention, cross=cross, mlp=mlp, norm1=norm, norm2=norm)


def _test_block(fn: Callable, reference: Callable, generator: torch.Generator) -> None:
    parts = _parts(generator)
    x = (3 * torch.randn(2, 5, 6, generator=generator)).requires_grad_()
    text = torch.randn(2, 4, 6, generator=generator).requires_grad_()
    silent = SimpleNamespace(
        **{**vars(parts), "attention": torch.zeros_like, "mlp": torch.zeros_like}
    )
    spy = Spy(lambda x, text: torch.zeros_like(x))
    silent.cross = spy
    still = fn(x, text, silent)
    if isinstance(still, Tensor) and still.shape == x.shape and not torch.equal(still, x):
        raise Wrong(
            "three parts that answer 0: got a change of x, expected x itself. Each part is added "
            "to x; none replaces it."
        )
    if len(spy.calls) != 1 or not torch.equal(spy.calls[0][0], x):
        raise Wrong(
            f"{len(spy.calls)} calls of cross: got something else than x in it, expected one call "
            "with x as it is: there is no norm before the words."
        )
    got, want = fn(x, text, parts), reference(x, text, parts)
    same(got, want, "5 tokens, 4 words, width 6")
    same_gradient(got, want, {"x": x, "text": text}, "5 tokens, 4 words, width 6")


def _block_in_sums(x: Tensor, text: Tensor, parts: SimpleNamespace) -> Tensor:
    looked = torch.add(x, parts.attention(parts.norm1(x)))
    read = parts.cross(looked, text) + looked
    thought = parts.mlp(parts.norm2(read))
    return thought + read


def _norm_before_cross(x: Tensor, text: Tensor, parts: SimpleNamespace) -> Tensor:
    x = x + parts.attention(parts.norm1(x))
    x = x + parts.cross(parts.norm2(x), text)
    return x + parts.mlp(parts.norm2(x))


def _cross_first(x: Tensor, text: Tensor, parts: SimpleNamespace) -> Tensor:
    x = x + parts.cross(x, text)
    x = x + parts.attention(parts.norm1(x))
    return x + parts.mlp(parts.norm2(x))


def _norm_after(x: Tensor, text: Tensor, parts: SimpleNamespace) -> Tensor:
    x = parts.norm1(x + parts.attention(x))
    x = x + parts.cross(x, text)
    return parts.norm2(x + parts.mlp(x))


def _no_shortcut_round_cross(x: Tensor, text: Tensor, parts: SimpleNamespace) -> Tensor:
    x = x + parts.attention(parts.norm1(x))
    x = parts.cross(x, text)
    return x + parts.mlp(parts.norm2(x))


# 07.5 -----------------------------------------------------------------------------------------


def ema_decay(step: int, target: float) -> float:
    """Decay of the average with warm-up: the reference answer of 07.5."""
    return min(target, (1 + step) / (10 + step))


def _test_ema_decay(fn: Callable, reference: Callable, generator: torch.Generator) -> None:
    for target in (0.999, 0.9, 0.05):
        for step in (0, 1, 7, 100, 5000, 100_000):
            got = fn(step, target)
            same(float(got), reference(step, target), f"step {step}, target {target}", atol=1e-6)


def _decay_by_cases(step: int, target: float) -> float:
    warm = 1 - 9 / (10 + step)
    return warm if warm < target else target


def _constant(step: int, target: float) -> float:
    return target


def _the_larger(step: int, target: float) -> float:
    return max(target, (1 + step) / (10 + step))


def _product(step: int, target: float) -> float:
    return target * (1 + step) / (10 + step)


NETWORK = (
    Exercise(
        id="07.4",
        reference=block,
        test=_test_block,
        mistakes=(
            Mistake("a norm before the cross-attention", _norm_before_cross),
            Mistake("the words first, then the tokens", _cross_first),
            Mistake("the norm after each part, not before", _norm_after),
            Mistake("no shortcut round the cross-attention", _no_shortcut_round_cross),
        ),
        alternatives=(_block_in_sums,),
        used_in="dcar_edu.generator.transformer.Block",
        slow_factor=200,  # microseconds a call: on a busy machine they vary 20-fold
    ),
    Exercise(
        id="07.5",
        reference=ema_decay,
        test=_test_ema_decay,
        mistakes=(
            Mistake("constant: no warm-up", _constant),
            Mistake("the larger of the two", _the_larger),
            Mistake("the product of the two", _product),
        ),
        alternatives=(_decay_by_cases,),
        used_in="dcar_edu.state.average_decay",
        slow_factor=500,
    ),
)
