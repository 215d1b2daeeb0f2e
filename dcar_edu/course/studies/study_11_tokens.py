"""Lesson 11: 2-D and 1-D tokens at the trained size and at others.

Both tokenizers have about as many parameters, spend about as many FLOPs a step, give 16 tokens of
the same codebook size for a 64 px picture, and are trained by the same loop on the same pictures.
"""

import functools
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from einops import reduce
from torch import Tensor

from dcar_edu.course.lessons.one_dimensional_11 import one_dimensional
from dcar_edu.course.studies import Experiment
from dcar_edu.course.studies.study_04 import SIDE, small_tokenizer
from dcar_edu.data import CaptionedEmoji
from dcar_edu.metrics import psnr
from dcar_edu.state import TrainingState
from dcar_edu.tokenizer.hybrid import HybridTokenizer
from dcar_edu.tokenizer.training import Stage, TokenizerTraining, begin, train_tokenizer

ARMS = ("2-D", "1-D")
CONCEPTS = 128
"""In 3D on white and on pale blue; all are learnt."""
STEPS = {"smoke": 14, "cpu": 1200, "gpu": 12000}
JUDGED = {"smoke": 4, "cpu": 64, "gpu": 64}


def new_tokenizer(arm: str, seed: int) -> HybridTokenizer:
    """A tokenizer that has learnt nothing: f16, 128 codes, 16 tokens for 64 x 64 pixels."""
    two = small_tokenizer(seed)
    return two if arm == "2-D" else one_dimensional(two.config, SIDE, seed)


@functools.cache
def pictures(side: int) -> Tensor:
    """All learnt pictures at some size ``(b, 3, side, side)``, always in the same order."""
    look = {"styles": ("3d",), "backgrounds": ("white", "pale blue"), "sizes": ("normal",)}
    data = CaptionedEmoji("train", side, concepts=CONCEPTS, **look)
    examples = data.examples()
    order = torch.randperm(len(examples), generator=torch.Generator().manual_seed(1)).tolist()
    return data.render([examples[place] for place in order])


def training(steps: int, seed: int) -> TokenizerTraining:
    """The numbers of a run: a seventh of it on the continuous path, then on codes."""
    warm = steps // 7
    stages = (
        Stage("warm-up", warm, "continuous", ("encoder", "decoder")),
        Stage("discrete", steps - warm, "discrete", starts_codes=True),
    )
    return TokenizerTraining(
        stages, learning_rate=2e-3, warmup_steps=20, ema_decay=0.99, revive_every=50, seed=seed
    )


def train(
    tokenizer: HybridTokenizer, config: TokenizerTraining, state: TrainingState | None = None
) -> Iterator[float]:
    """Learn all pictures at 64 px; yields the pixel loss of every step."""
    state = state or begin(tokenizer, config)
    all_pictures = pictures(SIDE).to(tokenizer.device)

    def batches() -> Iterator[Tensor]:
        while True:
            chosen = torch.randint(len(all_pictures), (16,), generator=state.generator)
            yield all_pictures[chosen.to(tokenizer.device)]

    for step in train_tokenizer(tokenizer, batches(), config, state=state):
        yield step.pixel_loss


def sizes(count: int) -> dict[str, Tensor]:
    """Learnt pictures as trained, twice as large, and two of them side by side."""
    small, large = pictures(SIDE)[:count], pictures(2 * SIDE)[:count]
    return {"64x64": small, "128x128": large, "64x128": torch.cat([small, small.roll(1, 0)], 3)}


@torch.no_grad()
def rebuild(tokenizer: HybridTokenizer, images: Tensor, arm: str) -> tuple[Tensor, int]:
    """Encode and decode at the size of the images.

    Returns:
        The pictures, and the number of tokens each was written in.
    """
    indices = tokenizer.encode(images.to(tokenizer.device)).indices
    tokens = indices[0].numel()
    if arm == "2-D":
        return tokenizer.decode(indices).cpu(), tokens
    grid = (
        images.shape[2] // tokenizer.config.downsample,
        images.shape[3] // tokenizer.config.downsample,
    )
    drawn = tokenizer.decoder(tokenizer.quantizer.look_up(indices), grid)
    return drawn.clamp(-1, 1).cpu(), tokens


def through_small(tokenizer: HybridTokenizer, images: Tensor) -> Tensor:
    """The way out: shrink to the trained size, encode, decode, enlarge."""
    small = F.interpolate(images, (SIDE, SIDE), mode="area").to(tokenizer.device)
    drawn = tokenizer.decode(tokenizer.encode(small).indices)
    return F.interpolate(drawn, images.shape[2:], mode="bilinear", antialias=True).cpu()


@torch.no_grad()
def influence(tokenizer: HybridTokenizer, images: Tensor) -> Tensor:
    """Where a picture changes when one token does.

    Returns:
        ``(tokens, 4, 4)``: share of the squared change in every square of 16 x 16 pixels, a mean
        over the images; each token in turn becomes the code that is least like it.
    """
    indices = tokenizer.encode(images.to(tokenizer.device)).indices
    codes = F.normalize(tokenizer.quantizer.codes, dim=1)
    other = (codes @ codes.T).argmin(1)[indices]
    before, maps = tokenizer.decode(indices), []
    for token in range(indices[0].numel()):
        changed = indices.flatten(1).clone()
        changed[:, token] = other.flatten(1)[:, token]
        after = tokenizer.decode(changed.view_as(indices))
        square = reduce((after - before).square(), "b c (h p) (w q) -> b h w", "sum", p=16, q=16)
        maps.append((square / square.sum((1, 2), keepdim=True).clamp(min=1e-9)).mean(0).cpu())
    return torch.stack(maps)


def squares(maps: Tensor) -> float:
    """On how many squares a token works: ``1 / sum(share^2)``, 1 for one, 16 for all equally."""
    return (1 / maps.flatten(1).square().sum(1)).mean().item()


def _tokens(arm: str, seed: int, budget: str) -> dict[str, float]:
    """PSNR and tokens at each size, ``psnr_small_SIZE`` by way of 64 px, and ``squares``."""
    device = "cuda" if budget == "gpu" else "cpu"
    tokenizer, count = new_tokenizer(arm, seed).to(device), JUDGED[budget]
    losses = list(train(tokenizer, training(STEPS[budget], seed)))
    found: dict[str, float] = {"pixel_loss": sum(losses[-50:]) / len(losses[-50:])}
    for name, images in sizes(count).items():
        drawn, tokens = rebuild(tokenizer, images, arm)
        found[f"psnr_{name}"] = psnr(drawn, images).mean().item()
        found[f"tokens_{name}"] = tokens
        found[f"psnr_small_{name}"] = psnr(through_small(tokenizer, images), images).mean().item()
    found["squares"] = squares(influence(tokenizer, pictures(SIDE)[: min(count, 16)]))
    return {name: round(value, 4) for name, value in found.items()}


EXPERIMENTS: dict[str, Experiment] = {
    "11_tokens": Experiment(
        "2-D and 1-D tokens at the size they were trained at, twice as large, and side by side",
        ARMS,
        _tokens,
    ),
}
