"""Train your own DC-AR for some minutes and draw the wolf: what ``python my_dcar.py`` does."""

import argparse
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dcar_edu import images
from dcar_edu.course.mine.model import MyDCAR
from dcar_edu.course.mine.parts import USED
from dcar_edu.course.recipes import RECIPES, learnt_examples
from dcar_edu.course.stages import SHIPPED
from dcar_edu.data import CaptionedEmoji
from dcar_edu.pipeline import DCAR

CONCEPTS, BATCH = 32, 32
LEARNING_RATE, WARMUP, AVERAGE, CLIP = 1e-3, 50, 0.995, 1.0
NOTE_EVERY = 20.0
"""Seconds between two printed lines."""


def main(parts: Mapping[str, Callable[..., Any]], file: str | Path) -> None:
    """Read the command line of ``python my_dcar.py``, then train and draw."""
    parser = argparse.ArgumentParser(description="Train my DC-AR and draw the wolf.")
    parser.add_argument("--minutes", type=float, default=5.0, help="of training (default 5)")
    parser.add_argument("--seed", type=int, default=0)
    told = parser.parse_args()
    train_and_draw(parts, Path(file).with_suffix(".png"), minutes=told.minutes, seed=told.seed)


def train_and_draw(
    parts: Mapping[str, Callable[..., Any]],
    picture: str | Path,
    *,
    minutes: float = 5.0,
    seed: int = 0,
    steps: int | None = None,
) -> dict[str, float]:
    """Train on a few dozen captioned pictures and draw one of them, the wolf.

    The functions in ``parts`` run here, in this process, as any code of yours does.

    Args:
        parts: exercise -> your function; the library fills the gaps.
        picture: where the drawing goes: the wolf as the tokenizer keeps it, drawn without
            chance, and drawn twice with chance.
        minutes: of training, on the clock.
        seed: of weights, training and drawing.
        steps: stop after so many steps, if that is earlier.

    Returns:
        What was measured: steps, tokens right (of the drawing without chance), psnr in dB
        (against the wolf as the tokenizer keeps it), noise error, minutes.

    Raises:
        ValueError: minutes are not above 0, or the loss is no longer a number.
    """
    if not minutes > 0:
        raise ValueError(f"minutes must be above 0, got {minutes}. Five are enough for a wolf.")
    began = time.monotonic()
    model, wolf, prompt = assemble(parts, seed)
    fn = model.fn
    usage, perplexity = fn["03.4"](model.indices, len(model.codes))
    print(
        f"{len(model.indices)} pictures as {model.grid[0]}x{model.grid[1]} tokens; they use "
        f"{usage:.0%} of the codes (perplexity {perplexity:.0f}); residuals {model.scale:.3f}",
        flush=True,
    )
    done = train(model, 60 * minutes - (time.monotonic() - began), seed, steps)
    best = model.tokenizer.decode(model.indices[wolf, None], model.residuals[wolf, None])
    drawn, tokens = model.draw(prompt)
    others = [model.draw(prompt, seed + place)[0] for place in (1, 2)]
    sheet = images.resize(torch.cat([best, drawn, *others]), (256, 256))
    images.save(images.grid(sheet, columns=4, gap=4), picture)
    found = {
        "steps": float(done),
        "tokens_right": float((tokens == model.indices[wolf]).sum()),
        "psnr": float(fn["01.2"](drawn, best)[0]),
        "noise_error": model.noise_error(torch.Generator().manual_seed(seed)),
        "minutes": (time.monotonic() - began) / 60,
    }
    own = sum(id in USED for id in parts)
    print(
        f"{picture}: {prompt}, by {own} functions of yours and {len(USED) - own} of the library; "
        f"{done} steps in {found['minutes']:.1f} min; "
        f"{found['tokens_right']:.0f} of {tokens.numel()} tokens right, {found['psnr']:.1f} dB, "
        f"noise error {found['noise_error']:.2f}"
    )
    return found


def assemble(parts: Mapping[str, Callable[..., Any]], seed: int = 0) -> tuple[MyDCAR, int, str]:
    """The untrained model on its pictures, which of them is the wolf, and the wolf's caption."""
    shipped, recipe = DCAR.from_pretrained(SHIPPED), RECIPES[SHIPPED]
    things = dict.fromkeys(example.label for example in learnt_examples(recipe)[1])
    data = CaptionedEmoji(
        "train",
        recipe.resolution,
        styles=recipe.learnt.styles,
        concepts=["wolf", *(label for label in things if label != "wolf")][:CONCEPTS],
        backgrounds=("white",),
        sizes=("normal",),
    )
    examples = data.examples()
    captions = [example.caption for example in examples]
    wolf = [example.label for example in examples].index("wolf")
    model = MyDCAR(parts, shipped, data.render(examples), captions, seed)
    return model, wolf, captions[wolf]


def train(model: MyDCAR, seconds: float, seed: int = 0, steps: int | None = None) -> int:
    """Train until the time is over or ``steps`` are done; the averaged weights are then in.

    Returns:
        The steps taken, at least one.
    """
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(model.learning, lr=LEARNING_RATE, betas=(0.9, 0.96))
    average = [weight.detach().clone() for weight in model.learning]
    began = said = time.monotonic()
    step = 0
    while not step or (time.monotonic() - began < seconds and step != steps):
        share = step / steps if steps else (time.monotonic() - began) / seconds
        for group in optimizer.param_groups:
            group["lr"] = _rate(step, share)
        token, residual = model.losses(BATCH, generator)
        loss = token + residual
        if not torch.isfinite(loss):
            raise ValueError(
                f"the loss is {loss.item()} after {step} steps (tokens {token.item():.3g}, "
                f"residuals {residual.item():.3g}). Look at the functions of 07.3 and 10.2."
            )
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.learning, CLIP)
        optimizer.step()
        _blend(average, model.learning, float(model.fn["07.5"](step, AVERAGE)))
        step += 1
        if time.monotonic() - said > NOTE_EVERY:
            said = time.monotonic()
            left = max(0.0, seconds - (said - began)) / 60
            print(
                f"step {step}  tokens {token.item():.3f}  residuals {residual.item():.3f}  "
                f"about {left:.1f} min left",
                flush=True,
            )
    _blend(model.learning, average, 0.0)
    model.eval()
    return step


def _rate(step: int, share: float) -> float:
    """Learning rate: a short warm-up, then a cosine down to a twentieth."""
    fall = 0.05 + 0.95 * (1 + math.cos(math.pi * min(1.0, share))) / 2
    return LEARNING_RATE * min(1.0, (step + 1) / WARMUP) * fall


@torch.no_grad()
def _blend(kept: list[Tensor], new: list[Tensor], decay: float) -> None:
    """Move ``kept`` towards ``new``: ``decay`` 0 copies, 1 keeps."""
    for mine, other in zip(kept, new, strict=True):
        mine.lerp_(other, 1 - decay)
