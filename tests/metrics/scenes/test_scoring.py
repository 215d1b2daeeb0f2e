"""GenEval's rules by hand, and five wrong scorers that the same pictures tell apart."""

from collections.abc import Sequence

import pytest

from dcar_edu.metrics.scenes import Found, SceneSpec, Wanted, faults, relations, score_scene

LEFT, RIGHT = (0.05, 0.4, 0.35, 0.7), (0.6, 0.35, 0.95, 0.75)
UP, DOWN = (0.3, 0.05, 0.6, 0.4), (0.35, 0.6, 0.7, 0.9)
CORNERS = [(x, y, x + 0.3, y + 0.25) for y in (0.1, 0.6) for x in (0.05, 0.55)]


def spec(task, *wanted, relation=None):
    return SceneSpec(task, "some words", wanted, relation, "3d", "white", "train")


def seen(label, box, score=0.95, colour=None):
    return Found(label, colour, box, score)


CAT = spec("single", Wanted("cat"))
TWO = spec("two", Wanted("cat"), Wanted("tree"))
APPLES = spec("counting", Wanted("apple", count=3))
RED = spec("colours", Wanted("heart", "red"))
BESIDE = spec("position", Wanted("cat"), Wanted("tree"), relation="to the left of")
BOUND = spec("binding", Wanted("circle", "red"), Wanted("square", "blue"))

CASES = {
    "a cat": (CAT, [seen("cat", LEFT)], True),
    "no cat": (CAT, [seen("dog", LEFT)], False),
    "nothing": (CAT, [], False),
    "two cats will do for one": (CAT, [seen("cat", LEFT), seen("cat", RIGHT)], True),
    "something beside the cat": (CAT, [seen("cat", LEFT), seen("dog", RIGHT)], True),
    "a cat that may be one": (CAT, [seen("cat", LEFT, 0.31)], True),
    "a cat at the threshold": (CAT, [seen("cat", LEFT, 0.3)], False),
    "both": (TWO, [seen("tree", LEFT), seen("cat", RIGHT)], True),
    "one of two": (TWO, [seen("tree", LEFT), seen("tree", RIGHT)], False),
    "three apples": (APPLES, [seen("apple", box) for box in CORNERS[:3]], True),
    "two apples": (APPLES, [seen("apple", box) for box in CORNERS[:2]], False),
    "four apples": (APPLES, [seen("apple", box) for box in CORNERS], False),
    "three sure apples and one unsure": (
        APPLES,
        [*(seen("apple", box) for box in CORNERS[:3]), seen("apple", CORNERS[3], 0.9)],
        True,
    ),
    "two sure apples and one unsure": (
        APPLES,
        [*(seen("apple", box) for box in CORNERS[:2]), seen("apple", CORNERS[2], 0.9)],
        False,
    ),
    "three apples and a pear": (
        APPLES,
        [*(seen("apple", box) for box in CORNERS[:3]), seen("pear", CORNERS[3])],
        True,
    ),
    "a red heart": (RED, [seen("heart", LEFT, colour="red")], True),
    "a blue heart": (RED, [seen("heart", LEFT, colour="blue")], False),
    "the surest heart is blue": (
        RED,
        [seen("heart", LEFT, 0.8, "red"), seen("heart", RIGHT, 0.9, "blue")],
        False,
    ),
    "the surest heart is red": (
        RED,
        [seen("heart", RIGHT, 0.8, "blue"), seen("heart", LEFT, 0.9, "red")],
        True,
    ),
    "cat, tree": (BESIDE, [seen("tree", RIGHT), seen("cat", LEFT)], True),
    "tree, cat": (BESIDE, [seen("cat", RIGHT), seen("tree", LEFT)], False),
    "cat over tree": (BESIDE, [seen("cat", UP), seen("tree", DOWN)], False),
    "cat hardly left of tree": (
        BESIDE,
        [seen("cat", (0.3, 0.3, 0.6, 0.6)), seen("tree", (0.35, 0.3, 0.65, 0.6))],
        False,
    ),
    "the surest cat is on the wrong side": (
        BESIDE,
        [seen("cat", (0.02, 0.4, 0.2, 0.6), 0.6), seen("cat", RIGHT), seen("tree", UP)],
        False,
    ),
    "a cat without its tree": (BESIDE, [seen("cat", LEFT)], False),
    "bound": (BOUND, [seen("square", LEFT, 0.9, "blue"), seen("circle", UP, 0.9, "red")], True),
    "colours swapped": (
        BOUND,
        [seen("square", LEFT, 0.9, "red"), seen("circle", UP, 0.9, "blue")],
        False,
    ),
    "one colour right": (
        BOUND,
        [seen("square", LEFT, 0.9, "red"), seen("circle", UP, 0.9, "red")],
        False,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_the_rules(name):
    asked, found, passes = CASES[name]
    assert score_scene(asked, found) is passes


def test_the_order_in_which_things_were_found_does_not_matter():
    for asked, found, passes in CASES.values():
        assert score_scene(asked, found[::-1]) is passes


# Wrong scorers: each must disagree with the table somewhere, so the table can tell.


def _score(asked: SceneSpec, found: Sequence[Found], **wrong) -> bool:
    """The rules once more, written differently, with one of them broken."""
    counting = asked.task == "counting"
    limit = wrong.get("limit", 0.9 if counting else 0.3)
    groups = []
    for wanted in asked.objects:
        group = [f for f in found if f.label == wanted.label and f.score > limit]
        group.sort(key=lambda f: f.score, reverse=True)
        if len(group) < wanted.count:
            return False
        if counting and not wrong.get("at_least") and len(group) != wanted.count:
            return False
        if wanted.colour is not None and not wrong.get("colour_blind"):
            judged = group if wrong.get("any_will_do") else group[: wanted.count]
            if sum(f.colour == wanted.colour for f in judged) < wanted.count:
                return False
        groups.append(group)
    if asked.relation is None or wrong.get("relation_ignored"):
        return True
    first, second = groups[0][0].box, groups[1][0].box
    if wrong.get("no_margin"):
        return first[0] + first[2] < second[0] + second[2]  # the table's relation is "left of"
    return asked.relation in relations(first, second)


def test_the_rules_written_twice_agree():
    for name, (asked, found, passes) in CASES.items():
        assert _score(asked, found) is passes, name


@pytest.mark.parametrize(
    ("wrong", "told_by"),
    [
        ({"at_least": True}, "four apples"),
        ({"limit": 0.3}, "three sure apples and one unsure"),
        ({"limit": 0.0}, "a cat at the threshold"),
        ({"relation_ignored": True}, "tree, cat"),
        ({"no_margin": True}, "cat hardly left of tree"),
        ({"any_will_do": True}, "the surest heart is blue"),
        ({"colour_blind": True}, "colours swapped"),
    ],
)
def test_a_wrong_scorer_is_told(wrong, told_by):
    asked, found, passes = CASES[told_by]
    assert _score(asked, found, **wrong) is not passes


# Relations


def test_relations_by_hand():
    assert relations(LEFT, RIGHT) == {"to the left of"}
    assert relations(RIGHT, LEFT) == {"to the right of"}
    assert relations(UP, DOWN) == {"above"}
    assert relations(DOWN, UP) == {"below"}
    assert relations(LEFT, LEFT) == set()


def test_on_a_diagonal_both_hold():
    first, second = (0.0, 0.0, 0.1, 0.2), (0.8, 0.7, 0.9, 0.9)
    assert relations(first, second) == {"to the left of", "above"}


@pytest.mark.parametrize(("gap", "holds"), [(0.05, False), (0.11, False), (0.13, True)])
def test_the_margin_is_a_tenth_of_both_sizes_and_half_the_distance(gap, holds):
    # Sizes 0.2 and 0.4 make a margin of 0.06; what is left must be more than half the distance:
    # gap - 0.06 > gap / 2, so the gap must be above 0.12.
    first, second = (0.4, 0.3, 0.6, 0.6), (0.3 + gap, 0.3, 0.7 + gap, 0.6)
    assert (relations(first, second) == {"to the left of"}) is holds


def test_half_of_the_distance_must_point_there():
    second = (0.4, 0.4, 0.4, 0.4)  # a point, and so is the first: no margin
    steep, flat = (0.35, 0.3, 0.35, 0.3), (0.34, 0.3, 0.34, 0.3)
    # Shares of the distance that point left: 0.05 / 0.1118 = 0.447 and 0.06 / 0.1166 = 0.515.
    assert relations(steep, second) == {"above"}
    assert relations(flat, second) == {"above", "to the left of"}


# What was wrong, in words


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("two apples", ["apple: wanted 3, found 2"]),
        ("four apples", ["apple: wanted 3, found 4"]),
        ("a blue heart", ["heart: wanted red, found blue"]),
        ("tree, cat", ["wanted to the left of, found to the right of"]),
        ("cat hardly left of tree", ["wanted to the left of, found no clear side"]),
        ("a cat without its tree", ["tree: wanted 1, found 0"]),
        ("colours swapped", ["circle: wanted red, found blue", "square: wanted blue, found red"]),
    ],
)
def test_faults_say_what_was_wanted_and_found(name, says):
    asked, found, _ = CASES[name]
    assert faults(asked, found) == says
