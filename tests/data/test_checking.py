"""Verdicts on pictures, the report, the clean folder, and a split that tears no group apart."""

import io
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from dcar_edu.data import ImageCaptionFolder
from dcar_edu.data.checking import (
    check_pictures,
    groups_of,
    keep_fine,
    report_on,
    write_folder,
)
from dcar_edu.data.gathering import RawPicture
from dcar_edu.data.splits import split_groups


def picture(name, caption="a fox", size=(30, 24), level=50, kind="PNG"):
    buffer = io.BytesIO()
    pixels = np.full((size[1], size[0], 3), level, np.uint8)
    pixels[0, 0] = 0
    Image.fromarray(pixels).save(buffer, kind)
    return RawPicture(name, caption, buffer.getvalue())


def found():
    return [
        picture("a.png"),
        picture("b.png", level=60),
        picture("again/a.png"),  # the same pixels under another name
        picture("c.png", caption=" \n", level=70),
        picture("wide.png", size=(500, 19), level=80),  # a large area, a short side
        RawPicture("d.png", "a bear", b"no picture"),
        picture("a.bmp", kind="BMP"),  # the same pixels in another file
    ]


def test_every_verdict():
    assert check_pictures(found(), 20) == {
        "a.png": "fine",
        "b.png": "fine",
        "again/a.png": "duplicate",
        "c.png": "no caption",
        "wide.png": "too small",
        "d.png": "unreadable",
        "a.bmp": "duplicate",
    }
    assert check_pictures([picture("x", size=(24, 24))], 24) == {"x": "fine"}
    assert check_pictures([picture("x", size=(24, 24))], 25) == {"x": "too small"}


def test_a_twin_of_a_picture_that_is_left_out_may_stay():
    pair = [picture("mute.png", caption=""), picture("told.png")]
    assert check_pictures(pair, 20) == {"mute.png": "no caption", "told.png": "fine"}


def test_equal_bytes_in_another_shape_are_another_picture():
    one = SimpleNamespace(name="a", caption="x", pixels=np.zeros((30, 24, 3), np.uint8))
    other = SimpleNamespace(name="b", caption="x", pixels=np.zeros((24, 30, 3), np.uint8))
    assert set(check_pictures([one, other], 20).values()) == {"fine"}


def test_the_report_names_what_is_wrong():
    report = report_on(found(), 20, {".heic": 2})
    assert report.counts == {
        "fine": 2, "unreadable": 1, "too small": 1, "no caption": 1, "duplicate": 2,
    }  # fmt: skip
    text = str(report)
    assert "2 fine, 1 unreadable, 1 too small, 1 no caption, 2 duplicate" in text
    assert "wide.png: 500x19 pixels, the short side needs 20" in text
    assert "again/a.png: the same pixels as a.png" in text
    assert "not looked at: 2 .heic" in text
    assert "short side 24 to 24 pixels" in text
    assert "the square crop cuts 20% off" in text
    assert "1 different captions of 2 to 2 words; the shortest: a fox; the longest: a fox" in text
    assert [p.name for p in report.fine] == ["a.png", "b.png"]
    (again,) = [p for p in report.pictures if p.name == "again/a.png"]
    assert (again.twin, again.height, again.width) == ("a.png", 24, 30)


def test_only_fine_pictures_are_kept_and_too_few_are_refused():
    kept = keep_fine(found(), check_pictures(found(), 20), least=2)
    assert [p.name for p in kept] == ["a.png", "b.png"]
    with pytest.raises(
        ValueError, match="2 of 7 pictures are fine, and at least 3 are needed; 2 a"
    ):
        keep_fine(found(), check_pictures(found(), 20), least=3)
    mute = [picture(f"{i}.png", "", level=i) for i in range(5)]
    with pytest.raises(
        ValueError, match="5 are 'no caption'. Write NAME.txt beside NAME.png, or t"
    ):
        keep_fine(mute, check_pictures(mute, 20))
    with pytest.raises(ValueError, match="1 of 1 .* needed. Bring more pictures"):
        keep_fine(found()[:1], check_pictures(found()[:1], 20))


def test_the_shortest_and_the_longest_caption_are_shown():
    told = [
        picture("a", "a red fox", level=1),
        picture("b", "owl", level=2),
        picture("c", "a b c d"),
    ]
    text = str(report_on(told, 20))
    assert "3 different captions of 1 to 4 words; the shortest: owl; the longest: a b c d" in text


def test_a_long_list_of_problems_is_cut():
    many = [RawPicture(f"{i}.png", "x", b"") for i in range(15)]
    text = str(report_on(many, 20))
    assert "11.png" in text
    assert "12.png" not in text
    assert "and 3 more" in text
    assert "nothing is left to train on" in text


def test_what_cannot_be_checked_is_said():
    with pytest.raises(ValueError, match="there is no picture to look at"):
        report_on([], 20)
    with pytest.raises(ValueError, match="two pictures are called 'a.png'"):
        report_on([picture("a.png"), picture("a.png", level=9)], 20)
    with pytest.raises(ValueError, match="min_side must be at least 1 pixel, got 0"):
        report_on(found(), 0)


def test_the_clean_folder_is_read_as_it_was_written(tmp_path):
    some = [picture("a/x.png", 'a fox, "red" – é'), picture("b/x.png", "two", kind="JPEG")]
    folder = write_folder(some, tmp_path / "clean")
    data = ImageCaptionFolder(folder, 16)
    assert [(e.file, e.caption) for e in data.examples()] == [
        ("00000.png", 'a fox, "red" – é'),
        ("00001.jpeg", "two"),
    ]
    assert (folder / "00001.jpeg").read_bytes() == some[1].data
    write_folder(some[1:], folder)  # what lay there before is read no more
    assert [e.caption for e in ImageCaptionFolder(folder, 16).examples()] == ["two"]
    with pytest.raises(ValueError, match="d.png cannot be read as a picture"):
        write_folder([RawPicture("d.png", "x", b"no")], tmp_path / "bad")


def test_groups():
    some = [
        RawPicture("fox/1.png", "A fox "),
        RawPicture("fox/2.png", "a fox"),
        RawPicture("b.png", "c"),
    ]
    assert groups_of(some, "caption") == ["a fox", "a fox", "c"]
    assert groups_of(some, "folder") == ["fox", "fox", "."]
    assert groups_of(some, lambda picture: picture.name[0]) == ["f", "f", "b"]
    with pytest.raises(ValueError, match="all 2 pictures are of one group, .'fox'., so none can"):
        groups_of(some[:2], "folder")
    with pytest.raises(ValueError, match="group by 'caption', 'folder' or a rule of your own"):
        groups_of(some, "name")


def seeded(seed):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(("share", "count"), [(0.2, 2), (0.01, 1), (0.99, 8), (0.5, 4)])
def test_a_split_holds_whole_groups_out(share, count):
    groups = [f"g{i * i % 9}" for i in range(40)] + [f"g{i}" for i in range(9)]
    held = split_groups(groups, share, seeded(3))
    out, left = (
        {g for g, h in zip(groups, held, strict=True) if h is side} for side in (True, False)
    )
    assert not out & left
    assert len(out) == count
    assert len(left) == 9 - count


def test_the_seed_says_which_groups_are_held_out_and_their_order_does_not():
    groups = [f"g{i % 20}" for i in range(60)]
    one = split_groups(groups, 0.2, seeded(1))
    assert one == split_groups(groups, 0.2, seeded(1))
    assert len({tuple(split_groups(groups, 0.2, seeded(s))) for s in range(9)}) > 5
    turned = split_groups(groups[::-1], 0.2, seeded(1))
    assert turned[::-1] == one


@pytest.mark.parametrize(
    ("groups", "share"), [(["a", "a"], 0.5), (["a", "b"], 0.0), (["a", "b"], 1)]
)
def test_a_split_that_cannot_be_is_refused(groups, share):
    with pytest.raises(ValueError, match="a split needs two groups or more"):
        split_groups(groups, share, seeded(0))
