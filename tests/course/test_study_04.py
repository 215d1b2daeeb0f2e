"""The study of lesson 04: what it measures, and that its two arms differ where they should."""

import pytest
import torch
from torch.nn.functional import normalize

from dcar_edu.course import budgets
from dcar_edu.course.studies import study_04
from dcar_edu.course.studies.study_04 import EXPERIMENTS, look, small_tokenizer
from dcar_edu.metrics import psnr


@pytest.fixture
def pictures():
    return torch.rand(3, 3, 32, 48, generator=torch.Generator().manual_seed(0)) * 2 - 1


def test_the_small_tokenizer_depends_on_its_seed_alone():
    before = torch.get_rng_state()
    one, same, other = small_tokenizer(1), small_tokenizer(1), small_tokenizer(2)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(one.quantizer.codes, same.quantizer.codes)
    assert not torch.equal(one.quantizer.codes, other.quantizer.codes)
    assert sum(p.numel() for p in one.parameters()) < 600_000
    assert one.config.downsample == 16


def test_look_measures_both_paths(pictures):
    tokenizer = small_tokenizer().eval()
    encoded = tokenizer.encode(pictures)
    seen = look(tokenizer, pictures, None)
    hybrid = psnr(tokenizer.decode(encoded.indices, encoded.residuals), pictures).mean()
    discrete = psnr(tokenizer.decode(encoded.indices), pictures).mean()
    cosine = (encoded.latents * normalize(encoded.quantized, dim=1)).sum(1).mean()
    assert seen["hybrid"] == pytest.approx(hybrid.item(), abs=1e-4)
    assert seen["discrete"] == pytest.approx(discrete.item(), abs=1e-4)
    assert seen["hybrid"] != seen["discrete"]
    assert seen["cosine"] == pytest.approx(cosine.item(), abs=1e-4)
    assert seen["kept"] == 1


def test_kept_is_the_share_of_ids_that_stayed(pictures):
    tokenizer = small_tokenizer().eval()
    meant = tokenizer.encode(pictures).indices.clone()
    meant[0, 0] = (meant[0, 0] + 1) % 128  # 3 of 18 places
    assert look(tokenizer, pictures, meant)["kept"] == pytest.approx(15 / 18)


def test_frozen_keeps_every_id_and_unfrozen_does_not(monkeypatch):
    monkeypatch.setattr(study_04, "LEARNING_RATE", 0.02)
    monkeypatch.setattr(study_04, "WARMUP", 1)
    plan = budgets.budget("04", "smoke")
    study = EXPERIMENTS["04_stages"]
    frozen, unfrozen = (study.run(arm, 0, "smoke") for arm in study.arms)
    steps = range(plan.every, plan.steps + 1, plan.every)
    names = {f"{name}_{s}" for s in steps for name in ("discrete", "hybrid", "cosine", "kept")}
    assert set(frozen) == set(unfrozen) == names
    last, border = plan.steps, plan.steps * 5 // 6
    assert frozen[f"kept_{last}"] == 1
    assert unfrozen[f"kept_{last}"] < 1
    assert frozen[f"cosine_{last}"] == frozen[f"cosine_{border}"]
    for name in ("discrete", "hybrid", "cosine"):
        assert frozen[f"{name}_{border}"] == unfrozen[f"{name}_{border}"]
        assert frozen[f"{name}_{last}"] != unfrozen[f"{name}_{last}"]
