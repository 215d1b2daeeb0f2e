"""The card of a shipped checkpoint: how it was made, what was measured, pictures, limits.

Everything but the facts in :class:`Making` comes from the checkpoint's own folder, as stored:
``learnt.json``, the sizes in its configs, an evaluation of its weights. What was special about one
copy stands in a ``made.md`` beside the card, which includes it.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from dcar_edu import checkpoint, images
from dcar_edu.metrics import tables
from dcar_edu.metrics.evaluation import Evaluation, Plan, evaluate
from dcar_edu.metrics.splits import Learnt
from dcar_edu.metrics.subject import Subject
from dcar_edu.pipeline import DCAR
from dcar_edu.runs.table import draw_curves

SHOWN = "held_out_concepts"
"""The split whose redrawn pictures the card shows."""
SIDE = 192
"""Drawings on the sheet of samples are shown with so many pixels, or fewer."""


@dataclass(frozen=True)
class Part:
    """One part of a training."""

    name: str
    steps: int
    batch: str
    """What a step sees: "16 pictures"."""
    flops: float
    """Of all steps; see :mod:`dcar_edu.course.costs`."""
    minutes: float | None = None
    """None where a row above counts them."""


@dataclass(frozen=True)
class Making:
    """What the weights do not say about how they were made."""

    name: str
    preset: str
    command: str
    """Makes it again."""
    tokenizer_data: str
    """What the tokenizer saw, in one sentence."""
    parts: tuple[Part, ...]
    notes: str
    """Losses and stages, in a sentence or two."""
    limits: str
    device: str
    torch: str


def write_card(
    folder: Path,
    making: Making,
    *,
    found: Evaluation | None = None,
    logs: Mapping[str, Path] | None = None,
    plan: Plan | None = None,
) -> Evaluation:
    """Evaluate the checkpoint in ``folder`` and write its card and the pictures on it.

    Args:
        folder: holds the weights and ``learnt.json``.
        making: stored in ``metrics.json``, beside all numbers of the evaluation.
        found: an evaluation of this very checkpoint; measured when not given.
        logs: the ``metrics.csv`` of each part's run, by name; without any there are no curves.
        plan: how to evaluate; the defaults if not given.

    Raises:
        ValueError: the folder holds no whole model or no ``learnt.json``.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    subject = Subject.load(folder, device)
    if subject.whole is None or subject.learnt is None:
        raise ValueError(
            f"a card needs a whole model and its learnt.json, and '{folder}' lacks one of them. "
            "Write it with dcar_edu.metrics.splits.Learnt."
        )
    found = found or evaluate(subject, plan)
    how = found.numbers["sampling"]
    pictures = {"samples": draw_samples(subject.whole, subject.learnt, how)}
    pictures |= {name: found.sheets[name] for name in (SHOWN, "prompts") if name in found.sheets}
    if logs:
        pictures["losses"] = draw_curves(logs)
    for name, picture in pictures.items():
        images.save(picture, folder / f"{name}.webp")
    content = {"making": checkpoint.to_dict(making), "evaluation": found.numbers}
    text = json.dumps(content, indent=1, ensure_ascii=False)
    checkpoint.write_atomically(folder / "metrics.json", text.encode())
    made = folder / "made.md"
    words = card(making, subject.whole, subject.learnt, found.numbers, set(pictures))
    words += "\n" + made.read_text("utf-8") if made.is_file() else ""
    checkpoint.write_atomically(folder / "README.md", words.encode())
    return found


def draw_samples(
    model: DCAR, learnt: Learnt, how: Mapping[str, Any], pairs: int = 24, columns: int = 6
) -> Image.Image:
    """Drawn picture and original side by side: the first learnt ones on the last background.

    Args:
        model: draws.
        learnt: what it was taught.
        how: options of ``generate``.
        pairs: how many.
        columns: pairs in a row.
    """
    data = learnt.data()
    examples = [e for e in data.examples() if e.background == learnt.backgrounds[-1]][:pairs]
    drawn = model.generate([example.caption for example in examples], **how, seed=0)
    both = [torch.stack([images.from_pil(p) for p in drawn]), data.render(examples)]
    sheet = torch.stack(both, dim=1).flatten(0, 1)
    side = min(SIDE, learnt.resolution)
    return images.to_pil(images.grid(images.resize(sheet, (side, side)), columns=2 * columns))


CARD = """# {name}

A DC-AR of preset `{preset}`: {resolution} px, {grid} tokens of 1 in {codes} codes, and a
continuous residual; {weights:.1f} M weights. Made by `{command}` to teach with.

![Learnt prompts: drawn (left of each pair) beside the pictures they describe](samples.webp)

## What it learnt
- Tokenizer: {tokenizer_data}
- Generator: {concepts} concepts in the style {styles}, size {sizes}, on {backgrounds}: {prompts}
  pictures with captions such as "{caption}". `learnt.json` lists the concepts.
- Text encoder: `{text_encoder}`, frozen, not in this folder.
- Licences: Fluent emoji (MIT), Noto emoji (Apache-2.0), see `data/emoji`. These weights: MIT.

## Measured, on the stored weights
`{command_again}` gives these tables; `metrics.json` holds every number.

### Pictures redrawn
{redrawn}
{about_redrawn}
{sheet_redrawn}
### Prompts drawn
{drawn}
{about_drawn}
{sheet_drawn}
Cosine of a latent and its code {cosine:.3f}; standard deviation of a residual {residual_std:.4f}.

## How it was trained
{training}

On {device}, float32, torch {torch}. {notes}
{curves}
## Limits
{limits}
"""


def card(
    making: Making, model: DCAR, learnt: Learnt, found: Mapping[str, Any], pictures: set[str]
) -> str:
    """The model card as Markdown.

    Args:
        making: facts of the training.
        model: for its sizes.
        learnt: what the generator was taught.
        found: the numbers of an evaluation, of pictures and of prompts.
        pictures: names of the sheets that lie beside the card.
    """
    tokenizer, grid = model.tokenizer.config, model.generator.config.grid
    examples = learnt.data().examples()
    shown = {
        SHOWN: f"![Concepts never seen: best, median and worst]({SHOWN}.webp)\n",
        "prompts": "![Learnt prompts, drawn beside real: best, median and worst](prompts.webp)\n",
        "losses": "\n![Losses over the steps](losses.webp)\n",
    }
    shown = {name: text if name in pictures else "" for name, text in shown.items()}
    return CARD.format(
        **{name: getattr(making, name) for name in ("name", "preset", "command", "tokenizer_data")},
        **{name: getattr(making, name) for name in ("device", "torch", "notes", "limits")},
        command_again=evaluate_command(making.name, found),
        resolution=grid[0] * tokenizer.downsample,
        grid=f"{grid[0]}x{grid[1]}",
        codes=tokenizer.num_codes,
        weights=_weights(model) / 1e6,
        concepts=len(learnt.concepts),
        styles=" and ".join(learnt.styles),
        sizes=" and ".join(learnt.sizes),
        backgrounds=" and ".join(learnt.backgrounds),
        prompts=len(examples),
        caption=examples[-1].caption,
        text_encoder=model.generator.config.text_encoder,
        redrawn=tables.redrawn(found["splits"]),
        about_redrawn=tables.about_redrawn(found["splits"]),
        sheet_redrawn=shown[SHOWN],
        drawn=tables.prompts(found["prompts"]),
        about_drawn=tables.about_prompts(found),
        sheet_drawn=shown["prompts"],
        cosine=tokenizer.code_cosine or 0.0,
        residual_std=tokenizer.residual_std or 0.0,
        training=training_table(making.parts),
        curves=shown["losses"],
    )


def evaluate_command(name: str, found: Mapping[str, Any]) -> str:
    """The command that measured these numbers."""
    words, how, usual = ["dcar evaluate", name], found["sampling"], Plan()
    redrawn = {split["images"] for split in found["splits"].values()}
    if how["guidance"] != usual.sampling.guidance:
        words.append(f"--guidance {how['guidance']:g}")
    if redrawn and max(redrawn) != usual.pictures:
        words.append(f"--pictures {max(redrawn)}")
    if found["prompts"]["prompts"] != usual.prompts:
        words.append(f"--prompts {found['prompts']['prompts']}")
    return " ".join(words)


def training_table(parts: tuple[Part, ...]) -> str:
    """A row a part, and their sum."""
    rows = [
        (
            part.name,
            f"{part.steps:,}",
            part.batch,
            "" if part.minutes is None else f"{part.minutes:,.0f} min",
            f"{part.flops / 1e15:.2f}",
        )
        for part in parts
    ]
    minutes = sum(part.minutes or 0 for part in parts)
    flops = sum(part.flops for part in parts)
    rows.append(("together", "", "", f"{minutes:,.0f} min", f"{flops / 1e15:.2f}"))
    return tables.markdown(("part", "steps", "a step", "time", "PFLOP"), rows)


def _weights(model: DCAR) -> int:
    parts = (model.tokenizer, model.generator)
    return sum(weight.numel() for part in parts for weight in part.parameters())
