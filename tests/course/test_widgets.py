"""``explore``: sliders in a live notebook, one contact sheet everywhere else."""

import pytest
import torch

from dcar_edu.course import widgets
from dcar_edu.course.widgets import explore, few_values, spread

ALT = "The picture gets brighter with the level."


def grey(level, tint="red"):
    return torch.full((3, 8, 12), float(level))


@pytest.fixture
def shown(monkeypatch):
    outputs = []
    monkeypatch.setattr(widgets, "show", lambda what, *, alt: outputs.append((what, alt)))
    return outputs


@pytest.mark.parametrize(
    ("span", "values"),
    [
        ((0, 8), [0, 2, 4, 6, 8]),
        ((1, 3), [1, 2, 3]),
        ((0, 10, 5), [0, 5, 10]),
        ((0.0, 1.0), [0.0, 0.25, 0.5, 0.75, 1.0]),
        ((0.5, 1.5, 0.5), [0.5, 1.0, 1.5]),
        (["red", "blue"], ["red", "blue"]),
        (list("abcdefghi"), ["a", "c", "e", "g", "i"]),
    ],
)
def test_few_values_span_the_slider(span, values):
    assert few_values(span) == values


def test_sliders_move_together():
    settings = spread({"level": (0, 8), "tint": ["red", "blue"]})
    assert settings[0] == {"level": 0, "tint": "red"}
    assert settings[-1] == {"level": 8, "tint": "blue"}
    assert len(settings) == 5


def test_contact_sheet_when_nobody_can_click(shown):
    explore(grey, alt=ALT, level=(-1.0, 1.0))
    ((sheet, alt),) = shown
    assert alt == ALT
    assert [ax.get_title() for ax in sheet.axes][0] == "level = -1.0"
    shades = [int(ax.images[0].get_array()[0, 0, 0]) for ax in sheet.axes]
    assert shades == [0, 64, 128, 191, 255]


def test_presets_replace_the_spread(shown):
    explore(grey, alt=ALT, level=(0, 1), presets=[{"level": v} for v in (-1, 0, 1)])
    assert [ax.get_title() for ax in shown[0][0].axes] == ["level = -1", "level = 0", "level = 1"]


def test_widgets_off_by_environment_even_in_a_kernel(shown, monkeypatch):
    from dcar_edu.course import frontend

    monkeypatch.setattr(frontend, "in_kernel", lambda: True)
    monkeypatch.setenv("JPY_SESSION_NAME", "a.ipynb")
    monkeypatch.setenv("DCAR_WIDGETS", "0")
    explore(grey, alt=ALT, level=(0, 1))
    assert len(shown) == 1


def test_sliders_in_a_live_notebook(shown, monkeypatch):
    boxes = []
    monkeypatch.setattr(widgets, "is_live", lambda: True)
    monkeypatch.setattr("IPython.display.display", boxes.append)
    explore(grey, alt=ALT, level=(-1.0, 1.0, 0.5), tint=["red", "blue"])
    row, choice, _ = boxes[0].children
    slider, typed = row.children
    assert (slider.value, typed.value, choice.value) == (-1.0, -1.0, "red")
    assert shown[-1][0].unique().tolist() == [-1.0]
    typed.value = 0.5  # the number box drives the slider, and the picture follows
    assert slider.value == 0.5
    assert shown[-1][0].unique().tolist() == [0.5]
    drawn = len(shown)
    choice.value = "blue"
    assert len(shown) == drawn + 1
    typed.value = 99
    assert slider.value == 1.0


def test_whole_numbers_stay_whole(shown, monkeypatch):
    boxes, seen = [], []
    monkeypatch.setattr(widgets, "is_live", lambda: True)
    monkeypatch.setattr("IPython.display.display", boxes.append)
    explore(lambda level: seen.append(level) or grey(0), alt=ALT, level=(1, 12))
    boxes[0].children[0].children[0].value = 7
    assert seen == [1, 7]
    assert all(type(value) is int for value in seen)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({}, "at least one slider"),
        ({"level": (3, 1)}, r"slider 'level' must be \(low, high\).*got \(3, 1\)"),
        ({"level": (1,)}, "slider 'level' must be"),
        ({"level": []}, "slider 'level' must be"),
        ({"level": (0, 1), "presets": [{"level": 0}]}, "presets must be 3 to 5 settings, got 1"),
        (
            {"level": (0, 1), "presets": [{"tint": 0}] * 3},
            "each preset must name exactly level, got tint",
        ),
    ],
)
def test_bad_sliders_are_refused(shown, more, words):
    with pytest.raises(ValueError, match=words):
        explore(grey, alt=ALT, **more)
