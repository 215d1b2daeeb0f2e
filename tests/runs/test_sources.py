"""Mixtures: shares in every batch, rows rendered alone, streams that go on."""

from dataclasses import replace

import pytest
import torch
from PIL import Image

from dcar_edu.data import CaptionedScenes
from dcar_edu.runs import Pictures
from dcar_edu.runs.sources import Mixture, open_source

EMOJI = Pictures("emoji", share=5, styles=("3d",), first=9)
SCENES = Pictures("scenes", share=3, styles=("3d",), kinds=("single",), mirror=True)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def both():
    return Mixture((EMOJI, SCENES), 32)


def test_every_batch_has_the_shares(both):
    generator = seeded()
    orders = set()
    for _ in range(5):
        rows = both.draw(8, generator)
        assert sorted(row.part for row in rows) == [0] * 5 + [1] * 3
        orders.add(tuple(row.part for row in rows))
    assert len(orders) > 1
    assert sorted(row.part for row in both.draw(3, generator)) == [0, 0, 1]
    assert not any(row.mirrored for row in rows if row.part == 0)


def test_rows_are_rendered_in_order_and_alone(both):
    rows = both.draw(13, seeded())
    whole = both.render(rows)
    for place, row in enumerate(rows):
        alone = both.data[row.part].render([row.record])[0]
        alone = alone.flip(-1) if row.mirrored else alone
        assert torch.equal(whole[place], alone)
    assert torch.equal(both.render(rows[4:9]), whole[4:9])
    assert {row.mirrored for row in rows if row.part == 1} == {True, False}


def test_one_source_draws_like_its_data_set():
    part = replace(EMOJI, share=1)
    rows = Mixture((part,), 32).draw(6, seeded(3))
    batch = open_source(part, 32).batch(6, generator=seeded(3))
    assert [row.record for row in rows] == list(batch.records)


def test_a_finite_source_lists_all_it_can_draw():
    mixture = Mixture((replace(EMOJI, mirror=True), SCENES), 32)
    assert (mixture.finite(0), mixture.finite(1)) == (True, False)
    listed = set(mixture.listed(0))
    assert len(listed) == 2 * len(mixture.data[0])
    drawn = {row for row in mixture.draw(200, seeded()) if row.part == 0}
    assert drawn <= listed


def test_the_fingerprint_names_the_choice_and_the_pictures(tmp_path):
    names = {
        Mixture((part,), resolution).fingerprint()
        for part, resolution in (
            (EMOJI, 32), (EMOJI, 64), (replace(EMOJI, first=8), 32), (SCENES, 32),
            (replace(EMOJI, backgrounds=("white",)), 32), (replace(SCENES, kinds=("two",)), 32),
        )
    }  # fmt: skip
    assert len(names) == 6
    assert Mixture((EMOJI,), 32).fingerprint() in names


def test_a_folder_is_a_source(tmp_path):
    for number, colour in enumerate(("red", "green", "blue")):
        Image.new("RGB", (20, 30), colour).save(tmp_path / f"{number}.png")
        (tmp_path / f"{number}.txt").write_text(f"a {colour} one")
    folder = open_source(Pictures(str(tmp_path)), 16)
    rows = folder.draw(7, seeded())
    batch = folder.batch(7, generator=seeded())
    assert batch.records == rows
    assert torch.equal(folder.render(rows), batch.images)
    before = folder.fingerprint()
    Image.new("RGB", (20, 30), "navy").save(tmp_path / "2.png")
    assert open_source(Pictures(str(tmp_path)), 16).fingerprint() != before


def test_what_is_not_there_is_said(tmp_path):
    with pytest.raises(ValueError, match="there is no folder"):
        open_source(Pictures(str(tmp_path / "none")), 32)
    with pytest.raises(ValueError, match="groups must be chosen from"):
        open_source(Pictures(groups=("plants",)), 32)


def test_scenes_draw_without_pixels():
    scenes = CaptionedScenes("train", 32, styles=("3d",), kinds=("two",))
    assert scenes.draw(4, seeded(2)) == scenes.batch(4, generator=seeded(2)).records
