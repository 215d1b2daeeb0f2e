"""The whole generator, at ``nano``, learns eight pictures by heart: ``pytest -m slow``."""

import pytest
import torch

from dcar_edu import DCAR
from dcar_edu.data import CaptionedEmoji
from dcar_edu.generator import GeneratorConfig, MaskedGenerator
from dcar_edu.generator.training import GeneratorTraining, TokenBatch, train_generator


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_eight_prompts_redraw_the_tokens_of_their_pictures():
    """Tokens of the shipped tokenizer, captions read by MiniLM; 4 minutes on 2 cores at most."""
    shipped = DCAR.from_pretrained("emoji-128")
    source = torch.Generator().manual_seed(0)
    batch = CaptionedEmoji("train", 128, concepts=8).batch(8, generator=source)
    assert len(set(batch.captions)) == 8
    with torch.no_grad():
        seen = shipped.tokenizer.encode(batch.images)
    words = shipped.text_encoder(batch.captions)
    tokens = TokenBatch(seen.indices, seen.residuals, words.states, words.mask)
    torch.manual_seed(0)
    config = GeneratorConfig.preset("nano", residual_scale=shipped.generator.config.residual_scale)
    plan = GeneratorTraining(steps=500, warmup_steps=30, label_smoothing=0.0)
    model = DCAR(shipped.tokenizer, MaskedGenerator(config), shipped.text_encoder)
    for _ in train_generator(model.generator, [tokens], plan):
        pass
    drawn = model.generate_tokens(batch.captions, guidance=0.0, temperature=0.0, seed=0)
    assert torch.equal(drawn, seen.indices)
