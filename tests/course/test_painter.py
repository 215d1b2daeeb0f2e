"""Painting a mask: by numbers, by cells, in a live notebook and where nobody can click."""

import numpy as np
import pytest
from PIL import Image

from dcar_edu import editing
from dcar_edu.course import painter as painting
from dcar_edu.course.painter import MaskPainter, paint_mask

SIZE, F = (12, 20), 4  # 3 x 5 cells


@pytest.fixture
def picture():
    return Image.new("RGB", SIZE[::-1], (10, 20, 30))


@pytest.fixture
def shown(monkeypatch):
    outputs = []
    monkeypatch.setattr(painting, "show", lambda what, *, alt: outputs.append((what, alt)))
    return outputs


def places(painter):
    return painter.cells.nonzero().tolist()


def test_a_box_of_pixels_and_the_cells_it_touches(picture):
    painter = MaskPainter(picture, F)
    painter.paint((3, 7, 2, 2))
    assert painter.pixels.sum() == 4
    assert painter.pixels[3:5, 7:9].all()
    assert places(painter) == [[0, 1], [0, 2], [1, 1], [1, 2]]
    painter.paint((4, 0, 9, 20), masked=False)
    assert places(painter) == [[0, 1], [0, 2]]


def test_the_mask_is_one_that_edit_takes(picture):
    painter = MaskPainter(picture, F)
    painter.paint((10, 1, 1, 5))
    (read,) = editing.read_masks([painter.mask], SIZE)
    assert np.array_equal(read.numpy(), painter.pixels)


def test_a_cell_is_switched_on_and_off(picture):
    painter = MaskPainter(picture, F)
    painter.switch(2, 4, True)
    assert painter.pixels[8:, 16:].all()
    assert painter.pixels.sum() == F * F
    painter.switch(2, 4, False)
    assert not painter.pixels.any()


def test_a_box_is_cut_off_at_the_edges(picture):
    painter = MaskPainter(picture, F)
    painter.paint((-3, 18, 5, 50))
    assert painter.pixels.sum() == 2 * 2
    assert places(painter) == [[0, 4]]
    painter.paint((10, -3, 9, 4))
    assert painter.pixels.sum() == 2 * 2 + 2 * 1
    assert places(painter) == [[0, 4], [2, 0]]


@pytest.mark.parametrize("box", [(12, 0, 3, 3), (0, 0, 0, 5), (0, 2, 3, -2), (-9, 0, 4, 4)])
def test_a_box_without_pixels_is_refused(picture, box):
    with pytest.raises(ValueError, match=r"covers some of the 12x20 picture; got .* Try \(3, 5, 6"):
        MaskPainter(picture, F).paint(box)


def test_the_preview_shows_both(picture):
    painter = MaskPainter(picture, F)
    painter.paint((5, 9, 1, 1))
    seen = np.asarray(painter.preview())
    assert tuple(seen[5, 9]) != (10, 20, 30)
    assert tuple(seen[4, 8]) == painting.EDGE
    assert (seen[:4] == (10, 20, 30)).all()


def test_one_picture_where_nobody_can_click(picture, shown):
    painter = paint_mask(picture, F, (0, 0, 5, 5))
    ((what, alt),) = shown
    assert what.size == picture.size
    assert "white box of 25 pixels touches 4 of 15 cells" in alt
    assert painter.pixels[:5, :5].all()


def test_numbers_and_cells_in_a_live_notebook(picture, shown, monkeypatch):
    outputs = []
    monkeypatch.setattr(painting, "is_live", lambda: True)
    monkeypatch.setattr("IPython.display.display", outputs.append)
    painter = paint_mask(picture, F, (0, 0, 1, 1))
    assert shown == []
    top_row, grid = outputs[0].children
    screen, side = top_row.children
    *numbers, buttons, said = side.children
    assert [n.value for n in numbers] == [0, 0, 1, 1]
    before = screen.value
    for number, value in zip(numbers, (6, 10, 3, 99), strict=True):
        number.value = value
    assert numbers[3].value == 20  # bounded by the picture
    mask, unmask = buttons.children
    mask.click()
    assert painter.pixels.sum() == 1 + 3 * 10
    assert screen.value != before
    assert said.value == "7 of 15 cells will be redrawn"
    unmask.click()
    assert painter.pixels.sum() == 1
    assert len(grid.children) == 15
    assert grid.children[7].tooltip == "cell in row 2, column 3"
    grid.children[7].click()
    assert places(painter) == [[0, 0], [1, 2]]
    assert grid.children[7].button_style == "warning"
    grid.children[0].click()  # a cell of which one pixel is masked is switched off
    assert places(painter) == [[1, 2]]
    assert painter.mask.size == picture.size
