"""Lesson 13's prompts with one new thing, its sets of real pictures, and the photographs."""

import json

import pytest
import torch
from PIL import Image

from dcar_edu.checkpoint import data_folder
from dcar_edu.course import real_sets
from dcar_edu.course.studies import study_13 as study
from dcar_edu.data import CaptionedScenes
from dcar_edu.metrics.references import ReferenceBatch
from dcar_edu.metrics.scenes import real_scenes, scene_prompts, score_scene
from dcar_edu.metrics.splits import Learnt

LEARNT = Learnt("train", 64, ("3d",), ("wolf", "owl", "rocket"), ("white",), ("normal",))


@pytest.mark.parametrize("kind", study.KINDS)
def test_one_thing_at_most_is_new(kind):
    examples = study.asked(kind, 5, 1, LEARNT, 64).examples
    new = {
        "colours": {e.background not in LEARNT.backgrounds for e in examples},
        "styles": {e.style not in LEARNT.styles for e in examples},
        "concepts": {e.label not in LEARNT.concepts for e in examples},
    }
    assert new.pop(kind, {True}) == {True}
    assert set.union(*new.values()) == {False}
    assert len(set(examples)) == len(examples) == (3 if kind == "learnt" else 5)
    assert all(e.size == "normal" for e in examples)
    other = study.asked(kind, 2, 2, LEARNT, 64).examples
    assert other == study.asked(kind, 2, 2, LEARNT, 64).examples


def test_an_unknown_kind_is_refused():
    with pytest.raises(ValueError, match="one of learnt, colours, styles, concepts; got 'moods'"):
        study.asked("moods", 2, 0, LEARNT, 64)


class Eyes:
    """Sees the mean colour and the darkest value of a picture."""

    def seen(self, pictures):
        flat = pictures.flatten(2)
        return torch.cat([flat.mean(2), flat.min(2).values], dim=1)


@pytest.fixture
def _simple_eyes(monkeypatch):
    monkeypatch.setattr(real_sets, "judge", lambda: type("A", (), {"eyes": Eyes()})())
    monkeypatch.setattr(real_sets, "picture_features", lambda eyes, x: eyes.seen(x))


@pytest.mark.usefixtures("_simple_eyes")
def test_rivals_are_the_right_things_and_the_wrong_ones():
    reference, (right, wrong), labels = real_sets.rivals(7, 3, shown=2)
    assert len(set(labels)) == 7
    for rival in (reference, right, wrong):
        assert rival.features.shape == (7, 6)
        assert rival.pictures.shape == (2, 3, 128, 128)
    assert not torch.allclose(reference.features, right.features, atol=0.01)
    assert not torch.allclose(reference.features, wrong.features, atol=0.01)
    again, _, same = real_sets.rivals(7, 3, shown=2)
    assert same == labels
    assert torch.equal(again.features, reference.features)
    assert real_sets.rivals(7, 4, shown=2)[2] != labels


@pytest.mark.usefixtures("_simple_eyes")
def test_features_of_different_emoji_in_one_style():
    features, labels = real_sets.emoji_features("noto", 9, torch.Generator().manual_seed(1))
    assert features.shape == (9, 6)
    assert len(set(labels)) == 9


def test_distances_against_the_number_of_pictures():
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.randn(60, 8, generator=generator) for _ in range(2))
    found = real_sets.against_number(x, y, (10, 60))
    assert found["FD"][0] > 2 * found["FD"][1] > 0  # one kind of set: 0 in truth
    assert abs(found["KID x 1000"][1]) < 200
    assert found["FD"] == real_sets.against_number(x, y, (10, 60))["FD"]


def test_true_boxes_pass_every_prompt():
    specs = scene_prompts(3, counts={"two": 3, "counting": 4, "position": 5, "binding": 2})
    scenes = CaptionedScenes("train", 64)
    laid_out = real_scenes(specs, scenes, torch.Generator().manual_seed(0))
    found = [study.truly_found(example) for example in laid_out]
    assert all(score_scene(spec, seen) for spec, seen in zip(specs, found, strict=True))
    assert not any(score_scene(spec, []) for spec in specs)
    figure = study.boxed(torch.zeros(2, 3, 32, 32), found[:2], ["a", "b"])
    assert [len(axis.patches) for axis in figure.axes[:2]] == [len(seen) for seen in found[:2]]


def test_photographs_are_free_of_rights_and_small():
    pictures, names = real_sets.photographs()
    assert pictures.shape == (12, 3, 256, 256)
    assert len(set(names)) == 12
    folder = data_folder() / "photos"
    rows = [json.loads(line) for line in (folder / "metadata.jsonl").read_text().splitlines()]
    assert {row["licence"] for row in rows} == {"CC0-1.0"}
    assert all(row["author"] and row["source"] for row in rows)
    files = {path.name for path in folder.glob("*.webp")}
    assert files == {row["file_name"] for row in rows}
    for name in files:
        with Image.open(folder / name) as picture:
            assert picture.size == (256, 256)
    assert sum((folder / name).stat().st_size for name in files) < 300_000


def test_the_hub_is_left_out_when_it_cannot_be_reached(monkeypatch):
    batch = ReferenceBatch(torch.zeros(3, 3, 256, 256), ["a", "b", "c"])
    monkeypatch.setattr(real_sets, "read_batches", lambda *a: iter([batch]))
    assert real_sets.hub_batch("coco", 3) is batch

    def offline(*arguments):
        raise ConnectionError
        yield

    monkeypatch.setattr(real_sets, "read_batches", offline)
    assert real_sets.hub_batch("coco", 3) is None


class Subject:
    """A model that draws nothing but red."""

    learnt = LEARNT
    whole = None

    def generate(self, captions, guidance, seed):
        self.asked = captions, guidance, seed
        return [Image.new("RGB", (32, 32), (255, 0, 0)) for _ in captions]


def test_scenes_are_asked_in_looks_that_were_learnt_and_judged_in_order(monkeypatch):
    subject = Subject()
    subject.whole = subject
    monkeypatch.setattr(study, "load_scene_judge", lambda: lambda x: [[i] for i in range(len(x))])
    scenes = study.draw_scenes(subject, 2, 3)
    assert len(scenes.specs) == len(scenes.pictures) == 12
    assert scenes.found == [[i] for i in range(12)]
    assert {(spec.style, spec.background) for spec in scenes.specs} == {("3d", "white")}
    assert subject.asked == ([spec.caption for spec in scenes.specs], 1.0, 3000)
    assert scenes.pictures[5, :, 3, 7].tolist() == [1, -1, -1]


def test_real_scenes_pass_shuffled_and_blank_ones_do_not(monkeypatch):
    """With a judge that knows the truth."""
    laid_out = []

    def remember(*arguments):
        laid_out[:] = real_scenes(*arguments)
        return laid_out

    def load():
        def judge(pictures):
            blank = bool((pictures == 1).all())
            return [[] if blank else study.truly_found(example) for example in laid_out]

        return judge

    monkeypatch.setattr(study, "real_scenes", remember)
    monkeypatch.setattr(study, "load_scene_judge", load)
    monkeypatch.setattr(study.Subject, "load", lambda name: Subject())
    runs = {arm: study._scenes(arm, 0, "smoke") for arm in study.EXPERIMENTS["13_scenes"].arms[1:]}
    assert runs["real scenes"]["overall"] == 1
    assert runs["blank"]["overall"] == 0
    assert runs["shuffled captions"]["overall"] < 0.5
    assert runs["blank"]["prompts_counting"] == 1
