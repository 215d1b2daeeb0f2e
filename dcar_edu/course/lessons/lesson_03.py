"""Lesson 03, vector quantization: exercises 03.1 to 03.3, and all five together.

03.4 and 03.5 stand in ``codebook_03.py``.
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from dcar_edu.course.checks import Exercise, Mistake, Wrong, same, same_gradient
from dcar_edu.course.lessons.codebook_03 import LIFE
from dcar_edu.course.lessons.quiz_03 import QUIZ, TERMS

__all__ = ["EXERCISES", "QUIZ", "TERMS"]

# 03.1 -----------------------------------------------------------------------------------------


def nearest_code(z: Tensor, codes: Tensor) -> Tensor:
    """Row of the nearest code on the unit sphere: the reference answer of 03.1."""
    z, codes = F.normalize(z.float(), dim=1), F.normalize(codes.float(), dim=1)
    return (z @ codes.T).argmax(dim=1)


def _test_nearest_code(fn: Callable, reference: Callable, generator: torch.Generator) -> None:
    z = torch.randn(5, 3, generator=generator)
    codes = (
        torch.randn(7, 3, generator=generator) * torch.tensor([0.2, 1, 3, 0.5, 9, 1, 2])[:, None]
    )
    z[0] = 20 * codes[0]  # close to code 0 in direction, but nearer to long code 4 by length
    z[1] = -z[0]
    got, want = fn(z, codes), reference(z, codes)
    if isinstance(got, Tensor) and got.shape == want.shape:
        furthest = (F.normalize(z) @ F.normalize(codes).T).argmin(1)
        for wrong, symptom in [
            (furthest, "these are the codes FURTHEST away: a large cosine means near"),
            (
                torch.cdist(z, codes).argmin(1),
                "plain distance: long and short vectors are "
                "compared by their length too, expected by direction only",
            ),
            (
                (F.normalize(z) @ codes.T).argmax(1),
                "long codes win too often: the codes keep their lengths, expected length 1",
            ),
        ]:
            if torch.equal(got.long(), wrong) and not torch.equal(wrong, want):
                raise Wrong(f"{symptom}. got {got.tolist()}, expected {want.tolist()}.")
    same(got, want, "5 latents and 7 codes of different lengths")
    z, codes = torch.randn(1500, 16, generator=generator), torch.randn(900, 16, generator=generator)
    same(fn(z, codes), reference(z, codes), "1,500 latents and 900 codes")
    z, codes = z[:200].bfloat16(), codes.bfloat16()
    got, want = fn(z, codes), reference(z, codes)
    if isinstance(got, Tensor) and got.shape == want.shape and (off := int((got != want).sum())):
        raise Wrong(
            f"bfloat16 inputs: got another code for {off} of 200 latents, expected the codes that "
            "float32 finds. bfloat16 keeps three digits: many codes look equally near."
        )
    same(got, want, "bfloat16 inputs")


def _by_distance_on_the_sphere(z: Tensor, codes: Tensor) -> Tensor:
    z, codes = F.normalize(z.float(), dim=1), F.normalize(codes.float(), dim=1)
    return (codes.square().sum(1) - 2 * z @ codes.T).argmin(1)


def _latents_keep_their_length(z: Tensor, codes: Tensor) -> Tensor:
    return (z.float() @ F.normalize(codes.float(), dim=1).T).argmax(dim=1)


def _codes_keep_their_length(z: Tensor, codes: Tensor) -> Tensor:
    return (F.normalize(z.float(), dim=1) @ codes.float().T).argmax(dim=1)


def _smallest_similarity(z: Tensor, codes: Tensor) -> Tensor:
    z, codes = F.normalize(z.float(), dim=1), F.normalize(codes.float(), dim=1)
    return (z @ codes.T).argmin(dim=1)


def _plain_distance(z: Tensor, codes: Tensor) -> Tensor:
    return torch.cdist(z.float(), codes.float()).argmin(dim=1)


def _normalised_along_the_batch(z: Tensor, codes: Tensor) -> Tensor:
    z, codes = F.normalize(z.float(), dim=0), F.normalize(codes.float(), dim=0)
    return (z @ codes.T).argmax(dim=1)


def _in_the_given_precision(z: Tensor, codes: Tensor) -> Tensor:
    return (F.normalize(z, dim=1) @ F.normalize(codes, dim=1).T).argmax(dim=1)


# 03.2 -----------------------------------------------------------------------------------------


def straight_through(z: Tensor, q: Tensor) -> Tensor:
    """The value of ``q`` with the gradient of ``z``: the reference answer of 03.2."""
    return z + (q - z).detach()


def _leaves(generator: torch.Generator, *shape: int) -> dict[str, Tensor]:
    z, q = (torch.randn(shape, generator=generator).requires_grad_() for _ in "zq")
    return {"z": z, "q": q}


def _test_straight_through(fn: Callable, reference: Callable, generator: torch.Generator) -> None:
    leaves = _leaves(generator, 4, 3)
    got, want = fn(**leaves), reference(**leaves)
    same(got, want, "the value of straight_through, which must be q")
    same_gradient(got, want, leaves, "straight_through")


def _other_way_round(z: Tensor, q: Tensor) -> Tensor:
    return q.detach() + z - z.detach()


def _only_the_code(z: Tensor, q: Tensor) -> Tensor:
    return q


def _no_detach(z: Tensor, q: Tensor) -> Tensor:
    return z + (q - z)


def _detach_on_the_other_half(z: Tensor, q: Tensor) -> Tensor:
    return q + (z - q).detach() + (q - z).detach()


def _only_the_latent(z: Tensor, q: Tensor) -> Tensor:
    return z + 0 * q.detach()


# 03.3 -----------------------------------------------------------------------------------------


def vq_loss(z: Tensor, q: Tensor, beta: float = 0.25) -> Tensor:
    """Codes move to latents, and beta times latents to codes: the reference answer of 03.3."""
    codes_move = (q - z.detach()).square().mean()
    latents_move = (z - q.detach()).square().mean()
    return codes_move + beta * latents_move


def _test_vq_loss(fn: Callable, reference: Callable, generator: torch.Generator) -> None:
    leaves = _leaves(generator, 5, 3)
    for beta in (0.25, 0.6):
        same(fn(**leaves, beta=beta), reference(**leaves, beta=beta), f"the value at beta {beta}")
    got, want = fn(**leaves, beta=0.25), reference(**leaves, beta=0.25)
    if isinstance(got, Tensor) and got.requires_grad:
        mine = torch.autograd.grad(got, list(leaves.values()), allow_unused=True, retain_graph=True)
        if all(part is not None for part in mine):
            on_z, on_q = (part.norm().item() for part in mine if part is not None)
            ratio = on_z / max(on_q, 1e-9)
            if math.isclose(ratio, 4, rel_tol=1e-3):
                raise Wrong(
                    "the value is right, but beta holds back the codes: got a gradient on z that "
                    "is 4 times the gradient on q, expected a quarter of it."
                )
            if math.isclose(ratio, 1, rel_tol=1e-3):
                raise Wrong(
                    "the value is right, but got gradients of one size on z and on q, expected a "
                    "quarter on z. Each term must move one side only: where is it cut off?"
                )
    same_gradient(got, want, leaves, "vq_loss")
    same(fn(leaves["z"], leaves["q"]), want, "the value when beta is left out")


def _with_mse_loss(z: Tensor, q: Tensor, beta: float = 0.25) -> Tensor:
    return torch.lerp(F.mse_loss(z.detach(), q), F.mse_loss(z, q.detach()), beta / (1 + beta)) * (
        1 + beta
    )


def _beta_on_the_codes(z: Tensor, q: Tensor, beta: float = 0.25) -> Tensor:
    return beta * (q - z.detach()).square().mean() + (z - q.detach()).square().mean()


def _nothing_cut_off(z: Tensor, q: Tensor, beta: float = 0.25) -> Tensor:
    return (1 + beta) * (q - z).square().mean()


def _codes_only(z: Tensor, q: Tensor, beta: float = 0.25) -> Tensor:
    return (q - z.detach()).square().mean()


def _summed(z: Tensor, q: Tensor, beta: float = 0.25) -> Tensor:
    return (q - z.detach()).square().sum() + beta * (z - q.detach()).square().sum()


def _fixed_beta(z: Tensor, q: Tensor, beta: float = 0.25) -> Tensor:
    return vq_loss(z, q, 0.25)


EXERCISES = (
    Exercise(
        id="03.1",
        reference=nearest_code,
        test=_test_nearest_code,
        mistakes=(
            Mistake("the codes keep their lengths", _codes_keep_their_length),
            Mistake("takes the smallest similarity", _smallest_similarity),
            Mistake("plain distance, without the sphere", _plain_distance),
            Mistake("normalises along the batch", _normalised_along_the_batch),
            Mistake("computes in the precision of the input", _in_the_given_precision),
        ),
        alternatives=(_latents_keep_their_length, _by_distance_on_the_sphere),
        used_in="dcar_edu.tokenizer.quantizer.VectorQuantizer.nearest",
    ),
    Exercise(
        id="03.2",
        reference=straight_through,
        test=_test_straight_through,
        mistakes=(
            Mistake("returns the code: the encoder learns nothing", _only_the_code),
            Mistake("no detach: the two z cancel out", _no_detach),
            Mistake(
                "detach on the other half: the gradient goes to the code", _detach_on_the_other_half
            ),
            Mistake("returns the latent: nothing is quantised", _only_the_latent),
        ),
        alternatives=(_other_way_round,),
        used_in="dcar_edu.tokenizer.quantizer.straight_through",
    ),
    Exercise(
        id="03.3",
        reference=vq_loss,
        test=_test_vq_loss,
        mistakes=(
            Mistake("beta on the code term", _beta_on_the_codes),
            Mistake("no detach: both terms move both", _nothing_cut_off),
            Mistake("only the code term", _codes_only),
            Mistake("sums instead of averaging", _summed),
            Mistake("ignores the argument beta", _fixed_beta),
        ),
        alternatives=(_with_mse_loss,),
        used_in="dcar_edu.tokenizer.quantizer.VectorQuantizer",
    ),
    *LIFE,
)
