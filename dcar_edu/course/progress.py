"""A student's progress: one small JSON file a lesson in ``$DCAR_HOME/progress``.

Keys of ``NN.json`` (all optional): ``exercises`` {"00.1": "PASS"}, ``quiz`` {"00.q1": true},
``finished`` (bool), ``budget``, ``seconds``, ``peak_memory_gb``, ``metrics`` {"psnr": 20.1}.
The files stay on the student's machine; nothing is sent anywhere.
"""

import json
from pathlib import Path
from typing import Any

from dcar_edu.checkpoint import home, write_atomically


def progress_file(number: str) -> Path:
    """Where the progress of lesson ``number`` ("04") is kept."""
    return home() / "progress" / f"{number}.json"


def read_progress(number: str) -> dict[str, Any]:
    """What is known about lesson ``number``; an empty dict if it was never started.

    A file that cannot be read (cut off by a full disk, edited by hand) counts as empty: progress
    is a convenience and must never stop a lesson.
    """
    try:
        entry = json.loads(progress_file(number).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return entry if isinstance(entry, dict) else {}


def write_progress(number: str, entry: dict[str, Any]) -> None:
    """Replace the progress of lesson ``number`` by ``entry``, atomically."""
    text = json.dumps(entry, indent=1, sort_keys=True) + "\n"
    write_atomically(progress_file(number), text.encode("utf-8"))


def record(number: str, **changes: Any) -> None:
    """Merge ``changes`` into the progress of lesson ``number``.

    Dicts are merged one level deep, so ``record("00", exercises={"00.2": "PASS"})`` keeps 00.1.
    """
    entry = read_progress(number)
    for key, value in changes.items():
        known = entry.get(key)
        if isinstance(value, dict) and isinstance(known, dict):
            value = {**known, **value}
        entry[key] = value
    write_progress(number, entry)


def status() -> str:
    """The table that ``dcar course status`` prints: one line for every lesson begun."""
    numbers = sorted(path.stem for path in (home() / "progress").glob("[0-9][0-9].json"))
    if not numbers:
        return "No lesson begun yet. Open lessons/00_start_here.ipynb, or run: make course"
    rows = [("lesson", "exercises passed", "quiz right", "minutes", "finished")]
    for number in numbers:
        entry = read_progress(number)
        exercises, quiz = entry.get("exercises") or {}, entry.get("quiz") or {}
        rows.append(
            (
                number,
                _share(sum(result == "PASS" for result in exercises.values()), len(exercises)),
                _share(sum(map(bool, quiz.values())), len(quiz)),
                f"{entry['seconds'] / 60:.0f}" if "seconds" in entry else "-",
                "yes" if entry.get("finished") else "no",
            )
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) for row in rows]
    return "\n".join(line.rstrip() for line in lines)


def _share(part: int, whole: int) -> str:
    return f"{part} of {whole}" if whole else "-"
