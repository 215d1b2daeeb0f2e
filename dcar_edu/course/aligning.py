"""How the shipped alignment head is made and judged: ``dcar checkpoints alignment``.

Features of all pictures are computed once; the head then trains on them in seconds.
"""

import json
import time
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor

from dcar_edu import checkpoint, images
from dcar_edu.course.recipes import RECIPES, learnt_examples
from dcar_edu.data import CaptionedEmoji, EmojiExample
from dcar_edu.data.art import read_concepts
from dcar_edu.data.splits import SPLITS
from dcar_edu.features import load_features
from dcar_edu.metrics.alignment import (
    SIDE,
    Alignment,
    AlignmentHead,
    Retrieval,
    picture_features,
    retrieval,
    text_features,
)
from dcar_edu.pipeline import DCAR
from dcar_edu.state import warmed_cosine
from dcar_edu.text import load_text_encoder

MODEL = "emoji-128"
"""Its tokenizer makes the soft copies, its concepts are the candidates."""
STEPS, BATCH, RATE = 3000, 512, 1e-3
NOISE = 0.05
"""Standard deviation of the noise on features while training, against learning tiles by heart."""


def train_alignment(out: str | Path | None = None, seed: int = 0) -> Path:
    """Train the head on every concept and style, judge it, and write its card.

    Args:
        out: folder of the finished head; default ``data/judges/alignment``.
        seed: of weights, backgrounds, batches and noise.
    """
    began = time.monotonic()
    folder = Path(out) if out else checkpoint.data_folder() / "judges" / "alignment"
    model = DCAR.from_pretrained(MODEL)
    eyes, reader = load_features(), load_text_encoder("minilm")
    labels = [concept.label for concept in read_concepts()]
    pictures, wanted = _all_pictures(model, eyes, labels, seed)
    words = text_features(reader, labels)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        head = AlignmentHead()
    loss = fit(head, pictures, words, wanted, seed)
    head.save_pretrained(folder, dtype=torch.bfloat16)
    stored = Alignment(AlignmentHead.from_pretrained(folder), eyes, reader)
    found = judge(stored, model)
    minutes = (time.monotonic() - began) / 60
    made = {"pictures": len(wanted), "labels": len(labels), "loss": round(loss, 4)}
    made |= {"minutes": round(minutes, 1), "threads": torch.get_num_threads()}
    content = {name: asdict(result) for name, result in found.items()} | {"made": made}
    checkpoint.write_atomically(folder / "metrics.json", json.dumps(content, indent=1).encode())
    checkpoint.write_atomically(folder / "README.md", card(found, made).encode())
    print(f"finished: {folder}")
    return folder


def fit(
    head: AlignmentHead,
    pictures: Tensor,
    words: Tensor,
    wanted: Tensor,
    seed: int = 0,
    steps: int = STEPS,
) -> float:
    """Train ``head`` in place on ready features; returns the mean loss of the last tenth.

    Args:
        head: see :meth:`AlignmentHead.loss` for the shapes.
        pictures: features of all pictures.
        words: features of all labels.
        wanted: which label each picture has.
        seed: of batches and noise.
        steps: of 512 pictures, or of all when there are fewer.
    """
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(head.parameters(), lr=RATE, weight_decay=0.05)
    spread, losses = pictures.std(0), []
    head.train()
    for step in range(steps):
        rows = torch.randint(len(wanted), (min(BATCH, len(wanted)),), generator=generator)
        noise = torch.randn(len(rows), pictures.shape[1], generator=generator)
        loss = head.loss(pictures[rows] + NOISE * spread * noise, words, wanted[rows])
        loss.backward()
        for group in optimizer.param_groups:
            group["lr"] = RATE * warmed_cosine(step, steps, 100)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
        if (step + 1) % 500 == 0:
            print(f"step {step + 1} of {steps}: loss {loss.item():.3f}", flush=True)
    head.eval()
    last = losses[-max(1, steps // 10) :]
    return sum(last) / len(last)


def _all_pictures(
    model: DCAR, eyes: torch.nn.Module, labels: list[str], seed: int
) -> tuple[Tensor, Tensor]:
    """Features of every tile on some background: as it is, shrunk, and redrawn from tokens."""
    place = {label: number for number, label in enumerate(labels)}
    generator = torch.Generator().manual_seed(seed)
    features, wanted = [], []
    seen: set[tuple[str, str]] = set()
    for split in SPLITS:
        data = CaptionedEmoji(split, 128, sizes=("normal",))
        examples = _one_of_each_tile(data, seen, generator)
        print(f"{split}: {len(examples)} tiles", flush=True)
        for start in range(0, len(examples), 32):
            chunk = examples[start : start + 32]
            tiles = data.render(chunk)
            for copies in (tiles, _soft(tiles, generator), _redrawn(model, tiles)):
                features.append(picture_features(eyes, copies))  # type: ignore[arg-type]
                wanted += [place[example.label] for example in chunk]
    return torch.cat(features), torch.tensor(wanted)


def _one_of_each_tile(
    data: CaptionedEmoji, seen: set[tuple[str, str]], generator: torch.Generator
) -> list[EmojiExample]:
    """One example, on a random background, of each tile that no earlier split showed."""
    examples = data.examples()
    chosen = []
    for number in torch.randperm(len(examples), generator=generator).tolist():
        example = examples[number]
        if (example.style, example.hexcode) not in seen:
            seen.add((example.style, example.hexcode))
            chosen.append(example)
    return chosen


def _soft(tiles: Tensor, generator: torch.Generator) -> Tensor:
    """Shrink to 20-64 pixels and enlarge again, with a little noise."""
    side = int(torch.randint(20, 65, (), generator=generator))
    soft = images.resize(images.resize(tiles, (side, side)), (tiles.shape[2], tiles.shape[3]))
    return (soft + 0.05 * torch.randn(soft.shape, generator=generator)).clamp(-1, 1)


@torch.no_grad()
def _redrawn(model: DCAR, tiles: Tensor) -> Tensor:
    """Through the tokenizer; half of the pictures without their residuals."""
    encoded = model.tokenizer.encode(tiles)
    keep = (torch.arange(len(tiles)) % 2).reshape(-1, 1, 1, 1)
    return model.tokenizer.decode(encoded.indices, encoded.residuals * keep)


@torch.no_grad()
def judge(alignment: Alignment, model: DCAR) -> dict[str, Retrieval]:
    """Retrieval of the concepts that the shipped model learnt, on pale blue; seed 0."""
    data, examples = learnt_examples(RECIPES[MODEL])
    examples = [example for example in examples if example.background == "pale blue"]
    wanted = [example.label for example in examples]
    candidates = [concept.label for concept in data.concepts]
    tiles = data.render(examples)
    encoded = [model.tokenizer.encode(part) for part in tiles.split(32)]
    hybrid = torch.cat([model.tokenizer.decode(e.indices, e.residuals) for e in encoded])
    discrete = torch.cat([model.tokenizer.decode(e.indices) for e in encoded])
    prompts = [example.caption for example in examples]
    drawn = torch.stack([images.from_pil(p) for p in model.generate(prompts, seed=0)])
    codes_only = model.generate(prompts, seed=0, residual_steps=0)
    drawn_codes = torch.stack([images.from_pil(picture) for picture in codes_only])
    blank = torch.zeros_like(tiles)
    rows = {
        "the real tiles (ceiling)": (tiles, wanted),
        "redrawn by the tokenizer, hybrid": (hybrid, wanted),
        "redrawn by the tokenizer, codes only": (discrete, wanted),
        "drawn from the prompt, hybrid": (drawn, wanted),
        "drawn from the prompt, codes only": (drawn_codes, wanted),
        "the real tiles, captions shuffled": (tiles, wanted[1:] + wanted[:1]),
        "grey pictures": (blank, wanted),
    }
    return {name: retrieval(alignment, *row, candidates) for name, row in rows.items()}


CARD = """# Caption alignment

Does a picture show what was asked for? This head ranks the concepts of `data/emoji`: pictures
as a frozen EfficientNet-Lite0 sees them at {side} px, labels as a frozen MiniLM reads them, both
put on one sphere by two small networks. `dcar_edu.metrics.load_alignment()` loads it.

## Measured, on the stored bfloat16 weights
One picture a concept, style 3d on pale blue; {candidates} candidates: all that `{model}` learnt.

| pictures | R@1 | R@5 |
|---|---|---|
{rows}

Chance is {chance:.2%}. Prompts were drawn in 12 steps, guidance 4.5, temperature 1.5, seed 0.

## How it was trained
By `dcar checkpoints alignment`, on {pictures} pictures of all {labels} labels: every tile of the
four styles on a random background, as it is, shrunk and enlarged, and redrawn by the tokenizer of
`{model}` (drawn pictures are soft; a judge that never saw softness would fail them for it).
{steps} steps of {batch}, seed 0, {minutes} minutes in all on a CPU, {threads} thread(s).

## Limits
It has seen every tile, so the first row is the ceiling of this test and says nothing about new
pictures. It knows these labels only, ignores colour, position and number, and its cosines mean
nothing by themselves: rank with them.

Licences: Fluent emoji (MIT), Noto emoji (Apache-2.0), see `data/emoji`. These weights: MIT.
"""


def card(found: dict[str, Retrieval], made: dict) -> str:
    """The card as Markdown."""
    first = next(iter(found.values()))
    rows = "\n".join(f"| {name} | {r.r1:.3f} | {r.r5:.3f} |" for name, r in found.items())
    return CARD.format(
        **made,
        rows=rows,
        candidates=first.candidates,
        chance=first.chance,
        model=MODEL,
        side=SIDE,
        steps=STEPS,
        batch=BATCH,
    )
