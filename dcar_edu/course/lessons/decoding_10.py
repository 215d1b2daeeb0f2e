"""Lesson 10: exercises 10.3 and 10.4, guided noise and what the decoder reads."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from dcar_edu.course.checks import Exercise, Mistake, Wrong, same

# 10.3 -----------------------------------------------------------------------------------------


def guided_noise(cond: Tensor, uncond: Tensor, scale: float) -> Tensor:
    """Guide the noise, leave the variance alone: the reference answer of 10.3."""
    noise, variance = cond.chunk(2, dim=-1)
    without = uncond.chunk(2, dim=-1)[0]
    return torch.cat([noise + scale * (noise - without), variance], dim=-1)


def _test_guided_noise(fn: Callable, reference: Callable, generator: torch.Generator) -> None:
    cond, uncond = (torch.randn(5, 6, generator=generator) for _ in range(2))
    for scale in (0.0, 1.0, 4.5):
        got, want = fn(cond, uncond, scale), reference(cond, uncond, scale)
        if isinstance(got, Tensor) and got.shape == want.shape:
            same(got[:, :3], want[:, :3], f"scale {scale}: the noise, channels 0 to 2")
            if torch.allclose(got[:, 3:], uncond[:, 3:]):
                raise Wrong(
                    f"scale {scale}: got the variance of the branch without text, expected that "
                    "of the branch with text."
                )
            same(got[:, 3:], want[:, 3:], f"scale {scale}: the variance, channels 3 to 5")
        same(got, want, f"scale {scale}")


def _guided_in_place(cond: Tensor, uncond: Tensor, scale: float) -> Tensor:
    c = cond.shape[-1] // 2
    answer = cond.clone()
    answer[..., :c] = (1 + scale) * cond[..., :c] - scale * uncond[..., :c]
    return answer


def _variance_too(cond: Tensor, uncond: Tensor, scale: float) -> Tensor:
    return cond + scale * (cond - uncond)


def _other_convention(cond: Tensor, uncond: Tensor, scale: float) -> Tensor:
    return guided_noise(cond, uncond, scale - 1)


def _variance_without_text(cond: Tensor, uncond: Tensor, scale: float) -> Tensor:
    noise = guided_noise(cond, uncond, scale).chunk(2, dim=-1)[0]
    return torch.cat([noise, uncond.chunk(2, dim=-1)[1]], dim=-1)


# 10.4 -----------------------------------------------------------------------------------------


def decoder_latent(indices: Tensor, residual: Tensor, codes: Tensor, scale: float) -> Tensor:
    """Unit code plus residual in latent units: the reference answer of 10.4."""
    quantized = F.normalize(codes, dim=1)[indices].permute(0, 3, 1, 2)
    return quantized + scale * residual


def _test_decoder_latent(fn: Callable, reference: Callable, generator: torch.Generator) -> None:
    indices = torch.randint(7, (2, 3, 4), generator=generator)
    residual = torch.randn(2, 5, 3, 4, generator=generator)
    lengths = torch.tensor([0.2, 5.0, 1.0, 0.5, 2.0, 9.0, 1.5])[:, None]
    codes = lengths * F.normalize(torch.randn(7, 5, generator=generator), dim=1)
    for scale in (0.0, 0.107, 0.6):
        got, want = (f(indices, residual, codes, scale) for f in (fn, reference))
        if scale and isinstance(got, Tensor) and got.shape == want.shape:
            length = got.norm(dim=1)
            if torch.allclose(length, torch.ones_like(length), atol=1e-4):
                raise Wrong(
                    "the sum has been put on the sphere again: got length 1 everywhere, expected "
                    "the plain sum. The decoder was trained on what comes out of the addition."
                )
        what = "no residual (scale 0)" if not scale else f"scale {scale}"
        same(got, want, f"{what}, h = 3, w = 4, codes of unequal length")


def _latent_by_lookup(indices: Tensor, residual: Tensor, codes: Tensor, scale: float) -> Tensor:
    rows = F.embedding(indices, codes)
    rows = rows / rows.norm(dim=-1, keepdim=True)
    return (rows + scale * residual.movedim(1, -1)).movedim(-1, 1)


def _scale_forgotten(indices: Tensor, residual: Tensor, codes: Tensor, scale: float) -> Tensor:
    return decoder_latent(indices, residual, codes, 1.0)


def _raw_code(indices: Tensor, residual: Tensor, codes: Tensor, scale: float) -> Tensor:
    return codes[indices].permute(0, 3, 1, 2) + scale * residual


def _normalised_again(indices: Tensor, residual: Tensor, codes: Tensor, scale: float) -> Tensor:
    return F.normalize(decoder_latent(indices, residual, codes, scale), dim=1)


def _subtracted(indices: Tensor, residual: Tensor, codes: Tensor, scale: float) -> Tensor:
    return decoder_latent(indices, -residual, codes, scale)


DECODING = (
    Exercise(
        id="10.3",
        reference=guided_noise,
        test=_test_guided_noise,
        mistakes=(
            Mistake("guides the variance too", _variance_too),
            Mistake("the other convention, where 1 is no guidance", _other_convention),
            Mistake("the variance of the branch without text", _variance_without_text),
        ),
        alternatives=(_guided_in_place,),
        used_in="dcar_edu.generator.residual_head.ResidualHead.sample",
        slow_factor=200,  # microseconds a call: on a busy machine they vary 20-fold
    ),
    Exercise(
        id="10.4",
        reference=decoder_latent,
        test=_test_decoder_latent,
        mistakes=(
            Mistake("forgets the scale", _scale_forgotten),
            Mistake("adds to the raw code, not the code of length 1", _raw_code),
            Mistake("puts the sum on the sphere again", _normalised_again),
            Mistake("subtracts the residual", _subtracted),
        ),
        alternatives=(_latent_by_lookup,),
        used_in="dcar_edu.tokenizer.hybrid.HybridTokenizer.decode",
        slow_factor=200,
    ),
)
