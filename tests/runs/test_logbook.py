"""The logbook: no step twice, nothing half, a curve where matplotlib is."""

import sys
import types
from dataclasses import dataclass

import pytest
import torch
from PIL import Image

from dcar_edu.runs import logbook
from dcar_edu.runs.logbook import Logbook
from dcar_edu.runs.table import cut_rows, read_rows, seconds_spent

draw_curve = Logbook.draw_curve  # conftest puts nothing in its place


@dataclass(frozen=True)
class Record:
    number: int
    loss: float
    pixel_loss: float
    gan_loss: float = 0.0
    stage: str = "discrete"


def record(step):
    return Record(step, 1 / step, 0.5 / step)


def written(out, steps, start=0, **options):
    book = Logbook(out, steps, start, **options)
    for step in range(start + 1, steps + 1):
        book.write(record(step), step)
    return book


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still until it is moved."""
    clock = types.SimpleNamespace(now=1000.0, monotonic=lambda: clock.now)
    monkeypatch.setattr(logbook, "time", clock)
    return clock


def test_a_row_a_step_and_none_twice(tmp_path, clock):
    written(tmp_path, 7)
    path = tmp_path / "metrics.csv"
    before = path.read_text()
    Logbook(tmp_path, 7, start=4)
    assert [int(row["step"]) for row in read_rows(path)] == [1, 2, 3, 4]
    written(tmp_path, 7, start=4)
    assert path.read_text() == before
    assert before.splitlines()[0] == "step,seconds,loss,pixel_loss,gan_loss,stage"
    assert [float(row["loss"]) for row in read_rows(path)] == [1 / s for s in range(1, 8)]


def test_seconds_add_up_over_calls_without_what_was_undone(tmp_path, clock):
    assert seconds_spent(tmp_path) == 0
    for start, step in ((0, 1), (1, 2), (1, 2), (2, 3)):  # the second step is done twice
        book = Logbook(tmp_path, 7, start)
        clock.now += 5.5
        book.write(record(step), step)
        clock.now += 100  # between two calls
    assert [row["seconds"] for row in read_rows(tmp_path / "metrics.csv")] == [
        "5.5",
        "11.0",
        "16.5",
    ]
    assert seconds_spent(tmp_path) == 16.5


@pytest.mark.parametrize("cut", range(1, 12))
def test_a_row_that_a_kill_cut_short_is_left_out(tmp_path, cut):
    written(tmp_path, 3)
    path = tmp_path / "metrics.csv"
    path.write_bytes(path.read_bytes()[:-cut])
    assert [int(row["step"]) for row in read_rows(path)] == [1, 2]
    cut_rows(path, 3)
    assert path.read_bytes().endswith(b"\n")


def test_a_table_that_begins_anew_goes(tmp_path):
    written(tmp_path, 3)
    cut_rows(tmp_path / "metrics.csv", 0)
    assert not (tmp_path / "metrics.csv").exists()
    cut_rows(tmp_path / "metrics.csv", 0)


def test_long_runs_have_a_row_now_and_then(tmp_path, monkeypatch):
    monkeypatch.setattr(logbook, "ROWS", 4)
    written(tmp_path, 21)
    found = [int(row["step"]) for row in read_rows(tmp_path / "metrics.csv")]
    assert found == [5, 10, 15, 20, 21]


def test_lines_in_a_log_and_a_bar_on_a_terminal(tmp_path, monkeypatch, capsys):
    clock = iter(range(0, 1000, 4))
    monkeypatch.setattr(logbook.time, "monotonic", lambda: float(next(clock)))
    written(tmp_path, 9, every=10.0)
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert [line.split("/")[0] for line in lines] == ["1", "4", "7", "9"]
    assert lines[1] == "4/9  0.25 it/s  20 s left  discrete  loss 0.2500  pixel loss 0.1250"
    assert not err
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    written(tmp_path / "live", 8).close()
    out, err = capsys.readouterr()
    assert not out
    assert err.count("\r") == 8
    assert "[##########..........] 4/8" in err
    assert err.endswith("\n")


def test_a_sheet_and_a_curve(tmp_path):
    pytest.importorskip("matplotlib")
    book = written(tmp_path, 6)
    assert book.sample(torch.zeros(3, 5, 7), 6) == tmp_path / "samples" / "0000006.png"
    draw_curve(book)
    with Image.open(tmp_path / "curve.png") as curve:
        assert curve.size == (680, 230)  # two losses; the one that is always 0 is left out
    book.note(["ein Fuß"])
    assert "ein Fuß" in (tmp_path / "samples" / "captions.json").read_text("utf-8")


def test_a_run_without_losses_draws_no_curve(tmp_path):
    """A picture must not end a run."""
    book = Logbook(tmp_path, 2)
    book.write(Record(1, 0.0, 0.0), 1)
    draw_curve(book)
    assert not (tmp_path / "curve.png").exists()


def test_without_matplotlib_there_is_no_curve(tmp_path, monkeypatch):
    monkeypatch.setattr(logbook.importlib.util, "find_spec", lambda name: None)
    draw_curve(written(tmp_path, 2))
    assert not (tmp_path / "curve.png").exists()


class Writer:
    """Stands in for torch's SummaryWriter."""

    made: dict = {}

    def __init__(self, folder, purge_step):
        self.scalars, self.images, self.closed = [], [], False
        Writer.made = {"folder": folder, "purge": purge_step, "writer": self}

    def add_scalar(self, name, value, step):
        self.scalars.append((name, value, step))

    def add_image(self, name, image, step):
        self.images.append((name, image, step))

    def close(self):
        self.closed = True


def test_tensorboard_gets_the_same_numbers(tmp_path, monkeypatch):
    monkeypatch.setattr(logbook.importlib.util, "find_spec", lambda name: object())
    module = types.SimpleNamespace(SummaryWriter=Writer)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    monkeypatch.setattr(Logbook, "draw_curve", lambda self: None)
    book = written(tmp_path, 5, start=3, tensorboard=True)
    book.sample(torch.full((3, 4, 6), -1.0), 5)
    book.close()
    writer = Writer.made["writer"]
    assert Writer.made["folder"] == str(tmp_path / "tensorboard")
    assert Writer.made["purge"] == 3
    assert ("loss", 1 / 4, 4) in writer.scalars
    assert {step for _, _, step in writer.scalars} == {4, 5}
    ((name, image, step),) = writer.images
    assert (name, step, image.max().item()) == ("samples", 5, 0.0)
    assert writer.closed


def test_without_tensorboard_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr(logbook.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match="pip install tensorboard, or leave --tensorboard out"):
        Logbook(tmp_path, 5, tensorboard=True)
