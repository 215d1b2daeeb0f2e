"""The whole DC-AR: prompts in, pictures out.

Source: DC-AR (arXiv:2507.04947), generation; its released inference code.
"""

from collections.abc import Iterator, Sequence
from typing import Unpack

import torch
from PIL import Image
from torch import Tensor

from dcar_edu import images
from dcar_edu.drawing import GenerationStep, SamplingOptions, half_done, in_chunks
from dcar_edu.editor import Editor
from dcar_edu.generator import SamplingStep


class DCAR(Editor):
    """Tokenizer, generator and text encoder, ready to draw.

    Args:
        tokenizer: turns tokens into pixels.
        generator: turns text into tokens; trained on this tokenizer's tokens.
        text_encoder: the one that the generator was trained with.

    Raises:
        ValueError: the generator was trained with another tokenizer, or widths do not fit.
    """

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

    def preview(self, step: SamplingStep) -> list[Image.Image]:
        """The discrete path's pictures of a half-done drawing, hidden cells grey."""
        return [images.to_pil(image) for image in half_done(self.tokenizer, step)]
