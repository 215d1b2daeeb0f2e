"""Drawing with any sampler, and the judge of drawings without residuals."""

import pytest
import torch

from dcar_edu.course.drawings import (
    Sampler,
    decode,
    draw_tokens,
    guided,
    load_judge,
    load_learnt,
)
from dcar_edu.metrics.alignment import picture_features
from dcar_edu.pipeline import DCAR

PROMPTS = [
    "a 3D emoji of a wolf on a pale blue background",
    "a 3D emoji of an owl",
    "a fox",
]


@pytest.fixture(scope="module")
def model() -> DCAR:
    return DCAR.from_pretrained("emoji-128")


def test_passes_count_two_a_step_only_with_guidance():
    assert Sampler(7).passes == 14
    assert Sampler(7, guidance=0).passes == 7


@pytest.mark.parametrize("sampler", [Sampler(3), Sampler(5, guidance=0.0, temperature=2.5)])
def test_in_confidence_order_it_draws_what_the_pipeline_draws(model: DCAR, sampler: Sampler):
    options = {"guidance": sampler.guidance, "temperature": sampler.temperature}
    wanted = model.generate_tokens(PROMPTS, num_steps=sampler.steps, seed=4, **options)
    assert torch.equal(draw_tokens(model, PROMPTS, sampler, seed=4), wanted.cpu())


def test_orders_differ_and_a_picture_does_not_depend_on_its_neighbours(model: DCAR):
    drawn = {
        order: draw_tokens(model, PROMPTS, Sampler(4, order, temperature=3.0), seed=[3, 1, 2])
        for order in ("confidence", "halton", "raster")
    }
    assert len({str(tokens.tolist()) for tokens in drawn.values()}) == 3
    alone = draw_tokens(model, PROMPTS[1:2], Sampler(4, "halton", temperature=3.0), seed=1)
    assert torch.equal(alone[0], drawn["halton"][1])


def test_without_reading_only_the_length_of_a_prompt_counts(model: DCAR):
    empty = torch.full((2, 4, 4), 1024)
    same_length = ["a 3D emoji of a wolf", "a 3D emoji of a fox"]
    deaf = guided(model, same_length, Sampler(guidance=0, reads=False))(empty, 1)
    assert torch.equal(deaf[0], deaf[1])
    heard = guided(model, same_length, Sampler(guidance=0))(empty, 1)
    assert not torch.equal(heard[0], heard[1])
    pushed = guided(model, same_length, Sampler(guidance=2.0))(empty, 1)
    assert torch.allclose(pushed, heard + 2 * (heard - deaf), atol=1e-4)


def test_the_judge_knows_right_tokens_from_wrong_ones(model: DCAR):
    judge = load_judge(model, 5)
    assert len(set(judge.prompts)) == 5
    assert all(prompt.endswith(" on a pale blue background") for prompt in judge.prompts)
    assert judge.labels.shape[0] == 560
    right = judge.judge(judge.indices)
    assert right["token_match"] == 1
    swapped = judge.judge(judge.indices.roll(1, 0))
    assert swapped["token_match"] < 0.5
    assert swapped["r5"] < right["r5"]
    assert swapped["kid_efficientnet"] != right["kid_efficientnet"]


def test_each_grid_of_tokens_is_looked_at_once(model: DCAR, monkeypatch: pytest.MonkeyPatch):
    judge = load_judge(model, 4)
    looked: list[int] = []

    def spy(model: DCAR, indices: torch.Tensor) -> torch.Tensor:
        looked.append(len(indices))
        return decode(model, indices)

    monkeypatch.setattr("dcar_edu.course.drawings.decode", spy)
    first = judge.features(judge.indices[:3])
    again = judge.features(judge.indices.flip(0))
    assert looked == [3, 1]
    assert torch.equal(again.flip(0)[:3], first)
    plain = picture_features(judge.alignment.eyes, decode(model, judge.indices))
    assert torch.allclose(again.flip(0), plain, rtol=1e-3, atol=1e-4)
    judge.features(judge.indices)
    assert looked == [3, 1]


def test_a_real_picture_is_at_no_distance_and_is_recognised(model: DCAR):
    judge = load_judge(model, 4)
    pictures = decode(model, judge.indices)
    assert pictures.shape == (4, 3, 128, 128)
    features = judge.features(judge.indices)
    perfect = type(judge)(**{**vars(judge), "real": features})
    assert perfect.judge(judge.indices)["kid_efficientnet"] == pytest.approx(0, abs=1e-6)


def test_the_learnt_set_holds_every_picture_once(model: DCAR):
    learnt = load_learnt(model, 3)
    assert learnt.indices.shape == (1113, 4, 4)
    assert len(set(learnt.prompts)) == 3
    assert learnt.real.shape == (6, 1280)
