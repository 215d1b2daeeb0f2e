"""DC-AR, built step by step: a hybrid tokenizer and a masked generator for images.

Source: DC-AR, arXiv:2507.04947.
"""

from dcar_edu.data import CaptionedEmoji, CaptionedScenes
from dcar_edu.generator import GeneratorConfig, MaskedGenerator, sample_tokens
from dcar_edu.generator.training import train_generator
from dcar_edu.pipeline import DCAR
from dcar_edu.text import load_text_encoder
from dcar_edu.tokenizer import HybridTokenizer, TokenizerConfig
from dcar_edu.tokenizer.training import train_tokenizer

__version__ = "0.1.0"
__all__ = [
    "DCAR",
    "CaptionedEmoji",
    "CaptionedScenes",
    "GeneratorConfig",
    "HybridTokenizer",
    "MaskedGenerator",
    "TokenizerConfig",
    "load_text_encoder",
    "sample_tokens",
    "train_generator",
    "train_tokenizer",
]
