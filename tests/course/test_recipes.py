"""A recipe made small: killed, stopped and gone on with, it gives the very same checkpoint."""

import json
from types import SimpleNamespace

import pytest
import torch
from PIL import Image

from dcar_edu import DCAR, checkpoint, parts
from dcar_edu.course import cards, facts, making, recipes
from dcar_edu.course.making import train
from dcar_edu.course.recipes import RECIPES, Part, Recipe, learnt_examples
from dcar_edu.generator.training import GeneratorTraining
from dcar_edu.metrics.evaluation import Evaluation
from dcar_edu.metrics.splits import Learnt
from dcar_edu.runs import GeneratorRun, Pictures, TokenizerRun, generator, head, tokenizer
from dcar_edu.tokenizer.training import Stage, TokenizerTraining, three_stages

from ..standins import pocket_preset, text_encoder

HEART = Pictures("emoji", styles=("3d",), backgrounds=("white", "pale blue"), first=5)
POCKET = Recipe(
    (
        Part(
            "tokenizer",
            TokenizerRun(
                (HEART, Pictures("emoji", styles=("3d",), first=9, share=2, mirror=True)),
                preset="pocket",
                resolution=32,
                batch=3,
                training=TokenizerTraining(three_stages(4, (1, 2, 1)), revive_every=1),
            ),
        ),
        Part(
            "decoder",
            TokenizerRun(
                (HEART,),
                resolution=32,
                batch=2,
                start="tokenizer",
                training=TokenizerTraining((Stage("alternate", 2, "alternate", ("decoder",)),)),
            ),
        ),
        Part(
            "generator",
            GeneratorRun(
                (HEART,),
                preset="pocket",
                resolution=32,
                batch=2,
                training=GeneratorTraining(steps=3, warmup_steps=1),
            ),
            tokenizer="decoder",
        ),
        Part(
            "head",
            GeneratorRun(
                (HEART,),
                resolution=32,
                batch=2,
                learns="head",
                start="generator",
                training=GeneratorTraining(steps=2, warmup_steps=1, seed=1),
            ),
        ),
    ),
    resolution=32,
    learnt=HEART,
    preset="pocket",
    guidance=2.5,
    residual_clip=0.375,
)
NUMBERS = {
    "splits": {},
    "prompts": {
        "split": "learnt", "prompts": 9, "candidates": 5, "chance": 0.2, "token_match": 0.125,
        "hybrid": {"r1": 0.5, "r1_interval": [0.25, 0.75], "r5": 1.0,
                   "kid_efficientnet": 8.0, "kid_efficientnet_interval": [4.0, 16.0]},
        "discrete": {"r1": 0.25, "r1_interval": [0.0, 0.5], "r5": 1.0,
                     "kid_efficientnet": 9.0, "kid_efficientnet_interval": [5.0, 17.0]},
        "real": {"r1": 1.0, "r1_interval": [1.0, 1.0], "r5": 1.0},
    },
    "sampling": {"num_steps": 12, "guidance": 4.5, "temperature": 1.5},
}  # fmt: skip


def evaluate(subject, plan):
    """In place of an evaluation, which has tests of its own: as many numbers as the card needs."""
    assert plan.sampling.guidance == 2.5
    assert subject.whole.tokenizer is subject.tokenizer
    sheets = {name: Image.new("RGB", (9, 5)) for name in ("train", "held_out_concepts", "prompts")}
    return Evaluation(NUMBERS, sheets)


def small(patch, home):
    """Few pictures, few weights, few steps, and a home folder of its own."""
    patch.setenv("DCAR_HOME", str(home))
    patch.setitem(RECIPES, "pocket", POCKET)
    pocket_preset(patch)
    patch.setattr(head, "POOL", 3)
    patch.setattr(tokenizer, "MEASURED", 64)
    for room in (generator, parts):
        patch.setattr(room, "load_text_encoder", text_encoder)
    patch.setattr(cards, "evaluate", evaluate)
    patch.setattr(making, "seconds_spent", lambda out: 90.0 * len(out.name))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The recipe made in one go, into a folder that holds an older copy."""
    home = tmp_path_factory.mktemp("whole")
    (home / "out" / "tokenizer").mkdir(parents=True)
    (home / "out" / "tokenizer" / "model-00002-of-00002.safetensors").write_bytes(b"old")
    (home / "out" / "made.md").write_text("## By hand\nIn one sitting.\n")
    with pytest.MonkeyPatch.context() as patch:
        small(patch, home)
        return train("pocket", out=home / "out")


def weights(folder):
    return {
        f"{part}.{name}": tensor
        for part in ("tokenizer", "generator")
        for name, tensor in checkpoint.load_tensors(folder / part).items()
    }


def equal(first, second):
    first, second = weights(first), weights(second)
    assert first.keys() == second.keys()
    return all(torch.equal(first[name], second[name]) for name in first)


def test_a_stopped_recipe_goes_on_and_gives_the_same_checkpoint(
    whole, monkeypatch, tmp_path, capsys
):
    small(monkeypatch, tmp_path)
    calls = 1
    while (stopped := train("pocket", minutes=0, out=tmp_path / "out")) is None:
        calls += 1
        assert calls < 9, "it never ends"
    # A call ends after one step, but the last of a part goes on: 4 + 2 + 3 + 2 steps, 8 calls.
    assert calls == 8
    assert equal(whole, stopped)
    said = capsys.readouterr().out
    assert "stopped after 0 minutes; the same command goes on from" in said
    assert "going on from step 2" in said
    numbers = [json.loads((folder / "metrics.json").read_text()) for folder in (whole, stopped)]
    assert numbers[0] == numbers[1]
    for part in numbers[0]["making"]["parts"]:
        assert part["minutes"] == 1.5 * len(part["name"])

    model = DCAR.from_pretrained(stopped)
    assert model.generator.config.residual_scale == model.tokenizer.config.residual_std
    assert model.generator.config.tokenizer_fingerprint == model.tokenizer.fingerprint()
    assert model.generator.config.grid == (4, 4)
    assert model.generator.config.residual_clip == POCKET.residual_clip == 0.375
    assert {p.name for p in stopped.iterdir()} == {
        "README.md", "config.json", "generator", "held_out_concepts.webp", "learnt.json",
        "losses.webp", "metrics.json", "prompts.webp", "samples.webp", "tokenizer",
    }  # fmt: skip
    assert Learnt.read(stopped).data().examples() == learnt_examples(POCKET)[1]
    assert numbers[0]["evaluation"] == NUMBERS


def test_the_second_part_moves_the_decoder_alone(whole):
    work = whole.parent / "recipes" / "pocket"
    before, after = (
        checkpoint.load_tensors(work / part / "model") for part in ("tokenizer", "decoder")
    )
    moved = {name for name in after if not torch.equal(after[name], before[name])}
    assert moved
    assert all(name.startswith("decoder.") for name in moved)
    assert "Steps of the tokenizer's stages: warm-up 1, discrete 2" in (
        card := (whole / "README.md").read_text()
    )
    assert "Steps of the decoder's stages: alternate 2." in card


def test_the_last_part_is_the_head_alone(whole):
    shipped = weights(whole)
    before = weights(whole.parent / "recipes" / "pocket" / "generator" / "model")
    moved = {name for name in shipped if not torch.equal(shipped[name], before[name])}
    assert "generator.residual_head.output.linear.weight" in moved
    assert all(name.startswith("generator.residual_head.") for name in moved)


def test_what_is_told_of_a_copy_stays_and_old_shards_go(whole):
    assert (whole / "README.md").read_text().endswith("## By hand\nIn one sitting.\n")
    assert {p.name for p in (whole / "tokenizer").iterdir()} == {"config.json", "model.safetensors"}


def test_the_minutes_of_a_call_are_those_of_all_its_parts(monkeypatch, tmp_path):
    given, clock = [], SimpleNamespace(now=50.0, monotonic=lambda: clock.now)

    def run_part(part, recipe, work, minutes):
        given.append(minutes)
        clock.now += 90
        return None if part.name == "head" else tmp_path

    monkeypatch.setitem(RECIPES, "pocket", POCKET)
    monkeypatch.setattr(making, "time", clock)
    monkeypatch.setattr(making, "run_part", run_part)
    assert train("pocket", minutes=5.0) is None
    assert given == [5.0, 3.5, 2.0, 0.5]


def test_unknown_recipe():
    with pytest.raises(ValueError, match="recipes are emoji-128, .*; got 'emoji-9'. Name one of"):
        train("emoji-9")


def test_what_the_shipped_recipe_learns():
    recipe = RECIPES["emoji-128"]
    data, examples = learnt_examples(recipe)
    assert len(data.concepts) == 560
    assert {concept.group for concept in data.concepts} <= set(recipes.THINGS)
    assert {(e.style, e.size) for e in examples} == {("3d", "normal")}
    assert {e.background for e in examples} == {"white", "pale blue"}
    captions = [example.caption for example in examples]
    assert len(set(captions)) == len(captions) > 560
    assert Learnt.read(checkpoint.find_model("emoji-128")).data().examples() == examples


@pytest.mark.parametrize("name", RECIPES)
def test_parts_name_what_was_made_before_or_is_shipped(name):
    made, shipped = [], set(RECIPES) - {name}
    for part in RECIPES[name].parts:
        for start in (part.plan.start, part.tokenizer):
            assert start is None or start in made or start in shipped
        assert part.plan.resolution == RECIPES[name].resolution
        made.append(part.name)
    assert len(set(made)) == len(made)


def test_a_card_tells_the_data_and_the_losses():
    plan = RECIPES["emoji-256-cpu"].parts[0].plan
    notes = facts._notes("tokenizer", plan)
    assert "Steps of the tokenizer's stages: alternate 2,300." in notes
    assert "L1 + 2 x MSE + 0.5 x perceptual (EfficientNet-Lite0 at 128 px)" in notes
    told = facts._data(plan.data)
    assert "`3*emoji?styles=3d&" in told
    assert told.endswith("`emoji?mirror=yes`.")
