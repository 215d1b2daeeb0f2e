"""What each split holds, and how a data set's choices are checked."""

from collections.abc import Iterable, Sequence

import torch

from dcar_edu.data.art import Concept, fraction, read_concepts
from dcar_edu.data.captions import BACKGROUNDS, STYLES

SPLITS = ("train", "held_out_concepts", "held_out_styles", "held_out_colours")
HELD_OUT = 0.075  # of the concepts, for each of the three kinds: about 100
ROLE = "role 70330"  # chosen so that what lessons draw is held out nowhere (data/README.md)
NATIVE_3D = 256  # pixels; Fluent 3D is not drawn, it comes as pictures of this size


def concept_role(concept: Concept) -> tuple[str, str | None]:
    """Say what is held out about a concept.

    Returns:
        ``("concept", None)``, ``("style", one style)``, ``("colour", one background)``
        or ``("nothing", None)``.
    """
    place, pick = fraction(ROLE, concept.hexcode), fraction(f"{ROLE} pick", concept.hexcode)
    if place < HELD_OUT:
        return "concept", None
    if place < 2 * HELD_OUT and len(concept.styles) > 1:
        return "style", concept.styles[int(pick * len(concept.styles))]
    if 2 * HELD_OUT <= place < 3 * HELD_OUT:
        return "colour", list(BACKGROUNDS)[int(pick * len(BACKGROUNDS))]
    return "nothing", None


def split_of(role: tuple[str, str | None], style: str, background: str) -> str:
    """Name the one split that shows a concept of this role in this style, on this background."""
    kind, value = role
    if kind == "concept":
        return "held_out_concepts"
    if kind == "style" and style == value:
        return "held_out_styles"
    if kind == "colour" and background == value:
        return "held_out_colours"
    return "train"


def choose(what: str, wanted: Iterable[str] | None, known: Iterable[str]) -> tuple[str, ...]:
    """Check names against the known ones; None takes them all, in their order.

    Raises:
        ValueError: a name is unknown, or the choice is empty.
    """
    known = tuple(known)
    if wanted is None:
        return known
    wanted = (wanted,) if isinstance(wanted, str) else tuple(dict.fromkeys(wanted))
    unknown = [str(name) for name in wanted if name not in known]
    if unknown or not wanted:
        raise ValueError(
            f"{what} must be chosen from {', '.join(known)}; got {', '.join(unknown) or 'nothing'}."
        )
    return wanted


def choose_styles(styles: Sequence[str] | None, resolution: int) -> tuple[str, ...]:
    """Check styles; None takes all that can be drawn at this resolution.

    Raises:
        ValueError: a style is unknown, or 3D is asked for above its native 256 pixels.
    """
    chosen = choose("styles", styles, STYLES)
    if resolution <= NATIVE_3D:
        return chosen
    if styles is not None and "3d" in chosen:
        raise ValueError(
            f"style '3d' comes as {NATIVE_3D} px pictures, got resolution {resolution}. "
            "Above that use styles=('flat', 'noto', 'blob')."
        )
    return tuple(style for style in chosen if style != "3d")


def choose_concepts(split: str, wanted: int | Sequence[str] | None) -> list[Concept]:
    """Take concepts from a split's pool: all, the first n in hash order, or by label.

    The three splits other than ``held_out_concepts`` share one pool, so n means the same ones.

    Raises:
        ValueError: n is out of range, or a label is not in the pool.
    """
    held_out = split == "held_out_concepts"
    pool = [c for c in read_concepts() if (concept_role(c)[0] == "concept") == held_out]
    if wanted is None:
        return pool
    if isinstance(wanted, int):
        if not 1 <= wanted <= len(pool):
            raise ValueError(
                f"concepts must be between 1 and {len(pool)} for split '{split}', got {wanted}."
            )
        return pool[:wanted]
    labels = [wanted] if isinstance(wanted, str) else list(dict.fromkeys(wanted))
    by_label = {concept.label: concept for concept in pool}
    unknown = [label for label in labels if label not in by_label]
    if unknown or not labels:
        raise ValueError(
            f"no concept of split '{split}' is called {', '.join(map(repr, unknown)) or 'nothing'}."
            " Labels are CLDR names such as 'wolf'; data/emoji/concepts.jsonl lists them all."
        )
    return [by_label[label] for label in labels]


def check_resolution(resolution: int, multiple: int) -> None:
    """Refuse a resolution that tiles cannot be laid out in.

    Raises:
        ValueError: it is not a multiple of ``multiple``, or below 16.
    """
    if resolution < 16 or resolution % multiple:
        raise ValueError(
            f"resolution must be a multiple of {multiple} and at least 16, got {resolution}."
        )


def split_groups(groups: Sequence[str], share: float, generator: torch.Generator) -> list[bool]:
    """Choose pictures to hold out, whole groups at a time.

    Pictures of one thing look alike; with one of them in training, another says nothing about
    pictures that nobody has seen.

    Args:
        groups: the group of each picture.
        share: of the groups, between 0 and 1; at least one is held out and one is left.
        generator: says which.

    Returns:
        For each picture, whether it is held out.

    Raises:
        ValueError: fewer than two groups, or a share that is none.
    """
    names = sorted(set(groups))
    if len(names) < 2 or not 0 < share < 1:
        raise ValueError(
            f"a split needs two groups or more and a share between 0 and 1, got {len(names)} "
            f"groups and {share}. Group by something that differs more."
        )
    count = min(max(1, round(share * len(names))), len(names) - 1)
    order = torch.randperm(len(names), generator=generator).tolist()
    held = {names[place] for place in order[:count]}
    return [group in held for group in groups]
