"""Grade a folder of students' notebooks: ``dcar course grade DIR --seed 7``.

Answers are found by the id in ``check("04.2", name)``, never by cell tags, which get lost. Only
an answer's function runs, with the imports, plain constants and functions it uses, each in its
own process (``sandbox.py``), on hidden inputs drawn from the seed.
"""

import ast
import csv
import io
import json
from dataclasses import dataclass, field
from pathlib import Path

from dcar_edu.checkpoint import write_atomically
from dcar_edu.course.checks import Result, lesson_module
from dcar_edu.course.execute import ROOT, kernel_environment
from dcar_edu.course.sandbox import Answer, Limits, attempt
from dcar_edu.course.source import checked, joined


@dataclass
class Notebook:
    """What a student's notebook defines at its top level, in order."""

    checks: dict[str, str] = field(default_factory=dict)
    """Exercise id -> name of the function handed in."""
    defined: dict[str, ast.stmt] = field(default_factory=dict)
    """Name -> its function or plain constant; the last one counts."""
    imports: list[ast.stmt] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    """Cells that Python cannot read."""


def grade(
    folder: str | Path, seed: int, out: str | Path = "grades.csv", limits: Limits | None = None
) -> int:
    """Check every notebook under ``folder`` and write one row a notebook.

    Args:
        folder: students' notebooks, in subfolders or not.
        seed: chooses the hidden inputs; the same seed gives the same table.
        out: the CSV file: student, one column an exercise (1 or 0), score, first message.
        limits: time, memory and output of one answer.

    Returns:
        0.

    Raises:
        ValueError: there is no notebook in ``folder``.
    """
    folder = Path(folder)
    paths = sorted(p for p in folder.rglob("*.ipynb") if ".ipynb_checkpoints" not in p.parts)
    if not paths:
        raise ValueError(f"no notebook (*.ipynb) in '{folder}'. Name the folder that holds them.")
    read = {path.relative_to(folder).with_suffix("").as_posix(): _read(path) for path in paths}
    ids = _ids(read)
    rows = []
    with kernel_environment(ROOT, "smoke", strict=False):
        for student, notebook in read.items():
            rows.append(_row(student, notebook, ids, seed, limits or Limits()))
            print(f"{student}: {rows[-1]['score']} of {len(ids)}", flush=True)
    text = io.StringIO()
    writer = csv.DictWriter(text, ["student", *ids, "score", "message"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_atomically(out, text.getvalue().encode("utf-8"))
    print(f"{len(rows)} notebooks, {len(ids)} exercises: {out}")
    return 0


def _read(path: Path) -> Notebook | str:
    """Parse a notebook without running anything; a sentence when it cannot be read."""
    try:
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        sources = [joined(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        return f"the file is no notebook ({type(error).__name__})"
    notebook = Notebook()
    for source in sources:
        lines = source.splitlines()
        plain = "\n".join("" if line.lstrip()[:1] in ("%", "!") else line for line in lines)
        try:
            body = ast.parse(plain).body
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            notebook.broken.append(plain)
            continue
        notebook.checks |= checked(plain)
        for statement in body:
            _sort(statement, notebook)
    return notebook


def _sort(statement: ast.stmt, notebook: Notebook) -> None:
    if isinstance(statement, (ast.Import, ast.ImportFrom)):
        notebook.imports.append(statement)
    elif isinstance(statement, ast.FunctionDef):
        notebook.defined[statement.name] = statement
    elif isinstance(statement, ast.Assign) and _plain(statement.value):
        for target in statement.targets:
            names = [node.id for node in ast.walk(target) if isinstance(node, ast.Name)]
            notebook.defined |= dict.fromkeys(names, statement)


def _plain(value: ast.expr) -> bool:
    """Whether an expression is built of literals only, so that computing it does nothing else."""
    allowed = (
        *(ast.Constant, ast.Tuple, ast.List, ast.Set, ast.Dict, ast.UnaryOp, ast.BinOp),
        *(ast.operator, ast.unaryop, ast.expr_context),
    )
    return all(isinstance(node, allowed) for node in ast.walk(value))


def _ids(read: dict[str, Notebook | str]) -> list[str]:
    """Every exercise of every lesson that somebody handed in."""
    books = [book for book in read.values() if isinstance(book, Notebook)]
    lessons = {id.split(".")[0] for book in books for id in book.checks}
    ids = []
    for lesson in sorted(lessons):
        try:
            ids += [exercise.id for exercise in lesson_module(lesson).EXERCISES]
        except ValueError:
            continue  # an id that a student made up
    return ids


def _row(
    student: str, notebook: Notebook | str, ids: list[str], seed: int, limits: Limits
) -> dict[str, str | int]:
    row: dict[str, str | int] = {"student": student, "score": 0, "message": ""}
    for id in ids:
        answer = notebook if isinstance(notebook, str) else extract(notebook, id)
        if isinstance(answer, Answer):
            result = attempt(id, answer, seed, limits)
        else:
            result = Result("FAIL", answer)
        row[id] = int(result.status == "PASS")
        row["score"] = int(row["score"]) + int(row[id])
        if not row[id] and not row["message"]:
            row["message"] = f"{id}: {result.message}"
    return row


def extract(notebook: Notebook, id: str) -> Answer | str:
    """Cut one answer out of a notebook: its function and what that function uses.

    Returns:
        The answer, or a sentence that says why there is none.
    """
    name = notebook.checks.get(id)
    if name is None:
        broken = any(f'"{id}"' in cell or f"'{id}'" in cell for cell in notebook.broken)
        return "its cell is no Python" if broken else f'no check("{id}", ...) in the notebook'
    if not isinstance(notebook.defined.get(name), ast.FunctionDef):
        broken = any(f"def {name}" in cell for cell in notebook.broken)
        return f"the cell of '{name}' is no Python" if broken else f"no function '{name}'"
    needed, open_ = {name}, [name]
    used: set[str] = set()
    while open_:
        for node in ast.walk(notebook.defined[open_.pop()]):
            if isinstance(node, ast.Name):
                used.add(node.id)
                if node.id in notebook.defined and node.id not in needed:
                    needed.add(node.id)
                    open_.append(node.id)
    parts = [ast.unparse(part) for known, part in notebook.defined.items() if known in needed]
    imports = [ast.unparse(line) for line in notebook.imports if _binds(line) & (used | {"*"})]
    return Answer(name, "\n\n".join(dict.fromkeys(parts)), tuple(imports))


def _binds(statement: ast.stmt) -> set[str]:
    """The names that an import defines."""
    assert isinstance(statement, (ast.Import, ast.ImportFrom))
    return {alias.asname or alias.name.split(".")[0] for alias in statement.names}
