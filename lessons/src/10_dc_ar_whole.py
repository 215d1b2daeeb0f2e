# %% [markdown] tags=["header"]
# ---
# title: DC-AR whole
# builds: the residual head, both losses in one training loop, and text to picture in forty lines
# figures: 11
# wait: 4
# wait_gpu: 4
# gpu: true
# memory: 2 GB
# needs: 04, 08, 09
# writes: your progress file and one tile of the wolf strip
# ---

# %% [markdown] tags=["map"]
# All parts are on the table: a tokenizer that writes a picture as ids and residuals (04), a sampler that draws ids in twelve steps (08), and diffusion, which draws real numbers (09). This lesson builds the one network that is missing, puts everything together, and asks whether the paper's idea pays: is **hybrid** better than **discrete only**?

# %% [markdown] tags=["objectives"]
# **When you are done you can**
#
# - build the residual head, a small network that is steered by a hidden state and a time (adaLN-Zero);
# - train tokens and residuals with one sum of two losses, and say what each loss is worth before, during and after;
# - write text to picture yourself, from a prompt to pixels, and get the very pictures of `model.generate`;
# - repeat the paper's Table 4 at a small size, and read the result with a verdict instead of a hope;
# - recognise what a wrong residual looks like, and say which part to check.
#
# **You need** lessons 04, 08 and 09: code and residual, the twelve steps, noise and the five functions of diffusion.
#
# **Short of time?** Sections 1, 4, 7 and 8.

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

from dcar_edu import DCAR, GeneratorConfig, MaskedGenerator, course, images, sample_tokens
from dcar_edu.course import check, figures, same_as_library
from dcar_edu.course.experiments import results
from dcar_edu.course.stages import keep_going
from dcar_edu.course.studies import study_10 as study
from dcar_edu.course.studies.study_05 import SURE, verdict
from dcar_edu.drawing import seeds
from dcar_edu.generator import training
from dcar_edu.generator.diffusion import Schedule, add_noise, cosine_alpha_bars, sample
from dcar_edu.generator.guidance import guide
from dcar_edu.generator.masking import random_mask
from dcar_edu.generator.residual_head import ResidualHead, time_features
from dcar_edu.metrics import psnr, token_match
from dcar_edu.state import warmed_cosine

L = course.start("10", BUDGET, SEED)

# %% tags=["map", "nbval-ignore-output"]
course.course_map("10")

# %% [markdown]
# ## 1. Two halves of one picture
#
# The shipped model draws each prompt once. Then its drawing is decoded twice: from the ids alone (the **discrete** path), and from the ids plus the residuals that its head has drawn (the **hybrid** path). At the bottom stands the picture that the prompt describes.

# %%
model = course.stage("10", "shipped").to(L.device)
examples, originals, labels = study.learnt(560 if L.budget.name != "smoke" else 64)
originals = originals.to(L.device)
names = [example.label for example in examples]
shown = [names.index(name) for name in ("wolf", "sunset", "frog", "rocket", "house")]
captions = [examples[place].caption for place in shown]
first = study.draw(model, captions, SEED)
residuals = study.draw_residuals(model, first.hidden, SEED)
discrete = study.decode(model, first.indices, None)
hybrid = study.decode(model, first.indices, residuals)

# %%
rows = {
    "codes only": discrete,
    "with\nresiduals": hybrid,
    "difference\nx 5": (5 * (hybrid - discrete)).clamp(-1, 1),
    "the truth": originals[shown],
}
titles = []
for pictures in rows.values():
    close = psnr(pictures, originals[shown]).tolist()
    titles += [f"{value:.1f} dB" if value < 90 else "" for value in close]
titles[10:15] = [""] * 5
figures.show(
    figures.image_grid(
        torch.cat(list(rows.values())).cpu(), titles, columns=5, row_titles=list(rows), tile=0.8
    ),
    alt="Four rows of five emoji: drawn from codes only, drawn from codes and residuals, five times "
    "the difference on grey, and the true pictures. The first two rows look much alike; the "
    "difference is made of soft coloured clouds inside the emoji. PSNR stands above each picture.",
)

# %% [markdown]
# **What to notice.** The shape comes from the ids; the residuals only shift shades within it, and the third row shows where. Read the decibels as well. Is the second row *closer* to the truth than the first? By a tenth or two, and not for every emoji. Is that luck? Keep the question: section 8 answers it with 560 prompts and three seeds.

# %% [markdown]
# ## 2. Where the head sits
#
# The transformer reads all tokens twelve times, each time with fewer hidden ones. In every pass it makes one vector a token, the **hidden state**, from which its last layer names the id. The *last* pass leaves its hidden states on the table: 16 vectors that have just looked at the words and at nearly all ids. The residual head takes each of them and draws the residual of that token by diffusion. No new pass over the picture is needed.

# %%
figure, ((axis,),) = figures.panels(width=8, height=3.2)
boxes = {
    "16 ids, hidden\nones marked": (1.9, 3),
    "words": (0.5, 1),
    "text\nencoder": (2.2, 1),
    "transformer\n12 passes": (4.6, 2),
    "logits,\nthen ids": (7, 3),
    "residual head\n20 steps": (7, 1),
    "code +\nresidual": (9.3, 2),
    "decoder": (11, 2),
}
for words, (x, y) in boxes.items():
    lit = "residual" in words
    look = {"boxstyle": "round,pad=0.45", "facecolor": "#FFE9A8" if lit else "#EAEAEA"}
    axis.text(x, y, words, ha="center", va="center", fontsize=9, bbox=look)
arrows = (
    ((2.95, 2.8), (3.75, 2.3)), ((0.95, 1), (1.5, 1)), ((2.9, 1.2), (3.75, 1.7)),
    ((5.4, 2.3), (6.2, 2.8)), ((5.4, 1.7), (6.05, 1.2)), ((7.75, 2.8), (8.65, 2.3)),
    ((7.95, 1.2), (8.65, 1.7)), ((9.9, 2), (10.4, 2)), ((11.6, 2), (12.1, 2)),
)  # fmt: skip
for start, end in arrows:
    axis.annotate("", end, start, arrowprops={"arrowstyle": "->", "linewidth": 1.5})
back = {"arrowstyle": "->", "linestyle": "--", "connectionstyle": "arc3,rad=0.2"}
axis.annotate("", (1.9, 3.45), (7, 3.45), arrowprops=back)
axis.text(4.45, 3.98, "the surest ids go back in", fontsize=8, ha="center")
axis.text(5.1, 1.05, "hidden states,\nlast pass only", fontsize=8, ha="center")
corner = axis.inset_axes((0.915, 0.28, 0.085, 0.36))
corner.imshow(figures.to_picture(hybrid[0].cpu()))
corner.set_axis_off()
axis.set(xlim=(0, 13.3), ylim=(0.4, 4.4))
axis.set_axis_off()
figures.show(
    figure,
    alt="A diagram. Words go through the text encoder into the transformer, ids as well. Out of the "
    "transformer go logits, which become ids and return to its input, and, from the last pass "
    "only, hidden states into the residual head. Code plus residual go into the decoder.",
)

# %% tags=["nbval-check-output"]
with torch.device("meta"):  # shapes without numbers: the paper's model weighs nothing here
    paper = MaskedGenerator(GeneratorConfig.preset("paper"))
head, whole = (sum(p.numel() for p in part.parameters()) for part in (paper.residual_head, paper))
print(f"residual head of the paper's model: {head:,} of {whole:,} parameters ({head / whole:.1%})")

# %% [markdown]
# **What to notice.** One part in twenty of the parameters, and it sees no neighbours: every token is treated by itself, all in parallel. What a token must know of the others has to be in its hidden state already. And mind the word *last*: in that pass some tokens were still hidden (4 of our 16, 67 of the paper's 256), so the head draws residuals for ids that the pass did not see.

# %% [markdown]
# ## 3. adaLN-Zero: steered from outside
#
# In lesson 09 the noise-guessing network was given. Here it is: a few MLP blocks, each steered by a **condition** $y$, made of the hidden state $h_i$ and the time $t$:
#
# $$y = W_h h_i + \text{MLP}(t), \qquad (\beta, \gamma, \alpha) = W_m \, \text{SiLU}(y), \qquad x \leftarrow x + \alpha \odot \text{MLP}\big(\text{norm}(x) \odot (1 + \gamma) + \beta\big)$$
#
# In words: the condition does not *enter* the block. It turns its knobs: how far to **shift** the normed input, how much to **scale** it, and how wide to open the **gate** through which the result is added. $W_m$ starts at zero. Then every gate is shut and a block is the identity: an untrained head does no harm.
#
# | symbol | meaning | shape | code |
# |---|---|---|---|
# | $x$ | what the block works on (a noisy residual, made wider) | (n, width) | `h` |
# | $y$ | condition: hidden state and time | (n, width) | `y` |
# | $\beta$, $\gamma$, $\alpha$ | shift, scale and gate, in this order | (n, width) each | `shift`, `scale`, `gate` |
# | $W_m$ | the modulation, starts at 0 | width to 3 width | `parts.modulation` |

# %% [markdown] tags=["exercise-text"]
# ### Exercise 10.1 - A block with three knobs
# difficulty: 3/5 · importance: 5/5 · 10 min · needs: none
#
# Write `adaln_block(h, y, parts)`. `h` and `y` are (n, width). `parts` has `norm`, `mlp` and `modulation`, all of them modules that you call; `parts.modulation` gives (n, 3 width): shift, scale and gate side by side. Give back (n, width).
#
# Used in `dcar_edu.generator.residual_head.AdaLNBlock`.
#
# <details><summary>Hint 1</summary>
#
# Three steps: turn the condition into three tensors, work on the normed and modulated `h`, add the gated result to `h` itself.
# </details>
# <details><summary>Hint 2</summary>
#
# `F.silu(y)` goes into the modulation, and `.chunk(3, dim=-1)` cuts its answer. The gate multiplies what the MLP gives, never the shortcut. The scale is counted from 1, so that 0 means "as it was".
# </details>
# <details><summary>Hint 3</summary>
#
# `h + gate * parts.mlp(parts.norm(h) * (1 + scale) + shift)`
# </details>
# <details><summary>Expected</summary>
#
# With a modulation that answers zeros the block gives back `h`, to the last bit.
# </details>

# %% tags=["exercise"]
def adaln_block(h, y, parts):
    """An MLP whose shift, scale and gate are told by the condition y."""
    # BEGIN SOLUTION
    shift, scale, gate = parts.modulation(F.silu(y)).chunk(3, dim=-1)
    return h + gate * parts.mlp(parts.norm(h) * (1 + scale) + shift)
    # END SOLUTION


# %% tags=["check", "nbval-ignore-output"]
adaln_block = check("10.1", adaln_block)

# %% [markdown]
# With this block the whole head is seven lines. They run on the weights of the shipped one:

# %%
trained = model.generator.residual_head


def head(x, t, hidden):
    """Guess the noise in residuals x (n, 32) at times t (n,), given hidden states (n, width)."""
    condition = trained.condition(hidden) + trained.time(time_features(t))
    x = trained.input(x)
    for block in trained.blocks:
        x = adaln_block(x, condition, block)
    return trained.output(x, condition)


# %% tags=["nbval-ignore-output"]
hidden = first.hidden[0].flatten(0, 1)  # the last pass of section 1: 16 tokens a picture
noise = torch.randn(len(hidden), 32, generator=L.generator()).to(L.device)
times = torch.randint(1000, (len(hidden),), generator=L.generator()).to(L.device)
with torch.no_grad():
    same_as_library(head, trained.forward, lambda: (noise, times, hidden))

# %% tags=["nbval-check-output"]
untrained = ResidualHead(GeneratorConfig.preset("nano"))
untrained.start()
x, y = torch.randn(5, 128), torch.randn(5, 128)
with torch.no_grad():
    change = (untrained.blocks[0](x, y) - x).abs().max().item()
    answer = untrained(torch.randn(5, 32), torch.arange(5), torch.randn(5, 256)).abs().max().item()
print("zero start: largest change by a block", change, "- largest answer of the head", answer)

# %% [markdown]
# What have the knobs of the trained head learnt? We move the time from clean (0) to pure noise (999), and look at the mean size of gate and scale in each block.

# %%
moments = torch.linspace(0, 999, 25).long()
knobs = {"gate": [], "scale": []}
with torch.no_grad():
    for moment in moments:
        t = torch.full((len(hidden),), int(moment), device=L.device)
        condition = trained.condition(hidden) + trained.time(time_features(t))
        told = [block.modulation(F.silu(condition)).chunk(3, dim=-1) for block in trained.blocks]
        knobs["gate"].append([gate.abs().mean().item() for _, _, gate in told])
        knobs["scale"].append([scale.abs().mean().item() for _, scale, _ in told])
figure, axes = figures.panels(1, 2, height=2.8)
for axis, (name, values) in zip(axes[0], knobs.items()):
    for block, mark in enumerate(("o-", "s--", "^:")):
        line = [value[block] for value in values]
        axis.plot(moments, line, mark, markevery=4, label=f"block {block + 1}")
    axis.set(xlabel="time t (0 clean, 999 noise)", title=f"mean size of the {name}", ylim=(0, None))
axes[0, 0].legend()
figures.show(
    figure,
    alt="Two panels over time: mean size of the gate and of the scale in the three blocks of the "
    "trained head. None is zero any more, and both change with time.",
)

# %% [markdown]
# **What to notice.** All of them began at exactly 0. Training has opened the gates, and not equally at all times: they are widest where the input is clean, and close again towards pure noise, where there is little to see in it. What a block does depends on how noisy its input is. That is all "steered by the time" means.

# %% [markdown]
# ## 4. Two losses, one sum
#
# The transformer learns to name hidden ids (07). The head learns to guess the noise in residuals (09). Both happen in one step, on one pass:
#
# $$\mathcal{L} = \mathcal{L}_{\text{token}} + \mathcal{L}_{\text{diff}}, \qquad \mathcal{L}_{\text{diff}} = \overline{\Big( \epsilon_\theta\big(\sqrt{\bar\alpha_t}\, \tfrac{r}{s} + \sqrt{1 - \bar\alpha_t}\, \epsilon, \; t, \; h_i \big) - \epsilon \Big)^2}$$
#
# In words: divide each residual by the size $s$ that residuals usually have, add noise of a random time, and let the head guess that noise from the mixture, the time and the token's hidden state. The mean runs over *all* tokens, hidden or not, and over four draws of time and noise for each. The gradient does not stop at $h_i$: it teaches the transformer to keep in its hidden states what a residual needs.
#
# | symbol | meaning | shape | code |
# |---|---|---|---|
# | $r$ | true residuals | (n, c) | `residual` |
# | $s$ | their rms in the data, here 0.086, in the paper's code 0.107 | number | `scale` |
# | $h_i$ | hidden states of one pass | (n, width) | `hidden` |
# | $\epsilon$, $t$ | noise and time, a fresh draw for each row | (n · times, c), (n · times,) | `noise`, `t` |
# | $\bar\alpha_t$ | share of the data's variance left at time $t$ | (1000,) | `cosine_alpha_bars()` |

# %% [markdown] tags=["exercise-text"]
# ### Exercise 10.2 - The loss of the residuals
# difficulty: 4/5 · importance: 5/5 · 10 min · needs: 09.1, 09.2
#
# Write `residual_loss(head, hidden, residual, scale, times, generator)`. `hidden` is (n, width), `residual` (n, c) in latent units, `head(x, t, hidden)` guesses noise. Each token is used `times` times, each time with its own time from 0 to 999 and its own noise. Draw them on the CPU from `generator`, times first; then move them to where the residuals are (`.to(residual.device)`). Give back one number. Gradients must reach `hidden`.
#
# Used in `dcar_edu.generator.residual_head.ResidualHead.loss`.
#
# <details><summary>Hint 1</summary>
#
# First make everything `times` times longer, then it is the loss of lesson 09. `add_noise(x0, noise, alpha_bar)` is in the setup; `alpha_bar` is one number a row.
# </details>
# <details><summary>Hint 2</summary>
#
# `hidden.repeat(times, 1)` puts copies of the whole block under each other; `repeat_interleave` repeats each row. Either is right, but both tensors must be made longer in the same way.
# </details>
# <details><summary>Hint 3</summary>
#
# `x0 = (residual / scale).repeat(times, 1)`, `t = torch.randint(1000, (len(x0),), generator=generator)`, `x = add_noise(x0, noise, cosine_alpha_bars()[t])`, and the mean of `(head(x, t, hidden) - noise).square()`.
# </details>
# <details><summary>Expected</summary>
#
# A head that always answers 0 has a loss of about 1, the variance of the noise.
# </details>

# %% tags=["exercise"]
def residual_loss(head, hidden, residual, scale, times, generator):
    """Diffusion loss of every token's residual, each at several times."""
    # BEGIN SOLUTION
    hidden = hidden.repeat(times, 1)
    x0 = (residual / scale).repeat(times, 1)
    t = torch.randint(1000, (len(x0),), generator=generator)
    noise = torch.randn(x0.shape, generator=generator).to(x0)
    x = add_noise(x0, noise, cosine_alpha_bars()[t])
    return (head(x, t.to(x.device), hidden) - noise).square().mean()
    # END SOLUTION


# %% tags=["check", "nbval-ignore-output"]
residual_loss = check("10.2", residual_loss)

# %% [markdown]
# What are the two losses of a model that knows nothing? Its token head answers 0 for every code, so all $K$ are equally likely. Its residual head answers 0 as well.

# %% tags=["nbval-check-output"]
torch.manual_seed(0)
blank = MaskedGenerator(GeneratorConfig.preset("nano", residual_scale=0.1))
source = torch.Generator().manual_seed(0)
ids = torch.randint(1024, (8, 4, 4), generator=source)
words = torch.randn(8, 6, 384, generator=source), torch.ones(8, 6, dtype=torch.bool)
with torch.no_grad():
    out = blank(ids, *words)
    token = training.masked_loss(out.logits, ids.flatten(1), torch.ones(8, 16, dtype=torch.bool))
    rest = 0.1 * torch.randn(128, 32, generator=source)
    start = residual_loss(blank.residual_head, out.hidden.flatten(0, 1), rest, 0.1, 4, source)
print(f"token loss at the start {token:.4f}; ln 1024 = {math.log(1024):.4f}")
print(f"the paper's start: ln 16384 = {math.log(16384):.4f}")
print("diffusion loss at the start within 2 % of 1:", bool(abs(start - 1) < 0.02))

# %% [markdown]
# The token loss has a known start and a known meaning. What does a *diffusion* loss of 0.4 mean? Here is a ruler. A head that knows nothing of this picture, but knows how large residuals are, can already do better than 1: in a nearly clean input it sees how little noise there is; in a noisy one, nearly all it sees is noise. Its best possible loss at time $t$ is just $\bar\alpha_t$ (for residuals like normal noise of size 1), on average over all times about one half.
#
# We measure the shipped head at each time, once with the right hidden states, and once with hidden states that belong to *other tokens*.

# %%
some = list(range(min(L.budget.pictures, len(examples))))
batch = model.tokens(originals[some], [examples[place].caption for place in some])
scale = model.generator.config.residual_scale
targets, source = batch.indices.flatten(1), L.generator(1)
with torch.no_grad():
    mask = random_mask(len(targets), targets.shape[1], source).to(L.device)
    masked = torch.where(mask, model.generator.mask_id, targets).reshape(batch.indices.shape)
    known = model.generator(masked, batch.text, batch.text_mask).hidden.flatten(0, 1)
x0 = batch.residuals.permute(0, 2, 3, 1).flatten(0, 2) / scale
strangers = known[torch.randperm(len(known), generator=source)]
moments = [10, 50, *range(100, 1000, 100), 990]
ruler = {"right hidden states": [], "another token's": []}
with torch.no_grad():
    for moment in moments:
        t = torch.full((len(x0),), moment, device=L.device)
        noise = torch.randn(x0.shape, generator=source).to(x0)
        x = add_noise(x0, noise, cosine_alpha_bars()[t.cpu()])
        for states, losses in zip((known, strangers), ruler.values()):
            losses.append((head(x, t, states) - noise).square().mean().item())

# %%
figure, ((axis,),) = figures.panels(height=3.2)
axis.plot(moments, [1] * len(moments), "k-", linewidth=1, label="zero start: knows nothing")
axis.plot(moments, cosine_alpha_bars()[moments], "k:", label="knows the size of residuals only")
for (name, losses), mark in zip(ruler.items(), ("o-", "s--")):
    axis.plot(moments, losses, mark, label=f"shipped head, {name}")
axis.set(xlabel="time t (0 clean, 999 noise)", ylabel="diffusion loss", ylim=(0, None))
axis.legend(fontsize=8)
figures.show(
    figure,
    alt="Diffusion loss against time. A flat line at 1 for the zero start; a dotted curve that falls "
    "from 1 to 0 for a head that knows only the size of residuals; the shipped head below it with "
    "the right hidden states, and well above that with hidden states of other tokens.",
)
means = {name: statistics.mean(losses) for name, losses in ruler.items()}
print(f"knows the size only, mean over all times: {cosine_alpha_bars().mean():.3f}")
print("; ".join(f"{name}: {value:.3f}" for name, value in means.items()))

# %% [markdown]
# **What to notice.** From 1 down to the dotted curve a head learns nothing about pictures. Only what lies *below* it is knowledge about this token, and it comes from the hidden state. With another token's hidden states the head is sure of the wrong thing, and worse than one that knows nothing. So read a diffusion loss from one half downwards, not from 1. Note the left end, too: in a nearly clean input the noise is hard to see for anyone, and *that* loss hardly matters for the picture.

# %% [markdown]
# ## 5. Train it: both losses, from nothing
#
# Now the whole generator, transformer and head, from random weights: 6 million parameters on a handful of pictures, so that a few minutes are enough to learn them by heart. The loop is yours; the long middle part is lesson 07.

# %%
def train(net, tokens, plan, state):
    """Both losses in one step; yields them."""
    for batch in study.rows(tokens, len(tokens.indices), state):
        if state.step == plan.steps:
            break
        net.train()
        b, h, w = batch.indices.shape
        targets = batch.indices.flatten(1)
        mask = random_mask(b, h * w, state.generator).to(net.device)
        drop = torch.rand(b, generator=state.generator) < plan.text_drop
        ids = torch.where(mask, net.mask_id, targets).reshape(b, h, w)
        out = net(ids, batch.text, batch.text_mask, drop)

        token = training.masked_loss(out.logits, targets, mask)
        residual = batch.residuals.permute(0, 2, 3, 1).flatten(0, 2)
        hidden = out.hidden.flatten(0, 1)
        diffusion = residual_loss(net.residual_head, hidden, residual, scale, 4, state.generator)
        (token + diffusion).backward()

        rate = plan.learning_rate * warmed_cosine(state.step, plan.steps, plan.warmup_steps)
        state.apply_gradients(rate, plan.clip)
        losses = token.item(), diffusion.item()
        state.memory["losses"][state.step - 1] = torch.tensor(losses)
        yield losses
    state.use_average()
    net.eval()


# %% [markdown] tags=["predict"]
# **What do you expect?** Two curves: token loss from 6.93, diffusion loss from 1. Which one moves first, and where does the other wait for it?
#
# <details><summary>Answer</summary>
#
# The diffusion loss runs ahead, down to about one half: how large residuals are can be learnt without any picture. There it slows down. What is left depends on *which* token it is, and the hidden states must say so first: they begin to when the token loss falls.
# </details>

# %% tags=["nbval-ignore-output"]
few = list(range(L.budget.learnt))
lesson = [examples[place].caption for place in few]
tokens = model.tokens(originals[few], lesson)
plan = study.training(L.budget.steps, SEED)
net = study.fresh_generator(model, SEED)
state = training.begin(net, plan)
state.memory["losses"] = torch.zeros(plan.steps, 2)
run = f"10/both-losses-{L.budget.name}-{SEED}"
for token, diffusion in keep_going(run, state, train(net, tokens, plan, state), total=plan.steps):
    if state.step in (1, plan.steps):
        print(f"step {state.step}: token loss {token:.3f}, diffusion loss {diffusion:.3f}")
curves = state.memory["losses"]
L.report(diffusion_loss=curves[-10:, 1].mean().item())

# %% [markdown]
# The saved run goes on where it stopped, like that of lesson 04. And the library's own loop gives the same numbers:

# %% tags=["nbval-ignore-output"]
twin = study.fresh_generator(model, SEED)
twin_state = training.begin(twin, plan)
twin_rows = study.rows(tokens, len(few), twin_state)
library = training.train_generator(twin, twin_rows, plan, state=twin_state)
for number, step in zip(range(2), library):
    mine = ", ".join(f"{value:.4f}" for value in curves[number].tolist())
    print(f"step {number + 1}: yours {mine}; library {step.token_loss:.4f}, {step.diffusion_loss:.4f}")

# %%
figure, axes = figures.panels(1, 2, height=2.9)
reference = [line["metrics"] for line in results("10_losses") if line["budget"] == L.budget.name]
marks = ((math.log(1024), "ln K: every code equally likely"), (0.5, "knows the size only"))
for column, (name, (value, words)) in enumerate(zip(("token_loss", "diffusion_loss"), marks)):
    axis = axes[0, column]
    smooth = study.windows(curves[:, column].tolist(), min(10, plan.steps))
    axis.plot([1, *smooth], [curves[0, column], *smooth.values()], "o-", markevery=3, label="yours")
    if reference:
        keys = sorted(key for key in reference[0] if key.startswith(name))
        runs = torch.tensor([[found[key] for key in keys] for found in reference])
        steps = [int(key.split("_")[-1]) for key in keys]
        axis.fill_between(steps, runs.amin(0), runs.amax(0), color="#CCCCCC", label="three of ours")
    axis.axhline(value, color="black", linestyle=":", linewidth=1)
    axis.text(plan.steps, value, words, ha="right", va="bottom", fontsize=8)
    axis.set(xlabel="step", title=name.replace("_", " "), ylim=(0, (8, 1.15)[column]))
axes[0, 0].legend(loc="lower left")
figures.show(
    figure,
    alt="Two curves of one run. The token loss starts at ln K, 6.93, and falls. The diffusion loss "
    "starts at 1, falls quickly to the dotted line at one half, and then slowly below it.",
)

# %% [markdown]
# Does it draw? The words go in, and out come the pictures of a model that is a few minutes old.

# %%
mine = DCAR(model.tokenizer, net, model.text_encoder)
drawn = study.draw(mine, lesson, SEED, guidance=0.0)
drawn_rest = study.draw_residuals(mine, drawn.hidden, SEED, guidance=0.0)
pushed = study.draw(mine, lesson, SEED, guidance=4.5)  # the question of the next section
ids, rest = study.encode(model, originals[few])
versions = {
    "your ids": study.decode(mine, drawn.indices, None),
    "your ids,\nyour residuals": study.decode(mine, drawn.indices, drawn_rest),
    "true ids,\ntrue residuals": study.decode(mine, ids, rest),
}
figures.show(
    figures.image_grid(
        torch.cat([pictures[:6] for pictures in versions.values()]).cpu(),
        columns=min(6, len(few)), row_titles=list(versions), tile=0.75,
    ),
    alt="Three rows: drawn by your model from ids alone, from ids and residuals, and the tokenizer's "
    "own reconstruction, which is the best that any drawing can reach.",
)  # fmt: skip
for push, found in {"0": drawn, "4.5": pushed}.items():
    right = token_match(found.indices, ids).mean().item()
    print(f"ids that are right, drawn with guidance {push}: {right:.0%}")
for name, pictures in versions.items():
    print(f"{name.replace(chr(10), ' '):28s} {psnr(pictures, originals[few]).mean():.2f} dB")

# %% [markdown]
# **What to notice.** The diffusion loss first runs down to one half, while nothing is known of any picture. Below that it waits for the transformer: only when the hidden states begin to tell one token from another can it fall further. And it does: with sixteen pictures the residuals are known so well that they *help*, by 0.4 dB. The shipped model has learnt 1,113 pictures with the same network. Section 8 asks what is left of it there.
#
# We drew *without* guidance. The printed lines say why: at 4.5, the paper's strength, most ids of this young model are wrong. Our guess: after so few steps, only a tenth of them without words, its answers *without* words are still poor, and guidance multiplies their error. Why would anyone guide, then? That is the next section.

# %% [markdown]
# ## 6. Guidance, twice
#
# Tokens are drawn with guidance (08): away from what the model would say without words. The residual head has its own two answers, from the hidden states with words and without, and is guided in the same way:
#
# $$\hat\epsilon = \epsilon_c + s \, (\epsilon_c - \epsilon_u)$$
#
# In words: the guess with words, pushed further in the direction in which the words have moved it. In the paper's head each answer has two halves, noise and variance. Only the noise is guided; the variance is taken from the answer *with* words.
#
# | symbol | meaning | shape | code |
# |---|---|---|---|
# | $\epsilon_c$, $\epsilon_u$ | guessed noise with and without words; first half of each answer | (n, c) of (n, 2c) | `cond`, `uncond` |
# | $s$ | guidance, 0 is none, the paper takes 4.5 | number | `scale` |

# %% [markdown] tags=["exercise-text"]
# ### Exercise 10.3 - Guided noise
# difficulty: 2/5 · importance: 4/5 · 6 min · needs: 08.2
#
# Write `guided_noise(cond, uncond, scale)`. Both answers are (n, 2c): noise first, variance second. Give back (n, 2c).
#
# Used in `dcar_edu.generator.residual_head.ResidualHead.sample`.
#
# <details><summary>Hint 1</summary>
#
# Cut both answers into halves along the last axis. You will use three of the four.
# </details>
# <details><summary>Hint 2</summary>
#
# `scale = 0` must give back `cond` unchanged. If `scale = 1` does, you use the other convention.
# </details>
# <details><summary>Hint 3</summary>
#
# `torch.cat([noise + scale * (noise - without), variance], dim=-1)`, with `noise` and `variance` from `cond` and `without` from `uncond`.
# </details>
# <details><summary>Expected</summary>
#
# A guess of 3 with words and 1 without gives 12 at the paper's 4.5.
# </details>

# %% tags=["exercise"]
def guided_noise(cond, uncond, scale):
    """Guide the noise; the variance is that of the answer with words."""
    # BEGIN SOLUTION
    noise, variance = cond.chunk(2, dim=-1)
    without = uncond.chunk(2, dim=-1)[0]
    return torch.cat([noise + scale * (noise - without), variance], dim=-1)
    # END SOLUTION


# %% tags=["check", "nbval-ignore-output"]
guided_noise = check("10.3", guided_noise)

# %% tags=["nbval-check-output"]
with_words, without = torch.tensor([[3.0, 0.1]]), torch.tensor([[1.0, 0.7]])
for push in (0.0, 2.0, 4.5):
    print(f"guidance {push}: noise, variance", guided_noise(with_words, without, push).tolist()[0])

# %% [markdown]
# Four strengths, the same seeds, tokens and residuals guided alike. The last prompt is none that was learnt: the model knows no yellow background. Below the pictures, the same for prompts that it knows.

# %%
strengths = (0.0, 2.0, 4.5, 8.0)
some_learnt = some[: max(2, L.budget.pictures // 4)]
prompts = [captions[0], captions[3], captions[2], "a 3D emoji of a wolf on a yellow background"]
asked = prompts + [examples[place].caption for place in some_learnt]
columns, table = [], {}
for push in strengths:
    guided = study.draw(model, asked, SEED, push)
    extra = study.draw_residuals(model, guided.hidden, SEED, guidance=push)
    both = study.decode(model, guided.indices, extra)
    columns.append(both[:4].cpu())
    match = token_match(guided.indices[4:], batch.indices[some_learnt]).mean().item()
    codes = study.decode(model, guided.indices[4:], None)
    close = [psnr(made, originals[some_learnt]).mean().item() for made in (codes, both[4:])]
    table[push] = (match, *close)

# %%
cells = [columns[column][row] for row in range(4) for column in range(4)]
figures.show(
    figures.image_grid(
        cells, [f"guidance {push:g}" for push in strengths], columns=4,
        row_titles=["wolf", "rocket", "frog", "wolf on\nyellow"], tile=0.85,
    ),
    alt="Four prompts in rows, four strengths of guidance in columns. The learnt wolf, rocket and "
    "frog change little. The wolf on yellow stands on white: nearly whole at 0 and 2, with strange "
    "patches at 4.5 and 8.",
)  # fmt: skip
print(f"{len(some_learnt)} learnt prompts   ids right   codes only   with residuals")
for push, (match, codes, both) in table.items():
    print(f"guidance {push:4g}      {match:8.0%} {codes:9.2f} dB {both:12.2f} dB")

# %% [markdown]
# **What to notice.** The last row shows what guidance does when nothing fits. No strength makes the ground yellow. The weak ones draw a whole wolf on a ground that is known; the strong ones leave that safe answer and reach for tokens of other pictures. The rocket gets odd corners from 2 on, that it does not have at 0.
#
# The table is blunt. Without guidance *every* id of these prompts is right. At 4.5 a few are wrong, and the pictures lose two and a half decibels. A prompt that is known by heart needs no push; the paper's 4.5 is for prompts that nobody has seen before. For the residuals it is the other way round: with guidance they gain a little, without it they lose a little. An unguided draw is an honest sample of all residuals that fit, and a single sample lies further from the truth than their middle does. Guidance seems to pull it towards that middle. We keep 4.5 for both in section 8, because the paper does.

# %% [markdown]
# ## 7. From two halves to pixels
#
# The last line before the decoder. The head draws in units of $s$; the code is a unit vector:
#
# $$z_i = \frac{e_{k_i}}{\lVert e_{k_i} \rVert} + s \, \hat r_i$$
#
# In words: look up the code, make it one long, multiply the drawn residual by the scale that was divided out before training, and add. *Not* put back on the sphere: the decoder was trained on the plain sum.
#
# | symbol | meaning | shape | code |
# |---|---|---|---|
# | $k_i$ | drawn ids | (b, h, w) | `indices` |
# | $e$ | codebook, rows of any length | (K, c) | `codes` |
# | $\hat r$ | drawn residuals in units of $s$ | (b, c, h, w) | `residual` |
# | $s$ | residual scale | number | `scale` |
# | $z$ | what the decoder reads | (b, c, h, w) | `latent` |

# %% [markdown] tags=["exercise-text"]
# ### Exercise 10.4 - What the decoder reads
# difficulty: 2/5 · importance: 5/5 · 8 min · needs: 04.1
#
# Write `decoder_latent(indices, residual, codes, scale)` with the shapes above. The codes do *not* have length 1. With `scale = 0` the result is the discrete path.
#
# Used in `dcar_edu.tokenizer.hybrid.HybridTokenizer.decode`.
#
# <details><summary>Hint 1</summary>
#
# `F.normalize(codes, dim=1)` first, then look up. Channels come out last.
# </details>
# <details><summary>Hint 2</summary>
#
# `codes[indices]` has shape (b, h, w, c). `.permute(0, 3, 1, 2)` moves the channels to axis 1; `reshape` would mix places and channels.
# </details>
# <details><summary>Hint 3</summary>
#
# `F.normalize(codes, dim=1)[indices].permute(0, 3, 1, 2) + scale * residual`
# </details>
# <details><summary>Expected</summary>
#
# With a scale of 0, the same as `model.tokenizer.decode(indices)` reads: unit vectors.
# </details>

# %% tags=["exercise"]
def decoder_latent(indices, residual, codes, scale):
    """Unit code plus residual in latent units, (b, c, h, w)."""
    # BEGIN SOLUTION
    quantized = F.normalize(codes, dim=1)[indices].permute(0, 3, 1, 2)
    return quantized + scale * residual
    # END SOLUTION


# %% tags=["check", "nbval-ignore-output"]
decoder_latent = check("10.4", decoder_latent)

# %% [markdown]
# And this is DC-AR. Words in, pixels out, and every line of it was built in this course. (Our small head has no variance half; an empty one is put beside its answer, so that `guided_noise` finds two.)

# %%
@torch.no_grad()
def text_to_picture(prompts, seed, guidance=4.5, residual_steps=20, clip=1.0):
    """Pictures (b, 3, H, W) of prompts: twelve steps, one diffusion, one decoder."""
    net, tokenizer = model.generator, model.tokenizer
    words = model.text_encoder(prompts)
    with_words = net.read_text(words.states.to(L.device), words.mask)
    without = net.read_text(None, words.mask)
    sources = seeds(seed, len(prompts))  # one source of chance for each picture
    latest = {}

    def predict(indices, step):
        cond, uncond = (net.predict(indices.to(L.device), memory) for memory in (with_words, without))
        latest["hidden"] = cond.hidden.flatten(0, 1), uncond.hidden.flatten(0, 1)
        return guide(cond.logits, uncond.logits, guidance)

    h, w = net.config.grid
    for step in sample_tokens(predict, (len(prompts), h, w), 1024, num_steps=12, generator=sources):
        indices = step.indices.to(L.device)

    def guess(x, t):
        answers = (head(x, t, hidden) for hidden in latest["hidden"])  # the last step's
        cond, uncond = (torch.cat([noise, torch.zeros_like(noise)], dim=-1) for noise in answers)
        return guided_noise(cond, uncond, guidance).chunk(2, dim=-1)[0], None

    shape = (residual_steps + 1, h * w, 32)
    noise = torch.stack([torch.randn(shape, generator=source) for source in sources], dim=1)
    noise = noise.flatten(1, 2).to(L.device)
    drawn = sample(guess, noise, Schedule.respaced(residual_steps), clip=clip)
    residual = drawn.reshape(len(prompts), h, w, 32).permute(0, 3, 1, 2)
    latent = decoder_latent(indices, residual, tokenizer.quantizer.codes, scale)
    return tokenizer.decode_latents(latent)


# %% tags=["nbval-ignore-output"]
yours = text_to_picture(captions[:2], SEED)
library = [images.from_pil(picture) for picture in model.generate(captions[:2], seed=SEED)]
gap = (images.to_pixels(yours.cpu()).int() - images.to_pixels(torch.stack(library)).int()).abs().max().item()
print(f"largest difference to model.generate: {gap} of 255")

# %% [markdown]
# The same pictures, but for rounding. From here on it is fair to say that you know how `model.generate` works.

# %% [markdown]
# ## 8. Experiment: hybrid against discrete only
#
# The paper's Table 4 compares its model with and without residuals. The two differ in nothing but the head, so we can do the same with the shipped model: draw all 560 learnt concepts, then decode the same ids in four ways.
#
# - **discrete**: ids alone (`residual_steps=0`).
# - **hybrid**: with the head's residuals, 20 steps, guidance 4.5, clip 1, as the paper draws.
# - **hybrid, unguided**: the same without guidance for the residuals; the ids are still guided.
# - **true residuals**: where the drawn id is the right one, the tokenizer's own residual. No head can do better: the *ceiling*.

# %% [markdown] tags=["predict"]
# **What do you expect?** Four numbers for each arm: PSNR to the true picture, KID (lower is better), how often the picture's own name ranks first among 560 (R@1), and seconds. Which arm wins? Does *hybrid* beat *discrete*, as in the paper? How far is it from the ceiling? What does guidance do to residuals? And how much longer does a hybrid picture take?
#
# <details><summary>Answer</summary>
#
# The ceiling can be foreseen: true residuals must come closer to the truth, in PSNR at least. Everything else is open, and the paper's answer is no proof for us. Its head was trained for 250,000 steps on millions of pictures, and its codes leave larger residuals behind (0.107 against 0.086). Remember section 4: what our head knows about a residual is what lies below the dotted line, no more. A residual that is drawn wrongly is not neutral. It adds an error of its own.
# </details>

# %% tags=["nbval-check-output"]
print("the paper's Table 4 (arXiv:2507.04947)")
print(f"{'':14s}{'rFID':>6s}{'gFID':>6s}{'GenEval':>9s}{'pictures/s':>12s}")
for name, row in {"discrete": (5.13, 6.71, 0.66, 11.4), "hybrid": (1.60, 5.50, 0.69, 10.3)}.items():
    print(f"{name:14s}{row[0]:6.2f}{row[1]:6.2f}{row[2]:9.2f}{row[3]:12.1f}")
print(f"time for the residuals: {1 - 10.3 / 11.4:.1%} of a hybrid picture")

# %% tags=["nbval-ignore-output", "experiment"]
here = study.draw(model, [examples[place].caption for place in some], 1000 + SEED)
ids, rest = study.encode(model, originals[some])
right = here.indices == ids
head_rest = study.draw_residuals(model, here.hidden, SEED)
unguided = study.draw_residuals(model, here.hidden, SEED, guidance=0.0)
arms = {
    "discrete": None,
    "hybrid": head_rest,
    "hybrid, unguided": unguided,
    "true residuals": rest * right[:, None],
}
print(f"your run: {len(some)} prompts, one seed; ids right: {right.float().mean():.1%}")
close = {}
for name, extra in arms.items():
    close[name] = psnr(study.decode(model, here.indices, extra), originals[some]).mean().item()
    print(f"  {name:18s}{close[name]:6.2f} dB")
L.report(psnr_discrete=close["discrete"], psnr_hybrid=close["hybrid"])

# %%
found = {name: {} for name in arms}  # arm -> seed -> metrics
for line in results("10_hybrid"):
    if line["budget"] == "cpu":
        found[line["arm"]][line["seed"]] = line["metrics"]
seeds_run = sorted(set.intersection(*(set(by_seed) for by_seed in found.values())))
columns = {"psnr": 2, "kid_efficientnet": 1, "r1": 3, "r5": 3, "seconds": 3}
if not seeds_run:
    print("no results yet: run dcar experiment 10_hybrid --budget cpu --seed 0 (and 1, 2)")
else:
    print(f"560 prompts, {len(seeds_run)} seeds; mean ± spread over seeds")
    print(f"{'':18s}" + "".join(f"{name.replace('_efficientnet', ''):>15s}" for name in columns))
    for name, by_seed in found.items():
        cells = []
        for column, digits in columns.items():
            values = [by_seed[seed][column] for seed in seeds_run]
            middle, wide = statistics.mean(values), statistics.stdev(values)
            cells.append(f"{middle:.{digits}f} ±{wide:.{digits}f}")
        print(f"{name:18s}" + "".join(f"{cell:>15s}" for cell in cells))


# %%
def against(one, other, metric):
    """Verdict on an arm against another: paired seeds; KID: lower is better."""
    sign = -1 if metric.startswith(("kid", "seconds")) else 1
    pair = [[sign * found[arm][seed][metric] for seed in seeds_run] for arm in (one, other)]
    return verdict(*pair, t=SURE[len(seeds_run)])


if len(seeds_run) in SURE:
    pairs = [("hybrid", "discrete"), ("hybrid, unguided", "discrete")]
    pairs += [("hybrid, unguided", "hybrid"), ("true residuals", "discrete")]
    for one, other in pairs:
        words = [f"{m.split('_')[0]}: {against(one, other, m)}" for m in list(columns)[:4]]
        print(f"{one} against {other}: " + "; ".join(words))
    shares = [run["seconds_head"] / run["seconds"] for run in found["hybrid"].values()]
    print(f"time for the residuals: {statistics.mean(shares):.1%} of a hybrid picture")

# %%
figure, axes = figures.panels(1, 3, height=2.8)
labels_short = ["discrete", "hybrid", "hybrid\nunguided", "true\nresiduals"]
titles = ("PSNR, dB (up: better)", "KID x 1000 (down: better)", "R@1 of 560 (up: better)")
for axis, metric, title in zip(axes[0], ("psnr", "kid_efficientnet", "r1"), titles):
    for seed, mark in zip(seeds_run, "os^Dv"):
        line = [found[arm][seed][metric] for arm in found]
        axis.plot(line, mark + ":", markersize=5, linewidth=0.8, label=f"seed {seed}")
    axis.set_xticks(range(4), labels_short, fontsize=7)
    axis.set(title=title, xlim=(-0.4, 3.4))
if seeds_run:
    axes[0, 0].legend(fontsize=7)
figures.show(
    figure,
    alt="Three dot plots over the four arms, dots of one seed joined: PSNR, KID and R@1. Hybrid lies "
    "above discrete in PSNR and R@1 with every seed; unguided residuals are no better than none; "
    "true residuals are best throughout.",
)

# %% [markdown]
# **What to notice.** *What agrees.* Hybrid beats discrete with every seed: 0.10 dB closer to the truth, verdict "better", and named right in 48.3 % instead of 47.2 % of the drawings. R@1, R@5 and KID all point the same way, but of these three seeds cannot tell. And the price is nearly the paper's: 10.6 % of the time, there 9.6 %.
#
# *What does not agree* is the size. The paper's gFID falls by a fifth; our KID by one part in a hundred. The last row says why: *true* residuals, the ceiling, lower it by a sixth, so our head finds little of what there is to find. And the ceiling is low: one id in ten is wrong at this guidance, and four by four tokens leave much unsaid. Residuals cannot mend either.
#
# *How far is the head from the ceiling?* It takes a seventh of the way in PSNR, and a sixth of it in R@1. Without guidance it takes none: PSNR and KID become *worse* than without residuals.
#
# *A head that knows too little does harm.* The first head of this model was trained together with the transformer, for 2,000 steps, as you did in section 5. With it, and with an earlier decoder, R@1 **fell** from 29.3 % to 23.6 % (one seed); hybrid was worse than discrete. The transformer stayed as it was; the head alone was trained for 28,000 more steps, and the sign turned. "Hybrid is better" is no law. It holds when the head is good enough, and only a measurement tells.
#
# All prompts here are prompts that were learnt. This table says nothing about new ones.

# %% [markdown]
# ## 9. The failure gallery
#
# Now break it on purpose. First: *which half is to blame?* Cross the two kinds of ids with three kinds of residuals.

# %%
def shows(indices, extra):
    """PSNR of many pictures, how blocky they are, and the pictures."""
    made = study.decode(model, indices, extra)
    cell = model.tokenizer.config.downsample
    return psnr(made, originals[some]).mean().item(), study.blockiness(made, cell), made


kinds = {"none": None, "drawn by the head": head_rest, "the true ones": rest}
print(f"PSNR in dB, {len(some)} pictures{'':6s}" + "".join(f"{kind:>20s}" for kind in kinds))
for name, indices in {"drawn ids": here.indices, "true ids": ids}.items():
    cells = [f"{shows(indices, extra)[0]:20.2f}" for extra in kinds.values()]
    print(f"{name:28s}" + "".join(cells))

# %% [markdown]
# Second: *is it the direction or the size?* Multiply residuals by a number, from 0 (off) to 2 (twice as strong).

# %%
strengths = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0)
half = slice(0, max(2, len(some) // 2))
lines = {}
for name, extra in {"drawn": head_rest, "unguided": unguided, "true": rest * right[:, None]}.items():
    made = [study.decode(model, here.indices[half], k * extra[half]) for k in strengths]
    lines[name] = [psnr(pictures, originals[some][half]).mean().item() for pictures in made]
figure, ((axis,),) = figures.panels(width=6, height=3)
for (name, line), mark in zip(lines.items(), ("o-", "^:", "s--")):
    axis.plot(strengths, line, mark, label=f"{name} residuals")
axis.set(xlabel="residuals multiplied by", ylabel="PSNR in dB")
axis.legend()
figures.show(
    figure,
    alt="PSNR against the factor that residuals are multiplied by. True residuals lift it most, near "
    "full strength. Drawn ones lift it less and peak earlier. At twice their strength all are worse "
    "than none.",
)

# %% [markdown]
# Third: *blocky on purpose.* Most of these cases are mistakes that are easily made. Beside PSNR stands **blockiness**: how much larger a jump of colour is across the border of a token's square than inside it.

# %% tags=["nbval-ignore-output"]
order = torch.stack([torch.randperm(16, generator=L.generator(n)) for n in range(len(some))])
moved = torch.stack(
    [one.flatten(1)[:, o].reshape(one.shape) for one, o in zip(head_rest, order.to(L.device))]
)
cases = {
    "head off": None,
    "hybrid": head_rest,
    "shuffled\nplaces": moved,
    "hidden of\nstep 1": study.draw_residuals(model, here.first, SEED),
    "one more\npass": study.draw_residuals(model, here.finished, SEED),
    "scale\nforgotten x5": 5 * head_rest,
    "clip 3": study.draw_residuals(model, here.hidden, SEED, clip=3.0),
    "no clip": study.draw_residuals(model, here.hidden, SEED, clip=None),
}
gallery = {name: shows(here.indices, extra) for name, extra in cases.items()}
plain = study.blockiness(originals[some], model.tokenizer.config.downsample)
print(f"{'':22s}PSNR     blockiness (the originals: {plain:.2f})")
for name, (close, blocky, _) in gallery.items():
    print(f"{name.replace(chr(10), ' '):20s}{close:6.2f} dB{blocky:10.2f}")

# %%
cells = [made[place] for place in shown[:2] if place < len(some) for _, _, made in gallery.values()]
figures.show(
    figures.image_grid(cells, list(gallery), columns=len(gallery), tile=0.75),
    alt="Two emoji in eight versions: head off, hybrid, residuals shuffled between places, hidden "
    "states of step 1, one more pass, residuals five times too large, clip 3, no clip. The last "
    "one is noise, and five times too large is blotched beyond recognition; the others look alike.",
)

# %% [markdown]
# **What to notice.** *Ids first.* In the small table, go down a column, then along a row: right ids are worth more than two decibels, right residuals less than one. *Size.* True residuals lift PSNR most, drawn ones less, and those are best at half to three quarters of their strength: where a guess is right only in part, a part of it is better than all of it. *Places.* Shuffled residuals cost nearly a decibel: so what the head draws does belong to its token. *Clip.* At time 999 an error in the guessed noise is multiplied by 20,291 (lesson 09); without a clip that goes straight into the picture.
#
# *Hidden states of step 1*, when no token was known, cost nothing at all, and one more pass gains nothing. So is the last pass not important? Not for this model: its prompts are known by heart, and the words alone tell it all about the picture. A model that draws something new must look at its own tokens.
#
# *Blocky?* The paper gives blocky pictures as the sign of wrong residuals. We tried, and **could not make them so**: blockiness is about 1.7 in every row, head off or five times too strong. The originals have 1.3, so squares are there, but they come from ids and decoder. With four by four tokens of 32 pixels, wrong residuals show as wrong shades, then as blotches, then as noise. Know both signs, and do the same first step: switch the head off (`residual_steps=0`). If the picture gets better, it was the residuals.

# %% [markdown]
# ## 10. Where does the time go?
#
# Twelve steps with guidance are 24 passes through the transformer. The head runs 20 steps, twice each, through a tiny network. We stop the time of each part, for one picture alone and for sixteen together.

# %%
def parts_of_time(prompts):
    """Seconds of each part for one batch of prompts, the best of a few runs."""
    best = {}
    for _ in range(L.budget.repeats):
        ticks = [study.clock()]  # on a CPU: the processor's own seconds
        model.text_encoder(prompts)
        ticks.append(study.clock())
        drawing = study.draw(model, prompts, SEED)
        ticks.append(study.clock())
        extra = study.draw_residuals(model, drawing.hidden, SEED)
        ticks.append(study.clock())
        study.decode(model, drawing.indices, extra)
        ticks.append(study.clock())
        text, _, head_time, decoder = (b - a for a, b in zip(ticks, ticks[1:]))
        spent = {"words": text, "12 steps": drawing.seconds - text, "head": head_time}
        for name, seconds in {**spent, "decoder": decoder}.items():
            best[name] = min(seconds, best.get(name, math.inf))
    return best


# %% tags=["nbval-ignore-output"]
sixteen = [examples[place].caption for place in some[:16]]
spent = {"1 picture": parts_of_time(sixteen[:1]), f"{len(sixteen)} pictures": parts_of_time(sixteen)}
figure, ((axis,),) = figures.panels(width=8, height=2)
for row, seconds in enumerate(spent.values()):
    left, whole = 0.0, sum(seconds.values())
    for part, colour in zip(seconds, ("#999999", "C0", "C1", "C2")):
        share = seconds[part] / whole
        axis.barh(row, share, left=left, color=colour, edgecolor="white")
        if share > 0.04:
            words = f"{part}\n{share:.0%}"
            axis.text(left + share / 2, row, words, ha="center", va="center", fontsize=8)
        left += share
axis.set_yticks(range(2), [f"{n}\n{1000 * sum(s.values()):.0f} ms" for n, s in spent.items()])
axis.set(xlim=(0, 1), xlabel="share of the time")
axis.grid(False)
figures.show(
    figure,
    alt="Two bars, one picture and sixteen together, divided into words, twelve steps, head and "
    "decoder. The twelve steps take the largest part by far.",
)

# %% [markdown]
# **What to notice.** The twelve steps cost most, and the head little, although it runs 20 steps: it is narrow, and works on all tokens at once. Here it takes an eighth of the time; in the larger batches of section 8, and in the paper, a tenth. A processor pays for each of the 40 calls of the head, however little is in them. Lesson 12 takes this apart.

# %% [markdown]
# ## Quiz

# %% tags=["quiz", "nbval-ignore-output"]
course.quiz("10")

# %% [markdown] tags=["recap"]
# ## What you take with you
#
# 1. The **residual head** sees one token at a time: its noisy residual, a time, and the hidden state of the last pass. adaLN-Zero lets the condition turn the knobs, from nothing on.
# 2. **Two losses, one sum.** The token loss begins at ln K. The diffusion loss begins at 1, and means something only below one half.
# 3. Text to picture: twelve guided passes, one guided diffusion, `code + scale x residual`, one decoder. You have written it.
# 4. A residual is worth as much as the head *knows*. Drawn wrongly it is worse than none: measure hybrid against discrete before you believe in it.
# 5. Ids, size, clip, hidden states: each can be wrong without any error being raised. Switch the head off first.
#
# **New terms:** residual head, adaLN, residual scale, gFID, GenEval. `course.glossary()` explains them.
#
# **You now know** `DCAR.generate` from end to end, `ResidualHead`, `train_generator` and `dcar experiment 10_hybrid`.
#
# **To read on:** [MAR](https://arxiv.org/abs/2406.11838), where the small diffusion head comes from; [DiT](https://arxiv.org/abs/2212.09748), where adaLN-Zero comes from; [HART](https://arxiv.org/abs/2410.10812), which added residuals to tokens before DC-AR did.
#
# **Next:** lesson 11 puts the same model on a larger grid.

# %% tags=["nbval-ignore-output"]
#@title Download my answers (on Colab)
import sys

if "google.colab" in sys.modules:
    L.save_answers()

# %% tags=["finish", "nbval-ignore-output"]
L.finish(wolf=hybrid[0].cpu())
