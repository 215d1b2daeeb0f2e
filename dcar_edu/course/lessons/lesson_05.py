"""Lesson 05, judging a tokenizer: four exercises with the wrong answers that people give."""

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from dcar_edu.course.checks import Exercise, Mistake, Wrong, same, same_gradient
from dcar_edu.course.lessons.comparing_05 import KID, VERDICT
from dcar_edu.course.lessons.quiz_05 import QUIZ, TERMS

__all__ = ["EXERCISES", "QUIZ", "TERMS"]

# 05.1 -----------------------------------------------------------------------------------------


def perceptual_distance(features_a: Sequence[Tensor], features_b: Sequence[Tensor]) -> Tensor:
    """Distance of unit feature vectors, one number a picture: the reference answer of 05.1."""
    distances = []
    for a, b in zip(features_a, features_b, strict=True):
        gap = F.normalize(a, dim=1) - F.normalize(b, dim=1)
        distances.append(gap.square().sum(dim=1).mean(dim=(1, 2)))
    return torch.stack(distances).mean(dim=0)


def _test_perceptual_distance(
    fn: Callable, reference: Callable, generator: torch.Generator
) -> None:
    shapes = [(3, 4, 5, 6), (3, 7, 2, 3)]
    a = [torch.randn(shape, generator=generator) for shape in shapes]
    b = [torch.randn(shape, generator=generator) for shape in shapes]
    brighter = [factor * tap for factor, tap in zip((2.0, 5.0), a, strict=True)]
    got = fn(a, brighter)
    if isinstance(got, Tensor) and got.shape == (3,) and got.abs().max() > 1e-4:
        raise Wrong(
            "the second picture has the same features, only larger (2 and 5 times): got "
            f"{got[0]:.3f}, expected 0. Only the direction of a channel vector may count."
        )
    got, want = fn(a, b), reference(a, b)
    if isinstance(got, Tensor) and got.shape == want.shape:
        parts = [reference([x], [y]) for x, y in zip(a, b, strict=True)]
        for wrong, symptom in [
            (sum(parts), "twice too large: the taps are added, not averaged"),
            (parts[0], "only the first tap counts"),
            (parts[-1], "only the last tap counts"),
            (
                torch.stack([p / s[1] for p, s in zip(parts, shapes, strict=True)]).mean(0),
                "too small: averaged over the channels, expected their sum (unit vectors are "
                "compared as wholes)",
            ),
        ]:
            if torch.allclose(got.float(), torch.as_tensor(wrong), atol=1e-5):
                raise Wrong(f"{symptom}. got {_list(got)}, expected {_list(want)}.")
    same(got, want, "three pictures, two taps of 4 and 7 channels")


def _list(values: Tensor) -> list[float]:
    return [round(value, 3) for value in values.flatten().tolist()]


def _by_cosine(features_a: Sequence[Tensor], features_b: Sequence[Tensor]) -> Tensor:
    taps = [
        (2 - 2 * F.cosine_similarity(a, b, dim=1)).flatten(1).mean(1)
        for a, b in zip(features_a, features_b, strict=True)
    ]
    return sum(taps[1:], taps[0]) / len(taps)


def _as_they_are(features_a: Sequence[Tensor], features_b: Sequence[Tensor]) -> Tensor:
    gaps = [(a - b).square().sum(1) for a, b in zip(features_a, features_b, strict=True)]
    return torch.stack([gap.mean(dim=(1, 2)) for gap in gaps]).mean(0)


def _unit(tap: Tensor, dims: tuple[int, ...]) -> Tensor:
    return tap / tap.square().sum(dim=dims, keepdim=True).sqrt()


def _normalised_over_space(features_a: Sequence[Tensor], features_b: Sequence[Tensor]) -> Tensor:
    pairs = zip(features_a, features_b, strict=True)
    gaps = [(_unit(a, (2, 3)) - _unit(b, (2, 3))).square().sum(1) for a, b in pairs]
    return torch.stack([gap.mean(dim=(1, 2)) for gap in gaps]).mean(0)


def _sum_of_taps(features_a: Sequence[Tensor], features_b: Sequence[Tensor]) -> Tensor:
    return perceptual_distance(features_a, features_b) * len(features_a)


def _one_number(features_a: Sequence[Tensor], features_b: Sequence[Tensor]) -> Tensor:
    return perceptual_distance(features_a, features_b).mean()


def _mean_over_channels(features_a: Sequence[Tensor], features_b: Sequence[Tensor]) -> Tensor:
    pairs = zip(features_a, features_b, strict=True)
    gaps = [(_unit(a, (1,)) - _unit(b, (1,))).square() for a, b in pairs]
    return torch.stack([gap.mean(dim=(1, 2, 3)) for gap in gaps]).mean(0)


# 05.2 -----------------------------------------------------------------------------------------


def hinge_losses(real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
    """Losses of the discriminator and of the generator: the reference answer of 05.2."""
    discriminator = 0.5 * (F.relu(1 - real).mean() + F.relu(1 + fake).mean())
    return discriminator, -fake.mean()


def _test_hinge_losses(fn: Callable, reference: Callable, generator: torch.Generator) -> None:
    scores = [2 * torch.randn(b, 1, 3, 4, generator=generator) for b in (2, 3)]
    by_hand = [torch.tensor([1.0, -1.0, 3.0]), torch.tensor([1.0, -1.0, -3.0])]
    for real, fake in (scores, by_hand):  # by hand, scores stand on the edge: no gradient there
        real.requires_grad_(real is scores[0])
        fake.requires_grad_(real is scores[0])
        got, want = fn(real, fake), reference(real, fake)
        if not isinstance(got, (tuple, list)) or len(got) != 2:
            raise Wrong(f"got {type(got).__name__}, expected two losses: discriminator, generator.")
        _name_the_hinge(got, want, real.detach(), fake.detach())
        for name, one, other in zip(("discriminator", "generator"), got, want, strict=True):
            same(one, other, f"loss of the {name}")
            if real.requires_grad:
                inputs = {"real": real, "fake": fake}
                same_gradient(one, other, inputs, f"loss of the {name}")


def _name_the_hinge(got: Sequence, want: Sequence, real: Tensor, fake: Tensor) -> None:
    """Say which of the usual mistakes the two losses show."""
    known = [
        (
            0,
            0.5 * (F.relu(1 - real).mean() + F.relu(1 - fake).mean()),
            "the discriminator is asked to score drawings HIGH: wrong sign on the fakes",
        ),
        (
            0,
            0.5 * (F.softplus(-real).mean() + F.softplus(fake).mean()),
            "this is softplus (cross-entropy), which never stops; a hinge is 0 once the score "
            "is beyond 1",
        ),
        (
            0,
            2 * want[0].detach(),
            "the discriminator's loss is twice too large: it is halved",
        ),
        (
            1,
            F.relu(1 - fake).mean(),
            "the generator has a hinge too; it has none, it always wants a higher score",
        ),
        (1, fake.mean(), "the generator tries to be found out: its sign is wrong"),
    ]
    for place, value, symptom in known:
        if not isinstance(got[place], Tensor) or got[place].ndim:
            continue
        one, right = got[place].item(), want[place].item()
        if math.isclose(one, value.item(), rel_tol=1e-4) and not math.isclose(one, right):
            raise Wrong(f"{symptom}. got {one:.3f}, expected {right:.3f}.")


def _with_clamp(real: Tensor, fake: Tensor) -> list[Tensor]:
    total = (1 - real).clamp(min=0).mean() + (fake + 1).clamp(min=0).mean()
    return [total / 2, fake.neg().mean()]


def _sign_on_fakes(real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
    return 0.5 * (F.relu(1 - real).mean() + F.relu(1 - fake).mean()), -fake.mean()


def _hinge_for_generator(real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
    return hinge_losses(real, fake)[0], F.relu(1 - fake).mean()


def _softplus(real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
    return 0.5 * (F.softplus(-real).mean() + F.softplus(fake).mean()), -fake.mean()


def _without_the_half(real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
    return 2 * hinge_losses(real, fake)[0], -fake.mean()


def _cut_off(real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
    return hinge_losses(real, fake)[0], -fake.detach().mean()


EXERCISES = (
    Exercise(
        "05.1",
        reference=perceptual_distance,
        test=_test_perceptual_distance,
        mistakes=(
            Mistake("channels are not normalised", _as_they_are),
            Mistake("normalised over space instead of channels", _normalised_over_space),
            Mistake("sum of the taps instead of their mean", _sum_of_taps),
            Mistake("one number for the whole batch", _one_number),
            Mistake("mean over channels instead of their sum", _mean_over_channels),
        ),
        alternatives=(_by_cosine,),
        used_in="dcar_edu.features.perceptual_distance",
    ),
    Exercise(
        "05.2",
        reference=hinge_losses,
        test=_test_hinge_losses,
        mistakes=(
            Mistake("wrong sign on the fakes", _sign_on_fakes),
            Mistake("a hinge for the generator", _hinge_for_generator),
            Mistake("softplus, as in cross-entropy", _softplus),
            Mistake("the half is missing", _without_the_half),
            Mistake("no gradient reaches the drawing", _cut_off),
        ),
        alternatives=(_with_clamp,),
        used_in="dcar_edu.tokenizer.adversary.hinge_losses",
    ),
    KID,
    VERDICT,
)
