"""Read a lesson's one source, ``lessons/src/NN_slug.py`` (percent format).

A lesson is a front matter and a list of cells. Both notebooks are made from it: the solution
view holds the text between ``# BEGIN SOLUTION`` and ``# END SOLUTION``, the student view an
empty place instead.
"""

import ast
import hashlib
import importlib
import re
from collections.abc import Iterable
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

BEGIN, END = "# BEGIN SOLUTION", "# END SOLUTION"
EXPERIMENT_MINUTES = 15
"""Added to every lesson for its experiment and quiz."""


@dataclass(frozen=True)
class Cell:
    """One cell as written in the source."""

    kind: str
    """"markdown" or "code"."""
    source: str
    tags: tuple[str, ...] = ()
    form: bool = False
    """Shown as a form with hidden code (``cellView``)."""


@dataclass(frozen=True)
class Front:
    """A lesson's front matter; minutes are whole numbers."""

    title: str
    builds: str
    figures: int
    wait: int
    wait_gpu: int
    gpu: bool
    memory: str
    needs: str
    writes: str
    short: bool = False


@dataclass(frozen=True)
class Exercise:
    """What the source says about one exercise."""

    id: str
    title: str
    difficulty: int
    importance: int
    minutes: int
    needs: str


@dataclass(frozen=True)
class Lesson:
    """One lesson: ``number`` "04", ``slug`` "hybrid_tokenizer", its front matter and cells."""

    number: str
    slug: str
    front: Front
    cells: tuple[Cell, ...]

    @property
    def name(self) -> str:
        """The file name without its ending, ``04_hybrid_tokenizer``."""
        return f"{self.number}_{self.slug}"

    @cached_property
    def exercises(self) -> tuple[Exercise, ...]:
        """The exercises whose heading and second line can be read, in order."""
        texts = [cell.source for cell in self.cells if "exercise-text" in cell.tags]
        return tuple(found for text in texts if (found := read_exercise(text)))

    @property
    def reading(self) -> int:
        """Minutes to read: 200 words a minute and a minute a figure."""
        words = sum(count_words(cell.source) for cell in self.cells if cell.kind == "markdown")
        return -(-words // 200) + self.front.figures

    @property
    def minutes(self) -> int:
        """Minutes the whole lesson takes on a CPU."""
        doing = sum(exercise.minutes for exercise in self.exercises)
        return self.reading + doing + self.front.wait + EXPERIMENT_MINUTES


_HEADING = re.compile(r"### Exercise (\d\d\.\d+\*?) - (\S.*)")
_FACTS = re.compile(
    r"difficulty: ([1-5])/5 · importance: ([1-5])/5 · (\d+) min · needs: (\S.*)", re.UNICODE
)


def read_exercise(text: str) -> Exercise | None:
    """Read the heading and the line of facts of an exercise's text; None if they are not there."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    heading = _HEADING.fullmatch(lines[0]) if lines else None
    facts = _FACTS.fullmatch(lines[1]) if len(lines) > 1 else None
    if not heading or not facts:
        return None
    difficulty, importance, minutes = (int(facts[i]) for i in (1, 2, 3))
    return Exercise(heading[1], heading[2], difficulty, importance, minutes, facts[4])


def count_words(markdown: str) -> int:
    """Words a student reads: hints in ``<details>``, tags, links' targets and formulas left out."""
    for pattern in (r"(?s)<details>.*?</details>", r"(?s)\$\$.*?\$\$", r"<[^>]+>", r"\]\([^)]*\)"):
        markdown = re.sub(pattern, " ", markdown)
    return len(re.findall(r"\w[\w'.-]*", markdown))


def student_text(source: str, exercise: str) -> str:
    """Replace the solution block by a place to fill in that raises ``NotImplementedError``."""
    lines: list[str] = []
    inside = False
    for line in source.splitlines():
        if line.strip() == BEGIN:
            indent = line[: len(line) - len(line.lstrip())]
            lines += [
                f"{indent}# YOUR CODE HERE",
                f'{indent}raise NotImplementedError("{exercise}")',
            ]
        inside = line.strip() == BEGIN or (inside and line.strip() != END)
        if not inside and line.strip() != END:
            lines.append(line)
    return "\n".join(lines)


def solution_text(source: str) -> str:
    """Drop the two marker lines and nothing else."""
    return "\n".join(line for line in source.splitlines() if line.strip() not in (BEGIN, END))


def checked(source: str) -> dict[str, str]:
    """The answers a piece of code hands in: exercise id -> function name.

    Reads calls ``check("04.2", name)`` anywhere in ``source``; code that does not parse has none.
    """
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return {}
    found = {}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or len(node.args) < 2:
            continue
        called = node.func.attr if isinstance(node.func, ast.Attribute) else None
        called = node.func.id if isinstance(node.func, ast.Name) else called
        name, answer = node.args[0], node.args[1]
        if called == "check" and isinstance(name, ast.Constant) and isinstance(answer, ast.Name):
            found[str(name.value)] = answer.id
    return found


def read_lesson(path: Path) -> Lesson:
    """Read one lesson.

    Raises:
        ValueError: the file name, front matter or a cell breaks the format; says how to mend it.
    """
    name = re.fullmatch(r"(\d\d)_([a-z0-9_]+)", path.stem)
    if not name:
        raise ValueError(
            f"a lesson's source is named NN_slug.py in lower case, got '{path.name}'. Rename it."
        )
    cells = _cells(path)
    if not cells or "header" not in cells[0].tags:
        raise ValueError(
            f"{path.name}: the first cell must be a markdown cell tagged 'header' with the "
            "front matter between two lines '---'."
        )
    return Lesson(name[1], name[2], _front(cells[0].source, path.name), tuple(cells))


def read_lessons(root: Path) -> list[Lesson]:
    """Read every lesson under ``root/lessons/src``, in order of their numbers.

    Raises:
        ValueError: no lesson there, or two with one number.
    """
    paths = sorted((root / "lessons" / "src").glob("*.py"))
    if not paths:
        raise ValueError(
            "no lesson found in lessons/src. Run this from a checkout of the repository; "
            "the installed package holds the library only."
        )
    lessons = [read_lesson(path) for path in paths]
    numbers = [lesson.number for lesson in lessons]
    twice = sorted({number for number in numbers if numbers.count(number) > 1})
    if twice:
        raise ValueError(f"each lesson has its own number, got {twice[0]} twice. Rename one file.")
    return lessons


def choose(lessons: list[Lesson], wanted: str | Iterable[str] | None) -> list[Lesson]:
    """Pick lessons by number (``"00 04"`` or a list); all of them when nothing is named.

    Raises:
        ValueError: a number that no lesson has.
    """
    numbers = wanted.split() if isinstance(wanted, str) else list(wanted or ())
    known = {lesson.number: lesson for lesson in lessons}
    unknown = sorted(set(numbers) - set(known))
    if unknown:
        raise ValueError(f"no lesson {', '.join(unknown)}: choose among {', '.join(known)}.")
    return [lesson for lesson in lessons if not numbers or lesson.number in numbers]


def joined(text: str | list[str]) -> str:
    """A notebook's text as one string; files store it as a list of lines."""
    return text if isinstance(text, str) else "".join(text)


def code_hash(notebook: dict[str, Any]) -> str:
    """A hash over a notebook's code cells, in order: what its outputs were computed from."""
    code = [joined(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    return hashlib.sha256("\0".join(code).encode("utf-8")).hexdigest()[:16]


def course_library(name: str) -> Any:
    """Import a library of the ``course`` extra.

    Raises:
        RuntimeError: it is not installed; says how to get it.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise RuntimeError(f"{name} is missing: pip install 'dcar_edu[course]'") from error


def _cells(path: Path) -> list[Cell]:
    notebook = course_library("jupytext").reads(path.read_text(encoding="utf-8"), fmt="py:percent")
    return [
        Cell(
            kind=cell.cell_type,
            source=cell.source.strip("\n"),
            tags=tuple(cell.metadata.get("tags", ())),
            form=cell.metadata.get("cellView") == "form" or cell.source.startswith("#@title"),
        )
        for cell in notebook.cells
    ]


def _front(text: str, name: str) -> Front:
    lines = [line.strip() for line in text.splitlines() if line.strip() not in ("", "---")]
    given = {key.strip(): value.strip() for key, _, value in (row.partition(":") for row in lines)}
    known = {field.name: field.type for field in fields(Front)}
    unknown, missing = sorted(set(given) - set(known)), sorted(set(known) - set(given) - {"short"})
    if unknown or missing:
        raise ValueError(
            f"{name}: front matter has exactly the keys {', '.join(known)} (short is optional); "
            f"unknown {unknown}, missing {missing}."
        )
    values: dict = dict(given)
    for key, value in given.items():
        if known[key] is int and not value.isdigit():
            raise ValueError(f"{name}: '{key}' is a whole number, got '{value}'.")
        if known[key] is bool and value not in ("true", "false"):
            raise ValueError(f"{name}: '{key}' is true or false, got '{value}'.")
        values[key] = int(value) if known[key] is int else value
        values[key] = value == "true" if known[key] is bool else values[key]
    return Front(**values)
