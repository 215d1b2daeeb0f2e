"""The bench of the code search, at sizes that take no time; and what its report looks like."""

import sys

import pytest
import torch

from dcar_edu.bench import timing, vq
from dcar_edu.tokenizer.quantizer import VectorQuantizer

SIZES = {"num_codes": 64, "channels": 5}


def test_both_sides_run_and_are_timed():
    found = vq.against_cdist(300, repeats=2, **SIZES)
    assert (found.against, found.vectors) == ("torch.cdist", 300)
    assert found.seconds > 0
    assert found.speed == found.their_seconds / found.seconds


def test_runs_alternate_and_the_median_counts(monkeypatch):
    """A clock that each run moves by its own amount: ours 1, 5, 2; theirs 8, 6, 90."""
    now, order = [0.0], []

    def side(name, ticks):
        def run():
            order.append(name)
            now[0] += next(ticks)
            return torch.arange(3)

        return run

    monkeypatch.setattr(timing.time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(vq, "_peak", lambda run: (run(), 3.0))
    ours, theirs = side("ours", iter([50, 1, 5, 2])), side("theirs", iter([50, 8, 6, 90]))
    found = vq._contest("them", 3, ours, theirs, repeats=3)
    assert order == ["ours", "theirs"] * 2 + ["theirs", "ours"] + ["ours", "theirs"]
    assert (found.seconds, found.their_seconds, found.speed) == (2, 8, 4)
    assert found.memory == 1


def test_different_indices_are_an_error(monkeypatch):
    nearest = VectorQuantizer.nearest
    monkeypatch.setattr(VectorQuantizer, "nearest", lambda self, x: nearest(self, x).roll(1))
    with pytest.raises(ValueError, match=r"those of torch.cdist differ at \d+ of 300 vectors"):
        vq.against_cdist(300, repeats=1, **SIZES)


@pytest.mark.skipif(sys.platform != "linux", reason="the peak of a process is read from /proc")
def test_peak_counts_what_was_freed_again():
    """80 MB that live only inside the call; none for one that takes none."""

    def run():
        torch.ones(20_000_000)
        return torch.zeros(1)

    result, megabytes = vq._peak(run)
    assert result.shape == (1,)
    assert 75 < megabytes < 100
    assert vq._peak(lambda: torch.zeros(1))[1] < 5


def test_without_proc_memory_is_left_out(monkeypatch, tmp_path):
    monkeypatch.setattr(vq, "Path", lambda _: tmp_path / "absent")
    found = vq.against_cdist(30, repeats=1, **SIZES)
    assert (found.megabytes, found.memory) == (None, None)
    assert "memory not measured" in vq._lines(found)[1]


def contest(against, seconds, their_seconds):
    return vq.Contest(against, 4096, seconds, their_seconds, 20.0, 500.0)


def test_report(monkeypatch):
    asked = []

    def cdist(**options):
        asked.append((torch.get_num_threads(), options))
        return contest("torch.cdist", 0.5, 1.0)

    monkeypatch.setattr(vq, "against_cdist", cdist)
    monkeypatch.setattr(vq, "against_peer", lambda **_: contest("peer 1.0", 0.25, 1.0))
    before = torch.get_num_threads()
    speed, memory, peer, last = vq.report(repeats=7, threads=1, **SIZES).splitlines()
    assert speed == "speed 2.00x  0.500 s, torch.cdist at 4,096 vectors 1.000 s"
    assert memory == "memory 25.00x  20 MB beside the inputs, torch.cdist 500 MB"
    assert peer == "peer speed 4.00x  0.250 s, peer 1.0 at 4,096 vectors 1.000 s"
    assert last == "indices equal; 1 CPU threads, median of 7 runs"
    assert asked == [(1, {"repeats": 7, **SIZES})]
    assert torch.get_num_threads() == before


def test_without_the_peer_the_report_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "vector_quantize_pytorch", None)
    monkeypatch.setattr(vq, "against_cdist", lambda **_: contest("torch.cdist", 0.5, 1.0))
    assert vq.against_peer(30, **SIZES) is None
    assert "peer not installed: pip install vector-quantize-pytorch" in vq.report()


@pytest.mark.filterwarnings("default")
def test_the_peer_finds_the_same_codes():
    pytest.importorskip("vector_quantize_pytorch", reason="the optional peer is not installed")
    found = vq.against_peer(200, repeats=1, **SIZES)
    assert found.against.startswith("vector-quantize-pytorch ")
    assert found.speed > 0
