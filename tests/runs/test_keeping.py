"""The last two states: written whole, found again, and passed over when damaged."""

import errno

import pytest
import torch
from torch import nn

from dcar_edu import checkpoint
from dcar_edu.runs import keeping
from dcar_edu.runs.keeping import Keeper, Settled, room_on_disk, settle
from dcar_edu.state import TrainingState
from dcar_edu.team import Team


def begun():
    torch.manual_seed(0)
    return TrainingState.begin(
        nn.Linear(3, 2), learning_rate=0.1, betas=(0.9, 0.99), weight_decay=0.0, ema_decay=0.9
    )


def step(training):
    training.model(torch.randn(5, 3, generator=training.generator)).square().mean().backward()
    training.apply_gradients(0.1, 1.0)


def run_of(tmp_path, steps):
    """States after each of ``steps`` steps, with a stream that has given as many pictures."""
    training, keeper = begun(), Keeper(tmp_path, Team())
    for number in range(1, steps + 1):
        step(training)
        keeper.save(training, {"0": {"taken": number}})
    return training, keeper


def test_the_last_two_are_kept_and_the_newest_is_found(tmp_path):
    whole, keeper = run_of(tmp_path, 5)
    assert keeper.steps() == [4, 5]
    assert sorted(p.name for p in (tmp_path / "states").iterdir()) == ["4", "5"]
    late = begun()
    assert Keeper(tmp_path, Team()).load(late) == {"0": {"taken": 5}}
    assert late.step == 5
    assert torch.equal(late.model.weight, whole.model.weight)
    assert Keeper(tmp_path / "none", Team()).load(begun()) is None


def test_what_a_kill_left_half_done_is_swept_away(tmp_path):
    half = tmp_path / "states" / ".new" / ".state.safetensors.x1"
    half.parent.mkdir(parents=True)
    half.write_bytes(b"half")
    run_of(tmp_path, 1)
    left = sorted(path.name for path in (tmp_path / "states").rglob("*") if path.is_file())
    assert left == ["position.json", "state.safetensors"]


def cut(path):
    path.write_bytes(path.read_bytes()[:-9])


def change(path):
    data = bytearray(path.read_bytes())
    data[-4] ^= 64
    path.write_bytes(bytes(data))


@pytest.mark.parametrize("damage", [cut, change, lambda path: path.unlink()])
@pytest.mark.parametrize("file", ["state.safetensors", "position.json"])
def test_a_damaged_state_is_passed_over(tmp_path, capsys, file, damage):
    if file == "position.json" and damage is change:
        pytest.skip("a changed digit of a position cannot be seen")
    run_of(tmp_path, 3)
    damage(tmp_path / "states" / "3" / file)
    keeper, late = Keeper(tmp_path, Team()), begun()
    assert keeper.load(late) == {"0": {"taken": 2}}
    assert late.step == 2
    said = capsys.readouterr().out
    assert said == "the state of step 3 is damaged; trying the one before it\n"
    whole, _ = run_of(tmp_path / "whole", 4)
    step(late)
    keeper.save(late, {"0": {"taken": 3}})  # takes the place of the damaged one
    step(late)
    keeper.save(late, {"0": {"taken": 4}})
    assert keeper.steps() == [3, 4]
    assert torch.equal(late.model.weight, whole.model.weight)


def test_a_damaged_state_does_not_push_out_a_good_one(tmp_path):
    run_of(tmp_path, 9)
    cut(tmp_path / "states" / "9" / "state.safetensors")
    keeper, late = Keeper(tmp_path, Team()), begun()
    keeper.load(late)
    (tmp_path / "states" / "9").rename(tmp_path / "states" / "20")  # ahead of what comes
    keeper._damaged = [20]
    step(late)
    keeper.save(late, {})
    assert keeper.steps() == [8, 9]


def test_when_all_are_damaged_it_says_so(tmp_path):
    run_of(tmp_path, 2)
    for number in ("1", "2"):
        cut(tmp_path / "states" / number / "state.safetensors")
    with pytest.raises(ValueError, match="no state in .* can be read .* Delete that folder"):
        Keeper(tmp_path, Team()).load(begun())


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_keeps_the_state_before(tmp_path, monkeypatch, number):
    training, keeper = run_of(tmp_path, 2)
    step(training)

    def full(path, data):
        path.parent.mkdir(parents=True, exist_ok=True)
        (path.parent / "half").write_bytes(data[:10])
        raise OSError(number, "No space left on device")

    monkeypatch.setattr(checkpoint, "write_atomically", full)
    message = "the disk is full .*; the state of step 2 is safe in .* Make room, and give the same"
    with pytest.raises(ValueError, match=message), room_on_disk(keeper):
        keeper.save(training, {})
    assert sorted(p.name for p in (tmp_path / "states").iterdir()) == ["1", "2"]
    with pytest.raises(PermissionError), room_on_disk(keeper):
        raise PermissionError(errno.EACCES, "another error stays what it is")


def test_steps_are_counted_once(tokenizer_plan, tmp_path):
    counted = []

    def count():
        counted.append(1)
        return 17

    for _ in range(2):
        found = settle(tmp_path, tokenizer_plan, NOW, count, Team())
        assert found == Settled(17, **NOW)
    assert len(counted) == 1


NOW = {"data": "1", "tokenizer": "2", "start": "3"}


@pytest.mark.parametrize(
    ("name", "said"),
    [("data", "the pictures: files were"), ("tokenizer", "the tok"), ("start", "the model to beg")],
)
def test_what_has_changed_since_is_named(tokenizer_plan, tmp_path, name, said):
    settle(tmp_path, tokenizer_plan, NOW, lambda: 5, Team())
    with pytest.raises(ValueError, match=f"changed: {said}.*fingerprint 9, it was"):
        settle(tmp_path, tokenizer_plan, {**NOW, name: "9"}, lambda: 5, Team())


def test_another_kind_of_run_is_refused(tokenizer_plan, generator_plan, tmp_path):
    settle(tmp_path, tokenizer_plan, NOW, lambda: 5, Team())
    with pytest.raises(ValueError, match="holds a TokenizerRun, and this is a GeneratorRun"):
        settle(tmp_path, generator_plan, NOW, lambda: 5, Team())


def test_a_model_appears_whole_or_not_at_all(tmp_path):
    def half(folder):
        folder.mkdir(parents=True)
        (folder / "config.json").write_text("{}")
        raise OSError("killed here")

    with pytest.raises(OSError, match="killed here"):
        keeping.write_model(tmp_path, Team(), half)
    assert not (tmp_path / "model").exists()
    place = keeping.write_model(tmp_path, Team(), lambda folder: folder.mkdir())
    assert place == tmp_path / "model"
    assert [p.name for p in tmp_path.iterdir()] == ["model"]
