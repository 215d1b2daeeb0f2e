"""A small made-up lesson in a made-up repository, for the builder, the runner and the grader."""

import shutil
from pathlib import Path

import pytest

from dcar_edu.course.builder import build

LESSON = '''\
# %% [markdown] tags=["header"]
# ---
# title: Small numbers
# builds: two functions
# figures: 1
# wait: 2
# wait_gpu: 1
# gpu: false
# memory: 1 GB
# needs: none
# writes: nothing
# short: true
# ---

# %% [markdown] tags=["map"]
# This lesson stands alone.

# %% [markdown] tags=["objectives"]
# You will be able to add and to double.

# %% tags=["setup"] cellView="form"
#@title Setup (run first)
# SETUP

# %% tags=["parameters"]
import os

BUDGET = os.environ.get("DCAR_BUDGET", "cpu")
SEED = 0

# %% tags=["start", "nbval-ignore-output"]
import json, pathlib, types

course = types.SimpleNamespace(
    start=lambda number, budget, seed: types.SimpleNamespace(finish=lambda: finish(number)),
    quiz=print, course_map=print)


def finish(number):
    """Write what the real lesson writes."""
    folder = pathlib.Path(os.environ["DCAR_HOME"]) / "progress"
    folder.mkdir(parents=True, exist_ok=True)
    entry = {"finished": True, "peak_memory_gb": 0.5, "metrics": {"score": 3.0}, "budget": BUDGET}
    (folder / f"{number}.json").write_text(json.dumps(entry))


def check(id, answer):
    try:
        answer(1, 2)
    except NotImplementedError:
        if os.environ.get("DCAR_STRICT") == "1":
            raise
    return answer


L = course.start("00", BUDGET, SEED)

# %% tags=["map", "nbval-ignore-output"]
course.course_map("00")

# %% [markdown]
# ## 1. Adding
# We add: $$z = x + y$$
#
# | symbol | meaning | shape | code |
# |---|---|---|---|
# | z | the sum | one number | `total` |

# %%
total = 1 + 2

# %% tags=["nbval-check-output"]
print("total", total)

# %% [markdown] tags=["exercise-text"]
# ### Exercise 00.1 - Add
# difficulty: 1/5 · importance: 4/5 · 4 min · needs: none
#
# Add two numbers. Used in `dcar_edu.images.to_model`.
# <details><summary>Hint 1</summary> one </details>
# <details><summary>Hint 2</summary> two </details>
# <details><summary>Hint 3</summary> three </details>
# <details><summary>Expected</summary> 3 </details>

# %% tags=["exercise"]
def add(x, y):
    """Add two numbers."""
    # BEGIN SOLUTION
    total = x + y
    return total
    # END SOLUTION

# %% tags=["check", "nbval-ignore-output"]
add = check("00.1", add)

# %% [markdown]
# ## 2. An experiment

# %% [markdown] tags=["predict"]
# **What do you expect?** <details><summary>Answer</summary> a square </details>

# %% tags=["experiment"]
import base64
from IPython.display import Image

Image(base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5E"
    "rkJggg=="), alt="one grey pixel")

# %% tags=["quiz", "nbval-ignore-output"]
course.quiz("00")

# %% [markdown] tags=["recap"]
# You can add. See the [source](../lessons/src/00_small_numbers.py).

# %% tags=["finish", "nbval-ignore-output"]
L.finish()
'''


@pytest.fixture
def source() -> str:
    """The text of a lesson that breaks no rule."""
    return LESSON


def _repository(root: Path) -> Path:
    """A repository with that one lesson, not built yet."""
    for folder in ("lessons", "solutions"):
        package = root / folder / "dcar_edu"  # found first: importing torch takes seconds
        package.mkdir(parents=True)
        (package / "__init__.py").touch()
    (root / "lessons" / "src").mkdir()
    (root / "lessons" / "src" / "00_small_numbers.py").write_text(LESSON, encoding="utf-8")
    return root


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A repository with that one lesson, not built yet."""
    return _repository(tmp_path)


@pytest.fixture(scope="session")
def _executed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = _repository(tmp_path_factory.mktemp("executed"))
    assert build(root=root, execute="00", budget="smoke") == 0
    return root


@pytest.fixture
def executed(_executed: Path, tmp_path: Path) -> Path:
    """The same repository, built and executed at smoke; starting a kernel takes seconds."""
    shutil.copytree(_executed, tmp_path, dirs_exist_ok=True)
    return tmp_path
