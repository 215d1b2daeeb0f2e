"""Ours against others: turns, multiplied steps, ratios round by round, and the claims."""

import json

import pytest
import torch

from dcar_edu.bench import contest, peers, reports
from dcar_edu.bench.contest import Result, claim, compare, numbers
from dcar_edu.bench.ours import Place
from dcar_edu.bench.pictures import Painter, Weights
from dcar_edu.bench.timing import Spread, Stopwatch
from dcar_edu.cli import main

SIZE, BATCH = 8, 3


class Clock:
    """Stands still but for what painters add."""

    now = 0.0

    def watch(self):
        return Stopwatch(clock=lambda: self.now)


def pretend(clock, name, *, steps, step, decoder, head=0.0, order=None):
    """A painter whose parts last as long as these say, times the machine's speed in that round."""
    rounds = iter([1.0, 1.0, 3.0, 1.0, 1.0, 1.0])

    def paint(watch, run):
        slow = next(rounds)
        if order is not None:
            order.append((name, run))
        for _ in range(run):
            clock.now += step * slow
            watch.lap("passes")
        if head:
            clock.now += head * slow
            watch.lap("head")
        clock.now += decoder * slow
        watch.lap("decoder")
        return torch.zeros(BATCH, 3, SIZE, SIZE)

    return Painter(name, SIZE, BATCH, steps, Weights(100, 120, 50), paint, 7)


def test_ratios_are_those_of_the_same_round_and_steps_not_run_are_multiplied():
    clock, order = Clock(), []
    ours = pretend(clock, "ours", steps=4, step=1.0, head=1.0, decoder=3.0, order=order)
    peer = pretend(clock, "peer", steps=20, step=2.0, decoder=8.0, order=order)
    mine, theirs = compare([ours, peer], repeats=3, limit=7.0, new_watch=clock.watch)
    assert (mine.timed_steps, theirs.timed_steps) == (4, 3)
    once, full = [("ours", 1), ("peer", 1)], [("ours", 4), ("peer", 3)]
    assert order == once + full + full[::-1] + full
    assert mine.total == Spread(8, 8, 24, 3)
    assert theirs.total == Spread(48, 48, 144, 3)
    assert theirs.ratio == Spread(6, 6, 6, 3), "the slow round is slow for both"
    assert theirs.without_decoder == Spread(8, 8, 8, 3)
    assert theirs.parts == {"passes": 40, "decoder": 8}
    assert theirs.generating == 40
    assert mine.ratio.median == mine.without_decoder.median == 1


def test_one_step_is_run_however_slow_it_is():
    clock = Clock()
    painter = pretend(clock, "slow", steps=5, step=100.0, decoder=1.0)
    (found,) = compare([painter], repeats=1, limit=1.0, new_watch=clock.watch)
    assert found.timed_steps == 1
    assert found.total.median == 501


def result(name, ratio, **parts):
    spread = Spread(sum(parts.values()), 0.0, 0.0, 3)
    painter = Painter(name, 512, 8, 20, Weights(100, 120, 50), lambda *_: torch.zeros(1), 7)
    return Result(painter, 20, spread, parts, Spread(*ratio, 3), Spread(1.0, 1.0, 1.0, 3))


def test_claims():
    ours = result("ours", (1, 1, 1), words=1.0, passes=6.0, choice=1.0, head=1.0, decoder=1.0)
    peer = {"passes": 12.0, "choice": 4.0, "decoder": 0.5}
    met = claim(result("peer", (2.1, 2.0, 2.4), **peer), ours, "latency")
    assert met == "latency against peer: 2.10 (2.00 - 2.40), the paper's least is 2.0: met"
    why = "(steps 2.00x of 80% of ours; decoder 0.50x of 10% of ours; "
    why += "head 10% of ours, which they lack)"
    near = claim(result("peer", (2.1, 1.9, 2.4), **peer), ours, "latency")
    assert near.endswith(f"the paper's least is 2.0: met in the middle round only {why}")
    missed = claim(result("peer", (1.4, 1.3, 1.6), **peer), ours, "throughput")
    assert missed.endswith(f"the paper's least is 1.5: not met {why}")


def test_numbers_are_plain_and_named_after_painters():
    ours = result("ours", (1, 1, 1), passes=6.0, head=1.0, decoder=1.0)
    twin = result("ours at f8", (23.45678, 22, 25), passes=60.0, head=9.0, decoder=0.5)
    found = numbers([ours, twin])
    assert found["pictures"] == 8
    assert found["ours_part_head"] == 1.0
    assert found["ours_at_f8_ratio"] == 23.4568
    assert (found["ours_at_f8_ratio_low"], found["ours_at_f8_ratio_high"]) == (22, 25)
    assert (found["ours_at_f8_timed_steps"], found["ours_at_f8_body"]) == (20, 100)
    assert json.loads(json.dumps(found)) == found


def test_the_table_has_a_row_a_painter():
    ours = result("ours", (1, 1, 1), passes=6.0, head=1.0, decoder=1.0)
    peer = result("peer", (2.5, 2.25, 3), passes=12.0, choice=4.0, decoder=0.5)
    lines = list(contest.table([ours, peer]))
    assert lines[0].startswith("512 px, seconds for a batch of 8")
    assert lines[2].split()[:8] == ["ours", "7", "20", "20", "0.00", "0.00", "6.00", "s"]
    row = " ".join(lines[3].split()[6:])
    assert row == "16.0 s - 500 ms 16.5 s 2.50 (2.25 - 3.00) 1.00 (1.00 - 1.00)"


def test_a_peer_of_another_size_is_refused():
    ours = Weights(1000, 1200, 500)
    peers.check_matched("near", Weights(1050, 1, 475), ours)
    with pytest.raises(ValueError, match="the body of far has 1,051 weights, ours 1,000: more tha"):
        peers.check_matched("far", Weights(1051, 1, 500), ours)
    with pytest.raises(ValueError, match="the decoder of far has 474 weights, ours 500"):
        peers.check_matched("far", Weights(1000, 1, 474), ours)


def test_without_diffusers_the_peers_say_what_is_missing(monkeypatch, capsys):
    monkeypatch.setitem(__import__("sys").modules, "diffusers", None)
    assert main(["bench", "peers", "--sizes", "128", "--batches", "1"]) == 1
    assert "the peers need diffusers: pip install 'dcar_edu[peers]'" in capsys.readouterr().err


def test_only_512_pixels_are_held_against_the_paper(monkeypatch):
    asked = []

    def painters(size, batch, place):
        clock = Clock()
        asked.append((size, batch, place.device))
        both = (pretend(clock, name, steps=2, step=1.0, decoder=1.0) for name in ("ours", "peer"))
        return [Painter(p.name, size, batch, 2, p.weights, larger(p, size, batch)) for p in both]

    def larger(painter, size, batch):
        def paint(watch, steps):
            painter.paint(watch, steps)
            return torch.zeros(batch, 3, size, size)

        return paint

    monkeypatch.setattr(reports, "contestants", painters)
    lines = list(reports.peers_report(repeats=1, threads=1, clock="cpu"))
    assert asked == [(256, 1, "cpu"), (256, 8, "cpu"), (512, 1, "cpu"), (512, 8, "cpu")]
    assert lines[0] == "cpu, 1 CPU threads, float32, cpu clock, median of 1 runs"
    claims = [line.split(" against")[0] for line in lines if "paper's least" in line]
    assert claims == ["latency", "throughput"]


def test_the_report_of_parts(capsys):
    line = "bench parts --preset nano --sizes 64 --batches 2 --steps 2 --residual-steps 0 --no-text"
    assert main([*line.split(), "--repeats", "1", "--peak", "2"]) == 0
    text = capsys.readouterr().out
    assert "roof: 2,000 GFLOP/s (given), " in text
    assert "preset nano, downsample 32, num_steps 2, residual_steps 0, with_text False" in text
    assert "eager: 64 px, batch 2, 2 steps" in text
    rows = [row.split()[0] for row in text.splitlines() if row.count("%") > 0]
    assert rows == ["words", "passes", "choice", "decoder", "batch"]
    assert main([*line.split(), "--dtype", "int8"]) == 1
    assert "dtype must be one of float32, bfloat16, float16, got 'int8'" in capsys.readouterr().err


@pytest.fixture(scope="module")
def drawn():
    """Every contestant's picture of 128 pixels after one step of its own."""
    pytest.importorskip(
        "diffusers", reason="peers come from diffusers: pip install dcar_edu[peers]"
    )
    return [(one, one.draw(1, Stopwatch)) for one in peers.contestants(128, 2, Place())]


def test_contestants_draw_and_their_bodies_are_matched(drawn):
    """``draw`` itself refuses pictures of another size; the tokens are those of f and patch."""
    found = {painter.name: painter for painter, _ in drawn}
    tokens = {name: painter.tokens for name, painter in found.items()}
    assert tokens == {
        "ours": 16,
        "ours at f16": 64,
        "ours at f8": 256,
        "token by token": 16,
        "aMUSEd": 64,
        "PixArt": 64,
        "Sana": 16,
    }
    assert {name: painter.num_steps for name, painter in found.items()} == {
        "ours": 12,
        "ours at f16": 12,
        "ours at f8": 12,
        "token by token": 16,
        "aMUSEd": 12,
        "PixArt": 20,
        "Sana": 20,
    }
    for name in ("aMUSEd", "PixArt", "Sana"):
        for part in ("body", "decoder"):
            share = getattr(found[name].weights, part) / getattr(found["ours"].weights, part)
            assert 0.95 <= share <= 1.05, (name, part)


def test_every_contestant_has_steps_and_a_decoder_and_only_ours_a_head(drawn):
    for painter, times in drawn:
        mine = painter.name in ("ours", "ours at f16", "ours at f8", "token by token")
        parts = ["passes", "choice", "decoder"]
        assert list(times.seconds) == (["words", *parts[:2], "head", parts[2]] if mine else parts)
        assert len(times.seconds["passes"]) == 1
