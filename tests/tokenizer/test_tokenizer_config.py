"""The rules of the tokenizer's sizes, and the presets' stated sizes."""

from dataclasses import replace

import pytest
import torch

from dcar_edu.tokenizer import HybridTokenizer, TokenizerConfig
from dcar_edu.tokenizer.autoencoder import count_parameters


def on_meta(name: str) -> HybridTokenizer:
    with torch.device("meta"):
        return HybridTokenizer(TokenizerConfig.preset(name))


def test_paper_has_exactly_the_published_size():
    made = on_meta("paper")
    assert count_parameters(made.encoder) == 123_172_384
    assert count_parameters(made.decoder) == 200_184_076
    assert count_parameters(made.quantizer) == 524_288
    assert count_parameters(made) == 323_880_748


@pytest.mark.parametrize(("name", "most"), [("nano", 8_000_000), ("small", 12_000_000)])
def test_small_presets_keep_to_their_budget(name, most):
    assert most / 4 < count_parameters(on_meta(name)) <= most


@pytest.mark.parametrize("name", ["nano", "small", "paper"])
def test_every_preset_is_deep_compression(name):
    config = TokenizerConfig.preset(name)
    assert (config.downsample, config.latent_channels) == (32, 32)
    assert TokenizerConfig.preset(name, num_codes=5) == replace(config, num_codes=5)


def test_leading_empty_stages_fold_into_the_stem(tiny):
    assert (tiny.stem, tiny.downsample) == (1, 4)
    deep = replace(tiny, widths=(8, 8, 16), encoder_depths=(0, 0, 1), decoder_depths=(0, 0, 2))
    assert (deep.stem, deep.downsample) == (2, 4)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"encoder_depths": (1, 1)}, r"encoder_depths needs one entry a stage \(3\), got 2"),
        ({"decoder_norms": ("layer",)}, r"decoder_norms needs one entry a stage \(3\), got 1"),
        ({"encoder_depths": (1, 0, 1)}, r"only leading stages may have depth 0, got \(1, 0, 1\)"),
        ({"decoder_depths": (0, 0, 0)}, r"only leading stages may have depth 0, got \(0, 0, 0\)"),
        ({"widths": (4, 6, 8)}, r"width 6 of the stem must be a multiple of 4 \(it shrinks by 2\)"),
        ({"encoder_depths": (0, 0, 1), "widths": (8, 8, 16)}, "must fold the same stages"),
        ({"widths": (4, 8, 24)}, "a shortcut from 8 to 24 channels averages whole groups"),
        ({"latent_channels": 3}, "latent_channels=3 must divide the last width 8"),
        ({"head_width": 3}, "width that head_width=3 divides, got 8"),
    ],
)
def test_config_refuses(tiny, changes, message):
    with pytest.raises(ValueError, match=message):
        replace(tiny, **changes)


def test_unknown_preset_names_the_known():
    with pytest.raises(ValueError, match="presets are nano, small, paper; got 'huge'"):
        TokenizerConfig.preset("huge")
