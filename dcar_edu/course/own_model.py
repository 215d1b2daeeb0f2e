"""A model of one's own beside the one it came from: judged alike, loaded again, spread out."""

import base64
import hashlib
import importlib.util
import shlex
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from dcar_edu import DCAR, HybridTokenizer, images
from dcar_edu.checkpoint import find_model
from dcar_edu.course.frontend import publish
from dcar_edu.course.picture import png
from dcar_edu.course.processes import run_in_process
from dcar_edu.metrics import mean_interval, psnr
from dcar_edu.metrics.splits import Learnt
from dcar_edu.runs import Pictures


def weights_by_part(model: DCAR) -> dict[str, list[Tensor]]:
    """The weights of each part, by the names of exercise 16.3."""
    head = model.generator.residual_head
    inside = {id(weight) for weight in head.parameters()}
    return {
        "encoder": list(model.tokenizer.encoder.parameters()),
        "codes": [model.tokenizer.quantizer.codes],
        "decoder": list(model.tokenizer.decoder.parameters()),
        "text encoder": list(model.text_encoder.parameters()),
        "transformer": [w for w in model.generator.parameters() if id(w) not in inside],
        "residual head": list(head.parameters()),
    }


class Latents(nn.Module):
    """The frozen half of a tokenizer as one module: pictures to latents."""

    def __init__(self, tokenizer: HybridTokenizer):
        super().__init__()
        self.tokenizer = tokenizer

    def forward(self, pictures: Tensor) -> Tensor:
        """Latents ``(b, c, h, w)`` of pictures ``(b, 3, H, W)``."""
        return self.tokenizer.encode(pictures).latents


@dataclass(frozen=True)
class Nearest:
    """Which of some other pictures each picture is nearest to."""

    places: Tensor
    """Of the nearest one, int64 ``(n,)``."""
    decibels: Tensor
    """How near it is, as PSNR ``(n,)``; infinite for the picture itself."""


def nearest(some: Tensor, others: Tensor) -> Nearest:
    """Find the nearest of other pictures, pixel by pixel, all shrunk to 32 pixels a side.

    Args:
        some: ``(n, 3, H, W)`` in [-1, 1].
        others: ``(m, 3, H, W)``.
    """
    rows = [images.resize(batch, (32, 32)).flatten(1).double() for batch in (some, others)]
    found = [(rows[1] - row).square().mean(1).min(0) for row in rows[0]]
    apart = torch.stack([each.values for each in found])
    places = torch.stack([each.indices for each in found])
    return Nearest(places, (10 * (4 / apart).log10()).float())


def key_of(*parts: Any) -> str:
    """A short name for a run that changes with its pictures and its plans."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:8]


def old_pictures(start: str, share: int) -> tuple[Pictures, ...]:
    """What a shipped model has learnt, as a source to mix in so that it is not forgotten.

    Args:
        start: the model.
        share: of this source beside others, see ``Pictures``; 0: no source.

    Returns:
        One source, or none where the model does not list what it learnt.
    """
    learnt = Learnt.read(find_model(start))
    if learnt is None or not share:
        return ()
    names = ("split", "styles", "concepts", "backgrounds", "sizes")
    return (Pictures("emoji", share, **{name: getattr(learnt, name) for name in names}),)


def learnt_picture(start: str, caption: str, side: int) -> Tensor:
    """The picture ``(3, side, side)`` that a model has learnt for a caption; white for others."""
    learnt = Learnt.read(find_model(start))
    data = learnt.data(side) if learnt else None
    places = [i for i, e in enumerate(data.examples()) if e.caption == caption] if data else []
    if not data or not places:
        return torch.ones(3, side, side)
    part = data.only(places[:1])
    return part.render(part.examples())[0]


@torch.no_grad()
def redrawn(model: DCAR, pictures: Tensor) -> Tensor:
    """Pictures encoded and decoded, with their residuals, on the CPU."""
    seen = model.tokenizer.encode(pictures.to(model.device))
    return model.tokenizer.decode(seen.indices, seen.residuals).cpu()


@dataclass(frozen=True)
class Judged:
    """What a model does with some pictures and their captions; one number a picture."""

    psnr_hybrid: Tensor
    """Encoded and decoded with residuals, in dB ``(n,)``."""
    psnr_discrete: Tensor
    """From the codes alone, in dB ``(n,)``."""
    right_thing: Tensor
    """Whether a drawing is nearest to a picture of its own group, 0 or 1 ``(n,)``."""
    drawn: list[Image.Image]
    """The drawings, from captions alone."""


@dataclass(frozen=True)
class Crowd:
    """Real pictures, one of which a drawing is nearest to."""

    pictures: Tensor
    """``(m, 3, H, W)`` in [-1, 1]."""
    groups: list[str]

    @property
    def chance(self) -> float:
        """How often a picture taken by chance is of the right group."""
        counts = Counter(self.groups).values()
        return sum(count**2 for count in counts) / len(self.groups) ** 2


@torch.no_grad()
def judge(
    model: DCAR,
    pictures: Tensor,
    captions: Sequence[str],
    groups: Sequence[str],
    crowd: Crowd,
    *,
    guidance: float,
    steps: int = 12,
    seed: int = 0,
) -> Judged:
    """Redraw pictures from their tokens, and draw their captions.

    Args:
        model: any DC-AR.
        pictures: ``(n, 3, H, W)`` in [-1, 1].
        captions: one a picture.
        groups: the group of each picture.
        crowd: all real pictures that a drawing may be nearest to, those of ``groups`` among them.
        guidance: of the drawings.
        steps: of each drawing.
        seed: of the first drawing; the next one has the next seed.
    """
    seen = model.tokenizer.encode(pictures.to(model.device))
    redrawn = [model.tokenizer.decode(seen.indices, r).cpu() for r in (seen.residuals, None)]
    drawn = model.generate(list(captions), num_steps=steps, guidance=guidance, seed=seed)
    places = nearest(torch.stack([images.from_pil(p) for p in drawn]), crowd.pictures).places
    pairs = zip(places.tolist(), groups, strict=True)
    right = [crowd.groups[place] == group for place, group in pairs]
    hybrid, discrete = (psnr(one, pictures.cpu()) for one in redrawn)
    return Judged(hybrid, discrete, torch.tensor(right).float(), drawn)


def with_interval(values: Tensor, digits: int, seed: int = 0, sign: bool = False) -> str:
    """A mean and its 95 % interval over pictures, as text.

    Example:
        >>> with_interval(torch.tensor([2.0, 2.0]), 1, sign=True)
        '+2.0 [+2.0, +2.0]'
    """
    low, high = mean_interval(values, generator=torch.Generator().manual_seed(seed))
    look = f"{'+' if sign else ''}.{digits}f"
    return f"{values.double().mean().item():{look}} [{low:{look}}, {high:{look}}]"


def name_of(picture: Image.Image) -> str:
    """A name of all pixels of a picture: another pixel, another name."""
    return hashlib.sha256(picture.convert("RGB").tobytes()).hexdigest()[:16]


DRAW = """
import sys
from dcar_edu import DCAR
from dcar_edu.course.own_model import name_of
folder, prompt, guidance, device = sys.argv[1:]
model = DCAR.from_pretrained(folder).to(device)
print(name_of(model.generate([prompt], guidance=float(guidance), seed=0)[0]))
"""


def name_in_a_fresh_process(folder: str | Path, prompt: str, guidance: float, device: str) -> str:
    """Load a model in a process that knows nothing else, draw a prompt, give :func:`name_of` it.

    Raises:
        RuntimeError: the process failed; says with what.
    """
    words = [sys.executable, "-c", DRAW, str(folder), prompt, str(guidance), device]
    return run_in_process(words, Path.cwd()).splitlines()[-1]


def show_card(folder: Path) -> None:
    """Show a model's card in the notebook as a reader of the Hub sees it."""
    text = (folder / "README.md").read_text("utf-8")
    head, body = text.removeprefix("---\n").split("\n---\n", 1)
    for path in folder.glob("*.webp"):  # a notebook shows only pictures that it holds
        with Image.open(path) as picture:
            shown = (
                f"data:image/png;base64,{base64.b64encode(png(picture.convert('RGB'))).decode()}"
            )
        body = body.replace(f"]({path.name})", f"]({shown})")
    publish({"text/markdown": f"```yaml\n{head}\n```\n{body}", "text/plain": text})


TWO = (
    *("accelerate", "launch", "--cpu", "--num_processes", "2", "--num_machines", "1"),
    *("--mixed_precision", "no", "--dynamo_backend", "no", "-m", "dcar_edu", "train"),
)
"""Two processes on one computer's CPU, which talk through gloo."""
SPREAD_OUT = {
    "the tokenizer's decoder, two processes, pictures as a stream": (
        *TWO,
        *("tokenizer", "--data", "hub:shards?streaming=yes", "--start", "emoji-128"),
        *("--stages", "0:0:4", "--batch", "4", "--out", "runs/tokenizer"),
    ),
    "the generator on it, two processes, the same stream": (
        *TWO,
        *("generator", "--data", "hub:shards?streaming=yes", "--start", "emoji-128"),
        *("--tokenizer", "runs/tokenizer", "--steps", "3", "--batch", "4"),
        *("--out", "runs/generator"),
    ),
}
"""The commands of the appendix, at toy size; what they do -> their words."""


def shell(words: Sequence[str]) -> str:
    """A command as it is typed."""
    return shlex.join(words)


def can_spread_out() -> bool:
    """Whether the libraries of :data:`SPREAD_OUT` are installed."""
    return all(importlib.util.find_spec(name) for name in ("accelerate", "datasets", "tyro"))


def write_shards(pictures: Path, folder: Path, count: int = 2) -> Path:
    """Write a folder of :func:`~dcar_edu.data.checking.write_folder` as Parquet files.

    Args:
        pictures: holds ``metadata.jsonl``.
        folder: made when missing.
        count: files; as many as there will be processes, or more.
    """
    import datasets

    quiet = not datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    folder.mkdir(parents=True, exist_ok=True)
    whole = datasets.load_dataset("imagefolder", data_dir=str(pictures), split="train")
    for number in range(count):
        name = f"train-{number:05d}-of-{count:05d}.parquet"
        whole.shard(count, number).to_parquet(str(folder / name))
    if quiet:
        datasets.enable_progress_bars()
    return folder


def spread_out(pictures: Path, work: Path) -> dict[str, str]:
    """Run the commands of :data:`SPREAD_OUT` in ``work``, and give back what each prints.

    Raises:
        RuntimeError: one failed; says with what.
    """
    write_shards(pictures, work / "shards")
    return {says: run_in_process(words, work) for says, words in SPREAD_OUT.items()}
