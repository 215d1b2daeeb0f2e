"""Next-scale drawing: who sees whom, what is told, the sampler, and training."""

import math

import pytest
import torch

from dcar_edu.generator.next_scale import NextScaleConfig, NextScaleGenerator, ScaleDrawing
from dcar_edu.generator.scale_training import ScaleBatch, scale_losses, train_next_scale
from dcar_edu.generator.scales import sample_scales, scale_inputs, scale_mask, scale_numbers
from dcar_edu.generator.training import GeneratorTraining, begin

SIZES, K, C, B = (1, 2, 4), 11, 5, 3


@pytest.fixture
def config():
    return NextScaleConfig(
        width=16,
        depth=2,
        heads=2,
        mlp_width=24,
        num_codes=K,
        text_width=12,
        text_length=6,
        head_width=8,
        head_depth=2,
        grid=(4, 4),
        latent_channels=C,
    )


@pytest.fixture
def fresh(config):
    torch.manual_seed(0)
    return NextScaleGenerator(config).eval()


@pytest.fixture
def model(fresh):
    """No weight is zero, so every input matters."""
    torch.manual_seed(1)
    for parameter in fresh.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return fresh


@pytest.fixture
def text():
    states = torch.randn(B, 6, 12, generator=torch.Generator().manual_seed(2))
    return states, torch.arange(6)[None] < torch.tensor([6, 3, 1])[:, None]


@pytest.fixture
def codes():
    return torch.randn(K, C, generator=torch.Generator().manual_seed(3))


def grow_with(codes):
    """A quantizer's ``grow`` without the quantizer: every code fills its square."""

    def grow(total, ids):
        times = total.shape[-1] // ids.shape[-1]
        grid = codes[ids].permute(0, 3, 1, 2)
        return total + grid.repeat_interleave(times, 2).repeat_interleave(times, 3)

    return grow


@pytest.fixture
def batch(codes, text):
    source = torch.Generator().manual_seed(4)
    ids = [torch.randint(K, (B, size, size), generator=source) for size in SIZES]
    sums, total = [], torch.zeros(B, C, 4, 4)
    for part in ids:
        total = grow_with(codes)(total, part)
        sums.append(total)
    return ScaleBatch.of(ids, sums, torch.randn(B, C, 4, 4, generator=source), *text)


@pytest.mark.parametrize(
    ("sizes", "tokens", "pairs"),
    [((1, 2, 4, 8), 85, 5797), ((1, 2, 4), 21, 357), ((3, 4), 25, 81 + 16 * 25), ((2,), 4, 16)],
)
def test_the_mask_is_a_table_made_by_hand(sizes, tokens, pairs):
    scale = [number for number, size in enumerate(sizes) for _ in range(size * size)]
    table = torch.tensor([[other <= own for other in scale] for own in scale])
    assert torch.equal(scale_mask(sizes), table)
    assert (len(table), int(table.sum())) == (tokens, pairs)
    assert scale_numbers(sizes).tolist() == scale


def test_a_token_is_told_the_sum_of_coarser_scales_at_its_place():
    sums = torch.randn(3, B, C, 4, 4, generator=torch.Generator().manual_seed(5)).unbind()
    told = scale_inputs(sums, SIZES)
    assert told.shape == (B, 21, C)
    assert (told[:, 0] == 0).all()
    for y in range(2):
        for x in range(2):
            square = sums[0][:, :, 2 * y : 2 * y + 2, 2 * x : 2 * x + 2].mean((2, 3))
            torch.testing.assert_close(told[:, 1 + 2 * y + x], square)
    torch.testing.assert_close(told[:, 5:], sums[1].flatten(2).transpose(1, 2))
    assert torch.equal(scale_inputs(sums[:1], SIZES[:2]), told[:, :5])
    with pytest.raises(ValueError, match="3 scales need the sums"):
        scale_inputs(sums[:1], SIZES)


def test_a_finer_scale_tells_a_coarser_one_nothing(model, text):
    inputs = torch.randn(B, 21, C, generator=torch.Generator().manual_seed(6))
    before = model(inputs, *text)
    for first, last in ((0, 1), (1, 5), (5, 21)):
        changed = inputs.clone()
        changed[:, first:last] += 1
        after = model(changed, *text)
        moved = (after.logits - before.logits).abs().amax((0, 2)) > 1e-6
        assert not moved[:first].any()
        assert moved[first:].all()


def test_first_scales_alone_give_what_all_scales_give(model, text):
    """So one pass over all scales trains what the sampler does scale by scale."""
    inputs = torch.randn(B, 21, C, generator=torch.Generator().manual_seed(7))
    whole = model(inputs, *text)
    for count in (1, 5):
        part = model(inputs[:, :count], *text)
        torch.testing.assert_close(part.logits, whole.logits[:, :count], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(part.hidden, whole.hidden[:, :count], atol=1e-5, rtol=1e-5)


def test_scales_have_names_and_words_matter(model, text):
    inputs = torch.zeros(B, 21, C)
    before = model(inputs, *text).logits
    assert (before - model(inputs, None, text[1]).logits).abs().max() > 1e-3
    with torch.no_grad():
        model.scale.weight[1] += 1
    moved = (model(inputs, *text).logits - before).abs().amax((0, 2)) > 1e-6
    assert moved.tolist() == [False] + 20 * [True]


def test_the_loss_starts_at_ln_k(fresh, batch):
    fresh.train()
    token, diffusion, _ = scale_losses(fresh, batch, torch.Generator().manual_seed(8))
    assert token.item() == pytest.approx(math.log(K), abs=1e-5)
    assert diffusion.item() == pytest.approx(1, abs=0.2)


def test_every_token_of_every_scale_is_a_target(model, batch):
    source = torch.Generator().manual_seed(9)
    token, _, right = scale_losses(model, batch, source, smoothing=0.0)
    logits = model(batch.inputs, batch.text, batch.text_mask).logits
    surprise = -logits.log_softmax(-1).gather(-1, batch.ids[..., None])
    assert token.item() == pytest.approx(surprise.mean().item(), rel=1e-5)
    assert right == pytest.approx((logits.argmax(-1) == batch.ids).float().mean().item())


def test_residuals_know_the_last_codes(model, batch):
    hidden = model(batch.inputs, batch.text, batch.text_mask).hidden
    condition = model.settle(hidden, batch.quantized)
    assert condition.shape == (B, 16, 16)
    other = batch.quantized.clone()
    other[:, :, 2, 3] += 1
    moved = (model.settle(hidden, other) - condition).abs().amax((0, 2)) > 1e-6
    assert moved.nonzero().flatten().tolist() == [2 * 4 + 3]


def test_the_sampler_draws_every_scale_once(codes):
    seen = []

    def oracle(inputs):
        seen.append(inputs.shape[1])
        size = SIZES[len(seen) - 1]
        wanted = (torch.arange(B * size * size) % K).view(B, size * size)
        return 20.0 * torch.nn.functional.one_hot(wanted, K)

    start = torch.zeros(B, C, 4, 4)
    steps = list(sample_scales(oracle, grow_with(codes), start, SIZES, temperature=0.0))
    assert seen == [1, 5, 21]
    assert [(step.step, step.size) for step in steps] == [(1, 1), (2, 2), (3, 4)]
    total = start
    for step in steps:
        count = step.size**2
        assert torch.equal(step.ids.flatten(), torch.arange(B * count) % K)
        total = grow_with(codes)(total, step.ids)
        assert torch.equal(step.total, total)


def test_the_sampler_draws_from_the_softmax(codes):
    logits = torch.tensor([0.5, 0.3, 0.2]).log().expand(2000, 1, 3)
    start, source = torch.zeros(2000, C, 1, 1), torch.Generator().manual_seed(10)
    (step,) = sample_scales(lambda _: logits, grow_with(codes), start, [1], generator=source)
    shares = torch.bincount(step.ids.flatten(), minlength=3) / 2000
    assert (shares - torch.tensor([0.5, 0.3, 0.2])).abs().max() < 0.04
    with pytest.raises(ValueError, match="temperature must be 0 or more"):
        list(sample_scales(lambda _: logits, grow_with(codes), start, [1], temperature=-1.0))


def test_drawing_is_guided_and_one_seed_gives_one_picture(model, text, codes):
    cond, null = model.read_text(*text), model.read_text(None, text[1])

    def draw(seed, guidance, other=null):
        drawing = ScaleDrawing(model, cond, other, grow_with(codes), guidance)
        source = torch.Generator().manual_seed(seed)
        *_, last = drawing.steps(source)
        return last.total, drawing.residuals(3, source)

    total, residuals = draw(0, 1.5)
    assert residuals.shape == (B, C, 4, 4)
    assert all(torch.equal(*pair) for pair in zip((total, residuals), draw(0, 1.5), strict=True))
    assert not torch.equal(total, draw(1, 1.5)[0])
    assert not torch.equal(total, draw(0, 30.0)[0])
    torch.testing.assert_close(draw(0, 0.0)[0], draw(0, 0.0, None)[0])


def test_a_few_prompts_are_learnt_by_heart(fresh, batch, codes):
    plan = GeneratorTraining(steps=100, learning_rate=1e-2, warmup_steps=10, label_smoothing=0.0)
    steps = list(train_next_scale(fresh, [batch], plan))
    assert [step.number for step in steps] == list(range(1, 101))
    assert steps[0].token_loss == pytest.approx(math.log(K), abs=1e-5)
    assert steps[-1].accuracy == 1
    words = fresh.read_text(batch.text, batch.text_mask)
    drawing = ScaleDrawing(fresh, words, None, grow_with(codes), temperature=0.0)
    drawn = torch.cat([step.ids.flatten(1) for step in drawing.steps()], dim=1)
    assert torch.equal(drawn, batch.ids)


def test_a_run_goes_on_where_it_stopped(config, batch):
    def run(parts):
        torch.manual_seed(11)
        model = NextScaleGenerator(config)
        plan = GeneratorTraining(steps=4, warmup_steps=2)
        state = begin(model, plan)
        for part in parts:
            loop = train_next_scale(model, [batch], plan, state=state)
            losses = [step.loss for _, step in zip(range(part), loop, strict=False)]
        return losses[-1]

    assert run([4]) == run([2, 2])


def test_a_loss_that_is_no_number_stops_the_run(fresh, batch):
    torch.nn.init.constant_(fresh.head.bias, math.nan)
    with pytest.raises(ValueError, match="the loss is nan at step 0"):
        list(train_next_scale(fresh, [batch], GeneratorTraining(steps=1)))


def test_saved_and_loaded_it_guesses_the_same(model, text, tmp_path):
    inputs = torch.randn(B, 21, C, generator=torch.Generator().manual_seed(12))
    again = NextScaleGenerator.from_pretrained(model.save_pretrained(tmp_path / "g"))
    assert (tmp_path / "g" / "model.safetensors").is_file()
    assert again.config == model.config
    assert torch.equal(again(inputs, *text).logits, model(inputs, *text).logits)


def test_sizes_follow_the_grid(config):
    assert config.scales == SIZES
    assert config.num_tokens == 21
    assert NextScaleConfig.preset("small").scales == (1, 2, 4, 8)
    assert NextScaleConfig.preset("nano", grid=(6, 6)).scales == (1, 2, 4, 6)
    assert NextScaleConfig.preset("nano", sizes=(1, 3, 4)).num_tokens == 26
    for changes in ({"grid": (3, 4)}, {"sizes": (1, 2)}):
        with pytest.raises(ValueError, match="both sides of the grid"):
            NextScaleConfig.preset("nano", **changes)
    with pytest.raises(ValueError, match="sizes must rise"):
        NextScaleConfig.preset("nano", sizes=(4, 4))


def test_inputs_of_half_a_scale_are_refused(model, text):
    for shape in ((B, 7, C), (B, 22, C), (B + 1, 21, C), (21, C)):
        with pytest.raises(ValueError, match="whole scales"):
            model(torch.zeros(shape), *text)
