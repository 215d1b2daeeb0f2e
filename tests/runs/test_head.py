"""The residual head alone: what it learns from, and that a stop finds the same pool again."""

import copy
from itertools import islice

import pytest
import torch

from dcar_edu.generator import MaskedGenerator
from dcar_edu.generator.config import GeneratorConfig
from dcar_edu.generator.training import GeneratorTraining, TokenBatch, begin
from dcar_edu.runs import head
from dcar_edu.runs.head import train_head
from dcar_edu.team import Team

PLAN = GeneratorTraining(steps=14, warmup_steps=2, text_drop=0.5, seed=2)


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def batch_of(chance):
    """Three pictures of 2 x 5 tokens with one to four words."""
    return TokenBatch(
        torch.randint(7, (3, 2, 5), generator=chance),
        torch.randn(3, 4, 2, 5, generator=chance),
        torch.randn(3, 4, 12, generator=chance),
        torch.arange(4)[None] < torch.tensor([1, 4, 3])[:, None],
    )


def made():
    torch.manual_seed(1)
    model = MaskedGenerator(GeneratorConfig.preset("pocket"))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model


def trained(model, state, steps, reuse=2):
    records = train_head(model, batch_of, 3, reuse, PLAN, state=state)
    return list(islice(records, steps))


def test_only_the_head_moves_and_it_learns():
    model = made()
    before = copy.deepcopy(model.state_dict())
    records = list(train_head(model, batch_of, 3, 2, PLAN, state=begin(model.residual_head, PLAN)))
    assert [record.number for record in records] == list(range(1, 15))
    after = model.state_dict()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved
    assert all(name.startswith("residual_head.") for name in moved)
    assert records[-1].diffusion_loss < records[0].diffusion_loss
    assert not model.training


def test_pools_change_every_so_many_steps(monkeypatch):
    seeds = []
    pool = head._pool
    monkeypatch.setattr(head, "_pool", lambda *a: seeds.append(a[-1].initial_seed()) or pool(*a))
    model = made()
    trained(model, begin(model.residual_head, PLAN), 14)
    assert seeds == [2_000_006, 2_000_007, 2_000_008]  # 3 batches, each used twice: 6 steps


def test_a_stop_inside_a_pool_changes_nothing(tmp_path):
    whole = made()
    state = begin(whole.residual_head, PLAN)
    trained(whole, state, 99)
    model = made()
    early = begin(model.residual_head, PLAN)
    trained(model, early, 8)
    early.save(tmp_path)
    model = made()
    late = begin(model.residual_head, PLAN)
    assert late.load(tmp_path)
    assert late.step == 8
    trained(model, late, 99)
    assert late.step == state.step == 14
    for name, value in whole.state_dict().items():
        assert torch.equal(value, model.state_dict()[name]), name


def test_micro_batches_need_less_memory_and_change_nothing():
    weights, losses, sizes = [], [], []
    for team in (Team(), Team(micro=4)):
        model, seen = made(), []
        for part in (model.blocks[0].attention, model.residual_head.output.linear):
            part.register_forward_pre_hook(lambda _, inputs, to=seen: to.append(len(inputs[0])))
        records = trained(model, begin(model.residual_head, PLAN, team), 2)
        losses.append([record.diffusion_loss for record in records])
        weights.append(model.residual_head.state_dict())
        sizes.append(seen)
    # three batches of 3 pictures for the pool; then 30 tokens a step, each at four times
    assert sizes == [[3] * 3 + [120] * 2, [1] * 9 + [28, 32, 28, 32] * 2]
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)
    for name, value in weights[0].items():
        torch.testing.assert_close(weights[1][name], value, atol=1e-5, rtol=1e-5)


class Half(Team):
    """One of two processes; notes its gradient instead of adding it up."""

    size = 2

    def __init__(self, rank):
        super().__init__()
        self.rank = rank

    def sum_gradients(self, model):
        self.gradients = [p.grad.clone() for p in model.parameters()]


def test_two_processes_share_a_step():
    gradients = []
    for team in (Half(0), Half(1)):
        model = made()
        trained(model, begin(model.residual_head, PLAN, team), 1)
        gradients.append(team.gradients)
    model, team = made(), Half(0)
    team.size = 1
    trained(model, begin(model.residual_head, PLAN, team), 1)
    for first, second, whole in zip(*gradients, team.gradients, strict=True):
        torch.testing.assert_close(first + second, whole, atol=1e-5, rtol=1e-5)
        assert not torch.allclose(first, second)


def test_hidden_states_see_masks_and_dropped_texts():
    model = made()
    hidden, residuals = head._pool(model, batch_of, PLAN, Team(), seeded(5))
    assert hidden.shape == (3 * 3 * 10, 16)
    chance = seeded(5)
    first = batch_of(chance)
    assert torch.equal(residuals[7], first.residuals[0].flatten(1)[:, 7])
    shown = model(first.indices, first.text, first.text_mask).hidden.flatten(0, 1)
    assert not torch.allclose(shown, hidden[:30])
