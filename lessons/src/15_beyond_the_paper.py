# %% [markdown] tags=["header"]
# ---
# title: Beyond the paper
# builds: a multi-scale quantizer, a next-scale generator; reads a comparison of f16, f32 and f64
# figures: 8
# wait: 5
# wait_gpu: 4
# gpu: true
# memory: 2 GB
# needs: 04, 08, 10
# writes: your progress file
# ---

# %% [markdown] tags=["map"]
# The paper ends with open questions. Lesson 14 answered one. Here are two more: could a picture be drawn **scale by scale** in place of token by token, and could the tokens be **twice as large again**? We build the first and read the second. This lesson is optional, and its answers are small: one encoder, a few dozen emoji, three seeds.

# %% [markdown] tags=["objectives"]
# **When you are done you can**
#
# - write latents as codes of several scales, coarsest first;
# - say which token may look at which when whole scales are drawn at once;
# - train a next-scale generator that shares its blocks, words and residual head with the masked one;
# - compare two ways of drawing at equal parameters and equal compute, and say "cannot tell" where that is the answer;
# - work out what f64 keeps equal and what it does not.
#
# **You need** lessons 04, 08 and 10: residuals, the twelve steps, both together.
#
# **Short of time?** Sections 1, 2, 3 and 5.

# %% tags=["setup"]
#@title Setup (run first)
# SETUP

# %% tags=["parameters"]
import os

BUDGET = os.environ.get("DCAR_BUDGET", "cpu")
SEED = 0

# %% tags=["start", "nbval-ignore-output"]
import torch

from dcar_edu import DCAR, course
from dcar_edu.course import check, figures, same_as_library
from dcar_edu.course.experiments import results
from dcar_edu.course.lessons import reading_15 as reading
from dcar_edu.course.lessons import scales_15 as arms
from dcar_edu.course.studies import study_15 as study
from dcar_edu.course.studies import study_15_f64 as f64
from dcar_edu.generator import scales
from dcar_edu.tokenizer.multiscale import pool, spread

L = course.start("15", BUDGET, SEED)

# %% tags=["map", "nbval-ignore-output"]
course.course_map("15")

# %% [markdown]
# ## 1. One picture, said three times
#
# A painter starts with the large areas and ends with the eyelashes. VAR (arXiv:2404.02905) draws like this: first *one* token for the whole picture, then 2 x 2 tokens that mend it, then 4 x 4, up to the full grid. All tokens of a scale are drawn at once.
#
# Below, real emoji go through the encoder of the shipped model `emoji-128`, and their latents are written in this way. Columns: after 1 token, after 5, after all 21, and with what is left over added. The codes come from k-means on the latents of the pictures that this lesson uses, which takes a few seconds.

# %% tags=["nbval-ignore-output"]
model = DCAR.from_pretrained("emoji-128").to(L.device)
plan = study.lesson_plan(L.budget)
world = arms.make_world(plan, model)
arm = {name: study.prepare(name, SEED, world, plan, model.tokenizer.decoder) for name in study.SCALES}
print(f"{len(world.images)} pictures, {plan.codes} codes in each codebook")

# %%
rows = world.learnt[:: len(arms.GROUNDS)][:4]
latents = world.latents[rows.to(L.device)]
found = arm["next-scale"].quantizer(latents)
steps = [*found.sums, latents]
drawn = [arms.decode(arm["next-scale"].decoder, step) for step in steps]
tiles = [picture for row in zip(*drawn, world.images[rows]) for picture in row]
titles = ["1 token", "1 + 4", "1 + 4 + 16", "and the\nleftover", "original"]
figures.show(
    figures.image_grid(tiles, titles, columns=5, tile=1.0),
    alt="Four emoji, a row each. After one token a shapeless stain, after five a stain with a "
    "few of the right colours, after 21 tokens a soft emoji that can be recognised, with the "
    "leftover nearly the decoder's best, and last the original.",
)

# %% [markdown]
# **What to notice.** The picture does not sharpen evenly. One token and five tokens give stains; nearly everything comes with the last sixteen. Section 2 puts a number on that.

# %% [markdown]
# ## 2. What is left, and what is left of that
#
# The tokenizer of lesson 04 writes latents as codes plus a residual. A multi-scale quantizer does that again and again, on grids that get finer:
#
# $$r_0 = z, \qquad i_k = \text{nearest code of}\; \text{pool}_k(r_{k-1}), \qquad r_k = r_{k-1} - \text{spread}(e_{i_k})$$
#
# In words, for each scale: take what is left; average it over a coarse grid; round every average to its nearest code; spread the codes over the full grid; subtract *the codes*. What the last scale leaves, $r_T$, is the continuous residual, and the residual head of lesson 10 can draw it as before.
#
# | symbol | meaning | shape | code |
# |---|---|---|---|
# | $z$ | latents | (b, c, side, side) | `z` |
# | $k$ | which scale, 1 to $T$; it is drawn in step $k$ | number | |
# | $e$ | codebook, one for all scales | (K, c) | `codes` |
# | $i_k$ | ids of scale $k$ | (b, size, size) | `ids` |
# | $r_k$ | what the scales 1 to $k$ leave | (b, c, side, side) | `rest` |
#
# Two functions are given: `pool(x, size)` gives means over a grid of `size` x `size`, and `spread(x, side)` enlarges a small grid to `side` x `side`.

# %% [markdown] tags=["exercise-text"]
# ### Exercise 15.1 - Scale after scale
# difficulty: 4/5 · importance: 5/5 · 12 min · needs: none
#
# Write `multi_scale(z, codes, sizes)`. `z` is (b, c, side, side), `codes` is (K, c), `sizes` lists tokens a side, coarsest first; the last one is `side`. Give back two things: a list with the ids of every size, int64 (b, size, size), and what is left at the end (b, c, side, side).
#
# Used in `dcar_edu.tokenizer.multiscale.MultiScaleQuantizer.forward`.
#
# <details><summary>Hint 1</summary>
#
# Keep one tensor `rest` that starts as `z`. Every turn of the loop looks at `rest`, never at `z` again.
# </details>
# <details><summary>Hint 2</summary>
#
# Nearest code: `(vectors[:, None] - codes[None, :, :, None, None]).square().sum(2)` has a distance for every code in axis 1. Take the smallest with `argmin(1)`.
# </details>
# <details><summary>Hint 3</summary>
#
# `codes[ids]` is (b, size, size, c); `.permute(0, 3, 1, 2)` brings the channels forward. Then `rest = rest - spread(those, z.shape[-1])`.
# </details>
# <details><summary>Expected</summary>
#
# With `sizes=(4,)` and a 4 x 4 grid it is the plain quantizer of lesson 03.
# </details>


# %% tags=["exercise"]
def multi_scale(z, codes, sizes):
    """Ids of every size, coarsest first, and what they leave of z."""
    # BEGIN SOLUTION
    ids, rest = [], z
    for size in sizes:
        vectors = pool(rest, size)
        distances = (vectors[:, None] - codes[None, :, :, None, None]).square().sum(2)
        ids.append(distances.argmin(1))
        rest = rest - spread(codes[ids[-1]].permute(0, 3, 1, 2), z.shape[-1])
    return ids, rest
    # END SOLUTION


# %% tags=["check", "nbval-ignore-output"]
multi_scale = check("15.1", multi_scale)

# %% tags=["nbval-ignore-output"]
quantizer = arm["next-scale"].quantizer
ids, left = multi_scale(latents, quantizer.codes, (1, 2, 4))
print("the library's ids:", all(torch.equal(a, b) for a, b in zip(ids, found.ids)))
print("codes and leftover make up the latents:", torch.allclose(found.sums[-1] + left, latents, atol=1e-5))

# %% [markdown]
# Now the question that matters: how much does each scale say? Below, the share of the latents' squared length that is still missing after each scale, on pictures whose concepts the codes were *not* made from. The other arm spends all its tokens on one grid of 4 x 4, with as many codes.

# %%
unseen = world.latents[world.judged.to(L.device)]
shares, colours = {}, {"next-scale": "C0", "masked": "C1"}
for name, one in arm.items():
    sums = one.quantizer(unseen).sums
    shares[name] = [1.0, *(arms.missing(unseen, said) for said in sums)]
figure, axes = figures.panels(1, 1, width=4.6, height=2.8)
for (name, line), mark in zip(shares.items(), ("o-", "s--")):
    tokens = [0, *torch.tensor([size**2 for size in study.SCALES[name]]).cumsum(0).tolist()]
    label = " + ".join(f"{size}x{size}" for size in study.SCALES[name])
    axes[0, 0].plot(tokens, line, mark, color=colours[name], label=label)
    print(f"{label:16s} still missing: " + ", ".join(f"{v:.2f}" for v in line[1:]))
axes[0, 0].set(xlabel="tokens", ylabel="share still missing", ylim=(0, 1.05), xticks=(0, 1, 5, 16, 21))
axes[0, 0].legend()
figures.show(
    figure,
    alt="Share of the latents still missing against tokens. One grid comes down from 1 "
    "to 0.3 with its 16 tokens. Three scales come to 0.8 with the first token, to two thirds with "
    "the next four, and to nearly the same 0.3 only with the last sixteen, at 21 tokens.",
)

# %% [markdown]
# **What to notice.** The five coarse tokens hardly pay. They say a third, yet the last grid ends where one grid alone ends: 21 tokens are hardly better than 16. That is no law of nature. *This encoder was never asked to make its 4 x 4 latents alike*: neighbouring cells of 32 pixels have little in common, so their mean says little. VAR trains encoder and scales together, on finer grids. We keep the encoder as it is, because that was the paper's question: VAR over *these* tokens.

# %% [markdown]
# ## 3. Who may look at whom
#
# The generator of lesson 07 sees some tokens and guesses the hidden ones. A next-scale generator guesses **all tokens of one scale from all coarser scales**:
#
# $$p(i_1, \dots, i_T \mid y) = \prod_{k=1}^{T} p(i_k \mid i_1, \dots, i_{k-1}, y)$$
#
# | symbol | meaning | shape | code |
# |---|---|---|---|
# | $i_k$ | ids of scale $k$ | (b, size, size) | `ids` |
# | $T$ | scales, and steps of the sampler | number | |
# | $y$ | text states | (b, S, D) | `text` |
#
# There is nothing to hide. Every token is *told* something instead: the sum of the coarser scales at its place, $z - r_{k-1}$, pooled to the size of its own scale. The one token of the first scale is told 0, the sum of nothing. So one pass can train all scales at once, each from the *right* coarser ones (teacher forcing), as long as no token looks at a finer scale, where its own answer would stand.

# %% [markdown] tags=["exercise-text"]
# ### Exercise 15.2 - A mask of scales
# difficulty: 2/5 · importance: 5/5 · 8 min · needs: none
#
# Write `scale_mask(sizes)`. A size s has s x s tokens; all tokens stand in one row, coarsest scale first. Give back a bool tensor (n, n): True where the token of the row may look at the token of the column. A token looks at all coarser scales and at all of its own.
#
# Used in `dcar_edu.generator.scales.scale_mask`.
#
# <details><summary>Hint 1</summary>
#
# First the number of every token's scale: for sizes 1 and 2 it is 0, 1, 1, 1, 1.
# </details>
# <details><summary>Hint 2</summary>
#
# Compare that list with itself, one as a column, one as a row: `scale[:, None]` and `scale[None]`.
# </details>
# <details><summary>Hint 3</summary>
#
# `scale = torch.tensor([k for k, size in enumerate(sizes) for _ in range(size * size)])`, then `scale[:, None] >= scale[None]`.
# </details>
# <details><summary>Expected</summary>
#
# Blocks as steps of a staircase: the first row has one True, the last rows have no False.
# </details>


# %% tags=["exercise"]
def scale_mask(sizes):
    """True where a token (row) may look at another (column)."""
    # BEGIN SOLUTION
    scale = torch.tensor([k for k, size in enumerate(sizes) for _ in range(size * size)])
    return scale[:, None] >= scale[None]
    # END SOLUTION


# %% tags=["check", "nbval-ignore-output"]
scale_mask = check("15.2", scale_mask)

# %% tags=["nbval-check-output"]
for sizes in ((1, 2, 4), (1, 2, 4, 8)):
    mask = scale_mask(sizes)
    print(f"sizes {sizes}: {len(mask)} tokens, {int(mask.sum()):,} of {mask.numel():,} pairs")

# %%
figure, axes = figures.panels(1, 2, width=6, height=2.9)
for axis, sizes in zip(axes[0], ((1, 2, 4), (1, 2, 4, 8))):
    mask = scale_mask(sizes)
    axis.imshow(~mask, cmap="gray", vmin=-0.6, vmax=1)
    ends = torch.tensor([0, *(size**2 for size in sizes)]).cumsum(0)
    for end in ends[1:-1]:
        axis.axhline(end - 0.5, color="C1", linewidth=0.8)
        axis.axvline(end - 0.5, color="C1", linewidth=0.8, linestyle="--")
    axis.set(title=f"{len(mask)} tokens", xlabel="is looked at", ylabel="looks")
    axis.grid(False)
figures.show(
    figure,
    alt="Two masks, grey where a token may look and white where it may not, for 21 and for 85 tokens. "
    "Both are stairs of blocks: the coarsest token sees itself alone, the finest scale sees all.",
)

# %% [markdown]
# The rest of the generator is lesson 10's. `NextScaleGenerator` and `MaskedGenerator` share their class for words, blocks, token head and residual head. What the new one adds fits into a few lines:

# %% tags=["nbval-ignore-output"]
tokens = arms.new_batch("next-scale", arm["next-scale"].quantizer(latents), arms.TextStates(
    world.words.states[: len(latents)], world.words.mask[: len(latents)]
))  # fmt: skip
generator = study.start(arm["next-scale"], world, plan, SEED)
told = scales.scale_inputs(found.sums, (1, 2, 4))  # what every token is told, (b, 21, c)
with torch.no_grad():
    out = generator(told, tokens.text, tokens.text_mask)
    loss = torch.nn.functional.cross_entropy(out.logits.flatten(0, 1).cpu(), tokens.ids.flatten().cpu())
print("told", tuple(told.shape), "-> logits", tuple(out.logits.shape))
print(f"loss before training {loss:.4f}; ln K = {torch.tensor(plan.codes).log():.4f}")
peek = told.clone()
peek[:, 5:] += 1  # the finest scale is told something else
with torch.no_grad():
    change = (generator(peek, tokens.text, tokens.text_mask).hidden - out.hidden).abs().amax((0, 2))
print("tokens that notice:", (change > 1e-6).nonzero().flatten().tolist())

# %% tags=["nbval-ignore-output"]
same_as_library(scale_mask, scales.scale_mask, lambda: ((1, 2, 4),))

# %% [markdown]
# ## 4. Both arms, live
#
# Two small generators learn the same few prompts: one draws scale by scale, the other hides and guesses as in lesson 07. For a fair race everything is equal that can be:
#
# | | next-scale | masked |
# |---|---|---|
# | encoder | `emoji-128`, frozen | the same |
# | codes | k-means on its latents, scales 1, 2, 4 | the same k-means, scale 4 |
# | decoder | a copy of `emoji-128`'s, a few steps to get used to the codes | the same steps |
# | parameters | MLPs a little wider, in place of a table of ids | within 0.1 % |
# | training | the same optimizer; **as many FLOPs**, counted | the same |
# | a step of training | all 21 tokens are targets | hidden ones of 16, on average 64 % |
#
# The *error* below is the squared distance of the drawn codes from the true latents, over the squared latents: it means the same in both arms, unlike the share of right ids.

# %% tags=["nbval-ignore-output"]
trained, curves = {}, {}
for name, one in arm.items():
    network = study.start(one, world, plan, SEED)
    count = sum(p.numel() for p in network.parameters())
    steps, tflop = arms.equal_steps(name, plan, world.words, latents.shape[1])
    print(f"{name}: {count:,} parameters, {steps} steps, {tflop:.2f} TFLOP")
    curves[name] = [(0.0, 1.0)]
    for spent, error, _ in study.curve(one, network, world, plan, SEED):
        curves[name].append((spent, error))
    trained[name] = network
    truth = world.latents[world.learnt.to(L.device)]
    best = arms.missing(truth, one.quantizer(truth).quantized)
    print(f"  error {curves[name][-1][1]:.3f}; with every id right {best:.3f}")

# %%
few = arms.TextStates(world.words.states[::2][:4].to(L.device), world.words.mask[::2][:4])
lines = []
for name, one in arm.items():
    drawing = study.draw(trained[name], one.quantizer, few, SEED)
    shown = drawing.sums if name == "next-scale" else [drawing.sums[k] for k in (3, 7, -1)]
    shown = [*shown, drawing.sums[-1] + drawing.residuals]
    lines.append([arms.decode(one.decoder, what) for what in shown])
count = min(len(lines[0][0]), 3)
tiles = [p[n] for n in range(count) for line in lines for p in line]
titles = [*("scale 1", "scale 2", "scale 3", "residuals"), *("step 4", "step 8", "step 12", "residuals")]
figures.show(
    figures.image_grid(tiles, titles, columns=8, tile=0.8),
    alt="Three learnt prompts drawn by both arms. Left four columns, next-scale: a pale stain after "
    "one token and after five, the emoji after 21, hardly changed by residuals. Right four columns, "
    "masked: dark patches after four steps, parts of the emoji after eight, all of it after twelve.",
)

# %% [markdown]
# **What to notice.** The two arms go different ways to the same place. On the left the whole picture is there from the first token on, and wrong everywhere; on the right it grows cell by cell, and the decoder makes up what is still hidden. Next-scale has three steps because it has three scales. Masked drawing has as many as we like. So before we call it slow, let it draw the same prompts in fewer:

# %% tags=["nbval-ignore-output"]
truth = world.latents[world.learnt.to(L.device)]
for name, counts in (("next-scale", (3,)), ("masked", (12, 6, 3, 1))):
    for count in counts:
        drawing = study.draw(
            trained[name], arm[name].quantizer, world.words, SEED, residual_steps=0, num_steps=count
        )
        error = arms.missing(truth, drawing.sums[-1])
        print(f"{name:10s} {count:2d} steps, {drawing.passes:2d} passes: error {error:.3f}")

# %% [markdown]
# **What to notice.** Masked drawing is as good in *one* step as in twelve. These prompts are known by heart: the words alone decide every token, nothing has to be settled between tokens, and so any order of drawing will do. Steps begin to matter when a prompt allows several pictures (lesson 08). Keep this for the next section: twelve steps against three is a choice of ours. At three steps each, both arms take six passes.

# %% [markdown]
# ## 5. Experiment: next-scale against masked
#
# The same race, larger: 40 concepts on two grounds (80 prompts), three seeds, each with its own codes, decoder and generator. `dcar experiment 15_next_scale` ran it outside this notebook.

# %% [markdown] tags=["predict"]
# **What do you expect?** Three passes in place of twelve, 21 tokens in place of 16, every token a target in every step. Which arm will be closer to the true pictures after equal compute? And how much faster will one picture be?
#
# <details><summary>After you have guessed</summary>
#
# At the end both are as good as their codes allow: 80 prompts can be learnt by heart. On the way masked drawing was ahead in all three seeds, by a margin that three seeds cannot confirm. And the transformer takes a third of the time in three steps of what it takes in twelve. Remember section 4, though, before you call that a victory.
# </details>

# %% tags=["experiment"]
runs = reading.sort(results("15_next_scale"))
seeds = list(runs["masked"])
if len(seeds) > 1:
    print(f"{len(seeds)} seeds, mean +- standard deviation; seconds of one core")
    print("\n".join(reading.table(runs)))
else:
    print("no results yet: run dcar experiment 15_next_scale --budget cpu --seed 0 (and 1, 2)")

# %%
figure, axes = figures.panels(1, 2, width=7, height=2.9)
for name, style in zip(runs, ("-", "--")):
    for seed in seeds:
        metrics, label = runs[name][seed], name if seed == seeds[0] else None
        points = reading.points(metrics)
        axes[0, 0].plot(*zip(*points), style, color=colours[name], linewidth=1.2, label=label)
        cost, quality = metrics["seconds_steps"], metrics["psnr_hybrid"]
        mark = "o" if name == "next-scale" else "s"
        axes[0, 1].plot(1000 * cost, quality, mark, color=colours[name], label=label)
axes[0, 0].set(xlabel="training, TFLOP", ylabel="error of drawn latents", ylim=(0, 1.3))
axes[0, 1].set(xlabel="transformer, ms a picture", ylabel="drawings, dB", xlim=(0, None))
for axis in axes[0]:
    axis.legend(fontsize=7)
figures.show(
    figure,
    alt="Left, error of drawn latents against training compute, a line for every run: the masked ones fall faster, and all end at about 0.19. Right, quality of drawings against milliseconds of the transformer: next-scale near 30 ms, masked at 80 to 120 ms, within a quarter of a decibel of each other.",
)

# %% [markdown]
# **What to notice.** *Quality.* Both arms end with 99.9 % of their tokens right, or all. So the drawings are as good as their codes. Next-scale's 21 tokens are a little closer to the latents than 16 (0.184 against 0.190 missing; all seeds agree). In decibels of pictures three seeds cannot tell, neither for codes alone nor with drawn residuals, which add about a decibel in both arms; nor in drawings named right, 0.47 in both, where real pictures, rebuilt, come to 0.54 and 0.56.
#
# *Compute.* To an error of 0.3, masked drawing needs 0.80, 0.81 and 0.87 TFLOP, next-scale 1.12, 0.98 and 0.99. Always the same order, and still "cannot tell": the gaps are 0.32, 0.17 and 0.13, and three such numbers leave room for none. A step of next-scale costs a fifth more, for its 21 tokens. We had expected it to need fewer steps, because each of them trains on *all* tokens. It did not: what its tokens are told, the coarse sums, says little here (section 2).
#
# *Time.* A quarter of the passes, a sixth of the operations (the first scales are small), three tenths of the seconds; for a whole picture, with head and decoder, six tenths. Against masked drawing in three steps (section 4) there would be no gain in passes, and in operations only what the small scales save.
#
# **Our answer to open question 1:** next-scale drawing works on the tokens of a DC-AR encoder, with the same residual head. At this scale it gives as good pictures, and buys no speed that fewer masked steps do not buy too. Whether it would draw *new* pictures better, this cannot tell: here is nothing but prompts known by heart, one 4 x 4 grid, and an encoder that was made for single-scale codes. VAR has its many scales on finer grids, and deep compression takes just these away.
# %% [markdown]
# ## 6. Twice as large again: f64
#
# The other question: would the three stages of lesson 04 also work at f64, where a token stands for 64 x 64 pixels? First: what should stay equal? A picture of 256 px is 8 x 8 = 64 latents of 32 numbers at f32, 2,048 numbers in all. At f64 there are 4 x 4 = 16 places.

# %% [markdown] tags=["exercise-text"]
# ### Exercise 15.3 - Channels for a factor
# difficulty: 1/5 · importance: 3/5 · 4 min · needs: none
#
# Write `channels_for(f)`: how many channels must a latent have at factor `f`, so that a picture has as many latent *numbers* as at f32 with 32 channels? A whole number, for f = 8, 16, 32, 64, ..
#
# Used in `dcar_edu.course.studies.study_15_f64.config_of`.
#
# <details><summary>Hint 1</summary>
#
# From f32 to f64 a side has half as many places. And the grid?
# </details>
# <details><summary>Hint 2</summary>
#
# A quarter of the places, so four times the channels.
# </details>
# <details><summary>Hint 3</summary>
#
# 32 · (f / 32)², and as a whole number `f * f // 32`.
# </details>
# <details><summary>Expected</summary>
#
# More at a larger f.
# </details>


# %% tags=["exercise"]
def channels_for(f):
    """Channels that keep the number of latent values of f32 with 32 channels."""
    # BEGIN SOLUTION
    return f * f // 32
    # END SOLUTION


# %% tags=["check", "nbval-ignore-output"]
channels_for = check("15.3", channels_for)

# %% tags=["nbval-check-output"]
print("256 x 256 px   tokens  channels  numbers  bits of ids (256 codes)")
for f in (16, 32, 64):
    places = (256 // f) ** 2
    print(f"f{f:<13d}{places:6d}{channels_for(f):10d}{places * channels_for(f):9,d}{8 * places:8d}")

# %% [markdown]
# The *numbers* are equal, so the continuous path has the same room at every f. The *ids* are not: a code names a place, and with a quarter of the places a picture has a quarter of the bits. What the codes lose, the residual must carry. That is the hybrid tokenizer's bet, at its hardest.
#
# A network at f64 trained from nothing would need far more compute than we have: after 380 steps a narrow one, at f32, was no better than a mean picture. So all arms **begin with the shipped f32 tokenizer**, and its 32 numbers a place are only grouped anew: four places make one of 128 numbers at f64, and a place falls into four of 8 numbers at f16. That is the shortcut of lesson 02, without a weight. Start, network, parameters, FLOPs and numbers a picture are equal. (The committed runs of this lesson began with `emoji-128` as it was before its decoder's last steps; yours begin with today's.) Then every arm gets new codes and goes through all three stages of lesson 04, 120 steps in all. One run is yours:

# %% tags=["nbval-ignore-output"]
setting = f64.SETTINGS[L.budget.name]
for step, stage, average in f64.train("f64", SEED, setting, L.device):
    tokenizer = average
    if step % max(1, setting.steps // 6) == 0:
        print(f"f64, step {step} of {setting.steps}, {stage}")
mine = f64.judge(tokenizer, setting)
L.report(psnr_f64_hybrid=mine["psnr_hybrid"], psnr_f64_discrete=mine["psnr_discrete"])

# %%
runs = f64.by_arm(results("15_f64"))
done = list(runs["f64"])
wanted = {"tokens": 0, "values": 0, "bits": 0, "cosine": 3, "psnr_hybrid": 2, "psnr_discrete": 2,
          "perceptual_hybrid": 3, "perceptual_discrete": 3}  # fmt: skip
print(f"{len(done)} seeds, mean +- standard deviation, 128 px, held-out concepts")
print(f"{'':22s}" + "".join(f"{arm:>17s}" for arm in runs))
for key, digits in wanted.items() if done else ():
    cells = [f"{mean:,.{digits}f}" + (f" +- {spread:.{digits}f}" if digits else "")
             for mean, spread in f64.mean_spread(runs, key).values()]  # fmt: skip
    print(f"{key:22s}" + "".join(f"{cell:>17s}" for cell in cells))
for other in ("f32", "f16") if len(done) > 1 else ():
    for key in ("psnr_hybrid", "psnr_discrete", "perceptual_hybrid"):
        gap, said = f64.compare(runs, "f64", other, key)
        print(f"f64 against {other}, {key}: {gap:+.2f}, {said}")

# %%
originals = f64.unseen(f64.SETTINGS["cpu"])[: f64.SHOWN]
sheets = {arm: f64.stored(arm) for arm in f64.ARMS}
tiles = [*originals, *(picture for path in (0, 1) for sheet in sheets.values() for picture in sheet[path])]
names = ["original", *(f"{arm}, {path}" for path in ("hybrid", "codes") for arm in sheets)]
figures.show(
    figures.image_grid(tiles, columns=f64.SHOWN, row_titles=names, tile=0.85),
    alt="Four held-out emoji, and below them what f16, f32 and f64 give back. With residuals all three look alike, softer than the originals. From codes alone f16 keeps eyes and outlines, f32 loses some, and f64 gives stains in the right colours.",
)

# %% [markdown]
# **What to notice.** *Codes alone* lose 1.4 dB from f16 to f32 and 1.8 dB more to f64: four codes are asked to say what sixteen said. *With residuals* the losses are 0.4 and 0.6 dB, a third of that. So the hybrid bet holds in part: the residual does carry what the codes lose. All three seeds agree, and so does the perceptual distance.
#
# Look at the last three rows: at f64 the codes give a cat without a face, and the rows above give it back. But that is the *true* residual. A residual head would have to draw it, 128 numbers a token, and lesson 10 has shown how weakly it draws 32.
#
# **Our answer to open question 2:** the three stages run at f64 and end well; at equal numbers, network, start and steps f64 is worse than f32, which is worse than f16. This cannot tell what f64 costs in earnest: the network was *made* for f32 and had 120 steps to get used to f64 (before them the hybrid path stood at 20.0 dB at f32 and f64, so the steps have not yet paid back what learning to round cost). What f64 promises, a quarter of the tokens for the generator, was not measured here.

# %% [markdown]
# ## Quiz

# %% tags=["quiz", "nbval-ignore-output"]
course.quiz("15")

# %% [markdown] tags=["recap"]
# ## What you take with you
#
# 1. A **multi-scale quantizer** says a picture in grids, coarsest first; each grid rounds what the coarser ones left, and the last leftover is a residual as before.
# 2. A **next-scale generator** draws a grid in one pass, from all coarser ones. Its mask is a staircase of blocks.
# 3. Only quantizer, input, mask and sampler change; blocks, words, guidance and residual head do not.
# 4. Equal parameters, equal FLOPs, several seeds: then a difference means something. **"Cannot tell" is a result.**
# 5. At equal numbers, a larger f has **fewer ids**: the residual carries more.
#
# **New terms:** scale, multi-scale quantizer, next-scale prediction, block-causal mask, teacher forcing. `course.glossary()` explains them.
#
# **You now know** `dcar_edu.tokenizer.multiscale` and `dcar_edu.generator.next_scale`.
#
# **To read on:** [VAR](https://arxiv.org/abs/2404.02905); [HART](https://arxiv.org/abs/2410.10812), which draws scales *and* continuous residuals.
#
# **Next:** lesson 16, a model of your own.

# %% tags=["nbval-ignore-output"]
#@title Download my answers (on Colab)
import sys

if "google.colab" in sys.modules:
    L.save_answers()

# %% tags=["finish", "nbval-ignore-output"]
L.finish()
