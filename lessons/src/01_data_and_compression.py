# %% [markdown] tags=["header"]
# ---
# title: Data and compression
# builds: the tools to know your data, to measure a reconstruction, and to count what a token costs
# figures: 10
# wait: 1
# wait_gpu: 2
# gpu: false
# memory: 2 GB
# needs: 00
# writes: your progress file and one tile of the wolf strip
# ---

# %% [markdown] tags=["map"]
# Before a model can draw, it must see pictures, and somebody must decide how few numbers a picture may become. This lesson stands at the left edge of the training side: the data goes in, and we ask what "32 times smaller" costs and what it buys.

# %% [markdown] tags=["objectives"]
# **When you are done you can**
#
# - say what is in the data set, and put an emoji with soft edges on any background;
# - measure with one number how close two pictures are, and say where this number is blind;
# - count tokens, bits and values at f8, f16 and f32;
# - say which part of a transformer grows with the square of the tokens, and how much that is in all;
# - split data so that nothing leaks from training into the test.
#
# **You need** lesson 00.
#
# **Short of time?** Do sections 1, 4, 5 and 7. Nothing is trained in this lesson.

# %% tags=["setup"]
#@title Setup (run first)
# SETUP

# %% tags=["parameters"]
import os

BUDGET = os.environ.get("DCAR_BUDGET", "cpu")
SEED = 0

# %% tags=["start", "nbval-ignore-output"]
import hashlib
import math
import time

import torch
import torch.nn.functional as F

from dcar_edu import DCAR, CaptionedEmoji, course, images
from dcar_edu.course import check, figures
from dcar_edu.data.captions import BACKGROUNDS, STYLES
from dcar_edu.data.splits import ROLE

L = course.start("01", BUDGET, SEED)

# %% tags=["map", "nbval-ignore-output"]
course.course_map("01")

# %% [markdown]
# ## 1. Sixteen places for a wolf
#
# The wolf below has 128 x 128 pixels. At f32 it must go through a grid of 4 x 4 places. We try it in two ways:
#
# - **shrink** it to 4 x 4 pixels and enlarge it again: each place keeps one colour, three numbers;
# - let the **tokenizer** of lesson 00 write 4 x 4 tokens and read them again: each place keeps one of 1,024 codes.

# %%
tokenizer = DCAR.from_pretrained("emoji-128").tokenizer.to(L.device)

emoji = CaptionedEmoji("train", 128, styles=["3d"], concepts=["wolf"])
wolf = emoji.render([emoji.example("wolf", "3d", "pale blue")])
shrunk = images.resize(images.resize(wolf, (4, 4)), (128, 128))

with torch.no_grad():
    encoded = tokenizer.encode(wolf.to(L.device))
    from_tokens = tokenizer.decode(encoded.indices).cpu()
    from_both = tokenizer.decode(encoded.indices, encoded.residuals).cpu()

# %%
figures.show(
    figures.image_grid(
        torch.cat([wolf, shrunk, from_tokens, from_both]),
        titles=["original", "4 x 4 pixels", "4 x 4 tokens", "+ residuals"],
        tile=1.0,
    ),
    alt="Four pictures of the wolf. The original is sharp. From 4 x 4 pixels only a grey cloud on "
    "pale blue is left. From 4 x 4 tokens a blurred grey head with ears and a dark nose; with "
    "residuals its outline is cleaner. The eyes are only spots in both.",
)

# %% tags=["nbval-check-output"]
print("tokens", tuple(encoded.indices.shape), "- one of", tokenizer.config.num_codes, "codes each")
print("pixels hold", 4 * 4 * 3 * 8, "bits, tokens hold", 4 * 4 * 10, "bits")

# %% [markdown]
# **What to notice.** Both ways keep 16 places, and the tokens use fewer bits. Still a head with ears comes back from the tokens: the tokenizer has *learnt* what emoji look like, so it need not write down everything. The eyes are only spots: this one is small. And it has seen this very wolf in training; section 5 shows pictures that it has never seen. The last picture uses more than bits for codes: a residual is 32 numbers for each place. This is the whole idea of deep compression, and lessons 02 to 05 build it.
#
# To build it we need three things first: data, a measure, and a reason to go as far as f32.

# %% [markdown]
# ## 2. Pictures with captions
#
# The data set has nearly 1,400 **concepts** ("wolf", "red apple"). Each was drawn by up to four teams, in four **styles**. Every tile is put on one of twelve background colours, in normal size or small, and the caption says so:
#
# > a small Noto emoji of an owl on an orange background
#
# So every word of a caption can be seen in its picture. That is rare: captions from the internet leave out most of what is there. It is also a limit: our model will know nothing that is not an emoji.

# %%
data = CaptionedEmoji("train", 128, concepts=["wolf", "frog", "mushroom", "rocket"])
sheet = [
    data.example(concept.label, style, background)
    for concept, background in zip(data.concepts, ("pale blue", "orange", "pink", "black"))
    for style in STYLES
]

# %%
figures.show(
    figures.image_grid(
        data.render(sheet),
        titles=list(STYLES),
        row_titles=[concept.label for concept in data.concepts],
        tile=0.75,
    ),
    alt="Four rows of pictures, one a concept, in four columns, one a style. The same thing looks "
    "round and shaded in 3d, plain in flat, detailed in noto, soft and simple in blob.",
)
for example in sheet[::5]:
    print(example.caption)

# %% tags=["nbval-check-output"]
for split in ("train", "held_out_concepts", "held_out_styles", "held_out_colours"):
    found = CaptionedEmoji(split, 128).examples()
    concepts, tiles = {e.hexcode for e in found}, {(e.style, e.hexcode) for e in found}
    print(f"{split:18s} {len(concepts):5,} concepts {len(tiles):6,} tiles {len(found):8,} pictures")

# %% [markdown]
# **What to notice.** A few thousand tiles become more than a hundred thousand different pictures with true captions, because colour and size are added on the fly. The art is free to use (MIT and Apache-2.0); `data/README.md` says where it comes from and what it lacks.
#
# Three of the four splits are never trained on. Section 8 says why there are three.

# %% [markdown]
# ## 3. Alpha: putting a tile on a background
#
# A tile has a fourth channel, **alpha**: how much of each pixel the emoji covers. 255 means all of it, 0 nothing; at the edge it is something between. The picture is a mixture:
#
# $$x = a \, p + (1 - a) \, g$$
#
# In words: where the emoji covers a quarter of a pixel, a quarter of its colour comes from the emoji and three quarters from the ground.
#
# | symbol | meaning | shape | code |
# |---|---|---|---|
# | $p$ | colours of the emoji in bytes | (3, H, W), uint8 | `rgba[:3]` |
# | $a$ | alpha as a share from 0 to 1: the byte divided by 255 | (1, H, W), float | `alpha` |
# | $g$ | colour of the ground in bytes | (3,), uint8 | `colour` |
# | $x$ | the mixture; at the end it goes to [-1, 1] as in lesson 00 | (3, H, W), float | `mixed` |

# %% [markdown] tags=["exercise-text"]
# ### Exercise 01.1 - A tile on a background
# difficulty: 2/5 · importance: 3/5 · 6 min · needs: 00.2
#
# Write `compose(rgba, colour)`. `rgba` is a uint8 tensor (4, H, W): red, green, blue, alpha. `colour` is a uint8 tensor (3,). Give back the picture on that ground as a float tensor (3, H, W) in [-1, 1].
#
# Used in `dcar_edu.data.emoji.compose`, for every picture that the models see.
#
# <details><summary>Hint 1</summary>
#
# Bytes times bytes do not fit into a byte. Make floats first. Then: what must come out where alpha is 0, and where it is 255?
# </details>
# <details><summary>Hint 2</summary>
#
# `colour` has shape (3,), the picture (3, H, W). `colour[:, None, None]` has shape (3, 1, 1) and is spread over all pixels.
# </details>
# <details><summary>Hint 3</summary>
#
# `alpha = rgba[3:].float() / 255`, `mixed = alpha * rgba[:3] + (1 - alpha) * colour[:, None, None]`, and at the end `mixed / 127.5 - 1`.
# </details>
# <details><summary>Expected</summary>
#
# The figure below shows, on the left, a wolf with a soft edge on purple. Where alpha is 0 the picture has exactly the ground's colour.
# </details>

# %% tags=["exercise"]
def compose(rgba, colour):
    """Put a tile (4, H, W) in bytes on a plain colour (3,); image (3, H, W) in [-1, 1]."""
    # BEGIN SOLUTION
    alpha = rgba[3:].float() / 255
    mixed = alpha * rgba[:3].float() + (1 - alpha) * colour.float()[:, None, None]
    return mixed / 127.5 - 1
    # END SOLUTION


# %% tags=["check", "nbval-ignore-output"]
compose = check("01.1", compose)

# %% [markdown]
# What happens when alpha is treated carelessly? Two common ways: cut at half (every pixel is emoji or ground), and put the tile on white first, then paste it.

# %%
tile, purple = emoji.tiles()[0], torch.tensor(BACKGROUNDS["purple"], dtype=torch.uint8)
white = torch.full((3,), 255, dtype=torch.uint8)

good = compose(tile, purple)
cut = tile.clone()
cut[3] = (tile[3] > 127) * 255
on_white = torch.cat([images.to_pixels(compose(tile, white)).permute(2, 0, 1), tile[3:]])
on_white[3] = (tile[3] > 0) * 255
ways = [good, compose(cut, purple), compose(on_white, purple)]
zoomed = [F.interpolate(way[None, :, 8:40, 8:40], scale_factor=4)[0] for way in ways]

# %%
figures.show(
    figures.image_grid(ways + zoomed, ["soft alpha", "cut at half", "via white"], 3, tile=1.2),
    alt="Three wolves on purple, and below them one ear of each, enlarged. Soft alpha: a smooth "
    "edge. Cut at half: stairs. Via white: a light line around the ear, the halo.",
)

# %% tags=["nbval-check-output"]
quarter = torch.tensor([200, 100, 0, 64], dtype=torch.uint8)[:, None, None]
print([f"{value:.3f}" for value in compose(quarter, purple).flatten()])

# %% [markdown]
# **What to notice.** The halo is one pixel wide, and a model learns it all the same: it sees it a hundred thousand times. Errors in data do not raise exceptions. They come out as strange pictures, weeks later. So look at your data, enlarged.

# %% [markdown]
# ## 4. How close are two pictures?
#
# Take the difference in every value, square it, average: the **mean squared error**. It is small for good pictures and hard to read, so one takes its logarithm and turns it round. The result is the **peak signal-to-noise ratio** in decibel:
#
# $$\text{PSNR} = 10 \log_{10} \frac{R^2}{\text{MSE}}, \qquad \text{MSE} = \frac{1}{3HW} \sum (x - \hat{x})^2$$
#
# In words: how many times larger the whole range is than the typical error. Higher is closer. 6 dB more means half the error.
#
# | symbol | meaning | shape | code |
# |---|---|---|---|
# | $x$, $\hat{x}$ | two batches of pictures in [-1, 1] | (batch, 3, H, W), float | `a`, `b` |
# | $R$ | range from the smallest to the largest value | number, here 2 | `2` |
# | MSE | mean squared error of one picture | (batch,), float | `error` |

# %% [markdown] tags=["exercise-text"]
# ### Exercise 01.2 - PSNR
# difficulty: 2/5 · importance: 5/5 · 7 min · needs: none
#
# Write `psnr(a, b)`. Both are float tensors (batch, 3, H, W) in [-1, 1]. Give back one number a picture: a float tensor (batch,).
#
# Lessons 02 to 05 report this number. Used in `dcar_edu.metrics.psnr`.
#
# <details><summary>Hint 1</summary>
#
# Which axes must disappear, and which one must stay? `mean` can average over several axes at once.
# </details>
# <details><summary>Hint 2</summary>
#
# Values go from -1 to 1. How far is it from the one end to the other? That number is squared in the formula.
# </details>
# <details><summary>Hint 3</summary>
#
# `error = (a - b).pow(2).mean(dim=(1, 2, 3))`, then `10 * torch.log10(4 / error)`.
# </details>
# <details><summary>Expected</summary>
#
# A constant error of 0.1 gives 26.02 dB, one of 0.3 gives 16.48 dB.
# </details>

# %% tags=["exercise"]
def psnr(a, b):
    """Peak signal-to-noise ratio in dB of each picture of a batch in [-1, 1]."""
    # BEGIN SOLUTION
    error = (a - b).pow(2).mean(dim=(1, 2, 3))
    return 10 * torch.log10(4 / error)
    # END SOLUTION


# %% tags=["check", "nbval-ignore-output"]
psnr = check("01.2", psnr)

# %% tags=["nbval-check-output"]
flat = torch.zeros(2, 3, 4, 6)
error = torch.tensor([0.1, 0.3])[:, None, None, None]
print("errors 0.1 and 0.3:", [f"{value:.2f} dB" for value in psnr(flat, flat + error)])

# %% [markdown]
# Now the same wolf, damaged in three ways. Before you read the numbers, put the three in an order: which one looks worst to you?

# %%
blurred = images.resize(images.resize(wolf, (24, 24)), (128, 128))
moved = torch.roll(wolf, shifts=2, dims=-1)
darker = (wolf - 0.35).clamp(-1, 1)
damaged = torch.cat([blurred, moved, darker])
values = psnr(damaged, wolf.expand_as(damaged))

# %%
names = ("original", "blurred", "moved by 2 pixels", "darker")
titles = [names[0]] + [f"{n}\n{v:.1f} dB" for n, v in zip(names[1:], values)]
figures.show(
    figures.image_grid([*wolf, *damaged], titles=titles, tile=1.0),
    alt="Four wolves: the original, one blurred, one moved by two pixels, one darker. The blurred "
    "one looks worst and has the highest PSNR of the three.",
)

# %% [markdown]
# **What to notice.** Each place is compared only with the same place. A sharp edge that moved is wrong twice; a blurred edge is half wrong. So PSNR prefers blur, and a model that is trained on squared errors alone draws blurred pictures. Lesson 05 adds measures that see texture. Until then we use PSNR *and our eyes*.

# %% [markdown]
# ## 5. Experiment: 8, 16, 32 times smaller
#
# We shrink pictures by a factor $f$ in height and width, enlarge them again, and measure. No network is involved: this is what is lost when each place keeps only its mean colour. Beside it stands the tokenizer, which has the same 4 x 4 places as shrinking by 32.

# %% [markdown] tags=["predict"]
# **What do you expect?** From f8 to f16 each picture loses three quarters of its values, and again from f16 to f32. How many dB does each step cost? And where will the tokenizer come out: near f32, near f16, or near f8?
#
# <details><summary>Answer</summary>
#
# Each step costs 2 to 3 dB. It is not much in numbers, but you will see a great difference. The tokenizer has as many places as f32. Its tokens come out near f16, which has four times as many places, and with residuals (32 numbers a place) a little above. It can do that because it has learnt what emoji look like.
# </details>

# %%
unseen = CaptionedEmoji("held_out_concepts", 128, concepts=L.budget.pictures // 5)
pictures = unseen.batch(L.budget.pictures, generator=L.generator()).images
ladder = {}
for f in (8, 16, 32):
    small = images.resize(pictures, (128 // f, 128 // f))
    ladder[f"shrink by {f}"] = images.resize(small, (128, 128))
with torch.no_grad():
    encoded = [tokenizer.encode(part.to(L.device)) for part in pictures.split(16)]
    ladder["tokens"] = torch.cat([tokenizer.decode(e.indices) for e in encoded]).cpu()
    both = [tokenizer.decode(e.indices, e.residuals) for e in encoded]
    ladder["tokens + residuals"] = torch.cat(both).cpu()
results = {name: psnr(made, pictures) for name, made in ladder.items()}
L.report(**{name.replace(" ", "_").replace("_+_", "_"): v.mean() for name, v in results.items()})

# %%
rows = [made[[0, 2, 3]] for made in (pictures, *ladder.values())]
figures.show(
    figures.image_grid(torch.cat(rows), row_titles=["original", *ladder], columns=3, tile=0.7),
    alt="Three pictures in six rows. Original; shrunk by 8: soft; by 16: coarse; by 32: only patches "
    "of colour. Tokens: clearer outlines but wrong colours, the brown case turns red, the melon "
    "orange. Tokens and residuals: the melon is red again, details are still lost.",
)

# %%
figure, ((axis,),) = figures.panels(height=2.6)
for place, (name, values) in enumerate(results.items()):
    low, middle, high = values.quantile(torch.tensor([0.1, 0.5, 0.9])).tolist()
    colour, marker = ("C0", "o") if name.startswith("shrink") else ("C1", "s")
    axis.plot([low, high], [place, place], color=colour, linewidth=2)
    axis.plot(middle, place, marker, color=colour, markersize=9)
    axis.annotate(f"{middle:.1f}", (middle, place - 0.25), ha="center", fontsize=9)
axis.set(yticks=range(len(results)), yticklabels=results, xlabel="PSNR in dB", ylim=(4.6, -0.8))
figures.show(
    figure,
    alt="A ladder of PSNR values with the middle picture and the spread from one tenth to nine "
    "tenths. Shrinking falls from 8 to 16 to 32; tokens and tokens with residuals stand apart.",
)

# %% [markdown]
# **What to notice.** The bars are long: some pictures lose far more than others. One mean hides that, so always show a spread.
#
# Compare the rows "shrink by 16" and "tokens". Their PSNR is nearly equal, their faults are not: shrinking keeps colours and loses outlines, the tokens keep outlines and lose colours. The residuals bring the red of the melon back. One number cannot tell you which fault you have.
#
# These are concepts that the tokenizer has *never seen*. It was trained on other emoji. The same shrinking, measured on 512 pictures with three seeds, lies in [results/01_compression.jsonl](../lessons/results/01_compression.jsonl); `dcar experiment 01_compression --arm f16 --seed 3` adds a line of your own.

# %% [markdown]
# ## 6. Counting tokens and bits
#
# $$N = \frac{H}{f} \cdot \frac{W}{f} \qquad \text{bits} = N \log_2 K$$
#
# In words: the number of tokens falls with the *square* of $f$. Each token is one of $K$ codes, and a choice out of $K$ needs $\log_2 K$ bits.
#
# | symbol | meaning | shape | code |
# |---|---|---|---|
# | $N$ | tokens of a picture | number | `tokens` |
# | $H$, $W$, $f$ | height, width, compression factor | number | `side`, `f` |
# | $K$ | codes in the codebook; the paper has 16,384 | number | `num_codes` |

# %%
large = CaptionedEmoji("train", 256, styles=["3d"], concepts=["wolf"])
picture = images.to_pil(large.render([large.example("wolf", "3d", "pale blue")])[0])

figure, axes = figures.panels(1, 3, width=5.4, height=2)
for axis, f in zip(axes[0], (8, 16, 32)):
    axis.imshow(picture)
    axis.set(xticks=[], yticks=[], title=f"f{f}: {(256 // f) ** 2} tokens")
    axis.grid(False)
    for line in range(0, 257, f):
        axis.axhline(line - 0.5, color="black", linewidth=0.5)
        axis.axvline(line - 0.5, color="black", linewidth=0.5)
figures.show(
    figure,
    alt="The wolf at 256 pixels three times, with a grid over it. f8: 32 x 32 small cells; f16: 16 x "
    "16; f32: 8 x 8 large cells, where two cells hold the whole nose.",
)

# %% tags=["nbval-check-output"]
for side in (256, 512):
    counts = {f"f{f}": (side // f) ** 2 for f in (8, 16, 32)}
    print(side, "pixels:", counts, "tokens")
bits = 64 * int(math.log2(16384))
print(f"64 tokens of 14 bits = {bits} bits, {256 * 256 * 3 * 8 / bits:,.0f} times fewer than the pixels")
print(f"values in an 8 x 8 x 32 latent: {256 * 256 * 3 // (8 * 8 * 32)} times fewer than the pixels")

# %% [markdown]
# **What to notice.** Look at the nose at f32: two cells share it. One code out of 16,384 must say "half of a dark round nose, its shine, and the fur around it". This is why f32 needs a good tokenizer, and why the paper adds the residual. And this is why nobody used f32 for tokens before.
#
# So why go there at all?

# %% [markdown]
# ## 7. What a token costs
#
# The generator is a transformer of equal blocks. For $n$ tokens of width $d$ a block does two kinds of work:
#
# $$\underbrace{4 n^2 d}_{\text{attention}} \qquad \underbrace{24\, n\, d^2}_{\text{linear layers}}$$
#
# In words: attention compares every token with every token, and then adds up values with these weights: $n^2 d$ multiply-adds each, and a multiply-add is two FLOPs. The linear layers treat one token after the other: four of size $d \times d$ for attention, and an MLP as large as eight of them; 12 $d^2$ multiply-adds a token.
#
# | symbol | meaning | shape | code |
# |---|---|---|---|
# | $n$ | tokens | number | `tokens` |
# | $d$ | width: numbers that stand for one token inside the transformer; the paper has 1,152 | number | `width` |

# %% [markdown] tags=["exercise-text"]
# ### Exercise 01.3 - The share of attention
# difficulty: 2/5 · importance: 4/5 · 7 min · needs: none
#
# Write `attention_share(tokens, width)`: the FLOPs of attention divided by the FLOPs of the whole block, attention *and* linear layers. Two whole numbers in, one float between 0 and 1 out.
#
# It counts the work of the block that is Used in `dcar_edu.generator.transformer`.
#
# <details><summary>Hint 1</summary>
#
# A share is a part divided by the *whole*. The whole is the sum of both terms above.
# </details>
# <details><summary>Hint 2</summary>
#
# Put in numbers: for 2 tokens of width 1, attention takes 16 FLOPs and the linear layers 48. The share is 16 / 64.
# </details>
# <details><summary>Hint 3</summary>
#
# `attention = 4 * tokens**2 * width`, then `attention / (attention + 24 * tokens * width**2)`.
# </details>
# <details><summary>Expected</summary>
#
# At width 1,152: 0.009 for 64 tokens, 0.036 for 256, 0.372 for 4,096.
# </details>

# %% tags=["exercise"]
def attention_share(tokens, width):
    """FLOPs of attention divided by the FLOPs of its transformer block."""
    # BEGIN SOLUTION
    attention = 4 * tokens**2 * width
    return attention / (attention + 24 * tokens * width**2)
    # END SOLUTION


# %% tags=["check", "nbval-ignore-output"]
attention_share = check("01.3", attention_share)

# %% [markdown] tags=["predict"]
# **What do you expect?** At 512 pixels, f8 gives 4,096 tokens and f32 gives 256: sixteen times fewer. Attention alone becomes 16² = 256 times cheaper. How many times cheaper is one pass through the *whole* generator?
#
# <details><summary>Answer</summary>
#
# About 23 times. At 256 tokens attention is less than 4 % of a block; the linear layers, which are only 16 times cheaper, do nearly all the work. If you have heard "256 times": that is attention only.
# </details>

# %%
def pass_flops(tokens, width=1152, depth=28, words=300, codes=16384):
    """FLOPs of one pass: blocks with cross-attention to the words, and the output layer."""
    block = 4 * tokens**2 * width + 24 * tokens * width**2
    to_words = 4 * tokens * width**2 + 4 * tokens * words * width
    return depth * (block + to_words) + 2 * tokens * width * codes


# %% tags=["nbval-check-output"]
for tokens in (64, 256, 4096):
    print(f"share of attention at width 1152, {tokens:4d} tokens: {attention_share(tokens, 1152):.3f}")
print("512 pixels, f8 against f32: attention pairs", 4096**2 // 256**2, "times")
print(f"512 pixels, f8 against f32: one whole pass {pass_flops(4096) / pass_flops(256):.1f} times")

# %% [markdown]
# FLOPs are counted, not measured. Does a real machine agree? We time both kinds of work on this computer's processor, at a small width so that it takes seconds.

# %% tags=["nbval-ignore-output"]
def milliseconds(work, repeats):
    """The fastest of several runs, after one that does not count."""
    work()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(1000 * (time.perf_counter() - start))
    return min(times)


width, weight = 128, torch.randn(12 * 128, 128)
lengths = [n for n in (64, 128, 256, 512, 1024, 2048, 4096) if n <= L.budget.most_tokens]
timed = {"attention": [], "linear layers": [], "whole block": []}
for n in lengths:
    x = torch.randn(1, 2, n, width // 2)
    attention = milliseconds(lambda: F.scaled_dot_product_attention(x, x, x), L.budget.repeats)
    rows = torch.randn(n, width)
    linear = milliseconds(lambda: F.linear(rows, weight), L.budget.repeats)
    for name, value in zip(timed, (attention, linear, attention + linear)):
        timed[name].append(value)

# %% tags=["nbval-ignore-output"]
figure, ((left, right),) = figures.panels(1, 2, height=3.2)
for (name, values), mark in zip(timed.items(), ("o--", "s:", "^-")):
    left.plot(lengths, values, mark, label=name)
left.set(title=f"measured here, width {width}", ylabel="milliseconds")
counts = [64, 128, 256, 512, 1024, 2048, 4096]
attention = [4 * n**2 * 1152 / 1e9 for n in counts]
linear = [24 * n * 1152**2 / 1e9 for n in counts]
both = [a + b for a, b in zip(attention, linear)]
for values, name, mark in zip((attention, linear, both), timed, ("o--", "s:", "^-")):
    right.plot(counts, values, mark, label=name)
right.set(title="counted, width 1152 (the paper)", ylabel="GFLOPs a block")
for axis in (left, right):
    axis.set(xscale="log", yscale="log", xlabel="tokens")
    axis.set_xticks([64, 256, 1024, 4096], ["64", "256", "1,024", "4,096"])
    axis.set_xticks([], minor=True)
    axis.legend()
figures.show(
    figure,
    alt="Two panels with logarithmic axes. Left, measured milliseconds, right, counted FLOPs, both "
    "against the number of tokens. Attention rises twice as steeply as the linear layers; at the "
    "paper's width it stays below them up to 4,096 tokens.",
)

# %% [markdown]
# **What to notice.** On logarithmic axes $n$ is a straight line, $n^2$ a line twice as steep. Where the two lines cross, attention begins to rule: at $n = 6d$ by counting. The small width on the left crosses early; the paper's width does so only at 6,912 tokens. So at f32 the cost of a pass is nearly proportional to the tokens, and the tokens fall with $f^2$.
#
# That is the bargain of this paper: make the tokenizer work harder *once*, and every one of the 24 passes of every drawing gets cheaper.

# %% [markdown]
# ## 8. What may the model see?
#
# A test is honest only if the model has not seen it. For single pictures that is easy. Here it is not: the wolf exists in four styles, on twelve colours, in two sizes. If the 3D wolf is in the training set and the flat wolf in the test, the model has half seen the answer. This is called a **leak**.
#
# So we split by *concept*, and the place of a concept must never change: not with the order of a list, not when concepts are added, not from one computer to the next. A **hash** does this. It turns a text into a number that looks random and is always the same:
#
# $$v = \frac{\text{first 12 hex digits of } \text{sha256}(\text{salt} : \text{concept})}{16^{12}} \qquad \text{held out if } v < 0.075$$
#
# In words: hash the salt, a colon and the concept; read the first twelve digits as a number between 0 and 1; the lowest 7.5 % are never trained on. The **salt** is a fixed word that says for what the number is used.
#
# | symbol | meaning | shape | code |
# |---|---|---|---|
# | $v$ | place of the concept, like a lottery ticket | number in [0, 1) | `place` |
# | salt | fixed text, here `role 70330` | text | `salt` |
# | concept | code points of the emoji, wolf = `1f43a` | text | `concept` |

# %% [markdown] tags=["exercise-text"]
# ### Exercise 01.4 - A split that cannot leak
# difficulty: 2/5 · importance: 3/5 · 5 min · needs: none
#
# Write `split_of(concepts, salt)`. `concepts` is a list of texts, `salt` a text. Give back a dict: for each concept True if it may be trained on, False if it is held out, by the formula above. `hashlib.sha256(text.encode()).hexdigest()` gives the hash as hex digits.
#
# Used in `dcar_edu.data.splits.concept_role`, with the same salt: your split is the library's split.
#
# <details><summary>Hint 1</summary>
#
# Python has a function `hash`, but its answer for texts changes each time Python starts. `hashlib` gives the same answer everywhere.
# </details>
# <details><summary>Hint 2</summary>
#
# The text to hash is `f"{salt}:{concept}"`. `int("ff", 16)` reads hex digits as a number.
# </details>
# <details><summary>Hint 3</summary>
#
# `place = int(digest[:12], 16) / 16**12`, and the concept may be trained on if `place >= 0.075`.
# </details>
# <details><summary>Expected</summary>
#
# With the library's salt the wolf (`1f43a`) may be trained on, and your held-out concepts are exactly those of the library.
# </details>

# %% tags=["exercise"]
def split_of(concepts, salt):
    """For each concept: True if it may be trained on, False if it is held out."""
    # BEGIN SOLUTION
    is_train = {}
    for concept in concepts:
        digest = hashlib.sha256(f"{salt}:{concept}".encode()).hexdigest()
        is_train[concept] = int(digest[:12], 16) / 16**12 >= 0.075
    return is_train
    # END SOLUTION


# %% tags=["check", "nbval-ignore-output"]
split_of = check("01.4", split_of)

# %% tags=["nbval-check-output"]
held_out = {e.hexcode for e in CaptionedEmoji("held_out_concepts", 128).examples()}
everything = {e.hexcode for e in CaptionedEmoji("train", 128).examples()} | held_out
mine = split_of(sorted(everything), ROLE)
print("may the wolf be trained on?", mine["1f43a"])
print("held out:", sum(not value for value in mine.values()), "of", len(mine), "concepts")
print("the same as the library's:", {c for c, value in mine.items() if not value} == held_out)

# %% [markdown]
# There are three ways to hold something out, from hard to easy:
#
# - **held-out concepts**: never seen in any style. Can the tokenizer *redraw* what it has never seen?
# - **held-out styles**: a concept that was never seen in *one* style. Can the generator put a known thing and a known style together?
# - **held-out colours**: a concept that was never seen on *one* background.

# %%
def four_styles(label, splits):
    """Pictures of one concept in every style, and for each whether it is held out."""
    found = {}
    for split in splits:
        part = CaptionedEmoji(
            split, 128, concepts=[label], backgrounds=["pale blue"], sizes=["normal"]
        )
        for example, picture in zip(part.examples(), part.render(part.examples())):
            found[example.style] = (picture, split != "train")
    return [found[style] for style in STYLES]


labels = ["wolf", "elephant", "monkey"]
cells = four_styles("wolf", ["train"]) + four_styles("elephant", ["train", "held_out_styles"])
cells += four_styles("monkey", ["held_out_concepts"])

# %%
pictures = [picture for picture, _ in cells]
figure = figures.image_grid(pictures, list(STYLES), row_titles=labels, tile=0.75)
for axis, (_, is_held_out) in zip(figure.axes, cells):
    if is_held_out:
        axis.spines[:].set(visible=True, color="#D55E00", linewidth=4, linestyle="--")
        axis.set_xlabel("held out", fontsize=9)
figures.show(
    figure,
    alt="Three concepts in four styles; what is held out has a dashed frame. The wolf is held out "
    "in no style, the elephant in the flat style only, the monkey in all four.",
)

# %% [markdown]
# **What to notice.** The row of the elephant is the interesting one. The generator sees three elephants and hundreds of flat animals, but never a flat elephant. If it can draw one, it has understood that a style is something of its own.
#
# ## Quiz

# %% tags=["quiz", "nbval-ignore-output"]
course.quiz("01")

# %% [markdown] tags=["recap"]
# ## What you take with you
#
# 1. Look at your data, enlarged. A wrong alpha gives a halo, and the model learns it.
# 2. **PSNR** compares pixel by pixel: 6 dB is half the error. It prefers blur, so look as well.
# 3. Tokens fall with $f^2$: 4,096, 1,024, 256 at 512 pixels. Attention alone falls with $f^4$, a whole pass at the paper's width by about 23 from f8 to f32.
# 4. Split by concept, with a hash. Otherwise the test has seen the answer.
#
# **New terms:** concept, style, alpha, held-out, leak, compression factor, PSNR, MSE, latent, FLOP. `course.glossary()` explains them.
#
# **You now know** `CaptionedEmoji`, its `.example`, `.render` and `.batch`, `dcar_edu.data.emoji.compose`, `dcar_edu.metrics.psnr` and `dcar_edu.data.splits.concept_role`.
#
# **To read on:** [DC-AE](https://arxiv.org/abs/2410.10733), the paper that first made pictures 32 times smaller without losing them; its first two figures tell the story.
#
# **Next:** shrinking by 32 left a cloud. Lesson 02 builds a network that keeps more of the wolf.

# %% tags=["nbval-ignore-output"]
#@title Download my answers (on Colab)
import sys

if "google.colab" in sys.modules:
    L.save_answers()

# %% tags=["finish", "nbval-ignore-output"]
L.finish(wolf=shrunk[0])
