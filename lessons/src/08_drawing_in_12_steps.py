# %% [markdown] tags=["header"]
# ---
# title: Drawing in 12 steps
# builds: the sampler, the loop that turns a network's guesses into a finished grid of tokens
# figures: 14
# wait: 3
# wait_gpu: 2
# gpu: false
# memory: 2 GB
# needs: 07
# writes: your progress file and one tile of the wolf strip
# ---

# %% [markdown] tags=["map"]
# Lesson 07 trained a network that guesses hidden tokens. A guess is not a picture yet: this lesson builds the loop around the network that decides which guesses to believe, and when. It needs no training at all. Residuals wait until lesson 09, so every picture here is drawn from tokens only.

# %% [markdown] tags=["objectives"]
# **When you are done you can**
#
# - say how many tokens each of twelve steps reveals, and why the last reveals most;
# - push a network towards its prompt, and say in which of two conventions a number is meant;
# - draw from a softmax with noise and one `argmax`;
# - write the whole sampler, test it with an oracle, and drive the shipped network with it;
# - measure what steps, guidance, temperature and order do, and where they do nothing.
#
# **You need** lesson 07: masks, logits of hidden tokens, the arccos curve.
#
# **Short of time?** Sections 1, 2, 5, 6 and 8.

# %% tags=["setup"]
# @title Setup (run first)
# SETUP

# %% tags=["parameters"]
import os

BUDGET = os.environ.get("DCAR_BUDGET", "cpu")
SEED = 0

# %% tags=["start", "nbval-ignore-output"]
import math
import statistics

import torch

from dcar_edu import course
from dcar_edu.course import check, figures, same_as_library
from dcar_edu.course.drawings import Sampler, decode, draw_tokens, load_judge
from dcar_edu.course.experiments import results
from dcar_edu.course.recipes import RECIPES, learnt_examples
from dcar_edu.course.studies import study_08 as study
from dcar_edu.course.studies.study_05 import SURE, verdict
from dcar_edu.course.widgets import explore
from dcar_edu.generator import guidance, masking, sampling

L = course.start("08", BUDGET, SEED)

# %% tags=["map", "nbval-ignore-output"]
course.course_map("08")

# %% [markdown]
# ## 1. A wolf out of nothing
#
# The shipped network draws a wolf, and shows its work after each of twelve steps. Grey cells are still hidden.

# %%
model = course.stage("08", "shipped").to(L.device)
network, codes = model.generator, model.generator.config.num_codes
prompt = "a 3D emoji of a wolf on a pale blue background"
records = list(model.generate_steps([prompt], seed=SEED))

# %% tags=["nbval-ignore-output"]
figures.animate(
    [record.preview[0] for record in records],
    alt="Twelve pictures of 4 x 4 cells. In the first, only one cell at the left is not grey. Cell by "
    "cell a wolf's head appears; in the last step the four cells that are left come at once.",
)

# %% [markdown]
# **What to notice.** Nobody told the network where to begin. It takes the places first of which it is *sure*, and that is no row after row: it begins at the left cheek, and three of the four plain corners come last. Four cells wait until the end and then appear at once. Section 6 finds out why the corners are late.
#
# An honest word before we begin. This model, `emoji-128`, has a grid of 4 x 4: 16 tokens. Twelve steps for 16 tokens is nearly one token a step, so there is little to save. The paper draws 64 tokens (256 pixels) or 256 tokens (512 pixels) in the same twelve steps. Where that matters, this lesson shows the arithmetic for 64 and 256, and measures on 16.

# %% [markdown]
# ## 2. How many tokens a step
#
# Tokens revealed in one step do not see each other. Early on, when nearly nothing is known, that is risky, so a step reveals few. Later the visible tokens decide the rest, and a step may reveal many. The plan is the arccos curve on which the network was trained (lesson 07):
#
# $$m_k = \min\Big( m_{k-1} - 1, \; \Big\lfloor N \cdot \tfrac{2}{\pi} \arccos \tfrac{k}{T} \Big\rfloor \Big), \qquad m_0 = N, \quad m_T = 0$$
#
# In words: after step $k$ of $T$, so many of $N$ tokens are still hidden. The minimum sees to it that every step reveals at least one token.
#
# | symbol | meaning | shape | code |
# |---|---|---|---|
# | $N$ | tokens of a picture | number | `tokens` |
# | $T$ | steps | number | `steps` |
# | $k$ | this step, counted from 1 | number | `step` |
# | $m_k$ | tokens still hidden after step $k$ | number | `counts[step - 1]` |

# %% [markdown] tags=["exercise-text"]
# ### Exercise 08.1 - Tokens still hidden
# difficulty: 2/5 · importance: 5/5 · 8 min · needs: none
#
# Write `masked_after(tokens, steps)`. Both are whole numbers, `steps` at most `tokens`. Give back a list of `steps` whole numbers: how many tokens are hidden after step 1, after step 2, and so on. The last one is 0.
#
# Used in `dcar_edu.generator.masking.reveal_counts`, which gives the differences of this list.
#
# <details><summary>Hint 1</summary>
#
# Go through `step` = 1 ... `steps` and remember how many were hidden before. `math.acos` and `math.floor` are all you need.
# </details>
# <details><summary>Hint 2</summary>
#
# With 64 tokens in 64 steps the rounded curve stands still for some steps. `min(hidden - 1, planned)` helps there.
# </details>
# <details><summary>Hint 3</summary>
#
# `planned = math.floor(tokens * (2 / math.pi) * math.acos(step / steps))`, then `hidden = min(hidden - 1, planned)`, but 0 in the last step.
# </details>
# <details><summary>Expected</summary>
#
# Five tokens in one step: `[0]`. 64 tokens in 64 steps: 63, 62, 61, ..., 0, one a step.
# </details>


# %% tags=["exercise"]
def masked_after(tokens, steps):
    """How many of ``tokens`` are still hidden after each of ``steps`` steps."""
    # BEGIN SOLUTION
    counts, hidden = [], tokens
    for step in range(1, steps + 1):
        planned = math.floor(tokens * (2 / math.pi) * math.acos(step / steps))
        hidden = min(hidden - 1, planned) if step < steps else 0
        counts.append(hidden)
    return counts
    # END SOLUTION


# %% tags=["check", "nbval-ignore-output"]
masked_after = check("08.1", masked_after)

# %% tags=["nbval-check-output"]
for tokens in (16, 64, 256):
    print(f"{tokens:3d} tokens in 12 steps, hidden: ", masked_after(tokens, 12))
    print(f"{'':23s}revealed:", masking.reveal_counts(tokens, 12))

# %%
figure, axes = figures.panels(1, 3, height=2.6)
for axis, tokens in zip(axes[0], (16, 64, 256)):
    left = [tokens, *masked_after(tokens, 12)]
    yours = [before - after for before, after in zip(left, left[1:])]
    steps = range(1, 13)
    axis.bar([k - 0.2 for k in steps], yours, 0.4, label="yours")
    expected = masking.reveal_counts(tokens, 12)
    axis.bar([k + 0.2 for k in steps], expected, 0.4, hatch="//", label="expected")
    cosine = [math.floor(tokens * math.cos(math.pi / 2 * k / 12)) for k in range(13)]
    cosine[-1] = 0
    drop = [before - after for before, after in zip(cosine, cosine[1:])]
    axis.plot(steps, drop, "k.:", linewidth=1, label="a cosine instead")
    axis.set(title=f"{tokens} tokens", xlabel="step", xticks=[1, 4, 8, 12])
axes[0, 0].set_ylabel("tokens revealed")
axes[0, 0].legend(fontsize=7, loc="upper left")
figures.show(
    figure,
    alt="Three bar charts of tokens revealed in each of 12 steps, for 16, 64 and 256 tokens. Your bars "
    "and the expected ones are equal: nearly level, then a last step of a quarter of all tokens. "
    "The dotted cosine starts lower and ends lower.",
)

# %% [markdown]
# **What to notice.** Eleven steps reveal three quarters, the last one reveals the rest: 4 of 16, 16 of 64, 67 of 256. Other models of this kind follow a cosine, which starts more slowly and has no such last step. (Here it has no minimum, so with 16 tokens its second step reveals nothing.)

# %% [markdown]
# ## 3. Two passes: a push towards the prompt
#
# In training, the text was taken away from one picture in ten (lesson 06). So the network can guess twice: with the prompt, and without any. The difference of the two is what the *prompt* says. **Guidance** adds more of it:
#
# $$g = c + s \, (c - u)$$
#
# In words: take the guess with text, and go on in the direction that leads away from the guess without. With $s = 0$ nothing is added. Many libraries write $u + w\,(c - u)$ instead: the same with $w = s + 1$. The paper's $s = 4.5$ is a 5.5 there.
#
# | symbol | meaning | shape | code |
# |---|---|---|---|
# | $c$ | logits with text | (b, n, K) | `cond` |
# | $u$ | logits without text | (b, n, K) | `uncond` |
# | $s$ | guidance, 0 is off | number | `scale` |
# | $g$ | guided logits | (b, n, K) | `guided` |

# %% [markdown] tags=["exercise-text"]
# ### Exercise 08.2 - Guidance
# difficulty: 1/5 · importance: 5/5 · 4 min · needs: none
#
# Write `guide(cond, uncond, scale)`: two float tensors of one shape and a number. Give back the guided tensor, same shape.
#
# Used in `dcar_edu.generator.guidance.guide`, for tokens here and for residuals in lesson 10.
#
# <details><summary>Hint 1</summary>
#
# At scale 0 the answer is `cond`, and not `uncond`.
# </details>
# <details><summary>Hint 2</summary>
#
# The direction is `cond - uncond`. Where do you start from?
# </details>
# <details><summary>Hint 3</summary>
#
# `cond + scale * (cond - uncond)`.
# </details>
# <details><summary>Expected</summary>
#
# 3 with text, 1 without, scale 4.5: 3 + 4.5 x 2 = 12.
# </details>


# %% tags=["exercise"]
def guide(cond, uncond, scale):
    """Push logits with text away from those without."""
    # BEGIN SOLUTION
    return cond + scale * (cond - uncond)
    # END SOLUTION


# %% tags=["check", "nbval-ignore-output"]
guide = check("08.2", guide)

# %% tags=["nbval-check-output"]
with_text, without = torch.tensor([3.0, 1.0, 2.0]), torch.tensor([1.0, 1.0, 4.0])
for scale in (0.0, 1.0, 4.5):
    print(f"guidance {scale}:", guide(with_text, without, scale).tolist())
for tokens, steps in ((16, 12), (16, 16), (64, 12), (64, 64)):
    print(f"{tokens} tokens in {steps} steps: {2 * steps} passes of the network")

# %% tags=["nbval-ignore-output"]
same_as_library(guide, guidance.guide, lambda: (with_text, without, 4.5))

# %% [markdown]
# The price is a second pass in every step: 24 passes for twelve steps. One token at a time, 64 tokens would take 128.
#
# Here is the network as the rest of this lesson uses it: ids in, guided logits out. We let it look at an empty grid for some learnt prompts. Does the push make its best guesses better?


# %%
def guesser(prompts, scale):
    """A function: ids (b, n) and a step in, guided logits (b, n, K) out."""
    text = model.text_encoder(list(prompts))
    with torch.no_grad():
        words = network.read_text(text.states.to(L.device), text.mask)
        nothing = network.read_text(None, text.mask)

    @torch.no_grad()
    def predict(ids, step):
        grid = ids.reshape(-1, *network.config.grid).to(L.device)
        cond = network.predict(grid, words).logits.cpu()
        if not scale:
            return cond
        return guide(cond, network.predict(grid, nothing).logits.cpu(), scale)

    return predict


# %%
data, examples = learnt_examples(RECIPES["emoji-128"])
some = [e for e in examples if e.background == "pale blue"][:: 560 // L.budget.prompts]
some = some[: L.budget.prompts]
prompts = [example.caption for example in some]
with torch.no_grad():
    true = model.tokenizer.encode(data.render(some, L.device)).indices.cpu().flatten(1)
scales = (0.0, 0.5, 1.0, 2.0, 3.0, 4.5, 6.0, 8.0)
places = torch.rand(true.shape, generator=L.generator(1)).argsort(1)
right = {}
for known in (0, 4, 8):
    ids = torch.where(places < known, true, codes)
    alone = guesser(prompts, -1.0)(ids, 1).argmax(-1)  # c - (c - u): the guess without text
    hit = (alone == true)[ids == codes].float().mean().item()
    print(f"{known} of 16 tokens known: without text {hit:.0%} of the guesses are right")
    for scale in scales:
        best = guesser(prompts, scale)(ids, 1).argmax(-1)
        hit = (best == true)[ids == codes].float().mean().item()
        right.setdefault(f"{known} of 16 known", []).append(hit)

# %%
figure = figures.curve(right, x=scales, xlabel="guidance", ylabel="hidden tokens guessed right")
figures.show(
    figure,
    alt="Share of hidden tokens whose best guess is right, against guidance. All three curves start at "
    "1 and fall: least with no token known, most with 8 of 16 known.",
)

# %% [markdown]
# **What to notice.** With text and without any push, every guess is right: this network knows its prompts by heart. So the push has nothing to win here, and it loses: at 4.5 some guesses are wrong, and more of them when half of the picture is known. There the network without text has opinions of its own. Four in five are wrong, and they are subtracted 4.5 times.
#
# So is guidance a mistake? Not in general: it helps where the network with text is *not* sure, and a model of millions of photographs never is. It is a dial, and its best place depends on the model. Section 7 turns it.

# %% [markdown]
# ## 4. Drawing from a guess
#
# Always taking the best guess gives the same picture for every seed. To *draw*, take code $j$ with its probability in the softmax. There is a neat way with no softmax and no sum: add **Gumbel noise** to every logit and take the largest.
#
# $$i = \arg\max_j \big( \ell_j + \tau\, G_j \big), \qquad G = -\ln(-\ln U), \qquad U \text{ uniform in } (0, 1)$$
#
# In words: with $\tau = 1$ the winner is a draw from softmax($\ell$). With another **temperature** $\tau$ it is a draw from softmax($\ell / \tau$); with $\tau = 0$ the best guess always wins.
#
# | symbol | meaning | shape | code |
# |---|---|---|---|
# | $\ell$ | logits | (..., K) | `logits` |
# | $\tau$ | temperature of the noise | number | `temperature` |
# | $U$, $G$ | uniform numbers, Gumbel noise | (..., K) | `uniform`, `gumbel` |
# | $i$ | the code that is drawn | (...) | returned |

# %% [markdown] tags=["exercise-text"]
# ### Exercise 08.3 - Draw with noise
# difficulty: 3/5 · importance: 4/5 · 8 min · needs: none
#
# Write `draw(logits, temperature, generator)`. `logits` is a float tensor (..., K). Give back whole numbers (...), one a row, drawn with Gumbel noise from `generator`. A uniform number can be exactly 0: see to it that no logarithm becomes infinite.
#
# Used in `dcar_edu.generator.sampling.gumbel`.
#
# <details><summary>Hint 1</summary>
#
# `torch.rand(logits.shape, generator=generator)` gives every logit its own number. Two logarithms, two minus signs.
# </details>
# <details><summary>Hint 2</summary>
#
# `uniform.log()` is negative, so clamp *after* the minus: `(-uniform.log()).clamp(min=1e-20)`. Clamped before it, all noise would be equal.
# </details>
# <details><summary>Hint 3</summary>
#
# `uniform = torch.rand(logits.shape, generator=generator).clamp(min=1e-20)`, `gumbel = -(-uniform.log()).clamp(min=1e-20).log()`, `(logits + temperature * gumbel).argmax(dim=-1)`.
# </details>
# <details><summary>Expected</summary>
#
# The share of each code in 4,000 draws lies within a few hundredths of its softmax. The figure below shows it.
# </details>


# %% tags=["exercise"]
def draw(logits, temperature, generator):
    """Draw one index from each row of logits (..., K) by Gumbel noise."""
    # BEGIN SOLUTION
    uniform = torch.rand(logits.shape, generator=generator).clamp(min=1e-20)
    gumbel = -(-uniform.log()).clamp(min=1e-20).log()
    return (logits + temperature * gumbel).argmax(dim=-1)
    # END SOLUTION


# %% tags=["check", "nbval-ignore-output"]
draw = check("08.3", draw)

# %% [markdown]
# Six codes with these logits, 4,000 draws at each temperature:

# %%
logits = torch.tensor([2.0, 1.5, 0.5, 0.0, -0.5, -2.0])
figure, axes = figures.panels(1, 4, height=2.3)
for axis, heat in zip(axes[0], (0.0, 0.5, 1.0, 3.0)):
    drawn = draw(logits.expand(4000, 6), heat, L.generator(2))
    axis.bar(range(6), torch.bincount(drawn, minlength=6) / 4000, label="drawn")
    if heat:
        axis.plot(range(6), torch.softmax(logits / heat, 0), "k_", markersize=14, label="softmax")
    axis.set(title=f"temperature {heat:g}", ylim=(0, 1.02), xlabel="code", xticks=range(6))
axes[0, 0].set_ylabel("share")
axes[0, 2].legend(fontsize=7)
figures.show(
    figure,
    alt="Four bar charts of how often each of six codes is drawn. Temperature 0: always code 0. 0.5: "
    "mostly codes 0 and 1. 1: the softmax. 3: nearly even. Short black lines mark the softmax; the "
    "bars end at them.",
)

# %% [markdown]
# In the sampler two things cool down while the picture grows: the logits are divided by a number that falls from 1.23 to 0.5, which makes them sharper, and the noise falls from nearly $\tau = 1.5$ to exactly 0. The last step always takes the best guess.

# %% tags=["nbval-check-output"]
share = torch.arange(1, 13) / 12
print("logits divided by:", [round(t, 2) for t in sampling.annealing(share).tolist()])
print("noise times:      ", [round(t, 2) for t in (1.5 * (1 - share)).tolist()])

# %% [markdown]
# ## 5. Which guesses to believe
#
# Each step guesses *all* hidden tokens, and keeps few. Which? The surest: those with the highest logit, the **confidence**. The others are hidden again (**remasking**), and the next step guesses them anew, now seeing more. Tokens that were revealed in earlier steps stay for good.
#
# The figure shows this for the wolf: how sure the network was of each hidden cell, and which ones it kept.

# %%
shown = (1, 6, 11, 12)
figure, axes = figures.panels(1, len(shown), height=2.3)
for axis, step in zip(axes[0], shown):
    record = records[step - 1]
    before = records[step - 2].mask[0] if step > 1 else torch.ones(4, 4, dtype=torch.bool)
    axis.imshow(record.confidence[0].masked_fill(~before, float("nan")), cmap="cividis")
    for row in range(4):
        for column in range(4):
            if before[row, column]:
                kept = not record.mask[0, row, column]
                look = {"boxstyle": "round,pad=0.2", "facecolor": "white", "linewidth": kept}
                value = f"{record.confidence[0, row, column]:.0f}"
                weight = "bold" if kept else "normal"
                axis.text(
                    column,
                    row,
                    value,
                    ha="center",
                    va="center",
                    fontsize=8,
                    weight=weight,
                    bbox=look,
                )
    axis.set(title=f"step {step}", xticks=[], yticks=[])
    axis.grid(False)
figures.show(
    figure,
    alt="Four grids of 4 x 4 cells, steps 1, 6, 11 and 12. Each hidden cell carries its confidence; the "
    "framed, bold ones are the highest and are revealed in this step; white cells were known before. ",
)

# %% [markdown] tags=["exercise-text"]
# ### Exercise 08.4 - Keep the surest, hide the rest
# difficulty: 4/5 · importance: 5/5 · 12 min · needs: none
#
# Write `remask(ids, proposal, confidence, mask_id, keep_masked)`. `ids`, `proposal` and `confidence` are (b, n); a hidden token holds `mask_id`. `keep_masked` (b,) says for each row how many tokens must still be hidden afterwards. Give back new ids (b, n): known tokens unchanged, the surest hidden ones replaced by their proposal, exactly `keep_masked` still hidden, also where confidences tie.
#
# Used in `dcar_edu.generator.sampling.sample_tokens`.
#
# <details><summary>Hint 1</summary>
#
# Give every place its *rank* in its row, the least sure first. The places of rank below `keep_masked` stay hidden. How do you keep known tokens out of these ranks?
# </details>
# <details><summary>Hint 2</summary>
#
# Known tokens get confidence `math.inf`: they rank last. `argsort(dim=1)` of an `argsort(dim=1)` is the rank, and ranks never tie.
# </details>
# <details><summary>Hint 3</summary>
#
# `order = confidence.masked_fill(~hidden, math.inf).argsort(dim=1, stable=True)`, `stay = order.argsort(dim=1) < keep_masked[:, None]`, `torch.where(hidden & ~stay, proposal, ids)`.
# </details>
# <details><summary>Expected</summary>
#
# One row, three hidden of four, keep one hidden: the two surest proposals appear, the known token stays although its confidence is low.
# </details>


# %% tags=["exercise"]
def remask(ids, proposal, confidence, mask_id, keep_masked):
    """Reveal the surest proposals of each row; ``keep_masked`` tokens stay hidden."""
    # BEGIN SOLUTION
    hidden = ids == mask_id
    order = confidence.masked_fill(~hidden, math.inf).argsort(dim=1, stable=True)
    stay = order.argsort(dim=1) < keep_masked[:, None]
    return torch.where(hidden & ~stay, proposal, ids)
    # END SOLUTION


# %% tags=["check", "nbval-ignore-output"]
remask = check("08.4", remask)

# %% tags=["nbval-check-output"]
ids = torch.tensor([[99, 7, 99, 99], [99, 99, 99, 3]])
proposal = torch.tensor([[1, 2, 3, 4], [5, 6, 8, 9]])
confidence = torch.tensor([[0.9, -5.0, 0.1, 0.5], [0.2, 0.2, 0.2, 0.2]])
print(remask(ids, proposal, confidence, 99, torch.tensor([1, 2])).tolist())

# %% [markdown]
# ## 6. The loop
#
# Now all parts are there: hide everything; ask; keep the surest; repeat until nothing is hidden. How does one test such a loop? With an **oracle**, a pretend network that knows the picture. A right loop rebuilds it in any number of steps. An oracle does not notice everything, though (see the quiz). So the check also has a network whose guesses change with every step, and counts the calls.

# %% [markdown] tags=["exercise-text"]
# ### Exercise 08.5 - The sampler
# difficulty: 3/5 · importance: 5/5 · 12 min · needs: 08.1, 08.4
#
# Write `sample(predict, batch, tokens, steps, mask_id)`. `predict(ids, step)` takes ids (batch, tokens) and the number of the step, from 1, and gives logits (batch, tokens, K). Take the largest logit as the guess and as its confidence. Give back ids (batch, tokens), nothing hidden. `predict` is called once a step.
#
# Used in `dcar_edu.generator.sampling.sample_tokens`.
#
# <details><summary>Hint 1</summary>
#
# `torch.full((batch, tokens), mask_id)` is a grid with everything hidden. Go through `masked_after(tokens, steps)`; what you reveal must be in `ids` when you ask again.
# </details>
# <details><summary>Hint 2</summary>
#
# `logits.max(dim=-1)` gives both the largest value and its index. `enumerate(..., start=1)` counts steps from 1.
# </details>
# <details><summary>Hint 3</summary>
#
# `confidence, proposal = predict(ids, step).max(dim=-1)`, then `ids = remask(ids, proposal, confidence, mask_id, torch.full((batch,), keep))`.
# </details>
# <details><summary>Expected</summary>
#
# An oracle's picture comes back in 1, 4 or 12 steps. Below, your loop drives the shipped network.
# </details>


# %% tags=["exercise"]
def sample(predict, batch, tokens, steps, mask_id):
    """Draw a whole grid of tokens in a few steps."""
    # BEGIN SOLUTION
    ids = torch.full((batch, tokens), mask_id)
    for step, keep in enumerate(masked_after(tokens, steps), start=1):
        confidence, proposal = predict(ids, step).max(dim=-1)
        ids = remask(ids, proposal, confidence, mask_id, torch.full((batch,), keep))
    return ids
    # END SOLUTION


# %% tags=["check", "nbval-ignore-output"]
sample = check("08.5", sample)

# %% tags=["nbval-check-output"]
answer = torch.randint(11, (2, 64), generator=torch.Generator().manual_seed(0))
for steps in (1, 12, 64):
    found = sample(lambda ids, step: torch.eye(11)[answer], 2, 64, steps, 11)
    print(f"an oracle's 64 tokens in {steps} steps: equal {torch.equal(found, answer)}")

# %% [markdown]
# Your loop takes no noise, so it draws what the library draws at temperature 0. Four prompts, twelve steps, guidance 4.5:

# %%
things = ("a wolf", "an owl", "a rocket", "a cactus", "a sailboat")
wishes = [f"a 3D emoji of {thing} on a pale blue background" for thing in things]
drawn = sample(guesser(wishes, 4.5), len(wishes), 16, 12, codes)
theirs = draw_tokens(model, wishes, Sampler(temperature=0))
print("the same tokens as the library:", torch.equal(drawn, theirs.flatten(1)))

# %%
figures.show(
    figures.image_grid(
        decode(model, drawn.reshape(-1, 4, 4)).cpu(), titles=list(things), columns=5, tile=0.9
    ),
    alt="Five pictures drawn with your loop: a wolf's head, an owl, a rocket, a cactus, a sailboat, all "
    "soft, on pale blue.",
)

# %% [markdown]
# With `guide` and `draw` added, it is the whole sampler of the library. Nothing is missing but the choice of another order:


# %%
def sample_with_noise(predict, batch, tokens, steps, mask_id, temperature, generator):
    """The five exercises in one loop; also gives the step in which each token appeared."""
    ids = torch.full((batch, tokens), mask_id)
    appeared = torch.zeros(batch, tokens, dtype=torch.int64)
    for step, keep in enumerate(masked_after(tokens, steps), start=1):
        share = step / steps
        heat = temperature * (1 - share)
        logits = predict(ids, step) / (0.5 + 0.8 * (1 - share))
        proposal = draw(logits, heat, generator)
        sure = logits.gather(-1, proposal[..., None])[..., 0]
        sure = sure + heat * sampling.gumbel(torch.rand(sure.shape, generator=generator))
        ids = remask(ids, proposal, sure, mask_id, torch.full((batch,), keep))
        appeared[(ids != mask_id) & (appeared == 0)] = step
    return ids, appeared


mine, appeared = sample_with_noise(guesser([prompt], 4.5), 1, 16, 12, codes, 1.5, L.generator())
print("the same wolf as in section 1:", torch.equal(mine[0], records[-1].indices[0].flatten()))

# %% [markdown]
# The same loop with 4 steps, and with 16, which is token by token (every second step is shown). Hatched cells are still hidden.

# %%
few, many = (list(model.generate_steps([prompt], num_steps=n, seed=SEED)) for n in (4, 16))
figures.show(
    figures.film_strip(few, columns=4, tile=1.2),
    alt="The wolf in 4 steps, with 13, 10, 7 and 0 hidden cells. In the third picture the head is there "
    "in pieces; the last shows all of it.",
)

# %%
figures.show(
    figures.film_strip(many[1::2], columns=8),
    alt="The wolf after every second of 16 steps, two cells more in each. It begins at the left cheek; the last picture looks "
    "like that of the 4 steps.",
)

# %% [markdown]
# In which order do tokens appear? By confidence, or by one of two plans that do not ask the network: **Halton** spreads over the grid, so that tokens of one step lie far apart; **raster** goes row by row, as GPT-style models do.

# %%
fixed = {name: masking.picture_orders(name, 4, 4) for name in ("halton", "raster")}
upto = 16 - torch.tensor(masked_after(16, 12))  # tokens that are visible after each step
orders = {"confidence (the wolf)": appeared[0]}
orders |= {name: 1 + torch.bucketize(rank, upto, right=True) for name, rank in fixed.items()}
figure, axes = figures.panels(1, 3, height=2.7)
for axis, (name, order) in zip(axes[0], orders.items()):
    axis.imshow(order.reshape(4, 4), cmap="cividis", vmin=1, vmax=12)
    for place, step in enumerate(order.tolist()):
        ink = "black" if step > 6 else "white"
        axis.text(place % 4, place // 4, step, ha="center", va="center", color=ink)
    axis.set(title=name, xticks=[], yticks=[])
    axis.grid(False)
figures.show(
    figure,
    alt="Three grids of 4 x 4 numbers, the step in which each token appears. By confidence the wolf's "
    "left cheek comes first, and three corners come last. Halton jumps all over the grid. Raster goes "
    "row by row; its last row comes at once.",
)

# %% [markdown]
# Why are corners late by confidence? Compare what the network thinks of corners and of the rest, on an empty grid:

# %%
corner = torch.zeros(16, dtype=torch.bool)
corner[[0, 3, 12, 15]] = True
empty = torch.full_like(true, codes)
for scale, what in ((0.0, "with text"), (-1.0, "without text"), (4.5, "guided, 4.5")):
    best = guesser(prompts, scale)(empty, 1).max(-1).values
    middle, edge = best[:, ~corner].mean().item(), best[:, corner].mean().item()
    print(f"highest logit {what:13s} corners {edge:5.1f}   other places {middle:5.1f}")

# %% [markdown]
# **What to notice.** With text, the network is as sure of corners as of the rest. *Without* text it is surer of corners: most learnt pictures have plain ones. Guidance subtracts that, so guided confidence does not ask "of what am I sure?" but "what does the *prompt* make me sure of?". A plain corner needs no prompt, so it comes last.

# %% [markdown]
# ## 7. Three dials
#
# Steps, guidance, temperature: turn them yourself. (Where no slider can be moved, five settings are shown.)


# %% tags=["nbval-ignore-output"]
def one_picture(prompt, steps, guidance, temperature, seed):
    """The picture that these settings give."""
    text = f"a 3D emoji of {prompt} on a pale blue background"
    source = torch.Generator().manual_seed(seed)
    ids, _ = sample_with_noise(guesser([text], guidance), 1, 16, steps, codes, temperature, source)
    return decode(model, ids.reshape(1, 4, 4))[0].cpu()


explore(
    one_picture,
    alt="Drawn pictures at the settings in the titles. Three wolves, all alike; an animal, "
    "a red and orange body on legs; and, strongly guided, a pale patchwork.",
    presets=[
        {"prompt": "a wolf", "steps": 1, "guidance": 0.0, "temperature": 1.5, "seed": 0},
        {"prompt": "a wolf", "steps": 12, "guidance": 4.5, "temperature": 1.5, "seed": 0},
        {"prompt": "a wolf", "steps": 12, "guidance": 8.0, "temperature": 3.0, "seed": 0},
        {"prompt": "an animal", "steps": 12, "guidance": 0.0, "temperature": 1.5, "seed": 0},
        {"prompt": "an animal", "steps": 12, "guidance": 8.0, "temperature": 1.5, "seed": 0},
    ],
    prompt=[
        "a wolf",
        "an owl",
        "a rocket",
        "a cactus",
        "an animal",
        "a fruit",
        "a castle of cheese",
    ],
    steps=(1, 16),
    guidance=(0.0, 8.0, 0.5),
    temperature=(0.0, 3.0, 0.5),
    seed=(0, 9),
)

# %% [markdown]
# Now in order: one prompt that it knows by heart, and one that it never saw and that leaves much open, "an animal". Guidance $s$ grows from left to right, temperature $T$ from top to bottom.

# %%
both = [prompt, "a 3D emoji of an animal on a pale blue background"]
grid, titles = [], []
for heat in study.TEMPERATURES[: L.budget.temperatures]:
    row = [
        draw_tokens(model, both, Sampler(guidance=scale, temperature=heat), seed=[SEED, SEED])
        for scale in study.GUIDANCES
    ]
    grid += [pair[:1] for pair in row] + [pair[1:] for pair in row]
    titles += 2 * [f"s = {scale:g}\nT = {heat:g}" for scale in study.GUIDANCES]
figures.show(
    figures.image_grid(decode(model, torch.cat(grid)).cpu(), titles=titles, columns=8, tile=0.6),
    alt="Three rows of eight pictures. Left half, the wolf: all alike but three, which have a pink cheek: "
    "guidance 8 at temperatures 0 and 1.5, and guidance 0 at temperature 3. Right half, an animal: a "
    "red and orange body without guidance, and paler and paler patchwork as guidance grows.",
)

# %%
pushes = {}
for line in results("08_guidance"):
    if line["budget"] == "cpu":
        pushes.setdefault(line["arm"], []).append(line["metrics"])
labels = {"token_match": "right tokens", "r1": "R@1", "variety": "variety"}
for metric, label in labels.items():
    print(f"{label:16s}" + "".join(f"temp. {t:<8g}" for t in study.TEMPERATURES))
    for scale in study.GUIDANCES:
        cells = []
        for heat in study.TEMPERATURES:
            found = [m[metric] for m in pushes.get(f"guidance {scale:g}, temperature {heat:g}", [])]
            cells.append(f"{statistics.mean(found):<14.3f}" if found else f"{'-':14s}")
        print(f"  guidance {scale:<3g}  " + "".join(cells))

# %% [markdown]
# **What to notice.** The table is one seed on 32 learnt prompts, each drawn twice. Read it by columns.
#
# - *Little noise* (T = 0 and 1.5): the more guidance, the fewer right tokens, as section 3 foretold.
# - *Much noise* (T = 3): without guidance one token in five is wrong. A push of 2 mends nearly all of it, for it makes logits larger and the noise is added to logits. More push spoils it again.
# - *R@1*: guidance is said to make pictures follow their prompt. With little noise it does not do so here: there was nothing left to gain.
# - *Variety* shrinks with guidance, most at T = 3. Drawings of a learnt prompt have hardly any to lose. The animal shows it better: strongly guided, it loses its shape and colours.
#
# So the two dials pull against each other: one adds chance, the other takes it away. The paper's place is s = 4.5 and T = 1.5; the best of ours lies near s = 0 to 2. Take a dial's value from another model only after trying it.

# %% [markdown]
# ## 8. Experiment: how many steps?
#
# The paper draws in 12 guided steps, 24 passes, and calls that as good as many more. We test it against **token by token**: 16 steps for 16 tokens, 32 passes. There are two tasks.
#
# - **Learnt prompts**: 64 captions that the network knows by heart, guidance 4.5, temperature 1.5. We count *right tokens*, and ask the judge of captions: is the concept that was asked for its first choice of 560 (*R@1*)? For real pictures that is .970; for what the tokenizer makes of the *true tokens*, see the table.
# - **No prompt**: 48 drawings by the network without text. Nothing says what they should show; all that matters is that their tokens agree with one another. We measure the *nearest*, the largest share of tokens that a drawing has in common with any one learnt picture; the *variety*, in how many tokens two drawings differ; and KID (lesson 05) against learnt pictures.

# %% [markdown] tags=["predict"]
# **What do you expect?** For each task: from how many steps on is a drawing as good as one made token by token? Will 1 step do? And which order is the best at 12 steps: confidence, Halton or raster?
#
# <details><summary>Answer</summary>
#
# With a prompt even one step will do, and it is the best of all. Without a prompt one step fails: it draws the same blob each time. Up to 8 or 12 steps it gets better; more do not help. Confidence is the best order only there.
# </details>

# %%
rows = []
for steps in (1, 2, 4, 12, 16):
    silent = Sampler(steps, guidance=0, reads=False)
    rows.append(draw_tokens(model, [prompt] * L.budget.columns, silent, seed=SEED))
figures.show(
    figures.image_grid(decode(model, torch.cat(rows)).cpu(), columns=L.budget.columns, tile=0.45),
    alt="Five rows of eight pictures drawn without a prompt. With 1 step all eight are the same blob. With 2 "
    "steps they differ. With 4, 12 and 16 steps there are fruit-like, animal-like and pale shapes.",
)

# %% tags=["nbval-ignore-output", "experiment"]
judge = load_judge(model, study.PICTURES["08_steps"][L.budget.name])
my_seed = 100 + SEED
mine = {}
for arm in ("4 steps", "12 steps"):
    mine[arm] = study.run_steps(arm, my_seed, judge)
    print(f"{arm}: " + ", ".join(f"{name} {value:.3g}" for name, value in mine[arm].items()))

# %%
tables = {}
for name, arms in (("08_steps", [*study.STEPS, study.TRUE]), ("08_open", list(study.OPEN))):
    tables[name] = {arm: {} for arm in arms}  # arm -> seed -> metrics
    for line in results(name):
        if line["budget"] == "cpu":
            tables[name][line["arm"]][line["seed"]] = line["metrics"]


def print_table(table, columns, extra=()):
    """Mean over seeds and spread of every arm."""
    print(f"{'':22s}" + "".join(f"{label:>16s}" for label, _ in columns.values()))
    for name, found in [*((n, list(by.values())) for n, by in table.items()), *extra]:
        cells = []
        for column, (_, digits) in columns.items():
            values = [metrics[column] for metrics in found if column in metrics]
            middle = f"{statistics.mean(values):.{digits}f}" if values else "-"
            spread = statistics.stdev(values) if len(values) > 1 else 0
            wide = f" ±{spread:.{digits}f}" if spread else ""
            cells.append(f"{middle + wide:>16s}")
        print(f"{name:22s}" + "".join(cells))


columns = {
    "passes": ("passes", 0),
    "cpu_seconds": ("seconds", 3),
    "token_match": ("right tokens", 3),
}
columns |= {"r1": ("R@1", 3), "kid_efficientnet": ("KID x 1000", 0)}
print("learnt prompts")
print_table(tables["08_steps"], columns, [(f"yours: {n}", [found]) for n, found in mine.items()])
columns = {"passes": ("passes", 0), "nearest": ("nearest", 3), "variety": ("variety", 3)}
columns |= {"kid_efficientnet": ("KID x 1000", 0)}
print("no prompt")
print_table(tables["08_open"], columns)

# %%
figure, axes = figures.panels(1, 2, height=3)
drawn_steps = {
    "1 step": 1,
    "2 steps": 2,
    "4 steps": 4,
    "8 steps": 8,
    "12 steps": 12,
    "token by token": 16,
}
shown = (("08_steps", "token_match", "learnt prompts: right tokens"),)
shown += (("08_open", "kid_efficientnet", "no prompt: KID x 1000"),)
for axis, (name, metric, title) in zip(axes[0], shown):
    seeds = sorted(set.intersection(*(set(tables[name][arm]) for arm in drawn_steps)))
    for seed in seeds:
        values = [tables[name][arm][seed][metric] for arm in drawn_steps]
        axis.plot(list(drawn_steps.values()), values, "o:", color="C0", linewidth=0.8, markersize=5)
    for order, mark in (("halton", "D"), ("raster", "s")):
        values = [tables[name][f"12 steps, {order}"][seed][metric] for seed in seeds]
        axis.plot([12.5] * len(values), values, mark, color="C1", label=order, markersize=5)
    axis.set(title=title, xlabel="steps", xticks=[1, 2, 4, 8, 12, 16])
axes[0, 1].legend(fontsize=8)
figures.show(
    figure,
    alt="Two plots against the number of steps, dots joined for each seed. Left, right tokens of learnt "
    "prompts, falling from 1 step to 16; Halton (diamonds) and raster (squares) lie above 12 steps. "
    "Right, KID without a prompt: highest at 1 step, lowest at 12; there both lie above, so worse.",
)


# %%
def against(name, arm, other, metric):
    """Is an arm better than another? Pairs of one seed; KID: lower is better."""
    sign = -1 if metric.startswith("kid") else 1
    table = tables[name]
    seeds = sorted(set(table[arm]) & set(table[other]))
    if len(seeds) not in SURE:
        return "no results yet"
    pair = [[sign * table[a][seed][metric] for seed in seeds] for a in (arm, other)]
    gap = statistics.mean(pair[0]) - statistics.mean(pair[1])
    return f"{verdict(*pair, t=SURE[len(seeds)])} ({sign * gap:+.3g}, {len(seeds)} seeds)"


judged = {"08_steps": ("token_match", "r1", "kid_efficientnet")}
judged["08_open"] = ("nearest", "kid_efficientnet")
pairs = [(arm, "token by token") for arm in ("12 steps", "4 steps", "1 step")]
pairs += [(f"12 steps, {order}", "12 steps") for order in ("halton", "raster")]
for name, metrics in judged.items():
    print(name)
    for arm, other in pairs:
        words = [f"{metric} {against(name, arm, other, metric)}" for metric in metrics]
        print(f"  {arm} against {other}: " + "; ".join(words))

# %% [markdown]
# **What to notice, with a prompt.** Twelve steps are *better* than token by token: more right tokens, a better R@1, a lower KID. That agrees with the paper, at 24 passes against 32.
#
# Then our numbers go another way. **Fewer steps are better still**, and the best drawing of all is *one* step *without* guidance: every token right, in one pass instead of 24. This network knows these prompts by heart, so after the first look nothing is left to decide, and each later step is one more chance to be pushed off the right token (section 3). Without guidance, twelve steps do nearly no harm. And at twelve guided steps, both orders that never ask the network find more right tokens than confidence does: here "sure" means "pushed hard", which is not the same as right.
#
# **What to notice, without a prompt.** Look at the five rows of pictures. One step draws the same blob eight times: each token takes its best guess, the noise of the last step is 0, and the first step is the last. From two steps on, the first tokens are drawn with noise, the others see them and follow, and drawings differ. Here something is left to decide, and it takes steps to decide it.
#
# The table says the same. KID falls steeply from 1 step to 2 and slowly after that, and drawings come closer to learnt pictures. **Twelve steps are better than token by token** on both counts; with 4 we cannot tell, with 1 the KID is clearly worse. And confidence is by far the best order, while on learnt prompts it was the worst of three. Why twelve beat sixteen the table does not say. One guess: four tokens that come together in the last step are drawn without noise, where token by token only one is.
#
# None of this proves or refutes the paper: 16 tokens, a network a hundred times smaller, pictures learnt by heart, and seeds that change nothing but the noise. But its claim holds here: twelve steps are no worse than one token at a time. And it says *when* steps are needed: when something is left to decide.

# %% [markdown]
# ## Quiz

# %% tags=["quiz", "nbval-ignore-output"]
course.quiz("08")

# %% [markdown] tags=["recap"]
# ## What you take with you
#
# 1. **Guess all, keep the surest, hide the rest, ask again.** How many is planned in advance, by the arccos curve; which ones, the confidence decides.
# 2. **Guidance** is a second pass and a push away from the guess without text: $c + s(c - u)$. Say which convention your number belongs to.
# 3. **Gumbel noise** and `argmax` draw from a softmax. Temperature is its strength; in the last step it is 0.
# 4. A loop is tested with an oracle *and* with a network whose guesses change.
# 5. **Steps are needed for what is still open.** Learnt by heart: one pass. Open: more. Measure before you believe a default, ours or the paper's.
#
# **New terms:** sampler, confidence, remasking, Gumbel noise, temperature, oracle. `course.glossary()` explains them.
#
# **You now know** `dcar_edu.generator.sampling.sample_tokens`, `dcar_edu.generator.masking.reveal_counts`, `dcar_edu.generator.guidance.guide`, `DCAR.generate_steps` and `DCAR.generate_tokens`.
#
# **To read on:** [MaskGIT](https://arxiv.org/abs/2202.04200), Section 3.2, for the loop; [classifier-free guidance](https://arxiv.org/abs/2207.12598); [Halton order](https://arxiv.org/abs/2503.17076).
#
# **Next:** tokens are whole numbers, and what they cannot say is a cloud of real ones. Lesson 09 learns to draw from such a cloud.

# %% tags=["nbval-ignore-output"]
# @title Download my answers (on Colab)
import sys

if "google.colab" in sys.modules:
    L.save_answers()

# %% tags=["finish", "nbval-ignore-output"]
L.finish(wolf=records[-1].preview[0])
