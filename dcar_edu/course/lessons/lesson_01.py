"""Lesson 01, data and compression: four exercises with the wrong answers that people give."""

import hashlib
import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from dcar_edu.course.checks import Exercise, Mistake, Wrong, same
from dcar_edu.course.lessons.quiz_01 import QUIZ, TERMS

__all__ = ["EXERCISES", "QUIZ", "TERMS"]

# 01.1 -----------------------------------------------------------------------------------------


def compose(rgba: Tensor, colour: Tensor) -> Tensor:
    """Put a tile with alpha on a plain background: the reference answer of 01.1."""
    alpha = rgba[3:].float() / 255
    mixed = alpha * rgba[:3].float() + (1 - alpha) * colour.float()[:, None, None]
    return mixed / 127.5 - 1


def _test_compose(fn: Callable, reference: Callable, generator: torch.Generator) -> None:
    rgba = torch.randint(0, 256, (4, 3, 5), generator=generator, dtype=torch.uint8)
    rgba[3, 0, :4] = torch.tensor([0, 255, 64, 191], dtype=torch.uint8)
    rgba[:3, 0, :4] = torch.tensor([250, 20, 130], dtype=torch.uint8)[:, None]
    colour = torch.tensor([30, 200, 90], dtype=torch.uint8)
    got, want = fn(rgba, colour), reference(rgba, colour)
    if isinstance(got, Tensor) and got.shape == want.shape and got.is_floating_point():
        if got.min() > -0.01:
            raise Wrong(
                f"the range is not [-1, 1]: got {got.min():.2f} to {got.max():.2f}, "
                f"expected {want.min():.2f} to {want.max():.2f}."
            )
        for column, where in [
            (0, "where alpha is 0 only the background shows"),
            (1, "where alpha is 255 only the emoji shows"),
            (2, "where alpha is 64 a quarter of the emoji shows, not none of it"),
            (3, "where alpha is 191 three quarters of the emoji show, not all of it"),
        ]:
            same(got[:, 0, column], want[:, 0, column], f"{where}; red, green, blue", atol=0.01)
    same(got, want, "a tile of random bytes on a plain background", atol=0.01)


def _with_lerp(rgba: Tensor, colour: Tensor) -> Tensor:
    picture, ground = rgba[:3] / 127.5 - 1, colour[:, None, None] / 127.5 - 1
    return torch.lerp(ground.expand_as(picture), picture, rgba[3] / 255)


def _alpha_the_wrong_way(rgba: Tensor, colour: Tensor) -> Tensor:
    return compose(torch.cat([rgba[:3], 255 - rgba[3:]]), colour)


def _hard_edge(rgba: Tensor, colour: Tensor) -> Tensor:
    return torch.where(rgba[3] > 127, rgba[:3], colour[:, None, None]) / 127.5 - 1


def _products_in_bytes(rgba: Tensor, colour: Tensor) -> Tensor:
    alpha = rgba[3:]
    mixed = (rgba[:3] * alpha + colour[:, None, None] * (255 - alpha)) // 255
    return mixed / 127.5 - 1


def _taken_as_premultiplied(rgba: Tensor, colour: Tensor) -> Tensor:
    mixed = rgba[:3].float() + (1 - rgba[3] / 255) * colour[:, None, None]
    return mixed.clamp(max=255) / 127.5 - 1


def _range_zero_to_one(rgba: Tensor, colour: Tensor) -> Tensor:
    return (compose(rgba, colour) + 1) / 2


# 01.2 -----------------------------------------------------------------------------------------


def psnr(a: Tensor, b: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB, one number a picture: the reference answer of 01.2."""
    error = (a - b).pow(2).mean(dim=(1, 2, 3))
    return 10 * torch.log10(4 / error)


def _list(values: Tensor) -> list[float]:
    return [round(value, 2) for value in values.tolist()]


def _test_psnr(fn: Callable, reference: Callable, generator: torch.Generator) -> None:
    a = torch.zeros(2, 3, 4, 6)
    b = a + torch.tensor([0.1, 0.3])[:, None, None, None]
    got, want = fn(a, b), reference(a, b)
    if isinstance(got, Tensor) and got.shape == want.shape:
        for wrong, symptom in [
            (want / 2, "half of the right number: a root was taken, then 10 log and not 20 log"),
            (want * math.log(10), "2.3 times too large: the natural logarithm instead of log10"),
            (want - 20 * math.log10(2), "6.02 dB too low: pictures in [-1, 1] span 2, not 1"),
        ]:
            if torch.allclose(got.float(), wrong, atol=0.02):
                raise Wrong(f"{symptom}. got {_list(got)}, expected {_list(want)}.")
    same(got, want, "PSNR of two pictures with constant errors 0.1 and 0.3", atol=1e-3)
    b = a + 0.2 * torch.randn(a.shape, generator=generator)
    b[:, 0] *= 3  # one colour is worse, so the order of root and mean matters
    same(fn(a, b), reference(a, b), "PSNR of an uneven error", atol=1e-3)


def _through_the_root(a: Tensor, b: Tensor) -> Tensor:
    return 20 * torch.log10(2 / (a - b).flatten(1).pow(2).mean(1).sqrt())


def _range_one(a: Tensor, b: Tensor) -> Tensor:
    return psnr(a, b) - 10 * math.log10(4)


def _one_error_for_the_batch(a: Tensor, b: Tensor) -> Tensor:
    return (10 * torch.log10(4 / (a - b).pow(2).mean())).expand(len(a))


def _root_but_ten(a: Tensor, b: Tensor) -> Tensor:
    return 10 * torch.log10(2 / (a - b).pow(2).mean(dim=(1, 2, 3)).sqrt())


def _natural_logarithm(a: Tensor, b: Tensor) -> Tensor:
    return 10 * torch.log(4 / (a - b).pow(2).mean(dim=(1, 2, 3)))


def _mean_before_square(a: Tensor, b: Tensor) -> Tensor:
    return 10 * torch.log10(4 / (a - b).abs().mean(dim=(1, 2, 3)).pow(2))


# 01.3 -----------------------------------------------------------------------------------------


def attention_share(tokens: int, width: int) -> float:
    """FLOPs of attention over the FLOPs of its block: the reference answer of 01.3."""
    attention = 4 * tokens**2 * width
    return attention / (attention + 24 * tokens * width**2)


def _test_attention_share(fn: Callable, reference: Callable, generator: torch.Generator) -> None:
    tokens, width = (int(n) for n in torch.randint(50, 900, (2,), generator=generator))
    for n, d in [(4096, 1152), (256, 1152), (64, 1152), (tokens, width)]:
        got, want = float(fn(n, d)), reference(n, d)
        wrong = {
            n / (n + 12 * d): "too small: only the scores count in your answer; the weighted sum "
            "of the values costs the same again",
            n / (n + 3 * d): "too large: attention is counted in FLOPs, the linear layers in "
            "multiply-adds (one multiply-add is two FLOPs)",
            n / (6 * d): "this is attention over the REST of the block, expected: over all of it",
            1 / 7: "the share does not grow with the number of tokens: attention looks at n x n "
            "pairs, not at n",
        }
        for value, symptom in wrong.items():
            if math.isclose(got, value, rel_tol=1e-6) and not math.isclose(got, want, rel_tol=1e-6):
                raise Wrong(f"{symptom}. {n} tokens, width {d}: got {got:.3f}, expected {want:.3f}")
        if not math.isclose(got, want, rel_tol=1e-4):
            raise Wrong(f"{n} tokens, width {d}: got {got:.4f}, expected {want:.4f}")


def _cancelled(tokens: int, width: int) -> float:
    return 1 / (1 + 6 * width / tokens)


def _linear_in_tokens(tokens: int, width: int) -> float:
    return 4 * tokens * width**2 / (4 * tokens * width**2 + 24 * tokens * width**2)


def _scores_only(tokens: int, width: int) -> float:
    return 2 * tokens**2 * width / (2 * tokens**2 * width + 24 * tokens * width**2)


def _mixed_units(tokens: int, width: int) -> float:
    return 4 * tokens**2 * width / (4 * tokens**2 * width + 12 * tokens * width**2)


def _over_the_rest(tokens: int, width: int) -> float:
    return 4 * tokens**2 * width / (24 * tokens * width**2)


# 01.4 -----------------------------------------------------------------------------------------


def split_of(concepts: Sequence[str], salt: str) -> dict[str, bool]:
    """Which concepts may be trained on, by sha256: the reference answer of 01.4."""
    is_train = {}
    for concept in concepts:
        digest = hashlib.sha256(f"{salt}:{concept}".encode()).hexdigest()
        is_train[concept] = int(digest[:12], 16) / 16**12 >= 0.075
    return is_train


def _test_split_of(fn: Callable, reference: Callable, generator: torch.Generator) -> None:
    codes = torch.randint(0x1F300, 0x1FAFF, (200,), generator=generator).tolist()
    concepts = list(dict.fromkeys(f"{code:x}" for code in codes))
    got, want = fn(concepts, "salt a"), reference(concepts, "salt a")
    what = f"{len(concepts)} concepts"
    if not isinstance(got, dict) or set(got) != set(want):
        kind = f"{type(got).__name__} of {len(got)}" if hasattr(got, "__len__") else repr(got)
        raise Wrong(f"{what}: got {kind}, expected a dict with every concept as a key.")
    if {name: not value for name, value in got.items()} == want:
        raise Wrong(f"{what}: got True for the held-out concepts, expected True for training.")
    turned = fn(concepts[::-1], "salt a")
    if moved := [name for name in concepts if turned.get(name) != got[name]]:
        raise Wrong(
            f"the same list in reverse order: got another split for {len(moved)} concepts, "
            "expected the same. The place in a list is no property of a concept."
        )
    if wrong := [name for name in concepts if got[name] != want[name]]:
        raise Wrong(
            f"{what}: {len(wrong)} are in the wrong split. First {wrong[0]!r}: got "
            f"{got[wrong[0]]}, expected {want[wrong[0]]}. The text that is hashed must be exactly "
            "the salt, a colon and the concept."
        )
    same(got, want, what)


def _from_the_bytes(concepts: Sequence[str], salt: str) -> dict[str, bool]:
    def place(concept: str) -> float:
        digest = hashlib.sha256(bytes(f"{salt}:{concept}", "utf8")).digest()
        return int.from_bytes(digest[:6], "big") / 2**48

    return {concept: not place(concept) < 0.075 for concept in concepts}


def _pythons_hash(concepts: Sequence[str], salt: str) -> dict[str, bool]:
    return {c: hash(f"{salt}:{c}") % 1000 / 1000 >= 0.075 for c in concepts}


def _hash_of_the_caption(concepts: Sequence[str], salt: str) -> dict[str, bool]:
    captions = split_of([f"a 3D emoji of {concept}" for concept in concepts], salt)
    return dict(zip(concepts, captions.values(), strict=True))


def _by_position(concepts: Sequence[str], salt: str) -> dict[str, bool]:
    return {c: place >= 0.075 * len(concepts) for place, c in enumerate(concepts)}


def _upside_down(concepts: Sequence[str], salt: str) -> dict[str, bool]:
    return {concept: not value for concept, value in split_of(concepts, salt).items()}


EXERCISES = (
    Exercise(
        id="01.1",
        reference=compose,
        test=_test_compose,
        mistakes=(
            Mistake("alpha the wrong way round", _alpha_the_wrong_way),
            Mistake("a hard edge at 127", _hard_edge),
            Mistake("multiplies bytes with bytes", _products_in_bytes),
            Mistake("forgets to weight the emoji", _taken_as_premultiplied),
            Mistake("range [0, 1]", _range_zero_to_one),
        ),
        alternatives=(_with_lerp,),
        used_in="dcar_edu.data.emoji.compose",
    ),
    Exercise(
        id="01.2",
        reference=psnr,
        test=_test_psnr,
        mistakes=(
            Mistake("takes 1 for the range", _range_one),
            Mistake("one error for the whole batch", _one_error_for_the_batch),
            Mistake("takes a root but still 10 log", _root_but_ten),
            Mistake("natural logarithm", _natural_logarithm),
            Mistake("averages before it squares", _mean_before_square),
        ),
        alternatives=(_through_the_root,),
        used_in="dcar_edu.metrics.psnr",
    ),
    Exercise(
        id="01.3",
        reference=attention_share,
        test=_test_attention_share,
        mistakes=(
            Mistake("linear in the number of tokens", _linear_in_tokens),
            Mistake("only the scores, not the weighted sum", _scores_only),
            Mistake("multiply-adds on one side, FLOPs on the other", _mixed_units),
            Mistake("over the rest of the block", _over_the_rest),
        ),
        alternatives=(_cancelled,),
    ),
    Exercise(
        id="01.4",
        reference=split_of,
        test=_test_split_of,
        mistakes=(
            Mistake("Python's hash, which changes at each start", _pythons_hash),
            Mistake("hash of the whole caption: styles leak", _hash_of_the_caption),
            Mistake("by position in the list", _by_position),
            Mistake("True and False changed over", _upside_down),
        ),
        alternatives=(_from_the_bytes,),
        used_in="dcar_edu.data.splits.concept_role",
    ),
)
