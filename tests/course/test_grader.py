"""The grader: only the answers run, nothing they do spoils the table, and re-runs agree."""

import csv
import json
from pathlib import Path

import pytest

from dcar_edu.course.answers import Notebook, extract, read_notebook
from dcar_edu.course.grader import grade
from dcar_edu.course.sandbox import Answer, Limits, attempt

RIGHT = '''
def token_grid(height, width, f=32):
    """Rows and columns."""
    {0}
    if height % f or width % f:
        raise ValueError("pixels left over")
    return height // f, width // f
'''
CHECK = 'token_grid = check("00.1", token_grid)'
QUICK = Limits(seconds=2, megabytes=700, output=2_000)


def notebook(path: Path, *sources: str) -> Path:
    cells = [
        {"cell_type": "code", "source": source.splitlines(keepends=True), "metadata": {}}
        for source in sources
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"cells": cells, "metadata": {}}), encoding="utf-8")
    return path


def answer(line: str, imports: tuple[str, ...] = ()) -> Answer:
    return Answer("token_grid", RIGHT.format(line), imports)


def test_a_right_answer_passes():
    assert attempt("00.1", answer("pass"), 7, QUICK).status == "PASS"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("while True: pass", "took longer than 2 s"),
        ("import time; time.sleep(60)", "took longer than 2 s"),
        ("import sys; sys.exit(0)", "SystemExit"),
        ("import os; os._exit(0)", "ended the Python process itself"),
        ("import os; os.abort()", "ended the Python process by SIGABRT"),
        ("open('mine.txt', 'w').write('x')", "may not write files"),
        ("import os; os.open('mine', os.O_CREAT | os.O_WRONLY)", "may not write files"),
        ("import os; os.remove('mine')", "may not change files"),
        ("import os; os.mkdir('mine')", "may not change files"),
        ("import subprocess; subprocess.run(['true'])", "may not start another program"),
        ("import os; os.fork()", "may not start another program"),
        ("import socket; socket.socket()", "may not use the network"),
        ("import os; os.kill(os.getppid(), 15)", "may not stop a process"),
        ("print('x' * 1_000_000)", "printed too much"),
        ("import sys; sys.stderr.write('x' * 1_000_000)", "printed too much"),
        ("input()", "EOFError"),
        ("import torch; torch.zeros(400, 1_000_000)", "allocate memory"),
        ("b'x' * (1 << 31)", "MemoryError"),
        ("token_grid(height, width)", "RecursionError"),
        ("raise NotImplementedError('00.1')", "not written yet"),
        ("return width // f, height // f", "swapped"),
    ],
)
def test_whatever_an_answer_does_it_scores_nothing_and_says_why(
    line: str, said: str, capfd: pytest.CaptureFixture
):
    result = attempt("00.1", answer(line), 7, QUICK)
    assert result.status != "PASS"
    assert said in result.message
    assert "\n" not in result.message
    assert capfd.readouterr().out == ""


def test_code_that_fails_when_it_is_defined():
    result = attempt("00.1", Answer("token_grid", "def token_grid(x=1 / 0): pass"), 7, QUICK)
    assert (result.status, "ZeroDivisionError" in result.message) == ("FAIL", True)


def test_a_missing_import_hurts_only_where_it_is_used():
    missing = ("import no_such_library",)
    assert attempt("00.1", answer("pass", missing), 7, QUICK).status == "PASS"
    assert "NameError" in attempt("00.1", answer("no_such_library.x", missing), 7, QUICK).message


def test_only_what_the_answer_uses_is_cut_out(tmp_path: Path):
    path = notebook(
        tmp_path / "a.ipynb",
        "%matplotlib inline\n!ls\nimport math\nimport torch as t\nfrom json import *",
        "SIZE, OTHER = 32, 5\nUNUSED = 3\nlate = open('x', 'w')\nprint('never')",
        "def helper(x):\n    return x // SIZE",
        "def token_grid(height, width, f=32):\n    return 1",
        "def token_grid(height, width, f=32):\n    return helper(height), t.tensor(width)",
        CHECK,
        "token_grid(",
    )
    read = read_notebook(path)
    assert isinstance(read, Notebook)
    found = extract(read, "00.1")
    assert isinstance(found, Answer)
    assert found.imports == ("import torch as t", "from json import *")
    for part in ("SIZE, OTHER = (32, 5)", "def helper(x)", "helper(height), t.tensor(width)"):
        assert part in found.code
    for part in ("UNUSED", "open", "print", "return 1", "check"):
        assert part not in found.code


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        (("x = 1",), 'no check("00.1", ...) in the notebook'),
        ((f"def token_grid(:\n{CHECK}",), "its cell is no Python"),
        (("def token_grid(:", CHECK), "the cell of 'token_grid' is no Python"),
        (("class token_grid: pass", CHECK), "no function 'token_grid'"),
    ],
)
def test_why_there_is_no_answer(tmp_path: Path, cells: tuple[str, ...], said: str):
    read = read_notebook(notebook(tmp_path / "a.ipynb", *cells))
    assert isinstance(read, Notebook)
    assert extract(read, "00.1") == said


def test_a_folder_of_students_gives_the_same_table_twice(tmp_path: Path):
    folder = tmp_path / "class"
    notebook(folder / "ada" / "00.ipynb", RIGHT.format("pass"), CHECK)
    notebook(folder / "bob.ipynb", RIGHT.format("return width // f, height // f"), CHECK)
    notebook(folder / "eve.ipynb", 'f = check("99.9", f)', "def f(: 1")
    notebook(folder / ".ipynb_checkpoints" / "bob.ipynb", "x = 1")
    (folder / "zoe.ipynb").write_text("not json")
    tables = []
    for name in ("one.csv", "two.csv"):
        assert grade(folder, 7, tmp_path / name, QUICK) == 0
        tables.append((tmp_path / name).read_text(encoding="utf-8"))
    assert tables[0] == tables[1]
    rows = list(csv.DictReader(tables[0].splitlines()))
    assert [row["student"] for row in rows] == ["ada/00", "bob", "eve", "zoe"]
    assert [row["00.1"] for row in rows] == ["1", "0", "0", "0"]
    assert rows[0]["score"] == "1"
    assert rows[0]["message"].startswith("00.2: no check")
    assert rows[1]["message"].startswith("00.1: rows and columns are swapped")
    assert rows[3]["message"] == "00.1: the file is no notebook (JSONDecodeError)"
    assert list(rows[0]) == ["student", "00.1", "00.2", "00.3", "score", "message"]


def test_an_empty_folder(tmp_path: Path):
    with pytest.raises(ValueError, match=r"no notebook \(\*\.ipynb\) in"):
        grade(tmp_path, 7, tmp_path / "grades.csv")
