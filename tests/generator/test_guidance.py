"""Guidance: its scale in every step, and what the residuals get."""

import pytest
import torch

from dcar_edu.generator.guidance import SCHEDULES, Guidance, guide


def scales(guidance, num_steps):
    return [guidance.at(step, num_steps) for step in range(1, num_steps + 1)]


def test_guide_golden():
    assert guide(torch.tensor(3.0), torch.tensor(1.0), 4.5).item() == 12
    assert guide(torch.tensor(3.0), torch.tensor(1.0), 0).item() == 3
    assert guide(torch.tensor(3.0), torch.tensor(1.0), -1).item() == 1


def test_guide_moves_every_channel():
    cond, uncond = torch.randn(2, 7, 5, generator=torch.Generator().manual_seed(0))
    assert (guide(cond, uncond, 0.5) != cond).all()


def test_constant_and_linear_golden():
    assert scales(Guidance(4.5), 3) == [4.5, 4.5, 4.5]
    assert scales(Guidance(4.5, "linear"), 8)[:3] == [0, 0.5625, 1.125]
    assert Guidance(4.5, "linear").for_residuals(8) == 4.5


def test_power_cosine_golden():
    """As weights ``w = s + 1``, for 4.5, power 2.5 and 12 steps."""
    found = [round(s + 1, 3) for s in scales(Guidance(4.5, "power-cosine"), 12)]
    golden = [1, 1, 1.001, 1.008, 1.035, 1.107, 1.263, 1.552, 2.019, 2.679, 3.465, 4.18]
    assert found == golden
    later = scales(Guidance(4.5, "power-cosine", power=4), 12)
    assert all(a < b for a, b in zip(later[2:], scales(Guidance(4.5, "power-cosine"), 12)[2:],
                                     strict=True))  # fmt: skip


@pytest.mark.parametrize("num_steps", [1, 5])
def test_power_cosine_gives_the_residuals_what_the_last_step_got(num_steps):
    guidance = Guidance(4.5, "power-cosine")
    assert guidance.for_residuals(num_steps) == guidance.at(num_steps, num_steps)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_scale_of_0_is_off_in_every_schedule(schedule):
    assert Guidance(0.0, schedule).off
    assert scales(Guidance(0.0, schedule), 4) == [0.0] * 4
    assert Guidance(0.0, schedule).for_residuals(4) == 0
    assert not Guidance(0.0, schedule, residual=2.0).off
    assert not Guidance(0.1, schedule).off


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_residuals_can_have_their_own_scale(schedule):
    assert Guidance(4.5, schedule, residual=0.0).for_residuals(12) == 0
    assert Guidance(4.5, schedule, residual=2.5).for_residuals(12) == 2.5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"schedule": "cosine"}, "one of constant, linear, power-cosine; got 'cosine'"),
        ({"power": 0}, "power must be above 0, got 0. DC-AR uses 2.5"),
    ],
)
def test_refuses(options, message):
    with pytest.raises(ValueError, match=message):
        Guidance(**options)
