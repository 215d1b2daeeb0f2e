"""The study of lesson 16: sides that share no thing, tokens counted right, arms that differ."""

import math

import pytest
import torch

from dcar_edu.course import own_model
from dcar_edu.course.studies import study_16 as study
from dcar_edu.course.studies.study_16 import EXPERIMENTS
from dcar_edu.data import CaptionedEmoji
from dcar_edu.metrics.splits import Learnt

DATA = CaptionedEmoji(
    "train", 32, styles=["3d"], concepts=["wolf", "frog", "house"], backgrounds=["white"],
    sizes=["normal"],
)  # fmt: skip


class Drawer:
    """Draws the right tokens of every picture but one of its four tokens."""

    tokenizer = property(lambda self: self)

    def encode(self, images):
        self.truth = torch.arange(len(images) * 4).reshape(-1, 2, 2)
        return type("Seen", (), {"indices": self.truth})

    def generate_tokens(self, captions, **how):
        self.asked = captions, how
        drawn = self.truth.clone()
        drawn[:, 0, 1] = -1
        return drawn


def test_tokens_are_counted_over_pictures_that_the_seed_chooses():
    drawer = Drawer()
    assert study.right_tokens(drawer, DATA, 2, 5, 3) == 0.75
    captions, how = drawer.asked
    assert len(set(captions)) == 2
    assert set(captions) <= {example.caption for example in DATA.examples()}
    assert how == {"num_steps": 5, "guidance": 1.0, "seed": 3}
    chosen = set()
    for seed in range(8):
        study.right_tokens(drawer, DATA, 1, 5, seed)
        chosen.add(drawer.asked[0][0])
    assert len(chosen) > 1


def test_the_sides_share_no_thing(tmp_path):
    sides = study._sides(tmp_path, 5, 0)
    things = {
        name: {e.caption.removeprefix("pixel art of ").split(" on ")[0] for e in data.examples()}
        for name, data in sides.items()
    }
    assert not things["new"] & things["held_out"]
    assert {name: len(data) for name, data in sides.items()} == {"new": 8, "held_out": 2}


def test_old_pictures_are_what_the_model_lists():
    (old,) = own_model.old_pictures("emoji-128", 2)
    learnt = Learnt.read(own_model.find_model("emoji-128"))
    assert (old.source, old.share, old.concepts) == ("emoji", 2, learnt.concepts)
    assert old.backgrounds == learnt.backgrounds
    assert own_model.old_pictures("emoji-128", 0) == ()


def test_the_picture_that_a_model_has_learnt_for_a_caption():
    found = own_model.learnt_picture("emoji-128", DATA[0].caption, 32)
    assert torch.equal(found, DATA.render([DATA[0]])[0])
    assert (own_model.learnt_picture("emoji-128", "a blue idea", 32) == 1).all()


def test_a_model_that_lists_nothing_has_no_old_pictures(tmp_path):
    assert own_model.old_pictures(str(tmp_path), 1) == ()


@pytest.mark.slow
def test_a_run_reports_plain_numbers():
    """Half a minute: the shipped model, two steps."""
    found = EXPERIMENTS["16_forgetting"].run("a quarter old pictures", 1, "smoke")
    names = ("new", "held_out", "old")
    assert set(found) == {*names, *(f"before_{name}" for name in names)}
    assert all(isinstance(v, float) and math.isfinite(v) for v in found.values())
    assert found["before_old"] > 0.9
