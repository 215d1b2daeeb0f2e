"""Sizes of the tokenizer, and the three presets."""

from dataclasses import dataclass, replace
from typing import Any, Literal, Self

Block = Literal["res", "evit"]
Norm = Literal["layer", "batch"]
Activation = Literal["silu", "relu"]


@dataclass(frozen=True)
class TokenizerConfig:
    """Everything that decides the shape and the numbers of a :class:`HybridTokenizer`.

    Stage 0 works at full resolution, each later stage at half the one before. Leading stages of
    depth 0 fold into the stem, which then shrinks by 2^k in one step.

    Raises:
        ValueError: lists of different length, or widths that the shortcuts cannot average.

    Source:
        Network: DC-AE (arXiv:2410.10733) as in DC-AR's released code. Quantizer: the same code.
    """

    widths: tuple[int, ...]
    encoder_depths: tuple[int, ...]
    decoder_depths: tuple[int, ...]
    blocks: tuple[Block, ...]
    decoder_norms: tuple[Norm, ...]
    decoder_activations: tuple[Activation, ...]
    num_codes: int
    latent_channels: int = 32
    head_width: int = 32
    expansion: int = 4
    normalize_codes: bool = True
    commitment: float = 0.25
    residual_std: float | None = None
    code_cosine: float | None = None

    def __post_init__(self) -> None:
        """Check the rules that cross fields."""
        for name in _BY_STAGE:
            if len(getattr(self, name)) != len(self.widths):
                raise ValueError(
                    f"{name} needs one entry a stage ({len(self.widths)}), got "
                    f"{len(getattr(self, name))}. Give as many as there are widths."
                )
        for depths in (self.encoder_depths, self.decoder_depths):
            stem = self.folded(depths)
            if stem >= len(self.widths) or min(depths[stem:]) < 1:
                raise ValueError(
                    f"only leading stages may have depth 0, got {depths}. "
                    "Give every stage after the first non-empty one at least one block."
                )
            if self.widths[stem] % 4**stem:
                raise ValueError(
                    f"width {self.widths[stem]} of the stem must be a multiple of {4**stem} "
                    f"(it shrinks by {2**stem}). Choose another width for stage {stem}."
                )
        if self.folded(self.encoder_depths) != self.folded(self.decoder_depths):
            raise ValueError(
                "encoder and decoder must fold the same stages into the stem, got depths "
                f"{self.encoder_depths} and {self.decoder_depths}."
            )
        self._check_averages()

    def _check_averages(self) -> None:
        first = self.folded(self.encoder_depths)
        for narrow, wide in zip(self.widths[first:], self.widths[first + 1 :], strict=False):
            if wide % 4 or (4 * narrow) % wide:
                raise ValueError(
                    f"a shortcut from {narrow} to {wide} channels averages whole groups: the new "
                    "width must be a multiple of 4 and divide 4x the old one. Change the widths."
                )
        if self.widths[-1] % self.latent_channels:
            raise ValueError(
                f"latent_channels={self.latent_channels} must divide the last width "
                f"{self.widths[-1]}, so that its shortcut can average. Change either."
            )
        for width, block in zip(self.widths[first:], self.blocks[first:], strict=False):
            if block == "evit" and width % self.head_width:
                raise ValueError(
                    f"an attention stage needs a width that head_width={self.head_width} divides, "
                    f"got {width}. Change the width."
                )

    @staticmethod
    def folded(depths: tuple[int, ...]) -> int:
        """How many leading stages fold into the stem (``k``; the stem shrinks by 2^k)."""
        return next((i for i, depth in enumerate(depths) if depth), len(depths))

    @property
    def stem(self) -> int:
        """The first stage that has blocks."""
        return self.folded(self.encoder_depths)

    @property
    def downsample(self) -> int:
        """``f``: an image of H x W pixels becomes a grid of H/f x W/f tokens."""
        return 2 ** (len(self.widths) - 1)

    @classmethod
    def preset(cls, name: str, *, downsample: int = 32, **changes: Any) -> Self:
        """One dial: ``nano`` (laptop), ``small`` (one Colab GPU) or ``paper``.

        Args:
            name: the preset.
            downsample: ``f``: 8, 16, 32 or 64. Stages are left out at the deep end, as the released
                f16 does, or the last one is repeated. The latent keeps its channels, so a smaller
                ``f`` gives more numbers a picture; for equally many set ``latent_channels`` to
                f * f / 32.
            changes: fields to set otherwise.

        Raises:
            ValueError: no such preset, or no such ``downsample``.

        Source:
            f16 and f32 of ``paper``: DC-AR's released code. f8 and f64: ours, by the same rule.

        Deviates:
            ``nano`` and ``small`` use LayerNorm and SiLU in the decoder too (``paper``: BatchNorm
            and ReLU in its outer stages): batches of 16 are too small for BatchNorm. They also
            have residual blocks in stage 3 and half the expansion, which doubles their speed.

        Example:
            >>> TokenizerConfig.preset("paper").downsample
            32
            >>> TokenizerConfig.preset("paper", downsample=16).widths
            (128, 256, 512, 512, 1024)
        """
        if name not in _PRESETS:
            raise ValueError(f"presets are {', '.join(_PRESETS)}; got '{name}'. Name one of them.")
        if downsample not in _STAGES:
            raise ValueError(
                f"downsample must be one of {', '.join(map(str, _STAGES))}, got {downsample}. "
                "Write a TokenizerConfig of your own for other networks."
            )
        fields = dict(_PRESETS[name])
        for field in _BY_STAGE if downsample != 32 else ():
            values = fields[field]
            fields[field] = (*values, values[-1])[: _STAGES[downsample]]
        if downsample != 32:
            fields.pop("residual_std", None)  # measured at f32 only
        return replace(cls(**fields), **changes)


_BY_STAGE = (
    "widths",
    "encoder_depths",
    "decoder_depths",
    "blocks",
    "decoder_norms",
    "decoder_activations",
)
_STAGES = {8: 4, 16: 5, 32: 6, 64: 7}
"""How many stages each ``downsample`` has: all but the first halve the picture."""

_SMALL: dict[str, Any] = {
    "blocks": ("res", "res", "res", "res", "evit", "evit"),
    "expansion": 2,
    "decoder_norms": ("layer",) * 6,
    "decoder_activations": ("silu",) * 6,
}
_PRESETS: dict[str, dict[str, Any]] = {
    "nano": {
        **_SMALL,
        "widths": (128, 128, 128, 128, 256, 256),
        "encoder_depths": (0, 0, 0, 1, 1, 1),
        "decoder_depths": (0, 0, 0, 2, 1, 1),
        "num_codes": 1024,
    },
    "small": {
        **_SMALL,
        "widths": (64, 64, 64, 128, 256, 256),
        "encoder_depths": (0, 0, 2, 2, 2, 2),
        "decoder_depths": (0, 0, 2, 3, 2, 2),
        "num_codes": 2048,
    },
    "paper": {
        "widths": (128, 256, 512, 512, 1024, 1024),  # released code
        "encoder_depths": (0, 4, 8, 2, 2, 2),  # released code
        "decoder_depths": (0, 5, 10, 2, 2, 2),  # released code
        "blocks": ("res", "res", "res", "evit", "evit", "evit"),  # released code
        "decoder_norms": ("batch", "batch", "batch", "layer", "layer", "layer"),  # released code
        "decoder_activations": ("relu", "relu", "relu", "silu", "silu", "silu"),  # released code
        "num_codes": 16384,  # paper; released code
        "latent_channels": 32,  # released code
        "head_width": 32,  # released code
        "expansion": 4,  # released code
        "normalize_codes": True,  # released code (default; the shipped config was not seen)
        "commitment": 0.25,  # released code
        "residual_std": 0.107,  # released code (generator's vae_scale)
    },
}
