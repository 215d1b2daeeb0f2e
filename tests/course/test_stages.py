"""Yours, shipped or trained now: which pair is taken, and what is said about it."""

import json

import pytest
import torch

from dcar_edu.course import budgets, stages
from dcar_edu.course.stages import keep_going, save_stage, stage, why_not_yours
from dcar_edu.course.studies.study_04 import small_tokenizer
from dcar_edu.state import TrainingState


class Model:
    """Stands for a DCAR: all that ``save_stage`` needs."""

    generator = "one"

    def save_pretrained(self, folder):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "weights").write_text("w")


@pytest.fixture(autouse=True)
def _own_home(tmp_path, monkeypatch):
    monkeypatch.setenv("DCAR_HOME", str(tmp_path))
    row = budgets.Budget("77", "cpu", 1, 2, 60, {}, {"psnr": (18, 24)})
    monkeypatch.setattr(stages, "TABLE", (row,))
    monkeypatch.setattr(stages, "_load", lambda place, kind: f"{kind} from {place}")


def save(budget="cpu", **metrics):
    return save_stage("77", Model(), budget=budget, metrics=metrics)


def test_auto_takes_yours_when_it_kept_its_promise(capsys):
    folder = save(psnr=20)
    assert stage("77") == f"pair from {folder}"
    assert capsys.readouterr().out == "model: yours, from lesson 77\n"


@pytest.mark.parametrize(
    ("budget", "metrics", "reason"),
    [
        (None, {}, "you have not trained one"),
        ("smoke", {"psnr": 20}, "yours was trained at smoke"),
        ("cpu", {"psnr": 15}, "yours has psnr 15, promised was 18 to 24"),
        ("cpu", {"psnr": float("nan")}, "yours has psnr nan, promised was 18 to 24"),
        ("cpu", {"loss": 3}, "yours has no psnr, which lesson 77 promises"),
    ],
)
def test_auto_takes_the_shipped_pair_otherwise_and_says_why(capsys, budget, metrics, reason):
    if budget:
        save(budget, **metrics)
    assert stage("77") == "pair from emoji-128"
    out = capsys.readouterr().out
    assert out.startswith(f"model: the shipped pair emoji-128 ({reason}")
    assert out.count("\n") == 1


def test_yours_is_taken_in_any_case_but_its_weakness_is_said(capsys):
    folder = save("smoke", psnr=20)
    assert stage("77", source="yours") == f"pair from {folder}"
    assert "yours, from lesson 77 (yours was trained at smoke" in capsys.readouterr().out


def test_shipped_can_be_asked_for_with_or_without_one_of_yours(capsys):
    for _ in range(2):
        assert stage("77", source="shipped") == "pair from emoji-128"
        save(psnr=20)
    assert capsys.readouterr().out == "model: the shipped pair emoji-128 (asked for)\n" * 2


def test_train_is_called_when_asked_or_when_nothing_is_there(capsys, monkeypatch):
    assert stage("77", source="train", train=lambda: "fresh") == "fresh"

    def missing(place, kind):
        raise ValueError("no model 'emoji-128'")

    monkeypatch.setattr(stages, "_load", missing)
    assert stage("77", train=lambda: "fresh") == "fresh"
    assert capsys.readouterr().out == "model: trained now\n" * 2
    for source in ("auto", "shipped"):
        with pytest.raises(ValueError, match="no model 'emoji-128'"):
            stage("77", source=source)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("yours", "you have no pair for lesson 77 yet.*source='shipped'"),
        ("train", "lesson 77 trains no pair"),
        ("best", "source must be auto, yours, shipped or train, got 'best'"),
    ],
)
def test_what_cannot_be_done_is_said(source, words):
    with pytest.raises(ValueError, match=words):
        stage("77", source=source)


def test_an_unknown_budget_cannot_be_saved():
    with pytest.raises(ValueError, match="budget must be one of smoke, cpu, gpu, got 'huge'"):
        save("huge")


def test_a_pair_cut_off_while_saving_does_not_count(monkeypatch):
    folder = save(psnr=20)

    def broken(self, folder):
        raise OSError("disk full")

    monkeypatch.setattr(Model, "save_pretrained", broken)
    with pytest.raises(OSError, match="disk full"):
        save(psnr=21)
    assert why_not_yours("77") == "you have not trained one"
    assert not (folder / "stage.json").exists()


@pytest.mark.parametrize("text", ["", "[1]", "{}", json.dumps({"budget": "cpu"})])
def test_an_unreadable_note_does_not_count(text):
    (save(psnr=20) / "stage.json").write_text(text)
    assert why_not_yours("77") == "you have not trained one"


# A tokenizer alone --------------------------------------------------------------------------------


@pytest.fixture
def _real_loader(monkeypatch):
    monkeypatch.setattr(stages, "_load", REAL_LOAD)


REAL_LOAD = stages._load


@pytest.mark.usefixtures("_real_loader")
def test_a_tokenizer_comes_back_with_its_weights(capsys):
    tokenizer = small_tokenizer(seed=3)
    save_stage("77", tokenizer, budget="cpu", metrics={"psnr": 20})
    found = stage("77", kind="tokenizer")
    assert capsys.readouterr().out == "model: yours, from lesson 77\n"
    assert not found.training
    assert all(torch.equal(found.state_dict()[k], v) for k, v in tokenizer.state_dict().items())


def test_a_tokenizer_is_no_pair_and_a_pair_no_tokenizer():
    save_stage("77", small_tokenizer(), budget="cpu", metrics={"psnr": 20})
    assert why_not_yours("77", "tokenizer") is None
    assert why_not_yours("77") == "you have not trained one"
    with pytest.raises(ValueError, match="you have no pair for lesson 77 yet"):
        stage("77", source="yours")
    save(psnr=20)
    assert why_not_yours("77", "tokenizer") == "you have not trained one"


def test_the_shipped_tokenizer_is_the_pairs(capsys):
    assert stage("77", kind="tokenizer") == "tokenizer from emoji-128"
    assert "model: the shipped tokenizer emoji-128 (you have not" in capsys.readouterr().out


# A run that is stopped ----------------------------------------------------------------------------


def begin():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = torch.nn.Linear(3, 2)
    numbers = {"learning_rate": 0.1, "betas": (0.9, 0.99), "weight_decay": 0.1, "ema_decay": 0.9}
    return TrainingState.begin(model, **numbers)


def loop(state, total):
    """Learn from numbers that only the state's own generator gives."""
    while state.step < total:
        x = torch.rand(4, 3, generator=state.generator)
        state.model(x).square().mean().backward()
        state.apply_gradients(0.1, 1.0)
        yield state.step


def run(state, total=9, every=-1.0):
    return keep_going("77/run", state, loop(state, total), total=total, every=every)


def test_a_stopped_run_goes_on_and_ends_where_a_whole_one_does(capsys, tmp_path):
    whole, stopped, again = begin(), begin(), begin()
    assert list(run(whole)) == [1, 2, 3, 4, 5, 6, 7, 8, 9]
    assert not (tmp_path / "runs" / "77" / "run").exists()
    for step in run(stopped):
        if step == 5:
            break  # step 5 is lost: the save came after step 4
    assert (tmp_path / "runs" / "77" / "run" / "state.safetensors").exists()
    capsys.readouterr()
    assert list(run(again)) == [5, 6, 7, 8, 9]
    out = capsys.readouterr().out
    assert "going on at step 4 of 9, from the save of an earlier run" in out
    assert "5 steps in " in out
    assert torch.equal(again.model.weight, whole.model.weight)
    assert torch.equal(again.average.module.weight, whole.average.module.weight)
    assert list(run(begin())) == [1, 2, 3, 4, 5, 6, 7, 8, 9], "a finished run begins anew"


def test_nothing_is_saved_before_the_minute_is_over(tmp_path):
    steps = run(begin(), every=60)
    for _ in range(4):
        next(steps)
    assert not (tmp_path / "runs").exists()


def test_the_time_left_is_said(capsys, monkeypatch):
    monkeypatch.setattr(stages, "NOTE_EVERY", -1)
    list(run(begin(), total=2, every=60))
    assert "step 1 of 2, about 0 s left" in capsys.readouterr().out
