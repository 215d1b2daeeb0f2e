"""``paint_mask(picture, f)``: say with four numbers, or by pressing cells, what to redraw."""

import io
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from dcar_edu.course.frontend import is_live
from dcar_edu.course.picture import show
from dcar_edu.editing import touched_cells

Box = tuple[int, int, int, int]
"""Top, left, height and width in pixels."""
WHITE, EDGE = (255, 255, 255), (213, 94, 0)
"""Of masked pixels in a preview, and of the border of the cells that they touch."""


class MaskPainter:
    """A mask on its way.

    Args:
        picture: what is to be edited.
        f: pixels of a cell on each side.
    """

    def __init__(self, picture: Image.Image, f: int) -> None:
        self.picture, self.f = picture.convert("RGB"), f
        self.pixels = np.zeros((picture.height, picture.width), dtype=bool)

    @property
    def mask(self) -> Image.Image:
        """Black and white, as :meth:`DCAR.edit` takes it."""
        return Image.fromarray(self.pixels.astype(np.uint8) * 255)

    @property
    def cells(self) -> Tensor:
        """Cells that will be redrawn, bool ``(h, w)``."""
        return touched_cells(torch.from_numpy(self.pixels)[None], self.f)[0]

    def paint(self, box: Box, masked: bool = True) -> None:
        """Mask a box of pixels, or unmask it; what lies outside the picture is cut off.

        Raises:
            ValueError: no pixel of the picture lies in the box.
        """
        top, left, height, width = box
        spot = (slice(max(top, 0), max(top + height, 0)), slice(max(left, 0), max(left + width, 0)))
        if not self.pixels[spot].size:
            high, wide = self.pixels.shape
            raise ValueError(
                f"a box is top, left, height and width in pixels and covers some of the {high}x"
                f"{wide} picture; got {tuple(box)}. Try ({high // 4}, {wide // 4}, {high // 2}, "
                f"{wide // 2})."
            )
        self.pixels[spot] = masked

    def switch(self, row: int, column: int, masked: bool) -> None:
        """Mask a whole cell, or unmask it."""
        self.paint((row * self.f, column * self.f, self.f, self.f), masked)

    def preview(self) -> Image.Image:
        """The picture; masked pixels are half white, touched cells have a border."""
        veil = Image.new("RGB", self.picture.size, WHITE)
        seen = Image.composite(
            Image.blend(self.picture, veil, 0.7), self.picture, self.mask.convert("L")
        )
        pen = ImageDraw.Draw(seen)
        for row, column in self.cells.nonzero().tolist():
            y, x = row * self.f, column * self.f
            pen.rectangle((x, y, x + self.f - 1, y + self.f - 1), outline=EDGE, width=2)
        return seen


def paint_mask(picture: Image.Image, f: int, box: Box) -> MaskPainter:
    """Begin a mask with a box of pixels; in a live notebook, go on painting.

    A live notebook shows four numbers with two buttons, mask and unmask, and a button for every
    cell; all of them work with the keyboard (tab, space and digits). Elsewhere the box is all.

    Args:
        picture: what is to be edited.
        f: pixels of a cell on each side.
        box: top, left, height and width in pixels.

    Returns:
        The painter; its ``mask`` is up to date whenever it is read.

    Raises:
        ValueError: no pixel of the picture lies in the box.
    """
    painter = MaskPainter(picture, f)
    painter.paint(box)
    if is_live():
        _show_painter(painter, box)
    else:
        count, of = int(painter.cells.sum()), painter.cells.numel()
        alt = (
            f"The picture with a mask: a white box of {int(painter.pixels.sum())} pixels touches "
            f"{count} of {of} cells, which have an orange border."
        )
        show(painter.preview(), alt=alt)
    return painter


def _show_painter(painter: MaskPainter, box: Box) -> None:
    import ipywidgets
    from IPython.display import display

    width = f"{2 * painter.picture.width}px"
    screen = ipywidgets.Image(format="png", layout=ipywidgets.Layout(width=width))
    said, numbers = ipywidgets.Label(), _number_boxes(ipywidgets, painter, box)
    mask, unmask = (ipywidgets.Button(description=name) for name in ("mask", "unmask"))
    cells = _cell_buttons(ipywidgets, painter)

    def draw() -> None:
        buffer = io.BytesIO()
        painter.preview().save(buffer, "PNG")
        screen.value = buffer.getvalue()
        touched = painter.cells
        said.value = f"{int(touched.sum())} of {touched.numel()} cells will be redrawn"
        for button, on in zip(cells, touched.flatten().tolist(), strict=True):
            button.button_style, button.icon = ("warning", "check") if on else ("", "")

    def box_by_numbers(button: Any) -> None:
        painter.paint(tuple(number.value for number in numbers), button is mask)  # type: ignore[arg-type]
        draw()

    def one_cell(button: Any) -> None:
        row, column = divmod(cells.index(button), painter.cells.shape[1])
        painter.switch(row, column, not painter.cells[row, column])
        draw()

    for button in (mask, unmask):
        button.on_click(box_by_numbers)
    for button in cells:
        button.on_click(one_cell)
    columns = f"repeat({painter.cells.shape[1]}, 34px)"
    grid = ipywidgets.GridBox(cells, layout=ipywidgets.Layout(grid_template_columns=columns))
    by_numbers = ipywidgets.VBox([*numbers, ipywidgets.HBox([mask, unmask]), said])
    draw()
    display(ipywidgets.VBox([ipywidgets.HBox([screen, by_numbers]), grid]))


def _number_boxes(ipywidgets: Any, painter: MaskPainter, box: Box) -> list[Any]:
    """Top, left, height and width to type in, bounded by the picture."""
    high, wide = painter.pixels.shape
    bounds = {"top": (0, high - 1), "left": (0, wide - 1), "height": (1, high), "width": (1, wide)}
    return [
        ipywidgets.BoundedIntText(
            value=value,
            min=low,
            max=most,
            description=name,
            layout=ipywidgets.Layout(width="150px"),
        )
        for (name, (low, most)), value in zip(bounds.items(), box, strict=True)
    ]


def _cell_buttons(ipywidgets: Any, painter: MaskPainter) -> list[Any]:
    """One button a cell, row by row; its tooltip says which."""
    rows, columns = painter.cells.shape
    layout = {"width": "30px", "height": "24px"}
    return [
        ipywidgets.Button(
            tooltip=f"cell in row {row + 1}, column {column + 1}",
            layout=ipywidgets.Layout(**layout),
        )
        for row in range(rows)
        for column in range(columns)
    ]
