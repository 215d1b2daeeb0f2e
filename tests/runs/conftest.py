"""Runs made small: a preset of a few thousand weights, 32 px emoji, a text encoder of letters."""

from pathlib import Path

import pytest

from dcar_edu import parts
from dcar_edu.generator.training import GeneratorTraining
from dcar_edu.runs import Call, GeneratorRun, Pictures, TokenizerRun, generator, head, tokenizer
from dcar_edu.runs.logbook import Logbook
from dcar_edu.tokenizer.training import TokenizerTraining, three_stages

from ..standins import pocket_preset, text_encoder

FEW = Pictures("emoji", styles=("3d",), first=9, backgrounds=("white", "pale blue"))


@pytest.fixture(autouse=True)
def pocket(monkeypatch):
    """The preset ``pocket``, and a text encoder that needs no weights."""
    pocket_preset(monkeypatch)
    monkeypatch.setattr(Logbook, "draw_curve", lambda self: None)  # matplotlib is slow
    monkeypatch.setattr(head, "POOL", 3)
    monkeypatch.setattr(tokenizer, "MEASURED", 64)
    for room in (generator, parts):
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
        pocket_preset(patch)
        patch.setattr(tokenizer, "MEASURED", 64)
        plan = TokenizerRun(
            data=(FEW,), preset="pocket", resolution=32, batch=3,
            training=TokenizerTraining(three_stages(6, (2, 2, 2))), store="float32",
        )  # fmt: skip
        made = tokenizer.run_tokenizer(plan, tmp_path_factory.mktemp("tokenizer"))
    assert made is not None
    return made
