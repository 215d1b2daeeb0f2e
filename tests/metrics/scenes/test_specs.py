"""SceneEval's prompts: GenEval's counts, our words, plain data."""

import json
from collections import Counter

import pytest
import torch

from dcar_edu import checkpoint
from dcar_edu.data import CaptionedScenes
from dcar_edu.data.composition import NOUNS, SHAPES, Plan
from dcar_edu.metrics.scenes import (
    COUNTS,
    TASKS,
    Found,
    SceneSpec,
    real_scenes,
    scene_prompts,
    score_scene,
)
from dcar_edu.metrics.scenes.specs import split_name


@pytest.fixture(scope="module")
def specs():
    return scene_prompts()


def test_as_many_as_geneval(specs):
    assert len(specs) == 553
    tasks = Counter(spec.task for spec in specs)
    assert tasks == {
        "single": 80,
        "two": 99,
        "counting": 80,
        "colours": 94,
        "position": 100,
        "binding": 100,
    }
    assert list(tasks) == list(TASKS)


def test_no_caption_twice_and_every_noun_alone_once(specs):
    assert len({spec.caption for spec in specs}) == len(specs)
    singles = [spec.objects[0].label for spec in specs if spec.task == "single"]
    assert sorted(singles) == sorted(NOUNS)


def test_a_seed_is_a_list(specs):
    assert scene_prompts(0) == specs
    assert scene_prompts(1) != specs


def test_what_a_prompt_asks_stands_in_its_caption(specs):
    for spec in specs:
        named = sum(thing.count for thing in spec.objects)
        assert named == {"single": 1, "colours": 1}.get(spec.task, max(2, named))
        assert (spec.relation is not None) == (spec.task == "position")
        assert spec.relation is None or f" {spec.relation} " in spec.caption
        assert f" {spec.background} background" in spec.caption
        for thing in spec.objects:
            coloured = spec.task in ("colours", "binding")
            assert (thing.colour is not None) == coloured == (thing.label in SHAPES)
            assert not (coloured and spec.style == "blob")  # lacks most colours
            name = f"{thing.colour} {thing.label}" if coloured else thing.label
            assert thing.count > 1 or f" {name} " in spec.caption
            assert thing.count == 1 or f" {['two', 'three', 'four'][thing.count - 2]} " in (
                spec.caption
            )
        if len(spec.objects) == 2:
            first, second = (spec.caption.index(thing.label) for thing in spec.objects)
            assert first < second


def test_all_looks_relations_numbers_and_both_splits_are_asked(specs):
    assert len({spec.style for spec in specs}) == 4
    assert len({spec.background for spec in specs}) == 12
    assert len({spec.relation for spec in specs}) == 5  # one is None
    assert {t.count for spec in specs for t in spec.objects} == {1, 2, 3, 4}
    held_out = sum(spec.split == "held_out" for spec in specs)
    assert 0.05 < held_out / len(specs) < 0.15
    for spec in specs:
        assert spec.split in ("train", "held_out")


def test_the_split_is_that_of_the_composition(specs):
    for spec in specs:
        if spec.task == "two":
            plan = Plan("two", "", tuple(thing.label for thing in spec.objects))
            assert spec.split == ("held_out" if plan.is_held_out else "train")


def test_a_narrow_look_asks_what_there_is():
    specs = scene_prompts(styles=["3d"], backgrounds=["white", "pale blue"])
    assert {(spec.style, spec.background) for spec in specs} == {
        ("3d", "white"),
        ("3d", "pale blue"),
    }
    tasks = Counter(spec.task for spec in specs)
    assert tasks["colours"] < 48  # 27 shapes on two grounds, less white on white and blue on blue
    assert {task: n for task, n in tasks.items() if task != "colours"} == {
        task: n for task, n in COUNTS.items() if task != "colours"
    }


def test_few_prompts_of_some_tasks():
    specs = scene_prompts(counts={"counting": 5, "single": 3})
    assert [spec.task for spec in specs] == ["single"] * 3 + ["counting"] * 5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"counts": {"colors": 3}}, r"counts must name tasks of single, .*; got \['colors'\]"),
        ({"styles": ["oil"]}, "styles must be chosen from"),
        ({"styles": ["blob"]}, "exist in styles 3d, flat, noto only"),
    ],
)
def test_what_cannot_be_asked_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        scene_prompts(**options)


def test_plain_data_in_and_out(specs):
    for spec in specs[::50]:
        text = json.dumps(checkpoint.to_dict(spec))
        assert checkpoint.from_dict(SceneSpec, json.loads(text)) == spec


def test_split_name():
    assert split_name("red circle") == ("circle", "red")
    assert split_name("fire engine") == ("fire engine", None)
    assert split_name("orange") == ("orange", None)


# Real scenes: what a perfect model might draw


@pytest.fixture(scope="module")
def small():
    return scene_prompts(5, styles=["flat", "noto"], counts=dict.fromkeys(TASKS, 7))


def test_a_real_scene_passes_when_seen_as_it_is(small):
    scenes = CaptionedScenes("train", 64, styles=["flat", "noto"])
    examples = real_scenes(small, scenes, torch.Generator().manual_seed(2))
    for spec, example in zip(small, examples, strict=True):
        assert example.caption == spec.caption
        assert (example.style, example.background) == (spec.style, spec.background)
        found = [
            Found(*split_name(thing.noun), thing.box, 0.91 + number / 100)
            for number, thing in enumerate(example.objects)
        ]
        assert score_scene(spec, found)
        assert not score_scene(spec, found[1:])
    assert scenes.render(examples[:3]).shape == (3, 3, 64, 64)


def test_another_prompts_scene_does_not_pass(small):
    scenes = CaptionedScenes("train", 64, styles=["flat", "noto"])
    examples = real_scenes(small, scenes, torch.Generator().manual_seed(2))
    views = [
        [Found(*split_name(thing.noun), thing.box, 0.95) for thing in example.objects]
        for example in examples
    ]
    passed = sum(score_scene(s, v) for s, v in zip(small, views[1:] + views[:1], strict=True))
    assert passed <= len(small) / 10
