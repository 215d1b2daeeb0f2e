"""The example project's pictures: every fault is there once, and found."""

from collections import Counter

import numpy as np

from dcar_edu.course.own_data import LOOK, THINGS, example_folder, fitted, fixture
from dcar_edu.data.checking import VERDICTS, check_pictures, groups_of, report_on
from dcar_edu.data.gathering import gather, overlooked


def test_the_fixture_holds_every_verdict():
    verdicts = check_pictures(fixture(), 32)
    assert Counter(verdicts.values()) == {v: 2 if v == "fine" else 1 for v in VERDICTS}
    names = [record.name.split("/")[-1] for record in fixture() if verdicts[record.name] == "fine"]
    assert names == ["fox.png", "fox.png"]  # one name, two pictures


def test_the_example_folder_has_two_pictures_a_thing_and_five_faults(tmp_path):
    folder = example_folder(tmp_path / "pictures", side=64, things=3)
    raw = list(gather(str(folder)))
    report = report_on(raw, 64, overlooked(folder))
    assert report.counts == {
        "fine": 6, "unreadable": 1, "too small": 1, "no caption": 1, "duplicate": 1,
    }  # fmt: skip
    assert report.overlooked == {".mov": 1}
    (copy,) = [p for p in report.pictures if p.verdict == "duplicate"]
    assert (copy.name, copy.twin) == ("unsorted/IMG_0042.png", f"{THINGS[0]}/yellow.png")
    fine = [p for p in raw if p.name in {q.name for q in report.fine}]
    assert Counter(groups_of(fine, "folder")) == dict.fromkeys(THINGS[:3], 2)
    for picture in fine:
        assert picture.caption.startswith(LOOK)
        assert picture.name.split("/")[0] in picture.caption
        assert picture.pixels.shape == (64, 64, 3)
        squares = picture.pixels.reshape(16, 4, 16, 4, 3)
        assert (squares == squares[:, :1, :, :1]).all()
        assert 2 < len(np.unique(picture.pixels.reshape(-1, 3), axis=0)) <= 8


def test_a_contact_sheet_cuts_nothing_off():
    pixels = np.zeros((20, 60, 3), np.uint8)
    pixels[:, :3] = pixels[:, -3:] = 255
    shown = np.array(fitted(pixels, 30))
    assert shown.shape == (30, 30, 3)
    assert (shown[15, 0] == 255).all()
    assert (shown[15, -1] == 255).all()
    assert (shown[0] == 225).all()
