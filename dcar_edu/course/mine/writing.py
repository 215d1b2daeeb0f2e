"""Write ``my_dcar.py``: every answer that passed, one after another, in the order of the lessons.

Two notebooks may give one name two meanings. The second one is then renamed, by its place in the
text, so that comments stay: ``scale`` becomes ``scale_09_3``.
"""

import ast
import re
import textwrap
from collections.abc import Iterable, Mapping
from dataclasses import replace

from dcar_edu.course.checks import exercise
from dcar_edu.course.lesson import lesson_name
from dcar_edu.course.mine.collecting import LAZY, SEED, Collected, Own
from dcar_edu.course.mine.parts import OTHER, UNUSED, USED, every_id
from dcar_edu.course.sandbox import Limits, attempt

TAKEN = ("PARTS", "main")
"""Names that the file itself uses."""

END = """
# {line}
# The model: your functions by their exercise; what is missing here, the library fills in.

PARTS = {{
{parts}
}}

if __name__ == "__main__":
    from dcar_edu.course.mine.training import main

    main(PARTS, __file__)
"""


def checked_text(found: Collected) -> tuple[str, dict[str, Own]]:
    """Like :func:`file_text`; answers that had to be renamed are tried once more.

    One that no longer passes moves from ``found.own`` to ``found.left_out``.
    """
    while True:
        text, written = file_text(found)
        renamed = {id: own for id, own in written.items() if own.pieces != found.own[id].pieces}
        results = {id: attempt(id, own.answer(), SEED, Limits()) for id, own in renamed.items()}
        wrong = {id for id, result in results.items() if result.status != "PASS"}
        if not wrong:
            return text, written
        for id in wrong:
            found.left_out[id] = (
                "right alone, but not in one file with the others. Give the names that it uses "
                f"({', '.join(found.own[id].pieces)}) no second meaning in another notebook."
            )
            del found.own[id]


def file_text(found: Collected) -> tuple[str, dict[str, Own]]:
    """The whole file, and the answers as they stand in it (some may be renamed).

    Args:
        found: at least one answer that passed.
    """
    taken: dict[str, str] = dict.fromkeys(TAKEN, "")
    lines: dict[str, None] = {}
    written: dict[str, Own] = {}
    body: list[str] = []
    for id, own in found.own.items():
        own = written[id] = _without_clashes(own, taken)
        lines |= dict.fromkeys(own.imports)
        if not any(known.split(".")[0] == id.split(".")[0] for known in list(written)[:-1]):
            name = lesson_name(id.split(".")[0])
            body.append(f"# Lesson {name.number}: {name.title} ".ljust(98, "-"))
        fresh = {n: text for n, text in own.pieces.items() if taken.get(n) != text}
        taken |= own.pieces
        note = USED.get(id, "checked, not used for drawing") + (
            f" ({own.note})" if own.note else ""
        )
        body += [*dict.fromkeys(text for n, text in fresh.items() if n != own.name)]
        body.append(f"# {id}: {note}.\n{own.pieces[own.name]}" if own.name in fresh else "")
    parts = "\n".join(f'    "{id}": {own.name},' for id, own in written.items())
    end = END.format(line="-" * 96, parts=parts)
    head = f'"""{_header(found)}"""\n\n{LAZY}\n\n' + "\n".join(_sorted(lines))
    return head + "\n\n" + "\n\n\n".join(filter(None, body)) + "\n\n" + end, written


def _header(found: Collected) -> str:
    """What is whose, and where each function is used."""
    own, left = found.own, found.left_out
    names = {id: own[id].name if id in own else _ours(id) for id in every_id()}
    used = {id: USED[id] for id in own if id in USED}
    idle = {id: UNUSED.get(id, OTHER) for id in own if id not in USED}
    gaps = {id: left.get(id, "no answer found") for id in USED if id not in own}
    more = {id: said for id, said in left.items() if id not in USED}
    parts = [
        "My DC-AR: what I wrote in the course, put together.\n\n"
        "Written by `dcar course mine`. Each function passed its check once more, on hidden\n"
        "inputs, in a process of its own. `python my_dcar.py` trains the model for five minutes\n"
        "and draws a wolf; all of this then runs in one process, as any code of yours does.",
        _list(f"Mine, and used ({len(used)}):", used, names),
        _list(f"Mine, checked, not used for drawing ({len(idle)}):", idle, names),
        _list(f"The library's, because mine is missing or wrong ({len(gaps)}):", gaps, names),
        _list(f"Left out, and not needed here ({len(more)}):", more, names),
    ]
    text = "\n\n".join(filter(None, parts)) + "\n"
    return text.replace("\\", "/").replace('"""', "'''")


def _list(title: str, entries: Mapping[str, str], names: Mapping[str, str]) -> str:
    """A heading and one paragraph a reason; empty without entries."""
    groups: dict[str, list[str]] = {}
    for id, said in entries.items():
        groups.setdefault(said, []).append(f"{id} {names[id]}")
    rows = [
        textwrap.fill(
            f"{', '.join(some)}: {said}", 98, initial_indent="  ", subsequent_indent="    "
        )
        for said, some in groups.items()
    ]
    return "\n".join([title, *rows]) if rows else ""


def _ours(id: str) -> str:
    return exercise(id).reference.__name__


def _sorted(lines: Iterable[str]) -> list[str]:
    """Import lines, ``import`` before ``from``, each once."""
    return sorted(set(lines), key=lambda line: (line.startswith("from"), line))


def _without_clashes(own: Own, taken: dict[str, str]) -> Own:
    """Rename what is already taken by something else; note what is bound from now on."""
    new: dict[str, str] = {}
    imports = []
    for line in own.imports:
        for bound, full, text in _single(line):
            name = bound
            if taken.setdefault(bound, full) != full:
                name = new[bound] = _free(bound, own.id, taken)
                taken[name] = full
                text = text.split(" as ")[0] + f" as {name}"
            imports.append(text)
    for name, text in own.pieces.items():
        if name in taken and taken[name] != text:
            new[name] = _free(name, own.id, taken)
    pieces = {new.get(name, name): _renamed(text, new) for name, text in own.pieces.items()}
    return replace(own, name=new.get(own.name, own.name), pieces=pieces, imports=tuple(imports))


def _single(line: str) -> list[tuple[str, str, str]]:
    """The names an import line binds: name, what it stands for, and a line for it alone."""
    (node,) = ast.parse(line).body
    found = []
    for alias in node.names:  # type: ignore[attr-defined]
        end = f" as {alias.asname}" if alias.asname else ""
        if isinstance(node, ast.ImportFrom):
            full, text = f"{node.module}.{alias.name}", f"from {node.module} import {alias.name}"
            bound = full if alias.name == "*" else alias.asname or alias.name
            found.append((bound, full, text + end))
        else:
            bound = alias.asname or alias.name.split(".")[0]
            full = alias.name if alias.asname else bound
            found.append((bound, full, f"import {alias.name}{end}"))
    return found


def _free(name: str, id: str, taken: Mapping[str, str]) -> str:
    """``name`` with the exercise's number behind it, and once more if need be."""
    name = f"{name}_{id.replace('.', '_')}"
    while name in taken:
        name += "_"
    return name


def _renamed(text: str, new: Mapping[str, str]) -> str:
    """Rename global names in the text of a function or constant, leaving all else as written."""
    if not new:
        return text
    places: list[tuple[int, int, str]] = []
    _walk(ast.parse(text), dict(new), places, top=True)
    lines = text.encode("utf-8").split(b"\n")
    for row, column, name in sorted(places, reverse=True):
        line = lines[row - 1]
        old = re.match(rb"(def\s+)?(\w+)", line[column:])
        assert old is not None
        start = column + len(old[1] or b"")
        lines[row - 1] = line[:start] + new[name].encode() + line[column + old.end() :]
    return b"\n".join(lines).decode("utf-8")


def _walk(
    node: ast.AST, new: dict[str, str], places: list[tuple[int, int, str]], *, top: bool = False
) -> None:
    """Note row, column and name of every global name in ``new``; local ones are left out."""
    if isinstance(node, ast.Name) and node.id in new:
        places.append((node.lineno, node.col_offset, node.id))
    if isinstance(node, (ast.FunctionDef, ast.Lambda)):
        local = {part.arg for part in ast.walk(node.args) if isinstance(part, ast.arg)}
        inside = [node.body] if isinstance(node, ast.Lambda) else node.body
        stored = (part for line in inside for part in ast.walk(line))
        for part in stored:
            if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store):
                local.add(part.id)
            if isinstance(part, ast.FunctionDef):
                local.add(part.name)
        for part in _outside(node):
            _walk(part, new, places)
        inner = {old: name for old, name in new.items() if old not in local}
        for line in inside:
            _walk(line, inner, places)
        return
    for child in ast.iter_child_nodes(node):
        if top and isinstance(child, ast.FunctionDef) and child.name in new:
            places.append((child.lineno, child.col_offset, child.name))
        _walk(child, new, places)


def _outside(node: ast.FunctionDef | ast.Lambda) -> list[ast.AST]:
    """The parts of a function that are read where it stands: decorators, defaults, annotations."""
    arguments = node.args
    every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    found: list[ast.AST | None] = [*arguments.defaults, *arguments.kw_defaults]
    found += [argument.annotation for argument in every]
    if isinstance(node, ast.FunctionDef):
        found += [*node.decorator_list, node.returns]
    return [part for part in found if part is not None]
