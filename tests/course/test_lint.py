"""Every rule for lessons has a test that breaks it; the repository's own lessons break none."""

import json
from pathlib import Path

import pytest

from dcar_edu.course.execute import ROOT
from dcar_edu.course.lint import notebook_problems, source_problems
from dcar_edu.course.source import read_lesson, read_lessons

NAME = "00_small_numbers.ipynb"


def problems(root: Path, source: str) -> str:
    path = root / "lessons" / "src" / "00_small_numbers.py"
    path.write_text(source, encoding="utf-8")
    return "\n".join(source_problems(read_lesson(path)))


def test_a_good_source_has_no_problem(root: Path, source: str):
    assert problems(root, source) == ""


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('# %% tags=["quiz", "nbval-ignore-output"]', "# %%", "exactly one cell tagged 'quiz'"),
        ('# %% [markdown] tags=["recap"]', "# %% [markdown]", "exactly one cell tagged 'recap'"),
        ('# %% [markdown] tags=["map"]', "# %% [markdown]", "exactly one cell tagged 'map'"),
        ('course.quiz("00")', 'course.quiz("01")', 'must hold: course.quiz("00")'),
        ("# SETUP", "import dcar_edu", "must hold: # SETUP"),
        ("L.finish()", "pass", "must hold: L.finish("),
        ('course.start("00", B', 'course.start("02", B', 'course.start("00", BUDGET, SEED)'),
        ("SEED = 0\n", "SEED = 0\nSTEPS = 3\n", "'parameters' holds only these lines"),
        ('course.course_map("00")', "pass", "with course_map"),
        ("nbval-check-output", "slide", "at least one golden cell"),
        ("L.finish()", "L.finish()\n# %%\n1", "last cell must be 'finish'"),
        ("short: true", "short: false", "at least 45, or say 'short: true'"),
        ("| symbol |", "| letter |", "has a formula but no table"),
        ('tags=["predict"]', 'tags=["slide"]', "'predict' cell must stand before the experiment"),
        ('tags=["predict"]', 'tags=["slide"]', "needs a cell tagged 'predict'"),
        ("<details><summary>Answer</summary> a square </details>", "", "answer in <details>"),
        ("difficulty: 1/5 · ", "", "an exercise starts with"),
        ("difficulty: 1/5", "difficulty: 6/5", "an exercise starts with"),
        ("### Exercise 00.1", "### Exercise 00.2", "should be numbered 00.1"),
        ("<summary>Hint 3", "<summary>Hint", "lacks '<details><summary>Hint 3"),
        ("<summary>Expected", "<summary>See", "lacks '<details><summary>Expected"),
        (" three </details>", " three", "every <details> needs a </details>"),
        ("Used in `dcar_edu.images.to_model`.", "", "must say 'Used in `dcar_edu."),
        ('tags=["exercise"]', "", "must be followed by an 'exercise' and a 'check' cell"),
        ('tags=["exercise-text"]', "", "an 'exercise' cell follows an 'exercise-text' cell"),
        ('tags=["exercise"]', 'tags=["slide"]', "a 'check' cell follows an 'exercise' cell"),
        ('tags=["exercise-text"]', "", "needs at least one exercise"),
        ("def add(x, y):", "class Add:", "holds one plain function and nothing else"),
        ('    """Add two numbers."""\n', "", "its function needs a docstring"),
        ("    # END SOLUTION\n", "", "needs one '# BEGIN SOLUTION' and one"),
        ('check("00.1", add)', 'check("00.2", add)', 'its check must be: add = check("00.1", add)'),
        ("total = 1 + 2", "total = 1\n# BEGIN SOLUTION", "markers stand in a cell that is not"),
        ('tags=["predict"]', 'tags=["predikt"]', "unknown tag 'predikt'"),
        ('"nbval-check-output"', '"nbval-check-output", "nbval-skip"', "go together"),
        ("This lesson stands alone.", "![ ](a.png)", "a picture needs alt text"),
        ("total = 1 + 2", "total = 3\n" + "1\n" * 40, "41 lines; a code cell has at most 40"),
        ("total = 1 + 2", "!pip install x", "no '!command' or '%pip'"),
        ("total = 1 + 2", "%pip install x", "no '!command' or '%pip'"),
        ("total = 1 + 2", 'open("/home/me/x")', "no absolute path: /home/m"),
        ("total = 1 + 2", "plt.show()", "use figures.show(fig, alt=...)"),
        ("total = 1 + 2", "figures.show(fig)", "figures.show needs alt="),
        ("total = 1 + 2", 'figures.show(fig, alt="a fig")', "figures.show needs alt="),
        ("total = 1 + 2", "figures.animate(frames)", "figures.animate needs alt="),
    ],
)
def test_a_broken_rule_is_named(root: Path, source: str, old: str, new: str, said: str):
    assert old in source
    assert said in problems(root, source.replace(old, new, 1))


def test_cells_in_the_wrong_order(root: Path, source: str):
    start, parameters = source.index('# %% tags=["parameters"]'), source.index('# %% tags=["start"')
    setup = source.index('# %% tags=["setup"]')
    swapped = source[:setup] + source[start:parameters] + source[setup:start] + source[parameters:]
    assert "the cell 'parameters' stands too early" in problems(root, swapped)


def test_good_code_passes(root: Path, source: str):
    fine = 'figures.show(fig, "four rows of wolves")\n%config InlineBackend.x = 1\na = "b/home/c"'
    assert problems(root, source.replace("total = 1 + 2", fine)) == ""


def edited(executed: Path, view: str, change) -> str:
    """Problems of a built notebook after ``change(notebook)``."""
    path = executed / view / NAME
    notebook = json.loads(path.read_bytes())
    change(notebook)
    path.write_text(json.dumps(notebook), encoding="utf-8")
    return "\n".join(notebook_problems(path, executed=view == "solutions"))


def cell_of(notebook: dict, tag: str) -> dict:
    return next(c for c in notebook["cells"] if tag in c["metadata"].get("tags", []))


def test_freshly_built_notebooks_have_no_problem(executed: Path):
    assert edited(executed, "lessons", lambda notebook: None) == ""
    assert edited(executed, "solutions", lambda notebook: None) == ""


LESSON_EDITS = [
    (lambda n: cell_of(n, "check").update(outputs=[{"text": "x"}]), "holds no outputs"),
    (lambda n: cell_of(n, "check").update(execution_count=3), "holds no outputs"),
    (lambda n: cell_of(n, "check").update(source="# BEGIN SOLUTION"), "a solution is left"),
    (lambda n: n["metadata"].update(widgets={}), "holds widget state"),
    (
        lambda n: cell_of(n, "check")["metadata"].update(tags=["raises-exception"]),
        "no tag 'raises-exception'",
    ),
    (lambda n: cell_of(n, "recap").update(source=["[a](b.md)"]), "link 'b.md' leads nowhere"),
    (lambda n: cell_of(n, "check").update(source=["!ls"]), "no '!command'"),
    (lambda n: cell_of(n, "check").update(source=["1\n"] * 41), "more than 40 lines"),
]


@pytest.mark.parametrize(("change", "said"), LESSON_EDITS)
def test_a_bad_lesson_notebook_is_seen(executed: Path, change, said: str):
    assert said in edited(executed, "lessons", change)


def stream(text: str) -> dict:
    return {"output_type": "stream", "name": "stdout", "text": [text]}


SOLUTION_EDITS = [
    (lambda n: n["metadata"].pop("dcar_edu"), "was never executed"),
    (lambda n: n["metadata"]["dcar_edu"].update(source="0"), "outputs are older than its code"),
    (lambda n: cell_of(n, "check").update(source=["1"]), "outputs are older than its code"),
    (
        lambda n: cell_of(n, "check").update(outputs=[{"output_type": "error"}]),
        "holds an error",
    ),
    (lambda n: cell_of(n, "check").update(execution_count=None), "was not executed"),
    (lambda n: cell_of(n, "nbval-check-output").update(outputs=[]), "golden but prints nothing"),
    (lambda n: cell_of(n, "experiment").update(outputs=[]), "shows no picture"),
    (lambda n: cell_of(n, "experiment")["outputs"][0].update(metadata={}), "without alt text"),
    (
        lambda n: cell_of(n, "nbval-check-output")["metadata"].update(tags=[]),
        "has no golden cell",
    ),
    (
        lambda n: cell_of(n, "check").update(outputs=[stream("/home/me/x.py:3")]),
        "shows a path of the machine",
    ),
    (lambda n: cell_of(n, "check").update(outputs=[stream("x" * 1_500_000)]), "larger than 1.5 MB"),
    (
        lambda n: cell_of(n, "nbval-check-output")["metadata"].update(
            tags=["nbval-check-output", "nbval-skip", "skip-execution"]
        ),
        "a golden cell is never skipped",
    ),
]


@pytest.mark.parametrize(("change", "said"), SOLUTION_EDITS)
def test_a_bad_solution_is_seen(executed: Path, change, said: str):
    assert said in edited(executed, "solutions", change)


def test_a_notebook_that_is_not_there(tmp_path: Path):
    assert "00.ipynb is missing" in notebook_problems(tmp_path / "00.ipynb", executed=True)[0]


def own(view: str) -> list[Path]:
    return [ROOT / view / f"{lesson.name}.ipynb" for lesson in read_lessons(ROOT)]


HAS_LESSONS = any((ROOT / "lessons" / "src").glob("*.py"))


@pytest.mark.skipif(not HAS_LESSONS, reason="an installed package holds no lessons")
@pytest.mark.parametrize("view", ["lessons", "solutions"])
def test_this_repository_holds_no_problem(view: str):
    found = [p for path in own(view) for p in notebook_problems(path, executed=view != "lessons")]
    assert found == []
