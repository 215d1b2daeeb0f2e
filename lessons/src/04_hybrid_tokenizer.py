# %% [markdown] tags=["header"]
# ---
# title: The hybrid tokenizer
# builds: a tokenizer that writes a picture as codes and residuals, trained in the paper's three stages
# figures: 9
# wait: 4
# wait_gpu: 8
# gpu: true
# memory: 2 GB
# needs: 02, 03
# writes: a tokenizer of yours, your progress file and one tile of the wolf strip
# ---

# %% [markdown] tags=["map"]
# The encoder of lesson 02 gives continuous latents. The codebook of lesson 03 turns them into token ids, and loses something. Here both live in one tokenizer: ids for the transformer, and beside them what the ids have lost. This lesson builds the middle of the training side, and trains it as the paper does.

# %% [markdown] tags=["objectives"]
# **When you are done you can**
#
# - split a latent into a code and a residual, and say what the decoder reads on each of two paths;
# - write down the three training stages as a list, and say what each one fixes;
# - freeze a part of a network so that it stays bit-equal, and prove it;
# - measure the size of the residuals, which lessons 09 and 10 need;
# - recognise a tokenizer whose encoder was left unfrozen.
#
# **You need** lessons 02 and 03: a convolutional encoder, a codebook on the unit sphere, straight-through, and the loss of a codebook.
#
# **Short of time?** Sections 2, 4, 7 and 8. The training in section 8 is the heart of this lesson.

# %% tags=["setup"]
#@title Setup (run first)
# SETUP

# %% tags=["parameters"]
import os

BUDGET = os.environ.get("DCAR_BUDGET", "cpu")
SEED = 0

# %% tags=["start", "nbval-ignore-output"]
import copy
import math

import torch
import torch.nn.functional as F

from dcar_edu import CaptionedEmoji, course
from dcar_edu.course import check, figures
from dcar_edu.course.experiments import results
from dcar_edu.course.stages import keep_going
from dcar_edu.course.studies import study_04 as study
from dcar_edu.metrics import psnr
from dcar_edu.state import TrainingState, warmed_cosine
from dcar_edu.tokenizer.training import PARTS, Stage, TokenizerTraining, train_tokenizer

L = course.start("04", BUDGET, SEED)

# %% tags=["map", "nbval-ignore-output"]
course.course_map("04")

# %% [markdown]
# ## 1. What a token cannot say
#
# The shipped tokenizer has 1,024 codes. For each of 16 places it picks the code that is nearest to the latent. The latent lies *between* the codes, so something is lost. A **hybrid** tokenizer keeps what is lost, as a second kind of token: the **residual**.

# %%
shipped = course.stage("04", "shipped", kind="tokenizer").to(L.device)
emoji = CaptionedEmoji("train", 128, styles=["3d"], concepts=["wolf"])
wolf = emoji.render([emoji.example("wolf", "3d", "pale blue")]).to(L.device)

encoded = shipped.encode(wolf)
from_codes = shipped.decode(encoded.indices)
from_both = shipped.decode(encoded.indices, encoded.residuals)
added = (2 * (from_both - from_codes)).clamp(-1, 1)

# %%
figures.show(
    figures.image_grid(
        torch.cat([wolf, from_codes, from_both, added]).cpu(),
        titles=["original", "codes only", "codes + residuals", "the change, doubled"],
        tile=1.9,
    ),
    alt="Four pictures: the wolf; the wolf drawn from codes only; from codes and residuals; and what "
    "the residuals change, on grey, two times enlarged in strength: it is strongest around the head.",
)

# %% tags=["nbval-check-output"]
print("token ids", tuple(encoded.indices.shape), "- whole numbers")
print("residuals", tuple(encoded.residuals.shape), "- 32 real numbers a place")

# %% [markdown]
# **What to notice.** Both pictures come from *one* decoder. Without residuals it reads 16 whole numbers, with residuals 16 x 32 real ones on top. In the last picture grey means "nothing changed"; light, dark and coloured places are the work of the residuals. Compare the two wolves with the original, in colour and in outline.
#
# Why keep the codes at all, if residuals say more? Because ids are easy for a transformer: it names one of 1,024 (lesson 07). The residuals are small and come later, from a small network of their own (lessons 09 and 10).

# %% [markdown]
# ## 2. A latent is a code plus a residual
#
# The encoder gives a raw vector $\tilde z$ for each place. As in lesson 03 it is put on the unit sphere, and so are the codes:
#
# $$z = \frac{\tilde z}{\lVert \tilde z \rVert}, \qquad i = \arg\max_j \; z \cdot \frac{e_j}{\lVert e_j \rVert}, \qquad z_q = \frac{e_i}{\lVert e_i \rVert}, \qquad r = z - z_q$$
#
# In words: make the latent one long, find the code with the smallest angle, and write down the step that leads from this code to the latent. Then $z_q + r = z$, exactly. Nothing is lost, it is only written in two parts.
#
# | symbol | meaning | shape | code |
# |---|---|---|---|
# | $\tilde z$ | raw output of the encoder | (b, c, h, w) | `z` |
# | $z$ | latent of length 1 at each place | (b, c, h, w) | `unit` |
# | $e$ | codebook, rows of any length | (K, c) | `codes` |
# | $i$ | token ids | (b, h, w), int64 | `indices` |
# | $z_q$ | code of length 1 at each place | (b, c, h, w) | `quantized` |
# | $r$ | residual | (b, c, h, w) | `residual` |

# %% [markdown] tags=["exercise-text"]
# ### Exercise 04.1 - Code and residual
# difficulty: 3/5 · importance: 5/5 · 10 min · needs: 03.1
#
# Write `split_latent(z, codes)`. `z` is the raw output of the encoder (b, c, h, w), `codes` the codebook (K, c). Neither has length 1. Give back three tensors: `indices` (b, h, w), `quantized` (b, c, h, w), `residual` (b, c, h, w). Gradients must be able to flow from `quantized` into `codes`.
#
# Used in `dcar_edu.tokenizer.hybrid.HybridTokenizer.encode`.
#
# <details><summary>Hint 1</summary>
#
# Channels stand on axis 1 of `z` and on axis 1 of `codes`. `F.normalize(..., dim=1)` puts both on the sphere. For unit vectors the nearest code is the one with the largest dot product.
# </details>
# <details><summary>Hint 2</summary>
#
# `torch.einsum("bchw,kc->bhwk", unit, codes)` gives every dot product, without moving an axis by hand. `codes[indices]` has shape (b, h, w, c): the channels must go to axis 1, and `reshape` cannot do that.
# </details>
# <details><summary>Hint 3</summary>
#
# `indices = similarity.argmax(dim=-1)`, `quantized = codes[indices].permute(0, 3, 1, 2)` with the *unit* codes, and `residual = unit - quantized`.
# </details>
# <details><summary>Expected</summary>
#
# With the shipped codebook your three tensors are those of `shipped.encode(wolf)`. Below, arrows on a circle show the same in two dimensions.
# </details>

# %% tags=["exercise"]
def split_latent(z, codes):
    """Token ids, unit codes and residuals of raw latents (b, c, h, w)."""
    # BEGIN SOLUTION
    unit, codes = F.normalize(z, dim=1), F.normalize(codes, dim=1)
    similarity = torch.einsum("bchw,kc->bhwk", unit, codes)
    indices = similarity.argmax(dim=-1)
    quantized = codes[indices].permute(0, 3, 1, 2)
    return indices, quantized, unit - quantized
    # END SOLUTION


# %% tags=["check", "nbval-ignore-output"]
split_latent = check("04.1", split_latent)

# %%
with torch.no_grad():
    mine = split_latent(shipped.encoder(wolf), shipped.quantizer.codes)
    for name, got in zip(("indices", "quantized", "residuals"), mine):
        gap = (got.double() - getattr(encoded, name).double()).abs().max().item()
        print(f"{name:9s} largest difference to shipped.encode(wolf): {gap:.1e}")

# %% [markdown]
# With two channels the sphere is a circle, and we can draw it. Five codes, three latents:

# %%
angles = torch.tensor([0.35, 1.5, 2.6, 3.9, 5.2])
codes = torch.stack([angles.cos(), angles.sin()], dim=1)
turned = torch.tensor([0.75, 2.25, 4.1])
z = 1.6 * torch.stack([turned.cos(), turned.sin()])[None, :, None, :]  # (1, 2, 1, 3), not unit
indices, quantized, residual = split_latent(z, codes)

# %%
figure, ((axis,),) = figures.panels(width=4.4, height=4.2)
ring = torch.linspace(0, 2 * math.pi, 200)
axis.plot(ring.cos(), ring.sin(), color="#B0B0B0", linewidth=1)
axis.plot(*codes.T, "o", color="C0", markersize=9, label="codes")
axis.plot(*F.normalize(z, dim=1)[0, :, 0], "^", color="C1", markersize=8, label="latents z")
for place in range(3):
    start, step = quantized[0, :, 0, place].tolist(), residual[0, :, 0, place].tolist()
    axis.annotate("", start, (0, 0), arrowprops={"arrowstyle": "->", "color": "C0"})
    end = [a + b for a, b in zip(start, step)]
    axis.annotate("", end, start, arrowprops={"arrowstyle": "->", "color": "C1", "linewidth": 2})
for number, (x, y) in enumerate(codes.tolist()):
    axis.annotate(f"code {number}", (1.32 * x, 1.18 * y), ha="center", va="center", fontsize=9)
axis.set(xlim=(-1.6, 1.6), ylim=(-1.35, 1.35), aspect="equal")
axis.set_axis_off()
axis.legend(loc="center", bbox_to_anchor=(0.5, -0.03), ncols=2)
figures.show(
    figure,
    alt="A circle with five codes as dots and three latents as triangles. A long arrow leads from "
    "the middle to a code, a short thick one from the code to its latent: the residual, a chord.",
)

# %% tags=["nbval-check-output"]
print("ids", indices.flatten().tolist())
whole = (quantized + residual - F.normalize(z, dim=1)).abs().max()
print("code + residual = unit latent within 1e-6:", bool(whole < 1e-6))

# %% [markdown]
# **What to notice.** The residual is a *chord*: it starts at the code, cuts through the circle and ends at the latent. It is short when the codes lie close. The latents were 1.6 long; that length is thrown away before anything else happens, on both paths.

# %% [markdown]
# ## 3. Two paths, one decoder
#
# The decoder can read two things of the same shape: the codes $z_q$ alone (the **discrete path**), or $z_q + r = z$ (the **continuous** or **hybrid path**). Which of them it sees in training depends on the stage:
#
# $$\text{input} = \begin{cases} z & \text{continuous} \\ z + \text{sg}(z_q - z) & \text{discrete} \\ \text{one of the two, by the toss of a coin} & \text{alternate} \end{cases}$$
#
# In words: the discrete path has the *value* of the codes and the *gradient* of the latents: straight-through, from lesson 03. On the alternating path one coin is tossed for the **whole batch**.
#
# | symbol | meaning | shape | code |
# |---|---|---|---|
# | $z$ | latents of length 1 | (b, c, h, w) | `unit` |
# | $z_q$ | their codes | (b, c, h, w) | `quantized` |
# | $\text{sg}$ | stop the gradient | | `.detach()` |

# %% [markdown] tags=["exercise-text"]
# ### Exercise 04.2 - What the decoder reads
# difficulty: 3/5 · importance: 4/5 · 8 min · needs: 03.2
#
# Write `stage_input(unit, quantized, path, generator)`. `path` is `"continuous"`, `"discrete"` or `"alternate"`. For `"alternate"` draw *one* number from `generator` (a `torch.Generator`) and take either path with probability 1/2. Give back what the decoder reads, (b, c, h, w).
#
# Used in `dcar_edu.tokenizer.hybrid.HybridTokenizer.forward`.
#
# <details><summary>Hint 1</summary>
#
# First turn `"alternate"` into one of the two other words. Then there are only two cases.
# </details>
# <details><summary>Hint 2</summary>
#
# `torch.rand((), generator=generator)` draws one number between 0 and 1. Neither Python's `random` nor a number a picture: the run must be repeatable, and one path is taken by the whole batch.
# </details>
# <details><summary>Hint 3</summary>
#
# `unit` for the continuous path, `unit + (quantized - unit).detach()` for the discrete one.
# </details>
# <details><summary>Expected</summary>
#
# Twelve calls with `"alternate"` give a mixed row of words; the same seed gives the same row.
# </details>

# %% tags=["exercise"]
def stage_input(unit, quantized, path, generator):
    """What the decoder reads: latents, codes with the latents' gradient, or one of both."""
    # BEGIN SOLUTION
    if path == "alternate":
        heads = torch.rand((), generator=generator).item() < 0.5
        path = "continuous" if heads else "discrete"
    return unit if path == "continuous" else unit + (quantized - unit).detach()
    # END SOLUTION


# %% tags=["check", "nbval-ignore-output"]
stage_input = check("04.2", stage_input)

# %%
coin, taken = L.generator(), []
for _ in range(12):
    read = stage_input(torch.ones(1, 2, 1, 1), torch.zeros(1, 2, 1, 1), "alternate", coin)
    taken.append("continuous" if read.mean() > 0.5 else "discrete")
print(*taken)

# %% tags=["nbval-check-output"]
unit = torch.ones(1, 2, 1, 1, requires_grad=True)
read = stage_input(unit, torch.full((1, 2, 1, 1), 3.0), "discrete", None)
read.sum().backward()
print("discrete path: value", read.flatten().tolist(), "gradient", unit.grad.flatten().tolist())

# %% [markdown]
# **What to notice.** The value 3 is the code's; the gradient 1 arrives at the latent as if nothing had happened in between. Without it the encoder would learn nothing on the discrete path.

# %% [markdown]
# ## 4. Three stages
#
# Why not train everything on the alternating path from the start? The paper names the conflict. On the discrete path a latent should lie *on* its code. On the continuous path a latent should use all the freedom between the codes. Pulled both ways at once, the encoder serves neither path well. So the paper does one thing after the other:
#
# | stage | path | learns | steps | what it settles |
# |---|---|---|---|---|
# | 1 warm-up | continuous | encoder, decoder | 1 part | a good latent space |
# | 2 discrete learning | discrete | encoder, quantizer, decoder | 4 parts | the codebook, and what each id means |
# | 3 alternate fine-tuning | alternate | decoder only | 1 part | a decoder that reads both paths |
#
# The paper trains about 10, 40 and 10 epochs. For a run of $n$ steps:
#
# $$n_1 = n_3 = \lfloor n / 6 \rfloor, \qquad n_2 = n - n_1 - n_3$$
#
# In words: the first and the last stage get a sixth each, rounded down; the middle one gets all that remains, so that no step is lost.
#
# | symbol | meaning | shape | code |
# |---|---|---|---|
# | $n$ | steps of the whole run | number | `steps` |
# | $n_1, n_2, n_3$ | steps of each stage | number | `plan[0][2]`, ... |

# %% [markdown] tags=["exercise-text"]
# ### Exercise 04.3 - The plan as data
# difficulty: 1/5 · importance: 4/5 · 6 min · needs: none
#
# Write `stage_plan(steps)`. Give back a list of three tuples `(path, trained, steps)`: the path as text, the parts that learn as a tuple of texts out of `"encoder"`, `"quantizer"`, `"decoder"`, and the number of steps, in proportion 1 : 4 : 1. All steps must be used.
#
# Used in `dcar_edu.tokenizer.stages.three_stages`.
#
# <details><summary>Hint 1</summary>
#
# The table above has everything; copy its columns "path" and "learns".
# </details>
# <details><summary>Hint 2</summary>
#
# 100 / 6 is no whole number. If each stage is rounded down by itself, steps are lost. One stage must take what remains.
# </details>
# <details><summary>Hint 3</summary>
#
# `short = steps // 6`; the stages take `short`, `steps - 2 * short` and `short` steps.
# </details>
# <details><summary>Expected</summary>
#
# 600 steps become 100, 400, 100; 100 steps become 16, 68, 16.
# </details>

# %% tags=["exercise"]
def stage_plan(steps):
    """The three stages of a run: a list of (path, trained parts, steps)."""
    # BEGIN SOLUTION
    short = steps // 6
    return [
        ("continuous", ("encoder", "decoder"), short),
        ("discrete", ("encoder", "quantizer", "decoder"), steps - 2 * short),
        ("alternate", ("decoder",), short),
    ]
    # END SOLUTION


# %% tags=["check", "nbval-ignore-output"]
stage_plan = check("04.3", stage_plan)

# %% tags=["nbval-check-output"]
for steps in (600, 100, 7):
    print(steps, "steps:", [length for _, _, length in stage_plan(steps)])

# %% [markdown]
# **What to notice.** The plan is a list. Every other way to train a tokenizer is another list: lesson 05 compares seven of them, and needs no second training loop.

# %% [markdown]
# ## 5. Frozen means frozen
#
# "Only the decoder learns" sounds simple. Three things can move a part of a network, and all three must stop:
#
# 1. **gradients**: `requires_grad_(False)`. `eval()` alone does *not* stop them;
# 2. **moving averages**, such as those of BatchNorm: they move in every forward pass, without any gradient. `eval()` stops them;
# 3. **the optimiser**, which may carry on with old momentum or weight decay. It must not hold the frozen parameters, or they must have no gradient at all.
#
# And a part that was frozen must *thaw* when a later stage trains it.

# %% [markdown] tags=["exercise-text"]
# ### Exercise 04.4 - Freeze and thaw
# difficulty: 2/5 · importance: 5/5 · 9 min · needs: none
#
# Write `freeze(parts, trained)`. `parts` is a dict from names to modules, `trained` a tuple of names. The parts in `trained` learn from now on, all others are frozen. Give back the list of the parameters that learn: what an optimiser may be given.
#
# Used in `dcar_edu.tokenizer.training.freeze`.
#
# <details><summary>Hint 1</summary>
#
# Go through all parts, not only through those that learn. Each part is in one of two states, and your function sets that state whatever it was before.
# </details>
# <details><summary>Hint 2</summary>
#
# `module.requires_grad_(True or False)` and `module.train(True or False)` do it for everything inside.
# </details>
# <details><summary>Hint 3</summary>
#
# In the loop: `learns = name in trained`, then both calls with `learns`, and `parameters += list(part.parameters())` if it learns.
# </details>
# <details><summary>Expected</summary>
#
# The counts below: in stage 3 about half of the numbers learn.
# </details>

# %% tags=["exercise"]
def freeze(parts, trained):
    """Let only the parts in `trained` learn; the list of their parameters."""
    # BEGIN SOLUTION
    parameters = []
    for name, part in parts.items():
        learns = name in trained
        part.requires_grad_(learns)
        part.train(learns)
        if learns:
            parameters += list(part.parameters())
    return parameters
    # END SOLUTION


# %% tags=["check", "nbval-ignore-output"]
freeze = check("04.4", freeze)

# %% [markdown]
# We try it on the tokenizer of this lesson: a small one, for pictures of 64 x 64 pixels at f16, with 128 codes. That gives 4 x 4 tokens again, and it learns in minutes on a CPU. To make it easier, our emoji stand on two backgrounds only.

# %% tags=["nbval-check-output"]
tokenizer = study.small_tokenizer(SEED)
parts = {name: getattr(tokenizer, name) for name in PARTS}
for path, trained, _ in stage_plan(600):
    learning = freeze(parts, trained)
    print(f"{path:10s} {sum(p.numel() for p in learning):7,} numbers learn")

# %% [markdown]
# **What to notice.** Between the first two lines lie only the codes, 128 x 16 = 2,048 numbers. They are the smallest part of the tokenizer, and the one whose meaning everything later depends on.

# %% [markdown]
# ## 6. How large is what is left?
#
# The residual head of lesson 10 must draw residuals, and before it can, it must know how large they are. Two numbers say it:
#
# $$\rho = \sqrt{\text{mean}(r^2)}, \qquad \cos(z, z_q) = 1 - \frac{\lVert r \rVert^2}{2}$$
#
# In words: $\rho$ is the typical size of *one* of the $c$ numbers of a residual. The cosine says how near the latents lie to their codes; 1 means on them. The second formula holds because both vectors have length 1: $\lVert z - z_q \rVert^2 = 1 + 1 - 2 \, z \cdot z_q$.
#
# | symbol | meaning | shape | code |
# |---|---|---|---|
# | $r$ | residuals | (b, c, h, w) | `residual` |
# | $\rho$ | root mean square of one residual element | number | `rms` |
# | $\lVert r \rVert$ | length of a residual, over the channels | (b, h, w) | `residual.norm(dim=1)` |

# %% [markdown] tags=["exercise-text"]
# ### Exercise 04.5 - The size of the residuals
# difficulty: 2/5 · importance: 3/5 · 5 min · needs: 04.1
#
# Write `residual_stats(residual)`. Give back two numbers: $\rho$ over all elements, and the *mean* cosine over all places.
#
# Used in `dcar_edu.tokenizer.training.measure_latents`.
#
# <details><summary>Hint 1</summary>
#
# For $\rho$: square, average over everything, take the root. In this order.
# </details>
# <details><summary>Hint 2</summary>
#
# For the cosine: $\lVert r \rVert^2$ is a *sum* over the channels (axis 1), one number a place. Average these over the places.
# </details>
# <details><summary>Hint 3</summary>
#
# `cosine = 1 - residual.pow(2).sum(dim=1).mean() / 2`.
# </details>
# <details><summary>Expected</summary>
#
# The paper's code divides residuals by 0.107. With 32 channels that is a cosine of 0.817.
# </details>

# %% tags=["exercise"]
def residual_stats(residual):
    """Root mean square of one element, and the mean cosine of latent and code."""
    # BEGIN SOLUTION
    rms = residual.pow(2).mean().sqrt().item()
    cosine = 1 - residual.pow(2).sum(dim=1).mean().item() / 2
    return rms, cosine
    # END SOLUTION


# %% tags=["check", "nbval-ignore-output"]
residual_stats = check("04.5", residual_stats)

# %%
many = CaptionedEmoji("held_out_concepts", 128, concepts=L.budget.pictures)
batch = many.batch(L.budget.pictures, generator=L.generator()).images
residuals = torch.cat([shipped.encode(part).residuals for part in batch.split(16)]).cpu()
rms, cosine = residual_stats(residuals)
print(f"shipped tokenizer, unseen emoji: rms {rms:.3f}, cosine {cosine:.3f}")

# %%
figure, ((axis,),) = figures.panels(width=6, height=2.6)
axis.hist(residuals.flatten().tolist(), bins=80, range=(-0.4, 0.4), color="C0", alpha=0.6)
for sign in (-1, 1):
    axis.axvline(sign * rms, color="C1", linestyle="--", label="plus and minus rms")
axis.set(xlabel="one element of a residual", ylabel="how many")
axis.legend(*[items[:1] for items in axis.get_legend_handles_labels()])
figures.show(
    figure,
    alt="A histogram of residual elements: one hill around zero. Two dashed lines mark plus and "
    "minus one root mean square; nearly everything lies within three times that.",
)

# %% tags=["nbval-check-output"]
paper = torch.full((1, 32, 8, 8), 0.107)
print("rms {:.3f} in 32 channels gives cosine {:.3f}".format(*residual_stats(paper)))

# %% [markdown]
# **What to notice.** The residuals look like a single hill around zero. That is good news for lesson 09: such numbers can be drawn by a small diffusion network, once they are divided by their rms.

# %% [markdown]
# ## 7. The whole loop
#
# Now everything comes together. Here is the training loop, all of it. First two small helpers; `TrainingState` holds the optimiser (AdamW), the **moving average of the weights** and the random source; `apply_gradients` clips, steps and averages.

# %%
def draw(data, state):
    """A batch of pictures, from the run's own random source."""
    return data.batch(L.budget.batch, device=L.device, generator=state.generator).images


@torch.no_grad()
def enter(tokenizer, path, data, state):
    """Begin a stage: from averaged weights, and the codes from real latents (lesson 03)."""
    if state.step:
        state.use_average()
    if path == "discrete":
        latents = tokenizer.encoder(torch.cat([draw(data, state) for _ in range(4)]))
        rows = torch.arange(tokenizer.config.num_codes, device=L.device)
        tokenizer.quantizer.restart(rows, latents.movedim(1, 3).flatten(0, 2), state.generator)
        state.average.module.quantizer.codes.copy_(tokenizer.quantizer.codes)


# %%
def train(tokenizer, plan, data, state):
    """Train in place through a plan; yields the step and its loss, after every step."""
    parts = {name: getattr(tokenizer, name) for name in PARTS}
    total, end = sum(steps for _, _, steps in plan), 0
    for path, trained, steps in plan:
        begin, end = end, end + steps
        while state.step < end:
            if state.step == begin:
                enter(tokenizer, path, data, state)
            freeze(parts, trained)
            pictures = draw(data, state)
            unit = F.normalize(tokenizer.encoder(pictures), dim=1)
            _, quantized, _ = split_latent(unit, tokenizer.quantizer.codes)
            drawn = tokenizer.decoder(stage_input(unit, quantized, path, state.generator))
            loss = (drawn - pictures).abs().mean()
            if "quantizer" in trained:
                loss = loss + F.mse_loss(quantized, unit.detach())
                loss = loss + 0.25 * F.mse_loss(unit, quantized.detach())
            loss.backward()
            rate = study.LEARNING_RATE * warmed_cosine(state.step, total, study.WARMUP)
            state.apply_gradients(rate, clip=1.0)
            yield state.step, loss.item()
    state.use_average()
    freeze(parts, ())


# %% [markdown]
# **Three questions to read it by.** Answer each before you open it.
#
# <details><summary>1. In the warm-up the codes do not move. Which lines see to that?</summary>
#
# Two. `freeze` takes their gradient away, and the two lines of codebook loss are skipped because `"quantizer"` is not among the trained parts. On the continuous path the decoder reads `unit`, so no gradient would reach the codes anyway.
# </details>
# <details><summary>2. The optimiser in `state` holds all parameters, in every stage. Why do frozen ones not move, in spite of momentum and weight decay?</summary>
#
# Their gradient is `None`, and AdamW passes over such parameters: no step, no momentum, no decay. `apply_gradients` clears gradients to `None` after each step. If it set them to zero, AdamW would go on moving the frozen weights with its old momentum.
# </details>
# <details><summary>3. Why does each stage begin with `use_average`?</summary>
#
# The weights of the last step are noisy; their moving average is better. Stage 3 freezes what stage 2 hands over, for ever. So what is frozen should be the average.
# </details>
#
# Does this loop do what the library's does? Six steps of each, from the same seed:

# %%
def begin(tokenizer):
    """A fresh optimiser, average and random source."""
    numbers = {"betas": (0.9, 0.99), "weight_decay": 1e-4, "ema_decay": 0.999, "seed": SEED}
    return TrainingState.begin(tokenizer, learning_rate=study.LEARNING_RATE, **numbers)


data = CaptionedEmoji("train", study.SIDE, concepts=L.budget.concepts, **study.LOOK)
plan, one, two = stage_plan(6), study.small_tokenizer(SEED), study.small_tokenizer(SEED)
mine = [loss for _, loss in train(one.to(L.device), plan, data, begin(one))]

state = begin(two.to(L.device))
stages = tuple(
    Stage(path, steps, path, tuple(trained), starts_codes=path == "discrete")
    for path, trained, steps in plan
)
numbers = {"learning_rate": study.LEARNING_RATE, "warmup_steps": study.WARMUP, "seed": SEED}
library = train_tokenizer(
    two, iter(lambda: draw(data, state), None), TokenizerTraining(stages, **numbers), state=state
)
theirs = [step.loss for step in library]

# %%
print("yours   ", *[f"{loss:.4f}" for loss in mine])
print("library ", *[f"{loss:.4f}" for loss in theirs])

# %% [markdown]
# The rows agree: `dcar_edu.train_tokenizer` is this loop. (If your `stage_input` asks the coin in another way than ours, the last number may differ: it took the other path. That is no fault.)

# %% [markdown]
# ## 8. Experiment: both paths through the three stages
#
# We train the small tokenizer through your plan. Now and then we stop and measure on emoji whose concepts it has never seen: the PSNR of the discrete path (decode the ids) and of the hybrid path (decode ids and residuals). The measurement always uses the moving average of the weights.

# %% [markdown] tags=["predict"]
# **What do you expect?** Sketch two curves over the three stages, one a path. In which stage is the discrete path worthless? At which border does one of them jump? Where do they part?
#
# <details><summary>Answer</summary>
#
# In the warm-up the codes are random vectors, far from every latent, so the discrete path lags. At the border to stage 2 the codes are put at real latents: the discrete curve moves up to the other. In stage 2 both climb together, because latents are pulled to their codes; the decoder reads codes only. In stage 3 it learns to use the residuals, and the hybrid curve gains more than the other. How far depends on the length of the run: the shipped tokenizer, trained far longer, shows a larger gap.
# </details>

# %%
unseen = CaptionedEmoji(
    "held_out_concepts", study.SIDE, concepts=L.budget.pictures, **study.LOOK
)
pictures = unseen.batch(L.budget.pictures, generator=L.generator()).images.to(L.device)
COLUMNS = ("step", "discrete", "hybrid", "cosine", "kept")


def run(name, tokenizer, plan, done=0, meant=None):
    """Train, measure now and then, and survive a stop; the rows of measurements."""
    state, total = begin(tokenizer), sum(steps for _, _, steps in plan)
    state.memory["rows"] = torch.zeros(0, len(COLUMNS))
    steps = train(tokenizer, plan, data, state)
    name = f"04/{name}-{L.budget.name}-{SEED}"
    for step, _ in keep_going(name, state, steps, total=total):
        if (done + step) % L.budget.every == 0 or step == total:
            seen = study.look(state.average.module, pictures, meant)
            row = torch.tensor([[done + step, *seen.values()]])
            state.memory["rows"] = torch.cat([state.memory["rows"], row])
    return state.memory["rows"]


# %% [markdown]
# The next two cells train. They save every minute: stop one and run it again, or run the notebook in a new session, and it goes on where it was. Stages 1 and 2 come first; section 9 will start from their end, too.

# %% tags=["nbval-ignore-output"]
plan = stage_plan(L.budget.steps)
settled = plan[0][2] + plan[1][2]
before = study.small_tokenizer(SEED).to(L.device)
rows = run("stages-1-2", before, plan[:2])

# %% tags=["nbval-ignore-output"]
tokenizer = copy.deepcopy(before)
meant = before.encode(pictures).indices
three = torch.cat([rows, run("stage-3", tokenizer, plan[2:], settled, meant)])

# %% tags=["nbval-check-output"]
def bit_equal(part):
    """Is this part the same as before stage 3, to the last bit?"""
    old, new = getattr(before, part).state_dict(), getattr(tokenizer, part).state_dict()
    return all(torch.equal(old[name], new[name]) for name in old)


for part in PARTS:
    print(f"{part:9s} bit-equal across stage 3: {bit_equal(part)}")

# %%
def bands(arm):
    """Lowest and highest value of the committed runs of an arm: column -> (steps, low, high)."""
    lines = [line for line in results("04_stages") if line["budget"] == L.budget.name]
    lines = [line["metrics"] for line in lines if line["arm"] == arm]
    found = {}
    for column in COLUMNS[1:] if lines else ():
        steps = sorted(int(key.split("_")[1]) for key in lines[0] if key.startswith(column))
        values = torch.tensor([[line[f"{column}_{step}"] for step in steps] for line in lines])
        found[column] = (steps, values.amin(0), values.amax(0))
    return found


def draw_curves(axis, rows, columns, arm):
    """Curves of a run over the shaded stages, with the committed runs of an arm behind them."""
    for place, column in enumerate(columns):
        colour, style = (("C0", "o-"), ("C1", "s--"))[place]
        if column in (reference := bands(arm)):
            axis.fill_between(*reference[column], color=colour, alpha=0.2, linewidth=0)
        values = rows[:, COLUMNS.index(column)]
        axis.plot(rows[:, 0], values, style, color=colour, markersize=4, label=f"{column}, yours")
    for start, end, grey in ((plan[0][2], settled, "#F0F0F0"), (settled, None, "#DCDCDC")):
        axis.axvspan(start, end or L.budget.steps, color=grey, zorder=0)
    axis.set(xlabel="step", xlim=(0, L.budget.steps * 1.02))


# %%
figure, ((axis,),) = figures.panels(height=3.4)
draw_curves(axis, three, ("discrete", "hybrid"), "three stages")
axis.set(ylabel="PSNR in dB, unseen emoji")
for start, name in ((0, "1 warm-up"), (plan[0][2], "2 discrete"), (settled, "3 alternate")):
    axis.text(start + 0.01 * L.budget.steps, 1.02, name, transform=axis.get_xaxis_transform())
axis.legend(loc="lower right")
figures.show(
    figure,
    alt="PSNR of the discrete and the hybrid path over the steps of training, the three stages "
    "shaded. Both rise together through the second stage; in the third the hybrid one rises above.",
)
print("committed runs at this budget:", "shaded behind yours" if bands("three stages") else "none")
print("to add one: dcar experiment 04_stages --arm 'three stages' --seed 3")

# %%
last = dict(zip(COLUMNS, three[-1].tolist()))
L.report(psnr_discrete=last["discrete"], psnr_hybrid=last["hybrid"], cosine=last["cosine"])
folder = course.save_stage(
    "04",
    tokenizer,
    budget=L.budget.name,
    metrics={"psnr_discrete": last["discrete"], "psnr_hybrid": last["hybrid"]},
)

# %% [markdown]
# **What to notice.** *In the warm-up* the decoder learns to read latents, and codes are no substitute yet. *At the first border* the codes move to where the latents are. *In stage 2* both curves climb together; adding residuals helps a little even here, although the decoder has not been trained on them, because a latent and its code are neighbours. *In stage 3* encoder and codes stand still, to the last bit. Whatever the hybrid path gains there, the decoder has learnt alone.
#
# This is a small run of a small network: it shows the order of things, not the size of the gain. In the paper, at full size, hybrid reconstruction reaches an rFID of 1.60 where the codes alone reach 5.13 (lower is better; lesson 05 explains the measure).

# %% [markdown]
# ## 9. Experiment: the failure on purpose
#
# It is easily done: a line is missing, and the encoder goes on learning in stage 3. No error is raised, and the loss still falls. We start from the copy at the end of stage 2 and leave the encoder unfrozen.

# %% [markdown] tags=["predict"]
# **What do you expect?** The decoder may now adapt *and* the encoder may adapt. Will the hybrid path be better or worse than before? And the discrete path? And the token ids of a picture: are they the same before and after stage 3?
#
# <details><summary>Answer</summary>
#
# In a short run both paths lose nothing, and may even win a little: more weights learn. The price is paid elsewhere. Nothing holds the latents at their codes any more, so they drift: the cosine falls, and the residuals grow. Above all, ids change: many places no longer get the id of before. Whoever has written a data set as ids, to train a generator on them, has ids of a language that is no longer spoken.
# </details>

# %% tags=["nbval-ignore-output"]
unfrozen = copy.deepcopy(before)
wrong_plan = [("alternate", ("encoder", "decoder"), plan[2][2])]
drift = torch.cat([rows, run("unfrozen", unfrozen, wrong_plan, settled, meant)])

# %%
figure, axes = figures.panels(1, 3, height=2.9)
for axis, column, label in zip(
    axes[0], ("discrete", "hybrid", "kept"), ("discrete PSNR, dB", "hybrid PSNR, dB", "ids kept")
):
    for rows_of, name, arm, style, colour in (
        (three, "frozen", "three stages", "o-", "C0"),
        (drift, "unfrozen", "unfrozen", "s--", "C1"),
    ):
        part = rows_of[rows_of[:, 0] >= settled - L.budget.every]
        axis.plot(part[:, 0], part[:, COLUMNS.index(column)], style, color=colour, label=name)
        if column in (reference := bands(arm)):
            band = [values[-len(part) :] for values in reference[column]]
            axis.fill_between(*band, color=colour, alpha=0.2, linewidth=0)
    axis.axvspan(settled, L.budget.steps, color="#DCDCDC", zorder=0)
    axis.set(title=label, xlabel="step", xlim=(settled - L.budget.every, L.budget.steps * 1.01))
axes[0, 2].set(ylim=(0, 1.05))
axes[0, 2].legend(loc="lower left")
figures.show(
    figure,
    alt="Three panels over the last stage, frozen against unfrozen encoder: PSNR of the discrete "
    "path, of the hybrid path, and the share of token ids that stayed the same. Frozen keeps all "
    "ids; unfrozen loses many of them.",
)

# %%
end = dict(zip(COLUMNS, drift[-1].tolist()))
print(f"{'':10s} discrete  hybrid  cosine  ids kept")
for name, found in (("frozen", last), ("unfrozen", end)):
    print(
        f"{name:10s} {found['discrete']:7.2f} {found['hybrid']:8.2f} {found['cosine']:7.3f} "
        f"{found['kept']:8.0%}"
    )

# %% [markdown]
# Where did the ids change? Below, every place whose id is no longer the one of before stage 3 is covered.

# %%
with torch.no_grad():
    changed = (unfrozen.encode(pictures).indices != meant).cpu()
    old = {"frozen": tokenizer.decode(meant), "unfrozen": unfrozen.decode(meant)}
    anew = unfrozen.decode(unfrozen.encode(pictures).indices)
titles = [f"{int(places.sum())} of 16" for places in changed[:6]]
figure = figures.image_grid(pictures[:6].cpu(), titles, columns=6)
for axis, places in zip(figure.axes, changed):
    figures.cover_hidden(axis, places)
figures.show(
    figure,
    alt="Six unseen emoji, each a grid of 4 x 4 places. Crosses cover the places whose token id "
    "changed because the encoder was left unfrozen; over each stands how many they are.",
)

# %%
for name, made in (*old.items(), ("unfrozen, ids written anew", anew)):
    before_or_after = "" if "anew" in name else ", ids of before stage 3"
    print(f"{name + before_or_after:33s} {psnr(made, pictures).mean():.2f} dB")

# %% [markdown]
# **What to notice.** Compare PSNR first: in a run as short as this one it is hardly worse, and may be better. That is the trap. Neither it nor the loss curve tells you. Three things do: weights that are not bit-equal, a falling cosine, and ids that change. The residual head of lesson 10 would have to draw larger residuals, and a generator trained on the ids of before no longer fits. In a long run the drift goes on, and the paper names the sign by which it comes to light: *rFID stalls or rises in the last stage*. When you see it, compare the encoder before and after, bit by bit, before you try anything else.

# %% [markdown]
# ## 10. Best, median, worst
#
# Which tokenizer do we go on with? Yours, if it was trained above smoke and reached what this lesson promises; otherwise the shipped one. One line says which. Then we sort unseen pictures by the PSNR of their hybrid path.

# %%
chosen = course.stage("04", "auto", kind="tokenizer").to(L.device)
side = 4 * chosen.config.downsample
gallery = CaptionedEmoji(
    "held_out_concepts", side, concepts=L.budget.pictures, **study.LOOK
)
originals = gallery.batch(L.budget.pictures, generator=L.generator(1)).images
with torch.no_grad():
    coded = [chosen.encode(part) for part in originals.split(16)]
    discrete = torch.cat([chosen.decode(c.indices) for c in coded]).cpu()
    hybrid = torch.cat([chosen.decode(c.indices, c.residuals) for c in coded]).cpu()
quality = {"discrete": psnr(discrete, originals), "hybrid": psnr(hybrid, originals)}
order = quality["hybrid"].argsort(descending=True)
picks = {"best": order[0], "median": order[len(order) // 2], "worst": order[-1]}

# %%
cells, titles = [], []
for pick in picks.values():
    cells += [originals[pick], discrete[pick], hybrid[pick]]
    titles += ["", *(f"{quality[name][pick]:.1f} dB" for name in quality)]
titles[:3] = [f"{name}\n{title}" for name, title in zip(("original", *quality), titles)]
figures.show(
    figures.image_grid(cells, titles, columns=3, row_titles=list(picks), tile=1.3),
    alt="Three rows, the best, the median and the worst of the unseen pictures; three columns: the "
    "original, drawn from codes only, drawn from codes and residuals.",
)
gain = quality["hybrid"] - quality["discrete"]
print(f"hybrid better than discrete in {(gain > 0).float().mean():.0%} of {len(gain)} pictures")

# %% [markdown]
# **What to notice.** What is easy, what is hard? Large plain shapes and a ground of one colour are cheap to write down; fine lines and many small parts are not. Does the residual bring back *outlines*, or *colours and shades*? Look for a picture where it makes things worse, too: the mean hides such cases. What the residual cannot bring back was lost in the encoder, before any code was chosen.
#
# ## Quiz

# %% tags=["quiz", "nbval-ignore-output"]
course.quiz("04")

# %% [markdown] tags=["recap"]
# ## What you take with you
#
# 1. A latent is a **code plus a residual**. Ids go to the transformer, residuals to a small diffusion network, and one decoder reads both paths.
# 2. **Warm-up, discrete, alternate**: first a latent space, then a codebook, then a decoder for both. The plan is a list; the loop never changes.
# 3. **Frozen** means: no gradient, no moving averages, no optimiser. Prove it bit by bit.
# 4. An unfrozen encoder raises no error. It changes what the ids mean.
#
# **New terms:** code, discrete path, hybrid path, warm-up, discrete learning, alternate fine-tuning, frozen, moving average of weights, rFID. `course.glossary()` explains them.
#
# **You now know** `HybridTokenizer`, `train_tokenizer`, `Stage`, `three_stages`, `TrainingState` and `course.stage`.
#
# **To read on:** [DC-AR](https://arxiv.org/abs/2507.04947), section on the hybrid tokenizer; [HART](https://arxiv.org/abs/2410.10812), which had codes and residuals before, and trained them on both paths at once.
#
# **Next:** the pictures are still soft. Lesson 05 makes them sharp, and asks how one compares tokenizers fairly.

# %% tags=["nbval-ignore-output"]
#@title Download my answers (on Colab)
import sys

if "google.colab" in sys.modules:
    L.save_answers()

# %% tags=["finish", "nbval-ignore-output"]
den = CaptionedEmoji("train", side, styles=["3d"], concepts=["wolf"])
wolf = chosen.encode(den.render([den.example("wolf", "3d", "pale blue")]))
L.finish(wolf=chosen.decode(wolf.indices, wolf.residuals)[0].cpu())
