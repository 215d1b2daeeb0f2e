"""The whole DC-AR: prompts in, pictures out.

Source: DC-AR (arXiv:2507.04947), generation; its released inference code.
"""

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Self, Unpack

import torch
from einops import repeat
from PIL import Image
from torch import Tensor, nn

from dcar_edu import checkpoint, images
from dcar_edu.checkpoint import find_model
from dcar_edu.drawing import Drawing, GenerationStep, SamplingOptions, in_chunks, seeds
from dcar_edu.generator import GeneratorConfig, MaskedGenerator, SamplingStep
from dcar_edu.generator.guidance import Guidance
from dcar_edu.generator.training import TokenBatch
from dcar_edu.text import TextEncoder, load_text_encoder
from dcar_edu.tokenizer import HybridTokenizer

GREY = 0.8
"""Brightness of a hidden cell in a preview, in [-1, 1]."""


class DCAR(nn.Module):
    """Tokenizer, generator and text encoder, ready to draw.

    Args:
        tokenizer: turns tokens into pixels.
        generator: turns text into tokens; trained on this tokenizer's tokens.
        text_encoder: the one that the generator was trained with.

    Raises:
        ValueError: the generator was trained with another tokenizer, or widths do not fit.
    """

    def __init__(
        self, tokenizer: HybridTokenizer, generator: MaskedGenerator, text_encoder: TextEncoder
    ):
        super().__init__()
        _check_pair(tokenizer, generator, text_encoder)
        self.tokenizer, self.generator = tokenizer.eval(), generator.eval()
        self.text_encoder = text_encoder

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.generator.device

    @torch.no_grad()
    def tokens(self, images: Tensor, captions: Sequence[str]) -> TokenBatch:
        """Pictures and their captions as the generator learns them.

        Args:
            images: ``(b, 3, H, W)`` in [-1, 1].
            captions: one a picture.

        Raises:
            ValueError: another number of captions, or see ``tokenizer.encode``.

        Example:
            ``train_generator(model.generator, (model.tokens(x, c) for x, c in data), plan)``
            encodes on the fly.
        """
        if isinstance(captions, str) or len(captions) != len(images):
            raise ValueError(
                f"give one caption for each of the {len(images)} pictures, got {captions!r:.80}."
            )
        seen = self.tokenizer.encode(images.to(self.device))
        words = self.text_encoder(list(captions))
        return TokenBatch(seen.indices, seen.residuals, words.states, words.mask)

    def generate(
        self,
        prompts: str | Sequence[str],
        *,
        size: tuple[int, int] | None = None,
        num_steps: int = 12,
        guidance: float = 4.5,
        guidance_schedule: str = "constant",
        temperature: float = 1.5,
        residual_steps: int = 20,
        residual_clip: float | None = None,
        residual_guidance: float | None = None,
        residual_method: str = "ancestral",
        extra_pass: bool = False,
        seed: int | Sequence[int] | None = None,
    ) -> list[Image.Image]:
        """Draw one picture for each prompt.

        Args:
            prompts: one or several.
            size: height and width in pixels; default: what the generator was trained at.
            num_steps: sampling steps.
            guidance: ``s`` in ``cond + s * (cond - uncond)``; 0: off.
            guidance_schedule: ``"constant"``, ``"linear"`` or ``"power-cosine"``; the last two
                begin without guidance: see :class:`dcar_edu.generator.guidance.Guidance`.
            temperature: 0: always the best guess; 1.5: the paper's.
            residual_steps: steps of the diffusion head; 0: discrete path only.
            residual_clip: bound of a residual in units of its scale; None: the model's own.
            residual_guidance: ``s`` for the residuals alone; None: as the schedule says.
            residual_method: ``"ancestral"`` or ``"ddim"``.
            extra_pass: read the finished tokens once more for the residuals. Otherwise they use
                the last step's pass, which still saw hidden tokens.
            seed: one number (pictures get seed, seed + 1, ...), or one for each prompt. A picture
                depends on its own seed and prompt, not on its neighbours.

        Returns:
            PIL pictures, in the order of the prompts.

        Raises:
            ValueError: a size that tokens cannot fill, too many steps, or seeds that do not fit.
        """
        pictures: list[Image.Image] = []
        for some, numbers in in_chunks(prompts, seed):
            drawing = self.draw(
                some,
                size=size,
                num_steps=num_steps,
                guidance=guidance,
                guidance_schedule=guidance_schedule,
                temperature=temperature,
                residual_guidance=residual_guidance,
                seed=numbers,
            )
            for _ in drawing.steps():
                pass
            if extra_pass and residual_steps:
                drawing.look_again()
            residuals = drawing.residuals(residual_steps, residual_clip, method=residual_method)
            pictures += map(images.to_pil, self.tokenizer.decode(drawing.indices, residuals))
        return pictures

    def generate_steps(
        self, prompts: str | Sequence[str], **options: Unpack[SamplingOptions]
    ) -> Iterator[GenerationStep]:
        """Draw like :meth:`generate`, but give a record after each step.

        Args:
            prompts: one or several.
            options: ``size``, ``num_steps``, ``guidance``, ``guidance_schedule``, ``temperature``
                and ``seed``, as in :meth:`generate`.

        Raises:
            ValueError: see :meth:`generate`.
        """
        drawings = []
        for some, numbers in in_chunks(prompts, options.pop("seed", None)):
            options["seed"] = numbers
            drawings.append(self.draw(some, **options))
        for steps in zip(*(drawing.steps() for drawing in drawings), strict=True):
            yield GenerationStep(
                steps[0].step,
                torch.cat([step.indices for step in steps]),
                torch.cat([step.mask for step in steps]),
                torch.cat([step.confidence for step in steps]),
                [picture for step in steps for picture in self.preview(step)],
            )

    def generate_tokens(
        self, prompts: str | Sequence[str], **options: Unpack[SamplingOptions]
    ) -> Tensor:
        """The tokens that :meth:`generate` draws, int64 ``(b, h, w)``, without any picture.

        Raises:
            ValueError: see :meth:`generate`.
        """
        drawn = []
        for some, numbers in in_chunks(prompts, options.pop("seed", None)):
            options["seed"] = numbers
            drawing = self.draw(some, **options)
            for _ in drawing.steps():
                pass
            drawn.append(drawing.indices)
        return torch.cat(drawn)

    @torch.no_grad()
    def preview(self, step: SamplingStep) -> list[Image.Image]:
        """The discrete path's pictures of a half-done drawing, hidden cells grey."""
        latents = self.tokenizer.quantizer.look_up(
            step.indices.where(~step.mask, 0).to(self.device)
        )
        drawn = self.tokenizer.decode_latents(
            latents.masked_fill(step.mask[:, None].to(self.device), 0)
        )
        f = self.tokenizer.config.downsample
        cells = repeat(step.mask, "b h w -> b 1 (h i) (w j)", i=f, j=f).to(self.device)
        return [images.to_pil(image) for image in drawn.masked_fill(cells, GREY)]

    def save_pretrained(
        self,
        folder: str | os.PathLike,
        *,
        dtype: torch.dtype | None = None,
        tokenizer: str | None = None,
    ) -> Path:
        """Write ``config.json``, ``generator/`` and ``tokenizer/``, or name another model's one."""
        folder = Path(folder)
        if tokenizer is None:
            self.tokenizer.save_pretrained(folder / "tokenizer", dtype=dtype)
        self.generator.save_pretrained(folder / "generator", dtype=dtype)
        content = {"tokenizer": tokenizer or "tokenizer", "text_encoder": self.text_encoder.name}
        checkpoint.write_atomically(folder / "config.json", json.dumps(content, indent=1).encode())
        return folder

    @classmethod
    def from_pretrained(cls, name: str | os.PathLike) -> Self:
        """Load a model in eval mode.

        Args:
            name: a folder that :meth:`save_pretrained` wrote, the name of a shipped model such as
                ``"emoji-128"``, or a Hub id such as ``"somebody/some-model"``.

        Raises:
            ValueError: nothing of that name, or files that do not fit.
        """
        folder = find_model(name)
        config = folder / "config.json"
        try:
            content = json.loads(config.read_text())
            named, text = content["tokenizer"], content["text_encoder"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f"'{folder}' holds no DC-AR model: {error}. It needs the config.json, tokenizer/ "
                "and generator/ that save_pretrained writes."
            ) from error
        generator = MaskedGenerator.from_pretrained(folder / "generator")
        tokenizer = HybridTokenizer.from_pretrained(checkpoint.partner(folder, named))
        encoder = load_text_encoder(text, length=generator.config.text_length)
        return cls(tokenizer, generator, encoder).eval()

    def draw(
        self,
        prompts: str | Sequence[str],
        *,
        size: tuple[int, int] | None = None,
        num_steps: int = 12,
        guidance: float = 4.5,
        guidance_schedule: str = "constant",
        temperature: float = 1.5,
        residual_guidance: float | None = None,
        seed: int | Sequence[int] | None = None,
    ) -> Drawing:
        """Begin a drawing: run its ``steps()``, then ask it for tokens and residuals.

        Draws all prompts together, see :func:`dcar_edu.drawing.in_chunks` for many; the arguments
        are those of :meth:`generate`, which says what it raises.
        """
        prompts = [prompts] if isinstance(prompts, str) else list(prompts)
        push = Guidance(guidance, guidance_schedule, residual=residual_guidance)
        f, grid = self.tokenizer.config.downsample, self.generator.config.grid
        size = size or (grid[0] * f, grid[1] * f)
        if min(size) < f or size[0] % f or size[1] % f:
            raise ValueError(
                f"size must be (height, width) in multiples of {f} pixels, got {tuple(size)}. "
                f"This model was trained at {(grid[0] * f, grid[1] * f)}."
            )
        text = self.text_encoder(prompts)
        read = self.generator.read_text
        with torch.no_grad():
            cond = read(text.states.to(self.device), text.mask)
            null = None if push.off else read(None, text.mask)
        return Drawing(
            self.generator,
            cond,
            null,
            (len(prompts), size[0] // f, size[1] // f),
            num_steps,
            push,
            temperature,
            seeds(seed, len(prompts)),
        )


def _check_pair(
    tokenizer: HybridTokenizer, generator: MaskedGenerator, text_encoder: TextEncoder
) -> None:
    config: GeneratorConfig = generator.config
    wanted = config.tokenizer_fingerprint
    if wanted is not None and wanted != tokenizer.fingerprint():
        raise ValueError(
            f"this generator was trained on the tokens of another tokenizer ({wanted}, not "
            f"{tokenizer.fingerprint()}): its pictures would be noise. Load the pair together."
        )
    pairs = [
        ("num_codes", config.num_codes, tokenizer.config.num_codes),
        ("latent_channels", config.latent_channels, tokenizer.config.latent_channels),
        ("text_width", config.text_width, text_encoder.width),
    ]
    for name, here, there in pairs:
        if here != there:
            raise ValueError(
                f"{name} must agree: the generator has {here}, its partner {there}. "
                "Build the generator for this tokenizer and text encoder."
            )
