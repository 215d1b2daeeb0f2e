# %% [markdown] tags=["header"]
# ---
# title: From 256 to 512
# builds: coordinates and position codes for any grid, a 1-D tokenizer to compare with, and a fair comparison by compute
# figures: 9
# wait: 6
# wait_gpu: 6
# gpu: true
# memory: 2 GB
# needs: 10
# writes: your progress file, your two small tokenizers and one tile of the wolf strip
# ---

# %% [markdown] tags=["map"]
# The model of lesson 10 draws one size. The paper's draws 512 x 512, and it did not learn that from nothing: it learnt at 256 first, where a step is cheap, and went on at 512 with the same weights. This lesson asks why that is possible at all, why it needs tokens that lie on a grid, and how much it saves. Here "256 to 512" is mostly 128 to 256 px: the same step, four by four tokens to eight by eight, on a size that a CPU can train.

# %% [markdown] tags=["objectives"]
# **When you are done you can**
#
# - say why one tokenizer rebuilds pictures of many sizes, and show with a 1-D tokenizer what would prevent it;
# - write the positions that let one transformer read a 4x4, an 8x8 and a 6x4 grid;
# - share out compute so that a comparison is fair, pre-training included;
# - read "how much cheaper" off two curves, and say how sure you are.
#
# **You need** lesson 10: tokens, the twelve steps, the whole model.
#
# **Short of time?** Sections 1, 4, 6 and 7.

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
from dataclasses import replace

import torch
import torch.nn.functional as F

from dcar_edu import DCAR, CaptionedEmoji, GeneratorConfig, MaskedGenerator, course, images
from dcar_edu.course import check, figures, same_as_library
from dcar_edu.course.costs import count_flops
from dcar_edu.course.experiments import results
from dcar_edu.course.stages import keep_going
from dcar_edu.course.studies import study_11 as study
from dcar_edu.course.studies import study_11_tokens as tokens
from dcar_edu.course.studies.study_05 import SURE, verdict
from dcar_edu.generator.transformer import positions
from dcar_edu.metrics import psnr
from dcar_edu.tokenizer.training import begin

L = course.start("11", BUDGET, SEED)

# %% tags=["map", "nbval-ignore-output"]
course.course_map("11")

# %% [markdown]
# ## 1. The first picture at the new size
#
# `emoji-128` has learnt pictures of 128 px: 4x4 tokens. Nothing in the library keeps us from asking it for 256 px, 8x8 tokens. `emoji-256-cpu` is the same generator after it went on learning at 256 px; encoder and codes are the same, too. Same prompts, same seed:

# %%
small = DCAR.from_pretrained("emoji-128").to(L.device)
large = DCAR.from_pretrained("emoji-256-cpu").to(L.device)
names = ("wolf", "frog", "rocket", "sunset", "house")
prompts = [f"a 3D emoji of a {name} on a pale blue background" for name in names]
plain = {"guidance": 1.0, "residual_steps": 0, "seed": SEED}
rows = {
    "128 px,\nas learnt": small.generate(prompts, **plain),
    "256 px, before\nfine-tuning": small.generate(prompts, size=(256, 256), **plain),
    "256 px, after\nfine-tuning": large.generate(prompts, **plain),
}

# %%
cells = [picture for row in rows.values() for picture in row]
figures.show(
    figures.image_grid(cells, columns=len(prompts), row_titles=list(rows), tile=0.95),
    alt="Three rows of five emoji. At 128 pixels they can be recognised. The first pictures at 256 "
    "pixels, before any fine-tuning, are torn into coloured patches: the right ground, colours of "
    "the right emoji, roughly the right outline, but no emoji. After fine-tuning they are whole.",
)

# %% [markdown]
# **What to notice.** The middle row is no emoji, but it is no noise either. The ground is right. Something of the right colours stands near the middle, with a straight edge where an outline should be. No weight was changed, no table stretched: the model simply ran on a grid that it had never seen. Two questions follow. What carries over, and why? And is it worth anything: does the last row come *cheaper* because the middle row exists?

# %% [markdown]
# ## 2. A tokenizer that grows
#
# First condition: the tokenizer must know the new size. Ours is made of convolutions and of attention without positions. It turns every 32 x 32 pixels into a token, wherever they lie, so a larger picture gives more tokens of the same kind. We take each shipped tokenizer to the size it was trained at, to twice that size, and to a picture that is not square. Nothing is retrained. (There is no 3D art of 512 px, so the larger tokenizer gets the drawn styles.)

# %%
def rendered(style, pixels):
    """A few learnt pictures in one style, all concepts in the same order."""
    data = CaptionedEmoji(
        "train", pixels, styles=(style,), concepts=L.budget.pictures,
        backgrounds=("pale blue",), sizes=("normal",),
    )  # fmt: skip
    return data.render(data.examples()).to(L.device)


def wider(pictures):
    """Half as much ground again at the sides: (b, 3, h, w) to (b, 3, h, 3/2 w)."""
    side = pictures.shape[-1] // 4
    return F.pad(pictures, (side, side, 0, 0), mode="replicate")


@torch.no_grad()
def rebuilt(tokenizer, pictures):
    """Pictures from their tokens, without and with the true residuals."""
    parts = [tokenizer.encode(part) for part in pictures.split(4)]
    codes = torch.cat([tokenizer.decode(part.indices) for part in parts])
    return codes, torch.cat([tokenizer.decode(part.indices, part.residuals) for part in parts])


seen = {}
for model, style, side in ((small, "3d", 128), (large, "noto", 256)):
    trained, double = rendered(style, side), rendered(style, 2 * side)
    for pictures in (trained, double, wider(trained)):
        h, w = pictures.shape[2:]
        squeezed = F.interpolate(pictures, (side, side), mode="area")
        back = F.interpolate(rebuilt(model.tokenizer, squeezed)[0], (h, w), mode="bilinear")
        seen[f"{w} x {h}", side] = (pictures, *rebuilt(model.tokenizer, pictures), back)
print("trained at    picture     tokens    codes only   with residuals   by way of the trained size")
for (size, side), (pictures, *made) in seen.items():
    grid = f"{pictures.shape[2] // 32} x {pictures.shape[3] // 32}"
    close = [psnr(one, pictures).mean().item() for one in made]
    print(f"{side:7d} px {size:>12s} {grid:>9s}" + "".join(f"{value:12.2f} dB" for value in close))

# %%
which = 1  # the wolf
cells = [made[which].cpu() for row in seen.values() for made in (row[0], row[2])]
titles = [f"{name}\n{size}" for size, _ in seen for name in ("original", "rebuilt")]
figures.show(
    figures.image_grid(cells, titles, columns=6, tile=1.2),
    alt="Two rows of the wolf: a 3D wolf at 128 pixels, 256 pixels and 192 x 128, each beside what "
    "the tokenizer rebuilt; below it a Noto wolf at 256, 512 and 384 x 256. All rebuilt pictures "
    "show the wolf; those twice as large are as whole as the others.",
)

# %% [markdown]
# **What to notice.** *Every size works*, and the number of tokens follows the picture: 16, 64, 24; then 64, 256, 96. Nothing in the file knows how many there are. *How well* is another question. The second tokenizer rebuilds a 512 px picture even more closely than one of 256: a flat drawing twice as large has the same edges, and four times the tokens for them. The first one loses three to four decibels at 256 px, and the wolf gets blotches: a token now holds a quarter of what it used to hold, and this small tokenizer has met few such close-ups. The paper's, trained on millions of pictures, has met many.
#
# The last column is the poor man's way: shrink to the trained size, rebuild without residuals, enlarge. For the first tokenizer and a square picture it is the better way. A picture that is not square it has to squeeze, and for the second tokenizer it throws away what 256 tokens could say.

# %% [markdown]
# ## 3. Tokens without a place
#
# Must it be so? A **1-D tokenizer** (TiTok) works otherwise. A few learnt vectors, the *queries*, enter a transformer together with the patches of the picture. What the queries have read is quantised: those are the tokens. A second transformer starts from a grid of empty mask tokens and fills it in from them. Each token may speak about the whole picture, and for one size that is a strength: TiTok writes 256 x 256 pixels in 32 tokens.
#
# We build a small one, and beside it a 2-D one of as many parameters (0.6 million each): 64 px, 16 tokens of 128 codes. The library's own loop trains both, with the same pictures, losses and steps. The code is in `dcar_edu/course/lessons/one_dimensional_11.py`: two transformers, sixty lines.

# %% [markdown] tags=["predict"]
# **What do you expect?** One token of a finished picture is exchanged for another code. Where does the picture change, with 2-D tokens and with 1-D tokens? And which of the two tokenizers can rebuild a picture twice as wide, two emoji side by side?
#
# <details><summary>Answer</summary>
#
# A 2-D token owns a square: the change stays there, with a soft rim. A 1-D token owns nothing: the picture changes in many places. So there is no way to add the tokens of a second emoji beside those of the first one. The 1-D tokenizer has its sixteen, for one emoji or for two, and has never learnt to share them out.
# </details>

# %% tags=["nbval-ignore-output"]
pair = {}
for arm in tokens.ARMS:
    pair[arm] = tokens.new_tokenizer(arm, SEED).to(L.device)
    config = tokens.training(L.budget.token_steps, SEED)
    state = begin(pair[arm], config)
    name = f"11/{arm}-{L.budget.name}-{SEED}"
    losses = list(keep_going(name, state, tokens.train(pair[arm], config, state), total=config.steps))
    size = sum(p.numel() for p in pair[arm].parameters()) / 1e6
    print(f"{arm}: {size:.2f} million parameters, last pixel loss {statistics.mean(losses[-20:]):.3f}")

# %%
maps = {arm: tokens.influence(pair[arm], tokens.pictures(64)[:16]) for arm in tokens.ARMS}
figure, axes = figures.panels(2, 8, width=8, height=2.6)
for row, (arm, found) in zip(axes, maps.items()):
    for place, axis in zip(range(0, 16, 2), row):
        axis.imshow(found[place], cmap="viridis", vmin=0, vmax=0.5)
        axis.set(xticks=[], yticks=[], title=f"token {place + 1}")
    row[0].set_ylabel(f"{arm}: {tokens.squares(found):.1f}\nsquares", fontsize=9)
figures.show(
    figure,
    alt="Sixteen small maps of 4 x 4 squares: where the picture changes when one token does. With "
    "2-D tokens a bright square moves along the rows with the token's number; with 1-D tokens the "
    "change is spread over many squares, whichever token it is.",
)

# %%
table = {}
for arm, tokenizer in pair.items():
    for size, pictures in tokens.sizes(8 if L.budget.name != "smoke" else 4).items():
        table[arm, size] = (pictures, *tokens.rebuild(tokenizer, pictures, arm))
print("            64 x 64 (trained)      128 x 128        64 x 128 (two side by side)")
for arm in pair:
    words = []
    for size in ("64x64", "128x128", "64x128"):
        pictures, made, count = table[arm, size]
        words.append(f"{psnr(made, pictures).mean():6.2f} dB, {count:2d} tokens")
    print(f"{arm}   " + "     ".join(words))
cells, titles = [], []
for which, size in ((2, "64x64"), (2, "128x128"), (2, "64x128")):
    cells += [table["2-D", size][0][which], *(table[arm, size][1][which] for arm in pair)]
    titles += [f"original\n{size}", "2-D", "1-D"]
figures.show(
    figures.image_grid(cells, titles, columns=9, tile=0.85),
    alt="An emoji at 64 pixels, at 128 pixels, and two emoji side by side: each time the original, "
    "rebuilt by the 2-D tokenizer and rebuilt by the 1-D tokenizer. Both tokenizers are "
    "soft at 64 pixels, the 1-D one more. Side by side the 2-D one keeps two emoji, the 1-D one a cloud.",
)

# %% [markdown]
# And longer runs of the same, three seeds each:

# %%
lines = [line for line in results("11_tokens") if line["budget"] == "cpu"]
if not lines:
    print("no results yet: run dcar experiment 11_tokens --budget cpu --seed 0 (and 1, 2)")
else:
    print(f"{tokens.STEPS['cpu']} steps          trained      twice as large   side by side    squares of a token")
for arm in pair:
    runs = [line["metrics"] for line in lines if line["arm"] == arm]
    words = []
    for key in ("psnr_64x64", "psnr_128x128", "psnr_64x128", "squares"):
        values = [run[key] for run in runs] or [math.nan]
        spread = f" ±{statistics.stdev(values):.2f}" if len(values) > 1 else ""
        words.append(f"{statistics.mean(values):6.2f}{spread}")
    print(f"{arm}, {len(runs)} seeds   " + "   ".join(f"{word:>13s}" for word in words))

# %% [markdown]
# **What to notice.** *Where.* A 2-D token works on its own square and the rim of its neighbours; a 1-D token works on most of the picture, and the maps of different tokens look alike. *At the trained size* the 2-D tokenizer is ahead by four decibels after 1,200 steps: with so few pictures its convolutions learn faster than transformers do. (TiTok trains far longer, and in two stages. So do not compare the rows in one column; compare how each row changes.)
#
# *Side by side* the 2-D tokenizer writes 32 tokens and loses about one decibel against a single emoji. The 1-D tokenizer still writes sixteen and loses about three: one cloud over both halves, for no query has ever had to say "the left emoji". *At twice the size* both lose; the one has 64 tokens of a kind that it has rarely met, the other the old sixteen.
#
# And here is the point for the generator. With 64, 32 or 15 tokens *on a grid*, a model that knows sixteen of them can go on learning. With sixteen tokens *without places* there is nothing to go on to: a larger picture needs another tokenizer, and the generator starts again.

# %% [markdown]
# ## 4. One frame for every grid
#
# Second condition: the transformer must know *where* a token lies, and the answer must mean the same at every size. So a place is not counted in tokens but measured in units of the picture. Every picture is 16 units high and 16 wide, whatever its grid:
#
# $$\text{row}_i = \frac{16 \, i}{h}, \qquad \text{column}_j = \frac{16 \, j}{w}$$
#
# In words: the first token of every grid lies at 0. On 16 rows the coordinates are 0, 1, 2, ..., on 8 rows 0, 2, 4, ...: the second row of the small grid lies where the third row of the large one does.
#
# | symbol | meaning | shape | code |
# |---|---|---|---|
# | $h$, $w$ | rows and columns of tokens | numbers | `h`, `w` |
# | $i$, $j$ | number of a row, of a column, from 0 | numbers | |
# | 16 | extent of the picture in units | number | `base` |

# %% [markdown] tags=["exercise-text"]
# ### Exercise 11.1 - Where a token lies
# difficulty: 2/5 · importance: 4/5 · 6 min · needs: none
#
# Write `grid_coordinates(h, w, base=16)`. Give back (h·w, 2): for every token its (row, column) in units of the picture, token after token in the order in which `flatten` reads a grid, row by row.
#
# Used in `dcar_edu.generator.transformer.positions`.
#
# <details><summary>Hint 1</summary>
#
# Make the h row coordinates and the w column coordinates first. Then every row has to meet every column.
# </details>
# <details><summary>Hint 2</summary>
#
# `torch.arange(h) * base / h`, not `linspace`: the last row is not at `base`. `repeat_interleave(w)` says each row w times in succession, `repeat(h)` says all columns h times.
# </details>
# <details><summary>Hint 3</summary>
#
# `torch.stack([rows.repeat_interleave(w), columns.repeat(h)], dim=1)`
# </details>
# <details><summary>Expected</summary>
#
# The rows of an 8x8 grid are at 0, 2, ..., 14; those of a 16x16 grid at 0, 1, ..., 15.
# </details>

# %% tags=["exercise"]
def grid_coordinates(h, w, base=16):
    """Row and column of every token in units of the picture, (h * w, 2)."""
    # BEGIN SOLUTION
    rows, columns = torch.arange(h) * base / h, torch.arange(w) * base / w
    return torch.stack([rows.repeat_interleave(w), columns.repeat(h)], dim=1)
    # END SOLUTION


# %% tags=["check", "nbval-ignore-output"]
grid_coordinates = check("11.1", grid_coordinates)

# %% [markdown]
# A coordinate becomes a vector as in the first transformers: by sines and cosines of many frequencies, fast ones that tell neighbours apart and slow ones that tell left from right.
#
# $$\text{code} = \big[\sin(x f), \; \cos(x f), \; \sin(y f), \; \cos(y f)\big], \qquad f_k = 10000^{-k / q}, \quad k = 0 \dots q - 1, \quad q = \tfrac{\text{width}}{4}$$
#
# In words: a quarter of the width for each of the four. The *column* comes first: so the released code has it, and trained weights know it that way round. Since a sine and a cosine of one angle have squares that add up to 1, every code has the squared length width / 2.
#
# | symbol | meaning | shape | code |
# |---|---|---|---|
# | $x$, $y$ | column and row of a token, in units | (n, 1) each | `coordinates[:, 1:]`, `coordinates[:, :1]` |
# | $f$ | frequencies, from 1 down to nearly 1/10000 | (q,) | |
# | $q$ | a quarter of the width | number | `width // 4` |

# %% [markdown] tags=["exercise-text"]
# ### Exercise 11.2 - The code of a place
# difficulty: 3/5 · importance: 4/5 · 9 min · needs: 11.1
#
# Write `position_code(coordinates, width)`. `coordinates` is (n, 2), row and column; `width` is a multiple of 4. Give back (n, width): all sines of the column, all its cosines, all sines of the row, all its cosines.
#
# Used in `dcar_edu.generator.transformer.positions`.
#
# <details><summary>Hint 1</summary>
#
# Frequencies first: (width // 4,). Then two tables of angles, (n, width // 4), one for the columns, one for the rows.
# </details>
# <details><summary>Hint 2</summary>
#
# `coordinates[:, 1:] * frequencies` is a table of angles: (n, 1) times (q,) gives (n, q). Row and column keep a half each; adding them would give (2, 5) and (5, 2) the same code.
# </details>
# <details><summary>Hint 3</summary>
#
# `frequencies = 10000.0 ** (-torch.arange(quarter) / quarter)`, and in the end `torch.cat([columns.sin(), columns.cos(), rows.sin(), rows.cos()], dim=1)`.
# </details>
# <details><summary>Expected</summary>
#
# Width 1152, as in the paper's model: every code has a squared length of 576.
# </details>

# %% tags=["exercise"]
def position_code(coordinates, width):
    """Sines and cosines of the column, then of the row, (n, width)."""
    # BEGIN SOLUTION
    quarter = width // 4
    frequencies = 10000.0 ** (-torch.arange(quarter) / quarter)
    rows, columns = coordinates[:, :1] * frequencies, coordinates[:, 1:] * frequencies
    return torch.cat([columns.sin(), columns.cos(), rows.sin(), rows.cos()], dim=1)
    # END SOLUTION


# %% tags=["check", "nbval-ignore-output"]
position_code = check("11.2", position_code)

# %% tags=["nbval-check-output"]
eight, sixteen = grid_coordinates(8, 8), grid_coordinates(16, 16)
print("rows at 8x8:  ", eight[::8, 0].int().tolist())
print("rows at 16x16:", sixteen[::16, 0].int().tolist())
code = position_code(sixteen, 1152)
print("squared length of every code:", {round(value) for value in code.square().sum(1).tolist()})
place, twin = (8 * 3 + 5), (16 * 6 + 10)
same = torch.equal(position_code(eight, 1152)[place], code[twin])
print("row 3, column 5 of 8x8 and row 6, column 10 of 16x16 have the same code:", same)

# %% tags=["nbval-ignore-output"]
same_as_library(
    lambda h, w: position_code(grid_coordinates(h, w), 256), lambda h, w: positions(h, w, 256),
    lambda: (6, 4), atol=1e-4,
)  # fmt: skip

# %% [markdown]
# Take the code of one place on the 8x8 grid, and ask every token of three grids how similar its own code is (cosine).

# %%
asked = position_code(eight, 256)[8 * 2 + 5]
grids = {
    "8x8": position_code(eight, 256),
    "16x16, in units of the picture": position_code(sixteen, 256),
    "16x16, counted as on 8x8": position_code(2 * sixteen, 256),
}
figure, axes = figures.panels(1, 3, height=2.9)
for axis, (name, codes) in zip(axes[0], grids.items()):
    side = math.isqrt(len(codes))
    alike = F.cosine_similarity(codes, asked[None], dim=1).view(side, side)
    axis.imshow(alike, cmap="viridis", vmin=0.3, vmax=1)
    row, column = divmod(alike.argmax().item(), side)
    axis.plot(column, row, "r+", markersize=12)
    axis.set(xticks=[], yticks=[])
    axis.set_title(name, fontsize=9)
figures.show(
    figure,
    alt="Three maps of similarity to the code of row 2, column 5 of an 8 x 8 grid, the best place "
    "marked by a cross. On the 8 x 8 grid and on the 16 x 16 grid in units of the picture the cross "
    "lies at the same place of the picture; counted by number it lies in the upper left quarter.",
)
near = [
    F.cosine_similarity(codes[0], codes[1], dim=0).item() for codes in list(grids.values())[:2]
]
print(f"similarity of two neighbours: {near[0]:.3f} at 8x8, {near[1]:.3f} at 16x16")

# %% [markdown]
# **What to notice.** *Same place, same code.* Left and middle agree: what the model has learnt about "upper right" stays true at the new size. On the right, with tokens counted one by one, the model would look for everything in the upper left quarter, and would meet numbers beyond any it has seen. Now compare the sizes of the bright spots: in the middle two *neighbours* are more alike than on the left. "The next token to the right" has another code than before, and that has to be learnt anew. The middle row of section 1 shows both: right places, wrong neighbours.

# %% [markdown]
# ## 5. What changes in the weights? Nothing
#
# Third condition: no weight may depend on the number of tokens. Ours work on one token (embedding, MLP, heads) or on pairs of tokens (attention). So the same file runs on any grid, and the price of a pass can be counted before any training. On the paper's model, without any numbers in it:

# %% tags=["nbval-check-output"]
with torch.device("meta"):
    paper = MaskedGenerator(GeneratorConfig.preset("paper"))
    words = torch.zeros(1, 20, 768), torch.ones(1, 20, dtype=torch.bool, device="cpu")
memory, passes = paper.read_text(*words), {}
for side in (8, 16):
    ids = torch.zeros(1, side, side, dtype=torch.int64, device="meta")
    passes[side] = count_flops(lambda ids=ids: paper.predict(ids, memory))
    print(f"{side}x{side}: {passes[side] / 1e9:.0f} GFLOP a pass")
print(f"one pass at 16x16 costs {passes[16] / passes[8]:.2f} times one at 8x8")
print(f"the paper's GPU hours: 1440 / 760 = {1440 / 760:.2f}")

# %% [markdown]
# Four times the tokens cost 4.09 times as much. Attention alone would cost 16 times; at this width it is a small part (lesson 01). Training at 256 px is thus cheap, but not free. The paper trains 200,000 steps at 256 px, then 50,000 at 512 px.

# %% [markdown]
# ## 6. What is a fair comparison?
#
# "50,000 steps at 512 px reach what 200,000 reach from scratch" would be no comparison at all: the first model has eaten 200,000 steps before. *Someone has to pay for them.* Count compute instead, all of it:
#
# $$C = n_{256} \, c_{256} + n_{512} \, c_{512}, \qquad n_{256} \, c_{256} = s \, C$$
#
# In words: both models get the same compute $C$. One spends the share $s$ of it at 256 px, and the rest at 512 px; the other spends it all at 512 px.
#
# | symbol | meaning | shape | code |
# |---|---|---|---|
# | $C$ | compute of a whole run (FLOPs, or GPU hours) | number | `total` |
# | $c_{256}$, $c_{512}$ | compute of one step | numbers | `cost_256`, `cost_512` |
# | $s$ | share of the pre-training, 0 to 1 | number | `share` |
# | $n$ | steps | numbers | what you give back |

# %% [markdown] tags=["exercise-text"]
# ### Exercise 11.3 - Equal compute
# difficulty: 2/5 · importance: 5/5 · 5 min · needs: none
#
# Write `equal_compute(total, cost_512, share, cost_256)`. Give back three whole numbers: steps at 256 px, then steps at 512 px, and the steps of the model that sees 512 px only. Rounding to the nearest or down are both fine.
#
# Used in `dcar_edu.course.costs.equal_compute`.
#
# <details><summary>Hint 1</summary>
#
# Steps are compute divided by the cost of a step. Which compute, and which cost, for each of the three?
# </details>
# <details><summary>Hint 2</summary>
#
# Pre-training may spend `share * total`. What is left is for the fine-tuning. The model from scratch has all of `total`.
# </details>
# <details><summary>Hint 3</summary>
#
# `round(share * total / cost_256)`, `round((1 - share) * total / cost_512)`, `round(total / cost_512)`
# </details>
# <details><summary>Expected</summary>
#
# 1,000 units, steps that cost 4 and 1, a share of one half: 500, 125 and 250 steps.
# </details>

# %% tags=["exercise"]
def equal_compute(total, cost_512, share, cost_256):
    """Steps at 256 px, then at 512 px; and steps at 512 px alone."""
    # BEGIN SOLUTION
    first, then = share * total / cost_256, (1 - share) * total / cost_512
    return round(first), round(then), round(total / cost_512)
    # END SOLUTION


# %% tags=["check", "nbval-ignore-output"]
equal_compute = check("11.3", equal_compute)

# %% tags=["nbval-check-output"]
spent = 200_000 * 1 + 50_000 * 4.09  # in passes at 8x8, if the batches were equal (not stated)
share = 200_000 / spent
print(f"the paper's run: {spent:,.0f} units, {share:.0%} of them at 256 px")
print("the same compute buys:", equal_compute(spent, 4.09, share, 1))
print(f"its rival from scratch had {spent * 1440 / 760 / 4.09:,.0f} steps' worth: gFID 6.64, not 5.50")

# %% [markdown]
# The paper's number, 1.9, is not a ratio at equal quality: the dearer model is the *worse* one. And it is one run of each. To say "so many times cheaper" we need curves. Measure the quality again and again during both runs, against the compute spent so far. Then ask of each curve: *what had it cost when it first was this good?*

# %% [markdown] tags=["exercise-text"]
# ### Exercise 11.4 - The price of a quality
# difficulty: 3/5 · importance: 4/5 · 5 min · needs: none
#
# Write `cost_to_reach(curve, quality)`. `curve` is a list of (cost, quality) in the order of the run, higher is better. Give back the cost at which the curve *first* reaches `quality`, on a straight line between two measured points; the first point's cost if that one is good enough; and `None` if the curve never gets there.
#
# Used in `dcar_edu.course.costs.cost_to_reach`.
#
# <details><summary>Hint 1</summary>
#
# Walk along the curve with the point before in your hand. Stop at the first point that is good enough.
# </details>
# <details><summary>Hint 2</summary>
#
# How far between the two points? `(quality - low) / (high - low)` of the way, in quality and so in cost. A curve can fall back later: that changes nothing.
# </details>
# <details><summary>Hint 3</summary>
#
# `for (before, low), (cost, high) in zip(curve, curve[1:]):` and, when `low < quality <= high`, `return before + (quality - low) / (high - low) * (cost - before)`; after the loop `return None`.
# </details>
# <details><summary>Expected</summary>
#
# `cost_to_reach([(0, 0.0), (10, 0.4), (30, 0.8)], 0.6)` is 20.
# </details>

# %% tags=["exercise"]
def cost_to_reach(curve, quality):
    """Cost at which the curve first reaches the quality; None if it never does."""
    # BEGIN SOLUTION
    if curve[0][1] >= quality:
        return curve[0][0]
    for (before, low), (cost, high) in zip(curve, curve[1:]):
        if low < quality <= high:
            return before + (quality - low) / (high - low) * (cost - before)
    return None
    # END SOLUTION


# %% tags=["check", "nbval-ignore-output"]
cost_to_reach = check("11.4", cost_to_reach)

# %% [markdown]
# ## 7. Experiment: going on, or starting at the large size?
#
# A small world: 48 concepts in 3D on white and on pale blue, and a generator of three blocks (lesson 07's). Four arms with the same compute, counted in FLOPs:
#
# - **scratch**: all of it at 256 px (8x8 tokens);
# - **cross 1/2**, **1/4**, **1/8**: this share of it at 128 px (4x4 tokens, where a step costs less than a third), the rest at 256 px. One half is about the paper's share.
#
# The *learning rate is constant* after a short warm-up, the same in all arms and in both parts, and weights are averaged over the last hundred steps or so. With a rate that falls to zero at the end, only the last point of a curve would be worth comparing. Quality is the share of hidden tokens that are guessed right at 256 px, for pictures that were learnt. One picture in eight was kept back: its concept was learnt on the other ground only.

# %% [markdown] tags=["predict"]
# **What do you expect?** Draw the curves before you look. Where is *cross* when its pre-training ends and it has not seen a single 8x8 grid? How fast does it rise then? Which arm is ahead at the end, and by which factor in compute: 1, 1.9, 4? Is more pre-training always better?
#
# <details><summary>Answer</summary>
#
# During pre-training the curve lies near the bottom: section 1 showed how little a model can do at a size it has not learnt. What counts is the slope afterwards. If words, codes and places carry over, it rises much more steeply than *scratch* did. If it has to learn the neighbours from nothing, it does not. Nothing tells you beforehand by how much; the table below does.
# </details>

# %% tags=["nbval-ignore-output", "experiment"]
plan = replace(
    study.PLANS[L.budget.name],
    concepts=L.budget.concepts, steps=L.budget.steps, points=L.budget.points,
)  # fmt: skip
world = study.make_world(plan, large)
mine, nets = {}, {}
for arm in ("scratch", "cross 1/4"):
    nets[arm] = study.new_generator(plan, large, SEED)
    points = list(study.run(arm, SEED, plan, world, nets[arm]))
    mine[arm] = [(point["tflop"], point["accuracy"]) for point in points]
    print(f"{arm:10s} {mine[arm][-1][0]:.3f} TFLOP, accuracy {mine[arm][-1][1]:.1%}")
goal = mine["scratch"][-1][1]
price = cost_to_reach(mine["cross 1/4"], goal)
if price is None:
    print(f"cross 1/4 never reached scratch's {goal:.1%}")
else:
    print(f"scratch's {goal:.1%} for {price / mine['scratch'][-1][0]:.2f} of its compute")

# %% [markdown]
# That was a small run of yours: half the concepts, one seed, two arms. Here is the whole comparison with three seeds (`dcar experiment 11_cross`). "Compute for scratch's quality" asks each curve of an arm for the accuracy that *scratch* of the same seed ended with, and divides by what that had cost.

# %%
found = {arm: {} for arm in study.SHARES}
for line in results("11_cross"):
    if line["budget"] == "cpu":
        found[line["arm"]][line["seed"]] = line["metrics"]
seeds = sorted(found["scratch"])


def curve(metrics, name):
    """The points of a run: (TFLOP, value)."""
    numbers = sorted(key[-2:] for key in metrics if key.startswith("tflop_"))
    return [(metrics[f"tflop_{n}"], metrics[f"{name}_{n}"]) for n in numbers]


def price(arm, seed, name="accuracy"):
    """Compute for the quality that scratch ends with, in parts of scratch's compute."""
    goal = curve(found["scratch"][seed], name)[-1]
    cost = cost_to_reach(curve(found[arm][seed], name), goal[1])
    return math.inf if cost is None else cost / goal[0]


if not seeds:
    print("no results yet: run dcar experiment 11_cross --budget cpu --seed 0 (and 1, 2)")
print(f"{'':12s}{'at the end: learnt':>20s}{'kept back':>14s}{'compute for quality':>24s}")
for arm, runs in found.items():
    cells = []
    for name in ("accuracy", "unseen_accuracy"):
        ends = [100 * curve(run, name)[-1][1] for run in runs.values()]
        spread = f" ±{statistics.stdev(ends):.1f}" if len(ends) > 1 else ""
        cells.append(f"{statistics.mean(ends):.1f}{spread} %" if ends else "no run")
    shares = ", ".join(f"{price(arm, seed):.2f}" for seed in runs)
    print(f"{arm:12s}{cells[0]:>20s}{cells[1]:>14s}{shares:>24s}")
for arm in list(found)[1:]:
    if len(seeds) in SURE and set(found[arm]) == set(seeds):
        ends = [[curve(found[a][s], "accuracy")[-1][1] for s in seeds] for a in (arm, "scratch")]
        words = verdict(*ends, SURE[len(seeds)])
        prices = [price(arm, seed) for seed in seeds]
        ratio = f"{1 / statistics.mean(prices):.2f} times cheaper" if max(prices) < math.inf else "never"
        print(f"{arm} against scratch at equal compute: {words}; to scratch's quality: {ratio}")

# %%
figure, axes = figures.panels(1, 2, height=3.4)
for axis, name in zip(axes[0], ("accuracy", "unseen_accuracy")):
    for (arm, runs), colour, style in zip(found.items(), ("k", "C0", "C1", "C2"), ("--", "-", "-", ":")):
        for seed, run in runs.items():
            name_once = arm if seed == 0 else None
            axis.plot(*zip(*curve(run, name)), style, color=colour, linewidth=1.1, label=name_once)
    axis.set(xlabel="compute in TFLOP, pre-training included", ylim=(0, 1))
    axis.set_title({"accuracy": "learnt pictures", "unseen_accuracy": "kept-back pictures"}[name])
if seeds:
    whole, goal = curve(found["scratch"][seeds[0]], "accuracy")[-1]
    for axis in axes[0]:
        for share in list(study.SHARES.values())[1:]:
            axis.axvline(share * whole, color="0.8", linewidth=0.8)
    axes[0, 0].axhline(goal, color="k", linewidth=0.5)
    for arm, mark in zip(list(found)[1:], "osD"):
        if found[arm].get(seeds[0]) and price(arm, seeds[0]) < math.inf:
            axes[0, 0].plot(price(arm, seeds[0]) * whole, goal, mark, color="C3", markersize=5)
axes[0, 1].legend(loc="upper left", fontsize=8)
axes[0, 0].set_ylabel("hidden tokens guessed right at 256 px")
figures.show(
    figure,
    alt="Accuracy against compute for four arms, three seeds each; left for learnt pictures, right "
    "for kept-back ones. Scratch rises evenly. The others stay near the bottom until the grey line "
    "where their pre-training ends, and then rise more steeply than scratch.",
)

# %% [markdown]
# **What to notice.** *It pays, but less than in the paper, and not always.* With a quarter of the compute at the small size the model ends at 98 % instead of 94 %, with every seed, and needs 0.89 of scratch's compute for scratch's quality: 1.13 times cheaper. An eighth saves less. With one half, the paper's share, the model ends *below* scratch with every seed. The 1.9 of the paper we do not find.
#
# *What is saved and what is spent?* From 10 % to 80 % right, scratch needs about 1.6 TFLOP; after an eighth of pre-training it takes 1.5, after a quarter 1.1, after one half 1.0. And pre-training costs 0.3, 0.6 and 1.25 TFLOP. That is the whole account: the third sum is not worth its price.
#
# *Why does more of it buy so little?* Measured on 128 px pictures, pre-training ends with about a quarter of the tokens right, with 84 to 89 %, and with 100 %. The last arm knew the small size by heart, and what it spent after that was lost. The paper's millions of pictures are never known by heart. *Stop pre-training before it stops learning*: this experiment can teach that. How much there is to gain in a large world, it cannot.
#
# *What carries over?* At the end of its pre-training a model has 4 % right: zero-shot it knows next to nothing of the new size. But then it rises faster than scratch did from the same height. Words and places need not be learnt again. The tokens do: a square of 32 px now holds half an ear, not a whole one, and has another code. And what is not used is lost: after fine-tuning these models draw 5 to 7 % of the tokens right at 128 px, no more than scratch, which never saw that size.
#
# *The pictures that were kept back*: between scratch and the two arms that beat it three seeds see no difference. Nothing here says that cross-resolution training generalises better.

# %% [markdown]
# What did the two models of your own run learn? Each draws six prompts that it has learnt, twelve steps, always the best guess.

# %%
few = study.judged(world, plan)[""][:6]
with torch.no_grad():
    shown = {
        "scratch": large.tokenizer.decode(study.draw(nets["scratch"], few)),
        "cross 1/4": large.tokenizer.decode(study.draw(nets["cross 1/4"], few)),
        "true tokens": large.tokenizer.decode(few.indices),
    }
figures.show(
    figures.image_grid(
        torch.cat(list(shown.values())).cpu(), columns=len(few.indices), row_titles=list(shown), tile=0.9
    ),
    alt="Three rows of six emoji at 256 pixels: drawn by the model from scratch, drawn by the model "
    "that was pre-trained at 128 pixels, and the tokenizer's reconstruction of the true tokens.",
)

# %% [markdown]
# **What to notice.** Both are young; about half of the tokens are right. Look for the book and the wolf, though. Compare with section 1, too: there the model had never seen the large size, here both have, and one of them for three quarters of its compute only.

# %% [markdown]
# ## Quiz

# %% tags=["quiz", "nbval-ignore-output"]
course.quiz("11")

# %% [markdown] tags=["recap"]
# ## What you take with you
#
# 1. A model can grow when three things hold: the tokenizer gives **more tokens of the same kind** for more pixels, a **place has the same code** at every size, and **no weight counts tokens**.
# 2. 1-D tokens break the first: their number is fixed, and none of them has a place.
# 3. Right places carry over at once, neighbours do not: the first picture at a new size is torn, and fine-tuning mends it.
# 4. Compare by **compute**, pre-training included, and by curves: what did this quality cost in each run?
# 5. The paper's 1.9 is 1,440 over 760 GPU hours, one run each, and its cheaper model is also the better one.
#
# **New terms:** cross-resolution training, 1-D tokenizer, zero-shot, equal compute. `course.glossary()` explains them.
#
# **You now know** `dcar_edu.generator.transformer.positions`, `count_flops` and `dcar experiment 11_cross`.
#
# **To read on:** [TiTok](https://arxiv.org/abs/2406.07550), pictures as 32 tokens without places; [PixArt-alpha](https://arxiv.org/abs/2310.00426), which also goes from 256 to 512 px, and further.
#
# **Next:** lesson 12 asks where the time goes when the model draws.

# %% tags=["nbval-ignore-output"]
#@title Download my answers (on Colab)
import sys

if "google.colab" in sys.modules:
    L.save_answers()

# %% tags=["finish", "nbval-ignore-output"]
L.finish(wolf=images.from_pil(rows["256 px, after\nfine-tuning"][0]))
