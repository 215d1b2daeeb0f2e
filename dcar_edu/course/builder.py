"""Build both notebooks of a lesson from its one source.

``lessons/NN_slug.ipynb`` is the student's: exercises empty, no outputs. ``solutions/NN_slug.ipynb``
is filled and executed. Building twice gives the same bytes. A solution keeps its outputs as long
as its code stays the same; otherwise it must be executed again (``--execute``).
"""

import hashlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from dcar_edu.checkpoint import write_atomically
from dcar_edu.course.address import colab_badge, setup_cell
from dcar_edu.course.execute import ROOT, execute_solution, to_bytes
from dcar_edu.course.lint import source_problems
from dcar_edu.course.source import (
    EXPERIMENT_MINUTES,
    Cell,
    Lesson,
    choose,
    code_hash,
    read_lessons,
    solution_text,
    student_text,
)

VIEWS = {"student": "lessons", "solutions": "solutions"}
_BASE = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
_GPU = {"accelerator": "GPU", "colab": {"gpuType": "T4", "provenance": []}}


def build(
    check: bool = False,
    root: str | Path | None = None,
    execute: str | Iterable[str] | None = None,
    budget: str | None = None,
) -> int:
    """Write the notebooks of every lesson, or compare what is there with the sources.

    Args:
        check: write nothing; say which notebook differs from its source.
        root: the repository; the checkout this file lies in by default.
        execute: numbers of lessons whose solutions are executed afterwards ("00 04").
        budget: budget of that execution; ``$DCAR_BUDGET``, else cpu.

    Returns:
        0, or 1 when a source breaks the format, a notebook differs or an execution failed.

    Raises:
        ValueError: a source cannot be read; says how to mend it.
    """
    root = Path(root or ROOT)
    lessons = read_lessons(root)
    problems = [problem for lesson in lessons for problem in source_problems(lesson)]
    if problems:
        print("\n".join(problems))
        return 1
    if check:
        return _compare(lessons, root)
    wanted = choose(lessons, execute) if execute else []
    for lesson, view, path in _targets(lessons, root):
        has_outputs = _write(lesson, view, path, lessons)
        if not has_outputs and lesson not in wanted:
            print(f"{_name(path)} has no outputs. {_again(lesson)}")
    for path in _leftovers(lessons, root):
        path.unlink()
        print(f"removed {_name(path)}: its source is gone")
    paths = [root / "solutions" / f"{lesson.name}.ipynb" for lesson in wanted]
    return 0 if all([execute_solution(path, root, budget) for path in paths]) else 1


def _targets(lessons: list[Lesson], root: Path) -> Iterator[tuple[Lesson, str, Path]]:
    for lesson in lessons:
        for view, folder in VIEWS.items():
            yield lesson, view, root / folder / f"{lesson.name}.ipynb"


def _write(lesson: Lesson, view: str, path: Path, lessons: list[Lesson]) -> bool:
    """Write one notebook if it changed; False when a solution has no outputs for its code."""
    built = notebook(lesson, view, lessons)
    complete = view == "student" or keep_outputs(built, _read(path))
    data = to_bytes(built)
    if not path.exists() or path.read_bytes() != data:
        write_atomically(path, data)
        print(f"wrote {_name(path)}")
    return complete


def _leftovers(lessons: list[Lesson], root: Path) -> list[Path]:
    """Built notebooks whose source is gone (a lesson was renamed)."""
    wanted = {path for _, _, path in _targets(lessons, root)}
    found = [p for folder in VIEWS.values() for p in (root / folder).glob("[0-9][0-9]_*.ipynb")]
    return sorted(set(found) - wanted)


def _compare(lessons: list[Lesson], root: Path) -> int:
    bad = []
    for lesson, view, path in _targets(lessons, root):
        built = notebook(lesson, view, lessons)
        complete = view == "student" or keep_outputs(built, _read(path))
        if not path.exists() or path.read_bytes() != to_bytes(built):
            bad.append(
                f"{_name(path)} differs from lessons/src/{lesson.name}.py. Edit the source, never "
                "a notebook, then run: dcar course build"
            )
        elif not complete:
            bad.append(f"{_name(path)} has no outputs for its code. {_again(lesson)}")
    for path in _leftovers(lessons, root):
        bad.append(f"{_name(path)} has no source. Run: dcar course build")
    print("\n".join(bad) if bad else f"{len(lessons)} lessons: notebooks fit their sources.")
    return 1 if bad else 0


def _name(path: Path) -> str:
    return f"{path.parent.name}/{path.name}"


def _again(lesson: Lesson) -> str:
    return f"Run: dcar course build --execute {lesson.number}"


def _read(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {"cells": [], "metadata": {}}


def keep_outputs(built: dict[str, Any], old: dict[str, Any]) -> bool:
    """Copy outputs, counts and stamp of ``old`` into ``built`` if they belong to its code.

    Returns:
        True when ``built`` now holds outputs that fit its code.
    """
    stamp = old["metadata"].get("dcar_edu")
    if not stamp or not stamp.get("source") == code_hash(built) == code_hash(old):
        return False
    built["metadata"]["dcar_edu"] = stamp
    before = [cell for cell in old["cells"] if cell["cell_type"] == "code"]
    after = [cell for cell in built["cells"] if cell["cell_type"] == "code"]
    for mine, theirs in zip(after, before, strict=True):
        mine["outputs"] = theirs["outputs"]
        mine["execution_count"] = theirs["execution_count"]
    return True


def notebook(lesson: Lesson, view: str, lessons: list[Lesson]) -> dict[str, Any]:
    """One view of a lesson as a notebook without outputs.

    Args:
        lesson: the lesson to build.
        view: "student" or "solutions".
        lessons: all lessons, for the links to the previous and the next.
    """
    cells = []
    exercise = ""
    for index, cell in enumerate(lesson.cells):
        source = cell.source
        if "header" in cell.tags:
            source = header(lesson, view, lessons)
        elif "exercise-text" in cell.tags:
            exercise = lesson.exercises[sum(_is_text(c) for c in lesson.cells[:index])].id
            source = f"{source}\n\n{_solution_link(lesson, exercise)}"
        elif "setup" in cell.tags:
            source = source.replace("#@title Setup (run first)\n", "")
            source = source.replace("# SETUP", setup_cell())
        elif "exercise" in cell.tags:
            source = student_text(source, exercise) if view == "student" else solution_text(source)
        cells.append(_cell(cell, source, f"{lesson.number}:{index}"))
    metadata = {**_BASE, **(_GPU if lesson.front.gpu else {})}
    return {"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}


def _is_text(cell: Cell) -> bool:
    return "exercise-text" in cell.tags


def _cell(cell: Cell, source: str, place: str) -> dict[str, Any]:
    metadata: dict[str, Any] = {"tags": list(cell.tags)} if cell.tags else {}
    if cell.form:
        metadata["cellView"] = "form"
    built = {
        "cell_type": cell.kind,
        "id": hashlib.sha1(place.encode("utf-8")).hexdigest()[:8],
        "metadata": metadata,
        "source": source.splitlines(keepends=True),
    }
    return {**built, "outputs": [], "execution_count": None} if cell.kind == "code" else built


def _solution_link(lesson: Lesson, exercise: str) -> str:
    return (
        f'[Solution](../solutions/{lesson.name}.ipynb), or run `show_solution("{exercise}")` '
        "in a new cell."
    )


def header(lesson: Lesson, view: str, lessons: list[Lesson]) -> str:
    """The first cell: title, badges, links, and a table of what the lesson takes and gives."""
    front, place = lesson.front, lessons.index(lesson)
    other = "solutions" if view == "student" else "student"
    label = "View the solution" if view == "student" else "View the empty lesson"
    links = [
        colab_badge(f"{VIEWS[view]}/{lesson.name}.ipynb"),
        f"[{label}](../{VIEWS[other]}/{lesson.name}.ipynb)",
    ]
    if place > 0:
        before = lessons[place - 1]
        links.append(f"[Previous: {before.front.title}]({before.name}.ipynb)")
    if place + 1 < len(lessons):
        after = lessons[place + 1]
        links.append(f"[Next: {after.front.title}]({after.name}.ipynb)")
    doing = sum(exercise.minutes for exercise in lesson.exercises)
    gpu = lesson.minutes - front.wait + front.wait_gpu
    device = "a GPU helps" if front.gpu else "a CPU is enough"
    rows = [
        ("You will build", front.builds),
        (
            "Time",
            f"about {lesson.minutes} minutes on a CPU, {gpu} on a GPU: read {lesson.reading}, "
            f"exercises {doing}, wait {front.wait} (GPU {front.wait_gpu}), "
            f"experiment and quiz {EXPERIMENT_MINUTES}",
        ),
        ("Needs", f"lesson: {front.needs}; memory: {front.memory}; {device}"),
        ("Writes", front.writes),
    ]
    table = "\n".join(f"| {name} | {value} |" for name, value in rows)
    return f"# {lesson.number} - {front.title}\n\n{' · '.join(links)}\n\n| | |\n|---|---|\n{table}"
