"""The generator's network, losses and masks against the released code."""

from dataclasses import replace

import pytest
import torch
from einops import rearrange, repeat

from dcar_edu.generator import masking
from dcar_edu.generator.diffusion import (
    Schedule,
    add_noise,
    cosine_alpha_bars,
    sample,
    variance_bound,
)
from dcar_edu.generator.guidance import guide
from dcar_edu.generator.masking import random_mask, reveal_counts
from dcar_edu.generator.residual_head import time_features
from dcar_edu.generator.training import masked_loss
from dcar_edu.interop.dc_ar import generator_names


def passed(stored, branch):
    """One pass over the stored ids, with the text or with the null text."""
    ids = rearrange(stored["fwd/ids"], "b (h w) -> b h w", h=stored.model.config.grid[0])
    text = None if branch == "null" else stored["fwd/text_states"]
    return stored.model(ids, text, stored["fwd/text_mask"])


@pytest.mark.stored("dc_ar", r"fwd/text_proj_(?P<branch>cond|null)")
def test_text_projection(stored):
    states = stored["fwd/text_states"]
    if stored.group("branch") == "null":
        null = stored.model.null_text[: states.shape[1]]
        states = repeat(null, "s d -> b s d", b=len(states))
    with torch.no_grad():
        stored.agrees(stored.model.text(states))


@pytest.mark.stored("dc_ar", r"fwd/(?P<branch>cond|null)_(?P<what>logits|hidden)")
@torch.no_grad()
def test_forward(stored):
    stored.agrees(getattr(passed(stored, stored.group("branch")), stored.group("what")))


@pytest.mark.stored("dc_ar", r"fwd/cfg(?P<scale>[\d.]+)_logits")
@torch.no_grad()
def test_guided_logits(stored):
    cond, null = (passed(stored, branch).logits for branch in ("cond", "null"))
    stored.agrees(guide(cond, null, float(stored.group("scale"))))


@pytest.mark.stored("dc_ar", r"head/t_freq")
def test_time_features(stored):
    stored.agrees(time_features(stored["head/t"], stored.dtype))


@pytest.mark.stored("dc_ar", r"head/t_emb")
@torch.no_grad()
def test_time_embedding(stored):
    features = time_features(stored["head/t"], stored.dtype)
    stored.agrees(stored.model.residual_head.time(features))


@pytest.mark.stored("dc_ar", r"head/out")
@torch.no_grad()
def test_residual_head(stored):
    head = stored.model.residual_head
    stored.agrees(head(stored["head/x_t"], stored["head/t"], stored["head/c"]))


@pytest.mark.stored("dc_ar", r"head/out_cfg(?P<scale>[\d.]+)")
@torch.no_grad()
def test_guided_residual_head(stored):
    """Both halves of the batch see the first half's data; only the noise is guided."""
    x, t, c = (stored[f"head/{name}"] for name in ("x_t", "t", "c"))
    half = len(x) // 2
    guess = stored.model.residual_head.guess
    cond, own = guess(x[:half], t[:half], c[:half])
    null, other = guess(x[:half], t[half:], c[half:])
    noise = guide(cond, null, float(stored.group("scale")))
    stored.agrees(torch.cat([torch.cat([noise, own], 1), torch.cat([noise, other], 1)]))


def diffusion_losses(stored, condition=None):
    """Mean squared error and variance term of every stored row."""
    t, x0, noise = stored["loss/t"], stored["loss/x_start"], stored["loss/noise"]
    x = add_noise(x0, noise, cosine_alpha_bars()[t])
    condition = stored["head/c"] if condition is None else condition
    guessed, fraction = stored.model.residual_head.guess(x, t, condition)
    return (guessed - noise).square().mean(1), variance_bound(x0, x, t, guessed, fraction)


@pytest.mark.stored("dc_ar", r"loss/x_t")
def test_noised_residuals(stored):
    bars = cosine_alpha_bars()[stored["loss/t"]]
    stored.agrees(add_noise(stored["loss/x_start"], stored["loss/noise"], bars))


@pytest.mark.stored("dc_ar", r"loss/(?P<term>mse|vb|loss)")
def test_diffusion_loss_terms(stored):
    with torch.no_grad():
        error, bound = diffusion_losses(stored)
    stored.agrees({"mse": error, "vb": bound, "loss": error + bound}[stored.group("term")])


@pytest.mark.stored("dc_ar", r"loss/grad_mean_excl_t999_d_(?P<of>c|final_linear_weight)")
def test_diffusion_loss_gradients(stored):
    condition = stored["head/c"].clone().requires_grad_()
    error, bound = diffusion_losses(stored, condition)
    total = (error + bound)[stored["loss/t"] != 999].mean()
    weight = stored.model.residual_head.output.linear.weight
    of = condition if stored.group("of") == "c" else weight
    stored.agrees(torch.autograd.grad(total, of)[0])


def training_loss(stored):
    """The whole branch: transformer, then every token's residual at several stored times."""
    hidden = passed(stored, "cond").hidden
    return stored.model.residual_head.loss(
        hidden.flatten(0, 1),
        stored["train/residual_features"].flatten(0, 1),
        t=stored["train/t"],
        noise=stored["train/noise"],
    )


@pytest.mark.stored("dc_ar", r"train/diff_loss")
def test_training_loss(stored):
    stored.agrees(training_loss(stored))


@pytest.mark.stored("dc_ar", r"train/grad_diff_loss/(?P<of>.+)")
def test_training_gradients(stored):
    ours = {theirs: name for name, theirs in generator_names(stored.model).items()}
    weight = stored.model.get_parameter(ours[stored.group("of")])
    stored.agrees(torch.autograd.grad(training_loss(stored), weight)[0])


@pytest.mark.stored("dc_ar", r"mlm/loss_ls(?P<smoothing>[\d.]+)_w(?P<unmasked>[\d.]+)")
@torch.no_grad()
def test_token_loss(stored):
    numbers = (float(stored.group(name)) for name in ("smoothing", "unmasked"))
    logits, mask = passed(stored, "cond").logits, stored["mlm/mask"].bool()
    stored.agrees(masked_loss(logits, stored["mlm/targets"], mask, *numbers))


@pytest.mark.stored("dc_ar", r"mlm/correct_tokens_.+")
@torch.no_grad()
def test_right_guesses(stored):
    mask = stored["mlm/mask"].bool()
    right = (passed(stored, "cond").logits.argmax(-1) == stored["mlm/targets"]) & mask
    share = right.sum(1).double() / (mask.sum(1).double() + 1e-8)
    stored.agrees(share.mean())


@pytest.mark.stored("dc_ar", r"mask/(?P<what>masks|masked_tokens)")
def test_random_mask(stored, monkeypatch):
    """Replay the stored draws: the share of each picture, then the order of its tokens."""
    draws = [stored["mask/u"], stored["mask/rand"]]
    monkeypatch.setattr(masking.torch, "rand", lambda *shape, generator: draws.pop(0))
    mask = random_mask(*stored["mask/rand"].shape, torch.Generator())
    hidden = stored["mask/tokens"].masked_fill(mask, stored.model.mask_id)
    stored.agrees(mask if stored.group("what") == "masks" else hidden)


@pytest.mark.stored("dc_ar", r"sched/N(?P<n>\d+)_K(?P<k>\d+)/(?P<what>masked|unmasked)_\w+")
def test_reveal_counts(stored):
    n = int(stored.group("n"))
    counts = torch.tensor(reveal_counts(n, int(stored.group("k"))))
    stored.agrees(counts if stored.group("what") == "unmasked" else n - counts.cumsum(0))


FIELDS = {
    "alphas_cumprod": lambda chain: chain.alpha_bars,
    "betas": lambda chain: chain.betas,
    "posterior_log_variance_clipped": lambda chain: chain.posterior_log_variances,
    "timestep_map": lambda chain: torch.tensor(chain.times),
}


@pytest.mark.stored("dc_ar", rf"diffconst/(?P<n>\d+)/(?P<what>{'|'.join(FIELDS)})")
def test_diffusion_numbers(stored):
    chain = Schedule.respaced(int(stored.group("n")))
    stored.agrees(FIELDS[stored.group("what")](chain))


@pytest.mark.stored("dc_ar", r"diffconst/(?P<n>\d+)/posterior_mean_coef(?P<of>1|2)")
def test_posterior_weights(stored):
    """Probed: with x0 held at 1 from x = 0, and at 0 from x = 1, a step gives its two weights."""
    chain = Schedule.respaced(int(stored.group("n")))
    x0, got = float(stored.group("of") == "1"), []
    for place, bar in enumerate(chain.alpha_bars):
        one = replace(
            chain, times=chain.times[: place + 1], alpha_bars=chain.alpha_bars[: place + 1]
        )
        seen = []

        def guess(x, t, seen=seen):
            seen.append(x)
            if len(seen) == 1:
                return (x - bar.sqrt() * x0) / (1 - bar).sqrt(), None  # noqa: B023
            return x, None

        noise = torch.zeros(place + 2, 1, 1, dtype=torch.float64)
        noise[0] = 1 - x0
        last = sample(guess, noise, one)
        got.append((seen[1] if len(seen) > 1 else last).item())
    stored.agrees(torch.tensor(got, dtype=torch.float64))


def residual_noise(stored, steps, batch, ancestral=True):
    """The stored start, then one stored draw a step, ``(steps + 1, b, n, c)``."""
    start, later = stored["samp/init_noise"][None], stored["samp/ancestral_noise"][:steps]
    noise = torch.cat([start, later if ancestral else torch.zeros_like(later)])
    tokens = stored.model.config.grid[0] * stored.model.config.grid[1]
    return rearrange(noise, "k (b n) c -> k b n c", n=tokens)[:, :batch]


@pytest.mark.stored(
    "dc_ar", r"samp/n(?P<steps>\d+)_cfg(?P<scale>[\d.]+)_(?P<clip>clip|noclip)_(?P<noise>zero|anc)"
)
def test_residual_sampler(stored):
    """A scale of exactly 1 means no guidance in the released residual sampler."""
    cond, null = stored["fwd/cond_hidden"], stored["fwd/null_hidden"]
    steps, scale = int(stored.group("steps")), float(stored.group("scale"))
    got = stored.model.sample_residuals(
        cond,
        None if scale == 1 else null,
        guidance=scale,
        num_steps=steps,
        clip=1.0 if stored.group("clip") == "clip" else None,
        noise=residual_noise(stored, steps, len(cond), stored.group("noise") == "anc"),
    )
    stored.agrees(got.flatten(0, 1))
