"""Lesson 02, attention at a cost that grows linearly: exercise 02.4 with its wrong answers."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from dcar_edu.course.checks import Exercise, Mistake, Wrong, same


def linear_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attention with ReLU, keys times values first: the reference answer of 02.4."""
    q, k = q.relu(), k.relu()
    summed = q @ k.sum(dim=-2, keepdim=True).transpose(-1, -2)
    return q @ (k.transpose(-1, -2) @ v) / (summed + 1e-15)


def _quadratic(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    weights = q.relu() @ k.relu().transpose(-1, -2)
    return weights / (weights.sum(-1, keepdim=True) + 1e-15) @ v


def _test_linear_attention(fn: Callable, reference: Callable, generator: torch.Generator) -> None:
    q, k, v = torch.randn(3, 2, 7, 4, generator=generator).unbind()
    q[0, 0], k[:, 0] = q[0, 0].abs() + 0.1, k[:, 0].abs() + 0.1
    q[0, 1] = -1.0  # this place asks for nothing
    got, want = fn(q, k, v), reference(q, k, v)
    what = "q, k, v (2, 7, 4): 7 places, width 4"
    if isinstance(got, Tensor) and got.shape == want.shape:
        if got.isnan().any():
            raise Wrong(
                f"{what}: got nan (not a number) for a query that is negative everywhere, "
                "expected 0: its denominator is 0."
            )
        plain = q.relu() @ (k.relu().transpose(-1, -2) @ v)
        keys = k.relu() @ q.relu().sum(-2, keepdim=True).transpose(-1, -2)
        half = q.relu() @ k.transpose(-1, -2)
        for symptom, wrong in {
            "nothing divides the result, so the weights of a place do not add up to 1": plain,
            "the denominator adds up the queries; each query needs the sum over the keys": (
                plain / (keys + 1e-15)
            ),
            "negative keys take part: only the queries went through ReLU": (
                half / (half.sum(-1, keepdim=True) + 1e-15) @ v
            ),
            "this is softmax attention; softmax cannot be taken apart into q and k": (
                F.scaled_dot_product_attention(q, k, v)
            ),
        }.items():
            if torch.allclose(got, wrong, rtol=1e-3, atol=1e-5):
                first = [[round(x, 3) for x in y[0, 0].tolist()] for y in (got, want)]
                raise Wrong(f"{what}: {symptom}. First row: got {first[0]}, expected {first[1]}.")
    same(got, want, what)
    q, k, v = torch.randn(3, 1, 1200, 8, generator=generator).unbind()
    same(fn(q, k, v), reference(q, k, v), "q, k, v (1, 1200, 8)", atol=1e-4)


def _with_a_row_of_ones(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    padded = torch.cat([v, torch.ones_like(v[..., :1])], dim=-1)
    both = torch.einsum(
        "...nd,...de->...ne", q.relu(), torch.einsum("...nd,...ne->...de", k.relu(), padded)
    )
    return both[..., :-1] / (both[..., -1:] + 1e-15)


def _softmax(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return F.scaled_dot_product_attention(q, k, v)


def _no_denominator(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return q.relu() @ (k.relu().transpose(-1, -2) @ v)


def _over_the_queries(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    summed = k.relu() @ q.relu().sum(-2, keepdim=True).transpose(-1, -2)
    return _no_denominator(q, k, v) / (summed + 1e-15)


def _relu_on_q_only(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    weights = q.relu() @ k.transpose(-1, -2)
    return weights / (weights.sum(-1, keepdim=True) + 1e-15) @ v


def _divides_by_zero(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    summed = q.relu() @ k.relu().sum(-2, keepdim=True).transpose(-1, -2)
    return _no_denominator(q, k, v) / summed


LINEAR_ATTENTION = Exercise(
    id="02.4",
    reference=linear_attention,
    test=_test_linear_attention,
    mistakes=(
        Mistake("softmax", _softmax),
        Mistake("no denominator", _no_denominator),
        Mistake("denominator over the queries", _over_the_queries),
        Mistake("ReLU on the queries only", _relu_on_q_only),
        Mistake("divides by zero where a query has no weight", _divides_by_zero),
    ),
    alternatives=(_quadratic, _with_a_row_of_ones),
    used_in="dcar_edu.tokenizer.blocks.relu_attention",
)
