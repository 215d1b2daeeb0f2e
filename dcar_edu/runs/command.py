"""`dcar train tokenizer|generator`: every field of a plan is an option; tyro reads them."""

import argparse
import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from dcar_edu.runs.following import Call
from dcar_edu.runs.keeping import read_plan
from dcar_edu.runs.plans import GeneratorRun, Pictures, TokenizerRun, parse_data
from dcar_edu.runs.teams import make_team
from dcar_edu.tokenizer.stages import Stage, three_stages


@dataclass(frozen=True)
class TrainTokenizer:
    """Train a tokenizer; the same command goes on with a run that was stopped or killed."""

    run: TokenizerRun
    out: Path = Path("runs/tokenizer")
    """Folder of the run: states, metrics, samples, and at the end `model/`."""
    plan: Path | None = None
    """Begin from the plan in this file, such as the `run.json` of another run; the other options
    change it."""
    call: Call = Call()


@dataclass(frozen=True)
class TrainGenerator:
    """Train a generator; the same command goes on with a run that was stopped or killed."""

    run: GeneratorRun
    tokenizer: str | None = None
    """A tokenizer: folder (also of a run), shipped name or Hub id; default: that of `start`."""
    out: Path = Path("runs/generator")
    """Folder of the run: states, metrics, samples, and at the end `model/`."""
    plan: Path | None = None
    """Begin from the plan in this file, such as the `run.json` of another run; the other options
    change it."""
    call: Call = Call()


def train(kind: Literal["tokenizer", "generator"], arguments: Sequence[str]) -> int:
    """Read the options, train, and part from the other processes, if there are any.

    Returns:
        0: finished, or stopped after the minutes of this call.

    Raises:
        ValueError: tyro is not installed, a value does not fit, or see the run.
        KeyboardInterrupt: stopped by Ctrl-C or SIGTERM; the state is saved.
    """
    if kind == "tokenizer":
        from dcar_edu.runs.tokenizer import run_tokenizer

        asked = read(TrainTokenizer, TokenizerRun, arguments)
        team = make_team(asked.run.precision, asked.run.accumulate)
        run_tokenizer(asked.run, asked.out, team=team, call=asked.call)
    else:
        from dcar_edu.runs.generator import run_generator

        asked = read(TrainGenerator, GeneratorRun, arguments)
        team = make_team(asked.run.precision, asked.run.accumulate)
        run_generator(asked.run, asked.out, asked.tokenizer, team=team, call=asked.call)
    team.end()
    return 0


def read(command: type, plan: type, arguments: Sequence[str]) -> Any:
    """The command with all its options.

    Raises:
        ValueError: tyro is not installed, or a value does not fit.
    """
    if importlib.util.find_spec("tyro") is None:
        raise ValueError(
            "dcar train reads its options with tyro, which is not installed. Run: pip install "
            "'dcar_edu[train]', or call dcar_edu.runs.run_tokenizer and run_generator in Python."
        )
    import tyro

    early = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    early.add_argument("--plan", type=Path)
    file = early.parse_known_args(arguments)[0].plan
    default = command(read_plan(file, plan) if file else plan(), plan=file)
    return tyro.cli(
        command,
        prog=f"dcar train {plan.__name__.removesuffix('Run').lower()}",
        args=list(arguments),
        default=default,
        config=(tyro.conf.OmitArgPrefixes,),
        registry=_registry(),
    )


def _registry() -> Any:
    """How a mixture and a tokenizer's stages are written on the command line."""
    from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec

    registry = ConstructorRegistry()

    @registry.primitive_rule
    def data(info: Any) -> Any:
        if not _tuple_of(Pictures, info.type):
            return None
        return PrimitiveConstructorSpec(
            nargs=1,
            metavar="DATA",
            instance_from_str=lambda words: parse_data(words[0]),
            is_instance=lambda value: isinstance(value, tuple),
            str_from_instance=lambda parts: ["+".join(part.text for part in parts)],
        )

    @registry.primitive_rule
    def stages(info: Any) -> Any:
        if not _tuple_of(Stage, info.type):
            return None
        return PrimitiveConstructorSpec(
            nargs=1,
            metavar="WARM-UP:DISCRETE:ALTERNATE",
            instance_from_str=lambda words: parse_stages(words[0]),
            is_instance=lambda value: isinstance(value, tuple),
            str_from_instance=lambda stages: [":".join(str(stage.steps) for stage in stages)],
        )

    return registry


def _tuple_of(kind: type, annotation: Any) -> bool:
    """Whether a field holds a tuple of `kind`, in any of the ways to write so."""
    return get_origin(annotation) is tuple and set(get_args(annotation)) - {...} == {kind}


def parse_stages(text: str) -> tuple[Stage, ...]:
    """Read the steps or shares of the three stages.

    Raises:
        ValueError: not three numbers.

    Example:
        >>> [(stage.name, stage.steps) for stage in parse_stages("0:0:9")]
        [('warm-up', 0), ('discrete', 0), ('alternate', 9)]
    """
    shares = text.split(":")
    if len(shares) != 3 or not all(share.isdecimal() for share in shares):
        raise ValueError(f"stages are three numbers such as 1:4:1, got '{text}'.")
    numbers = tuple(int(share) for share in shares)
    return three_stages(sum(numbers), numbers)
