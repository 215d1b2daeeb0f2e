"""Whole runs at a pocket size: stopped, killed and gone on with, they end in the same weights."""

import json
import os
import random
import shutil
import signal
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from PIL import Image

from dcar_edu import DCAR, checkpoint, cli
from dcar_edu.data import hub
from dcar_edu.runs import Call, Pictures, generator, run_generator, run_tokenizer, tokenizer
from dcar_edu.runs.following import Asked, listening
from dcar_edu.runs.keeping import Keeper, hold
from dcar_edu.runs.sources import Mixture
from dcar_edu.runs.table import read_rows
from dcar_edu.team import Team
from dcar_edu.tokenizer import HybridTokenizer

from ..processes import fork, in_two_processes

FEW = Pictures("emoji", styles=("3d",), first=9)


def weights(folder):
    return checkpoint.load_tensors(folder)


def equal(first, second):
    first, second = weights(first), weights(second)
    assert first.keys() == second.keys()
    return all(torch.equal(first[name], second[name]) for name in first)


def numbers(out):
    """The rows of a run's table but for the time, which is never the same."""
    rows = read_rows(out / "metrics.csv")
    assert all(float(row.pop("seconds")) >= 0 for row in rows)
    return rows


def test_a_tokenizer_run_leaves_all_that_is_promised(tokenizer_plan, tmp_path, capsys):
    made = run_tokenizer(tokenizer_plan, tmp_path / "run")
    assert made == tmp_path / "run" / "model"
    model = HybridTokenizer.from_pretrained(made)
    assert model.config.residual_std > 0
    rows = read_rows(tmp_path / "run" / "metrics.csv")
    assert [int(row["step"]) for row in rows] == [1, 2, 3, 4, 5, 6, 7]
    assert [row["stage"] for row in rows] == ["warm-up"] * 2 + ["discrete"] * 3 + ["alternate"] * 2
    left = {path.name for path in (tmp_path / "run").iterdir()}
    assert left >= {"run.json", "metrics.csv", "states", "samples", "model"}
    assert not [name for name in left if name.startswith(".")]
    assert f"finished: {made}" in capsys.readouterr().out
    assert run_tokenizer(tokenizer_plan, tmp_path / "run") == made
    assert f"finished before: {made}" in capsys.readouterr().out


def test_a_generator_run_leaves_a_whole_model(
    generator_plan, small_tokenizer, tmp_path, monkeypatch
):
    made = run_generator(generator_plan, tmp_path / "run", small_tokenizer)
    model = DCAR.from_pretrained(tmp_path / "run")  # the run stands for its model
    assert model.generator.config.tokenizer_fingerprint == model.tokenizer.fingerprint()
    assert model.generator.config.residual_scale == model.tokenizer.config.residual_std
    assert model.generator.config.grid == (4, 4)
    (picture,) = model.generate(["a key"], num_steps=3, seed=1)
    assert picture.size == (32, 32)
    assert (made / "tokenizer" / "config.json").is_file()
    assert len(read_rows(tmp_path / "run" / "metrics.csv")) == 6
    assert (tmp_path / "run" / "samples" / "captions.json").is_file()


def stopped(run, *arguments):
    """Calls that end after one step each, until the run is finished."""
    calls = 1
    while (made := run(*arguments, call=Call(stop_after=0.0))) is None:
        calls += 1
        assert calls < 20, "it never ends"
    return made, calls


def test_a_stopped_tokenizer_run_goes_on_to_the_same_weights(tokenizer_plan, tmp_path, capsys):
    whole = run_tokenizer(tokenizer_plan, tmp_path / "whole")
    made, calls = stopped(run_tokenizer, tokenizer_plan, tmp_path / "stopped")
    assert calls == 7
    assert equal(whole, made)
    said = capsys.readouterr().out
    assert "stopped after 0 minutes at step 3 of 7; the same command goes on" in said
    assert "going on from step 3 of 7" in said
    assert numbers(tmp_path / "whole") == numbers(tmp_path / "stopped")


@pytest.mark.parametrize("learns", ["all", "head"])
def test_a_stopped_generator_run_goes_on_to_the_same_weights(
    generator_plan, small_tokenizer, tmp_path, learns
):
    start = run_generator(generator_plan, tmp_path / "start", small_tokenizer)
    plan = replace(generator_plan, start=str(start), learns=learns, reuse=1)
    whole = run_generator(plan, tmp_path / "whole")
    made, calls = stopped(run_generator, plan, tmp_path / "stopped")
    assert calls == 6
    assert equal(whole / "generator", made / "generator")
    before, after = weights(start / "generator"), weights(made / "generator")
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert "residual_head.output.linear.weight" in moved
    assert (learns == "head") == all(name.startswith("residual_head.") for name in moved)


def test_residuals_are_scaled_as_the_tokenizer_says(generator_plan, small_tokenizer, tmp_path):
    """At another resolution they have another size: the head must divide by that one."""
    start = run_generator(generator_plan, tmp_path / "start", small_tokenizer)
    other = HybridTokenizer.from_pretrained(small_tokenizer)
    other.config = replace(other.config, residual_std=0.625)
    other.save_pretrained(tmp_path / "other")
    plan = replace(generator_plan, start=str(start))
    begun = generator._starting_model(plan, tmp_path / "other").generator
    assert begun.config.residual_scale == begun.residual_head.config.residual_scale == 0.625
    before, after = weights(start / "generator"), begun.state_dict()
    assert all(torch.equal(before[name], after[name].to(before[name])) for name in before)


def test_a_stopped_run_on_a_stream_goes_on_to_the_same_weights(
    tokenizer_plan, tmp_path, monkeypatch
):
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(hub, "WINDOW", 5)
    colours = [(20 * i, 9, 255 - 20 * i) for i in range(12)]
    rows = {
        "image": [Image.new("RGB", (40, 36), colour) for colour in colours],
        "text": [f"colour {number}" for number in range(12)],
    }
    datasets.disable_progress_bars()
    datasets.Dataset.from_dict(rows).save_to_disk(tmp_path / "arrow")
    stream = Pictures(f"hub:{tmp_path / 'arrow'}", streaming=True)
    plan = replace(tokenizer_plan, data=(stream, FEW))
    whole = run_tokenizer(plan, tmp_path / "whole")
    made, _ = stopped(run_tokenizer, plan, tmp_path / "stopped")
    assert equal(whole, made)


class Second(Team):
    """The second of two processes."""

    rank, size = 1, 2


def test_a_process_renders_its_rows_of_the_whole_batch(tokenizer_plan):
    source = Mixture(tokenizer_plan.data, 32)
    seen = []
    for team in (Team(), Second()):
        state = SimpleNamespace(team=team, generator=torch.Generator().manual_seed(1))
        seen.append(next(tokenizer._batches(source, 6, state)))
    assert torch.equal(seen[1], seen[0][3:])


def killed(run, *arguments, after, folder):
    """Run in a process of its own and kill -9 it when the state of step ``after`` is there."""
    child = fork(run, *arguments, call=Call(save_every=0.0))
    states = folder / "states"
    while not any(int(p.name) >= after for p in states.glob("*") if p.name.isdecimal()):
        assert child.is_alive(), "it ended before it could be killed"
        time.sleep(0.001)
    os.kill(child.pid, signal.SIGKILL)
    child.join()
    assert child.exitcode == -signal.SIGKILL


def test_kill_9_loses_nothing(tokenizer_plan, tmp_path, capfd):
    plan = replace(tokenizer_plan, images=None, training=replace(
        tokenizer_plan.training, stages=tokenizer_plan.settled(16).stages))  # fmt: skip
    whole = run_tokenizer(plan, tmp_path / "whole")
    killed(run_tokenizer, plan, tmp_path / "killed", after=5, folder=tmp_path / "killed")
    assert not (tmp_path / "killed" / "model").exists()
    made = run_tokenizer(plan, tmp_path / "killed")
    assert "going on from step" in capfd.readouterr().out
    assert equal(whole, made)
    rows = read_rows(tmp_path / "killed" / "metrics.csv")
    assert [int(row["step"]) for row in rows] == list(range(1, 17))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["tokenizer", "generator"])
def test_twenty_kills_at_random_moments_lose_nothing(
    tokenizer_plan, generator_plan, small_tokenizer, tmp_path, kind
):
    """Kills fall anywhere: while reading and encoding, while learning and while saving."""
    adversarial = replace(tokenizer_plan.training, gan_weight=0.1, gan_width=8, gan_layers=1)
    plan = {
        "tokenizer": replace(tokenizer_plan, images=3 * 150, training=adversarial),
        "generator": replace(generator_plan, images=4 * 150),
    }[kind]
    run, more = {
        "tokenizer": (run_tokenizer, ()), "generator": (run_generator, (small_tokenizer,))
    }[kind]  # fmt: skip
    whole, out = run(plan, tmp_path / "whole", *more, call=Call(save_every=0.0)), tmp_path / "out"
    chance, reached = random.Random(7), []
    for number in range(20):
        steps = Keeper(out, Team()).steps()
        reached.append(max(steps, default=0))
        child = fork(run, plan, out, *more, call=Call(save_every=0.0))
        while number % 4 and Keeper(out, Team()).steps() == steps:
            assert child.is_alive(), "it ended before it could be killed"
            time.sleep(0.001)
        time.sleep(chance.uniform(0.0, 0.3))
        os.kill(child.pid, signal.SIGKILL)
        child.join()
        assert child.exitcode == -signal.SIGKILL
    made = run(plan, out, *more)
    assert equal(whole / "generator" if more else whole, made / "generator" if more else made)
    assert numbers(tmp_path / "whole") == numbers(out)
    assert len(set(reached)) > 9, "the kills fell into one place"
    assert max(reached) < 150


def command_line(words):
    """`dcar train`; afterwards this process has parted from the other."""
    assert cli.main(["train", *words, "--save-every", "0", "--sample-every", "0"]) == 0
    assert not torch.distributed.is_initialized()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["tokenizer", "generator"])
def test_two_processes_end_where_one_does(
    tokenizer_plan, generator_plan, small_tokenizer, tmp_path, kind
):
    pytest.importorskip("accelerate")
    pytest.importorskip("tyro")
    run, plan, more = {
        "tokenizer": (run_tokenizer, replace(tokenizer_plan, batch=4, images=28), ()),
        "generator": (run_generator, generator_plan, (small_tokenizer,)),
    }[kind]
    alone = run(plan, tmp_path / "alone", *more)
    out, file = tmp_path / "both", tmp_path / "plan.json"
    file.write_text(json.dumps(checkpoint.to_dict(plan)))
    words = [kind, "--plan", str(file), "--out", str(out)]
    words += ["--tokenizer", str(small_tokenizer)] if more else []
    in_two_processes(command_line, words)
    first, second = (weights(f / "generator" if more else f) for f in (alone, out / "model"))
    for name in first:
        torch.testing.assert_close(first[name], second[name], atol=1e-4, rtol=1e-4)
    assert len(read_rows(out / "metrics.csv")) == len(read_rows(tmp_path / "alone/metrics.csv"))


def test_a_signal_saves_and_stops(tokenizer_plan, tmp_path, monkeypatch, capsys):
    before = signal.getsignal(signal.SIGTERM)
    seen = []

    def draw(model, originals):
        seen.append(len(seen))
        os.kill(os.getpid(), signal.SIGTERM)
        return originals[0]

    monkeypatch.setattr(tokenizer, "sheet", draw)
    with pytest.raises(KeyboardInterrupt):
        run_tokenizer(tokenizer_plan, tmp_path / "run", call=Call(sample_every=0.0))
    assert signal.getsignal(signal.SIGTERM) == before
    assert [path.name for path in (tmp_path / "run" / "states").iterdir()] == ["2"]
    assert "stopped at step 2 of 7; the same command goes on" in capsys.readouterr().out


def test_a_second_signal_does_not_wait():
    asked = Asked()
    asked(signal.SIGINT, None)
    assert asked.to_stop
    with pytest.raises(KeyboardInterrupt):
        asked(signal.SIGINT, None)
    with listening() as heard:
        os.kill(os.getpid(), signal.SIGINT)
        assert heard.to_stop


def test_minutes_fix_the_steps_once(tokenizer_plan, generator_plan, small_tokenizer, tmp_path,
                                    monkeypatch):  # fmt: skip
    timed = []

    def seconds(records, team, steps=5):
        timed.append(next(records))
        return 2.0 * len(timed)

    monkeypatch.setattr(tokenizer, "seconds_a_step", seconds)
    monkeypatch.setattr(generator, "seconds_a_step", seconds)
    plan = replace(tokenizer_plan, images=None, minutes=1.0)
    assert run_tokenizer(plan, tmp_path / "a", call=Call(stop_after=0.0)) is None
    # stages of 2, 3 and 2 parts take 2, 4 and 6 s a step: 4 s on average; 57 s of 60 are for steps
    assert json.loads((tmp_path / "a" / "run.json").read_text())["steps"] == 14
    assert len(timed) == 3
    run_tokenizer(plan, tmp_path / "a", call=Call(stop_after=0.0))
    assert len(timed) == 3, "a run that goes on is not timed again"
    unhurried = replace(plan, minutes=None, images=14 * plan.batch)
    whole = run_tokenizer(unhurried, tmp_path / "b")
    made, _ = stopped(run_tokenizer, plan, tmp_path / "a")
    assert equal(whole, made), "timing changed what is learnt"


def test_a_number_that_is_none_stops_before_it_is_saved(
    tokenizer_plan, tmp_path, monkeypatch, often
):
    loop = tokenizer.train_tokenizer

    def poisoned(model, *arguments, **options):
        for record in loop(model, *arguments, **options):
            yield replace(record, gradient_norm=float("nan")) if record.number == 4 else record

    monkeypatch.setattr(tokenizer, "train_tokenizer", poisoned)
    message = (
        "gradient norm is nan after step 4. Lower learning_rate, or train in float32. "
        r"\(the state of step 3 is kept"
    )
    with pytest.raises(ValueError, match=message):
        run_tokenizer(tokenizer_plan, tmp_path / "run", call=often)
    kept = sorted(path.name for path in (tmp_path / "run" / "states").iterdir())
    assert kept == ["2", "3"]


def test_what_has_changed_is_named(tokenizer_plan, tmp_path):
    run_tokenizer(tokenizer_plan, tmp_path / "run", call=Call(stop_after=0.0))
    other = replace(
        tokenizer_plan, batch=6, training=replace(tokenizer_plan.training, learning_rate=0.02)
    )
    with pytest.raises(ValueError, match="batch was 3, is 6; training.learning_rate was 0.001, is"):
        run_tokenizer(other, tmp_path / "run")


def test_two_processes_do_not_train_into_one_folder(tokenizer_plan, tmp_path):
    out = tmp_path / "run"
    with hold(out, Team()):
        child = fork(run_tokenizer, tokenizer_plan, out)
        child.join()
        assert child.exitcode == 1
        assert [path.name for path in out.iterdir()] == ["lock"]
        with (
            pytest.raises(ValueError, match="another process is training into .*run'. Wait for"),
            hold(out, Team()),
        ):
            pass
        with hold(out, Second()):  # the other processes of a team
            pass
    with hold(out, Team()):
        pass


def test_changed_pictures_are_noticed(tokenizer_plan, tmp_path):
    for number in range(4):
        Image.new("RGB", (40, 36), (60 * number, 9, 9)).save(tmp_path / f"{number}.png")
        (tmp_path / f"{number}.txt").write_text(f"red {number}")
    plan = replace(tokenizer_plan, data=(Pictures(str(tmp_path)),))
    out = tmp_path / "run"
    assert run_tokenizer(plan, out, call=Call(stop_after=0.0)) is None
    (tmp_path / "2.txt").write_text("a darker red")
    with pytest.raises(
        ValueError, match="this has changed: the pictures: files were added, changed or removed"
    ):
        run_tokenizer(plan, out)
    for path in tmp_path.glob("*.png"):
        path.unlink()
    with pytest.raises(ValueError, match="holds no usable picture"):
        run_tokenizer(plan, out)


def test_a_shipped_tokenizer_is_named_not_copied(
    generator_plan, small_tokenizer, tmp_path, monkeypatch
):
    data = tmp_path / "data"
    real = checkpoint.data_folder()
    (data / "checkpoints").mkdir(parents=True)
    (data / "emoji").symlink_to(real / "emoji")
    shutil.copytree(small_tokenizer, data / "checkpoints" / "tiny-32" / "tokenizer")
    monkeypatch.setenv("DCAR_DATA", str(data))
    made = run_generator(generator_plan, tmp_path / "run", "tiny-32/tokenizer")
    assert not (made / "tokenizer").exists()
    assert '"tiny-32/tokenizer"' in (made / "config.json").read_text()
    DCAR.from_pretrained(made)


def test_a_generator_needs_a_tokenizer(generator_plan, tmp_path):
    with pytest.raises(ValueError, match="a generator learns the tokens of a tokenizer"):
        run_generator(generator_plan, tmp_path)
