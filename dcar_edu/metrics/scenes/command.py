"""The commands ``dcar scenes export|draw|score``: their options, and what they print."""

import argparse
from collections.abc import Callable
from pathlib import Path


def export(arguments: argparse.Namespace) -> int:
    """Write SceneEval's prompts into a folder, for any model to draw."""
    from dcar_edu.metrics.scenes.files import write_prompts
    from dcar_edu.metrics.scenes.specs import scene_prompts

    specs = scene_prompts(
        arguments.seed, styles=arguments.styles, backgrounds=arguments.backgrounds
    )
    print(f"{len(specs)} prompts: {write_prompts(arguments.out, specs)}")
    return 0


def draw(arguments: argparse.Namespace) -> int:
    """Draw a folder's prompts with a model of this library; goes on where it stopped."""
    import torch

    from dcar_edu.metrics.scenes.drawing import draw_prompts
    from dcar_edu.pipeline import DCAR

    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = DCAR.from_pretrained(arguments.model).to(device)
    how = ("num_steps", "guidance", "guidance_schedule", "residual_method", "residual_clip")
    options = {name: getattr(arguments, name) for name in how}
    for done, total in draw_prompts(model, arguments.out, arguments.seed, **options):
        print(f"{done}/{total}", flush=True)
    return 0


def score(arguments: argparse.Namespace) -> int:
    """Score the pictures in a folder, whoever drew them: a table and sheets of pictures."""
    import torch

    from dcar_edu.metrics.scenes.judge import load_scene_judge
    from dcar_edu.metrics.scenes.scored import score_folder

    judge = load_scene_judge("cuda" if torch.cuda.is_available() else "cpu")
    found = score_folder(judge, arguments.folder)
    print(found.report.markdown())
    print(f"tables and sheets of pictures: {found.save(arguments.folder / 'scores')}")
    return 0


def _export_options(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    add("--out", type=Path, required=True, metavar="DIR")
    add("--seed", type=int, default=0, help="of the prompts (default 0)")
    add("--styles", nargs="+", metavar="STYLE", help="some of 3d, flat, noto, blob; else all")
    add("--backgrounds", nargs="+", metavar="COLOUR", help='such as white "pale blue"; else all')


def _draw_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("model", help="a folder, a shipped name, a Hub id")
    out = "with exported prompts; if there are none, all 553 are exported to it"
    command.add_argument("--out", type=Path, required=True, metavar="DIR", help=out)


def _score_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("folder", type=Path, metavar="DIR", help="with prompts and pictures")


Run = Callable[[argparse.Namespace], int]
Options = Callable[[argparse.ArgumentParser], None]
STEPS: dict[str, tuple[Run, Options]] = {
    "export": (export, _export_options),
    "draw": (draw, _draw_options),
    "score": (score, _score_options),
}
"""The commands in order; how ``draw`` samples is added where ``dcar generate`` adds it too."""
