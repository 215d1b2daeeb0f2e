"""The study of lesson 14: squares, seams by hand, and paths that share their tokens."""

import math

import pytest
import torch

from dcar_edu import images
from dcar_edu.course.studies import study_14 as study
from dcar_edu.course.studies.study_14 import EXPERIMENTS


def square(top=1, left=2, side=1, grid=(3, 4)):
    redraw = torch.zeros(1, *grid, dtype=torch.bool)
    redraw[0, top : top + side, left : left + side] = True
    return redraw


def test_squares_have_four_borders_unless_they_are_everything():
    for side in (1, 2, 4):
        redraw = study.boxes(40, side, 8, 3)
        assert redraw.sum((1, 2)).unique().tolist() == [side**2]
        assert not redraw[:, 0].any()
        assert not redraw[:, -1].any()
        assert not redraw[:, :, 0].any()
        assert not redraw[:, :, -1].any()
        assert len(redraw.flatten(1).unique(dim=0)) > 5
    assert study.boxes(2, 8, 8, 3).all()
    assert torch.equal(study.boxes(3, 2, 8, 3), study.boxes(3, 2, 8, 3))
    assert not torch.equal(study.boxes(3, 2, 8, 3), study.boxes(3, 2, 8, 4))


def test_halves_go_round_the_picture():
    cells = study.halves(5, 6)
    assert cells[0, :, :3].all()
    assert cells[1, :3].all()
    assert cells[2, :, 3:].all()
    assert cells[3, 3:].all()
    assert torch.equal(cells[4], cells[0])
    assert cells.sum((1, 2)).tolist() == [18] * 5


def test_inside_and_outside_by_hand():
    before, redraw = torch.zeros(1, 3, 6, 8), square()  # cells of 2 pixels
    after = before + 0.2
    after[..., 2:4, 4:6] = 0.02
    assert study.inside_psnr(after, before, redraw).item() == pytest.approx(40, abs=1e-3)
    assert study.change_outside(after, before, redraw).item() == pytest.approx(25.5, abs=1e-3)
    after[..., 2:4, 4:6] = 0.4
    after[:, :, 0] = 0.0
    assert study.change_outside(after, before, redraw).item() == pytest.approx(
        25.5 * 36 / 44, abs=1e-3
    )


def test_a_seam_is_a_step_that_was_not_there_before():
    before, redraw = torch.zeros(1, 3, 6, 8), square()
    after = before.clone()
    after[..., 2:4, 4:6] = 0.4
    assert study.jumps(after, redraw).item() == pytest.approx(51, abs=1e-3)
    assert study.seam(after, before, redraw).item() == pytest.approx(51, abs=1e-3)
    assert study.seam(after, after, redraw).item() == 0
    before[..., 4:] = 0.4  # a step of the picture itself, at the square's left border
    assert study.jumps(before, redraw).item() == pytest.approx(51 * 2 / 8, abs=1e-3)
    assert study.seam(after, before, redraw).item() == pytest.approx(51 * 6 / 8, abs=1e-3)


def test_a_profile_goes_by_distance(monkeypatch):
    monkeypatch.setattr(study, "BAND", 2)
    redraw = square(1, 1, 2, (4, 5))  # cells of 4 pixels: rows 4-11, columns 4-11
    change = torch.zeros(1, 16, 20)
    change[:, 4:12, 4:12] = 1.0
    change[:, 6:10, 6:10] = 5.0
    change[:, :, 14:] = 9.0  # 2 pixels right of the square and more
    found = study.profile(change, redraw, 4)
    assert list(found) == [-3, -1, 1, 3]
    assert (found[-3], found[-1], found[1]) == (5.0, 1.0, 0.0)
    assert 0 < found[3] < 9


@pytest.fixture(scope="module")
def edits():
    model = study._model()
    examples, originals, _ = study.learnt(2, 5)
    captions = [example.caption for example in examples]
    redraw = study.boxes(2, 2, 8, 1)
    return model, originals, captions, redraw, study.redo(model, originals, captions, redraw, 7)


def test_a_redone_picture_is_the_one_that_edit_gives(edits):
    model, originals, captions, redraw, edit = edits
    masks = [images.to_pil(mask) for mask in study._black_and_white(redraw, 256)]
    how = {"guidance": study.GUIDANCE, "num_steps": study.STEPS}
    pictures = [images.to_pil(picture) for picture in originals]
    theirs = model.edit(pictures, masks, captions, paste=False, seed=7, **how)
    ours = study.decode(model, edit.indices, edit.residuals("hybrid"))
    gap = torch.stack([images.from_pil(picture) for picture in theirs]) - ours
    assert gap.abs().max() < 2.1 / 127.5  # originals went through 8 bits there
    assert edit.passes == 2 * 4  # four tokens: four steps, with the words and without
    assert all(seconds > 0 for seconds in edit.seconds.values())


def test_paths_differ_in_redrawn_cells_alone(edits):
    *_, redraw, edit = edits
    paths = {name: edit.residuals(name) for name in study.PATHS}
    where = redraw[:, None].expand_as(edit.drawn)
    for rest in paths.values():
        assert torch.equal(rest[~where], edit.known.residuals[~where])
    assert torch.equal(paths["hybrid"][where], edit.drawn[where])
    assert (paths["discrete"][where] == 0).all()
    right = (edit.indices == edit.known.indices)[:, None].expand_as(where) & where
    assert torch.equal(paths["true"][right], edit.known.residuals[right])
    assert (paths["true"][where & ~right] == 0).all()


def test_learnt_pictures_are_different_by_seed():
    one, pictures, labels = study.learnt(3, 0)
    other, _, _ = study.learnt(3, 1)
    assert pictures.shape == (3, 3, 256, 256)
    assert {example.background for example in one} == {"pale blue"}
    assert [example.label for example in one] != [example.label for example in other]
    assert {example.label for example in one} <= set(labels)
    assert len(labels) == 560


def test_a_run_reports_plain_numbers():
    found = EXPERIMENTS["14_edit"].run("1 cell", 1, "smoke")
    assert all(isinstance(v, float) and math.isfinite(v) for v in found.values())
    assert found["passes"] == 2
    parts = ("encoder", "steps", "head", "decoder")
    total = sum(found[f"seconds_{part}"] for part in parts)
    assert found["seconds"] == pytest.approx(total, abs=1e-4)
    for path in study.PATHS:
        assert {f"{n}_{path}" for n in ("psnr", "seam", "seam_pasted", "outside")} <= set(found)
    assert found["token_match"] < 1 or found["psnr_true"] > found["psnr_discrete"]
