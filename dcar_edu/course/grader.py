"""Grade a folder of students' notebooks: ``dcar course grade DIR --seed 7``.

Answers are found by the id in ``check("04.2", name)``, never by cell tags, which get lost. Only
an answer's function runs, with the imports, plain constants and functions it uses, each in its
own process (``sandbox.py``), on hidden inputs drawn from the seed.
"""

import csv
import io
from pathlib import Path

from dcar_edu.checkpoint import write_atomically
from dcar_edu.course.answers import Notebook, extract, notebooks, read_notebook
from dcar_edu.course.checks import Result, lesson_module
from dcar_edu.course.execute import ROOT, kernel_environment
from dcar_edu.course.sandbox import Answer, Limits, attempt


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
    read = {
        path.relative_to(folder).with_suffix("").as_posix(): read_notebook(path)
        for path in notebooks(folder)
    }
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
