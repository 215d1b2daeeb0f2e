"""Our model as a painter: any preset, size and down-sampling, on any device, compiled or not."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from dcar_edu.bench.pictures import (
    Painter,
    Text,
    Weights,
    count,
    draw_ours,
    random_generator,
    random_words,
)
from dcar_edu.bench.timing import Stopwatch
from dcar_edu.generator import GeneratorConfig, MaskedGenerator
from dcar_edu.tokenizer import HybridTokenizer, TokenizerConfig

WAYS = ("eager", "compile", "graphs")
"""How networks run: as written; through ``torch.compile``; its code recorded in CUDA graphs too."""


@dataclass(frozen=True)
class Place:
    """Where and how networks run.

    Raises:
        ValueError: no such way, or CUDA graphs without CUDA.
    """

    device: str = "cpu"
    dtype: torch.dtype = torch.float32
    way: str = "eager"

    def __post_init__(self) -> None:
        """Check what does not go together."""
        if self.way not in WAYS:
            raise ValueError(f"ways are {', '.join(WAYS)}; got '{self.way}'. Name one of them.")
        if self.way == "graphs" and torch.device(self.device).type != "cuda":
            raise ValueError(
                f"CUDA graphs need a CUDA device, got '{self.device}'. "
                "Use --way compile, or --device cuda."
            )

    def put(self, module: nn.Module) -> nn.Module:
        """The module there, in eval mode."""
        return module.to(self.device, self.dtype).eval()

    def fast(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, run this way."""
        if self.way == "eager":
            return function
        if self.way == "compile":
            return torch.compile(function)
        recorded = torch.compile(function, mode="reduce-overhead")

        def replay(*inputs: Any) -> Any:
            torch.compiler.cudagraph_mark_step_begin()
            outputs = recorded(*inputs)  # lives in memory that the next replay overwrites
            if isinstance(outputs, Tensor):
                return outputs.clone()
            return tuple(tensor.clone() for tensor in outputs)

        return replay


def ours(
    preset: str = "small",
    *,
    size: int = 256,
    batch: int = 1,
    downsample: int = 32,
    num_steps: int | None = 12,
    residual_steps: int = 20,
    order: str = "confidence",
    with_text: bool = False,
    place: Place | None = None,
    name: str = "ours",
) -> Painter:
    """Our model with random weights.

    Args:
        preset: of the generator and the tokenizer.
        size: pixels of a side.
        batch: pictures drawn together.
        downsample: ``f`` of the tokenizer; the generator stays as it is.
        num_steps: of the sampler; None: one a token.
        residual_steps: of the head; 0: none.
        order: of unmasking; ``"raster"`` with a step a token is token by token.
        with_text: run the text encoder too; otherwise its states are given.
        place: where and how; the CPU in float32 by default.
        name: what tables call it.

    Raises:
        ValueError: a size that is no multiple of ``downsample``; no such preset.
    """
    if size % downsample:
        raise ValueError(f"size must be a multiple of {downsample}, got {size}.")
    place = place or Place()
    grid = (size // downsample, size // downsample)
    plan = num_steps or grid[0] * grid[1]
    config = GeneratorConfig.preset(preset, grid=grid)
    model = random_generator(config)
    tokenizer = HybridTokenizer(TokenizerConfig.preset(preset, downsample=downsample))
    body = count([model.blocks, model.text])
    weights = Weights(body, count([model]), count([tokenizer.decoder]))
    _move(model, tokenizer, place)
    text = random_words(model, config.text_length, batch)
    read = text_reader(config, batch, place) if with_text else text

    def paint(watch: Stopwatch, steps: int) -> Tensor:
        return draw_ours(
            watch,
            model,
            tokenizer,
            read,
            num_steps=plan,
            steps=steps,
            residual_steps=residual_steps,
            order=order,
        )

    return Painter(name, size, batch, plan, weights, paint, grid[0] * grid[1])


def _move(model: MaskedGenerator, tokenizer: HybridTokenizer, place: Place) -> None:
    """Put both in their place; compile what every step, the head and the decoder run."""
    place.put(model), place.put(tokenizer)
    if place.way == "eager":
        return
    for owner, name in (
        (model, "run"),
        (model.residual_head, "forward"),
        (tokenizer.decoder, "forward"),
    ):
        setattr(owner, name, place.fast(getattr(owner, name)))


def text_reader(config: GeneratorConfig, batch: int, place: Place) -> Callable[[], Text]:
    """The text encoder's network at its true sizes with random weights, on the longest prompts.

    Raises:
        ValueError: transformers is not installed.
    """
    try:
        from transformers import BertConfig, BertModel, T5Config, T5EncoderModel
    except ImportError as error:
        raise ValueError(
            "timing the text encoder needs transformers: pip install 'dcar_edu[text]', or leave "
            "it out with --no-text."
        ) from error
    net: nn.Module
    if config.text_encoder == "minilm":
        sizes = {"num_hidden_layers": 6, "num_attention_heads": 12, "intermediate_size": 1536}
        net = BertModel(BertConfig(hidden_size=config.text_width, **sizes))
    else:
        sizes = {"num_layers": 12, "num_heads": 12, "d_ff": 3072}
        net = T5EncoderModel(T5Config(d_model=config.text_width, **sizes))
    place.put(net)
    source = torch.Generator().manual_seed(0)
    ids = torch.randint(3, 1000, (batch, config.text_length), generator=source).to(place.device)
    mask = torch.ones_like(ids, dtype=torch.bool)

    def read() -> Text:
        return net(input_ids=ids, attention_mask=mask).last_hidden_state, mask

    return read
