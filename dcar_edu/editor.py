"""Editing: redraw a part of a picture, draw around it, or vary it.

Source: DC-AR (arXiv:2507.04947) leaves editing with hybrid tokens as an open question; masked
generators edit by hiding tokens (MaskGIT, arXiv:2202.04200, Sec. 4.3).
"""

from collections.abc import Sequence
from typing import Unpack

import torch
from PIL import Image
from torch import Tensor

from dcar_edu import editing
from dcar_edu.drawing import CHUNK, seed_numbers
from dcar_edu.editing import EditOptions, Known
from dcar_edu.images import to_pil
from dcar_edu.parts import Parts

Pictures = Image.Image | Sequence[Image.Image]


class Editor(Parts):
    """Parts that can edit a picture."""

    def edit(
        self,
        images: Pictures,
        masks: Pictures,
        prompts: str | Sequence[str],
        *,
        paste: bool = True,
        seed: int | Sequence[int] | None = None,
        **options: Unpack[EditOptions],
    ) -> list[Image.Image]:
        """Redraw the masked part of each picture as a prompt says.

        A cell of ``f x f`` pixels is drawn again if the mask touches it anywhere. Each picture
        takes ``min(num_steps, its cells)`` steps. One picture, mask or prompt alone serves all.

        Args:
            images: PIL pictures of one size, in multiples of ``f`` pixels.
            masks: as large, pure black and white; white = redraw. A black one gives its picture
                back and asks no network.
            prompts: what the whole picture shows when it is done.
            paste: outside the redrawn cells copy the pixels of ``images``, bit for bit. False:
                all pixels come from the decoder, without a seam and slightly changed.
            seed: one number (pictures get seed, seed + 1, ...), or one for each picture.
            options: ``num_steps``, ``guidance``, ``guidance_schedule``, ``temperature``,
                ``residual_steps`` and ``residual_clip``, as in :meth:`DCAR.generate`.

        Returns:
            RGB pictures, in order.

        Raises:
            ValueError: sizes that do not fit, a mask with greys, or lists of unequal lengths.
        """
        f, count = self.tokenizer.config.downsample, editing.how_many(images, masks, prompts)
        texts: list[str] = editing.one_each("prompts", prompts, count)
        originals = editing.read_pictures(editing.one_each("images", images, count), f)
        size = (originals.shape[2], originals.shape[3])
        white = editing.read_masks(editing.one_each("masks", masks, count), size)
        redraw = editing.touched_cells(white, f)
        numbers, drawn = seed_numbers(seed, count), originals.clone()
        touched = redraw.flatten(1).any(1).nonzero().flatten().tolist()
        for start in range(0, len(touched), CHUNK):
            rows = touched[start : start + CHUNK]
            known = self._known(originals[rows], redraw[rows])
            asked, own = [texts[row] for row in rows], [numbers[row] for row in rows]
            drawn[rows] = self._draw_again(known, asked, own, options)
        if paste:
            drawn = editing.paste_back(originals, drawn, redraw)
        return [to_pil(picture) for picture in drawn]

    def outpaint(
        self,
        image: Image.Image,
        prompt: str,
        size: tuple[int, int],
        offset: tuple[int, int],
        *,
        seed: int | None = None,
        **options: Unpack[EditOptions],
    ) -> Image.Image:
        """Draw around a picture.

        Args:
            image: a PIL picture, in multiples of ``f`` pixels.
            prompt: what the larger picture shows.
            size: height and width of the larger picture, in multiples of ``f`` pixels.
            offset: how far down and across ``image`` lies in it, in multiples of ``f`` pixels.
            seed: of what is drawn.
            options: as in :meth:`edit`.

        Returns:
            The larger picture; ``image`` lies in it bit for bit.

        Raises:
            ValueError: sizes that do not fit, or an image that does not lie inside.
        """
        f = self.tokenizer.config.downsample
        original = editing.read_pictures([image], f)
        place = editing.in_cells(offset, f, "offset")
        nothing = torch.zeros(1, original.shape[2] // f, original.shape[3] // f, dtype=torch.bool)
        known = self._known(original, nothing)
        known = editing.canvas(known, editing.in_cells(size, f, "size"), place)
        if not known.redraw.any():
            return to_pil(original[0])
        drawn = self._draw_again(known, [prompt], seed_numbers(seed, 1), options)
        around = torch.zeros_like(drawn)
        spot = [slice(at, at + n) for at, n in zip(offset, original.shape[2:], strict=True)]
        around[..., spot[0], spot[1]] = original
        return to_pil(editing.paste_back(around, drawn, known.redraw)[0])

    def vary(
        self,
        image: Image.Image,
        prompt: str,
        strength: float,
        *,
        seed: int | None = None,
        **options: Unpack[EditOptions],
    ) -> Image.Image:
        """Draw a share of a picture's tokens again, scattered all over it.

        Args:
            image: a PIL picture, in multiples of ``f`` pixels.
            prompt: what it shows, or should show.
            strength: share of the tokens, 0 to 1. 0 gives the picture back; 1 keeps nothing.
            seed: chooses the tokens, and what is drawn.
            options: as in :meth:`edit`.

        Returns:
            A picture of the same size, all of it decoded: cells between redrawn ones change a
            little too.

        Raises:
            ValueError: a strength outside [0, 1], or a size that does not fit.
        """
        f = self.tokenizer.config.downsample
        original = editing.read_pictures([image], f)
        (number,) = seed_numbers(seed, 1)
        redraw = editing.scattered_cells(
            original.shape[2] // f,
            original.shape[3] // f,
            strength,
            torch.Generator().manual_seed(number),
        )
        if not redraw.any():
            return to_pil(original[0])
        known = self._known(original, redraw)
        return to_pil(self._draw_again(known, [prompt], [number], options)[0])

    @torch.no_grad()
    def _known(self, originals: Tensor, redraw: Tensor) -> Known:
        """The pictures' tokens and residuals, on the CPU."""
        seen = self.tokenizer.encode(originals.to(self.device))
        return Known(seen.indices.cpu(), seen.residuals.cpu(), redraw)

    @torch.no_grad()
    def _draw_again(
        self, known: Known, prompts: list[str], numbers: list[int], options: EditOptions
    ) -> Tensor:
        """Pictures ``(b, 3, H, W)`` with their hidden tokens drawn, on the CPU."""
        f, how = self.tokenizer.config.downsample, dict(options)
        steps, clip = how.pop("residual_steps", 20), how.pop("residual_clip", None)
        h, w = known.indices.shape[1:]
        drawing = self.draw(
            prompts,
            size=(h * f, w * f),
            initial=known.start(self.generator.mask_id),
            seed=numbers,
            **how,  # type: ignore[arg-type]
        )
        for _ in drawing.steps():
            pass
        residuals = known.keep_residuals(drawing.residuals(steps, clip))  # type: ignore[arg-type]
        return self.tokenizer.decode(drawing.indices, residuals).cpu()
