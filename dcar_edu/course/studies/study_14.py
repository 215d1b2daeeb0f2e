"""Lesson 14: what an edit costs, how it joins what was kept, and whether residuals help it.

All paths of one run share the drawn tokens and differ in the residuals of the redrawn cells alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from einops import repeat
from torch import Tensor

from dcar_edu import editing, images
from dcar_edu.checkpoint import find_model
from dcar_edu.course.studies import Experiment
from dcar_edu.course.studies.study_10 import clock, decode
from dcar_edu.data import EmojiExample
from dcar_edu.editing import Known
from dcar_edu.metrics import load_alignment
from dcar_edu.metrics.alignment import Alignment, Retrieval, retrieval
from dcar_edu.metrics.splits import Learnt
from dcar_edu.pipeline import DCAR

MODEL = "emoji-256-cpu"
GUIDANCE, STEPS, RESIDUAL_STEPS = 1.0, 12, 20
SIDES = {"1 cell": 1, "4 cells": 2, "16 cells": 4, "64 cells": 8}
"""Arms of ``14_edit``: a box of so many cells in a side; the last one hides the whole picture."""
PATHS = ("hybrid", "discrete", "true")
"""Residuals of redrawn cells: the head's, none, and the original's where the id is right."""
PICTURES = {"smoke": 2, "cpu": 12, "gpu": 256}
PROMPTS = {"smoke": 3, "cpu": 44, "gpu": 512}
"""Pictures and prompts of one run; three seeds at ``cpu`` are 36 and 132."""
BAND = 8
"""Pixels that one point of a seam's profile averages over."""


def learnt(count: int, seed: int) -> tuple[list[EmojiExample], Tensor, list[str]]:
    """Pictures ``(b, 3, 256, 256)`` that the model has learnt, on pale blue, and every label."""
    known = Learnt.read(find_model(MODEL))
    assert known is not None, "a shipped model lists what it learnt"
    data = known.data()
    blue = [example for example in data.examples() if example.background == "pale blue"]
    order = torch.randperm(len(blue), generator=torch.Generator().manual_seed(seed))
    chosen = [blue[place] for place in order[:count].tolist()]
    return chosen, data.render(chosen), list(known.concepts)


def boxes(count: int, side: int, grid: int, seed: int) -> Tensor:
    """A square of redrawn cells a picture, bool ``(count, grid, grid)``.

    It touches no edge of the picture, so that it has four borders; unless it is the whole grid.
    """
    redraw = torch.zeros(count, grid, grid, dtype=torch.bool)
    source = torch.Generator().manual_seed(seed)
    for cells in redraw:
        top, left = torch.randint(1, max(grid - side, 2), (2,), generator=source).tolist()
        if side == grid:
            top = left = 0
        cells[top : top + side, left : left + side] = True
    return redraw


def pixels(redraw: Tensor, f: int) -> Tensor:
    """Cells ``(b, h, w)`` as pixels ``(b, 1, h * f, w * f)``."""
    return repeat(redraw, "b h w -> b 1 (h i) (w j)", i=f, j=f)


def inside_psnr(pictures: Tensor, originals: Tensor, redraw: Tensor) -> Tensor:
    """PSNR in dB of the redrawn cells alone, ``(b,)``."""
    f = pictures.shape[-1] // redraw.shape[-1]
    inside = pixels(redraw, f)
    error = ((pictures - originals) / 2).square().mean(1, keepdim=True)
    mean = (error * inside).sum((1, 2, 3)) / inside.sum((1, 2, 3))
    return -10 * mean.log10()


def change_outside(pictures: Tensor, originals: Tensor, redraw: Tensor) -> Tensor:
    """Mean change of the pixels that were to stay, in levels of 255, ``(b,)``."""
    f = pictures.shape[-1] // redraw.shape[-1]
    outside = ~pixels(redraw, f)
    change = 127.5 * (pictures - originals).abs().mean(1, keepdim=True)
    return (change * outside).sum((1, 2, 3)) / outside.sum((1, 2, 3))


def jumps(pictures: Tensor, redraw: Tensor) -> Tensor:
    """Mean step of colour from a kept pixel to a redrawn one beside it, in levels, ``(b,)``."""
    f = pictures.shape[-1] // redraw.shape[-1]
    inside, total, pairs = pixels(redraw, f), torch.zeros(len(redraw)), torch.zeros(len(redraw))
    for axis in (2, 3):
        border = inside.int().diff(dim=axis) != 0
        step = 127.5 * pictures.diff(dim=axis).abs().mean(1, keepdim=True)
        total += (step * border).sum((1, 2, 3)).cpu()
        pairs += border.sum((1, 2, 3))
    return total / pairs


def seam(pictures: Tensor, originals: Tensor, redraw: Tensor) -> Tensor:
    """How much larger the step at the border is than the original's own step there, ``(b,)``."""
    return jumps(pictures, redraw) - jumps(originals, redraw)


def profile(change: Tensor, redraw: Tensor, reach: int) -> dict[int, float]:
    """Mean of a quantity by its distance from the border of the redrawn square.

    Args:
        change: ``(b, H, W)``.
        redraw: bool ``(b, h, w)``, a square of cells each.
        reach: pixels to look at on either side.

    Returns:
        Middle of each band of :data:`BAND` pixels, negative inside, to its mean.
    """
    h, w = change.shape[1:]
    f = w // redraw.shape[-1]
    away = torch.empty(change.shape)
    for cells, distance in zip(redraw, away, strict=True):
        rows, columns = (f * cells.any(axis).nonzero().flatten() for axis in (1, 0))
        y, x = torch.arange(h) + 0.5, torch.arange(w) + 0.5
        down = torch.maximum(rows[0] - y, y - rows[-1] - f)
        across = torch.maximum(columns[0] - x, x - columns[-1] - f)
        distance[:] = torch.maximum(down[:, None], across[None])
    found = {}
    for start in range(-reach, reach, BAND):
        here = (away > start) & (away < start + BAND)
        if here.any():
            found[start + BAND // 2] = change.cpu()[here].mean().item()
    return found


@dataclass(frozen=True)
class Edit:
    """Pictures whose hidden cells were drawn again, before anything is decoded."""

    known: Known
    indices: Tensor
    """int64 ``(b, h, w)``, all drawn."""
    drawn: Tensor
    """The head's residuals ``(b, c, h, w)``."""
    passes: int
    """Runs of the transformer for each picture."""
    seconds: dict[str, float]
    """Of computing, for each picture: ``encoder``, ``steps`` (with the words), ``head``."""

    def residuals(self, path: str) -> Tensor:
        """Residuals of a path: the kept cells' are always the old ones."""
        right = (self.indices == self.known.indices)[:, None]
        new = {"hybrid": self.drawn, "discrete": None, "true": self.known.residuals * right}
        return self.known.keep_residuals(new[path])


@torch.no_grad()
def redo(
    model: DCAR, originals: Tensor, captions: Sequence[str], redraw: Tensor, seed: int
) -> Edit:
    """Hide cells of pictures and draw them again, as :meth:`DCAR.edit` does, with a watch."""
    count, spent, began = len(originals), {}, clock()
    seen = model.tokenizer.encode(originals.to(model.device))
    known = Known(seen.indices.cpu(), seen.residuals.cpu(), redraw)
    spent["encoder"], began = clock() - began, clock()
    f, initial = model.tokenizer.config.downsample, known.start(model.generator.mask_id)
    drawing = model.draw(
        list(captions),
        size=(redraw.shape[1] * f, redraw.shape[2] * f),
        num_steps=STEPS,
        guidance=GUIDANCE,
        initial=initial,
        seed=seed,
    )
    steps = len(list(drawing.steps()))
    spent["steps"], began = clock() - began, clock()
    drawn = drawing.residuals(RESIDUAL_STEPS, None)
    assert drawn is not None, "there are residual steps"
    spent["head"] = clock() - began
    passes = steps * (1 if drawing.null is None else 2)
    each = {name: seconds / count for name, seconds in spent.items()}
    return Edit(known, drawing.indices.cpu(), drawn.cpu(), passes, each)


@lru_cache(maxsize=1)
def _model() -> DCAR:
    """The shipped model, warmed up: the first call of anything is slow, and is not timed."""
    model = DCAR.from_pretrained(MODEL).to("cuda" if torch.cuda.is_available() else "cpu")
    redo(model, torch.zeros(1, 3, 256, 256), ["nothing"], boxes(1, 1, 8, 0), 0)
    return model


def _edit(arm: str, seed: int, budget: str) -> dict[str, float]:
    """Hide a box of real learnt pictures, draw it again from their captions, and measure."""
    model, count = _model(), PICTURES[budget]
    examples, originals, _ = learnt(count, seed)
    redraw = boxes(count, SIDES[arm], model.generator.config.grid[0], 100 + seed)
    captions = [example.caption for example in examples]
    edit = redo(model, originals, captions, redraw, 10_000 * seed)
    began = clock()
    shown = {"hybrid": decode(model, edit.indices, edit.residuals("hybrid")).cpu()}
    spent = edit.seconds | {"decoder": (clock() - began) / count}
    for path in PATHS[1:]:
        shown[path] = decode(model, edit.indices, edit.residuals(path)).cpu()
    same = (edit.indices == edit.known.indices)[redraw].float().mean().item()
    found = {"passes": edit.passes, "pictures": count, "token_match": same}
    found |= {f"seconds_{name}": seconds for name, seconds in spent.items()}
    found["seconds"] = sum(spent.values())
    for path, drawn in shown.items():
        found |= {f"{name}_{path}": value for name, value in look(drawn, originals, redraw).items()}
    if not redraw.all():
        round_trip = decode(model, edit.known.indices, edit.known.residuals).cpu()
        found["outside_round_trip"] = change_outside(round_trip, originals, redraw).mean().item()
        found["seam_round_trip"] = seam(round_trip, originals, redraw).mean().item()
    return {name: round(float(value), 5) for name, value in found.items()}


def look(drawn: Tensor, originals: Tensor, redraw: Tensor) -> dict[str, float]:
    """Mean numbers of edited pictures, all of them decoded, against the originals.

    Returns:
        ``psnr`` inside the redrawn cells; and, where a border is, ``seam`` without pasting,
        ``seam_pasted`` and ``outside``, the change of kept pixels without pasting.
    """
    found = {"psnr": inside_psnr(drawn, originals, redraw).mean().item()}
    if redraw.all():
        return found
    pasted = editing.paste_back(originals, drawn, redraw)
    return found | {
        "seam": seam(drawn, originals, redraw).mean().item(),
        "seam_pasted": seam(pasted, originals, redraw).mean().item(),
        "outside": change_outside(drawn, originals, redraw).mean().item(),
    }


def halves(count: int, grid: int) -> Tensor:
    """Left, top, right or bottom half of each picture in turn, bool ``(count, grid, grid)``."""
    middle, redraw = grid // 2, torch.zeros(count, grid, grid, dtype=torch.bool)
    for place, cells in enumerate(redraw):
        lines = cells if place % 2 else cells.T
        lines[:middle] = place % 4 < 2
        lines[middle:] = place % 4 >= 2
    return redraw


@lru_cache(maxsize=1)
def _drawn_once(seed: int, count: int) -> tuple[tuple[str, ...], tuple[str, ...], Tensor]:
    """Captions, labels and full drawings that both arms of a seed look at."""
    model, (examples, _, _) = _model(), learnt(count, seed)
    captions = tuple(example.caption for example in examples)
    drawn = model.generate(captions, num_steps=STEPS, guidance=GUIDANCE, seed=20_000 + 1000 * seed)
    labels = tuple(example.label for example in examples)
    return captions, labels, torch.stack([images.from_pil(picture) for picture in drawn])


@lru_cache(maxsize=1)
def _alignment() -> Alignment:
    return load_alignment()


def _retrieval(arm: str, seed: int, budget: str) -> dict[str, float]:
    """Is a drawing still named right after half of it was drawn again?"""
    model, count = _model(), PROMPTS[budget]
    captions, labels, drawn = _drawn_once(seed, count)
    shown, found = drawn, {}
    if arm != "full drawing":
        cells = halves(count, model.generator.config.grid[0])
        masks = [images.to_pil(mask) for mask in _black_and_white(cells, drawn.shape[-1])]
        began = clock()
        edited = model.edit(
            [images.to_pil(picture) for picture in drawn],
            masks,
            list(captions),
            num_steps=STEPS,
            guidance=GUIDANCE,
            seed=30_000 + 1000 * seed,
        )
        found["seconds"] = (clock() - began) / count
        shown = torch.stack([images.from_pil(picture) for picture in edited])
        found["psnr_inside"] = inside_psnr(shown, drawn, cells).mean().item()
        found["outside"] = change_outside(shown, drawn, cells).max().item()
    known = Learnt.read(find_model(MODEL))
    assert known is not None, "a shipped model lists what it learnt"
    ranked: Retrieval = retrieval(_alignment(), shown, labels, known.concepts)
    found |= {"r1": ranked.r1, "r5": ranked.r5, "prompts": count, "candidates": ranked.candidates}
    return {name: round(float(value), 5) for name, value in found.items()}


def _black_and_white(cells: Tensor, side: int) -> Tensor:
    """Masks ``(b, 3, side, side)``: 1 where cells are redrawn, -1 elsewhere."""
    return 2.0 * pixels(cells, side // cells.shape[-1]).expand(-1, 3, -1, -1) - 1


EXPERIMENTS: dict[str, Experiment] = {
    "14_edit": Experiment(
        "a square of cells of real learnt pictures drawn again: cost, seam, and three residuals",
        tuple(SIDES),
        _edit,
    ),
    "14_retrieval": Experiment(
        "R@1 of drawings, and of the same drawings with half of their cells drawn again",
        ("full drawing", "half inpainted"),
        _retrieval,
    ),
}
