"""What a lesson must hold and must not hold: rules for sources and for built notebooks.

Every rule gives back sentences; an empty list means that nothing is wrong. The builder refuses a
lesson whose source breaks a rule; the tests ask the same of every notebook in the repository.
"""

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dcar_edu.course.source import (
    BEGIN,
    END,
    Cell,
    Lesson,
    checked,
    code_hash,
    joined,
    read_exercise,
    solution_text,
)

MAX_LINES = 40
MAX_BYTES = 1_500_000
ORDER = ("header", "map", "objectives", "setup", "parameters", "start", "quiz", "recap", "finish")
TAGS = {
    *ORDER,
    *("exercise-text", "exercise", "check", "predict", "experiment", "slide"),
    *("nbval-ignore-output", "nbval-check-output", "nbval-skip", "skip-execution"),
}
PARAMETERS = ("import os", 'BUDGET = os.environ.get("DCAR_BUDGET", "cpu")', "SEED = 0")
_ABSOLUTE = re.compile(r"(?<![\w.~/:>-])/(?:home|root|tmp|work|Users|mnt|content|usr|var)/\w")


def source_problems(lesson: Lesson) -> list[str]:
    """Everything in a lesson's source that breaks the format, each with the cell's number."""
    problems = [*_order(lesson), *_sections(lesson), *_exercises(lesson)]
    for index, cell in enumerate(lesson.cells):
        problems += [f"cell {index}: {problem}" for problem in _cell(cell)]
    total = lesson.minutes
    if total > 90:
        problems.append(f"takes {total} minutes; at most 90. Move something to another lesson.")
    if total < 45 and not lesson.front.short:
        problems.append(f"takes {total} minutes; at least 45, or say 'short: true' in the header.")
    return [f"{lesson.name}: {problem}" for problem in problems]


def _order(lesson: Lesson) -> Iterator[str]:
    """Ask for one cell of every kind, in the order that all lessons share."""
    last = -1
    for tag in ORDER:
        places = [i for i, cell in enumerate(lesson.cells) if tag in cell.tags]
        if tag == "map":  # a sentence here; the drawing comes after start
            places = [i for i in places if lesson.cells[i].kind == "markdown"]
        if len(places) != 1:
            yield f"needs exactly one cell tagged '{tag}', got {len(places)}."
            continue
        if places[0] < last:
            yield f"the cell '{tag}' stands too early: the order is {', '.join(ORDER)}."
        last = max(last, places[0])
    for tag, text in (
        ("setup", "# SETUP"),
        ("start", f'course.start("{lesson.number}", BUDGET, SEED)'),
        ("quiz", f'course.quiz("{lesson.number}")'),
        ("finish", "L.finish("),
    ):
        if not any(tag in cell.tags and text in cell.source for cell in lesson.cells):
            yield f"the cell '{tag}' must hold: {text}"
    if not any("map" in cell.tags and "course_map(" in cell.source for cell in lesson.cells):
        yield "needs a code cell tagged 'map' with course_map(...)."
    for cell in lesson.cells:
        lines = [line for line in cell.source.splitlines() if line.strip()]
        if "parameters" in cell.tags and tuple(lines) != PARAMETERS:
            yield f"the cell 'parameters' holds only these lines: {' | '.join(PARAMETERS)}"
    if not any("nbval-check-output" in cell.tags for cell in lesson.cells):
        yield "needs at least one golden cell, tagged 'nbval-check-output'."
    if lesson.cells and "finish" not in lesson.cells[-1].tags:
        yield "the last cell must be 'finish'."


def _sections(lesson: Lesson) -> Iterator[str]:
    """Ask for a symbol table beside formulas and a prediction before experiments."""
    title, formula, table, predicted, ever = "the start", False, False, False, False
    for cell in [*lesson.cells, Cell("markdown", "## end")]:
        heading = re.match(r"## (.+)", cell.source) if cell.kind == "markdown" else None
        if heading:
            if formula and not table:
                yield f"section '{title}' has a formula but no table '| symbol | meaning | ...'."
            title, formula, table, predicted = heading[1], False, False, False
        if cell.kind == "markdown":
            formula |= "$$" in cell.source
            table |= "| symbol |" in cell.source
        if "predict" in cell.tags:
            predicted = ever = True
            if "<details>" not in cell.source:
                yield f"the cell 'predict' in '{title}' keeps its answer in <details>."
        starts = cell.kind == "code" and "xperiment" in title
        if (starts or "experiment" in cell.tags) and not predicted:
            yield f"section '{title}': a 'predict' cell must stand before the experiment."
            predicted = True
    if not ever:
        yield "needs a cell tagged 'predict' before its experiment."


def _exercises(lesson: Lesson) -> Iterator[str]:
    """Ask each exercise for its text, its function and its check, in this order."""
    cells, count = lesson.cells, 0
    for index, cell in enumerate(cells):
        tags = [set(c.tags) for c in cells[index : index + 3]]
        if "exercise-text" not in cell.tags:
            previous = set(cells[index - 1].tags) if index else set()
            if "exercise" in cell.tags and "exercise-text" not in previous:
                yield f"cell {index}: an 'exercise' cell follows an 'exercise-text' cell."
            if "check" in cell.tags and "exercise" not in previous:
                yield f"cell {index}: a 'check' cell follows an 'exercise' cell."
            continue
        count += 1
        facts = read_exercise(cell.source)
        if facts is None:
            yield (
                f"cell {index}: an exercise starts with '### Exercise {lesson.number}.{count} - "
                "Title' and 'difficulty: 1/5 · importance: 1/5 · 4 min · needs: none'."
            )
            continue
        if facts.id.rstrip("*") != f"{lesson.number}.{count}":
            yield f"exercise {facts.id} should be numbered {lesson.number}.{count}."
        for wanted in ("Hint 1", "Hint 2", "Hint 3", "Expected"):
            if f"<details><summary>{wanted}" not in cell.source:
                yield f"exercise {facts.id} lacks '<details><summary>{wanted}</summary>'."
        if cell.source.count("<details>") != cell.source.count("</details>"):
            yield f"exercise {facts.id}: every <details> needs a </details>."
        if "Used in `dcar_edu." not in cell.source:
            yield f"exercise {facts.id} must say 'Used in `dcar_edu.…`.'"
        if len(tags) < 3 or "exercise" not in tags[1] or "check" not in tags[2]:
            yield f"exercise {facts.id} must be followed by an 'exercise' and a 'check' cell."
            continue
        for problem in _answer(cells[index + 1], cells[index + 2], facts.id):
            yield f"exercise {facts.id}: {problem}"
    if not count:
        yield "needs at least one exercise."


def _answer(exercise: Cell, check: Cell, name: str) -> Iterator[str]:
    body = _parse(solution_text(exercise.source))
    if len(body) != 1 or not isinstance(body[0], ast.FunctionDef):
        yield "its cell holds one plain function and nothing else (no class, no import)."
        return
    if not ast.get_docstring(body[0]):
        yield "its function needs a docstring."
    lines = [line.strip() for line in exercise.source.splitlines()]
    if (lines.count(BEGIN), lines.count(END)) != (1, 1) or lines.index(BEGIN) > lines.index(END):
        yield f"its cell needs one '{BEGIN}' and one '{END}' below it."
    if checked(check.source) != {name: body[0].name}:
        yield f'its check must be: {body[0].name} = check("{name}", {body[0].name})'


def _cell(cell: Cell) -> Iterator[str]:
    unknown = sorted(set(cell.tags) - TAGS)
    if unknown:
        yield f"unknown tag {unknown[0]!r}; known: {', '.join(sorted(TAGS))}."
    if ("nbval-skip" in cell.tags) != ("skip-execution" in cell.tags):
        yield "'nbval-skip' and 'skip-execution' go together: each is read by other tools."
    if cell.kind == "markdown":
        if re.search(r"!\[\s*\]\(", cell.source):
            yield "a picture needs alt text: ![what is seen](file)."
        return
    lines = cell.source.splitlines()
    if len(lines) > MAX_LINES:
        yield f"{len(lines)} lines; a code cell has at most {MAX_LINES}."
    if "exercise" not in cell.tags and {BEGIN, END} & {line.strip() for line in lines}:
        yield "solution markers stand in a cell that is not tagged 'exercise'."
    yield from _code(cell.source)


def _code(source: str) -> Iterator[str]:
    """Rules for code, in sources and in notebooks alike."""
    if re.search(r"(?m)^\s*(?:!|%pip|%conda)", source):
        yield "no '!command' or '%pip': their failures go unseen. Use subprocess.run(check=True)."
    if _ABSOLUTE.search(source):
        yield f"no absolute path: {_ABSOLUTE.search(source)[0]}…"  # type: ignore[index]
    for node in (found for part in _parse(source) for found in ast.walk(part)):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        owner = node.func.value.id if isinstance(node.func.value, ast.Name) else ""
        if node.func.attr == "show" and owner == "plt":
            yield "use figures.show(fig, alt=...) instead of plt.show()."
        if owner == "figures" and node.func.attr in ("show", "animate"):
            alt = [word.value for word in node.keywords if word.arg == "alt"]
            alt += node.args[1:2]
            text = alt[0].value if alt and isinstance(alt[0], ast.Constant) else "said at run time"
            if not alt or len(str(text).split()) < 3:
                yield f"figures.{node.func.attr} needs alt=: a sentence that says what is seen."


def _parse(source: str) -> list[ast.stmt]:
    """Top-level statements; notebook commands (% and !) are left out."""
    plain = "\n".join(
        "" if line.lstrip().startswith(("%", "!")) else line for line in source.splitlines()
    )
    try:
        return ast.parse(plain).body
    except (SyntaxError, ValueError):
        return []


def notebook_problems(path: Path, *, executed: bool) -> list[str]:
    """Everything wrong with a built notebook.

    Args:
        path: the notebook; relative links are looked up from its folder.
        executed: True for a solution, which keeps outputs and a stamp.
    """
    if not path.exists():
        return [f"{path.parent.name}/{path.name} is missing; run 'dcar course build'."]
    notebook = json.loads(path.read_text(encoding="utf-8"))
    problems: list[str] = [*_notebook(notebook), *_links(notebook, path.parent)]
    problems += _executed(notebook, path) if executed else _unfilled(notebook)
    return [f"{path.parent.name}/{path.name}: {problem}" for problem in problems]


def _notebook(notebook: dict[str, Any]) -> Iterator[str]:
    if "widgets" in notebook["metadata"]:
        yield "holds widget state; run 'dcar course build'."
    for index, cell in enumerate(notebook["cells"]):
        tags, source = cell["metadata"].get("tags", []), joined(cell["source"])
        if "raises-exception" in tags:
            yield f"cell {index}: no tag 'raises-exception'; show errors with expect_error(...)."
        if "nbval-check-output" in tags and ("nbval-skip" in tags or "skip-execution" in tags):
            yield f"cell {index}: a golden cell is never skipped."
        if cell["cell_type"] != "code":
            continue
        yield from (f"cell {index}: {problem}" for problem in _code(source))
        if len(source.splitlines()) > MAX_LINES:
            yield f"cell {index}: more than {MAX_LINES} lines."
        for output in cell["outputs"]:
            if _ABSOLUTE.search(json.dumps(output.get("text", output.get("data", {})))):
                yield f"cell {index}: its output shows a path of the machine it ran on."


def _links(notebook: dict[str, Any], folder: Path) -> Iterator[str]:
    for index, cell in enumerate(notebook["cells"]):
        if cell["cell_type"] != "markdown":
            continue
        prose = re.sub(r"(?s)`[^`]*`|\$\$.*?\$\$", "", joined(cell["source"]))
        for target in re.findall(r"\]\(([^)\s]+)\)", prose):
            if re.match(r"(?:https?|mailto):|#", target):
                continue
            if not (folder / target.split("#")[0]).exists():
                yield f"cell {index}: the link '{target}' leads nowhere."


def _unfilled(notebook: dict[str, Any]) -> Iterator[str]:
    for index, cell in enumerate(notebook["cells"]):
        if cell.get("outputs") or cell.get("execution_count") is not None:
            yield f"cell {index}: a lesson holds no outputs; run 'dcar course build'."
        if BEGIN in joined(cell["source"]):
            yield f"cell {index}: a solution is left in the student's notebook."


def _executed(notebook: dict[str, Any], path: Path) -> Iterator[str]:
    again = f"run 'dcar course build --execute {path.name[:2]}'."
    stamp = notebook["metadata"].get("dcar_edu")
    if not stamp:
        yield f"was never executed: {again}"
        return
    if stamp.get("source") != code_hash(notebook):
        yield f"its outputs are older than its code: {again}"
    if path.stat().st_size > MAX_BYTES:
        yield f"is larger than {MAX_BYTES / 1e6:.1f} MB; show fewer or smaller pictures."
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    outputs = [output for cell in code for output in cell["outputs"]]
    if any(output["output_type"] == "error" for output in outputs):
        yield f"holds an error: {again}"
    for cell in code:
        ran = cell["execution_count"] is not None
        if ran == ("skip-execution" in cell["metadata"].get("tags", [])):
            yield f"cell {cell['id']} was not executed: {again}"
        golden = "nbval-check-output" in cell["metadata"].get("tags", [])
        if golden and not any("text" in o or "data" in o for o in cell["outputs"]):
            yield f"cell {cell['id']} is golden but prints nothing."
    pictures = [output for output in outputs if "image/png" in output.get("data", {})]
    if not pictures:
        yield "shows no picture (image/png)."
    if not all(p.get("metadata", {}).get("image/png", {}).get("alt") for p in pictures):
        yield "shows a picture without alt text; use figures.show(..., alt=...)."
    if not any("nbval-check-output" in cell["metadata"].get("tags", []) for cell in code):
        yield "has no golden cell."
