"""What the shipped checkpoints are made of: sizes, steps, and which pictures they learn.

``making`` trains them, ``cards`` judges them.
"""

from dataclasses import dataclass

from dcar_edu.data import CaptionedEmoji, EmojiExample
from dcar_edu.data.art import read_concepts
from dcar_edu.generator.training import GeneratorTraining
from dcar_edu.tokenizer.training import TokenizerTraining, three_stages

THINGS = ("animals-nature", "food-drink", "travel-places", "activities", "objects")
"""Groups of emoji that show one thing each; faces and people differ too little at 4x4 tokens."""


@dataclass(frozen=True)
class Recipe:
    """Everything that decides a shipped checkpoint, but the machine."""

    preset: str
    resolution: int
    tokenizer_training: TokenizerTraining
    tokenizer_batch: int
    learnt_share: float
    """Share of each tokenizer batch taken from the pictures that the generator learns."""
    generator_training: GeneratorTraining
    generator_batch: int
    head_training: GeneratorTraining
    """The residual head once more, alone: it learns far more slowly than the transformer."""
    head_batch: int
    """Tokens a step."""
    head_passes: int
    """How often each picture is hidden anew to make the head's data."""
    concepts: int
    """How many concepts the generator learns: the first in hash order that show a thing."""
    styles: tuple[str, ...]
    backgrounds: tuple[str, ...]


RECIPES = {
    "emoji-128": Recipe(
        preset="nano",
        resolution=128,
        tokenizer_training=TokenizerTraining(
            stages=three_stages(10000, shares=(7, 14, 79)), l2=2.0, revive_every=100
        ),
        tokenizer_batch=16,
        learnt_share=0.5,
        generator_training=GeneratorTraining(steps=2000),
        generator_batch=64,
        head_training=GeneratorTraining(steps=28000, seed=1),
        head_batch=512,
        head_passes=24,
        concepts=560,
        styles=("3d",),
        backgrounds=("white", "pale blue"),
    ),
}


def learnt_examples(recipe: Recipe) -> tuple[CaptionedEmoji, list[EmojiExample]]:
    """The pictures that the generator learns, and the data set that draws them."""
    wide = CaptionedEmoji("train", recipe.resolution, styles=recipe.styles)
    drawn = {example.hexcode for example in wide.examples()}
    things = [c for c in read_concepts() if c.group in THINGS and c.hexcode in drawn]
    data = CaptionedEmoji(
        "train",
        recipe.resolution,
        styles=recipe.styles,
        concepts=[concept.label for concept in things[: recipe.concepts]],
        backgrounds=recipe.backgrounds,
        sizes=("normal",),
    )
    return data, data.examples()
