"""Honest timing on a pretend device and clock: how fast this machine is plays no part."""

import pytest
import torch

from dcar_edu.bench import timing


class Device:
    """Work is queued in no time and done, one piece after the other, as the clock goes on.

    The first call and the sixth take ten times as long: they warm up and are disturbed.
    """

    def __init__(self, slow=(1, 6), cost=2.0):
        self.now, self.free, self.calls = 0.0, 0.0, 0
        self.slow, self.cost = slow, cost

    def run(self):
        self.calls += 1
        self.now += 0.25  # to put it into the queue
        cost = self.cost * (10 if self.calls in self.slow else 1)
        self.free = max(self.free, self.now) + cost

    def wait(self):
        self.now = max(self.now, self.free)

    def clock(self):
        return self.now


def test_warm_up_and_disturbed_calls_do_not_count():
    device = Device()
    found = timing.timed(device.run, wait=device.wait, clock=device.clock, repeats=5, warmup=1)
    assert device.calls == 6
    assert found == timing.Spread(2.25, 2.25, 20.25, 5)


def test_the_queue_is_empty_before_the_start():
    """One repeat after one warm-up: what the warm-up left behind would be counted."""
    device = Device(slow=(1,))
    found = timing.timed(device.run, wait=device.wait, clock=device.clock, repeats=1, warmup=1)
    assert found.median == 2.25


def test_a_device_that_is_not_waited_for_seems_fast():
    device = Device()
    assert timing.timed(device.run, clock=device.clock, repeats=5).high == 0.25


def test_the_wall_clock_is_the_default(monkeypatch):
    now = iter([3.0, 7.0])
    monkeypatch.setattr(timing.time, "perf_counter", lambda: next(now))
    assert timing.timed(lambda: None, repeats=1, warmup=2).median == 4.0


def test_laps_add_up_to_the_whole():
    device = Device(slow=())
    watch = timing.Stopwatch(wait=device.wait, clock=device.clock)
    began = device.now
    for part in ("step", "step", "head", "step"):
        device.run()
        watch.lap(part)
    assert watch.seconds == {"step": [2.25, 2.25, 2.25], "head": [2.25]}
    assert sum(map(sum, watch.seconds.values())) == device.now - began


def test_nothing_measured_is_refused():
    with pytest.raises(ValueError, match="nothing was measured: ask for one repeat or more"):
        timing.timed(lambda: None, repeats=0)


def test_contestants_run_in_turn_and_every_other_round_backwards():
    calls = []
    runs = {name: lambda name=name: calls.append(name) or len(calls) for name in "abc"}
    rounds = list(timing.alternate(runs, 3))
    assert "".join(calls) == "abccbaabc"
    assert rounds[1] == {"a": 6, "b": 5, "c": 4}
    assert list(rounds[1]) == ["a", "b", "c"]


def test_a_slow_round_cancels_in_the_ratio():
    """The machine is three times as slow in the second round, for both."""
    found = timing.ratios([4.0, 12.0, 5.0], [2.0, 6.0, 2.0])
    assert found == timing.Spread(2.0, 2.0, 2.5, 3)
    with pytest.raises(ValueError, match="rounds must pair up, got 2 and 1"):
        timing.ratios([1.0, 2.0], [1.0])


def test_clocks():
    assert timing.clock_named("wall", threads=7, device="cuda") is timing.time.perf_counter
    assert timing.clock_named("cpu", threads=1) is timing.time.process_time
    with pytest.raises(ValueError, match="clocks are 'wall' and 'cpu', got 'sun'"):
        timing.clock_named("sun", threads=1)
    with pytest.raises(ValueError, match="adds up threads and sees no GPU; got 2 threads on cpu"):
        timing.clock_named("cpu", threads=2)
    with pytest.raises(ValueError, match="got 1 threads on cuda"):
        timing.clock_named("cpu", threads=1, device="cuda")


def test_a_gpu_is_waited_for_and_a_cpu_is_not(monkeypatch):
    """No GPU is here: its module is a pretend one."""
    asked = []

    class Module:
        synchronize = staticmethod(asked.append)

    monkeypatch.setattr(timing.torch, "get_device_module", lambda kind: Module)
    timing.waits("cpu")()
    assert asked == []
    timing.waits("cuda:3")()
    assert asked == ["cuda:3"]


def test_threads_are_put_back_even_after_an_error():
    before = torch.get_num_threads()
    seen = []

    def fails():
        with timing.with_threads(before + 2) as used:
            seen.extend([used, torch.get_num_threads()])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fails()
    assert seen == [before + 2, before + 2]
    assert torch.get_num_threads() == before
    with timing.with_threads(None) as used:
        assert used == before
