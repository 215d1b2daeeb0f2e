"""Scores of many pictures, and the judge's own accuracy."""

import pytest

from dcar_edu.data import SceneExample, SceneObject
from dcar_edu.metrics.scenes import Found, SceneSpec, Wanted, scene_report
from dcar_edu.metrics.scenes.accuracy import accuracy, by


def asked(task, label, split="train"):
    return SceneSpec(task, f"a {label}", (Wanted(label),), None, "3d", "white", split)


CAT, DOG = (Found(label, None, (0.1, 0.2, 0.6, 0.8), 0.95) for label in ("cat", "dog"))
SPECS = [
    *[asked("single", "cat")] * 4,
    *[asked("two", "dog", "held_out")] * 10,
]
SEEN = [[CAT], [DOG], [], [DOG, CAT], *[[DOG]] * 9, [CAT]]


def test_scores_by_task_and_their_mean():
    report = scene_report(SPECS, SEEN)
    assert {task: score.score for task, score in report.tasks.items()} == {
        "single": 0.5,
        "two": 0.9,
    }
    assert report.overall.score == pytest.approx(0.7)  # not 11 of 14
    assert [report.tasks[task].prompts for task in ("single", "two")] == [4, 10]
    assert report.overall.prompts == 14
    assert {split: score.score for split, score in report.splits.items()} == {
        "train": 0.5,
        "held_out": 0.9,
    }
    assert [not wrong for wrong in report.faults[:5]] == [True, False, False, True, True]


def test_intervals_hold_the_score_and_shrink():
    few, many = (scene_report([asked("single", "cat")] * n, [[CAT], []] * (n // 2))
                 for n in (10, 100))  # fmt: skip
    widths = []
    for report in (few, many):
        low, high = report.tasks["single"].interval
        assert low < 0.5 < high
        assert report.overall.interval == (low, high)
        widths.append(high - low)
    # The mean of n coins spreads 1.96 * 0.5 / sqrt(n) to each side: 0.62 and 0.196 wide.
    assert widths[0] == pytest.approx(0.62, abs=0.1)
    assert widths[1] == pytest.approx(0.196, abs=0.03)


def test_the_mean_of_tasks_spreads_as_their_mean():
    report = scene_report(SPECS * 10, SEEN * 10)
    low, high = report.overall.interval
    # Standard errors 0.0791 of 40 at a half and 0.03 of 100 at 0.9; their mean's 0.0423.
    assert high - low == pytest.approx(2 * 1.96 * 0.0423, rel=0.15)


def test_the_same_seed_gives_the_same_intervals():
    many = [asked("single", "cat")] * 999, [[CAT], [], []] * 333
    assert scene_report(*many) == scene_report(*many, seed=0)
    assert scene_report(*many).tasks != scene_report(*many, seed=1).tasks


def test_the_table():
    text = scene_report(SPECS, SEEN, ceiling={"single": 0.99, "overall": 0.981}).markdown()
    lines = text.splitlines()
    assert lines[2].startswith("| single | 50.0 [")
    assert lines[2].endswith("] | 99.0 | 4 |")
    assert lines[3].endswith("] |  | 10 |")
    assert lines[4].startswith("| overall | 70.0 [")
    assert lines[4].endswith("] | 98.1 | 14 |")
    assert "held out compositions 90.0 [" in text


@pytest.mark.parametrize(("specs", "seen"), [([], []), (SPECS, SEEN[1:])])
def test_one_list_a_prompt(specs, seen):
    with pytest.raises(ValueError, match="one list of found things for each spec"):
        scene_report(specs, seen)


# The judge's own accuracy

BOX, AWAY = (0.1, 0.1, 0.5, 0.5), (0.6, 0.6, 0.9, 0.9)


def scene(*names, style="3d"):
    objects = tuple(
        SceneObject(noun, noun, "1f", None, (0, 0, 9), box)
        for noun, box in zip(names, (BOX, AWAY), strict=False)
    )
    return SceneExample("two", "words", style, "white", objects)


def test_right_things_and_false_alarms():
    examples = [scene("cat", "red circle"), scene("dog"), scene("owl", style="flat")]
    found = [
        [Found("cat", None, BOX, 0.9), Found("circle", "blue", AWAY, 0.9)],  # the colour is wrong
        [
            Found("dog", None, (0.1, 0.1, 0.5, 0.4), 0.9),  # overlap 0.75
            Found("dog", None, (0.1, 0.1, 0.5, 0.45), 0.8),  # a second time
            Found("cat", None, AWAY, 0.31),  # not there
            Found("cat", None, AWAY, 0.3),  # not sure enough to count
        ],
        [Found("owl", None, (0.3, 0.1, 0.7, 0.5), 0.9)],  # overlap 1/3
    ]
    whole = accuracy(examples, found)
    assert (whole.pictures, whole.things, whole.right, whole.alarms) == (3, 4, 2, 4)
    assert whole.per_thing == 0.5
    assert whole.alarms_per_picture == pytest.approx(4 / 3)
    apart = by("style", examples, found)
    assert list(apart) == ["3d", "flat"]
    assert (apart["3d"].right, apart["flat"].right, apart["flat"].alarms) == (2, 0, 1)


def test_one_box_is_not_two_things():
    thing = SceneObject("cat", "cat", "1f", None, (0, 0, 9), BOX)
    twins = SceneExample("count", "words", "3d", "white", (thing, thing))
    assert accuracy([twins], [[Found("cat", None, BOX, 0.9)]]).right == 1
    both = [Found("cat", None, BOX, 0.9), Found("cat", None, BOX, 0.8)]
    assert accuracy([twins], [both]).right == 2
