"""A whole run of a generator: from a plan and a tokenizer to a DC-AR in `OUT/model`."""

import copy
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dcar_edu import images
from dcar_edu.checkpoint import (
    data_folder,
    find_model,
    find_tokenizer,
    fingerprint,
    load_weights,
    read_config,
)
from dcar_edu.generator import GeneratorConfig, MaskedGenerator
from dcar_edu.generator.training import GeneratorTraining, begin, train_generator
from dcar_edu.pipeline import DCAR
from dcar_edu.runs.following import Call, follow, seconds_a_step, steps_in
from dcar_edu.runs.head import train_head
from dcar_edu.runs.keeping import Keeper, finished, hold, room_on_disk, settle, write_model
from dcar_edu.runs.plans import GeneratorRun, steps_asked
from dcar_edu.runs.sources import Mixture
from dcar_edu.runs.teams import make_team
from dcar_edu.runs.tokens import TokenSource
from dcar_edu.state import TrainingState
from dcar_edu.team import Team
from dcar_edu.text import load_text_encoder
from dcar_edu.tokenizer import HybridTokenizer

SHOWN = 8
"""Prompts on a sheet of samples."""


def run_generator(
    plan: GeneratorRun,
    out: str | os.PathLike,
    tokenizer: str | os.PathLike | None = None,
    *,
    team: Team | None = None,
    call: Call | None = None,
) -> Path | None:
    """Train a generator on a tokenizer's tokens, or go on with it.

    Args:
        plan: all that decides what is learnt, beside the tokenizer.
        out: folder of the run; the same plan and folder go on where an earlier call stopped.
        tokenizer: a folder (also of a run, or of a whole model), a shipped model's name or a Hub
            id; default: that of `plan.start`. A shipped one is named in the result, any other is
            copied into it.
        team: the processes that share the run; default: what the plan asks for.
        call: when to save, show and stop.

    Returns:
        The folder of the finished model, `OUT/model`; None when the minutes of this call ended
        first.

    Raises:
        ValueError: no tokenizer, or another one than `plan.start` was trained with; `out` holds
            another run or is in use; the data is not there or has changed; a number is no longer
            finite; or the disk is full.
        KeyboardInterrupt: Ctrl-C or SIGTERM; the state is saved.
    """
    out, call = Path(out), call or Call()
    team = team or make_team(plan.precision, plan.accumulate)
    team.rows(plan.batch)
    folder = _tokenizer_folder(plan, tokenizer)
    with room_on_disk(), hold(out, team):
        return _run(plan, out, folder, team, call)


def _run(plan: GeneratorRun, out: Path, folder: Path, team: Team, call: Call) -> Path | None:
    source = Mixture(plan.data, plan.resolution, plan.training.seed)
    model = _starting_model(plan, folder).to(team.device)
    began_with = {"data": source.fingerprint(), "tokenizer": model.tokenizer.fingerprint()}
    if plan.start is not None:
        began_with["start"] = fingerprint(model.generator.state_dict())

    def count() -> int:
        return steps_asked(plan) or _steps_by_time(plan, source, model, team, out)

    settled = settle(out, plan, began_with, count, team)
    if finished(out, team):
        return out / "model"
    tokens = _tokens(plan, source, model, team, out)
    training = plan.settled(settled.steps)
    state, keeper = begin(_learner(plan, model.generator), training, team), Keeper(out, team)
    captions = _captions(plan, source)
    source.go_to(keeper.load(state) or {})
    records = _records(plan, training, model.generator, tokens, state)

    def draw() -> Tensor:
        return _sheet(plan, model, state, captions)

    if not follow(records, state, settled.steps, out, source, keeper, call, draw, captions):
        return None
    return _write(model, plan, out, _shipped_name(folder), team)


def _write(model: DCAR, plan: GeneratorRun, out: Path, shipped: str | None, team: Team) -> Path:
    weights = team.weights(model.generator)

    def write(new: Path) -> None:
        whole = MaskedGenerator(model.generator.config)
        whole.load_state_dict(weights)
        made = DCAR(model.tokenizer, whole, model.text_encoder)
        made.save_pretrained(new, dtype=getattr(torch, plan.store), tokenizer=shipped)

    return write_model(out, team, write)


def _tokenizer_folder(plan: GeneratorRun, tokenizer: str | os.PathLike | None) -> Path:
    if tokenizer is None and plan.start is None:
        raise ValueError(
            "a generator learns the tokens of a tokenizer. Give tokenizer=: a folder, such as that "
            "of a run, a shipped model's name or a Hub id."
        )
    return find_tokenizer(tokenizer if tokenizer is not None else str(plan.start))


def _shipped_name(folder: Path) -> str | None:
    """What a model's config calls the tokenizer of a shipped model; None for any other."""
    shipped = data_folder() / "checkpoints"
    if shipped.resolve() in folder.resolve().parents:
        return folder.resolve().relative_to(shipped.resolve()).as_posix()
    return None


def _starting_model(plan: GeneratorRun, folder: Path) -> DCAR:
    """The model to begin with: given, or new with weights that the seed decides."""
    tokenizer = HybridTokenizer.from_pretrained(folder)
    sizes = tokenizer.config
    side, rest = divmod(plan.resolution, sizes.downsample)
    if rest or sizes.residual_std is None:
        raise ValueError(
            f"resolution={plan.resolution} must be a multiple of {sizes.downsample}, and the "
            f"tokenizer's residuals measured (residual_std={sizes.residual_std}). Train the "
            "tokenizer with run_tokenizer, or call measure_latents."
        )
    changes: dict[str, Any] = {"grid": (side, side), "residual_scale": sizes.residual_std}
    if plan.start is not None:
        start = find_model(plan.start) / "generator"
        kept = read_config(start, GeneratorConfig)
        encoder = load_text_encoder(kept.text_encoder, length=kept.text_length)
        generator = MaskedGenerator(replace(kept, **changes))
        load_weights(start, generator)
        return DCAR(tokenizer, generator, encoder)
    length = GeneratorConfig.preset(plan.preset).text_length
    encoder = load_text_encoder(plan.text_encoder, length=length)
    config = GeneratorConfig.preset(
        plan.preset,
        num_codes=sizes.num_codes,
        latent_channels=sizes.latent_channels,
        text_encoder=plan.text_encoder,
        text_width=encoder.width,
        tokenizer_fingerprint=tokenizer.fingerprint(),
        **changes,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(plan.training.seed)
        return DCAR(tokenizer, MaskedGenerator(config), encoder)


def _tokens(plan: GeneratorRun, source: Mixture, model: DCAR, team: Team, out: Path) -> TokenSource:
    asked = steps_asked(plan)
    drawn = asked and asked * plan.batch
    return TokenSource(source, model.tokenizer, model.text_encoder, team, out / "tokens", drawn)


def _learner(plan: GeneratorRun, generator: MaskedGenerator) -> nn.Module:
    return generator.residual_head if plan.learns == "head" else generator


def _records(
    plan: GeneratorRun,
    training: GeneratorTraining,
    generator: MaskedGenerator,
    tokens: TokenSource,
    state: TrainingState,
) -> Iterator[Any]:
    """The loop that the plan asks for."""
    if plan.learns == "all":
        batches = tokens.batches(plan.batch, state.generator)
        return train_generator(generator, batches, training, state=state, team=state.team)
    if tokens.source.position():
        raise ValueError("a head alone cannot learn from a stream. Leave streaming out.")
    return train_head(
        generator,
        lambda chance: tokens.batch(tokens.source.draw(plan.batch, chance)),
        plan.batch,
        plan.reuse,
        training,
        state=state,
    )


def _captions(plan: GeneratorRun, source: Mixture) -> list[str]:
    """The prompts on the sheets of samples: the same ones all through the run."""
    position = source.position()
    rows = source.draw(SHOWN, torch.Generator().manual_seed(plan.training.seed))
    source.go_to(position)
    return [row.caption for row in rows]


def _sheet(plan: GeneratorRun, model: DCAR, state: TrainingState, captions: list[str]) -> Tensor:
    """What the averaged weights draw for the prompts: `(3, H, W)`."""
    averaged, generator = state.average.module, model.generator
    if plan.learns == "head":
        generator.residual_head = averaged  # type: ignore[assignment]
    try:
        drawer = DCAR(
            model.tokenizer,
            generator if plan.learns == "head" else averaged,  # type: ignore[arg-type]
            model.text_encoder,
        )
        steps = min(12, generator.config.grid[0] * generator.config.grid[1])
        drawn = drawer.generate(captions, num_steps=steps, seed=0)
    finally:
        if plan.learns == "head":
            generator.residual_head = state.model  # type: ignore[assignment]
    return images.grid(torch.stack([images.from_pil(p) for p in drawn]), columns=4)


def _steps_by_time(plan: GeneratorRun, source: Mixture, model: DCAR, team: Team, out: Path) -> int:
    """How many steps fit into the plan's minutes; measured on a copy."""
    assert plan.minutes is not None
    tokens, position = _tokens(plan, source, model, team, out), source.position()
    some, short = copy.deepcopy(model.generator), replace(plan.training, steps=99)
    state = begin(_learner(plan, some), short, team)
    seconds = seconds_a_step(_records(plan, short, some, tokens, state), team)
    source.go_to(position)
    steps = steps_in(plan.minutes, seconds)
    team.say(f"{seconds:.3f} s a step: {steps} steps in {plan.minutes:g} minutes")
    return steps
