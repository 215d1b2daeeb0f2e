"""The study of lesson 02: equal beginnings, equal pictures, and arms that differ as they say."""

import pytest
import torch

from dcar_edu.course.studies import study_02
from dcar_edu.course.studies.study_02 import EXPERIMENTS, autoencoder, learn, small_config, windows
from dcar_edu.data import CaptionedEmoji
from dcar_edu.tokenizer.autoencoder import Encoder
from dcar_edu.tokenizer.blocks import Down, Up


def _halvings(network: torch.nn.Module) -> list:
    return [part for part in network.modules() if isinstance(part, Down | Up)]


@pytest.mark.parametrize(("f", "grid"), [(8, (2, 8, 12)), (16, (8, 4, 6)), (32, (32, 2, 3))])
def test_every_depth_keeps_as_many_numbers(f: int, grid: tuple[int, int, int]):
    encoder, decoder = autoencoder(f)
    images = torch.zeros(1, 3, 64, 96)
    with torch.no_grad():
        latents = encoder(images)
        assert latents.shape == (1, *grid)
        assert latents.numel() * 96 == images.numel()
        assert decoder(latents).shape == images.shape


def test_an_unknown_depth_is_refused():
    with pytest.raises(ValueError, match="f = 8, 16 and 32, got 64. Choose one"):
        small_config(64)


def test_arms_differ_by_their_shortcuts_and_by_nothing_else():
    having, lacking = autoencoder(seed=3), autoencoder(shortcuts=False, seed=3)
    for one, other in zip(having.parameters(), lacking.parameters(), strict=True):
        assert torch.equal(one, other)
    # The stem and the last layer never have one.
    assert [part.shortcut for part in _halvings(having)] == [False, *[True] * 10, False]
    assert not any(part.shortcut for part in _halvings(lacking))
    assert not torch.equal(next(autoencoder(seed=4).parameters()), next(having.parameters()))


def test_groups_are_those_of_the_paper():
    widths = small_config().widths
    wide = study_02.TokenizerConfig.preset("paper").widths
    assert [16 * width for width in widths] == list(wide)
    assert isinstance(autoencoder()[0], Encoder)


def test_building_leaves_the_random_state_alone():
    before = torch.get_rng_state()
    autoencoder(8, seed=5)
    assert torch.equal(torch.get_rng_state(), before)


def test_one_seed_shows_the_same_pictures(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(study_02, "BATCH", 2)
    data = CaptionedEmoji("train", 64, concepts=2)
    first, again, other = (
        list(learn(autoencoder(8), data, 2, seed=seed, warm_up=1)) for seed in (0, 0, 1)
    )
    assert first == again
    assert first != other


def test_learning_learns(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(study_02, "BATCH", 4)
    data = CaptionedEmoji("train", 64, concepts=1, styles=["flat"], sizes=["small"])
    losses = list(learn(autoencoder(8), data, 30, warm_up=5))
    assert sum(losses[-5:]) < 0.75 * sum(losses[:5])


def test_windows_are_full_and_named_by_their_last_step():
    assert windows([1.0, 3.0, 5.0, 7.0, 9.0], 2) == {2: 2.0, 4: 6.0}


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_arm_runs(name: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(study_02, "WINDOW", 1)
    study = EXPERIMENTS[name]
    found = {arm: study.run(arm, 0, "smoke") for arm in study.arms}
    assert {tuple(metrics) for metrics in found.values()} == {
        ("psnr", "loss", "pictures", "loss_00001", "loss_00002")
    }
    assert len({metrics["psnr"] for metrics in found.values()}) == len(study.arms)
    assert min(metrics["loss"] for metrics in found.values()) > 0.1


def test_the_deepest_arm_is_the_network_with_shortcuts_and_runs_repeat():
    one = EXPERIMENTS["02_depth"].run("f32", 1, "smoke")
    assert one == EXPERIMENTS["02_shortcuts"].run("with", 1, "smoke")
