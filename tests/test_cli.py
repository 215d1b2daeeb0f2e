import inspect
import subprocess
import sys
import types
from pathlib import Path

import pytest
from PIL import Image

import dcar_edu
from dcar_edu import cli, pipeline
from dcar_edu.generator.guidance import SCHEDULES
from dcar_edu.metrics import command as evaluating
from dcar_edu.metrics.evaluation import Plan, Sampling
from dcar_edu.metrics.references import REFERENCES, Reference

ONLY_BUILD = {"execute": None, "budget": None}


def put(monkeypatch, module: str, **functions):
    """Stand in for a room, so that only the command line is tested here."""
    monkeypatch.setitem(sys.modules, module, types.SimpleNamespace(**functions))


def test_version_and_help_without_a_room(capsys):
    with pytest.raises(SystemExit, match="0"):
        cli.main(["--version"])
    assert capsys.readouterr().out == f"dcar_edu {dcar_edu.__version__}\n"
    with pytest.raises(SystemExit, match="0"):
        cli.main(["--help"])
    shown = capsys.readouterr().out
    commands = [
        "doctor",
        "generate",
        "evaluate",
        "train",
        "checkpoints",
        "experiment",
        "bench",
        "scenes",
        "course",
    ]
    for command in commands:
        assert command in shown


@pytest.mark.parametrize(
    "arguments", [[], ["course"], ["train"], ["course", "run", "--budget", "x"]]
)
def test_a_wrong_command_line_exits_with_2(arguments, capsys):
    with pytest.raises(SystemExit, match="2"):
        cli.main(arguments)
    assert "usage: dcar" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("judge", "maker"),
    [("alignment", "aligning.train_alignment"), ("scenes", "detecting.train_scene_judge")],
)
def test_checkpoints_makes_the_judges(judge, maker, monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr(f"dcar_edu.course.{maker}", asked.append)
    assert cli.main(["checkpoints", judge, "--out", str(tmp_path)]) == 0
    assert asked == [tmp_path]


def test_python_m_dcar_edu():
    command = [sys.executable, "-m", "dcar_edu", "--version"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert shown == f"dcar_edu {dcar_edu.__version__}\n"


def test_an_error_is_one_line(monkeypatch, capsys):
    def status():
        raise ValueError("the rule.\n  What to do.")

    put(monkeypatch, "dcar_edu.course.progress", status=status)
    assert cli.main(["course", "status"]) == 1
    assert capsys.readouterr().err == "dcar: error: the rule. What to do.\n"


def test_the_keyboard_stops_quietly(monkeypatch, capsys):
    def status():
        raise KeyboardInterrupt

    put(monkeypatch, "dcar_edu.course.progress", status=status)
    assert cli.main(["course", "status"]) == 130
    assert capsys.readouterr().err == "dcar: stopped\n"


@pytest.mark.parametrize(("ok", "code"), [(True, 0), (False, 1)])
def test_doctor(monkeypatch, ok, code):
    asked = {}
    report = types.SimpleNamespace(ok=ok)
    put(monkeypatch, "dcar_edu.course.doctor", report=lambda **k: asked.update(k) or report)
    assert cli.main(["doctor", "--quick"]) == code
    assert asked == {"quick": True}


class Model:
    """Draws one flat picture a prompt and remembers what it was asked."""

    asked: dict = {}

    @classmethod
    def from_pretrained(cls, name):
        cls.asked = {"model": name}
        return cls()

    def to(self, device):
        return self

    def generate(self, prompts, **options):
        self.asked.update(options, prompts=prompts)
        return [Image.new("RGB", (8, 4), (number, 0, 0)) for number, _ in enumerate(prompts)]


def test_generate_writes_one_picture(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(dcar_edu, "DCAR", Model, raising=False)
    out = tmp_path / "wolf.png"
    options = ["--seed", "7", "--steps", "5", "--guidance", "2.5", "--model", "mine"]
    assert cli.main(["generate", "a wolf", *options, "--out", str(out)]) == 0
    with Image.open(out) as picture:
        assert picture.size == (8, 4)
    assert capsys.readouterr().out == f"{out}\n"
    wanted = {"model": "mine", "prompts": ["a wolf"], "num_steps": 5, "guidance": 2.5, "seed": 7}
    assert Model.asked == {**wanted, **PLAIN}


PLAIN = {"guidance_schedule": "constant", "residual_method": "ancestral", "residual_clip": None}


def test_generate_hands_on_every_option(monkeypatch, tmp_path):
    monkeypatch.setattr(dcar_edu, "DCAR", Model, raising=False)
    options = ["--guidance-schedule", "power-cosine", "--residual-method", "ddim"]
    options += ["--residual-clip", "2.5", "--out", str(tmp_path / "p.png")]
    assert cli.main(["generate", "a wolf", *options]) == 0
    changed = {"guidance_schedule": "power-cosine", "residual_method": "ddim", "residual_clip": 2.5}
    assert {name: Model.asked[name] for name in changed} == changed


def test_generate_has_the_defaults_and_schedules_of_the_library(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(dcar_edu, "DCAR", Model, raising=False)
    parameters = inspect.signature(pipeline.DCAR.generate).parameters
    assert cli.main(["generate", "a wolf", "--out", str(tmp_path / "p.png")]) == 0
    asked = {name: value for name, value in Model.asked.items() if name in parameters}
    del asked["prompts"], asked["seed"]
    assert asked == {name: parameters[name].default for name in asked}
    assert len(asked) == 5
    for name in SCHEDULES:
        options = ["--guidance-schedule", name, "--out", str(tmp_path / "p.png")]
        assert cli.main(["generate", "a wolf", *options]) == 0
    with pytest.raises(SystemExit, match="2"):
        cli.main(["generate", "a wolf", "--guidance-schedule", "cosine"])
    assert "invalid choice: 'cosine'" in capsys.readouterr().err


def test_evaluate_hands_everything_on(monkeypatch, tmp_path, capsys):
    asked = []
    found = types.SimpleNamespace(markdown=lambda: "| table |", save=lambda out: out)
    subject = types.SimpleNamespace(load=lambda name, device: (name, device))
    monkeypatch.setattr(evaluating, "Subject", subject)
    monkeypatch.setattr(evaluating, "evaluate", lambda *given: asked.append(given) or found)
    out = tmp_path / "out"
    assert cli.main(["evaluate", "mine", "--out", str(out)]) == 0
    assert asked == [(("mine", "cpu"), Plan())]
    assert capsys.readouterr().out == f"| table |\ntables and sheets of pictures: {out}\n"
    options = (
        "--splits train learnt --resolution 96 --pictures 7 --prompts 5 --seed 3 --steps 4 "
        "--guidance 2.5 --guidance-schedule linear --temperature 0.5 --residual-steps 6 "
        "--residual-clip 2 --residual-method ddim"
    )
    assert cli.main(["evaluate", "mine", *options.split()]) == 0
    sampling = Sampling(4, 2.5, "linear", 0.5, 6, 2.0, "ddim")
    assert asked[1][1] == Plan(("train", "learnt"), 96, 7, 5, sampling, 3)
    options = (
        "--reference coco --reference-split test --image-column picture --caption-column words "
        "--features inception"
    )
    assert cli.main(["evaluate", "mine", *options.split()]) == 0
    wanted = Reference(REFERENCES["coco"].source, "test", "picture", ("words",))
    assert asked[2][1] == Plan(reference=wanted, features="inception")
    assert cli.main(["evaluate", "mine", "--reference", "no such set"]) == 1
    assert "a reference is one of mjhq-30k" in capsys.readouterr().err


def test_generate_numbers_several_pictures(monkeypatch, tmp_path):
    monkeypatch.setattr(dcar_edu, "DCAR", Model, raising=False)
    assert cli.main(["generate", "a wolf", "a cat", "--out", str(tmp_path / "p.png")]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["p-1.png", "p-2.png"]
    with Image.open(tmp_path / "p-2.png") as second:
        assert second.getpixel((0, 0)) == (1, 0, 0)


def test_generate_lays_pictures_out_on_a_sheet(monkeypatch, tmp_path):
    monkeypatch.setattr(dcar_edu, "DCAR", Model, raising=False)
    out = tmp_path / "p.png"
    prompts = ["a wolf", "a cat", "a key"]
    assert cli.main(["generate", *prompts, "--sheet", "2", "--out", str(out)]) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["p.png"]
    with Image.open(out) as sheet:
        assert sheet.size == (2 * (8 + 2) + 2, 2 * (4 + 2) + 2)
        assert [sheet.getpixel(place) for place in ((2, 2), (12, 2), (2, 8))] == [
            (0, 0, 0),
            (1, 0, 0),
            (2, 0, 0),
        ]


@pytest.mark.parametrize(
    ("arguments", "module", "function", "wanted"),
    [
        ("course build", "course.builder", "build", {"check": False, **ONLY_BUILD}),
        ("course build --check", "course.builder", "build", {"check": True, **ONLY_BUILD}),
        (
            "course build --execute 01 --budget cpu",
            "course.builder",
            "build",
            {"check": False, "execute": "01", "budget": "cpu"},
        ),
        ("course run", "course.runner", "run", ("auto", "", "solutions", False)),
        (
            "course run --budget cpu --lessons 04 --view student --fresh",
            "course.runner",
            "run",
            ("cpu", "04", "student", True),
        ),
    ],
)
@pytest.mark.parametrize("code", [0, 1])
def test_the_course_commands_hand_on_options_and_exit_code(
    monkeypatch, arguments, module, function, wanted, code
):
    asked = []

    def call(*values, **options):
        asked.append(values or options)
        return code

    put(monkeypatch, f"dcar_edu.{module}", **{function: call})
    assert cli.main(arguments.split()) == code
    assert asked == [wanted]


def test_several_lessons_come_in_one_string(monkeypatch):
    asked = []
    put(monkeypatch, "dcar_edu.course.runner", run=lambda *values: asked.append(values) or 0)
    cli.main(["course", "run", "--lessons", "00 04"])
    assert asked == [("auto", "00 04", "solutions", False)]


def test_grade(monkeypatch):
    asked = []
    put(monkeypatch, "dcar_edu.course.grader", grade=lambda *values: asked.append(values) or 0)
    assert cli.main(["course", "grade", "class", "--seed", "7", "--out", "marks.csv"]) == 0
    assert asked == [(Path("class"), 7, Path("marks.csv"))]


def test_mine(monkeypatch):
    asked = []
    put(monkeypatch, "dcar_edu.course.mine", mine=lambda *values: asked.append(values) or 0)
    assert cli.main(["course", "mine"]) == 0
    more = ["--out", "me.py", "--minutes", "2.5", "--seed", "3"]
    assert cli.main(["course", "mine", "work", *more]) == 0
    assert asked == [(None, Path("my_dcar.py"), 5.0, 0), (Path("work"), Path("me.py"), 2.5, 3)]


def test_guide(monkeypatch):
    asked = []
    put(monkeypatch, "dcar_edu.course.guide", guide=lambda *values: asked.append(values) or 0)
    assert cli.main(["course", "guide"]) == 0
    assert cli.main(["course", "guide", "--out", "pages"]) == 0
    assert asked == [(None,), (Path("pages"),)]


def test_the_course_commands_are_listed(capsys):
    with pytest.raises(SystemExit, match="0"):
        cli.main(["course", "--help"])
    shown = capsys.readouterr().out
    for command in ("build", "run", "grade", "status", "guide", "mine"):
        assert f"    {command} " in shown


def test_experiment(monkeypatch):
    asked = []

    def experiment(*values, **options):
        asked.append((*values, options))
        return 3

    put(monkeypatch, "dcar_edu.course.experiments", experiment=experiment)
    assert cli.main(["experiment", "01_compression"]) == 3
    more = ["--arm", "f8", "--seed", "3", "--budget", "cpu", "--force"]
    assert cli.main(["experiment", "01_compression", *more]) == 3
    assert asked == [
        ("01_compression", None, 0, None, {"force": False}),
        ("01_compression", "f8", 3, "cpu", {"force": True}),
    ]


def test_bench_data(monkeypatch, capsys):
    asked = {}

    def measure(**options):
        asked.update(options)
        return {"images a second": 1234.56, "resolution": 64}

    put(monkeypatch, "dcar_edu.bench.data", measure=measure)
    assert cli.main(["bench", "data", "--resolution", "64", "--seconds", "0.5"]) == 0
    assert asked == {"resolution": 64, "seconds": 0.5}
    images, resolution = capsys.readouterr().out.splitlines()
    assert images.split() == ["images", "a", "second", "1,234.6"]
    assert resolution.split() == ["resolution", "64"]


def test_bench_vq(monkeypatch, capsys):
    asked = []

    def report(**options):
        asked.append(options)
        return "speed 2.00x"

    put(monkeypatch, "dcar_edu.bench.vq", report=report)
    assert cli.main(["bench", "vq"]) == 0
    assert cli.main(["bench", "vq", "--repeats", "5", "--threads", "1"]) == 0
    assert asked == [{"repeats": 3, "threads": None}, {"repeats": 5, "threads": 1}]
    assert capsys.readouterr().out == "speed 2.00x\n" * 2


def test_bench_sample(monkeypatch, capsys):
    asked = []

    def report(**options):
        asked.append(options)
        return "words kept 2.00x"

    put(monkeypatch, "dcar_edu.bench.sample", report=report)
    assert cli.main(["bench", "sample"]) == 0
    options = ["--preset", "nano", "--repeats", "5", "--threads", "1"]
    assert cli.main(["bench", "sample", *options]) == 0
    assert asked == [
        {"presets": ["paper", "small"], "repeats": 3, "threads": None},
        {"presets": ["nano"], "repeats": 5, "threads": 1},
    ]
    assert capsys.readouterr().out == "words kept 2.00x\n" * 2
