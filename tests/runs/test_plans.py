"""Plans: complete, written and read back, and refused where they contradict themselves."""

import json
from dataclasses import replace

import pytest

from dcar_edu import checkpoint
from dcar_edu.data import CaptionedEmoji
from dcar_edu.data.art import read_concepts
from dcar_edu.generator.training import GeneratorTraining
from dcar_edu.runs import GeneratorRun, Pictures, TokenizerRun, parse_data
from dcar_edu.runs.keeping import read_plan
from dcar_edu.runs.plans import steps_asked
from dcar_edu.runs.sources import open_source
from dcar_edu.tokenizer.training import TokenizerTraining, three_stages


def test_plans_survive_their_file(tokenizer_plan, generator_plan, tmp_path):
    for plan in (tokenizer_plan, generator_plan, TokenizerRun(), GeneratorRun()):
        path = tmp_path / "run.json"
        path.write_text(json.dumps({"run": type(plan).__name__, "plan": checkpoint.to_dict(plan)}))
        assert read_plan(path, type(plan)) == plan
        path.write_text(json.dumps(checkpoint.to_dict(plan)))
        assert read_plan(path, type(plan)) == plan
    path.write_text(json.dumps({"run": "GeneratorRun", "plan": {}}))
    with pytest.raises(ValueError, match="holds a GeneratorRun, not a TokenizerRun"):
        read_plan(path, TokenizerRun)
    with pytest.raises(ValueError, match="cannot read the plan"):
        read_plan(tmp_path / "none.json", TokenizerRun)


@pytest.mark.parametrize(
    "text",
    [
        "emoji",
        "emoji+scenes",
        "5*emoji?styles=3d&groups=animals-nature,food-drink&first=7+3*emoji?mirror=yes",
        "hub:somebody/pictures?split=test&image=img&caption=words&streaming=yes",
        "emoji?backgrounds=pale blue,white",
    ],
)
def test_data_on_the_command_line_reads_back(text):
    parts = parse_data(text)
    assert "+".join(part.text for part in parts) == text
    assert parse_data("+".join(part.text for part in parts)) == parts


def test_data_on_the_command_line_by_hand(tmp_path):
    assert parse_data("5*emoji?styles=3d,flat&first=7+scenes?kinds=two") == (
        Pictures("emoji", 5, styles=("3d", "flat"), first=7),
        Pictures("scenes", kinds=("two",)),
    )
    folder = tmp_path / "3*my+pictures?"
    folder.mkdir()
    assert parse_data(str(folder)) == (Pictures(str(folder)),)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("emoji?colour=red", "'colour' is no choice of a source, in 'emoji.colour=red'"),
        ("emoji?first=many", "'first' is a whole number, got 'many'"),
        ("emoji?mirror=perhaps", "'mirror' is yes or no, got 'perhaps'"),
        ("scenes?first=3", "'first' cannot be chosen for the source 'scenes', only share, mirror"),
        ("0*emoji", "a share of at least 1"),
        ("pictures?styles=3d", "'styles' cannot be chosen for the source 'pictures'"),
    ],
)
def test_wrong_data_is_refused(text, message):
    with pytest.raises(ValueError, match=message):
        parse_data(text)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": 9, "minutes": 2.0}, "images=9 and minutes=2.0 cannot both end a run"),
        ({"minutes": 0.0}, "minutes must be above 0, got 0"),
        ({"batch": 0}, "batch and accumulate of at least 1"),
        ({"data": ()}, "a run needs data"),
    ],
)
@pytest.mark.parametrize("kind", [TokenizerRun, GeneratorRun])
def test_what_contradicts_itself_is_refused(kind, changes, message):
    with pytest.raises(ValueError, match=message):
        kind(**changes)


def test_a_decoder_alone_needs_a_tokenizer():
    alone = TokenizerTraining(three_stages(9, (0, 0, 1)))
    with pytest.raises(ValueError, match="no stage trains the encoder"):
        TokenizerRun(training=alone)
    assert TokenizerRun(training=alone, start="emoji-128").settled(5).stages[2].steps == 5


def test_what_a_generator_cannot_learn_is_refused():
    with pytest.raises(ValueError, match="would contradict captions about left and right"):
        GeneratorRun(data=(Pictures("scenes", mirror=True),))
    with pytest.raises(ValueError, match="a head alone learns from a trained transformer"):
        GeneratorRun(learns="head")


def test_steps_come_from_pictures_or_from_the_numbers():
    plan = GeneratorRun(batch=7, training=GeneratorTraining(steps=11))
    assert steps_asked(plan) == 11
    assert steps_asked(replace(plan, images=50)) == 7
    assert steps_asked(replace(plan, minutes=3.0)) is None
    assert plan.settled(4).steps == 4
    with pytest.raises(ValueError, match="images=6 is less than one batch of 7"):
        steps_asked(replace(plan, images=6))


@pytest.mark.parametrize("steps", [3, 10, 101, 99_999])
def test_stages_keep_their_shares_and_no_step_is_lost(steps):
    plan = TokenizerRun(training=TokenizerTraining(three_stages(6)))
    found = [stage.steps for stage in plan.settled(steps).stages]
    assert sum(found) == steps
    assert found == pytest.approx([steps / 6, steps * 4 / 6, steps / 6], abs=1)
    with pytest.raises(ValueError, match="2 steps are too few for the stages warm-up, discrete"):
        plan.settled(2)


def test_a_plan_can_name_the_first_concepts_of_some_groups():
    """Counted among those that the style draws, in hash order."""
    groups = ("food-drink", "activities")
    look = {"styles": ("blob",), "backgrounds": ("pink",), "sizes": ("small",)}
    wide = CaptionedEmoji("train", 32, **look)
    wanted = [example for example in wide.examples() if group_of(example.hexcode) in groups][:9]
    assert open_source(Pictures(**look, groups=groups, first=9), 32).examples() == wanted


def group_of(hexcode):
    (group,) = {concept.group for concept in read_concepts() if concept.hexcode == hexcode}
    return group
