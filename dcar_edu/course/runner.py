"""Execute the course in order, as ``make course`` does, and report what it took.

Everything is kept under ``build/course/<budget>``: executed notebooks, HTML pages, ``report.md``
and ``state.json``, which lets a second call go on after the last finished lesson.
"""

import hashlib
import json
import sys
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch

from dcar_edu import __version__
from dcar_edu.checkpoint import write_atomically
from dcar_edu.course import budgets
from dcar_edu.course.builder import VIEWS
from dcar_edu.course.execute import (
    ROOT,
    clean_outputs,
    commit,
    device_name,
    kernel_environment,
    plain,
    to_bytes,
)
from dcar_edu.course.progress import progress_file, read_progress
from dcar_edu.course.source import Lesson, choose, code_hash, course_library, read_lessons

CELL_SECONDS = {"smoke": 180, "cpu": 900, "gpu": 1800}
"""Longest time of a cell, for lessons that have no row in ``budgets.py``."""


@dataclass
class Run:
    """What is known about one executed lesson."""

    key: str
    seconds: float = 0.0
    peak_memory_gb: float | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    error: str = ""
    """Empty when the lesson ran to its end."""


def run(
    budget: str = "auto",
    lessons: str | Iterable[str] | None = None,
    view: str = "solutions",
    fresh: bool = False,
    root: str | Path | None = None,
) -> int:
    """Execute lessons in order; stop at the first that fails.

    Args:
        budget: auto, smoke, cpu or gpu.
        lessons: numbers ("00 04" or a list); all when empty.
        view: "solutions" (filled in, strict) or "student" (as a student first sees it).
        fresh: execute lessons again that are already finished.
        root: the repository; the checkout this file lies in by default.

    Returns:
        0, or 1 when a lesson failed; the report is written either way.

    Raises:
        ValueError: unknown lesson, view or budget, or a notebook is not built.
    """
    root = Path(root or ROOT)
    if view not in VIEWS:
        raise ValueError(f"view must be one of {', '.join(VIEWS)}, got '{view}'.")
    every = read_lessons(root)
    chosen = choose(every, lessons)
    name = budgets.resolve(budget, live=False)
    why = f" (auto: torch sees {device_name()})" if budget == "auto" else ""
    print(f"budget {name}{why}; {len(chosen)} lessons, view {view}", flush=True)
    folder = root / "build" / "course" / name / ("" if view == "solutions" else view)
    paths = {lesson.number: root / VIEWS[view] / f"{lesson.name}.ipynb" for lesson in every}
    for lesson in chosen:
        if not paths[lesson.number].exists():
            raise ValueError(
                f"{VIEWS[view]}/{lesson.name}.ipynb is missing. Run: dcar course build"
            )
    keys = {number: _key(path, name) for number, path in paths.items() if path.exists()}
    runs = {n: entry for n, entry in _state(folder).items() if entry.key == keys.get(n)}
    for lesson in chosen:
        path, key, before = paths[lesson.number], keys[lesson.number], runs.get(lesson.number)
        if not fresh and before and not before.error:
            print(f"{lesson.name}: finished before in {before.seconds:.0f} s", flush=True)
            continue
        runs[lesson.number] = _execute(lesson, path, folder, root, name, view, key)
        _save(folder, runs, every, name, view, root)
        if runs[lesson.number].error:
            print(f"stopped at lesson {lesson.number}; see {_shown(folder, root)}/report.md")
            return 1
    _save(folder, runs, every, name, view, root)
    print(f"report: {_shown(folder, root)}/report.md")
    return 0


def _shown(folder: Path, root: Path) -> str:
    return folder.relative_to(root).as_posix()


def _key(path: Path, budget: str) -> str:
    """A hash that changes with the notebook's code, the budget and the library."""
    code = code_hash(json.loads(path.read_text(encoding="utf-8")))
    parts = f"{code} {budget} {__version__} {torch.__version__} {library_hash()}"
    return hashlib.sha256(parts.encode()).hexdigest()[:16]


def library_hash() -> str:
    """A hash over every source file of ``dcar_edu``."""
    digest = hashlib.sha256()
    package = Path(__file__).resolve().parents[1]
    for file in sorted(package.rglob("*.py")):
        digest.update(file.relative_to(package).as_posix().encode() + file.read_bytes())
    return digest.hexdigest()


def _execute(
    lesson: Lesson, path: Path, folder: Path, root: Path, budget: str, view: str, key: str
) -> Run:
    papermill = course_library("papermill")
    print(f"{lesson.name}: running ...", flush=True)
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / path.name
    target.unlink(missing_ok=True)
    result, started = Run(key), time.time()
    bar = {"desc": lesson.number, "leave": False} if sys.stderr.isatty() else False
    try:
        with kernel_environment(root, budget, strict=view == "solutions"):
            papermill.execute_notebook(
                str(path),
                str(target),
                parameters={"BUDGET": budget, "SEED": 0},
                kernel_name="python3",
                cwd=str(root / "lessons"),
                execution_timeout=_limit(lesson.number, budget),
                start_timeout=120,
                progress_bar=bar,
                request_save_on_cell_execute=True,
                autosave_cell_every=30,
            )
            _read_report(result, lesson.number, started)
    except Exception as error:  # papermill passes on whatever the kernel's client raises
        result.error = _described(error, target, path)
        print(f"{lesson.name}: FAILED at {result.error}", flush=True)
    result.seconds = round(time.time() - started, 1)
    _keep(target)
    if not result.error:
        print(f"{lesson.name}: ok in {result.seconds:.0f} s", flush=True)
    return result


def _limit(number: str, budget: str) -> int:
    try:
        return budgets.budget(number, budget).cell_seconds
    except ValueError:
        return CELL_SECONDS[budget]


def _read_report(result: Run, number: str, started: float) -> None:
    """Take memory and metrics from what ``L.finish()`` wrote in this run, not in an older one."""
    file = progress_file(number)
    if file.exists() and file.stat().st_mtime >= started - 1:
        entry = read_progress(number)
        result.peak_memory_gb = entry.get("peak_memory_gb")
        result.metrics = entry.get("metrics") or {}


def _described(error: Exception, executed: Path, source: Path) -> str:
    """The cell that ran last, by its number and id in the source notebook, and the traceback."""
    place = "its start"
    if executed.exists():
        ids = [c["id"] for c in json.loads(source.read_text(encoding="utf-8"))["cells"]]
        cells = json.loads(executed.read_text(encoding="utf-8"))["cells"]
        begun = [c["id"] for c in cells if c["metadata"].get("papermill", {}).get("start_time")]
        index = max((ids.index(name) for name in begun if name in ids), default=0)
        place = f"cell {index} (id {ids[index]})"
    traceback = getattr(error, "traceback", None)
    return f"{place}\n{plain(chr(10).join(traceback) if traceback else str(error))}"


def _keep(target: Path) -> None:
    """Strip widget state from the executed notebook and write its HTML page beside it."""
    if not target.exists():
        return
    notebook = json.loads(target.read_text(encoding="utf-8"))
    clean_outputs(notebook)
    write_atomically(target, to_bytes(notebook))
    nbformat, nbconvert = course_library("nbformat"), course_library("nbconvert")
    page, _ = nbconvert.HTMLExporter(template_name="classic").from_notebook_node(
        nbformat.read(target, as_version=4)
    )
    write_atomically(target.with_suffix(".html"), page.encode("utf-8"))


def _state(folder: Path) -> dict[str, Run]:
    try:
        entries = json.loads((folder / "state.json").read_text(encoding="utf-8"))
        return {number: Run(**entry) for number, entry in entries.items()}
    except (OSError, ValueError, TypeError):
        return {}  # none yet, or of another version: everything runs again


def _save(
    folder: Path, runs: dict[str, Run], lessons: list[Lesson], budget: str, view: str, root: Path
) -> None:
    state = json.dumps({number: asdict(entry) for number, entry in runs.items()}, indent=1)
    write_atomically(folder / "state.json", state.encode("utf-8"))
    text = report(runs, lessons, budget, view, commit(root))
    write_atomically(folder / "report.md", text.encode("utf-8"))


def report(runs: dict[str, Run], lessons: list[Lesson], budget: str, view: str, at: str) -> str:
    """The report as markdown: time, memory and metrics of each lesson against what is promised."""
    lines = [
        f"# The course at budget {budget}, view {view}",
        "",
        f"Commit {at}, device {device_name()}, torch {torch.__version__}. "
        "Promised numbers come from dcar_edu/course/budgets.py.",
        "",
        "| lesson | result | minutes | promised | memory GB | promised | metrics |",
        "|---|---|---|---|---|---|---|",
    ]
    for lesson in lessons:
        entry = runs.get(lesson.number)
        if entry is None:
            lines.append(f"| {lesson.name} | not run | | | | | |")
            continue
        row = _promised(lesson.number, budget)
        cells = [
            lesson.name,
            "**failed**" if entry.error else "ok",
            _against(entry.seconds / 60, row.minutes if row else None),
            f"{row.minutes:g}" if row else "-",
            _against(entry.peak_memory_gb, row.memory_gb if row else None),
            f"{row.memory_gb:g}" if row else "-",
            _metrics(entry.metrics, row),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    failed = [lesson for lesson in lessons if lesson.number in runs and runs[lesson.number].error]
    for lesson in failed:
        lines += ["", f"## {lesson.name} failed", "", "```", runs[lesson.number].error, "```"]
    return "\n".join(lines) + "\n"


def _promised(number: str, budget: str) -> budgets.Budget | None:
    try:
        return budgets.budget(number, budget)
    except ValueError:
        return None


def _against(value: float | None, most: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.1f}" + (" **above**" if most is not None and value > most else "")


def _metrics(found: dict[str, float], row: budgets.Budget | None) -> str:
    promised = dict(row.promised) if row else {}
    parts = []
    for name in sorted({*found, *promised}):
        low, high = promised.get(name, (float("-inf"), float("inf")))
        band = f" ({low:g} to {high:g})" if name in promised else ""
        value = f"{found[name]:.4g}" if name in found else "**missing**"
        outside = " **outside**" if name in found and not low <= found[name] <= high else ""
        parts.append(f"{name} {value}{band}{outside}")
    return ", ".join(parts) or "-"
