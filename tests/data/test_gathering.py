"""Raw pictures from folders and data sets: every caption's way, and nothing refused."""

import io

import numpy as np
import pytest
from PIL import Image

from dcar_edu.data import ImageCaptionFolder
from dcar_edu.data.folder import square
from dcar_edu.data.gathering import RawPicture, caption_from, gather, overlooked


def stored(colour=(9, 8, 7), size=(20, 16), kind="PNG", mode="RGB", **options):
    buffer = io.BytesIO()
    Image.new(mode, size, colour).save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.fixture
def folder(tmp_path):
    """Two pictures with words beside them, one without, one that is no picture."""
    (tmp_path / "sea").mkdir()
    for name, words in (("red_fox-02.png", "a fox"), ("sea/IMG_0042.png", "the sea")):
        (tmp_path / name).write_bytes(stored())
        (tmp_path / name).with_suffix(".txt").write_text(words, "utf-8")
    (tmp_path / "mute.jpg").write_bytes(stored(kind="JPEG"))
    (tmp_path / "broken.png").write_bytes(b"no picture")
    return tmp_path


def test_words_beside_the_pictures(folder):
    found = list(gather(str(folder)))
    assert [(p.name, p.caption) for p in found] == [
        ("broken.png", ""),
        ("mute.jpg", ""),
        ("red_fox-02.png", "a fox"),
        ("sea/IMG_0042.png", "the sea"),
    ]
    assert [p.pixels is None for p in found] == [True, False, False, False]
    assert found[3].data == (folder / "sea" / "IMG_0042.png").read_bytes()


def test_words_in_the_names_go_into_the_template(folder):
    found = gather(str(folder), captions="names", template="a photo of a {}, outdoors")
    assert [p.caption for p in found] == [
        "a photo of a broken, outdoors",
        "a photo of a mute, outdoors",
        "a photo of a red fox, outdoors",
        "",  # a camera's name says nothing
    ]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("red_panda-02.jpg", "red panda"),
        ("old.stone.bridge (3).png", "old stone bridge"),
        ("DSC01234.JPG", ""),
        ("2024-05-01.png", ""),
        ("Screenshot_2024.png", ""),
        ("7up can.png", "7up can"),
        ("slimeBlue_move.png", "slime blue move"),
        ("Eiffel Tower at night.png", "Eiffel Tower at night"),
    ],
)
def test_what_a_name_says(name, words):
    assert caption_from(name) == words


def test_a_file_that_is_listed_but_not_there_is_unreadable(tmp_path):
    (tmp_path / "metadata.jsonl").write_text('{"file_name": "gone.png", "text": "x"}', "utf-8")
    (found,) = gather(str(tmp_path))
    assert (found.data, found.pixels) == (b"", None)


def test_most_stops_early(folder):
    assert len(list(gather(str(folder), most=3))) == 3


def test_phones_turn_pictures_by_a_note_and_both_readers_obey(tmp_path):
    picture = Image.new("RGB", (40, 20), (255, 0, 0))
    picture.paste((0, 0, 255), (0, 0, 10, 20))  # blue at the left
    note = Image.Exif()
    note[0x0112] = 6  # turn to the right to see it upright: blue is then at the top
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", exif=note)
    pixels = RawPicture("x", "y", buffer.getvalue()).pixels
    assert pixels.shape == (40, 20, 3)
    assert pixels[2, 10].tolist() == [0, 0, 255]
    assert pixels[30, 10].tolist() == [255, 0, 0]
    with Image.open(io.BytesIO(buffer.getvalue())) as opened:
        assert square(opened, 16)[0, 8].tolist() == [255, 0, 0]  # the middle square is all red


def test_transparency_lies_on_white():
    see_through = stored((0, 0, 0, 0), mode="RGBA")
    assert (RawPicture("x", "y", see_through).pixels == 255).all()


def test_rows_of_a_data_set_come_as_they_are(tmp_path, monkeypatch):
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    kinds = {"img": datasets.Image(), "words": datasets.Value("string")}
    good = {"bytes": stored((1, 2, 3)), "path": None}
    rows = {"img": [good, {"bytes": b"no", "path": None}, None], "words": ["a fox", "b", None]}
    made = datasets.Dataset.from_dict(rows, features=datasets.Features(kinds))
    (tmp_path / "set").mkdir()
    made.to_parquet(tmp_path / "set" / "train-0.parquet")
    found = list(gather(f"hub:{tmp_path / 'set'}", image="img", caption="words", template="{}!"))
    assert [(p.name, p.caption) for p in found] == [
        ("row 0", "a fox!"),
        ("row 1", "b!"),
        ("row 2", ""),
    ]
    assert [p.pixels is None for p in found] == [False, True, True]
    with pytest.raises(ValueError, match="has the columns img, words"):
        list(gather(f"hub:{tmp_path / 'set'}"))


def test_what_is_not_looked_at_is_counted(folder):
    for name in ("a.heic", "b.HEIC", "c.mov", ".hidden", "notes"):
        (folder / name).write_bytes(b"x")
    assert overlooked(folder) == {".heic": 2, ".mov": 1, "no ending": 1}


def test_what_makes_no_sense_is_said(folder, tmp_path):
    with pytest.raises(ValueError, match="there is no folder .*nowhere"):
        list(gather(str(tmp_path / "nowhere")))
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "a.heic").write_bytes(b"x")
    with pytest.raises(ValueError, match="empty' holds no picture. Of a folder, files that end in"):
        list(gather(str(tmp_path / "empty")))
    with pytest.raises(ValueError, match="captions are 'beside' or 'names'.*got 'column'"):
        list(gather(str(folder), captions="column"))
    for template in ("a fox", "{} and {}"):
        with pytest.raises(ValueError, match="a template holds {} once"):
            list(gather(str(folder), template=template))


def test_words_with_braces_are_kept(folder):
    (folder / "red_fox-02.txt").write_text("a {fox}", "utf-8")
    found = {p.name: p.caption for p in gather(str(folder), template="so: {}")}
    assert found["red_fox-02.png"] == "so: a {fox}"


def test_a_gathered_folder_is_what_training_reads(folder):
    (folder / "broken.png").unlink()
    (folder / "mute.txt").write_text("z", "utf-8")
    data = ImageCaptionFolder(folder, 16)
    raw = list(gather(str(folder)))
    assert [e.caption for e in data.examples()] == [p.caption for p in raw]
    for place, picture in enumerate(raw):
        assert np.array_equal(
            square(Image.fromarray(picture.pixels), 16), data._pixels[place].numpy()
        )
