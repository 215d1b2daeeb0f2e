"""`dcar train`: options become a plan."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from dcar_edu import checkpoint, cli
from dcar_edu.runs import Call, GeneratorRun, Pictures, TokenizerRun, command
from dcar_edu.runs import generator as generator_room
from dcar_edu.runs import tokenizer as tokenizer_room
from dcar_edu.team import Team
from dcar_edu.tokenizer.training import TokenizerTraining, three_stages

tyro = pytest.importorskip("tyro")


@pytest.fixture
def asked(monkeypatch):
    """What the runs were called with; their team is still together then, and not afterwards."""
    calls, teams = [], []

    class Pair(Team):
        ended = False

        def end(self):
            self.ended = True

    def note(*values, team, **options):
        assert not team.ended
        teams.append(team)
        calls.append((*values, options))

    monkeypatch.setattr(tokenizer_room, "run_tokenizer", note)
    monkeypatch.setattr(generator_room, "run_generator", note)
    monkeypatch.setattr(command, "make_team", lambda precision, accumulate: Pair(accumulate))
    yield calls
    assert all(team.ended for team in teams)


def test_nothing_said_is_the_plan_as_it_is(asked):
    assert cli.main(["train", "tokenizer"]) == 0
    assert cli.main(["train", "generator", "--tokenizer", "emoji-128"]) == 0
    assert asked == [
        (TokenizerRun(), Path("runs/tokenizer"), {"call": Call()}),
        (GeneratorRun(), Path("runs/generator"), "emoji-128", {"call": Call()}),
    ]


def test_every_number_is_an_option(asked, tmp_path):
    words = "train tokenizer --preset small --data 5*emoji?styles=3d+3*scenes --resolution 64"
    words += " --batch 12 --minutes 2.5 --stages 1:4:1 --gan-weight 0.1 --seed 7 --precision bf16"
    words += f" --out {tmp_path} --stop-after 3 --save-every 5 --sample-every 1 --tensorboard"
    assert cli.main(words.split()) == 0
    ((plan, out, options),) = asked
    assert plan.data == (Pictures("emoji", 5, styles=("3d",)), Pictures("scenes", 3))
    assert (plan.preset, plan.resolution, plan.batch, plan.minutes) == ("small", 64, 12, 2.5)
    assert [stage.steps for stage in plan.training.stages] == [1, 4, 1]
    assert (plan.training.gan_weight, plan.training.seed) == (0.1, 7)
    assert plan.training.l2 == TokenizerRun().training.l2
    assert (plan.precision, out) == ("bf16", tmp_path)
    assert options == {"call": Call(3.0, 5.0, 1.0, True)}


def test_a_plan_in_a_file_is_changed_by_options(asked, tmp_path):
    plan = replace(GeneratorRun(), batch=24, images=999, data=(Pictures("emoji", first=3),))
    path = tmp_path / "run.json"
    path.write_text(json.dumps({"run": "GeneratorRun", "plan": checkpoint.to_dict(plan)}))
    words = ["train", "generator", "--plan", str(path), "--batch", "8", "--tokenizer", "x"]
    assert cli.main(words) == 0
    assert asked[0][0] == replace(plan, batch=8)


def test_a_mixture_in_a_file_stays_one(asked, tmp_path):
    """Tyro writes the type of a default of several parts in another way."""
    both = (Pictures("emoji", first=3), Pictures("scenes", share=2))
    plan = replace(TokenizerRun(), data=both, training=TokenizerTraining(three_stages(9)))
    path = tmp_path / "plan.json"
    path.write_text(json.dumps(checkpoint.to_dict(plan)))
    assert cli.main(["train", "tokenizer", "--plan", str(path)]) == 0
    assert cli.main(["train", "tokenizer", "--plan", str(path), "--data", "emoji+scenes"]) == 0
    assert [call[0] for call in asked] == [
        plan, replace(plan, data=(Pictures("emoji"), Pictures("scenes")))
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--bach", "8"], "--batch"),
        (["--data", "emoji?colour=red"], "'colour' is no choice of a source"),
        (["--stages", "1:2"], "stages are three numbers such as 1:4:1, got '1:2'"),
        (["--images", "9", "--minutes", "1"], "cannot both end a run"),
    ],
)
def test_a_wrong_option_is_said_and_nothing_runs(asked, words, said, capsys):
    try:
        code = cli.main(["train", "tokenizer", *words])
    except SystemExit as end:
        code = end.code
    assert code in (1, 2)
    shown = capsys.readouterr()
    assert said in " ".join((shown.out + shown.err).replace("│", " ").split())
    assert not asked


def test_help_says_what_each_field_is(capsys):
    with pytest.raises(SystemExit, match="0"):
        cli.main(["train", "generator", "--help"])
    shown = " ".join(capsys.readouterr().out.replace("│", " ").split())
    for words in (
        "Pictures a step, over all processes.",
        "--text-drop FLOAT",
        "A tokenizer: folder (also of a run), shipped name or Hub id",
        "Minutes after which this call ends",
    ):
        assert words in shown


def test_other_commands_still_refuse_what_they_do_not_know(capsys):
    with pytest.raises(SystemExit, match="2"):
        cli.main(["course", "status", "--data", "emoji"])
    assert "unrecognized arguments: --data emoji" in capsys.readouterr().err


def test_help_of_the_group_loads_no_room(capsys, monkeypatch):
    for name in [name for name in sys.modules if name.startswith(("dcar_edu.runs", "tyro"))]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(SystemExit, match="0"):
        cli.main(["train", "--help"])
    assert "train a model on your own pictures" in capsys.readouterr().out
    assert not [name for name in sys.modules if name.startswith(("dcar_edu.runs", "tyro"))]


def test_without_tyro_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr(command.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"pip install 'dcar_edu\[train\]', or call dcar_edu.runs"):
        command.read(command.TrainTokenizer, TokenizerRun, [])
