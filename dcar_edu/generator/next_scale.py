"""The next-scale generator: all tokens of one scale from all coarser ones, in one pass.

Blocks, words, guidance and residual head are those of the masked generator. What differs: a token
is told the sum of the coarser scales instead of an id or a mask, and looks at no finer scale.

Source: VAR (arXiv:2404.02905), Sec. 3.2; DC-AR (arXiv:2507.04947) leaves it as an open question.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Tensor, nn

from dcar_edu.generator.config import GeneratorConfig
from dcar_edu.generator.guidance import guide
from dcar_edu.generator.scales import (
    Grow,
    ScaleStep,
    check_sizes,
    sample_scales,
    scale_mask,
    scale_numbers,
)
from dcar_edu.generator.shared import GeneratorOutput, TextMemory, TokenTransformer
from dcar_edu.generator.transformer import positions


@dataclass(frozen=True)
class NextScaleConfig(GeneratorConfig):
    """A generator's sizes, and its scales.

    Raises:
        ValueError: sizes that do not rise, or do not end at a square grid; and all that
            :class:`GeneratorConfig` refuses.
    """

    sizes: tuple[int, ...] = ()
    """Tokens a side of every scale, coarsest first; (): 1, 2, 4, .. up to the grid."""

    def __post_init__(self) -> None:
        """Check the rules that cross fields."""
        super().__post_init__()
        check_sizes(self.scales)
        if self.grid != (self.scales[-1], self.scales[-1]):
            raise ValueError(
                f"the last size must be both sides of the grid, got sizes {self.scales} and grid "
                f"{self.grid}. Change either."
            )

    @property
    def scales(self) -> tuple[int, ...]:
        """The sizes, worked out."""
        side = max(self.grid)
        return self.sizes or (*(2**k for k in range(side.bit_length()) if 2**k < side), side)

    @property
    def num_tokens(self) -> int:
        """Tokens of a picture, all scales together."""
        return sum(size * size for size in self.scales)


class NextScaleGenerator(TokenTransformer):
    """Draw scale after scale under a text, and the residual of every place of the last one.

    Example:
        >>> model = NextScaleGenerator(NextScaleConfig.preset("nano"))
        >>> words = torch.randn(3, 5, 384), torch.ones(3, 5, dtype=torch.bool)
        >>> out = model(torch.zeros(3, 1 + 4 + 16, 32), *words)
        >>> tuple(out.logits.shape), tuple(out.hidden.shape)
        ((3, 21, 1024), (3, 21, 256))

    Deviates:
        Text comes in through cross-attention, as in DC-AR; VAR has a class, which is the first
        token and also scales its norms.
    """

    config_type = NextScaleConfig
    config: NextScaleConfig
    allowed: Tensor
    numbers: Tensor

    def __init__(self, config: NextScaleConfig, generator: torch.Generator | None = None):
        super().__init__(config, nn.Linear(config.latent_channels, config.width), generator)
        self.scale = nn.Embedding(len(config.scales), config.width)
        nn.init.trunc_normal_(self.scale.weight, std=0.02)
        self.register_buffer("allowed", scale_mask(config.scales), persistent=False)
        self.register_buffer("numbers", scale_numbers(config.scales), persistent=False)

    def forward(
        self,
        inputs: Tensor,
        text: Tensor | None,
        text_mask: Tensor,
        drop_text: Tensor | None = None,
    ) -> GeneratorOutput:
        """Guess every token of the first scales, each from the scales before it, in one pass.

        Args:
            inputs: what every token is told ``(b, n, c)``, see
                :func:`dcar_edu.generator.scales.scale_inputs`; n: tokens of the first 1, 2, ..
                scales.
            text: see :meth:`read_text`.
            text_mask: see :meth:`read_text`.
            drop_text: see :meth:`read_text`.

        Raises:
            ValueError: see :meth:`read_text`; or inputs of another shape.
        """
        return self.predict(inputs, self.read_text(text, text_mask, drop_text))

    def predict(self, inputs: Tensor, memory: TextMemory) -> GeneratorOutput:
        """The same as calling the model, with words that were read before."""
        count = self._count(inputs, memory)
        config = self.config
        places = [
            positions(s, s, config.width, config.position_base) for s in config.scales[:count]
        ]
        x = self.tokens(inputs.to(self.device)) + torch.cat(places).to(self.device)
        n = inputs.shape[1]
        x = x + self.scale(self.numbers[:n])
        allowed = self.allowed[:n, :n]
        return GeneratorOutput(*self.run(x, memory.keys, memory.values, memory.mask, allowed))

    def settle(self, hidden: Tensor, quantized: Tensor) -> Tensor:
        """The residual head's condition: the last scale's hidden states, and what was drawn.

        Args:
            hidden: of all scales ``(b, n, width)``.
            quantized: the sum of all scales ``(b, c, side, side)``.

        Returns:
            ``(b, side * side, width)``.

        Deviates:
            DC-AR's head sees hidden states alone. Here the last scale's hidden states cannot know
            which of its codes were drawn, and the leftover hangs on these.
        """
        drawn = rearrange(quantized, "b c h w -> b (h w) c").to(hidden)
        return hidden[:, -drawn.shape[1] :] + self.tokens(drawn)

    def _count(self, inputs: Tensor, memory: TextMemory) -> int:
        """How many scales the inputs are of."""
        config = self.config
        ends = [sum(s * s for s in config.scales[: k + 1]) for k in range(len(config.scales))]
        if inputs.ndim != 3 or len(inputs) != len(memory.mask) or inputs.shape[1] not in ends:
            raise ValueError(
                f"inputs must have shape (b, n, c) with one text a picture and n one of {ends} "
                f"(whole scales), got {tuple(inputs.shape)} and {len(memory.mask)} texts. "
                "Make them with scale_inputs."
            )
        return ends.index(inputs.shape[1]) + 1


@dataclass
class ScaleDrawing:
    """A batch of pictures drawn scale by scale, and the hidden states that residuals need."""

    model: NextScaleGenerator
    cond: TextMemory
    null: TextMemory | None
    """Of the null text; None: no guidance."""
    grow: Grow
    """Of the quantizer that the model was trained with."""
    guidance: float = 4.5
    temperature: float = 1.0

    def steps(self, generator: torch.Generator | None = None) -> Iterator[ScaleStep]:
        """Draw one scale after another, one record each."""
        config = self.model.config
        memories = [self.cond] if self.null is None else [self.cond, self.null]
        shape = (len(self.cond.mask), config.latent_channels, *config.grid)
        self.hidden: list[Tensor] = []

        @torch.no_grad()
        def predict(inputs: Tensor) -> Tensor:
            outs = [self.model.predict(inputs, words) for words in memories]
            self.hidden = [out.hidden for out in outs]
            cond, *null = (out.logits for out in outs)
            logits = guide(cond, null[0], self.guidance) if null else cond
            size = config.scales[int(self.model.numbers[inputs.shape[1] - 1])]
            return logits[:, -size * size :]

        start = torch.zeros(shape, device=self.model.device)
        for step in sample_scales(
            predict,
            self.grow,
            start,
            config.scales,
            temperature=self.temperature,
            generator=generator,
        ):
            self.total = step.total
            yield step

    @torch.no_grad()
    def residuals(self, num_steps: int = 20, generator: torch.Generator | None = None) -> Tensor:
        """Residuals ``(b, c, side, side)`` for the drawn codes; call it after all steps."""
        cond, *null = (self.model.settle(hidden, self.total) for hidden in self.hidden)
        drawn = self.model.sample_residuals(
            cond,
            null[0] if null else None,
            guidance=self.guidance,
            num_steps=num_steps,
            clip=self.model.config.residual_clip,
            generator=generator,
        )
        return rearrange(drawn, "b (h w) c -> b c h w", h=self.model.config.grid[0])
