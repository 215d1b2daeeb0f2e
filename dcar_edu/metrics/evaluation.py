"""From a checkpoint to a table: pictures redrawn, prompts drawn, and what they look like.

``dcar evaluate MODEL``. Distances between sets carry the name of the network whose features they
look at; on EfficientNet's they compare within this library, never with published FID.
"""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

import torch
from PIL import Image

from dcar_edu.features import EfficientNetFeatures, load_features
from dcar_edu.metrics.against import compare
from dcar_edu.metrics.alignment import Alignment, load_alignment
from dcar_edu.metrics.judge import judge_pictures, redrawn_numbers
from dcar_edu.metrics.networks import TITLES, Network, load_network
from dcar_edu.metrics.progress import Progress
from dcar_edu.metrics.prompts import Drawn, Places, Sampling, draw_prompts, judge_prompts
from dcar_edu.metrics.references import Reference, read_batches
from dcar_edu.metrics.results import Evaluation
from dcar_edu.metrics.sheets import extremes, sheet
from dcar_edu.metrics.splits import LEARNT, SPLITS, Pictures, check_splits, choose_pictures
from dcar_edu.metrics.subject import Subject
from dcar_edu.pipeline import DCAR

Found = tuple[dict[str, Any], dict[str, Image.Image]]
"""Numbers, and sheets by name."""
SHOWN = 4
"""Best, median and worst pictures on a sheet, so many of each."""


@dataclass(frozen=True)
class Plan:
    """What to measure."""

    splits: tuple[str, ...] | None = None
    """Of pictures to redraw, see :data:`~dcar_edu.metrics.splits.SPLITS`; None: all there are, or
    none where there is a reference."""
    resolution: int | None = None
    """None: the model's own."""
    pictures: int = 512
    """Of each split, and of a reference whose captions are not drawn; 0: redraw none."""
    prompts: int = 512
    """Of what the model learnt, or of the reference; 0: draw none."""
    sampling: Sampling = field(default_factory=Sampling)
    seed: int = 0
    reference: Reference | None = None
    """Pictures from elsewhere, to be judged in place of those of this library."""
    features: str = "efficientnet"
    """Whose features distances between sets look at, see :mod:`dcar_edu.metrics.networks`."""


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
    splits = plan.splits
    if splits is None:
        usual = tuple(s for s in SPLITS if s != LEARNT or subject.learnt)
        splits = () if plan.reference else usual
    check_splits(splits, subject.learnt)
    draws = subject.whole is not None and plan.prompts > 0 and plan.reference is None
    if draws and alignment is None:
        alignment = load_alignment(device)
    features = alignment.eyes if alignment else load_features(device)
    tools = Tools(features, load_network(plan.features, features), Progress(say))
    jobs: dict[str, Callable[[], Found]] = {
        split: partial(_redraw, subject, plan, split, resolution, tools)
        for split in (splits if plan.pictures else ())
    }
    if draws and alignment is not None:
        jobs["prompts"] = partial(_prompt, subject, plan, resolution, alignment, tools)
    if plan.reference is not None:
        jobs["reference"] = partial(_compare, subject, plan, plan.reference, resolution, tools)
    numbers, sheets = _heading(subject, plan, resolution), dict[str, Image.Image]()
    for name, job in jobs.items():
        began = time.monotonic()
        (numbers["splits"] if name in splits else numbers)[name], drawn = job()
        numbers["seconds"][name] = round(time.monotonic() - began, 1)
        sheets |= drawn
    return Evaluation(_rounded(numbers), sheets)


@dataclass(frozen=True)
class Tools:
    """What every part of an evaluation needs."""

    features: EfficientNetFeatures
    """For the perceptual distance."""
    network: Network
    """For distances between sets."""
    progress: Progress


def _heading(subject: Subject, plan: Plan, resolution: int) -> dict[str, Any]:
    device = subject.tokenizer.device
    return {
        "model": subject.name,
        "resolution": resolution,
        "features": TITLES[plan.features],
        "seed": plan.seed,
        "sampling": asdict(plan.sampling),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "torch": torch.__version__,
        "splits": {},
        "seconds": {},
    }


def _redraw(subject: Subject, plan: Plan, split: str, resolution: int, tools: Tools) -> Found:
    """Numbers of the pictures of one split, and the sheet of the best, median and worst."""
    tokenizer = subject.tokenizer
    pictures = choose_pictures(split, resolution, plan.pictures, plan.seed, subject.learnt)
    tools.progress.begin(split, len(pictures))
    batches = tools.progress.watch(pictures.batches(tokenizer.device))
    found = judge_pictures(tokenizer, batches, features=tools.features, network=tools.network)
    numbers = redrawn_numbers(found, tokenizer.config.num_codes, tools.network.name, plan.seed)
    quality = found["psnr_hybrid"]
    cells = []
    for kind, places in extremes(quality.argsort(descending=True).tolist(), SHOWN).items():
        originals = pictures.some(places, tokenizer.device)
        seen = tokenizer.encode(originals)
        drawn = (tokenizer.decode(seen.indices), tokenizer.decode(seen.indices, seen.residuals))
        for place, *shown in zip(places, originals, *drawn, strict=True):
            words = f"{kind}, {quality[place]:.1f} dB: {pictures.examples[place].caption}"
            cells.append((shown, words))
    return numbers, {split: sheet(cells, columns=2)}


def _prompt(
    subject: Subject, plan: Plan, resolution: int, alignment: Alignment, tools: Tools
) -> Found:
    """Numbers of the prompts, and the sheet of the best, median and worst drawings."""
    model = subject.whole
    assert model is not None
    split = LEARNT if subject.learnt else "train"
    pictures = choose_pictures(split, resolution, plan.prompts, plan.seed, subject.learnt)
    tools.progress.begin("prompts", len(pictures))
    count, network = tools.progress.add, tools.network
    drawn = draw_prompts(model, pictures, plan.sampling, alignment, network, plan.seed, count)
    labels = [example.label for example in pictures.examples]
    candidates = [concept.label for concept in pictures.data.concepts]
    numbers, places = judge_prompts(drawn, labels, candidates, alignment, network.name, plan.seed)
    if split != LEARNT:  # nobody says that it learnt these
        numbers = {name: found for name, found in numbers.items() if "token_match" not in name}
    shown = _drawings(model, pictures, drawn, places)
    return {"split": split, **numbers}, {"prompts": shown}


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


def _compare(
    subject: Subject, plan: Plan, reference: Reference, resolution: int, tools: Tools
) -> Found:
    """Numbers and sheets of a reference; its captions are drawn where there are some."""
    draws = subject.whole is not None and plan.prompts > 0 and bool(reference.captions)
    count = plan.prompts if draws else plan.pictures
    tools.progress.begin("reference", count)
    numbers, sheets = compare(
        subject,
        read_batches(reference, resolution, count, plan.seed),
        sampling=plan.sampling if draws else None,
        features=tools.features,
        network=tools.network,
        seed=plan.seed,
        count=tools.progress.add,
    )
    return {**asdict(reference), **numbers}, sheets


def _rounded(value: Any) -> Any:
    """The same numbers, floats with six decimals."""
    if isinstance(value, dict):
        return {name: _rounded(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(part) for part in value]
    return round(value, 6) if isinstance(value, float) else value
