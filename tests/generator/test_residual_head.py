"""The residual head alone: start, scale, repeats, guidance and bounds."""

import math
from dataclasses import replace

import pytest
import torch

from dcar_edu.generator.config import GeneratorConfig
from dcar_edu.generator.diffusion import add_noise, cosine_alpha_bars
from dcar_edu.generator.residual_head import AdaLNBlock, ResidualHead, time_features

N, C, WIDTH = 7, 5, 16


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def head(tiny):
    """No weight is zero, so every input matters."""
    torch.manual_seed(1)
    made = ResidualHead(tiny).eval()
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return made


def test_time_features_are_cosines_then_sines():
    found = time_features(torch.tensor([0, 7]))
    assert found.shape == (2, 256)
    assert found[0].tolist() == [1.0] * 128 + [0.0] * 128
    for place in (0, 1, 127):
        angle = 7 * 10000 ** (-place / 128)
        assert found[1, place].item() == pytest.approx(math.cos(angle), abs=1e-5)
        assert found[1, 128 + place].item() == pytest.approx(math.sin(angle), abs=1e-5)


def test_adaln_block_by_hand():
    torch.manual_seed(0)
    block = AdaLNBlock(8)
    x, condition = torch.randn(2, N, 8)
    wide = block.modulation(torch.nn.functional.silu(condition))
    shift, scale, gate = wide[:, :8], wide[:, 8:16], wide[:, 16:]
    expected = x + gate * block.mlp(block.norm(x) * (1 + scale) + shift)
    torch.testing.assert_close(block(x, condition), expected)


def test_it_hears_all_three_inputs(head):
    x, t, hidden = torch.randn(N, C), torch.arange(N), torch.randn(N, WIDTH)
    plain = head(x, t, hidden)
    assert plain.shape == (N, C)
    for other in (head(x + 1, t, hidden), head(x, t + 300, hidden), head(x, t, hidden + 1)):
        assert ((other - plain).abs().amax(1) > 1e-3).all()


def test_the_loss_by_hand(head):
    """Repeats tile the batch; targets are divided by the scale; time and noise as stored."""
    hidden, residuals = torch.randn(N, WIDTH), 0.107 * torch.randn(N, C)
    t, noise = torch.randint(1000, (4 * N,), generator=seeded()), torch.randn(4 * N, C)
    x = add_noise((residuals / 0.107).repeat(4, 1), noise, cosine_alpha_bars()[t])
    expected = (head(x, t, hidden.repeat(4, 1)) - noise).square().mean()
    found = head.loss(hidden, residuals, t=t, noise=noise)
    torch.testing.assert_close(found, expected)


def test_the_loss_draws_one_time_a_repeat_from_the_generator(head):
    hidden, residuals = torch.randn(N, WIDTH), 0.1 * torch.randn(N, C)
    source = seeded(4)
    t = torch.randint(1000, (4 * N,), generator=source)
    noise = torch.randn(4 * N, C, generator=source)
    drawn = head.loss(hidden, residuals, seeded(4))
    assert torch.equal(drawn, head.loss(hidden, residuals, t=t, noise=noise))


def test_the_loss_reaches_the_hidden_states(head):
    hidden = torch.randn(N, WIDTH, requires_grad=True)
    head.loss(hidden, 0.1 * torch.randn(N, C), seeded()).backward()
    assert (hidden.grad.abs().sum(1) > 0).all()


def test_an_untrained_head_has_loss_1(fresh):
    """The mean of 4 * 8000 * 5 squared normals: a standard deviation of .0035; .02 is five."""
    hidden, residuals = torch.randn(8000, WIDTH), 0.3 * torch.randn(8000, C)
    loss = fresh.residual_head.loss(hidden, residuals, seeded())
    assert loss.item() == pytest.approx(1, abs=0.02)


def test_the_official_start_is_worse():
    """At full size the released start guesses noise of its own: 3.80 was measured there."""
    torch.manual_seed(0)
    head = ResidualHead(GeneratorConfig.preset("paper", learned_variance=False))
    hidden, x0, noise = torch.randn(128, 1152), torch.randn(128, 32), torch.randn(128, 32)
    t = torch.randint(998, (128,), generator=seeded())
    x = add_noise(x0, noise, cosine_alpha_bars()[t])
    errors = {}
    for official in (True, False):
        head.start(official=official)
        with torch.no_grad():
            errors[official] = (head(x, t, hidden) - noise).square().mean().item()
    assert errors[True] == pytest.approx(3.8, rel=0.1)
    assert errors[False] == pytest.approx(1, rel=0.1)


def test_a_learned_variance_adds_its_bound(tiny):
    torch.manual_seed(0)
    head = ResidualHead(replace(tiny, learned_variance=True))
    head.start()
    hidden, residuals = torch.randn(N, WIDTH), 0.1 * torch.randn(N, C)
    assert head(torch.randn(N, C), torch.arange(N), hidden).shape == (N, 2 * C)
    noise = torch.randn(4 * N, C)
    for t, least, most in ((500, 1e-4, 1), (999, 50, 5000)):
        times = torch.full((4 * N,), t)
        extra = head.loss(hidden, residuals, t=times, noise=noise) - noise.square().mean()
        assert least < extra.item() < most


def draw(head, hidden, null=None, *, steps=4, guidance=0.0, clip=None, seed=0):
    noise = torch.randn(steps + 1, len(hidden), C, generator=seeded(seed))
    return head.sample(hidden, null, noise, guidance=guidance, clip=clip)


def test_samples_are_bounded_by_the_clip_in_units_of_the_scale(head):
    hidden = torch.randn(N, WIDTH)
    assert draw(head, hidden).abs().max() > 0.107 * 2
    for clip in (1.0, 2.0):
        assert draw(head, hidden, clip=clip).abs().max().item() == pytest.approx(0.107 * clip)


@pytest.mark.parametrize("learned", [False, True])
def test_guidance_0_is_the_conditional_pass_alone(tiny, head, learned):
    if learned:
        head = ResidualHead(replace(tiny, learned_variance=True))
        for parameter in head.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
    hidden, null = torch.randn(2, N, WIDTH)
    alone = draw(head, hidden, clip=3.0)
    assert torch.equal(draw(head, hidden, null, guidance=0.0, clip=3.0), alone)
    assert torch.equal(draw(head, hidden, None, guidance=4.5, clip=3.0), alone)
    guided = draw(head, hidden, null, guidance=1.5, clip=3.0)
    assert ((guided - alone).abs().amax(0) > 1e-4).all()
    # Guided by itself, nothing changes.
    torch.testing.assert_close(draw(head, hidden, hidden, guidance=4.5, clip=3.0), alone,
                               atol=1e-4, rtol=1e-4)  # fmt: skip


def test_one_guided_step_by_hand(head):
    hidden, null = torch.randn(2, N, WIDTH)
    noise = torch.randn(2, N, C, generator=seeded())
    t, bar = torch.full((N,), 999), cosine_alpha_bars()[999].item()
    cond, uncond = head(noise[0], t, hidden), head(noise[0], t, null)
    eps = cond + 2.0 * (cond - uncond)
    expected = 0.107 * (noise[0] - math.sqrt(1 - bar) * eps) / math.sqrt(bar)
    found = head.sample(hidden, null, noise, guidance=2.0, clip=None)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1.0)


def test_every_token_is_drawn_alone(head):
    hidden, noise = torch.randn(N, WIDTH), torch.randn(5, N, C)
    whole = head.sample(hidden, None, noise, guidance=0.0, clip=3.0)
    one = head.sample(hidden[2:3], None, noise[:, 2:3], guidance=0.0, clip=3.0)
    torch.testing.assert_close(whole[2:3], one, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("steps", [1, 2, 1000])
def test_ddim_needs_the_start_only(head, steps):
    hidden, noise = torch.randn(N, WIDTH), torch.randn(steps + 1, N, C)
    options = {"guidance": 0.0, "clip": 1.0, "method": "ddim"}
    first = head.sample(hidden, None, noise, **options)
    noise[1:] = torch.nan
    assert torch.equal(head.sample(hidden, None, noise, **options), first)
    assert first.abs().max().item() <= 0.107 * (1 + 1e-6)
    ancestral = head.sample(hidden, None, torch.randn(steps + 1, N, C), guidance=0.0, clip=1.0)
    assert (first - ancestral).abs().max() > 1e-3
