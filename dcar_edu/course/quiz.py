"""Quizzes: a few questions a lesson, with an explanation for every choice, right or wrong."""

import contextlib
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dcar_edu.course import progress
from dcar_edu.course.checks import lesson_module
from dcar_edu.course.frontend import is_live


@dataclass(frozen=True)
class Choice:
    """One possible answer."""

    text: str
    correct: bool
    explain: str
    """Why it is right, or what is wrong with it."""


@dataclass(frozen=True)
class Question:
    """One question with two or more choices, exactly one of them correct."""

    id: str
    text: str
    choices: tuple[Choice, ...]

    def __post_init__(self) -> None:
        right = sum(choice.correct for choice in self.choices)
        if len(self.choices) < 2 or right != 1:
            raise ValueError(
                f"question {self.id} needs two or more choices and exactly one correct, got "
                f"{len(self.choices)} with {right} correct. Mend its choices."
            )
        if not all(choice.explain.strip() for choice in self.choices):
            raise ValueError(f"question {self.id}: every choice needs an explanation.")


def shuffled(question: Question) -> tuple[Choice, ...]:
    """Order the choices by a hash of their text: the same everywhere, not the source's order."""

    def key(choice: Choice) -> str:
        return hashlib.sha256(f"{question.id}{choice.text}".encode()).hexdigest()

    return tuple(sorted(question.choices, key=key))


def questions(number: str) -> tuple[Question, ...]:
    """All questions of lesson ``number``.

    Raises:
        ValueError: there is no such lesson.
    """
    return tuple(lesson_module(number).QUIZ)


def quiz(number: str, *, text: bool = False) -> None:
    """Show the quiz of a lesson: buttons in a live notebook, plain text everywhere else.

    Args:
        number: lesson, two digits.
        text: plain text in any case, for screen readers.

    Raises:
        ValueError: there is no such lesson.
    """
    asked = questions(number)
    if is_live() and not text:
        _show_buttons(asked)
        return
    for question in asked:
        print(f"{question.id}  {question.text}")
        for letter, choice in zip("abcdefgh", shuffled(question), strict=False):
            print(f"    {letter}) {choice.text}")
        print()
    print(f"Answer with the letter, for example: course.answer('{asked[0].id}', 'a')")


def answer(id: str, letter: str) -> None:
    """Print whether choice ``letter`` of question ``id`` is right, and why.

    Raises:
        ValueError: there is no such question or choice.
    """
    known = {question.id: question for question in questions(id.split(".")[0])}
    if id not in known:
        raise ValueError(f"there is no question '{id}'. This lesson has {', '.join(known)}.")
    choices = shuffled(known[id])
    place = "abcdefgh".find(letter.strip().lower()) if len(letter.strip()) == 1 else -1
    if not 0 <= place < len(choices):
        raise ValueError(f"{id} has choices a to {'abcdefgh'[len(choices) - 1]}, got '{letter}'.")
    print(_verdict(id, choices[place]))


def _verdict(id: str, choice: Choice) -> str:
    with contextlib.suppress(OSError):
        progress.record(id.split(".")[0], quiz={id: choice.correct})
    return f"{'Right.' if choice.correct else 'Not this one.'} {choice.explain}"


def _show_buttons(asked: Sequence[Question]) -> None:
    import ipywidgets
    from IPython.display import display

    display(ipywidgets.VBox([_question_box(ipywidgets, question) for question in asked]))


def _question_box(ipywidgets: Any, question: Question) -> Any:
    """One question as radio buttons (arrow keys), a button (space) and a line of text."""
    choices = shuffled(question)
    radio = ipywidgets.RadioButtons(
        options=[(choice.text, place) for place, choice in enumerate(choices)],
        value=None,
        layout=ipywidgets.Layout(width="auto"),
    )
    button = ipywidgets.Button(description="Check answer", tooltip=f"check answer {question.id}")
    verdict = ipywidgets.HTML()

    def tell(_: Any) -> None:
        if radio.value is None:
            verdict.value = "Choose one first."
        else:
            verdict.value = _verdict(question.id, choices[radio.value])

    button.on_click(tell)
    heading = ipywidgets.HTML(f"<b>{question.id}</b> {question.text}")
    return ipywidgets.VBox([heading, radio, button, verdict])
