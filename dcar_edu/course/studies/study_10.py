"""Lesson 10: does the residual head improve drawn pictures? The paper's Table 4, small.

All arms of one seed share the drawn tokens and differ in the residuals alone.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from dcar_edu.course.budgets import budget as row
from dcar_edu.course.encoding import rows
from dcar_edu.course.recipes import RECIPES, learnt_examples
from dcar_edu.course.studies import Experiment
from dcar_edu.data import EmojiExample
from dcar_edu.drawing import CHUNK, Drawing, seeds
from dcar_edu.generator import MaskedGenerator
from dcar_edu.generator.guidance import Guidance
from dcar_edu.generator.training import (
    GeneratorTraining,
    begin,
    train_generator,
)
from dcar_edu.metrics import kid, load_alignment, psnr
from dcar_edu.metrics.alignment import picture_features, rank
from dcar_edu.pipeline import DCAR

MODEL = "emoji-128"
GUIDANCE, TEMPERATURE, STEPS = 4.5, 1.5, 12
RESIDUAL_STEPS = 20
CONCEPTS = {"smoke": 4, "cpu": 560, "gpu": 560}
"""Prompts drawn in one run; 560 are all that the model has learnt, on pale blue."""
WINDOW = 10
"""Steps that one point of a training curve averages over."""


@dataclass(frozen=True)
class Drawn:
    """Prompts after the sampler: tokens, and what the residual head may read."""

    indices: Tensor
    """int64 ``(b, h, w)``."""
    hidden: tuple[Tensor, Tensor]
    """Of the last step ``(b, h * w, width)``, with text and without."""
    first: tuple[Tensor, Tensor]
    """The same of step 1, when every token was hidden."""
    finished: tuple[Tensor, Tensor]
    """The same of one more pass, over the finished tokens."""
    seconds: float
    """Text encoder and all steps, without that extra pass; see :func:`clock`."""


def clock() -> float:
    """Seconds of computing: the processor's own, which busy neighbours hardly disturb.

    On a GPU the wall's, after everything asked for is done.
    """
    if not torch.cuda.is_available():
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


def learnt(count: int) -> tuple[list[EmojiExample], Tensor, list[str]]:
    """The first learnt concepts on pale blue, their true pictures, and every learnt label."""
    data, examples = learnt_examples(RECIPES[MODEL])
    chosen = [example for example in examples if example.background == "pale blue"][:count]
    return chosen, data.render(chosen), [concept.label for concept in data.concepts]


@torch.no_grad()
def draw(model: DCAR, captions: Sequence[str], seed: int, guidance: float = GUIDANCE) -> Drawn:
    """Run the sampler for prompts, as :meth:`DCAR.generate` does, and keep the hidden states."""
    parts = []
    numbers = [seed + place for place in range(len(captions))]
    for start in range(0, len(captions), CHUNK):
        part = slice(start, start + CHUNK)
        parts.append(_draw_chunk(model, list(captions[part]), numbers[part], guidance))
    indices, *states, seconds = zip(*parts, strict=True)
    hidden, first, finished = (_joined(pairs) for pairs in states)
    return Drawn(torch.cat(indices), hidden, first, finished, sum(seconds))


def _joined(pairs: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    return torch.cat([one for one, _ in pairs]), torch.cat([other for _, other in pairs])


def _draw_chunk(
    model: DCAR, captions: list[str], numbers: list[int], guidance: float
) -> tuple[Tensor, tuple, tuple, tuple, float]:
    began = clock()
    words, read = model.text_encoder(captions), model.generator.read_text
    cond, null = read(words.states.to(model.device), words.mask), read(None, words.mask)
    h, w = model.generator.config.grid
    push, sources = Guidance(guidance), seeds(numbers, len(captions))
    shape = (len(captions), h, w)
    drawing = Drawing(model.generator, cond, null, shape, STEPS, push, TEMPERATURE, sources)
    states = []
    for _ in drawing.steps():
        states.append((drawing.hidden, drawing.null_hidden))
    seconds = clock() - began
    drawing.look_again()
    finished = (drawing.hidden, drawing.null_hidden)
    return drawing.indices.to(model.device), states[-1], states[0], finished, seconds


@torch.no_grad()
def draw_residuals(
    model: DCAR,
    hidden: tuple[Tensor, Tensor],
    seed: int,
    *,
    guidance: float = GUIDANCE,
    clip: float | None = 1.0,
    steps: int = RESIDUAL_STEPS,
) -> Tensor:
    """The head's residuals ``(b, c, h, w)`` in latent units, for hidden states of :func:`draw`."""
    drawn = model.generator.sample_residuals(
        *hidden,
        guidance=guidance,
        num_steps=steps,
        clip=clip,
        generator=torch.Generator().manual_seed(seed),
    )
    return rearrange(drawn, "b (h w) c -> b c h w", h=model.generator.config.grid[0])


@torch.no_grad()
def decode(model: DCAR, indices: Tensor, residuals: Tensor | None) -> Tensor:
    """Pictures ``(b, 3, H, W)`` of many tokens, a few at a time."""
    parts = zip(
        indices.split(CHUNK),
        [None] * len(indices) if residuals is None else residuals.split(CHUNK),
        strict=False,
    )
    return torch.cat([model.tokenizer.decode(i, r) for i, r in parts])


def encode(model: DCAR, pictures: Tensor) -> tuple[Tensor, Tensor]:
    """The true tokens ``(b, h, w)`` and residuals ``(b, c, h, w)`` of many pictures."""
    parts = [model.tokenizer.encode(part) for part in pictures.to(model.device).split(CHUNK)]
    return torch.cat([p.indices for p in parts]), torch.cat([p.residuals for p in parts])


def blockiness(pictures: Tensor, cell: int) -> float:
    """How much larger a jump of colour is across a token's border than inside; 1: no larger.

    Args:
        pictures: ``(b, 3, H, W)``.
        cell: side of a token's square in pixels.
    """
    across, inside = [], []
    for axis in (2, 3):
        jump = pictures.diff(dim=axis).abs().transpose(axis, 3)
        border = torch.arange(1, jump.shape[3] + 1) % cell == 0
        across.append(jump[..., border].mean())
        inside.append(jump[..., ~border].mean())
    return (sum(across) / sum(inside)).item()  # type: ignore[union-attr]


@lru_cache(maxsize=1)
def _drawn_once(seed: int, count: int) -> tuple[DCAR, Drawn]:
    """Arms of one seed, run one after the other, share the drawn tokens."""
    model = DCAR.from_pretrained(MODEL).to("cuda" if torch.cuda.is_available() else "cpu")
    captions = [example.caption for example in learnt(count)[0]]
    draw(model, captions[:2], seed)  # the first call is slow; it is not timed
    return model, draw(model, captions, seed)


@lru_cache(maxsize=1)
def _judge(count: int) -> "Judge":
    return Judge(*learnt(count))


class Judge:
    """Scores drawings of the same examples again and again; the originals are seen once."""

    def __init__(self, examples: list[EmojiExample], originals: Tensor, labels: list[str]):
        self.originals = originals
        self.alignment = load_alignment()
        self.seen = picture_features(self.alignment.eyes, originals)
        self.labels = self.alignment.read(labels)
        self.wanted = torch.tensor([labels.index(example.label) for example in examples])

    @torch.no_grad()
    def __call__(self, images: Tensor) -> dict[str, float]:
        """Judge drawn pictures ``(b, 3, H, W)``, in the order of the examples.

        Returns:
            ``psnr`` in dB; ``kid_efficientnet`` times 1000, no picture against its own original;
            ``r1`` and ``r5``: how often the right label ranks first, or among the first five.
        """
        seen = picture_features(self.alignment.eyes, images)
        points = F.normalize(self.alignment.head.pictures(seen), dim=-1)
        ranked = rank(points @ self.labels.T, self.wanted)
        return {
            "psnr": psnr(images, self.originals).mean().item(),
            "kid_efficientnet": 1000 * kid(self.seen, seen, paired=True),
            "r1": ranked.r1,
            "r5": ranked.r5,
        }


def _hybrid(arm: str, seed: int, budget: str) -> dict[str, float]:
    """Draw every learnt concept once, and judge the pictures."""
    judge = _judge(CONCEPTS[budget])
    count = len(judge.originals)
    model, drawn = _drawn_once(10_000 * seed, count)  # no picture's seed comes twice
    true_ids, true_rest = encode(model, judge.originals)
    right = drawn.indices == true_ids
    began, residuals = clock(), None
    if arm.startswith("hybrid"):
        push = 0.0 if arm == "hybrid, unguided" else GUIDANCE
        residuals = draw_residuals(model, drawn.hidden, seed, guidance=push)
    head = clock() - began
    if arm == "true residuals":
        residuals = true_rest * right[:, None]
    began = clock()
    images = decode(model, drawn.indices, residuals).cpu()
    decoder = clock() - began
    found = {
        **judge(images),
        "token_match": right.float().mean().item(),
        "seconds": (drawn.seconds + head + decoder) / count,
        "seconds_head": head / count,
        "seconds_decoder": decoder / count,
        "pictures": count,
    }
    return {name: round(value, 5) for name, value in found.items()}


def fresh_generator(model: DCAR, seed: int) -> MaskedGenerator:
    """A generator of the same sizes that has learnt nothing yet."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        start = torch.Generator().manual_seed(seed)
        return MaskedGenerator(model.generator.config, start).to(model.device)


def training(steps: int, seed: int) -> GeneratorTraining:
    """The numbers of the lesson's short run: a short memory, as there are few steps."""
    return GeneratorTraining(steps=steps, warmup_steps=20, ema_decay=0.98, seed=seed)


def windows(losses: Sequence[float], size: int) -> dict[int, float]:
    """Mean of every full window of ``size`` steps, by the number of its last step."""
    ends = range(size, len(losses) + 1, size)
    return {end: sum(losses[end - size : end]) / size for end in ends}


def _losses(arm: str, seed: int, budget: str) -> dict[str, float]:
    """Train a generator from nothing on a few pictures; both losses, window by window."""
    plan = row("10", budget)
    model = DCAR.from_pretrained(MODEL).to("cuda" if torch.cuda.is_available() else "cpu")
    examples, pictures, _ = learnt(plan.learnt)
    tokens = model.tokens(pictures, [example.caption for example in examples])
    generator = fresh_generator(model, seed)
    config = training(plan.steps, seed)
    state = begin(generator, config)
    batches = rows(tokens, plan.learnt, state)
    steps = list(train_generator(generator, batches, config, state=state))
    found: dict[str, float] = {}
    for name in ("token_loss", "diffusion_loss"):
        curve = windows([getattr(step, name) for step in steps], WINDOW)
        found |= {f"{name}_{end:05d}": round(value, 4) for end, value in curve.items()}
    return found


EXPERIMENTS: dict[str, Experiment] = {
    "10_hybrid": Experiment(
        "drawn residuals, none, or the true ones, on the same drawn tokens",
        ("discrete", "hybrid", "hybrid, unguided", "true residuals"),
        _hybrid,
    ),
    "10_losses": Experiment(
        "both losses of a generator that is trained from nothing on a few pictures",
        ("both",),
        _losses,
    ),
}
