"""Help with an exercise: three hints, then our answer."""

import inspect
import re
import textwrap
from pathlib import Path

from dcar_edu.course.checks import exercise


def show_solution(id: str) -> None:
    """Print our answer to an exercise.

    Raises:
        ValueError: there is no such exercise.
    """
    print(textwrap.dedent(inspect.getsource(exercise(id).reference)))


def hint(id: str, n: int = 1) -> None:
    """Print hint ``n`` (1, 2 or 3: from a nudge to nearly the answer) of an exercise.

    Hints are written once, under the exercise's heading in the lesson; this reads them there.

    Raises:
        ValueError: there is no such exercise, or ``n`` is not 1, 2 or 3.
    """
    exercise(id)
    if n not in (1, 2, 3):
        raise ValueError(f"every exercise has hints 1, 2 and 3, got {n}. Try hint('{id}', 1).")
    sources = Path(__file__).resolve().parents[2] / "lessons" / "src"
    for source in sources.glob(f"{id.split('.')[0]}_*.py"):
        text = re.sub(r"(?m)^# ?", "", source.read_text(encoding="utf-8"))
        block = text.partition(f"### Exercise {id} ")[2].partition("### Exercise ")[0]
        found = re.search(rf"<summary>Hint {n}</summary>(.*?)</details>", block, re.DOTALL)
        if found:
            print(f"Hint {n} for {id}: {found[1].strip()}")
            return
    print(f"Open 'Hint {n}' under the heading 'Exercise {id}' in this notebook.")
