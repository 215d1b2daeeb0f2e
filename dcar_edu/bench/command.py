"""The commands ``dcar bench data|vq|sample``: their options, and what they print."""

import argparse
from collections.abc import Callable


def data(arguments: argparse.Namespace) -> int:
    """Time composed batches of captioned emoji."""
    from dcar_edu.bench.data import measure

    for name, value in measure(resolution=arguments.resolution, seconds=arguments.seconds).items():
        print(f"{name:24} {value:,.1f}" if isinstance(value, float) else f"{name:24} {value}")
    return 0


def vq(arguments: argparse.Namespace) -> int:
    """Time the search for the nearest code against torch.cdist and a peer."""
    from dcar_edu.bench.vq import report

    print(report(repeats=arguments.repeats, threads=arguments.threads))
    return 0


def sample(arguments: argparse.Namespace) -> int:
    """Time sampling: keeping the words' keys and values, and the residual head's share."""
    from dcar_edu.bench.sample import report

    presets = [arguments.preset] if arguments.preset else ["paper", "small"]
    print(report(presets=presets, repeats=arguments.repeats, threads=arguments.threads))
    return 0


def _data_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("--resolution", type=int, default=128)
    command.add_argument("--seconds", type=float, default=3.0)


def _vq_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("--repeats", type=int, default=3, help="timed runs of each side")
    command.add_argument("--threads", type=int, help="CPU threads, as they are if left out")


def _sample_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("--preset", help="nano, small or paper; paper and small if left out")
    command.add_argument("--repeats", type=int, default=3, help="timed runs; the median counts")
    command.add_argument("--threads", type=int, help="CPU threads, as they are if left out")


Run = Callable[[argparse.Namespace], int]
Options = Callable[[argparse.ArgumentParser], None]
TIMED: dict[str, tuple[Run, Options]] = {
    "data": (data, _data_options),
    "vq": (vq, _vq_options),
    "sample": (sample, _sample_options),
}
"""What can be timed: the command, and what adds its options."""
