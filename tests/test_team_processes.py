"""Two real processes on the CPU do what one does, with all weights on each or shared out (FSDP)."""

import json
import math
import os
from dataclasses import asdict
from importlib.util import find_spec

import pytest
import torch
from safetensors.torch import load_file, save_file

from dcar_edu.generator.training import GeneratorTraining, train_generator
from dcar_edu.generator.training import begin as begin_generator
from dcar_edu.team import Team
from dcar_edu.tokenizer.training import Stage, TokenizerTraining, train_tokenizer
from dcar_edu.tokenizer.training import begin as begin_tokenizer

from . import test_team as parts
from .processes import in_two_processes

pytestmark = pytest.mark.timeout(600)  # two processes on a busy core

QUICK = [("whole", "generator"), ("whole", "tokenizer"), ("whole", "gan"), ("fsdp", "gan")]
ALL = [*QUICK, ("fsdp", "generator")]  # which in_float32 tries too, two steps long


def begun(kind, team, rounds):
    """A fresh model, its state, and the loop that trains it on this process's rows."""
    if kind == "generator":
        model = parts.made_generator()
        plan = GeneratorTraining(steps=5 * rounds, warmup_steps=2, text_drop=0.5)
        state, train, batches = begin_generator(model, plan, team), train_generator, parts.tokens()
    else:
        model, gan = parts.made_tokenizer(), 0.1 if kind == "gan" else 0.0
        stages = (
            Stage("warm-up", rounds, "continuous", ("encoder", "decoder")),
            Stage("discrete", 2 * rounds, "discrete", starts_codes=True, adversarial=True),
            Stage("alternate", 2 * rounds, "alternate", ("decoder",), adversarial=True),
        )
        plan = TokenizerTraining(
            stages, warmup_steps=2, revive_every=2, gan_weight=gan, gan_lecam=gan, gan_width=8,
            gan_layers=1,
        )  # fmt: skip
        state = begin_tokenizer(model, plan, team)
        if gan:
            state.rival.model.double()
        train, batches = train_tokenizer, parts.pictures()
    mine = [batch[team.rows(8)] for batch in batches]
    return model, state, lambda: train(model, mine, plan, state=state)


def run(kind, team, folder, rounds):
    """Stop in the middle, save, and go on from the file with a fresh model."""
    _, state, train = begun(kind, team, rounds)
    steps = train()
    records = [next(steps) for _ in range(3 * rounds)]
    state.save(folder / kind)
    torch.distributed.is_initialized() and torch.distributed.barrier()
    model, state, train = begun(kind, team, rounds)
    assert state.load(folder / kind)
    # Fresh iterators begin with the first batch again, as in the run without a stop.
    records += train()
    assert not model.training
    return team.weights(model), records


def talk(team):
    """What the loops and the runs ask of a team."""
    rank = team.rank
    assert team.agree(rank == 0)
    assert not team.agree(rank == 1)
    assert team.any(rank == 1)
    assert not team.any(False)
    numbers = torch.tensor([[1.0, 2.0]]) * (rank + 1)
    assert team.total(numbers).tolist() == [[3.0, 6.0]]
    assert team.mean(numbers).tolist() == [[1.5, 3.0]]
    assert team.gather(numbers).tolist() == [[1.0, 2.0], [2.0, 4.0]]
    assert team.rows(6) == slice(3 * rank, 3 * rank + 3)


def normalise(team):
    """BatchNorm's averages are the same on both, though each saw its own rows."""
    model = parts.made_tokenizer("batch")
    plan = TokenizerTraining((Stage("x", 2, "continuous"),))
    mine = [batch[team.rows(8)] for batch in parts.pictures()]
    list(train_tokenizer(model, mine, plan, team=team))
    for name, value in model.state_dict().items():
        if "running" in name:
            first, second = team.gather(value[None])
            assert torch.equal(first, second), name
            assert value.abs().max() > 0, name


def starve(team):
    """The second process runs out of memory; both halve, and the numbers stay."""
    model, state, train = begun("generator", team, 1)
    scarce = parts.Scarce(model.blocks[0].attention, {2} if team.rank == 1 else set())
    records = list(train())
    assert team.micro == 2
    assert scarce.sizes == [4, 4, *[2] * 8]
    alone, _, train = begun("generator", Team(), 1)
    parts.close(records, list(train()))
    parts.same_weights(model, alone)


def in_float32(team):
    """As on a GPU: the sums over processes may take another way than in float64."""
    plan = GeneratorTraining(steps=2, warmup_steps=2)
    model, alone = parts.made_generator().float(), parts.made_generator().float()
    mine = [batch[team.rows(8)] for batch in parts.tokens()]
    first, second = train_generator(model, mine, plan, team=team)
    wanted, _ = train_generator(alone, parts.tokens(), plan)
    assert vars(first) == pytest.approx(vars(wanted), rel=1e-5)
    assert math.isfinite(second.loss)


def drift(team, folder):
    """A process that draws only for its own rows is found out."""
    _, state, _ = begun("generator", team, 1)
    state.save(folder)
    torch.rand(1 + team.rank, generator=state.generator)
    with pytest.raises(ValueError, match="random sources of the processes differ at step 0"):
        state.save(folder)


def work(folder, rounds):
    """One process of two."""
    from dcar_edu.runs.teams import make_team

    rank = int(os.environ["RANK"])
    for name, fsdp in (("whole", "false"), ("fsdp", "true")):
        os.environ["ACCELERATE_USE_FSDP"] = fsdp
        team = make_team()
        assert (team.rank, team.size, team.sharded) == (rank, 2, fsdp == "true")
        for kind in (kind for way, kind in (QUICK if rounds == 1 else ALL) if way == name):
            weights, records = run(kind, team, folder / name, rounds)
            if rank == 0:
                save_file(weights, folder / name / f"{kind}.safetensors")
                text = json.dumps([asdict(record) for record in records])
                (folder / name / f"{kind}.json").write_text(text)
        in_float32(team)
        if name == "whole" and rounds == 1:
            talk(team)
            normalise(team)
            starve(make_team())
            drift(team, folder)
    team.end()


def two_processes(folder, rounds):
    if find_spec("accelerate") is None:
        pytest.skip("several processes need accelerate")
    import accelerate  # noqa: F401  # once, not in each process
    import torch._dynamo
    import torch.distributed.fsdp  # noqa: F401

    for name in ("whole", "fsdp"):
        (folder / name).mkdir()
    in_two_processes(work, folder, rounds)
    return folder


@pytest.fixture(scope="module")
def short(tmp_path_factory):
    return two_processes(tmp_path_factory.mktemp("short"), 1)


@pytest.fixture(scope="module")
def long(tmp_path_factory):
    return two_processes(tmp_path_factory.mktemp("long"), 10)


def compare(folder, way, kind, rounds, tmp_path):
    weights, records = run(kind, Team(), tmp_path, rounds)
    found = json.loads((folder / way / f"{kind}.json").read_text())
    assert len(found) == 5 * rounds
    parts.close([Record(**numbers) for numbers in found], records)
    after = load_file(folder / way / f"{kind}.safetensors")
    between, wanted = (load_file(f / kind / "state.safetensors") for f in (folder / way, tmp_path))
    for one, other in ((after, weights), (between, wanted)):
        assert one.keys() == other.keys()
        for name, value in other.items():
            torch.testing.assert_close(one[name], value, rtol=1e-8, atol=1e-9)


class Record:
    def __init__(self, **numbers):
        vars(self).update(numbers)


@pytest.mark.parametrize(("way", "kind"), QUICK)
def test_two_processes_do_what_one_does(short, way, kind, tmp_path):
    """Losses, weights, and the state saved in the middle, from which all went on."""
    compare(short, way, kind, 1, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(("way", "kind"), ALL)
def test_they_still_do_after_fifty_steps(long, way, kind, tmp_path):
    compare(long, way, kind, 10, tmp_path)
