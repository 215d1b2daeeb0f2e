"""Edits at a tiny size: which tokens are drawn, what stays bit for bit, what is refused."""

import numpy as np
import pytest
import torch
from PIL import Image

from dcar_edu import DCAR, editing, images

from .test_pipeline import make_generator, make_text_encoder, make_tokenizer

F = 4
SIZE = (12, 20)  # 3 x 5 tokens


@pytest.fixture
def model():
    tokenizer = make_tokenizer()
    generator = make_generator(tokenizer_fingerprint=tokenizer.fingerprint(), grid=(3, 5))
    return DCAR(tokenizer, generator, make_text_encoder())


@pytest.fixture
def pictures():
    noise = torch.Generator().manual_seed(4)
    return [images.to_pil(torch.rand(3, *SIZE, generator=noise) * 2 - 1) for _ in range(3)]


def mask(*boxes, size=SIZE):
    """Black with white boxes (top, bottom, left, right)."""
    pixels = np.zeros(size, dtype=np.uint8)
    for top, bottom, left, right in boxes:
        pixels[top:bottom, left:right] = 255
    return Image.fromarray(pixels)


def array(picture):
    return np.asarray(picture).astype(int)


def changed(before, after):
    """Cells in which a pixel moved."""
    moved = torch.from_numpy((array(before) != array(after)).any(-1))
    return editing.touched_cells(moved[None], F)[0]


BOX = (5, 10, 3, 9)  # rows 1-2, columns 0-2
CELLS = torch.tensor([[0, 0, 0, 0, 0], [1, 1, 1, 0, 0], [1, 1, 1, 0, 0]]).bool()


@pytest.fixture
def drawings(model, monkeypatch):
    """Everything that the model begins to draw, as it is asked for."""
    asked, draw = [], model.draw

    def spy(prompts, **options):
        asked.append((prompts, options))
        return draw(prompts, **options)

    monkeypatch.setattr(model, "draw", spy)
    return asked


def test_a_single_pixel_touches_its_whole_cell():
    pixels = torch.zeros(2, 8, 12, dtype=torch.bool)
    pixels[0, 3, 4] = pixels[1, 7, 11] = True
    cells = editing.touched_cells(pixels, 4)
    assert cells.nonzero().tolist() == [[0, 0, 1], [1, 1, 2]]


def test_pixels_come_from_where_their_cell_says():
    before, drawn = torch.zeros(1, 3, 6, 9), torch.ones(1, 3, 6, 9)
    cells = torch.tensor([[[False, True, False], [True, False, False]]])
    after = editing.paste_back(before, drawn, cells)[0, 1]
    assert after[:3].tolist() == [[0, 0, 0, 1, 1, 1, 0, 0, 0]] * 3
    assert after[3:].tolist() == [[1, 1, 1, 0, 0, 0, 0, 0, 0]] * 3


def test_only_the_touched_cells_change(model, pictures):
    (after,) = model.edit(pictures[0], mask(BOX), "a red cat", num_steps=3, seed=1)
    assert after.size == pictures[0].size
    assert after.mode == "RGB"
    assert torch.equal(changed(pictures[0], after), CELLS)


def test_kept_tokens_keep_id_and_residual(model, pictures, drawings, monkeypatch):
    decoded, decode = [], model.tokenizer.decode
    monkeypatch.setattr(model.tokenizer, "decode", lambda *a: decoded.append(a) or decode(*a))
    model.edit(pictures[0], mask(BOX), "a red cat", num_steps=3, seed=1)
    ((_, options),) = drawings
    seen = model.tokenizer.encode(images.from_pil(pictures[0])[None])
    assert torch.equal(options["initial"][0] == model.generator.mask_id, CELLS)
    assert torch.equal(options["initial"][0][~CELLS], seen.indices[0][~CELLS])
    ((indices, residuals),) = decoded
    assert torch.equal(indices[0][~CELLS], seen.indices[0][~CELLS])
    assert torch.equal(residuals[0][:, ~CELLS], seen.residuals[0][:, ~CELLS])
    assert not torch.isclose(residuals[0][:, CELLS], seen.residuals[0][:, CELLS]).any()


def test_redrawn_tokens_have_no_residual_on_the_discrete_path(model, pictures, monkeypatch):
    decoded, decode = [], model.tokenizer.decode
    monkeypatch.setattr(model.tokenizer, "decode", lambda *a: decoded.append(a) or decode(*a))
    model.edit(pictures[0], mask(BOX), "fox", num_steps=3, residual_steps=0, seed=1)
    ((_, residuals),) = decoded
    assert (residuals[0][:, CELLS] == 0).all()
    assert (residuals[0][:, ~CELLS] != 0).any()


def test_without_pasting_every_pixel_is_decoded(model, pictures):
    (after,) = model.edit(pictures[0], mask(BOX), "fox", num_steps=3, paste=False, seed=1)
    assert changed(pictures[0], after).all()


def test_a_picture_does_not_depend_on_its_neighbours(model, pictures):
    masks = [mask(BOX), mask((0, 1, 0, 1)), mask((0, 12, 0, 20))]
    together = model.edit(pictures, masks, ["fox", "a red cat", "owl"], num_steps=4, seed=[5, 6, 7])
    for i, prompt in enumerate(["fox", "a red cat", "owl"]):
        (alone,) = model.edit(pictures[i], masks[i], prompt, num_steps=4, seed=5 + i)
        # Batches round otherwise than single pictures, by one level at most.
        assert np.abs(array(alone) - array(together[i])).max() <= 1


def test_every_picture_takes_the_steps_that_its_cells_need(model, pictures, monkeypatch):
    steps, predict = [], model.generator.predict
    monkeypatch.setattr(
        model.generator, "predict", lambda *a: steps.append(len(a[0])) or predict(*a)
    )
    masks = [mask((0, 1, 0, 1)), mask()]
    model.edit(pictures[:2], masks, "fox", num_steps=9, seed=1)
    assert steps == [1, 1]  # one step, with and without text; the second picture is not there


def test_a_black_mask_asks_no_network(model, pictures, monkeypatch):
    for part in (model.tokenizer, model.generator, model.text_encoder):
        monkeypatch.setattr(type(part), "__call__", None)
    monkeypatch.setattr(model.tokenizer, "encode", None)
    after = model.edit(pictures[:2], mask(), "fox")
    assert [np.array_equal(a, b) for a, b in zip(after, pictures, strict=False)] == [True, True]


def test_a_white_mask_draws_as_generate_does(model, pictures):
    (after,) = model.edit(pictures[0], mask((0, 12, 0, 20)), "a red cat", num_steps=4, seed=3)
    (drawn,) = model.generate("a red cat", num_steps=4, seed=3)
    assert np.array_equal(after, drawn)


def test_more_pictures_than_are_drawn_together(model, pictures, drawings, monkeypatch):
    monkeypatch.setattr("dcar_edu.editor.CHUNK", 2)
    masks = [mask(BOX), mask(), mask(BOX), mask(BOX)]
    several = [pictures[0], pictures[1], pictures[2], pictures[0]]
    after = model.edit(several, masks, ["a", "b", "c", "d"], num_steps=2, seed=[3, 9, 5, 2])
    assert [prompts for prompts, _ in drawings] == [["a", "c"], ["d"]]
    assert [options["seed"] for _, options in drawings] == [[3, 5], [2]]
    assert [bool(changed(a, b).any()) for a, b in zip(several, after, strict=True)] == [
        True, False, True, True,
    ]  # fmt: skip


def test_one_serves_all(model, pictures, drawings):
    after = model.edit(pictures, mask(BOX), "fox", num_steps=2, seed=1)
    assert len(after) == 3
    assert drawings[0][0] == ["fox"] * 3


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lambda: mask(size=(12, 24)), r"20x12 pixels \(width x height\), got 24x12"),
        (lambda: Image.new("L", (20, 12), 7), "pure black .* got level 7"),
        (lambda: Image.new("RGB", (20, 12), (255, 0, 255)), "got colours"),
        (lambda: np.ones((12, 20), bool), "a mask is a PIL picture, .* got ndarray"),
    ],
)
def test_bad_masks(model, pictures, made, message):
    with pytest.raises(ValueError, match=message):
        model.edit(pictures[0], made(), "fox")


@pytest.mark.parametrize("mode", ["1", "L", "RGB", "P"])
def test_masks_of_any_mode(model, pictures, mode):
    (after,) = model.edit(pictures[0], mask(BOX).convert(mode), "fox", num_steps=2, seed=1)
    assert torch.equal(changed(pictures[0], after), CELLS)


def test_bad_pictures(model, pictures):
    odd = pictures[0].crop((0, 0, 19, 12))
    with pytest.raises(ValueError, match="multiples of 4 pixels, got 19 and 12.*16x12"):
        model.edit(odd, mask(size=(12, 19)), "fox")
    with pytest.raises(ValueError, match=r"share one size, got \[\(16, 12\), \(20, 12\)\]"):
        model.edit([pictures[0], pictures[1].crop((0, 0, 16, 12))], mask(), "fox")
    with pytest.raises(ValueError, match="PIL pictures, one or a list; got Tensor"):
        model.edit(torch.zeros(3, 12, 20), mask(), "fox")
    with pytest.raises(ValueError, match="one of prompts for all, or one .* 3 pictures; got 2"):
        model.edit(pictures, mask(), ["fox", "owl"])


def test_around_a_picture(model, pictures, drawings):
    picture = pictures[0]
    after = model.outpaint(picture, "a red cat", (20, 28), (8, 4), num_steps=5, seed=2)
    assert after.size == (28, 20)
    assert np.array_equal(array(after)[8:20, 4:24], array(picture))
    start = drawings[0][1]["initial"][0]
    seen = model.tokenizer.encode(images.from_pil(picture)[None])
    assert torch.equal(start[2:5, 1:6], seen.indices[0])
    assert (start == model.generator.mask_id).sum() == 5 * 7 - 3 * 5


def test_nothing_around_a_picture(model, pictures):
    after = model.outpaint(pictures[0], "fox", SIZE, (0, 0))
    assert np.array_equal(after, pictures[0])


@pytest.mark.parametrize(
    ("size", "offset", "message"),
    [
        ((22, 28), (0, 0), r"size must be two multiples of 4 pixels, .* got \(22, 28\)"),
        ((20, 28), (2, 0), "offset must be two multiples of 4"),
        ((20, 28), (12, 0), "3x5 tokens does not lie inside 5x7 tokens at row 3, column 0"),
        ((20, 28), (0, -4), "at row 0, column -1"),
        ((8, 28), (0, 0), "does not lie inside 2x7"),
    ],
)
def test_bad_canvases(model, pictures, size, offset, message):
    with pytest.raises(ValueError, match=message):
        model.outpaint(pictures[0], "fox", size, offset)


def test_variations(model, pictures, drawings):
    same = model.vary(pictures[0], "fox", 0)
    assert np.array_equal(same, pictures[0])
    assert drawings == []
    shares = [0.01, 0.4, 1]
    after = [model.vary(pictures[0], "fox", s, num_steps=2, seed=1) for s in shares]
    hidden = [(o["initial"] == model.generator.mask_id).sum().item() for _, o in drawings]
    assert hidden == [1, 6, 15]
    assert all(p.size == pictures[0].size for p in after)
    again = model.vary(pictures[0], "fox", 0.4, num_steps=2, seed=1)
    other = model.vary(pictures[0], "fox", 0.4, num_steps=2, seed=2)
    assert np.array_equal(after[1], again)
    assert not torch.equal(drawings[-1][1]["initial"], drawings[-2][1]["initial"])
    assert not np.array_equal(again, other)


@pytest.mark.parametrize("strength", [-0.1, 1.01])
def test_bad_strength(model, pictures, strength):
    with pytest.raises(ValueError, match=f"0 to 1; got {strength}"):
        model.vary(pictures[0], "fox", strength)
