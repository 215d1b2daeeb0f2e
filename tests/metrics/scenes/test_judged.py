"""The shipped judge on known pictures, and the commands from prompts to a table."""

import json
import re

import pytest
import torch
from PIL import Image

from dcar_edu import checkpoint, images
from dcar_edu.cli import main
from dcar_edu.course.scene_card import ROWS, card, next_of_task
from dcar_edu.data import CaptionedEmoji, CaptionedScenes
from dcar_edu.data.captions import BACKGROUNDS
from dcar_edu.metrics.scenes import (
    TASKS,
    Found,
    load_scene_judge,
    real_scenes,
    scene_ceiling,
    scene_prompts,
    scene_report,
)
from dcar_edu.metrics.scenes.accuracy import accuracy
from dcar_edu.metrics.scenes.files import write_prompts
from dcar_edu.metrics.scenes.scored import score_folder
from dcar_edu.metrics.scenes.sheets import examples, mark

FOLDER = checkpoint.data_folder() / "judges" / "scenes"


@pytest.fixture(scope="module")
def judge():
    return load_scene_judge()


@pytest.fixture(scope="module")
def real():
    """Twelve prompts a task and the real pictures of them."""
    specs = scene_prompts(11, styles=["flat", "noto"], counts=dict.fromkeys(TASKS, 12))
    scenes = CaptionedScenes("train", 128, styles=["flat", "noto"])
    records = real_scenes(specs, scenes, torch.Generator().manual_seed(4))
    return specs, scenes.render(records), records


# The judge


def test_real_scenes_pass(judge, real):
    specs, pictures, records = real
    found = judge(pictures)
    assert accuracy(records, found).per_thing >= 0.97
    report = scene_report(specs, found)
    assert report.overall.score >= 0.94
    assert min(score.score for score in report.tasks.values()) >= 10 / 12


def test_shuffled_captions_do_not(judge, real):
    specs, pictures, _ = real
    found = judge(pictures)
    shuffled = scene_report(specs, [found[place] for place in next_of_task(specs)])
    assert shuffled.overall.score <= 0.05


def test_mirrored_pictures_fail_what_names_a_side(judge, real):
    specs, pictures, _ = real
    sided = [n for n, s in enumerate(specs) if s.relation and "of" in s.relation]
    assert len(sided) >= 3
    chosen, found = [specs[n] for n in sided], judge(pictures[sided].flip(3))
    assert scene_report(chosen, found).overall.score <= 0.2


def test_a_blank_picture_shows_nothing(judge):
    blank = torch.tensor(list(BACKGROUNDS.values())) / 127.5 - 1
    found = judge(blank[:, :, None, None].expand(-1, 3, 96, 96))
    assert [len(seen) for seen in found] == [0] * 12
    specs = scene_prompts(counts={"single": 12})
    assert scene_report(specs, found).overall.score == 0


def test_noise_shows_nothing_that_counts(judge):
    noise = torch.rand(8, 3, 128, 128, generator=torch.Generator().manual_seed(0)) * 2 - 1
    assert sum(thing.score > 0.3 for seen in judge(noise) for thing in seen) <= 1


def test_size_and_company_matter_little(judge, real):
    _, pictures, records = real
    large = images.resize(pictures, (192, 192))
    assert accuracy(records, judge(large)).per_thing >= 0.95
    alone = [seen for picture in pictures[:6] for seen in judge(picture[None])]
    for one, two in zip(alone, judge(pictures[:6]), strict=True):
        assert [thing.label for thing in one] == [thing.label for thing in two]
        for a, b in zip(one, two, strict=True):
            assert a.score == pytest.approx(b.score, abs=1e-3)


def test_a_whole_emoji_is_found_too(judge):
    labels = ["cat", "wolf", "pizza", "castle", "guitar"]
    data = CaptionedEmoji("train", 128, styles=["flat"], concepts=labels, sizes=["normal"])
    found = judge(data.render([data.example(label, "flat", "pale blue") for label in labels]))
    assert [seen[0].label for seen in found] == labels
    for seen in found:
        left, top, right, bottom = seen[0].box
        assert min(right - left, bottom - top) > 0.5


def test_its_card_says_what_was_measured(judge):
    numbers = json.loads((FOLDER / "metrics.json").read_text())
    assert (FOLDER / "README.md").read_text() == card(numbers)
    assert numbers["held_out"]["right"] >= 0.985
    assert numbers["held_out"]["alarms"] <= 0.05
    assert min(row["right"] for row in (*numbers["style"].values(), *numbers["kind"].values())) > (
        0.95
    )
    assert scene_ceiling() == numbers["real"]
    assert set(ROWS) < set(numbers)
    assert min(numbers["real"].values()) >= 0.95
    assert max(numbers["shuffled"].values()) <= 0.05
    assert set(numbers["blank"].values()) == {0}
    weights = sum(parameter.numel() for parameter in judge.network.parameters())
    assert numbers["network"]["parameters"] == weights


def test_it_is_small():
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 3e6
    assert all(t.dtype != torch.float32 for t in checkpoint.load_tensors(FOLDER).values())


# Sheets


def test_boxes_are_drawn_where_things_are():
    white = torch.ones(3, 100, 100)
    sure, unsure = (Found("cat", None, box, score) for box, score in
                    [((0.1, 0.3, 0.4, 0.8), 0.9), ((0.5, 0.2, 0.9, 0.6), 0.2)])  # fmt: skip
    drawn = images.to_pixels(mark(white, [sure, unsure]))
    assert drawn[60, 10].tolist() == drawn[80, 25].tolist() == [208, 0, 0]
    assert drawn[40, 50].tolist() == drawn[60, 70].tolist() == [128, 128, 128]
    assert drawn[50, 25].tolist() == [255, 255, 255]
    assert (mark(white, []) == white).all()


def test_a_box_at_the_edge_is_drawn():
    whole = Found("castle", "red", (0.0, 0.0, 1.0, 1.0), 1.0)
    assert mark(-torch.ones(3, 40, 60), [whole]).shape == (3, 40, 60)


def test_examples_come_from_every_task():
    specs = scene_prompts(counts={"single": 4, "position": 3})
    wrong = [[], ["a"], [], [], ["b"], ["c"], []]
    assert examples(specs, wrong, True, 2) == [0, 2, 6]
    assert examples(specs, wrong, False, 2) == [1, 4, 5]


# The commands


def test_from_prompts_to_a_table(tmp_path, real, capsys):
    specs, pictures, _ = real
    write_prompts(tmp_path, specs)
    for number, picture in enumerate(pictures):
        images.save(
            picture if number % 2 else -torch.ones(3, 64, 64), tmp_path / f"{number:03d}.png"
        )
    assert main(["scenes", "score", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert re.search(r"\| overall \| (4\d\.\d|50\.0) \[", said)  # every second picture is black
    assert f"| {100 * scene_ceiling()['counting']:.1f} | 12 |" in said
    out = tmp_path / "scores"
    assert (out / "scores.md").read_text().startswith("# SceneEval\n\n| task |")
    numbers = json.loads((out / "scores.json").read_text())
    assert list(numbers["tasks"]) == list(TASKS)
    assert 0.4 <= numbers["overall"]["score"] <= 0.5
    lines = [json.loads(line) for line in (out / "found.jsonl").read_text().splitlines()]
    assert [line["picture"] for line in lines[:2]] == ["000", "001"]
    assert lines[0]["found"] == []
    assert lines[0]["faults"] == [f"{specs[0].objects[0].label}: wanted 1, found 0"]
    for name in ("right", "wrong"):
        with Image.open(out / f"{name}.webp") as sheet:
            assert sheet.width > 1000


def test_all_wrong_needs_no_sheet_of_right_ones(tmp_path, judge):
    write_prompts(tmp_path, scene_prompts(counts={"single": 2}))
    for number in range(2):
        images.save(torch.ones(3, 32, 32), tmp_path / f"{number:03d}.png")
    found = score_folder(judge, tmp_path)
    assert list(found.sheets) == ["wrong"]
    assert "![Pictures judged wrong" in (found.save(tmp_path) / "scores.md").read_text()


def test_export(tmp_path, capsys):
    out = tmp_path / "prompts"
    looks = ["--styles", "3d", "--backgrounds", "white", "pale blue"]
    assert main(["scenes", "export", "--out", str(out), "--seed", "2", *looks]) == 0
    count = int(capsys.readouterr().out.split()[0])
    lines = [json.loads(line) for line in (out / "prompts.jsonl").read_text().splitlines()]
    assert count == len(lines)
    assert {line["background"] for line in lines} == {"white", "pale blue"}


def test_draw_passes_its_options_on(tmp_path, capsys, monkeypatch):
    from dcar_edu import DCAR

    asked = []

    class Draws:
        def to(self, device):
            return self

        def generate(self, prompts, **options):
            asked.append(options)
            return [Image.new("RGB", (8, 8)) for _ in prompts]

    monkeypatch.setattr(DCAR, "from_pretrained", lambda name: Draws())
    write_prompts(tmp_path, scene_prompts(counts={"single": 3}))
    command = ["scenes", "draw", "some-model", "--out", str(tmp_path), "--guidance", "1"]
    assert main([*command, "--seed", "7", "--steps", "5"]) == 0
    assert capsys.readouterr().out == "3/3\n"
    (options,) = asked
    assert options["seed"] == [7, 8, 9]
    assert (options["guidance"], options["num_steps"]) == (1.0, 5)


def test_a_folder_without_prompts_says_what_to_do(tmp_path, capsys):
    assert main(["scenes", "score", str(tmp_path)]) == 1
    assert "Write them with dcar scenes export" in capsys.readouterr().err
