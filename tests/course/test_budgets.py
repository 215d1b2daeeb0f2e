"""The table of budgets, and what ``auto`` means."""

import pytest
import torch

from dcar_edu.course.budgets import NAMES, TABLE, budget, resolve


def test_every_lesson_has_all_three_budgets_once():
    keys = [(row.lesson, row.name) for row in TABLE]
    assert len(set(keys)) == len(keys)
    for lesson in {row.lesson for row in TABLE}:
        assert [name for number, name in keys if number == lesson] == list(NAMES)


def test_rows_keep_the_limits_of_the_course():
    for row in TABLE:
        assert row.minutes <= {"smoke": 1, "cpu": 10, "gpu": 15}[row.name]
        assert row.memory_gb <= {"smoke": 2, "cpu": 2, "gpu": 12}[row.name]
        assert 0 < row.cell_seconds <= 1800
        assert all(low < high for low, high in row.promised.values())


def test_a_lesson_has_the_same_numbers_at_every_budget():
    for lesson in {row.lesson for row in TABLE}:
        names = [set(row.numbers) for row in TABLE if row.lesson == lesson]
        assert names[0] == names[1] == names[2]


def test_numbers_are_attributes_and_cannot_be_changed():
    row = budget("00", "cpu")
    assert row.prompts == row.numbers["prompts"] == 4
    with pytest.raises(AttributeError, match="lesson 00 has no number 'zebras'"):
        _ = row.zebras
    with pytest.raises(TypeError):
        row.numbers["prompts"] = 5


@pytest.mark.parametrize(("lesson", "name"), [("00", "huge"), ("99", "cpu")])
def test_an_unknown_row_is_refused(lesson, name):
    with pytest.raises(ValueError, match=f"no budget '{name}' for lesson '{lesson}'"):
        budget(lesson, name)


@pytest.mark.parametrize(
    ("name", "gpu", "live", "expected"),
    [
        ("auto", False, False, "smoke"),
        ("auto", False, True, "cpu"),
        ("auto", True, False, "gpu"),
        ("auto", True, True, "gpu"),
        ("smoke", True, True, "smoke"),
        ("cpu", False, False, "cpu"),
        ("gpu", True, False, "gpu"),
    ],
)
def test_resolve(monkeypatch, name, gpu, live, expected):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    assert resolve(name, live=live) == expected


def test_gpu_without_a_gpu_says_what_to_do(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="needs an NVIDIA GPU.*Change runtime type.*'cpu'"):
        resolve("gpu", live=True)


def test_an_unknown_budget_is_refused():
    with pytest.raises(ValueError, match="one of auto, smoke, cpu, gpu, got 'fast'"):
        resolve("fast", live=False)
