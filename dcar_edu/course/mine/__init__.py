"""``dcar course mine``: the whole DC-AR made of a student's own functions.

Every answer is tried once more in a process of its own, on hidden inputs (``collecting``); those
that pass are written to ``my_dcar.py`` (``writing``). Only then are they run here: training and
drawing (``model``, ``training``) execute the student's own code in this process, on the student's
own machine.
"""

import runpy
from pathlib import Path

from dcar_edu.checkpoint import write_atomically
from dcar_edu.course.mine.parts import USED


def mine(
    folder: str | Path | None = None,
    out: str | Path = "my_dcar.py",
    minutes: float = 5.0,
    seed: int = 0,
    steps: int | None = None,
) -> int:
    """Collect the answers, write them to one file, train the model they make, draw the wolf.

    Args:
        folder: your notebooks, beside what ``check`` kept when an answer passed.
        out: the file; the drawing lies beside it, with the ending ``.png``.
        minutes: of training; 0 writes the file and trains nothing.
        seed: of weights, training and drawing.
        steps: stop training after so many steps, if that is earlier.

    Returns:
        0.

    Raises:
        ValueError: no answer was found, or none passes; the system cannot limit a process.
    """
    try:
        from dcar_edu.course.mine.collecting import collect
        from dcar_edu.course.mine.writing import checked_text
    except ImportError as error:  # Windows has no limits for a process
        raise ValueError(
            "answers are tried in processes with limits, which this system has not. Use Linux, "
            "macOS, Colab or the Windows Subsystem for Linux."
        ) from error
    out = Path(out)
    if out.suffix != ".py":
        raise ValueError(f"the file is a Python program, so it ends in .py, got '{out.name}'.")
    found = collect(folder)
    for line in found.unread:
        print(line)
    if not found.own:
        raise ValueError(_nothing(found.left_out))
    text, written = checked_text(found)
    write_atomically(out, text.encode("utf-8"))
    gaps = [id for id in USED if id not in written]
    print(f"{out}: {len(written)} functions of yours, all right on hidden inputs")
    for id, own in written.items():
        if own.note:
            print(f"{id}: {own.note}; yours is used all the same")
    for id, said in found.left_out.items():
        print(f"left out {id}: {said}")
    if gaps:
        print(f"the library fills {len(gaps)} gaps: {' '.join(gaps)}")
    if minutes:
        from dcar_edu.course.mine.training import train_and_draw

        parts = runpy.run_path(str(out))["PARTS"]
        train_and_draw(parts, out.with_suffix(".png"), minutes=minutes, seed=seed, steps=steps)
    return 0


def _nothing(left_out: dict[str, str]) -> str:
    """Why there is no model: nothing found, or nothing right."""
    if not left_out:
        return (
            "no answer of yours was found. They are kept when check(...) passes in a notebook; "
            "or name the folder that holds your notebooks: dcar course mine DIR"
        )
    first, said = next(iter(left_out.items()))
    return f"none of your {len(left_out)} answers passes. The first, {first}: {said}"
