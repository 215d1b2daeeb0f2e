"""Lesson 06: a small network that draws all tokens at once, and the chimeras it draws.

What it is asked stands in ``dcar_edu.course.asking``: prompts that name the style, prompts that
leave it open, and scenes of two things.
"""

from collections.abc import Callable, Iterator, Sequence

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from dcar_edu.course.asking import LEARNT, Asked, emoji_prompts, scene_prompts
from dcar_edu.course.budgets import budget as row
from dcar_edu.course.studies import Experiment
from dcar_edu.generator.transformer import MLP, SelfAttention
from dcar_edu.pipeline import DCAR
from dcar_edu.state import TrainingState, warmed_cosine
from dcar_edu.text import TextStates

LEARNING_RATE, WARMUP, BATCH = 5e-3, 50, 32
ROWS = 4
"""Rows of the token grid, whatever its width."""
DROPPED = 0.1
"""Share of texts that become the null text in training."""
Attend = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


def attend(q: Tensor, k: Tensor, v: Tensor, text_mask: Tensor) -> Tensor:
    """Every place looks at the real words; ``(b, n, d)`` asks, ``(b, s, d)`` answers."""
    return F.scaled_dot_product_attention(q, k, v, attn_mask=text_mask[:, None])


class OneShot(nn.Module):
    """All tokens at once: every place asks the words, and a head names its code."""

    null_text: Tensor

    def __init__(self, codes: int, places: int, width: int = 128, heads: int = 4):
        super().__init__()
        self.heads = heads
        self.places = nn.Parameter(torch.randn(places, width))
        self.words = nn.Linear(384, width)
        self.ask, self.tell = nn.Linear(width, width), nn.Linear(width, 2 * width)
        self.think: nn.Module = MLP(width, 4 * width, width)
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, codes)
        self.register_buffer("null_text", torch.randn(64, 384) / 384**0.5)

    def forward(self, text: Tensor, mask: Tensor, attend: Attend = attend) -> Tensor:
        """Words ``(b, s, 384)`` and their mask to logits ``(b, places, codes)``."""
        x, words = self.places.expand(len(text), -1, -1), self.norm(self.words(text))
        parts = (self.norm(self.ask(x)), *self.tell(words).chunk(2, dim=-1))
        q, k, v = (rearrange(p, "b n (m d) -> (b m) n d", m=self.heads) for p in parts)
        seen = attend(q, k, v, mask.repeat_interleave(self.heads, dim=0))
        x = x + rearrange(seen, "(b m) n d -> b n (m d)", m=self.heads)
        return self.head(self.norm(x + self.think(self.norm(x))))


class TalkThenThink(nn.Module):
    """Places look at each other before they think: put in place of the MLP of :class:`OneShot`."""

    def __init__(self, think: nn.Module, width: int, heads: int):
        super().__init__()
        self.talk, self.think = SelfAttention(width, heads), think

    def forward(self, x: Tensor) -> Tensor:
        """``(b, n, width)`` to the same shape."""
        heard = self.talk(x)
        return heard + self.think(x + heard)


def one_shot(codes: int, places: int, seed: int, arm: str = "alone") -> OneShot:
    """A network at its start.

    Args:
        codes: size of the tokenizer's codebook.
        places: of the token grid.
        seed: of its weights.
        arm: ``"alone"``, or ``"talking"``: places also look at each other.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = OneShot(codes, places)
        if arm == "talking":
            net.think = TalkThenThink(net.think, net.places.shape[1], net.heads)
    return net


def begin(net: nn.Module, seed: int) -> TrainingState:
    """Optimizer, averaged weights and random source of a run."""
    numbers = {"betas": (0.9, 0.99), "weight_decay": 0.01, "ema_decay": 0.99, "seed": seed}
    return TrainingState.begin(net, learning_rate=LEARNING_RATE, **numbers)  # type: ignore[arg-type]


def draw(asked: Asked, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Prompts to learn from, each kind equally often, and for each one picture that fits.

    Returns:
        Places in ``asked`` ``(n,)``, and tokens ``(n, h, w)``.
    """
    pools = [torch.tensor(asked.where(kind)) for kind in LEARNT if kind in asked.kinds]
    kinds = torch.randint(len(pools), (n,), generator=generator)
    luck = torch.rand(n, generator=generator)
    chosen = [pools[k] for k in kinds.tolist()]
    rows = torch.stack([p[int(u * len(p))] for p, u in zip(chosen, luck.tolist(), strict=True)])
    return rows, asked.fits[rows, torch.randint(asked.fits.shape[1], (n,), generator=generator)]


def train(
    net: OneShot, asked: Asked, text: TextStates, state: TrainingState, steps: int
) -> Iterator[float]:
    """Learn to name the code of every place; yields the loss after every step."""
    device = net.null_text.device
    while state.step < steps:
        rows, tokens = draw(asked, BATCH, state.generator)
        mask = text.mask[rows]
        words = text.states[rows].to(device)
        drop = torch.rand(len(rows), generator=state.generator) < DROPPED
        null = net.null_text[: words.shape[1]]
        words = torch.where(drop[:, None, None].to(device), null, words)
        logits = net(words, mask.to(device))
        loss = F.cross_entropy(logits.flatten(0, 1), tokens.flatten().to(device))
        loss.backward()
        state.apply_gradients(LEARNING_RATE * warmed_cosine(state.step, steps, WARMUP), clip=1.0)
        yield loss.item()
    state.use_average()


@torch.no_grad()
def draw_at_once(
    net: OneShot, text: TextStates, rows: Sequence[int], generator: torch.Generator
) -> Tensor:
    """One drawing for each prompt, int64 ``(n, 4, w)``: every token drawn by itself."""
    device, places = net.null_text.device, list(rows)
    logits = net(text.states[places].to(device), text.mask[places].to(device)).cpu()
    tokens = torch.multinomial(logits.softmax(-1).flatten(0, 1), 1, generator=generator)
    return tokens.reshape(len(places), ROWS, -1)


def independent(fits: Tensor, generator: torch.Generator) -> Tensor:
    """What a perfect one-shot network draws: at every place the token of any picture that fits.

    Args:
        fits: ``(n, k, h, w)``.
        generator: on the CPU.
    """
    n, k, h, w = fits.shape
    return fits.gather(1, torch.randint(k, (n, 1, h, w), generator=generator))[:, 0]


def agreement(drawn: Tensor, fits: Tensor) -> dict[str, float]:
    """How well do drawings ``(n, h, w)`` agree with the pictures that fit ``(n, k, h, w)``?

    Returns:
        ``each``: share of tokens that some fitting picture has at this place. ``one``: share that
        the best *single* fitting picture explains. ``whole``: share of drawings that are one
        fitting picture, token for token.
    """
    hits = drawn[:, None] == fits
    best = hits.flatten(2).float().mean(2).amax(1)
    return {
        "each": hits.any(1).float().mean().item(),
        "one": best.mean().item(),
        "whole": (best == 1).float().mean().item(),
    }


def judge(
    net: OneShot, asked: Asked, text: TextStates, generator: torch.Generator, times: int = 8
) -> dict[str, float]:
    """:func:`agreement` for every kind of prompt, ``times`` drawings each.

    Returns:
        ``full_each``, ``open_whole`` and so on; ``perfect_...`` for :func:`independent` on the
        open prompts.
    """
    found: dict[str, float] = {}
    for kind in dict.fromkeys(asked.kinds):
        rows = asked.where(kind) * times
        seen = agreement(draw_at_once(net, text, rows, generator), asked.fits[rows])
        found |= {f"{kind}_{name}": value for name, value in seen.items()}
        if kind == "open":
            perfect = agreement(independent(asked.fits[rows], generator), asked.fits[rows])
            found |= {f"perfect_{name}": value for name, value in perfect.items()}
    return found


def _one_shot(arm: str, seed: int, budget: str) -> dict[str, float]:
    """Train one network, judge it on every kind of prompt."""
    plan, device = row("06", budget), "cuda" if budget == "gpu" else "cpu"
    model = DCAR.from_pretrained("emoji-128").to(device)
    if arm == "scenes":
        asked, steps = scene_prompts(model.tokenizer, plan.things), plan.scene_steps
    else:
        asked, steps = emoji_prompts(model.tokenizer, plan.concepts), plan.steps
    text = model.text_encoder(asked.captions)
    places = asked.fits[0, 0].numel()
    net = one_shot(model.tokenizer.config.num_codes, places, seed, arm).to(device)
    for _ in train(net, asked, text, begin(net, seed), steps):
        pass
    found = judge(net, asked, text, torch.Generator().manual_seed(seed))
    return {name: round(value, 5) for name, value in found.items()}


EXPERIMENTS: dict[str, Experiment] = {
    "06_one_shot": Experiment(
        "all tokens at once, for prompts that leave the style open and prompts that do not: places "
        "alone, and places that look at each other; and for scenes of two things",
        ("alone", "talking", "scenes"),
        _one_shot,
    ),
}
