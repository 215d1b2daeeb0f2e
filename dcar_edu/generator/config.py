"""Sizes of the generator, and the three presets."""

from dataclasses import dataclass, replace
from typing import Any, Self


@dataclass(frozen=True)
class GeneratorConfig:
    """Everything that decides the shape and the numbers of a :class:`MaskedGenerator`.

    Raises:
        ValueError: heads that do not divide the width, or a width that positions cannot fill.

    Source:
        DC-AR's released code (its one configuration file) for ``paper``; the rest is ours.
    """

    width: int
    depth: int
    heads: int
    mlp_width: int
    num_codes: int
    text_width: int
    text_length: int
    head_width: int
    head_depth: int
    grid: tuple[int, ...]
    """Rows and columns of tokens that ``generate`` draws unless told otherwise."""
    latent_channels: int = 32
    position_base: int = 16
    diffusion_steps: int = 1000
    learned_variance: bool = False
    diffusion_repeats: int = 4
    residual_scale: float = 0.107
    residual_clip: float | None = 1.0
    """Bound of the predicted residual in units of ``residual_scale`` while sampling."""
    text_encoder: str = "minilm"
    tokenizer_fingerprint: str | None = None

    def __post_init__(self) -> None:
        """Check the rules that cross fields."""
        if self.width % self.heads or self.width % 4:
            raise ValueError(
                f"width={self.width} must be a multiple of heads={self.heads} and of 4 (positions "
                "use sine and cosine of row and column). Change either."
            )
        if len(self.grid) != 2 or min(self.grid) < 1:
            raise ValueError(f"grid must be (rows, columns), each at least 1, got {self.grid}.")
        if self.residual_scale <= 0:
            raise ValueError(
                f"residual_scale must be above 0, got {self.residual_scale}. "
                "Use the residual_std that the tokenizer's config holds."
            )

    @classmethod
    def preset(cls, name: str, **changes: Any) -> Self:
        """One dial: ``nano`` (laptop), ``small`` (one Colab GPU) or ``paper``.

        Args:
            name: the preset.
            changes: fields to set otherwise.

        Raises:
            ValueError: no such preset.

        Deviates:
            ``nano`` and ``small`` draw residuals with a fixed variance: the released code learns
            it, and that loss term alone reaches hundreds of bits at t = 999.
        """
        if name not in _PRESETS:
            raise ValueError(f"presets are {', '.join(_PRESETS)}; got '{name}'. Name one of them.")
        return replace(cls(**_PRESETS[name]), **changes)


_PRESETS: dict[str, dict[str, Any]] = {
    "nano": {
        "width": 256,
        "depth": 5,
        "heads": 4,
        "mlp_width": 1024,
        "num_codes": 1024,
        "text_width": 384,
        "text_length": 64,
        "head_width": 128,
        "head_depth": 3,
        "grid": (4, 4),
    },
    "small": {
        "width": 320,
        "depth": 6,
        "heads": 5,
        "mlp_width": 1280,
        "num_codes": 2048,
        "text_width": 384,
        "text_length": 64,
        "head_width": 128,
        "head_depth": 3,
        "grid": (8, 8),
    },
    "paper": {
        "width": 1152,  # released code
        "depth": 28,  # released code
        "heads": 16,  # released code
        "mlp_width": 4608,  # released code
        "num_codes": 16384,  # paper; released code
        "text_width": 768,  # released code (T5-base)
        "text_length": 300,  # released code
        "head_width": 1024,  # released code
        "head_depth": 6,  # released code
        "grid": (16, 16),  # paper: 512 px
        "latent_channels": 32,  # released code
        "position_base": 16,  # released code
        "diffusion_steps": 1000,  # released code
        "learned_variance": True,  # released code
        "diffusion_repeats": 4,  # released code
        "residual_scale": 0.107,  # released code
        "residual_clip": 1.0,  # released code
        "text_encoder": "google-t5/t5-base",  # released code
    },
}
