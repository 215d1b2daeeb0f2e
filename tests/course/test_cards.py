"""The card of a checkpoint: from its folder, an evaluation and the facts of its making."""

import json
import shutil
from functools import partial

import pytest
import torch
from PIL import Image

from dcar_edu import checkpoint, parts
from dcar_edu.course import cards
from dcar_edu.course.cards import (
    Making,
    Part,
    card,
    evaluate_command,
    training_table,
    write_card,
)
from dcar_edu.metrics.evaluation import Evaluation
from dcar_edu.metrics.splits import Learnt
from dcar_edu.metrics.subject import Subject

from ..standins import text_encoder

SHIPPED = checkpoint.find_model("emoji-128")
MAKING = Making(
    name="emoji-9",
    preset="nano",
    command="dcar train generator emoji-9.toml",
    tokenizer_data="rabbits, mirrored.",
    parts=(
        Part("tokenizer", 1300, "16 pictures", 2.5e15, 160.4),
        Part("decoder at 96 px", 70, "8 pictures", 0.25e15, 11.2),
        Part("generator", 2000, "64 pictures", 1e13),
    ),
    notes="L1 + 3 x MSE.",
    limits="Rabbits only.",
    device="an abacus",
    torch="2.13.0",
)


@pytest.fixture(autouse=True)
def letters(monkeypatch):
    """Words need no language model here: no picture is judged."""
    encoder = partial(text_encoder, width=384)
    monkeypatch.setattr(parts, "load_text_encoder", encoder)


@pytest.fixture
def found():
    numbers = json.loads((SHIPPED / "metrics.json").read_text())["evaluation"]
    sheets = {name: Image.new("RGB", (9, 5), name) for name in ("red", "blue")}
    return Evaluation(numbers, {"held_out_concepts": sheets["red"], "prompts": sheets["blue"]})


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A copy of the shipped pair; its drawing is tested elsewhere."""
    monkeypatch.setattr(cards, "draw_samples", lambda *_: Image.new("RGB", (7, 3)))
    shutil.copytree(SHIPPED, tmp_path / "emoji-9", ignore=lambda _, names: {"README.md", "made.md"})
    return tmp_path / "emoji-9"


def test_a_row_a_part_and_their_sum():
    assert training_table(MAKING.parts).splitlines() == [
        "| part | steps | a step | time | PFLOP |",
        "| --- | --- | --- | --- | --- |",
        "| tokenizer | 1,300 | 16 pictures | 160 min | 2.50 |",
        "| decoder at 96 px | 70 | 8 pictures | 11 min | 0.25 |",
        "| generator | 2,000 | 64 pictures |  | 0.01 |",
        "| together |  |  | 172 min | 2.76 |",
    ]


def test_the_card_says_what_the_folder_and_the_facts_say(folder, found):
    log = folder.parent / "metrics.csv"
    log.write_text("step,loss,accuracy\n1,2.5,0\n2,1.5,1\n")
    write_card(folder, MAKING, found=found, logs={"generator": log})
    text = (folder / "README.md").read_text()
    for words in (
        "# emoji-9\n",
        "preset `nano`: 128 px, 4x4 tokens of 1 in 1024 codes",
        "Made by `dcar train generator emoji-9.toml`",
        "- Tokenizer: rabbits, mirrored.",
        "560 concepts in the style 3d, size normal, on white and pale blue: 1113\n  pictures",
        "| together |  |  | 172 min | 2.76 |",
        "On an abacus, float32, torch 2.13.0. L1 + 3 x MSE.",
        "## Limits\nRabbits only.\n",
        "Fluent emoji (MIT), Noto emoji (Apache-2.0)",
        "not comparable with published LPIPS, KID or FID",
    ):
        assert words in text
    for name in ("samples", "held_out_concepts", "prompts", "losses"):
        assert f"]({name}.webp)" in text
        assert (folder / f"{name}.webp").is_file()
    with Image.open(folder / "prompts.webp") as sheet:
        assert sheet.getpixel((4, 2))[2] > 200
    stored = json.loads((folder / "metrics.json").read_text())
    assert stored == {"making": checkpoint.to_dict(MAKING), "evaluation": found.numbers}
    assert checkpoint.from_dict(Making, stored["making"]) == MAKING


def test_without_logs_no_curves_and_what_was_special_is_kept(folder, found):
    (folder / "made.md").write_text("## How this copy was made\nIn one sitting.\n")
    write_card(folder, MAKING, found=found)
    text = (folder / "README.md").read_text()
    assert "losses" not in text
    assert text.endswith("Rabbits only.\n\n## How this copy was made\nIn one sitting.\n")
    write_card(folder, MAKING, found=found)
    assert (folder / "README.md").read_text() == text


@pytest.mark.parametrize("lost", ["learnt.json", "tokenizer"])
def test_half_a_folder_gets_no_card(folder, found, lost):
    if lost == "learnt.json":
        (folder / lost).unlink()
    else:
        folder = folder / lost
    with pytest.raises(ValueError, match="a card needs a whole model and its learnt.json"):
        write_card(folder, MAKING, found=found)


def test_samples_are_pairs_of_drawn_and_real():
    model, learnt = Subject.load("emoji-128").whole, Learnt.read(SHIPPED)
    how = {"guidance": 2.5, "residual_steps": 3}
    sheet = cards.draw_samples(model, learnt, how, pairs=3, columns=2)
    assert sheet.size == (4 * 130 + 2, 2 * 130 + 2)
    first = learnt.data().examples()
    blue = [example for example in first if example.background == "pale blue"][0]
    drawn = model.generate([blue.caption], **how, seed=0)[0]
    real = learnt.data().render([blue])[0]
    pixels = torch.tensor(list(sheet.crop((132, 2, 260, 130)).get_flattened_data()))
    assert (pixels / 127.5 - 1 - real.flatten(1).T).abs().max() < 0.01
    shown = torch.tensor(list(sheet.crop((2, 2, 130, 130)).tobytes()))
    alone = torch.tensor(list(drawn.tobytes()))
    assert (shown - alone).abs().max() <= 2  # drawn beside others, sums differ in the last digit


@pytest.mark.parametrize("name", ["emoji-128", "emoji-256-cpu"])
def test_the_shipped_card_is_what_its_numbers_say(name):
    """Written by hand nowhere but in made.md."""
    folder = checkpoint.find_model(name)
    stored = json.loads((folder / "metrics.json").read_text())
    making = checkpoint.from_dict(Making, stored["making"])
    subject = Subject.load(folder)
    shown = {path.stem for path in folder.glob("*.webp")}
    words = card(making, subject.whole, subject.learnt, stored["evaluation"], shown)
    words += "\n" + (folder / "made.md").read_text()
    assert (folder / "README.md").read_text() == words


def test_the_card_names_the_command_that_measures_so(found):
    usual = {**found.numbers, "splits": {"train": {"images": 512}}, "sampling": {"guidance": 4.5}}
    assert evaluate_command("emoji-9", usual) == "dcar evaluate emoji-9"
    prompts = {**found.numbers["prompts"], "prompts": 7}
    other = {"splits": {"train": {"images": 96}}, "prompts": prompts, "sampling": {"guidance": 1.5}}
    wanted = "dcar evaluate emoji-9 --guidance 1.5 --pictures 96 --prompts 7"
    assert evaluate_command("emoji-9", other) == wanted
