"""How the shipped checkpoints are made: ``dcar checkpoints emoji-128``.

A recipe runs in parts and saves its whole state every minute, so a run that was stopped or killed
goes on where it was when the same command is given again.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from dcar_edu import checkpoint
from dcar_edu.data import CaptionedEmoji
from dcar_edu.state import TrainingState
from dcar_edu.tokenizer import HybridTokenizer, TokenizerConfig
from dcar_edu.tokenizer.training import TokenizerTraining, begin, three_stages, train_tokenizer

SAVE_EVERY = 60.0
"""Seconds between two saved states."""


class OutOfTime(Exception):
    """The minutes of this call are used up; the state is saved."""


@dataclass(frozen=True)
class Recipe:
    """Everything that decides a shipped checkpoint, but the machine."""

    preset: str
    resolution: int
    tokenizer_training: TokenizerTraining
    tokenizer_batch: int


RECIPES = {
    "emoji-128": Recipe(
        preset="nano",
        resolution=128,
        tokenizer_batch=16,
        tokenizer_training=TokenizerTraining(
            stages=three_stages(2800, shares=(1, 2, 1)), l2=2.0, revive_every=100
        ),
    ),
}


@dataclass
class Clock:
    """Says when to save and when to stop, and prints a line now and then."""

    minutes: float | None
    say: Callable[[str], None] = print

    def __post_init__(self) -> None:
        """Start."""
        self.began = self.saved = self.printed = time.monotonic()
        self.first: int | None = None

    def tick(self, step: int, steps: int, line: str, save: Callable[[], None]) -> None:
        """Save, print or stop, as the time says.

        Raises:
            OutOfTime: the minutes are over.
        """
        now = time.monotonic()
        if self.first is None:
            self.first, self.counted = step, now
        if now - self.printed > 20 or step == steps:
            speed = (step - self.first) / max(now - self.counted, 1e-9)
            left = (steps - step) / max(speed, 1e-9) / 60
            self.say(f"{step}/{steps}  {speed:.2f} it/s  {left:.0f} min left  {line}")
            self.printed = now
        over = self.minutes is not None and now - self.began > 60 * self.minutes
        if over or step == steps or now - self.saved > SAVE_EVERY:
            save()
            self.saved = now
        if over and step < steps:
            raise OutOfTime


def train_the_tokenizer(recipe: Recipe, work: Path, clock: Clock, device: str) -> HybridTokenizer:
    """Part one: the tokenizer, three stages, on every style, background and size of the art."""
    finished = work / "tokenizer"
    if (finished / "config.json").is_file():
        return HybridTokenizer.from_pretrained(finished).to(device)
    torch.manual_seed(recipe.tokenizer_training.seed)  # the weights at the start
    config = TokenizerConfig.preset(recipe.preset)
    tokenizer = HybridTokenizer(config).to(device)
    training = recipe.tokenizer_training
    state = begin(tokenizer, training)
    folder = work / "tokenizer-state"
    if state.load(folder):
        clock.say(f"going on from step {state.step}")
    data = CaptionedEmoji("train", recipe.resolution)
    batches = _flipped(data, recipe.tokenizer_batch, state, device)
    for step in train_tokenizer(tokenizer, batches, training, state=state):
        line = (
            f"{step.stage} {step.path} pixel {step.pixel_loss:.4f} codes {step.codes_used} "
            f"cos {step.cosine:.3f} std {step.residual_std:.4f}"
        )
        clock.tick(step.number, training.steps, line, lambda: state.save(folder))
    tokenizer.save_pretrained(finished, dtype=torch.bfloat16)
    return HybridTokenizer.from_pretrained(finished).to(device)


def _flipped(
    data: CaptionedEmoji, size: int, state: TrainingState, device: str
) -> Iterator[Tensor]:
    """Batches drawn from the state's random source; each picture mirrored half of the time."""
    while True:
        images = data.batch(size, device=device, generator=state.generator).images
        mirror = torch.rand(size, generator=state.generator) < 0.5
        yield torch.where(mirror.to(images.device)[:, None, None, None], images.flip(-1), images)


def train(name: str, minutes: float | None = None, out: str | Path | None = None) -> Path | None:
    """Train a shipped checkpoint, or go on with it.

    Args:
        name: one of the recipes.
        minutes: stop this call after so many minutes; the next call goes on.
        out: folder of the finished checkpoint; default ``data/checkpoints/NAME``.

    Returns:
        The finished checkpoint's folder, or None when the minutes ended first.

    Raises:
        ValueError: no such recipe.
    """
    if name not in RECIPES:
        raise ValueError(f"recipes are {', '.join(RECIPES)}; got '{name}'. Name one of them.")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    work = checkpoint.home() / "recipes" / name
    try:
        train_the_tokenizer(RECIPES[name], work, Clock(minutes), device)
    except OutOfTime:
        print(f"stopped after {minutes} minutes; the same command goes on from {work}")
    return None
