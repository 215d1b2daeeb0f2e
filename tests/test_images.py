"""Pictures in and out: exact round trips, alpha, sheets and files."""

import numpy as np
import pytest
import torch
from PIL import Image

from dcar_edu import images


def test_every_pixel_value_survives_the_round_trip():
    pixels = torch.arange(256, dtype=torch.uint8).repeat(3).reshape(16, 16, 3)
    model = images.to_model(pixels)
    assert model.shape == (3, 16, 16)
    assert (model.min(), model.max()) == (-1, 1)
    assert torch.equal(images.to_pixels(model), pixels)


def test_axes_are_moved_not_mixed():
    pixels = torch.randint(256, (2, 4, 5, 3), dtype=torch.uint8)
    model = images.to_model(pixels)
    assert model.shape == (2, 3, 4, 5)
    assert model[1, 2, 3, 4].item() == pytest.approx(pixels[1, 3, 4, 2].item() / 127.5 - 1)
    assert torch.equal(images.to_pixels(model), pixels)


def test_pixels_are_rounded_and_clipped():
    values = torch.tensor([-9.0, -1 + 0.9 / 127.5, 0.0, 9.0]).reshape(1, 1, 4).expand(3, 1, 4)
    assert images.to_pixels(values)[0, :, 0].tolist() == [0, 1, 128, 255]


@pytest.mark.parametrize("change", ["flipped", "frozen"])
def test_numpy_views_are_taken_as_they_are(change):
    pixels = np.arange(60, dtype=np.uint8).reshape(4, 5, 3)
    given = pixels[:, ::-1] if change == "flipped" else np.broadcast_to(pixels, pixels.shape)
    expected = images.to_model(torch.tensor(pixels))
    assert torch.equal(
        images.to_model(given), expected.flip(-1) if change == "flipped" else expected
    )


def test_pil_round_trip():
    picture = Image.fromarray(np.arange(60, dtype=np.uint8).reshape(4, 5, 3))
    model = images.from_pil(picture)
    assert model.shape == (3, 4, 5)
    assert images.to_pil(model).tobytes() == picture.tobytes()


@pytest.mark.parametrize(
    ("mode", "colour", "expected"),
    [
        ("RGBA", (255, 0, 0, 0), [255, 255, 255]),
        ("RGBA", (255, 0, 0, 255), [255, 0, 0]),
        ("RGBA", (0, 0, 0, 51), [204, 204, 204]),
        ("LA", (0, 0), [255, 255, 255]),
        ("L", 7, [7, 7, 7]),
        ("1", 1, [255, 255, 255]),
    ],
)
def test_alpha_goes_onto_white(mode, colour, expected):
    pixels = images.to_pixels(images.from_pil(Image.new(mode, (2, 1), colour)))
    assert pixels[0, 0].tolist() == expected


def test_a_palettes_transparent_colour_is_white():
    picture = Image.new("P", (2, 1), 1)
    picture.putpalette([0, 0, 0, 9, 9, 9])
    picture.putpixel((0, 0), 0)
    picture.info["transparency"] = 0
    assert images.to_pixels(images.from_pil(picture))[0].tolist() == [[255] * 3, [9] * 3]


def test_resize_averages_when_shrinking():
    sharp = torch.tensor([-1.0, 1.0, 1.0, -1.0]).repeat(2, 3, 8, 2)
    small = images.resize(sharp, (4, 2))  # the two pixels in the middle alone would give 1
    assert small.shape == (2, 3, 4, 2)
    assert small.abs().max() < 0.7
    assert images.resize(sharp, (8, 8)) is sharp
    assert images.resize(sharp, (5, 9)).abs().max() <= 1


def test_grid_golden():
    """Three pictures of one pixel, two in a row, a gap of one: the last place stays white."""
    three = torch.tensor([-1.0, 0.0, 0.5]).reshape(3, 1, 1, 1).expand(3, 3, 1, 1)
    sheet = images.grid(three, columns=2, gap=1)
    assert sheet[0].tolist() == [
        [1, 1, 1, 1, 1],
        [1, -1, 1, 0, 1],
        [1, 1, 1, 1, 1],
        [1, 0.5, 1, 1, 1],
        [1, 1, 1, 1, 1],
    ]
    wide = images.grid(torch.zeros(5, 3, 4, 6), columns=3)
    assert wide.shape == (3, 2 * 6 + 2, 3 * 8 + 2)
    assert (wide[0, 8:12, 2:8] == 0).all()  # the fourth begins the second row
    assert (wide[0] == 0).sum() == 5 * 4 * 6


@pytest.mark.parametrize(
    ("name", "kind"), [("a.png", "PNG"), ("b.webp", "WEBP"), ("c.JPG", "JPEG")]
)
def test_save(tmp_path, name, kind):
    image = torch.full((3, 8, 16), 0.5)
    path = images.save(image, tmp_path / "new" / name)
    with Image.open(path) as picture:
        assert (picture.format, picture.size) == (kind, (16, 8))
    assert [p.name for p in path.parent.iterdir()] == [name]
    images.save(images.to_pil(-image), path)
    with Image.open(path) as picture:
        assert picture.convert("RGB").getpixel((3, 3))[0] < 70


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda _: images.to_model(torch.zeros(4, 5, 3)),
            r"uint8 .* got torch.float32 \(4, 5, 3\)",
        ),
        (lambda _: images.to_model(torch.zeros(3, 4, 5, dtype=torch.uint8)), "colour axis to the"),
        (
            lambda _: images.to_model(torch.zeros(5, 3, dtype=torch.uint8)),
            r"got torch.uint8 \(5, 3",
        ),
        (lambda _: images.to_pixels(torch.zeros(4, 5, 3)), r"\(\.\.\., 3, h, w\), got \(4, 5, 3\)"),
        (lambda _: images.grid(torch.zeros(0, 3, 4, 5), 2), r"b >= 1 .* got \(0, 3, 4, 5\)"),
        (lambda _: images.grid(torch.zeros(3, 4, 5), 2), r"got \(3, 4, 5\) and columns=2"),
        (lambda _: images.grid(torch.zeros(1, 3, 4, 5), 0), "columns >= 1, got .* columns=0"),
        (lambda p: images.save(torch.zeros(3, 4, 5), p / "a.xyz"), "format, got 'a.xyz'. Use .png"),
        (lambda p: images.save(torch.zeros(3, 4, 5), p / "a.psd"), "format, got 'a.psd'. Use .png"),
    ],
)
def test_refuses(tmp_path, call, message):
    with pytest.raises(ValueError, match=message):
        call(tmp_path)
    assert list(tmp_path.iterdir()) == []
