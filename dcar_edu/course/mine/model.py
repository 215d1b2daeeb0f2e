"""A DC-AR whose every step is a function from the exercises: ``fn["07.3"]`` is yours, or ours.

The layers and their weights are the library's (``nano``), the tokenizer and the text encoder are
the shipped ones; what happens between them is what the lessons let you write. On a CPU.
"""

from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from dcar_edu.course.mine.parts import fill
from dcar_edu.generator import GeneratorConfig, MaskedGenerator
from dcar_edu.generator.diffusion import cosine_alpha_bars
from dcar_edu.generator.residual_head import time_features
from dcar_edu.generator.transformer import positions
from dcar_edu.pipeline import DCAR

STEPS, RESIDUAL_STEPS = 12, 20
GUIDANCE, TEMPERATURE = 2.0, 1.0


class MyDCAR(nn.Module):
    """The assembled model.

    Args:
        parts: exercise -> your function; the library fills the gaps.
        shipped: whose tokenizer and text encoder are used.
        pictures: training pictures ``(n, 3, height, width)`` in [-1, 1].
        captions: one a picture.
        seed: of the weights at the start.
    """

    def __init__(
        self,
        parts: Mapping[str, Callable[..., Any]],
        shipped: DCAR,
        pictures: Tensor,
        captions: list[str],
        seed: int = 0,
    ):
        super().__init__()
        self.fn = fill(parts)
        self.tokenizer, self.read = shipped.tokenizer, shipped.text_encoder
        h, w = self.fn["00.1"](*pictures.shape[-2:])
        self.grid = int(h), int(w)
        self.codes = self.tokenizer.quantizer.codes.detach()
        self.indices, self.residuals = self.tokens(pictures)
        scale, self.cosine = self.fn["04.5"](self.residuals)
        self.scale = float(scale)
        words = self.read(captions)
        self.states, self.text_mask = words.states, words.mask
        config = GeneratorConfig.preset("nano", grid=self.grid, residual_scale=self.scale)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.net = MaskedGenerator(config)
        networks = {"tokenizer": self.tokenizer, "generator": self.net}
        self.learning = self.fn["04.4"](networks, ["generator"])

    @torch.no_grad()
    def tokens(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """Pictures as code indices ``(n, h, w)`` and residuals ``(n, c, h, w)``."""
        chunks = [self.tokenizer.encode(some).latents for some in pictures.split(32)]
        latents = torch.cat(chunks)
        rows = latents.movedim(1, -1).flatten(0, 2)
        indices = self.fn["03.1"](rows, self.codes).view(len(pictures), *self.grid)
        return indices, self.fn["04.1"](latents, self.codes)[2]

    def forward(self, ids: Tensor, states: Tensor, text_mask: Tensor) -> tuple[Tensor, Tensor]:
        """One pass: logits ``(b, n, K)`` and hidden states ``(b, n, width)``.

        Args:
            ids: tokens ``(b, n)``; hidden ones hold ``mask_id``.
            states: of the caption's words ``(b, s, width of the text)``.
            text_mask: bool ``(b, s)``, True = real word.
        """
        net = self.net
        x = net.tokens(ids) + positions(*self.grid, net.config.width, net.config.position_base)
        words = net.text(states)
        for block in net.blocks:
            x = self.fn["07.4"](x, words, _parts_of(block, text_mask))
        return net.head(net.norm(x)), x

    def head(self, x: Tensor, t: Tensor, hidden: Tensor) -> Tensor:
        """The noise that the residual head guesses in ``x`` ``(n, c)`` at times ``t`` ``(n,)``."""
        head = self.net.residual_head
        condition = head.condition(hidden) + head.time(time_features(t, hidden.dtype))
        x = head.input(x)
        for block in head.blocks:
            x = self.fn["10.1"](x, condition, block)
        return head.output(x, condition)

    def losses(self, batch: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Token loss and residual loss on ``batch`` training pictures."""
        fn, n = self.fn, self.grid[0] * self.grid[1]
        rows = torch.randint(len(self.indices), (batch,), generator=generator)
        ids, mask_id = self.indices[rows].flatten(1), self.net.mask_id
        share = fn["07.1"](torch.rand(batch, generator=generator))
        mask = fn["07.2"]((n * share).round().clamp(1, n).long(), n, generator)
        null = self.net.null_text[: self.states.shape[1]]
        states = fn["06.3"](self.states[rows], null, 0.1, generator)
        logits, hidden = self(torch.where(mask, mask_id, ids), states, self.text_mask[rows])
        residuals = self.residuals[rows].movedim(1, -1).flatten(0, 2)
        return fn["07.3"](logits, ids, mask), fn["10.2"](
            self.head, hidden.flatten(0, 1), residuals, self.scale, 4, generator
        )

    @torch.no_grad()
    def noise_error(self, generator: torch.Generator) -> float:
        """Mean squared error of the guessed noise, all tokens seen; 1 is no better than 0."""
        _, hidden = self(self.indices.flatten(1), self.states, self.text_mask)
        clean = self.residuals.movedim(1, -1).flatten(0, 2) / self.scale
        bars = cosine_alpha_bars()
        return float(self.fn["09.2"](self.head, clean, hidden.flatten(0, 1), bars, generator))

    @torch.no_grad()
    def draw(self, prompt: str, seed: int | None = None) -> tuple[Tensor, Tensor]:
        """Draw a prompt: its picture ``(1, 3, height, width)`` and its tokens ``(h, w)``.

        Args:
            prompt: the words.
            seed: of the drawn tokens; None: always the surest code, without chance.
        """
        fn, n = self.fn, self.grid[0] * self.grid[1]
        generator = torch.Generator().manual_seed(seed or 0)
        look = _Look(self, prompt)
        if seed is None:
            ids = fn["08.5"](look, 1, n, STEPS, self.net.mask_id)
        else:
            ids = self._draw_tokens(look, n, generator)
        residual = self._draw_residuals(look, generator).T.reshape(1, -1, *self.grid)
        tokens = ids.reshape(1, *self.grid)
        latents = fn["10.4"](tokens, residual, self.codes, self.scale)
        return self.tokenizer.decode_latents(latents), tokens[0]

    def _draw_tokens(self, look: "_Look", n: int, generator: torch.Generator) -> Tensor:
        ids = torch.full((1, n), self.net.mask_id)
        for step, keep in enumerate(self.fn["08.1"](n, STEPS), start=1):
            logits = look(ids, step)
            drawn = self.fn["08.3"](logits[0], TEMPERATURE * (1 - step / STEPS), generator)[None]
            sure = logits.gather(-1, drawn[..., None])[..., 0]
            ids = self.fn["08.4"](ids, drawn, sure, self.net.mask_id, torch.tensor([int(keep)]))
        return ids

    def _draw_residuals(self, look: "_Look", generator: torch.Generator) -> Tensor:
        """Residuals ``(n, c)`` in units of their scale, from the hidden states of the last look."""
        fn, hidden, clip = self.fn, look.hidden, self.net.config.residual_clip
        times, bars = [int(t) for t in fn["09.4"](RESIDUAL_STEPS)], cosine_alpha_bars().tolist()
        shape = (hidden.shape[1], self.net.config.latent_channels)
        x = torch.randn(shape, generator=generator)
        for place in reversed(range(len(times))):
            t = torch.full((len(x),), times[place])
            with_text, without = (self.head(x, t, one) for one in hidden)
            # The variance half is empty: nano draws with a fixed variance.
            pair = [torch.cat([part, torch.zeros_like(part)], -1) for part in (with_text, without)]
            noise = fn["10.3"](*pair, GUIDANCE).chunk(2, dim=-1)[0]
            bar, before = bars[times[place]], bars[times[place - 1]] if place else 1.0
            clean = fn["09.3"](x, noise, bar, clip)
            x = fn["09.5"](x, clean, bar, before, torch.randn(shape, generator=generator))
        return x


class _Look:
    """``predict(ids, step)`` of one prompt: guided logits; remembers the last hidden states."""

    hidden: Tensor

    def __init__(self, model: MyDCAR, prompt: str):
        words = model.read([prompt])
        null = model.net.null_text[: words.states.shape[1]]
        self.model, self.mask = model, words.mask.expand(2, -1)
        self.states = torch.stack([words.states[0], null])

    def __call__(self, ids: Tensor, step: int) -> Tensor:
        logits, self.hidden = self.model(ids.expand(2, -1), self.states, self.mask)
        return self.model.fn["08.2"](logits[:1], logits[1:], GUIDANCE)


def _parts_of(block: Any, text_mask: Tensor) -> SimpleNamespace:
    """The parts of a transformer block as exercise 07.4 takes them."""

    def cross(x: Tensor, text: Tensor) -> Tensor:
        return block.cross(x, *block.cross.read(text), text_mask)

    return SimpleNamespace(
        attention=block.attention, cross=cross, mlp=block.mlp, norm1=block.norm1, norm2=block.norm2
    )
