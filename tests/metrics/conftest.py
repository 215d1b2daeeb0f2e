"""A whole DC-AR of a few thousand weights at 32 px, and judges that need no packages."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from dcar_edu import DCAR
from dcar_edu.generator import MaskedGenerator
from dcar_edu.metrics.alignment import Alignment, AlignmentConfig, AlignmentHead
from dcar_edu.metrics.splits import Learnt
from dcar_edu.metrics.subject import Subject
from dcar_edu.tokenizer import HybridTokenizer

from ..standins import GENERATOR, TOKENIZER, Features, text_encoder

CONCEPTS = ("wolf", "owl", "rocket", "pineapple", "key", "frog")


@pytest.fixture
def alignment() -> Alignment:
    torch.manual_seed(5)
    sizes = AlignmentConfig(picture_width=5, text_width=12, hidden=8, width=7)
    return Alignment(AlignmentHead(sizes).eval(), Features(), text_encoder())


@pytest.fixture
def learnt() -> Learnt:
    return Learnt("train", 32, ("3d",), CONCEPTS, ("white", "pale blue"), ("normal",))


@pytest.fixture
def subject(learnt) -> Subject:
    """Untrained; 4x4 tokens of 7 codes."""
    torch.manual_seed(0)
    tokenizer = HybridTokenizer(TOKENIZER)
    generator = MaskedGenerator(replace(GENERATOR, residual_scale=0.2))
    for weight in generator.parameters():  # zero at the start, so that nothing would differ
        nn.init.normal_(weight, std=0.2)
    whole = DCAR(tokenizer, generator, text_encoder())
    return Subject("tiny", tokenizer.eval(), whole.eval(), learnt)
