"""What sampling costs: words read once or in every step, and the residual head's share.

Weights and text states are random: they change no time. The text encoder is not counted.
"""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from dcar_edu.bench.pictures import GUIDANCE, Drawn, draw_ours, random_generator, random_words
from dcar_edu.bench.timing import Stopwatch, with_threads
from dcar_edu.generator import GeneratorConfig, GeneratorOutput, MaskedGenerator, sample_tokens
from dcar_edu.tokenizer import HybridTokenizer, TokenizerConfig

WORDS = (32, 300)
"""Lengths of text at which keeping the words is timed."""


@dataclass(frozen=True)
class Caching:
    """One drawing's passes through the transformer, with the words read once and every time."""

    words: int
    tokens: int
    num_steps: int
    kept_seconds: float
    """Reading the words once, then all steps."""
    again_seconds: float
    """All steps, each of which reads the words."""

    @property
    def speed(self) -> float:
        """How many times as fast it is to keep the words' keys and values."""
        return self.again_seconds / self.kept_seconds


@dataclass(frozen=True)
class Overhead:
    """What one picture costs, part by part."""

    preset: str
    pixels: tuple[int, int]
    words: int
    num_steps: int
    residual_steps: int
    tokens_seconds: float
    """Reading the words and drawing all tokens."""
    passes_seconds: float
    """Of these, in the transformer."""
    residual_seconds: float
    decode_seconds: float

    @property
    def discrete_seconds(self) -> float:
        """The whole picture without residuals."""
        return self.tokens_seconds + self.decode_seconds

    @property
    def share(self) -> float:
        """Of the residual head, measured against the picture without it."""
        return self.residual_seconds / self.discrete_seconds

    @property
    def share_of_passes(self) -> float:
        """Of the residual head, measured against the transformer alone."""
        return self.residual_seconds / self.passes_seconds


@torch.inference_mode()
def text_cache(
    model: MaskedGenerator,
    words: int,
    *,
    grid: tuple[int, int] = (8, 8),
    num_steps: int = 12,
    repeats: int = 3,
) -> Caching:
    """Time the passes of a drawing with the words' keys and values kept, and made every step.

    Both are asked in every step, in turn, on the same half-done tokens; what the sampler does
    between the passes is not counted. Without guidance: it doubles both.

    Args:
        model: the generator.
        words: length of the text.
        grid: rows and columns of tokens.
        num_steps: of the sampler.
        repeats: timed drawings, after one pass of each that is not timed.

    Raises:
        ValueError: the two differ in a logit or a hidden state, by however little.
    """
    text, mask = random_words(model, words)
    shape = (1, *grid)
    model(torch.full(shape, model.mask_id), text, mask)
    kept, again = [], []
    for _ in range(repeats):
        watch = Stopwatch()
        memory = model.read_text(text, mask)
        watch.lap("kept")

        def predict(indices: Tensor, step: int, memory=memory, watch=watch) -> Tensor:
            watch.lap("sampler")
            one = model.predict(indices, memory)
            watch.lap("kept")
            other = model(indices, text, mask)
            watch.lap("again")
            _check_equal((one, other), step)
            return one.logits

        source = torch.Generator().manual_seed(0)
        steps = sample_tokens(
            predict, shape, model.config.num_codes, num_steps=num_steps, generator=source
        )
        for _ in steps:
            pass
        kept.append(sum(watch.seconds["kept"]))
        again.append(sum(watch.seconds["again"]))
    middle = statistics.median
    return Caching(words, grid[0] * grid[1], num_steps, middle(kept), middle(again))


@torch.inference_mode()
def residual_overhead(
    preset: str,
    model: MaskedGenerator,
    tokenizer: HybridTokenizer,
    *,
    num_steps: int = 12,
    residual_steps: int = 20,
    repeats: int = 3,
) -> Overhead:
    """Time one picture, part by part, as ``DCAR.generate`` draws it with guidance 4.5.

    With and without residuals a picture has the same tokens and the same decoder: these are timed
    once and counted in both, so that their noise does not hide the difference. Adding the
    residuals to the codes is counted as decoding.

    Args:
        preset: what the report calls them.
        model: the generator; its grid and the longest text it reads are drawn.
        tokenizer: decodes.
        num_steps: of the tokens.
        residual_steps: of the residual head.
        repeats: timed pictures, after one in a single step that is not timed.
    """
    words = model.config.text_length
    text = random_words(model, words)

    def picture(steps: int, of_the_head: int) -> tuple[float, float, float, float]:
        watch = Stopwatch()
        draw_ours(watch, model, tokenizer, text, num_steps=steps, residual_steps=of_the_head)
        parts = Drawn(watch.seconds, steps).parts
        passes = parts["words"] + parts["passes"]
        return passes + parts["choice"], passes, parts["head"], parts["decoder"]

    picture(1, 1)
    runs = [picture(num_steps, residual_steps) for _ in range(repeats)]
    parts = [statistics.median(column) for column in zip(*runs, strict=True)]
    h, w = (side * tokenizer.config.downsample for side in model.config.grid)
    return Overhead(preset, (h, w), words, num_steps, residual_steps, *parts)


def report(
    *, presets: Sequence[str] = ("paper", "small"), repeats: int = 3, threads: int | None = None
) -> str:
    """Both measurements in words.

    Args:
        presets: the residual head is timed at each, the words at the first.
        repeats: timed runs; the median counts.
        threads: CPU threads while measuring, restored afterwards; None: as they are.

    Raises:
        ValueError: no such preset.
    """
    lines: list[str] = []
    with with_threads(threads) as used:
        for preset in presets:
            config = GeneratorConfig.preset(preset)
            if not lines:
                lines += _cache_lines(preset, config, repeats)
            tokenizer = HybridTokenizer(TokenizerConfig.preset(preset)).eval()
            found = residual_overhead(preset, random_generator(config), tokenizer, repeats=repeats)
            lines += _overhead_lines(found)
    lines.append("random weights and text states; the text encoder is not counted")
    return "\n".join([*lines, f"cpu, {used} threads, float32, median of {repeats} runs"])


def _cache_lines(preset: str, config: GeneratorConfig, repeats: int) -> list[str]:
    model = random_generator(replace(config, text_length=max(WORDS)))
    lines = []
    for words in WORDS:
        found = text_cache(model, words, repeats=repeats)
        lines.append(
            f"words kept {found.speed:.2f}x  {found.kept_seconds:.3f} s, read in every step "
            f"{found.again_seconds:.3f} s: {words} words, {found.tokens} tokens, "
            f"{found.num_steps} steps, {preset}"
        )
    return [*lines, "both ways equal in every logit and hidden state, bit for bit"]


def _overhead_lines(found: Overhead) -> list[str]:
    h, w = found.pixels
    return [
        f"residual head {found.share:.1%}  {found.residual_seconds:.3f} s beside "
        f"{found.discrete_seconds:.3f} s: {found.preset}, {h}x{w} pixels, {found.words} words, "
        f"{found.num_steps} + {found.residual_steps} steps, guidance {GUIDANCE}",
        f"  of the transformer alone {found.share_of_passes:.1%}  {found.passes_seconds:.3f} s; "
        f"all token steps {found.tokens_seconds:.3f} s, decoder {found.decode_seconds:.3f} s",
    ]


def _check_equal(found: Sequence[GeneratorOutput], step: int) -> None:
    kept, again = found
    if not (torch.equal(kept.logits, again.logits) and torch.equal(kept.hidden, again.hidden)):
        raise ValueError(
            f"with its words kept the generator answers otherwise in step {step}. "
            "One of the two is wrong: run the tests of the generator."
        )
