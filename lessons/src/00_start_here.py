# %% [markdown] tags=["header"]
# ---
# title: Start here
# builds: your first picture from a sentence, and three small tools to look inside it
# figures: 12
# wait: 1
# wait_gpu: 1
# gpu: false
# memory: 2 GB
# needs: none
# writes: your progress file, nothing else
# ---

# %% [markdown] tags=["map"]
# A sentence goes in on the left, a picture comes out on the right. This lesson runs the whole machine once, before you know any part of it. Each later lesson opens one box, and you build what is inside.

# %% [markdown] tags=["objectives"]
# **When you are done you can**
#
# - draw a picture from a sentence, and draw exactly the same picture again;
# - say what "f32" means, and how many tokens a picture has;
# - turn a picture into the numbers that a model reads;
# - read the record of a run: which token appeared in which step;
# - use the exercises of this course: checks, hints, solutions.
#
# **You need** Python, and enough PyTorch to have trained one small network. No diffusion, no vector quantization, no GAN: the course teaches them. The quiz at the end has six questions that tell you whether you are ready, and what to read if not.
#
# **Short of time?** Do sections 1 to 4 and the quiz. Nothing is trained in this lesson.

# %% tags=["setup"]
#@title Setup (run first)
# SETUP

# %% tags=["parameters"]
import os

BUDGET = os.environ.get("DCAR_BUDGET", "cpu")
SEED = 0

# %% tags=["nbval-ignore-output"]
#@title Keep my work in Google Drive (on Colab, optional)
KEEP_IN_DRIVE = False  #@param {type: "boolean"}

if KEEP_IN_DRIVE:
    import pathlib

    from google.colab import drive

    mounted = pathlib.Path("/content") / "drive"
    drive.mount(str(mounted))
    os.environ["DCAR_HOME"] = str(mounted / "MyDrive" / "dcar_edu")

# %% tags=["start", "nbval-ignore-output"]
import textwrap

import torch
from matplotlib.patches import Rectangle

from dcar_edu import (
    DCAR,
    CaptionedEmoji,
    GeneratorConfig,
    HybridTokenizer,
    MaskedGenerator,
    TokenizerConfig,
    checkpoint,
    course,
    images,
)
from dcar_edu.course import check, figures
from dcar_edu.generator.masking import reveal_counts
from dcar_edu.metrics import psnr, token_match
from dcar_edu.metrics.splits import Learnt

L = course.start("00", BUDGET, SEED)

# %% tags=["map", "nbval-ignore-output"]
course.course_map("00")

# %% [markdown]
# ## 1. A sentence becomes a picture
#
# We load a small DC-AR that was trained for this course, and give it a sentence. The sentence is called the **prompt**. The model was trained on emoji. It has learnt to draw more than five hundred things (animals, food, vehicles, tools) in one style, 3D, on a white or a pale blue background.
#
# One number goes with the prompt: the **guidance** says how hard the prompt pulls. We take 1, which suits this model best; lesson 08 shows what more would do.

# %%
NAME, GUIDANCE = "emoji-256-cpu", 1
model = DCAR.from_pretrained(NAME).to(L.device)

prompt = "a 3D emoji of a wolf on a pale blue background"
wolf = model.generate([prompt], guidance=GUIDANCE, seed=SEED)[0]

# %%
figures.show(
    wolf,
    alt="A soft head of a wolf on pale blue: two ears, two eyes that are not quite alike, a dark "
    "nose and a dark chin. Its fur is grey with a touch of pink; its right cheek is broken.",
)

# %% tags=["nbval-check-output"]
print(type(wolf).__name__, wolf.size, wolf.mode)

# %% [markdown]
# **What to notice.** No picture was looked up. The model wrote 64 numbers in twelve steps, and a decoder turned them into 256 x 256 pixels.
#
# The picture is soft: the ears are blunt, and the right cheek is broken. This is the smallest size of the course, called `nano`: it trains on a laptop. The paper's model writes 64 numbers for such a picture too, each out of 16,384 where ours are out of 1,024, and it is about seventy times larger. Everything you learn about the small one holds for the large one: it is the same code with other sizes. The lessons after this one go on with its smaller sibling `emoji-128` (128 x 128 pixels, 16 numbers), which is quicker to train.
#
# Now change the prompt in the cell above: an owl, a rocket, a white background. Then ask for something that it has not learnt: a flat emoji, an orange background, a castle made of cheese. It will still draw something. It has never learnt to refuse.

# %% [markdown]
# ## 2. Twelve steps
#
# The 64 numbers are called **tokens**. They stand in a grid of 8 rows and 8 columns, and each one describes a piece of the picture.
#
# Drawing works like solving a crossword:
#
# 1. At the start every token is hidden.
# 2. The model looks at the prompt and at the tokens that are visible. It guesses *all* hidden tokens at once.
# 3. The guesses of which it is most sure stay. The others are hidden again.
# 4. Go back to 2. After twelve steps nothing is hidden.
#
# How many tokens stay hidden after step $k$ is fixed in advance. It does not depend on the picture:
#
# $$|m_k| = \left\lfloor N \cdot \tfrac{2}{\pi} \arccos\!\left(\tfrac{k}{T}\right) \right\rfloor$$
#
# In words: the number falls slowly at first and fast at the end, when most of the picture is decided and the rest is easy.
#
# | symbol | meaning | shape | code |
# |---|---|---|---|
# | $N$ | tokens in the picture | number, here 64 | `num_tokens` |
# | $T$ | steps | number, here 12 | `num_steps` |
# | $k$ | this step, counted from 1 | number | `record.step` |
# | $m_k$ | mask after step $k$: which tokens are still hidden; $\lvert m_k \rvert$ is how many | (b, h, w), bool | `record.mask` |
#
# `generate_steps` hands out one record after each step. Each record has a preview: what the decoder makes of the tokens so far.

# %%
records = list(model.generate_steps([prompt], guidance=GUIDANCE, seed=SEED))
masks = torch.stack([record.mask[0] for record in records]).cpu()
hidden = [int(mask.sum()) for mask in masks]

# %%
figures.show(
    figures.film_strip(records),
    alt="Twelve small pictures in two rows. In the first, four tokens of 64 are visible; about four "
    "more appear in each of the next steps, the face before the background, and the last 16 at once.",
)

# %% tags=["nbval-check-output"]
print("hidden after each step:", hidden)
for tokens in (16, 64, 256):
    print(f"{tokens:3d} tokens, revealed in each step:", reveal_counts(tokens, 12))

# %% [markdown]
# **What to notice.** Each step reveals several tokens at once: few at the start, when little is known, and 16 in the last step. Writing the 64 tokens one by one would take 64 steps. The idea pays more for larger pictures: 256 tokens take twelve steps too. And it pays nothing for small ones: 16 tokens appear nearly one by one. Lesson 08 measures this.
#
# The same twelve steps as a short animation. It plays once and stops; you can step through it with the buttons.

# %% tags=["nbval-ignore-output"]
figures.animate(
    [record.preview[0].resize((128, 128)) for record in records],
    alt="The twelve previews one after another: out of grey cells a wolf's head appears.",
)

# %% [markdown]
# One thing is left to do after step 12. Sixty-four whole numbers cannot say everything about a picture. A second, small network guesses what is missing, the **residual**: this is why the paper calls its tokenizer "hybrid". Four pictures show what it is for: the drawn tokens alone; the drawn tokens with the *drawn* residual; the original's own tokens with its *true* residual, which is the best that this tokenizer can do; and the original.

# %%
emoji = CaptionedEmoji("train", 256, styles=["3d"], concepts=["wolf"])
original = emoji.render([emoji.example("wolf", "3d", "pale blue")])[0]
tokens_only = model.generate([prompt], guidance=GUIDANCE, seed=SEED, residual_steps=0)[0]
true = model.tokenizer.encode(original[None].to(L.device))
best = model.tokenizer.decode(true.indices, true.residuals)[0].cpu()
titles = ["drawn tokens", "+ drawn residual", "true tokens\n+ true residual", "original"]
figures.show(
    figures.image_grid([tokens_only, wolf, best, original], titles, tile=1.1),
    alt="Four pictures of the wolf. Drawn tokens: a soft grey head with a broken right cheek. With "
    "the drawn residual: the same head, hardly changed. True tokens and residual: pointed ears "
    "and a whole muzzle, still soft. The original: grey and sharp.",
)

# %% [markdown]
# **What to notice.** Compare each picture with the original: the ears, the eyes, the muzzle. All 64 drawn tokens are the right ones here, so the first three pictures differ in the residual alone. The *true* one points the ears and mends the cheek. The *drawn* one is a guess, and a small network guesses weakly: it mends nothing. (This model may therefore draw residuals only a quarter as large as usual; larger ones did harm.) Section 7 measures this on 24 pictures. The paper reports a clear gain from residuals for its large model (its Table 4); lessons 09 and 10 ask what a small one gains.
#
# Even the third picture is soft. No drawing can be better than what the tokenizer can say.

# %% [markdown]
# ## 3. How an exercise works
#
# An exercise is one small function. You write its body, run the cell, and run the check below it. A check knows three answers:
#
# - **PASS**: your function is right. The lesson goes on with *your* function.
# - **TODO**: you have not written it yet. The lesson goes on with ours.
# - **FAIL**: something is wrong. The check says *what it saw*, and which hint may help. The lesson goes on with ours.
#
# So nothing stops you from running a notebook to its end, and you can come back later. You never have to restart anything.
#
# Here are three answers to the same small question, "how many rows and columns of tokens?". The figure shows what the check says to each. The middle one is what every exercise looks like before you begin.

# %% tags=["nbval-ignore-output"]
from dcar_edu.course.checks import run_check


def right(height, width, f=32):
    if height % f or width % f:
        raise ValueError("pixels are left over")
    return height // f, width // f


def not_written(height, width, f=32):
    raise NotImplementedError("00.1")


def columns_first(height, width, f=32):
    return width // f, height // f


results = [run_check("00.1", fn) for fn in (right, not_written, columns_first)]

# %%
colours = {"PASS": "#009E73", "TODO": "#0072B2", "FAIL": "#D55E00"}
figure, boxes = figures.panels(1, 3, height=1.9)
for box, result in zip(boxes[0], results):
    colour = colours[result.status]
    used = "your function" if result.status == "PASS" else "ours"
    box.set(xticks=[], yticks=[], xlim=(0, 1), ylim=(0, 1))
    box.grid(False)
    box.spines[:].set(visible=True, color=colour, linewidth=2)
    box.text(0.05, 0.8, result.status, color=colour, fontsize=15, fontweight="bold")
    box.text(0.05, 0.7, textwrap.fill(result.message, 36), fontsize=8, va="top")
    box.text(0.05, 0.06, f"The lesson goes on with {used}.", fontsize=8, style="italic")
figures.show(
    figure,
    alt="Three boxes side by side. PASS: right, the lesson goes on with your function. TODO: not "
    "written yet. FAIL: rows and columns are swapped, with the value that was got and the value "
    "that was expected. After TODO and FAIL the lesson goes on with ours.",
)

# %% [markdown]
# **What to notice.** A FAIL shows two values: what your function *got*, and what was *expected*. Read them before you read your code again. `course.hint("00.1", 1)` prints the first hint, `course.show_solution("00.1")` prints our answer. Looking is allowed.
#
# ### What does f32 mean?
#
# The model cuts a picture into pieces of 32 x 32 pixels and writes one token for each. This is called "f32": 32 pixels of height, and 32 of width, become 1. The paper works at f32; many other models work at f8 or f16.
#
# $$\text{rows} = \frac{H}{f} \qquad \text{columns} = \frac{W}{f}$$
#
# In words: divide the height and the width by $f$. Both must come out even, otherwise pixels are left over.
#
# | symbol | meaning | shape | code |
# |---|---|---|---|
# | $H$, $W$ | height and width of the picture in pixels | number | `height`, `width` |
# | $f$ | pixels of height, or width, that become one token | number, here 32 | `f` |

# %% [markdown] tags=["exercise-text"]
# ### Exercise 00.1 - The token grid
# difficulty: 1/5 · importance: 4/5 · 4 min · needs: none
#
# Write `token_grid(height, width, f=32)`. It takes three whole numbers and gives a pair of whole numbers, `(rows, columns)`. If the height or the width is not a multiple of `f`, it raises a `ValueError`.
#
# Used in `dcar_edu.tokenizer.autoencoder.to_latent_grid`, before a picture is encoded.
#
# <details><summary>Hint 1</summary>
#
# Rows are counted from top to bottom, so which of the two sizes do they come from?
# </details>
# <details><summary>Hint 2</summary>
#
# `//` divides and gives a whole number, `%` gives what is left over: `100 % 32` is 4.
# </details>
# <details><summary>Hint 3</summary>
#
# `if height % f or width % f: raise ValueError(...)`, then `return height // f, width // f`.
# </details>
# <details><summary>Expected</summary>
#
# `token_grid(256, 512)` gives `(8, 16)`. `token_grid(100, 256)` raises a `ValueError`.
# </details>

# %% tags=["exercise"]
def token_grid(height, width, f=32):
    """Rows and columns of tokens for a picture of height x width pixels."""
    # BEGIN SOLUTION
    if height % f or width % f:
        raise ValueError(f"{height}x{width} is not a multiple of {f}: pixels are left over")
    return height // f, width // f
    # END SOLUTION


# %% tags=["check", "nbval-ignore-output"]
token_grid = check("00.1", token_grid)

# %% tags=["nbval-check-output"]
for side in (128, 256, 512):
    rows, columns = token_grid(side, side)
    print(f"{side} x {side} pixels: {rows} x {columns} = {rows * columns} tokens")

# %% [markdown]
# ## 4. A picture as numbers
#
# A picture file holds **bytes**: whole numbers from 0 (dark) to 255 (bright), three for each pixel: red, green, blue. A model wants small numbers around zero, and it wants the three colours first. So every picture is changed twice on its way in:
#
# $$x = \frac{p}{127.5} - 1$$
#
# In words: 0 becomes -1, 255 becomes +1, and the middle becomes about 0. And the axes are turned from (height, width, colour) to (colour, height, width).
#
# | symbol | meaning | shape | code |
# |---|---|---|---|
# | $p$ | the picture in bytes | (H, W, 3), uint8, 0 to 255 | `pixels` |
# | $x$ | the picture for a model | (3, H, W), float, -1 to 1 | `image` |
#
# To see the bytes we take the wolf of the data set, not the drawn one: the picture that the model should draw.

# %%
pixels = images.to_pixels(original)
corner = pixels[148:152, 16:22]
print("picture", tuple(pixels.shape), pixels.dtype, "- corner", tuple(corner.shape))

# %%
figure, axes = figures.panels(1, 5, height=1.9, width_ratios=[1.2, 1.5, 1.5, 1.5, 1.5])
whole, patch, *planes = axes[0]
whole.imshow(pixels)
whole.add_patch(Rectangle((11, 144), 16, 12, fill=False, linewidth=2))
whole.set_title("the wolf")
patch.imshow(corner)
patch.set_title("4 x 6 of its pixels")
for axis, values, name in zip(planes, corner.permute(2, 0, 1), ("red", "green", "blue")):
    axis.imshow(values, cmap="gray", vmin=0, vmax=255)
    axis.set_title(name)
    for row in range(4):
        for column in range(6):
            value = int(values[row, column])
            ink = "white" if value < 128 else "black"
            axis.text(column, row, value, color=ink, fontsize=6, ha="center", va="center")
for axis in axes[0]:
    axis.set(xticks=[], yticks=[])
    axis.grid(False)
    axis.spines[:].set_visible(False)
figures.show(
    figure,
    alt="The wolf of the data set with a small rectangle at its left cheek; 4 x 6 pixels from there, "
    "enlarged: pale blue on the left, grey fur on the right; and the same pixels three times, with "
    "their red, green and blue bytes. Pale blue is 200, 222, 255; fur is about 111, 110, 117.",
)

# %% [markdown] tags=["exercise-text"]
# ### Exercise 00.2 - Bytes to numbers
# difficulty: 2/5 · importance: 5/5 · 5 min · needs: none
#
# Write `to_model(pixels)`. `pixels` is a uint8 tensor of shape (H, W, 3). Give back a float tensor of shape (3, H, W) with values from -1 to 1, by the formula above.
#
# The picture is not square, on purpose. An answer that mixes up height and width gives the right *kind* of numbers in the wrong places.
#
# Used in `dcar_edu.images.to_model`, for every picture that goes into a model.
#
# <details><summary>Hint 1</summary>
#
# Two things happen: the axes are turned, and the values are changed. Do one after the other. A byte cannot hold -1 or 300: make floats before you calculate.
# </details>
# <details><summary>Hint 2</summary>
#
# `permute` turns axes. `reshape` only cuts the row of numbers in memory at other places; the colours would end up mixed. Which old axis comes first in the new order?
# </details>
# <details><summary>Hint 3</summary>
#
# `pixels.permute(2, 0, 1)` puts the colours first. Then `.float() / 127.5 - 1`.
# </details>
# <details><summary>Expected</summary>
#
# Bytes 0, 128 and 255 become -1.0000, 0.0039 and 1.0000. A picture of shape (4, 6, 3) becomes (3, 4, 6).
# </details>

# %% tags=["exercise"]
def to_model(pixels):
    """Turn bytes (H, W, 3) into floats (3, H, W) from -1 to 1."""
    # BEGIN SOLUTION
    return pixels.permute(2, 0, 1).float() / 127.5 - 1
    # END SOLUTION


# %% tags=["check", "nbval-ignore-output"]
to_model = check("00.2", to_model)

# %% tags=["nbval-check-output"]
example = torch.tensor([0, 128, 255], dtype=torch.uint8).expand(4, 6, 3)
print(tuple(to_model(example).shape), [f"{value:.4f}" for value in to_model(example)[:, 0, 0]])

# %% [markdown]
# **What to notice.** 128 does not become exactly 0: there are 256 bytes, an even number, so none of them is the exact middle.
#
# Most errors in image code are of this kind: the shape is right and the values are wrong. No program complains; the pictures come out grey, or red and blue change places. That is why every check in this course looks at values, and uses pictures that are not square.

# %% [markdown]
# ## 5. Which token came when?
#
# `generate_steps` gave one mask a step: an 8 x 8 grid that says for each token whether it is *still hidden* after this step. Twelve masks hold the whole story of a drawing. One small function turns them into a map:
#
# $$o = 1 + \sum_{k=1}^{T} m_k$$
#
# In words: count in how many steps the token was still hidden; it appeared in the step after those.
#
# | symbol | meaning | shape | code |
# |---|---|---|---|
# | $m_k$ | mask after step $k$; True = still hidden, counts as 1 | (h, w), bool | `masks[k - 1]` |
# | $o$ | order: the step in which each token appeared, 1 = first | (h, w), int | `order` |
# | $T$ | steps | number, here 12 | `len(masks)` |

# %% [markdown] tags=["exercise-text"]
# ### Exercise 00.3 - The order of appearance
# difficulty: 2/5 · importance: 3/5 · 6 min · needs: none
#
# Write `reveal_order(masks)`. `masks` is a bool tensor of shape (steps, h, w); True means "still hidden after this step". Give back a tensor of whole numbers of shape (h, w): the step in which each token appeared. The first step is 1. Once visible, a token stays visible.
#
# Used in `dcar_edu.course.figures.reveal_map`, which draws the heat map below.
#
# <details><summary>Hint 1</summary>
#
# Take one token that appeared in step 3 of 5. Write its five mask values on paper. How do you get from them to 3?
# </details>
# <details><summary>Hint 2</summary>
#
# They are True, True, False, False, False: hidden after step 1 and after step 2. Bools can be added up, True counts as 1. Over which axis?
# </details>
# <details><summary>Hint 3</summary>
#
# `masks.sum(0)` counts the steps in which a token was still hidden. Steps are counted from 1, so add 1.
# </details>
# <details><summary>Expected</summary>
#
# For the drawing above: an 8 x 8 grid that holds 1 four times, 2 three times, and so on up to 12, which it holds sixteen times: as many as that step revealed.
# </details>

# %% tags=["exercise"]
def reveal_order(masks):
    """Step (1 = first) in which each token appeared, from masks (steps, h, w)."""
    # BEGIN SOLUTION
    return masks.sum(0) + 1
    # END SOLUTION


# %% tags=["check", "nbval-ignore-output"]
reveal_order = check("00.3", reveal_order)

# %%
order = reveal_order(masks)
figures.show(
    figures.reveal_map(order, picture=wolf),
    alt="The drawn wolf, and beside it an 8 x 8 grid of numbers from 1 to 12: the step in which each "
    "token appeared. Dark squares came early, bright squares late.",
)

# %% tags=["nbval-check-output"]
print("tokens that appeared in steps 1 to 12:", torch.bincount(order.flatten(), minlength=13)[1:].tolist())

# %% [markdown]
# **What to notice.** You might expect the plain background first, because one colour is easy to say. Look at the rim: most of it comes last. This is no accident of one seed. We measured 48 prompts: the 28 tokens of the rim appeared in step 10 on average, the four corners in step 11, and the 36 tokens inside in step 6.
#
# Nobody told the model an order. It follows from a score, and the score mixes how much the prompt speaks for a token with some random noise. Lesson 08 takes the score apart.

# %% [markdown]
# ## 6. Experiment: the prompt, or the seed?
#
# The same prompt can give many pictures. What differs is the **seed**: the number from which all random choices of a drawing follow. We draw four prompts with four seeds each.

# %% [markdown] tags=["predict"]
# **What do you expect?** The rows will be prompts, the columns seeds. Will the four pictures in a row show the same thing? Will two pictures in a column look alike, because they share their seed? Decide before you look.
#
# <details><summary>Answer</summary>
#
# The prompt decides what is shown, so the pictures of a row belong together. The seed decides the details: they differ, often only a little, because a small model that has learnt its pictures well is sure of itself. Pictures in a column share their random numbers, but these numbers mean something different for each prompt. So you should see nothing in common.
# </details>

# %%
prompts = [
    "a 3D emoji of a wolf on a pale blue background",
    "a 3D emoji of a wolf on a white background",
    "a 3D emoji of an owl on a pale blue background",
    "a 3D emoji of a rocket on a white background",
][: L.budget.prompts]
seeds = list(range(L.budget.seeds))
repeated = [text for text in prompts for _ in seeds]
drawn = model.generate(repeated, guidance=GUIDANCE, seed=seeds * len(prompts))

# %%
figures.show(
    figures.image_grid(drawn, [f"seed {s}" for s in seeds], columns=len(seeds), tile=0.75),
    alt="A grid of drawn pictures. Rows: four prompts; columns: four seeds. Pictures in a row differ "
    "hardly at all: a shade of the fur, the rim of an eye. Wolves, owl and rocket can be "
    "recognised in every column.",
)
for row, text in enumerate(prompts):
    print(f"row {row + 1}: {text}")

# %% [markdown]
# The same seed draws the same picture again, exactly. This is how you can show somebody else what you have seen:

# %% tags=["nbval-check-output"]
again = model.generate([prompt], guidance=GUIDANCE, seed=SEED)[0]
print("same seed, same picture:", again.tobytes() == wolf.tobytes())

# %% [markdown]
# **What to notice.** A row changes far less than a new word in the prompt does. The model knows these prompts by heart: in each row all four pictures have the same 64 tokens, and they are the right ones. What the seed still decides is the order in which they appear, and a small residual that you hardly see. And a weakness comes back with every seed: the broken cheek of the wolf on pale blue.

# %% [markdown]
# ## 7. How good is it?
#
# Looking is pleasant, but a number is more honest. The model was trained on pictures, so for a prompt that it has learnt there is a right answer: the tokens of the original picture. We count how many of them it redraws:
#
# $$\text{match} = \frac{1}{b\,N} \sum \left[\, i = i^{*} \,\right]$$
#
# In words: the share of places in which the drawn token is the original's token. Guessing blindly would give 1/1024.
#
# | symbol | meaning | shape | code |
# |---|---|---|---|
# | $i$ | the tokens that the model drew | (b, h, w), int | `indices` |
# | $i^{*}$ | the tokens of the original pictures | (b, h, w), int | `true.indices` |
# | $b$, $N$ | pictures, and tokens of a picture | number, here 24 and 64 | `len(captions)`, `num_tokens` |
# | $[\ldots]$ | 1 if true, 0 if not | number | in `token_match` |
#
# Beside it we print three values of **PSNR**: how close pictures are, pixel by pixel, in decibel; higher is closer. Lesson 01 builds it.
#
# The 24 prompts are the first that the model has learnt, in the data set's fixed order. Nobody chose them because they look good. In each pair the left picture is drawn, the right one is the original.

# %%
learnt = Learnt.read(checkpoint.find_model(NAME)).data()
pale = [place for place, e in enumerate(learnt.examples()) if e.background == "pale blue"]
chosen = learnt.only(pale[: L.budget.pairs])
examples = chosen.examples()
captions = [example.caption for example in examples]
originals = chosen.render(examples)

indices = model.generate_tokens(captions, guidance=GUIDANCE, seed=SEED)
true = model.tokenizer.encode(originals.to(L.device))
tokens_only = model.tokenizer.decode(indices).cpu()
best = model.tokenizer.decode(true.indices, true.residuals).cpu()
pictures = model.generate(captions, guidance=GUIDANCE, seed=SEED)
drawings = torch.stack([images.from_pil(picture) for picture in pictures])

L.report(
    token_match=token_match(indices.cpu(), true.indices.cpu()).mean(),
    psnr_drawn_tokens=psnr(tokens_only, originals).mean(),
    psnr_with_drawn_residual=psnr(drawings, originals).mean(),
    psnr_best_of_tokenizer=psnr(best, originals).mean(),
)

# %%
gap = torch.ones(3, 256, 12)
pairs = [torch.cat([drawn, gap, real], dim=-1) for drawn, real in zip(drawings, originals)]
labels = [textwrap.fill(example.label, 15) for example in examples]
figures.show(
    figures.image_grid(pairs, columns=6, titles=labels, tile=1.05),
    alt="Twenty-four pairs of pictures: left drawn, right original. Colours and outlines fit, fine "
    "details do not. Nearly all can be recognised, such as frog, kangaroo, snake and sailboat. The "
    "envelope has lost its sign and the trumpet its valves; one of the paperclips is a cloud.",
)

# %% [markdown]
# **What to notice.** These are prompts that the model has *seen in training*: this number measures memory, not imagination. Prompts that it has never seen are harder, and lesson 13 measures them.
#
# Now compare the numbers with the pictures. Of all 1,536 tokens three are wrong, and yet no picture is sharp: the rainbow has lost some of its colours, the envelope its sign, the trumpet its valves. The tokens are right; they cannot say more. The last PSNR is the best that this tokenizer can do with true tokens *and* true residuals. Lessons 01 to 05 are about the gap between it and the original.
#
# And compare the two PSNR of the drawings: the drawn residual changes nothing that PSNR could see, where the true one would gain about two decibel. It is bounded for a reason. The decoder trusts residuals, because in training they were always true; drawn as large as in the paper, a weak guess misleads it, and pictures become worse. A part that helps in the paper need not help in every copy of it. That is why we measure. Lesson 10 measures the same for `emoji-128`, whose drawn residuals help a little.

# %% [markdown]
# ## 8. The real size
#
# The model of the paper is the same code with larger numbers. It does not fit on a laptop, but we can build it on the **meta device**: torch then knows every shape and stores no number.

# %%
with torch.device("meta"):
    paper_tokenizer = HybridTokenizer(TokenizerConfig.preset("paper"))
    paper_generator = MaskedGenerator(GeneratorConfig.preset("paper"))


def count(module):
    """Number of trained values in a module."""
    return sum(parameter.numel() for parameter in module.parameters())


# %% tags=["nbval-check-output"]
print(f"tokenizer of the paper: {count(paper_tokenizer):,} parameters")
print(f"generator of the paper: {count(paper_generator):,} parameters")

# %%
sizes = {
    "tokenizer, nano": count(model.tokenizer),
    "tokenizer, paper": count(paper_tokenizer),
    "generator, nano": count(model.generator),
    "generator, paper": count(paper_generator),
}
figure, ((axis,),) = figures.panels(height=2)
bars = axis.barh(list(sizes), [size / 1e6 for size in sizes.values()], hatch=["", "//", "", "//"])
axis.bar_label(bars, [f"{size / 1e6:.1f} M" for size in sizes.values()], padding=4)
axis.set(xscale="log", xlim=(1, 3000), xlabel="parameters in millions")
axis.set_xticks([1, 10, 100, 1000], ["1", "10", "100", "1,000"])
axis.invert_yaxis()
figures.show(
    figure,
    alt="Bars on a logarithmic axis. The tokenizer and the generator of the paper are about forty "
    "and one hundred times larger than those of nano.",
)

# %% [markdown]
# **What to notice.** You have just drawn pictures with a model that is about seventy times smaller than the paper's. The paper's model took hundreds of hours of GPU time and far more pictures; ours took one computer and a few hundred emoji. The ideas are the same, and small models show their weaknesses more openly.

# %% [markdown]
# ## Stuck?
#
# Three things go wrong most often. The picture shows where to click; the words say the same.
#
# - **No GPU on Colab.** Menu *Runtime*, then *Change runtime type*, choose *T4 GPU*, *Save*. This lesson needs none.
# - **My work is gone on Colab.** A notebook opened from a link is not yours until you save it: menu *File*, then *Save a copy in Drive*. Do it now.
# - **Where the buttons should be, nothing is shown.** Run the cell again. If it stays empty, put `os.environ["DCAR_WIDGETS"] = "0"` in the parameters cell: you get pictures and text in place of buttons.
#
# Anything else: run `dcar doctor` in a terminal. It says what is missing and how to mend it.

# %%
ways = {
    "no GPU": ["Runtime", "Change runtime type", "T4 GPU", "Save"],
    "work gone": ["File", "Save a copy in Drive"],
    "no buttons": ["run the cell again", 'DCAR_WIDGETS = "0"', "pictures and text"],
}
figure, ((axis,),) = figures.panels(height=1.7)
axis.set(xlim=(0, 10), ylim=(2.6, -0.6))
axis.set_axis_off()
for row, (trouble, steps) in enumerate(ways.items()):
    axis.text(0, row, trouble, va="center", fontweight="bold", fontsize=10)
    for place, step in enumerate(steps):
        look = {"boxstyle": "round,pad=0.4", "facecolor": "#F0F0F0", "edgecolor": "#0072B2"}
        axis.text(2.6 + 2.2 * place, row, step, ha="center", va="center", fontsize=8, bbox=look)
        if place:
            axis.text(1.5 + 2.2 * place, row, ">", ha="center", va="center", color="#0072B2")
figures.show(
    figure,
    alt="Three rows of boxes to click. No GPU: Runtime, Change runtime type, T4 GPU, Save. Work gone: "
    "File, Save a copy in Drive. No buttons: run the cell again, then DCAR_WIDGETS = 0, which gives "
    "pictures and text.",
)

# %% [markdown]
# ## Quiz
#
# Six short questions to find out whether you are ready, and two about this lesson. Nobody counts the points. Each answer comes with an explanation, and a wrong one with a pointer to what to read first.

# %% tags=["quiz", "nbval-ignore-output"]
course.quiz("00")

# %% [markdown] tags=["recap"]
# ## What you take with you
#
# 1. A picture is a small grid of **tokens**. At f32, one token stands for 32 x 32 pixels.
# 2. Drawing means: start with everything hidden, guess everything, keep what is sure, repeat. Twelve steps, whatever the number of tokens.
# 3. The **prompt** decides what is drawn, the **seed** which of the possible pictures you get. The same seed gives the same picture again.
# 4. Numbers on pictures of the training set measure memory. Ask which pictures a number was measured on, and look at them: with nearly every token right, the pictures are still soft.
#
# **New terms:** prompt, token, token grid, f32, mask, step, seed, guidance, residual, budget. `course.glossary()` explains them, and the terms of all lessons.
#
# **You now know** `DCAR.from_pretrained`, `DCAR.generate`, `DCAR.generate_steps`, `dcar_edu.images.to_model`, `dcar_edu.generator.masking.reveal_counts`, `dcar_edu.metrics.token_match`.
#
# **To read on:** [the paper](https://arxiv.org/abs/2507.04947), abstract and first figure only: after this lesson you can follow both.
#
# **Next:** lesson 01 looks at the data, and asks what is lost when a picture is made 32 times smaller.

# %% tags=["nbval-ignore-output"]
#@title Download my answers (on Colab)
import sys

if "google.colab" in sys.modules:
    L.save_answers()

# %% tags=["finish", "nbval-ignore-output"]
L.finish()
