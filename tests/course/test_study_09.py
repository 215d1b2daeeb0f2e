"""The arms of the residual experiment, on a few learnt pictures."""

import pytest
import torch

from dcar_edu.course.studies import study_09 as study


@pytest.fixture(scope="module")
def known() -> study.Known:
    return study.learnt_pictures(3, 5)


def test_learnt_pictures_carry_true_tokens_residuals_and_hidden_states(known: study.Known):
    encoded = known.model.tokenizer.encode(known.images)
    assert torch.equal(known.indices, encoded.indices)
    assert known.hidden.shape[:2] == known.residuals.shape[:2] == (3, 16)
    whole = known.decode(known.residuals)
    assert torch.allclose(
        whole, known.model.tokenizer.decode(encoded.indices, encoded.residuals), atol=1e-4
    )
    assert torch.equal(known.decode(None), known.model.tokenizer.decode(encoded.indices))
    again = study.learnt_pictures(3, 6, known.model)
    assert not torch.equal(known.images, again.images)


def test_clip_bounds_what_is_drawn_and_a_seed_repeats_it(known: study.Known):
    bound = known.scale * (1 + 1e-5)
    for arm in (study.Arm(4), study.Arm(4, method="ddim")):
        drawn = study.draw_residuals(known, arm, 3)
        assert drawn.shape == known.residuals.shape
        assert drawn.abs().max() <= bound
        assert torch.equal(drawn, study.draw_residuals(known, arm, 3))
    free = study.draw_residuals(known, study.Arm(4, clip=None), 3)
    assert free.abs().max() > bound


def test_arms_are_what_their_names_say():
    assert study.EXPERIMENTS["09_residual_steps"].arms == tuple(study.ARMS)
    for name, arm in study.ARMS.items():
        assert name.split()[0] == str(arm.steps)
        assert (arm.clip is None) == ("no clip" in name)
        assert (arm.clip == 3) == ("clip 3" in name)
        assert (arm.method == "ddim") == ("DDIM" in name)


def test_a_run_measures_the_arm_and_both_ends_of_the_scale():
    runs = {name: study.residual_run(name, 2, 4) for name in ("1 step", "20 steps, no clip")}
    for found in runs.values():
        for name in ("psnr", "rkid_efficientnet"):
            assert {name, f"{name}_codes", f"{name}_true"} <= set(found)
        assert found["gain"] == pytest.approx(found["psnr"] - found["psnr_codes"], abs=2e-4)
        assert found["psnr_true"] > found["psnr_codes"]
        assert found["seconds"] > 0
    clipped, free = runs.values()
    assert 0.9 < clipped["size"] <= 1.0001  # one step: nearly all numbers lie at the bound
    assert free["error"] > clipped["error"]
    assert clipped["psnr_codes"] == free["psnr_codes"]
    with pytest.raises(ValueError, match="there is no arm '3 steps'"):
        study.residual_run("3 steps", 0, 4)
