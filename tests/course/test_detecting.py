"""How the judge of scenes is made: pictures and boxes move together, and a small one learns."""

import itertools

import pytest
import torch

from dcar_edu.course.detecting import (
    MOSAICS,
    OTHERS,
    SCENES,
    SINGLES,
    Sources,
    fit,
    leave_one,
    make_batch,
    mosaic,
    move,
    soften,
    tint,
)
from dcar_edu.course.scene_card import next_of_task
from dcar_edu.data import CaptionedEmoji, CaptionedScenes
from dcar_edu.data.captions import BACKGROUNDS
from dcar_edu.metrics.scenes import TASKS, scene_prompts
from dcar_edu.metrics.scenes.network import SceneNetwork, SceneNetworkConfig, things_of


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def marked(*boxes, h=40):
    """White pictures with black boxes, and the boxes as things."""
    pictures = torch.ones(len(boxes), 3, h, h)
    for picture, box in zip(pictures, boxes, strict=True):
        left, top, right, bottom = (round(value * h) for value in box)
        picture[:, top:bottom, left:right] = -1
    return pictures, [[("cat", box)] for box in boxes]


def black(picture):
    """The box around what is black, in [0, 1]."""
    rows, columns = (picture[0] < 0).nonzero().T
    h = picture.shape[-1]
    return [columns.min() / h, rows.min() / h, (columns.max() + 1) / h, (rows.max() + 1) / h]


def test_boxes_move_with_their_pictures():
    pictures, things = marked(*[(0.2, 0.3, 0.6, 0.5), (0.5, 0.1, 0.9, 0.9)] * 30)
    moved, theirs = move(pictures, things, seeded(4))
    same = 0
    for picture, before, [(name, box)] in zip(moved, things, theirs, strict=True):
        assert name == "cat"
        assert box == pytest.approx([float(v) for v in black(picture)], abs=1.5 / 40)
        assert min(box) > -1e-5
        assert max(box) < 1 + 1e-5
        same += box == pytest.approx(before[0][1], abs=1e-5)
    assert 9 <= same <= 29  # three of ten stay
    widths = {round(box[2] - box[0], 2) for [(_, box)] in theirs[::2]}
    assert min(widths) < 0.39
    assert max(widths) > 0.46


def test_all_things_of_a_picture_move_alike():
    one, two = ("cat", (0.1, 0.2, 0.3, 0.4)), ("tree", (0.6, 0.5, 0.9, 0.9))
    for seed in range(5):
        _, [[(_, a), (_, b)]] = move(torch.zeros(1, 3, 8, 8), [[one, two]], seeded(seed))
        zoom = (a[2] - a[0]) / 0.2
        assert (b[3] - b[1]) / 0.4 == pytest.approx(zoom, abs=1e-4)
        assert (b[0] - a[0]) / 0.5 == pytest.approx(zoom, abs=1e-4)


def test_what_is_alone_is_enlarged_further():
    one, two = ("cat", (0.4, 0.4, 0.6, 0.55)), ("tree", (0.45, 0.65, 0.6, 0.8))
    alone, both = (
        [move(torch.zeros(1, 3, 8, 8), [listed], seeded(n))[1][0][0][1] for n in range(60)]
        for listed in ([one], [one, two])
    )
    widest = [max(box[2] - box[0] for box in boxes) / 0.2 for boxes in (alone, both)]
    assert 2.3 < widest[0] < 2.6
    assert 1.25 < widest[1] < 1.35


def test_all_but_one_are_painted_over():
    data = CaptionedScenes("train", 64, styles=["flat"], kinds=["count"], backgrounds=["grey"])
    scenes = data.batch(6, generator=seeded(8))
    left = set()
    for picture, scene in zip(scenes.images, scenes.records, strict=True):
        [(name, box)] = leave_one(picture, scene, seeded(len(left)))
        assert name == scene.objects[0].noun
        left.add([thing.box for thing in scene.objects].index(box))
        ground = torch.tensor(BACKGROUNDS["grey"]) / 127.5 - 1
        seen = (picture - ground[:, None, None]).abs().amax(0) > 0.06
        rows, columns = seen.nonzero().T
        assert box[0] * 64 - 2 <= columns.min() <= box[0] * 64 + 3
        assert box[1] * 64 - 2 <= rows.min() <= box[1] * 64 + 3
        assert columns.max() <= box[2] * 64 + 1
        assert rows.max() <= box[3] * 64 + 1
    assert len(left) > 1


def test_four_pictures_in_one():
    boxes = [(0.1, 0.2, 0.5, 0.9), (0.5, 0.0, 0.9, 0.4), (0.0, 0.5, 0.3, 1.0), (0.2, 0.2, 0.8, 0.7)]
    pictures, things = marked(*boxes, *boxes[::-1])
    whole, theirs = mosaic(pictures, things)
    assert whole.shape == (2, 3, 80, 80)
    for picture, listed in zip(whole, theirs, strict=True):
        assert len(listed) == 4
        for (_, box), (right, down) in zip(listed, [(0, 0), (1, 0), (0, 1), (1, 1)], strict=True):
            corner = picture[:, 40 * down : 40 * (down + 1), 40 * right : 40 * (right + 1)]
            left, top, end, bottom = (float(value) / 2 for value in black(corner))
            there = [left + right / 2, top + down / 2, end + right / 2, bottom + down / 2]
            assert box == pytest.approx(there, abs=1e-4)


def test_softening_and_tinting_leave_pictures_as_they_are_roughly():
    pictures, _ = marked((0.2, 0.2, 0.7, 0.8), (0.3, 0.1, 0.6, 0.9), (0.1, 0.1, 0.3, 0.4), h=64)
    soft = soften(pictures, seeded(1))
    kept = [torch.equal(a, b) for a, b in itertools.zip_longest(soft, pictures)]
    assert any(kept)
    assert not all(kept)
    changed = tint(soft, seeded(2))
    assert changed.abs().max() <= 1
    assert 0 < (changed - pictures).abs().mean() < 0.15


@pytest.fixture(scope="module")
def sources():
    others = CaptionedEmoji("train", 64, styles=["flat"], concepts=["anchor"])
    return Sources(
        CaptionedScenes("train", 64, styles=["flat"], kinds=["binding"]),
        CaptionedScenes("train", 32, styles=["flat"], kinds=["colour"]),
        others,
    )


def test_a_batch_holds_the_four_sorts(sources):
    pictures, things = make_batch(sources, seeded(0))
    assert pictures.shape == (SCENES + SINGLES + OTHERS + MOSAICS, 3, 64, 64)
    counts = [2] * SCENES + [1] * SINGLES + [0] * OTHERS + [4] * MOSAICS  # of two shapes, one
    assert [len(listed) for listed in things] == counts


def test_other_emoji_are_none_of_the_names():
    from dcar_edu.course.detecting import other_emoji

    labels = {concept.label for concept in other_emoji(64, first=300).concepts}
    assert len(labels) == 300
    assert not labels & {"cat", "deciduous tree", "hot dog", "red circle", "black heart"}
    unseen = {concept.label for concept in other_emoji(64, "held_out_concepts").concepts}
    assert unseen
    assert not unseen & labels


def test_a_small_network_learns(sources):
    config = SceneNetworkConfig(
        labels=("circle", "square", "heart"), side=64, widths=(4, 4, 8, 8, 8)
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = SceneNetwork(config)
    losses = [step.loss for step in fit(network, sources, 0, 12)]
    assert not network.training
    assert sum(losses[-3:]) < 0.96 * sum(losses[:3])


def test_a_step_is_fixed_by_its_seed(sources):
    def first(seed):
        torch.manual_seed(0)
        config = SceneNetworkConfig(side=64, widths=(2, 3, 4, 5, 6))
        return next(fit(SceneNetwork(config), sources, seed, 3)).loss

    assert first(4) == first(4) != first(5)


def test_shuffled_prompts_stay_in_their_task():
    specs = scene_prompts(counts=dict.fromkeys(TASKS, 4))
    order = next_of_task(specs)
    assert sorted(order) == list(range(24))
    for place, after in enumerate(order):
        assert after != place
        assert specs[after].task == specs[place].task


def test_things_of_a_scene():
    data = CaptionedScenes("train", 32, styles=["flat"], kinds=["binding"])
    scene = data.sample(seeded(1))
    assert things_of(scene) == [(thing.noun, thing.box) for thing in scene.objects]
