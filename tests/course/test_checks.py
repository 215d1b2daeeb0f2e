"""``check``: the exercises that ship, and the three states on invented ones."""

import pkgutil
import random
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from dcar_edu.course import checks, hints, progress
from dcar_edu.course.checks import Exercise, Mistake, check, run_check, same, show_input

LESSONS = sorted((Path(checks.__file__).parent / "lessons").glob("lesson_[0-9][0-9].py"))
EXERCISES = [
    task
    for path in LESSONS
    for task in checks.lesson_module(path.stem.removeprefix("lesson_")).EXERCISES
]
EACH = pytest.mark.parametrize("task", EXERCISES, ids=lambda task: task.id)


@pytest.fixture(autouse=True)
def _own_home(tmp_path, monkeypatch):
    monkeypatch.setenv("DCAR_HOME", str(tmp_path))
    monkeypatch.delenv("DCAR_STRICT", raising=False)
    monkeypatch.setattr(checks, "passed", {})
    monkeypatch.setattr(checks, "_failures", {})
    monkeypatch.setattr(checks, "_failing_case", {})


# What ships ------------------------------------------------------------------------------------


def test_there_are_exercises_and_their_ids_are_unique():
    ids = [task.id for task in EXERCISES]
    assert {"00.1", "01.1"} <= set(ids)
    assert len(ids) == len(set(ids))


@EACH
@pytest.mark.parametrize("seed", [0, 7, 2024])
def test_our_answer_passes_on_every_seed(task, seed):
    result = run_check(task.id, task.reference, seed)
    assert (result.status, result.message) == ("PASS", "right")


@EACH
def test_right_but_different_answers_pass(task):
    for other in task.alternatives:
        result = run_check(task.id, other)
        assert result.status == "PASS", f"{other.__name__}: {result.message}"


@EACH
def test_planted_mistakes_are_rejected_with_got_and_expected(task):
    assert len(task.mistakes) >= 3
    for mistake in task.mistakes:
        for seed in (0, 7):
            result = run_check(task.id, mistake.fn, seed)
            assert result.status == "FAIL", mistake.says
            assert len(result.message) >= 30, result.message
            assert "got" in result.message, result.message
            assert "expected" in result.message, result.message


@EACH
def test_a_check_is_quick_and_leaves_the_random_states_alone(task):
    def states():
        return torch.get_rng_state().tolist(), np.random.get_state()[1].tolist(), random.getstate()  # noqa: NPY002

    before, start = states(), time.perf_counter()
    run_check(task.id, task.reference)
    assert time.perf_counter() - start < 2
    assert states() == before


@EACH
def test_an_unwritten_answer_is_todo(task):
    def stub(*arguments, **named):
        raise NotImplementedError(task.id)

    assert run_check(task.id, stub).status == "TODO"


@EACH
def test_the_library_home_of_an_answer_exists(task):
    if task.used_in:
        assert pkgutil.resolve_name(task.used_in) is not None


# The machinery, on an invented exercise -----------------------------------------------------------


def doubled(x):
    return 2 * x


def _test_doubled(fn, reference, generator):
    x = torch.rand(3, 4, generator=generator)
    same(fn(x), reference(x), "twice the numbers")


TASK = Exercise(
    "77.1",
    doubled,
    _test_doubled,
    (Mistake("squares", lambda x: x * x),),
    used_in="dcar_edu.images.to_model",
)


@pytest.fixture
def task(monkeypatch):
    monkeypatch.setattr(checks, "lesson_module", lambda number: SimpleNamespace(EXERCISES=(TASK,)))
    return TASK


@pytest.mark.usefixtures("task")
def test_pass_hands_back_the_students_function_and_is_remembered(capsys):
    def mine(x):
        return x + x

    assert check("77.1", mine) is mine
    line = capsys.readouterr().out
    assert line.startswith("PASS 77.1 doubled: right. The library does this in dcar_edu.images")
    assert progress.read_progress("77")["exercises"] == {"77.1": "PASS"}
    assert "return x + x" in checks.passed["77.1"]


@pytest.mark.usefixtures("task")
def test_todo_hands_back_ours_and_says_so(capsys):
    def stub(x):
        raise NotImplementedError("77.1")

    assert check("77.1", stub) is doubled
    out = capsys.readouterr().out
    assert out == "TODO 77.1 doubled: not written yet. We go on with our version.\n"
    assert progress.read_progress("77")["exercises"] == {"77.1": "TODO"}


@pytest.mark.usefixtures("task")
def test_fail_hands_back_ours_names_the_symptom_and_the_next_hint(capsys):
    assert check("77.1", lambda x: x * 4) is doubled
    first = capsys.readouterr().out
    assert first.startswith("FAIL 77.1 doubled: twice the numbers: 12 of 12 values differ")
    assert "2 times what it should be" in first
    assert "hint('77.1', 1)" in first
    assert "We go on with our version." in first
    for _ in range(4):
        check("77.1", lambda x: x * 4)
    assert "hint('77.1', 3)" in capsys.readouterr().out.splitlines()[-1]


@pytest.mark.usefixtures("task")
def test_strict_turns_todo_and_fail_into_errors(monkeypatch):
    monkeypatch.setenv("DCAR_STRICT", "1")

    def stub(x):
        raise NotImplementedError

    with pytest.raises(AssertionError, match="TODO 77.1 doubled"):
        check("77.1", stub)
    with pytest.raises(AssertionError, match="FAIL 77.1 doubled.*values differ"):
        check("77.1", lambda x: x * 4)
    assert check("77.1", doubled) is doubled


@pytest.mark.usefixtures("task")
def test_a_slow_right_answer_passes_and_ours_is_used(capsys):
    def slow(x):
        time.sleep(0.01)
        return 2 * x

    assert check("77.1", slow) is doubled
    line = capsys.readouterr().out
    assert line.startswith("PASS 77.1 doubled: right, but ")
    assert "we go on with the faster one" in line


@pytest.mark.usefixtures("task")
def test_the_random_state_survives_an_answer_that_seeds(capsys):
    def seeds(x):
        torch.manual_seed(1)
        np.random.seed(1)  # noqa: NPY002
        random.seed(1)
        torch.set_grad_enabled(False)
        return 2 * x

    torch.manual_seed(5)
    before = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()  # noqa: NPY002
    check("77.1", seeds)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.random.get_state()[1].tolist() == before[1]  # noqa: NPY002
    assert random.getstate() == before[2]
    assert torch.is_grad_enabled()


@pytest.mark.usefixtures("task")
def test_gradients_work_in_a_check_even_under_no_grad():
    seen = []

    def mine(x):
        seen.append(torch.is_grad_enabled())
        return 2 * x

    with torch.no_grad():
        run_check("77.1", mine)
        assert not torch.is_grad_enabled()
    assert seen == [True]


@pytest.mark.usefixtures("task")
def test_changing_the_input_is_named():
    result = run_check("77.1", lambda x: x.mul_(2))
    assert result.status == "FAIL"
    assert "changes the tensor it was given" in result.message


@pytest.mark.usefixtures("task")
@pytest.mark.parametrize(
    ("fn", "words"),
    [
        (lambda x: {}["a"], "got KeyError: 'a' in line 1 of your function"),
        (lambda x: exit(3), "got SystemExit: 3"),
        (lambda: 0, "got TypeError"),
        (lambda x: None, "got None, expected a tensor"),
        (lambda x: torch.tensor(True) @ x, "got RuntimeError"),
        (None, "got None, expected the function itself"),
    ],
)
def test_an_answer_that_stops_is_a_fail_with_its_error(fn, words):
    result = run_check("77.1", fn)
    assert result.status == "FAIL"
    assert words in result.message


@pytest.mark.usefixtures("task")
def test_torchs_own_not_implemented_is_a_fail_not_a_todo():
    def mine(x):
        raise NotImplementedError("\"addmm\" not implemented for 'Bool'")

    assert run_check("77.1", mine).status == "FAIL"


def test_a_check_that_cannot_use_the_result_blames_the_result(monkeypatch):
    def test(fn, reference, generator):
        same(fn(torch.ones(2)).sum().item(), 2.0, "the sum")

    shaky = Exercise("77.1", lambda x: x, test, ())
    monkeypatch.setattr(checks, "lesson_module", lambda n: SimpleNamespace(EXERCISES=(shaky,)))
    result = run_check("77.1", lambda x: "two")
    assert result.status == "FAIL"
    assert "got something the check cannot use (AttributeError" in result.message


@pytest.mark.usefixtures("task")
def test_other_seeds_give_other_inputs():
    seen = []
    for seed in (0, 0, 1):
        run_check("77.1", lambda x: seen.append(x) or 2 * x, seed)
    assert torch.equal(seen[0], seen[1])
    assert not torch.equal(seen[0], seen[2])


@pytest.mark.usefixtures("task")
def test_show_input_prints_the_failing_case(capsys):
    show_input("77.1")
    assert "no failing case" in capsys.readouterr().out
    check("77.1", lambda x: x)
    capsys.readouterr()
    show_input("77.1")
    out = capsys.readouterr().out
    assert "argument 0: a tensor of shape (3, 4)" in out
    assert "tensor([[" in out


@pytest.mark.usefixtures("task")
def test_an_unwritable_home_does_not_stop_a_lesson(monkeypatch, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("DCAR_HOME", str(tmp_path / "file"))
    assert check("77.1", doubled) is doubled
    assert capsys.readouterr().out.startswith("PASS")


@pytest.mark.parametrize("id", ["99.1", "x", "00"])
def test_unknown_ids_are_refused(id):
    with pytest.raises(ValueError, match=r"there (are|is) no exercise"):
        run_check(id, doubled)


def test_an_unknown_exercise_lists_the_known_ones():
    with pytest.raises(ValueError, match=r"no exercise '00.99'. This lesson has 00.1, 00.2"):
        check("00.99", doubled)


def test_a_broken_lesson_module_is_not_mistaken_for_a_missing_one(monkeypatch):
    def broken(name):
        raise ModuleNotFoundError("No module named 'zebra'", name="zebra")

    monkeypatch.setattr(checks.importlib, "import_module", broken)
    with pytest.raises(ModuleNotFoundError, match="zebra"):
        checks.lesson_module("00")


# Help --------------------------------------------------------------------------------------------


def test_show_solution_prints_our_source(capsys):
    hints.show_solution("00.1")
    assert "def token_grid" in capsys.readouterr().out


def test_hints_come_from_the_lesson_source(tmp_path, monkeypatch, capsys):
    source = tmp_path / "lessons" / "src" / "00_start_here.py"
    source.parent.mkdir(parents=True)
    source.write_text(
        "# ### Exercise 00.1 - Grid\n# <details><summary>Hint 1</summary>\n#\n# Divide.\n"
        "# </details>\n"
        "# ### Exercise 00.2 - Other\n# <details><summary>Hint 2</summary>Not this</details>\n"
    )
    monkeypatch.setattr(hints, "__file__", str(tmp_path / "dcar_edu" / "course" / "hints.py"))
    hints.hint("00.1", 1)
    assert capsys.readouterr().out == "Hint 1 for 00.1: Divide.\n"
    hints.hint("00.1", 2)
    assert "Open 'Hint 2' under the heading 'Exercise 00.1'" in capsys.readouterr().out


def test_there_are_three_hints():
    with pytest.raises(ValueError, match="hints 1, 2 and 3, got 4"):
        hints.hint("00.1", 4)
