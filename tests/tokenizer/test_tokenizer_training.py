"""Training: which part learns when, averages, codes, and runs that were interrupted."""

import copy
from itertools import pairwise
from types import SimpleNamespace

import pytest
import torch

from dcar_edu.tokenizer.losses import pixel_loss, reconstruction_loss
from dcar_edu.tokenizer.training import (
    Stage,
    TokenizerTraining,
    begin,
    measure_latents,
    three_stages,
    train_tokenizer,
)


def snapshot(module):
    return {name: value.clone() for name, value in module.state_dict().items()}


def same(before, module):
    now = module.state_dict()
    return all(torch.equal(before[name], now[name]) for name in before)


def trained(tokenizer, stages, batches, state=None, **numbers):
    config = TokenizerTraining(stages=stages, warmup_steps=0, **numbers)
    return list(train_tokenizer(tokenizer, batches, config, state=state))


def drawn(state):
    """Endless batches from the state's own random source."""
    while True:
        yield torch.rand(2, 3, 8, 12, generator=state.generator) * 2 - 1


@pytest.mark.parametrize(
    ("place", "changes"),
    [(0, ("encoder", "decoder")), (1, ("encoder", "quantizer", "decoder")), (2, ("decoder",))],
)
def test_each_stage_trains_exactly_its_parts(tokenizer, images, place, changes):
    stage = three_stages(18)[place]
    before = {n: snapshot(getattr(tokenizer, n)) for n in ("encoder", "quantizer", "decoder")}
    trained(tokenizer, (stage,), [images], weight_decay=0.1)
    for name, values in before.items():
        assert same(values, getattr(tokenizer, name)) == (name not in changes)


def test_a_frozen_decoder_keeps_its_batch_norm_averages(tokenizer, images):
    before = snapshot(tokenizer.decoder)
    trained(tokenizer, (Stage("x", 3, "continuous", ("encoder",)),), [images])
    assert same(before, tokenizer.decoder)


def test_afterwards_everything_can_learn_again_and_is_in_eval_mode(tokenizer, images):
    trained(tokenizer, (Stage("x", 1, "discrete", ("decoder",)),), [images])
    assert all(p.requires_grad for p in tokenizer.parameters())
    assert not any(module.training for module in tokenizer.modules())


@pytest.mark.parametrize("steps", [6, 7, 100, 599, 600])
def test_three_stages_add_up(steps):
    stages = three_stages(steps)
    assert sum(s.steps for s in stages) == steps
    assert stages[0].steps == stages[2].steps == steps // 6
    assert [s.path for s in stages] == ["continuous", "discrete", "alternate"]
    assert [s.trains for s in stages][::2] == [("encoder", "decoder"), ("decoder",)]


def test_plans_are_checked():
    with pytest.raises(ValueError, match=r"at least 6 steps, got shares=\(1, 4, 1\) and steps=5"):
        three_stages(5)
    with pytest.raises(ValueError, match=r"three shares .* got shares=\(1, 4\)"):
        three_stages(60, shares=(1, 4))
    with pytest.raises(ValueError, match=r"parts out of .* got \('text',\) and 3.* stage 'a'"):
        Stage("a", 3, "discrete", ("text",))
    with pytest.raises(ValueError, match="0 or more steps, got .* and -1"):
        Stage("a", -1, "discrete")
    with pytest.raises(ValueError, match="the plan ends 1 steps earlier"):
        TokenizerTraining(three_stages(6)).stage_at(6)


def test_stage_at_counts_inside_the_stage():
    plan = TokenizerTraining((Stage("a", 2, "discrete"), Stage("b", 0, "discrete"),
                              Stage("c", 2, "discrete")))  # fmt: skip
    found = [(stage.name, within) for stage, within in map(plan.stage_at, range(4))]
    assert found == [("a", 0), ("a", 1), ("c", 0), ("c", 1)]
    assert plan.steps == 4


def test_a_stage_begins_from_the_averaged_weights(tokenizer, images):
    """Stage 3 freezes the encoder: the frozen one must be the average, not the last step's."""
    config = TokenizerTraining(three_stages(12, (1, 1, 1)), learning_rate=1e-2, warmup_steps=0)
    state = begin(tokenizer, config)
    steps = train_tokenizer(tokenizer, [images], config, state=state)
    for _ in range(8):
        next(steps)
    average = snapshot(state.average.module.encoder)
    assert not same(average, tokenizer.encoder)
    assert next(steps).stage == "alternate"
    assert same(average, tokenizer.encoder)
    list(steps)
    assert same(average, tokenizer.encoder)


def test_at_the_end_the_average_is_in(tokenizer, images):
    state = begin(tokenizer, TokenizerTraining(three_stages(6), learning_rate=1e-2))
    trained(tokenizer, (Stage("x", 5, "continuous"),), [images], state, learning_rate=1e-2)
    assert same(snapshot(state.average.module), tokenizer)


@pytest.mark.parametrize("warm", [0, 2])
def test_codes_start_at_latents(tokenizer, images, warm):
    """With a rate of 0 nothing else moves: each code must be some picture's latent."""
    stages = (Stage("warm", warm, "continuous"), Stage("x", 1, "discrete", starts_codes=True))
    batches = [images, images.flip(-1), images.flip(-2)]
    before = tokenizer.quantizer.codes.detach().clone()
    trained(tokenizer, stages, batches, learning_rate=0.0)
    latents = torch.cat([tokenizer.encode(batch).latents for batch in batches])
    latents = latents.permute(0, 2, 3, 1).reshape(-1, 4)
    gaps = torch.cdist(tokenizer.quantizer.codes.detach(), latents).min(1).values
    assert gaps.max() < 1e-3
    assert torch.cdist(before, latents).min(1).values.max() > 0.01


def test_unused_codes_are_revived_at_latents(tokenizer, images):
    """Six codes lie where no latent is nearest; half of the 12 latents may revive them."""
    first = tokenizer.encode(images).latents[0, :, 0, 0]
    tokenizer.quantizer.codes.data = torch.stack([first, *[-first] * 6])
    tokenizer.encoder.requires_grad_(False)
    latents = tokenizer.encode(images).latents.permute(0, 2, 3, 1).reshape(-1, 4)
    tokenizer.quantizer.codes.data[1:] = -latents.mean(0)
    assert tokenizer.encode(images).indices.unique().tolist() == [0]
    stage = Stage("x", 2, "discrete")
    trained(tokenizer, (stage,), [images], learning_rate=0.0)
    assert tokenizer.encode(images).indices.unique().tolist() == [0]
    trained(tokenizer, (stage,), [images], learning_rate=0.0, revive_every=2)
    codes = tokenizer.quantizer.codes.detach()
    assert torch.equal(codes[0], first)
    assert torch.cdist(codes[1:], latents).min(1).values.max() < 1e-3
    assert len(codes[1:].unique(dim=0)) == 6


def test_revival_moves_at_most_half_as_many_codes_as_there_are_latents(tokenizer, images):
    one = images[:1, :, :4, :8]  # 2 latents: one code a time
    before = tokenizer.quantizer.codes.detach().clone()
    trained(tokenizer, (Stage("x", 1, "discrete"),), [one], learning_rate=0.0, revive_every=1)
    assert (tokenizer.quantizer.codes != before).any(1).sum() == 1


def test_codes_counted_before_the_last_revival_are_forgotten(tokenizer, images):
    """Counts begin anew after each revival, so a code that dies later is found."""
    config = TokenizerTraining((Stage("x", 4, "discrete"),), revive_every=3)
    state = begin(tokenizer, config)
    used = [int(state.memory["counts"].sum())
            for _ in train_tokenizer(tokenizer, [images], config, state=state)]  # fmt: skip
    assert used == [12, 24, 0, 12]


@pytest.mark.parametrize("stop", [1, 2, 3, 5, 8])
def test_an_interrupted_run_goes_on_bit_for_bit(tokenizer, tmp_path, stop):
    """Stops inside stages, at their boundaries, and between two revivals."""
    config = TokenizerTraining(
        (
            Stage("a", 2, "continuous", ("encoder", "decoder")),
            Stage("b", 4, "discrete", starts_codes=True),
            Stage("c", 3, "alternate", ("decoder",)),
        ),
        revive_every=2,
        warmup_steps=2,
    )
    other = copy.deepcopy(tokenizer)
    state = begin(tokenizer, config)
    whole = list(train_tokenizer(tokenizer, drawn(state), config, state=state))

    early = copy.deepcopy(other)
    state = begin(early, config)
    steps = train_tokenizer(early, drawn(state), config, state=state)
    records = [next(steps) for _ in range(stop)]
    state.save(tmp_path)
    next(steps)  # what happens after the save must not matter

    state = begin(other, config)
    assert state.load(tmp_path)
    records += train_tokenizer(other, drawn(state), config, state=state)
    assert records == whole
    assert same(snapshot(tokenizer), other)


def test_records_say_what_happened(tokenizer, images):
    plan = (Stage("a", 2, "discrete"), Stage("c", 6, "alternate", ("decoder",)))
    config = TokenizerTraining(plan, learning_rate=1e-3, warmup_steps=4)
    records = list(train_tokenizer(tokenizer, [images], config))
    assert [r.number for r in records] == list(range(1, 9))
    assert [r.stage for r in records] == ["a"] * 2 + ["c"] * 6
    assert [r.learning_rate for r in records[:4]] == [0.25e-3, 0.5e-3, 0.75e-3, 1e-3]
    assert all(a.learning_rate > b.learning_rate for a, b in pairwise(records[4:]))
    assert {r.path for r in records[:2]} == {"discrete"}
    assert {r.path for r in records[2:]} == {"continuous", "discrete"}
    first = records[0]
    assert first.loss == pytest.approx(first.pixel_loss + first.code_loss)
    assert records[-1].loss == pytest.approx(records[-1].pixel_loss)
    for record in records:  # on the sphere |residual|^2 = 2 - 2 cos, spread over 4 channels
        assert 4 * record.residual_std**2 == pytest.approx(2 - 2 * record.cosine, abs=1e-5)
        assert 1 <= record.codes_used <= 7
        assert record.gradient_norm > 0


def test_batches_may_be_things_with_images(tokenizer, images):
    stages = (Stage("x", 2, "discrete", starts_codes=True),)
    other = copy.deepcopy(tokenizer)
    plain = trained(tokenizer, stages, [images])
    assert trained(other, stages, [SimpleNamespace(images=images)]) == plain


def test_a_loss_that_is_no_number_stops_the_run(tokenizer, images):
    tokenizer.decoder[0].conv.bias.data.fill_(torch.nan)
    with pytest.raises(ValueError, match=r"the loss is nan at step 0 \(x\). Lower learning_rate"):
        trained(tokenizer, (Stage("x", 2, "continuous"),), [images])


@pytest.mark.parametrize("supply", [[], "once"])
def test_batches_that_end(tokenizer, images, supply):
    batches = iter([images]) if supply == "once" else []
    with pytest.raises(ValueError, match="the batches ended before the training did"):
        trained(tokenizer, (Stage("x", 2, "continuous"),), batches)


def test_overfits_two_pictures(tokenizer, images):
    smooth = torch.nn.functional.interpolate(images[..., ::4, ::4], size=(8, 12))
    plan = three_stages(80, (1, 2, 1))
    records = trained(tokenizer, plan, [smooth], learning_rate=1e-2, l2=1.0)
    assert records[-1].pixel_loss < 0.5 * records[0].pixel_loss
    encoded = tokenizer.encode(smooth)
    assert (tokenizer.decode(encoded.indices) - smooth).abs().mean() < 0.25


def test_pixel_loss_by_hand():
    images = torch.zeros(1, 1, 1, 4)
    drawn_pixels = torch.tensor([1.0, -1.0, 0.0, 2.0]).reshape(images.shape)
    assert pixel_loss(drawn_pixels, images).item() == 1.0
    assert pixel_loss(drawn_pixels, images, l1=2.0, l2=0.5).item() == 2 * 1 + 0.5 * 1.5


def test_perceptual_distance_is_weighted_and_averaged(images):
    def distance(a, b):
        return torch.tensor([1.0, 3.0]) + 0 * (a - b).mean()

    total, pixels = reconstruction_loss(images + 0.5, images, perceptual=distance,
                                        perceptual_weight=0.1)  # fmt: skip
    torch.testing.assert_close(total, pixels + 0.2)
    alone = reconstruction_loss(images + 0.5, images, perceptual=distance)
    assert alone[0] == alone[1] == pixels


def test_measured_latents_are_noted_in_the_config(tokenizer, images):
    batches = [images, images.flip(-1)]
    found = measure_latents(tokenizer, batches)
    both = tokenizer.encode(torch.cat(batches))
    assert found.residual_std == pytest.approx(both.residuals.square().mean().sqrt().item(), 1e-4)
    assert 4 * found.residual_std**2 == pytest.approx(2 - 2 * found.code_cosine, abs=1e-4)
    assert found.usage == len(both.indices.unique()) / 7
    assert 1 <= found.perplexity <= 7 * found.usage
    config = tokenizer.config
    assert (config.residual_std, config.code_cosine) == (found.residual_std, found.code_cosine)
