"""How the shipped judge of scenes is made: ``dcar checkpoints scenes``.

It trains on real scenes that are drawn as it goes, moved, softened and tinted; on one thing of a
scene, enlarged; on four small scenes in one picture; and on single emoji of other names, in which
it must find nothing.
"""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from dcar_edu import checkpoint, images
from dcar_edu.course.scene_card import card, measure
from dcar_edu.data import CaptionedEmoji, CaptionedScenes, SceneExample
from dcar_edu.data.captions import BACKGROUNDS
from dcar_edu.data.composition import COLOURS, NOUNS, SHAPES
from dcar_edu.metrics.scenes.judge import SceneJudge
from dcar_edu.metrics.scenes.network import (
    SceneNetwork,
    Thing,
    cell_loss,
    cell_targets,
    things_of,
)
from dcar_edu.state import warmed_cosine

STEPS, RATE, DECAY = 4000, 2e-3, 0.01
SCENES, SINGLES, OTHERS, MOSAICS = 5, 4, 2, 5
"""Pictures of a batch: scenes, one thing of a scene, emoji of other names, mosaics."""
MOST, MOST_ALONE = 1.35, 2.6
"""Scenes are enlarged so far at most, and a thing that is left alone; all of it stays inside."""
SMALL_KINDS = ("single", "two", "count", "position", "colour", "binding")
"""Shown in mosaics, four scenes in one; of ``size`` the small thing would be too small."""
OTHER_SPLITS = ("train", "held_out_concepts")
"""Emoji of other names that it has seen, and that it has not."""


@dataclass(frozen=True)
class Step:
    """One step of training."""

    step: int
    """From 1."""
    loss: float


def train_scene_judge(out: str | Path | None = None, seed: int = 0, steps: int = STEPS) -> Path:
    """Train the judge, measure the stored weights, and write its card.

    Args:
        out: folder of the finished judge; default ``data/judges/scenes``.
        seed: of weights and pictures.
        steps: see :func:`fit`.
    """
    began, worked = time.monotonic(), time.process_time()
    folder = Path(out) if out else checkpoint.data_folder() / "judges" / "scenes"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = SceneNetwork()
    sources = Sources.of(network.config.side)
    losses = []
    for step in fit(network, sources, seed, steps):
        losses.append(step.loss)
        if step.step % 100 == 0:
            recent = losses[-100:]
            print(f"step {step.step} of {steps}: loss {sum(recent) / len(recent):.3f}", flush=True)
    network.save_pretrained(folder, dtype=torch.bfloat16)
    last = losses[-max(1, steps // 10) :]
    finish(
        folder,
        {
            "steps": steps,
            "batch": SCENES + SINGLES + OTHERS + MOSAICS,
            "seed": seed,
            "others": len(sources.others.concepts),
            "loss": round(sum(last) / len(last), 4),
            "minutes": round((time.monotonic() - began) / 60, 1),
            "cpu_minutes": round((time.process_time() - worked) / 60, 1),
        },
    )
    return folder


def finish(folder: Path, made: Mapping[str, float]) -> None:
    """Measure the judge stored in a folder and write ``metrics.json`` and its card."""
    judge = SceneJudge(SceneNetwork.from_pretrained(folder))
    others = [other_emoji(judge.network.config.side, split) for split in OTHER_SPLITS]
    numbers = measure(judge, dict(zip(OTHER_SPLITS, others, strict=True))) | {"made": made}
    checkpoint.write_atomically(folder / "metrics.json", json.dumps(numbers, indent=1).encode())
    checkpoint.write_atomically(folder / "README.md", card(numbers).encode())
    print(f"finished: {folder}")


@dataclass(frozen=True)
class Sources:
    """What training pictures are drawn from."""

    scenes: CaptionedScenes
    small: CaptionedScenes
    """At half the side, for mosaics."""
    others: CaptionedEmoji
    """Emoji in which nothing is to be found."""

    @classmethod
    def of(cls, side: int) -> "Sources":
        """All of split ``train`` that pictures of this side are made from."""
        return cls(
            CaptionedScenes("train", side),
            CaptionedScenes("train", side // 2, kinds=SMALL_KINDS),
            other_emoji(side),
        )


def fit(
    network: SceneNetwork, sources: Sources, seed: int = 0, steps: int = STEPS
) -> Iterator[Step]:
    """Train ``network`` in place.

    Args:
        network: learns.
        sources: at the network's side.
        seed: of pictures and their changes.
        steps: of 16 pictures each.
    """
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=DECAY)
    network.to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    for step in range(steps):
        pictures, things = make_batch(sources, generator)
        pictures = pictures.contiguous(memory_format=torch.channels_last)
        loss = cell_loss(network(pictures), cell_targets(things, network.config))
        optimizer.zero_grad()
        loss.backward()
        for group in optimizer.param_groups:
            group["lr"] = RATE * warmed_cosine(step, steps, steps // 20)
        torch.nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimizer.step()
        yield Step(step + 1, loss.item())
    network.eval()


def make_batch(sources: Sources, generator: torch.Generator) -> tuple[Tensor, list[list[Thing]]]:
    """Draw pictures ``(b, 3, h, w)`` of the four sorts, and say what is in each."""
    scenes = sources.scenes.batch(SCENES + SINGLES, generator=generator)
    things = [things_of(scene) for scene in scenes.records]
    for row in range(SCENES, SCENES + SINGLES):
        things[row] = leave_one(scenes.images[row], scenes.records[row], generator)
    others = sources.others.batch(OTHERS, generator=generator).images
    pictures = torch.cat([scenes.images, others])
    pictures, things = move(pictures, [*things, *([] for _ in others)], generator)
    small = sources.small.batch(4 * MOSAICS, generator=generator)
    four, theirs = mosaic(small.images, [things_of(scene) for scene in small.records])
    pictures = torch.cat([soften(pictures, generator), four])
    return tint(pictures, generator), things + theirs


def leave_one(picture: Tensor, scene: SceneExample, generator: torch.Generator) -> list[Thing]:
    """Paint over all things of a picture ``(3, h, w)`` but one, in place; say which is left.

    Enlarged by :func:`move`, it shows large what ``train`` never shows alone.
    """
    things, side = things_of(scene), picture.shape[-1]
    kept = int(torch.randint(len(things), (), generator=generator))
    ground = torch.tensor(BACKGROUNDS[scene.background]) / 127.5 - 1
    for place, (_, box) in enumerate(things):
        if place != kept:
            left, top = (max(int(value * side) - 1, 0) for value in box[:2])
            right, bottom = (int(value * side) + 2 for value in box[2:])
            picture[:, top:bottom, left:right] = ground[:, None, None]
    return [things[kept]]


def mosaic(pictures: Tensor, things: Sequence[Sequence[Thing]]) -> tuple[Tensor, list[list[Thing]]]:
    """Lay pictures ``(4 n, 3, h, w)`` out four by four: ``(n, 3, 2 h, 2 w)``.

    More things a picture are learnt in the same time.

    Source:
        Mosaics of YOLOv4 (arXiv:2004.10934).
    """
    whole = rearrange(pictures, "(n y x) c h w -> n c (y h) (x w)", y=2, x=2)
    moved: list[list[Thing]] = [[] for _ in whole]
    for place, listed in enumerate(things):
        right, down = place % 2, place // 2 % 2
        for name, (x0, y0, x1, y1) in listed:
            box = ((x0 + right) / 2, (y0 + down) / 2, (x1 + right) / 2, (y1 + down) / 2)
            moved[place // 4].append((name, box))
    return whole, moved


def other_emoji(resolution: int, split: str = "train", first: int = 800) -> CaptionedEmoji:
    """Emoji that are none of the judge's names: the first of a split in hash order."""
    known = set(NOUNS.values()) | {f"{c} {s}" for c in COLOURS for s in SHAPES}
    pool = CaptionedEmoji(split, resolution).concepts
    labels = [concept.label for concept in pool if concept.label not in known]
    return CaptionedEmoji(split, resolution, concepts=labels[:first])


def move(
    pictures: Tensor, things: Sequence[Sequence[Thing]], generator: torch.Generator
) -> tuple[Tensor, list[list[Thing]]]:
    """Zoom and shift pictures, all things staying inside; the plain border is continued.

    Scenes leave a margin and know a few layouts; models draw larger and elsewhere.
    """
    frames, moved = [], []
    for listed in things:
        boxes = torch.tensor([box for _, box in listed] or [(0.05, 0.05, 0.95, 0.95)])
        low, high = boxes[:, :2].amin(0), boxes[:, 2:].amax(0)
        most = MOST_ALONE if len(listed) == 1 else MOST
        most = min(most, 0.99 / (high - low).max().item())
        zoom = 0.75 + (max(most, 0.8) - 0.75) * torch.rand((), generator=generator)
        spare = (1 - zoom * (high - low)).clamp(min=0)
        start = spare * torch.rand(2, generator=generator)  # where the things begin now
        if torch.rand((), generator=generator) < 0.3:
            zoom, start = torch.tensor(1.0), low
        frames.append(torch.stack([zoom, *(low - start / zoom)]))
        moved.append([(name, _moved(box, zoom, low, start)) for name, box in listed])
    zoom, left, top = torch.stack(frames).T
    # Output place p in [0, 1] shows input place left + p / zoom; affine_grid speaks of [-1, 1].
    affine = torch.zeros(len(pictures), 2, 3)
    affine[:, 0, 0] = affine[:, 1, 1] = 1 / zoom
    affine[:, 0, 2], affine[:, 1, 2] = 2 * left + 1 / zoom - 1, 2 * top + 1 / zoom - 1
    grid = F.affine_grid(affine, list(pictures.shape), align_corners=False)
    return F.grid_sample(pictures, grid, padding_mode="border", align_corners=False), moved


def _moved(
    box: Sequence[float], zoom: Tensor, low: Tensor, start: Tensor
) -> tuple[float, float, float, float]:
    corners = torch.tensor(box).reshape(2, 2)
    left, top, right, bottom = ((corners - low) * zoom + start).flatten().tolist()
    return left, top, right, bottom


def soften(pictures: Tensor, generator: torch.Generator) -> Tensor:
    """Shrink and enlarge half of the pictures: drawn ones are softer than real ones."""
    soft = torch.rand(len(pictures), generator=generator) < 0.5
    low = pictures.shape[-1] // 2
    side = int(torch.randint(low, pictures.shape[-1], (), generator=generator))
    small = images.resize(pictures[soft], (side, side))
    changed = pictures.clone()
    changed[soft] = images.resize(small, (pictures.shape[2], pictures.shape[3]))
    return changed


def tint(pictures: Tensor, generator: torch.Generator) -> Tensor:
    """Stretch and shift each colour channel a little, and add noise."""
    shape = (len(pictures), 3, 1, 1)
    gain = 1 + 0.1 * (2 * torch.rand(shape, generator=generator) - 1)
    shift = 0.06 * (2 * torch.rand(shape, generator=generator) - 1)
    strength = 0.08 * torch.rand(len(pictures), 1, 1, 1, generator=generator)
    noise = strength * torch.randn(pictures.shape, generator=generator)
    return (pictures * gain + shift + noise).clamp(-1, 1)
