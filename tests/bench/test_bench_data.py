"""The data bench measures what it says, quickly here: 32 pixels, a fraction of a second."""

import pytest
import torch

from dcar_edu.bench import data as bench


def test_measure_counts_every_batch(monkeypatch):
    ticks = iter(range(1000))
    monkeypatch.setattr(bench.time, "perf_counter", lambda: next(ticks))
    monkeypatch.setattr(bench, "CONCEPTS", 4)
    before = torch.get_num_threads()
    found = bench.measure(32, seconds=10)
    assert found["milliseconds_per_batch"] == 1000  # one tick between start and end
    assert found["images_per_second"] == pytest.approx(bench.BATCH)
    assert found["batches"] == 4  # two ticks for each of the first three, then three, until ten
    assert (found["resolution"], found["threads"], found["device"]) == (32, 2, "cpu")
    assert torch.get_num_threads() == before


def test_measure_is_real(monkeypatch):
    monkeypatch.setattr(bench, "CONCEPTS", 4)
    found = bench.measure(32, seconds=0.1, threads=1)
    assert found["batches"] >= 3
    assert found["images_per_second"] == pytest.approx(
        bench.BATCH / found["milliseconds_per_batch"] * 1000
    )
