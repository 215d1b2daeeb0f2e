"""Lesson 03, the life of a codebook: exercises 03.4 and 03.5 with their wrong answers."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from dcar_edu.course.checks import Exercise, Mistake, Wrong, same

# 03.4 -----------------------------------------------------------------------------------------


def code_usage(indices: Tensor, num_codes: int) -> tuple[float, float]:
    """Share of the codes in use, and perplexity: the reference answer of 03.4."""
    counts = torch.bincount(indices.flatten(), minlength=num_codes)
    shares = counts[counts > 0] / counts.sum()
    entropy = -(shares * shares.log()).sum()
    return len(shares) / num_codes, entropy.exp().item()


def _test_code_usage(fn: Callable, reference: Callable, generator: torch.Generator) -> None:
    uneven = torch.randint(0, 9, (2, 3, 4), generator=generator).clamp(min=2)
    for indices, codes, what in [
        (torch.tensor([[0, 0], [1, 1]]), 4, "the indices 0, 0, 1, 1 of 4 codes"),
        (uneven, 50, "24 uneven indices of 50 codes"),
        (torch.tensor([[3, 3, 3]]), 5, "one code for everything, of 5 codes"),
    ]:
        got, want = fn(indices, codes), reference(indices, codes)
        if not isinstance(got, (tuple, list)) or len(got) != 2:
            raise Wrong(f"{what}: got {got!r}, expected a pair (usage, perplexity).")
        usage, perplexity = (float(part) for part in got)
        distinct, entropy = len(indices.unique()), math.log(want[1])
        shown = f"got {perplexity:.4g}, expected {want[1]:.4g}"
        for wrong, symptom in [
            (
                2**entropy,
                "2 to the power of an entropy in nats: the base of the logarithm and of "
                "the power must be one",
            ),
            (entropy, "this is the entropy itself"),
            (math.nan, "the perplexity is nan: 0 times log 0 of a code that never occurs"),
        ]:
            equal = math.isclose(perplexity, wrong, rel_tol=1e-4) or perplexity != wrong != wrong
            if equal and not math.isclose(perplexity, want[1], rel_tol=1e-4):
                raise Wrong(f"{what}: {symptom}. {shown}.")
        wrong = distinct / indices.numel()
        if math.isclose(usage, wrong) and not math.isclose(usage, want[0]):
            raise Wrong(
                f"{what}: got usage {usage:.4g}, the share of the positions; expected {want[0]:.4g}"
                f", the share of the codebook."
            )
        same(usage, want[0], f"{what}: usage")
        same(perplexity, want[1], f"{what}: perplexity", atol=1e-4)


def _from_distinct_values(indices: Tensor, num_codes: int) -> tuple[float, float]:
    _, counts = indices.unique(return_counts=True)
    shares = counts.double() / indices.numel()
    return counts.numel() / num_codes, math.prod((shares**-shares).tolist())


def _two_to_the_nats(indices: Tensor, num_codes: int) -> tuple[float, float]:
    usage, perplexity = code_usage(indices, num_codes)
    return usage, 2 ** math.log(perplexity)


def _log_of_zero(indices: Tensor, num_codes: int) -> tuple[float, float]:
    shares = torch.bincount(indices.flatten(), minlength=num_codes) / indices.numel()
    return (shares > 0).float().mean().item(), (-(shares * shares.log()).sum()).exp().item()


def _share_of_positions(indices: Tensor, num_codes: int) -> tuple[float, float]:
    return len(indices.unique()) / indices.numel(), code_usage(indices, num_codes)[1]


def _entropy_itself(indices: Tensor, num_codes: int) -> tuple[float, float]:
    usage, perplexity = code_usage(indices, num_codes)
    return usage, math.log(perplexity)


# 03.5 -----------------------------------------------------------------------------------------


def revive(codes: Tensor, counts: Tensor, z: Tensor, generator: torch.Generator) -> Tensor:
    """Put codes that were never used at different latents: the reference answer of 03.5."""
    dead = counts == 0
    drawn = torch.randperm(len(z), generator=generator)[: int(dead.sum())]
    alive = codes.clone()
    alive[dead] = z[drawn.to(z.device)]
    return alive


def _test_revive(fn: Callable, reference: Callable, generator: torch.Generator) -> None:
    codes, z = (torch.randn(n, 3, generator=generator) for n in (8, 40))
    counts = torch.tensor([3, 0, 0, 7, 0, 1, 0, 0])
    dead = counts == 0

    def run(seed: int, c: Tensor = counts) -> Tensor:
        return fn(codes, c, z, torch.Generator().manual_seed(seed))

    got = run(1)
    if not isinstance(got, Tensor) or got.shape != codes.shape:
        same(got, codes, "the new codebook")
    if not torch.equal(got[~dead], codes[~dead]):
        raise Wrong(
            "living codes changed: got other values where counts are above 0, expected the same "
            "bits. The decoder knows these codes."
        )
    if torch.equal(got[dead], codes[dead]):
        raise Wrong("dead codes stayed where they were: got the old rows, expected latents.")
    at = (got[dead][:, None] == z[None]).all(-1)
    if not at.any(1).all():
        raise Wrong(
            f"{int((~at.any(1)).sum())} of {int(dead.sum())} dead codes are no latent: got "
            "something else, expected rows of z. Only there are codes found again."
        )
    if at.any(0).sum() < dead.sum():
        raise Wrong(
            f"got {int(at.any(0).sum())} different latents for {int(dead.sum())} dead codes, "
            "expected a different one for each."
        )
    if not torch.equal(got, run(1)) or all(torch.equal(got, run(seed)) for seed in (2, 3, 4)):
        raise Wrong(
            "the draw does not come from the generator: got "
            + (
                "other codes for one seed"
                if not torch.equal(got, run(1))
                else "the same codes for four seeds"
            )
            + ", expected one seed to give one result."
        )
    same(run(1, counts + 1), codes, "the codebook when no code is dead")


def _one_after_another(
    codes: Tensor, counts: Tensor, z: Tensor, generator: torch.Generator
) -> Tensor:
    free = torch.multinomial(torch.ones(len(z)), len(codes), generator=generator).tolist()
    rows = [
        z[free.pop()] if count == 0 else code for code, count in zip(codes, counts, strict=True)
    ]
    return torch.stack(rows)


def _replaces_the_living(
    codes: Tensor, counts: Tensor, z: Tensor, generator: torch.Generator
) -> Tensor:
    return revive(codes, (counts == 0).long(), z, generator)


def _one_latent_for_all(
    codes: Tensor, counts: Tensor, z: Tensor, generator: torch.Generator
) -> Tensor:
    one = z[torch.randint(len(z), (), generator=generator)]
    return torch.where((counts == 0)[:, None], one, codes)


def _random_noise(codes: Tensor, counts: Tensor, z: Tensor, generator: torch.Generator) -> Tensor:
    noise = torch.randn(codes.shape, generator=generator)
    return torch.where((counts == 0)[:, None], noise, codes)


def _the_first_latents(
    codes: Tensor, counts: Tensor, z: Tensor, generator: torch.Generator
) -> Tensor:
    return torch.where((counts == 0)[:, None], z[: len(codes)], codes)


def _in_place(codes: Tensor, counts: Tensor, z: Tensor, generator: torch.Generator) -> Tensor:
    return codes.copy_(revive(codes, counts, z, generator))


LIFE = (
    Exercise(
        id="03.4",
        reference=code_usage,
        test=_test_code_usage,
        mistakes=(
            Mistake("2 to the power of nats", _two_to_the_nats),
            Mistake("log of 0", _log_of_zero),
            Mistake("distinct codes divided by positions", _share_of_positions),
            Mistake("the entropy instead of its exponential", _entropy_itself),
        ),
        alternatives=(_from_distinct_values,),
        used_in="dcar_edu.tokenizer.quantizer.code_usage",
    ),
    Exercise(
        id="03.5",
        reference=revive,
        test=_test_revive,
        mistakes=(
            Mistake("replaces the living codes", _replaces_the_living),
            Mistake("one latent for all dead codes", _one_latent_for_all),
            Mistake("random noise instead of latents", _random_noise),
            Mistake("always the first latents", _the_first_latents),
            Mistake("changes the codebook that it was given", _in_place),
        ),
        alternatives=(_one_after_another,),
        used_in="dcar_edu.tokenizer.quantizer.VectorQuantizer.restart",
    ),
)
