"""Lesson 05: eight ways to train the same tokenizer, on the same pictures.

Every arm is a list of stages for the one loop ``train_tokenizer``. Arms of one seed begin with
the same weights and see the same stream of pictures; they differ in path and in what may learn.
"""

import math
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Literal

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from dcar_edu.course.studies import Experiment
from dcar_edu.data import CaptionedEmoji
from dcar_edu.features import EfficientNetFeatures, load_features
from dcar_edu.metrics import judge_tokenizer
from dcar_edu.tokenizer import HybridTokenizer, TokenizerConfig
from dcar_edu.tokenizer.latents import measure_latents
from dcar_edu.tokenizer.stages import Stage, TokenizerTraining, three_stages
from dcar_edu.tokenizer.training import begin, train_tokenizer

FROZEN = ("decoder",)
FOLLOWED = ("psnr", "rkid_efficientnet")
"""Metrics that are also noted after the first and the second stretch."""


@dataclass(frozen=True)
class Setting:
    """What one run costs: the same for every arm."""

    steps: int
    batch: int
    concepts: int | None
    """Concepts to learn from, and as many held-out ones to judge on; None for all."""
    judged: int
    """Held-out pictures that every metric is measured on."""
    codes: int = 64
    """So few that rounding to a code costs about what it costs the paper (cosine 0.82)."""
    resolution: int = 64


SETTINGS = {
    "smoke": Setting(steps=12, batch=8, concepts=32, judged=32),
    "cpu": Setting(steps=1200, batch=16, concepts=None, judged=512),
    "gpu": Setting(steps=6000, batch=64, concepts=None, judged=2048),
}


def arms(steps: int) -> dict[str, tuple[Stage, ...]]:
    """The eight plans, each of ``steps`` steps in all; paper's 1:4:1 where there are stages.

    The paper compares "no warm-up", "HART style" and "three stages"; the others are ours.
    """
    warm_up, discrete, alternate = three_stages(steps)
    most = steps - alternate.steps
    return {
        "direct": (Stage("alternate", steps, "alternate", starts_codes=True),),
        "warm-up only": (Stage("warm-up", steps, "continuous", warm_up.trains),),
        "discrete only": (Stage("discrete", steps, "discrete", starts_codes=True),),
        "alternate only": (Stage("alternate", steps, "alternate", FROZEN, starts_codes=True),),
        "no warm-up": (Stage("discrete", most, "discrete", starts_codes=True), alternate),
        "HART style": (
            warm_up,
            Stage("alternate", steps - warm_up.steps, "alternate", starts_codes=True),
        ),
        "three stages": (warm_up, discrete, alternate),
        "unfrozen": (
            warm_up,
            discrete,
            Stage("alternate", alternate.steps, "alternate", ("encoder", "decoder")),
        ),
    }


def longer_last_stage(steps: int) -> dict[str, tuple[Stage, ...]]:
    """Three stages whose decoder has more than the paper's one sixth to learn both paths."""
    return {
        "1:2:3": three_stages(steps, shares=(1, 2, 3)),
        "1:1:4": three_stages(steps, shares=(1, 1, 4)),
    }


Verdict = Literal["better", "worse", "cannot tell"]
SURE = {2: 12.71, 3: 4.30, 4: 3.18, 5: 2.78, 6: 2.57}
"""Seeds -> Student's t for 95 % confidence, both sides."""


def verdict(a: Sequence[float], b: Sequence[float], t: float) -> Verdict:
    """Is arm ``a`` better than arm ``b``? A paired t-test in words; higher is better.

    Args:
        a: one number a seed, at least two.
        b: the same seeds in the same order.
        t: how many standard errors the mean difference must exceed; see :data:`SURE`.

    Raises:
        ValueError: fewer than two seeds, or unequal lists.
    """
    if len(a) != len(b) or len(a) < 2:
        raise ValueError(
            f"verdict compares the same two or more seeds of both arms, got {len(a)} and {len(b)}. "
            "Run the missing seeds."
        )
    gaps = [one - other for one, other in zip(a, b, strict=True)]
    error = statistics.stdev(gaps) / math.sqrt(len(gaps))
    if abs(statistics.mean(gaps)) <= t * error:
        return "cannot tell"
    return "better" if statistics.mean(gaps) > 0 else "worse"


def small_tokenizer(codes: int, seed: int) -> HybridTokenizer:
    """A narrow f16 tokenizer (1 M parameters): 64 px become 4 x 4 tokens, as 128 px do at f32."""
    config = TokenizerConfig(
        widths=(32, 32, 32, 64, 128),
        encoder_depths=(0, 0, 1, 1, 1),
        decoder_depths=(0, 0, 1, 1, 1),
        blocks=("res", "res", "res", "res", "evit"),
        decoder_norms=("layer",) * 5,
        decoder_activations=("silu",) * 5,
        expansion=2,
        num_codes=codes,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return HybridTokenizer(config)


def train_arm(
    arm: str,
    seed: int,
    setting: Setting,
    *,
    features: EfficientNetFeatures | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> dict[str, float]:
    """Train one arm and judge it after one sixth, five sixths and all of the steps.

    Args:
        arm: one of :func:`arms` or :func:`longer_last_stage`.
        seed: of the weights at the start, the pictures and the path draws.
        setting: how long, how many.
        features: loaded when not given.
        say: gets a line of progress now and then.

    Returns:
        What :func:`dcar_edu.metrics.judge_tokenizer` found on held-out concepts at the end;
        ``NAME_after_1`` and ``NAME_after_2`` for PSNR and rKID at the two earlier stops;
        ``train_usage`` of the codes over at least 16 tokens a code of the train split.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    features = features or load_features(device)
    tokenizer = small_tokenizer(setting.codes, seed).to(device)
    stages = (arms(setting.steps) | longer_last_stage(setting.steps))[arm]
    plan = TokenizerTraining(stages=stages, l2=2.0, revive_every=100, seed=seed)
    train = CaptionedEmoji("train", setting.resolution, concepts=setting.concepts)
    stops = (setting.steps // 6, setting.steps - setting.steps // 6)
    found: dict[str, float] = {}
    state = begin(tokenizer, plan)
    stream = _pictures(train, setting.batch, seed, device)
    for step in train_tokenizer(tokenizer, stream, plan, state=state):
        if step.number % max(1, setting.steps // 8) == 0:
            say(f"{arm}, step {step.number} of {setting.steps}: loss {step.loss:.3f}")
        if step.number in stops:
            average: HybridTokenizer = state.average.module  # type: ignore[assignment]
            now = _judge(average, arm, setting, features, train)
            number = 1 + stops.index(step.number)
            kept = {k: v for k, v in now.items() if k.startswith(FOLLOWED)}
            found |= {f"{k}_after_{number}": v for k, v in kept.items()}
    found |= _judge(tokenizer, arm, setting, features, train)
    return {k: round(v, 5) for k, v in found.items()}


def _judge(
    tokenizer: HybridTokenizer,
    arm: str,
    setting: Setting,
    features: EfficientNetFeatures,
    train: CaptionedEmoji,
) -> dict[str, float]:
    """All metrics on the same held-out pictures, and code use on the same training pictures."""
    device = str(tokenizer.device)
    pictures = 16 * setting.codes // (setting.resolution // tokenizer.config.downsample) ** 2
    familiar = list(islice(_pictures(train, 64, 7, device), -(-pictures // 64)))
    if arm == "warm-up only":
        fit_codes(tokenizer, familiar)
    unseen = CaptionedEmoji("held_out_concepts", setting.resolution, concepts=setting.concepts)
    batches = islice(_pictures(unseen, 32, 8, device), setting.judged // 32)
    found = judge_tokenizer(tokenizer, batches, features=features)
    return found | {"train_usage": measure_latents(tokenizer, familiar).usage}


@torch.no_grad()
def fit_codes(tokenizer: HybridTokenizer, batches: list[Tensor], rounds: int = 10) -> None:
    """Put the codes where the latents are, by k-means on the unit sphere, without training."""
    features = torch.cat([tokenizer.encoder(images) for images in batches])
    latents = F.normalize(rearrange(features, "b c h w -> (b h w) c"), dim=1)
    quantizer = tokenizer.quantizer
    everyone = torch.arange(tokenizer.config.num_codes, device=latents.device)
    quantizer.restart(everyone, latents, torch.Generator().manual_seed(0))
    for _ in range(rounds):
        nearest = quantizer.nearest(latents)
        sums = torch.zeros_like(quantizer.codes).index_add_(0, nearest, latents)
        full = torch.bincount(nearest, minlength=len(everyone)) > 0
        quantizer.codes[full] = F.normalize(sums[full], dim=1)


def _pictures(data: CaptionedEmoji, batch: int, seed: int, device: str) -> Iterator[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    while True:
        yield data.batch(batch, device=device, generator=generator).images


def _ablation(arm: str, seed: int, budget: str) -> dict[str, float]:
    return train_arm(arm, seed, SETTINGS[budget], say=lambda line: print(line, flush=True))


EXPERIMENTS: dict[str, Experiment] = {
    "05_ablation": Experiment(
        "eight ways to train one tokenizer, equal pictures seen", tuple(arms(600)), _ablation
    ),
    "05_last_stage": Experiment(
        "three stages with a longer last one", tuple(longer_last_stage(600)), _ablation
    ),
}
