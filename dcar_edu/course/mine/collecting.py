"""Collect a student's answers and keep those that pass once more, each in a process of its own.

Two places: notebooks in a folder, read as the grader reads them, and what ``check`` kept in
``$DCAR_HOME/answers``. Nothing is imported or run here; ``sandbox.py`` runs what is tried.
"""

import ast
import copy
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from dcar_edu.course.answers import Notebook, find, needs, notebooks, read_cells, read_notebook
from dcar_edu.course.checks import Result, exercise
from dcar_edu.course.keeping import FIRST_LINE, answers_folder
from dcar_edu.course.mine.parts import every_id
from dcar_edu.course.sandbox import Answer, Limits, attempt

SEED = 16
"""Chooses the hidden inputs."""
LAZY = "from __future__ import annotations"
"""Annotations are not looked up, so a name that stands only there need not be known."""


@dataclass(frozen=True)
class Own:
    """One answer of yours."""

    id: str
    name: str
    """Of the function."""
    pieces: Mapping[str, str]
    """Name -> source text: the function, and the functions and constants it uses, in order."""
    imports: tuple[str, ...]
    note: str = ""
    """What the check said beside "right"."""

    def answer(self) -> Answer:
        """As the sandbox takes it."""
        code = "\n\n".join([LAZY, *dict.fromkeys(self.pieces.values())])
        return Answer(self.name, code, self.imports)


@dataclass
class Collected:
    """What was found, by exercise, in the order of the lessons."""

    own: dict[str, Own] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    """Exercises with an answer that does not pass, and the reason in one sentence."""
    unread: list[str] = field(default_factory=list)
    """Sentences about notebooks that cannot be read."""


def collect(folder: str | Path | None = None, limits: Limits | None = None) -> Collected:
    """Find every answer and try it on hidden inputs.

    Args:
        folder: a student's notebooks, subfolders too; they count before kept answers.
        limits: time, memory and output of one answer.

    Raises:
        ValueError: there is no notebook in ``folder``.
    """
    found = Collected()
    books: list[Notebook] = []
    for path in notebooks(Path(folder)) if folder else []:
        notebook = read_notebook(path)
        if isinstance(notebook, str):
            found.unread.append(f"{path.name} was passed over: {notebook}.")
        else:
            books.append(notebook)
    books += _kept()
    for id in every_id():
        for place, notebook in enumerate(books):
            broken = any(f'"{id}"' in cell or f"'{id}'" in cell for cell in notebook.broken)
            if id not in notebook.checks and not broken:
                continue
            own, result = _try(notebook, id, limits or Limits())
            if own:
                found.own[id] = own
                found.left_out.pop(id, None)
                break
            said = "not written yet" if result.status == "TODO" else result.message
            found.left_out.setdefault(id, said)
            if id in notebook.checks:
                books[place] = _without(notebook, id)
    return found


def _kept() -> Iterable[Notebook]:
    """Every answer that ``check`` kept; files that are none are passed over."""
    for path in sorted(answers_folder().glob("[0-9][0-9].[0-9]*.py")):
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, ValueError):
            continue
        if said := FIRST_LINE.match(text):
            notebook = read_cells([text])
            notebook.checks[said[1]] = said[2]
            yield notebook


def _try(notebook: Notebook, id: str, limits: Limits) -> tuple[Own | None, Result]:
    """One answer if it passes, and what the check said."""
    try:
        name = find(notebook, id)
    except ValueError as error:
        return None, Result("FAIL", str(error))
    names, imports = needs(notebook, name)
    pieces = {known: notebook.texts[known] for known in names}
    own = Own(id, name, pieces, tuple(map(ast.unparse, imports)))
    result = attempt(id, own.answer(), SEED, limits)
    if result.status != "PASS":
        return None, result
    note = "" if result.message == "right" else result.message
    return Own(id, name, pieces, own.imports, note), result


def _without(notebook: Notebook, id: str) -> Notebook:
    """The notebook with the library's function in place of one that does not pass.

    The lesson went on with it too, so a later answer may call it.
    """
    name, ours = notebook.checks[id], exercise(id).reference
    changed = copy.copy(notebook)
    changed.defined = {known: part for known, part in notebook.defined.items() if known != name}
    line = f"from {ours.__module__} import {ours.__name__} as {name}"
    changed.imports = [*notebook.imports, *ast.parse(line).body]
    return changed
