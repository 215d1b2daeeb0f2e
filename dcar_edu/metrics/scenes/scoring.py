"""Does a picture show what was asked for? GenEval's rules, on what a detector saw."""

from collections.abc import Sequence
from dataclasses import dataclass

from dcar_edu.metrics.scenes.specs import SceneSpec

CONFIDENCE = 0.3
"""A thing counts when the detector's score is above this."""
COUNTING_CONFIDENCE = 0.9
"""In the task ``counting`` only things seen this surely count."""
MARGIN = 0.1
"""How far apart centres must be to stand in a relation, as a share of both sizes added."""
DIRECTION = 0.5
"""The share of the distance that must point in the relation's direction."""

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Found:
    """One thing that a detector saw."""

    label: str
    """A noun such as "cat", or a shape such as "circle"."""
    colour: str | None
    """Of a shape; None for nouns, whose colour nobody asks about."""
    box: Box
    """Left, top, right, bottom in [0, 1] of the picture, from its top left."""
    score: float
    """How sure the detector is, 0 to 1."""


def score_scene(spec: SceneSpec, found: Sequence[Found]) -> bool:
    """Say whether a picture passes; see :func:`faults` for the rules.

    Example:
        >>> from dcar_edu.metrics.scenes.specs import Wanted
        >>> wanted = (Wanted("apple", count=2),)
        >>> spec = SceneSpec("counting", "two apples", wanted, None, "3d", "white", "train")
        >>> left = Found("apple", None, (0.1, 0.3, 0.4, 0.6), 0.95)
        >>> right = Found("apple", None, (0.6, 0.3, 0.9, 0.6), 0.97)
        >>> score_scene(spec, [left, right]), score_scene(spec, [left])
        (True, False)
    """
    return not faults(spec, found)


def faults(spec: SceneSpec, found: Sequence[Found]) -> list[str]:
    """Say what is wrong with a picture; an empty list passes.

    - Only things with a score above 0.3 count, above 0.9 in the task ``counting``.
    - Every kind of thing must be there at least as often as asked; ``counting``: exactly as often.
      Other things beside them do no harm.
    - Colours and relations are asked of the surest thing of each name, not of any that fits.
    - A relation holds when the centres are far enough apart: see :func:`relations`.

    Source:
        GenEval's ``evaluate_images.py``: ``evaluate``, ``evaluate_image``, its default options.
    """
    threshold = COUNTING_CONFIDENCE if spec.task == "counting" else CONFIDENCE
    sure = sorted((f for f in found if f.score > threshold), key=lambda f: -f.score)
    wrong, chosen = [], []
    for wanted in spec.objects:
        alike = [thing for thing in sure if thing.label == wanted.label]
        best = alike[: wanted.count]
        exact = spec.task == "counting"
        if len(alike) < wanted.count or (exact and len(alike) > wanted.count):
            wrong.append(f"{wanted.label}: wanted {wanted.count}, found {len(alike)}")
        elif wanted.colour and any(thing.colour != wanted.colour for thing in best):
            seen = " and ".join(str(thing.colour) for thing in best)
            wrong.append(f"{wanted.label}: wanted {wanted.colour}, found {seen}")
        else:
            chosen.append(best)
    if spec.relation and not wrong:
        (first, *_), (second, *_) = chosen
        holds = relations(first.box, second.box)
        if spec.relation not in holds:
            seen = " and ".join(sorted(holds)) or "no clear side"
            wrong.append(f"wanted {spec.relation}, found {seen}")
    return wrong


def relations(first: Box, second: Box) -> set[str]:
    """Say on which sides of the second box the first one lies: none, one or two.

    Along each axis the distance of the centres is shortened by a tenth of both boxes' sizes: less
    than that is no relation. What is left must be more than half of the whole distance.

    Example:
        >>> relations((0.0, 0.4, 0.2, 0.6), (0.7, 0.4, 0.9, 0.6))
        {'to the left of'}
        >>> relations((0.40, 0.4, 0.6, 0.6), (0.43, 0.4, 0.63, 0.6))
        set()

    Source:
        GenEval's ``relative_position``, ``position_threshold`` 0.1.
    """
    offsets, left = [], []
    for low, high in ((0, 2), (1, 3)):
        offset = (first[low] + first[high] - second[low] - second[high]) / 2
        sizes = abs(first[high] - first[low]) + abs(second[high] - second[low])
        offsets.append(offset)
        left.append(max(abs(offset) - MARGIN * sizes, 0.0))
    distance = (offsets[0] ** 2 + offsets[1] ** 2) ** 0.5
    names = (("to the left of", "to the right of"), ("above", "below"))
    return {
        names[axis][offsets[axis] > 0]
        for axis in (0, 1)
        if left[axis] > DIRECTION * distance  # never so at distance 0
    }
