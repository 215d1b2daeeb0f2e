"""The controlled ablation: equal starts, equal pictures, and only the stages differ."""

from dataclasses import replace

import pytest
import torch

from dcar_edu.course.studies.study_05 import (
    EXPERIMENTS,
    SETTINGS,
    arms,
    fit_codes,
    longer_last_stage,
    small_tokenizer,
    train_arm,
    verdict,
)
from dcar_edu.features import ImageFeatures
from dcar_edu.tokenizer.stages import three_stages

TINY = replace(SETTINGS["smoke"], steps=6, batch=4, concepts=8, codes=16, resolution=32)


def pixels(images: torch.Tensor) -> ImageFeatures:
    """Features that cost nothing; the real network has tests of its own."""
    return ImageFeatures((images,), images.mean(dim=(2, 3)))


def test_every_arm_takes_the_same_number_of_steps():
    for steps in (6, 100, 1200):
        plans = arms(steps)
        assert tuple(plans) == EXPERIMENTS["05_ablation"].arms
        assert len(plans) == 8
        assert {sum(stage.steps for stage in plan) for plan in plans.values()} == {steps}


def test_arms_differ_in_what_their_names_say():
    plans = arms(600)
    assert plans["three stages"] == three_stages(600)
    assert plans["unfrozen"][:2] == plans["three stages"][:2]
    assert plans["unfrozen"][2].trains == ("encoder", "decoder")
    assert {stage.path for stage in plans["no warm-up"]} == {"discrete", "alternate"}
    assert plans["no warm-up"][0].steps == 500
    assert [(s.path, s.steps) for s in plans["HART style"]] == [
        ("continuous", 100),
        ("alternate", 500),
    ]
    assert "encoder" in plans["HART style"][1].trains
    assert plans["alternate only"][0].trains == ("decoder",)


def test_a_longer_last_stage_takes_its_steps_from_the_one_before():
    plans = longer_last_stage(1200)
    assert tuple(plans) == EXPERIMENTS["05_last_stage"].arms
    for plan, last in zip(plans.values(), (600, 800), strict=True):
        usual = three_stages(1200)
        assert [(s.path, s.trains) for s in plan] == [(s.path, s.trains) for s in usual]
        assert [stage.steps for stage in plan] == [200, 1000 - last, last]


def test_codes_start_at_latents_exactly_once_in_every_arm_that_reads_codes():
    for name, plan in arms(600).items():
        reads = [stage for stage in plan if stage.path != "continuous"]
        assert [stage.starts_codes for stage in reads] == [True, False, False][: len(reads)], name


def test_a_seed_fixes_the_weights_and_leaves_torch_alone():
    before = torch.get_rng_state()
    one, same, other = (small_tokenizer(16, seed) for seed in (3, 3, 4))
    assert torch.equal(torch.get_rng_state(), before)
    assert one.fingerprint() == same.fingerprint() != other.fingerprint()
    assert tuple(one.encode(torch.zeros(2, 3, 64, 96)).indices.shape) == (2, 4, 6)


def test_k_means_brings_codes_nearer_to_the_latents_than_drawing_them():
    tokenizer = small_tokenizer(8, 0)
    images = torch.rand(6, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    found = []
    for rounds in (0, 10):
        fit_codes(tokenizer, [images[:4], images[4:]], rounds)
        encoded = tokenizer.encode(images)
        found.append(torch.cosine_similarity(encoded.latents, encoded.quantized, dim=1).mean())
        assert torch.allclose(tokenizer.quantizer.codes.norm(dim=1), torch.ones(8), atol=1e-5)
    assert found[1] > found[0] + 1e-4


@pytest.fixture(scope="module")
def runs() -> dict[str, dict[str, float]]:
    names = ("warm-up only", "HART style", "three stages", "unfrozen")
    return {name: train_arm(name, 0, TINY, features=pixels) for name in names}


def test_arms_of_one_seed_are_equal_until_their_stages_differ(runs: dict):
    first = {name: found["psnr_hybrid_after_1"] for name, found in runs.items()}
    assert len(set(first.values())) == 1, first
    second = {name: found["psnr_hybrid_after_2"] for name, found in runs.items()}
    assert second["three stages"] == second["unfrozen"]
    assert len(set(second.values())) == 3, second
    assert runs["three stages"]["psnr_hybrid"] != runs["unfrozen"]["psnr_hybrid"]


def test_a_run_reports_both_paths_and_the_codes(runs: dict):
    for found in runs.values():
        for name in ("psnr", "ssim", "perceptual", "rkid_efficientnet"):
            assert {f"{name}_hybrid", f"{name}_discrete"} <= set(found)
        assert {"usage", "train_usage", "perplexity", "cosine", "images"} <= set(found)
        assert found["images"] == TINY.judged
        assert 0 < found["train_usage"] <= 1


def test_progress_is_told_not_printed(capsys: pytest.CaptureFixture):
    lines: list[str] = []
    train_arm("direct", 1, replace(TINY, judged=64), features=pixels, say=lines.append)
    assert len(lines) == 6
    assert lines[0].startswith("direct, step 1 of 6: loss ")
    assert "direct" not in capsys.readouterr().out


def test_verdict_by_hand():
    # Gaps 1, 2, 3: mean 2, standard error 1 / sqrt(3) = 0.577, 2 / 0.577 = 3.46.
    a, b = [11.0, 22.0, 33.0], [10.0, 20.0, 30.0]
    assert verdict(a, b, t=3.46) == "better"
    assert verdict(b, a, t=3.46) == "worse"
    assert verdict(a, b, t=3.47) == "cannot tell"
    assert verdict(a, a, t=0.0) == "cannot tell"
    with pytest.raises(ValueError, match="verdict compares the same two or more seeds"):
        verdict([1.0, 2.0], [1.0], t=4.3)
    with pytest.raises(ValueError, match="got 1 and 1"):
        verdict([1.0], [2.0], t=4.3)
