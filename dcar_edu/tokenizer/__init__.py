"""DC-HT: images to code indices plus residuals, and back (lessons 02-05)."""

from dcar_edu.tokenizer.config import TokenizerConfig
from dcar_edu.tokenizer.hybrid import Encoded, HybridTokenizer

__all__ = ["Encoded", "HybridTokenizer", "TokenizerConfig"]
