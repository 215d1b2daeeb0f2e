# %% [markdown] tags=["header"]
# ---
# title: Editing
# builds: an editor; from a mask of pixels to tokens, and back to pixels
# figures: 9
# wait: 3
# wait_gpu: 2
# gpu: false
# memory: 2 GB
# needs: 08, 10
# writes: your progress file and the last tile of the wolf strip
# ---

# %% [markdown] tags=["map"]
# Lesson 10 drew pictures from nothing. Here a picture is there already, and a part of it shall change. Nothing new is trained: a masked generator can edit by itself, because "some tokens are known, draw the others" is all that it ever learnt. This lesson builds the editor around it, and answers a question that the paper leaves open.

# %% [markdown] tags=["objectives"]
# **When you are done you can**
#
# - say which tokens a mask of pixels redraws, and why an edit is larger than its mask;
# - give each picture of a batch its own number of steps;
# - keep what must stay: ids, residuals and, in the end, pixels;
# - edit, outpaint and vary pictures with `model.edit`, `model.outpaint` and `model.vary`;
# - answer with numbers whether the residual head hinders editing.
#
# **You need** lessons 08 and 10: the twelve steps, residuals, and how both become a picture.
#
# **Short of time?** Sections 1, 2, 4, 5 and 7.

# %% tags=["setup"]
#@title Setup (run first)
# SETUP

# %% tags=["parameters"]
import os

BUDGET = os.environ.get("DCAR_BUDGET", "cpu")
SEED = 0

# %% tags=["start", "nbval-ignore-output"]
import statistics

import torch

from dcar_edu import DCAR, course, editing, images
from dcar_edu.checkpoint import find_model
from dcar_edu.course import check, figures, same_as_library
from dcar_edu.course.experiments import results
from dcar_edu.course.painter import MaskPainter, paint_mask
from dcar_edu.course.studies import study_14 as study
from dcar_edu.course.studies.study_05 import SURE, verdict
from dcar_edu.generator.masking import reveal_counts
from dcar_edu.metrics.splits import Learnt

L = course.start("14", BUDGET, SEED)

# %% tags=["map", "nbval-ignore-output"]
course.course_map("14")

# %% [markdown]
# ## 1. Eight edits
#
# Each picture of the upper row is given to the shipped model `emoji-256-cpu`, with a mask over one half and the name of something else. This model knows 560 emoji by heart, on white and on pale blue, so we ask for what it knows.

# %%
model = DCAR.from_pretrained("emoji-256-cpu").to(L.device)
F32, PLAIN = model.tokenizer.config.downsample, {"guidance": 1.0}  # what this model draws best with
data = Learnt.read(find_model("emoji-256-cpu")).data()
known = {e.label: e for e in data.examples() if e.background == "pale blue"}
right, top, bottom = (0, 128, 256, 128), (0, 0, 128, 256), (128, 0, 128, 256)
asked = {
    "wolf": ("fox", right), "cat face": ("tiger face", top), "house": ("hut", bottom),
    "bear": ("panda", right), "red apple": ("green apple", right), "rose": ("sunflower", right),
    "mountain": ("mount fuji", right), "tram": ("trolleybus", right),
}  # fmt: skip
asked = dict(list(asked.items())[: L.budget.edits])
originals = data.render([known[label] for label in asked])
pictures = [images.to_pil(picture) for picture in originals]
captions = [known[wanted].caption for wanted, _ in asked.values()]


def box_mask(*box):
    """A black mask of 256 x 256 pixels with one white box: top, left, height, width."""
    painter = MaskPainter(pictures[0], F32)
    painter.paint(box)
    return painter.mask


masks = [box_mask(*box) for _, box in asked.values()]
edited = model.edit(pictures, masks, captions, seed=SEED, **PLAIN)

# %%
titles = [f"{label}\n+ {wanted}" for label, (wanted, _) in asked.items()]
figures.show(
    figures.image_grid([*pictures, *edited], titles, columns=len(pictures), tile=1.0),
    alt="Eight emoji above, and the same eight with one half redrawn below: half wolf, half fox; a "
    "cat with a tiger's forehead; half bear, half panda and so on. The kept halves are untouched; "
    "the new halves fit in place and size and are softer.",
)

# %% [markdown]
# **What to notice.** The new half knows the old one: the panda's eye, the sunflower and the bus stand at the right height, and most outlines meet. So the tokens fit. Colours are not always as asked; the green apple is a yellow one. And what does not fit at all is sharpness: the kept half is the original, pixel for pixel, and the new half is as soft as everything that this small decoder draws. A straight line shows where they meet. Most of this lesson is about that line, and about what lies on either side of it.

# %% [markdown]
# ## 2. From pixels to cells
#
# A person marks pixels. The generator knows only tokens, and a token stands for a cell of $f \times f$ pixels, here $f = 32$. A token cannot be redrawn in part. So which tokens does a mask redraw? All that it *touches*:
#
# $$r_{yx} = \max_{0 \le i, j < f} \; m_{yf+i,\; xf+j}$$
#
# In words: look at all pixels of a cell. If one of them is marked, the cell is redrawn. The other way round, pixels that somebody marked would stay as they are.
#
# | symbol | meaning | shape | code |
# |---|---|---|---|
# | $m$ | mask of pixels, 1 = change this | (b, 1, H, W) | `pixels` |
# | $r$ | cells to redraw | (b, h, w) | `redraw` |
# | $f$ | pixels of a cell on each side | number | `f` |
# | $y, x$ | row and column of a cell | numbers | |

# %% [markdown] tags=["exercise-text"]
# ### Exercise 14.1 - A touch is enough
# difficulty: 2/5 · importance: 5/5 · 6 min · needs: none
#
# Write `token_mask(pixels, f)`. `pixels` is a bool tensor (b, 1, H, W), True = change; H and W are multiples of `f`. Give back a bool tensor (b, H / f, W / f): True where at least one pixel of the cell is True.
#
# Used in `dcar_edu.editing.touched_cells`.
#
# <details><summary>Hint 1</summary>
#
# Bring the pixels of each cell together, then ask whether any of them is True.
# </details>
# <details><summary>Hint 2</summary>
#
# `reshape` to (b, h, f, w, f): the two axes of length `f` count the pixels inside a cell. Or take the largest pixel: `F.max_pool2d` does that, on floats.
# </details>
# <details><summary>Hint 3</summary>
#
# `b, _, high, wide = pixels.shape`, then `pixels.reshape(b, high // f, f, wide // f, f)`, and `.any(dim=4).any(dim=2)`.
# </details>
# <details><summary>Expected</summary>
#
# One pixel in the lower right corner gives one cell, the last one.
# </details>


# %% tags=["exercise"]
def token_mask(pixels, f):
    """Cells of f x f pixels of which at least one pixel is True."""
    # BEGIN SOLUTION
    b, _, high, wide = pixels.shape
    cells = pixels.reshape(b, high // f, f, wide // f, f)
    return cells.any(dim=4).any(dim=2)
    # END SOLUTION


# %% tags=["check", "nbval-ignore-output"]
token_mask = check("14.1", token_mask)

# %% tags=["nbval-check-output"]
one = torch.zeros(1, 1, 256, 256, dtype=torch.bool)
one[0, 0, 100, 200] = True
print(f"one pixel: {int(token_mask(one, F32).sum())} token, {F32 * F32:,} pixels")
for side in (20, 33, 40, 64):
    found = set()
    for start in range(F32):
        band = torch.zeros(1, 1, 256, 256, dtype=torch.bool)
        band[..., start : start + side] = True
        found.add(int(token_mask(band, F32)[0, 0].sum()))
    low, high = min(found), max(found)
    print(f"a square of {side} pixels: {low} to {high} cells a side, {low**2} to {high**2} tokens")

# %% [markdown]
# Now paint a mask yourself. The box is white, the cells that it touches have an orange border. In a live notebook there are four numbers and a button for every cell, all to be used with mouse or keyboard; elsewhere change the numbers below. `model.edit` takes any black and white picture as a mask, however it was made.

# %% tags=["nbval-ignore-output"]
painter = paint_mask(pictures[0], F32, box=(40, 150, 90, 70))

# %%
marks = MaskPainter(pictures[0], F32)
marks.paint((120, 60, 1, 1))
marks.paint((150, 160, 40, 40))
cells = marks.cells
figure, axes = figures.panels(1, 3, height=2.9)
share = [marks.pixels.mean(), cells.float().mean().item()]
for axis, shown, title in zip(
    axes[0],
    (
        marks.mask,
        cells.repeat_interleave(F32, 0).repeat_interleave(F32, 1).numpy(),
        marks.preview(),
    ),
    (f"pixels asked for: {share[0]:.1%}", f"cells redrawn: {share[1]:.1%}", "both on the picture"),
):
    axis.imshow(shown, cmap="gray")
    axis.set(title=title, xticks=range(0, 257, 64), yticks=range(0, 257, 64))
    axis.grid(False)
figures.show(
    figure,
    alt="Three panels. Left, a mask of pixels: a single dot and a square of 40 pixels, white on black. "
    "Middle, the cells: the dot has become a square of 32 pixels, the square one of 64. Right, "
    "both over the wolf's face.",
)

# %% [markdown]
# **What to notice.** The dot asked for one pixel and gets 1,024. The square asked for 1,600 and gets 4,096, or 9,216 where it lies badly. This is the price of compressing by 32: with $f = 8$ the smallest edit is 64 pixels. Deep compression pays in time and costs in precision.

# %% [markdown]
# ## 3. Each picture its own steps
#
# In a batch, one picture may hide 3 tokens and another one 64. Twelve steps for three tokens is waste: nine of them would have nothing to do. So each picture follows the arccos plan of lesson 08 for *its own* hidden tokens, in as many steps as it has tokens, at most twelve. One with nothing hidden is finished before the first step.

# %% [markdown] tags=["exercise-text"]
# ### Exercise 14.2 - Plans for a batch
# difficulty: 2/5 · importance: 4/5 · 8 min · needs: none
#
# Write `edit_counts(masked, steps)`. `masked` is an int64 tensor (b,): hidden tokens of each picture. Give back a list of b lists: how many tokens each step of that picture draws. `reveal_counts(tokens, steps)` gives the plan of one picture, with `steps` from 1 to `tokens`. A picture with nothing hidden has the plan `[]`.
#
# Used in `dcar_edu.generator.sampling.sample_tokens`.
#
# <details><summary>Hint 1</summary>
#
# A loop over the pictures, one plan each. `masked.tolist()` gives plain numbers.
# </details>
# <details><summary>Hint 2</summary>
#
# Three tokens cannot be drawn in twelve steps, but in `min(steps, 3)`.
# </details>
# <details><summary>Hint 3</summary>
#
# `[reveal_counts(n, min(steps, n)) if n else [] for n in masked.tolist()]`
# </details>
# <details><summary>Expected</summary>
#
# 3 hidden tokens, 12 steps: `[1, 1, 1]`.
# </details>


# %% tags=["exercise"]
def edit_counts(masked, steps):
    """How many tokens each step of each picture draws."""
    # BEGIN SOLUTION
    return [reveal_counts(n, min(steps, n)) if n else [] for n in masked.tolist()]
    # END SOLUTION


# %% tags=["check", "nbval-ignore-output"]
edit_counts = check("14.2", edit_counts)

# %% tags=["nbval-check-output"]
for hidden, plan in zip((16, 3, 0, 64), edit_counts(torch.tensor([16, 3, 0, 64]), 12)):
    print(f"{hidden:2d} hidden: {len(plan):2d} steps, {2 * len(plan):2d} passes, {plan}")

# %% [markdown]
# Two passes a step, with the words and without (lesson 08). So an edit of a few tokens is cheap, and **any edit of twelve tokens or more takes as many passes as a whole new picture**: the transformer reads all 64 tokens in every pass, known ones too. Section 7 puts a watch beside it.

# %% [markdown]
# ## 4. What is kept
#
# A kept token keeps its id: the sampler never touches what is not hidden. But a token of this tokenizer is *two* things, an id and a residual. And the residual head, asked once at the end, draws residuals for **all** tokens, known ones too. Those of kept tokens are not wanted: their true residuals are known, from encoding the picture.

# %% [markdown] tags=["exercise-text"]
# ### Exercise 14.3 - Keep the old residuals
# difficulty: 1/5 · importance: 5/5 · 5 min · needs: none
#
# Write `keep_residuals(old, new, redraw)`. `old` and `new` are (b, c, h, w), `redraw` is bool (b, h, w). Give back (b, c, h, w): `new` where redrawn, `old` elsewhere.
#
# Used in `dcar_edu.editing.Known.keep_residuals`.
#
# <details><summary>Hint 1</summary>
#
# `torch.where(condition, this, that)` takes `this` where the condition is True.
# </details>
# <details><summary>Hint 2</summary>
#
# The mask has no axis for channels. Without one, torch would lay the mask of picture 2 over channel 2, and say nothing when there are as many pictures as channels.
# </details>
# <details><summary>Hint 3</summary>
#
# `torch.where(redraw[:, None], new, old)`
# </details>
# <details><summary>Expected</summary>
#
# With `redraw` all False you get back `old`, to the last bit.
# </details>


# %% tags=["exercise"]
def keep_residuals(old, new, redraw):
    """New residuals in redrawn cells, old ones in all others."""
    # BEGIN SOLUTION
    return torch.where(redraw[:, None], new, old)
    # END SOLUTION


# %% tags=["check", "nbval-ignore-output"]
keep_residuals = check("14.3", keep_residuals)

# %%
cells = torch.stack(
    [editing.touched_cells(m[None], F32)[0] for m in editing.read_masks(masks, (256, 256))]
)
edit = study.redo(model, originals, captions, cells, SEED)
old, new = edit.known.residuals, edit.drawn
ways = {
    "kept": keep_residuals(old, new, cells),
    "all new": new,
    "kept ones 0": new * cells[:, None],
}
shown = {name: study.decode(model, edit.indices, rest).cpu() for name, rest in ways.items()}
seen = study.decode(model, edit.known.indices, old).cpu()
print("change of the pixels that should stay, in levels of 255 (nothing is pasted yet)")
print(f"  {'encoded and decoded':22s}{study.change_outside(seen, originals, cells).mean():6.2f}")
for name, drawn in shown.items():
    print(f"  {name:22s}{study.change_outside(drawn, originals, cells).mean():6.2f}")

# %%
first = [originals[0], seen[0], *(drawn[0] for drawn in shown.values())]
apart = [(4 * (drawn - originals[0])).clamp(-1, 1) for drawn in first]
names = ["original", "encoded\nand decoded", *(f"residuals\n{name}" for name in ways)]
figures.show(
    figures.image_grid(
        [*first, *apart], names, columns=5, row_titles=["", "change\nx 4"], tile=0.8
    ),
    alt="The wolf, encoded and decoded, and with its right half redrawn as a fox in three ways: kept "
    "residuals, all residuals new, kept ones zero. Below, the change against the original, four times "
    "as strong: in the kept half it is weakest where residuals were kept.",
)

# %% [markdown]
# **What to notice.** Look at the left half of the lower row. Even with no edit at all it has changed, by 8 levels of 255: an encoder, a codebook and a decoder lie between it and the original. With a fox beside it, it changes some more, to 11: the decoder looks across the border. Throwing the old residuals away makes it nearly 13, in a half that nobody asked to change. New ones are no better there than zeros.

# %% [markdown]
# ## 5. Pixels come back
#
# The kept half still went through the decoder. But its pixels are known exactly! So the last step copies them: in redrawn cells the decoder's pixels, everywhere else the original's.
#
# $$\hat{x} = R \odot d + (1 - R) \odot x$$
#
# | symbol | meaning | shape | code |
# |---|---|---|---|
# | $x$ | original | (b, 3, H, W) | `original` |
# | $d$ | decoded picture | (b, 3, H, W) | `edited` |
# | $R$ | `redraw`, every cell enlarged to $f \times f$ pixels | (b, 1, H, W) | |
# | $\hat x$ | the edit | (b, 3, H, W) | returned |

# %% [markdown] tags=["exercise-text"]
# ### Exercise 14.4 - Paste back, bit for bit
# difficulty: 2/5 · importance: 5/5 · 7 min · needs: none
#
# Write `paste_back(original, edited, redraw, f)`. The pictures are (b, 3, H, W), `redraw` is bool (b, H / f, W / f). Give back the edited pixels in redrawn cells and the original ones everywhere else, bit for bit.
#
# Used in `dcar_edu.editing.paste_back`.
#
# <details><summary>Hint 1</summary>
#
# Enlarge the mask: every cell becomes a block of `f` x `f` equal pixels. Then choose.
# </details>
# <details><summary>Hint 2</summary>
#
# `repeat_interleave(f, dim=...)` repeats each value in place; `repeat` would tile the whole mask. Smoothing (`mode="bilinear"`) would let the edit bleed into its neighbours.
# </details>
# <details><summary>Hint 3</summary>
#
# `cells = redraw.repeat_interleave(f, dim=1).repeat_interleave(f, dim=2)`, then `torch.where(cells[:, None], edited, original)`.
# </details>
# <details><summary>Expected</summary>
#
# Outside the redrawn cells `torch.equal` says True.
# </details>


# %% tags=["exercise"]
def paste_back(original, edited, redraw, f):
    """Edited pixels in redrawn cells, original ones everywhere else."""
    # BEGIN SOLUTION
    cells = redraw.repeat_interleave(f, dim=1).repeat_interleave(f, dim=2)
    return torch.where(cells[:, None], edited, original)
    # END SOLUTION


# %% tags=["check", "nbval-ignore-output"]
paste_back = check("14.4", paste_back)

# %% [markdown]
# All four functions together are an editor. The parts in between are lesson 10's: encode, draw, ask the head, decode.


# %%
@torch.no_grad()
def my_edit(original, mask, prompt, seed):
    """Redraw what a mask (1, 1, H, W) touches in an image (1, 3, H, W), as a prompt says."""
    redraw = token_mask(mask, F32)
    (plan,) = edit_counts(redraw.sum((1, 2)), 12)
    if not plan:
        return original
    seen = model.tokenizer.encode(original.to(L.device))
    start = seen.indices.cpu().masked_fill(redraw, model.generator.mask_id)
    drawing = model.draw([prompt], initial=start, guidance=1.0, seed=seed)
    assert len(list(drawing.steps())) == len(plan)
    residuals = drawing.residuals(20, None)  # 20 steps; None: the model's own clip
    residuals = keep_residuals(seen.residuals.cpu(), residuals.cpu(), redraw).to(L.device)
    decoded = model.tokenizer.decode(drawing.indices.to(L.device), residuals).cpu()
    return paste_back(original, decoded, redraw, F32)


half = editing.read_masks([masks[0]], (256, 256))[:, None]
exact = images.from_pil(pictures[0])[None]
mine = my_edit(exact, half, captions[0], SEED)

# %% tags=["nbval-check-output"]
(theirs,) = model.edit(pictures[0], masks[0], captions[0], seed=SEED, **PLAIN)
print("the same picture as model.edit:", images.to_pil(mine[0]).tobytes() == theirs.tobytes())
print("outside bit-equal:", torch.equal(mine[..., :128], exact[..., :128]))
print("inside changed:", not torch.equal(mine[..., 128:], exact[..., 128:]))
calls = []
watch = torch.nn.modules.module.register_module_forward_pre_hook(lambda *told: calls.append(told))
same = my_edit(exact, torch.zeros_like(half), captions[0], SEED)
watch.remove()
print(f"nothing masked: {len(calls)} calls of a network; unchanged: {torch.equal(same, exact)}")

# %% tags=["nbval-ignore-output"]
same_as_library(token_mask, lambda p, f: editing.touched_cells(p[:, 0], f), lambda: (half, F32))

# %% [markdown]
# ## 6. The seam
#
# Pasting makes the outside perfect. What does it do at the border? We take real learnt pictures, redraw a square of 4 x 4 cells *from the picture's own caption*, and look at the change of each pixel by its distance from the square's border. Three versions: pasted, not pasted, and *only encoded and decoded*, with no edit at all.

# %%
examples, real, _ = study.learnt(L.budget.pictures, SEED)
squares = study.boxes(len(real), 4, 8, SEED)
own = [example.caption for example in examples]
redone = study.redo(model, real, own, squares, SEED)
plain = study.decode(model, redone.indices, redone.residuals("hybrid")).cpu()
versions = {
    "pasted": editing.paste_back(real, plain, squares),
    "not pasted": plain,
    "only encoded and decoded": study.decode(
        model, redone.known.indices, redone.known.residuals
    ).cpu(),
}
lines = {}
for name, drawn in versions.items():
    change = 127.5 * (drawn - real).abs().mean(1)
    lines[name] = study.profile(change, squares, 64)
    step = study.seam(drawn, real, squares).mean().item()
    print(f"{name:26s} step of colour at the border: {step:+5.2f} levels more than in the original")

# %%
figure, axes = figures.panels(1, 3, width=7, height=2.4, width_ratios=[2.4, 1, 1])
for (name, line), mark in zip(lines.items(), ("o-", "s--", "^:")):
    axes[0, 0].plot(line.keys(), line.values(), mark, markersize=4, label=name)
axes[0, 0].axvline(0, color="black", linewidth=0.8)
axes[0, 0].set(
    xlabel="pixels from the border (left: inside)", ylabel="change, levels of 255", ylim=(0, None)
)
axes[0, 0].legend(fontsize=7)
for axis, name in zip(axes[0, 1:], ("pasted", "not pasted")):
    figures.picture_on(axis, images.to_pil(versions[name][0]))
    axis.set_title(name)
figures.show(
    figure,
    alt="Left, mean change against distance from the border of the redrawn square. Inside, both edits "
    "lie above the line of a picture only encoded and decoded. Outside, the pasted one falls to zero "
    "at once; the other two run together. Right, one picture both ways: pasted, sharp around a soft "
    "square; not pasted, soft all over.",
)

# %% [markdown]
# **What to notice.** *Inside* the square, an edit is further from the original than encoding and decoding is. The ids are not to blame: this model guesses every one of them right (section 7 counts). What is missing is the true residuals. *Outside*, without pasting, the edit hardly adds to what encoding and decoding does anyway: a decoder sees neighbours, but the two lines soon meet.
#
# *At the border* the blue line falls to zero at once, and that drop is the seam. Pasting has made the outside perfect **and the border visible**: its step of colour grows by about eight levels instead of one or two. Without pasting there is nearly no seam, and every pixel of the picture has changed. You cannot have both with this tokenizer. `model.edit` pastes, because a promise is worth more than a smooth line: `paste=False` is there for those who see it otherwise.

# %% [markdown]
# ## 7. Experiment: does the residual head hinder editing?
#
# The paper ends with open questions. One is whether a residual head, which draws residuals after all ids are decided, hinders editing: it has no idea of what was kept, except through the hidden states. Which numbers could answer that?
#
# - **Quality.** Redraw cells of real pictures from their own captions. Decode the *same drawn ids* with the head's residuals (hybrid), with none in the redrawn cells (discrete), and with the true ones (the ceiling). PSNR inside the redrawn cells.
# - **Seam.** The step at the border, for all three.
# - **Cost.** Passes and seconds of an edit against a full drawing, and the head's share.

# %% [markdown] tags=["predict"]
# **What do you expect?** Will the head's residuals make the edited area better than none? Will the seam be larger with them? And what will an edit of one cell cost, compared with a whole picture of 64: a tenth, a third, as much?
#
# <details><summary>After you have guessed</summary>
#
# The residuals do neither harm nor good: both ways are equal within what three seeds can tell, inside and at the border. One cell costs more than a third of a whole picture: two passes instead of 24, but encoder, decoder and head do not become cheaper. The numbers follow.
# </details>

# %% tags=["nbval-ignore-output", "experiment"]
print(f"your run: {len(real)} pictures, 16 of 64 cells redrawn, one seed")
inside = {}
for path in study.PATHS:
    drawn = study.decode(model, redone.indices, redone.residuals(path)).cpu()
    found = study.look(drawn, real, squares)
    inside[path] = found["psnr"]
    print(f"  {path:9s} {found['psnr']:6.2f} dB inside; seam {found['seam']:+5.2f} levels, "
          f"pasted {found['seam_pasted']:+5.2f}")  # fmt: skip
L.report(psnr_discrete=inside["discrete"], psnr_hybrid=inside["hybrid"])

# %%
runs = {arm: {} for arm in study.SIDES}  # arm -> seed -> metrics
for line in results("14_edit"):
    if line["budget"] == "cpu":
        runs[line["arm"]][line["seed"]] = line["metrics"]
done = sorted(set.intersection(*(set(by_seed) for by_seed in runs.values())))


def middle(arm, name):
    """Mean of a metric over the seeds."""
    return statistics.mean(runs[arm][seed][name] for seed in done)


if done:
    pictures_each = int(middle("1 cell", "pictures"))
    print(f"{pictures_each} pictures, {len(done)} seeds (means); seconds of one core, a picture")
    print(
        f"{'redrawn':10s}{'passes':>8s}{'encoder':>9s}{'steps':>7s}{'head':>7s}{'decoder':>9s}{'all':>7s}"
    )
    for arm in runs:
        parts = [middle(arm, f"seconds_{part}") for part in ("encoder", "steps", "head", "decoder")]
        cells_text = (
            f"{parts[0]:9.3f}{parts[1]:7.3f}{parts[2]:7.3f}{parts[3]:9.3f}{sum(parts):7.3f}"
        )
        print(f"{arm:10s}{middle(arm, 'passes'):8.0f}{cells_text}")
else:
    print("no results yet: run dcar experiment 14_edit --budget cpu --seed 0 (and 1, 2)")


# %%
def against(one, other, arm, name, sign=1):
    """Verdict on a path against another in one arm: paired seeds."""
    pair = [[sign * runs[arm][seed][f"{name}_{path}"] for seed in done] for path in (one, other)]
    return verdict(*pair, t=SURE[len(done)])


if len(done) in SURE:
    print(f"{'':10s}{'PSNR inside, dB':>28s}{'seam pasted, levels':>28s}{'ids right':>11s}")
    print(f"{'redrawn':10s}" + f"{'hybrid':>10s}{'discrete':>10s}{'true':>8s}" * 2)
    for arm in runs:
        cells_text = "".join(
            f"{middle(arm, f'psnr_{p}'):{w}.2f}" for p, w in zip(study.PATHS, (10, 10, 8))
        )
        if arm != "64 cells":
            cells_text += "".join(
                f"{middle(arm, f'seam_pasted_{p}'):{w}.2f}"
                for p, w in zip(study.PATHS, (10, 10, 8))
            )
        print(f"{arm:10s}{cells_text:56s}{middle(arm, 'token_match'):11.1%}")
    for arm in list(runs)[:3]:
        words = [
            against("hybrid", "discrete", arm, "psnr"),
            against("hybrid", "discrete", arm, "seam_pasted", -1),
        ]
        print(f"{arm}: hybrid against discrete: PSNR {words[0]}; seam {words[1]}")

# %%
figure, axes = figures.panels(1, 2, height=2.9)
share = [side**2 / 64 for side in study.SIDES.values()]
if done:
    whole = middle("64 cells", "seconds") - middle("64 cells", "seconds_encoder")
    cost = [middle(arm, "seconds") / whole for arm in runs]
    axes[0, 0].plot(share, cost, "o-", label="seconds")
    axes[0, 0].plot(share, [middle(arm, "passes") / 24 for arm in runs], "s--", label="passes")
    for path, mark in zip(study.PATHS, ("o-", "s--", "^:")):
        axes[0, 1].plot(share, [middle(arm, f"psnr_{path}") for arm in runs], mark, label=path)
axes[0, 0].set(
    xlabel="share of the cells redrawn",
    ylabel="cost, full drawing = 1",
    ylim=(0, 1.2),
    xscale="log",
)
axes[0, 1].set(xlabel="share of the cells redrawn", ylabel="PSNR inside, dB", xscale="log")
for axis in axes[0]:
    axis.set_xticks(share, [f"1/{round(1 / s)}" if s < 1 else "all" for s in share])
    axis.minorticks_off()
    axis.legend(fontsize=7)
figures.show(
    figure,
    alt="Left, cost of an edit against the share of cells redrawn, a full drawing being 1: passes rise "
    "from a twelfth to 1 at a quarter of the cells, seconds from two fifths. Right, PSNR inside the redrawn "
    "cells: hybrid and discrete lie on each other, true residuals well above.",
)

# %% [markdown]
# **What to notice.** *Quality.* Hybrid and discrete are equal to a tenth of a decibel, whatever the share. Nearly all ids are right, so the gap to the true residuals, from 1.2 dB for one cell to 2.2 for all, is what a perfect head could win. Ours wins none of it: its guesses have a cosine of 0.38 to the truth, and the model bounds them at a quarter of their scale because unbounded they did harm (see the model's card).
#
# *Seam.* The same with the head and without, about nine levels. With true residuals, and nearly all ids right, seven to eight of them remain. So the seam is made by the tokenizer and the pasting, not by the head.
#
# *Cost.* Passes fall to a twelfth for one cell, time only to two fifths: the head always draws 20 steps for all 64 tokens, and the decoder decodes all of them. In a full drawing the head takes a ninth of the time, in the smallest edit three tenths. It needs no neighbours, so it could run on the redrawn tokens alone. And from twelve hidden tokens on, an edit saves nothing.
#
# **Our answer to the open question:** no, at our scale the head does not hinder editing. Seam and edited area are the same with it and without; it costs time, and more in proportion the smaller the edit. What matters is that *kept* residuals are kept (section 4). These are 36 pictures of one small model with a weak head. A head that guesses better would have up to 2 dB to win, and our numbers cannot say what it would do at the border.

# %% [markdown]
# ### Is it still named right?
#
# A last test of quality, for the model's own pictures. Draw prompts in full. Then redraw half of the cells of those drawings. Does a judge that knows 560 labels (lesson 06) still put the right one first?

# %%
named = {}
for line in results("14_retrieval"):
    if line["budget"] == "cpu":
        named.setdefault(line["arm"], {})[line["seed"]] = line["metrics"]
for arm, by_seed in named.items():
    cells_text = ", ".join(
        f"seed {seed}: {found['r1']:.3f}" for seed, found in sorted(by_seed.items())
    )
    mean = statistics.mean(found["r1"] for found in by_seed.values())
    prompts = sum(int(found["prompts"]) for found in by_seed.values())
    print(f"{arm:15s} R@1 {mean:.3f} of {prompts} prompts ({cells_text})")

# %% [markdown]
# **What to notice.** 73 of 132 drawings are named right before, 70 after: R@1 falls from 0.553 to 0.530, by 4 % of itself. Chance alone moves such a count by more than that, so we cannot tell a loss from none; our bar was 10 %. It is an easy test: what is redrawn was known by heart, and comes back nearly as it was (36 dB). With a model that draws something new each time, the two halves could disagree.

# %% [markdown]
# ## 8. Around a picture, and all over it
#
# Two more edits need nothing new. **Outpainting**: lay the known tokens on a larger grid; everything around them is hidden. **Variation**: hide a share of the tokens, scattered over the picture, and draw them with another prompt, or the same.

# %%
wolf = images.to_pil(data.render([known["wolf"]])[0])
words = known["wolf"].caption
wide = model.outpaint(wolf, words, size=(256, 512), offset=(0, 128), seed=SEED, **PLAIN)
larger = model.outpaint(wolf, words, size=(320, 320), offset=(32, 32), seed=SEED, **PLAIN)
figure, axes = figures.panels(1, 2, width=4.6, height=1.55, width_ratios=[2, 1.25])
for axis, picture, title in zip(axes[0], (wide, larger), ("8 x 16 tokens", "10 x 10 tokens")):
    figures.picture_on(axis, picture)
    axis.set_title(title)
figures.show(
    figure,
    alt="Two outpainted wolves. On the wide one pale smudges stand at both sides of the untouched wolf; on "
    "the larger square the ground goes on in plain blue with a few small blots.",
)

# %%
shares = (0.25, 0.5, 0.75, 1.0)[: L.budget.strengths]
rows = {name: known[name].caption for name in ("wolf", "fox")}
varied = [
    model.vary(wolf, caption, strength, seed=SEED, **PLAIN)
    for caption in rows.values()
    for strength in shares
]
figures.show(
    figures.image_grid(
        varied,
        [f"{s:.0%} redrawn" for s in shares],
        columns=len(shares),
        row_titles=[f"as a\n{n}" for n in rows],
        tile=1.0,
    ),
    alt="The wolf varied at four strengths, as a wolf above and as a fox below. Above it stays the same wolf "
    "and gets softer. Below, orange patches appear among grey ones, and at full strength it is a fox.",
)

# %% [markdown]
# **What to notice.** *Around.* The wolf lies untouched in the middle, and around it the model is lost. It was trained on 8 x 8 tokens and on emoji that fill them, so beyond them it knows no places, and this prompt tells of nothing but a wolf. On the wide grid it begins more wolves at both sides; on the larger square it mostly goes on with the ground. A model for outpainting has to see larger scenes in training. (Paste-back shows here too: the wolf is sharp and nothing else is.)
#
# *All over.* As a wolf, the ids come back as they were, whatever the share, and the picture gets softer and paler: drawn residuals, and decoded pixels everywhere. As a fox, kept and new tokens mix cell by cell. A variation has no border to hide, so nothing is pasted.

# %% [markdown]
# ## Quiz

# %% tags=["quiz", "nbval-ignore-output"]
course.quiz("14")

# %% [markdown] tags=["recap"]
# ## What you take with you
#
# 1. A masked generator **edits by itself**: hide the tokens that a mask touches, keep the others, draw.
# 2. A touch is enough: **an edit is made of whole cells**, 1,024 pixels each at f32.
# 3. Steps follow each picture's own hidden tokens. From twelve hidden tokens on, an edit costs as much as a full drawing.
# 4. Kept tokens keep **id and residual**; kept pixels are pasted, bit for bit. The seam is the tokenizer's error, cut off at a straight line.
# 5. Whether a residual head hinders editing is a question with an answer: same ids, three residuals, PSNR inside, step at the border, time.
#
# **New terms:** inpainting, outpainting, variation, seam, pasting. `course.glossary()` explains them.
#
# **You now know** `DCAR.edit`, `DCAR.outpaint`, `DCAR.vary` and all of `dcar_edu.editing`.
#
# **To read on:** [MaskGIT](https://arxiv.org/abs/2202.04200), Section 4.3, for editing with masked tokens; [Muse](https://arxiv.org/abs/2301.00704) for the same with words.
#
# **Next:** lesson 15 leaves the paper behind.

# %% tags=["nbval-ignore-output"]
#@title Download my answers (on Colab)
import sys

if "google.colab" in sys.modules:
    L.save_answers()

# %% tags=["finish", "nbval-ignore-output"]
L.finish(wolf=edited[0])
