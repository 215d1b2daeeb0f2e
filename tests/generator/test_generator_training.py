"""Training the generator: both losses, what reaches what, interrupted runs, and learning."""

import copy
import math
from dataclasses import replace

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dcar_edu.generator import GeneratorConfig, MaskedGenerator, sample_tokens
from dcar_edu.generator.masking import random_mask
from dcar_edu.generator.training import (
    GeneratorTraining,
    TokenBatch,
    begin,
    evaluate_generator,
    losses,
    masked_loss,
    train_generator,
)

PLAN = GeneratorTraining(steps=9, warmup_steps=3)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def make_batch(source, b=2):
    return TokenBatch(
        torch.randint(11, (b, 3, 4), generator=source),
        0.107 * torch.randn(b, 5, 3, 4, generator=source),
        torch.randn(b, 6, 12, generator=source),
        torch.arange(6)[None] < torch.tensor([6, 3, 4, 1][:b])[:, None],
    )


@pytest.fixture
def batch():
    return make_batch(seeded(5))


def drawn(state):
    while True:
        yield make_batch(state.generator)


def test_masked_loss_by_hand():
    """Two codes, log-odds 0 and ln 3; the second token is visible."""
    logits = torch.tensor([[[0.0, 0.0], [math.log(3), 0.0]]])
    targets, mask = torch.tensor([[1, 0]]), torch.tensor([[True, False]])
    hidden, visible = math.log(2), -math.log(0.75)
    plain = masked_loss(logits, targets, mask, smoothing=0.0, unmasked=0.1)
    assert plain.item() == pytest.approx((hidden + 0.1 * visible) / 1.1)
    alone = masked_loss(logits, targets, mask, smoothing=0.0, unmasked=0.0)
    assert alone.item() == pytest.approx(hidden)
    smooth = -(0.95 * math.log(0.75) + 0.05 * math.log(0.25))
    assert masked_loss(logits, targets, mask).item() == pytest.approx((hidden + 0.1 * smooth) / 1.1)


def test_masked_loss_reaches_hidden_positions_fully():
    logits = torch.zeros(2, 12, 11, requires_grad=True)
    mask = torch.arange(12).expand(2, -1) < 4
    masked_loss(logits, torch.zeros(2, 12, dtype=torch.int64), mask, unmasked=0.0).backward()
    assert torch.equal(logits.grad.abs().sum(-1) > 0, mask)


def test_losses_at_the_start(fresh):
    """ln K, and the mean square of 4 * 12 * 40 * 5 normals: .015 of deviation, five of them."""
    big = make_batch(seeded(), 4)
    many = TokenBatch(*(torch.cat([t] * 10) for t in vars(big).values()))
    token, diffusion, accuracy = losses(fresh, many, PLAN, seeded())
    assert token.item() == pytest.approx(math.log(11), abs=1e-5)
    assert diffusion.item() == pytest.approx(1, abs=0.075)
    assert 0 <= accuracy <= 1


def test_an_untrained_nano_knows_nothing():
    """Within 1 % of ln K; and within 2 % of 1 over 4 * 40 * 16 * 32 = 81,920 values: four
    deviations of .005."""
    torch.manual_seed(0)
    model = MaskedGenerator(GeneratorConfig.preset("nano"))
    source = seeded(1)
    batch = TokenBatch(
        torch.randint(1024, (40, 4, 4), generator=source),
        torch.randn(40, 32, 4, 4, generator=source),
        torch.randn(40, 7, 384, generator=source),
        torch.ones(40, 7, dtype=torch.bool),
    )
    found = evaluate_generator(model, [batch], PLAN)
    assert found.token_loss == pytest.approx(math.log(1024), rel=0.01)
    assert found.diffusion_loss == pytest.approx(1, abs=0.02)


def test_evaluation_drops_no_text_and_leaves_the_model_as_it_was(model, batch):
    """Raw and averaged weights alike; the mean over pictures, not over batches."""
    plan, wide = replace(PLAN, text_drop=1.0), make_batch(seeded(7), 4)
    state = begin(model.train(), plan)
    found = evaluate_generator(model, [batch, wide], plan, seed=3)
    assert model.training
    assert found == evaluate_generator(model, [batch, wide], plan, seed=3)
    assert found != evaluate_generator(model, [batch, wide], plan, seed=4)
    source = seeded(3)
    with torch.no_grad():
        single = [losses(model.eval(), each, replace(plan, text_drop=0.0), source)
                  for each in (batch, wide)]  # fmt: skip
    for name, place in (("token_loss", 0), ("diffusion_loss", 1), ("accuracy", 2)):
        first, second = (float(numbers[place]) for numbers in single)
        assert getattr(found, name) == pytest.approx((2 * first + 4 * second) / 6)
    steps = train_generator(model, [batch], plan, state=state)
    for _ in range(3):  # the first average is the raw weights themselves
        next(steps)
    raw, average = (evaluate_generator(m, [batch], plan) for m in (model, state.average.module))
    assert raw != average
    with pytest.raises(ValueError, match="no batch to evaluate on"):
        evaluate_generator(model, [], plan)


def test_losses_by_the_stated_draws(model, batch):
    """Masks, dropped texts, times, noise: replayed from the same seed."""
    plan = replace(PLAN, text_drop=0.5)
    token, diffusion, accuracy = losses(model.train(), batch, plan, seeded(6))
    source, targets = seeded(6), batch.indices.flatten(1)
    mask = random_mask(2, 12, source)
    drop = torch.rand(2, generator=source) < 0.5
    assert drop.tolist() == [True, False]
    seen = targets.masked_fill(mask, 11).reshape(2, 3, 4)
    out = model(seen, batch.text, batch.text_mask, drop)
    torch.testing.assert_close(token, masked_loss(out.logits, targets, mask))
    residuals = batch.residuals.permute(0, 2, 3, 1).flatten(0, 2)
    expected = model.residual_head.loss(out.hidden.flatten(0, 1), residuals, source)
    torch.testing.assert_close(diffusion, expected)
    right = (out.logits.argmax(-1) == targets)[mask].float().mean().item()
    assert accuracy == pytest.approx(right)


def test_the_model_never_sees_a_hidden_token(model, batch):
    """The token loss asks for it; the input must not hold it."""
    seen = []
    model.tokens.register_forward_hook(lambda _module, inputs, _out: seen.append(inputs[0]))
    losses(model, batch, PLAN, seeded(2))
    mask = random_mask(2, 12, seeded(2))
    assert torch.equal(seen[0] == 11, mask)
    assert torch.equal(seen[0][~mask], batch.indices.flatten(1)[~mask])


@given(seed=st.integers(0, 999), other=st.integers(0, 999))
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_hidden_tokens_cannot_leak(model, seed, other):
    """Change every token under the mask: the guesses, and so the diffusion loss, stay."""
    batch, mask = make_batch(seeded(seed)), random_mask(2, 12, seeded(other))
    hidden = mask.reshape(2, 3, 4)
    changed = replace(batch, indices=torch.where(hidden, (batch.indices + 1) % 11, batch.indices))
    with torch.no_grad():
        token, diffusion, _ = losses(model, batch, PLAN, seeded(other))
        token_changed, diffusion_changed, _ = losses(model, changed, PLAN, seeded(other))
    assert torch.equal(diffusion, diffusion_changed)
    assert not torch.equal(token, token_changed)
    if not mask.all():
        seen = replace(batch, indices=torch.where(hidden, batch.indices, (batch.indices + 1) % 11))
        with torch.no_grad():
            assert not torch.equal(losses(model, seen, PLAN, seeded(other))[1], diffusion)


def test_both_losses_train_the_transformer_and_neither_the_null_text(model, batch):
    before = model.null_text.clone()
    token, diffusion, _ = losses(model, batch, PLAN, seeded())
    for loss, head in ((token, model.head), (diffusion, model.residual_head.output.linear)):
        model.zero_grad()
        loss.backward(retain_graph=True)
        assert model.blocks[0].attention.qkv.weight.grad.abs().max() > 0
        assert head.weight.grad.abs().max() > 0
    list(train_generator(model, [batch], PLAN))
    assert torch.equal(model.null_text, before)


def test_all_tokens_train_the_residual_head_seen_or_hidden(model, batch):
    residuals = batch.residuals.clone().requires_grad_()
    _, diffusion, _ = losses(model, replace(batch, residuals=residuals), PLAN, seeded())
    diffusion.backward()
    assert (residuals.grad.abs().sum(1) > 0).all()


def test_records_and_the_average_at_the_end(model, batch):
    state = begin(model, PLAN)
    records = list(train_generator(model, [batch], PLAN, state=state))
    assert [r.number for r in records] == list(range(1, 10))
    assert [r.learning_rate for r in records[:3]] == pytest.approx([1e-3 / 3, 2e-3 / 3, 1e-3])
    assert all(r.loss == pytest.approx(r.token_loss + r.diffusion_loss) for r in records)
    assert not model.training
    for name, value in state.average.module.state_dict().items():
        assert torch.equal(value, model.state_dict()[name])


@pytest.mark.parametrize("stop", [1, 4, 8])
def test_an_interrupted_run_goes_on_bit_for_bit(model, tmp_path, stop):
    other, early = copy.deepcopy(model), copy.deepcopy(model)
    state = begin(model, PLAN)
    whole = list(train_generator(model, drawn(state), PLAN, state=state))

    state = begin(early, PLAN)
    steps = train_generator(early, drawn(state), PLAN, state=state)
    records = [next(steps) for _ in range(stop)]
    state.save(tmp_path)
    next(steps)  # what happens after the save must not matter

    state = begin(other, PLAN)
    assert state.load(tmp_path)
    records += train_generator(other, drawn(state), PLAN, state=state)
    assert records == whole
    for name, value in model.state_dict().items():
        assert torch.equal(value, other.state_dict()[name])


def test_a_loss_that_is_no_number_stops_the_run(model, batch):
    spoilt = replace(batch, residuals=batch.residuals * torch.nan)
    message = r"the loss is nan at step 0 \(tokens \d.*, diffusion nan\). Lower learning_rate"
    with pytest.raises(ValueError, match=message):
        list(train_generator(model, [spoilt], PLAN))


def test_batches_that_end(model, batch):
    with pytest.raises(ValueError, match="the batches ended before the training did"):
        list(train_generator(model, iter([batch]), PLAN))


def test_four_prompts_learn_their_tokens(tiny):
    """Twelve tokens each, redrawn from the prompt alone; guessing would match one in eleven."""
    torch.manual_seed(0)
    model = MaskedGenerator(replace(tiny, width=32, mlp_width=64))
    batch = make_batch(seeded(3), 4)
    plan = GeneratorTraining(steps=150, learning_rate=5e-3, warmup_steps=10, ema_decay=0.9,
                             label_smoothing=0.0, text_drop=0.0)  # fmt: skip
    records = list(train_generator(model, [batch], plan))
    assert records[0].token_loss == pytest.approx(math.log(11), abs=1e-4)

    @torch.no_grad()
    def predict(indices, step):
        return model(indices, batch.text, batch.text_mask).logits

    *_, last = sample_tokens(predict, (4, 3, 4), 11, num_steps=6, temperature=0)
    assert (last.indices == batch.indices).float().mean() > 0.9
