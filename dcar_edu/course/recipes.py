"""What the shipped checkpoints are made of: their pictures, and the runs that train them.

``making`` goes through the runs, ``cards`` judges what comes out.
"""

from dataclasses import dataclass, replace

from dcar_edu.data import CaptionedEmoji, EmojiExample
from dcar_edu.generator.training import GeneratorTraining
from dcar_edu.runs import GeneratorRun, Pictures, TokenizerRun
from dcar_edu.runs.plans import Run
from dcar_edu.runs.sources import open_source
from dcar_edu.tokenizer.training import Stage, TokenizerTraining, three_stages

THINGS = ("animals-nature", "food-drink", "travel-places", "activities", "objects")
"""Groups of emoji that show one thing each; faces and people differ too little at 4x4 tokens."""


@dataclass(frozen=True)
class Part:
    """One run of a recipe."""

    name: str
    """Its folder."""
    plan: Run
    """Its ``start`` may be the name of an earlier part."""
    tokenizer: str | None = None
    """Of a generator's run: an earlier part or a shipped model; None: that of ``start``."""


@dataclass(frozen=True)
class Recipe:
    """Everything that decides a shipped checkpoint, but the machine."""

    parts: tuple[Part, ...]
    """In order; the last one gives the model."""
    resolution: int
    learnt: Pictures
    """The single pictures among what the generator learns; its prompts are drawn from them."""
    preset: str = "nano"
    """Sizes of the model, for its card."""
    guidance: float = 4.5
    """How prompts are drawn for its card; a model that knows its prompts by heart needs less."""
    residual_clip: float = 1.0
    """Bound of drawn residuals, in units of their scale, stored with the model; a head that draws
    them badly needs less."""


HEART = Pictures(
    "emoji",
    styles=("3d",),
    backgrounds=("white", "pale blue"),
    sizes=("normal",),
    groups=THINGS,
    first=560,
)
"""What the models made on a CPU know by heart."""


def _sharper(start: str, steps: int, resolution: int) -> TokenizerRun:
    """The decoder alone learns on, with a perceptual loss; the codes stay."""
    return TokenizerRun(
        data=(replace(HEART, share=3), Pictures("emoji", mirror=True)),
        resolution=resolution,
        batch=8,
        start=start,
        training=TokenizerTraining(
            (Stage("alternate", steps, "alternate", ("decoder",)),),
            learning_rate=5e-4,
            l2=2.0,
            perceptual_weight=0.5,
            seed=2,
        ),
        perceptual_side=128,
    )


EMOJI_128 = Recipe(
    (
        Part(
            "tokenizer",
            TokenizerRun(
                data=(HEART, Pictures("emoji", mirror=True)),
                batch=16,
                training=TokenizerTraining(
                    three_stages(10000, shares=(7, 14, 79)), l2=2.0, revive_every=100
                ),
            ),
        ),
        Part(  # the decoder alone, with a perceptual loss: sharper pictures of the same codes
            "decoder",
            _sharper("tokenizer", 2500, 128),
        ),
        Part(
            "generator",
            GeneratorRun(data=(HEART,), batch=64, training=GeneratorTraining(steps=2000)),
            tokenizer="decoder",
        ),
        Part(  # it learns far more slowly than the transformer
            "head",
            GeneratorRun(
                data=(HEART,),
                batch=32,
                learns="head",
                start="generator",
                training=GeneratorTraining(steps=28000, seed=1),
            ),
        ),
    ),
    resolution=128,
    learnt=HEART,
    guidance=1.0,
)
"""The smallest model: a laptop trains it overnight."""

EMOJI_256_CPU = Recipe(
    (
        Part(  # the decoder alone: the codes, and so the fingerprint, stay those of emoji-128
            "tokenizer",
            _sharper("emoji-128", 2300, 256),
        ),
        Part(
            "generator",
            GeneratorRun(
                data=(HEART,),
                resolution=256,
                batch=32,
                start="emoji-128",
                training=GeneratorTraining(steps=2050, seed=2),
            ),
            tokenizer="tokenizer",
        ),
        Part(
            "head",
            GeneratorRun(
                data=(HEART,),
                resolution=256,
                batch=8,
                learns="head",
                start="generator",
                training=GeneratorTraining(steps=3400, seed=3),
            ),
        ),
    ),
    resolution=256,
    learnt=HEART,
    guidance=1.0,
    residual_clip=0.25,
)
"""``emoji-128`` taught to draw at 256 px, on a CPU in an afternoon."""

EVERYTHING = (Pictures("emoji", share=3), Pictures("scenes"))
"""All styles, backgrounds and sizes, and scenes of several things."""

EMOJI_256 = Recipe(
    (
        Part(
            "tokenizer",
            TokenizerRun(
                data=(Pictures("emoji", share=3, mirror=True), Pictures("scenes", mirror=True)),
                preset="small",
                resolution=256,
                batch=64,
                training=TokenizerTraining(
                    three_stages(36000), l2=2.0, perceptual_weight=0.25, revive_every=100
                ),
            ),
        ),
        Part(
            "generator",
            GeneratorRun(
                data=EVERYTHING,
                preset="small",
                resolution=256,
                batch=256,
                training=GeneratorTraining(steps=20000),
            ),
            tokenizer="tokenizer",
        ),
    ),
    resolution=256,
    learnt=Pictures("emoji"),
    preset="small",
)
"""Preset ``small`` on everything: for one GPU, in calls of ten minutes."""

EMOJI_512 = Recipe(
    (
        Part(
            "generator",
            GeneratorRun(
                data=EVERYTHING,
                resolution=512,
                batch=128,
                start="emoji-256",
                training=GeneratorTraining(steps=8000, learning_rate=5e-4, seed=1),
            ),
            tokenizer="emoji-256",
        ),
    ),
    resolution=512,
    learnt=Pictures("emoji"),
    preset="small",
)
"""The generator of ``emoji-256`` goes on at 512 px, where there is no 3D art; same tokenizer."""

RECIPES = {
    "emoji-128": EMOJI_128,
    "emoji-256-cpu": EMOJI_256_CPU,
    "emoji-256": EMOJI_256,
    "emoji-512": EMOJI_512,
}


def learnt_examples(recipe: Recipe) -> tuple[CaptionedEmoji, list[EmojiExample]]:
    """The single pictures that the generator learns, and the data set that draws them."""
    data = open_source(recipe.learnt, recipe.resolution)
    return data, data.examples()
