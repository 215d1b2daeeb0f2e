"""The command ``dcar``: reads the command line and calls one room.

Each subcommand is one function here; it imports the room it needs, so ``dcar --help`` is quick.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from dcar_edu import __version__


def doctor(arguments: argparse.Namespace) -> int:
    """Say what works on this machine and how to mend the rest."""
    from dcar_edu.course.doctor import report

    result = report(quick=arguments.quick)
    print(result)
    return 0 if result.ok else 1


def generate(arguments: argparse.Namespace) -> int:
    """Draw one picture for each prompt."""
    import torch

    from dcar_edu import DCAR, images

    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = DCAR.from_pretrained(arguments.model).to(device)
    pictures = model.generate(
        arguments.prompts,
        num_steps=arguments.num_steps,
        guidance=arguments.guidance,
        guidance_schedule=arguments.guidance_schedule,
        residual_method=arguments.residual_method,
        residual_clip=arguments.residual_clip,
        seed=arguments.seed,
    )
    if arguments.sheet:
        drawn = torch.stack([images.from_pil(picture) for picture in pictures])
        pictures = [images.to_pil(images.grid(drawn, columns=arguments.sheet))]
    for path, picture in zip(_places(arguments.out, len(pictures)), pictures, strict=True):
        images.save(picture, path)
        print(path)
    return 0


def _places(out: Path, count: int) -> list[Path]:
    """The file of each picture: ``out`` itself, or ``out`` numbered from 1 when there are more."""
    if count == 1:
        return [out]
    return [out.with_name(f"{out.stem}-{number}{out.suffix}") for number in range(1, count + 1)]


def evaluate(arguments: argparse.Namespace) -> int:
    """Measure a model, or a tokenizer alone: tables on the screen and in files."""
    from dcar_edu.metrics.command import run

    return run(arguments)


def train(arguments: argparse.Namespace) -> int:
    """Train a model on your own pictures; goes on where it stopped."""
    from dcar_edu.runs.command import train

    return train(arguments.part, arguments.rest)


def checkpoints(arguments: argparse.Namespace) -> int:
    """Train a checkpoint that the course ships; goes on where it stopped."""
    if arguments.name == "alignment":  # a judge, made in minutes in one go
        from dcar_edu.course.aligning import train_alignment

        train_alignment(arguments.out)
        return 0
    if arguments.name == "scenes":  # the other judge
        from dcar_edu.course.detecting import train_scene_judge

        train_scene_judge(arguments.out)
        return 0
    from dcar_edu.course.making import train

    train(arguments.name, minutes=arguments.minutes, out=arguments.out)
    return 0


def experiment(arguments: argparse.Namespace) -> int:
    """Run the arms of a comparison and add their lines to lessons/results."""
    from dcar_edu.course.experiments import experiment as run

    return run(
        arguments.name, arguments.arm, arguments.seed, arguments.budget, force=arguments.force
    )


def course_build(arguments: argparse.Namespace) -> int:
    """Build both notebooks of every lesson from lessons/src."""
    from dcar_edu.course.builder import build

    return build(check=arguments.check, execute=arguments.execute, budget=arguments.budget)


def course_run(arguments: argparse.Namespace) -> int:
    """Execute the lessons in order and report time, memory and metrics."""
    from dcar_edu.course.runner import run

    return run(arguments.budget, arguments.lessons, arguments.view, arguments.fresh)


def course_grade(arguments: argparse.Namespace) -> int:
    """Check every student's notebook in a folder on hidden inputs."""
    from dcar_edu.course.grader import grade

    return grade(arguments.folder, arguments.seed, arguments.out)


def course_mine(arguments: argparse.Namespace) -> int:
    """Build DC-AR from your own answers, train it for minutes and draw the wolf."""
    from dcar_edu.course.mine import mine

    return mine(arguments.folder, arguments.out, arguments.minutes, arguments.seed)


def course_guide(arguments: argparse.Namespace) -> int:
    """Write a page for instructors about each lesson."""
    from dcar_edu.course.guide import guide

    return guide(arguments.out)


def course_claims(arguments: argparse.Namespace) -> int:
    """Put the paper's claims beside our results, into the README."""
    from dcar_edu.course.claims import write_claims

    return write_claims(check=arguments.check)


def course_status(arguments: argparse.Namespace) -> int:
    """Show which lessons and exercises are done."""
    from dcar_edu.course.progress import status

    print(status())
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``dcar`` with ``arguments`` (those of the process if None).

    Returns:
        The exit code: 0 done, 1 failed (with one line that says why), 130 stopped by the keyboard.
        A wrong command line ends the process with 2.
    """
    parser = _parser()
    parsed, rest = parser.parse_known_args(arguments)
    if rest and "rest" not in parsed:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    parsed.rest = rest
    try:
        return parsed.run(parsed)
    except ValueError as error:
        print("dcar: error:", " ".join(str(error).split()), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("dcar: stopped", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="dcar", description="DC-AR, built step by step.")
    parser.add_argument("--version", action="version", version=f"dcar_edu {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    command = _add(commands, "doctor", doctor)
    command.add_argument("--quick", action="store_true", help="skip the five-second speed test")

    _add_generate(_add(commands, "generate", generate))
    _add_evaluate(_add(commands, "evaluate", evaluate))

    training = _group(commands, "train", "train a model of your own")
    for part in ("tokenizer", "generator"):
        _add(training, part, train).set_defaults(part=part, rest=[])

    command = _add(commands, "checkpoints", checkpoints)
    command.add_argument("name", help="such as emoji-128, or a judge: alignment, scenes")
    command.add_argument("--minutes", type=float, help="of this call; the next one goes on")
    command.add_argument("--out", type=Path, metavar="FOLDER", help="default: where it is shipped")

    command = _add(commands, "experiment", experiment)
    command.add_argument("name")
    command.add_argument("--arm", help="one arm; all of them if left out")
    command.add_argument("--seed", type=int, default=0)
    command.add_argument("--budget", choices=["smoke", "cpu", "gpu"])
    command.add_argument("--force", action="store_true", help="run again what is already there")

    from dcar_edu.bench.command import TIMED

    bench = _group(commands, "bench", "time a part of the library")
    for name, (run, add_options) in TIMED.items():
        add_options(_add(bench, name, run))
    _add_scenes(_group(commands, "scenes", "score pictures of scenes against their captions"))
    _add_course(_group(commands, "course", "build, run and grade the lessons"))
    return parser


def _add_generate(command: argparse.ArgumentParser) -> None:
    command.add_argument("prompts", nargs="+", metavar="PROMPT", help="each one in quotes")
    command.add_argument("--model", default="emoji-128", help="a folder, a shipped name, a Hub id")
    _add_sampling(command)
    sheet = "all pictures on one sheet, so many in a row"
    command.add_argument("--sheet", type=int, metavar="COLUMNS", help=sheet)
    command.add_argument("--out", type=Path, default=Path("dcar.png"), metavar="FILE.png")


def _add_evaluate(command: argparse.ArgumentParser) -> None:
    from dcar_edu.metrics.command import add_options

    add_options(command)
    _add_sampling(command)


def _add_scenes(scenes: argparse._SubParsersAction) -> None:
    from dcar_edu.metrics.scenes.command import STEPS

    for name, (run, add_options) in STEPS.items():
        command = _add(scenes, name, run)
        add_options(command)
        if name == "draw":
            _add_sampling(command)


def _add_sampling(command: argparse.ArgumentParser) -> None:
    """Add how to draw: what ``generate`` and ``evaluate`` share."""
    command.add_argument("--seed", type=int, default=0)
    add = command.add_argument
    add("--steps", dest="num_steps", type=int, default=12, help="sampling steps (default 12)")
    command.add_argument("--guidance", type=float, default=4.5, help="0 = off (default 4.5)")
    schedules, methods = ["constant", "linear", "power-cosine"], ["ancestral", "ddim"]
    command.add_argument("--guidance-schedule", choices=schedules, default="constant")
    command.add_argument("--residual-method", choices=methods, default="ancestral")
    clip = "in units of its scale; the model's own if left out"
    command.add_argument("--residual-clip", type=float, help=clip)


def _add_course(course: argparse._SubParsersAction) -> None:
    command = _add(course, "build", course_build)
    command.add_argument("--check", action="store_true", help="write nothing; fail on a difference")
    command.add_argument("--execute", metavar='"00 04"', help="then execute these solutions")
    command.add_argument("--budget", choices=["smoke", "cpu", "gpu"], help="of that execution")

    command = _add(course, "run", course_run)
    command.add_argument("--budget", default="auto", choices=["auto", "smoke", "cpu", "gpu"])
    command.add_argument("--lessons", default="", metavar='"00 04"', help="all if left out")
    command.add_argument("--view", default="solutions", choices=["solutions", "student"])
    command.add_argument("--fresh", action="store_true", help="do not resume")

    command = _add(course, "grade", course_grade)
    command.add_argument("folder", type=Path, metavar="DIR", help="one notebook for each student")
    command.add_argument("--seed", type=int, required=True, help="chooses the hidden inputs")
    command.add_argument("--out", type=Path, default=Path("grades.csv"), metavar="FILE.csv")

    _add(course, "status", course_status)

    command = _add(course, "claims", course_claims)
    command.add_argument("--check", action="store_true", help="write nothing; fail on a difference")

    command = _add(course, "guide", course_guide)
    command.add_argument("--out", type=Path, metavar="DIR", help="default: build/guide")

    command = _add(course, "mine", course_mine)
    command.add_argument(
        "folder", nargs="?", type=Path, metavar="DIR", help="your notebooks, beside kept answers"
    )
    command.add_argument("--out", type=Path, default=Path("my_dcar.py"), metavar="FILE.py")
    command.add_argument("--minutes", type=float, default=5.0, help="of training (default 5)")
    command.add_argument("--seed", type=int, default=0)


def _group(commands: argparse._SubParsersAction, name: str, says: str):
    """Add a command that only holds further commands."""
    parser = commands.add_parser(name, help=says, description=says.capitalize() + ".")
    return parser.add_subparsers(required=True, metavar="COMMAND")


def _add(
    commands: argparse._SubParsersAction, name: str, run: Callable[[argparse.Namespace], int]
) -> argparse.ArgumentParser:
    """Add a subcommand that calls ``run`` and is described by its docstring."""
    says = str(run.__doc__)
    short = says[0].lower() + says[1:].rstrip(".")
    asks_tyro = run is train  # for its options, and so for its help
    command = commands.add_parser(name, help=short, description=says, add_help=not asks_tyro)
    command.set_defaults(run=run)
    return command
