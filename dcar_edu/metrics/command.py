"""The command ``dcar evaluate``: its options, and what it prints."""

import argparse
from pathlib import Path

import torch

from dcar_edu.metrics.evaluation import Plan, evaluate
from dcar_edu.metrics.networks import TITLES
from dcar_edu.metrics.prompts import Sampling
from dcar_edu.metrics.references import REFERENCES, find_reference
from dcar_edu.metrics.splits import SPLITS
from dcar_edu.metrics.subject import Subject


def add_options(command: argparse.ArgumentParser) -> None:
    """Add what to measure; how to draw is added where ``dcar generate`` adds it too."""
    add = command.add_argument
    add("model", help="a folder, also a tokenizer's alone; a shipped name; a Hub id")
    add("--resolution", type=int, help="in pixels; the model's own if left out")
    add("--splits", nargs="+", metavar="SPLIT", help=f"some of {', '.join(SPLITS)}; else all")
    add("--pictures", type=int, default=512, help="to redraw, of each split (default 512)")
    add("--prompts", type=int, default=512, help="to draw; 0 = none (default 512)")
    add("--temperature", type=float, default=1.5, help="(default 1.5)")
    add("--residual-steps", type=int, default=20, help="0 = discrete path (default 20)")
    add(
        "--reference",
        metavar="NAME",
        help=f"judge other pictures: {', '.join(REFERENCES)}; "
        "hub:NAME; or a folder of pictures or Parquet files",
    )
    add("--reference-split", metavar="SPLIT", help="of the data set (default: train)")
    add("--image-column", metavar="COLUMN", help="of the data set (default: image)")
    add("--caption-column", metavar="COLUMN", help="'' = none, and its pictures are only redrawn")
    add(
        "--features",
        choices=list(TITLES),
        default="efficientnet",
        help="that distances between sets look at (default efficientnet)",
    )
    add("--out", type=Path, default=Path("evaluation"), metavar="FOLDER")


def run(arguments: argparse.Namespace) -> int:
    """Evaluate, print the tables and write the files."""
    reference = None
    if arguments.reference:
        reference = find_reference(
            arguments.reference,
            split=arguments.reference_split,
            image=arguments.image_column,
            caption=arguments.caption_column,
        )
    plan = Plan(
        splits=tuple(arguments.splits) if arguments.splits else None,
        resolution=arguments.resolution,
        pictures=arguments.pictures,
        prompts=arguments.prompts,
        sampling=Sampling(**{name: getattr(arguments, name) for name in vars(Sampling())}),
        seed=arguments.seed,
        reference=reference,
        features=arguments.features,
    )
    device = "cuda" if torch.cuda.is_available() else "cpu"
    found = evaluate(Subject.load(arguments.model, device), plan)
    print(found.markdown())
    print(f"tables and sheets of pictures: {found.save(arguments.out)}")
    return 0
