"""The rules of the tokenizer's sizes, and the presets' stated sizes."""

from dataclasses import replace

import pytest
import torch

from dcar_edu.tokenizer import HybridTokenizer, TokenizerConfig
from dcar_edu.tokenizer.autoencoder import count_parameters

FACTORS = (8, 16, 32, 64)


def on_meta(name: str, **changes) -> HybridTokenizer:
    with torch.device("meta"):
        return HybridTokenizer(TokenizerConfig.preset(name, **changes))


@pytest.mark.parametrize(
    ("factor", "encoder", "decoder", "whole"),
    [(32, 123_172_384, 200_184_076, 323_880_748), (16, 87_069_984, 128_688_396, 216_282_668)],
)
def test_paper_has_exactly_the_published_size(factor, encoder, decoder, whole):
    made = on_meta("paper", downsample=factor)
    assert count_parameters(made.encoder) == encoder
    assert count_parameters(made.decoder) == decoder
    assert count_parameters(made.quantizer) == 524_288
    assert count_parameters(made) == whole


@pytest.mark.parametrize(("name", "most"), [("nano", 8_000_000), ("small", 12_000_000)])
def test_small_presets_keep_to_their_budget(name, most):
    assert most / 4 < count_parameters(on_meta(name)) <= most


@pytest.mark.parametrize("name", ["nano", "small", "paper"])
def test_every_preset_is_deep_compression(name):
    config = TokenizerConfig.preset(name)
    assert (config.downsample, config.latent_channels) == (32, 32)
    assert TokenizerConfig.preset(name, num_codes=5) == replace(config, num_codes=5)


@pytest.mark.parametrize("factor", FACTORS)
@pytest.mark.parametrize("name", ["nano", "small", "paper"])
def test_every_preset_at_every_factor(name, factor):
    """With as many latent numbers a picture as f32 has, too."""
    config = TokenizerConfig.preset(name, downsample=factor)
    whole = TokenizerConfig.preset(name)
    assert config.downsample == factor
    shared = min(len(config.widths), 6)
    assert config.widths[:shared] == whole.widths[:shared]
    assert config.decoder_depths[:shared] == whole.decoder_depths[:shared]
    assert (config.stem, config.num_codes) == (whole.stem, whole.num_codes)
    assert config.residual_std == (whole.residual_std if factor == 32 else None)
    equal = factor * factor // 32
    made = on_meta(name, downsample=factor, latent_channels=equal)
    assert made.quantizer.codes.shape == (config.num_codes, equal)
    assert made.encoder[-1].conv.out_channels * 32**2 == 32 * factor**2


@pytest.mark.parametrize("factor", FACTORS)
def test_every_factor_encodes_and_decodes(factor):
    torch.manual_seed(0)
    tokenizer = HybridTokenizer(TokenizerConfig.preset("nano", downsample=factor, num_codes=5))
    pictures = torch.rand(2, 3, 64, 128) * 2 - 1
    encoded = tokenizer.eval().encode(pictures)
    assert encoded.latents.shape == (2, 32, 64 // factor, 128 // factor)
    assert tokenizer.decode(encoded.indices, encoded.residuals).shape == pictures.shape


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


@pytest.mark.parametrize("factor", [4, 12, 128])
def test_unknown_factors_are_refused(factor):
    with pytest.raises(ValueError, match=f"downsample must be one of 8, 16, 32, 64, got {factor}"):
        TokenizerConfig.preset("nano", downsample=factor)
