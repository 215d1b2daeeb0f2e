"""The bench of sampling at nano size: what it counts, and that both ways draw the same picture."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from dcar_edu.bench import pictures, sample, timing
from dcar_edu.drawing import Drawing, seeds
from dcar_edu.generator import GeneratorConfig, MaskedGenerator, sampling
from dcar_edu.generator.guidance import Guidance
from dcar_edu.tokenizer import HybridTokenizer, TokenizerConfig


@pytest.fixture(scope="module")
def model():
    return pictures.random_generator(GeneratorConfig.preset("nano", grid=(2, 3), text_length=9))


@pytest.fixture(scope="module")
def tokenizer():
    return HybridTokenizer(TokenizerConfig.preset("nano")).eval()


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still unless a part, made slow, is called."""
    now = [0.0]
    monkeypatch.setattr(timing.time, "perf_counter", lambda: now[0])

    def slow(owner, name, *costs):
        """Each call costs the next of ``costs``; a single one is for all calls."""
        run, left = getattr(owner, name), iter(costs)

        def slowly(*arguments, **options):
            now[0] += costs[0] if len(costs) == 1 else next(left)
            return run(*arguments, **options)

        monkeypatch.setattr(owner, name, slowly)

    return slow


def test_weights_are_such_that_words_matter(model):
    """Fresh heads answer 0 whatever they read: then equal logits would say nothing."""
    text, mask = pictures.random_words(model, 5)
    grid = torch.full((1, 2, 3), model.mask_id)
    with torch.no_grad():
        seen, other = model(grid, text, mask), model(grid, text.roll(1, 2), mask)
        noise = model.residual_head(torch.ones(6, 32), torch.full((6,), 9), seen.hidden[0])
    assert (seen.logits - other.logits).abs().max() > 0.01
    assert noise.abs().min() > 0


def test_kept_words_count_once_and_the_median_drawing_counts(model, clock):
    """Two steps, three drawings; the sampler's own work and the warm-up are left out."""
    clock(MaskedGenerator, "read_text", 500, 10, 20, 30, 1, 2, 3, 4, 90, 6)
    clock(MaskedGenerator, "predict", 1)
    clock(sampling, "_uniform", 7000)
    found = sample.text_cache(model, 5, grid=(2, 3), num_steps=2, repeats=3)
    # kept: 10 + 2, 1 + 2, 4 + 2; read again: 20 + 30 + 2, 2 + 3 + 2, 90 + 6 + 2
    assert (found.kept_seconds, found.again_seconds) == (6, 52)
    assert found.speed == 52 / 6
    assert (found.words, found.tokens, found.num_steps) == (5, 6, 2)


@pytest.mark.parametrize("field", ["logits", "hidden"])
def test_the_least_difference_is_an_error(model, monkeypatch, field):
    calls, predict = [], MaskedGenerator.predict

    def nudged(*arguments):
        """The fourth pass: after one to warm up and two of step 1."""
        calls.append(predict(*arguments))
        moved = {field: getattr(calls[-1], field) + 1e-6} if len(calls) == 4 else {}
        return replace(calls[-1], **moved)

    monkeypatch.setattr(MaskedGenerator, "predict", nudged)
    with pytest.raises(ValueError, match="words kept the generator answers otherwise in step 2"):
        sample.text_cache(model, 5, grid=(2, 3), num_steps=2, repeats=1)


@torch.no_grad()
def test_both_ways_draw_the_same_picture_bit_for_bit(model, tokenizer):
    text, mask = pictures.random_words(model, 9)

    class Again(Drawing):
        def _passes(self, indices):
            return [self.model(indices, words, mask) for words in (text, None)]

    drawn, tokens = [], []
    for kind in (Drawing, Again):
        memories = [model.read_text(words, mask) for words in (text, None)]
        drawing = kind(model, *memories, (1, 2, 3), 3, Guidance(4.5), 1.5, seeds(5, 1))
        for _ in drawing.steps():
            pass
        tokens.append(drawing.indices)
        drawn.append(tokenizer.decode(drawing.indices, drawing.residuals(4, None)))
    assert torch.equal(*tokens)
    assert torch.equal(*drawn)
    assert len(tokens[0].unique()) > 3


def test_every_part_of_a_picture_is_counted_once(model, tokenizer, clock):
    """Four steps of two passes; three pictures after a short one that is not counted."""
    clock(MaskedGenerator, "read_text", 1)
    clock(MaskedGenerator, "predict", 2)
    clock(sampling, "_uniform", 3)
    clock(MaskedGenerator, "sample_residuals", 5000, 6, 90, 5)
    clock(HybridTokenizer, "decode", 7)
    clock(pictures.images, "to_pil", 10)
    found = sample.residual_overhead("nano", model, tokenizer, num_steps=4, residual_steps=3)
    passes = 2 * 1 + 4 * 2 * 2
    assert found.passes_seconds == passes
    assert found.tokens_seconds == passes + 4 * 3
    assert (found.residual_seconds, found.decode_seconds) == (6, 7 + 10)
    assert found.discrete_seconds == passes + 12 + 17
    assert found.share == 6 / (passes + 12 + 17)
    assert found.share_of_passes == 6 / passes
    assert (found.preset, found.pixels, found.words) == ("nano", (64, 96), 9)
    assert (found.num_steps, found.residual_steps) == (4, 3)


def test_residuals_are_drawn_with_guidance(model, tokenizer, monkeypatch):
    """Else the head would run half as often as in a real picture."""
    asked, draw = [], MaskedGenerator.sample_residuals

    def residuals(self, hidden, null_hidden, **options):
        asked.append((null_hidden is not None, options["guidance"], options["num_steps"]))
        return draw(self, hidden, null_hidden, **options)

    monkeypatch.setattr(MaskedGenerator, "sample_residuals", residuals)
    sample.residual_overhead("nano", model, tokenizer, num_steps=2, residual_steps=3, repeats=1)
    assert asked == [(True, 4.5, 1), (True, 4.5, 3)]


def test_report(monkeypatch):
    asked = []

    def cache(model, words, *, repeats):
        asked.append((torch.get_num_threads(), words, model.config.text_length, repeats))
        return sample.Caching(words, 64, 12, 2.0, 2.0 + words / 100)

    def overhead(preset, model, tokenizer, *, repeats):
        asked.append((torch.get_num_threads(), preset, model.config.width, repeats))
        return sample.Overhead(preset, (64, 96), 9, 12, 20, 30.0, 25.0, 2.0, 10.0)

    monkeypatch.setattr(sample, "random_generator", lambda config: SimpleNamespace(config=config))
    monkeypatch.setattr(sample, "text_cache", cache)
    monkeypatch.setattr(sample, "residual_overhead", overhead)
    before = torch.get_num_threads()
    n = before + 1
    lines = sample.report(presets=["nano", "small"], repeats=7, threads=n).splitlines()
    assert asked == [(n, 32, 300, 7), (n, 300, 300, 7), (n, "nano", 256, 7), (n, "small", 320, 7)]
    assert torch.get_num_threads() == before
    assert lines[1] == (
        "words kept 2.50x  2.000 s, read in every step 5.000 s: "
        "300 words, 64 tokens, 12 steps, nano"
    )
    assert lines[2] == "both ways equal in every logit and hidden state, bit for bit"
    assert lines[3:5] == [
        "residual head 5.0%  2.000 s beside 40.000 s: nano, 64x96 pixels, 9 words, 12 + 20 steps, "
        "guidance 4.5",
        "  of the transformer alone 8.0%  25.000 s; all token steps 30.000 s, decoder 10.000 s",
    ]
    assert lines[5].startswith("residual head 5.0%  2.000 s beside 40.000 s: small, ")
    assert lines[7:] == [
        "random weights and text states; the text encoder is not counted",
        f"cpu, {n} threads, float32, median of 7 runs",
    ]


def test_an_unknown_preset_is_refused_and_threads_put_back():
    before = torch.get_num_threads()
    with pytest.raises(ValueError, match="presets are nano, small, paper; got 'huge'"):
        sample.report(presets=["huge"], threads=before + 1)
    assert torch.get_num_threads() == before
