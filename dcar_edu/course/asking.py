"""What the one-shot networks of lesson 06 are asked: prompts, and the pictures that fit them.

A prompt may fit several pictures: "an emoji of a wolf" fits a wolf in each of the four styles.
"""

from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Tensor

from dcar_edu.data import CaptionedEmoji
from dcar_edu.data.captions import STYLES, noun_phrase
from dcar_edu.tokenizer import HybridTokenizer

SIDE = 128
"""Height and width of one emoji: 4 x 4 tokens of the shipped tokenizer."""
LEARNT = ("full", "open", "scene")
"""Kinds of prompts to learn from; scenes of the kind ``unseen`` are kept for judging."""
THINGS = {
    "cat": "cat",
    "tree": "deciduous tree",
    "dog": "dog",
    "house": "house",
    "owl": "owl",
    "rocket": "rocket",
    "mushroom": "mushroom",
    "pear": "pear",
    "tent": "tent",
    "snake": "snake",
    "train": "train",
    "frog": "frog",
}
"""Nouns of the scenes, and the emoji that show them."""


@dataclass(frozen=True)
class Asked:
    """Prompts, and the pictures that fit each of them, as tokens."""

    kinds: tuple[str, ...]
    """``full``: the style is named; ``open``: it is not; ``scene``: two things; ``unseen``: two
    things that are together in no other prompt."""
    captions: tuple[str, ...]
    fits: Tensor
    """int64 ``(n, k, h, w)``: pictures that fit; the same one ``k`` times if only one does."""

    def where(self, kind: str) -> list[int]:
        """Places of all prompts of one kind."""
        return [place for place, found in enumerate(self.kinds) if found == kind]


def labels(concepts: int) -> list[str]:
    """The first ``concepts`` training emoji that are drawn in all four styles.

    Raises:
        ValueError: there are not so many.
    """
    data = CaptionedEmoji("train", SIDE, backgrounds=["white"], sizes=["normal"])
    found = [(example.label, example.style) for example in data.examples()]
    drawn = set(found)
    whole = [n for n in dict.fromkeys(n for n, _ in found) if all((n, s) in drawn for s in STYLES)]
    if not 1 <= concepts <= len(whole):
        raise ValueError(f"concepts must be 1 to {len(whole)}, got {concepts}. Ask for fewer.")
    return whole[:concepts]


@torch.no_grad()
def emoji_prompts(tokenizer: HybridTokenizer, concepts: int) -> Asked:
    """Four prompts that name a style, and an open one, for each concept."""
    names = labels(concepts)
    data = CaptionedEmoji("train", SIDE, concepts=names)
    examples = [data.example(name, style) for name in names for style in STYLES]
    tokens = _tokens(tokenizer, data.render(examples))
    captions = [example.caption for example in examples]
    captions += [open_caption(name) for name in names]
    alone = tokens[:, None].expand(-1, len(STYLES), -1, -1)
    together = rearrange(tokens, "(n style) h w -> n style h w", style=len(STYLES))
    kinds = ("full",) * len(examples) + ("open",) * len(names)
    return Asked(kinds, tuple(captions), torch.cat([alone, together]))


def open_caption(label: str) -> str:
    """A caption that leaves the style open.

    Example:
        >>> open_caption("wolf")
        'an emoji of a wolf on a white background'
    """
    return f"an emoji of {noun_phrase(label)} on a white background"


@torch.no_grad()
def scene_prompts(tokenizer: HybridTokenizer, things: int) -> Asked:
    """Every ordered pair of the first ``things`` of :data:`THINGS`, said from both sides.

    The picture is twice as wide as high: one thing fills the left half, the other the right. Every
    thing has one partner that it meets in ``unseen`` scenes only; the cat's is the tree.

    Args:
        tokenizer: makes the tokens.
        things: an even number, so that every thing has such a partner.

    Raises:
        ValueError: an odd number, too few or too many.
    """
    if things % 2 or not 4 <= things <= len(THINGS):
        raise ValueError(
            f"things must be an even number from 4 to {len(THINGS)}, got {things}: every thing has "
            "a partner that it never meets in training. Ask for one more or one less."
        )
    chosen = dict(list(THINGS.items())[:things])
    data = CaptionedEmoji("train", SIDE, concepts=list(chosen.values()))
    shown = data.render([data.example(label) for label in chosen.values()])
    pairs = [(i, j) for i in range(things) for j in range(things) if i != j]
    names = [noun_phrase(name) for name in chosen]
    captions = [f"{names[i]} to the left of {names[j]}" for i, j in pairs]
    captions += [f"{names[j]} to the right of {names[i]}" for i, j in pairs]
    kinds = ["unseen" if sum(pair) % things == 1 else "scene" for pair in pairs]
    tokens = _tokens(tokenizer, torch.stack([torch.cat([shown[i], shown[j]], 2) for i, j in pairs]))
    return Asked(tuple(kinds * 2), tuple(captions), tokens[:, None].repeat(2, 1, 1, 1))


def _tokens(tokenizer: HybridTokenizer, images: Tensor) -> Tensor:
    parts = [tokenizer.encode(part.to(tokenizer.device)).indices for part in images.split(32)]
    return torch.cat(parts).cpu()
