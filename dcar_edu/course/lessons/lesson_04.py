"""Lesson 04, the hybrid tokenizer: five exercises with the wrong answers that people give."""

import math
import random
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from dcar_edu.course.checks import Exercise, Mistake, Wrong, same, same_gradient
from dcar_edu.course.lessons.quiz_04 import QUIZ, TERMS
from dcar_edu.course.lessons.training_04 import TRAINING

__all__ = ["EXERCISES", "QUIZ", "TERMS"]

# 04.1 -----------------------------------------------------------------------------------------


def split_latent(z: Tensor, codes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Split latents into code and residual: the reference answer of 04.1."""
    unit, codes = F.normalize(z, dim=1), F.normalize(codes, dim=1)
    similarity = torch.einsum("bchw,kc->bhwk", unit, codes)
    indices = similarity.argmax(dim=-1)
    quantized = codes[indices].permute(0, 3, 1, 2)
    return indices, quantized, unit - quantized


def _test_split_latent(fn: Callable, reference: Callable, generator: torch.Generator) -> None:
    z = 3 * torch.randn(2, 5, 3, 4, generator=generator)
    lengths = torch.tensor([0.2, 5.0, 1.0, 0.5, 2.0, 9.0, 1.5])[:, None]
    codes = lengths * F.normalize(torch.randn(7, 5, generator=generator), dim=1)
    codes.requires_grad_()
    got, want = fn(z, codes), reference(z, codes)
    if not isinstance(got, tuple | list) or len(got) != 3:
        raise Wrong(
            f"got {type(got).__name__}, expected three tensors: indices, quantized, residual."
        )
    same(got[0], want[0], "the indices (h = 3, w = 4, codes of unequal length)")
    if isinstance(got[1], Tensor) and got[1].shape == want[1].shape:
        length = got[1].norm(dim=1).mean().item()
        if not math.isclose(length, 1, rel_tol=0.01):
            raise Wrong(
                f"the quantized latents are not on the unit sphere: got a mean length of "
                f"{length:.2f}, expected 1. The indices are right."
            )
    same(got[1], want[1], "the quantized latents")
    same_gradient(got[1], want[1], {"codes": codes}, "the quantized latents")
    if torch.allclose(got[2], z - want[1], atol=1e-4):
        raise Wrong(
            "the residual does not lead from the code to the UNIT latent: got z - quantized with "
            "the raw z, expected the latent of length 1 minus quantized."
        )
    same(got[2], want[2], "the residual")


def _split_by_distance(z: Tensor, codes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    rows = F.normalize(z.permute(0, 2, 3, 1).flatten(0, 2), dim=1)
    codes = codes / codes.norm(dim=1, keepdim=True)
    b, _, h, w = z.shape
    indices = torch.cdist(rows, codes).argmin(1)
    quantized = codes[indices].view(b, h, w, -1).movedim(-1, 1)
    return indices.view(b, h, w), quantized, rows.view(b, h, w, -1).movedim(-1, 1) - quantized


def _wrong_sign(z: Tensor, codes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    indices, quantized, residual = split_latent(z, codes)
    return indices, quantized, -residual


def _from_raw_latent(z: Tensor, codes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    indices, quantized, _ = split_latent(z, codes)
    return indices, quantized, z - quantized


def _raw_code(z: Tensor, codes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    indices, _, _ = split_latent(z, codes)
    quantized = codes[indices].permute(0, 3, 1, 2)
    return indices, quantized, F.normalize(z, dim=1) - quantized


def _reshaped_axes(z: Tensor, codes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    b, c, h, w = z.shape
    unit, codes = F.normalize(z, dim=1), F.normalize(codes, dim=1)
    indices = (unit.reshape(-1, c) @ codes.T).argmax(1).reshape(b, h, w)
    quantized = codes[indices].reshape(b, c, h, w)
    return indices, quantized, unit - quantized


def _longest_code_wins(z: Tensor, codes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    unit = F.normalize(z, dim=1)
    indices = torch.einsum("bchw,kc->bhwk", unit, codes).argmax(dim=-1)
    quantized = F.normalize(codes, dim=1)[indices].permute(0, 3, 1, 2)
    return indices, quantized, unit - quantized


# 04.2 -----------------------------------------------------------------------------------------


def stage_input(unit: Tensor, quantized: Tensor, path: str, generator: torch.Generator) -> Tensor:
    """What the decoder reads in a stage: the reference answer of 04.2."""
    if path == "alternate":
        heads = torch.rand((), generator=generator).item() < 0.5
        path = "continuous" if heads else "discrete"
    return unit if path == "continuous" else unit + (quantized - unit).detach()


CALLS = 40
"""Draws on the alternating path; all alike by chance once in a million million times."""


def _test_stage_input(fn: Callable, reference: Callable, generator: torch.Generator) -> None:
    unit = torch.randn(3, 5, 2, 4, generator=generator).requires_grad_()
    quantized = torch.randn(3, 5, 2, 4, generator=generator).requires_grad_()
    leaves = {"unit": unit, "quantized": quantized}
    for path in ("continuous", "discrete"):
        got = fn(unit, quantized, path, generator)
        want = reference(unit, quantized, path, generator)
        same(got, want, f"the {path} path")
        same_gradient(got, want, leaves, f"the {path} path")
    started = torch.Generator().manual_seed(generator.initial_seed() + 1)
    taken = [_path_taken(fn, reference, unit, quantized, started) for _ in range(CALLS)]
    if len(set(taken)) == 1:
        raise Wrong(
            f"{CALLS} calls with 'alternate': got '{taken[0]}' every time, expected both paths. "
            "Draw anew at each call, from the generator that is passed."
        )
    again = torch.Generator().manual_seed(generator.initial_seed() + 1)
    if taken != [_path_taken(fn, reference, unit, quantized, again) for _ in range(CALLS)]:
        raise Wrong(
            f"{CALLS} calls with 'alternate', twice from one seed: got other paths the second "
            "time, expected the same ones. The draw must come from the generator that is passed."
        )
    share = taken.count("continuous") / CALLS
    if not 0.15 < share < 0.85:
        raise Wrong(f"'alternate': got the continuous path in {share:.0%}, expected about half.")


def _path_taken(
    fn: Callable, reference: Callable, unit: Tensor, quantized: Tensor, generator: torch.Generator
) -> str:
    got = fn(unit, quantized, "alternate", generator)
    if not isinstance(got, Tensor) or got.shape != unit.shape:
        same(got, unit, "the alternating path")
    rows = [
        "continuous" if torch.allclose(row, u, atol=1e-5)
        else "discrete" if torch.allclose(row, q, atol=1e-5)
        else "neither"
        for row, u, q in zip(got, unit, quantized, strict=True)
    ]  # fmt: skip
    if "neither" in rows:
        raise Wrong(
            "'alternate': got something that is neither the unit latents nor the codes, expected "
            "exactly one of the two: a choice, not a mixture."
        )
    if len(set(rows)) > 1:
        raise Wrong(
            f"'alternate': got {rows} for the pictures of one batch, expected one path for all "
            "of them: one draw a batch."
        )
    want = reference(unit, quantized, rows[0], generator)
    leaves = {"unit": unit, "quantized": quantized}
    same_gradient(got, want, leaves, f"'alternate', where it took the {rows[0]} path")
    return rows[0]


def _drawn_as_a_bit(
    unit: Tensor, quantized: Tensor, path: str, generator: torch.Generator
) -> Tensor:
    coin = int(torch.randint(2, (1,), generator=generator))
    use_codes = {"continuous": 0, "discrete": 1, "alternate": coin}[path]
    return unit + use_codes * (quantized.detach() - unit.detach())


def _a_draw_a_picture(
    unit: Tensor, quantized: Tensor, path: str, generator: torch.Generator
) -> Tensor:
    if path != "alternate":
        return stage_input(unit, quantized, path, generator)
    heads = torch.rand(len(unit), 1, 1, 1, generator=generator) < 0.5
    return torch.where(heads, unit, unit + (quantized - unit).detach())


def _pythons_random(
    unit: Tensor, quantized: Tensor, path: str, generator: torch.Generator
) -> Tensor:
    if path == "alternate":
        path = random.choice(["continuous", "discrete"])  # noqa: S311
    return stage_input(unit, quantized, path, generator)


def _average_of_both(
    unit: Tensor, quantized: Tensor, path: str, generator: torch.Generator
) -> Tensor:
    if path == "alternate":
        return (unit + unit + (quantized - unit).detach()) / 2
    return stage_input(unit, quantized, path, generator)


def _no_straight_through(
    unit: Tensor, quantized: Tensor, path: str, generator: torch.Generator
) -> Tensor:
    if path == "alternate":
        path = "continuous" if torch.rand((), generator=generator) < 0.5 else "discrete"
    return unit if path == "continuous" else quantized


def _always_the_same_draw(
    unit: Tensor, quantized: Tensor, path: str, generator: torch.Generator
) -> Tensor:
    fresh = torch.Generator().manual_seed(0)
    return stage_input(unit, quantized, path, fresh)


EXERCISES = (
    Exercise(
        id="04.1",
        reference=split_latent,
        test=_test_split_latent,
        mistakes=(
            Mistake("the residual has the wrong sign", _wrong_sign),
            Mistake("the residual starts at the raw latent", _from_raw_latent),
            Mistake("gives the raw code, not the code of length 1", _raw_code),
            Mistake("reshape where axes must move", _reshaped_axes),
            Mistake("the longest code wins", _longest_code_wins),
        ),
        alternatives=(_split_by_distance,),
        used_in="dcar_edu.tokenizer.hybrid.HybridTokenizer.encode",
    ),
    Exercise(
        id="04.2",
        reference=stage_input,
        test=_test_stage_input,
        mistakes=(
            Mistake("one draw a picture instead of one a batch", _a_draw_a_picture),
            Mistake("draws from Python's random", _pythons_random),
            Mistake("an average of both paths", _average_of_both),
            Mistake("no straight-through on the discrete path", _no_straight_through),
            Mistake("a fresh generator at each call", _always_the_same_draw),
        ),
        alternatives=(_drawn_as_a_bit,),
        used_in="dcar_edu.tokenizer.hybrid.HybridTokenizer.forward",
        slow_factor=200,  # microseconds a call: on a busy machine they vary 20-fold
    ),
    *TRAINING,
)
