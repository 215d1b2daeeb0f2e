"""One run of the sampler: guided logits for each step, then residuals for all tokens at once."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypedDict

import torch
from einops import rearrange, repeat
from PIL import Image
from torch import Tensor

from dcar_edu.generator import MaskedGenerator, SamplingStep, sample_tokens
from dcar_edu.generator.guidance import Guidance, guide
from dcar_edu.generator.model import GeneratorOutput, TextMemory
from dcar_edu.tokenizer import HybridTokenizer

GREY = 0.8
"""Brightness of a hidden cell in a preview, in [-1, 1]."""
CHUNK = 32
"""Pictures drawn together: a thousand prompts need no more memory than these."""


class SamplingOptions(TypedDict, total=False):
    """What :meth:`DCAR.generate` takes beside the prompts, without the residual head's part."""

    size: tuple[int, int] | None
    num_steps: int
    guidance: float
    guidance_schedule: str
    temperature: float
    seed: int | Sequence[int] | None


@dataclass(frozen=True)
class GenerationStep:
    """A drawing after one step."""

    step: int
    """From 1."""
    indices: Tensor
    """int64 ``(b, h, w)``; hidden tokens hold ``num_codes``."""
    mask: Tensor
    """bool ``(b, h, w)``, True = still hidden."""
    confidence: Tensor
    """float ``(b, h, w)``."""
    preview: list[Image.Image]
    """The discrete path's picture; hidden cells are grey."""


@dataclass
class Drawing:
    """A batch of pictures on their way, and the hidden states that the residual head needs.

    A picture with fewer hidden tokens than steps takes the last steps of the guidance schedule:
    its known tokens count as drawn before.

    Deviates:
        The released code plans on all tokens (``schedule_on="all"``), so every picture takes every
        step. Counted from the first step, a single hidden token would be drawn without guidance by
        the schedules that begin without it.
    """

    model: MaskedGenerator
    cond: TextMemory
    null: TextMemory | None
    shape: tuple[int, int, int]
    num_steps: int
    guidance: Guidance
    temperature: float
    sources: list[torch.Generator]
    initial: Tensor | None = None
    schedule_on: str = "hidden"
    noise: Sequence[tuple[Tensor, Tensor]] | None = None
    """Stored uniform numbers instead of the sources', see :func:`sample_tokens`."""
    order: str = "confidence"
    """Of unmasking, see :func:`sample_tokens`."""

    def steps(self) -> Iterator[SamplingStep]:
        """Run the sampler, one record a step."""
        self.hidden: Tensor | None = None
        self.null_hidden: Tensor | None = None
        latest: list[Tensor] = []

        @torch.no_grad()
        def predict(indices: Tensor, step: int) -> Tensor:
            cond, *null = self._passes(indices)
            latest[:] = [out.hidden for out in (cond, *null)]
            if not null:
                return cond.logits
            return guide(cond.logits, null[0].logits, self._scales(step, cond.logits))

        for step in sample_tokens(
            predict,
            self.shape,
            self.model.config.num_codes,
            num_steps=self.num_steps,
            temperature=self.temperature,
            order=self.order,
            initial=self.initial,
            generator=self.sources,
            noise=self.noise,
            schedule_on=self.schedule_on,
        ):
            self._keep(latest, step.active)
            self.indices = step.indices
            yield step

    def _passes(self, indices: Tensor) -> list[GeneratorOutput]:
        """One pass with the text and, if anything is guided, one without."""
        memories = [self.cond] if self.null is None else [self.cond, self.null]
        return [self.model.predict(indices.to(self.model.device), words) for words in memories]

    def _scales(self, step: int, logits: Tensor) -> Tensor:
        """The guidance of every picture in this step, ``(b, 1, 1)``."""
        skipped = [0] * len(logits)
        if self.initial is not None and self.schedule_on == "hidden":
            hidden = (self.initial == self.model.mask_id).sum((1, 2))
            skipped = (self.num_steps - hidden).clamp(min=0).tolist()
        places = [min(step + first, self.num_steps) for first in skipped]
        scales = [self.guidance.at(place, self.num_steps) for place in places]
        exact = torch.promote_types(logits.dtype, torch.float32)
        return torch.tensor(scales, dtype=exact, device=logits.device)[:, None, None]

    def _keep(self, latest: list[Tensor], active: Tensor) -> None:
        """Each picture's residuals are drawn from the hidden states of its own last step."""
        rows = active.to(latest[0].device)[:, None, None]
        old = [latest[0] if self.hidden is None else self.hidden]
        if len(latest) > 1:
            old.append(latest[1] if self.null_hidden is None else self.null_hidden)
        kept = [torch.where(rows, new, was) for new, was in zip(latest, old, strict=True)]
        self.hidden = kept[0]
        self.null_hidden = kept[1] if len(kept) > 1 else None

    @torch.no_grad()
    def look_again(self) -> None:
        """One more pass over the finished tokens; residuals then follow its hidden states."""
        self.hidden, *null = (out.hidden for out in self._passes(self.indices))
        self.null_hidden = null[0] if null else None

    def residuals(
        self,
        steps: int,
        clip: float | None,
        *,
        method: str = "ancestral",
        noise: Tensor | None = None,
    ) -> Tensor | None:
        """Draw every token's residual ``(b, c, h, w)``; None for 0 steps: the discrete path.

        Args:
            steps: of the diffusion head.
            clip: bound in units of the residual scale; None: the model's own.
            method: ``"ancestral"`` or ``"ddim"``.
            noise: stored noise instead of the sources', ``(steps + 1, b, h * w, c)``.
        """
        if not steps:
            return None
        h, w = self.shape[1:]
        config = self.model.config
        shape = (steps + 1, h * w, config.latent_channels)
        if noise is None:
            noise = torch.stack([torch.randn(shape, generator=g) for g in self.sources], dim=1)
        assert self.hidden is not None, "steps() comes first"
        drawn = self.model.sample_residuals(
            self.hidden,
            self.null_hidden,
            guidance=self.guidance.for_residuals(self.num_steps),
            num_steps=steps,
            clip=config.residual_clip if clip is None else clip,
            noise=noise,
            method=method,
        )
        return rearrange(drawn, "b (h w) c -> b c h w", h=h)


@torch.no_grad()
def half_done(tokenizer: HybridTokenizer, step: SamplingStep) -> Tensor:
    """The discrete path's pictures ``(b, 3, H, W)`` after a step, hidden cells grey."""
    codes = step.indices.where(~step.mask, 0).to(tokenizer.device)
    hidden = step.mask[:, None].to(tokenizer.device)
    latents = tokenizer.quantizer.look_up(codes).masked_fill(hidden, 0)
    f = tokenizer.config.downsample
    cells = repeat(hidden, "b 1 h w -> b 1 (h i) (w j)", i=f, j=f)
    return tokenizer.decode_latents(latents).masked_fill(cells, GREY)


def seed_numbers(seed: int | Sequence[int] | None, count: int) -> list[int]:
    """One seed a picture.

    Raises:
        ValueError: a list of another length.
    """
    if seed is None:
        seed = torch.Generator().seed() % 2**31
    numbers = [seed + i for i in range(count)] if isinstance(seed, int) else list(seed)
    if len(numbers) != count:
        raise ValueError(
            f"give one seed, or one for each of the {count} prompts; got {len(numbers)}."
        )
    return numbers


def seeds(seed: int | Sequence[int] | None, count: int) -> list[torch.Generator]:
    """One random source a picture; see :func:`seed_numbers`."""
    return [torch.Generator().manual_seed(number) for number in seed_numbers(seed, count)]


def in_chunks(
    prompts: str | Sequence[str], seed: int | Sequence[int] | None
) -> Iterator[tuple[list[str], list[int]]]:
    """Prompts and their seeds, as many at a time as are drawn together."""
    prompts = [prompts] if isinstance(prompts, str) else list(prompts)
    numbers = seed_numbers(seed, len(prompts))
    for start in range(0, max(1, len(prompts)), CHUNK):
        yield prompts[start : start + CHUNK], numbers[start : start + CHUNK]
