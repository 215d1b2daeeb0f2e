"""Lesson 16, your own project: exercises 16.1 and 16.2; 16.3 and 16.4 are in ``step_16``."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from dcar_edu.course.checks import Exercise, Mistake, Wrong
from dcar_edu.course.lessons.quiz_16 import QUIZ, TERMS
from dcar_edu.course.lessons.step_16 import STEP_EXERCISES
from dcar_edu.course.own_data import Record

__all__ = ["EXERCISES", "QUIZ", "TERMS"]

# 16.1 -----------------------------------------------------------------------------------------


def check_pictures(records: Sequence[Any], min_side: int) -> dict[str, str]:
    """The verdict on every picture, by name: the reference answer of 16.1."""
    verdicts, seen = {}, set()
    for record in records:
        verdicts[record.name] = "fine"
        if record.pixels is None:
            verdicts[record.name] = "unreadable"
            continue
        content = (record.pixels.shape, record.pixels.tobytes())
        if min(record.pixels.shape[:2]) < min_side:
            verdicts[record.name] = "too small"
        elif not record.caption.strip():
            verdicts[record.name] = "no caption"
        elif content in seen:
            verdicts[record.name] = "duplicate"
        else:
            seen.add(content)
    return verdicts


def _records(generator: torch.Generator) -> list[tuple[Record, str, str]]:
    """Records, each with its verdict at 6 pixels and what is special about it."""

    def pixels(height: int, width: int) -> np.ndarray:
        drawn = torch.randint(256, (height, width, 3), generator=generator)
        return drawn.to(torch.uint8).numpy()

    fox, mute, owl = pixels(8, 7), pixels(9, 6), pixels(6, 11)
    flat = np.zeros((8, 12, 3), np.uint8)
    turned = np.zeros((12, 8, 3), np.uint8)
    return [
        (Record("fox.png", "a fox", fox), "fine", "a good picture"),
        (Record("mute.png", " \n", mute), "no caption", "a caption of white space"),
        (Record("broken.png", "a bear", None), "unreadable", "a file that does not open"),
        (Record("wide.png", "a street", pixels(5, 400)), "too small", "5 x 400 pixels, 6 needed"),
        (Record("b/fox.png", "a lion", pixels(8, 7)), "fine", "another picture of the same name"),
        (Record("copy.png", "the fox again", fox.copy()), "duplicate", "the fox's pixels again"),
        (Record("told.png", "a hen", mute.copy()), "fine", "pixels of one that had no caption"),
        (Record("owl.png", "a fox", owl), "fine", "the fox's caption, other pixels"),
        (Record("third.png", "fox", fox.copy()), "duplicate", "the fox's pixels, a third time"),
        (Record("flat.png", "night", flat), "fine", "8 x 12 black pixels"),
        (Record("turned.png", "night", turned), "fine", "12 x 8 black pixels, another shape"),
    ]


def _test_check_pictures(fn: Callable, reference: Callable, generator: torch.Generator) -> None:
    for order in ("as they come", "turned"):
        made = _records(generator)
        if order == "turned":  # the broken one first: nothing may depend on the first record
            made = [made[2], *made[:2], *made[3:]]
        records = [record for record, _, _ in made]
        got, want = fn(records, 6), reference(records, 6)
        if not isinstance(got, dict) or set(got) != set(want):
            raise Wrong(
                f"got {_short(got)}, expected a dict with the {len(want)} names of the records."
            )
        for record, verdict, special in made:
            if got[record.name] != verdict:
                raise Wrong(
                    f"'{record.name}' is {special}: got '{got[record.name]}', expected '{verdict}'."
                )


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) < 80 else text[:77] + "..."


def _by_filters(records: Sequence[Any], min_side: int) -> dict[str, str]:
    verdicts = dict.fromkeys((r.name for r in records), "unreadable")
    left = [r for r in records if r.pixels is not None]
    for r in left:
        height, width, _ = r.pixels.shape
        small = height < min_side or width < min_side
        verdicts[r.name] = "too small" if small else "fine" if r.caption.split() else "no caption"
    kept: list[Any] = []
    for r in (r for r in left if verdicts[r.name] == "fine"):
        if any(np.array_equal(r.pixels, other.pixels) for other in kept):
            verdicts[r.name] = "duplicate"
        else:
            kept.append(r)
    return verdicts


def _changed(
    key: Callable[[Any], Any] | None = None,
    small: Callable[[Any, int], bool] | None = None,
    blank: Callable[[str], bool] | None = None,
    caption_last: bool = False,
) -> Callable:
    """The reference with one part exchanged."""
    key = key or (lambda r: (r.pixels.shape, r.pixels.tobytes()))
    small = small or (lambda r, side: min(r.pixels.shape[:2]) < side)
    blank = blank or (lambda caption: not caption.strip())

    def answer(records: Sequence[Any], min_side: int) -> dict[str, str]:
        verdicts, seen = {}, set()
        for r in records:
            verdicts[r.name] = "fine"
            if r.pixels is None:
                verdicts[r.name] = "unreadable"
            elif small(r, min_side):
                verdicts[r.name] = "too small"
            elif not caption_last and blank(r.caption):
                verdicts[r.name] = "no caption"
            elif key(r) in seen:
                verdicts[r.name] = "duplicate"
            else:
                seen.add(key(r))
                verdicts[r.name] = "no caption" if blank(r.caption) else "fine"
        return verdicts

    return answer


# 16.2 -----------------------------------------------------------------------------------------


def split_groups(groups: Sequence[str], share: float, generator: torch.Generator) -> list[bool]:
    """Which pictures to hold out, whole groups at a time: the reference answer of 16.2."""
    names = sorted(set(groups))
    order = torch.randperm(len(names), generator=generator).tolist()
    held = {names[place] for place in order[: max(1, round(share * len(names)))]}
    return [group in held for group in groups]


def _test_split_groups(fn: Callable, reference: Callable, generator: torch.Generator) -> None:
    sizes = torch.randint(1, 5, (20,), generator=generator).tolist()
    groups = [f"thing {number}" for number, size in enumerate(sizes) for _ in range(size)]
    order = torch.randperm(len(groups), generator=generator).tolist()
    groups = [groups[place] for place in order]
    chosen = set()
    for seed in range(6):
        held = _held(fn, groups, 0.25, seed)
        if len(held) != 5:
            raise Wrong(
                f"a quarter of 20 groups: got {len(held)} groups held out, expected 5. The share "
                "is one of groups, not of pictures."
            )
        chosen.add(frozenset(held))
        if _held(fn, groups, 0.25, seed) != held:
            raise Wrong("one seed twice: got other groups, expected the same ones.")
    if len(chosen) < 2:
        raise Wrong(
            f"six seeds: got {sorted(next(iter(chosen)))} each time, expected a choice by chance, "
            "drawn from generator."
        )
    few = ["a", "b", "c", "a"]
    if len(_held(fn, few, 0.1, 0)) != 1:
        raise Wrong("a tenth of 3 groups: got nothing held out, expected at least one group.")


def _held(fn: Callable, groups: list[str], share: float, seed: int) -> set[str]:
    """The groups that an answer holds out; refuses one that lies on both sides."""
    got = fn(list(groups), share, torch.Generator().manual_seed(seed))
    flags = [bool(flag) for flag in got] if hasattr(got, "__len__") else []
    if len(flags) != len(groups):
        raise Wrong(f"{len(groups)} pictures: got {_short(got)}, expected one bool a picture.")
    sides = [
        {g for g, flag in zip(groups, flags, strict=True) if flag is side} for side in (True, False)
    ]
    both = sorted(sides[0] & sides[1])
    if both:
        raise Wrong(
            f"got the group '{both[0]}' on both sides, expected each group on one side only. A "
            "picture held out is no test when its twin is in training."
        )
    return sides[0]


def _by_sampling(groups: Sequence[str], share: float, generator: torch.Generator) -> torch.Tensor:
    names = list(dict.fromkeys(groups))
    count = max(1, round(share * len(names)))
    places = torch.multinomial(torch.ones(len(names)), count, generator=generator)
    held = torch.zeros(len(names), dtype=torch.bool)
    held[places] = True
    return held[torch.tensor([names.index(group) for group in groups])]


def _per_picture(groups: Sequence[str], share: float, generator: torch.Generator) -> list[bool]:
    return (torch.rand(len(groups), generator=generator) < share).tolist()


def _every_second(groups: Sequence[str], share: float, generator: torch.Generator) -> list[bool]:
    step = round(1 / share)
    return [place % step == 0 for place in range(len(groups))]


def _nothing(groups: Sequence[str], share: float, generator: torch.Generator) -> list[bool]:
    names = sorted(set(groups))
    order = torch.randperm(len(names), generator=generator).tolist()
    held = {names[place] for place in order[: int(share * len(names))]}
    return [group in held for group in groups]


def _the_first(groups: Sequence[str], share: float, generator: torch.Generator) -> list[bool]:
    names = sorted(set(groups))
    held = set(names[: max(1, round(share * len(names)))])
    return [group in held for group in groups]


EXERCISES = (
    Exercise(
        id="16.1",
        reference=check_pictures,
        test=_test_check_pictures,
        mistakes=(
            Mistake(
                "duplicates by the file's name",
                _changed(key=lambda r: r.name.split("/")[-1]),
            ),
            Mistake("duplicates by the caption", _changed(key=lambda r: r.caption)),
            Mistake(
                "the area, not the short side",
                _changed(small=lambda r, side: r.pixels.shape[0] * r.pixels.shape[1] < side**2),
            ),
            Mistake(
                "the long side, not the short one",
                _changed(small=lambda r, side: max(r.pixels.shape[:2]) < side),
            ),
            Mistake("a caption of white space passes", _changed(blank=lambda caption: not caption)),
            Mistake(
                "a copy of a picture without caption counts as a duplicate",
                _changed(caption_last=True),
            ),
            Mistake(
                "the same bytes in another shape count as a duplicate",
                _changed(key=lambda r: r.pixels.tobytes()),
            ),
        ),
        alternatives=(_by_filters,),
        used_in="dcar_edu.data.checking.check_pictures",
        slow_factor=200,
    ),
    Exercise(
        id="16.2",
        reference=split_groups,
        test=_test_split_groups,
        mistakes=(
            Mistake("each picture for itself", _per_picture),
            Mistake("every so many-th picture", _every_second),
            Mistake("a small share rounds down to nothing", _nothing),
            Mistake("always the first groups, without chance", _the_first),
        ),
        alternatives=(_by_sampling,),
        used_in="dcar_edu.data.splits.split_groups",
        slow_factor=200,
    ),
    *STEP_EXERCISES,
)
