"""``course.start`` and ``L.finish``: what is printed, seeded, measured and kept."""

import random
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from dcar_edu import course
from dcar_edu.course import budgets, checks, frontend, lesson, progress
from dcar_edu.course.lesson import LESSONS, start


@pytest.fixture(autouse=True)
def _own_home(tmp_path, monkeypatch):
    monkeypatch.setenv("DCAR_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(checks, "passed", {})


def test_seventeen_lessons_in_order():
    assert [name.number for name in LESSONS] == [f"{n:02d}" for n in range(17)]
    assert len({name.slug for name in LESSONS}) == 17
    assert all(name.title and name.line for name in LESSONS)


def test_lesson_sources_carry_the_slugs_of_the_table():
    from dcar_edu.checkpoint import data_folder

    sources = sorted((data_folder().parent / "lessons" / "src").glob("[0-9][0-9]_*.py"))
    known = {f"{name.number}_{name.slug}" for name in LESSONS}
    assert {source.stem for source in sources} <= known


def test_start_prints_what_to_expect(capsys):
    running = start("00", "smoke", 3)
    out = capsys.readouterr().out
    assert out.splitlines()[0] == "Lesson 00: Start here"
    assert f"budget    smoke: about {running.budget.minutes:g} min" in out
    assert "CPU, " in out
    assert "training computes in float32" in out
    assert f"torch {torch.__version__}" in out
    assert "models    shipped: " in out
    assert (running.seed, running.device.type, running.budget.name) == (3, "cpu", "smoke")


def test_start_seeds_everything(capsys):
    def draw():
        return torch.rand(1).item(), np.random.rand(), random.random()  # noqa: NPY002

    start("00", "smoke", 3)
    first = draw()
    start("00", "smoke", 3)
    assert draw() == first
    start("00", "smoke", 4)
    assert draw() != first


def test_generator_is_fresh_each_time_and_differs_by_extra(capsys):
    running = start("00", "smoke", 3)
    one, two, other = running.generator(), running.generator(), running.generator(1)
    numbers = [torch.rand(4, generator=g).tolist() for g in (one, two, other)]
    assert numbers[0] == numbers[1] != numbers[2]


def test_auto_says_which_budget_it_takes(capsys):
    start("00", "auto")
    assert "auto -> smoke" in capsys.readouterr().out


@pytest.mark.parametrize("number", ["0", "17", "start"])
def test_an_unknown_lesson_is_refused(number):
    with pytest.raises(ValueError, match="lessons are '00' to '16'"):
        start(number, "smoke")


def test_report_holds_a_metric_against_its_promise(capsys, monkeypatch):
    row = budgets.Budget("00", "smoke", 1, 2, 60, {}, {"psnr": (25, 27)})
    monkeypatch.setattr(budgets, "TABLE", (row,))
    running = start("00", "smoke")
    capsys.readouterr()
    running.report(psnr=26.02, match=0.75)
    running.report(psnr=20)
    assert capsys.readouterr().out.splitlines() == [
        "psnr 26.02 (promised 25 to 27)",
        "match 0.75",
        "psnr 20 (promised 25 to 27): outside the promised band",
    ]
    assert running.metrics == {"psnr": 20.0, "match": 0.75}


def test_finish_keeps_progress_and_names_the_next_lesson(capsys):
    running = start("00", "smoke")
    running.report(match=0.75)
    capsys.readouterr()
    running.finish()
    out = capsys.readouterr().out
    assert "Lesson 00 is finished" in out
    assert "Next: 01 Data and compression" in out
    kept = progress.read_progress("00")
    assert kept["finished"] is True
    assert kept["budget"] == "smoke"
    assert kept["metrics"] == {"match": 0.75}
    assert 0 <= kept["seconds"] < 60
    assert 0.05 < kept["peak_memory_gb"] < 64


def test_finish_adds_one_tile_to_the_wolf_strip(capsys, monkeypatch, tmp_path):
    strips = []
    monkeypatch.setattr(lesson.figures, "wolf_strip", lambda tiles: strips.append(dict(tiles)))
    start("01", "smoke").finish(wolf=torch.ones(3, 4, 6))
    start("00", "smoke").finish(wolf=Image.new("RGB", (6, 4), "blue"))
    start("01", "smoke").finish(wolf=-torch.ones(3, 4, 6))
    assert [sorted(strip) for strip in strips] == [["01"], ["00", "01"], ["00", "01"]]
    assert strips[2]["01"].getpixel((5, 3)) == (0, 0, 0)
    assert sorted(p.name for p in (tmp_path / "home" / "wolf").iterdir()) == ["00.png", "01.png"]


def test_the_last_lesson_has_no_next(capsys, monkeypatch):
    row = budgets.Budget("16", "smoke", 1, 2, 60)
    monkeypatch.setattr(budgets, "TABLE", (row,))
    start("16", "smoke").finish()
    assert "Next" not in capsys.readouterr().out


def test_save_answers_writes_what_passed_in_this_lesson(capsys, tmp_path):
    checks.passed.update({"00.2": "def b(): ...\n", "00.1": "def a(): ...\n", "01.1": "no"})
    path = start("00", "smoke").save_answers()
    assert path == tmp_path / "home" / "answers" / "00.py"
    assert path.read_text() == "# 00.1\ndef a(): ...\n\n\n# 00.2\ndef b(): ...\n"
    assert "2 answers saved in" in capsys.readouterr().out


def test_save_answers_downloads_on_colab(capsys, monkeypatch):
    downloads = []
    files = SimpleNamespace(download=downloads.append)
    monkeypatch.setitem(sys.modules, "google.colab", SimpleNamespace(files=files))
    path = start("00", "smoke").save_answers()
    assert downloads == [str(path)]


@pytest.mark.parametrize(
    ("capability", "dtype"), [((7, 5), torch.float32), ((8, 0), torch.bfloat16)]
)
def test_bf16_is_decided_by_compute_capability(monkeypatch, capability, dtype):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: True)
    assert lesson.fast_dtype(torch.device("cuda")) is dtype
    assert lesson.fast_dtype(torch.device("cpu")) is torch.float32


def test_checkpoints_lists_shipped_and_own(monkeypatch, tmp_path):
    monkeypatch.setenv("DCAR_DATA", str(tmp_path / "data"))
    assert lesson.checkpoints() == ([], [])
    (tmp_path / "data" / "checkpoints" / "emoji-128").mkdir(parents=True)
    (tmp_path / "home" / "checkpoints" / "04").mkdir(parents=True)
    assert lesson.checkpoints() == (["emoji-128"], ["04"])


def test_a_path_is_shown_without_the_users_name(monkeypatch, tmp_path):
    monkeypatch.setattr(lesson.Path, "home", lambda: tmp_path)
    assert lesson._short(tmp_path / "a" / "b") == "~/a/b"


def test_everything_a_notebook_calls_is_there():
    for name in course.__all__:
        assert getattr(course, name).__doc__, name


# Who is looking? --------------------------------------------------------------------------------


@pytest.fixture
def kernel(monkeypatch):
    for name in ("CI", "DCAR_WIDGETS", "JPY_SESSION_NAME", "VSCODE_PID"):
        monkeypatch.delenv(name, raising=False)
    shell = SimpleNamespace(kernel=object(), user_ns={})
    display = SimpleNamespace(display=None)
    fake = SimpleNamespace(get_ipython=lambda: shell, display=display)
    monkeypatch.setitem(sys.modules, "IPython", fake)
    return shell


def test_plain_python_is_not_live(monkeypatch):
    monkeypatch.setenv("DCAR_WIDGETS", "1")
    assert not frontend.in_kernel()
    assert not frontend.is_live()


@pytest.mark.usefixtures("kernel")
@pytest.mark.parametrize(
    ("environment", "live"),
    [
        ({}, False),
        ({"JPY_SESSION_NAME": "a.ipynb"}, True),
        ({"VSCODE_PID": "1"}, True),
        ({"JPY_SESSION_NAME": "a.ipynb", "CI": "true"}, False),
        ({"JPY_SESSION_NAME": "a.ipynb", "DCAR_WIDGETS": "0"}, False),
        ({"DCAR_WIDGETS": "1"}, True),
    ],
)
def test_a_kernel_is_live_when_a_server_started_it(monkeypatch, environment, live):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert frontend.in_kernel()
    assert frontend.is_live() is live


def test_publish_prints_words_outside_a_notebook(capsys):
    frontend.publish({"image/png": "AAAA", "text/plain": "a wolf"})
    assert capsys.readouterr().out == "a wolf\n"


def test_publish_shows_the_bundle_in_a_notebook(kernel, monkeypatch):
    shown = []
    monkeypatch.setattr(
        sys.modules["IPython"].display, "display", lambda *a, **k: shown.append((a, k))
    )
    frontend.publish({"text/plain": "a wolf"}, {"image/png": {"alt": "a wolf"}})
    assert shown == [
        (
            ({"text/plain": "a wolf"},),
            {"metadata": {"image/png": {"alt": "a wolf"}}, "raw": True},
        )
    ]
