"""The one-shot networks of lesson 06: what they are asked, how they draw, how they are judged."""

import ast
import re
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from einops import rearrange
from torch import nn

from dcar_edu import HybridTokenizer, TokenizerConfig
from dcar_edu.course import asking, budgets
from dcar_edu.course.asking import Asked, emoji_prompts, labels, scene_prompts
from dcar_edu.course.lessons.lesson_06 import cross_attention
from dcar_edu.course.lessons.words_06 import drop_text
from dcar_edu.course.studies import study_06 as study
from dcar_edu.course.studies.study_06 import EXPERIMENTS, agreement, draw, independent, one_shot
from dcar_edu.data.captions import STYLES
from dcar_edu.generator.transformer import MLP
from dcar_edu.state import warmed_cosine
from dcar_edu.text import TextStates

LESSON = Path(__file__).parents[2] / "lessons" / "src" / "06_text_conditioning.py"


@pytest.fixture(scope="module")
def tokenizer() -> HybridTokenizer:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return HybridTokenizer(TokenizerConfig.preset("nano")).eval()


@pytest.fixture
def asked() -> Asked:
    """Two full prompts, an open one and an unseen one, with other tokens for each; 4 x 5 places."""
    fits = torch.arange(4)[:, None, None, None].expand(-1, 3, 4, 5) * 10
    fits = (
        fits
        + torch.tensor([0, 1, 2])[:, None, None] * torch.tensor([0, 0, 1, 0])[:, None, None, None]
    )
    return Asked(("full", "full", "open", "unseen"), ("a", "b", "c", "d"), fits)


def words(n: int) -> TextStates:
    states = torch.randn(n, 6, 384, generator=torch.Generator().manual_seed(5))
    mask = torch.arange(6) < torch.tensor([6, 2, 4, 5])[:n, None]
    return TextStates(states, mask)


def test_labels_are_drawn_in_every_style_and_the_wolf_comes_early():
    assert "wolf" in labels(3)
    assert labels(3) == labels(9)[:3]
    with pytest.raises(ValueError, match="concepts must be 1 to"):
        labels(0)


def test_an_open_prompt_fits_what_the_four_full_ones_fit(tokenizer: HybridTokenizer):
    found = emoji_prompts(tokenizer, 2)
    assert found.kinds == ("full",) * 8 + ("open",) * 2
    first, second = labels(2)
    assert found.captions[9] == asking.open_caption(second)
    assert not any(re.search(word, found.captions[9]) for word in ("3D", "flat", "Noto", "blob"))
    assert found.fits.shape == (10, len(STYLES), 4, 4)
    for style in range(4):
        row = found.fits[4 + style]
        assert torch.equal(row, row[:1].expand_as(row))
        assert torch.equal(found.fits[9, style], row[0])
        assert second in found.captions[4 + style]
    assert first in found.captions[0]


def test_scenes_say_one_picture_from_both_sides(tokenizer: HybridTokenizer):
    found = scene_prompts(tokenizer, 4)
    fits = dict(zip(found.captions, found.fits, strict=True))
    assert len(fits) == 24
    assert found.fits.shape == (24, 1, 4, 8)
    here, same, other = (
        fits[f"a {said}"]
        for said in (
            "cat to the left of a dog",
            "dog to the right of a cat",
            "dog to the left of a cat",
        )
    )
    assert torch.equal(here, same)
    assert not torch.equal(here, other)


def test_every_thing_misses_one_partner(tokenizer: HybridTokenizer):
    found = scene_prompts(tokenizer, 4)
    missing = {
        tuple(sorted(re.findall("cat|tree|dog|house", found.captions[row])))
        for row in found.where("unseen")
    }
    assert missing == {("cat", "tree"), ("dog", "house")}
    assert len(found.where("unseen")) == 8
    assert len(found.where("scene")) == 16
    for things in (2, 5, 14):
        with pytest.raises(ValueError, match="things must be an even number from 4 to 12, got"):
            scene_prompts(tokenizer, things)


def test_a_batch_holds_each_kind_equally_often_and_never_the_unseen(asked: Asked):
    rows, tokens = draw(asked, 600, torch.Generator().manual_seed(0))
    assert 3 not in rows
    assert 0.43 < (rows == 2).float().mean() < 0.57
    assert tokens.shape == (600, 4, 5)
    assert torch.equal(tokens[:, 0, 0] // 10, rows)
    shown = tokens[rows == 2][:, 0, 0] - 20
    assert [0.25 < (shown == k).float().mean() < 0.42 for k in range(3)] == [True] * 3


def test_agreement_by_hand():
    fits = torch.tensor([[[[1, 2, 3, 4]], [[1, 5, 6, 7]]]]).expand(3, -1, -1, -1)
    drawn = torch.tensor([[[1, 2, 3, 4]], [[1, 2, 6, 7]], [[1, 2, 9, 9]]])
    found = agreement(drawn, fits)
    assert found["each"] == pytest.approx((4 + 4 + 2) / 12)
    assert found["one"] == pytest.approx((4 + 3 + 2) / 12)
    assert found["whole"] == pytest.approx(1 / 3)


def test_a_perfect_one_shot_network_is_right_everywhere_and_never_whole():
    fits = torch.arange(4)[None, :, None, None].expand(50, -1, 4, 4)
    drawn = independent(fits, torch.Generator().manual_seed(0))
    found = agreement(drawn, fits)
    assert found["each"] == 1
    assert found["whole"] == 0
    assert 0.3 < found["one"] < 0.6  # the commonest of four, among 16 throws
    shares = torch.bincount(drawn.flatten(), minlength=4) / drawn.numel()
    assert (shares - 0.25).abs().max() < 0.05


@pytest.mark.parametrize("arm", EXPERIMENTS["06_one_shot"].arms)
def test_padding_and_neighbours_change_nothing(arm: str):
    net, text = one_shot(11, 12, 0, arm), words(4)
    other = torch.where(text.mask[..., None], text.states, 9.0)
    got = net(text.states, text.mask)
    assert got.shape == (4, 12, 11)
    assert torch.allclose(net(other, text.mask), got, atol=1e-5)
    assert torch.allclose(net(text.states[1:2, :2], text.mask[1:2, :2]), got[1:2], atol=1e-5)


def test_places_that_talk_pass_gradients_between_places():
    text = words(1)
    for arm, reaches in (("alone", False), ("talking", True)):
        net = one_shot(11, 12, 0, arm)
        net(text.states, text.mask)[0, 3].square().sum().backward()
        others = [place for place in range(12) if place != 3]
        assert bool(net.places.grad[others].abs().max() > 0) is reaches, arm  # type: ignore[union-attr, index]


def test_a_seed_fixes_the_network_and_leaves_torch_alone():
    before = torch.get_rng_state()
    one, same, other = (one_shot(7, 4, seed).head.weight for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_a_network_learns_full_prompts_and_draws_a_chimera_for_the_open_one(
    asked: Asked, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(study, "WARMUP", 5)
    net, text = one_shot(40, 20, 0), words(4)
    losses = list(study.train(net, asked, text, study.begin(net, 0), 120))
    assert losses[-1] < losses[0] / 2
    found = study.judge(net, asked, text, torch.Generator().manual_seed(0), times=20)
    assert found["full_whole"] > 0.6
    assert found["open_each"] > 0.9
    assert found["open_whole"] < 0.1
    assert found["open_one"] == pytest.approx(found["perfect_one"], abs=0.1)


def test_the_lesson_shows_the_network_and_the_loop_of_the_study(asked: Asked):
    tree = ast.parse(LESSON.read_text(encoding="utf-8"))
    names = {"OneShot", "train"}
    shown = [part for part in tree.body if getattr(part, "name", "") in names]
    assert {part.name for part in shown} == names  # type: ignore[union-attr]
    space: dict = {
        **{"torch": torch, "nn": nn, "F": F, "rearrange": rearrange, "MLP": MLP, "study": study},
        **{"cross_attention": cross_attention, "drop_text": drop_text},
        "warmed_cosine": warmed_cosine,
    }
    exec(compile(ast.Module(shown, []), "lesson", "exec"), space)  # noqa: S102
    text, runs = words(4), []
    for kind, loop in ((study.OneShot, study.train), (space["OneShot"], space["train"])):
        torch.manual_seed(3)
        net: nn.Module = kind(40, 20)
        losses = list(loop(net, asked, text, study.begin(net, 1), 3))
        runs.append((losses, net(text.states, text.mask)))
    assert runs[0][0] == pytest.approx(runs[1][0], rel=1e-5)
    assert torch.allclose(runs[0][1], runs[1][1], atol=1e-4)


def test_every_arm_runs_at_smoke_and_says_what_it_judged():
    plan = budgets.budget("06", "smoke")
    assert plan.steps < 20
    assert plan.scene_steps < 20
    found = {arm: EXPERIMENTS["06_one_shot"].run(arm, 0, "smoke") for arm in ("talking", "scenes")}
    measures = ("each", "one", "whole")
    assert set(found["talking"]) == {
        f"{k}_{m}" for k in ("full", "open", "perfect") for m in measures
    }
    assert set(found["scenes"]) == {f"{k}_{m}" for k in ("scene", "unseen") for m in measures}
    assert found["talking"]["perfect_each"] == 1
    assert found["talking"]["perfect_whole"] < 0.5
    assert all(0 <= value <= 1 for one in found.values() for value in one.values())
