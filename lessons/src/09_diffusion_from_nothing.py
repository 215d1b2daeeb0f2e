# %% [markdown] tags=["header"]
# ---
# title: Diffusion from nothing
# builds: a sampler that begins with pure noise, in five short functions
# figures: 9
# wait: 3
# wait_gpu: 3
# gpu: false
# memory: 2 GB
# needs: 04
# writes: your progress file
# ---

# %% [markdown] tags=["map"]
# A token says which code is nearest; what it cannot say is the residual, 32 real numbers a place. A table of 1,024 entries cannot list real numbers. So this lesson builds the second half of the generator: a machine that *draws* real numbers, by taking noise away.

# %% [markdown] tags=["objectives"]
# **When you are done you can**
#
# - add noise to data in one formula, for any of 1,000 times;
# - train a network to guess the noise, and say what its loss of 1 means;
# - turn a guess into clean data, and say why that must be clipped;
# - step from noise to data in 50, 20 or 4 steps, on points and on residual tokens, with the same five functions;
# - measure how many steps are enough.
#
# **You need** lesson 04 (residuals and their scale) and the normal distribution. The network is given here; lesson 10 builds it. A CPU is enough: the networks are tiny.
#
# **Short of time?** Sections 2, 3, 5 and 7.

# %% tags=["setup"]
#@title Setup (run first)
# SETUP

# %% tags=["parameters"]
import os

BUDGET = os.environ.get("DCAR_BUDGET", "cpu")
SEED = 0

# %% tags=["start", "nbval-ignore-output"]
import math
import time

import torch

from dcar_edu import course
from dcar_edu.course import check, clouds, figures, same_as_library
from dcar_edu.course.experiments import results
from dcar_edu.course.stages import keep_going
from dcar_edu.course.studies import study_09 as study
from dcar_edu.course.studies.study_05 import SURE, verdict
from dcar_edu.generator import diffusion
from dcar_edu.metrics import psnr
from dcar_edu.state import TrainingState, warmed_cosine

L = course.start("09", BUDGET, SEED)

# %% tags=["map", "nbval-ignore-output"]
course.course_map("09")

# %% [markdown]
# ## 1. From noise to a wolf
#
# We take the wolf's own 16 tokens. In place of their residuals we put *pure noise* of the same size. Then the shipped residual head takes the noise away in 20 steps, and after each step the decoder shows what tokens and numbers make of it.

# %%
model = course.stage("09", "shipped")
wolf = study.one_picture(model, "wolf", "pale blue")
head, scale = model.generator.residual_head, wolf.scale
states = wolf.hidden.flatten(0, 1)  # one row for each of 16 tokens
noise = torch.randn(21, 16, 32, generator=L.generator())
path = []


def guess(x, t):
    """Ask the head, and remember where we stand."""
    path.append(x)
    return head.guess(x, t, states)


with torch.no_grad():
    last = diffusion.sample(guess, noise, diffusion.Schedule.respaced(20), clip=1.0)
    shown = [path[place] for place in (0, 6, 12, 16)] + [last]
    drawn = [wolf.decode(scale * x[None])[0] for x in shown]

# %%
ends = [wolf.decode(None)[0], wolf.decode(wolf.residuals)[0], wolf.images[0]]
titles = ["pure noise", "after 6 steps", "after 12", "after 16", "after 20"]
figures.show(
    figures.image_grid(
        drawn + ends, titles + ["codes only", "true residual", "original"], columns=4, tile=1.25
    ),
    alt="Eight wolves. The first has noise for residuals: its outline is torn and blotched. Step by "
    "step the blotches go. Last come the wolf from codes only, from the true residuals, and the "
    "original.",
)

# %% [markdown]
# **What to notice.** Nothing in the loop knows a picture. It changes 16 x 32 numbers, and each step makes them a little more like numbers that a residual could be. The last picture of the loop is no copy of the one with the true residual: it is *drawn*, one of the residuals that these tokens could have. How good the shipped head is at this, section 8 measures.
#
# To see *how* that works, we leave pictures for a while and take points on a sheet of paper: two numbers each instead of 32, and a shape that you can judge by eye.

# %% [markdown]
# ## 2. Forwards: adding noise
#
# To go forwards is easy, and it needs no network: mix the data with noise, a little at first, until nothing else is left. The share that is left of the data's variance at time $t$ is called **alpha-bar**, $\bar\alpha_t$: near 1 at $t = 0$, near 0 at $t = 999$.
#
# $$x_t = \sqrt{\bar\alpha_t} \; x_0 + \sqrt{1 - \bar\alpha_t} \; \epsilon, \qquad \epsilon \sim \mathcal{N}(0, 1)$$
#
# In words: shrink the data by one root, add noise times the other. Variances add up, and the two shares make 1. So data of size 1 stay of size 1 at every time. This is why lesson 04 measured the size of the residuals: they are divided by it first.
#
# | symbol | meaning | shape | code |
# |---|---|---|---|
# | $x_0$ | clean data, of size about 1 | (n, c) | `x0` |
# | $\epsilon$ | noise, one normal draw for each number | (n, c) | `noise` |
# | $t$ | time: 0 nearly clean, 999 pure noise | (n,), whole numbers | `t` |
# | $\bar\alpha_t$ | share of the variance left at time t | (n,) | `alpha_bar`, one a row |
# | $x_t$ | noised data | (n, c) | `x_t` |

# %% [markdown] tags=["exercise-text"]
# ### Exercise 09.1 - Noised
# difficulty: 1/5 · importance: 5/5 · 6 min · needs: none
#
# Write `noised(x0, noise, alpha_bar)`. `x0` and `noise` are (n, c). `alpha_bar` is (n,): every row may be at another time.
#
# Used in `dcar_edu.generator.diffusion.add_noise`.
#
# <details><summary>Hint 1</summary>
#
# (n,) and (n, c) do not broadcast. Give `alpha_bar` a second axis.
# </details>
# <details><summary>Hint 2</summary>
#
# `alpha_bar[:, None]` is (n, 1). Both shares are under a root; the second is the root of *one minus* alpha-bar.
# </details>
# <details><summary>Hint 3</summary>
#
# `share.sqrt() * x0 + (1 - share).sqrt() * noise` with `share = alpha_bar[:, None]`.
# </details>
# <details><summary>Expected</summary>
#
# With alpha_bar 1 the data come back, with 0 the noise. In between, the size stays 1. The figure below shows two moons that drown.
# </details>

# %% tags=["exercise"]
def noised(x0, noise, alpha_bar):
    """Data (n, c) with noise; alpha_bar (n,) is the share of variance that is left."""
    # BEGIN SOLUTION
    share = alpha_bar[:, None]
    return share.sqrt() * x0 + (1 - share).sqrt() * noise
    # END SOLUTION


# %% tags=["check", "nbval-ignore-output"]
noised = check("09.1", noised)

# %% tags=["nbval-ignore-output"]
same_as_library(
    noised,
    diffusion.add_noise,
    lambda: (torch.randn(6, 3), torch.randn(6, 3), torch.rand(6)),
)

# %% [markdown]
# How fast should alpha-bar fall? Ours follows a cosine, so that no time is wasted: the middle of the way is the middle of the noise.

# %% tags=["nbval-check-output"]
alpha_bars = diffusion.cosine_alpha_bars()  # (1000,), float64
for t in (0, 499, 999):
    print(f"t = {t:3d}: alpha-bar = {alpha_bars[t]:.3g}")
print("alpha-bar(0) and (499):", [round(alpha_bars[t].item(), 5) for t in (0, 499)])

# %%
moons = clouds.two_moons(L.budget.points, L.generator(1))
still = torch.randn(moons.shape, generator=L.generator(2))
times = (0, 200, 400, 600, 800, 999)
figure, (row,) = figures.panels(1, 6, width=8, height=1.9, sharey=True)
for axis, t in zip(row, times):
    cloud = noised(moons, still, alpha_bars[[t]].float())
    axis.scatter(*cloud[:800].T, s=1.5, color="C0")
    axis.set(title=f"t = {t}\n{alpha_bars[t]:.2f} left", xlim=(-3.2, 3.2), ylim=(-3.2, 3.2), aspect="equal")
    axis.set(xticks=[], yticks=[])
figures.show(
    figure,
    alt="Six clouds of points. At t = 0 two half circles that reach into each other; with growing t "
    "they become thicker, at 600 they are one blot, at 999 a round cloud without any structure.",
)

# %% [markdown]
# **What to notice.** The cloud shrinks and blurs at the same time, and keeps its size. At $t = 999$ the moons are gone, but for a share of 0.0000000024. So we can begin there with plain normal noise, and nobody will notice that no data were in it.

# %% [markdown]
# ## 3. One network for all times: guess the noise
#
# The way back needs a guess: given $x_t$ and $t$, where was $x_0$? We train a network on the question "**which noise was added?**" If it knows the noise, it knows the data, as the formula above can be turned round. And noise has mean 0 and size 1 at every time, so one plain loss serves all times:
#
# $$\mathcal{L} = \mathbb{E}_{x_0, t, \epsilon} \; \big( \epsilon_\theta(x_t, t, h) - \epsilon \big)^2$$
#
# In words: take a clean row, draw a time for it, draw noise, mix, ask the network, and square the error. The condition $h$ says what is to be drawn; for two moons it says nothing.
#
# | symbol | meaning | shape | code |
# |---|---|---|---|
# | $\epsilon_\theta$ | the network's guess of the noise | (n, c) | `net(x_t, t, cond)` |
# | $h$ | the condition; for tokens, the transformer's hidden state | (n, width) | `cond` |
# | $t$ | time, drawn uniformly **for each row** | (n,), int64 | `t` |
# | $\mathcal{L}$ | mean over rows and numbers; 1 if the network always says 0 | number | `diffusion_loss` |

# %% [markdown] tags=["exercise-text"]
# ### Exercise 09.2 - Diffusion loss
# difficulty: 3/5 · importance: 5/5 · 10 min · needs: 09.1
#
# Write `diffusion_loss(net, x0, cond, alpha_bars, generator)`. `x0` is (n, c), `cond` (n, width), `alpha_bars` (1000,) in float64. Draw one time for each row and fresh noise, both from `generator`. Call `net(x_t, t, cond)` once. Give back the mean squared error as one number with a gradient.
#
# Used in `dcar_edu.generator.residual_head.ResidualHead.loss`.
#
# <details><summary>Hint 1</summary>
#
# `torch.randint(len(alpha_bars), (len(x0),), generator=generator)` draws a time for each row. Index `alpha_bars` with it.
# </details>
# <details><summary>Hint 2</summary>
#
# `alpha_bars[t]` is float64; `.to(x0)` makes it like `x0`. The target is the very noise that went into `noised`, so keep it in a variable.
# </details>
# <details><summary>Hint 3</summary>
#
# `t = ...`, `noise = torch.randn(x0.shape, generator=generator)`, `x = noised(x0, noise, alpha_bars[t].to(x0))`, then `(net(x, t, cond) - noise).square().mean()`.
# </details>
# <details><summary>Expected</summary>
#
# A network that always answers 0 has a loss of 1.0: the variance of the noise. That is the line to beat.
# </details>

# %% tags=["exercise"]
def diffusion_loss(net, x0, cond, alpha_bars, generator):
    """Mean squared error of the guessed noise, one random time a row."""
    # BEGIN SOLUTION
    t = torch.randint(len(alpha_bars), (len(x0),), generator=generator)
    noise = torch.randn(x0.shape, generator=generator)
    x = noised(x0, noise, alpha_bars[t].to(x0))
    return (net(x, t, cond) - noise).square().mean()
    # END SOLUTION


# %% tags=["check", "nbval-ignore-output"]
diffusion_loss = check("09.2", diffusion_loss)

# %% tags=["nbval-check-output"]
def silent(x, t, cond):
    """A network that has nothing to say."""
    return torch.zeros_like(x)


points = clouds.two_moons(20000, torch.Generator().manual_seed(0))
loss = diffusion_loss(silent, points, points, alpha_bars, torch.Generator().manual_seed(1))
print(f"loss of a network that always answers 0: {loss:.1f}")

# %% [markdown]
# Now train one. The network is the *same class* as the residual head of DC-AR, with 2 numbers in place of 32; lesson 10 opens it. The loop is the one of all lessons. If you stop the cell and run it again, it goes on.

# %%
def batch(kind, count, generator):
    """Clean points and their condition: four numbers, all 0 for the moons."""
    if kind == "moons":
        return clouds.two_moons(count, generator), torch.zeros(count, clouds.CONDITION)
    which = torch.randint(len(edges), (count,), generator=generator)
    return clouds.outline_points(edges, which, generator), one_hot(which)


def learn(kind, state, steps):
    """Train on fresh points; yields the loss of every step."""
    while state.step < steps:
        x0, cond = batch(kind, L.budget.batch, state.generator)
        loss = diffusion_loss(state.model, x0, cond, alpha_bars, state.generator)
        loss.backward()
        state.apply_gradients(2e-3 * warmed_cosine(state.step, steps, 50), clip=1.0)
        yield loss.item()


def train(kind, steps, octaves=0):
    """Train a fresh small network; gives its averaged weights and all losses."""
    network = clouds.point_network(SEED, octaves)
    state = TrainingState.begin(
        network, learning_rate=2e-3, betas=(0.9, 0.99), weight_decay=0, ema_decay=0.99, seed=SEED
    )
    name = f"09/{kind}-{L.budget.name}-{SEED}"
    losses = list(keep_going(name, state, learn(kind, state, steps), total=steps))
    state.use_average()
    return state.model.eval(), losses


# %% tags=["nbval-ignore-output"]
net, losses = train("moons", L.budget.steps)
tail = losses[-len(losses) // 4 :]
print(f"loss: {losses[0]:.2f} at first, {sum(tail) / len(tail):.2f} in the last quarter")

# %% [markdown]
# **What to notice.** The first loss is 1: a fresh head answers 0, as its last layer starts at zero. It falls fast and then stays well above 0. That is no failure. Near $t = 0$ there is hardly any noise in $x_t$, and nobody can say which. Let us look at what the network has learnt.

# %%
figure, (row,) = figures.panels(1, 3, width=8, height=3.2, sharey=True)
for axis, t in zip(row, (150, 400, 700)):
    share = alpha_bars[t].item()
    cloud = noised(moons, still, alpha_bars[[t]].float())
    places = cloud[:100]
    with torch.no_grad():
        said = net(places, torch.full((len(places),), t), torch.zeros(len(places), 4))
    back = -math.sqrt(1 - share) * said
    axis.scatter(*cloud[:800].T, s=1, color="#BBBBBB")
    axis.plot(*(math.sqrt(share) * moons).T, ".", color="C1", markersize=1)
    axis.quiver(*places.T, *back.T, angles="xy", scale_units="xy", scale=1, width=0.004, color="C0")
    axis.plot(*(places + back).T, "o", color="black", markersize=2.5)
    axis.set(title=f"t = {t}: {share:.2f} left", xlim=(-2.7, 2.7), ylim=(-2.7, 2.7), aspect="equal")
figures.show(
    figure,
    alt="Three clouds of noised points with arrows to black dots. At t = 150 the arrows are short and "
    "the dots lie on the moons. At 400 the dots lie near the moons, some between them. At 700 the "
    "arrows are long and the dots crowd in a small patch in the middle.",
)

# %% [markdown]
# **What to notice.** Grey: noised points. Orange: the clean points, shrunk as they are at that time. Each arrow takes the guessed noise away from one of the grey points, and a black dot marks its end. At $t = 150$ the dots lie on the nearest moon. At $t = 700$ they crowd near the middle: from so much noise nobody can tell which moon a point came from, and the best single guess is the *mean* of all that are possible. So one step from far away gives a mean, never a moon. This is why there must be several.

# %% [markdown]
# ## 4. What a guess implies, and how it explodes
#
# Turn the formula of section 2 round, with the guess in place of the noise:
#
# $$\hat{x}_0 = \frac{x_t - \sqrt{1 - \bar\alpha_t} \; \hat\epsilon}{\sqrt{\bar\alpha_t}}, \qquad \text{then cut to } [-b, b]$$
#
# In words: take the guessed noise away, then enlarge what is left to its former size. At $t = 999$ the enlarging is by 20,291. An error of 0.001 in the guess becomes 20 in the data, where real data end at about 2. So we may cut, or **clip**, to a range that data can have.
#
# | symbol | meaning | shape | code |
# |---|---|---|---|
# | $\hat\epsilon$ | guessed noise | (n, c) | `eps` |
# | $\hat{x}_0$ | the clean data that it implies | (n, c) | `predict_x0(...)` |
# | $\bar\alpha_t$ | here one number: all rows stand at the same time | number | `alpha_bar` |
# | $b$ | the bound, or none | number or None | `clip` |

# %% [markdown] tags=["exercise-text"]
# ### Exercise 09.3 - Predict the clean data
# difficulty: 2/5 · importance: 5/5 · 6 min · needs: 09.1
#
# Write `predict_x0(x_t, eps, alpha_bar, clip=None)`. `alpha_bar` is a plain number. With a `clip`, the *answer* is cut to [-clip, clip].
#
# Used in `dcar_edu.generator.diffusion.predict_x0`.
#
# <details><summary>Hint 1</summary>
#
# Put `x_t = noised(x0, eps, alpha_bar)` and solve for `x0`.
# </details>
# <details><summary>Hint 2</summary>
#
# Subtract `math.sqrt(1 - alpha_bar) * eps` first, divide by `math.sqrt(alpha_bar)` second, clip last.
# </details>
# <details><summary>Hint 3</summary>
#
# `x0 = (x_t - math.sqrt(1 - alpha_bar) * eps) / math.sqrt(alpha_bar)`, then `x0 if clip is None else x0.clamp(-clip, clip)`.
# </details>
# <details><summary>Expected</summary>
#
# Given the true noise, the data come back exactly. Below: what a small error does at each time.
# </details>

# %% tags=["exercise"]
def predict_x0(x_t, eps, alpha_bar, clip=None):
    """The clean data that x_t and its guessed noise imply, cut to [-clip, clip] if given."""
    # BEGIN SOLUTION
    x0 = (x_t - math.sqrt(1 - alpha_bar) * eps) / math.sqrt(alpha_bar)
    return x0 if clip is None else x0.clamp(-clip, clip)
    # END SOLUTION


# %% tags=["check", "nbval-ignore-output"]
predict_x0 = check("09.3", predict_x0)

# %% tags=["nbval-check-output"]
def enlarged(t):
    """How many times larger an error of the noise is in the data."""
    return math.sqrt((1 - alpha_bars[t]) / alpha_bars[t])


for t in (100, 499, 900, 998):
    print(f"t = {t}: an error of the noise becomes {enlarged(t):,.2f} times as large in the data")
print(f"t = 999: {enlarged(999):,.0f} times")

# %%
CLIP = 2.5  # the moons end at 2.3
curve_times = [0, 20, 50, *range(100, 1000, 50), 980, 999]
errors = {"noise": [], "data, no clip": [], "data, clip 2.5": []}
for t in curve_times:
    share = alpha_bars[t].item()
    x = noised(moons, still, alpha_bars[[t]].float())
    with torch.no_grad():
        said = net(x, torch.full((len(x),), t), torch.zeros(len(x), 4))
    gaps = [said - still, predict_x0(x, said, share) - moons, predict_x0(x, said, share, CLIP) - moons]
    for name, gap in zip(errors, gaps):
        errors[name].append(gap.square().mean().sqrt().item())
figures.show(
    figures.curve(errors, x=curve_times, xlabel="time t", ylabel="rms error", log=True),
    alt="Errors against time, logarithmic. The error of the guessed noise falls with t. The error of "
    "the implied data without clip grows slowly to about 1 and then shoots up to hundreds at t = "
    "999. With clip it stays below 3.",
)

# %% [markdown]
# **What to notice.** The same guesses, seen twice. As noise they get *better* with $t$: at 999 the input is the noise, and a network need only copy it. As data they get *worse*, and at the very end they explode. Both are true: the enlarging turns the smallest error left into the largest one. Clipping makes no good guess of it, but a harmless one.

# %% [markdown]
# ## 5. Backwards, one step at a time
#
# Two decisions are left: at which times to stop, and how to go from one to the next.
#
# **Which times?** The network knows 1,000. **Respacing** visits only some, evenly spread, *both ends included*: drawing must begin at pure noise.

# %% [markdown] tags=["exercise-text"]
# ### Exercise 09.4 - Respaced
# difficulty: 2/5 · importance: 3/5 · 5 min · needs: none
#
# Write `respaced(steps, total=1000)`: a list of `steps` whole numbers from 0 to `total - 1`, rising, evenly spread, rounded to the nearest. `steps` is 2 or more.
#
# Used in `dcar_edu.generator.diffusion.respaced`.
#
# <details><summary>Hint 1</summary>
#
# Between 8 times there are 7 gaps, and they span 999.
# </details>
# <details><summary>Hint 2</summary>
#
# The k-th time, counted from 0, is k times `(total - 1) / (steps - 1)`, rounded. A stride of `total // steps` never reaches the end.
# </details>
# <details><summary>Hint 3</summary>
#
# `[round(k * (total - 1) / (steps - 1)) for k in range(steps)]`
# </details>
# <details><summary>Expected</summary>
#
# respaced(8) is [0, 143, 285, 428, 571, 714, 856, 999].
# </details>

# %% tags=["exercise"]
def respaced(steps, total=1000):
    """Evenly spread times from 0 to total - 1, both included."""
    # BEGIN SOLUTION
    stride = (total - 1) / (steps - 1)
    return [round(k * stride) for k in range(steps)]
    # END SOLUTION


# %% tags=["check", "nbval-ignore-output"]
respaced = check("09.4", respaced)

# %% tags=["nbval-check-output"]
print("8 steps: ", respaced(8))
print("20 steps:", respaced(20))

# %% [markdown]
# **How to step?** At time $t$ we hold $x_t$ and a guess $\hat{x}_0$. We want a point as it would look at the earlier time $s$: *between* the two, with a little fresh noise. If $\hat{x}_0$ were right, that point would be normally distributed with a mean and a variance that one can compute:
#
# $$\beta = 1 - \frac{\bar\alpha_t}{\bar\alpha_s}, \qquad x_s = \frac{\sqrt{\bar\alpha_s} \, \beta}{1 - \bar\alpha_t} \, \hat{x}_0 + \frac{\sqrt{1 - \beta} \, (1 - \bar\alpha_s)}{1 - \bar\alpha_t} \, x_t + \sqrt{\frac{\beta \, (1 - \bar\alpha_s)}{1 - \bar\alpha_t}} \; \epsilon$$
#
# In words: a share of the guess, a share of where we stand, and fresh noise. The longer the step, the larger $\beta$ and the more the guess counts. In the last step there is no noise left to keep: $\bar\alpha_s = 1$, and all of it becomes $\hat{x}_0$.
#
# | symbol | meaning | shape | code |
# |---|---|---|---|
# | $\bar\alpha_t$ | where we stand | number | `alpha_bar` |
# | $\bar\alpha_s$ | where we go: the *next visited* time; 1 in the last step | number | `previous` |
# | $\beta$ | variance that this step takes back | number | `beta` |
# | $\epsilon$ | fresh noise, another draw in each step | (n, c) | `noise` |

# %% [markdown] tags=["exercise-text"]
# ### Exercise 09.5 - Step back
# difficulty: 4/5 · importance: 5/5 · 12 min · needs: 09.3
#
# Write `step_back(x_t, x0, alpha_bar, previous, noise)`, the formula above. `alpha_bar` and `previous` are plain numbers. `beta` must follow from these two, so that it fits a step of any length.
#
# Used in `dcar_edu.generator.diffusion.sample`.
#
# <details><summary>Hint 1</summary>
#
# Write the three shares on three lines and give them names. Only the noise has a root over the whole fraction: the variance goes under it, and the deviation multiplies the noise.
# </details>
# <details><summary>Hint 2</summary>
#
# Check the last step by hand: with `previous = 1` the share of `x0` must be 1, and the two others 0.
# </details>
# <details><summary>Hint 3</summary>
#
# `mean = sqrt(previous) * beta / (1 - alpha_bar) * x0 + sqrt(1 - beta) * (1 - previous) / (1 - alpha_bar) * x_t`; add `sqrt(beta * (1 - previous) / (1 - alpha_bar)) * noise`.
# </details>
# <details><summary>Expected</summary>
#
# The last step gives back `x0` exactly. The figure below shows the noise turning into moons.
# </details>

# %% tags=["exercise"]
def step_back(x_t, x0, alpha_bar, previous, noise):
    """A draw at the earlier time, given a noisy x_t and a guess of the clean data."""
    # BEGIN SOLUTION
    beta = 1 - alpha_bar / previous
    of_data = math.sqrt(previous) * beta / (1 - alpha_bar)
    of_noisy = math.sqrt(1 - beta) * (1 - previous) / (1 - alpha_bar)
    variance = beta * (1 - previous) / (1 - alpha_bar)
    return of_data * x0 + of_noisy * x_t + math.sqrt(variance) * noise
    # END SOLUTION


# %% tags=["check", "nbval-ignore-output"]
step_back = check("09.5", step_back)

# %% tags=["nbval-check-output"]
x, x0, fresh = torch.randn(3, 5, 2, generator=torch.Generator().manual_seed(0))
print("the last step returns x0:", torch.equal(step_back(x, x0, alpha_bars[0].item(), 1.0, fresh), x0))

# %% [markdown]
# Five functions, one loop. This is a whole diffusion sampler:

# %%
@torch.no_grad()
def draw(net, cond, noise, clip=None):
    """From noise (steps + 1, n, c) to data (n, c); also every x_t on the way."""
    steps = len(noise) - 1
    visited = respaced(steps) if steps > 1 else [999]
    x, path = noise[0], []
    for k in reversed(range(steps)):
        path.append(x)
        here = alpha_bars[visited[k]].item()
        previous = alpha_bars[visited[k - 1]].item() if k else 1.0
        eps = net(x, torch.full((len(x),), visited[k]), cond)
        x = step_back(x, predict_x0(x, eps, here, clip), here, previous, noise[steps - k])
    return x, path


def fresh_noise(steps, count, seed, channels=2):
    """The start and one draw for each step."""
    return torch.randn(steps + 1, count, channels, generator=L.generator(seed))


# %% [markdown]
# Two moons are a toy. Let us draw something with corners, and *on demand*: the outlines of three emoji, taken from the alpha channel of their pictures, with a condition that says which one. Corners are hard for a network that reads two plain numbers, so this one reads sines and cosines of them as well (`octaves=5`).

# %% tags=["nbval-ignore-output"]
NAMES = ("wolf", "rabbit face", "T-Rex")
edges = clouds.outlines(NAMES)


def one_hot(which):
    """The condition of points on outline ``which`` (n,): a 1 at its place."""
    return torch.nn.functional.one_hot(which, clouds.CONDITION).float()


outline_net, outline_losses = train("outlines", L.budget.outline_steps, octaves=5)
tail = outline_losses[-len(outline_losses) // 4 :]
print(f"loss: {outline_losses[0]:.2f} at first, {sum(tail) / len(tail):.2f} in the last quarter")

# %%
count = L.budget.points
wanted = torch.arange(3).repeat_interleave(count)
drawn, path = draw(outline_net, one_hot(wanted), fresh_noise(50, 3 * count, 3), CLIP)
clean = clouds.outline_points(edges, torch.zeros(count, dtype=torch.long), L.generator(4))
visited, stops = respaced(50)[::-1], (0, 20, 30, 38, 44)
figure, rows = figures.panels(4, 6, width=8, height=5.6, sharex=True, sharey=True)
grain = torch.randn(clean.shape, generator=L.generator(5))
for column, stop in enumerate((*stops, None)):
    t = 0 if stop is None else visited[stop]
    ahead = clean if stop is None else noised(clean, grain, alpha_bars[[t]].float())
    rows[0, column].scatter(*ahead[:700].T, s=1, color="C1")
    x = drawn if stop is None else path[stop]
    for number in range(3):
        rows[number + 1, column].scatter(*x[wanted == number][:700].T, s=1, color="C0")
    rows[0, column].set_title("clean" if stop is None else f"t = {t}")
for axis in rows.flat:
    axis.set(xticks=[], yticks=[], xlim=(-3, 3), ylim=(-3, 3), aspect="equal")
for axis, name in zip(rows[:, 0], ("noised wolf", *NAMES)):
    axis.set_ylabel(name, fontsize=9)
figures.show(
    figure,
    alt="Four rows of clouds. First row: the noised outline of a wolf's head, pure noise on the left, "
    "clean on the right. Below, drawn from noise with the condition wolf, rabbit and T-Rex: each "
    "begins as a round cloud and ends as its outline, with a few stray points.",
)

# %% [markdown]
# **What to notice.** Read the first row from right to left: that is the way forwards, with real data. The other rows are read from left to right: that is the way back, and no data are in it, only the network. Columns look alike: at each time a drawn cloud is spread as a noised one. That is all the training asked for.
#
# The same noise, three conditions, three shapes. The condition goes into the network beside the time, and that is all. For tokens it will be the hidden state.

# %% [markdown]
# ## 6. How many steps?
#
# We can measure it. The **energy distance** compares two clouds: the mean distance between a point of one and a point of the other, twice, minus the mean distances within each. It is 0 on average when both are spread alike.
#
# $$D = 2 \, \mathbb{E} \lVert x - y \rVert - \mathbb{E} \lVert x - x' \rVert - \mathbb{E} \lVert y - y' \rVert$$
#
# | symbol | meaning | shape | code |
# |---|---|---|---|
# | $x$, $x'$ | two different drawn points | (n, 2) | `x` |
# | $y$, $y'$ | two different real points | (m, 2) | `y` |
# | $D$ | energy distance; for two real clouds a number near 0, of either sign | number | `energy_distance` |

# %% [markdown] tags=["predict"]
# **What do you expect?** We draw moons and outlines in 1, 2, 4, 8, 12, 20 and 50 steps, with clip 2.5 and without. From how many steps on is it good enough? And what does leaving out the clip do, in 50 steps?
#
# <details><summary>Answer</summary>
#
# One and two steps give four corners: at t = 999 the implied data are an error times 20,291, and the clip cuts them to 2.5 or -2.5. The second and last step is at t = 0, where nothing large can be mended. At 4 there is a blot of the right shape, from 8 on an outline, and later steps only clear away strays. Without clip the first step throws the points hundreds of units away; the later steps cannot fetch them back, as the network has never seen such points.
# </details>

# %% tags=["experiment"]
STEPS = (1, 2, 4, 8, 12, 20, 50)
real = {"moons": batch("moons", count, L.generator(6))[0]}
real["outlines"] = clouds.outline_points(edges, wanted[::3], L.generator(7))
asked = {"moons": torch.zeros(count, 4), "outlines": one_hot(wanted[::3])}
nets = {"moons": net, "outlines": outline_net}
drawings, distance = {}, {}
for kind in real:
    for clip in (CLIP, None):
        for steps in STEPS:
            cloud, _ = draw(nets[kind], asked[kind], fresh_noise(steps, count, 8), clip)
            drawings[kind, clip, steps] = cloud
            distance[kind, clip, steps] = clouds.energy_distance(cloud, real[kind])
others = [clouds.two_moons(count, L.generator(20 + k)) for k in range(6)]
floor = sum(abs(clouds.energy_distance(other, real["moons"])) for other in others) / len(others)
print("steps                " + "".join(f"{steps:>9d}" for steps in STEPS))
for kind in real:
    for clip in (CLIP, None):
        row = "".join(f"{distance[kind, clip, steps]:9.3f}" for steps in STEPS)
        print(f"{kind:9s}{'clip 2.5' if clip else 'no clip':12s}" + row)
print(f"two real clouds of moons, mean size of six distances: {floor:.4f}")

# %%
figure, rows = figures.panels(2, 5, width=8, height=3.5, sharex=True, sharey=True)
for column, steps in enumerate((2, 4, 8, 20, 50)):
    for row, kind in zip(rows, real):
        mine = slice(None) if kind == "moons" else wanted[::3] == 0
        row[column].scatter(*drawings[kind, CLIP, steps][mine][:800].T, s=1, color="C0")
        row[column].set(xticks=[], yticks=[], xlim=(-3, 3), ylim=(-3, 3), aspect="equal")
    rows[0, column].set_title(f"{steps} steps")
figures.show(
    figure,
    alt="Two rows of clouds drawn in 2, 4, 8, 20 and 50 steps with clip. Two steps: nearly all points "
    "sit in the four corners of a square. Four: a filled blot of about the right shape. From eight on: "
    "two moons, and a wolf's outline, with fewer and fewer strays.",
)

# %%
figure, ((left, right),) = figures.panels(1, 2, height=3.2)
for axis, clip, title in ((left, CLIP, "clip 2.5"), (right, None, "no clip")):
    for kind, style in (("moons", "o-"), ("outlines", "s--")):
        axis.plot(STEPS, [max(distance[kind, clip, s], 3e-4) for s in STEPS], style, label=kind)
    axis.axhline(floor, color="black", linestyle=":", label="two real clouds")
    axis.set(xscale="log", yscale="log", xlabel="steps", title=title)
    axis.set_xticks(STEPS, [str(steps) for steps in STEPS])
    axis.minorticks_off()
left.set_ylabel("energy distance")
left.legend()
figures.show(
    figure,
    alt="Energy distance against steps, both axes logarithmic. Left, with clip: it falls from above 1 "
    "at one step to near the dotted line of two real clouds. Right, without clip: it stays above 50 "
    "for every number of steps.",
)

# %% [markdown]
# **What to notice.** With clip, one or two steps draw nothing, four draw a blot, and from 8 on the shape is there. At 20 the outlines are as near to the real cloud as a second real cloud would be (values of 0.0003 and less are drawn at 0.0003). The moons come close, and a few strays between them are left even at 50 steps: the guess there is a mean of both moons. Without clip no number of steps helps. The first guess, at t = 999, lands far outside, and the network has never seen a point out there.

# %% [markdown]
# ## 7. The same five functions on residual tokens
#
# Nothing changes but the numbers. A "point" is now the residual of one token: 32 numbers, divided by their scale. The condition is the transformer's hidden state for that token, 256 numbers. The network is the shipped residual head. Your loop runs as it is:

# %%
known = study.learnt_pictures(L.budget.pictures, SEED, model)
states = known.hidden.flatten(0, 1)  # (pictures * 16, 256)
truth = (known.residuals / known.scale).flatten(0, 1)
stored = fresh_noise(20, len(states), 10, channels=32)
mine, _ = draw(head, states, stored, clip=1.0)
library = model.generator.sample_residuals(
    known.hidden,
    guidance=0,
    num_steps=20,
    clip=1.0,
    noise=stored.reshape(21, *known.residuals.shape),
)
gap = (mine * known.scale - library.flatten(0, 1)).abs().max().item()
print(f"{len(states)} residuals of 32 numbers, size {truth.square().mean().sqrt():.2f} after scaling")
print(f"largest difference between your draw and dcar_edu's: {gap:.1e}")

# %%
free, _ = draw(head, states, stored)
wide, _ = draw(head, states, stored, clip=3.0)
shown = {"true": truth, "clip 1": mine, "clip 3": wide, "no clip": free}
figure, (row,) = figures.panels(1, 4, width=8, height=2.3, sharey=True)
bins = torch.linspace(-4, 4, 81)
for axis, (name, values) in zip(row, shown.items()):
    flat = values.flatten()
    axis.hist(flat.clamp(-4, 4).numpy(), bins=bins.numpy(), density=True, color="C0")
    beyond = (flat.abs() > 1.0001).float().mean().item()
    axis.set(title=f"{name}\n{beyond:.0%} beyond 1", xlabel="residual / scale", ylim=(0, 1.2))
    size, error = flat.square().mean().sqrt(), (values - truth).square().mean().sqrt()
    print(f"{name:8s} size {size:8.2f}   rms error {error:8.2f}   largest {flat.abs().max():9.2f}")
row[0].set_yticks([])
figures.show(
    figure,
    alt="Four histograms. True residuals: a bell. Drawn with clip 1: cut off at -1 and 1, with a peak "
    "at each end. Clip 3: a bell again. No clip: nearly everything lies outside the frame, at its "
    "two ends.",
)

# %% [markdown]
# **What to notice.** Clip 1 is the released code's, in units of the residuals' own size. A third of the true numbers lie beyond it: clip 1 cuts off values that are real, and piles up what it cuts at its two ends. Clip 3 cuts next to nothing that is real, and tames t = 999 as well: its histogram is nearly the true one, and its rms error is the smallest. Without clip nothing is left but the amplified error of the first step.
#
# So clip 3 should be better than clip 1, should it not? Keep that guess for section 8.

# %% [markdown]
# ### What runs in parallel?
#
# A step needs the result of the step before, so the 20 steps wait for each other. But given their hidden states, the residuals of different *tokens* do not depend on each other. They are rows of one batch.

# %% tags=["nbval-ignore-output"]
def seconds(rows, steps):
    """Time to draw that many residuals."""
    some = states[torch.arange(rows) % len(states)]
    stored = fresh_noise(steps, rows, 11, channels=32)
    began = time.perf_counter()
    draw(head, some, stored, clip=1.0)
    return time.perf_counter() - began


seconds(16, 4)  # the first call is slow
for steps in (10, 20, 40):
    line = "   ".join(f"{rows} tokens {1000 * seconds(rows, steps):6.1f} ms" for rows in (1, 16, 256))
    print(f"{steps} steps: {line}")

# %% [markdown]
# **What to notice.** Twice the steps cost twice the time, always. Sixteen times the tokens cost far less than sixteen times the time, as long as the machine is not yet busy. A GPU is busy much later than this CPU. That is why the paper can afford a diffusion head: 20 short steps of a small network for the whole picture, after the last pass of the transformer.

# %% [markdown]
# ## 8. Experiment: steps and clip for residuals
#
# Now the question of section 6 for the real thing. `09_residual_steps` takes 128 pictures that the generator has learnt, with their **true tokens**, so that only the residuals are drawn. (With drawn tokens, an error of the transformer would be counted against the head.) It draws in 1 to 50 steps with clip 1, as the released code does; in 20 and 50 without clip; with clip 3; and by **DDIM**, which adds no fresh noise after the start. Each arm runs with three seeds, each with other pictures and other noise. No guidance.

# %% [markdown] tags=["predict"]
# **What do you expect?** From how many steps on does the error stay the same? Is no clip as bad as for the points? And do drawn residuals make the pictures *better* than codes only?
#
# <details><summary>Answer</summary>
#
# Without clip: as bad, for the same reason. 1 or 2 steps: as useless. The other two questions cannot be answered by thinking. Look at the table, and keep in mind what clip you bet on in section 7.
# </details>

# %% tags=["experiment", "nbval-ignore-output"]
my_arm = "20 steps"
mine = study.residual_run(my_arm, 100 + SEED, L.budget.pictures)
print(f"yours, {L.budget.pictures} pictures: {my_arm}: error {mine['error']:.2f}, PSNR {mine['psnr']:.2f} dB")
print(f"codes only {mine['psnr_codes']:.2f} dB, true residuals {mine['psnr_true']:.2f} dB")

# %%
table = {arm: {} for arm in study.ARMS}  # arm -> seed -> metrics
for line in results("09_residual_steps"):
    if line["budget"] == "cpu":
        table[line["arm"]][line["seed"]] = line["metrics"]
seeds = sorted(set.intersection(*(set(found) for found in table.values())))
if not seeds:
    print("no results yet: run dcar experiment 09_residual_steps --budget cpu --seed 0 (and 1, 2)")
columns = {"error": 2, "size": 2, "psnr": 2, "gain": 2, "rkid_efficientnet": 1, "seconds": 2}


def row_of(values):
    """Mean over seeds, and the spread."""
    values = torch.tensor(values, dtype=torch.float64)
    return f"{values.mean():9.2f} ±{values.std():.2f}"


print(f"{'':20s}" + "".join(f"{c.replace('_efficientnet', ''):>15s}" for c in columns))
for arm, found in table.items():
    if seeds:
        print(f"{arm:20s}" + "".join(f"{row_of([found[s][c] for s in seeds]):>15s}" for c in columns))
for name in ("codes", "true"):
    if seeds:
        ends = [row_of([table["20 steps"][s][f"{c}_{name}"] for s in seeds]) for c in ("psnr", "rkid_efficientnet")]
        print(f"{name + ' only' * (name == 'codes'):20s}{'':30s}{ends[0]:>15s}{'':15s}{ends[1]:>15s}")

# %%
figure, ((left, right),) = figures.panels(1, 2, height=3.4)
counts = (1, 2, 4, 8, 20, 50)
extra = {"20 steps, clip 3": "^", "20 steps, DDIM": "D"}
for seed in seeds:
    for axis, metric in ((left, "error"), (right, "gain")):
        line = [table[f"{n} step{'s' * (n > 1)}"][seed][metric] for n in counts]
        axis.plot(counts, line, "o-", color="C0", linewidth=0.8, markersize=4)
        for arm, mark in extra.items():
            axis.plot(20, table[arm][seed][metric], mark, color="C1", markersize=7, fillstyle="none")
for axis, metric, label in ((left, "error", "rms error / scale"), (right, "gain", "PSNR gain over codes only, dB")):
    axis.plot([], [], "o-", color="C0", label="clip 1")
    for arm, mark in extra.items():
        axis.plot([], [], mark, color="C1", fillstyle="none", label=arm)
    axis.plot(20, mine[metric], "*", color="C0", markersize=12, markeredgecolor="black", label="yours")
    codes_only = truth.square().mean().sqrt().item() if metric == "error" else 0.0
    axis.axhline(codes_only, color="black", linestyle=":", label="codes only")
    axis.set(xscale="log", xlabel="steps", ylabel=label)
    axis.set_xticks(counts, [str(n) for n in counts])
    axis.minorticks_off()
left.legend(fontsize=8)
figures.show(
    figure,
    alt="Left: rms error of the residual against steps, three seeds; it falls steeply from 2 to 4 steps, "
    "is level from 8 on and lies below the dotted line of codes only; clip 3 lies lowest, DDIM highest. "
    "Right: the gain in PSNR over codes only; it rises to about -0.25 dB and stays below the dotted zero. "
    "Here clip 3 lies far lower than clip 1. A star is your own run.",
)

# %%
def judged(arm, metric, other=None):
    """Verdict (lesson 05) on an arm against another arm, or against codes only; paired seeds."""
    sign = -1 if metric.startswith("rkid") else 1  # lower rKID is better
    ours = [sign * table[arm][s][metric] for s in seeds]
    name = metric if other else f"{metric}_codes"
    return verdict(ours, [sign * table[other or arm][s][name] for s in seeds], t=SURE[len(seeds)])


if len(seeds) in SURE:
    for other in (None, "8 steps", "50 steps", "20 steps, clip 3", "20 steps, DDIM"):
        words = [f"{m[:4]}: {judged('20 steps', m, other)}" for m in ("psnr", "rkid_efficientnet")]
        print(f"20 steps, clip 1 against {other or 'codes only':18s}" + "; ".join(words))

# %% [markdown]
# **What to notice.** **Steps:** one and two are worse than nothing, as for the points. From 8 on hardly anything changes: between 8 and 20 neither PSNR nor rKID can tell, and 50 buy nothing. So 20 are enough, and on the safe side. Why so few? Look at the left panel: a draw is much nearer to the true residual than none is. Given its hidden state, only a part of a residual is left open, and what is left open is simple.
#
# **Clip:** without it the pictures are destroyed, in all seeds. And clip 3? Its residuals *are* nearer to the true ones, and its pictures are clearly worse than with clip 1. Your guess from section 7 was sound. It did not survive the measurement.
#
# **Is it worth it?** The true residual adds 0.6 dB. A drawn one *costs* about a quarter of a decibel here, and raises rKID from 93 to 116, with every seed, although its error is well below that of no residual. The paper reports a clear gain (its Table 4), with a head of 36 million numbers (ours: 0.37 million) on pictures of 64 tokens and more. At our size we do not see it.

# %% [markdown]
# ### One draw, or the mean of many?
#
# Nearer to the truth, and yet worse to look at: why? One part is in the word *draw*. A hidden state does not fix a residual, only its distribution. A draw is one possible value, the true one is another. If the distribution has variance $v$, the squared error of a draw is $2v$, that of the *mean* only $v$. So even a perfect head has twice the squared error that could be had. We can make a mean: draw eight times. And as a test we make residuals smaller.

# %%
draws = [draw(head, states, fresh_noise(20, len(states), 30 + k, 32), clip=3.0)[0] for k in range(8)]
choices = {
    "codes only": torch.zeros_like(truth),
    "one draw": draws[0],
    "half a draw": draws[0] / 2,
    "mean of 2": torch.stack(draws[:2]).mean(0),
    "mean of 8": torch.stack(draws).mean(0),
    "half the mean": torch.stack(draws).mean(0) / 2,
    "true residual": truth,
}
for name, values in choices.items():
    error = (values - truth).square().mean().sqrt()
    pictures = known.decode((scale * values).reshape_as(known.residuals))
    print(f"{name:14s} rms error {error:.2f}   PSNR {psnr(pictures, known.images).mean():.2f} dB")

# %% [markdown]
# **What to notice.** The first part is there: the mean of eight has a clearly smaller error than one draw, and 0.6 dB more. But look at its error, half of that of *codes only*, and at its PSNR, which is no higher. So the second part must be in the decoder. Make the residual *smaller* and the picture gets better: half a draw is as good as codes only, half the mean of eight is 0.2 dB above.
#
# What fits this: in training the decoder met true residuals, or none (lesson 04). To none it answers with the safest picture for these codes. To any other it believes every number, the wrong ones too. So a residual that is half right is overrated, and shrinking helps. Clip 1 shrinks as well (see "size" in the table), which would explain why it wins over clip 3. This is our explanation of these numbers, from 64 pictures. It is no proof. A decoder that also practises *drawn* residuals would be a test.

# %% [markdown]
# ## Quiz

# %% tags=["quiz", "nbval-ignore-output"]
course.quiz("09")

# %% [markdown] tags=["recap"]
# ## What you take with you
#
# 1. **Forwards is a formula**: two roots whose squares add up to 1. **Backwards is a guess**: one network for all times, trained to name the noise; a loss of 1 means that it knows nothing.
# 2. A guess from far away is a **mean**. Several steps turn it into a draw.
# 3. At $t = 999$ an error counts 20,291 times. **Clip**, or nothing comes back.
# 4. **Steps wait for each other, tokens do not.** About 20 steps are enough for residuals; measure before you pay for more.
# 5. A draw is one of the values that are possible, not their mean. And a residual nearer to the true one is not yet a better picture: measure where it counts.
#
# **New terms:** diffusion, alpha-bar, noise schedule, ancestral sampling, respacing, clipping, DDIM. `course.glossary()` explains them.
#
# **You now know** `dcar_edu.generator.diffusion` whole: `cosine_alpha_bars`, `respaced`, `add_noise`, `predict_x0` and `sample`; and what `MaskedGenerator.sample_residuals` does with them.
#
# **To read on:** [DDPM](https://arxiv.org/abs/2006.11239) for the loss and the step back, [Improved DDPM](https://arxiv.org/abs/2102.09672) for the cosine and respacing, [DDIM](https://arxiv.org/abs/2010.02502), and [MAR](https://arxiv.org/abs/2406.11838) for a diffusion head on tokens.
#
# **Next:** lesson 10 builds the head itself, trains it beside the transformer, and puts all of DC-AR together.

# %% tags=["nbval-ignore-output"]
#@title Download my answers (on Colab)
import sys

if "google.colab" in sys.modules:
    L.save_answers()

# %% tags=["finish", "nbval-ignore-output"]
L.finish()
