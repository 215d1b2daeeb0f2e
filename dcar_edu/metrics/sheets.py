"""Sheets of pictures: the best, the median and the worst, with words beneath."""

import textwrap
from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from dcar_edu import images

KINDS = ("best", "median", "worst")


def extremes(order: Sequence[int], count: int) -> dict[str, list[int]]:
    """The first, the middle and the last of an order from best to worst; nothing twice.

    Args:
        order: places from best to worst.
        count: of each kind; fewer when there are not three times as many.

    Example:
        >>> extremes([4, 0, 3, 1, 2, 5, 6], 2)
        {'best': [4, 0], 'median': [3, 1], 'worst': [5, 6]}
    """
    count = max(1, min(count, len(order) // 3))
    start = max((len(order) - count) // 2, min(count, len(order) - 1))
    picked = (order[:count], order[start : start + count], order[len(order) - count :])
    return {kind: list(places) for kind, places in zip(KINDS, picked, strict=True)}


def sheet(
    cells: Sequence[tuple[Sequence[Tensor], str]], columns: int, *, side: int = 128, gap: int = 6
) -> Image.Image:
    """Lay out cells of pictures that belong together, each with words beneath.

    Args:
        cells: the pictures ``(3, H, W)`` of a cell, equally many in each, and its words.
        columns: cells in a row.
        side: pictures are shown with this many pixels.
        gap: white pixels between cells.

    Raises:
        ValueError: no cell.
    """
    if not cells:
        raise ValueError("a sheet needs at least one cell, got none. Judge more pictures.")
    size = max(11, side // 11)
    font = ImageFont.load_default(size)
    width = max(len(shown) for shown, _ in cells) * (side + 2)
    texts = [textwrap.wrap(words, int(width / (0.52 * size))) for _, words in cells]
    height = side + max(map(len, texts)) * (size + 4)
    rows = -(-len(cells) // columns)
    whole = (columns * (width + gap) + gap, rows * (height + gap) + gap)
    paper = Image.new("RGB", whole, "white")
    pen = ImageDraw.Draw(paper)
    for number, ((shown, _), lines) in enumerate(zip(cells, texts, strict=True)):
        left = gap + number % columns * (width + gap)
        top = gap + number // columns * (height + gap)
        for place, image in enumerate(shown):
            small = images.resize(image[None].float().cpu(), (side, side))[0]
            paper.paste(images.to_pil(small), (left + place * (side + 2), top))
        pen.multiline_text((left, top + side + 3), "\n".join(lines), "black", font, spacing=3)
    return paper
