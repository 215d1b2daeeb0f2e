"""Lesson 02: what shortcuts without parameters do for a deep autoencoder, and what depth costs.

Small on purpose: emoji of 64 pixels, absolute error only, a few minutes of one processor core a
run. Every network turns a picture into 128 numbers: f8 into 8 x 8 places of 2, f16 into 4 x 4 of
8, f32 into 2 x 2 of 32. Stages are the paper's with a sixteenth of their width and one block each,
so the shortcuts between them average groups of the same sizes as there.

Source: DC-AE (arXiv:2410.10733), Sec. 3.1; sizes, steps and learning rate are ours.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dcar_edu.course.studies import Experiment
from dcar_edu.data import CaptionedEmoji
from dcar_edu.metrics import psnr
from dcar_edu.tokenizer.autoencoder import Decoder, Encoder
from dcar_edu.tokenizer.blocks import Down, Up
from dcar_edu.tokenizer.config import TokenizerConfig

SIDE = 64
"""Pixels of a picture's side."""
BATCH = 16
RATE = 1e-3
WINDOW = 25
"""Steps over which a loss is averaged before it is noted."""
WIDTHS = (8, 16, 32, 32, 64, 64)


@dataclass(frozen=True)
class Size:
    """How much one run learns and is tested on."""

    steps: int
    concepts: int
    pictures: int


SIZES = {
    "smoke": Size(steps=2, concepts=4, pictures=8),
    "cpu": Size(steps=1200, concepts=128, pictures=96),
    "gpu": Size(steps=12000, concepts=512, pictures=384),
}


def small_config(f: int = 32) -> TokenizerConfig:
    """The network's sizes: its first stages only when ``f`` is 8 or 16.

    Args:
        f: pixels of height (and of width) that become one place: 8, 16 or 32.

    Raises:
        ValueError: another ``f``.
    """
    if f not in (8, 16, 32):
        raise ValueError(f"this study knows f = 8, 16 and 32, got {f}. Choose one of them.")
    stages = f.bit_length()
    norms: tuple = ("layer",) * stages
    activations: tuple = ("silu",) * stages
    blocks: tuple = ("res", "res", "res", "evit", "evit", "evit")
    return TokenizerConfig(
        widths=WIDTHS[:stages],
        encoder_depths=(0, 1, 1, 1, 1, 1)[:stages],
        decoder_depths=(0, 1, 1, 1, 1, 1)[:stages],
        blocks=blocks[:stages],
        decoder_norms=norms,
        decoder_activations=activations,
        num_codes=1,
        latent_channels=f * f // 32,
        expansion=2,
    )


def autoencoder(f: int = 32, *, shortcuts: bool = True, seed: int = 0) -> nn.Sequential:
    """An encoder and its decoder; equal seeds give equal weights, with shortcuts or without.

    Args:
        f: 8, 16 or 32.
        shortcuts: False takes away every shortcut around a change of resolution.
        seed: for the weights; the global random state is left as it was.
    """
    config = small_config(f)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = nn.Sequential(Encoder(config), Decoder(config))
    for part in network.modules():
        if isinstance(part, (Down, Up)) and not shortcuts:
            part.shortcut = False
    return network


def learn(
    network: nn.Module, data: CaptionedEmoji, steps: int, *, seed: int = 0, warm_up: int = 20
) -> Iterator[float]:
    """Train in place on the absolute error; one loss a step.

    Args:
        network: images ``(b, 3, h, w)`` in and out, on its device.
        data: draws ``BATCH`` pictures a step; one seed shows every network the same pictures.
        steps: how many.
        seed: of the pictures.
        warm_up: steps over which the learning rate grows to ``RATE``.
    """
    device = next(network.parameters()).device
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(network.parameters(), lr=RATE)
    for step in range(steps):
        images = data.batch(BATCH, device=device, generator=generator).images
        optimizer.param_groups[0]["lr"] = RATE * min(1.0, (step + 1) / warm_up)
        loss = (network(images) - images).abs().mean()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        yield loss.item()


def windows(losses: list[float], every: int) -> dict[int, float]:
    """Mean loss of each full window of ``every`` steps, by the window's last step."""
    ends = range(every, len(losses) + 1, every)
    return {end: sum(losses[end - every : end]) / every for end in ends}


def _run(network: nn.Module, seed: int, budget: str) -> dict[str, float]:
    size = SIZES[budget]
    device = "cuda" if torch.cuda.is_available() else "cpu"
    network = network.to(device)
    data = CaptionedEmoji("train", SIDE, concepts=size.concepts)
    losses = list(learn(network, data, size.steps, seed=seed))
    unseen = CaptionedEmoji("held_out_concepts", SIDE, concepts=size.concepts // 2)
    generator = torch.Generator().manual_seed(1000)  # the same test pictures for every run
    images = unseen.batch(size.pictures, device=device, generator=generator).images
    noted = {f"loss_{end:05d}": round(loss, 5) for end, loss in windows(losses, WINDOW).items()}
    return {
        "psnr": round(_judge(network, images).mean().item(), 3),
        "loss": round(sum(losses[-WINDOW:]) / len(losses[-WINDOW:]), 5),
        "pictures": size.steps * BATCH,
        **noted,
    }


@torch.no_grad()
def _judge(network: nn.Module, images: Tensor) -> Tensor:
    return torch.cat([psnr(network(part), part) for part in images.split(32)])


def _shortcuts(arm: str, seed: int, budget: str) -> dict[str, float]:
    """The same f32 network, the same pictures, with shortcuts and without."""
    return _run(autoencoder(shortcuts=arm == "with", seed=seed), seed, budget)


def _depth(arm: str, seed: int, budget: str) -> dict[str, float]:
    """The same 128 numbers a picture in more or fewer places."""
    return _run(autoencoder(int(arm.removeprefix("f")), seed=seed), seed, budget)


EXPERIMENTS: dict[str, Experiment] = {
    "02_shortcuts": Experiment(
        "an f32 autoencoder of 64 px emoji, with and without shortcuts around its halvings",
        ("with", "without"),
        _shortcuts,
    ),
    "02_depth": Experiment(
        "64 px emoji as 128 numbers: 8 x 8 places of 2, 4 x 4 of 8, 2 x 2 of 32",
        ("f8", "f16", "f32"),
        _depth,
    ),
}
