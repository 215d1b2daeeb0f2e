"""Lesson 15: what its two arms are made of, next-scale drawing and masked drawing.

Both have the frozen encoder of ``emoji-128``, as many codes, put where its latents lie by the
same k-means, a decoder that learns to read them in the same steps, and a generator of as many
parameters, trained for as many counted FLOPs on the same prompts with the same settings.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from dcar_edu.bench.flops import count_flops
from dcar_edu.data import CaptionedEmoji, EmojiExample
from dcar_edu.drawing import CHUNK
from dcar_edu.generator.config import GeneratorConfig
from dcar_edu.generator.model import MaskedGenerator
from dcar_edu.generator.next_scale import NextScaleConfig, NextScaleGenerator
from dcar_edu.generator.scale_training import ScaleBatch, train_next_scale
from dcar_edu.generator.training import GeneratorTraining, TokenBatch, begin, train_generator
from dcar_edu.pipeline import DCAR
from dcar_edu.state import TrainingState, warmed_cosine
from dcar_edu.text import TextStates
from dcar_edu.tokenizer.losses import pixel_loss
from dcar_edu.tokenizer.multiscale import MultiScale, MultiScaleConfig, MultiScaleQuantizer

SCALES = {"next-scale": (1, 2, 4), "masked": (4,)}
"""Tokens a side of every scale, by arm: 21 tokens a picture, and 16."""
GROUNDS = ("white", "pale blue")
Model = MaskedGenerator | NextScaleGenerator


@dataclass(frozen=True)
class Plan:
    """Sizes of a comparison."""

    concepts: int
    """Of all pictures, each on two grounds: codes and decoder learn them, but for those judged."""
    learnt: int
    """Concepts that the generators learn, the first ones."""
    judged: int
    """Concepts that neither codes nor decoder learn, the last ones."""
    codes: int
    rounds: int
    """Of k-means."""
    decoder_steps: int
    steps: int
    """Of the masked arm; the other gets the same FLOPs."""
    batch: int
    points: int
    """Of a curve."""
    repeats: int = 9
    """Of a timing."""
    width: int = 128
    depth: int = 3


@dataclass(frozen=True)
class World:
    """Pictures with their latents and captions, the same for all arms and seeds."""

    examples: tuple[EmojiExample, ...]
    images: Tensor
    """``(b, 3, 128, 128)``."""
    latents: Tensor
    """``(b, c, 4, 4)``, of the frozen encoder."""
    words: TextStates
    learnt: Tensor
    """Rows that the generators learn, int64."""
    judged: Tensor
    """Rows that neither codes nor decoder learn."""
    labels: tuple[str, ...]
    """Of all concepts: what a drawing could be taken for."""

    def others(self) -> Tensor:
        """Rows that codes and decoder learn."""
        rows = torch.arange(len(self.images))
        return rows[~torch.isin(rows, self.judged)]


@torch.no_grad()
def make_world(plan: Plan, model: DCAR) -> World:
    """Render and encode everything once."""
    look: dict[str, Any] = {"styles": ("3d",), "backgrounds": GROUNDS, "sizes": ("normal",)}
    data = CaptionedEmoji("train", 128, concepts=plan.concepts, **look)
    examples = data.examples()
    images = data.render(examples)
    latents = [
        model.tokenizer.encode(part.to(model.device)).latents for part in images.split(CHUNK)
    ]
    labels = tuple(dict.fromkeys(example.label for example in examples))
    place = {label: number for number, label in enumerate(labels)}
    concept = torch.tensor([place[example.label] for example in examples])
    learnt = (concept < plan.learnt).nonzero().flatten()
    words = model.text_encoder([examples[row].caption for row in learnt.tolist()])
    judged = (concept >= len(labels) - plan.judged).nonzero().flatten()
    return World(tuple(examples), images, torch.cat(latents), words, learnt, judged, labels)


def new_quantizer(arm: str, world: World, plan: Plan, seed: int) -> MultiScaleQuantizer:
    """Codes where the latents lie: the same k-means for both arms."""
    channels = world.latents.shape[1]
    quantizer = MultiScaleQuantizer(MultiScaleConfig(plan.codes, channels, SCALES[arm]))
    quantizer.to(world.latents.device)
    source = torch.Generator().manual_seed(seed)
    for _ in quantizer.fit(world.latents[world.others()], rounds=plan.rounds, generator=source):
        pass
    return quantizer


def tune_decoder(
    decoder: nn.Module, quantizer: MultiScaleQuantizer, world: World, plan: Plan, seed: int
) -> Iterator[float]:
    """Teach a decoder in place to read sums of these codes and whole latents, in turn.

    Yields:
        The pixel loss of every step.
    """
    state = TrainingState.begin(
        decoder, learning_rate=3e-4, betas=(0.9, 0.95), weight_decay=0.0, ema_decay=0.98, seed=seed
    )
    rows, device = world.others(), world.latents.device
    while state.step < plan.decoder_steps:
        decoder.train()
        chosen = rows[torch.randint(len(rows), (plan.batch,), generator=state.generator)]
        latents = world.latents[chosen.to(device)]
        if state.step % 2 == 0:
            latents = quantizer(latents).quantized
        loss = pixel_loss(decoder(latents), world.images[chosen].to(device), l1=1.0, l2=2.0)
        loss.backward()
        state.apply_gradients(3e-4 * warmed_cosine(state.step, plan.decoder_steps, 10), 1.0)
        yield loss.item()
    state.use_average()
    decoder.eval()


def missing(latents: Tensor, codes: Tensor) -> float:
    """Squared distance of codes from latents, over the squared latents: 0 is perfect, 1 is 0."""
    return ((latents - codes).square().mean() / latents.square().mean()).item()


@torch.no_grad()
def decode(decoder: nn.Module, latents: Tensor) -> Tensor:
    """Pictures ``(b, 3, H, W)`` of many latents, a few at a time."""
    return torch.cat([decoder(part).clamp(-1, 1).cpu() for part in latents.split(CHUNK)])


def new_generator(arm: str, plan: Plan, channels: int, scale: float, seed: int) -> Model:
    """A generator that has learnt nothing; both arms within one percent of the same parameters.

    The masked arm has a table of ids, the other a small linear layer instead; it gets wider MLPs.
    """
    sizes: dict[str, Any] = {
        "width": plan.width,
        "depth": plan.depth,
        "num_codes": plan.codes,
        "latent_channels": channels,
        "residual_scale": round(scale, 6),
        "diffusion_repeats": 2,
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if arm == "masked":
            return MaskedGenerator(
                GeneratorConfig.preset("nano", mlp_width=4 * plan.width, **sizes)
            )
        spare = plan.width * (plan.codes + 1 - channels - 1 - len(SCALES[arm]))
        wider = 4 * plan.width + round(spare / (plan.depth * (2 * plan.width + 1)))
        return NextScaleGenerator(
            NextScaleConfig.preset("nano", mlp_width=wider, sizes=SCALES[arm], **sizes)
        )


def new_batch(arm: str, found: MultiScale, words: TextStates) -> TokenBatch | ScaleBatch:
    """Tokens of a quantizer with their words, as the arm's training takes them."""
    if arm == "masked":
        return TokenBatch(found.ids[0], found.leftover, words.states, words.mask)
    return ScaleBatch.of(found.ids, found.sums, found.leftover, words.states, words.mask)


def training(plan: Plan, steps: int, seed: int) -> GeneratorTraining:
    """The numbers of a run, the same for both arms but for the steps."""
    return GeneratorTraining(
        steps=steps,
        learning_rate=2e-3,
        warmup_steps=steps // 10,
        ema_decay=0.98,
        label_smoothing=0.0,
        seed=seed,
    )


def train(
    model: Model, tokens: TokenBatch | ScaleBatch, config: GeneratorTraining, size: int
) -> Iterator[tuple[int, Model]]:
    """Learn the prompts; yields the step and the averaged model after every step."""
    state = begin(model, config)

    def batches() -> Iterator[Any]:
        while True:
            count = len(tokens.text)
            yield tokens[torch.randint(count, (size,), generator=state.generator)]  # type: ignore[index]

    loop: Iterator[Any]
    if isinstance(model, MaskedGenerator):
        loop = train_generator(model, batches(), config, state=state)
    else:
        loop = train_next_scale(model, batches(), config, state=state)
    for step in loop:
        yield step.number, cast(Model, state.average.module)


def step_flops(arm: str, plan: Plan, words: TextStates, channels: int) -> int:
    """Floating-point operations of a training step, forward and back, words and head included."""
    count, side = len(words.mask), SCALES[arm][-1]
    nothing = torch.zeros(count, channels, side, side)
    ids = tuple(torch.zeros(count, size, size, dtype=torch.int64) for size in SCALES[arm])
    tokens = new_batch(arm, MultiScale(ids, (nothing,) * len(ids), nothing), words)
    model = new_generator(arm, plan, channels, 0.1, 0)
    flops = count_flops(lambda: list(train(model, tokens, training(plan, 1, 0), count)))
    return flops * plan.batch // count


def equal_steps(arm: str, plan: Plan, words: TextStates, channels: int) -> tuple[int, float]:
    """Steps of an arm, and the TFLOP that they are: as many as the masked arm's ``plan.steps``."""
    two = TextStates(words.states[:2].cpu(), words.mask[:2].cpu())
    each = {name: step_flops(name, plan, two, channels) for name in SCALES}
    steps = round(plan.steps * each["masked"] / each[arm])
    return steps, steps * each[arm] / 1e12
