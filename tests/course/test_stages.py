"""Yours, shipped or trained now: which pair is taken, and what is said about it."""

import json

import pytest

from dcar_edu.course import budgets, stages
from dcar_edu.course.stages import save_stage, stage, why_not_yours


class Model:
    """Stands for a DCAR: all that ``save_stage`` needs."""

    def save_pretrained(self, folder):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "weights").write_text("w")


@pytest.fixture(autouse=True)
def _own_home(tmp_path, monkeypatch):
    monkeypatch.setenv("DCAR_HOME", str(tmp_path))
    row = budgets.Budget("77", "cpu", 1, 2, 60, {}, {"psnr": (18, 24)})
    monkeypatch.setattr(stages, "TABLE", (row,))
    monkeypatch.setattr(stages, "_load", lambda place: f"model from {place}")


def save(budget="cpu", **metrics):
    return save_stage("77", Model(), budget=budget, metrics=metrics)


def test_auto_takes_yours_when_it_kept_its_promise(capsys):
    folder = save(psnr=20)
    assert stage("77") == f"model from {folder}"
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
    assert stage("77") == "model from emoji-128"
    out = capsys.readouterr().out
    assert out.startswith(f"model: the shipped pair emoji-128 ({reason}")
    assert out.count("\n") == 1


def test_yours_is_taken_in_any_case_but_its_weakness_is_said(capsys):
    folder = save("smoke", psnr=20)
    assert stage("77", source="yours") == f"model from {folder}"
    assert "yours, from lesson 77 (yours was trained at smoke" in capsys.readouterr().out


def test_shipped_can_be_asked_for(capsys):
    save(psnr=20)
    assert stage("77", source="shipped") == "model from emoji-128"
    assert capsys.readouterr().out == "model: the shipped pair emoji-128 (asked for)\n"


def test_train_is_called_when_asked_or_when_nothing_is_there(capsys, monkeypatch):
    assert stage("77", source="train", train=lambda: "fresh") == "fresh"

    def missing(place):
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
