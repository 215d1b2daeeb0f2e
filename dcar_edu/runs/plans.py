"""What decides a run, written down: `run.json` beside its results, and the recipes of models.

A plan holds no path of results and nothing about the machine but how to compute on it; two runs of
one plan on one machine give the same weights.
"""

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self
from urllib.parse import parse_qsl, quote, urlencode

from dcar_edu.generator.training import GeneratorTraining
from dcar_edu.tokenizer.stages import TokenizerTraining, share_out, three_stages

Precision = Literal["auto", "fp32", "bf16"]
Stored = Literal["bfloat16", "float32"]


@dataclass(frozen=True)
class Pictures:
    """One source of captioned pictures, and its share of every batch."""

    source: str = "emoji"
    """`emoji`, `scenes`, a folder of pictures with captions, or `hub:NAME`, where the name is
    a Hub id or a folder of Parquet or Arrow files."""
    share: int = 1
    """Pictures of this source among `sum of shares` pictures of a batch."""
    mirror: bool = False
    """Mirror half of the pictures, left to right."""
    split: str = "train"
    """Of emoji, scenes and Hub data sets."""
    styles: tuple[str, ...] | None = None
    """Of emoji and scenes; None: all that can be drawn at the resolution."""
    backgrounds: tuple[str, ...] | None = None
    """Of emoji and scenes; None: all twelve."""
    sizes: tuple[str, ...] | None = None
    """Of emoji: `normal`, `small`; None: both."""
    groups: tuple[str, ...] | None = None
    """Of emoji: only concepts of these groups, such as `animals-nature`."""
    concepts: tuple[str, ...] | None = None
    """Of emoji: only the concepts with these labels."""
    first: int | None = None
    """Of emoji: only the first so many concepts, in hash order, that the rest allows."""
    kinds: tuple[str, ...] | None = None
    """Of scenes: `single`, `two`, `count`, ...; None: all."""
    image: str = "image"
    """Of Hub data sets: the column of the pictures."""
    caption: str = "text"
    """Of Hub data sets: the column of the captions."""
    streaming: bool = False
    """Of Hub data sets: read them as a stream, never whole."""

    def __post_init__(self) -> None:
        """Check the share and that every choice belongs to the source."""
        if self.share < 1 or not self.source:
            raise ValueError(
                f"a source needs a name and a share of at least 1, got '{self.source}' and "
                f"{self.share}. Leave out what has no share."
            )
        fits = {"emoji": _EMOJI, "scenes": _SCENES}.get(self.source, _HUB if self.on_hub else ())
        for each in dataclasses.fields(self):
            given = getattr(self, each.name) != each.default
            if given and each.name not in ("source", "share", "mirror", *fits):
                raise ValueError(
                    f"'{each.name}' cannot be chosen for the source '{self.source}', only "
                    f"{', '.join(('share', 'mirror', *fits))}. Leave it out."
                )

    @property
    def on_hub(self) -> bool:
        """Whether the library `datasets` reads it."""
        return self.source.startswith("hub:")

    @property
    def text(self) -> str:
        """The source as :meth:`parse` reads it."""
        choices = []
        for each in dataclasses.fields(self):
            value = getattr(self, each.name)
            if value == each.default or each.name in ("source", "share"):
                continue
            shown = ",".join(value) if isinstance(value, tuple) else value
            choices.append((each.name, "yes" if value is True else shown))
        times = "" if self.share == 1 else f"{self.share}*"
        written = urlencode(choices, safe=", ", quote_via=quote)
        return f"{times}{self.source}{'?' if choices else ''}{written}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read one source as the command line has it.

        Raises:
            ValueError: an unknown choice, or a value of the wrong kind.

        Example:
            >>> Pictures.parse("3*emoji?styles=3d,flat&mirror=yes").styles
            ('3d', 'flat')
        """
        times, star, rest = text.partition("*")
        share, rest = (int(times), rest) if star and times.isdecimal() else (1, text)
        source, _, choices = rest.partition("?")
        kinds = {each.name: each.type for each in dataclasses.fields(cls)}
        values: dict[str, Any] = {}
        for name, value in parse_qsl(choices, keep_blank_values=True):
            if name not in kinds or name in ("source", "share"):
                raise ValueError(
                    f"'{name}' is no choice of a source, in '{text}'. Choices are "
                    f"{', '.join(k for k in kinds if k not in ('source', 'share'))}."
                )
            values[name] = _value(name, value, kinds[name])
        return cls(source, share, **values)


_EMOJI = ("split", "styles", "backgrounds", "sizes", "groups", "concepts", "first")
_SCENES = ("split", "styles", "backgrounds", "kinds")
_HUB = ("split", "image", "caption", "streaming")


def _value(name: str, text: str, kind: Any) -> Any:
    if kind is bool:
        if text not in ("yes", "no"):
            raise ValueError(f"'{name}' is yes or no, got '{text}'.")
        return text == "yes"
    if kind == int | None:
        if not text.isdecimal():
            raise ValueError(f"'{name}' is a whole number, got '{text}'.")
        return int(text)
    return text if kind is str else tuple(text.split(","))


def parse_data(text: str) -> tuple[Pictures, ...]:
    """Read a mixture as the command line has it: sources joined by `+`, with shares and choices.

    An existing folder is one source, whatever its name.

    Example:
        >>> [(part.source, part.share) for part in parse_data("5*emoji?styles=3d+3*scenes")]
        [('emoji', 5), ('scenes', 3)]
    """
    if Path(text).is_dir():
        return (Pictures(text),)
    return tuple(Pictures.parse(part) for part in text.split("+"))


@dataclass(frozen=True)
class TokenizerRun:
    """How to train a tokenizer: its data, its sizes, how long, and the numbers of the loop."""

    data: tuple[Pictures, ...] = (Pictures("emoji"),)
    """The pictures: `emoji`, `scenes`, `emoji+scenes`, a folder, `hub:NAME`."""
    preset: str = "nano"
    """Sizes of the network: `nano`, `small` or `paper`; `start` brings its own."""
    resolution: int = 128
    """Height and width of the pictures, in pixels."""
    batch: int = 16
    """Pictures a step, over all processes."""
    images: int | None = None
    """Train on so many pictures in all (repeats count)."""
    minutes: float | None = None
    """Train about so long: a few steps are timed first, then the number of steps is fixed."""
    training: TokenizerTraining = field(
        default_factory=lambda: TokenizerTraining(
            three_stages(10_000, (7, 14, 79)), l2=2.0, revive_every=100
        )
    )
    """Numbers of the loop. With `images` or `minutes`, the steps of its stages are shares."""
    perceptual_side: int | None = None
    """With a `perceptual_weight`: shrink pictures to this side before they are compared."""
    start: str | None = None
    """Go on from this tokenizer: a folder, a shipped name or a Hub id."""
    precision: Precision = "auto"
    """`fp32`, `bf16`, or what the device does best."""
    accumulate: int = 1
    """Compute a step in so many parts, to need less memory."""
    store: Stored = "bfloat16"
    """Number format of the finished weights."""

    def __post_init__(self) -> None:
        """Check what all runs have in common, and that an encoder is learnt or given."""
        _check(self)
        if self.start is None and not any(
            stage.steps and "encoder" in stage.trains for stage in self.training.stages
        ):
            raise ValueError(
                "no stage trains the encoder, so there must be one to begin from. Give start=, "
                "or steps to a stage that trains the encoder."
            )

    def settled(self, steps: int) -> TokenizerTraining:
        """The loop's config for a run of `steps` steps; each stage keeps its share.

        Raises:
            ValueError: fewer steps than stages.
        """
        return dataclasses.replace(self.training, stages=share_out(self.training.stages, steps))


@dataclass(frozen=True)
class GeneratorRun:
    """How to train a generator: its data, its sizes, how long, and the numbers of the loop."""

    data: tuple[Pictures, ...] = (Pictures("emoji"),)
    """The pictures: `emoji`, `scenes`, `emoji+scenes`, a folder, `hub:NAME`."""
    preset: str = "nano"
    """Sizes of the network: `nano`, `small` or `paper`; `start` brings its own."""
    resolution: int = 128
    """Height and width of the pictures, in pixels."""
    batch: int = 64
    """Pictures a step, over all processes."""
    images: int | None = None
    """Train on so many pictures in all (repeats count)."""
    minutes: float | None = None
    """Train about so long: a few steps are timed first, then the number of steps is fixed."""
    training: GeneratorTraining = GeneratorTraining(steps=2000)
    """Numbers of the loop; `images` or `minutes` replace its steps."""
    learns: Literal["all", "head"] = "all"
    """`head`: the residual head alone, on hidden states of a frozen transformer (`start`)."""
    reuse: int = 32
    """With `learns="head"`: how often a hidden state serves before pictures are hidden anew."""
    start: str | None = None
    """Go on from this model, at the same or another resolution: a folder, a shipped name, a Hub
    id."""
    text_encoder: str = "minilm"
    """`minilm`, a Hub id such as `google-t5/t5-base`, or a folder."""
    precision: Precision = "auto"
    """`fp32`, `bf16`, or what the device does best."""
    accumulate: int = 1
    """Compute a step in so many parts, to need less memory."""
    store: Stored = "bfloat16"
    """Number format of the finished weights."""

    def __post_init__(self) -> None:
        """Check what all runs have in common, and that captions stay true."""
        _check(self)
        if any(part.mirror and part.source == "scenes" for part in self.data):
            raise ValueError(
                "mirrored scenes would contradict captions about left and right. Leave mirror out."
            )
        if self.learns == "head" and (self.start is None or self.reuse < 1):
            raise ValueError(
                "a head alone learns from a trained transformer, each hidden state at least once; "
                f"got start={self.start} and reuse={self.reuse}. Give both."
            )

    def settled(self, steps: int) -> GeneratorTraining:
        """The loop's config for a run of `steps` steps."""
        return dataclasses.replace(self.training, steps=steps)


Run = TokenizerRun | GeneratorRun


def steps_asked(plan: Run) -> int | None:
    """Steps of a run; None where minutes decide.

    Raises:
        ValueError: fewer pictures than one batch.
    """
    if plan.images is None:
        return plan.training.steps if plan.minutes is None else None
    if plan.images < plan.batch:
        raise ValueError(
            f"images={plan.images} is less than one batch of {plan.batch}. Train on more pictures."
        )
    return plan.images // plan.batch


def _check(plan: Run) -> None:
    if not plan.data or min(plan.resolution, plan.batch, plan.accumulate) < 1:
        raise ValueError(
            "a run needs data, and a resolution, batch and accumulate of at least 1, got "
            f"{len(plan.data)} sources, {plan.resolution}, {plan.batch} and {plan.accumulate}."
        )
    if plan.images is not None and plan.minutes is not None:
        raise ValueError(
            f"images={plan.images} and minutes={plan.minutes} cannot both end a run. Give one."
        )
    if plan.minutes is not None and plan.minutes <= 0:
        raise ValueError(f"minutes must be above 0, got {plan.minutes}.")
