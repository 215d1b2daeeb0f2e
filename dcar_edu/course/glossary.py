"""The words and letters of the course: one letter, one meaning, in every lesson."""

import importlib.util
from typing import NamedTuple

from dcar_edu.course.checks import lesson_module
from dcar_edu.course.lesson import LESSONS


class Symbol(NamedTuple):
    """One row of the course-wide symbol table."""

    letter: str
    """As in formulas, LaTeX without the dollar signs."""
    meaning: str
    shape: str
    code: str
    """Name in the code."""


SYMBOLS: tuple[Symbol, ...] = tuple(
    Symbol(*row)
    for row in (
        ("b", "pictures in a batch", "number", "batch"),
        ("H", "height of a picture in pixels", "number", "height"),
        ("W", "width of a picture in pixels", "number", "width"),
        ("h", "rows of the token grid, H / f", "number", "h"),
        ("w", "columns of the token grid, W / f", "number", "w"),
        ("f", "down-sampling factor", "number", "downsample"),
        ("x", "pictures with values in [-1, 1]", "b, 3, H, W", "images"),
        ("c", "channels of a latent", "number", "channels"),
        ("z", "continuous latents", "b, c, h, w", "latents"),
        ("z_q", "quantised latents: rows of the codebook", "b, c, h, w", "quantized"),
        ("r", "residual, z - z_q", "b, c, h, w", "residuals"),
        (r"\rho", "root mean square of the residual", "number", "residual_scale"),
        ("e", "codebook", "K, c", "codebook"),
        ("K", "codes in the codebook", "number", "num_codes"),
        ("i", "token ids, 0 to K - 1", "b, h, w", "indices"),
        (r"\beta", "weight of the commitment loss", "number", "commitment"),
        ("N", "tokens of a picture, h w", "number", "num_tokens"),
        ("m", "mask, true = hidden", "b, h, w", "mask"),
        ("u", "uniform random number in [0, 1] that picks a mask ratio", "b", "u"),
        ("T", "sampling steps", "number", "num_steps"),
        ("k", "which sampling step, 1 to T", "number", "step"),
        (r"\tau", "sampling temperature", "number", "temperature"),
        ("s", "guidance: cond + s (cond - uncond), 0 = off", "number", "guidance"),
        ("y", "text states, one row a word piece", "b, S, D", "text"),
        ("S", "word pieces of a prompt", "number", "words"),
        ("D", "width of a text state", "number", "text_width"),
        ("d", "width of the transformer", "number", "config.width"),
        ("q", "queries of an attention", "b, n, d", "queries"),
        ("n", "places that attend to one another", "number", "places"),
        ("t", "diffusion time, 0 to 999", "b", "t"),
        (r"\epsilon", "Gaussian noise", "like r", "noise"),
        (r"\bar\alpha_t", "share of the signal left at time t", "number", "alpha_bar"),
    )
)


def symbol_table() -> str:
    """The course-wide symbol table, as markdown."""
    rows = [f"| ${s.letter}$ | {s.meaning} | {s.shape} | `{s.code}` |" for s in SYMBOLS]
    return "\n".join(["| symbol | meaning | shape | code |", "|---|---|---|---|", *rows])


def terms() -> dict[str, tuple[str, str]]:
    """Every term of every lesson that is there: term -> (meaning, number of its lesson).

    Raises:
        ValueError: two lessons explain the same term.
    """
    found: dict[str, tuple[str, str]] = {}
    for lesson in LESSONS:
        if importlib.util.find_spec(f"dcar_edu.course.lessons.lesson_{lesson.number}") is None:
            continue
        for term, meaning in lesson_module(lesson.number).TERMS.items():
            key = term.lower()
            if key in {known.lower() for known in found}:
                raise ValueError(
                    f"'{term}' is explained in lesson {lesson.number} and in an earlier one. "
                    "Explain it once, where it is first used."
                )
            found[term] = (meaning, lesson.number)
    return found


def glossary() -> str:
    """Terms in alphabetical order, each with its lesson, then the symbols; as markdown."""
    slugs = {lesson.number: lesson.slug for lesson in LESSONS}
    lines = [
        f"- **{term}**: {meaning} ([lesson {number}]({number}_{slugs[number]}.ipynb))"
        for term, (meaning, number) in sorted(terms().items(), key=lambda item: item[0].lower())
    ]
    return "\n".join(["# Glossary", "", *lines, "", "# Symbols", "", symbol_table(), ""])
