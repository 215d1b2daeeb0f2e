"""Runs made small: a preset of a few thousand weights, 32 px emoji, a text encoder of letters."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from dcar_edu import pipeline
from dcar_edu.generator import GeneratorConfig
from dcar_edu.generator import config as generator_sizes
from dcar_edu.generator.training import GeneratorTraining
from dcar_edu.runs import Call, GeneratorRun, Pictures, TokenizerRun, generator, head, run_tokenizer
from dcar_edu.runs.logbook import Logbook
from dcar_edu.text import TextEncoder
from dcar_edu.tokenizer import TokenizerConfig
from dcar_edu.tokenizer import config as tokenizer_sizes
from dcar_edu.tokenizer.training import TokenizerTraining, three_stages

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
FEW = Pictures("emoji", styles=("3d",), first=9, backgrounds=("white", "pale blue"))


class Letters(nn.Module):
    """A language model that looks letters up."""

    def __init__(self):
        super().__init__()
        self.letters = nn.Embedding(128, 12)
        self.config = SimpleNamespace(hidden_size=12)

    def forward(self, input_ids, attention_mask):
        return SimpleNamespace(last_hidden_state=self.letters(input_ids))


def pieces(prompts, **_):
    """The last two to five letters of each prompt, so that lengths differ."""
    rows = [[ord(letter) for letter in p[-2 - len(p) % 4 :]] for p in prompts]
    mask = torch.arange(max(map(len, rows)))[None] < torch.tensor([[len(row)] for row in rows])
    ids = torch.zeros(mask.shape, dtype=torch.int64)
    ids[mask] = torch.tensor(sum(rows, []))
    return {"input_ids": ids, "attention_mask": mask.long()}


def text_encoder(name, *, length):
    torch.manual_seed(3)
    return TextEncoder(name, Letters(), pieces, length)


@pytest.fixture(autouse=True)
def pocket(monkeypatch):
    """The preset ``pocket``, and a text encoder that needs no weights."""
    monkeypatch.setitem(tokenizer_sizes._PRESETS, "pocket", vars(SIZES))
    monkeypatch.setitem(generator_sizes._PRESETS, "pocket", vars(MASKED))
    monkeypatch.setattr(Logbook, "draw_curve", lambda self: None)  # matplotlib is slow
    monkeypatch.setattr(head, "POOL", 3)
    for room in (generator, pipeline):
        monkeypatch.setattr(room, "load_text_encoder", text_encoder)


@pytest.fixture
def tokenizer_plan() -> TokenizerRun:
    """Seven steps of three pictures, all stages, codes revived, two sources."""
    return TokenizerRun(
        data=(FEW, Pictures("scenes", share=2, mirror=True, styles=("3d",), kinds=("single",))),
        preset="pocket",
        resolution=32,
        batch=3,
        images=21,
        training=TokenizerTraining(
            three_stages(7, (2, 3, 2)), warmup_steps=2, revive_every=1, seed=5
        ),
        store="float32",
    )


@pytest.fixture
def generator_plan() -> GeneratorRun:
    """Six steps of four pictures, one source encoded once, the other on the fly."""
    return GeneratorRun(
        data=(FEW, Pictures("scenes", styles=("3d",), kinds=("single",))),
        preset="pocket",
        resolution=32,
        batch=4,
        training=GeneratorTraining(steps=6, warmup_steps=2, seed=5),
        store="float32",
    )


@pytest.fixture
def often() -> Call:
    """Save after every step."""
    return Call(save_every=0.0)


@pytest.fixture(scope="session")
def small_tokenizer(tmp_path_factory) -> Path:
    """A trained tokenizer of two steps a stage."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(tokenizer_sizes._PRESETS, "pocket", vars(SIZES))
        plan = TokenizerRun(
            data=(FEW,), preset="pocket", resolution=32, batch=3,
            training=TokenizerTraining(three_stages(6, (2, 2, 2))), store="float32",
        )  # fmt: skip
        made = run_tokenizer(plan, tmp_path_factory.mktemp("tokenizer"))
    assert made is not None
    return made
