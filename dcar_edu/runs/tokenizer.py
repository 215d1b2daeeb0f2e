"""A whole run of a tokenizer: from a plan to `OUT/model`, through any number of kills."""

import copy
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from dcar_edu import images
from dcar_edu.checkpoint import find_tokenizer
from dcar_edu.features import PerceptualDistance, load_features
from dcar_edu.runs.following import Call, follow, seconds_a_step, steps_in
from dcar_edu.runs.keeping import Keeper, finished, hold, room_on_disk, settle, write_model
from dcar_edu.runs.plans import TokenizerRun, steps_asked
from dcar_edu.runs.sources import Mixture
from dcar_edu.runs.teams import make_team
from dcar_edu.state import TrainingState
from dcar_edu.team import Team
from dcar_edu.tokenizer import HybridTokenizer, TokenizerConfig
from dcar_edu.tokenizer.training import begin, measure_latents, train_tokenizer

SHOWN = 8
"""Pictures on a sheet of samples."""
MEASURED = 1024
"""Pictures of the data that a finished tokenizer is measured on; of a shorter run, as many as it
has seen, but at least one batch of 64."""


def run_tokenizer(
    plan: TokenizerRun,
    out: str | os.PathLike,
    *,
    team: Team | None = None,
    call: Call | None = None,
) -> Path | None:
    """Train a tokenizer, or go on with it.

    Args:
        plan: all that decides what is learnt.
        out: folder of the run; the same plan and folder go on where an earlier call stopped.
        team: the processes that share the run; default: what the plan asks for.
        call: when to save, show and stop.

    Returns:
        The folder of the finished tokenizer, `OUT/model`; None when the minutes of this call
        ended first.

    Raises:
        ValueError: `out` holds another run or is in use; the data is not there or has changed; a
            number is no longer finite; or the disk is full.
        KeyboardInterrupt: Ctrl-C or SIGTERM; the state is saved.
    """
    out, call = Path(out), call or Call()
    team = team or make_team(plan.precision, plan.accumulate)
    team.rows(plan.batch)
    with room_on_disk(), hold(out, team):
        return _run(plan, out, team, call)


def _run(plan: TokenizerRun, out: Path, team: Team, call: Call) -> Path | None:
    source = Mixture(plan.data, plan.resolution, plan.training.seed)
    tokenizer = _starting_tokenizer(plan).to(team.device)
    perceptual = None
    if plan.training.perceptual_weight:
        perceptual = PerceptualDistance(load_features(team.device), plan.perceptual_side)

    def count() -> int:
        asked = steps_asked(plan)
        return asked or _steps_by_time(plan, tokenizer, source, perceptual, team)

    settled = settle(out, plan, {"data": source.fingerprint()}, count, team)
    if finished(out, team):
        return out / "model"
    training = plan.settled(settled.steps)
    state, keeper = begin(tokenizer, training, team), Keeper(out, team)
    originals = _originals(plan, source, team)
    source.go_to(keeper.load(state) or {})
    batches = _batches(source, plan.batch, state)
    records = train_tokenizer(
        tokenizer, batches, training, state=state, perceptual=perceptual, team=team
    )

    def draw() -> Tensor:
        return sheet(state.average.module, originals)  # type: ignore[arg-type]

    if not follow(records, state, settled.steps, out, source, keeper, call, draw):
        return None
    _measure(tokenizer, plan, plan.batch * settled.steps, team)
    return _write(tokenizer, plan, out, team)


def _write(tokenizer: HybridTokenizer, plan: TokenizerRun, out: Path, team: Team) -> Path:
    weights = team.weights(tokenizer)

    def write(new: Path) -> None:
        whole = HybridTokenizer(tokenizer.config)
        whole.load_state_dict(weights)
        whole.save_pretrained(new, dtype=getattr(torch, plan.store))

    return write_model(out, team, write)


def _starting_tokenizer(plan: TokenizerRun) -> HybridTokenizer:
    """The tokenizer to begin with: given, or new with weights that the seed decides."""
    if plan.start is not None:
        return HybridTokenizer.from_pretrained(find_tokenizer(plan.start))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(plan.training.seed)
        return HybridTokenizer(TokenizerConfig.preset(plan.preset))


def _batches(source: Mixture, batch: int, state: TrainingState) -> Iterator[Tensor]:
    """This process's rows of every batch; drawn as a whole from the run's source of chance."""
    team = state.team
    while True:
        rows = source.draw(batch, state.generator)
        yield source.render(rows[team.rows(batch)], team.device)


def _originals(plan: TokenizerRun, source: Mixture, team: Team) -> Tensor:
    """The pictures on the sheets of samples: the same ones all through the run."""
    position = source.position()
    rows = source.draw(SHOWN, torch.Generator().manual_seed(plan.training.seed))
    source.go_to(position)
    return source.render(rows, team.device)


def _steps_by_time(
    plan: TokenizerRun,
    tokenizer: HybridTokenizer,
    source: Mixture,
    perceptual: nn.Module | None,
    team: Team,
) -> int:
    """How many steps fit into the plan's minutes; measured stage by stage on a copy."""
    assert plan.minutes is not None
    position, seconds, whole = source.position(), 0.0, plan.training.steps
    for stage in plan.training.stages:
        if not stage.steps:
            continue
        gan = plan.training.gan_weight if stage.adversarial else 0.0
        short = replace(plan.training, stages=(replace(stage, steps=99),), gan_weight=gan)
        some = copy.deepcopy(tokenizer)
        state = begin(some, short, team)
        batches = _batches(source, plan.batch, state)
        records = train_tokenizer(
            some, batches, short, state=state, perceptual=perceptual, team=team
        )
        seconds += stage.steps / whole * seconds_a_step(records, team)
    source.go_to(position)
    steps = steps_in(plan.minutes, seconds)
    team.say(f"{seconds:.3f} s a step: {steps} steps in {plan.minutes:g} minutes")
    return max(steps, sum(1 for stage in plan.training.stages if stage.steps))


def _measure(tokenizer: HybridTokenizer, plan: TokenizerRun, seen: int, team: Team) -> None:
    """Note residuals and code use in the config, measured on some pictures of the data.

    After a run of the decoder alone too: at another resolution residuals have another size.
    """
    source = Mixture(plan.data, plan.resolution, plan.training.seed)
    generator = torch.Generator().manual_seed(plan.training.seed)
    drawn = (source.draw(64, generator) for _ in range(max(1, min(MEASURED, seen) // 64)))
    measure_latents(tokenizer, (source.render(rows, team.device) for rows in drawn))


@torch.no_grad()
def sheet(tokenizer: HybridTokenizer, originals: Tensor) -> Tensor:
    """Originals, the discrete path and the hybrid path, one row each: `(3, H, W)`."""
    tokenizer.eval()
    seen = tokenizer.encode(originals)
    discrete = tokenizer.decode(seen.indices)
    hybrid = tokenizer.decode(seen.indices, seen.residuals)
    return images.grid(torch.cat([originals, discrete, hybrid]).cpu(), columns=len(originals))
