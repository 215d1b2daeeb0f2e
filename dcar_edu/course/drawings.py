"""Draw tokens with any sampler, and judge what they show: for lessons 08 and later.

Tokens only: pictures are decoded without residuals.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from dcar_edu.course.recipes import RECIPES, learnt_examples
from dcar_edu.drawing import in_chunks, seeds
from dcar_edu.features import EfficientNetFeatures, load_features
from dcar_edu.generator.guidance import guide
from dcar_edu.generator.sampling import Predict, sample_tokens
from dcar_edu.metrics import kid, load_alignment, token_match
from dcar_edu.metrics.alignment import Alignment, picture_features, rank
from dcar_edu.pipeline import DCAR

MODEL = "emoji-128"
"""The shipped pair, whose pictures are learnt by heart."""


@dataclass(frozen=True)
class Sampler:
    """One way to draw."""

    steps: int = 12
    order: str = "confidence"
    guidance: float = 4.5
    temperature: float = 1.5
    reads: bool = True
    """False: the network sees how long a prompt is and nothing of what it says."""

    @property
    def passes(self) -> int:
        """Runs of the network for one picture: with guidance two a step."""
        return self.steps * (2 if self.guidance else 1)


def guided(model: DCAR, prompts: Sequence[str], sampler: Sampler) -> Predict:
    """The network as the sampler sees it: tokens in, guided logits out.

    Args:
        model: the pair that draws.
        prompts: one a picture.
        sampler: its guidance, and whether it reads the prompts.
    """
    network, device = model.generator, model.device
    text = model.text_encoder(list(prompts))
    with torch.no_grad():
        nothing = network.read_text(None, text.mask)
        words = network.read_text(text.states.to(device), text.mask) if sampler.reads else nothing

    @torch.no_grad()
    def predict(indices: Tensor, step: int) -> Tensor:
        cond = network.predict(indices.to(device), words).logits
        if not sampler.guidance:
            return cond
        uncond = network.predict(indices.to(device), nothing).logits
        return guide(cond, uncond, sampler.guidance)

    return predict


def draw_tokens(
    model: DCAR, prompts: Sequence[str], sampler: Sampler, seed: int | Sequence[int] = 0
) -> Tensor:
    """Tokens of one picture a prompt, int64 ``(b, h, w)`` on the CPU.

    Args:
        model: the pair that draws, at the size it was trained at.
        prompts: any number; drawn 32 at a time.
        sampler: steps, order, guidance, temperature.
        seed: as in :meth:`DCAR.generate`; in confidence order both draw the same tokens.
    """
    h, w = model.generator.config.grid
    drawn = []
    for some, numbers in in_chunks(prompts, seed):
        steps = sample_tokens(
            guided(model, some, sampler),
            (len(some), h, w),
            model.generator.config.num_codes,
            num_steps=sampler.steps,
            temperature=sampler.temperature,
            order=sampler.order,
            generator=seeds(numbers, len(some)),
        )
        drawn.append(list(steps)[-1].indices)
    return torch.cat(drawn)


@torch.no_grad()
def decode(model: DCAR, indices: Tensor) -> Tensor:
    """Pictures ``(b, 3, H, W)`` of tokens alone, without residuals."""
    parts = indices.to(model.device).split(32)
    return torch.cat([model.tokenizer.decode(part) for part in parts])


@dataclass(frozen=True)
class Judge:
    """What drawings are compared with: the learnt pictures, and the concepts that compete."""

    model: DCAR
    alignment: Alignment
    prompts: tuple[str, ...]
    indices: Tensor
    """Tokens of the learnt pictures, int64 ``(n, h, w)``."""
    real: Tensor
    """Features of the learnt pictures ``(n, 1280)``."""
    labels: Tensor
    """Where the labels of all candidates lie ``(candidates, width)``."""
    wanted: Tensor
    """The right candidate of each prompt, int64 ``(n,)``."""

    seen: dict[bytes, Tensor] = field(default_factory=dict, repr=False)
    """Token grids that were looked at before, and what was seen: most drawings are memories."""

    def features(self, indices: Tensor) -> Tensor:
        """What EfficientNet sees in the pictures of these tokens ``(b, 1280)``."""
        names = [grid.numpy().tobytes() for grid in indices]
        fresh = [i for i, name in enumerate(names) if name not in self.seen]
        if fresh:
            found = picture_features(self.alignment.eyes, decode(self.model, indices[fresh]))
            self.seen.update(zip((names[i] for i in fresh), found, strict=True))
        return torch.stack([self.seen[name] for name in names])

    def judge(self, indices: Tensor) -> dict[str, float]:
        """Judge one drawing a prompt, in the order of the prompts.

        Returns:
            ``token_match`` with the learnt picture; ``kid_efficientnet`` times 1000, without
            pairs of a drawing and its own picture; ``r1`` and ``r5``: is the label first, or
            among the first five, of all candidates?
        """
        seen = self.features(indices)
        placed = F.normalize(self.alignment.head.pictures(seen), dim=-1)
        found = rank(placed @ self.labels.T, self.wanted)
        return {
            "token_match": token_match(indices, self.indices).mean().item(),
            "kid_efficientnet": 1000 * kid(self.real, seen, paired=True),
            "r1": found.r1,
            "r5": found.r5,
        }


@torch.no_grad()
def load_judge(model: DCAR, prompts: int) -> Judge:
    """Everything to judge with, for ``prompts`` learnt concepts on pale blue, spread evenly."""
    alignment = load_alignment(model.device)
    data, examples = learnt_examples(RECIPES[MODEL])
    blue = [example for example in examples if example.background == "pale blue"]
    chosen = [blue[i * len(blue) // prompts] for i in range(prompts)]
    candidates = [concept.label for concept in data.concepts]
    tiles = data.render(chosen, model.device)
    return Judge(
        model,
        alignment,
        tuple(example.caption for example in chosen),
        torch.cat([model.tokenizer.encode(part).indices.cpu() for part in tiles.split(32)]),
        picture_features(alignment.eyes, tiles),
        alignment.read(candidates),
        torch.tensor([candidates.index(example.label) for example in chosen]),
    )


@dataclass(frozen=True)
class Learnt:
    """All that the shipped model has learnt, for drawings without a prompt."""

    model: DCAR
    eyes: EfficientNetFeatures
    prompts: tuple[str, ...]
    """Some of the captions; of these only the lengths are used."""
    indices: Tensor
    """Tokens of every learnt picture, int64 ``(n, h, w)``."""
    real: Tensor
    """Features of some of them ``(m, 1280)``."""


@torch.no_grad()
def load_learnt(model: DCAR, pictures: int) -> Learnt:
    """Encode every learnt picture, and look at twice ``pictures`` of them, spread evenly.

    Args:
        model: the shipped pair.
        pictures: how many drawings will be compared with them, one for each prompt.
    """
    eyes = load_features(model.device)
    data, examples = learnt_examples(RECIPES[MODEL])
    indices, real = [], []
    some = {i * len(examples) // (2 * pictures) for i in range(2 * pictures)}
    for start in range(0, len(examples), 32):
        tiles = data.render(examples[start : start + 32], model.device)
        indices.append(model.tokenizer.encode(tiles).indices.cpu())
        rows = [row for row in range(len(tiles)) if start + row in some]
        real.append(picture_features(eyes, tiles[rows]) if rows else tiles.new_zeros(0, 1280))
    captions = tuple(examples[i].caption for i in sorted(some))[::2]
    return Learnt(model, eyes, captions, torch.cat(indices), torch.cat(real))
