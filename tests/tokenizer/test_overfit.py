"""The whole tokenizer, at ``nano``, learns one batch by heart: ``pytest -m slow``."""

import pytest
import torch

from dcar_edu.data import CaptionedEmoji
from dcar_edu.metrics import psnr
from dcar_edu.tokenizer import HybridTokenizer, TokenizerConfig
from dcar_edu.tokenizer.training import TokenizerTraining, three_stages, train_tokenizer


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_eight_pictures_at_nano_reach_30_db():
    generator = torch.Generator().manual_seed(0)
    images = CaptionedEmoji("train", 128, concepts=8).batch(8, generator=generator).images
    torch.manual_seed(0)
    tokenizer = HybridTokenizer(TokenizerConfig.preset("nano"))
    plan = TokenizerTraining(stages=three_stages(360), learning_rate=2e-3, l2=2.0)
    for _ in train_tokenizer(tokenizer, [images], plan):
        pass
    encoded = tokenizer.encode(images)
    drawn = tokenizer.decode(encoded.indices, encoded.residuals)
    assert psnr(drawn, images).mean() >= 30
