"""How the shipped checkpoints are made: ``dcar checkpoints emoji-128``.

Three parts: tokenizer, generator, and its residual head once more, alone. The whole state is saved
every minute: a run that was stopped or killed goes on where it was when the same command is given
again.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from dcar_edu import checkpoint
from dcar_edu.course.cards import write_card
from dcar_edu.course.facts import learnt_by, making_of
from dcar_edu.course.recipes import RECIPES, Recipe, learnt_examples
from dcar_edu.data import CaptionedEmoji, EmojiExample
from dcar_edu.generator import GeneratorConfig, MaskedGenerator
from dcar_edu.generator import training as generating
from dcar_edu.generator.masking import random_mask
from dcar_edu.generator.training import GeneratorTraining, TokenBatch, train_generator
from dcar_edu.pipeline import DCAR
from dcar_edu.state import TrainingState, warmed_cosine
from dcar_edu.text import TextEncoder, load_text_encoder
from dcar_edu.tokenizer import HybridTokenizer, TokenizerConfig
from dcar_edu.tokenizer import training as tokenizing
from dcar_edu.tokenizer.training import measure_latents, train_tokenizer

SAVE_EVERY = 60.0
"""Seconds between two saved states."""


class OutOfTime(Exception):
    """The minutes of this call are used up; the state is saved."""


@dataclass
class Clock:
    """Says when to save and when to stop, and prints a line now and then."""

    minutes: float | None = None
    say: Callable[[str], None] = print

    def __post_init__(self) -> None:
        """Start."""
        self.began = self.saved = self.printed = time.monotonic()

    def start(self, step: int, diary: Path) -> None:
        """Begin a part at ``step``; ``diary`` keeps the seconds spent on it over all calls."""
        self.first, self.counted, self.diary = step, time.monotonic(), diary
        self.before = float(diary.read_text()) if step and diary.is_file() else 0.0
        if step:
            self.say(f"going on from step {step}")

    def tick(self, step: int, steps: int, line: str, save: Callable[[], None]) -> None:
        """Save, print or stop, as the time says.

        Raises:
            OutOfTime: the minutes are over.
        """
        now = time.monotonic()
        if now - self.printed > 20 or step == steps:
            speed = (step - self.first) / max(now - self.counted, 1e-9)
            left = (steps - step) / max(speed, 1e-9) / 60
            self.say(f"{step}/{steps}  {speed:.2f} it/s  {left:.0f} min left  {line}")
            self.printed = now
        over = self.minutes is not None and now - self.began > 60 * self.minutes
        if over or step == steps or now - self.saved > SAVE_EVERY:
            save()
            seconds = self.before + now - self.counted
            checkpoint.write_atomically(self.diary, f"{seconds:.0f}".encode())
            self.saved = now
        if over and step < steps:
            raise OutOfTime


def make_tokenizer(recipe: Recipe, work: Path, clock: Clock, device: str) -> HybridTokenizer:
    """Part one: three stages on every style, background and size of the art."""
    finished, folder = work / "tokenizer", work / "tokenizer-state"
    if (finished / "config.json").is_file():
        return HybridTokenizer.from_pretrained(finished).to(device)
    training = recipe.tokenizer_training
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(training.seed)  # the weights at the start
        tokenizer = HybridTokenizer(TokenizerConfig.preset(recipe.preset)).to(device)
    state = tokenizing.begin(tokenizer, training)
    state.load(folder)
    clock.start(state.step, work / "tokenizer-seconds")
    data = CaptionedEmoji("train", recipe.resolution)
    batches = _pictures(recipe, data, state, device)
    for step in train_tokenizer(tokenizer, batches, training, state=state):
        line = (
            f"{step.stage} {step.path} pixel {step.pixel_loss:.4f} codes {step.codes_used} "
            f"cos {step.cosine:.3f} std {step.residual_std:.4f}"
        )
        clock.tick(step.number, training.steps, line, lambda: state.save(folder))
    fixed = torch.Generator().manual_seed(training.seed)
    measure_latents(tokenizer, [data.batch(64, device=device, generator=fixed) for _ in range(16)])
    tokenizer.save_pretrained(finished, dtype=torch.bfloat16)
    return HybridTokenizer.from_pretrained(finished).to(device)


def _pictures(
    recipe: Recipe, data: CaptionedEmoji, state: TrainingState, device: str
) -> Iterator[Tensor]:
    """All pictures, mirrored half of the time, beside those that the generator learns."""
    learnt, _ = learnt_examples(recipe)
    known = round(recipe.learnt_share * recipe.tokenizer_batch)
    other = recipe.tokenizer_batch - known
    while True:
        mixed = data.batch(other, device=device, generator=state.generator).images
        mirror = torch.rand(other, generator=state.generator) < 0.5
        mixed = torch.where(mirror.to(mixed.device)[:, None, None, None], mixed.flip(-1), mixed)
        known_ones = learnt.batch(known, device=device, generator=state.generator).images
        yield torch.cat([mixed, known_ones])


def encode_all(
    data: CaptionedEmoji,
    examples: list[EmojiExample],
    tokenizer: HybridTokenizer,
    encoder: TextEncoder,
) -> TokenBatch:
    """Every example as tokens and text states, once; training then draws rows of it."""
    chunks = [examples[i : i + 64] for i in range(0, len(examples), 64)]
    encoded = [tokenizer.encode(data.render(chunk)) for chunk in chunks]
    words = encoder([example.caption for example in examples])
    return TokenBatch(
        torch.cat([e.indices for e in encoded]).cpu(),
        torch.cat([e.residuals for e in encoded]).cpu(),
        words.states.cpu(),
        words.mask.cpu(),
    )


def rows(tokens: TokenBatch, size: int, state: TrainingState) -> Iterator[TokenBatch]:
    """Endless batches of ``size`` rows, drawn from the state's own source of chance."""
    while True:
        chosen = torch.randint(len(tokens.indices), (size,), generator=state.generator)
        yield TokenBatch(
            tokens.indices[chosen],
            tokens.residuals[chosen],
            tokens.text[chosen],
            tokens.text_mask[chosen],
        )


def make_generator(
    recipe: Recipe, tokenizer: HybridTokenizer, work: Path, clock: Clock, device: str
) -> DCAR:
    """Part two: the masked transformer and its residual head on the tokenizer's tokens."""
    scale = tokenizer.config.residual_std
    assert scale is not None, "part one measures it"
    training = recipe.generator_training
    side = recipe.resolution // tokenizer.config.downsample
    config = GeneratorConfig.preset(
        recipe.preset,
        residual_scale=scale,
        residual_clip=1.0,  # released code; +-2, +-3 and none were measured to be worse
        grid=(side, side),
        tokenizer_fingerprint=tokenizer.fingerprint(),
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(training.seed)  # the weights at the start
        model = MaskedGenerator(config).to(device)
    encoder = load_text_encoder("minilm", length=config.text_length).to(device)
    state = generating.begin(model, training)
    folder = work / f"generator-state-{tokenizer.fingerprint()}"  # other tokens, another run
    state.load(folder)
    clock.start(state.step, work / "generator-seconds")
    data, examples = learnt_examples(recipe)
    batches = rows(encode_all(data, examples, tokenizer, encoder), recipe.generator_batch, state)
    for step in train_generator(model, batches, training, state=state):
        line = (
            f"tokens {step.token_loss:.3f} diffusion {step.diffusion_loss:.3f} "
            f"accuracy {step.accuracy:.3f}"
        )
        clock.tick(step.number, training.steps, line, lambda: state.save(folder))
    return DCAR(tokenizer, model, encoder)


@torch.no_grad()
def hidden_states(
    model: DCAR, tokens: TokenBatch, passes: int, training: GeneratorTraining
) -> tuple[Tensor, Tensor]:
    """What the head learns from: hidden states ``(n, width)`` and their residuals ``(n, c)``.

    Every picture goes through the transformer ``passes`` times, hidden anew as in training, a
    tenth of the texts dropped. The transformer does not learn any more, so once is enough.
    """
    generator, network = torch.Generator().manual_seed(training.seed), model.generator
    hidden, residuals = [], []
    for _ in range(passes):
        for some in torch.arange(len(tokens.indices)).split(64):
            indices = tokens.indices[some].flatten(1)
            masked = random_mask(len(some), indices.shape[1], generator, training.schedule)
            drop = torch.rand(len(some), generator=generator) < training.text_drop
            ids = torch.where(masked, network.mask_id, indices)
            ids = ids.unflatten(1, tokens.indices.shape[1:]).to(network.device)
            out = network(ids, tokens.text[some], tokens.text_mask[some], drop)
            hidden.append(out.hidden.flatten(0, 1))
            residuals.append(tokens.residuals[some].flatten(2).transpose(1, 2).flatten(0, 1))
    return torch.cat(hidden), torch.cat(residuals)


def make_head(recipe: Recipe, model: DCAR, work: Path, clock: Clock) -> None:
    """Part three, in place: the residual head alone; the transformer stays bit-equal.

    Trained on together, the residuals became better and the tokens worse.
    """
    training, head = recipe.head_training, model.generator.residual_head
    state = generating.begin(head, training)
    folder = work / f"head-state-{model.tokenizer.fingerprint()}"  # other tokens, another run
    state.load(folder)
    clock.start(state.step, work / "head-seconds")
    data, examples = learnt_examples(recipe)
    tokens = encode_all(data, examples, model.tokenizer, model.text_encoder)
    hidden, residuals = hidden_states(model, tokens, recipe.head_passes, training)
    while state.step < training.steps:
        chosen = torch.randint(len(hidden), (recipe.head_batch,), generator=state.generator)
        loss = head.loss(hidden[chosen], residuals[chosen].to(hidden), state.generator)
        loss.backward()
        rate = warmed_cosine(state.step, training.steps, training.warmup_steps)
        state.apply_gradients(training.learning_rate * rate, training.clip)
        line = f"diffusion {loss.item():.3f}"
        clock.tick(state.step, training.steps, line, lambda: state.save(folder))
    state.use_average()


def _finish(folder: Path, name: str, recipe: Recipe, model: DCAR, work: Path) -> None:
    """Store the model with what it learnt, and its card."""
    model.save_pretrained(folder, dtype=torch.bfloat16)
    learnt_by(recipe).write(folder)
    cuda, threads = model.device.type == "cuda", torch.get_num_threads()
    device = torch.cuda.get_device_name() if cuda else f"a CPU, {threads} thread(s)"
    minutes = {
        part: round(float((work / f"{part}-seconds").read_text()) / 60)
        for part in ("tokenizer", "generator", "head")
    }
    write_card(folder, making_of(name, recipe, model, minutes, device))


def train(name: str, minutes: float | None = None, out: str | Path | None = None) -> Path | None:
    """Train a shipped checkpoint, or go on with it.

    Args:
        name: one of the recipes.
        minutes: stop this call after so many minutes; the next call goes on.
        out: folder of the finished checkpoint; default ``data/checkpoints/NAME``.

    Returns:
        The finished checkpoint's folder, or None when the minutes ended first.

    Raises:
        ValueError: no such recipe.
    """
    if name not in RECIPES:
        raise ValueError(f"recipes are {', '.join(RECIPES)}; got '{name}'. Name one of them.")
    recipe, clock = RECIPES[name], Clock(minutes)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    work = checkpoint.home() / "recipes" / name
    folder = Path(out) if out else checkpoint.data_folder() / "checkpoints" / name
    try:
        tokenizer = make_tokenizer(recipe, work, clock, device)
        model = make_generator(recipe, tokenizer, work, clock, device)
        make_head(recipe, model, work, clock)
    except OutOfTime:
        print(f"stopped after {minutes} minutes; the same command goes on from {work}")
        return None
    _finish(folder, name, recipe, model, work)
    print(f"finished: {folder}")
    return folder
