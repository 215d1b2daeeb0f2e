# %% [markdown] tags=["header"]
# ---
# title: Judging a tokenizer
# builds: the losses that make pictures sharp, the distance that judges sets of pictures, and a fair comparison of eight trainings
# figures: 7
# wait: 7
# wait_gpu: 6
# gpu: true
# memory: 2 GB
# needs: 04
# writes: your progress file
# ---

# %% [markdown] tags=["map"]
# You have built the tokenizer and trained it in three stages. This lesson looks at it from outside: what should it be punished for, how good is it, and were the three stages worth it?

# %% [markdown] tags=["objectives"]
# **When you are done you can**
#
# - measure how different two pictures *look*, with the features of a frozen network;
# - train a drawing against a second network that tries to find it out (a GAN), and say how that fails;
# - compare two *sets* of pictures with KID, and say what its number is worth;
# - decide from a few seeds whether one training is better than another, or say that you cannot tell;
# - read an ablation table, the paper's and your own.
#
# **You need** lesson 04. GAN and KID are taught here; lessons 10 to 13 only use them.
#
# **Short of time?** Do sections 1, 2, 5 and 6.

# %% tags=["setup"]
#@title Setup (run first)
# SETUP

# %% tags=["parameters"]
import os

BUDGET = os.environ.get("DCAR_BUDGET", "cpu")
SEED = 0

# %% tags=["start", "nbval-ignore-output"]
import math
import statistics

import torch
import torch.nn.functional as F
from torch import nn

from dcar_edu import CaptionedEmoji, course, images, metrics
from dcar_edu.course import check, figures, same_as_library
from dcar_edu.course.experiments import results
from dcar_edu.course.studies.study_05 import SETTINGS, SURE, arms, longer_last_stage, train_arm
from dcar_edu.features import load_features
from dcar_edu.tokenizer import adversary

L = course.start("05", BUDGET, SEED)

# %% tags=["map", "nbval-ignore-output"]
course.course_map("05")

# %% [markdown]
# ## 1. Three wolves with one PSNR
#
# The wolf is moved by two pixels, covered with noise, and blurred. Noise and blur are chosen so that all three have (nearly) the same PSNR as the moved one.

# %%
emoji = CaptionedEmoji("train", 128, styles=["3d"], concepts=["wolf"])
wolf = emoji.render([emoji.example("wolf", "3d", "pale blue")])


def blurred(pictures, side):
    """Shrink to ``side`` pixels and enlarge again."""
    return images.resize(images.resize(pictures, (side, side)), tuple(pictures.shape[2:]))


moved = torch.roll(wolf, 2, dims=-1)
target = metrics.psnr(moved, wolf).item()
std = math.sqrt(4 / 10 ** (target / 10))
noisy = wolf + std * torch.randn(wolf.shape, generator=L.generator())
side = min(range(4, 65), key=lambda s: abs(metrics.psnr(blurred(wolf, s), wolf).item() - target))
damaged = {"moved": moved, "noisy": noisy, "blurred": blurred(wolf, side)}

# %%
with torch.no_grad():
    net = load_features(L.device)
    seen = {name: net(picture) for name, picture in {"original": wolf, **damaged}.items()}
    looks = {n: metrics.perceptual_distance(seen[n].taps, seen["original"].taps).item() for n in damaged}
titles = ["original"]
for name, picture in damaged.items():
    titles.append(f"{name}\nPSNR {metrics.psnr(picture, wolf).item():.1f}\nlooks {looks[name]:.2f}")
figures.show(
    figures.image_grid(torch.cat([wolf, *damaged.values()]), titles=titles, tile=1.6),
    alt="Four wolves: the original, one moved by two pixels, one under coloured noise, one blurred. "
    "Below each damaged one stand its PSNR, nearly the same for all, and a second number, which "
    "differs a lot.",
)

# %% [markdown]
# **What to notice.** PSNR calls these three equal. You do not. The second number does not either: it is the *perceptual distance*, the subject of the next section. Small means alike.
#
# A tokenizer trained on L1 is paid for pixels. Where it is not sure, the cheapest answer is a blur. So lessons 02 to 04 gave soft pictures, and all the high PSNR in the world will not make them sharp.

# %% [markdown]
# ## 2. Looking through another network's eyes
#
# **EfficientNet-Lite0** has learnt to tell a thousand kinds of things apart in photographs. On the way it computes *features*: early layers answer to edges, later ones to fur and wheels. We freeze it, take the output of five layers, the *taps*, and compare two pictures there instead of in pixels.
#
# $$d(x, \hat{x}) = \frac{1}{T} \sum_{t=1}^{T} \frac{1}{h_t w_t} \sum_{i,j} \left\lVert \frac{a^t_{ij}}{\lVert a^t_{ij} \rVert} - \frac{b^t_{ij}}{\lVert b^t_{ij} \rVert} \right\rVert^2$$
#
# In words: at each place take the vector of channels, make its length 1, and square the distance of the two. Then average over places, then over taps. Length 1, because one tap's numbers are a hundred times larger than another's.
#
# | symbol | meaning | shape | code |
# |---|---|---|---|
# | $a^t$, $b^t$ | tap $t$ of picture $x$ and of picture $\hat{x}$ | (batch, channels, $h_t$, $w_t$) | `a`, `b` |
# | $T$ | number of taps, here 5 | number | `len(features_a)` |
# | $d$ | perceptual distance, 0 for equal pictures | (batch,) | `distance` |

# %% tags=["nbval-check-output"]
for tap in seen["original"].taps:
    print("tap", tuple(tap.shape))

# %% [markdown] tags=["exercise-text"]
# ### Exercise 05.1 - Perceptual distance
# difficulty: 2/5 · importance: 5/5 · 8 min · needs: none
#
# Write `perceptual_distance(features_a, features_b)`. Both are lists of taps, tensors (batch, channels, h, w); each tap has its own size. Give back one number a picture: a float tensor (batch,).
#
# Used in `dcar_edu.features.perceptual_distance`, as a loss and as a metric.
#
# <details><summary>Hint 1</summary>
#
# Go through both lists with `zip`. For one tap: which axis is made to length 1, which is summed, which are averaged, and which one stays?
# </details>
# <details><summary>Hint 2</summary>
#
# `F.normalize(a, dim=1)` makes every channel vector as long as 1. After the square, sum over dim 1 and average over the two axes of space.
# </details>
# <details><summary>Hint 3</summary>
#
# For each tap `(F.normalize(a, dim=1) - F.normalize(b, dim=1)).square().sum(dim=1).mean(dim=(1, 2))`, then `torch.stack(distances).mean(dim=0)`.
# </details>
# <details><summary>Expected</summary>
#
# Two vectors at a right angle have distance 2, equal directions 0, whatever their lengths.
# </details>

# %% tags=["exercise"]
def perceptual_distance(features_a, features_b):
    """Distance of two batches in the taps of a network, one number a picture."""
    # BEGIN SOLUTION
    distances = []
    for a, b in zip(features_a, features_b):
        gap = F.normalize(a, dim=1) - F.normalize(b, dim=1)
        distances.append(gap.square().sum(dim=1).mean(dim=(1, 2)))
    return torch.stack(distances).mean(dim=0)
    # END SOLUTION


# %% tags=["check", "nbval-ignore-output"]
perceptual_distance = check("05.1", perceptual_distance)

# %% tags=["nbval-ignore-output"]
same_as_library(
    perceptual_distance,
    metrics.perceptual_distance,
    lambda: (seen["moved"].taps, seen["original"].taps),
)

# %% [markdown]
# Now let both judges grade the same damages in growing strength.

# %%
many = CaptionedEmoji("train", 64, concepts=48)
pictures = many.batch(16, generator=L.generator(1)).images
noise = torch.randn(pictures.shape, generator=L.generator(2))
ladder = {
    "blurred": [blurred(pictures, side) for side in (40, 28, 20, 14, 10)],
    "noisy": [pictures + std * noise for std in (0.06, 0.12, 0.2, 0.3, 0.45)],
    "moved": [torch.roll(pictures, shift, dims=-1) for shift in (1, 2, 3, 4, 6)],
}
curves = {}
with torch.no_grad():
    taps = net(pictures).taps
    for name, steps in ladder.items():
        close = [metrics.psnr(step, pictures).mean().item() for step in steps]
        look = [perceptual_distance(net(step).taps, taps).mean().item() for step in steps]
        curves[name] = (close, look)

# %%
figure, ((axis,),) = figures.panels(height=3.2)
for (name, (close, look)), mark in zip(curves.items(), ("o-", "s--", "^:")):
    axis.plot(close, look, mark, label=name)
axis.set(xlabel="PSNR in dB (right: worse)", ylabel="perceptual distance")
axis.invert_xaxis()
axis.legend()
figures.show(
    figure,
    alt="Perceptual distance against PSNR for three damages of growing strength. The three curves "
    "do not fall on one line: at the same PSNR, moved pictures lie lowest.",
)

# %% [markdown]
# **What to notice.** If the two judges agreed, the three curves would be one. Pick a PSNR and go up: a *moved* picture is the most alike, because features answer to an edge, wherever it is by a pixel or two. That is how the perceptual distance forgives what L1 punishes.
#
# It is no truth either. This network learnt from photographs, not from emoji, and it may be fooled. That is why we look at pictures, too.

# %% [markdown]
# ## 3. A judge that learns
#
# A frozen judge has blind spots, and a tokenizer will find them. So let the judge learn as well: a **discriminator** scores small patches, high for originals and low for drawings. The network that draws is paid for a high score. Each makes the other better. This is a **GAN**, a generative adversarial network.
#
# $$\mathcal{L}_D = \tfrac{1}{2} \Big( \overline{\max(0, 1 - r)} + \overline{\max(0, 1 + s)} \Big) \qquad \mathcal{L}_G = -\overline{s}$$
#
# In words: the discriminator wants scores above 1 for originals and below -1 for drawings; beyond that it is content and learns no more from this patch. The bar is a mean over all patches. The drawing network is never content: it always wants a higher score.
#
# | symbol | meaning | shape | code |
# |---|---|---|---|
# | $r$ | scores of patches of originals | (batch, 1, h, w) | `real` |
# | $s$ | scores of patches of drawings | (batch, 1, h, w) | `fake` |
# | $\mathcal{L}_D$, $\mathcal{L}_G$ | losses of the discriminator and of the network that draws | number | `discriminator`, `generator` |

# %% [markdown] tags=["exercise-text"]
# ### Exercise 05.2 - Hinge losses
# difficulty: 2/5 · importance: 4/5 · 7 min · needs: none
#
# Write `hinge_losses(real, fake)`: two tensors of scores, any shape. Give back the two losses as a pair: discriminator first, generator second.
#
# Used in `dcar_edu.tokenizer.adversary.hinge_losses`.
#
# <details><summary>Hint 1</summary>
#
# `F.relu` is max(0, ·). Which score of an original costs nothing? Which score of a drawing?
# </details>
# <details><summary>Hint 2</summary>
#
# Take the mean of originals and of drawings apart, as the two sets may differ in size. The half stands before both.
# </details>
# <details><summary>Hint 3</summary>
#
# `0.5 * (F.relu(1 - real).mean() + F.relu(1 + fake).mean())` and `-fake.mean()`.
# </details>
# <details><summary>Expected</summary>
#
# Scores of 0 everywhere cost the discriminator exactly 1: it has no idea. The scores below give 0.667 and 1.
# </details>

# %% tags=["exercise"]
def hinge_losses(real, fake):
    """Losses of the discriminator and of the network that draws, from their scores."""
    # BEGIN SOLUTION
    discriminator = 0.5 * (F.relu(1 - real).mean() + F.relu(1 + fake).mean())
    return discriminator, -fake.mean()
    # END SOLUTION


# %% tags=["check", "nbval-ignore-output"]
hinge_losses = check("05.2", hinge_losses)

# %% tags=["nbval-check-output"]
scores = torch.tensor([1.0, -1.0, 3.0]), torch.tensor([1.0, -1.0, -3.0])
print("discriminator, generator:", [f"{loss.item():.3f}" for loss in hinge_losses(*scores)])
same = [torch.equal(a, b) for a, b in zip(hinge_losses(*scores), adversary.hinge_losses(*scores))]
print("the same as the library's:", same)

# %% [markdown]
# What do the three losses *want*? We ask without any tokenizer. Sixteen copies of a patch of zebra, each moved by a few pixels, stand for all that a token may mean: "stripes", but not where each one begins. We look for the **one** picture that answers all sixteen best, by changing its pixels directly.

# %% [markdown] tags=["predict"]
# **What do you expect?** How will the best picture look for L1 alone? With the perceptual distance added? With a discriminator added to both?
#
# <details><summary>Answer</summary>
#
# L1: at each pixel the median of sixteen colours, which smears the stripes to grey. Perceptual: the stripes come back, because features want edges wherever they are, with some coloured noise the network does not mind. GAN: stripes as black and clean as in the original, because grey patches never occur in the originals and are found out. None of the three is *right* about the places.
# </details>

# %%
zebra = CaptionedEmoji("train", 128, styles=["noto"], concepts=["zebra"])
patch = zebra.render([zebra.example("zebra", "noto", "white")])[:, :, 32:96, 32:96].to(L.device)
moves = torch.randint(-6, 7, (16, 2), generator=L.generator(3)).tolist()
wanted = torch.cat([torch.roll(patch, move, dims=(2, 3)) for move in moves])
with torch.no_grad():
    wanted_taps = net(wanted).taps


def looks_unlike(picture):
    """Mean perceptual distance of one picture to all that are wanted."""
    repeated = [tap.expand_as(other) for tap, other in zip(net(picture).taps, wanted_taps)]
    return perceptual_distance(repeated, wanted_taps).mean()


def patch_scorer(channels=32):
    """A tiny discriminator: one score for every patch of 18 x 18 pixels."""
    return nn.Sequential(
        *(nn.Conv2d(3, channels, 4, 2, 1), nn.LeakyReLU(0.2)),
        *(nn.Conv2d(channels, 2 * channels, 4, 2, 1), nn.LeakyReLU(0.2)),
        nn.Conv2d(2 * channels, 1, 3, 1, 1),
    ).to(L.device)


# %%
def best_answer(perceptual, adversarial, steps):
    """The one picture with the lowest loss to all wanted ones, and both scores over time."""
    picture = wanted.mean(0, keepdim=True).requires_grad_()
    drawing = torch.optim.Adam([picture], lr=0.03, betas=(0.5, 0.9))
    rival = patch_scorer()
    judging = torch.optim.Adam(rival.parameters(), lr=2e-3, betas=(0.5, 0.9))
    places, rivals_loss = L.generator(4), []
    for _ in range(steps):
        loss = (picture - wanted).abs().mean()
        if perceptual:
            loss = loss + perceptual * looks_unlike(picture)
        if adversarial:
            move = torch.randint(-6, 7, (2,), generator=places).tolist()
            shown = torch.roll(picture, move, dims=(2, 3))  # so that places tell nothing
            judge_loss, _ = hinge_losses(rival(wanted[:4]), rival(shown.detach()))
            judging.zero_grad()
            judge_loss.backward()
            judging.step()
            loss = loss + adversarial * hinge_losses(rival(wanted[:1]), rival(shown))[1]
            rivals_loss.append(judge_loss.item())
        drawing.zero_grad()
        loss.backward()
        drawing.step()
    return picture.detach().clamp(-1, 1), rivals_loss


torch.manual_seed(SEED)
steps = L.budget.patch_steps
answers = {
    "L1": best_answer(0, 0, steps),
    "+ perceptual": best_answer(1, 0, steps),
    "+ GAN": best_answer(1, 0.2, steps),
}

# %%
titles = ["one of sixteen"]
with torch.no_grad():
    for name, (picture, _) in answers.items():
        gap = (picture - wanted).abs().mean().item()
        titles.append(f"{name}\nL1 {gap:.2f}, looks {looks_unlike(picture).item():.2f}")
tiles = torch.cat([patch, *(picture for picture, _ in answers.values())])
figures.show(
    figures.image_grid(tiles.cpu(), titles=titles, tile=1.6),
    alt="Four patches of a zebra. The original has clean black stripes. The best picture for L1 is "
    "smeared and grey. With the perceptual distance the stripes return, thin and with coloured "
    "noise. With the discriminator they are strong and dark.",
)

# %% [markdown]
# **What to notice.** Read the numbers under the pictures from left to right: L1 gets *worse* as the pictures get sharper. This is the trade the paper makes: its tokenizer is trained with a GAN loss. So do not put its PSNR of 21.5 dB beside that of a tokenizer trained on pixels only.
#
# At `smoke` and `cpu` our tokenizers are trained without these two losses, because EfficientNet costs three to six times a step of the small tokenizer on a processor. `TokenizerTraining(perceptual_weight=..., gan_weight=...)` switches them on.
#
# **When the judge wins.** If the discriminator becomes too good, its loss goes to 0: it finds out every drawing, and what the drawing network can learn from it is noise. The usual remedies: start it late (never in the warm-up), weigh its pull against that of the other losses, punish it for being too sure (R1, LeCam).

# %% [markdown]
# ## 4. Judging a set: KID
#
# PSNR and the perceptual distance ask: is *this* drawing like *its* original? Another question is: does the *set* of drawings look like the set of originals? Are colours, sharpness and textures those of the data? This question can be asked of pictures that have no original, and lesson 13 will ask it of our generator.
#
# Each picture becomes one vector of 1,280 features. **KID** compares the vectors of two sets by their products:
#
# $$\text{KID} = \overline{k(x_i, x_j)}_{\,i \ne j} + \overline{k(y_i, y_j)}_{\,i \ne j} - 2\, \overline{k(x_i, y_j)} \qquad k(a, b) = \Big( \frac{a \cdot b}{d} + 1 \Big)^3$$
#
# In words: how alike are two pictures of the first set, two of the second, and one of each? If the sets are of one kind, the three means are equal and KID is 0. A picture is never compared with itself: it would look too alike. This is what makes KID **unbiased**, right on average however few the pictures.
#
# | symbol | meaning | shape | code |
# |---|---|---|---|
# | $x$, $y$ | features of two sets | (n, d), (m, d) | `x`, `y` |
# | $k$ | kernel: how alike two vectors are | number | `(a @ b.T / d + 1) ** 3` |
# | $d$ | width of a feature vector | number | `x.shape[1]` |

# %% [markdown] tags=["exercise-text"]
# ### Exercise 05.3 - KID
# difficulty: 3/5 · importance: 4/5 · 10 min · needs: none
#
# Write `kid(x, y)`. `x` is a float tensor (n, d), `y` a float tensor (m, d); n and m differ. Give back one number, not multiplied by 1,000.
#
# Used in `dcar_edu.metrics.kid`.
#
# <details><summary>Hint 1</summary>
#
# One matrix product gives all pairs: `x @ y.T` has shape (n, m). You need three such matrices.
# </details>
# <details><summary>Hint 2</summary>
#
# Pairs of a picture with itself stand on the diagonal of the first two. `k.trace()` is their sum. How many pairs are left?
# </details>
# <details><summary>Hint 3</summary>
#
# `(k.sum() - k.trace()) / (n * (n - 1))` for each set with itself, `k.mean()` for the cross term, which counts twice and is subtracted.
# </details>
# <details><summary>Expected</summary>
#
# The features 0, 1 against 1, 1, 2 give 6.333. You can do it by hand.
# </details>

# %% tags=["exercise"]
def kid(x, y):
    """Unbiased kernel distance between two sets of features (n, d) and (m, d)."""
    # BEGIN SOLUTION
    d, n, m = x.shape[1], len(x), len(y)
    xx, yy, xy = ((a @ b.T / d + 1) ** 3 for a, b in ((x, x), (y, y), (x, y)))
    within_x = (xx.sum() - xx.trace()) / (n * (n - 1))
    within_y = (yy.sum() - yy.trace()) / (m * (m - 1))
    return float(within_x + within_y - 2 * xy.mean())
    # END SOLUTION


# %% tags=["check", "nbval-ignore-output"]
kid = check("05.3", kid)

# %% tags=["nbval-check-output"]
by_hand = torch.tensor([[0.0], [1.0]]), torch.tensor([[1.0], [1.0], [2.0]])
print(f"by hand 6.333, yours {kid(*by_hand):.3f}, the library's {metrics.kid(*by_hand):.3f}")
one_kind = torch.randn(40, 8, generator=torch.Generator().manual_seed(0))
splits = [torch.randperm(40, generator=torch.Generator().manual_seed(s)) for s in range(10)]
below = any(kid(one_kind[s[:20]], one_kind[s[20:]]) < 0 for s in splits)
print("KID of a set with its own other half can be negative:", below)

# %% [markdown]
# How many pictures do we need? Take two sets of training pictures, which are of one kind: the truth is 0. Measure with few, with more, with many; and beside it the *biased* version, which keeps the diagonal.

# %%
def biased_kid(x, y):
    """The same with every picture compared with itself, too."""
    xx, yy, xy = ((a @ b.T / x.shape[1] + 1) ** 3 for a, b in ((x, x), (y, y), (x, y)))
    return float(xx.mean() + yy.mean() - 2 * xy.mean())


with torch.no_grad():
    drawn = many.batch(2 * L.budget.pictures, generator=L.generator(5)).images
    found = torch.cat([net(part).pooled.cpu() for part in drawn.split(32)]).double()
sizes = [n for n in (4, 8, 16, 32, 64, 128, 256) if n <= L.budget.pictures]
spread = {"biased": [], "unbiased": []}
source = L.generator(6)
for n in sizes:
    both = [torch.randperm(len(found), generator=source)[: 2 * n] for _ in range(L.budget.repeats)]
    for name, distance in (("biased", biased_kid), ("unbiased", kid)):
        spread[name].append([distance(found[rows[:n]], found[rows[n:]]) for rows in both])

# %%
figure, ((axis,),) = figures.panels(height=3.2)
for (name, columns), mark, colour in zip(spread.items(), ("s--", "o-"), ("C1", "C0")):
    middle = [statistics.mean(column) for column in columns]
    axis.plot(sizes, middle, mark, color=colour, label=name)
    low, high = [min(column) for column in columns], [max(column) for column in columns]
    axis.fill_between(sizes, low, high, color=colour, alpha=0.15, linewidth=0)
axis.axhline(0, color="black", linewidth=1)
axis.set(xscale="log", xlabel="pictures in each set", ylabel="KID, EfficientNet features")
axis.set_xticks(sizes, [str(n) for n in sizes])
axis.set_xticks([], minor=True)
axis.legend()
figures.show(
    figure,
    alt="KID of two sets of one kind against the number of pictures, with the range of repeated "
    "draws as a band. The biased curve starts high and falls towards 0. The unbiased one lies "
    "around 0 from the start, in a band that is wide at first, partly below 0, and then narrow.",
)

# %% [markdown]
# **What to notice.** The biased curve falls as $1/n$. Compare one model on 100 pictures with another on 200, and the second looks better for no reason. **FID**, the usual number, is biased in the same way, only worse: it needs tens of thousands of pictures. The unbiased curve is right on average from 4 pictures on, and useless there all the same: look at its band. *No bias* does not mean *no spread*.
#
# Two details. With reconstructions, every drawing has its own original in the other set, and the two are unusually alike; `metrics.kid(..., paired=True)` leaves these pairs out as well. And the name: our features are EfficientNet's, so we write *rKID on EfficientNet features*, times 1,000, and never *rFID*.

# %% [markdown]
# ## 5. Is the difference real?
#
# Train the same thing twice with another seed, and the result differs. So a table with one run for each arm shows the arms *and* luck. Our remedy: several seeds, and arms compared **in pairs**. Runs of one seed start from the same weights and see the same pictures; what they share cancels out.
#
# $$g_s = a_s - b_s \qquad \text{better if } \bar{g} > t \cdot \frac{\sigma_g}{\sqrt{n}}$$
#
# In words: take the gap of each seed. Its mean must exceed $t$ times its standard error. With few seeds the spread itself is badly known, so $t$ is large: 4.30 for three seeds, not the 2 that one remembers.
#
# | symbol | meaning | shape | code |
# |---|---|---|---|
# | $a_s$, $b_s$ | results of two arms with seed $s$, higher is better | lists of n numbers | `a`, `b` |
# | $\bar{g}$, $\sigma_g$ | mean and standard deviation (with n - 1) of the gaps | numbers | `statistics.mean`, `statistics.stdev` |
# | $n$, $t$ | number of seeds; Student's t for 95 % | numbers | `len(gaps)`, `t` |

# %% [markdown] tags=["exercise-text"]
# ### Exercise 05.4 - A verdict
# difficulty: 2/5 · importance: 5/5 · 8 min · needs: none
#
# Write `verdict(a, b, t=4.30)`. `a` and `b` are lists of numbers, one a seed, in the same order; higher is better. Give back "better" if `a` is better than `b`, "worse" if it is worse, and "cannot tell" otherwise.
#
# Used in `dcar_edu.course.studies.study_05.verdict`.
#
# <details><summary>Hint 1</summary>
#
# Work with the list of gaps only. The seeds may differ by 4 dB among each other; that must not matter.
# </details>
# <details><summary>Hint 2</summary>
#
# The standard error is the standard deviation of the gaps divided by the root of their number. `statistics.stdev` divides by n - 1, as it should.
# </details>
# <details><summary>Hint 3</summary>
#
# `error = statistics.stdev(gaps) / math.sqrt(len(gaps))`; "cannot tell" if `abs(statistics.mean(gaps)) <= t * error`.
# </details>
# <details><summary>Expected</summary>
#
# 18.5, 20.5, 22.5 against 18, 20, 22: better, as every seed gains 0.5. The gaps 0.25, 0.35, 0.6: cannot tell with three seeds.
# </details>

# %% tags=["exercise"]
def verdict(a, b, t=4.30):
    """Is arm a better than arm b, worse, or can we not tell? One number a seed, in pairs."""
    # BEGIN SOLUTION
    gaps = [one - other for one, other in zip(a, b)]
    error = statistics.stdev(gaps) / math.sqrt(len(gaps))
    if abs(statistics.mean(gaps)) <= t * error:
        return "cannot tell"
    return "better" if statistics.mean(gaps) > 0 else "worse"
    # END SOLUTION


# %% tags=["check", "nbval-ignore-output"]
verdict = check("05.4", verdict)

# %% tags=["nbval-check-output"]
print("every seed gains half a dB:", verdict([18.5, 20.52, 22.49], [18.0, 20.0, 22.0]))
print("all three gain, unequally: ", verdict([20.25, 20.35, 20.6], [20.0, 20.0, 20.0]))
print("the same gaps, t = 2:      ", verdict([20.25, 20.35, 20.6], [20.0, 20.0, 20.0], t=2))

# %% [markdown]
# **What to notice.** In the second line all three seeds agree, and still the verdict is "cannot tell". It does not say that the arms are equal. It says: run more seeds.

# %% [markdown]
# ## 6. Experiment: eight ways to train one tokenizer
#
# The paper says that three stages beat other plans, and shows three rows. It has no error bars, and its smallest gap is 0.16. We repeat the comparison at a small size, with the rows that readers ask for: the same narrow tokenizer (f16, 64 pixels, so 4 x 4 tokens; 64 codes, so that rounding to a code hurts about as much as in the paper), the same pictures, and only the list of stages differs.

# %% [markdown]
# - **direct**: both paths, everything trained, from the first step on.
# - **warm-up only**: an autoencoder without codes; k-means puts the codes into its latents afterwards.
# - **discrete only**: the decoder never practises residuals.
# - **alternate only**: the last stage alone; the encoder stays random.
# - **no warm-up** and **HART style**: the paper's two other rows.
# - **three stages**: the paper's plan, 1 : 4 : 1.
# - **unfrozen**: the same, but somebody forgot to freeze the encoder in the last stage.

# %% [markdown] tags=["predict"]
# **What do you expect?** Which arm has the best discrete path, which the best hybrid path? In which arm is the hybrid path *worse* than the discrete one? What does "unfrozen" do to each path?
#
# <details><summary>Answer</summary>
#
# Write your guess down, then look at the figure: the table decides, not this text. Three arms can be foreseen. "Warm-up only" has no reason to be good with codes that nobody trained for. "Alternate only" must draw from what a random encoder happens to keep. "Discrete only" never saw a residual, so there adding residuals helps little or even harms. Whether three stages beat "direct" and HART's plan at this small size is the open question.
# </details>

# %% tags=["nbval-check-output"]
paper = {"no warm-up": (5.93, 1.76), "HART style": (6.18, 1.92), "three stages": (5.13, 1.60)}
print("the paper's ablation (arXiv:2507.04947), rFID, lower is better: discrete, hybrid")
for name, (discrete, hybrid) in paper.items():
    print(f"  {name:14s} {discrete:.2f}  {hybrid:.2f}")
print("ours: path and steps of each stage; * only the decoder learns")
for name, plan in arms(600).items():
    stages = [f"{s.path} {s.steps}{'*' * (s.trains == ('decoder',))}" for s in plan]
    print(f"  {name:14s} {', '.join(stages)}")

# %% tags=["nbval-ignore-output", "experiment"]
setting = SETTINGS["smoke" if L.budget.name == "smoke" else "cpu"]
my_seed = 100 + SEED
mine = {}
for arm in ("direct", "three stages"):
    mine[arm] = train_arm(arm, my_seed, setting, features=net, say=print)
    print(f"{arm}: hybrid {mine[arm]['psnr_hybrid']:.2f} dB, discrete {mine[arm]['psnr_discrete']:.2f} dB")

# %%
table = {name: {} for name in arms(6)}  # arm -> seed -> metrics
for line in results("05_ablation"):
    if line["budget"] == "cpu":
        table[line["arm"]][line["seed"]] = line["metrics"]
seeds = sorted(set.intersection(*(set(found) for found in table.values())))
if not seeds:
    print("no results yet: run dcar experiment 05_ablation --budget cpu --seed 0 (and 1, 2)")


def row(name, found, columns):
    """One line of the table: mean over seeds, and the spread where there is one."""
    cells = []
    for column, digits in columns.items():
        values = [metrics_of_seed[column] for metrics_of_seed in found]
        middle = f"{statistics.mean(values):.{digits}f}"
        wide = f" ±{statistics.stdev(values):.{digits}f}" if len(values) > 1 else ""
        cells.append(f"{middle + wide:>15s}")
    print(f"{name:22s}" + "".join(cells))


close = {"psnr_discrete": 2, "psnr_hybrid": 2, "ssim_discrete": 3, "ssim_hybrid": 3}
look = {"perceptual_discrete": 3, "perceptual_hybrid": 3}
look |= {"rkid_efficientnet_discrete": 0, "rkid_efficientnet_hybrid": 0}
health = {"train_usage": 2, "perplexity": 0, "cosine": 3}
for columns in (close, look, health):
    print(f"{'':22s}" + "".join(f"{c.replace('_efficientnet', '')[:14]:>15s}" for c in columns))
    for name, by_seed in table.items():
        if seeds:
            row(name, [by_seed[s] for s in seeds], columns)
    for name, found in mine.items():
        row(f"yours: {name}", [found], columns)

# %%
figure, axes = figures.panels(2, 1, height=5.2)
shown = [name for name in table if seeds or name in mine]
for axis, metric, label in zip(axes[:, 0], ("psnr", "rkid_efficientnet"), ("PSNR, dB", "rKID x 1000")):
    for path, colour, mark in (("hybrid", "C0", "o"), ("discrete", "C1", "s")):
        for seed in seeds:
            line = [table[name][seed][f"{metric}_{path}"] for name in shown]
            axis.plot(line, mark + ":", color=colour, linewidth=0.8, markersize=5)
        places = [shown.index(name) for name in mine]
        values = [found[f"{metric}_{path}"] for found in mine.values()]
        axis.plot(places, values, "*", color=colour, markersize=12, markeredgecolor="black")
        axis.plot([], [], mark, color=colour, label=path)
    axis.set(ylabel=label, xlim=(-0.5, len(shown) - 0.5))
    axis.set_xticks(range(len(shown)), [name.replace(" ", "\n") for name in shown], fontsize=8)
axes[1, 0].set_yscale("log")
axes[0, 0].legend()
figures.show(
    figure,
    alt="Two dot plots over the arms: PSNR above, rKID below. Circles: hybrid path; squares: "
    "discrete path; dotted lines join runs of one seed; stars are your two runs. Random encoder "
    "and codes fitted afterwards stand apart; most other arms lie close together.",
)

# %%
def against(other, metric):
    """Verdict on three stages against another arm; rKID and perceptual distance: lower is better."""
    sign = 1 if metric.startswith(("psnr", "ssim")) else -1
    pair = [[sign * table[name][s][metric] for s in seeds] for name in ("three stages", other)]
    return verdict(*pair, t=SURE[len(seeds)])


judged = [f"{m}_{p}" for m in ("psnr", "rkid_efficientnet") for p in ("discrete", "hybrid")]
if len(seeds) in SURE:
    print(f"three stages against ..., {len(seeds)} seeds")
    for other in table:
        if other != "three stages":
            words = [f"{m.replace('_efficientnet', '')}: {against(other, m)}" for m in judged]
            print(f"  {other:15s}" + "; ".join(words))

# %% [markdown]
# **What to notice.** Our data contradict the paper in one place. Among the plans that train with codes, *HART style* is the best, on both paths. *Three stages* beat *no warm-up* on both paths, as the paper says; against *direct* we cannot tell. Forgetting to freeze the encoder costs nothing that this table can see (lesson 04 shows what it does cost). And *warm-up only* has the best hybrid path of all, with codes that nobody trained for.
#
# Why? Order the plans by one number: how many steps the *encoder* learns on latents, not on codes. (An alternating step counts half.) The last two plans are three stages with another share for each.

# %%
practice = {"continuous": 1, "alternate": 0.5, "discrete": 0}
plans = arms(SETTINGS["cpu"].steps) | longer_last_stage(SETTINGS["cpu"].steps)
for line in results("05_last_stage"):
    if line["budget"] == "cpu":
        table.setdefault(line["arm"], {})[line["seed"]] = line["metrics"]
print(f"{'':15s} encoder's steps on latents   hybrid PSNR")
rows = []
for name, plan in plans.items():
    learnt = sum(s.steps * practice[s.path] for s in plan if "encoder" in s.trains)
    rows.append((learnt, name, [by_seed["psnr_hybrid"] for by_seed in table.get(name, {}).values()]))
for learnt, name, found in sorted(rows, reverse=True):
    if len(found) > 1:
        print(f"{name:15s} {learnt:26.0f}   {statistics.mean(found):.2f} ±{statistics.stdev(found):.2f}")

# %% [markdown]
# The more the encoder learns on latents, the better the hybrid path: the order is nearly perfect, and so is its exception, the encoder that never learns. Giving the frozen last stage more steps (1:2:3, 1:1:4) does not help here, as it takes them from the encoder. After 1,200 steps our encoder is far from finished, so freezing it is a loss; the paper's has had 50 epochs. The shipped tokenizer was trained for longer: 2,100 steps for the encoder, then 7,900 for the decoder alone, and its hybrid path is 1.1 dB above its discrete one. This explanation fits our numbers. It is not proven by them.
#
# Three warnings for every table of this kind.
#
# 1. **Are the differences larger than the spread?** The dotted lines join runs of one seed. Where they cross, it was luck.
# 2. **Do path and metric agree?** A plan can win on one path and lose on the other. Then say so.
# 3. **Is a small experiment the paper's?** It is not: 1 million parameters, no GAN, minutes of training, emoji. It does not refute the paper. It says that "three stages are better" depends on how long each stage lasts.
#
# With `dcar experiment 05_ablation --arm "three stages" --seed 7` you add a line to [the results](../lessons/results). More seeds narrow the verdict: for six, $t$ is 2.57.

# %% [markdown]
# ## 7. Four runs to diagnose
#
# Curves tell what went wrong, if one knows what to look for. The four runs below are *drawn by formula* to show typical shapes; the quiz asks what happened in each. The dotted line is the beginning of the last stage.

# %%
time = torch.linspace(0, 1, 60)
rise, late = 1 - torch.exp(-5 * time), (time - 0.83).clamp(min=0) / 0.17
wiggle = 0.12 * torch.randn(4, 60, generator=torch.Generator().manual_seed(1))
runs = {
    "A": (11 + 9 * rise + 0.5 * late, 11 + 8 * rise - 2.2 * late, 0.3 + 0.55 * rise, 0.8 + 0 * time),
    "B": (11 + 9 * rise + 0.5 * late, 11 + 8 * rise + 0.3 * late, 0.3 + 0.55 * rise, 0.75 + 0 * time),
    "C": (
        11 + 8 * rise - 5 * (time - 0.4).clamp(min=0),
        11 + 7 * rise - 5 * (time - 0.4).clamp(min=0),
        0.3 + 0.5 * rise,
        torch.sigmoid(12 * (0.35 - time)),
    ),
    "D": (11 + 8 * rise, 11 + 2 * rise, 0.02 + 0.5 * torch.exp(-8 * time), 0.8 + 0 * time),
}
figure, axes = figures.panels(2, 4, width=8, height=4)
for place, (name, (hybrid, discrete, usage, rival)) in enumerate(runs.items()):
    above, below = axes[0, place], axes[1, place]
    above.plot(time, hybrid + wiggle[0], "-", label="hybrid")
    above.plot(time, discrete + wiggle[1], "--", label="discrete")
    below.plot(time, usage + 0.1 * wiggle[2], "-", label="code usage")
    below.plot(time, (rival + 0.2 * wiggle[3]).clamp(min=0), "--", label="discriminator's loss")
    above.set(title=f"run {name}", ylim=(9, 22), ylabel="PSNR, dB" if place == 0 else "")
    below.set(ylim=(-0.05, 1.1), xlabel="training")
    for axis in (above, below):
        axis.axvline(0.83, color="black", linestyle=":", linewidth=1)
        axis.set_xticks([])
axes[0, 0].legend(fontsize=7, loc="lower right")
axes[1, 0].legend(fontsize=7, loc="lower left")
figures.show(
    figure,
    alt="Four runs. Above PSNR of both paths, below code usage and the discriminator's loss. A: after "
    "the dotted line hybrid rises, discrete falls. B: everything rises, loss steady. C: both paths "
    "fall from the middle on, the loss goes to 0. D: discrete stays low, usage falls to 2 %.",
)

# %% [markdown]
# ## Quiz

# %% tags=["quiz", "nbval-ignore-output"]
course.quiz("05")

# %% [markdown] tags=["recap"]
# ## What you take with you
#
# 1. **L1 is paid for pixels** and answers doubt with blur. The **perceptual distance** forgives a moved edge; the **discriminator** forbids what originals never show. Both cost PSNR.
# 2. **KID** compares sets. Unbiased means right on average, not exact. Name the features, and do not call it rFID.
# 3. **Pairs, seeds, verdict.** Three seeds need 4.30 standard errors. "Cannot tell" is a result.
# 4. Equal pictures is *one* way to be fair. Say what else was unequal.
# 5. Look at both paths, at the usage, and at the discriminator's loss: each failure has its own sign.
#
# **New terms:** perceptual loss, feature, tap, discriminator, GAN, hinge loss, KID, FID, rKID, bias, ablation, arm, paired. `course.glossary()` explains them.
#
# **You now know** `dcar_edu.features.load_features`, `dcar_edu.metrics.judge_tokenizer`, `kid` and `perceptual_distance`, `dcar_edu.tokenizer.adversary`, and `dcar experiment`.
#
# **To read on:** [LPIPS](https://arxiv.org/abs/1801.03924) for the perceptual distance, [VQGAN](https://arxiv.org/abs/2012.09841) for the first tokenizer with a discriminator, [KID](https://arxiv.org/abs/1801.01401).
#
# **Next:** the tokenizer is finished. From now on a picture is a grid of tokens, and lesson 06 begins to draw them from words.

# %% tags=["nbval-ignore-output"]
#@title Download my answers (on Colab)
import sys

if "google.colab" in sys.modules:
    L.save_answers()

# %% tags=["finish", "nbval-ignore-output"]
L.finish()
