"""One run of the sampler: guided logits for each step, then residuals for all tokens at once."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Tensor

from dcar_edu.generator import MaskedGenerator, SamplingStep, sample_tokens
from dcar_edu.generator.model import TextMemory
from dcar_edu.generator.residual_head import guide


@dataclass
class Drawing:
    """A batch of pictures on their way, and the hidden states that the residual head needs."""

    model: MaskedGenerator
    cond: TextMemory
    null: TextMemory | None
    shape: tuple[int, int, int]
    num_steps: int
    guidance: float
    schedule: str
    temperature: float
    sources: list[torch.Generator]
    initial: Tensor | None = None

    def steps(self) -> Iterator[SamplingStep]:
        """Run the sampler, one record a step."""
        self.hidden: Tensor | None = None
        self.null_hidden: Tensor | None = None
        latest: list[Tensor] = []

        @torch.no_grad()
        def predict(indices: Tensor, step: int) -> Tensor:
            indices = indices.to(self.model.device)
            out = self.model.predict(indices, self.cond)
            latest[:] = [out.hidden]
            if self.null is None:
                return out.logits
            null = self.model.predict(indices, self.null)
            latest.append(null.hidden)
            share = (step - 1) / self.num_steps if self.schedule == "linear" else 1.0
            return guide(out.logits, null.logits, self.guidance * share)

        for step in sample_tokens(
            predict,
            self.shape,
            self.model.config.num_codes,
            num_steps=self.num_steps,
            temperature=self.temperature,
            initial=self.initial,
            generator=self.sources,
        ):
            self._keep(latest, step.active)
            self.indices = step.indices
            yield step

    def _keep(self, latest: list[Tensor], active: Tensor) -> None:
        """Each picture's residuals are drawn from the hidden states of its own last step."""
        rows = active.to(latest[0].device)[:, None, None]
        old = [latest[0] if self.hidden is None else self.hidden]
        if len(latest) > 1:
            old.append(latest[1] if self.null_hidden is None else self.null_hidden)
        kept = [torch.where(rows, new, was) for new, was in zip(latest, old, strict=True)]
        self.hidden = kept[0]
        self.null_hidden = kept[1] if len(kept) > 1 else None

    def residuals(self, steps: int, clip: float | None) -> Tensor | None:
        """Draw every token's residual ``(b, c, h, w)``; None for 0 steps: the discrete path."""
        if not steps:
            return None
        h, w = self.shape[1:]
        config = self.model.config
        shape = (steps + 1, h * w, config.latent_channels)
        noise = torch.stack([torch.randn(shape, generator=g) for g in self.sources], dim=1)
        assert self.hidden is not None, "steps() comes first"
        drawn = self.model.sample_residuals(
            self.hidden,
            self.null_hidden,
            guidance=self.guidance,
            num_steps=steps,
            clip=config.residual_clip if clip is None else clip,
            noise=noise,
        )
        return rearrange(drawn, "b (h w) c -> b c h w", h=h)


def seeds(seed: int | Sequence[int] | None, count: int) -> list[torch.Generator]:
    """One random source a picture.

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
    return [torch.Generator().manual_seed(number) for number in numbers]
