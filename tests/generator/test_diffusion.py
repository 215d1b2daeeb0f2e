"""Diffusion against published numbers, closed forms and an oracle."""

import math

import pytest
import torch

from dcar_edu.generator.diffusion import (
    Schedule,
    add_noise,
    cosine_alpha_bars,
    predict_x0,
    respaced,
    sample,
    variance_bound,
)

N, C = 6, 5


def normal(*shape, seed=0, dtype=torch.float64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def test_alpha_bars_golden():
    bars = cosine_alpha_bars()
    assert bars.dtype == torch.float64
    assert [round(bars[t].item(), 5) for t in (0, 499)] == [0.99996, 0.49384]
    assert bars[998].item() == pytest.approx(2.43e-6, rel=2e-3)
    assert bars[999].item() == pytest.approx(2.43e-9, rel=2e-3)
    betas = 1 - bars[1:] / bars[:-1]
    assert betas[498].item() == pytest.approx(3.146e-3, rel=1e-3)
    assert 1 - bars[0].item() == pytest.approx(4.128e-5, rel=1e-3)
    assert betas[-1].item() == pytest.approx(0.999)
    assert (bars.diff() < 0).all()


def test_respaced_golden():
    assert respaced(8) == [0, 143, 285, 428, 571, 714, 856, 999]
    assert respaced(20)[:6] == [0, 53, 105, 158, 210, 263]
    assert respaced(20)[-3:] == [894, 946, 999]
    assert respaced(32)[:6] == [0, 32, 64, 97, 129, 161]
    assert respaced(32)[-3:] == [935, 967, 999]
    assert respaced(1) == [999]
    assert respaced(1000) == list(range(1000))
    assert respaced(3, 10) == [0, 4, 9]  # 4.5 goes to the even neighbour
    assert respaced(3, 12) == [0, 6, 11]  # 5.5 as well


@pytest.mark.parametrize("steps", range(1, 60))
def test_respaced_rises_to_pure_noise(steps):
    times = respaced(steps)
    assert len(times) == steps
    assert times == sorted(set(times))
    assert times[-1] == 999


@pytest.mark.parametrize("steps", [0, 1001])
def test_respaced_refuses(steps):
    with pytest.raises(ValueError, match=f"between 1 and 1000, got {steps}. DC-AR uses 20"):
        respaced(steps)


def test_a_respaced_chain_has_the_full_chains_alpha_bars():
    chain, full = Schedule.respaced(8), cosine_alpha_bars()
    assert torch.equal(chain.alpha_bars, full[list(chain.times)])
    torch.testing.assert_close(torch.cumprod(1 - chain.betas, 0), chain.alpha_bars)


def test_add_noise_takes_one_time_a_row():
    x0, noise, bars = normal(3, C), normal(3, C, seed=1), torch.tensor([1.0, 0.36, 0.0])
    x = add_noise(x0, noise, bars)
    torch.testing.assert_close(x[0], x0[0])
    torch.testing.assert_close(x[1], 0.6 * x0[1] + 0.8 * noise[1])
    torch.testing.assert_close(x[2], noise[2])


@pytest.mark.parametrize("t", [0, 499, 998, 999])
def test_predict_x0_undoes_add_noise(t):
    bar = cosine_alpha_bars()[t]
    x0, noise = normal(N, C), normal(N, C, seed=1)
    x = add_noise(x0, noise, bar.expand(N))
    torch.testing.assert_close(predict_x0(x, noise, bar.item()), x0, atol=1e-9, rtol=1e-6)
    clipped = predict_x0(x, noise, bar.item(), clip=0.5)
    torch.testing.assert_close(clipped, x0.clamp(-0.5, 0.5), atol=1e-9, rtol=1e-6)


def test_at_999_an_error_grows_by_twenty_thousand():
    bar = cosine_alpha_bars()[999].item()
    grown = predict_x0(torch.zeros(1), torch.ones(1), bar).abs().item()
    assert grown == pytest.approx(2.03e4, rel=1e-2)


def oracle(x0):
    """The network that knows the data: the noise that leads from it to ``x``."""

    def guess(x, t):
        bar = cosine_alpha_bars()[t][:, None]
        return (x - bar.sqrt() * x0) / (1 - bar).sqrt(), None

    return guess


@pytest.mark.parametrize("method", ["ancestral", "ddim"])
@pytest.mark.parametrize("steps", [1, 2, 8, 20, 1000])
def test_an_oracle_finds_the_data(steps, method):
    x0 = normal(N, C, seed=7)
    noise = normal(steps + 1, N, C)
    drawn = sample(oracle(x0), noise, Schedule.respaced(steps), method=method)
    torch.testing.assert_close(drawn, x0, atol=1e-6, rtol=0)
    clipped = sample(oracle(x0), noise, Schedule.respaced(steps), clip=0.8, method=method)
    torch.testing.assert_close(clipped, x0.clamp(-0.8, 0.8), atol=1e-6, rtol=0)


def bell(mean, deviation):
    """The best guess of the noise when the data are normal: the posterior mean's."""

    def guess(x, t):
        bar = cosine_alpha_bars()[t][:, None]
        gain = bar.sqrt() * deviation**2 / (bar * deviation**2 + 1 - bar)
        x0 = mean + gain * (x - bar.sqrt() * mean)
        return (x - bar.sqrt() * x0) / (1 - bar).sqrt(), None

    return guess


@pytest.mark.parametrize("method", ["ancestral", "ddim"])
def test_both_methods_draw_a_normal_from_noise(method):
    """2,000 draws of N(2, 0.5): .011 is the deviation of the mean, .008 that of the spread."""
    noise = normal(201, 2000, 1)
    drawn = sample(bell(2.0, 0.5), noise, Schedule.respaced(200), method=method)
    assert drawn.mean().item() == pytest.approx(2, abs=0.05)
    assert drawn.std().item() == pytest.approx(0.5, abs=0.04)


def test_ddim_follows_the_straight_line_of_normals():
    """Without noise every start keeps its quantile: N(2, 0.5) is reached by scaling alone."""
    noise = normal(1001, N, 1)
    drawn = sample(bell(2.0, 0.5), noise, Schedule.respaced(1000), method="ddim")
    torch.testing.assert_close(drawn, 2 + 0.5 * noise[0], atol=0.02, rtol=0)


def test_a_ddim_step_by_hand_with_clip():
    """The noise of a step is the one that the clipped data imply."""
    chain, noise, seen = Schedule.respaced(2), normal(3, N, C), []
    near, far = chain.alpha_bars

    def guess(x, t):
        seen.append(x)
        return 0.1 * x.sin(), None

    sample(guess, noise, chain, clip=0.7, method="ddim")
    x0 = predict_x0(noise[0], 0.1 * noise[0].sin(), far.item(), 0.7)
    implied = (noise[0] - far.sqrt() * x0) / (1 - far).sqrt()
    torch.testing.assert_close(seen[1], near.sqrt() * x0 + (1 - near).sqrt() * implied)


def test_an_unknown_method():
    with pytest.raises(ValueError, match="method must be 'ancestral' or 'ddim', got 'euler'"):
        sample(oracle(0), normal(3, N, C), Schedule.respaced(2), method="euler")


def test_the_last_step_gives_back_the_predicted_data_exactly():
    """At t = 0 nothing of x and no noise is left: only x0, within the clip bound."""
    seen = []

    def guess(x, t):
        seen.append((x, t))
        return 0.1 * x.sin(), None

    noise = normal(9, N, C)
    drawn = sample(guess, noise, Schedule.respaced(8), clip=1.5)
    x, t = seen[-1]
    assert t.tolist() == [0] * N
    bar = cosine_alpha_bars()[0].item()
    torch.testing.assert_close(drawn, predict_x0(x, 0.1 * x.sin(), bar, 1.5), atol=1e-12, rtol=0)
    assert drawn.abs().max() <= 1.5 + 1e-12
    assert [int(t[0]) for _, t in seen] == respaced(8)[::-1]
    noise[-1] = torch.nan  # the draw kept for the last step is never used
    assert torch.equal(sample(guess, noise, Schedule.respaced(8), clip=1.5), drawn)


def test_a_step_is_a_draw_from_the_posterior():
    """q(x_before | x, x0) from the two normals it is made of, not from DDPM's formula."""
    chain = Schedule.respaced(2)
    (near, far), beta = chain.alpha_bars, chain.betas[1]
    x0, noise = normal(N, C, seed=3), normal(3, N, C)
    seen = []

    def guess(x, t):
        seen.append(x)
        return oracle(x0)(x, t)

    sample(guess, noise, chain)
    # Prior of x_before: N(sqrt(near) x0, 1 - near); then x = sqrt(1 - beta) x_before + noise.
    precision = 1 / (1 - near) + (1 - beta) / beta
    mean = (near.sqrt() * x0 / (1 - near) + (1 - beta).sqrt() * noise[0] / beta) / precision
    torch.testing.assert_close(1 - (1 - beta) * near, 1 - far)
    expected = mean + precision.rsqrt() * noise[1]
    torch.testing.assert_close(seen[1], expected, atol=1e-6, rtol=1e-6)


def test_posterior_variances_by_hand():
    chain = Schedule((0, 1, 2), torch.tensor([0.9, 0.6, 0.3], dtype=torch.float64))
    torch.testing.assert_close(chain.betas, chain.betas.new_tensor([0.1, 1 / 3, 0.5]))
    by_hand = [1 / 3 * 0.1 / 0.4, 1 / 3 * 0.1 / 0.4, 0.5 * 0.4 / 0.7]
    found = chain.posterior_log_variances.exp().tolist()
    assert found == pytest.approx(by_hand)


@pytest.mark.parametrize(("fraction", "variance"), [(-1.0, "smallest"), (1.0, "largest")])
def test_a_learned_variance_lies_between_its_bounds(fraction, variance):
    chain, x0, seen = Schedule.respaced(3), normal(N, C), []

    def guess(x, t):
        seen.append(x)
        return oracle(x0)(x, t)[0], torch.full_like(x, fraction)

    noise = normal(4, N, C)
    sample(guess, noise, chain)
    with_noise, seen[:] = seen[1], []
    noise[1] = 0
    sample(guess, noise, chain)
    spread = (with_noise - seen[1]) / normal(4, N, C)[1]
    bounds = {"smallest": chain.posterior_log_variances[-1].exp(), "largest": chain.betas[-1]}
    torch.testing.assert_close(spread, bounds[variance].sqrt().expand(N, C), atol=1e-9, rtol=1e-6)


def bound(x0, t, fraction, error=0.0):
    noise = normal(len(t), C, seed=1, dtype=x0.dtype)
    x = add_noise(x0, noise, cosine_alpha_bars()[t])
    return variance_bound(x0, x, t, noise + error, torch.full_like(x0, fraction))


def test_the_bound_of_an_exact_guess_with_the_smallest_variance_is_zero():
    t = torch.tensor([1, 2, 300, 998, 999])
    x0 = normal(5, C)
    torch.testing.assert_close(bound(x0, t, -1.0), torch.zeros(5).double(), atol=1e-9, rtol=0)
    assert (bound(x0, t, 1.0) > 0).all()
    assert (bound(x0, t, -1.0, error=0.1) > 1e-5).all()


def test_the_bound_is_the_divergence_of_two_normals_in_bits():
    t, x0, error = torch.tensor([400]), normal(1, C), 0.3
    chain = Schedule(tuple(range(1000)), cosine_alpha_bars())
    bar, before, beta = (v[400] for v in (chain.alpha_bars, chain.previous, chain.betas))
    small = chain.posterior_log_variances[400].exp()
    wide = (0.75 * beta.log() + 0.25 * small.log()).exp()  # fraction 0.5: three quarters
    off = before.sqrt() * beta / (1 - bar) * (1 - bar).sqrt() / bar.sqrt() * error
    normal_of = torch.distributions.Normal
    expected = torch.distributions.kl_divergence(
        normal_of(torch.tensor(0.0).double(), small.sqrt()), normal_of(off, wide.sqrt())
    )
    found = bound(x0, t, 0.5, error)
    assert found.item() == pytest.approx(expected.item() / math.log(2), rel=1e-6)


def test_at_time_0_the_bound_is_the_likelihood_of_a_bin():
    """Within 3e-3 of the normal's own integral over x0 +- 1/255; open at both ends."""
    x0 = torch.tensor([[0.2, -0.4, 0.0, 0.1, 0.3], [1.2, -1.0, 2.0, -3.0, 1.0]]).double()
    found = bound(x0, torch.zeros(2, dtype=torch.int64), 0.0)
    chain = Schedule(tuple(range(1000)), cosine_alpha_bars())
    scale = (0.5 * (chain.betas[0].log() + chain.posterior_log_variances[0]) / 2).exp().item()
    bell = torch.distributions.Normal(0.0, scale)
    inside = (bell.cdf(torch.tensor(1 / 255)) - bell.cdf(torch.tensor(-1 / 255))).log2()
    outside = bell.cdf(torch.tensor(1 / 255)).log2()
    torch.testing.assert_close(found, -torch.stack([inside, outside]).double(), atol=3e-3, rtol=0)


def test_the_bound_trains_the_variance_only():
    x0, noise = normal(3, C), normal(3, C, seed=1).requires_grad_()
    fraction = torch.zeros(3, C, dtype=torch.float64, requires_grad=True)
    t = torch.tensor([0, 10, 500])
    variance_bound(x0, add_noise(x0, normal(3, C, seed=2), cosine_alpha_bars()[t]), t, noise,
                   fraction).sum().backward()  # fmt: skip
    assert noise.grad is None
    assert (fraction.grad != 0).all()
