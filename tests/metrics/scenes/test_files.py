"""Prompts and pictures in a folder: what another model is asked, and what is read back."""

import json

import pytest
import torch

from dcar_edu import images
from dcar_edu.metrics.scenes import TASKS, scene_prompts
from dcar_edu.metrics.scenes.drawing import draw_prompts
from dcar_edu.metrics.scenes.files import (
    find_picture,
    read_pictures,
    read_prompts,
    write_prompts,
)


@pytest.fixture(scope="module")
def specs():
    return scene_prompts(3, styles=["flat"], counts=dict.fromkeys(TASKS, 3))


def test_prompts_come_back(tmp_path, specs):
    path = write_prompts(tmp_path, specs)
    names, back = zip(*read_prompts(tmp_path), strict=True)
    assert list(back) == specs
    assert names[:2] == ("000", "001")
    first = json.loads(path.read_text().splitlines()[0])
    assert (first["picture"], first["caption"]) == ("000.png", specs[0].caption)
    assert f"{len(specs)} prompts to draw" in (tmp_path / "README.md").read_text()


def test_prompts_are_not_written_over_others(tmp_path, specs):
    write_prompts(tmp_path, specs)
    write_prompts(tmp_path, specs)
    with pytest.raises(ValueError, match="holds other prompts already"):
        write_prompts(tmp_path, specs[1:])
    assert len(read_prompts(tmp_path)) == len(specs)


@pytest.mark.parametrize(
    "text", [None, "no json\n", '{"picture": "000.png"}\n', "[3]\n", '{"caption": "a"}\n']
)
def test_what_is_no_prompt_is_refused(tmp_path, text):
    if text is not None:
        (tmp_path / "prompts.jsonl").write_text(text)
    with pytest.raises(ValueError, match=r"no prompts in|line 1: keys must be exactly"):
        read_prompts(tmp_path)


def picture(value, h, w):
    return torch.full((3, h, w), value)


def test_pictures_of_any_size_and_ending_are_read_in_order(tmp_path):
    images.save(picture(-1.0, 20, 30), tmp_path / "000.png")
    images.save(picture(1.0, 64, 64), tmp_path / "001.webp")
    images.save(picture(0.0, 7, 7), tmp_path / "002.jpg")
    lots = list(read_pictures(tmp_path, ["001", "000", "002"], 16, lot=2))
    assert [lot.shape for lot in lots] == [(2, 3, 16, 16), (1, 3, 16, 16)]
    means = torch.cat(lots).mean((1, 2, 3))
    assert means.tolist() == pytest.approx([1, -1, 0], abs=0.02)


def test_missing_and_broken_pictures_are_named(tmp_path):
    images.save(picture(0.0, 9, 9), tmp_path / "000.png")
    with pytest.raises(ValueError, match=r"2 of 3 pictures are missing in .*: 001, 002"):
        next(read_pictures(tmp_path, ["000", "001", "002"], 16))
    (tmp_path / "001.png").write_bytes(b"not a picture")
    with pytest.raises(ValueError, match=r"cannot read the picture .*001\.png"):
        list(read_pictures(tmp_path, ["000", "001"], 16))


class Draws:
    """Stands in for a model: paints the seed, and keeps what it was asked."""

    def __init__(self):
        self.asked = []

    def generate(self, prompts, *, seed, **options):
        self.asked += [(prompt, number, options) for prompt, number in zip(prompts, seed)]  # noqa: B905
        return [images.to_pil(picture(number / 50 - 1, 8, 8)) for number in seed]


def test_drawing_goes_on_where_it_stopped(tmp_path, specs):
    write_prompts(tmp_path, specs)
    model = Draws()
    steps = draw_prompts(model, tmp_path, seed=5, guidance=1.0)
    assert next(steps) == (8, 18)
    steps.close()
    (tmp_path / "003.png").unlink()
    before = {p.name: p.read_bytes() for p in tmp_path.glob("*.png")}
    again = Draws()
    assert list(draw_prompts(again, tmp_path, seed=5, guidance=1.0)) == [(15, 18), (18, 18)]
    assert [number - 5 for _, number, _ in again.asked] == [3, *range(8, 18)]
    for prompt, number, options in (*model.asked, *again.asked):
        assert prompt == specs[number - 5].caption
        assert options == {"guidance": 1.0}
        assert find_picture(tmp_path, f"{number - 5:03d}")
    assert all((tmp_path / name).read_bytes() == data for name, data in before.items())
    assert list(draw_prompts(again, tmp_path)) == []


def test_without_prompts_all_are_written(tmp_path):
    next(draw_prompts(Draws(), tmp_path / "new"))
    assert len(read_prompts(tmp_path / "new")) == 553
