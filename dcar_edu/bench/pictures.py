"""One batch of pictures, drawn under a stopwatch part by part: ours or any other model's.

Weights, words and noise are random: they change no time.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from dcar_edu import images
from dcar_edu.bench.timing import NewWatch, Stopwatch
from dcar_edu.drawing import Drawing, seeds
from dcar_edu.generator import GeneratorConfig, GeneratorOutput, MaskedGenerator
from dcar_edu.generator.guidance import Guidance
from dcar_edu.tokenizer import HybridTokenizer

GUIDANCE = 4.5
PARTS = ("text", "words", "passes", "choice", "head", "decoder")
"""Of our picture: the text encoder; reading its states; the transformer's passes; choosing codes,
guidance included; the residual head; latents to a picture on the CPU."""
Text = tuple[Tensor, Tensor]
"""States ``(b, s, d)`` and their mask."""
REPEATED = ("passes", "choice")
"""Parts that every step has once."""


@dataclass(frozen=True)
class Weights:
    """How many numbers a model learnt."""

    body: int
    """Between token table and output: what every step runs through."""
    generator: int
    """All that makes tokens or latents."""
    decoder: int


@dataclass(frozen=True)
class Drawn:
    """The seconds of one batch, a list a part; parts of a step have one entry a step timed."""

    seconds: dict[str, list[float]]
    num_steps: int
    """Of a whole picture; where fewer were timed, :attr:`parts` multiplies them."""

    @property
    def parts(self) -> dict[str, float]:
        """Seconds of every part of a whole batch."""
        return {
            name: sum(laps) * (self.num_steps / len(laps) if name in REPEATED else 1.0)
            for name, laps in self.seconds.items()
        }

    @property
    def total(self) -> float:
        """Seconds of a whole batch."""
        return sum(self.parts.values())


@dataclass(frozen=True)
class Painter:
    """A model that draws one batch at a time, and tells a stopwatch each part that is done."""

    name: str
    size: int
    """Pixels of a side."""
    batch: int
    num_steps: int
    weights: Weights
    paint: Callable[[Stopwatch, int], Tensor] = field(repr=False)
    """``(stopwatch, steps) -> pictures`` in [-1, 1]; after so many steps it decodes what it has."""
    tokens: int = 0
    """That its body reads in one pass over one picture."""

    def draw(
        self,
        steps: int | None = None,
        new_watch: NewWatch = Stopwatch,
    ) -> Drawn:
        """Draw a batch once.

        Args:
            steps: how many to run and time; all of them if None.
            new_watch: starts the stopwatch; the wall clock by default.

        Raises:
            ValueError: pictures of another size came out.
        """
        watch = new_watch()
        with torch.inference_mode():
            pictures = self.paint(watch, steps or self.num_steps)
        if tuple(pictures.shape) != (self.batch, 3, self.size, self.size):
            raise ValueError(
                f"{self.name} should draw {self.batch} pictures of {self.size} pixels, it gave "
                f"{tuple(pictures.shape)}. Mend its sizes before its times are believed."
            )
        return Drawn(watch.seconds, self.num_steps)


def count(parts: Iterable[nn.Module]) -> int:
    """Learnt numbers of modules."""
    return sum(p.numel() for part in parts for p in part.parameters())


def random_generator(config: GeneratorConfig) -> MaskedGenerator:
    """A generator in eval mode, none of whose layers answers 0 as untrained ones do."""
    torch.manual_seed(0)
    model = MaskedGenerator(config).eval()
    nn.init.xavier_uniform_(model.head.weight)
    model.residual_head.start(official=True)
    return model


def random_words(model: MaskedGenerator, words: int, batch: int = 1) -> Text:
    """Text states and their mask, every word real, of a width that ``model`` reads."""
    source = torch.Generator().manual_seed(0)
    states = torch.randn(batch, words, model.config.text_width, generator=source)
    mask = torch.ones(batch, words, dtype=torch.bool)
    return states.to(model.null_text), mask.to(model.device)


class Watched(Drawing):
    """A drawing that laps a stopwatch when its passes are done."""

    watch: Stopwatch

    def _passes(self, indices: Tensor) -> list[GeneratorOutput]:
        outputs = super()._passes(indices)
        self.watch.lap("passes")
        return outputs


def draw_ours(
    watch: Stopwatch,
    model: MaskedGenerator,
    tokenizer: HybridTokenizer,
    text: Text | Callable[[], Text],
    *,
    num_steps: int = 12,
    steps: int | None = None,
    residual_steps: int = 20,
    order: str = "confidence",
    guidance: float = GUIDANCE,
    seed: int = 0,
) -> Tensor:
    """Draw one batch as ``DCAR.generate`` does, every part lapped.

    Args:
        watch: gets the laps of :data:`PARTS`.
        model: the generator; its own grid is drawn.
        tokenizer: decodes.
        text: states and mask, or what gives them, which is then lapped as ``text``.
        num_steps: of the sampler's plan.
        steps: how many of them are run; what is then still hidden counts as code 0.
        residual_steps: of the head; 0: none.
        order: of unmasking; ``"raster"`` with a step a token is token by token.
        guidance: ``s``; two passes a step, whatever it is.
        seed: of the first picture; the next has seed + 1.
    """
    states, mask = text if isinstance(text, tuple) else text()
    if callable(text):
        watch.lap("text")
    cond, null = (model.read_text(words, mask) for words in (states, None))
    watch.lap("words")
    b = len(mask)
    rows, columns = model.config.grid
    grid, push, sources = (b, rows, columns), Guidance(guidance), seeds(seed, b)
    drawing = Watched(model, cond, null, grid, num_steps, push, 1.5, sources, order=order)
    drawing.watch = watch
    for step in drawing.steps():
        watch.lap("choice")
        if step.step == steps:
            break
    drawing.indices = drawing.indices.clamp(max=model.config.num_codes - 1)
    residuals = drawing.residuals(residual_steps, None)
    if residual_steps:
        watch.lap("head")
    return finished(watch, tokenizer.decode(drawing.indices, residuals))


def finished(watch: Stopwatch, pictures: Tensor) -> Tensor:
    """Lap the decoder: a picture counts as drawn when PIL has it and it can be looked at."""
    for picture in pictures:
        images.to_pil(picture)
    watch.lap("decoder")
    return pictures
