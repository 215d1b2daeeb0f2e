"""A lesson's source cut into its sections: text, figures, exercises and questions of each."""

import ast
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from dcar_edu.course.source import Exercise, Lesson, count_words, read_exercise

WORDS_A_MINUTE = 200


@dataclass
class Section:
    """What stands between two headings ``## ...``; the first one holds what comes before."""

    title: str
    words: int = 0
    figures: list[str] = field(default_factory=list)
    """What is seen in each, from its alt text."""
    exercises: list[Exercise] = field(default_factory=list)
    questions: list[tuple[str, str]] = field(default_factory=list)
    """Question and answer of every "What do you expect?"."""
    experiment: bool = False
    """Whether it holds such a question."""


def sections(lesson: Lesson) -> list[Section]:
    """Cut a lesson at its headings of the second level."""
    found = [Section("Before the first section")]
    for cell in lesson.cells:
        if cell.kind == "code":
            found[-1].figures += alts(cell.source)
            continue
        heading = re.match(r"## (.+)", cell.source)
        if heading:
            found.append(Section(heading[1].strip()))
        section = found[-1]
        if not {"header"} & set(cell.tags):
            section.words += count_words(cell.source)
        if "exercise-text" in cell.tags and (task := read_exercise(cell.source)):
            section.exercises.append(task)
        if "predict" in cell.tags:
            section.experiment = True
            section.questions.append(_question(cell.source))
    return found


def alts(code: str) -> list[str]:
    """The alt texts that a cell gives its figures; what is computed becomes an ellipsis."""
    plain = "\n".join("" if line.lstrip()[:1] in ("%", "!") else line for line in code.split("\n"))
    try:
        tree = ast.parse(plain)
    except SyntaxError:
        return []
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    given = [word.value for call in calls for word in call.keywords if word.arg == "alt"]
    texts = sorted(given, key=lambda node: (node.lineno, node.col_offset))
    return [text for node in texts if (text := _text(node))]


def _text(node: ast.expr) -> str:
    """A string, or an f-string without what it computes; empty for anything else."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(part) or "…" for part in node.values)
    return ""


def _question(text: str) -> tuple[str, str]:
    """Question and answer of a "What do you expect?" cell."""
    answer = re.search(r"(?s)<summary>.*?</summary>(.*?)</details>", text)
    question = re.sub(r"(?s)<details>.*?</details>", "", text)
    question = re.sub(r"\*\*What do you expect\?\*\*\s*", "", question)
    return question.strip(), answer[1].strip() if answer else ""


def ask(text: str, heading: str) -> str:
    """The rest of the paragraph that begins with ``**heading**``; empty if there is none."""
    found = re.search(rf"\*\*{re.escape(heading)}\*\*\s*(.+)", text)
    return found[1].strip() if found else ""


def plan(lesson: Lesson, found: Sequence[Section]) -> list[tuple[Section, int]]:
    """Share the lesson's minutes of reading out among its sections; empty ones are left out.

    Whole minutes by the largest remainder: they add up to ``lesson.reading``.
    """
    used = [part for part in found if part.words or part.figures or part.exercises]
    weights = [part.words / WORDS_A_MINUTE + len(part.figures) for part in used]
    total = sum(weights) or 1
    shares = [lesson.reading * weight / total for weight in weights]
    minutes = [int(share) for share in shares]
    by_rest = sorted(range(len(used)), key=lambda place: minutes[place] - shares[place])
    for place in by_rest[: lesson.reading - sum(minutes)]:
        minutes[place] += 1
    return list(zip(used, minutes, strict=True))


def chosen(found: Sequence[Section], count: int) -> list[tuple[Section, str]]:
    """Figures worth a projector: the first, the experiments' last ones, then the longest told.

    Returns:
        Section and alt text, in the order of the lesson.
    """
    every = [(part, alt) for part in found for alt in part.figures]
    last = [(part, part.figures[-1]) for part in found if part.experiment and part.figures]
    rest = sorted(every, key=lambda item: -len(item[1]))
    wanted: list[tuple[Section, str]] = []
    for item in [*every[:1], *last, *rest]:
        if item not in wanted and len(wanted) < count:
            wanted.append(item)
    return [item for item in every if item in wanted]
