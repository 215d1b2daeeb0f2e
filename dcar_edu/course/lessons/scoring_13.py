"""Exercise 13.3: does a picture show what was asked? GenEval's rules on what a judge found."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from dcar_edu.course.checks import Exercise, Mistake, Wrong
from dcar_edu.metrics.scenes import Found, SceneSpec, Wanted, relations


def score_scene(spec: SceneSpec, found: Sequence[Found]) -> bool:
    """Whether a picture passes: the reference answer of 13.3."""
    bar = 0.9 if spec.task == "counting" else 0.3
    sure = sorted((f for f in found if f.score > bar), key=lambda f: -f.score)
    chosen = []
    for wanted in spec.objects:
        alike = [f for f in sure if f.label == wanted.label]
        if len(alike) < wanted.count:
            return False
        if spec.task == "counting" and len(alike) > wanted.count:
            return False
        if wanted.colour and any(f.colour != wanted.colour for f in alike[: wanted.count]):
            return False
        chosen.append(alike[0])
    return not spec.relation or spec.relation in relations(chosen[0].box, chosen[1].box)


@dataclass(frozen=True)
class Case:
    """A picture as the judge sees it, and the verdict."""

    says: str
    task: str
    objects: tuple[Wanted, ...]
    found: tuple[Found, ...]
    passes: bool
    relation: str | None = None

    @property
    def spec(self) -> SceneSpec:
        """What is asked."""
        return SceneSpec(self.task, self.says, self.objects, self.relation, "3d", "white", "train")


def _at(label: str, x: float, y: float, score: float, colour: str | None = None) -> Found:
    """A thing of a fifth of the picture's side, its middle at (x, y)."""
    return Found(label, colour, (x - 0.1, y - 0.1, x + 0.1, y + 0.1), score)


def _cases(generator: torch.Generator) -> list[Case]:
    """One picture for each rule; places and scores vary a little with the seed."""
    wobble = iter((0.04 * torch.rand(60, generator=generator)).tolist())

    def thing(label: str, x: float, y: float, score: float, colour: str | None = None) -> Found:
        return _at(label, x + next(wobble), y + next(wobble), score + next(wobble), colour)

    cat, dog = Wanted("cat"), Wanted("dog")
    circle, square = Wanted("circle", "red"), Wanted("square", "blue")
    three = tuple(thing("apple", x, 0.5, 0.94) for x in (0.2, 0.5, 0.8))
    apples = (Wanted("apple", count=3),)
    apples_four = (*three, thing("apple", 0.5, 0.2, 0.94))
    left_cat, right_dog = thing("cat", 0.2, 0.5, 0.9), thing("dog", 0.75, 0.5, 0.9)
    red, blue = thing("circle", 0.2, 0.5, 0.9, "red"), thing("square", 0.8, 0.5, 0.9, "blue")
    near, side = (_at("cat", 0.48, 0.5, 0.9), _at("dog", 0.51, 0.5, 0.9)), "to the left of"
    return [
        Case("one cat, and it is there", "single", (cat,), (left_cat,), True),
        Case("one cat, seen at 0.2", "single", (cat,), (thing("cat", 0.5, 0.5, 0.2),), False),
        Case("one cat, beside a dog", "single", (cat,), (left_cat, right_dog), True),
        Case("a cat and a dog, only the cat", "two", (cat, dog), (left_cat,), False),
        Case("three apples", "counting", apples, three, True),
        Case("three apples, two there", "counting", apples, three[:2], False),
        Case("three apples, four there", "counting", apples, apples_four, False),
        Case("three apples, and a fourth seen at 0.6", "counting", apples,
             (*three, thing("apple", 0.5, 0.2, 0.6)), True),
        Case("a red circle, the surest circle is green", "colours", (circle,),
             (thing("circle", 0.2, 0.5, 0.5, "red"), thing("circle", 0.8, 0.5, 0.9, "green")),
             False),
        Case("a red circle and a blue square", "binding", (circle, square), (blue, red), True),
        Case("a red circle and a blue square, colours changed", "binding", (circle, square),
             (thing("circle", 0.2, 0.5, 0.9, "blue"), thing("square", 0.8, 0.5, 0.9, "red")),
             False),
        Case("a cat to the left of a dog", "position", (cat, dog), (right_dog, left_cat), True,
             side),
        Case("a dog to the left of a cat", "position", (dog, cat), (right_dog, left_cat), False,
             side),
        Case("a cat above a dog, and it is beside it", "position", (cat, dog),
             (left_cat, right_dog), False, "above"),
        Case("a cat to the left of a dog, by less than a tenth of their sizes", "position",
             (cat, dog), near, False, side),
    ]  # fmt: skip


def _test_score(fn: Callable, reference: Callable, generator: torch.Generator) -> None:
    cases = _cases(generator)
    for case in [cases[place] for place in torch.randperm(len(cases), generator=generator)]:
        got = fn(case.spec, list(case.found))
        if not isinstance(got, (bool, int)) or bool(got) != case.passes:
            asked = f" ({case.relation})" if case.relation else ""
            raise Wrong(
                f"task '{case.task}', {case.says}{asked}: got {got!r}, expected {case.passes}."
            )
    blank = cases[0].spec
    if fn(blank, []):
        raise Wrong("a blank picture, in which nothing was found: got True, expected False.")


def _by_counting_down(spec: SceneSpec, found: Sequence[Found]) -> bool:
    counting = spec.task == "counting"
    sure = [f for f in found if f.score > (0.9 if counting else 0.3)]
    sure.sort(key=lambda f: f.score, reverse=True)
    groups = [[f for f in sure if f.label == wanted.label] for wanted in spec.objects]
    for wanted, group in zip(spec.objects, groups, strict=True):
        right_number = len(group) == wanted.count if counting else len(group) >= wanted.count
        colours = {f.colour for f in group[: wanted.count]}
        if not right_number or (wanted.colour and colours != {wanted.colour}):
            return False
    if spec.relation:
        return spec.relation in relations(groups[0][0].box, groups[1][0].box)
    return True


def _changed(spec: SceneSpec, **changes: object) -> SceneSpec:
    return SceneSpec(**{**vars(spec), **changes})  # type: ignore[arg-type]


def _at_least(spec: SceneSpec, found: Sequence[Found]) -> bool:
    sure = [f for f in found if f.score > (0.9 if spec.task == "counting" else 0.3)]
    return score_scene(_changed(spec, task="two"), sure)


def _unsure_boxes(spec: SceneSpec, found: Sequence[Found]) -> bool:
    surer = [Found(f.label, f.colour, f.box, 0.9 + f.score / 20) for f in found]
    return score_scene(spec, surer)


def _no_relation(spec: SceneSpec, found: Sequence[Found]) -> bool:
    return score_scene(_changed(spec, relation=None), found)


def _no_margin(spec: SceneSpec, found: Sequence[Found]) -> bool:
    if not _no_relation(spec, found) or not spec.relation:
        return _no_relation(spec, found)
    first, second = (
        max((f for f in found if f.label == w.label), key=lambda f: f.score) for w in spec.objects
    )
    x, y = (first.box[a] + first.box[a + 2] - second.box[a] - second.box[a + 2] for a in (0, 1))
    holds = {"to the left of": x < 0, "to the right of": x > 0, "above": y < 0, "below": y > 0}
    return holds[spec.relation] and (abs(x) > abs(y)) == ("to the" in spec.relation)


SCORING = (
    Exercise(
        id="13.3",
        reference=score_scene,
        test=_test_score,
        mistakes=(
            Mistake("at least as many as asked will do for counting", _at_least),
            Mistake("counts things that the judge is unsure of", _unsure_boxes),
            Mistake("ignores the relation", _no_relation),
            Mistake("the slightest difference is a relation", _no_margin),
        ),
        alternatives=(_by_counting_down,),
        used_in="dcar_edu.metrics.scenes.scoring.score_scene",
        slow_factor=200,
    ),
)
