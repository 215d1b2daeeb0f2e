"""What a training run remembers, and the small rules around it."""

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from dcar_edu.state import (
    TrainingState,
    average_decay,
    digest,
    endless,
    parameter_groups,
    warmed_cosine,
)
from dcar_edu.team import Team
from dcar_edu.tokenizer.quantizer import VectorQuantizer


def begin(model, **changes):
    numbers = {"learning_rate": 0.1, "betas": (0.9, 0.99), "weight_decay": 0.1, "ema_decay": 0.9}
    return TrainingState.begin(model, **{**numbers, **changes})


def made():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))


def step(state):
    x = torch.randn(5, 3, generator=state.generator)
    state.model(x).square().mean().backward()
    return state.apply_gradients(0.1, clip=1.0)


def test_only_matrices_and_filters_decay():
    model = nn.ModuleDict(
        {
            "linear": nn.Linear(3, 4),
            "conv": nn.Conv2d(2, 3, 1),
            "norm": nn.LayerNorm(4),
            "table": nn.Embedding(5, 4),
            "quantizer": VectorQuantizer(6, 4),
        }
    )
    decayed, plain = parameter_groups(model, 0.3)
    names = {id(p): name for name, p in model.named_parameters()}
    assert {names[id(p)] for p in decayed["params"]} == {"linear.weight", "conv.weight"}
    assert {names[id(p)] for p in plain["params"]} == {
        "linear.bias", "conv.bias", "norm.weight", "norm.bias", "table.weight", "quantizer.codes",
    }  # fmt: skip
    assert (decayed["weight_decay"], plain["weight_decay"]) == (0.3, 0.0)


def test_warmed_cosine_golden():
    found = [round(warmed_cosine(s, steps=100, warmup=10), 3) for s in (0, 9, 10, 55, 99, 500)]
    assert found == [0.1, 1.0, 1.0, 0.517, 0.05, 0.05]
    assert warmed_cosine(0, steps=1, warmup=0) == 1.0
    assert warmed_cosine(9, steps=10, warmup=0, floor=0.2) == pytest.approx(0.2)


def test_average_decay_golden():
    assert [round(average_decay(n, 0.9), 3) for n in (0, 1, 10, 1000)] == [0.1, 0.182, 0.55, 0.9]


def test_endless_starts_again_and_says_when_it_cannot():
    supply = endless([1, 2])
    assert [next(supply) for _ in range(5)] == [1, 2, 1, 2, 1]
    for batches in ([], iter([])):
        with pytest.raises(ValueError, match="batches ended before the training did. Pass a list"):
            next(endless(batches))
    once = endless(iter([1]))
    assert next(once) == 1
    with pytest.raises(ValueError, match="the batches ended before"):
        next(once)


def test_the_average_by_hand():
    model = nn.Linear(1, 1, bias=False)
    state, seen = begin(model), []
    for _ in range(3):
        model(torch.ones(1, 1)).sum().backward()
        state.apply_gradients(0.1, clip=1.0)
        seen.append(model.weight.item())
    average = seen[0]  # the first update is a copy; then decays of 2/11 and 3/12
    for decay, value in ((2 / 11, seen[1]), (3 / 12, seen[2])):
        average = decay * average + (1 - decay) * value
    assert state.average.module.weight.item() == pytest.approx(average)
    state.use_average()
    assert model.weight.item() == pytest.approx(average)


def test_gradients_are_clipped_and_their_norm_is_told():
    model = nn.Linear(2, 1, bias=False)
    before = model.weight.detach().clone()
    state = begin(model, weight_decay=0.0)
    state.optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    (model(torch.tensor([[3.0, 4.0]])) * 2).sum().backward()
    assert state.apply_gradients(0.5, clip=1.0) == pytest.approx(10)
    moved = (before - model.weight.detach())[0].tolist()
    assert moved == pytest.approx([0.5 * 0.6, 0.5 * 0.8], abs=1e-5)
    assert model.weight.grad is None
    assert state.step == 1


def test_an_interrupted_run_goes_on_bit_for_bit(tmp_path):
    whole = begin(made())
    for _ in range(6):
        step(whole)
    early = begin(made())
    for _ in range(3):
        step(early)
    early.memory = {"counts": torch.arange(3)}
    early.save(tmp_path)
    late = begin(made(), seed=99)
    assert late.load(tmp_path)
    assert late.memory["counts"].tolist() == [0, 1, 2]
    for _ in range(3):
        step(late)
    assert late.step == whole.step == 6
    for a, b in ((late.model, whole.model), (late.average, whole.average)):
        for name, value in a.state_dict().items():
            assert torch.equal(value, b.state_dict()[name]), name
    assert torch.equal(late.generator.get_state(), whole.generator.get_state())


def test_nothing_to_go_on_from(tmp_path):
    assert begin(made()).load(tmp_path) is False


def test_a_damaged_or_foreign_state_is_refused(tmp_path):
    state = begin(made())
    step(state)
    state.save(tmp_path)
    with pytest.raises(ValueError, match="(?s)cannot go on from .*Delete the file to start again"):
        begin(nn.Linear(3, 2)).load(tmp_path)
    path = tmp_path / "state.safetensors"
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(ValueError, match="(?s)cannot go on from .*Delete the file to start again"):
        begin(made()).load(tmp_path)


def test_one_flipped_byte_anywhere_is_found(tmp_path):
    """In the header, in the digest, in the weights: every place of the file, one at a time."""
    state = begin(nn.Linear(2, 1))
    state.save(tmp_path)
    path = tmp_path / "state.safetensors"
    whole = path.read_bytes()
    header = int.from_bytes(whole[:8], "little") + 8
    places = [*range(0, header, 3), *range(header, len(whole), 97), len(whole) - 1]
    for place in places:
        changed = bytearray(whole)
        changed[place] ^= 1
        path.write_bytes(changed)
        with pytest.raises(ValueError, match="the file is damaged"):
            begin(nn.Linear(2, 1)).load(tmp_path)
    path.write_bytes(whole)
    assert begin(nn.Linear(2, 1)).load(tmp_path)


@pytest.mark.parametrize("share", [0, 0.01, 0.5, 0.999])
def test_a_truncated_state_is_called_damaged(tmp_path, share):
    state = begin(made())
    state.save(tmp_path)
    path = tmp_path / "state.safetensors"
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(ValueError, match="(?s)the file is damaged.*Delete the file to start again"):
        begin(made()).load(tmp_path)


def test_a_state_from_before_digests_is_read(tmp_path):
    state = begin(made())
    step(state)
    state.save(tmp_path)
    path = tmp_path / "state.safetensors"
    save_file(load_file(path), path)
    late = begin(made())
    assert late.load(tmp_path)
    assert late.step == 1


def test_the_digest_covers_names_types_and_shapes():
    tensor = torch.arange(6, dtype=torch.int32)
    others = [
        {"b": tensor}, {"a": tensor.view(torch.float32)}, {"a": tensor.reshape(2, 3)},
        {"a": tensor + 1},
    ]  # fmt: skip
    found = {digest({"a": tensor}), *(digest(other) for other in others)}
    assert len(found) == 5
    assert digest({"a": tensor, "b": tensor}) == digest({"b": tensor.clone(), "a": tensor})


def test_another_team_of_several_must_begin_the_run():
    state, team = begin(made()), Team()
    state.join(team)
    assert state.team is team
    state.join(None)
    assert state.team is team
    several = Team()
    several.size = 3
    with pytest.raises(ValueError, match="begun in another team.*Pass the team to begin"):
        state.join(several)
