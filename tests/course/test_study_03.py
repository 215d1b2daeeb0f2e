"""The collapse study: arms differ in what they say, and the numbers mean what they say."""

import pytest
import torch

from dcar_edu.course.studies import study_03
from dcar_edu.course.studies.study_03 import ARMS, CODES, EXPERIMENTS, plan, tiny_config
from dcar_edu.tokenizer import HybridTokenizer


@pytest.mark.parametrize("arm", ARMS)
def test_an_arm_is_its_three_measures(arm: str):
    on_sphere, starts, every = ARMS[arm]
    config = plan(arm, 100, seed=3)
    assert [(s.steps, s.path, s.starts_codes) for s in config.stages] == [
        (20, "continuous", False),
        (80, "discrete", starts),
    ]
    assert (config.revive_every, config.seed) == (every, 3)
    assert tiny_config(on_sphere).normalize_codes is on_sphere


def test_the_arms_are_nothing_each_measure_alone_and_all():
    measures = {arm: tuple(bool(part) for part in parts) for arm, parts in ARMS.items()}
    assert measures == {
        "nothing": (False, False, False),
        "sphere": (True, False, False),
        "start": (False, True, False),
        "revival": (False, False, True),
        "all": (True, True, True),
    }


def test_the_tiny_tokenizer_is_f8_and_small():
    tokenizer = HybridTokenizer(tiny_config(on_sphere=True))
    assert tokenizer.config.downsample == 8
    assert sum(p.numel() for p in tokenizer.parameters()) < 300_000


def test_what_the_codes_lose_is_nothing_when_every_latent_is_a_code():
    torch.manual_seed(0)
    tokenizer = HybridTokenizer(tiny_config(on_sphere=False)).eval()
    images = torch.rand(2, 3, 16, 32, generator=torch.Generator().manual_seed(1)) * 2 - 1
    far = study_03._judge(tokenizer, images, images)
    latents = tokenizer.encode(images).latents.permute(0, 2, 3, 1).flatten(0, 2)
    with torch.no_grad():
        tokenizer.quantizer.codes[: len(latents)] = latents
    near = study_03._judge(tokenizer, images, images)
    assert near["lost"] == 0
    assert far["lost"] > 0.9
    assert near["usage"] == round(len(latents) / CODES, 4)
    assert near["perplexity"] == pytest.approx(len(latents), rel=1e-3)


def test_a_run_gives_plain_numbers_twice_the_same_and_leaves_the_random_state():
    state = torch.get_rng_state()
    run = EXPERIMENTS["03_collapse"].run
    first = run("all", 0, "smoke")
    assert first == run("all", 0, "smoke")
    assert torch.equal(torch.get_rng_state(), state)
    assert set(first) == {"usage", "perplexity", "psnr", "lost"}
    assert 0 < first["usage"] <= 1
    assert 1 <= first["perplexity"] <= CODES
