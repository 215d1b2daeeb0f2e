"""Lesson 07: a small masked transformer learns the tokens of a few emoji, or of all.

Tokens only: the residual head is lesson 10's, so the token loss is the whole loss here.
"""

import functools
from collections.abc import Iterator
from dataclasses import replace
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor

from dcar_edu.course.budgets import Budget
from dcar_edu.course.budgets import budget as row
from dcar_edu.course.encoding import encode_all
from dcar_edu.course.recipes import RECIPES, learnt_examples
from dcar_edu.course.stages import SHIPPED
from dcar_edu.course.studies import Experiment
from dcar_edu.data import CaptionedEmoji
from dcar_edu.generator.config import GeneratorConfig
from dcar_edu.generator.masking import random_mask
from dcar_edu.generator.model import MaskedGenerator
from dcar_edu.generator.training import GeneratorTraining, TokenBatch, begin, masked_loss
from dcar_edu.pipeline import DCAR
from dcar_edu.state import warmed_cosine
from dcar_edu.tokenizer.hybrid import HybridTokenizer

LOOK: dict[str, tuple[str, ...]] = {
    "styles": ("3d",),
    "backgrounds": ("pale blue",),
    "sizes": ("normal",),
}
"""One style, one ground, one size: one picture a concept."""
HIDDEN = (1, 2, 4, 6, 8, 10, 12, 14, 16)
"""Hidden tokens, out of 16, at which the accuracy is measured at the end."""


def small_generator(tokenizer: HybridTokenizer, seed: int) -> MaskedGenerator:
    """A narrower ``nano``: 3 blocks of width 128 in place of 5 of width 256, for this tokenizer.

    Raises:
        ValueError: the tokenizer does not know the size of its residuals.
    """
    scale = tokenizer.config.residual_std
    if scale is None:
        raise ValueError(
            "the tokenizer must know the size of its residuals (residual_std), got None. "
            "Run measure_latents on it first."
        )
    config = GeneratorConfig.preset(
        "nano",
        width=128,
        depth=3,
        mlp_width=512,
        num_codes=tokenizer.config.num_codes,
        latent_channels=tokenizer.config.latent_channels,
        residual_scale=scale,
        tokenizer_fingerprint=tokenizer.fingerprint(),
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return MaskedGenerator(config)


def training(plan: Budget, seed: int) -> GeneratorTraining:
    """The numbers of a run; the residual head does not learn."""
    return GeneratorTraining(
        steps=plan.steps,
        learning_rate=2e-3,
        warmup_steps=plan.steps // 8,
        diffusion_weight=0,
        seed=seed,
    )


def learnt_pictures(concepts: int) -> CaptionedEmoji:
    """The first concepts in hash order that show a thing, as the shipped model learns them."""
    recipe = RECIPES[SHIPPED]
    fewer = replace(recipe.learnt, first=concepts, backgrounds=LOOK["backgrounds"])
    return learnt_examples(replace(recipe, learnt=fewer))[0]


def tokens_of(data: CaptionedEmoji, model: DCAR) -> TokenBatch:
    """Every picture of a data set as tokens, with its caption's states, on the model's device."""
    tokens = encode_all(data, data.examples(), model.tokenizer, model.text_encoder)
    return on_device(tokens, model.generator.device)


def on_device(tokens: TokenBatch, device: torch.device) -> TokenBatch:
    """The same tokens on a device."""
    parts = (tokens.indices, tokens.residuals, tokens.text, tokens.text_mask)
    return TokenBatch(*(part.to(device) for part in parts))


def rows_of(tokens: TokenBatch, rows: Tensor | slice) -> TokenBatch:
    """Some of the pictures."""
    parts = (tokens.indices, tokens.residuals, tokens.text, tokens.text_mask)
    return TokenBatch(*(part[rows] for part in parts))


def fixed_mask(pictures: int, hidden: int | None = None, tokens: int = 16) -> Tensor:
    """The same mask at every call: bool ``(pictures, tokens)``, True = hidden.

    Args:
        pictures: rows.
        hidden: so many in every row; None: as in training.
        tokens: of one picture.
    """
    source = torch.Generator().manual_seed(7)
    if hidden is None:
        return random_mask(pictures, tokens, source)
    return torch.rand(pictures, tokens, generator=source).argsort(dim=1) < hidden


@torch.no_grad()
def guesses(model: MaskedGenerator, tokens: TokenBatch, mask: Tensor) -> Tensor:
    """Logits ``(b, n, K)`` for pictures of which ``mask`` hides a part."""
    ids = torch.where(mask.to(model.device), model.mask_id, tokens.indices.flatten(1))
    return model(ids.view_as(tokens.indices), tokens.text, tokens.text_mask).logits


def fill(model: MaskedGenerator, tokens: TokenBatch, mask: Tensor) -> Tensor:
    """Guess all hidden tokens in one go; the whole grids of ids, ``(b, h, w)``."""
    best = guesses(model, tokens, mask).argmax(-1)
    ids = torch.where(mask.to(best.device), best, tokens.indices.flatten(1))
    return ids.view_as(tokens.indices)


def look(model: MaskedGenerator, tokens: TokenBatch, mask: Tensor) -> dict[str, float]:
    """Loss as in training, and the share of hidden tokens whose best guess is right."""
    logits, targets = guesses(model, tokens, mask), tokens.indices.flatten(1)
    mask = mask.to(logits.device)
    right = (logits.argmax(-1) == targets) & mask
    return {
        "loss": masked_loss(logits, targets, mask).item(),
        "accuracy": (right.sum() / mask.sum()).item(),
    }


def near(model: MaskedGenerator, tokens: TokenBatch, mask: Tensor, codes: Tensor) -> Tensor:
    """Cosine of the guessed and the true code at every hidden place whose guess is wrong.

    Args:
        model: guesses.
        tokens: the truth.
        mask: bool ``(b, n)``, True = hidden.
        codes: the tokenizer's codebook ``(K, c)``, of any length.
    """
    best, truth = fill(model, tokens, mask).flatten(1), tokens.indices.flatten(1)
    wrong = (best != truth) & mask.to(best.device)
    return F.cosine_similarity(codes[best[wrong]], codes[truth[wrong]], dim=-1)


def train(
    model: MaskedGenerator, tokens: TokenBatch, plan: Budget, seed: int
) -> Iterator[tuple[int, MaskedGenerator]]:
    """Train on hidden tokens; yields the step and the averaged model after every step."""
    config = training(plan, seed)
    state = begin(model, config)
    while state.step < config.steps:
        chosen = torch.randint(len(tokens.indices), (plan.batch,), generator=state.generator)
        batch = rows_of(tokens, chosen.to(model.device))
        targets = batch.indices.flatten(1)
        mask = random_mask(plan.batch, targets.shape[1], state.generator).to(model.device)
        drop = torch.rand(plan.batch, generator=state.generator) < config.text_drop
        ids = torch.where(mask, model.mask_id, targets).view_as(batch.indices)
        out = model(ids, batch.text, batch.text_mask, drop)
        masked_loss(out.logits, targets, mask).backward()
        factor = warmed_cosine(state.step, config.steps, config.warmup_steps)
        state.apply_gradients(config.learning_rate * factor, config.clip)
        yield state.step, cast(MaskedGenerator, state.average.module)


@functools.cache
def _shipped() -> DCAR:
    return DCAR.from_pretrained(SHIPPED).to("cuda" if torch.cuda.is_available() else "cpu")


@functools.cache
def _tokens(part: str, concepts: int) -> TokenBatch:
    """Tokens of "few" or "all" learnt emoji, or of "unseen" ones; 0 concepts: all there are."""
    if part == "few":
        return tokens_of(learnt_pictures(concepts), _shipped())
    split = "train" if part == "all" else "held_out_concepts"
    return tokens_of(CaptionedEmoji(split, 128, concepts=concepts or None, **LOOK), _shipped())


def _masked(arm: str, seed: int, budget: str) -> dict[str, float]:
    """Train one generator; ``name_STEP`` on the way, the rest at the end.

    At the end: ``learnt_N`` and ``unseen_N``, accuracy with N of 16 hidden, and ``cosine_learnt_0``
    and ``cosine_unseen_0``, of guessed and true code where the guess is wrong.
    """
    plan = row("07", budget)
    few = arm == "few emoji"
    tokens = _tokens("few" if few else "all", plan.concepts if few else plan.most)
    model = small_generator(_shipped().tokenizer, seed).to(tokens.indices.device)
    judged = rows_of(tokens, slice(plan.judged))
    mask = fixed_mask(len(judged.indices))
    found = {f"{k}_0": v for k, v in look(model, judged, mask).items()}
    for step, average in train(model, tokens, plan, seed):
        if step % plan.every and step != plan.steps:
            continue
        seen, raw = look(average, judged, mask), look(model, judged, mask)
        found |= {f"{name}_{step}": value for name, value in seen.items()}
        found[f"raw_accuracy_{step}"] = raw["accuracy"]
        print(f"{arm}, step {step}: loss {seen['loss']:.3f}", flush=True)
    unseen, codes = _tokens("unseen", plan.unseen), _shipped().tokenizer.quantizer.codes
    for name, part in (("learnt", judged), ("unseen", unseen)):
        for hidden in HIDDEN:
            share = look(average, part, fixed_mask(len(part.indices), hidden))
            found[f"{name}_{hidden}"] = share["accuracy"]
        cosines = near(average, part, fixed_mask(len(part.indices)), codes)
        found[f"cosine_{name}_0"] = cosines.mean().item() if len(cosines) else 1.0
    return {name: round(value, 4) for name, value in found.items()}


EXPERIMENTS: dict[str, Experiment] = {
    "07_masked": Experiment(
        "loss and accuracy of guessing hidden tokens, after equal steps on few emoji and on all",
        ("few emoji", "all emoji"),
        _masked,
    ),
}
