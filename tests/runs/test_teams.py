"""Which team a process gets: number formats, launchers, and what is missing."""

import pytest
import torch
from torch import nn

from dcar_edu.runs import teams
from dcar_edu.runs.teams import Processes, make_team, shard


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    for name in ("WORLD_SIZE", "ACCELERATE_MIXED_PRECISION", "ACCELERATE_USE_FSDP"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def gpu(monkeypatch):
    """Pretend: a GPU of some compute capability."""

    def pretend(capability):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: capability)
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "an old GPU")
        # True on a T4 too, which only imitates bfloat16: must not be asked.
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: True)

    return pretend


@pytest.fixture
def without_accelerate(monkeypatch):
    found = teams.importlib.util.find_spec
    monkeypatch.setattr(
        teams.importlib.util,
        "find_spec",
        lambda name: None if name == "accelerate" else found(name),
    )


def test_a_cpu_trains_in_float32():
    team = make_team(accumulate=3)
    assert (team.rank, team.size, team.micro, team.sharded) == (0, 1, 3, False)
    assert team.device == torch.device("cpu")
    with team.precision():
        assert (torch.ones(2, 3) @ torch.ones(3, 4)).dtype == torch.float32


@pytest.mark.parametrize(
    ("capability", "asked", "mixed"),
    [
        ((9, 0), "auto", True), ((8, 0), "auto", True), ((8, 0), "bf16", True),
        ((8, 0), "fp32", False), ((7, 5), "auto", False), ((7, 5), "fp32", False),
    ],
)  # fmt: skip
def test_bf16_by_compute_capability(gpu, capability, asked, mixed):
    gpu(capability)
    assert teams._mixed(asked) is mixed


def test_bf16_is_refused_where_it_is_imitated(gpu):
    with pytest.raises(ValueError, match=r"capability 8.0 or more, and this is a CPU.*'auto'"):
        make_team("bf16")
    gpu((7, 5))
    with pytest.raises(ValueError, match="and this is an old GPU"):
        make_team("bf16")


def test_fp16_is_never_chosen(monkeypatch):
    with pytest.raises(ValueError, match=r"fp16 is not offered: its numbers end at 65,504"):
        make_team("fp16")
    with pytest.raises(ValueError, match="must be 'auto', 'fp32' or 'bf16', got 'half'"):
        make_team("half")
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "fp16")  # as 'accelerate launch' tells it
    with pytest.raises(ValueError, match="fp16 is not offered.*'accelerate config'"):
        make_team()


def test_one_process_in_fp32_needs_no_accelerate(without_accelerate, monkeypatch, gpu, capsys):
    assert make_team().size == 1
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="several processes need .*pip install accelerate"):
        make_team()
    monkeypatch.setenv("WORLD_SIZE", "1")
    gpu((8, 0))
    assert make_team("fp32").device.type == make_team().device.type == "cuda"
    assert capsys.readouterr().out.count("bf16, which needs 'pip install accelerate'") == 1
    with pytest.raises(ValueError, match="bf16 need.*pip install accelerate"):
        make_team("bf16")


def test_bf16_reaches_the_matrix_products():
    accelerate = pytest.importorskip("accelerate")
    try:
        team = Processes(accelerate.Accelerator(mixed_precision="bf16", cpu=True), 3)
        assert (team.size, team.micro, team.sharded) == (1, 3, False)
        with team.precision():
            assert (torch.ones(2, 3) @ torch.ones(3, 4)).dtype == torch.bfloat16
        assert (torch.ones(2, 3) @ torch.ones(3, 4)).dtype == torch.float32
    finally:
        accelerate.state.AcceleratorState._reset_state(reset_partial_state=True)


def test_other_models_are_not_shared_out():
    with pytest.raises(ValueError, match="HybridTokenizer or a MaskedGenerator, got Linear"):
        shard(nn.Linear(2, 3), torch.device("cpu"), 2)
