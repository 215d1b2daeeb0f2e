"""Where each exercise is used in your own DC-AR, and why the others are not.

``USED`` is everything the model of ``model.py`` and its training call; a function that a student
has not written is the library's there. ``UNUSED`` covers the rest of the lessons that build it.
"""

from collections.abc import Callable, Mapping
from typing import Any

from dcar_edu.course.checks import exercise, lesson_module
from dcar_edu.course.lesson import LESSONS

USED = {
    "00.1": "counts the tokens of a picture",
    "01.2": "says how close the drawn wolf is, in dB",
    "03.1": "names the tokens of the training pictures",
    "03.4": "says how many codes the pictures use",
    "04.1": "gives the residuals of the training pictures",
    "04.4": "lets only the generator learn, on a frozen tokenizer",
    "04.5": "measures the scale of the residuals",
    "06.3": "hides a tenth of the captions in training",
    "07.1": "decides what share of the tokens to hide in training",
    "07.2": "hides them",
    "07.3": "scores the guessed tokens",
    "07.4": "is each of the transformer's blocks",
    "07.5": "averages the weights while they are trained",
    "08.1": "plans the twelve steps",
    "08.2": "pushes the logits towards the prompt",
    "08.3": "draws a code for each token",
    "08.4": "keeps the surest of them",
    "08.5": "draws the wolf without chance, always the surest code",
    "09.2": "measures how well the trained head guesses noise",
    "09.3": "turns guessed noise into a residual",
    "09.4": "chooses the twenty times of drawing residuals",
    "09.5": "takes each of those steps",
    "10.1": "is each of the residual head's blocks",
    "10.2": "scores the guessed noise in training",
    "10.3": "pushes the guessed noise towards the prompt",
    "10.4": "joins code and residual for the decoder",
}
"""Exercise -> what it does in the model, to follow its name."""

UNUSED = {
    "03.2": "it trains a tokenizer, and this model draws with the shipped one",
    "03.3": "it trains a tokenizer, and this model draws with the shipped one",
    "03.5": "it trains a tokenizer, and this model draws with the shipped one",
    "04.2": "it trains a tokenizer, and this model draws with the shipped one",
    "04.3": "it plans the training of a tokenizer",
    "09.1": "the losses of 09.2 and 10.2 add their noise themselves",
}
"""Exercises of the lessons that build the model, and why it does not call them."""

OTHER = "it teaches or measures, and drawing does not need it"
"""Why the exercises of the other lessons are not called."""


def every_id() -> list[str]:
    """All exercises of all lessons that there are, in the order of the lessons."""
    ids = []
    for name in LESSONS:
        try:
            ids += [task.id for task in lesson_module(name.number).EXERCISES]
        except ValueError:
            continue  # a lesson to come
    return ids


def fill(parts: Mapping[str, Callable[..., Any]]) -> dict[str, Callable[..., Any]]:
    """Every function the model calls: those given, and the library's for the gaps."""
    return {id: parts[id] if id in parts else exercise(id).reference for id in USED}
