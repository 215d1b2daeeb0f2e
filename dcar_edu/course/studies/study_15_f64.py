"""Lesson 15, the paper's open question 2: does the three-stage schedule carry over to f64?

All arms write a picture of 128 px as 512 numbers: 8 x 8 places of 8 at f16, 4 x 4 of 32 at f32,
2 x 2 of 128 at f64. They have the same codebook size and, within 2 %, the same number of
parameters; training spends the same FLOPs, so an arm with a cheaper step takes more steps. A code
names a place, so with fewer places the discrete path has fewer bits: 512, 128 and 32.
"""

import functools
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from einops import rearrange
from PIL import Image
from torch import Tensor

from dcar_edu import images as pixels
from dcar_edu.course.costs import tokenizer_flops
from dcar_edu.course.execute import ROOT
from dcar_edu.course.studies import Experiment
from dcar_edu.course.studies.study_05 import SURE, Verdict, verdict
from dcar_edu.data import CaptionedEmoji
from dcar_edu.features import EfficientNetFeatures
from dcar_edu.images import resize
from dcar_edu.metrics import judge_tokenizer
from dcar_edu.tokenizer.autoencoder import count_parameters
from dcar_edu.tokenizer.config import TokenizerConfig
from dcar_edu.tokenizer.hybrid import HybridTokenizer
from dcar_edu.tokenizer.training import TokenizerTraining, begin, three_stages, train_tokenizer

CODES = 256
LOOK: dict[str, tuple[str, ...]] = {
    "styles": ("3d",),
    "backgrounds": ("white", "pale blue"),
    "sizes": ("normal",),
}
DEPTHS = {"f16": (1, 3), "f32": (2, 1, 2), "f64": (3, 1, 1, 1)}
"""Residual blocks of the encoder in the stages at f8, f16, f32 and f64; the decoder has as many,
but 3 at f8 beyond f16. The last stage is 128 wide, the others 64."""
SHOWN = 4
"""Held-out pictures whose reconstructions are stored."""


@dataclass(frozen=True)
class Setting:
    """What one run costs: the same for every arm."""

    tflop: float
    """Floating-point operations of the training, in units of 10^12."""
    batch: int
    concepts: int
    """Learnt."""
    judged: int
    """Held-out pictures."""
    side: int = 128


SETTINGS = {
    "smoke": Setting(tflop=0.02, batch=2, concepts=4, judged=4, side=64),
    "cpu": Setting(tflop=1.5, batch=4, concepts=256, judged=64),
    "gpu": Setting(tflop=2000, batch=32, concepts=1024, judged=192, side=256),
}
"""Of a run, in the experiment and in the notebook."""


def factor(arm: str) -> int:
    """Pixels a side that become one place: 64 for ``"f64"``.

    Raises:
        ValueError: no such arm.
    """
    if arm not in DEPTHS:
        raise ValueError(f"arms are {', '.join(DEPTHS)}; got '{arm}'. Choose one of them.")
    return int(arm.removeprefix("f"))


def config_of(arm: str) -> TokenizerConfig:
    """A narrow tokenizer of 2.4 million parameters; residual blocks only.

    No attention: torch counts the backward pass of its depth-wise convolutions too high.
    """
    f, depths = factor(arm), DEPTHS[arm]
    stages, inner = 3 + len(depths), (0, 0, 0)
    blocks: tuple = ("res",) * stages
    norms: tuple = ("layer",) * stages
    activations: tuple = ("silu",) * stages
    return TokenizerConfig(
        widths=(64,) * (stages - 1) + (128,),
        encoder_depths=(*inner, *depths),
        decoder_depths=(*inner, depths[0] if f == 16 else 3, *depths[1:]),
        blocks=blocks,
        decoder_norms=norms,
        decoder_activations=activations,
        num_codes=CODES,
        latent_channels=f * f // 32,
    )


def new_tokenizer(arm: str, seed: int) -> HybridTokenizer:
    """A tokenizer that has learnt nothing; the global random state stays as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return HybridTokenizer(config_of(arm))


def plan(steps: int, seed: int) -> TokenizerTraining:
    """The paper's three stages, 1:4:1; the other numbers are for short runs."""
    return TokenizerTraining(
        three_stages(steps),
        learning_rate=2e-3,
        warmup_steps=20,
        ema_decay=0.98,
        l2=2.0,
        revive_every=50,
        seed=seed,
    )


@functools.cache
def _of_a_step(arm: str) -> dict[str, float]:
    """Stage -> floating-point operations of a step on one picture of 64 px."""
    once = plan(6, 0)
    found = tokenizer_flops(config_of(arm), once, (1, 3, 64, 64))
    return {stage.name: found[stage.name] / stage.steps for stage in once.stages}


def flops(arm: str, setting: Setting, steps: int) -> float:
    """Of a training of so many steps; convolutions cost in proportion to the area."""
    each = setting.batch * (setting.side / 64) ** 2
    return each * sum(stage.steps * _of_a_step(arm)[stage.name] for stage in three_stages(steps))


def steps_for(arm: str, setting: Setting) -> int:
    """The steps that the setting's compute buys; at least one of each stage."""
    each = flops(arm, setting, 600) / 600
    return max(6, round(setting.tflop * 1e12 / each))


def train(
    arm: str, seed: int, setting: Setting, device: torch.device | str = "cpu"
) -> Iterator[tuple[int, str, HybridTokenizer]]:
    """Train one arm through the three stages.

    Yields:
        The step, the name of its stage and the averaged tokenizer, after every step. All arms of
        a seed see the same pictures, the one with more steps some more at the end.
    """
    config = plan(steps_for(arm, setting), seed)
    tokenizer = new_tokenizer(arm, seed).to(device)
    data = CaptionedEmoji("train", setting.side, concepts=setting.concepts, **LOOK)
    source = torch.Generator().manual_seed(seed)  # its own: the arms' codes draw unequally often

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


def sizes(arm: str, setting: Setting) -> dict[str, float]:
    """What a picture becomes, and what the training costs."""
    config, steps = config_of(arm), steps_for(arm, setting)
    tokens = (setting.side // config.downsample) ** 2
    return {
        "tokens": tokens,
        "values": tokens * config.latent_channels,
        "bits": tokens * (CODES.bit_length() - 1),
        "parameters": count_parameters(HybridTokenizer(config)),
        "steps": steps,
        "tflop": flops(arm, setting, steps) / 1e12,
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
    found: dict[str, dict[int, Mapping[str, float]]] = {arm: {} for arm in DEPTHS}
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
    """Sizes, cost and metrics at the end; seed 0 at ``cpu`` also stores its pictures."""
    setting, device = SETTINGS[budget], "cuda" if torch.cuda.is_available() else "cpu"
    found = sizes(arm, setting)
    for step, stage, trained in train(arm, seed, setting, device):
        tokenizer = trained
        if step % max(1, int(found["steps"]) // 6) == 0:
            print(f"{arm} seed {seed}, step {step} of {found['steps']}, {stage}", flush=True)
    found |= judge(tokenizer, setting)
    if seed == 0 and budget == "cpu":
        store(arm, tokenizer, setting, ROOT / "lessons" / "results")
    return {name: round(value, 5) for name, value in found.items()}


EXPERIMENTS: dict[str, Experiment] = {
    "15_f64": Experiment(
        "three stages at f16, f32 and f64: equal numbers a picture, parameters and FLOPs",
        tuple(DEPTHS),
        _f64,
    ),
}
