"""The commands ``dcar bench data|vq|sample|parts|peers``: their options, and what they print."""

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


def parts(arguments: argparse.Namespace) -> int:
    """Time every part of a picture: text encoder, each step, residual head, decoder."""
    from dcar_edu.bench.reports import parts_report

    for line in parts_report(**_options(arguments)):
        print(line, flush=True)
    return 0


def peers(arguments: argparse.Namespace) -> int:
    """Time our model against others of its size on this machine, and check the paper's ratios."""
    from dcar_edu.bench.reports import peers_report

    for line in peers_report(**_options(arguments)):
        print(line, flush=True)
    return 0


def _options(arguments: argparse.Namespace) -> dict:
    """What the report takes: every option, without what the command line adds of its own."""
    return {key: value for key, value in vars(arguments).items() if key not in ("run", "rest")}


def _data_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("--resolution", type=int, default=128)
    command.add_argument("--seconds", type=float, default=3.0)


def _vq_options(command: argparse.ArgumentParser) -> None:
    _repeat_options(command)


def _sample_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("--preset", help="nano, small or paper; paper and small if left out")
    _repeat_options(command)


def _parts_options(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    add("--preset", default="small", help="nano, small or paper (default small)")
    add("--downsample", type=int, default=32, help="8, 16, 32 or 64 (default 32)")
    add("--steps", dest="num_steps", type=int, default=12, help="of unmasking (default 12)")
    add("--residual-steps", type=int, default=20, help="of the head; 0: none (default 20)")
    add("--no-text", dest="with_text", action="store_false", help="leave the text encoder out")
    add("--way", default="eager", help="eager, compile or graphs (CUDA): beside eager, in turn")
    add("--dtype", default="float32", help="float32, bfloat16 or float16")
    add("--peak", type=float, help="TFLOP/s of the data sheet; measured if left out")
    _place_options(command)


def _peers_options(command: argparse.ArgumentParser) -> None:
    limit = "of steps in one drawing; where all take longer, fewer are timed (default 30)"
    command.add_argument("--limit", type=float, default=30.0, metavar="SECONDS", help=limit)
    _place_options(command)


def _place_options(command: argparse.ArgumentParser) -> None:
    """Add where and how often to measure: what ``parts`` and ``peers`` share."""
    add = command.add_argument
    add("--sizes", type=int, nargs="+", default=[256, 512], metavar="PIXELS")
    add("--batches", type=int, nargs="+", default=[1, 8], metavar="N", help="default: 1 8")
    add("--device", default="cpu", help="default: cpu")
    clock = "wall, or cpu: this process's own seconds, for one thread on a busy machine"
    add("--clock", default="wall", help=clock)
    _repeat_options(command)


def _repeat_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("--repeats", type=int, default=3, help="timed runs; the median counts")
    command.add_argument("--threads", type=int, help="CPU threads, as they are if left out")


Run = Callable[[argparse.Namespace], int]
Options = Callable[[argparse.ArgumentParser], None]
TIMED: dict[str, tuple[Run, Options]] = {
    "data": (data, _data_options),
    "vq": (vq, _vq_options),
    "sample": (sample, _sample_options),
    "parts": (parts, _parts_options),
    "peers": (peers, _peers_options),
}
"""What can be timed: the command, and what adds its options."""
