"""Runs with a discriminator: in which stages, from what start, and interrupted."""

import copy

import pytest
import torch

from dcar_edu.tokenizer.training import (
    Stage,
    TokenizerTraining,
    begin,
    three_stages,
    train_tokenizer,
)

GAN = {"gan_weight": 0.5, "gan_width": 8, "gan_layers": 1, "gan_lecam": 0.1}


def drawn(state):
    while True:
        yield torch.rand(2, 3, 8, 12, generator=state.generator) * 2 - 1


def weights(module):
    return {name: value.clone() for name, value in module.state_dict().items()}


def same(a, b):
    return all(torch.equal(a[name], b[name]) for name in a)


def test_the_plan_keeps_the_discriminator_out_of_stage_1(tokenizer, images):
    assert [stage.adversarial for stage in three_stages(6)] == [False, True, True]
    config = TokenizerTraining(three_stages(12, (1, 1, 1)), **GAN)
    state = begin(tokenizer, config)
    first = weights(state.rival.model)
    for step in train_tokenizer(tokenizer, [images], config, state=state):
        took_part = (step.gan_loss, step.gan_weight, step.discriminator_loss) != (0, 0, 0)
        assert took_part == (step.stage != "warm-up")
        assert same(first, weights(state.rival.model)) == (step.stage == "warm-up")
        if took_part:
            assert step.gan_weight > 0
            assert step.discriminator_loss > 0


def test_stage_1_is_the_same_with_and_without(tokenizer, images):
    """Bit for bit: the discriminator changes no random draw either."""
    other = copy.deepcopy(tokenizer)
    plan = three_stages(12, (2, 1, 1))
    steps = zip(
        train_tokenizer(tokenizer, [images], TokenizerTraining(plan)),
        train_tokenizer(other, [images], TokenizerTraining(plan, **GAN)),
        strict=True,
    )
    equal = [plain == rivalled for plain, rivalled in steps]
    assert equal == [True] * 6 + [False] * 6


def test_loss_is_the_sum_of_its_parts(tokenizer, images):
    config = TokenizerTraining((Stage("x", 2, "discrete", adversarial=True),), **GAN)
    for step in train_tokenizer(tokenizer, [images], config):
        parts = step.pixel_loss + step.code_loss + 0.5 * step.gan_weight * step.gan_loss
        assert step.loss == pytest.approx(parts, rel=1e-5)


def test_frozen_stays_frozen_while_the_discriminator_teaches_the_decoder(tokenizer, images):
    before = {n: weights(getattr(tokenizer, n)) for n in ("encoder", "quantizer", "decoder")}
    stage = Stage("x", 3, "alternate", ("decoder",), adversarial=True)
    list(train_tokenizer(tokenizer, [images], TokenizerTraining((stage,), l1=0.0, l2=1e-3, **GAN)))
    changed = {n for n, old in before.items() if not same(old, weights(getattr(tokenizer, n)))}
    assert changed == {"decoder"}


def test_its_learning_rate_follows_the_schedule(tokenizer, images):
    config = TokenizerTraining(
        (Stage("x", 8, "discrete", adversarial=True),),
        warmup_steps=4,
        gan_learning_rate=0.02,
        **GAN,
    )
    state = begin(tokenizer, config)
    rates = [
        (state.rival.optimizer.param_groups[0]["lr"], step.learning_rate)
        for step in train_tokenizer(tokenizer, [images], config, state=state)
    ]
    assert [round(rival, 4) for rival, _ in rates[:4]] == [0.005, 0.01, 0.015, 0.02]
    assert all(rival == pytest.approx(20 * rate) for rival, rate in rates)


@pytest.mark.parametrize("stop", [1, 2, 4, 6])
def test_an_interrupted_run_goes_on_bit_for_bit(tokenizer, tmp_path, stop):
    config = TokenizerTraining(
        (
            Stage("a", 2, "continuous", ("encoder", "decoder")),
            Stage("b", 3, "discrete", starts_codes=True, adversarial=True),
            Stage("c", 2, "alternate", ("decoder",), adversarial=True),
        ),
        warmup_steps=2,
        **GAN,
    )
    early, late = copy.deepcopy(tokenizer), copy.deepcopy(tokenizer)
    state = begin(tokenizer, config)
    whole = list(train_tokenizer(tokenizer, drawn(state), config, state=state))
    rival = weights(state.rival.model)

    state = begin(early, config)
    steps = train_tokenizer(early, drawn(state), config, state=state)
    records = [next(steps) for _ in range(stop)]
    state.save(tmp_path)
    next(steps)  # what happens after the save must not matter

    state = begin(late, config)
    assert state.load(tmp_path)
    records += train_tokenizer(late, drawn(state), config, state=state)
    assert records == whole
    assert same(weights(tokenizer), weights(late))
    assert same(rival, weights(state.rival.model))


def test_a_run_does_not_lose_or_gain_a_discriminator_on_the_way(tokenizer, images, tmp_path):
    plan = three_stages(6)
    plain, rivalled = TokenizerTraining(plan), TokenizerTraining(plan, **GAN)
    begin(tokenizer, plain).save(tmp_path / "plain")
    begin(tokenizer, rivalled).save(tmp_path / "rivalled")
    with pytest.raises(ValueError, match="saved without a second network, and this run has one"):
        begin(tokenizer, rivalled).load(tmp_path / "plain")
    with pytest.raises(ValueError, match="saved with a second network, and this run has none"):
        begin(tokenizer, plain).load(tmp_path / "rivalled")
    with pytest.raises(ValueError, match=r"gan_weight=0.5 needs a discriminator, and the state"):
        next(train_tokenizer(tokenizer, [images], rivalled, state=begin(tokenizer, plain)))


def test_the_perceptual_distance_takes_part(tokenizer, images):
    class Distance(torch.nn.Module):
        def forward(self, drawn, images):
            return (drawn - images).square().flatten(1).mean(1) + 7

    config = TokenizerTraining((Stage("x", 1, "continuous", ("decoder",)),), perceptual_weight=0.5)
    (step,) = train_tokenizer(tokenizer, [images], config, perceptual=Distance())
    assert step.loss > step.pixel_loss + 0.5 * 7
    with pytest.raises(ValueError, match="perceptual_weight=0.5 needs a module"):
        next(train_tokenizer(tokenizer, [images], config))


def test_plans_are_checked():
    with pytest.raises(ValueError, match=r"must train the decoder.*trains \(.encoder.,\). Add"):
        Stage("b", 3, "discrete", ("encoder",), adversarial=True)
    with pytest.raises(ValueError, match=r"gan_weight=0.5 needs a stage with adversarial=True"):
        TokenizerTraining((Stage("a", 3, "discrete"),), gan_weight=0.5)
    for wrong in ({"gan_weight": -0.1}, {"gan_lecam": -1.0}, {"gan_width": 12}, {"gan_layers": 0}):
        with pytest.raises(ValueError, match="gan_weight and gan_lecam must be 0 or more"):
            TokenizerTraining(three_stages(6), **wrong)
