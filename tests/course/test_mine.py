"""``dcar course mine``: right answers become one file that draws a wolf; wrong ones are named."""

import json
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from dcar_edu.course import keeping
from dcar_edu.course.checks import Result, exercise
from dcar_edu.course.mine import collecting, mine, training, writing
from dcar_edu.course.mine.collecting import collect
from dcar_edu.course.mine.parts import UNUSED, USED, every_id, fill
from dcar_edu.course.mine.writing import file_text
from dcar_edu.pipeline import DCAR

ROOT = Path(__file__).resolve().parents[2]
GRID = """
def token_grid(height, width, f=32):
    # whole tokens only
    if height % f or width % f:
        raise ValueError("pixels left over")
    return height // f, width // f
"""
GUIDE = """
def guide(cond, uncond, scale):
    return (1 + scale) * cond - scale * uncond
"""
PLAN = """
import math
def masked_after(tokens, steps):
    counts, hidden = [], tokens
    for step in range(1, steps + 1):
        planned = math.floor(tokens * (2 / math.pi) * math.acos(step / steps))
        hidden = min(hidden - 1, planned) if step < steps else 0
        counts.append(hidden)
    return counts
"""
LINEAR = """
def masked_after(tokens, steps):
    return [tokens - tokens * step // steps for step in range(1, steps + 1)]
"""
LOOP = """
import torch
def sample(predict, batch, tokens, steps, mask_id):
    ids = torch.full((batch, tokens), mask_id)
    for step, keep in enumerate(masked_after(tokens, steps), start=1):
        sure, best = predict(ids, step).max(dim=-1)
        sure = sure.masked_fill(ids != mask_id, float("inf"))
        stay = sure.argsort(dim=1, stable=True).argsort(dim=1) < keep
        ids = torch.where((ids == mask_id) & ~stay, best, ids)
    return ids
"""


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("DCAR_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture(scope="module")
def shipped():
    """The shipped pair; loading it takes seconds."""
    return DCAR.from_pretrained(training.SHIPPED)


@pytest.fixture
def loaded(shipped, monkeypatch):
    monkeypatch.setattr(training.DCAR, "from_pretrained", lambda name: shipped)
    monkeypatch.setattr(training, "CONCEPTS", 5)
    monkeypatch.setattr(training, "BATCH", 3)


def notebook(path: Path, answers: dict[str, str], *more: str) -> Path:
    """A notebook with one cell an answer and one cell a check, as the builder makes them."""
    sources = list(more)
    for id, text in answers.items():
        name = re.findall(r"^def (\w+)", text, re.MULTILINE)[-1]
        sources += [text, f'{name} = check("{id}", {name})']
    cells = [{"cell_type": "code", "source": source, "metadata": {}} for source in sources]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"cells": cells, "metadata": {}}), encoding="utf-8")
    return path.parent


# Which exercise is used where -------------------------------------------------------------------


def test_every_exercise_that_builds_the_model_is_decided_on():
    building = [id for id in every_id() if id[:2] in ("03", "04", "07", "08", "09", "10")]
    assert len(building) >= 28
    decided = {*USED, *UNUSED}
    assert set(building) <= decided <= set(every_id())
    assert not set(USED) & set(UNUSED)


def test_the_model_calls_what_it_says_it_uses(tmp_path, loaded):
    called = dict.fromkeys(USED, 0)

    def counting(id, fn):
        def spy(*arguments, **named):
            called[id] += 1
            return fn(*arguments, **named)

        return spy

    parts = {id: counting(id, fn) for id, fn in fill({}).items()}
    found = training.train_and_draw(parts, tmp_path / "wolf.png", minutes=5, steps=1)
    assert [id for id, times in called.items() if not times] == []
    assert called["08.2"] == 12 * 3  # the wolf is drawn three times
    assert called["09.5"] == 20 * 3
    assert found["steps"] == 1
    with Image.open(tmp_path / "wolf.png") as picture:
        assert picture.size == (4 * 256 + 5 * 4, 256 + 2 * 4)


def test_training_lowers_both_losses_and_leaves_the_tokenizer_alone(loaded, shipped):
    before = shipped.tokenizer.fingerprint()
    model, _, prompt = training.assemble({}, seed=1)
    assert prompt == "a 3D emoji of a wolf on a white background"
    assert not any(weight.requires_grad for weight in shipped.tokenizer.parameters())
    generator = torch.Generator().manual_seed(2)
    first = [loss.item() for loss in model.losses(4, generator)]
    assert training.train(model, 600, seed=1, steps=40) == 40
    last = [loss.item() for loss in model.losses(4, generator)]
    assert last[0] < first[0] - 1  # from ln 1024
    assert last[1] < first[1] - 0.2
    assert shipped.tokenizer.fingerprint() == before


def test_a_loss_that_is_no_number_names_the_functions_to_look_at(loaded):
    parts = {"10.2": lambda head, hidden, *rest: hidden.sum() * float("nan")}
    model = training.assemble(parts)[0]
    with pytest.raises(ValueError, match="loss is nan after 0 steps.*07.3 and 10.2"):
        training.train(model, 60, steps=1)


# Collecting -------------------------------------------------------------------------------------


def test_all_solutions_make_one_file_that_trains_and_draws(tmp_path, capsys, loaded):
    for id in every_id():  # of the lessons that have no notebook yet
        keeping.keep(id, exercise(id).reference)
    out = tmp_path / "my_dcar.py"
    assert mine(ROOT / "solutions", out, minutes=5, steps=2) == 0
    shown = capsys.readouterr().out
    assert f"{len(every_id())} functions of yours, all right on hidden inputs" in shown
    assert "by 26 functions of yours and 0 of the library; 2 steps in" in shown.splitlines()[-1]
    assert (tmp_path / "my_dcar.png").stat().st_size > 10_000
    text = out.read_text()
    assert "Mine, and used (26):" in text
    assert "The library's" not in text
    assert "Left out" not in text
    parts = runpy.run_path(str(out))["PARTS"]
    assert list(parts) == every_id()
    solved = (ROOT / "solutions" / "04_hybrid_tokenizer.ipynb").read_text(encoding="utf-8")
    assert "raw latents (b, c, h, w)" in solved  # the notebook's own words
    assert "raw latents (b, c, h, w)" in text


def test_a_wrong_answer_is_left_out_and_named_and_the_library_stands_in(tmp_path, capsys):
    folder = notebook(tmp_path / "in" / "08.ipynb", {"08.1": LINEAR, "08.2": GUIDE, "08.5": LOOP})
    out = tmp_path / "my_dcar.py"
    assert mine(folder, out, minutes=0) == 0
    shown = capsys.readouterr().out
    assert "2 functions of yours" in shown
    assert re.search(r"^left out 08.1: .*got .*expected", shown, re.MULTILINE)
    assert "08.1" in shown.split("the library fills")[1]
    text = out.read_text()
    assert "from dcar_edu.course.lessons.loop_08 import masked_after" in text
    assert "tokens * step // steps" not in text
    assert list(runpy.run_path(str(out))["PARTS"]) == ["08.2", "08.5"]


def test_two_answers_and_the_library_make_a_file_that_stands_by_itself(tmp_path, capsys):
    folder = notebook(tmp_path / "in" / "a.ipynb", {"00.1": GRID, "08.2": GUIDE})
    assert mine(folder, tmp_path / "mine.py", minutes=0) == 0
    shown = capsys.readouterr().out
    assert "2 functions of yours, all right on hidden inputs" in shown
    assert "the library fills 24 gaps: 01.2 03.1" in shown
    assert "    # whole tokens only" in (tmp_path / "mine.py").read_text()
    assert not (tmp_path / "mine.png").exists()
    command = [sys.executable, "mine.py", "--minutes", "0.001", "--seed", "3"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    last = done.stdout.splitlines()[-1]
    assert "mine.png: a 3D emoji of a wolf on a white background, by 2 functions" in last
    assert "and 24 of the library; 1 steps" in last
    assert (tmp_path / "mine.png").stat().st_size > 10_000


def test_kept_answers_count_after_notebooks_and_fill_their_gaps(tmp_path, home):
    keeping.keep("08.1", exercise("08.1").reference)
    keeping.keep("08.2", exercise("08.2").reference)
    (home / "answers" / "08.3.py").write_text("# a file of another kind\n")
    (home / "answers" / "08.py").write_text(GRID)
    folder = notebook(tmp_path / "in" / "a.ipynb", {"08.1": LINEAR, "08.2": GUIDE})
    found = collect(folder)
    assert list(found.own) == ["08.1", "08.2"]
    assert found.left_out == {}
    assert found.own["08.2"].pieces["guide"] == GUIDE.strip()
    assert "reference answer" in found.own["08.1"].pieces["masked_after"]
    assert list(collect().own) == ["08.1", "08.2"]


def test_answers_not_written_yet_and_broken_cells_are_named(tmp_path):
    todo = GUIDE.replace("return", "raise NotImplementedError('08.2')  #")
    cells = ['def draw(:\n  pass\ncheck("08.3", draw)', 'remask = check("08.4", remask)']
    folder = notebook(tmp_path / "in" / "a.ipynb", {"00.1": GRID, "08.2": todo}, *cells)
    found = collect(folder)
    assert list(found.own) == ["00.1"]
    assert found.left_out == {
        "08.2": "not written yet",
        "08.3": "its cell is no Python",
        "08.4": "no function 'remask'",
    }


def test_a_notebook_that_cannot_be_read_is_passed_over_and_named(tmp_path, capsys):
    folder = notebook(tmp_path / "in" / "a.ipynb", {"00.1": GRID})
    (folder / "b.ipynb").write_text("{not json", encoding="utf-8")
    mine(folder, tmp_path / "mine.py", minutes=0)
    shown = capsys.readouterr().out
    assert "b.ipynb was passed over: the file is no notebook (JSONDecodeError)." in shown
    assert "1 functions of yours" in shown


@pytest.mark.parametrize(
    ("answers", "options", "said"),
    [
        (None, {}, "no answer of yours was found.*dcar course mine DIR"),
        ({"08.1": LINEAR}, {}, "none of your 1 answers passes. The first, 08.1: .*expected"),
        ({"00.1": GRID}, {"out": "mine.txt"}, "ends in .py, got 'mine.txt'"),
        ({"00.1": GRID}, {"minutes": -1.0}, "minutes must be above 0, got -1"),
    ],
)
def test_errors_say_what_to_do(answers, options, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = notebook(tmp_path / "in" / "a.ipynb", answers) if answers else None
    with pytest.raises(ValueError, match=said):
        mine(folder, **options)


def test_a_folder_without_notebooks_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="no notebook"):
        mine(tmp_path, tmp_path / "mine.py")


def test_nothing_of_a_wrong_answer_runs_here(tmp_path):
    evil = GRID + f"    return open({str(tmp_path / 'seen')!r}, 'w')\n"
    evil = evil.replace("    return height // f, width // f\n", "")
    folder = notebook(tmp_path / "in" / "a.ipynb", {"00.1": evil, "08.2": GUIDE})
    found = collect(folder)
    assert "may not write files" in found.left_out["00.1"]
    assert not (tmp_path / "seen").exists()


# Writing ----------------------------------------------------------------------------------------

FIRST = '''
import torch as t
size = 2

def whole(height, size=4):
    """A local size is not the global one."""
    return t.tensor([size, height]).prod() // size  # é

def grid(height, width, f=32):
    # my own way
    if height % f or width % f:
        raise ValueError("pixels left over")
    return int(whole(size * height)) // f // size, size * width // f // size
'''
SECOND = """
import math as t
size = 1.0

def whole(x):
    return x * t.sqrt(size)

def grid(cond, uncond, scale, size=size):
    é = (size + whole(scale)) * cond
    return é - whole(scale) * uncond  # both whole
"""


def test_names_with_two_meanings_are_told_apart(tmp_path):
    notebook(tmp_path / "in" / "a.ipynb", {"00.1": FIRST})
    folder = notebook(tmp_path / "in" / "b.ipynb", {"08.2": SECOND})
    found = collect(folder)
    assert list(found.own) == ["00.1", "08.2"], found.left_out
    text, written = file_text(found)
    (tmp_path / "mine.py").write_text(text, encoding="utf-8")
    parts = runpy.run_path(str(tmp_path / "mine.py"))["PARTS"]
    assert parts["00.1"](64, 96) == (2, 3)
    ones = torch.ones(2)
    assert torch.equal(parts["08.2"](ones, 0 * ones, 4.0), 5 * ones)
    assert written["08.2"].name == "grid_08_2"
    assert "import math as t_08_2" in text
    assert "size_08_2 = 1.0" in text
    assert "scale, size=size_08_2):" in text
    assert "é = (size + whole_08_2(scale)) * cond" in text  # this size is the argument
    assert "return é - whole_08_2(scale) * uncond  # both whole" in text
    assert "def whole(height, size=4):" in text
    assert "# my own way" in text
    assert "// size  # é" in text


def test_an_answer_that_renaming_breaks_is_left_out(tmp_path, monkeypatch, capsys):
    notebook(tmp_path / "in" / "a.ipynb", {"00.1": FIRST})
    folder = notebook(tmp_path / "in" / "b.ipynb", {"08.2": SECOND})
    monkeypatch.setattr(writing, "_renamed", lambda text, new: text)
    assert mine(folder, tmp_path / "mine.py", minutes=0) == 0
    assert "left out 08.2: right alone, but not in one file" in capsys.readouterr().out
    assert list(runpy.run_path(str(tmp_path / "mine.py"))["PARTS"]) == ["00.1"]


def test_a_slow_answer_is_used_and_the_file_says_so(tmp_path, monkeypatch, capsys):
    slow = Result("PASS", "right, but 30 times slower than ours")
    monkeypatch.setattr(collecting, "attempt", lambda *_: slow)
    folder = notebook(tmp_path / "in" / "a.ipynb", {"00.1": GRID})
    assert mine(folder, tmp_path / "mine.py", minutes=0) == 0
    assert "00.1: right, but 30 times slower than ours; yours is used" in capsys.readouterr().out
    line = "# 00.1: counts the tokens of a picture (right, but 30 times slower than ours).\n"
    assert f"{line}def token_grid(" in (tmp_path / "mine.py").read_text()


def test_a_function_that_two_answers_use_is_written_once(tmp_path):
    folder = notebook(tmp_path / "in" / "a.ipynb", {"08.1": PLAN, "08.5": LOOP})
    text, _ = file_text(collect(folder))
    assert text.count("def masked_after(") == 1
    assert text.index("def masked_after(") < text.index("def sample(")
    assert "# Lesson 08: Drawing in 12 steps ---" in text


def test_what_a_message_quotes_cannot_end_the_header(tmp_path):
    bad = GRID.replace("return", 'raise TypeError(\'"""\' + chr(92)); return')
    folder = notebook(tmp_path / "in" / "a.ipynb", {"00.1": bad, "08.2": GUIDE})
    text, _ = file_text(collect(folder))
    compile(text, "mine.py", "exec")
    assert "00.1 token_grid: got TypeError" in " ".join(text.split())
