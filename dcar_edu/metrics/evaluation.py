"""From a checkpoint to a table: pictures redrawn, prompts drawn, and what they look like.

``dcar evaluate MODEL``. Distances between sets are KID on EfficientNet features: they compare
within this library, never with published FID.
"""

import json
import os
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

import torch
from PIL import Image
from torch import Tensor

from dcar_edu import checkpoint, images
from dcar_edu.features import EfficientNetFeatures, load_features
from dcar_edu.metrics.alignment import Alignment, load_alignment
from dcar_edu.metrics.distribution import paired_kid
from dcar_edu.metrics.judge import PATHS, judge_pictures, summary
from dcar_edu.metrics.prompts import Drawn, Places, Sampling, draw_prompts, judge_prompts
from dcar_edu.metrics.sheets import extremes, sheet
from dcar_edu.metrics.splits import LEARNT, SPLITS, Pictures, check_splits, choose_pictures
from dcar_edu.metrics.subject import Subject
from dcar_edu.metrics.tables import table
from dcar_edu.pipeline import DCAR
from dcar_edu.tokenizer import HybridTokenizer

SHOWN = 4
"""Best, median and worst pictures on a sheet, so many of each."""


@dataclass(frozen=True)
class Plan:
    """What to measure."""

    splits: tuple[str, ...] | None = None
    """Of pictures to redraw, see :data:`~dcar_edu.metrics.splits.SPLITS`; None: all there are."""
    resolution: int | None = None
    """None: the model's own."""
    pictures: int = 512
    """Of each split; 0: redraw none."""
    prompts: int = 512
    """Of what the model learnt; 0: draw none."""
    sampling: Sampling = field(default_factory=Sampling)
    seed: int = 0


@dataclass
class Progress:
    """Says how far a part is: at its end, and before that every ten seconds."""

    say: Callable[[str], None]

    def begin(self, part: str, total: int) -> None:
        """Start counting."""
        self.part, self.total, self.done, self.said = part, total, 0, time.monotonic()

    def add(self, count: int) -> None:
        """So many more are done."""
        self.done += count
        if self.done >= self.total or time.monotonic() - self.said > 10:
            self.say(f"{self.part}: {self.done}/{self.total}")
            self.said = time.monotonic()

    def watch(self, batches: Iterable[Tensor]) -> Iterator[Tensor]:
        """Count pictures as they pass; a batch counts when the next one is asked for."""
        for batch in batches:
            yield batch
            self.add(len(batch))


@dataclass(frozen=True)
class Evaluation:
    """What was measured, and sheets of what it looks like."""

    numbers: dict[str, Any]
    """Plain numbers, as in ``evaluation.json``."""
    sheets: dict[str, Image.Image]
    """By name: a split, or ``prompts``."""

    @classmethod
    def read(cls, folder: str | os.PathLike) -> Self:
        """Read what :meth:`save` wrote.

        Raises:
            ValueError: no evaluation in this folder.
        """
        path = Path(folder) / "evaluation.json"
        try:
            numbers = json.loads(path.read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise ValueError(
                f"no evaluation at '{path}': {error}. Give the folder that dcar evaluate wrote."
            ) from error
        names = [*numbers["splits"], *(["prompts"] if "prompts" in numbers else [])]
        return cls(numbers, {name: Image.open(path.with_name(f"{name}.webp")) for name in names})

    def markdown(self) -> str:
        """The tables."""
        return table(self.numbers)

    def save(self, folder: str | os.PathLike) -> Path:
        """Write ``evaluation.md``, ``evaluation.json`` and a sheet each as WebP."""
        folder = Path(folder)
        text = json.dumps(self.numbers, indent=1, ensure_ascii=False)
        checkpoint.write_atomically(folder / "evaluation.json", text.encode())
        links = "".join(f"\n![{_alt(name)}]({name}.webp)\n" for name in self.sheets)
        checkpoint.write_atomically(folder / "evaluation.md", (self.markdown() + links).encode())
        for name, picture in self.sheets.items():
            images.save(picture, folder / f"{name}.webp")
        return folder


def _alt(name: str) -> str:
    if name == "prompts":
        return "Drawn from prompts (left of each pair) beside the pictures they describe"
    return f"Split {name}: original, discrete path, hybrid path; best, median and worst"


def evaluate(
    subject: Subject,
    plan: Plan | None = None,
    *,
    alignment: Alignment | None = None,
    say: Callable[[str], None] = print,
) -> Evaluation:
    """Measure a model; the same plan gives the same numbers.

    Args:
        subject: from :meth:`Subject.load`.
        plan: what to measure.
        alignment: from :func:`~dcar_edu.metrics.alignment.load_alignment`; loaded when not given.
        say: told how far it is, now and then.

    Raises:
        ValueError: unknown splits, a resolution that does not fit, fewer than two pictures, or a
            library that is not installed.
    """
    plan, device = plan or Plan(), subject.tokenizer.device
    resolution = subject.resolution(plan.resolution)
    splits = plan.splits or tuple(s for s in SPLITS if s != LEARNT or subject.learnt)
    check_splits(splits, subject.learnt)
    draws = subject.whole is not None and plan.prompts > 0
    if draws and alignment is None:
        alignment = load_alignment(device)
    features = alignment.eyes if alignment else load_features(device)
    numbers, sheets = _heading(subject, plan, resolution), {}
    progress = Progress(say)
    for split in splits if plan.pictures else ():
        began = time.monotonic()
        pictures = choose_pictures(split, resolution, plan.pictures, plan.seed, subject.learnt)
        progress.begin(split, len(pictures))
        numbers["splits"][split], sheets[split] = _redraw(
            subject.tokenizer, pictures, features, plan.seed, progress
        )
        numbers["seconds"][split] = round(time.monotonic() - began, 1)
    if draws and alignment is not None:
        began = time.monotonic()
        numbers["prompts"], sheets["prompts"] = _prompt(
            subject, plan, resolution, alignment, progress
        )
        numbers["seconds"]["prompts"] = round(time.monotonic() - began, 1)
    return Evaluation(_rounded(numbers), sheets)


def _heading(subject: Subject, plan: Plan, resolution: int) -> dict[str, Any]:
    device = subject.tokenizer.device
    return {
        "model": subject.name,
        "resolution": resolution,
        "features": "EfficientNet-Lite0",
        "seed": plan.seed,
        "sampling": asdict(plan.sampling),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "torch": torch.__version__,
        "splits": {},
        "seconds": {},
    }


def _redraw(
    tokenizer: HybridTokenizer,
    pictures: Pictures,
    features: EfficientNetFeatures,
    seed: int,
    progress: Progress,
) -> tuple[dict[str, Any], Image.Image]:
    """Numbers of the pictures of one split, and the sheet of the best, median and worst."""
    batches = progress.watch(pictures.batches(tokenizer.device))
    found = judge_pictures(tokenizer, batches, features=features)
    numbers: dict[str, Any] = dict(summary(found, tokenizer.config.num_codes))
    for path in PATHS:
        name = f"rkid_efficientnet_{path}"
        numbers |= paired_kid(found["pooled"], found[f"pooled_{path}"], name, seed)
    numbers["images"] = len(pictures)
    quality = found["psnr_hybrid"]
    cells = []
    for kind, places in extremes(quality.argsort(descending=True).tolist(), SHOWN).items():
        originals = pictures.some(places, tokenizer.device)
        seen = tokenizer.encode(originals)
        drawn = (tokenizer.decode(seen.indices), tokenizer.decode(seen.indices, seen.residuals))
        for place, *shown in zip(places, originals, *drawn, strict=True):
            words = f"{kind}, {quality[place]:.1f} dB: {pictures.examples[place].caption}"
            cells.append((shown, words))
    return numbers, sheet(cells, columns=2)


def _prompt(
    subject: Subject, plan: Plan, resolution: int, alignment: Alignment, progress: Progress
) -> tuple[dict[str, Any], Image.Image]:
    """Numbers of the prompts, and the sheet of the best, median and worst drawings."""
    model = subject.whole
    assert model is not None
    split = LEARNT if subject.learnt else "train"
    pictures = choose_pictures(split, resolution, plan.prompts, plan.seed, subject.learnt)
    progress.begin("prompts", len(pictures))
    drawn = draw_prompts(model, pictures, plan.sampling, alignment, plan.seed, progress.add)
    labels = [example.label for example in pictures.examples]
    candidates = [concept.label for concept in pictures.data.concepts]
    numbers, places = judge_prompts(drawn, labels, candidates, alignment, plan.seed)
    if split != LEARNT:
        del numbers["token_match"]  # nobody says that it learnt these
    return {"split": split, **numbers}, _drawings(model, pictures, drawn, places)


def _drawings(model: DCAR, pictures: Pictures, drawn: Drawn, ranked: Places) -> Image.Image:
    """Drawn and real, side by side; best are those whose right label leads by most."""
    ahead = ranked.ahead["hybrid"].tolist()
    order = sorted(range(len(ahead)), key=lambda i: (ahead[i], -ranked.margin[i].item()))
    cells = []
    for kind, places in extremes(order, SHOWN).items():
        residuals = drawn.residuals[places]
        images_drawn = model.tokenizer.decode(drawn.indices[places], residuals)
        real = pictures.some(places, model.device)
        for place, *shown in zip(places, images_drawn, real, strict=True):
            words = f"{kind}, rank {ahead[place] + 1}: {pictures.examples[place].caption}"
            cells.append((shown, words))
    return sheet(cells, columns=4)


def _rounded(value: Any) -> Any:
    """The same numbers, floats with six decimals."""
    if isinstance(value, dict):
        return {name: _rounded(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(part) for part in value]
    return round(value, 6) if isinstance(value, float) else value
