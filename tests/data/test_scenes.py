"""Scenes: the caption, the ground truth and the pixels say the same."""

import itertools
import re

import pytest
import torch

from dcar_edu.data import CaptionedScenes
from dcar_edu.data.art import read_concepts
from dcar_edu.data.captions import BACKGROUNDS, NUMBERS, noun_phrase, plural
from dcar_edu.data.composition import COLOURS, KINDS, NOUNS, RELATIONS, SHAPES, Plan
from dcar_edu.data.splits import concept_role, split_of


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def scenes():
    return CaptionedScenes("train", 64, styles=["flat", "3d"])


@pytest.fixture(scope="module")
def batches(scenes):
    """Twelve scenes of each kind, with their pictures."""
    made = {}
    for kind in KINDS:
        data = CaptionedScenes("train", 64, styles=["flat", "3d"], kinds=[kind])
        made[kind] = data.batch(12, generator=seeded(5))
    return made


def centre(thing):
    left, top, right, bottom = thing.box
    return (left + right) / 2, (top + bottom) / 2


def area(thing):
    left, top, right, bottom = thing.box
    return (right - left) * (bottom - top)


def test_eighty_nouns_are_trained_emoji_of_all_styles():
    by_label = {concept.label: concept for concept in read_concepts()}
    assert len(NOUNS) == len(set(NOUNS.values())) == 80
    for label in NOUNS.values():
        assert len(by_label[label].styles) == 4
        assert concept_role(by_label[label]) == ("nothing", None)


def test_all_shapes_exist_in_nine_colours():
    by_label = {concept.label: concept for concept in read_concepts()}
    for colour, shape in itertools.product(COLOURS, SHAPES):
        assert {"3d", "flat", "noto"} <= set(by_label[f"{colour} {shape}"].styles)


# What the picture shows


@pytest.mark.parametrize("kind", KINDS)
def test_everything_visible_lies_in_a_box_and_boxes_are_tight(kind, batches):
    batch = batches[kind]
    for image, scene in zip(batch.images, batch.records, strict=True):
        ground = torch.tensor(BACKGROUNDS[scene.background]) / 127.5 - 1
        seen = ((image - ground[:, None, None]).abs() > 0.06).any(0)
        inside = torch.zeros(64, 64, dtype=torch.bool)
        for thing in scene.objects:
            left, top, right, bottom = thing.box
            assert 0 <= left < right <= 1
            assert 0 <= top < bottom <= 1
            columns = slice(int(left * 64 - 0.6), int(right * 64 + 1.6))
            rows = slice(int(top * 64 - 0.6), int(bottom * 64 + 1.6))
            inside[rows, columns] = True
            part = seen[rows, columns].nonzero()
            # Something is seen within two pixels of three edges or more (one may melt into the
            # background, as a white cloud's underside does).
            near = [
                part[:, 0].min() <= 2,
                part[:, 1].min() <= 2,
                part[:, 0].max() >= rows.stop - rows.start - 4,
                part[:, 1].max() >= columns.stop - columns.start - 4,
            ]
            assert sum(map(bool, near)) >= 3, (scene.caption, thing)
        assert not (seen & ~inside).any(), scene.caption


def test_no_two_boxes_overlap(batches):
    for scene in (record for batch in batches.values() for record in batch.records):
        for one, two in itertools.combinations(scene.objects, 2):
            apart = (
                one.box[2] <= two.box[0]
                or two.box[2] <= one.box[0]
                or one.box[3] <= two.box[1]
                or two.box[3] <= one.box[1]
            )
            assert apart, scene


def test_a_box_holds_the_tile_it_names(scenes):
    """Painting the named tile into the named place gives the picture again."""
    (scene,) = (
        CaptionedScenes("train", 64, styles=["flat"], kinds=["single"])
        .batch(1, generator=seeded(2))
        .records
    )
    left, top, side = (2 * unit for unit in scene.objects[0].place)
    image = scenes.render([scene])[0]
    key = ("flat", scene.objects[0].hexcode)
    tile = scenes.tiles()[list(scenes._place).index(key)].float()
    alpha = tile[3:] / 255
    ground = torch.tensor(BACKGROUNDS[scene.background]).float()[:, None, None]
    whole = alpha * tile[:3] + (1 - alpha) * ground
    small = torch.nn.functional.interpolate(
        whole[None], (side, side), mode="bilinear", antialias=True
    )[0]
    spot = image[:, top : top + side, left : left + side]
    torch.testing.assert_close((spot + 1) * 127.5, small, atol=0.01, rtol=0)


# What the caption says


def test_number_and_noun(batches):
    for scene in batches["count"].records:
        number = len(scene.objects)
        noun = scene.objects[0].noun
        assert 2 <= number <= 4
        assert {thing.noun for thing in scene.objects} == {noun}
        assert f"emoji of {NUMBERS[number]} {plural(noun)} on " in scene.caption
    for scene in batches["single"].records:
        (thing,) = scene.objects
        assert re.match(rf"a (\w+) emoji of an? {thing.noun} on an? ", scene.caption)


def test_relation(batches):
    for scene in batches["position"].records:
        (x1, y1), (x2, y2) = map(centre, scene.objects)
        assert f"{scene.objects[0].noun} {scene.relation} a" in scene.caption
        across = abs(x1 - x2) > abs(y1 - y2)
        truth = {
            "to the left of": across and x1 < x2,
            "to the right of": across and x1 > x2,
            "above": not across and y1 < y2,
            "below": not across and y1 > y2,
        }
        assert truth[scene.relation], scene
    assert {scene.relation for scene in batches["position"].records} == set(RELATIONS)


def test_size(batches):
    for scene in batches["size"].records:
        large, small = scene.objects
        assert f"a large {large.noun} and a small {small.noun} on " in scene.caption
        assert large.place[2] > 2 * small.place[2]
        assert area(large) > area(small)


def test_two_things(batches):
    for scene in batches["two"].records:
        one, two = scene.objects
        assert one.noun != two.noun
        assert re.search(rf"emoji of an? {one.noun} and an? {two.noun} on ", scene.caption)
        assert scene.relation is None


def test_colours(batches):
    for scene in (*batches["colour"].records, *batches["binding"].records):
        for thing in scene.objects:
            assert noun_phrase(f"{thing.colour} {thing.noun.split()[1]}") in scene.caption
            assert thing.label == thing.noun
            assert thing.colour not in scene.background.split()
    for scene in batches["binding"].records:
        one, two = (thing.noun.split() for thing in scene.objects)
        assert one[0] != two[0]
        assert one[1] != two[1]
    assert {t.colour for s in batches["two"].records for t in s.objects} == {None}


def test_captions_golden(scenes):
    captions = scenes.batch(60, generator=seeded(1)).captions
    form = (
        r"(a )?(flat|3D) emoji of (an? [\w ]+|two \w+[\w ]*|three [\w ]+|four [\w ]+) "
        r"on an? (pale )?\w+ background"
    )
    for caption in captions:
        assert re.fullmatch(form, caption), caption
        assert not re.search(r"\b(a [aeio]|an [^aeiou]|an? an?)\b", caption), caption


# Splits and seeds


def test_a_tenth_of_the_compositions_is_held_out_whatever_the_order():
    plans = [Plan("two", "", pair) for pair in itertools.combinations(NOUNS, 2)]
    assert 0.08 < sum(plan.is_held_out for plan in plans) / len(plans) < 0.12
    assert all(p.is_held_out == Plan("two", "", p.nouns[::-1]).is_held_out for p in plans)


@pytest.mark.parametrize("kind", KINDS)
def test_splits_share_no_composition(kind):
    shown = {}
    for split in ("train", "held_out"):
        data = CaptionedScenes(split, 32, styles=["flat"], kinds=[kind])
        scenes = [data.sample(g) for g in [seeded(8)] for _ in range(60)]
        shown[split] = {tuple(sorted(t.noun for t in scene.objects)) for scene in scenes}
    assert shown["train"]
    assert shown["held_out"]
    assert shown["train"].isdisjoint(shown["held_out"])


def test_no_scene_shows_what_emoji_hold_out(scenes):
    roles = {concept.hexcode: concept_role(concept) for concept in read_concepts()}
    generator = seeded(6)
    for scene in (scenes.sample(generator) for _ in range(400)):
        for thing in scene.objects:
            assert split_of(roles[thing.hexcode], scene.style, scene.background) == "train"


def test_one_seed_gives_one_batch(scenes):
    one, same, other = (scenes.batch(4, generator=seeded(s)) for s in (1, 1, 2))
    assert one.records == same.records
    assert torch.equal(one.images, same.images)
    assert one.records != other.records
    assert one.captions == [record.caption for record in one.records]
    assert one.images.shape == (4, 3, 64, 64)
    assert one.images.min() >= -1.001
    assert one.images.max() <= 1.001


@pytest.mark.parametrize(
    ("split", "resolution", "choice", "message"),
    [
        ("test", 64, {}, "split must be chosen from train, held_out; got test"),
        ("train", 48, {}, "resolution must be a multiple of 32 and at least 16, got 48"),
        ("train", 64, {"kinds": ["counting"]}, "kinds must be chosen from single, two, "),
        ("train", 512, {"styles": ["3d"]}, "'3d' comes as 256 px pictures"),
        (
            "train",
            64,
            {"kinds": ["binding"], "styles": ["blob"]},
            "kinds binding exist in styles 3d, flat, noto only; got blob",
        ),
    ],
)
def test_a_wrong_choice_is_explained(split, resolution, choice, message):
    with pytest.raises(ValueError, match=message):
        CaptionedScenes(split, resolution, **choice)
