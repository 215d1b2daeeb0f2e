"""An answer that passes is kept at once, as a file that stands by itself."""

import math
from math import floor as down

import pytest
import torch
from IPython.core.interactiveshell import InteractiveShell
from torch import exp
from torch.nn.functional import gelu, linear

from dcar_edu.course import checks, keeping
from dcar_edu.course.checks import check

F32 = 32
BOTH = ("height", "width")
LAYER = torch.nn.Linear(2, 3)


@pytest.fixture(autouse=True)
def _own_home(tmp_path, monkeypatch):
    monkeypatch.setenv("DCAR_HOME", str(tmp_path))
    monkeypatch.delenv("DCAR_STRICT", raising=False)
    monkeypatch.setattr(checks, "passed", {})


def whole(name: str, pixels: int, f: int) -> int:
    """A helper in another cell."""
    if math.fmod(pixels, f):
        raise ValueError(f"{name} {pixels} leaves pixels over")
    return down(pixels / f)


def token_grid(height, width, f=32):
    # tokens of a side
    return whole(BOTH[0], height, f), whole(BOTH[1], width, f)


def test_a_kept_answer_brings_all_it_uses(tmp_path):
    check("00.1", token_grid)
    text = (tmp_path / "answers" / "00.1.py").read_text()
    names: dict = {}
    exec(text, names)
    assert names["token_grid"](64, 96) == (2, 3)
    assert "# tokens of a side" in text
    assert text.startswith("# Exercise 00.1: token_grid, as it passed.")
    assert {"import math", "from math import floor as down"} <= set(text.splitlines())
    assert "F32" not in text  # not used
    assert keeping.FIRST_LINE.match(text).groups() == ("00.1", "token_grid")


def test_only_right_answers_are_kept_and_the_last_one_counts(tmp_path):
    path = tmp_path / "answers" / "00.1.py"
    check("00.1", lambda height, width, f=32: (height // f, width // f))
    assert not path.exists()
    check("00.1", token_grid)
    first = path.read_text()

    def swapped(height, width, f=32):
        return token_grid(width, height, f)

    check("00.1", swapped)
    assert path.read_text() == first

    def token_grid_again(height, width, f=32):
        return token_grid(height, width, f)

    check("00.1", token_grid_again)
    assert "token_grid_again, as it passed" in path.read_text()


def test_what_cannot_be_written_down_is_left_to_the_check_of_the_file(tmp_path):
    def odd(height, width, f=32):
        assert LAYER.in_features == 2
        return token_grid(height, width, f)

    assert check("00.1", odd) is odd
    text = (tmp_path / "answers" / "00.1.py").read_text()
    assert "LAYER =" not in text
    assert "def whole" in text


def test_a_function_may_call_itself(tmp_path):
    keeping.keep("00.1", counted)
    names: dict = {}
    exec((tmp_path / "answers" / "00.1.py").read_text(), names)
    assert names["counted"](7) == 7


def counted(n):
    return n and 1 + counted(n - 1)


@pytest.mark.parametrize("broken", ["source", "disk"])
def test_a_check_passes_whatever_keeping_does(broken, tmp_path, monkeypatch, capsys):
    fn = token_grid
    if broken == "source":
        names: dict = {"token_grid": token_grid}
        exec("def fn(height, width, f=32): return token_grid(height, width, f)", names)
        fn = names["fn"]
    else:
        monkeypatch.setattr(keeping, "write_atomically", lambda *_: 1 / 0)
    assert check("00.1", fn) is fn
    assert capsys.readouterr().out.startswith("PASS 00.1")
    assert not (tmp_path / "answers").exists()


@pytest.mark.parametrize("fn", [len, lambda x: x, token_grid.__call__, 3])
def test_only_functions_written_with_def_are_kept(fn):
    with pytest.raises((ValueError, TypeError), match="written with def"):
        keeping.keep("00.1", fn)


def activation(x):
    return gelu(exp(linear(x, x)))


def test_functions_of_torch_are_imported_from_where_people_find_them(tmp_path):
    text = keeping.keep("00.1", activation).read_text()
    names: dict = {}
    exec(text, names)
    assert {"from torch import exp", "from torch.nn.functional import gelu"} <= set(
        text.splitlines()
    )
    x = torch.eye(2)
    assert torch.equal(names["activation"](x), activation(x))


CELLS = """
from dcar_edu.course import check
def masked_after(tokens, steps):
    return [tokens - tokens * step // steps for step in range(1, steps + 1)]
===
masked_after = check("08.1", masked_after)
===
import torch as t
def sample(predict, batch, tokens, steps, mask_id):  # in a cell
    ids = t.full((batch, tokens), mask_id)
    for step, keep in enumerate(masked_after(tokens, steps), start=1):
        sure, best = predict(ids, step).max(dim=-1)
        sure = sure.masked_fill(ids != mask_id, float("inf"))
        stay = sure.argsort(dim=1, stable=True).argsort(dim=1) < keep
        ids = t.where((ids == mask_id) & ~stay, best, ids)
    return ids
===
sample = check("08.5", sample)
"""


def test_answers_in_cells_of_a_notebook_are_kept(tmp_path):
    shell = InteractiveShell()
    for cell in CELLS.split("==="):
        shell.run_cell(cell, store_history=True).raise_error()
    assert [path.name for path in (tmp_path / "answers").iterdir()] == ["08.5.py"]
    text = (tmp_path / "answers" / "08.5.py").read_text()
    assert "import torch as t" in text
    assert "# in a cell" in text
    # 08.1 was wrong, so the lesson went on with the library's function, and so does the file
    assert "from dcar_edu.course.lessons.loop_08 import masked_after" in text
