"""Quizzes: well formed, shuffled, and answerable with buttons or in plain text."""

import importlib
from pathlib import Path
from types import SimpleNamespace

import pytest

from dcar_edu.course import progress
from dcar_edu.course.quiz import Choice, Question, answer, questions, shuffled

quiz = importlib.import_module("dcar_edu.course.quiz")  # the package names the function so
LESSONS = sorted((Path(quiz.__file__).parent / "lessons").glob("lesson_[0-9][0-9].py"))
NUMBERS = [path.stem.removeprefix("lesson_") for path in LESSONS]

ONE = Question(
    "77.q1",
    "How many tokens has a 256x256 picture at f32?",
    (
        Choice("64", True, "256 / 32 = 8 rows of 8."),
        Choice("8", False, "That is one row."),
        Choice("1024", False, "That is f8."),
    ),
)


@pytest.fixture(autouse=True)
def _own_home(tmp_path, monkeypatch):
    monkeypatch.setenv("DCAR_HOME", str(tmp_path))


@pytest.fixture
def one(monkeypatch):
    monkeypatch.setattr(quiz, "lesson_module", lambda number: SimpleNamespace(QUIZ=(ONE,)))


@pytest.mark.parametrize("number", NUMBERS)
def test_shipped_quizzes_are_well_formed(number):
    asked = questions(number)
    assert len(asked) >= 3
    assert [q.id for q in asked] == [f"{number}.q{k}" for k in range(1, len(asked) + 1)]
    for question in asked:
        assert sum(choice.correct for choice in question.choices) == 1
        texts = [choice.text for choice in question.choices]
        assert len(set(texts)) == len(texts)
        assert all(len(choice.explain.split()) >= 3 for choice in question.choices), question.id


def test_the_right_choice_does_not_always_stand_in_one_place():
    for number in NUMBERS:
        places = [[c.correct for c in shuffled(q)].index(True) for q in questions(number)]
        assert len(set(places)) > 1


def test_the_order_is_fixed_and_not_the_sources():
    assert shuffled(ONE) == shuffled(ONE)
    assert set(shuffled(ONE)) == set(ONE.choices)
    every = [q for number in NUMBERS for q in questions(number)]
    assert any(shuffled(q) != q.choices for q in every)


@pytest.mark.parametrize(
    ("choices", "words"),
    [
        ((Choice("a", True, "yes"),), "got 1 with 1 correct"),
        ((Choice("a", False, "no"), Choice("b", False, "no")), "got 2 with 0 correct"),
        ((Choice("a", True, "y"), Choice("b", True, "y")), "got 2 with 2 correct"),
        ((Choice("a", True, "yes"), Choice("b", False, " ")), "every choice needs an explanation"),
    ],
)
def test_a_malformed_question_is_refused(choices, words):
    with pytest.raises(ValueError, match=words):
        Question("77.q1", "?", choices)


@pytest.mark.usefixtures("one")
def test_text_mode_shows_every_choice_and_how_to_answer(capsys):
    quiz.quiz("77")
    out = capsys.readouterr().out
    assert "How many tokens" in out
    for letter, choice in zip("abc", shuffled(ONE), strict=True):
        assert f"{letter}) {choice.text}" in out
        assert choice.explain not in out
    assert "course.answer('77.q1', 'a')" in out


@pytest.mark.usefixtures("one")
def test_answer_explains_and_keeps_the_score(capsys):
    letters = {c.text: letter for letter, c in zip("abc", shuffled(ONE), strict=True)}
    answer("77.q1", letters["8"])
    assert capsys.readouterr().out == "Not this one. That is one row.\n"
    assert progress.read_progress("77")["quiz"] == {"77.q1": False}
    answer("77.q1", letters["64"].upper())
    assert capsys.readouterr().out == "Right. 256 / 32 = 8 rows of 8.\n"
    assert progress.read_progress("77")["quiz"] == {"77.q1": True}


@pytest.mark.usefixtures("one")
@pytest.mark.parametrize("letter", ["d", "z", "", "ab", "1"])
def test_an_unknown_letter_is_refused(letter):
    with pytest.raises(ValueError, match=f"77.q1 has choices a to c, got '{letter}'"):
        answer("77.q1", letter)


@pytest.mark.usefixtures("one")
def test_an_unknown_question_is_refused():
    with pytest.raises(ValueError, match="no question '77.q9'. This lesson has 77.q1"):
        answer("77.q9", "a")


@pytest.mark.usefixtures("one")
def test_buttons_in_a_live_notebook(monkeypatch):
    shown = []
    monkeypatch.setattr(quiz, "is_live", lambda: True)
    monkeypatch.setattr("IPython.display.display", shown.append)
    quiz.quiz("77")
    (question,) = shown[0].children
    _, radio, button, verdict = question.children
    assert [label for label, _ in radio.options] == [c.text for c in shuffled(ONE)]
    button.click()
    assert verdict.value == "Choose one first."
    radio.value = next(v for label, v in radio.options if label == "64")
    button.click()
    assert verdict.value == "Right. 256 / 32 = 8 rows of 8."


@pytest.mark.usefixtures("one")
def test_text_can_be_asked_for_in_a_live_notebook(monkeypatch, capsys):
    monkeypatch.setattr(quiz, "is_live", lambda: True)
    quiz.quiz("77", text=True)
    assert "course.answer('77.q1', 'a')" in capsys.readouterr().out
