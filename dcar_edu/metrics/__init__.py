"""How good is it? Every number says what it was measured on."""

from dcar_edu.metrics.reconstruction import psnr
from dcar_edu.metrics.tokens import token_match

__all__ = ["psnr", "token_match"]
