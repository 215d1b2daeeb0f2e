"""When a run saves, shows and stops, by a clock that the test turns."""

from dataclasses import dataclass
from itertools import count

import pytest

from dcar_edu.runs import following
from dcar_edu.runs.following import Call, Clock, seconds_a_step, steps_in
from dcar_edu.runs.keeping import Keeper
from dcar_edu.team import Team


class FakeTime:
    now = 100.0

    def monotonic(self):
        return self.now


@pytest.fixture
def time(monkeypatch):
    monkeypatch.setattr(following, "time", FakeTime())
    return following.time


class Slow:
    """A keeper that needs some seconds for a state."""

    def __init__(self, time, seconds):
        self.time, self.seconds = time, seconds

    def save(self, state, position):
        self.time.now += self.seconds


@pytest.mark.parametrize(("seconds", "pause"), [(1.0, 60.0), (9.0, 180.0)])
def test_saving_takes_a_small_part_of_the_time(time, seconds, pause):
    clock = Clock(Call(save_every=60.0))
    time.now += 60
    assert not clock.must_save()
    time.now += 1
    assert clock.must_save()
    clock.save(Slow(time, seconds), None, {})
    time.now += pause
    assert not clock.must_save()
    time.now += 1
    assert clock.must_save()


def test_samples_and_the_end(time):
    clock = Clock(Call(sample_every=2.0, stop_after=5.0))
    time.now += 121
    assert (clock.must_sample(), clock.over()) == (True, False)
    time.now += 119
    assert not clock.must_sample()
    time.now += 2
    assert clock.must_sample()
    time.now += 59
    assert clock.over()
    assert not Clock(Call()).over()


def test_every_step_can_be_saved(time):
    clock = Clock(Call(save_every=0.0))
    clock.save(Slow(time, 7.0), None, {})
    time.now += 0.001
    assert clock.must_save()


def test_a_step_is_timed_after_two_that_warm_up(time):
    taken = []

    def records():
        for number, seconds in enumerate([50, 40, 3, 9, 2, 8, 9, 99]):
            time.now += seconds
            taken.append(number)
            yield number

    assert seconds_a_step(records(), Team()) == 8.0
    assert taken == list(range(7))
    assert steps_in(10.0, 4.0) == 142  # 570 of 600 seconds
    assert steps_in(0.01, 4.0) == 1


@dataclass(frozen=True)
class Record:
    number: int
    loss: float
    gan_loss: float = 0.0


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_what_is_not_finite_is_named(tmp_path, value):
    records = (Record(n, 0.5, value if n == 3 else 0.0) for n in count(1))
    seen = following._finite(records, Keeper(tmp_path, Team()))
    assert [next(seen).number, next(seen).number] == [1, 2]
    with pytest.raises(ValueError, match=r"gan loss is -?(nan|inf) after step 3.*no state was"):
        next(seen)
