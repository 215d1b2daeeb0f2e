"""Hub data sets, read from a local folder of Parquet files: whole and as a stream."""

import io
import json
import sys

import pytest
import torch
from PIL import Image

from dcar_edu.data import HubPictures, HubStream, hub
from dcar_edu.data import stored as rows

datasets = pytest.importorskip("datasets")

COLOURS = [(20 * i, 255 - 20 * i, 7) for i in range(11)]


def stored(colour):
    buffer = io.BytesIO()
    Image.new("RGB", (20, 16), colour).save(buffer, "PNG")
    return {"bytes": buffer.getvalue(), "path": None}


def made(captions=None, colours=COLOURS):
    captions = captions or [f"colour {i}" for i in range(len(colours))]
    kinds = {"img": datasets.Image(), "words": datasets.Value("string")}
    rows = {"img": [stored(colour) for colour in colours], "words": captions}
    return datasets.Dataset.from_dict(rows, features=datasets.Features(kinds))


@pytest.fixture
def parquet(tmp_path, monkeypatch):
    """Eleven pictures in two files."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    datasets.disable_progress_bars()
    folder = tmp_path / "pictures"
    folder.mkdir()
    whole = made()
    whole.select(range(4)).to_parquet(folder / "train-0.parquet")
    whole.select(range(4, 11)).to_parquet(folder / "train-1.parquet")
    return str(folder)


COLUMNS = {"image": "img", "caption": "words"}


def colour_of(image):
    return tuple(((image[:, 3, 5] + 1) * 127.5).round().int().tolist())


def test_a_data_set_is_drawn_by_number(parquet):
    data = HubPictures(parquet, 16, **COLUMNS)
    assert len(data) == 11
    batch = data.batch(5, generator=torch.Generator().manual_seed(1))
    assert batch.images.shape == (5, 3, 16, 16)
    for image, record in zip(batch.images, batch.records, strict=True):
        assert colour_of(image) == COLOURS[record.row]
        assert record.caption == f"colour {record.row}"
    assert [example.row for example in data.examples()] == list(range(11))


def test_a_stream_gives_all_mixed_in_windows_and_begins_again(parquet, monkeypatch):
    monkeypatch.setattr(hub, "WINDOW", 4)
    stream = HubStream(parquet, 16, **COLUMNS, seed=2)
    first, second = ([r.caption for r in stream.draw(11)] for _ in range(2))
    assert sorted(first) == sorted(second) == sorted(f"colour {i}" for i in range(11))
    assert first != second
    assert first != [f"colour {i}" for i in range(11)]
    records = stream.draw(3)
    for image, record in zip(stream.render(records), records, strict=True):
        assert record.caption == f"colour {COLOURS.index(colour_of(image))}"
    again = HubStream(parquet, 16, **COLUMNS, seed=2)
    assert [r.caption for r in again.draw(11)] == first
    other = HubStream(parquet, 16, **COLUMNS, seed=3)
    assert [r.caption for r in other.draw(11)] != first


@pytest.mark.parametrize("taken", [0, 1, 4, 6, 11, 13, 22])
def test_a_stream_goes_on_where_it_was(parquet, monkeypatch, taken):
    monkeypatch.setattr(hub, "WINDOW", 4)
    stream = HubStream(parquet, 16, **COLUMNS)
    stream.draw(taken)
    position = json.loads(json.dumps(stream.position()))
    wanted = [(r.row, r.caption) for r in stream.draw(9)]
    late = HubStream(parquet, 16, **COLUMNS)
    late.draw(5)
    late.go_to(position)
    assert late.position() == position
    late.fingerprint()  # looks at the first picture, and leaves the place alone
    assert [(r.row, r.caption) for r in late.draw(9)] == wanted


def test_what_save_to_disk_wrote_is_read(tmp_path):
    made().save_to_disk(tmp_path / "arrow")
    assert len(HubPictures(str(tmp_path / "arrow"), 16, **COLUMNS)) == 11
    assert len(HubStream(str(tmp_path / "arrow"), 16, **COLUMNS).draw(13)) == 13


def test_the_fingerprint_follows_what_is_in_it(tmp_path):
    names = set()
    changed = ["a"] + [f"colour {i}" for i in range(1, 11)]
    sets = [made(), made(changed), made(colours=[(9, 9, 9), *COLOURS[1:]]), made().select(range(9))]
    for number, data in enumerate(sets):
        data.save_to_disk(tmp_path / str(number))
        names.add(HubPictures(str(tmp_path / str(number)), 16, **COLUMNS).fingerprint())
    assert len(names) == 4
    made().save_to_disk(tmp_path / "copy")
    assert HubPictures(str(tmp_path / "copy"), 16, **COLUMNS).fingerprint() in names
    streams = [HubStream(str(tmp_path / n), 16, **COLUMNS).fingerprint() for n in "0123"]
    assert len(set(streams)) == 3  # a stream is known by its first picture


def test_what_cannot_be_read_is_said(parquet, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="has the columns img, words; asked for 'image'"):
        HubPictures(parquet, 16)
    with pytest.raises(ValueError, match="cannot read the data set 'nobody/nothing'"):
        HubStream("nobody/nothing", 16)
    made(["", *"bcdefghijkl"][:11]).save_to_disk(tmp_path / "mute")
    with pytest.raises(ValueError, match="row 0 of the data set .* has no caption, got ''"):
        HubPictures(str(tmp_path / "mute"), 16, **COLUMNS).examples()
    data = HubPictures(parquet, 16, **COLUMNS)
    monkeypatch.setattr(hub, "picture_bytes", lambda *_: b"no picture")
    with pytest.raises(ValueError, match="row 3 of the data set .* cannot be read as a picture"):
        data.render([data[3]])


def test_without_the_library_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    monkeypatch.setattr(rows.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"pip install 'dcar_edu\[train\]'"):
        HubPictures("somebody/pictures", 16)
