"""``check("00.1", fn)``: is a student's answer right, and if not, what is wrong with it?

Three words: PASS, TODO (not written yet), FAIL. A check always hands back a function that works,
and says in one line whose it is, so that a lesson runs to its end. ``DCAR_STRICT=1`` turns TODO
and FAIL into an error. The exercises themselves live in ``dcar_edu/course/lessons/lesson_NN.py``.
"""

import contextlib
import importlib
import inspect
import os
import random
import textwrap
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Literal

import numpy as np
import torch

from dcar_edu.course import progress
from dcar_edu.course.compare import Spy, Wrong, copied, describe, rejects, same, same_gradient
from dcar_edu.course.frontend import in_kernel
from dcar_edu.course.keeping import keep

__all__ = [
    "Exercise",
    "Mistake",
    "Result",
    "Spy",
    "Wrong",
    "check",
    "rejects",
    "run_check",
    "same",
    "same_gradient",
    "show_input",
]

Status = Literal["PASS", "TODO", "FAIL"]
COLOURS = {"PASS": "32", "TODO": "36", "FAIL": "35"}  # green, cyan, magenta: not red and green


@dataclass(frozen=True)
class Mistake:
    """A tempting wrong answer that the exercise's test must reject."""

    says: str
    """What is wrong with it, in one line; also shown to instructors."""
    fn: Callable


@dataclass(frozen=True)
class Exercise:
    """One exercise: our answer, the test, and what the test must reject and accept.

    ``test(fn, reference, generator)`` raises :class:`Wrong`, best through :func:`same` and its
    neighbours. It draws its inputs from ``generator`` (a CPU ``torch.Generator``).
    """

    id: str
    reference: Callable
    test: Callable[[Callable, Callable, torch.Generator], None]
    mistakes: tuple[Mistake, ...]
    alternatives: tuple[Callable, ...] = ()
    """Right answers that are written differently; they must pass."""
    used_in: str = ""
    """Where the library does the same, for example ``"dcar_edu.images.to_model"``."""
    slow_factor: float = 10.0
    """A right answer that is this many times slower than ours passes, but ours is used."""


@dataclass(frozen=True)
class Result:
    """What one check found."""

    status: Status
    message: str
    slower: float = 1.0
    """How many times slower than ours, when that is beyond the exercise's limit; otherwise 1."""
    arguments: tuple = ()
    """The arguments of the last call, as they were: the failing case when the status is FAIL."""


_failures: dict[str, int] = {}
_failing_case: dict[str, tuple] = {}
passed: dict[str, str] = {}
"""Source text of every answer that passed in this session, by exercise id."""


def lesson_module(number: str) -> ModuleType:
    """Import ``dcar_edu.course.lessons.lesson_NN``, which holds EXERCISES, QUIZ and TERMS.

    Raises:
        ValueError: there is no such lesson.
    """
    name = f"dcar_edu.course.lessons.lesson_{number}"
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not name.startswith(error.name):
            raise
        raise ValueError(
            f"there are no exercises for lesson '{number}'. Lessons are named by two digits, "
            "such as '00'; exercises such as '00.1'."
        ) from error


def exercise(id: str) -> Exercise:
    """Find an exercise by its id.

    Raises:
        ValueError: no such lesson, or no such exercise in it.
    """
    known = {item.id: item for item in lesson_module(id.split(".")[0]).EXERCISES}
    if id not in known:
        raise ValueError(f"there is no exercise '{id}'. This lesson has {', '.join(known)}.")
    return known[id]


class _Watched:
    """A function under test: counts seconds, keeps the last arguments, guards its inputs."""

    def __init__(self, fn: Callable) -> None:
        self.fn, self.seconds, self.arguments = fn, 0.0, ()
        self.error: BaseException | None = None

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        before = copied((*arguments, *named.values()))
        self.arguments = before
        start = time.perf_counter()
        try:
            result = self.fn(*arguments, **named)
        except BaseException as error:
            self.error = error
            raise
        finally:
            self.seconds += time.perf_counter() - start
        for was, now in zip(before, (*arguments, *named.values()), strict=True):
            if isinstance(now, torch.Tensor) and not _equal(was, now):
                raise Wrong(
                    "your function changes the tensor it was given: expected the input as it was, "
                    f"got another one. It was {describe(was)}. Work on a copy."
                )
        return result


def _equal(one: torch.Tensor, other: torch.Tensor) -> bool:
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    return bool(((one == other) | ((one != one) & (other != other))).all())


@contextlib.contextmanager
def unchanged_random() -> Iterator[None]:
    """Leave the random states of torch, numpy and Python as they were; gradients work inside."""
    states = torch.get_rng_state(), np.random.get_state(), random.getstate()  # noqa: NPY002
    gpu = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else None
    try:
        with torch.enable_grad():
            yield
    finally:
        torch.set_rng_state(states[0])
        np.random.set_state(states[1])  # noqa: NPY002
        random.setstate(states[2])
        if gpu is not None:
            torch.cuda.set_rng_state_all(gpu)


def run_check(id: str, fn: Callable, seed: int = 0) -> Result:
    """Test an answer and report, without printing, saving or raising.

    Args:
        id: exercise, for example ``"00.1"``.
        fn: the student's function.
        seed: the inputs are drawn from it; another seed gives other inputs.

    Raises:
        ValueError: there is no such exercise.
    """
    task = exercise(id)
    with unchanged_random():
        result, slower = _attempt(task, fn, seed)
        if result.status == "PASS" and slower > task.slow_factor:
            # A second look: the first run of anything is slow.
            slower = min(slower, _attempt(task, fn, seed)[1])
    if result.status == "PASS" and slower > task.slow_factor:
        return Result("PASS", f"right, but {slower:.0f} times slower than ours", slower)
    return result


def _attempt(task: Exercise, fn: Callable, seed: int) -> tuple[Result, float]:
    if not callable(fn):
        message = f"got {describe(fn)}, expected the function itself, without calling it."
        return Result("FAIL", message), 1.0
    mine, ours = _Watched(fn), _Watched(task.reference)
    try:
        task.test(mine, ours, torch.Generator().manual_seed(seed))
    except Wrong as wrong:
        return Result("FAIL", str(wrong), arguments=mine.arguments), 1.0
    except (Exception, SystemExit) as error:
        return _stopped(fn, mine, error), 1.0
    worth_saying = mine.seconds > 2e-3  # below that, nobody waits
    return Result("PASS", "right"), mine.seconds / max(ours.seconds, 1e-9) if worth_saying else 1.0


def _stopped(fn: Callable, mine: _Watched, error: BaseException) -> Result:
    """Turn an error into a result; torch's own NotImplementedError is a failure like others."""
    todo = isinstance(error, NotImplementedError) and "not implemented for" not in str(error)
    if todo and mine.error is error:
        return Result("TODO", "not written yet")
    if mine.error is not error:
        message = f"got something the check cannot use ({type(error).__name__}: {error})."
        if mine.error is not None:
            message = f"got {type(mine.error).__name__}: {mine.error}, expected another error."
        return Result("FAIL", message, arguments=mine.arguments)
    code = getattr(fn, "__code__", None)
    frames = [f for f in traceback.extract_tb(error.__traceback__) if code]
    own = [f for f in frames if f.filename == code.co_filename and f.lineno]  # type: ignore[union-attr]
    place = ""
    if code and own:
        place = f" in line {own[-1].lineno - code.co_firstlineno + 1} of your function"  # type: ignore[operator]
    message = f"got {type(error).__name__}: {error}{place}, expected a result."
    return Result("FAIL", message, arguments=mine.arguments)


def check(id: str, fn: Callable) -> Callable:
    """Test an answer, print one line, and hand back a function that works.

    Args:
        id: exercise, for example ``"00.1"``.
        fn: your function.

    Returns:
        ``fn`` if it is right and not far slower than ours; otherwise our version.

    Raises:
        ValueError: there is no such exercise.
        AssertionError: TODO or FAIL while ``DCAR_STRICT=1``.
    """
    task, result = exercise(id), run_check(id, fn)
    name = getattr(task.reference, "__name__", "")
    line = f"{id} {name}: {result.message}"
    _keep(id, fn, result.status)
    if result.status == "PASS":
        end = "; we go on with the faster one." if result.slower > 1 else "."
        if task.used_in and result.slower == 1:
            end = f". The library does this in {task.used_in}."
        print(_coloured("PASS", line + end))
        return task.reference if result.slower > 1 else fn
    if result.status == "TODO":
        line += ". We go on with our version."
    else:
        _failures[id] = _failures.get(id, 0) + 1
        _failing_case[id] = result.arguments
        line += (
            f"\n     Next: hint('{id}', {min(_failures[id], 3)}), or show_input('{id}') for the "
            "failing case. We go on with our version."
        )
    if os.environ.get("DCAR_STRICT") == "1":
        raise AssertionError(f"{result.status} {line}")
    print(_coloured(result.status, line))
    return task.reference


def _keep(id: str, fn: Callable, status: Status) -> None:
    """Note the result, and a passed answer, at once; whatever goes wrong, the lesson goes on."""
    if status == "PASS":
        with contextlib.suppress(OSError, TypeError):
            passed[id] = textwrap.dedent(inspect.getsource(fn))
        with contextlib.suppress(Exception):  # no source, a full disk, a strange object
            keep(id, fn)
    with contextlib.suppress(OSError):
        progress.record(id.split(".")[0], exercises={id: status})


def _coloured(status: Status, line: str) -> str:
    """Colour the first word where colours are shown; the word alone says everything."""
    if "NO_COLOR" in os.environ or not in_kernel():
        return f"{status} {line}"
    return f"\x1b[1;{COLOURS[status]}m{status}\x1b[0m {line}"


def show_input(id: str) -> None:
    """Print the arguments of the call on which your answer to ``id`` failed."""
    if id not in _failing_case:
        print(f"{id}: no failing case in this session. Run the check cell first.")
        return
    for place, value in enumerate(_failing_case[id]):
        print(f"argument {place}: {describe(value)}")
        if isinstance(value, torch.Tensor) and value.numel() > 8:
            print(textwrap.indent(str(value), "    "))
