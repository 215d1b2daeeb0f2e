"""Keep an answer at once when it passes: ``$DCAR_HOME/answers/04.1.py``.

The file holds the function as it was written, with the functions, plain constants and imports it
uses, so that ``dcar course mine`` can build a model of it in another session.
"""

import ast
import inspect
import re
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from dcar_edu.checkpoint import home, write_atomically

FIRST_LINE = re.compile(r"# Exercise (\d\d\.\d+): (\w+)\b.*")
"""How a kept answer says whose it is: exercise and name of the function."""


def answers_folder() -> Path:
    """Where answers are kept."""
    return home() / "answers"


def keep(id: str, fn: Callable[..., Any]) -> Path:
    """Write an answer to its file, atomically; the last one that passed counts.

    Raises:
        ValueError: ``fn`` is no function written with ``def``.
        OSError: its source cannot be had, or the file cannot be written.
        TypeError: ``fn`` is built in.
    """
    name = getattr(fn, "__name__", "")
    if not inspect.isfunction(fn) or not name.isidentifier():
        raise ValueError(f"an answer is a function written with def, got '{name or fn}'.")
    parts: dict[str, str] = {}
    imports: dict[str, str] = {}
    _gather(fn, fn.__module__, parts, imports)
    first = f"# Exercise {id}: {name}, as it passed. Kept by check(), read by `dcar course mine`."
    text = "\n\n\n".join(["\n".join([first, *sorted(set(imports.values()))]), *parts.values()])
    path = answers_folder() / f"{id}.py"
    write_atomically(path, (text + "\n").encode("utf-8"))
    return path


def _gather(
    fn: Callable[..., Any], module: str, parts: dict[str, str], imports: dict[str, str]
) -> None:
    """Add the source of ``fn`` to ``parts``, after what it needs from its own module."""
    source = textwrap.dedent(inspect.getsource(fn)).rstrip()
    parts[fn.__name__] = ""  # begun: a function may call itself
    for name in _names(source):
        value = getattr(fn, "__globals__", {}).get(name, _NOTHING)
        if name in parts or name in imports or value is _NOTHING:
            continue
        if inspect.isfunction(value) and value.__module__ == module and value.__name__ == name:
            _gather(value, module, parts, imports)
        elif line := _import(name, value):
            imports[name] = line
        elif _is_plain(value):
            parts[name] = f"{name} = {value!r}"
    del parts[fn.__name__]  # to the end: what it uses stands before it
    parts[fn.__name__] = source


_NOTHING = object()


def _names(source: str) -> list[str]:
    """The names that a piece of code reads, each once."""
    nodes = (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Name))
    return list(dict.fromkeys(node.id for node in nodes))


def _import(name: str, value: Any) -> str:
    """The import that gives ``value`` the name ``name``; empty if none does."""
    if isinstance(value, ModuleType):
        where = value.__name__
        return f"import {where}" if where == name else f"import {where} as {name}"
    known = getattr(value, "__name__", None)
    if not known or not callable(value):
        return ""
    for place in ("torch.nn.functional", "torch", getattr(value, "__module__", None)):
        module = None if place in (None, "__main__", "builtins") else sys.modules.get(str(place))
        if getattr(module, known, _NOTHING) is value:  # torch's own may name a private one
            return f"from {place} import {known}" + ("" if known == name else f" as {name}")
    return ""


def _is_plain(value: Any) -> bool:
    """Whether ``repr`` writes the value so that Python reads the same one back."""
    try:
        return bool(ast.literal_eval(repr(value)) == value)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError, RuntimeError):
        return False
