"""Every figure function, called; and the words, sizes and marks that belong to each."""

import base64
import io
import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from dcar_edu.course import figures, film, overview, picture
from dcar_edu.course.lesson import LESSONS

ALT = "A wolf appears step by step."
IMAGES = torch.linspace(-1, 1, 6 * 3 * 8 * 12).reshape(6, 3, 8, 12)


@pytest.fixture
def shown(monkeypatch):
    """What was published: a list of (data, metadata)."""
    outputs = []

    def publish(data, metadata=None):
        outputs.append((data, metadata))

    monkeypatch.setattr(picture, "publish", publish)
    monkeypatch.setattr(film, "publish", publish)
    return outputs


def opened(output):
    return Image.open(io.BytesIO(base64.b64decode(output[0]["image/png"])))


# Pictures ---------------------------------------------------------------------------------------


def test_to_picture_takes_all_kinds():
    pixels = np.zeros((8, 12, 3), dtype=np.uint8)
    for what in (Image.new("RGBA", (12, 8)), IMAGES[0], pixels, torch.from_numpy(pixels)):
        made = figures.to_picture(what)
        assert (made.mode, made.size) == ("RGB", (12, 8))
    assert figures.to_picture(-torch.ones(3, 8, 12)).getpixel((0, 0)) == (0, 0, 0)


@pytest.mark.parametrize("what", [IMAGES, "wolf", None, np.zeros((8, 12)), torch.zeros(8, 12, 3)])
def test_to_picture_refuses_the_rest(what):
    with pytest.raises(ValueError, match="a picture is a PIL picture.*Show one of a batch"):
        figures.to_picture(what)


def test_show_carries_its_words_for_every_reader(shown):
    figures.show(IMAGES[0], alt=ALT)
    data, metadata = shown[0]
    assert data["text/plain"] == f"[picture] {ALT}"
    assert metadata["image/png"]["alt"] == ALT


@pytest.mark.parametrize("alt", ["", "   ", "wolf", "a wolf"])
def test_show_demands_a_sentence(shown, alt):
    with pytest.raises(ValueError, match="alt must say in a sentence"):
        figures.show(IMAGES[0], alt=alt)
    assert not shown


def test_a_small_picture_is_shown_twice_as_large_and_sharp(shown):
    figures.show(IMAGES[0], alt=ALT)
    assert opened(shown[0]).size == (24, 16)
    assert shown[0][1]["image/png"]["width"] == 24
    figures.show(IMAGES[0], alt=ALT, width=6)
    assert opened(shown[1]).size == (12, 8)
    assert (shown[1][1]["image/png"]["width"], shown[1][1]["image/png"]["height"]) == (6, 4)


def test_a_figure_is_stored_at_twice_its_screen_size_on_white(shown):
    figure, axes = figures.panels(2, 3, width=4, height=2, sharey=True, width_ratios=[1, 2, 1])
    assert axes.shape == (2, 3)
    figures.show(figure, alt=ALT)
    assert opened(shown[0]).size == (800, 400)
    assert shown[0][1]["image/png"]["width"] == 400
    assert opened(shown[0]).convert("RGB").getpixel((0, 0)) == (255, 255, 255)


def test_show_closes_a_pyplot_figure(shown):
    import matplotlib.pyplot as plt

    figure, ax = plt.subplots()
    ax.plot([1, 2])
    figures.show(figure, alt=ALT)
    assert not plt.get_fignums()


def test_a_large_picture_is_stored_with_fewer_colours():
    noise = torch.rand(3, 400, 500, generator=torch.Generator().manual_seed(0)) * 2 - 1
    data = figures.png(figures.to_picture(noise))
    assert Image.open(io.BytesIO(data)).mode == "P"
    assert len(data) < 400 * 500 * 1.1
    small = figures.png(figures.to_picture(IMAGES[0]))
    assert Image.open(io.BytesIO(small)).mode == "RGB"


def test_use_style_reaches_pyplot():
    import matplotlib
    import matplotlib.pyplot as plt

    with matplotlib.rc_context():
        figures.use_style()
        assert matplotlib.rcParams["axes.prop_cycle"].by_key()["color"][0] == "#0072B2"
        assert len(set(matplotlib.rcParams["axes.prop_cycle"].by_key()["linestyle"])) == 4
        figure, ax = plt.subplots()
        assert figure.get_facecolor() == (1, 1, 1, 1)
        plt.close(figure)


def test_without_matplotlib_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.style", None)
    with pytest.raises(RuntimeError, match=r"pip install 'dcar_edu\[course\]'"):
        figures.panels()


# Grids and strips ---------------------------------------------------------------------------------


def test_image_grid_places_pictures_titles_and_rows(shown):
    figure = figures.image_grid(
        IMAGES[:5], ["one", "two", "three"], columns=3, row_titles=["top", "bottom"]
    )
    axes = figure.axes
    assert len(axes) == 6
    assert [ax.get_title() for ax in axes] == ["one", "two", "three", "", "", ""]
    assert [ax.get_ylabel() for ax in axes] == ["top", "", "", "bottom", "", ""]
    assert [len(ax.images) for ax in axes] == [1, 1, 1, 1, 1, 0]
    top = np.asarray(figures.to_picture(IMAGES[4]))
    assert np.array_equal(np.asarray(axes[4].images[0].get_array()), top)
    figures.show(figure, alt=ALT)
    assert len(shown) == 1


def test_image_grid_fits_the_page_and_wraps_long_titles():
    figure = figures.image_grid(IMAGES, ["a very long caption of a wolf"] * 6, columns=6)
    assert figure.get_figwidth() <= 8
    assert "\n" in figure.axes[0].get_title()
    wide = figures.image_grid(IMAGES, columns=3, row_titles=["a", "b"], tile=9)
    assert wide.get_figwidth() <= 8


@pytest.mark.parametrize(
    ("images", "more", "words"),
    [
        ([], {}, "at least one picture and one column, got 0 pictures in 4 columns"),
        (IMAGES, {"columns": 0}, "got 6 pictures in 0 columns"),
        (IMAGES, {"titles": ["a"]}, r"one a picture \(6\) or one a column \(4\), got 1"),
        (IMAGES, {"row_titles": ["a"]}, r"one a row \(2\), got 1"),
    ],
)
def test_image_grid_refuses_what_does_not_fit(images, more, words):
    with pytest.raises(ValueError, match=words):
        figures.image_grid(images, **more)


def records():
    steps = [[[1, 1, 0], [1, 1, 1]], [[1, 0, 0], [0, 0, 1]], [[0, 0, 0], [0, 0, 0]]]
    masks = torch.tensor(steps, dtype=torch.bool).unsqueeze(1)
    frame = figures.to_picture(IMAGES[0])
    return [
        SimpleNamespace(step=step, mask=mask.bool(), preview=[frame])
        for step, mask in zip((2, 5, 9), masks.reshape(3, 1, 2, 3), strict=True)
    ]


def test_film_strip_covers_exactly_the_hidden_tokens(shown):
    figure = figures.film_strip(records(), columns=3)
    assert [ax.get_title() for ax in figure.axes] == [
        "step 2: 5 hidden",
        "step 5: 2 hidden",
        "step 9: 0 hidden",
    ]
    assert [len(ax.patches) for ax in figure.axes] == [5, 2, 0]
    cover = figure.axes[1].patches[1]
    # Row 1, column 2 of 2x3 tokens over a picture of 8x12 pixels: cells of 4x4 pixels.
    assert (cover.get_x(), cover.get_y()) == (7.5, 3.5)
    assert (cover.get_width(), cover.get_height()) == (4, 4)
    assert cover.get_hatch()
    figures.show(figure, alt=ALT)
    with pytest.raises(ValueError, match="needs the records of a run"):
        figures.film_strip([])


def test_reveal_map_writes_every_step(shown):
    order = torch.tensor([[1, 12, 3], [4, 5, 6]])
    figure = figures.reveal_map(order, picture=IMAGES[0])
    texts = [text.get_text() for text in figure.axes[1].texts]
    assert texts == ["1", "12", "3", "4", "5", "6"]
    inks = [text.get_color() for text in figure.axes[1].texts]
    assert inks[:2] == ["white", "black"]
    assert len(figures.reveal_map(order).axes) == 1
    figures.show(figure, alt=ALT)


def test_wolf_strip_shows_what_is_there_and_what_is_to_come(shown):
    figures.wolf_strip({"00": IMAGES[0], "02": IMAGES[1]})
    ((_, metadata),) = shown
    assert metadata["image/png"]["alt"].endswith("Filled so far: 00, 02.")
    assert metadata["image/png"]["width"] == 800
    figures.wolf_strip({})
    assert shown[1][1]["image/png"]["alt"].endswith("no lesson yet.")


# Curves ------------------------------------------------------------------------------------------


def test_curves_differ_by_more_than_colour(shown):
    lines = {f"arm {k}": [3, 2 + k, 1] for k in range(4)}
    figure = figures.curve(lines, band=([1, 1, 1], [4, 4, 4]), x=[10, 20, 30], ylabel="error")
    drawn = figure.axes[0].lines
    assert len({line.get_linestyle() for line in drawn}) == 4
    assert len({line.get_marker() for line in drawn}) == 4
    assert len({line.get_color() for line in drawn}) == 4
    assert list(drawn[0].get_xdata()) == [10, 20, 30]
    words = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert words == ["three runs of ours", "arm 0", "arm 1", "arm 2", "arm 3"]
    assert figure.axes[0].get_ylabel() == "error"
    figures.show(figure, alt=ALT)


def test_one_curve_needs_no_legend_and_counts_from_one():
    figure = figures.curve([3, 2, 1], log=True)
    assert figure.axes[0].get_legend() is None
    assert list(figure.axes[0].lines[0].get_xdata()) == [1, 2, 3]
    assert figure.axes[0].get_yscale() == "log"


# The map -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [name.number for name in LESSONS])
def test_the_map_lights_the_lessons_part(monkeypatch, number):
    boxes = {}
    draw = overview._box
    monkeypatch.setattr(
        overview, "_box", lambda ax, part, lit: boxes.update({part: lit}) or draw(ax, part, lit)
    )
    alts = []
    monkeypatch.setattr(overview, "show", lambda figure, *, alt: alts.append(alt))
    figures.course_map(number)
    lit = {name for name, part in overview.PARTS.items() if boxes[part]}
    assert lit == set(overview.LIT[number])
    assert f"Lit in lesson {number}: " in alts[0]


def test_the_map_is_shown_with_its_words(shown):
    figures.course_map("00")
    assert opened(shown[0]).size == (1600, 920)
    assert shown[0][1]["image/png"]["alt"].startswith("Map of DC-AR. Drawing: prompt, ")


def test_every_arrow_and_light_names_a_part():
    named = {name for arrow in overview.ARROWS for name in arrow}
    named |= {name for lit in overview.LIT.values() for name in lit}
    assert named == set(overview.PARTS)


def test_the_map_refuses_an_unknown_lesson(shown):
    with pytest.raises(ValueError, match="the map knows lessons 00, 01.*got '17'"):
        figures.course_map("17")


# Films --------------------------------------------------------------------------------------------


def test_animate_is_a_contact_sheet_when_nobody_can_click(shown):
    figures.animate(list(IMAGES), alt=ALT)
    ((data, metadata),) = shown
    assert "text/html" not in data
    assert metadata["image/png"]["alt"] == ALT


def test_animate_plays_stops_and_steps_in_a_live_notebook(shown, monkeypatch):
    monkeypatch.setattr(film, "is_live", lambda: True)
    figures.animate(list(IMAGES), alt='A "wolf" appears.', titles=["</script>"] + ["b"] * 5)
    data, _ = shown[0]
    page = data["text/html"]
    assert data["text/plain"] == '[film] A "wolf" appears.'
    assert re.findall(r"<button>(\w+)</button>", page) == ["Play", "Back", "Next"]
    assert 'aria-label="A &quot;wolf&quot; appears."' in page
    assert "prefers-reduced-motion" in page
    assert page.count("</script>") == 1
    assert not re.search(r"@[A-Z]+@", page)
    strip = base64.b64decode(re.search(r"base64,([^)]*)\)", page)[1])
    assert Image.open(io.BytesIO(strip)).size == (6 * 256, 171)


def test_a_film_stays_small_however_rich_the_frames():
    noise = torch.rand(12, 3, 256, 256, generator=torch.Generator().manual_seed(0)) * 2 - 1
    frames = [figures.to_picture(frame) for frame in noise]
    assert len(film.player(frames, ALT, ["step"] * 12, 0.6)) < film.LARGEST


@pytest.mark.parametrize(
    ("frames", "more", "words"),
    [
        ([], {}, "got 0 frames"),
        (IMAGES, {"titles": ["a"]}, "got 6 frames, 1 titles"),
        (IMAGES, {"pause": 0.1}, "0.1 s"),
    ],
)
def test_animate_refuses_what_does_not_fit(shown, frames, more, words):
    with pytest.raises(ValueError, match=f"a pause of at least 0.35 s.*{words}"):
        figures.animate(list(frames), alt=ALT, **more)
