# %% [markdown] tags=["header"]
# ---
# title: Masked modelling
# builds: the training task of the transformer (hide tokens, guess them, score the guess), and a small generator trained on it
# figures: 10
# wait: 3
# wait_gpu: 2
# gpu: true
# memory: 2 GB
# needs: 06
# writes: a generator of yours, your progress file and one tile of the wolf strip
# ---

# %% [markdown] tags=["map"]
# A picture is a grid of token ids (lessons 01 to 05), and a transformer can read words (lesson 06). A net that draws all tokens at once draws chimeras, because no token knows what its neighbours chose. So the transformer learns another task: *some* tokens are given, guess the rest. Lesson 08 turns this one skill into drawing.

# %% [markdown] tags=["objectives"]
# **When you are done you can**
#
# - draw a mask as DC-AR does: how many tokens to hide, and which;
# - score a guess with a loss that starts at $\ln K$, and say why it never reaches 0;
# - build the transformer's block, and prove that no hidden id leaks into its output;
# - train the transformer yourself, and read its loss, its accuracy and its averaged weights;
# - say why 5 % accuracy is no reason to stop.
#
# **You need** lesson 06: cross-attention, the null text. Cross-entropy and softmax attention are taken as known.
#
# **Short of time?** Sections 2, 3, 6 and 7.

# %% tags=["setup"]
#@title Setup (run first)
# SETUP

# %% tags=["parameters"]
import os

BUDGET = os.environ.get("DCAR_BUDGET", "cpu")
SEED = 0

# %% tags=["start", "nbval-ignore-output"]
import math
from types import SimpleNamespace

import torch
import torch.nn.functional as F

from dcar_edu import DCAR, CaptionedEmoji, course, train_generator
from dcar_edu.course import check, figures
from dcar_edu.course.experiments import results
from dcar_edu.course.stages import keep_going
from dcar_edu.course.studies import study_07 as study
from dcar_edu.generator.training import begin
from dcar_edu.generator.transformer import positions
from dcar_edu.state import warmed_cosine

L = course.start("07", BUDGET, SEED)

# %% tags=["map", "nbval-ignore-output"]
course.course_map("07")

# %% [markdown]
# ## 1. Half a wolf
#
# The shipped generator has learnt this lesson's task. We hide the right half of four pictures, 8 of their 16 tokens, and let it guess all eight in one pass. It sees the left half and the caption.

# %%
shipped = course.stage("07", "shipped").to(L.device)
names = ["wolf", "rocket", "banana", "penguin"]
emoji = CaptionedEmoji("train", 128, concepts=names, **study.LOOK)
four = study.tokens_of(emoji, shipped)
half = torch.zeros(4, 4, 4, dtype=torch.bool)
half[:, :, 2:] = True  # the two columns on the right


@torch.no_grad()
def draw(model, ids):
    """Pictures of grids of ids, from codes alone."""
    return model.tokenizer.decode(ids.to(L.device)).cpu()


# %%
seen = draw(shipped, four.indices)
filled = draw(shipped, study.fill(shipped.generator, four, half.flatten(1)))
figure = figures.image_grid(
    torch.cat([seen, seen, filled]),
    titles=[example.label for example in emoji.examples()],
    row_titles=["16 tokens", "8 hidden", "8 guessed"],
    tile=1.2,
)
for axis, mask in zip(figure.axes[4:8], half):
    figures.cover_hidden(axis, mask)
figures.show(
    figure,
    alt="Three rows of four emoji. Above: drawn from all their tokens. Middle: the right half is "
    "covered by crosses. Below: the right half is guessed from the left one and the caption.",
)

# %% [markdown]
# **What to notice.** Compare the last row with the first. These are pictures that the model has learnt, and half of each was given. Can it do it with less? Section 7 asks that of a model that *you* train.
#
# ## 2. How many to hide?
#
# In drawing (lesson 08) the model starts with nothing but hidden tokens and ends with hardly any. So in training it must meet every share. For each picture draw one number $u$, uniform between 0 and 1, and turn it into the share $r$ of hidden tokens:
#
# $$r(u) = \frac{2}{\pi} \arccos u$$
#
# In words: at $u = 0$ everything is hidden, at $u = 1$ nothing. Then round to a whole number of tokens, but hide at least one: with nothing hidden there is nothing to learn.
#
# | symbol | meaning | shape | code |
# |---|---|---|---|
# | $u$ | uniform random number, one a picture | (b,) | `u` |
# | $r$ | share of hidden tokens, the **mask ratio** | (b,) | `mask_ratio(u)` |
# | $L$ | tokens of a picture, here 16 | number | `tokens` |
# | $n$ | hidden tokens: $\max(1, \text{round}(L \, r))$ | (b,) | `counts` |

# %% [markdown] tags=["exercise-text"]
# ### Exercise 07.1 - The mask ratio
# difficulty: 1/5 · importance: 4/5 · 5 min · needs: none
#
# Write `mask_ratio(u)`. `u` is a tensor of any shape with numbers in [0, 1]; give back the shares, in the same shape.
#
# Used in `dcar_edu.generator.masking.mask_ratio`.
#
# <details><summary>Hint 1</summary>
#
# What is arccos 0, what is arccos 1? The share must be 1 and 0 there.
# </details>
# <details><summary>Hint 2</summary>
#
# arccos is not cos. MaskGIT, which had the idea, uses the cosine; DC-AR's code uses its inverse.
# </details>
# <details><summary>Hint 3</summary>
#
# `torch.arccos(u) * (2 / math.pi)`.
# </details>
# <details><summary>Expected</summary>
#
# 1, 0.839, 0.667, 0.460, 0 for u = 0, 1/4, 1/2, 3/4, 1.
# </details>

# %% tags=["exercise"]
def mask_ratio(u):
    """Share of hidden tokens for numbers u in [0, 1]."""
    # BEGIN SOLUTION
    return torch.arccos(u) * (2 / math.pi)
    # END SOLUTION


# %% tags=["check", "nbval-ignore-output"]
mask_ratio = check("07.1", mask_ratio)

# %% tags=["nbval-check-output"]
u = torch.tensor([0.0, 0.25, 0.5, 0.75, 1.0])
print("mask ratio:", [f"{share:.3f}" for share in mask_ratio(u).tolist()])
print("hidden of 64:", (64 * mask_ratio(u)).round().clamp(min=1).int().tolist())
middles = (torch.arange(100_000) + 0.5) / 100_000
print(f"mean: arccos {mask_ratio(middles).mean():.3f}, ", end="")
print(f"cosine {torch.cos(middles * math.pi / 2).mean():.3f}")

# %% [markdown]
# Now *which* tokens? Any $n$ of them, each set equally likely, and for each picture its own. A coin for each token would be simpler, but then $n$ is not what was asked for.

# %% [markdown] tags=["exercise-text"]
# ### Exercise 07.2 - A random mask
# difficulty: 2/5 · importance: 5/5 · 8 min · needs: none
#
# Write `random_mask(counts, tokens, generator)`. `counts` (b,) says how many tokens to hide in each row. Give back a bool tensor (b, tokens), True = hidden, with exactly so many True in each row, at random places drawn from `generator`.
#
# Used in `dcar_edu.generator.masking.random_mask`, which draws the counts too.
#
# <details><summary>Hint 1</summary>
#
# How would you draw 3 of 16 cards? Shuffle, and take the first three. A shuffle for every row at once: sort random numbers.
# </details>
# <details><summary>Hint 2</summary>
#
# `torch.rand(len(counts), tokens, generator=generator).argsort(dim=1)` holds each number from 0 to tokens - 1 once in every row, in random order. How many of them are below $n$?
# </details>
# <details><summary>Hint 3</summary>
#
# `order < counts[:, None]`.
# </details>
# <details><summary>Expected</summary>
#
# The histogram below: counts from 1 to 16, the large ones most often.
# </details>

# %% tags=["exercise"]
def random_mask(counts, tokens, generator):
    """Hide exactly counts[i] random tokens in row i: bool (b, tokens), True = hidden."""
    # BEGIN SOLUTION
    order = torch.rand(len(counts), tokens, generator=generator).argsort(dim=1)
    return order < counts[:, None]
    # END SOLUTION


# %% tags=["check", "nbval-ignore-output"]
random_mask = check("07.2", random_mask)

# %%
schedules = {"arccos (DC-AR)": mask_ratio, "cosine (MaskGIT)": lambda u: torch.cos(u * math.pi / 2)}
figure, ((left, right),) = figures.panels(1, 2, height=3)
u = torch.rand(8000, generator=L.generator())
for (name, ratio), style, shift in zip(schedules.items(), ("-", "--"), (-0.2, 0.2)):
    line = torch.linspace(0, 1, 100)
    left.plot(line, ratio(line), style, label=name)
    counts = (16 * ratio(u)).round().clamp(min=1).long()
    hidden = random_mask(counts, 16, L.generator(1)).sum(1)
    share = torch.bincount(hidden, minlength=17)[1:] / len(u)
    bars = {"hatch": "//"} if style == "--" else {}
    right.bar(torch.arange(1, 17) + shift, share, 0.4, label=name, edgecolor="white", **bars)
left.set(xlabel="u", ylabel="share of hidden tokens")
right.set(xlabel="hidden tokens, of 16", ylabel="share of pictures", xticks=[1, 4, 8, 12, 16])
left.legend()
figures.show(
    figure,
    alt="Left: share of hidden tokens against u for arccos and cosine, both falling from 1 to 0, the "
    "cosine first above, then below. Right: bars of how often each count is drawn; for arccos they "
    "rise and fall off at 16, for the cosine 1 and above all 16 stand out.",
)

# %% [markdown]
# **What to notice.** Both schedules hide the same 64 % on average: the golden line above says so. They differ in the spread. The cosine likes extremes: all 16 hidden is its most frequent question, and a single hidden token is not rare. arccos asks for 10 to 15 most often, and for one or two hardly ever. It trains where drawing is hard: when little is known.
#
# ## 3. What is scored?
#
# For each token the network gives $K$ logits, one a code. The loss is the cross-entropy of the true code, first of all where tokens were hidden:
#
# $$\mathcal{L} = \frac{\sum_i w_i \, \ell_i}{\sum_i w_i}, \qquad w_i = \begin{cases} 1 & \text{hidden} \\ 0.1 & \text{visible} \end{cases}, \qquad \ell_i = -\sum_{k=1}^{K} q_{ik} \log p_{ik}$$
#
# In words: a weighted mean over all tokens *of the batch*. A visible token is easy, its id stands in the input; a tenth of the weight keeps the network from forgetting it. And $q$ is not a sure 1 on the true code: **label smoothing** takes a tenth away and spreads it over all codes, so that the network is never asked to be certain.
#
# | symbol | meaning | shape | code |
# |---|---|---|---|
# | $p$ | softmax of the logits | (b, n, K) | `logits` |
# | $q$ | 0.9 on the true code plus 0.1 spread over all | | `label_smoothing=` |
# | $w$ | weight of a token | (b, n) | `weights` |
# | $\ell$ | cross-entropy of a token | (b, n) | `each` |

# %% [markdown] tags=["exercise-text"]
# ### Exercise 07.3 - The masked loss
# difficulty: 3/5 · importance: 5/5 · 10 min · needs: none
#
# Write `masked_loss(logits, targets, mask, smoothing=0.1, unmasked_weight=0.1)`: `logits` (b, n, K), `targets` int64 (b, n), `mask` bool (b, n), True = hidden. Give back one number, the weighted mean over the whole batch.
#
# Used in `dcar_edu.generator.training.masked_loss`.
#
# <details><summary>Hint 1</summary>
#
# `F.cross_entropy` wants the classes on axis 1: (b, K, n). It takes `label_smoothing`, and with `reduction="none"` it gives one number a token.
# </details>
# <details><summary>Hint 2</summary>
#
# `torch.where(mask, 1.0, unmasked_weight)` are the weights. Divide by their sum, not by the number of tokens: rows hide different counts, and the loss must not depend on how many.
# </details>
# <details><summary>Hint 3</summary>
#
# `each = F.cross_entropy(logits.transpose(1, 2), targets, reduction="none", label_smoothing=smoothing)`, then `(weights * each).sum() / weights.sum()`.
# </details>
# <details><summary>Expected</summary>
#
# Equal logits cost exactly ln K, whatever is hidden.
# </details>

# %% tags=["exercise"]
def masked_loss(logits, targets, mask, smoothing=0.1, unmasked_weight=0.1):
    """Cross-entropy of the batch; hidden tokens weigh 1, visible ones unmasked_weight."""
    # BEGIN SOLUTION
    each = F.cross_entropy(
        logits.transpose(1, 2), targets, reduction="none", label_smoothing=smoothing
    )
    weights = torch.where(mask, 1.0, unmasked_weight)
    return (weights * each).sum() / weights.sum()
    # END SOLUTION


# %% tags=["check", "nbval-ignore-output"]
masked_loss = check("07.3", masked_loss)

# %% tags=["nbval-check-output"]
targets, some = torch.tensor([[3, 1, 4]]), torch.tensor([[True, False, True]])
for codes in (1024, 16384):
    start = masked_loss(torch.zeros(1, 3, codes), targets, some).item()
    print(f"{codes:5d} codes, all equally likely: {start:.4f} = ln {codes}")
best = (0.9 * F.one_hot(targets, 1024) + 0.1 / 1024).log()  # the smoothed targets themselves
floor = masked_loss(best, targets, some).item()
print(f"the lowest loss there is, 1024 codes: {floor:.4f}")

# %% [markdown]
# **What to notice.** Two fixed points for reading a curve. Our token head starts at zero, so the loss must start at $\ln 1024 = 6.93$; another number at step 0 is a fault. And smoothing puts a floor under it: 1.02 is perfect, 0 cannot be reached.
#
# ## 4. A block that sees everything
#
# The transformer is a stack of equal blocks. Each adds three things to the stream $x$, one after the other:
#
# $$x \leftarrow x + \text{self}(\text{norm}_1 x) \qquad x \leftarrow x + \text{cross}(x, \text{text}) \qquad x \leftarrow x + \text{mlp}(\text{norm}_2 x)$$
#
# In words: look at all other tokens, look at the words, think about each token by itself. The middle part has **no norm** before it; that is how DC-AR (after PixArt) does it, and trained weights only fit if yours does it too. There is no causal mask: the network is **bidirectional**, as what is known may lie on any side.
#
# | symbol | meaning | shape | code |
# |---|---|---|---|
# | $x$ | the stream, one vector a token | (b, n, width) | `x` |
# | self, cross, mlp | the three parts | | `parts.attention`, `parts.cross`, `parts.mlp` |
# | norm | layer norm without weights | | `parts.norm1`, `parts.norm2` |

# %% [markdown] tags=["exercise-text"]
# ### Exercise 07.4 - A block
# difficulty: 2/5 · importance: 4/5 · 8 min · needs: none
#
# Write `block(x, text, parts)`. `parts` holds five functions: `parts.norm1(x)`, `parts.attention(x)`, `parts.cross(x, text)`, `parts.norm2(x)`, `parts.mlp(x)`. You need not know what is inside.
#
# Used in `dcar_edu.generator.transformer.Block`.
#
# <details><summary>Hint 1</summary>
#
# Three lines, one for each arrow of the formula, in that order. Each adds to the `x` of the line before.
# </details>
# <details><summary>Hint 2</summary>
#
# The shortcut carries `x` itself, not the normed `x`.
# </details>
# <details><summary>Hint 3</summary>
#
# `x = x + parts.attention(parts.norm1(x))`, `x = x + parts.cross(x, text)`, and the third alike.
# </details>
# <details><summary>Expected</summary>
#
# With your block in it, the shipped network gives what it gave before.
# </details>

# %% tags=["exercise"]
def block(x, text, parts):
    """One block of the transformer: tokens, then words, then each token alone."""
    # BEGIN SOLUTION
    x = x + parts.attention(parts.norm1(x))
    x = x + parts.cross(x, text)
    return x + parts.mlp(parts.norm2(x))
    # END SOLUTION


# %% tags=["check", "nbval-ignore-output"]
block = check("07.4", block)

# %% [markdown]
# With this block the whole network fits into ten lines: ids become vectors, each gets the vector of its place added, blocks, a last norm, and a linear layer to $K$ logits. Hidden tokens all have one id of their own, the **mask id** $K$.

# %%
def parts_of(layer):
    """A library block, taken apart for yours; here the text is (keys, values, mask)."""
    return SimpleNamespace(
        **{"attention": layer.attention, "mlp": layer.mlp},
        **{"norm1": layer.norm1, "norm2": layer.norm2},
        cross=lambda x, text: layer.cross(x, *text),
    )


def guess(model, ids, text, text_mask, drop=None):
    """Logits (b, n, K) of every token: the whole transformer, with your block in it."""
    words = model.read_text(text, text_mask, drop)
    x = model.tokens(ids.flatten(1))
    x = x + positions(*ids.shape[1:], model.config.width).to(x)
    for layer, keys, values in zip(model.blocks, words.keys, words.values):
        x = block(x, (keys, values, words.mask), parts_of(layer))
    return model.head(model.norm(x))


# %% [markdown]
# ### The leak test
#
# In training we know the hidden ids: they are the targets. If they reach the network on any way, it will read the answer instead of guessing it, the loss will fall beautifully, and in drawing it has nothing to read. So test it: change the ids under the mask, and compare outputs, bit by bit.

# %%
def hide(model, ids, mask):
    """Put the mask id where a token is hidden."""
    return torch.where(mask, model.mask_id, ids)


def hide_wrongly(model, ids, mask):
    """A mistake that is easily made: the mask the wrong way round."""
    return torch.where(mask, ids, model.mask_id)


# %% tags=["nbval-check-output"]
model, words = shipped.generator, (four.text, four.text_mask)
mask = random_mask(torch.tensor([3, 7, 10, 13]), 16, L.generator(2)).view(4, 4, 4).to(L.device)
ids = four.indices
others = torch.where(mask, (ids + 511) % 1024, ids)  # another id in every hidden place
with torch.no_grad():
    for name, way in (("hidden as it should be", hide), ("mask turned round", hide_wrongly)):
        one, two = (guess(model, way(model, these, mask), *words) for these in (ids, others))
        print(f"{name + ':':23s} hidden ids change nothing: {torch.equal(one, two)}")
    gap = (guess(model, ids, *words) - model(ids, *words).logits).abs().max()
print("your block in the shipped network gives its logits:", bool(gap < 1e-3))

# %% [markdown]
# And the visible ids? We change the wolf's, one place at a time, to six other ids each, hide eight tokens, and ask how far the guess at *one* hidden place moves: half the summed change of its $K$ probabilities, 0 = not at all, 1 = completely. The model reads the null text here, so the other tokens are all it has.

# %%
@torch.no_grad()
def influence(tokens, mask, place, tries=6):
    """How much an id at each place matters for the guess at one place: (h * w,)."""
    ids = tokens.indices[:1].flatten(1)
    count = ids.shape[1]
    changed = ids.repeat(tries * count, 1)
    rows, places = torch.arange(len(changed)), torch.arange(count).repeat(tries)
    changed[rows, places] = torch.randint(1024, (len(rows),), generator=L.generator(3)).to(ids)
    grids = hide(model, torch.cat([ids, changed]), mask.flatten().to(ids.device)).view(-1, 4, 4)
    text_mask = tokens.text_mask[:1].expand(len(grids), -1)
    chances = guess(model, grids, None, text_mask)[:, place].softmax(-1)
    return ((chances[1:] - chances[:1]).abs().sum(-1) / 2).view(tries, count).mean(0).cpu()


wolf_mask = torch.tensor([[0, 1, 0, 1], [1, 0, 1, 0], [0, 1, 0, 1], [1, 0, 1, 0]]).bool()
place = 6
moved = influence(four, wolf_mask, place).view(4, 4)

# %%
figure, axes = figures.panels(1, 2, width=6.6, height=3.1)
axes[0, 0].imshow(figures.to_picture(seen[0]))
figures.cover_hidden(axes[0, 0], wolf_mask)
axes[0, 1].imshow(moved, cmap="cividis", vmin=0)
for row in range(4):
    for column in range(4):
        value = moved[row, column].item()
        ink = "black" if value > moved.max() / 2 else "white"
        axes[0, 1].text(column, row, f"{value:.2f}", ha="center", va="center", color=ink)
axes[0, 1].text(place % 4, place // 4 + 0.3, "guessed", ha="center", color="white", fontsize=8)
for axis, title in zip(axes[0], ("8 of 16 hidden", "influence on one guess")):
    axis.set(xticks=[], yticks=[], title=title)
    axis.grid(False)
figures.show(
    figure,
    alt="Left: the wolf with eight tokens covered like a chess board. Right: a grid of 16 numbers, "
    "how much the id at each place matters for one guess. All hidden places have 0.00; visible ones "
    "have more, on every side of the guessed place.",
)

# %% [markdown]
# **What to notice.** Hidden places: exactly 0.00. That is the leak test again, as a picture. Visible places matter above, below, left *and* right of the guess: bidirectional. A model of the GPT kind would have zeros at all places to the right and below.
#
# ## 5. Averaged weights
#
# The weights jump about from step to step. Their moving average (EMA) is calmer and usually better, so it is what we measure and ship:
#
# $$\bar\theta \leftarrow d_s \, \bar\theta + (1 - d_s) \, \theta, \qquad d_s = \min\!\Big(d, \frac{1 + s}{10 + s}\Big)$$
#
# In words: keep the share $d_s$ of the average, add the rest from the weights of now. With a constant $d = 0.999$ the average would remember its random start for thousands of steps. The **warm-up** gives it a short memory at first.
#
# | symbol | meaning | shape | code |
# |---|---|---|---|
# | $\theta$, $\bar\theta$ | weights, averaged weights | | `state.model`, `state.average` |
# | $s$ | steps so far | number | `step` |
# | $d$ | decay that is reached in the end | number | `target` |

# %% [markdown] tags=["exercise-text"]
# ### Exercise 07.5 - Decay with warm-up (optional)
# difficulty: 1/5 · importance: 2/5 · 4 min · needs: none
#
# Write `ema_decay(step, target)`: two plain numbers in, one plain number out.
#
# Used in `dcar_edu.state.average_decay`.
#
# <details><summary>Hint 1</summary>
#
# At step 0 the decay is 0.1: nine tenths of the average are the newest weights.
# </details>
# <details><summary>Hint 2</summary>
#
# The fraction grows towards 1 and must never go above the target: the *smaller* of the two.
# </details>
# <details><summary>Hint 3</summary>
#
# `min(target, (1 + step) / (10 + step))`.
# </details>
# <details><summary>Expected</summary>
#
# For a target of 0.999: 0.1 at step 0, 0.918 at step 100, and 0.999 from step 8,990 on.
# </details>

# %% tags=["exercise"]
def ema_decay(step, target):
    """Decay of the moving average after so many steps."""
    # BEGIN SOLUTION
    return min(target, (1 + step) / (10 + step))
    # END SOLUTION


# %% tags=["check", "nbval-ignore-output"]
ema_decay = check("07.5", ema_decay)

# %% tags=["nbval-check-output"]
print("share of the random start that is still in the average")
for steps in (10, 100, 400):
    warm = math.prod(ema_decay(step, 0.999) for step in range(steps))
    print(f"after {steps:3d} steps: constant 0.999 {0.999**steps:.3f}, with warm-up {warm:.0e}")

# %% [markdown]
# **What to notice.** After 400 steps two thirds of a constant average are still noise from the start: the network would *look* broken while its weights are fine. This is why one looks at the raw weights too, whenever an average looks bad. We do so below.
#
# ## 6. The whole loop
#
# Hide, guess, score. The loop below is complete. `TrainingState` holds AdamW, the average (with your warm-up) and the random source; `apply_gradients` clips, steps and averages. A tenth of the texts is dropped, as in lesson 06.

# %%
def supply(tokens, size, state):
    """Batches of random pictures, without end, from the run's own random source."""
    while True:
        rows = torch.randint(len(tokens.indices), (size,), generator=state.generator)
        yield study.rows_of(tokens, rows.to(L.device))


def train(model, batches, config, state):
    """Train in place; yields the step and its loss after every step."""
    while state.step < config.steps:
        few = next(batches)
        size, tokens = few.indices.flatten(1).shape
        # hide
        u = torch.rand(size, generator=state.generator)
        counts = (tokens * mask_ratio(u)).round().clamp(min=1).long()
        mask = random_mask(counts, tokens, state.generator).to(L.device)
        ids = hide(model, few.indices, mask.view_as(few.indices))
        # guess
        drop = torch.rand(size, generator=state.generator) < config.text_drop
        logits = guess(model, ids, few.text, few.text_mask, drop)
        # score
        loss = masked_loss(logits, few.indices.flatten(1), mask)
        loss.backward()
        factor = warmed_cosine(state.step, config.steps, config.warmup_steps)
        state.apply_gradients(config.learning_rate * factor, config.clip)
        yield state.step, loss.item()
    state.use_average()


# %% [markdown]
# Is it the library's loop? Two steps of each, from one start. `train_generator` trains the residual head as well (lesson 10); we give its loss the weight 0, so **only tokens are learnt here**. Its head draws random numbers all the same, so each step begins from a seed of its own.

# %%
learnt = study.learnt_pictures(L.budget.concepts)
tokens = study.tokens_of(learnt, shipped)
print(f"{len(tokens.indices)} pictures of 4 x 4 tokens, one a concept")


def seeded(tokens, size, state):
    """The same batches and masks for both loops."""
    for step in range(2):
        state.generator.manual_seed(SEED + step)
        yield next(supply(tokens, size, state))


config = study.training(L.budget, SEED)
one, two = (study.small_generator(shipped.tokenizer, SEED).to(L.device) for _ in range(2))
state = begin(one, config)
mine = [loss for _, (_, loss) in zip(range(2), train(one, seeded(tokens, 4, state), config, state))]
state = begin(two, config)
library = train_generator(two, seeded(tokens, 4, state), config, state=state)
theirs = [step.token_loss for _, step in zip(range(2), library)]
print("yours   ", *[f"{loss:.4f}" for loss in mine])
print("library ", *[f"{loss:.4f}" for loss in theirs])

# %% [markdown]
# The rows agree: `dcar_edu.train_generator` is this loop, and a second loss beside it. (If your `random_mask` sorts in another way than ours, it hides other tokens, and the numbers differ a little. That is no fault.)
#
# ## 7. Experiment: few emoji
#
# We train a small transformer, 3 blocks of width 128, on one picture a concept: the ones just counted. Now and then we stop and measure with masks that never change: the loss and the **accuracy**, the share of hidden tokens whose best guess is right. Once with the averaged weights, once with the raw ones.

# %% [markdown] tags=["predict"]
# **What do you expect?** Where does the loss start, and how low can it get? Which curve is ahead, raw or averaged? And when the model is trained: with 2 of 16 tokens hidden, with 14, and with all 16, how many does it get right?
#
# <details><summary>Answer</summary>
#
# It starts at 6.93 and stays above 1.02. As long as the weights improve quickly, an average of the last fifty steps is *behind* them; it comes into its own later, when the steps only jitter. And the share of hidden tokens matters less than one thinks: the caption names the concept, and a model that knows its pictures by heart can name every token with everything hidden.
# </details>

# %%
judged = study.rows_of(tokens, slice(L.budget.judged))
fixed = study.fixed_mask(len(judged.indices))
COLUMNS = ("step", "loss", "accuracy", "raw_accuracy")


def measure(step, raw, average):
    """One row of measurements, on the same pictures and masks every time."""
    seen = study.look(average, judged, fixed)
    values = [step, seen["loss"], seen["accuracy"], study.look(raw, judged, fixed)["accuracy"]]
    return torch.tensor([values])


# %% [markdown]
# The next cell trains. It saves every minute: stop it and run it again, or run the notebook in a new session, and it goes on where it was.

# %% tags=["nbval-ignore-output"]
generator = study.small_generator(shipped.tokenizer, SEED).to(L.device)
state = begin(generator, config)
state.memory["rows"] = measure(0, generator, generator)
steps = train(generator, supply(tokens, L.budget.batch, state), config, state)
for step, _ in keep_going(f"07/masked-{L.budget.name}-{SEED}", state, steps, total=config.steps):
    if step % L.budget.every == 0 or step == config.steps:
        row = measure(step, state.model, state.average.module)
        state.memory["rows"] = torch.cat([state.memory["rows"], row])
rows = state.memory["rows"]

# %%
def runs(arm, name):
    """The committed runs of an arm at this budget: places, lowest, mean and highest value."""
    lines = [line["metrics"] for line in results("07_masked") if line["budget"] == L.budget.name
             and line["arm"] == arm]
    if not lines:
        return None
    places = sorted(int(k.rsplit("_", 1)[1]) for k in lines[0] if k.rsplit("_", 1)[0] == name)
    values = torch.tensor([[line[f"{name}_{place}"] for place in places] for line in lines])
    return torch.tensor(places), values.amin(0), values.mean(0), values.amax(0)


def band(axis, arm, name, colour, scale=1):
    """Shade the range of the committed runs, where there are any."""
    if found := runs(arm, name):
        places, low, _, high = found
        axis.fill_between(places / scale, low, high, color=colour, alpha=0.25, linewidth=0)


# %%
figure, ((left, right),) = figures.panels(1, 2, height=3.2)
band(left, "few emoji", "loss", "C0")
band(right, "few emoji", "accuracy", "C0")
left.plot(rows[:, 0], rows[:, 1], "o-", markersize=4, label="averaged weights")
left.axhline(math.log(1024), color="black", linestyle=":", linewidth=1)
left.axhline(floor, color="black", linestyle=":", linewidth=1)
left.text(rows[-1, 0], math.log(1024) - 0.05, "ln 1024", ha="right", va="top", fontsize=8)
left.text(0, floor + 0.05, "lowest there is", va="bottom", fontsize=8)
right.plot(rows[:, 0], rows[:, 2], "o-", markersize=4, label="averaged weights")
right.plot(rows[1:, 0], rows[1:, 3], "s--", color="C1", markersize=4, label="raw weights")
left.set(xlabel="step", ylabel="loss")
right.set(xlabel="step", ylabel="accuracy on hidden tokens", ylim=(0, 1))
right.legend(loc="upper left")
figures.show(
    figure,
    alt="Left: the loss over the steps, from ln 1024 down towards the lowest possible value. Right: "
    "the accuracy rises, raw and averaged weights close together. Bands of three runs lie behind.",
)
print("committed runs at this budget:", "shaded" if runs("few emoji", "loss") else "none")
print("to add one: dcar experiment 07_masked --arm 'few emoji' --seed 3")

# %%
model = DCAR(shipped.tokenizer, generator, shipped.text_encoder)
L.report(accuracy=rows[-1, 2].item(), raw_accuracy=rows[-1, 3].item(), loss=rows[-1, 1].item())
folder = course.save_stage(
    "07", model, budget=L.budget.name, metrics={"accuracy": rows[-1, 2].item()}
)

# %% [markdown]
# The generator is kept together with tokenizer and text encoder. Its residual head has learnt nothing yet: draw from it with `residual_steps=0` until lesson 10.
#
# Numbers are one thing. Here are eight of its pictures with 20, 50 and 90 % hidden (3, 8 and 14 tokens), each filled **in one go**.

# %%
eight = study.rows_of(tokens, slice(L.budget.shown))
original = draw(model, eight.indices)
cells, covers, row_titles = [original], [], ["all tokens"]
for hidden in (3, 8, 14):
    mask = study.fixed_mask(len(eight.indices), hidden)
    ids = study.fill(generator, eight, mask)
    right = ((ids == eight.indices).flatten(1) & mask.to(ids.device)).sum().item()
    cells += [original, draw(model, ids)]
    covers += list(mask.view(-1, 4, 4))
    row_titles += [f"{hidden} hidden", f"guessed,\n{right / mask.sum().item():.0%} right"]
columns = len(eight.indices)
figure = figures.image_grid(torch.cat(cells), columns=columns, row_titles=row_titles, tile=0.68)
for number, mask in enumerate(covers):
    line = 2 * (number // columns) + 1
    figures.cover_hidden(figure.axes[line * columns + number % columns], mask)
figures.show(
    figure,
    alt="Eight emoji in seven rows: from all tokens; then for 3, 8 and 14 hidden tokens a row with "
    "the hidden places covered and a row with them guessed in one go.",
)

# %% [markdown]
# And the accuracy against the mask ratio, on pictures it has learnt and on concepts it has never seen. Thin lines: the shipped generator, four times as large and trained for half an hour, on these pictures and hundreds more.

# %%
unseen = study.tokens_of(
    CaptionedEmoji("held_out_concepts", 128, concepts=L.budget.unseen or None, **study.LOOK), shipped
)
figure, ((axis,),) = figures.panels(width=6, height=3.2)
shares = [hidden / 16 for hidden in study.HIDDEN]
found = {}
for (name, part), colour, mark in zip(
    (("learnt", judged), ("unseen", unseen)), ("C0", "C1"), ("o-", "s--")
):
    masks = [study.fixed_mask(len(part.indices), hidden) for hidden in study.HIDDEN]
    found[name] = [study.look(generator, part, mask)["accuracy"] for mask in masks]
    band(axis, "few emoji", name, colour, scale=16)
    axis.plot(shares, found[name], mark, color=colour, label=f"{name} concepts")
    trained = [study.look(shipped.generator, part, mask)["accuracy"] for mask in masks]
    axis.plot(shares, trained, mark[1:], color=colour, linewidth=1, label=f"{name}, shipped")
    found[f"{name}, shipped"] = trained
axis.set(xlabel="share of hidden tokens", ylabel="accuracy", ylim=(0, 1.02))
axis.legend(loc="center right", fontsize=8)
figures.show(
    figure,
    alt="Accuracy against the share of hidden tokens. Solid lines, learnt concepts: nearly flat and "
    "high. Dashed lines, unseen concepts: far below. Thin lines are the shipped model's.",
)
for name, values in found.items():
    some = [f"{h:2d} hidden {v:.2f}" for h, v in zip(study.HIDDEN, values) if h in (1, 8, 16)]
    print(f"{name:15s}", *some)

# %% [markdown]
# **What to notice.** *The loss* starts where it must and is still far above the floor when the steps are over. *Raw weights are ahead of averaged ones* as long as everything improves: the average remembers worse days. Whoever looked only at the average would think the training slower than it is.
#
# *Some pictures come back whole, even from two tokens; others are not known yet*, and stay wrong however much is visible. So *the accuracy hardly depends on what is visible.* With everything hidden the model is about as good as with a single hidden token: it goes by the caption and knows the picture by heart, or it does not. The shipped model shows where this ends: every token of learnt pictures, whatever is hidden, and on unseen concepts not even a tenth, however much it sees. It has learnt pictures, not how pictures go on. For that it would need many more of them.
#
# ## 8. Wrong id, near code
#
# Accuracy is a hard judge: code 17 for code 18 counts as much as black for white. But ids are names of *codes*, vectors on the sphere of lesson 03, and many codes are neighbours. So wherever a guess is wrong, let us take the cosine between the guessed code and the true one. For comparison: two codes at random.

# %%
codes = shipped.tokenizer.quantizer.codes.detach()
pair = torch.randint(len(codes), (2, 4000), generator=L.generator(4)).to(L.device)
cosines = {"two random codes": F.cosine_similarity(codes[pair[0]], codes[pair[1]], dim=-1)}
for name, part in (("unseen", unseen), ("learnt", judged)):
    mask = study.fixed_mask(len(part.indices))
    cosines[f"wrong guesses, {name}"] = study.near(generator, part, mask, codes)
figure, ((axis,),) = figures.panels(width=7, height=3)
for (name, values), style, colour in zip(cosines.items(), (":", "--", "-"), ("black", "C1", "C0")):
    values = values.clamp(-1, 1).cpu()
    counts = torch.histc(values, bins=40, min=-1, max=1) / max(1, len(values))
    places = torch.linspace(-0.975, 0.975, 40)
    axis.plot(places, counts, style, color=colour, drawstyle="steps-mid", label=name)
axis.set(xlabel="cosine of guessed and true code", ylabel="share")
axis.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=3)
figures.show(
    figure,
    alt="Three histograms of cosines: random pairs of codes form a hill around zero; wrong guesses on "
    "unseen and on learnt concepts lie further to the right.",
)
for name, values in cosines.items():
    print(f"{name:24s} mean cosine {values.mean():.2f}, {len(values)} pairs")

# %%
mask = study.fixed_mask(len(unseen.indices), 8)
ids = study.fill(generator, unseen, mask)
few = slice(L.budget.shown)
rights = ((ids == unseen.indices).flatten(1) & mask.to(ids.device)).sum(1)
original = draw(model, unseen.indices[few])
figure = figures.image_grid(
    torch.cat([original, original, draw(model, ids[few])]),
    titles=[f"{n} of 8 right" for n in rights[few].tolist()],
    columns=L.budget.shown,
    row_titles=["all tokens", "8 hidden", "guessed"],
    tile=0.68,
)
for axis, places in zip(figure.axes[L.budget.shown :], mask[few].view(-1, 4, 4)):
    figures.cover_hidden(axis, places)
figures.show(
    figure,
    alt="Eight emoji of concepts that were never learnt: from all tokens, with eight covered, and "
    "with those guessed. The ground and rough colours fit, outlines do not.",
)

# %% [markdown]
# **What to notice.** Wrong guesses are no random codes. Their cosine with the truth is far above that of a random pair, on learnt and on unseen concepts alike. In the pictures the ground is the right one and some colours are near, even where hardly an id is right; outlines are lost. Where many codes would do, training counts one of them as right.
#
# ## 9. Experiment: all emoji
#
# The same network, the same number of steps, the same batch; but now *every* emoji of the training split in this style, 1,208 pictures.

# %% [markdown] tags=["predict"]
# **What do you expect?** How many hidden tokens of its own pictures will it get right: more than 50 %, about 20 %, about 1 %? And on concepts that neither has seen: which of the two is better?
#
# <details><summary>Answer</summary>
#
# About 20 % of its own. Each picture was shown 8 times in place of 75, too seldom to be known by heart. But on unseen concepts it is *better* than the model that knows few pictures by heart: from many pictures one learns what pictures in general are like.
# </details>

# %%
arms = {"few emoji": ("C0", "o-"), "all emoji": ("C1", "s--")}
figure, axes = figures.panels(1, 2, height=3.2)
for axis, name in zip(axes[0], ("loss", "accuracy")):
    for arm, (colour, mark) in arms.items():
        band(axis, arm, name, colour)
        if found := runs(arm, name):
            axis.plot(found[0], found[2], mark, color=colour, markersize=4, label=arm)
    axis.set(xlabel="step", ylabel=name)
axes[0, 0].axhline(math.log(1024), color="black", linestyle=":", linewidth=1)
axes[0, 1].set(ylim=(0, 1))
if runs("all emoji", "loss"):
    axes[0, 1].legend()
figures.show(
    figure,
    alt="Loss and accuracy over the steps for two arms, bands of three runs behind the means: few "
    "emoji, and all emoji, whose loss stays higher and whose accuracy stays far lower.",
)

# %%
def mean_of(arm, name, place):
    """Mean over the committed runs of one number."""
    places, _, mean, _ = runs(arm, name)
    return mean[places.tolist().index(place)].item()


print(f"{'':24s}all hidden  8 hidden  1 hidden   cosine where wrong")
for arm in arms:
    for name in ("learnt", "unseen"):
        if runs(arm, name):
            right = [mean_of(arm, name, hidden) for hidden in (16, 8, 1)]
            near = mean_of(arm, f"cosine_{name}", 0)
            print(f"{arm + ', ' + name:24s}" + "".join(f"{r:10.0%}" for r in right) + f"{near:12.2f}")
for arm in arms:
    if runs(arm, "loss"):
        averaged, raw = (runs(arm, name)[2][-1] for name in ("accuracy", "raw_accuracy"))
        print(f"{arm}, last step: averaged weights {averaged:.1%}, raw weights {raw:.1%}")

# %% [markdown]
# **What to notice.** Low, and normal. Nothing is broken in the second arm: its loss starts at $\ln 1024$ and falls, no id leaks, and its own pictures and unseen ones are guessed nearly equally well. The first arm has four times the accuracy on what it has learnt and half of it on what it has not. The last two lines show when the *average* is ahead: in the second arm, where the weights no longer improve much and only jitter.
#
# So an accuracy means nothing without two questions: *on pictures that were learnt, or on others?* And *how many pictures fit the caption and the visible tokens?* Where a hundred wolves fit the same words, nobody can guess which one was meant, and a generator that gets 5 % right may draw well. Compare a run with its own past, with a run beside it, and look at pictures.
#
# ## Quiz

# %% tags=["quiz", "nbval-ignore-output"]
course.quiz("07")

# %% [markdown] tags=["recap"]
# ## What you take with you
#
# 1. **Hide, guess, score** is the whole training task. The share that is hidden is drawn anew for each picture, from arccos; the places too.
# 2. The loss starts at **ln K** and ends above the floor that label smoothing puts under it. Both are known before training.
# 3. **No hidden id may reach the output.** Change them and compare bit by bit.
# 4. Look at **raw and averaged** weights. An average lags behind, and without warm-up it looks broken for thousands of steps.
# 5. **Accuracy is not quality.** High, it may say "known by heart". Low, it may say "many answers fit", and a wrong id may be a near code.
#
# **New terms:** masked modelling, mask ratio, bidirectional, label smoothing, leak of ids. `course.glossary()` explains them.
#
# **You now know** `MaskedGenerator`, `train_generator`, `TokenBatch` and `dcar_edu.generator.masking`.
#
# **To read on:** [MaskGIT](https://arxiv.org/abs/2202.04200), where the task and the cosine come from; [MAR](https://arxiv.org/abs/2406.11838), masked modelling without codes, and the head of lesson 10.
#
# **Next:** all hidden tokens in one go works when the picture is known by heart. Lesson 08 draws in 12 steps, the sure tokens first.

# %% tags=["nbval-ignore-output"]
#@title Download my answers (on Colab)
import sys

if "google.colab" in sys.modules:
    L.save_answers()

# %% tags=["finish", "nbval-ignore-output"]
chosen = course.stage("07", "auto").to(L.device)
wolf = study.tokens_of(CaptionedEmoji("train", 128, concepts=["wolf"], **study.LOOK), chosen)
L.finish(wolf=draw(chosen, study.fill(chosen.generator, wolf, half[:1].flatten(1)))[0])
