"""Sheets of judged pictures: what the judge saw where, what was asked, what is wrong."""

from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from dcar_edu import images
from dcar_edu.metrics.scenes.scoring import CONFIDENCE, COUNTING_CONFIDENCE, Found
from dcar_edu.metrics.scenes.specs import TASKS, SceneSpec
from dcar_edu.metrics.sheets import sheet

SIDE = 192


def mark(image: Tensor, found: Sequence[Found], sure: float = CONFIDENCE) -> Tensor:
    """Draw what was found into a picture ``(3, h, w)``: boxes, names and scores in percent.

    Things above ``sure`` are framed in red, less sure ones in grey.
    """
    picture = images.to_pil(image)
    side, font = max(picture.size), ImageFont.load_default(max(10, max(picture.size) // 17))
    pen = ImageDraw.Draw(picture)
    for thing in sorted(found, key=lambda thing: thing.score):
        ink = "#d00000" if thing.score > sure else "#808080"
        left, top, right, bottom = (
            value * length for value, length in zip(thing.box, picture.size * 2, strict=True)
        )
        pen.rectangle((left, top, right, bottom), outline=ink, width=max(1, side // 128))
        words = " ".join(filter(None, (thing.colour, thing.label, f"{100 * thing.score:.0f}")))
        wide, high = pen.textbbox((0, 0), words, font)[2:]
        spot = (
            min(max(left, 0), max(picture.width - wide - 4, 0)),
            top - high - 3 if top > high + 3 else min(bottom, picture.height - high - 3),
        )
        pen.rectangle((*spot, spot[0] + wide + 4, spot[1] + high + 3), fill=ink)
        pen.text((spot[0] + 2, spot[1] + 1), words, "white", font)
    return images.from_pil(picture)


def examples(
    specs: Sequence[SceneSpec], faults: Sequence[Sequence[str]], passed: bool, each: int
) -> list[int]:
    """The places of the first ``each`` right (or wrong) pictures of every task."""
    return [
        place
        for task in TASKS
        for place in [
            place
            for place, (spec, wrong) in enumerate(zip(specs, faults, strict=True))
            if spec.task == task and (not wrong) == passed
        ][:each]
    ]


def judged_sheet(
    pictures: Sequence[Tensor],
    specs: Sequence[SceneSpec],
    found: Sequence[Sequence[Found]],
    faults: Sequence[Sequence[str]],
    columns: int = 6,
) -> Image.Image:
    """Lay out judged pictures ``(3, h, w)``, each with its caption and what is wrong with it."""
    cells = []
    for image, spec, seen, wrong in zip(pictures, specs, found, faults, strict=True):
        sure = COUNTING_CONFIDENCE if spec.task == "counting" else CONFIDENCE
        large = images.resize(image[None].float(), (SIDE, SIDE))[0]
        words = f"{spec.caption}: {'; '.join(wrong) or 'right'}"
        cells.append(([mark(large, seen, sure)], words))
    return sheet(cells, columns, side=SIDE)
