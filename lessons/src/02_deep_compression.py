# %% [markdown] tags=["header"]
# ---
# title: Deep compression autoencoder
# builds: shortcuts without parameters and linear attention, the two tricks that make f32 trainable
# figures: 10
# wait: 5
# wait_gpu: 2
# gpu: true
# memory: 2 GB
# needs: 01
# writes: your progress file and one tile of the wolf strip
# ---

# %% [markdown] tags=["map"]
# Lesson 01 shrank a wolf to 4 x 4 pixels, and a cloud was left. Here an **encoder** shrinks it to 4 x 4 places of 32 numbers, and a **decoder** draws it again from these. Both ends of the training side are built in this lesson; what stands between them, codes and residuals, comes in lessons 03 and 04.

# %% [markdown] tags=["objectives"]
# **When you are done you can**
#
# - move pixels into channels and back without losing one;
# - build a shortcut that lets a picture through a network before anything is learnt;
# - write attention whose cost grows with the number of places, not with its square;
# - read the shapes of a deep autoencoder, stage by stage, and count its parameters;
# - train an f32 autoencoder with and without shortcuts and say what they change.
#
# **You need** lesson 01, convolutions, and softmax attention by name.
#
# **Short of time?** Sections 1 to 3, 5 and 7. The loss is the plain absolute error here; lesson 05 explains the blur it leaves.

# %% tags=["setup"]
#@title Setup (run first)
# SETUP

# %% tags=["parameters"]
import os

BUDGET = os.environ.get("DCAR_BUDGET", "cpu")
SEED = 0

# %% tags=["start", "nbval-ignore-output"]
import time

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import nn

from dcar_edu import DCAR, CaptionedEmoji, TokenizerConfig, course, images
from dcar_edu.course import check, figures
from dcar_edu.course.experiments import results
from dcar_edu.course.studies.study_02 import BATCH, RATE, SIDE, autoencoder, windows
from dcar_edu.metrics import psnr
from dcar_edu.tokenizer import blocks
from dcar_edu.tokenizer.autoencoder import Decoder, Encoder, count_parameters

L = course.start("02", BUDGET, SEED)

# %% tags=["map", "nbval-ignore-output"]
course.course_map("02")

# %% [markdown]
# ## 1. A wolf in 512 numbers
#
# The shipped tokenizer holds an encoder and a decoder. We use these two alone: no codes, every number kept as it is. Between them lies the **latent**: 4 rows, 4 columns, and at each of these 16 places 32 numbers. It is the narrowest place of the network, so it is called the **bottleneck**.

# %%
tokenizer = DCAR.from_pretrained("emoji-128").tokenizer.to(L.device)

emoji = CaptionedEmoji("train", 128, styles=["3d"], concepts=["wolf"])
wolf = emoji.render([emoji.example("wolf", "3d", "pale blue")])
with torch.no_grad():
    latents = tokenizer.encode(wolf.to(L.device)).latents
    redrawn = tokenizer.decode_latents(latents).cpu()
maps = F.pad(latents.cpu()[0], (0, 1, 0, 1), value=float("nan"))
maps = rearrange(maps, "(rows columns) h w -> (rows h) (columns w)", columns=8)[:-1, :-1]

# %%
figure, (axes,) = figures.panels(1, 3, width=7.5, height=2.5, width_ratios=[1, 1.9, 1])
for axis, picture in zip(axes[::2], (wolf, redrawn)):
    axis.imshow(images.to_pil(picture[0]))
axes[1].imshow(maps, cmap="cividis", aspect="auto")
for axis, title in zip(axes, ("49,152 numbers in", "512: 32 channels of 4 x 4", "drawn again")):
    axis.set(xticks=[], yticks=[], title=title)
    axis.grid(False)
    axis.spines[:].set_visible(False)
figures.show(
    figure,
    alt="Left the wolf. In the middle its latent: 32 small maps of 4 x 4 squares, some dark, some "
    "bright, in which no wolf can be seen. Right a blurred head with two ears, drawn from these "
    "512 numbers.",
)

# %% tags=["nbval-check-output"]
print("picture", tuple(wolf.shape), "-> latent", tuple(latents.shape))
fewer = wolf.numel() // latents.numel()
print(f"numbers: {wolf.numel():,} -> {latents.numel()}, that is {fewer} times fewer")

# %% [markdown]
# **What to notice.** In no single map do you see a wolf: a place of the latent stands for 32 x 32 pixels, and what it says is spread over 32 channels. Still the decoder finds the ground, the head and the ears. It is blurred: this network is small, and was trained for about an hour.
#
# Networks that shrink 8 times have been easy to train for years. At 32 times plain ones fail: five halvings in a row, each mixing everything up, and the decoder must undo them all. This lesson builds the way around that.

# %% [markdown]
# ## 2. Pixels into channels
#
# How can a picture become smaller without losing anything? Take each square of $f \times f$ pixels and stack its pixels: $f^2$ times as many channels, $f$ times fewer rows and columns. This is called **space to depth** (torch: `pixel_unshuffle`):
#
# $$\text{out}[c f^2 + f_y f + f_x,\; h,\; w] = x[c,\; f h + f_y,\; f w + f_x]$$
#
# In words: channel by channel, and within a channel row by row of the little square. The order is (channel, row, column), and it will matter.
#
# | symbol | meaning | shape | code |
# |---|---|---|---|
# | $x$ | pictures or features | (b, c, H, W) | `x` |
# | $f$ | side of the square | number | `f` |
# | $f_y$, $f_x$ | row and column within the square, 0 to f - 1 | number | |
# | $h$, $w$ | row and column of the square | number | |

# %% [markdown] tags=["exercise-text"]
# ### Exercise 02.1 - Space to depth
# difficulty: 3/5 · importance: 4/5 · 8 min · needs: none
#
# Write `space_to_depth(x, f)`. `x` is a float tensor (b, c, H, W); H and W are multiples of the whole number `f`. Give back a tensor (b, c·f·f, H/f, W/f) with the channels in the order (channel, row, column). Please write it with reshape and permute, slices or einops, without `pixel_unshuffle`.
#
# Used in `dcar_edu.tokenizer.blocks.Down`, at every halving.
#
# <details><summary>Hint 1</summary>
#
# Cut the axis H into two axes: which square, and which row within it. Do the same with W. Then bring the two small axes beside the channels, and join them.
# </details>
# <details><summary>Hint 2</summary>
#
# `x.reshape(b, c, H // f, f, W // f, f)` has the axes (b, c, h, fy, w, fx). The result needs them as (b, c, fy, fx, h, w). That is a `permute`.
# </details>
# <details><summary>Hint 3</summary>
#
# `x = x.reshape(b, c, H // f, f, W // f, f)`, then `x.permute(0, 1, 3, 5, 2, 4).reshape(b, c * f * f, H // f, W // f)`.
# </details>
# <details><summary>Expected</summary>
#
# The figure below shows four small pictures, each with every second pixel in both directions. The numbers 0, 1, 6, 7 of the first square go to channels 0, 1, 2, 3.
# </details>

# %% tags=["exercise"]
def space_to_depth(x, f):
    """Move each f x f square of pixels into channels: (b, c, H, W) to (b, c f f, H/f, W/f)."""
    # BEGIN SOLUTION
    b, c, height, width = x.shape
    x = x.reshape(b, c, height // f, f, width // f, f)
    return x.permute(0, 1, 3, 5, 2, 4).reshape(b, c * f * f, height // f, width // f)
    # END SOLUTION


# %% tags=["check", "nbval-ignore-output"]
space_to_depth = check("02.1", space_to_depth)

# %%
COLOURS = ("#56B4E9", "#E69F00", "#009E73", "#CC79A7")
counted = torch.arange(24.0).reshape(1, 1, 4, 6)
deep = space_to_depth(counted, 2)


def draw_numbers(axis, values, colour_of):
    """Draw a table of numbers, each on the colour of its place within the square."""
    rows, columns = values.shape
    for row in range(rows):
        for column in range(columns):
            box = {"facecolor": colour_of(row, column), "edgecolor": "white", "linewidth": 2}
            axis.fill_between([column, column + 1], row, row + 1, **box)
            text = f"{values[row, column]:.0f}"
            axis.text(column + 0.5, row + 0.5, text, ha="center", va="center")
    axis.set(xlim=(0, columns), ylim=(rows, 0), aspect="equal", xticks=[], yticks=[])
    axis.spines[:].set_visible(False)
    axis.grid(False)


figure, (axes,) = figures.panels(1, 5, width=8, height=1.7, width_ratios=[2.2, 1, 1, 1, 1])
draw_numbers(axes[0], counted[0, 0], lambda row, column: COLOURS[row % 2 * 2 + column % 2])
axes[0].set_title("1 channel, 4 x 6")
for channel, axis in enumerate(axes[1:]):
    draw_numbers(axis, deep[0, channel], lambda row, column, c=channel: COLOURS[c])
    axis.set_title(f"channel {channel}")
figures.show(
    figure,
    alt="A table of the numbers 0 to 23 in 4 rows and 6 columns. In each square of four the upper "
    "left is blue, the upper right orange, the lower left green, the lower right pink. Beside it "
    "four tables of 2 x 3, each of one colour: channel 0 holds all the blue numbers, and so on.",
)

# %% tags=["nbval-check-output"]
print("channels of the first square:", deep[0, :, 0, 0].int().tolist())
print("nothing lost:", bool((F.pixel_shuffle(deep, 2) == counted).all()))
print("the same as torch's pixel_unshuffle:", bool((deep == F.pixel_unshuffle(counted, 2)).all()))

# %% [markdown]
# **What to notice.** Each channel is a small copy of the whole picture, moved by one pixel against the others. Channels that stand side by side (0 and 1) hold pixels that stood side by side. From here on `F.pixel_unshuffle` does this, and `F.pixel_shuffle` takes it back.
#
# > **Help, H and W swapped.** In this course a tensor is always (pictures, channels, **rows**, **columns**): height before width. Pillow says `(width, height)`, and a point on a plot is (x, y). If a picture lies on its side, or an error speaks of sizes that you know in the other order, look for three things: a `permute` with two numbers changed over, a `reshape` where a `permute` was needed, and a size taken from Pillow. And test with a picture that is *not* square: on a square one the mistake gives no error.

# %% [markdown]
# ## 3. A way down that needs no learning
#
# A halving usually does two things: fewer rows and columns, and another number of channels. Space to depth gives $4c$ channels where $c'$ are wanted. So the shortcut takes the **mean** of groups of neighbours:
#
# $$g = \frac{c f^2}{c'} \qquad \text{out}[j] = \frac{1}{g} \sum_{l=0}^{g-1} \text{deep}[j g + l]$$
#
# In words: the first $g$ channels become one, the next $g$ the second. The layer adds this mean to what its convolution says:
#
# $$\text{Down}(x) = \text{space\_to\_depth}(\text{conv}(x)) + \text{shortcut\_down}(x)$$
#
# There is nothing to learn in the shortcut, and this is the point: with weights at random it would mix everything up like any other layer. As it is, a rough picture passes from the first step on, and the convolution learns only what the mean lacks.
#
# | symbol | meaning | shape | code |
# |---|---|---|---|
# | $c$, $c'$ | channels before and after | number | `x.shape[1]`, `out_channels` |
# | $g$ | size of a group | number | `group` |
# | deep | the pixels as channels | (b, c f f, H/f, W/f) | `deep` |
# | $j$, $l$ | channel of the result, place within its group | number | |

# %% [markdown] tags=["exercise-text"]
# ### Exercise 02.2 - The shortcut down
# difficulty: 2/5 · importance: 5/5 · 10 min · needs: 02.1
#
# Write `shortcut_down(x, out_channels, f=2)`. `x` is a float tensor (b, c, H, W). First move pixels into channels (`F.pixel_unshuffle(x, f)`), then average groups of consecutive channels. Give back (b, out_channels, H/f, W/f). `out_channels` divides c·f·f. With `f=1` only the averaging is left.
#
# A trap: `F.avg_pool2d(x, 2)` gives the same when the number of channels stays the same, because a group is then one whole square. In this network the channels often double.
#
# Used in `dcar_edu.tokenizer.blocks.shortcut_down`.
#
# <details><summary>Hint 1</summary>
#
# After `pixel_unshuffle` only the channels must change. Cut the channel axis into two: which group, and which place within the group. Average over one of them.
# </details>
# <details><summary>Hint 2</summary>
#
# For 4 channels and 2 groups the groups are (0, 1) and (2, 3), not (0, 2) and (1, 3). So the axis "which group" comes first in the reshape.
# </details>
# <details><summary>Hint 3</summary>
#
# `b, c, h, w = deep.shape`, then `deep.reshape(b, out_channels, c // out_channels, h, w).mean(dim=2)`.
# </details>
# <details><summary>Expected</summary>
#
# The numbers 0 to 15 in a 4 x 4 picture become two channels: 0.5, 2.5, 8.5, 10.5 and 4.5, 6.5, 12.5, 14.5. The first is the mean of 0 and 1, the upper pair of the first square.
# </details>

# %% tags=["exercise"]
def shortcut_down(x, out_channels, f=2):
    """Pixels into channels, then the mean of each group of consecutive channels."""
    # BEGIN SOLUTION
    deep = F.pixel_unshuffle(x, f)
    b, c, h, w = deep.shape
    return deep.reshape(b, out_channels, c // out_channels, h, w).mean(dim=2)
    # END SOLUTION


# %% tags=["check", "nbval-ignore-output"]
shortcut_down = check("02.2", shortcut_down)

# %% tags=["nbval-check-output"]
counted = torch.arange(16.0).reshape(1, 1, 4, 4)
for channel, values in enumerate(shortcut_down(counted, 2)[0]):
    print("channel", channel, values.tolist())
same = torch.allclose(shortcut_down(counted, 1), F.avg_pool2d(counted, 2))
print("channels stay the same: equal to avg_pool2d:", same)

# %% [markdown]
# **What to notice.** When 4 channels become 2, *pairs side by side* are averaged: columns get blurred, rows stay sharp. A strange choice for an eye, a fine one for a start. The convolution beside it will find out what is better.

# %% [markdown]
# ## 4. The way up
#
# The decoder goes the same way back. Where the encoder took the mean of $g$ channels, the decoder **repeats** each channel $g$ times, and then turns depth to space:
#
# $$\text{Up}(x) = \text{depth\_to\_space}(\text{conv}(x)) + \text{shortcut\_up}(x)$$
#
# In words: each channel is copied as often as needed, copies side by side, and the channels are laid out as pixels. A mean is neither larger nor smaller than what it came from, so nothing is divided here.
#
# | symbol | meaning | shape | code |
# |---|---|---|---|
# | $x$ | features | (b, c, h, w) | `x` |
# | copies | $c' f^2 / c$, how often each channel is repeated | number | `copies` |

# %% [markdown] tags=["exercise-text"]
# ### Exercise 02.3 - The shortcut up
# difficulty: 2/5 · importance: 4/5 · 8 min · needs: 02.2
#
# Write `shortcut_up(x, out_channels, f=2)`. `x` is a float tensor (b, c, h, w). Repeat each channel, copies side by side, until there are out_channels·f·f; then `F.pixel_shuffle` lays them out. Give back (b, out_channels, h·f, w·f).
#
# Used in `dcar_edu.tokenizer.blocks.shortcut_up`.
#
# <details><summary>Hint 1</summary>
#
# Start from the end: `pixel_shuffle(..., f)` needs out_channels·f·f channels. You have c. How many copies of each?
# </details>
# <details><summary>Hint 2</summary>
#
# Torch has two functions that repeat. For the channels A, B the one gives A, B, A, B, the other A, A, B, B. You need the second.
# </details>
# <details><summary>Hint 3</summary>
#
# `copies = out_channels * f * f // x.shape[1]`, then `F.pixel_shuffle(x.repeat_interleave(copies, dim=1), f)`.
# </details>
# <details><summary>Expected</summary>
#
# With as many channels after as before, each value becomes a square of f x f equal ones. With half as many, two channels share a square: one fills the upper row, one the lower.
# </details>

# %% tags=["exercise"]
def shortcut_up(x, out_channels, f=2):
    """Repeat each channel, copies side by side, then lay the channels out as pixels."""
    # BEGIN SOLUTION
    copies = out_channels * f * f // x.shape[1]
    return F.pixel_shuffle(x.repeat_interleave(copies, dim=1), f)
    # END SOLUTION


# %% tags=["check", "nbval-ignore-output"]
shortcut_up = check("02.3", shortcut_up)

# %% [markdown]
# Now the wolf goes down and up through shortcuts alone. Not one number is learnt. Below it goes through convolutions with random weights and no shortcuts: this is how a plain network begins.

# %%
STEPS = [(12, 2), (24, 2), (48, 2), (96, 2), (96, 2), (32, 1)]  # channels after, factor


def through(x, steps, down, up):
    """Send pictures down some steps and up again."""
    channels = [x.shape[1]]
    for number, f in steps:
        channels.append(number)
        x = down(x, number, f)
    for number, (_, f) in zip(channels[-2::-1], steps[::-1]):
        x = up(x, number, f)
    return x


def conv_down(x, number, f):
    return F.pixel_unshuffle(nn.Conv2d(x.shape[1], number // f**2, 3, padding=1)(x), f)


def conv_up(x, number, f):
    return F.pixel_shuffle(nn.Conv2d(x.shape[1], number * f**2, 3, padding=1)(x), f)


depths = {"f2": 1, "f4": 2, "f8": 3, "f16": 4, "f32": 6}
with torch.no_grad():
    free = [through(wolf, STEPS[:n], shortcut_down, shortcut_up)[0] for n in depths.values()]
    random = [through(wolf, STEPS[:n], conv_down, conv_up)[0] for n in depths.values()]

# %%
figures.show(
    figures.image_grid(
        [*free, *random],
        list(depths),
        columns=5,
        row_titles=["shortcuts\nalone", "random\nconvolutions"],
        tile=1.0,
    ),
    alt="Upper row: the wolf through shortcuts alone. At f2 it is perfect, then more and more "
    "drawn out sideways; at f16 a face can still be seen, at f32 only some darker patches on "
    "pale blue. Lower row: through random convolutions. From f4 on nothing but grey is left.",
)

# %% tags=["nbval-check-output"]
kept = [torch.allclose(a.mean(), wolf.mean(), atol=1e-4) for a in free]
print("the mean of the picture is kept at", ", ".join(d for d, ok in zip(depths, kept) if ok))
before = [3] + [number for number, _ in STEPS]
print("sizes of the groups:", [a * f**2 // b for a, (b, f) in zip(before, STEPS)])

# %% [markdown]
# **What to notice.** At f2, 12 channels hold all of the 12 numbers of a square: nothing is averaged, nothing lost. From then on each halving averages pairs. At f16 you still see a face. At f32 about as much is left as in 4 x 4 pixels: the ground is light and blue, the head is dark and in the right place. That is little, but it is *true*, and every layer of an untrained network sees it. The lower row must find a wolf in an even grey.
#
# There is a second half to this. Gradients take the same way back: from the picture's error, through every shortcut, to the first layer, without being mixed by weights that know nothing yet.

# %% [markdown]
# ## 5. The whole network
#
# A convolution beside a shortcut makes a **Down**; your functions suffice to write one. Its mirror is an **Up**. We give yours the library's weights and compare.

# %%
class Halve(nn.Module):
    """Down: what a convolution learns, plus what the shortcut brings for free."""

    def __init__(self, channels_in, channels, f=2):
        super().__init__()
        self.channels, self.f = channels, f
        self.conv = nn.Conv2d(channels_in, channels // f**2, 3, padding=1)

    def forward(self, x):
        learnt = space_to_depth(self.conv(x), self.f)
        return learnt + shortcut_down(x, self.channels, self.f)


mine, library = Halve(16, 32), blocks.Down(16, 32)
mine.load_state_dict(library.state_dict())
features = torch.randn(2, 16, 8, 12, generator=L.generator())
with torch.no_grad():
    course.same_as_library(mine, library.forward, lambda: (features,))
    course.same_as_library(shortcut_up, blocks.shortcut_up, lambda: (features, 8))

# %% [markdown]
# Between the halvings stand blocks that change no shape: **residual blocks** (two convolutions and a way around them) where the picture is large, **attention blocks** where it is small. How many a stage has is its **depth**. The network that we train below has the paper's stages with a sixteenth of their width and one block each. Its **shape ledger**, for pictures that are *not* square:

# %%
def ledger(parts, x):
    """Print every layer: what comes out of it, and how many numbers it learns."""
    print(f"{'layer':34s}{'channels':>9s}{'rows x columns':>16s}{'parameters':>12s}")
    for name, part in zip(("encoder", "decoder"), parts):
        print(name)
        for layer in part:
            before = x.shape[1]
            x = layer(x)
            label = type(layer).__name__
            if isinstance(layer, blocks.Down | blocks.Up):
                kind, many = ("mean of", before * layer.factor**2 // x.shape[1])
                if isinstance(layer, blocks.Up):
                    kind, many = "copies:", x.shape[1] * layer.factor**2 // before
                free = f"shortcut, {kind} {many}" if layer.shortcut else "no shortcut"
                label += f" f={layer.factor}, {free}"
            grid = f"{x.shape[2]} x {x.shape[3]}"
            print(f"  {label:32s}{x.shape[1]:9d}{grid:>16s}{count_parameters(layer):12,}")


# %% tags=["nbval-check-output"]
with torch.no_grad():
    ledger(autoencoder(32), torch.zeros(1, 3, SIDE, SIDE * 3 // 2))

# %% [markdown]
# **What to notice.** Read the column of rows and columns downwards: 64 x 96, halved five times, 2 x 3, and up again. Channels grow while places get fewer. The means are over groups of 2, 4, 2 and 4 channels, just as in the paper; the copies on the way back are as many. The last layer of the encoder changes only the channels (f=1).
#
# The first layer, the **stem**, and the last one have no shortcut and stand alone at full resolution: the first stage has **depth 0**. A block of the same width would cost four times as much there as one stage later.

# %%
widths = (16, 32, 32, 64, 64, 32)
kinds = ["res", "res", "attention", "attention", "attention", ""]
sides = (32, 16, 8, 4, 2, 2)
figure, ((axis,),) = figures.panels(width=8, height=3.1)
order = [*range(6), *range(4, -1, -1)]
places = [1.15 * k for k in range(1, 12)]
for x, k in zip(places, order):
    high = 0.45 + 0.5 * sides[k].bit_length()
    wide = 0.12 + 0.09 * widths[k] ** 0.5
    colour = {"res": "#56B4E9", "attention": "#E69F00", "": "#009E73"}[kinds[k]]
    hatch = {"res": "", "attention": "//", "": ".."}[kinds[k]]
    axis.bar(x, high, wide, -high / 2, color=colour, edgecolor="black", hatch=hatch)
    axis.text(x, -high / 2 - 0.12, f"{widths[k]}", ha="center", va="top", fontsize=9)
    axis.text(x, high / 2 + 0.08, f"{sides[k]}²", ha="center", va="bottom", fontsize=9)
for x, label in ((0, "picture\n64², 3"), (places[-1] + 1.15, "picture\n64², 3")):
    axis.bar(x, 3.95, 0.1, -1.97, color="white", edgecolor="black")
    axis.text(x, -2.1, label, ha="center", va="top", fontsize=9)
for k, (left, right) in enumerate(zip(places, places[1:])):
    word = "2424224242"[k]
    bend = {"arrowstyle": "->", "connectionstyle": "arc3,rad=-0.45", "linestyle": "--"}
    top = 2.35
    axis.annotate("", (right - 0.05, top), (left + 0.05, top), arrowprops=bend)
    axis.text((left + right) / 2, top + 0.42, word, ha="center", fontsize=9)
axis.text(places[2], 3.25, "encoder: mean of ...", ha="center", fontsize=10)
axis.text(places[8], 3.25, "decoder: copies ...", ha="center", fontsize=10)
blocks_are = "plain: residual block · hatched: attention block · dotted: latent"
axis.text(places[5], -2.6, blocks_are, ha="center", fontsize=9)
axis.set(xlim=(-0.6, places[-1] + 1.8), ylim=(-2.9, 3.6), xticks=[], yticks=[])
axis.spines[:].set_visible(False)
axis.grid(False)
figures.show(
    figure,
    alt="The network as a row of bars, high at both ends and low in the middle: 64 pixels, then "
    "32, 16, 8, 4, 2 rows, and back. Bars get thicker towards the middle, from 16 to 64 channels, "
    "with a thin latent of 32. Residual blocks are plain, attention blocks hatched. Dashed "
    "arrows above each change of resolution are the shortcuts.",
)

# %% [markdown]
# And the paper's own network? We build it on torch's `meta` device, which knows shapes and holds no numbers, so it takes no memory.

# %% tags=["nbval-check-output"]
paper = TokenizerConfig.preset("paper")
with torch.device("meta"):
    encoder, decoder = Encoder(paper), Decoder(paper)
print("widths", paper.widths, "encoder depths", paper.encoder_depths)
print(f"encoder {count_parameters(encoder):,} parameters, decoder {count_parameters(decoder):,}")
inner = paper.widths[paper.stem :]
print("group sizes", [4 * a // b for a, b in zip(inner, inner[1:])])

# %% [markdown]
# ## 6. Attention that does not grow with the square
#
# At f32 and 512 pixels the outer stages have many places: 64 x 64 = 4,096 where the paper's first attention block stands. Softmax attention compares each place with each other one. **Linear attention** replaces softmax by something that can be taken apart: the weight of a pair is the product of two positive vectors,
#
# $$\text{out} = \frac{\text{relu}(q)\,\big(\text{relu}(k)^{T} v\big)}{\text{relu}(q)\,\sum_n \text{relu}(k)^{T}}$$
#
# In words: multiply keys and values first. That gives one small table of $d \times d$ numbers for the whole picture, whatever its size. Then each query reads this table. The denominator makes the weights of each query add up to 1.
#
# Brackets change no result, but they change the cost: $(q k^T) v$ takes $n \cdot n \cdot d$ multiplications, $q (k^T v)$ only $n \cdot d \cdot d$. With softmax between $q$ and $k$ one cannot move the brackets.
#
# | symbol | meaning | shape | code |
# |---|---|---|---|
# | $q$, $k$, $v$ | queries, keys, values | (b, n, d) | `q`, `k`, `v` |
# | $n$ | places that attend to one another | number | `q.shape[-2]` |
# | $d$ | width of a query; a head has 32 | number | `q.shape[-1]` |

# %% [markdown] tags=["exercise-text"]
# ### Exercise 02.4 - Linear attention
# difficulty: 4/5 · importance: 4/5 · 12 min · needs: none
#
# Write `linear_attention(q, k, v)`. All three are float tensors (b, n, d). Give back (b, n, d) by the formula above, keys and values multiplied first. Add `1e-15` to the denominator: a query that is negative everywhere shall give 0, not nan.
#
# Used in `dcar_edu.tokenizer.blocks.relu_attention`.
#
# <details><summary>Hint 1</summary>
#
# Queries and keys go through `relu`, values do not. `k.transpose(-1, -2)` has shape (b, d, n). Which product has shape (b, d, d)?
# </details>
# <details><summary>Hint 2</summary>
#
# The denominator is one number for each query: its product with the *sum of all keys*. `k.sum(dim=-2, keepdim=True)` has shape (b, 1, d).
# </details>
# <details><summary>Hint 3</summary>
#
# `summed = q @ k.sum(dim=-2, keepdim=True).transpose(-1, -2)`, then `q @ (k.transpose(-1, -2) @ v) / (summed + 1e-15)`, with `q, k = q.relu(), k.relu()` before.
# </details>
# <details><summary>Expected</summary>
#
# The same numbers as the quadratic form, to 5 digits. If all values are 1, so is the result.
# </details>

# %% tags=["exercise"]
def linear_attention(q, k, v):
    """Attention with ReLU in place of softmax; keys and values are multiplied first."""
    # BEGIN SOLUTION
    q, k = q.relu(), k.relu()
    summed = q @ k.sum(dim=-2, keepdim=True).transpose(-1, -2)
    return q @ (k.transpose(-1, -2) @ v) / (summed + 1e-15)
    # END SOLUTION


# %% tags=["check", "nbval-ignore-output"]
linear_attention = check("02.4", linear_attention)

# %%
def quadratic_attention(q, k, v):
    """The same numbers the long way: a table of n x n weights."""
    weights = q.relu() @ k.relu().transpose(-1, -2)
    return weights / (weights.sum(-1, keepdim=True) + 1e-15) @ v


# %% tags=["nbval-check-output"]
q, k, v = torch.randn(3, 2, 50, 8, generator=torch.Generator().manual_seed(0))
gap = (linear_attention(q, k, v) - quadratic_attention(q, k, v)).abs().max()
print("linear = quadratic within 1e-5:", bool(gap < 1e-5))
for n in (16, 32, 4096):
    print(f"{n:5d} places: n·n·32 = {n * n * 32:12,}   n·32·32 = {n * 32 * 32:10,}")

# %% tags=["nbval-ignore-output"]
def milliseconds(work):
    """The fastest of several runs, after one that does not count."""
    work()
    times = []
    for _ in range(L.budget.repeats):
        start = time.perf_counter()
        work()
        times.append(1000 * (time.perf_counter() - start))
    return min(times)


counts = [n for n in (16, 32, 64, 128, 256, 512, 1024, 2048, 4096) if n <= L.budget.most_places]
timed = {"quadratic": [], "linear": []}
for n in counts:
    q, k, v = torch.randn(3, 4, n, 32)
    timed["quadratic"].append(milliseconds(lambda: quadratic_attention(q, k, v)))
    timed["linear"].append(milliseconds(lambda: linear_attention(q, k, v)))

# %% tags=["nbval-ignore-output"]
figure, ((axis,),) = figures.panels(width=5.5, height=3)
for (name, values), mark in zip(timed.items(), ("o--", "s-")):
    axis.plot(counts, values, mark, label=name)
axis.axvline(32, color="#777777", linewidth=1, linestyle=":")
axis.text(34, axis.get_ylim()[1], "n = d = 32", va="top", fontsize=9)
axis.set(xscale="log", yscale="log", xlabel="places n", ylabel="milliseconds (this computer)")
axis.set_xticks([16, 64, 256, 1024, 4096], ["16", "64", "256", "1,024", "4,096"])
axis.set_xticks([], minor=True)
axis.yaxis.set_major_formatter("{x:g}")
axis.tick_params(which="minor", labelleft=False)
axis.legend()
figures.show(
    figure,
    alt="Time against the number of places, both axes logarithmic. For few places both forms take "
    "about the same time. For many places the quadratic form rises twice as steeply as the linear "
    "one and takes many times as long.",
)

# %% [markdown]
# **What to notice.** By counting, the two cost the same at $n = d = 32$. On a real computer small tables are so quick that the call itself takes most of the time, so the curves part later. The library takes the quadratic form up to 32 places and the linear one above; the result is the same.
#
# What does it cost in quality? ReLU weights are less sharp than softmax weights: such attention can hardly look at one place alone. That is why each attention block here also has convolutions, which see the neighbours well.

# %% [markdown]
# ## 7. Experiment: with and without shortcuts
#
# Now we train the network of the ledger twice: once as it is, once with every shortcut taken away. Everything else is equal: the weights at the start, the pictures, their order, the loss. Emoji of 64 x 64 pixels become 2 x 2 places of 32 numbers.

# %% [markdown] tags=["predict"]
# **What do you expect?** After the same number of pictures: which loss is lower, and where is the difference larger, at the start or at the end? Could the network without shortcuts catch up?
#
# <details><summary>Answer</summary>
#
# With shortcuts the loss falls faster from the first steps on. A convolution *can* learn to pass its input on, so the other network is not weaker by what it could do in the end; it has to find out first what the shortcut knows from the start, at every halving, with all layers in between changing too. The deeper the network, the more that matters. The figure shows how far it got.
# </details>

# %%
data = CaptionedEmoji("train", SIDE, concepts=L.budget.concepts)


def train(network, steps):
    """Learn to redraw pictures; gives the loss of every step."""
    generator, losses = L.generator(), []
    optimizer = torch.optim.AdamW(network.parameters(), lr=RATE)
    for step in range(steps):
        x = data.batch(BATCH, device=L.device, generator=generator).images
        optimizer.param_groups[0]["lr"] = RATE * min(1.0, (step + 1) / 20)
        loss = (network(x) - x).abs().mean()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
        if (step + 1) % max(1, steps // 4) == 0:
            print(f"  step {step + 1:5d}: loss {sum(losses[-25:]) / len(losses[-25:]):.3f}")
    return losses


networks, losses = {}, {}
for arm in ("without", "with"):
    print(arm, "shortcuts")
    networks[arm] = autoencoder(shortcuts=arm == "with", seed=SEED).to(L.device)
    losses[arm] = train(networks[arm], L.budget.steps)

# %%
unseen = CaptionedEmoji("held_out_concepts", SIDE, concepts=L.budget.concepts // 2)
pictures = unseen.batch(L.budget.pictures, generator=L.generator(1)).images
with torch.no_grad():
    redrawn = {arm: net(pictures.to(L.device)).cpu() for arm, net in networks.items()}
L.report(**{f"psnr_{arm}": psnr(drawn, pictures).mean() for arm, drawn in redrawn.items()})

# %%
LOOKS = {"without": ("C1", "s--", "///"), "with": ("C0", "o-", "")}
runs = [run for run in results("02_shortcuts") if run["budget"] == "cpu"]


def shade(axis, last):
    """Draw the lowest to the highest loss of our runs with several seeds, up to a step."""
    for arm, (colour, _, hatch) in LOOKS.items():
        lines = [run["metrics"] for run in runs if run["arm"] == arm]
        keys = sorted(key for key in lines[0] if key.startswith("loss_")) if lines else []
        steps = [int(key[5:]) for key in keys if int(key[5:]) <= last]
        values = torch.tensor([[line[key] for key in keys[: len(steps)]] for line in lines])
        if steps:
            low, high = values.amin(0), values.amax(0)
            look = {"color": colour, "alpha": 0.3, "hatch": hatch, "label": f"{arm}, ours"}
            axis.fill_between(steps, low, high, **look)


figure, (axes,) = figures.panels(1, 2 if runs else 1, height=3)
for arm, (colour, mark, _) in LOOKS.items():
    curve = windows(losses[arm], max(1, L.budget.steps // 10))
    axes[0].plot(list(curve), list(curve.values()), mark, color=colour, label=f"{arm}, now")
for axis, last in zip(axes, (L.budget.steps, 10**6)):
    shade(axis, last)
    axis.set(xlabel="step (16 pictures each)", ylabel="absolute error")
    axis.legend()
figures.show(
    figure,
    alt="The error against steps, without shortcuts and with. The curve with shortcuts lies below "
    "the other one. Where runs with several seeds are there, they are shaded behind the curves, "
    "and drawn to their end in a second panel.",
)
for arm in LOOKS if runs else ():
    found = [run["metrics"]["psnr"] for run in runs if run["arm"] == arm]
    print(f"our runs {arm} shortcuts, at the end:", [f"{value:.2f} dB" for value in found])

# %%
rows = [pictures, images.resize(images.resize(pictures, (2, 2)), (SIDE, SIDE)), *redrawn.values()]
names = ["original", "2 x 2 pixels", "without", "with"]
shown = torch.cat([row[:5].clamp(-1, 1) for row in rows])
figures.show(
    figures.image_grid(shown, row_titles=names, columns=5, tile=0.8),
    alt="Five pictures in four rows: the original, 2 x 2 pixels, and what the two networks draw "
    "without and with shortcuts. Both draw soft patches, none of them sharp; compare how far each "
    "one meets the colour of the ground.",
)

# %% [markdown]
# **What to notice.** Look at the grounds first. After 250 steps the network with shortcuts gives each picture about its own ground and a blob of the right size and roughly the right colour. The one without has found the size of the blob, and draws it on the same pale ground every time: which picture it was has hardly come through. At f32 "just shrink it" gives 2 x 2 patches; both networks know already that emoji are round and stand in the middle.
#
# Nothing here is sharp. These are concepts that the networks have never seen, after a few thousand pictures; the shipped network of section 1 is larger and was trained for an hour, the paper's for many epochs of ImageNet.
#
# Is the comparison fair? The weights, pictures and steps are equal, and so is the learning rate, which may suit one arm better. At twice the rate (`RATE = 2e-3`) the gap was larger: in a trial of 120 steps the error went to 0.29 with shortcuts and stayed near 0.53 without. What a lower rate does is yours to try. Where bands are shaded in the figure, they are runs of ours with several seeds, made with `dcar experiment 02_shortcuts`: 1,200 steps, long enough to see whether the lower curve is ever caught.

# %% [markdown]
# ## 8. Experiment: what does depth cost?
#
# 128 numbers a picture can be laid out in more or fewer places: 8 x 8 places of 2 numbers (f8), 4 x 4 of 8 (f16), or 2 x 2 of 32 (f32). The picture keeps equally many numbers, only the network gets deeper. These runs take minutes each, so they were made before, with `dcar experiment 02_depth`.

# %% [markdown] tags=["predict"]
# **What do you expect?** The same 128 numbers, once in 64 places, once in 4. Which is best after the same number of pictures? And which would you like to have for a model that draws token by token?
#
# <details><summary>Answer</summary>
#
# There are two forces. A place of f32 sees a large part of the picture and can spend its 32 numbers where something happens, while f8 must give 2 numbers to each small square of even background too. Against this, a deeper network is harder to train. The paper's claim is that with shortcuts the second force stays small. The figure shows which of the two wins here. And for drawing, 4 places cost far less than 64: one token each, as counted in lesson 01.
# </details>

# %%
runs = [run for run in results("02_depth") if run["budget"] == "cpu"]
for arm in ("f8", "f16", "f32"):
    found = [run["metrics"]["psnr"] for run in runs if run["arm"] == arm]
    if found:
        spread = f"{min(found):.2f} to {max(found):.2f}" if len(found) > 1 else "one seed"
        print(f"{arm:4s} PSNR {sum(found) / len(found):.2f} dB ({spread}, {len(found)} runs)")
if not runs:
    print("no results yet: run  dcar experiment 02_depth --seed 0")

# %%
figure, ((axis,),) = figures.panels(width=5.5, height=2.4)
for place, (arm, mark) in enumerate(zip(("f8", "f16", "f32"), "os^")):
    found = [run["metrics"]["psnr"] for run in runs if run["arm"] == arm]
    axis.plot([place] * len(found), found, mark, markersize=9, alpha=0.7)
axis.set_xticks(range(3), ["f8: 64 places of 2", "f16: 16 of 8", "f32: 4 of 32"])
axis.set(ylabel="PSNR in dB, unseen", xlim=(-0.5, 2.5))
if runs:
    figures.show(
        figure,
        alt="PSNR of unseen pictures for f8, f16 and f32, one mark a run. The numbers are printed "
        "above the figure.",
    )

# %% [markdown]
# **What to notice.** Compare the distance between the arms with the spread of the seeds before you believe in it. `dcar experiment 02_depth --arm f16 --seed 3` adds a run of your own to [results/](../lessons/results/).
#
# ## Quiz

# %% tags=["quiz", "nbval-ignore-output"]
course.quiz("02")

# %% [markdown] tags=["recap"]
# ## What you take with you
#
# 1. **Space to depth** makes a picture smaller and loses nothing; the order is (channel, row, column).
# 2. A **shortcut without parameters** averages neighbouring channels on the way down and repeats them on the way up. An untrained network of any depth passes a coarse picture, and the convolutions learn the rest.
# 3. **Linear attention** multiplies keys with values first: $n d^2$ instead of $n^2 d$, the same numbers.
# 4. f32 holds 96 times fewer numbers than the pixels, in 4 x 4 places at 128 pixels.
#
# **New terms:** autoencoder, bottleneck, shortcut, space to depth, stem, depth, linear attention. `course.glossary()` explains them.
#
# **You now know** `dcar_edu.tokenizer.blocks` and `dcar_edu.tokenizer.autoencoder`, all of it.
#
# **To read on:** [DC-AE](https://arxiv.org/abs/2410.10733), section 3.1 on the shortcuts; [EfficientViT](https://arxiv.org/abs/2205.14756) on the attention.
#
# **Next:** 512 numbers with decimals are not yet tokens. Lesson 03 turns each place into one whole number.

# %% tags=["nbval-ignore-output"]
#@title Download my answers (on Colab)
import sys

if "google.colab" in sys.modules:
    L.save_answers()

# %% tags=["finish", "nbval-ignore-output"]
with torch.no_grad():
    tile = tokenizer.decode_latents(latents)[0].cpu()
L.finish(wolf=tile)
