# %% [markdown] tags=["header"]
# ---
# title: Vector quantization
# builds: a quantizer that you can train through, and the means to keep its codebook alive
# figures: 9
# wait: 3
# wait_gpu: 1
# gpu: true
# memory: 2 GB
# needs: 02
# writes: your progress file and one tile of the wolf strip
# ---

# %% [markdown] tags=["map"]
# The encoder of lesson 02 gives 32 real numbers for each place of the grid. The transformer of lesson 07 wants one whole number out of $K$, a token. This lesson builds what stands between them: the quantizer and its codebook.

# %% [markdown] tags=["objectives"]
# **When you are done you can**
#
# - find the nearest code of a latent, on the unit sphere, without filling the memory;
# - send a gradient through a step that has no slope;
# - say which side each half of the loss moves, and what $\beta$ holds back;
# - measure whether a codebook lives, let one die on purpose, and save it;
# - say what quantization loses, and why the paper keeps the residual.
#
# **You need** lesson 02, or the picture of it: an encoder makes a grid of vectors out of a picture, a decoder makes a picture out of the grid.
#
# **Short of time?** Do sections 1 to 5 without exercise 03.5, and look at the figures of section 6. A GPU helps little here: the networks are tiny.

# %% tags=["setup"]
#@title Setup (run first)
# SETUP

# %% tags=["parameters"]
import os

BUDGET = os.environ.get("DCAR_BUDGET", "cpu")
SEED = 0

# %% tags=["start", "nbval-ignore-output"]
import math

import torch
import torch.nn.functional as F
from einops import rearrange

from dcar_edu import DCAR, CaptionedEmoji, course
from dcar_edu.course import check, figures
from dcar_edu.course.experiments import results
from dcar_edu.course.studies.study_03 import ARMS, tiny_config
from dcar_edu.metrics import psnr
from dcar_edu.tokenizer import quantizer as library
from dcar_edu.tokenizer.autoencoder import Decoder, Encoder

L = course.start("03", BUDGET, SEED)

# %% tags=["map", "nbval-ignore-output"]
course.course_map("03")

# %% [markdown]
# ## 1. A wolf in sixteen whole numbers
#
# Here is the shipped tokenizer at work. The encoder turns the wolf into a grid of 4 x 4 **latents** of 32 numbers. The **codebook** holds 1,024 vectors of 32 numbers, its **codes**. Each latent is replaced by the nearest code, and the row number of that code is the token. This is **vector quantization**, VQ for short.

# %%
tokenizer = DCAR.from_pretrained("emoji-128").tokenizer.to(L.device)

emoji = CaptionedEmoji("train", 128, styles=["3d"], concepts=["wolf"])
wolf = emoji.render([emoji.example("wolf", "3d", "pale blue")], L.device)
encoded = tokenizer.encode(wolf)
from_latents = tokenizer.decode_latents(encoded.latents).detach()
from_codes = tokenizer.decode(encoded.indices)

# %%
figure, (axes,) = figures.panels(1, 4, height=2.2)
shown = {"the wolf": wolf, "drawn from latents": from_latents, "drawn from codes": from_codes}
for axis, (name, picture) in zip(axes, shown.items()):
    figures.picture_on(axis, figures.to_picture(picture[0].cpu()))
    axis.set_title(name, fontsize=10)
tokens = encoded.indices[0].cpu()
axes[3].imshow(torch.zeros(4, 4), cmap="Greys", vmin=0, vmax=1)
for row in range(4):
    for column in range(4):
        axes[3].text(column, row, int(tokens[row, column]), ha="center", va="center", fontsize=9)
axes[3].set(xticks=[], yticks=[])
axes[3].set_title("all that the codes say", fontsize=10)
figures.show(
    figure,
    alt="The wolf; the wolf drawn from its latents, blurred; the wolf drawn from its codes, more "
    "blurred and less even; and a table of 4 x 4 whole numbers between 0 and 1,023.",
)

# %% tags=["nbval-check-output"]
print("latents", tuple(encoded.latents.shape), "tokens", tuple(encoded.indices.shape))
print("bits:", encoded.latents.numel() * 32, "as float32 numbers,", 16 * 10, "as tokens")

# %% [markdown]
# **What to notice.** The third picture is drawn from the table on the right and nothing else: 160 bits. What the second picture has more is what this step costs. The loss is real, and section 7 looks at it closely. The gain is that a grid of whole numbers can be *guessed like words*, with a cross-entropy. Lessons 06 to 08 do just that.
#
# Three things are hard about it: to find the nearest code, to train through a choice, and to keep all codes in use. We take them in this order.

# %% [markdown]
# ## 2. The nearest code
#
# DC-HT puts latents and codes on the **unit sphere** first: every vector is divided by its length. Then only directions are compared.
#
# $$\hat z = \frac{z}{\lVert z \rVert}, \qquad \hat e_j = \frac{e_j}{\lVert e_j \rVert}, \qquad i = \arg\min_j \lVert \hat z - \hat e_j \rVert^2 = \arg\max_j \; \hat z \cdot \hat e_j$$
#
# In words: the nearest code is the one with the largest cosine, because on the sphere $\lVert \hat z - \hat e_j \rVert^2 = 2 - 2\, \hat z \cdot \hat e_j$.
#
# | symbol | meaning | shape | code |
# |---|---|---|---|
# | $z$ | latents, all places of all pictures in one list | (n, c), float | `z` |
# | $e$ | codebook; $e_j$ is row $j$ | (K, c), float | `codes` |
# | $i$ | row of the nearest code | (n,), int64 | `indices` |
# | $c$ | channels of a latent, 32 in DC-HT | number | `z.shape[1]` |
# | $K$ | codes; the paper has 16,384 | number | `len(codes)` |

# %% [markdown] tags=["exercise-text"]
# ### Exercise 03.1 - The nearest code
# difficulty: 2/5 · importance: 5/5 · 10 min · needs: none
#
# Write `nearest_code(z, codes)`. `z` is (n, c), `codes` is (K, c), both float tensors of any precision and with vectors of any length. Give back, for each latent, the row of the nearest code on the unit sphere: int64 (n,).
#
# Two conditions. Compute in float32 even if the inputs are not. And never build a tensor of n x K x c numbers: for one batch of the paper that would be more than 100 GB.
#
# Used in `dcar_edu.tokenizer.quantizer.VectorQuantizer.nearest`.
#
# <details><summary>Hint 1</summary>
#
# A table of all cosines has n rows and K columns. Which single operation fills such a table from (n, c) and (K, c)?
# </details>
# <details><summary>Hint 2</summary>
#
# `F.normalize(x, dim=1)` divides each row by its length. `x.float()` makes float32. A matrix product of (n, c) with (c, K) is (n, K).
# </details>
# <details><summary>Hint 3</summary>
#
# `(F.normalize(z.float(), dim=1) @ F.normalize(codes.float(), dim=1).T).argmax(dim=1)`
# </details>
# <details><summary>Expected</summary>
#
# The line "same as" below: your function finds the codes that the library finds.
# </details>

# %% tags=["exercise"]
def nearest_code(z, codes):
    """For each latent (n, c) the row of the nearest code (K, c) on the unit sphere: (n,)."""
    # BEGIN SOLUTION
    z, codes = F.normalize(z.float(), dim=1), F.normalize(codes.float(), dim=1)
    return (z @ codes.T).argmax(dim=1)
    # END SOLUTION


# %% tags=["check", "nbval-ignore-output"]
nearest_code = check("03.1", nearest_code)

# %% tags=["nbval-ignore-output"]
codebook = tokenizer.quantizer.codes.detach()
course.same_as_library(
    lambda z: nearest_code(z, codebook),
    tokenizer.quantizer.nearest,
    lambda: (torch.randn(500, 32, generator=L.generator()).to(L.device),),
)

# %% [markdown]
# Why the sphere? Here is a toy in three dimensions: 300 latents and seven codes of different lengths. On the left the nearest code is found by plain distance, on the right on the sphere.

# %%
generator = L.generator(1)
toy_codes = F.normalize(torch.randn(7, 3, generator=generator)) * torch.linspace(0.3, 6, 7)[:, None]
toy = F.normalize(torch.randn(300, 3, generator=generator))
toy = toy * torch.rand(300, 1, generator=generator).mul(1.5).add(0.5)
by_distance = torch.cdist(toy, toy_codes).argmin(1)
on_sphere = nearest_code(toy, toy_codes)

# %%
figure, (axes,) = figures.panels(1, 2, height=4, subplot_kw={"projection": "3d"})
unit = F.normalize
for axis, points, centres, chosen, name in [
    (axes[0], toy, toy_codes, by_distance, "as they are"),
    (axes[1], unit(toy), unit(toy_codes), on_sphere, "on the unit sphere"),
]:
    for code in range(7):
        colour, marker = f"C{code}", figures.MARKERS[code]
        axis.scatter(*points[chosen == code].T, color=colour, marker=marker, s=14, alpha=0.6)
        axis.scatter(*centres[code], color=colour, marker=marker, s=110, edgecolor="black")
    axis.set_title(f"{name}: {len(chosen.unique())} of 7 codes used", fontsize=10)
    axis.set(xticklabels=[], yticklabels=[], zticklabels=[], box_aspect=(1, 1, 1))
    axis.view_init(elev=20, azim=35)
figures.show(
    figure,
    alt="Two clouds of 300 points in space, each with the colour and the marker of its nearest "
    "code. Left: codes far out are nearest to no point, and short ones share the cloud. Right: all "
    "on a ball, which is divided into patches with one code each.",
)

# %% [markdown]
# How near is the nearest? That depends on how many codes there are, and on whether they lie where the latents are. A code that is random in 32 dimensions is no good: even the best of 16,384 is far away. A trained codebook must do better than that.

# %% tags=["nbval-check-output"]
generator = torch.Generator().manual_seed(0)
random_z = F.normalize(torch.randn(256, 32, generator=generator))
random_codes = F.normalize(torch.randn(16384, 32, generator=generator))
print(f"typical size of one number of a unit vector in 32 dimensions: {1 / math.sqrt(32):.3f}")
for count, low, high in ((1024, 0.52, 0.56), (16384, 0.62, 0.65)):
    best = (random_z * random_codes[nearest_code(random_z, random_codes[:count])]).sum(1)
    print(f"best of {count:,} random codes: mean cosine in {low} to {high}:", low < float(best.mean()) < high)
print(f"the paper's tokenizer, residual of size 0.107: cosine {1 - 32 * 0.107**2 / 2:.3f}")

# %% tags=["nbval-ignore-output"]
parts = CaptionedEmoji("held_out_concepts", 128, concepts=L.budget.pictures // 4)
unseen = parts.batch(L.budget.pictures, device=L.device, generator=L.generator()).images
coded = [tokenizer.encode(part) for part in unseen.split(16)]
cosine = torch.cat([F.cosine_similarity(c.latents, c.quantized).flatten() for c in coded])
print(f"the shipped tokenizer, concepts it has never seen: mean cosine {cosine.mean():.3f}")

# %% [markdown]
# **What to notice.** The cosine between latents and their codes is the first number to look at in any VQ model. Near the random value, the codebook has learnt nothing. The paper's cosine is not stated; we computed it from the scale of residuals in the released code, and compare with care: our codebook is smaller and our pictures are simpler.
#
# A word on precision. With thousands of codes, the best two cosines are often closer than bfloat16 can tell apart. A token would then depend on rounding, and so on the machine. That is why the search is done in float32 even when everything else is not.

# %% [markdown]
# ## 3. A gradient where there is none
#
# The decoder reads the code, not the latent. To train the encoder, the gradient must get from the code to the latent. But the way there is a choice. Move the latent a little: the same code is chosen, the picture stays the same, the slope is zero. Move it across a border: the picture jumps. Zero or a jump, and a gradient can use neither.
#
# The **straight-through** trick: go forward with the code, go backward as if nothing had happened.
#
# $$z_q = z + \mathrm{sg}(q - z)$$
#
# In words: $\mathrm{sg}$ (stop gradient, `detach` in PyTorch) is a constant for the backward pass. The value is $z + q - z = q$. The gradient is that of $z$, unchanged.
#
# | symbol | meaning | shape | code |
# |---|---|---|---|
# | $q$ | the chosen codes, one row for each latent | (n, c), float | `q` |
# | $z_q$ | what the decoder reads: the value of $q$, the gradient of $z$ | (n, c), float | `straight_through(z, q)` |

# %% [markdown] tags=["exercise-text"]
# ### Exercise 03.2 - Straight through
# difficulty: 2/5 · importance: 5/5 · 6 min · needs: 03.1
#
# Write `straight_through(z, q)` for two float tensors of one shape. The result has the value of `q`. Its gradient goes to `z` unchanged, and `q` gets none. (The codes are trained by a loss of their own, which comes next.)
#
# Used in `dcar_edu.tokenizer.quantizer.straight_through`.
#
# <details><summary>Hint 1</summary>
#
# `x.detach()` has the value of `x` and no gradient. You need the value of one thing and the gradient of another.
# </details>
# <details><summary>Hint 2</summary>
#
# Write `q` as `z + (q - z)`. Which part must be a constant, so that only the first `z` is seen by the gradient?
# </details>
# <details><summary>Hint 3</summary>
#
# `z + (q - z).detach()`
# </details>
# <details><summary>Expected</summary>
#
# Below: the gradient on z is 1 everywhere, the gradient on q is none.
# </details>

# %% tags=["exercise"]
def straight_through(z, q):
    """The value of q with the gradient of z."""
    # BEGIN SOLUTION
    return z + (q - z).detach()
    # END SOLUTION


# %% tags=["check", "nbval-ignore-output"]
straight_through = check("03.2", straight_through)

# %% [markdown]
# In one dimension one can see it. Five codes make a staircase, and the decoder would like to have the value 0.4: the loss is the squared distance to it.

# %%
line = torch.linspace(-1.2, 1.2, 241, requires_grad=True)
steps = torch.tensor([-1.0, -0.5, 0.0, 0.5, 1.0])
stairs = steps[(line.detach()[:, None] - steps).abs().argmin(1)]
wish = 0.4
(slope,) = torch.autograd.grad((straight_through(line, stairs) - wish).square().sum(), line)
(ideal,) = torch.autograd.grad((line - wish).square().sum(), line)

# %%
figure, ((left, right),) = figures.panels(1, 2, height=2.8)
x = line.detach()
left.plot(x, x, "--", label="latent")
left.plot(x, stairs, "-", label="its code")
left.axhline(wish, color="black", linewidth=1, linestyle=":", label="the wish")
left.set(xlabel="latent", ylabel="value")
right.plot(x, ideal, "--", label="without codes")
right.plot(x, slope, "-", label="straight-through")
right.plot(x, torch.zeros_like(x), "-.", label="true slope of the stairs")
right.set(xlabel="latent", ylabel="gradient of the loss")
for axis in (left, right):
    axis.legend(fontsize=8)
figures.show(
    figure,
    alt="Left: a staircase of five steps around a diagonal. Right: the true slope of the staircase "
    "is zero everywhere; the straight-through gradient is a staircase that follows the straight "
    "line of the gradient without codes.",
)

# %% tags=["nbval-check-output"]
z, q = (torch.tensor(v, requires_grad=True) for v in ([0.3, 0.9], [0.5, 1.0]))
result = straight_through(z, q)
on_z, on_q = torch.autograd.grad(result.sum(), (z, q), allow_unused=True)
print("value", [round(v, 4) for v in result.tolist()], "gradient on z", on_z.tolist(), "on q", on_q)

# %% [markdown]
# **What to notice.** The straight-through gradient is wrong by at most what the staircase differs from the diagonal. As long as latents lie *near* their codes it points the right way. If they drift apart, the encoder is steered by a gradient that belongs to another place. So something has to keep them together: the loss of the next section.

# %% [markdown]
# ## 4. Who moves to whom
#
# The codes got no gradient so far, and nothing keeps the latents near them. One loss does both:
#
# $$\mathcal{L}_{VQ} = \underbrace{\lVert q - \mathrm{sg}(z) \rVert^2}_{\text{codes move to latents}} + \beta \, \underbrace{\lVert z - \mathrm{sg}(q) \rVert^2}_{\text{latents move to codes}}$$
#
# In words: the same distance twice, each time with one side held fast. The second half is the **commitment loss**. $\beta$ is small, because the encoder has something better to do: to serve the pixels. It should not chase the codes; the codes should come to it.
#
# | symbol | meaning | shape | code |
# |---|---|---|---|
# | $\beta$ | weight of the commitment loss, 0.25 in DC-HT | number | `beta` |
# | $\mathrm{sg}$ | stop gradient: a constant for the backward pass | like its input | `.detach()` |
# | $\lVert \cdot \rVert^2$ | here the mean over all elements | number | `.square().mean()` |

# %% [markdown] tags=["exercise-text"]
# ### Exercise 03.3 - The loss of the codes
# difficulty: 3/5 · importance: 5/5 · 8 min · needs: 03.2
#
# Write `vq_loss(z, q, beta=0.25)`, one number. `z` and `q` are float tensors of one shape. Take the mean over all elements, not the sum.
#
# Be careful where $\beta$ goes. With $\beta$ on the other half *the value is the same*, and no loss curve shows the error. It stood for years in well-known libraries, and one of them keeps it as the default, so that old results stay the same. Our check looks at gradients.
#
# Used in `dcar_edu.tokenizer.quantizer.VectorQuantizer`.
#
# <details><summary>Hint 1</summary>
#
# Two terms with the same value. In each of them one of the two tensors is detached: the one that must not move.
# </details>
# <details><summary>Hint 2</summary>
#
# The codes move when `z` is detached. This half has weight 1.
# </details>
# <details><summary>Hint 3</summary>
#
# `(q - z.detach()).square().mean() + beta * (z - q.detach()).square().mean()`
# </details>
# <details><summary>Expected</summary>
#
# In the figure below the long arrow is that of the code.
# </details>

# %% tags=["exercise"]
def vq_loss(z, q, beta=0.25):
    """Codes move to latents; beta times, latents move to codes. Mean over all elements."""
    # BEGIN SOLUTION
    codes_move = (q - z.detach()).square().mean()
    latents_move = (z - q.detach()).square().mean()
    return codes_move + beta * latents_move
    # END SOLUTION


# %% tags=["check", "nbval-ignore-output"]
vq_loss = check("03.3", vq_loss)

# %% [markdown]
# One latent at 0, one code at 1, and ten small steps down this loss. Where do they meet?

# %%
def walk(loss, steps=10, rate=0.12):
    """Ten steps of gradient descent with a latent that starts at 0 and a code that starts at 1."""
    z, q = torch.zeros(1, requires_grad=True), torch.ones(1, requires_grad=True)
    for _ in range(steps):
        on_z, on_q = torch.autograd.grad(loss(z, q), (z, q), allow_unused=True)
        z, q = ((p - rate * g).detach().requires_grad_() for p, g in ((z, on_z), (q, on_q)))
    return z.item(), q.item()


losses = {
    "β = 0.25": lambda z, q: vq_loss(z, q, 0.25),
    "β = 1": lambda z, q: vq_loss(z, q, 1.0),
    "β = 0.25 on the wrong half": lambda z, q: vq_loss(q, z, 0.25),
}
ends = {name: walk(loss) for name, loss in losses.items()}

# %%
figure, ((axis,),) = figures.panels(height=2.2)
for place, (z_end, q_end) in enumerate(ends.values()):
    for start, end, colour, marker in ((0, z_end, "C0", "o"), (1, q_end, "C1", "s")):
        axis.plot(start, place, marker, color=colour, markersize=9, fillstyle="none")
        axis.annotate(
            "", (end, place), (start, place), arrowprops={"color": colour, "arrowstyle": "-|>", "lw": 2}
        )
axis.plot([], [], "o", color="C0", fillstyle="none", label="latent")
axis.plot([], [], "s", color="C1", fillstyle="none", label="code")
axis.set(yticks=range(3), yticklabels=ends, ylim=(2.5, -0.5), xlabel="where they are")
axis.legend(loc="upper center", bbox_to_anchor=(0.5, 1.3), ncols=2)
figures.show(
    figure,
    alt="Three rows with an arrow from the latent and an arrow from the code towards each other. "
    "With beta 0.25 the code goes most of the way; with beta 1 both go half; with beta on the wrong "
    "half the latent goes most of the way.",
)

# %% tags=["nbval-check-output"]
z, q = (torch.tensor(v, requires_grad=True) for v in (0.0, 1.0))
for name, loss in losses.items():
    on_z, on_q = torch.autograd.grad(loss(z, q), (z, q))
    print(f"{name:28s} value {loss(z, q):.2f}  gradient on z {on_z:+.1f}  on q {on_q:+.1f}")

# %% [markdown]
# **What to notice.** The first and the third line have the same value and opposite effects. In the third the encoder runs after the codes, four times as fast as they come. Training still works somehow; it is only worse. Errors of this kind are found by asking *who gets which gradient*, and by nothing else.

# %% [markdown]
# ## 5. Is the codebook alive?
#
# A code that no latent chooses gets no gradient. It stays where it is, and since the others move away with the latents, it will not be chosen tomorrow either: a **dead code**. When most are dead, this is **codebook collapse**: the model pays for 14 bits a token and uses four. Two numbers tell:
#
# $$\text{usage} = \frac{\text{codes that occur}}{K}, \qquad \text{perplexity} = \exp\Big(-\sum_j p_j \ln p_j\Big)$$
#
# In words: usage asks whether a code occurs at all. Perplexity asks how even the choice is: it is the number of equally frequent codes that would be just as varied.
#
# | symbol | meaning | shape | code |
# |---|---|---|---|
# | $p_j$ | share of the tokens that are code $j$; $0 \ln 0$ counts as 0 | (K,), float | `shares` |

# %% [markdown] tags=["exercise-text"]
# ### Exercise 03.4 - Usage and perplexity
# difficulty: 2/5 · importance: 4/5 · 6 min · needs: none
#
# Write `code_usage(indices, num_codes)`. `indices` is an int64 tensor of any shape with values from 0 to `num_codes - 1`. Give back a pair of floats: usage (0 to 1) and perplexity (1 to `num_codes`).
#
# Used in `dcar_edu.tokenizer.quantizer.code_usage`.
#
# <details><summary>Hint 1</summary>
#
# First count how often each code occurs. `torch.bincount(x, minlength=...)` wants a flat tensor.
# </details>
# <details><summary>Hint 2</summary>
#
# Leave out the codes with count 0 before the logarithm: `0 * log(0)` is nan in PyTorch. And the power must fit the logarithm: `log` goes with `exp`.
# </details>
# <details><summary>Hint 3</summary>
#
# `shares = counts[counts > 0] / counts.sum()`, usage `len(shares) / num_codes`, perplexity `(-(shares * shares.log()).sum()).exp().item()`.
# </details>
# <details><summary>Expected</summary>
#
# Four tokens 0, 0, 1, 1 out of 4 codes: usage 0.5, perplexity 2.
# </details>

# %% tags=["exercise"]
def code_usage(indices, num_codes):
    """Share of the codes that occur, and exp of the entropy of their shares."""
    # BEGIN SOLUTION
    counts = torch.bincount(indices.flatten(), minlength=num_codes)
    shares = counts[counts > 0] / counts.sum()
    entropy = -(shares * shares.log()).sum()
    return len(shares) / num_codes, entropy.exp().item()
    # END SOLUTION


# %% tags=["check", "nbval-ignore-output"]
code_usage = check("03.4", code_usage)

# %% tags=["nbval-check-output"]
usage, perplexity = code_usage(torch.tensor([[0, 0], [1, 1]]), 4)
print(f"tokens 0, 0, 1, 1 of 4 codes: usage {usage}, perplexity {perplexity:.1f}")
usage, perplexity = code_usage(torch.tensor([0] * 997 + [1, 2, 3]), 4)
print(f"997 times code 0, once each of three others: usage {usage}, perplexity {perplexity:.2f}")
print(f"all 16,384 codes equally often: entropy ln 16384 = {math.log(16384):.4f}")

# %% [markdown]
# The last number comes back in lesson 07: a transformer that knows nothing yet and guesses all codes alike has this cross-entropy. If a codebook has collapsed, guessing tokens becomes easy, and the loss curve of the generator looks *splendid*. So look at usage first.

# %% [markdown] tags=["exercise-text"]
# ### Exercise 03.5 - Bring the dead back (optional)
# difficulty: 3/5 · importance: 3/5 · 8 min · needs: 03.4
#
# Write `revive(codes, counts, z, generator)`. `codes` is (K, c), `counts` is int64 (K,): how often each code was used lately; `z` is (n, c), real latents, at least as many as there are dead codes. Give back a *new* codebook. Codes with count 0 start again at latents drawn at random, each at a different one; the others keep their values. `generator` is a CPU `torch.Generator`.
#
# You may skip this one; section 6 then uses ours. Used in `dcar_edu.tokenizer.quantizer.VectorQuantizer.restart`.
#
# <details><summary>Hint 1</summary>
#
# A code will be chosen if it stands where latents are. So copy latents. Which function draws rows *without repeating* one?
# </details>
# <details><summary>Hint 2</summary>
#
# `torch.randperm(n, generator=generator)` is a shuffled list of 0 to n - 1. Its first few entries are different rows.
# </details>
# <details><summary>Hint 3</summary>
#
# `dead = counts == 0`, `drawn = torch.randperm(len(z), generator=generator)[: int(dead.sum())]`, then on a `codes.clone()`: `alive[dead] = z[drawn]`. (With `z` on a GPU: `drawn.to(z.device)`.)
# </details>
# <details><summary>Expected</summary>
#
# In the second run of section 6 all but a few codes are in use.
# </details>

# %% tags=["exercise"]
def revive(codes, counts, z, generator):
    """A new codebook, in which each code with count 0 starts at a latent of its own."""
    # BEGIN SOLUTION
    dead = counts == 0
    drawn = torch.randperm(len(z), generator=generator)[: int(dead.sum())]
    alive = codes.clone()
    alive[dead] = z[drawn.to(z.device)]
    return alive
    # END SOLUTION


# %% tags=["check", "nbval-ignore-output"]
revive = check("03.5", revive)

# %% [markdown]
# **What to notice.** Your five functions are a whole quantizer. The library's class does the same things in the same order, only in chunks, so that its memory stays bounded:

# %% tags=["nbval-ignore-output"]
course.same_as_library(
    straight_through, library.straight_through, lambda: (torch.rand(5, 3), torch.rand(5, 3))
)
latents = torch.randn(2, 32, 3, 4, generator=L.generator()).to(L.device)
z = F.normalize(rearrange(latents, "b c h w -> (b h w) c"), dim=1)
chosen = F.normalize(codebook, dim=1)[nearest_code(z, codebook)]
ours, theirs = vq_loss(z, chosen), tokenizer.quantizer(latents).loss
print(f"VQ loss: yours {ours:.5f}, VectorQuantizer's {theirs:.5f}")
tokens = torch.cat([c.indices for c in coded])
usage, perplexity = code_usage(tokens, 1024)
print(f"yours:   usage {usage:.3f}, perplexity {perplexity:.2f}, over {tokens.numel()} tokens")
print("library:", library.code_usage(tokens, 1024))

# %% [markdown]
# ## 6. Experiment: let a codebook die
#
# We train two tiny tokenizers from nothing, with 512 codes at f8 on 64-pixel emoji. A fifth of the steps runs without codes. Then the quantizer is switched on:
#
# - **nothing**: plain distance, codes start as small random numbers near zero, as in the first VQ code that people write;
# - **all**: latents and codes on the sphere, codes start at real latents, and every 20 steps the codes that were not used are revived.

# %% [markdown] tags=["predict"]
# **What do you expect?** After the last step, how many of the 512 codes are in use in each run? And how much worse are the pictures of the dying run?
#
# <details><summary>Answer</summary>
#
# Without any measure some dozens of codes are used, and the choice among them is worth ten to twenty even ones. At the start all codes sit near zero; the few that are nearest to a far-away latent are pulled out, and from then on they win everywhere. With all measures nearly all codes are in use, and the choice is worth hundreds. The pictures differ less than you may think: by less than one dB in a run as short as this.
# </details>

# %%
def quantise(latents, codes, on_sphere):
    """Latents (b, c, h, w) as a list, their codes, the indices and the VQ loss."""
    z = rearrange(latents, "b c h w -> (b h w) c")
    if on_sphere:
        z, codes = F.normalize(z, dim=1), F.normalize(codes, dim=1)
        indices = nearest_code(z.detach(), codes.detach())
    else:
        indices = torch.cdist(z.detach(), codes.detach()).argmin(1)
    q = codes[indices]
    return z, q, indices, vq_loss(z, q)


data = CaptionedEmoji("train", 64, styles=["3d", "flat"], concepts=L.budget.concepts)
new = CaptionedEmoji(
    "held_out_concepts", 64, styles=["3d", "flat"], concepts=L.budget.concepts // 4
)
K, PARTS = 512, 8

# %%
def train(arm):
    """Train a tiny tokenizer; its parts, and how often each code was used in 8 parts of the run."""
    on_sphere, from_data, revive_every = ARMS[arm]
    torch.manual_seed(SEED)
    config = tiny_config(on_sphere)
    encoder, decoder = Encoder(config).to(L.device), Decoder(config).to(L.device)
    codes = torch.empty(K, 16).uniform_(-1 / K, 1 / K).to(L.device).requires_grad_()
    weights = [*encoder.parameters(), *decoder.parameters(), codes]
    optimizer, generator = torch.optim.AdamW(weights, lr=2e-3), L.generator()
    steps, warm_up = L.budget.steps, L.budget.steps // 5
    history, recent = torch.zeros(PARTS, K), torch.zeros(K, device=L.device)
    for step in range(steps):
        pictures = data.batch(L.budget.batch, device=L.device, generator=generator).images
        latents = encoder(pictures)
        if step == warm_up and from_data:
            z = quantise(latents, codes, on_sphere)[0].detach()
            codes.data = revive(codes.data, torch.zeros(K, device=L.device), z, generator)
        z, q, indices, code_loss = quantise(latents, codes, on_sphere)
        coded = step >= warm_up
        read = straight_through(z, q) if coded else z
        drawn = decoder(rearrange(read, "(b h w) c -> b c h w", h=8, w=8))
        pixel_loss = (drawn - pictures).abs().mean()
        loss = pixel_loss + coded * code_loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        counts = torch.bincount(indices, minlength=K)
        if coded:
            history[(step - warm_up) * PARTS // (steps - warm_up)] += counts.cpu()
            recent += counts
        if coded and revive_every and step % revive_every == 0:
            codes.data = revive(codes.data, recent, z.detach(), generator)
            recent.zero_()
        if step in (warm_up - 1, steps - 1):
            print(f"{arm:8s} step {step + 1:4d} of {steps}  pixel loss {pixel_loss.item():.3f}")
    return encoder, decoder, codes.detach(), history


# %% tags=["nbval-ignore-output"]
runs = {arm: train(arm) for arm in ("nothing", "all")}

# %% tags=["nbval-ignore-output"]
fixed = torch.Generator().manual_seed(1234)
seen = data.batch(L.budget.pictures, device=L.device, generator=fixed).images
strange = new.batch(L.budget.pictures, device=L.device, generator=fixed).images
redrawn = {}
for arm, (encoder, decoder, codes, _) in runs.items():
    with torch.no_grad():
        _, _, indices, _ = quantise(encoder(seen), codes, ARMS[arm][0])
        usage, perplexity = code_usage(indices, K)
        _, q, _, _ = quantise(encoder(strange), codes, ARMS[arm][0])
        drawn = decoder(rearrange(q, "(b h w) c -> b c h w", h=8, w=8)).clamp(-1, 1)
    redrawn[arm] = drawn.cpu()
    value = psnr(drawn, strange).mean()
    L.report(**{f"usage_{arm}": usage, f"perplexity_{arm}": perplexity, f"psnr_{arm}": value})

# %%
figure, ((left, middle, right),) = figures.panels(1, 3, height=3)
for axis, (arm, (_, _, _, history)) in zip((left, middle), runs.items()):
    for part, style in ((0, ":"), (2, "-."), (4, "--"), (7, "-")):
        share = (history[part] / history[part].sum()).sort(descending=True).values
        axis.plot(range(1, K + 1), share.clamp(min=1e-6), style, label=f"part {part + 1} of {PARTS}")
    axis.set(xscale="log", yscale="log", ylim=(1e-5, 1), xlabel="codes, most used first")
    axis.set_title(arm, fontsize=10)
left.set_ylabel("share of the tokens")
left.legend(fontsize=7)
for (arm, (_, _, _, history)), mark in zip(runs.items(), ("o--", "s-")):
    varied = [
        code_usage(torch.repeat_interleave(torch.arange(K), part.long()), K)[1] for part in history
    ]
    right.plot(range(1, PARTS + 1), varied, mark, label=arm)
right.set(yscale="log", ylim=(1, K), xlabel="part of the run")
right.set_title("perplexity", fontsize=10)
right.legend(fontsize=8)
figures.show(
    figure,
    alt="Three panels over the run. Nothing: the share of a code falls off a cliff after a few "
    "dozen codes, and stays so. All: the curve falls gently over hundreds of codes. Perplexity: ten to "
    "twenty in the first run, hundreds in the second.",
)

# %%
columns = min(6, len(strange))
rows = [part[:columns].cpu() for part in (strange, *redrawn.values())]
figures.show(
    figures.image_grid(
        torch.cat(rows), columns=columns, row_titles=["original", *redrawn], tile=1.0
    ),
    alt="Six emoji that the tokenizers have never seen, in three rows. Original; the run with "
    "nothing: blurred, with hard blocks in a few colours; the run with all measures: blurred "
    "too, with smoother shapes and more even backgrounds.",
)

# %% [markdown]
# **What to notice.** The pixel loss and PSNR of the dying run give no alarm: a decoder can make a picture even out of two dozen codes, and in a short run it is the decoder, not the codebook, that limits both runs. Only usage and perplexity show what happened. The experiment below trains longer.
#
# Usage alone is too kind to the dying run. A code that occurs once counts as much as one that fills every background.
#
# Which of the three measures matters? That is not decided by one run. `dcar experiment 03_collapse --arm sphere --seed 3` trains one arm; these are the runs that come with the course:

# %% tags=["nbval-ignore-output"]
lines = [line for line in results("03_collapse") if line["budget"] != "smoke"]
if not lines:
    print("no results yet: run 'dcar experiment 03_collapse --seed 0' (about 10 minutes)")
else:
    figure, (axes,) = figures.panels(1, 3, height=2.8, sharey=True)
    for axis, name in zip(axes, ("usage", "perplexity", "psnr")):
        for place, arm in enumerate(ARMS):
            values = [line["metrics"][name] for line in lines if line["arm"] == arm]
            mark = figures.MARKERS[place]
            axis.plot(values, [place] * len(values), mark, color=f"C{place}", alpha=0.7)
        axis.set(xlabel={"psnr": "PSNR in dB"}.get(name, name), yticks=range(len(ARMS)))
    axes[0].set(yticklabels=ARMS, ylim=(len(ARMS) - 0.5, -0.5))
    figures.show(
        figure,
        alt="Five arms in five rows: nothing, sphere alone, start alone, revival alone, all. Points "
        "for the seeds show usage, perplexity and PSNR of each arm.",
    )

# %% [markdown]
# **What to notice.** Look at each measure alone, and at how far the seeds of one arm lie apart: a difference smaller than that is none. The paper uses the sphere and nothing else; it has millions of pictures and days of training, so most codes are found sooner or later. With a few hundred pictures and minutes it cannot wait so long, and so the library starts codes at data and revives them. `DEVIATIONS.md` lists this as a difference of ours.

# %% [markdown]
# ## 7. What the codes cannot say
#
# Back to the shipped tokenizer, to ask the paper's question: what does quantization lose? Take pictures apart into waves. The frequency of a wave is how often it goes up and down across the picture: low frequencies are large patches, high ones are edges, eyes and lettering. For each frequency we compare the strength in the originals with the strength in pictures drawn from latents and from codes.

# %%
def spectrum(pictures):
    """Mean power at 1 to 63 cycles a picture, all directions together."""
    power = torch.fft.fft2(pictures.mean(1)).abs().square().mean(0)
    waves = torch.fft.fftfreq(128, 1 / 128)
    radius = torch.hypot(waves[:, None], waves[None]).round().long().flatten()
    return (torch.bincount(radius, power.flatten()) / torch.bincount(radius))[1:64]


with torch.no_grad():
    smooth = torch.cat([tokenizer.decode_latents(c.latents) for c in coded]).cpu()
    rough = torch.cat([tokenizer.decode(c.indices) for c in coded]).cpu()
original = unseen.cpu()
kinds = {"original": (original, "-"), "latents": (smooth, "--"), "codes": (rough, "-.")}

# %%
figure, ((left, right),) = figures.panels(1, 2, height=3)
cycles = torch.arange(1, 64)
for name, (pictures, style) in kinds.items():
    left.plot(cycles, spectrum(pictures), style, label=name)
    if name != "original":
        missed = spectrum(pictures - original) / spectrum(original)
        right.plot(cycles, missed, style, label=name, color="C1" if name == "latents" else "C2")
left.set(yscale="log", ylabel="power")
right.axhline(1, color="black", linewidth=1, linestyle=":")
right.set(ylabel="share that is wrong", ylim=(0, None))
for axis in (left, right):
    axis.set(xscale="log", xlabel="cycles a picture")
    axis.set_xticks([1, 2, 4, 8, 16, 32, 64], ["1", "2", "4", "8", "16", "32", "64"])
    axis.legend()
figures.show(
    figure,
    alt="Two panels against the frequency. Left: the power of all three falls; the pictures from "
    "latents and from codes fall below the original from a few cycles on. Right: the share that is "
    "wrong rises from near 0 to about 1, and the curve of the codes lies above that of the latents "
    "at low and middle frequencies.",
)

# %% [markdown]
# **What to notice.** The share on the right is the power of the error divided by the power of the original. 1 means: the error is as large as the thing itself, so nothing of this frequency has come through. Two losses lie on top of each other. The dashed curve is what 4 x 4 latents of a small network cannot hold; lessons 02 and 05 work on that. The distance from the dashed to the dash-dotted curve is the price of the codes alone.
#
# A code stands for all the patches that share it. Their colour and coarse form are alike, so the code can keep them. Their edges and dots fall in different places, so the mean of many patches has none. To say *where the eye is*, there would have to be a code for each place of the eye, times each colour of the fur: the number of codes explodes. In the figures: an eye, and a piece of lettering.

# %%
def zoomed(label, corner, side=48):
    """Original, from latents, from codes: one square part of each, enlarged."""
    one = CaptionedEmoji("train", 128, styles=["3d"], concepts=[label])
    picture = one.render([one.example(label, "3d", "white")], L.device)
    found = tokenizer.encode(picture)
    with torch.no_grad():
        ways = [picture, tokenizer.decode_latents(found.latents), tokenizer.decode(found.indices)]
    y, x = corner
    cut = torch.cat(ways)[:, :, y : y + side, x : x + side].cpu()
    return F.interpolate(cut, size=(144, 144))


parts = torch.cat([zoomed("frog", (2, 6)), zoomed("hundred points", (24, 36), 64)])

# %%
figures.show(
    figures.image_grid(
        parts, ["original", "from latents", "from codes"], 3, row_titles=["an eye", "lettering"]
    ),
    alt="Two rows. The eye of a frog: sharp rings in the original, a dark blur with a lighter rim "
    "from latents, much the same from codes. The digits of a hundred-points sign: clear in the "
    "original; from latents and from codes one red patch without digits.",
)

# %% [markdown]
# **What to notice.** This is the reason for the word *hybrid* in DC-HT. The token says what can be said in one word. The **residual** $r = z - z_q$, the part of the latent that the code misses, says the rest, and lesson 09 teaches a small network to draw it. How the two are trained together without spoiling each other is lesson 04.
#
# ## Quiz

# %% tags=["quiz", "nbval-ignore-output"]
course.quiz("03")

# %% [markdown] tags=["recap"]
# ## What you take with you
#
# 1. VQ replaces a vector by the nearest of $K$ codes. On the unit sphere nearest means largest cosine; search in float32.
# 2. Straight-through: forward with the code, backward to the latent.
# 3. The codes move to the latents with weight 1, the latents to the codes with $\beta$. The value of the loss does not show a swap; the gradients do.
# 4. Watch usage *and* perplexity. A start at real latents, the sphere and revival keep a codebook alive.
# 5. A code keeps what its patches share. Fine detail is in the residual.
#
# **New terms:** vector quantization, codebook, unit sphere, straight-through, commitment loss, code usage, perplexity, dead code, codebook collapse. `course.glossary()` explains them.
#
# **You now know** `dcar_edu.tokenizer.quantizer`: `VectorQuantizer`, `straight_through`, `code_usage`.
#
# **To read on:** [VQ-VAE](https://arxiv.org/abs/1711.00937), sections 3.1 and 3.2: the loss of this lesson in its first form.
#
# **Next:** lesson 04 puts encoder, codes and residual together, and trains them in three stages.

# %% tags=["nbval-ignore-output"]
#@title Download my answers (on Colab)
import sys

if "google.colab" in sys.modules:
    L.save_answers()

# %% tags=["finish", "nbval-ignore-output"]
L.finish(wolf=from_codes[0].cpu())
