"""A folder of one's own: both forms of captions, and every way it can be broken."""

import json

import pytest
import torch
from PIL import Image

from dcar_edu.data import ImageCaptionFolder


def picture(path, colour=(255, 0, 0), size=(24, 20), mode="RGB"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, colour).save(path)
    return path


@pytest.fixture
def folder(tmp_path):
    """Two pictures with NAME.txt captions, one of them in a sub-folder."""
    picture(tmp_path / "b.png")
    (tmp_path / "b.txt").write_text("a red field\n", "utf-8")
    picture(tmp_path / "a" / "sea.png", (0, 0, 255))
    (tmp_path / "a" / "sea.txt").write_text("a blue sea", "utf-8")
    return tmp_path


def metadata(folder, *rows):
    (folder / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n\n", "utf-8")


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def test_captions_beside_the_pictures(folder):
    data = ImageCaptionFolder(folder, 16)
    assert [(e.file, e.caption) for e in data.examples()] == [
        ("a/sea.png", "a blue sea"),
        ("b.png", "a red field"),
    ]
    images = data.images(torch.tensor([1, 0]))
    assert images.shape == (2, 3, 16, 16)
    assert images[:, :, 5, 5].tolist() == [[1, -1, -1], [-1, -1, 1]]
    assert (len(data), data.skipped, data[1].file) == (2, 0, "b.png")


def test_captions_in_one_file_keep_its_order_and_win(folder):
    metadata(
        folder, {"file_name": "b.png", "text": "first"}, {"file_name": "a/sea.png", "text": "2"}
    )
    assert [e.caption for e in ImageCaptionFolder(folder, 16).examples()] == ["first", "2"]


def test_one_seed_gives_one_batch(folder):
    data = ImageCaptionFolder(folder, 16)
    one, same = (data.batch(9, generator=seeded(1)) for _ in range(2))
    assert one.captions == same.captions == [record.caption for record in one.records]
    assert torch.equal(one.images, same.images)
    for image, caption in zip(one.images, one.captions, strict=True):
        assert (image[0, 0, 0] > 0) == (caption == "a red field")
    assert set(one.captions) == {"a red field", "a blue sea"}


def test_the_middle_square_is_kept_and_transparency_lies_on_white(tmp_path):
    wide = Image.new("RGBA", (64, 32), (255, 0, 0, 255))
    wide.paste((0, 0, 255, 0), (16, 0, 48, 32))
    wide.save(tmp_path / "x.png")
    (tmp_path / "x.txt").write_text("x", "utf-8")
    assert (ImageCaptionFolder(tmp_path, 16).images(torch.tensor([0])) == 1).all()


BROKEN = {
    "an unreadable picture": (lambda f: (f / "b.png").write_bytes(b"no"), "b.png cannot be read"),
    "a cut picture": (
        lambda f: (f / "b.png").write_bytes((f / "b.png").read_bytes()[:40]),
        "b.png cannot be read as a picture",
    ),
    "a missing caption": (lambda f: (f / "b.txt").unlink(), "b.png has no caption. .* b.txt"),
    "an empty caption": (lambda f: (f / "b.txt").write_text(" \n"), "b.png has no caption"),
    "a missing picture": (
        lambda f: metadata(
            f, {"file_name": "no.png", "text": "x"}, {"file_name": "b.png", "text": "y"}
        ),
        "no.png cannot be read as a picture",
    ),
    "no text": (
        lambda f: metadata(f, {"file_name": "b.png"}, {"file_name": "a/sea.png", "text": "y"}),
        "b.png has no caption. Add a line to metadata.jsonl",
    ),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_bad_picture_is_named_or_skipped(folder, what):
    harm, message = BROKEN[what]
    harm(folder)
    with pytest.raises(ValueError, match=message):
        ImageCaptionFolder(folder, 16)
    data = ImageCaptionFolder(folder, 16, skip_bad=True)
    assert (len(data), data.skipped) == (1, 1)


@pytest.mark.parametrize("line", ["{", "[1]", '{"text": "x"}', "3"])
def test_a_broken_line_is_named(folder, line):
    (folder / "metadata.jsonl").write_text('{"file_name": "b.png", "text": "x"}\n' + line, "utf-8")
    with pytest.raises(ValueError, match="line 2 of .*metadata.jsonl is broken"):
        ImageCaptionFolder(folder, 16, skip_bad=True)


def test_nothing_to_read_is_said(tmp_path):
    with pytest.raises(ValueError, match="there is no folder .*nowhere"):
        ImageCaptionFolder(tmp_path / "nowhere", 16)
    with pytest.raises(ValueError, match="holds no usable picture. Supported are .png"):
        ImageCaptionFolder(tmp_path, 16)
    picture(tmp_path / "lone.png")
    with pytest.raises(ValueError, match=r"holds no usable picture \(1 were skipped\)"):
        ImageCaptionFolder(tmp_path, 16, skip_bad=True)
    with pytest.raises(ValueError, match="resolution must be at least 16, got 8"):
        ImageCaptionFolder(tmp_path, 8)
