"""A recipe made small: killed, stopped and gone on with, it gives the very same checkpoint."""

import json
from types import SimpleNamespace

import pytest
import torch
from PIL import Image
from torch import nn

from dcar_edu import DCAR, checkpoint, pipeline
from dcar_edu.course import cards, making, recipes
from dcar_edu.course.making import Clock, OutOfTime, train
from dcar_edu.course.recipes import RECIPES, Recipe, learnt_examples
from dcar_edu.data import CaptionedEmoji
from dcar_edu.generator import GeneratorConfig, MaskedGenerator
from dcar_edu.generator import config as generator_sizes
from dcar_edu.generator.training import GeneratorTraining
from dcar_edu.metrics.evaluation import Evaluation
from dcar_edu.metrics.splits import Learnt
from dcar_edu.state import TrainingState
from dcar_edu.text import TextEncoder
from dcar_edu.tokenizer import HybridTokenizer, TokenizerConfig
from dcar_edu.tokenizer import config as tokenizer_sizes
from dcar_edu.tokenizer.training import TokenizerTraining, three_stages

POCKET = Recipe(
    preset="pocket",
    resolution=32,
    tokenizer_training=TokenizerTraining(three_stages(4, (1, 2, 1)), revive_every=1),
    tokenizer_batch=3,
    learnt_share=0.4,
    generator_training=GeneratorTraining(steps=3, warmup_steps=1),
    generator_batch=2,
    head_training=GeneratorTraining(steps=2, warmup_steps=1, seed=1),
    head_batch=7,
    head_passes=3,
    concepts=5,
    styles=("3d",),
    backgrounds=("white", "pale blue"),
)
SIZES = TokenizerConfig(
    widths=(8, 8, 16, 16),
    encoder_depths=(0, 0, 1, 1),
    decoder_depths=(0, 0, 1, 1),
    blocks=("res",) * 4,
    decoder_norms=("layer",) * 4,
    decoder_activations=("silu",) * 4,
    num_codes=7,
    latent_channels=4,
)
MASKED = GeneratorConfig(
    width=16, depth=1, heads=2, mlp_width=24, num_codes=7, text_width=12, text_length=6,
    head_width=8, head_depth=1, grid=(4, 4), latent_channels=4,
)  # fmt: skip


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


class Table(nn.Module):
    """A language model that looks letters up."""

    def __init__(self):
        super().__init__()
        self.letters = nn.Embedding(128, 12)
        self.config = SimpleNamespace(hidden_size=12)

    def forward(self, input_ids, attention_mask):
        return SimpleNamespace(last_hidden_state=self.letters(input_ids))


def pieces(prompts, **_):
    ids = torch.tensor([[ord(p[-place]) for place in range(1, 6)] for p in prompts])
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


def text_encoder(name, *, length):
    torch.manual_seed(3)
    return TextEncoder(name, Table(), pieces, length)


def evaluate(subject, plan):
    """In place of an evaluation, which has tests of its own: as many numbers as the card needs."""
    assert plan is None
    assert subject.whole.tokenizer is subject.tokenizer
    sheets = {name: Image.new("RGB", (9, 5)) for name in ("train", "held_out_concepts", "prompts")}
    return Evaluation(NUMBERS, sheets)


@pytest.fixture
def pocket(monkeypatch):
    """Few pictures, few weights, few steps."""
    monkeypatch.setitem(RECIPES, "pocket", POCKET)
    monkeypatch.setitem(tokenizer_sizes._PRESETS, "pocket", vars(SIZES))
    monkeypatch.setitem(generator_sizes._PRESETS, "pocket", vars(MASKED))

    def few(split, resolution, **changes):
        changes = {"concepts": 9, "styles": ("3d",), **changes}
        return CaptionedEmoji(split, resolution, **changes)

    for room in (recipes, making):
        monkeypatch.setattr(room, "CaptionedEmoji", few)
    for room in (making, pipeline):
        monkeypatch.setattr(room, "load_text_encoder", text_encoder)
    monkeypatch.setattr(cards, "evaluate", evaluate)


def store(folder, name, recipe, model, work):
    """Finish without a card, whose count of operations would take steps of its own."""
    model.save_pretrained(folder, dtype=torch.bfloat16)


@pytest.fixture
def in_home(monkeypatch, tmp_path):
    """Run the recipe with a home folder of its own."""

    def run(home, **options):
        monkeypatch.setenv("DCAR_HOME", str(tmp_path / home))
        return train("pocket", out=tmp_path / home / "out", **options)

    return run


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


def test_a_stopped_recipe_goes_on_and_gives_the_same_checkpoint(pocket, in_home, capsys):
    whole = in_home("whole")
    calls = 1
    while (stopped := in_home("stopped", minutes=0)) is None:
        calls += 1
        assert calls < 9, "it never ends"
    # Each call ends after one step, but the last step of a part goes on: 4 + 3 + 2 steps, 7 calls.
    assert calls == 7
    assert equal(whole, stopped)
    said = capsys.readouterr().out
    assert "stopped after 0 minutes; the same command goes on from" in said
    assert "going on from step 2" in said
    numbers = [json.loads((folder / "metrics.json").read_text()) for folder in (whole, stopped)]
    for found in numbers:
        for part in found["making"]["parts"]:
            assert part.pop("minutes") >= 0
    assert numbers[0] == numbers[1]

    model = DCAR.from_pretrained(whole)
    assert model.generator.config.residual_scale == model.tokenizer.config.residual_std
    assert model.generator.config.tokenizer_fingerprint == model.tokenizer.fingerprint()
    assert model.generator.config.grid == (4, 4)
    assert {p.name for p in whole.iterdir()} == {
        "README.md", "config.json", "generator", "held_out_concepts.webp", "learnt.json",
        "metrics.json", "prompts.webp", "samples.webp", "tokenizer",
    }  # fmt: skip
    assert Learnt.read(whole).data().examples() == learnt_examples(POCKET)[1]
    assert numbers[0]["evaluation"] == NUMBERS


@pytest.mark.parametrize("killed_at", [3, 6, 8])
def test_a_killed_recipe_goes_on_and_gives_the_same_checkpoint(
    pocket, in_home, monkeypatch, killed_at
):
    """Killed within a step, after its update and before its save: that step is done again."""
    monkeypatch.setattr(making, "SAVE_EVERY", -1.0)
    monkeypatch.setattr(making, "_finish", store)
    whole, updates = in_home("whole"), []
    apply = TrainingState.apply_gradients

    def killed(*arguments):
        updates.append(apply(*arguments))
        if len(updates) == killed_at:
            raise KeyboardInterrupt
        return updates[-1]

    monkeypatch.setattr(TrainingState, "apply_gradients", killed)
    with pytest.raises(KeyboardInterrupt):
        in_home("killed")
    assert equal(whole, in_home("killed"))
    assert len(updates) == 4 + 3 + 2 + 1


def test_another_tokenizer_gets_another_generator(pocket, in_home, monkeypatch, tmp_path):
    """A finished generator knows the old tokens: it must not pass for the new tokenizer's."""
    monkeypatch.setattr(making, "_finish", store)
    in_home("home")
    folder, updates = tmp_path / "home" / "recipes" / "pocket" / "tokenizer", []
    tokenizer = HybridTokenizer.from_pretrained(folder)
    with torch.no_grad():
        tokenizer.quantizer.codes.copy_(tokenizer.quantizer.codes.flip(0))
    tokenizer.save_pretrained(folder, dtype=torch.bfloat16)
    apply = TrainingState.apply_gradients
    monkeypatch.setattr(
        TrainingState, "apply_gradients", lambda *a: updates.append(apply(*a)) or updates[-1]
    )
    in_home("home")
    assert len(updates) == 3 + 2


def pocket_model():
    """An untrained model of the pocket's size, beside its pictures as tokens."""
    torch.manual_seed(4)
    model = DCAR(HybridTokenizer(SIZES), MaskedGenerator(MASKED), text_encoder("", length=6)).eval()
    return model, making.encode_all(*learnt_examples(POCKET), model.tokenizer, model.text_encoder)


def test_hidden_states_are_those_of_masked_pictures_beside_their_residuals(pocket):
    model, tokens = pocket_model()
    pictures = len(tokens.indices)
    hidden, residuals = making.hidden_states(model, tokens, 3, POCKET.head_training)
    assert hidden.shape == (3 * pictures * 16, 16)
    assert not hidden.requires_grad
    each = residuals.unflatten(0, (3, pictures, 4, 4))
    for turn in each:
        torch.testing.assert_close(turn, tokens.residuals.permute(0, 2, 3, 1))
    turns = hidden.unflatten(0, (3, pictures, 16))
    assert not torch.equal(turns[0], turns[1])  # hidden anew
    everything = GeneratorTraining(steps=1, text_drop=1.0)
    without, _ = making.hidden_states(model, tokens, 1, everything)
    tokens.text[:] = 9.0
    changed, _ = making.hidden_states(model, tokens, 1, everything)
    torch.testing.assert_close(without, changed)  # every text was dropped


def test_the_head_learns_alone(pocket, tmp_path):
    model, _ = pocket_model()
    before = {name: value.clone() for name, value in model.generator.state_dict().items()}
    making.make_head(POCKET, model, tmp_path, Clock())
    after = model.generator.state_dict()
    moved = {name for name, value in after.items() if not torch.equal(value, before[name])}
    assert "residual_head.output.linear.weight" in moved
    assert all(name.startswith("residual_head.") for name in moved)


def test_unknown_recipe():
    with pytest.raises(ValueError, match="recipes are emoji-128; got 'emoji-9'. Name one of them"):
        train("emoji-9")


def test_what_the_shipped_recipe_learns():
    recipe = RECIPES["emoji-128"]
    data, examples = learnt_examples(recipe)
    assert len(data.concepts) == recipe.concepts
    assert {concept.group for concept in data.concepts} <= set(recipes.THINGS)
    assert {(e.style, e.size) for e in examples} == {("3d", "normal")}
    assert {e.background for e in examples} == set(recipe.backgrounds)
    captions = [example.caption for example in examples]
    assert len(set(captions)) == len(captions) > recipe.concepts


class FakeTime:
    now = 1000.0

    def monotonic(self):
        return self.now


@pytest.fixture
def time(monkeypatch):
    monkeypatch.setattr(making, "time", FakeTime())
    return making.time


def test_the_clocks_seconds_add_up_over_calls(time, tmp_path):
    diary, said = tmp_path / "seconds", []
    for began, step in ((0, 3), (3, 5)):
        clock = Clock(minutes=2, say=said.append)
        time.now += 50  # another part of the recipe ran first: not counted here
        clock.start(began, diary)
        time.now += 71
        with pytest.raises(OutOfTime):
            clock.tick(step, 9, "", lambda: None)
    assert diary.read_text() == "142"
    assert "going on from step 3" in said
    Clock().start(0, diary)  # a run that begins anew forgets
    clock = Clock(say=said.append)
    clock.start(0, diary)
    time.now += 10
    clock.tick(9, 9, "", lambda: None)
    assert diary.read_text() == "10"


def test_the_clock_saves_every_minute_and_at_the_end(time, tmp_path):
    saves, said = [], []
    clock = Clock(say=said.append)
    clock.start(0, tmp_path / "seconds")
    for step in range(1, 11):
        time.now += 25
        clock.tick(step, 10, f"loss {step}", lambda step=step: saves.append(step))
    assert saves == [3, 6, 9, 10]
    assert said[3] == "4/10  0.04 it/s  2 min left  loss 4"
    assert len(said) == 10
    time.now += 1000
    clock.minutes = 1
    clock.tick(10, 10, "", lambda: saves.append("end"))  # over, but finished: no stop
    assert saves[-1] == "end"
