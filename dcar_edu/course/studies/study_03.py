"""Lesson 03: which of three measures keeps a codebook alive."""

from collections.abc import Iterator

import torch
from torch import Tensor

from dcar_edu.course.studies import Experiment
from dcar_edu.data import CaptionedEmoji
from dcar_edu.metrics import psnr
from dcar_edu.tokenizer import HybridTokenizer, TokenizerConfig
from dcar_edu.tokenizer.quantizer import code_usage
from dcar_edu.tokenizer.training import Stage, TokenizerTraining, train_tokenizer

CODES, SIDE = 512, 64
ARMS: dict[str, tuple[bool, bool, int]] = {
    "nothing": (False, False, 0),
    "sphere": (True, False, 0),
    "start": (False, True, 0),
    "revival": (False, False, 20),
    "all": (True, True, 20),
}
"""Arm -> latents and codes on the sphere, codes started at data, unused codes revived every so
many steps (0: never)."""


def tiny_config(on_sphere: bool) -> TokenizerConfig:
    """A tokenizer of 0.3 M parameters at f8, which trains in minutes on one core.

    Args:
        on_sphere: normalise latents and codes to length 1.
    """
    return TokenizerConfig(
        widths=(64,) * 4,
        encoder_depths=(0, 0, 0, 1),
        decoder_depths=(0, 0, 0, 1),
        blocks=("res",) * 4,
        decoder_norms=("layer",) * 4,
        decoder_activations=("silu",) * 4,
        num_codes=CODES,
        latent_channels=16,
        normalize_codes=on_sphere,
    )


def plan(arm: str, steps: int, seed: int) -> TokenizerTraining:
    """A fifth of the steps without codes, the rest with them; every arm sees equal pictures."""
    _, starts, revive_every = ARMS[arm]
    warm_up = steps // 5
    return TokenizerTraining(
        stages=(
            Stage("warm-up", warm_up, "continuous", ("encoder", "decoder")),
            Stage("discrete", steps - warm_up, "discrete", starts_codes=starts),
        ),
        learning_rate=2e-3,
        ema_decay=0.98,
        revive_every=revive_every,
        seed=seed,
    )


def _supply(data: CaptionedEmoji, batch: int, seed: int) -> Iterator[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    while True:
        yield data.batch(batch, generator=generator).images


@torch.no_grad()
def _judge(tokenizer: HybridTokenizer, seen: Tensor, unseen: Tensor) -> dict[str, float]:
    """Use of the codes on ``seen`` pictures; what survives of ``unseen`` concepts."""
    used = code_usage(tokenizer.encode(seen).indices, CODES)
    encoded = tokenizer.encode(unseen)
    spread = encoded.latents - encoded.latents.mean(dim=(0, 2, 3), keepdim=True)
    lost = encoded.residuals.square().sum() / spread.square().sum()
    numbers = {
        "usage": used.usage,
        "perplexity": used.perplexity,
        "psnr": psnr(tokenizer.decode(encoded.indices), unseen).mean().item(),
        "lost": lost.item(),
    }
    return {name: round(value, 4) for name, value in numbers.items()}


def _collapse(arm: str, seed: int, budget: str) -> dict[str, float]:
    """Train one tiny tokenizer; ``lost`` is the share of the latents' variance the codes miss."""
    steps, concepts, pictures = {"smoke": (10, 8, 16)}.get(budget, (1200, 128, 256))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        tokenizer = HybridTokenizer(tiny_config(on_sphere=ARMS[arm][0]))
    data = CaptionedEmoji("train", SIDE, concepts=concepts, styles=("3d", "flat"))
    supply = _supply(data, 16, seed)
    for _ in train_tokenizer(tokenizer, supply, plan(arm, steps, seed)):
        pass
    unseen = CaptionedEmoji("held_out_concepts", SIDE, concepts=concepts // 4, styles=data.styles)
    fixed = torch.Generator().manual_seed(1234)
    seen = data.batch(pictures, generator=fixed).images
    return _judge(tokenizer, seen, unseen.batch(pictures // 2, generator=fixed).images)


EXPERIMENTS: dict[str, Experiment] = {
    "03_collapse": Experiment(
        "Use of 512 codes with and without sphere, data start and revival", tuple(ARMS), _collapse
    ),
}
