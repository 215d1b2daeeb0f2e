"""judge_tokenizer: every number recomputed from the tokenizer's own outputs."""

from types import SimpleNamespace

import pytest
import torch

from dcar_edu.metrics import judge_tokenizer, kid, perceptual_distance, psnr, ssim
from dcar_edu.tokenizer import HybridTokenizer, TokenizerConfig

from ..standins import Features


@pytest.fixture
def tokenizer():
    torch.manual_seed(0)
    config = TokenizerConfig(
        widths=(8, 8), encoder_depths=(1, 1), decoder_depths=(1, 1), blocks=("res", "res"),
        decoder_norms=("batch", "layer"), decoder_activations=("relu", "silu"),
        num_codes=7, latent_channels=4, head_width=4, expansion=2,
    )  # fmt: skip
    return HybridTokenizer(config)


@pytest.fixture
def images():
    return torch.rand(5, 3, 16, 24, generator=torch.Generator().manual_seed(1)) * 2 - 1


def test_every_number_is_what_its_name_says(tokenizer, images):
    pytest.importorskip("torchmetrics")
    features, batches = Features(), [images[:3], SimpleNamespace(images=images[3:])]
    found = judge_tokenizer(tokenizer, batches, features=features)
    tokenizer.eval()
    encoded = tokenizer.encode(images)
    for path, residuals in (("hybrid", encoded.residuals), ("discrete", None)):
        drawn = tokenizer.decode(encoded.indices, residuals)
        a, b = features(drawn), features(images)
        wanted = {
            "psnr": psnr(drawn, images).mean(),
            "ssim": ssim(drawn, images).mean(),
            "perceptual": perceptual_distance(a.taps, b.taps).mean(),
            "rkid_efficientnet": 1000 * kid(b.pooled, a.pooled, paired=True),
        }
        for name, value in wanted.items():
            assert found.pop(f"{name}_{path}") == pytest.approx(float(value), rel=1e-4, abs=1e-4)
    cosine = torch.cosine_similarity(encoded.latents, encoded.quantized, dim=1).mean().item()
    assert found.pop("cosine") == pytest.approx(cosine)
    assert found.pop("usage") == len(encoded.indices.unique()) / 7
    assert 1 <= found.pop("perplexity") <= len(encoded.indices.unique())
    assert found == {"images": 5.0}


def test_the_tokenizer_is_judged_in_eval_mode_and_left_as_it_was(tokenizer, images):
    pytest.importorskip("torchmetrics")
    tokenizer.train()
    tokenizer.encoder.eval()
    before = {name: value.clone() for name, value in tokenizer.state_dict().items()}
    first = judge_tokenizer(tokenizer, [images], features=Features())
    assert tokenizer.decoder.training
    assert not tokenizer.encoder.training
    assert all(torch.equal(before[name], value) for name, value in tokenizer.state_dict().items())
    assert judge_tokenizer(tokenizer.eval(), [images], features=Features()) == first


@pytest.mark.parametrize("pictures", [0, 1])
def test_too_few_pictures(tokenizer, images, pictures):
    pytest.importorskip("torchmetrics")
    batches = [images[:1]] * pictures
    with pytest.raises(ValueError, match=f"two or more pictures, got {pictures}. Pass more"):
        judge_tokenizer(tokenizer, batches, features=Features())
