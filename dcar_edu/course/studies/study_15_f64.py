"""Lesson 15, the paper's open question 2: does the three-stage schedule carry over to f64?

All arms begin with the shipped f32 tokenizer, whose 32 numbers a place are only grouped anew: four
places make one of 128 at f64, a quarter of a place's numbers makes a place of 8 at f16. That is
DC-AE's shortcut as a stage of its own, without any parameter. So numbers a picture, network, start,
parameters and FLOPs are equal, steps too; but a code names a place, so a picture of 128 px has
512, 128 and 32 bits at f16, f32 and f64. Then each arm goes through all three stages.

This asks what places and codes at f64 cost, not whether a deeper network can be trained: from
nothing, a narrow f32 one was after 380 steps (4 pictures each) no better than the mean picture.
"""

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import torch
import torch.nn.functional as F
from einops import rearrange
from PIL import Image
from torch import Tensor, nn

from dcar_edu import images as pixels
from dcar_edu.bench.flops import count_flops
from dcar_edu.checkpoint import find_model
from dcar_edu.course.execute import ROOT
from dcar_edu.course.studies import Experiment
from dcar_edu.course.studies.study_05 import SURE, Verdict, verdict
from dcar_edu.data import CaptionedEmoji
from dcar_edu.features import EfficientNetFeatures
from dcar_edu.images import resize
from dcar_edu.metrics import judge_tokenizer, psnr
from dcar_edu.tokenizer.autoencoder import count_parameters
from dcar_edu.tokenizer.config import TokenizerConfig
from dcar_edu.tokenizer.hybrid import HybridTokenizer
from dcar_edu.tokenizer.training import TokenizerTraining, begin, three_stages, train_tokenizer

ARMS = ("f16", "f32", "f64")
START = "emoji-128"
"""The model whose tokenizer all arms begin with."""
CODES = 256
LOOK: dict[str, tuple[str, ...]] = {
    "styles": ("3d",),
    "backgrounds": ("white", "pale blue"),
    "sizes": ("normal",),
}
SHOWN = 4
"""Held-out pictures whose reconstructions are stored."""


@dataclass(frozen=True)
class Setting:
    """What one run costs: the same for every arm."""

    steps: int
    batch: int
    concepts: int
    """Learnt."""
    judged: int
    """Held-out pictures."""
    side: int = 128


SETTINGS = {
    "smoke": Setting(steps=6, batch=2, concepts=4, judged=4, side=64),
    "cpu": Setting(steps=120, batch=4, concepts=256, judged=64),
    "gpu": Setting(steps=6000, batch=32, concepts=1024, judged=192),
}
"""Of a run, in the experiment and in the notebook."""


class Regroup(nn.Module):
    """Latents ``(b, 32, h, w)`` at f32 to those at another f, or back: the same numbers.

    A place's numbers have length 1 on both sides, so the decoder meets the scale that it knows.

    Args:
        f: the other one.
        back: from f to f32.
    """

    def __init__(self, f: int, back: bool = False) -> None:
        super().__init__()
        self.f, self.back = f, back

    def forward(self, x: Tensor) -> Tensor:
        """``(b, c, h, w)`` to ``(b, c / k^2, h k, w k)``, or the other way; k is 1 or 2."""
        x = F.normalize(x, dim=1) if not self.back else x
        if self.f != 32:
            x = F.pixel_unshuffle(x, 2) if (self.f == 64) != self.back else F.pixel_shuffle(x, 2)
        return x * (self.f / 32) if self.back else x


def factor(arm: str) -> int:
    """Pixels a side that become one place: 64 for ``"f64"``.

    Raises:
        ValueError: no such arm.
    """
    if arm not in ARMS:
        raise ValueError(f"arms are {', '.join(ARMS)}; got '{arm}'. Choose one of them.")
    return int(arm.removeprefix("f"))


def config_of(arm: str, start: TokenizerConfig) -> TokenizerConfig:
    """The shipped network, with as many channels as give f32's numbers a picture."""
    f = factor(arm)
    channels = start.latent_channels * f * f // 32**2
    return replace(start, latent_channels=channels, num_codes=CODES, residual_std=None)


def new_tokenizer(arm: str) -> HybridTokenizer:
    """The shipped encoder and decoder around codes at f16, f32 or f64 that have learnt nothing."""
    shipped = HybridTokenizer.from_pretrained(find_model(START) / "tokenizer")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        tokenizer = HybridTokenizer(config_of(arm, shipped.config))
    f = factor(arm)
    parts: dict[str, nn.Module] = {
        "encoder": nn.Sequential(shipped.encoder, Regroup(f)),
        "decoder": nn.Sequential(Regroup(f, back=True), shipped.decoder),
    }
    for name, part in parts.items():
        setattr(tokenizer, name, part)
    return tokenizer


def plan(steps: int, seed: int) -> TokenizerTraining:
    """The paper's three stages, 1:4:1; the other numbers are for short runs."""
    return TokenizerTraining(
        three_stages(steps),
        learning_rate=5e-4,
        warmup_steps=10,
        ema_decay=0.95,
        l2=2.0,
        revive_every=25,
        seed=seed,
    )


def forward_flops(tokenizer: HybridTokenizer, side: int) -> int:
    """Of one picture, encoded, rounded to codes and drawn; a training step costs about 3 times."""
    with torch.no_grad():
        return count_flops(lambda: tokenizer(torch.zeros(1, 3, side, side), "discrete"))


def train(
    arm: str, seed: int, setting: Setting, device: torch.device | str = "cpu"
) -> Iterator[tuple[int, str, HybridTokenizer]]:
    """Train one arm through the three stages.

    Yields:
        The step, the name of its stage and the averaged tokenizer, after every step. All arms of
        a seed draw from the same stream of pictures; where places are few, the start of the codes
        takes more of them.
    """
    tokenizer, config = new_tokenizer(arm).to(device), plan(setting.steps, seed)
    data = CaptionedEmoji("train", setting.side, concepts=setting.concepts, **LOOK)
    source = torch.Generator().manual_seed(seed)

    def batches() -> Iterator[Tensor]:
        while True:
            yield data.batch(setting.batch, device=device, generator=source).images

    state = begin(tokenizer, config)
    for step in train_tokenizer(tokenizer, batches(), config, state=state):
        yield step.number, step.stage, cast(HybridTokenizer, state.average.module)


def unseen(setting: Setting) -> Tensor:
    """Pictures of concepts that are never learnt ``(judged, 3, side, side)``, no two alike."""
    data = CaptionedEmoji("held_out_concepts", setting.side, **LOOK)
    examples = data.examples()
    chosen = torch.randperm(len(examples), generator=torch.Generator().manual_seed(0))
    return data.render([examples[place] for place in chosen[: setting.judged].tolist()])


def judge(
    tokenizer: HybridTokenizer, setting: Setting, features: EfficientNetFeatures | None = None
) -> dict[str, float]:
    """All reconstruction metrics on held-out pictures; see ``judge_tokenizer``."""
    return judge_tokenizer(tokenizer, unseen(setting).split(16), features=features)


def sizes(tokenizer: HybridTokenizer, arm: str, setting: Setting) -> dict[str, float]:
    """What a picture becomes, and what the network costs."""
    tokens = (setting.side // factor(arm)) ** 2
    return {
        "tokens": tokens,
        "values": tokens * tokenizer.config.latent_channels,
        "bits": tokens * (CODES.bit_length() - 1),
        "parameters": count_parameters(tokenizer.encoder) + count_parameters(tokenizer.decoder),
        "forward_gflop": forward_flops(tokenizer, setting.side) / 1e9,
        "steps": setting.steps,
    }


@torch.no_grad()
def redraw(tokenizer: HybridTokenizer, originals: Tensor) -> Tensor:
    """Both paths ``(2, b, 3, h, w)``: with residuals, and codes alone."""
    encoded = tokenizer.encode(originals)
    hybrid = tokenizer.decode(encoded.indices, encoded.residuals)
    return torch.stack([hybrid, tokenizer.decode(encoded.indices)]).cpu()


def store(arm: str, tokenizer: HybridTokenizer, setting: Setting, folder: Path) -> Path:
    """Write the first pictures as they come back: above with residuals, below without; 128 px."""
    drawn = redraw(tokenizer, unseen(setting)[:SHOWN])
    small = torch.stack([resize(row, (128, 128)) for row in drawn])
    sheet = rearrange(small, "row b c h w -> c (row h) (b w)")
    path = folder / f"15_f64_{arm}.webp"
    pixels.save(sheet, path)
    return path


def stored(arm: str, folder: str | Path | None = None) -> Tensor:
    """What :func:`store` wrote for seed 0, ``(2, SHOWN, 3, 128, 128)``: two paths.

    Raises:
        ValueError: no such arm.
        FileNotFoundError: the experiment has not been run.
    """
    factor(arm)
    path = Path(folder or ROOT / "lessons" / "results") / f"15_f64_{arm}.webp"
    with Image.open(path) as picture:
        sheet = pixels.from_pil(picture)
    return rearrange(sheet, "c (row h) (b w) -> row b c h w", row=2, b=SHOWN)


Runs = Mapping[str, Mapping[int, Mapping[str, float]]]
"""Arm -> seed -> metrics."""


def by_arm(lines: Sequence[Mapping[str, Any]], budget: str = "cpu") -> Runs:
    """Sort the lines of ``results("15_f64")``; only seeds that every arm has, in order."""
    found: dict[str, dict[int, Mapping[str, float]]] = {arm: {} for arm in ARMS}
    for line in lines:
        if line["budget"] == budget:
            found[line["arm"]][line["seed"]] = line["metrics"]
    seeds = sorted(set.intersection(*(set(runs) for runs in found.values())))
    return {arm: {seed: runs[seed] for seed in seeds} for arm, runs in found.items()}


def mean_spread(runs: Runs, metric: str) -> dict[str, tuple[float, float]]:
    """Of every arm: mean over seeds and their standard deviation (0 for one seed)."""
    found = {}
    for arm, by_seed in runs.items():
        values = [metrics[metric] for metrics in by_seed.values()]
        spread = statistics.stdev(values) if len(values) > 1 else 0.0
        found[arm] = (statistics.mean(values), spread)
    return found


LOWER_IS_BETTER = ("perceptual", "rkid")


def compare(runs: Runs, arm: str, other: str, metric: str) -> tuple[float, Verdict]:
    """Mean difference ``arm`` minus ``other`` over the same seeds, and what may be said of it.

    Returns:
        The difference, and "better", "worse" or "cannot tell" of ``arm``: a paired t-test at 95 %.

    Raises:
        ValueError: fewer than two seeds.
    """
    a, b = ([metrics[metric] for metrics in runs[name].values()] for name in (arm, other))
    gap = statistics.mean(a) - statistics.mean(b) if a and b else 0.0
    if metric.startswith(LOWER_IS_BETTER):
        a, b = b, a
    return gap, verdict(a, b, SURE.get(len(a), 2.57))


def _f64(arm: str, seed: int, budget: str) -> dict[str, float]:
    """Sizes and metrics at the end; seed 0 at ``cpu`` also stores its pictures.

    ``psnr_start`` is the hybrid path's before any training.
    """
    setting, device = SETTINGS[budget], "cuda" if torch.cuda.is_available() else "cpu"
    begun, pictures = new_tokenizer(arm), unseen(setting)
    found = sizes(begun, arm, setting)
    found["psnr_start"] = psnr(redraw(begun, pictures)[0], pictures).mean().item()
    for step, stage, trained in train(arm, seed, setting, device):
        tokenizer = trained
        if step % max(1, setting.steps // 6) == 0:
            print(f"{arm} seed {seed}, step {step} of {setting.steps}, {stage}", flush=True)
    found |= judge(tokenizer, setting)
    if seed == 0 and budget == "cpu":
        store(arm, tokenizer, setting, ROOT / "lessons" / "results")
    return {name: round(value, 5) for name, value in found.items()}


EXPERIMENTS: dict[str, Experiment] = {
    "15_f64": Experiment(
        "three stages at f16, f32 and f64 from one start: equal numbers, parameters and FLOPs",
        ARMS,
        _f64,
    ),
}
