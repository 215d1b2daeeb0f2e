"""Find a student's answers in notebooks and files, without running anything.

Answers are found by the id in ``check("04.2", name)``, never by cell tags, which get lost. An
answer is its function with the imports, plain constants and functions that it uses.
"""

import ast
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from dcar_edu.course.sandbox import Answer
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
    texts: dict[str, str] = field(default_factory=dict)
    """Name -> the lines of ``defined`` as they were written, comments included."""


def notebooks(folder: Path) -> list[Path]:
    """Every notebook under ``folder``, sorted; the editor's own copies left out.

    Raises:
        ValueError: there is none.
    """
    paths = sorted(p for p in folder.rglob("*.ipynb") if ".ipynb_checkpoints" not in p.parts)
    if not paths:
        raise ValueError(f"no notebook (*.ipynb) in '{folder}'. Name the folder that holds them.")
    return paths


def read_notebook(path: Path) -> Notebook | str:
    """Parse a notebook without running anything; a sentence when it cannot be read."""
    try:
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        sources = [joined(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        return f"the file is no notebook ({type(error).__name__})"
    return read_cells(sources)


def read_cells(sources: Iterable[str]) -> Notebook:
    """Parse pieces of code, one after another, as the cells of one notebook."""
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
            _sort(statement, notebook, plain)
    return notebook


def _sort(statement: ast.stmt, notebook: Notebook, source: str) -> None:
    if isinstance(statement, (ast.Import, ast.ImportFrom)):
        notebook.imports.append(statement)
        return
    names: list[str] = []
    if isinstance(statement, ast.FunctionDef):
        names = [statement.name]
    elif isinstance(statement, ast.Assign) and _plain(statement.value):
        found = (node for target in statement.targets for node in ast.walk(target))
        names = [node.id for node in found if isinstance(node, ast.Name)]
    notebook.defined |= dict.fromkeys(names, statement)
    notebook.texts |= dict.fromkeys(names, _text(statement, source))


def _text(statement: ast.stmt, source: str) -> str:
    """The lines of a statement, decorators included, as they were written."""
    decorators = getattr(statement, "decorator_list", [])
    first = min([statement.lineno, *(node.lineno for node in decorators)])
    return "\n".join(source.split("\n")[first - 1 : statement.end_lineno])


def _plain(value: ast.expr) -> bool:
    """Whether an expression is built of literals only, so that computing it does nothing else."""
    allowed = (
        *(ast.Constant, ast.Tuple, ast.List, ast.Set, ast.Dict, ast.UnaryOp, ast.BinOp),
        *(ast.operator, ast.unaryop, ast.expr_context),
    )
    return all(isinstance(node, allowed) for node in ast.walk(value))


def find(notebook: Notebook, id: str) -> str:
    """The name of the function handed in for exercise ``id``.

    Raises:
        ValueError: nothing was handed in, or no function of that name can be read.
    """
    name = notebook.checks.get(id)
    if name is None:
        broken = any(f'"{id}"' in cell or f"'{id}'" in cell for cell in notebook.broken)
        raise ValueError(
            "its cell is no Python" if broken else f'no check("{id}", ...) in the notebook'
        )
    if not isinstance(notebook.defined.get(name), ast.FunctionDef):
        broken = any(f"def {name}" in cell for cell in notebook.broken)
        raise ValueError(
            f"the cell of '{name}' is no Python" if broken else f"no function '{name}'"
        )
    return name


def needs(notebook: Notebook, name: str) -> tuple[list[str], list[ast.stmt]]:
    """What the function ``name`` uses: names defined in the notebook, in order, and imports."""
    needed, open_ = {name}, [name]
    used: set[str] = set()
    while open_:
        for node in ast.walk(notebook.defined[open_.pop()]):
            if isinstance(node, ast.Name):
                used.add(node.id)
                if node.id in notebook.defined and node.id not in needed:
                    needed.add(node.id)
                    open_.append(node.id)
    imports = [line for line in notebook.imports if binds(line) & (used | {"*"})]
    return [known for known in notebook.defined if known in needed], imports


def extract(notebook: Notebook, id: str) -> Answer | str:
    """Cut one answer out of a notebook: its function and what that function uses.

    Returns:
        The answer, or a sentence that says why there is none.
    """
    try:
        name = find(notebook, id)
    except ValueError as error:
        return str(error)
    names, imports = needs(notebook, name)
    parts = [ast.unparse(notebook.defined[known]) for known in names]
    return Answer(name, "\n\n".join(dict.fromkeys(parts)), tuple(map(ast.unparse, imports)))


def binds(statement: ast.stmt) -> set[str]:
    """The names that an import defines."""
    assert isinstance(statement, (ast.Import, ast.ImportFrom))
    return {alias.asname or alias.name.split(".")[0] for alias in statement.names}
