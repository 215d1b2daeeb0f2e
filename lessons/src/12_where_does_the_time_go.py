# %% [markdown] tags=["header"]
# ---
# title: Where does the time go?
# builds: an honest stopwatch, a bill of operations, and a table that says which idea buys what
# figures: 9
# wait: 4
# wait_gpu: 2
# gpu: false
# memory: 2 GB
# needs: 08, 10
# writes: your progress file
# ---

# %% [markdown] tags=["map"]
# The paper promises pictures 1.5 to 7.9 times as many a second, and each 2.0 to 3.5 times as soon, as from the models it compares with. You know all parts of DC-AR now. This lesson measures them one by one and asks which of its ideas the speed comes from. Nothing is trained.

# %% [markdown] tags=["objectives"]
# **When you are done you can**
#
# - measure seconds so that the number can be believed, on a CPU and on a GPU;
# - count the operations of a drawing from five numbers, without running it;
# - say how much faster the whole becomes when one part does;
# - take a picture's time apart, and find from the table alone which dial is set wrongly;
# - read the paper's ratios beside our own, and say which of them hold here and why.
#
# **You need** lesson 08 (steps, guidance) and lesson 10 (the residual head).
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

from dcar_edu import DCAR, GeneratorConfig, course
from dcar_edu.bench import flops, timing
from dcar_edu.bench.ours import Place, ours
from dcar_edu.bench.pictures import random_generator, random_words
from dcar_edu.course import check, figures, same_as_library
from dcar_edu.course.experiments import results
from dcar_edu.course.studies import study_12 as study

L = course.start("12", BUDGET, SEED)

# %% tags=["map", "nbval-ignore-output"]
course.course_map("12")

# %% [markdown]
# ## 1. A picture under the stopwatch
#
# The shipped 256-pixel model draws a wolf, and after each part somebody presses the button: the text encoder, reading its words into keys and values, all **passes** of the transformer, the **choice** of codes between them, the residual **head**, the **decoder**.

# %%
model = DCAR.from_pretrained("emoji-256-cpu").to(L.device)
prompt = "a 3D emoji of a wolf on a pale blue background"
study.draw_timed(model, [prompt], num_steps=1)  # the first call is slow: section 2
wolf, seconds = study.draw_timed(model, [prompt], seed=SEED)
figures.show(
    figures.image_grid([wolf[0].cpu()], ["one wolf"], columns=1),
    alt="A grey wolf's head on pale blue, drawn by the shipped model in twelve steps.",
)


# %%
def stacked(rows, xlabel="seconds a picture"):
    """One bar a row, its parts side by side."""
    looks = {"passes": "C0", "choice": "C5", "head": "C1", "decoder": "C2"}
    names = list(dict.fromkeys(part for parts in rows.values() for part in parts))
    figure, ((axis,),) = figures.panels(width=8, height=0.9 + 0.33 * len(rows))
    for row, parts in enumerate(rows.values()):
        left = 0.0
        for part in names:
            value = parts.get(part, 0.0)
            hatch = {"head": "//", "decoder": ".."}.get(part)
            style = {"color": looks.get(part, "#999999"), "edgecolor": "white", "hatch": hatch}
            axis.barh(row, value, left=left, label=part if row == 0 else None, **style)
            left += value
        axis.text(left, row, f" {left:.3g}", va="center", fontsize=8)
    axis.set_yticks(range(len(rows)), list(rows))
    axis.invert_yaxis()
    axis.margins(x=0.1)
    axis.set(xlabel=xlabel)
    axis.legend(fontsize=7, ncols=6, loc="lower center", bbox_to_anchor=(0.5, 1))
    return figure


# %% tags=["nbval-ignore-output"]
figures.show(
    stacked({"the wolf": seconds}),
    alt="One bar of seconds divided into text, words, passes, choice, head and decoder. The passes of "
    "the transformer take about three quarters.",
)

# %% [markdown]
# **What to notice.** Seven tenths of the time go into 24 passes of one network. The head runs 20 steps and the decoder paints 65,536 pixels, and each takes a tenth, more or less. Keep this bar in mind: everything below is a way to change it.
#
# How was it measured? On a CPU we read the *processor's own seconds of this process*, on one thread, so that other programs do not count. On a GPU it is the wall clock. And then there are four rules.

# %% [markdown]
# ## 2. Four rules of honest timing
#
# 1. **Warm up.** The first call fetches memory and picks or compiles code. It is slower, and it is not what you will wait for later.
# 2. **Wait for the device.** A GPU takes work into a queue and answers at once. Who reads the clock then, measures how fast one can *order*.
# 3. **Take the middle.** Now and then a call is disturbed. The mean lets one such call spoil ten good ones; the median does not care.
# 4. **Compare in turn.** Two things are measured alternately in one process: A, B, B, A, ... A slow minute then falls on both, and the *ratio* survives.
#
# No GPU is needed to see it: here is a pretend device with a queue. Putting a call in takes 0.1 s, the call itself 2 s; the first one (cold) and the sixth (disturbed) take 20 s.

# %%
device = study.PretendDevice()
ordered = []
for _ in range(7):
    device.run()
    ordered.append(device.now)
figure, ((axis,),) = figures.panels(width=8, height=1.8)
for call, (start, end) in enumerate(device.done, 1):
    axis.barh(1, end - start, left=start, color="C0" if end - start < 3 else "C1", edgecolor="white")
    axis.text((start + end) / 2, 1, str(call), ha="center", va="center", fontsize=8)
axis.plot(ordered, [0] * 7, "k|", markersize=12)
axis.set_yticks([0, 1], ["ordered", "done"])
axis.set(xlabel="seconds on the pretend clock", ylim=(-0.5, 1.6))
figures.show(
    figure,
    alt="A time line of fifty seconds. Seven black marks, the orders, lie within the first second. "
    "Seven blocks, the calls, follow one another; the first and the sixth are ten times as long.",
)

# %% [markdown]
# **What to notice.** All seven orders are given within the first second. The device needs fifty.

# %% [markdown] tags=["exercise-text"]
# ### Exercise 12.1 - An honest stopwatch
# difficulty: 3/5 · importance: 5/5 · 8 min · needs: none
#
# Write `timed(run, sync, clock, repeats, warmup)`. `run()` puts one call into the queue, `sync()` waits until the device has nothing left to do, `clock()` gives seconds. Make `warmup` calls that do not count and `repeats` that do. Give back the median seconds of a call, as a number.
#
# Used in `dcar_edu.bench.timing.timed`.
#
# <details><summary>Hint 1</summary>
#
# When you read the clock before a call, work from the warm-up may still be in the queue. It would be counted as yours.
# </details>
# <details><summary>Hint 2</summary>
#
# For every counted call: wait, read the clock, run, wait, read the clock again.
# </details>
# <details><summary>Hint 3</summary>
#
# `sync(); start = clock(); run(); sync(); seconds.append(clock() - start)`, and `statistics.median(seconds)` at the end.
# </details>
# <details><summary>Expected</summary>
#
# On the pretend device with 1 warm-up and 5 repeats: 2.1 seconds.
# </details>


# %% tags=["exercise"]
def timed(run, sync, clock, repeats, warmup):
    """Median seconds of ``run``, warm-up not counted."""
    # BEGIN SOLUTION
    for _ in range(warmup):
        run()
    seconds = []
    for _ in range(repeats):
        sync()
        start = clock()
        run()
        sync()
        seconds.append(clock() - start)
    return statistics.median(seconds)
    # END SOLUTION


# %% tags=["check", "nbval-ignore-output"]
timed = check("12.1", timed)

# %% tags=["nbval-check-output"]
for repeats, warmup, wait in ((5, 1, True), (1, 0, True), (5, 1, False)):
    device = study.PretendDevice()
    sync = device.sync if wait else (lambda: None)
    value = timed(device.run, sync, device.clock, repeats, warmup)
    waited = "waiting for the device" if wait else "without waiting"
    print(f"{warmup} warm-up, {repeats} repeats, {waited}: {value:.1f} s a call")

# %% [markdown]
# Now a real device: one pass of the transformer at the sizes of `small`, for 64 tokens and for 256.

# %% tags=["nbval-ignore-output"]
preset = "small" if L.budget.small else "nano"
place = Place(str(L.device))
network = random_generator(GeneratorConfig.preset(preset)).to(L.device)
sync, clock = timing.waits(L.device), study.clock(L.device)
with torch.inference_mode(), timing.with_threads(1):
    words = network.read_text(*random_words(network, 64))
    for side in (8, 16):
        grid = torch.full((1, side, side), network.mask_id, device=L.device)
        value = timed(lambda: network.predict(grid, words), sync, clock, 7, 2)
        print(f"{side * side:4d} tokens: {1000 * value:6.1f} ms a pass")

# %% [markdown]
# ## 3. The bill of operations
#
# Seconds belong to a machine. What must be *computed* belongs to the model, and five numbers give it. One token meets $14 w^2$ weights in a block: queries, keys, values and the projection of self-attention ($4 w^2$), query and projection of cross-attention ($2 w^2$), two layers of the MLP ($8 w^2$). Each weight costs a multiplication and an addition. Attention comes on top: a product with every key, and one with every value.
#
# $$F = \underbrace{T \, g}_{\text{passes}} \cdot D \cdot N \, \big( 2 \cdot 14 \, w^2 + 2 \cdot 2 \, N w \big)$$
#
# | symbol | meaning | shape | code |
# |---|---|---|---|
# | $N$ | tokens of a picture | number | `tokens` |
# | $w$ | width of the transformer | number | `width` |
# | $D$ | its blocks | number | `depth` |
# | $T$ | steps | number | `steps` |
# | $g$ | 2 with guidance, else 1 | number | `guided` |
# | $F$ | floating-point operations of the blocks | number | returned |
#
# In words: passes, times blocks, times tokens, times what one token costs. Reading the words and the token head are left out: they are small.

# %% [markdown] tags=["exercise-text"]
# ### Exercise 12.2 - What a drawing must compute
# difficulty: 2/5 · importance: 4/5 · 7 min · needs: none
#
# Write `generation_flops(tokens, width, depth, steps, guided)`. The first four are whole numbers, `guided` is True or False. Give back a whole number.
#
# Used in `dcar_edu.bench.flops.generation_flops`.
#
# <details><summary>Hint 1</summary>
#
# Begin with one token in one block in one pass.
# </details>
# <details><summary>Hint 2</summary>
#
# `2 * 14 * width**2` for the layers, `2 * 2 * tokens * width` for attention.
# </details>
# <details><summary>Hint 3</summary>
#
# `steps * (2 if guided else 1) * depth * tokens * (28 * width**2 + 4 * tokens * width)`
# </details>
# <details><summary>Expected</summary>
#
# One token, width 1, one block, one step, no guidance: 32.
# </details>


# %% tags=["exercise"]
def generation_flops(tokens, width, depth, steps, guided):
    """Floating-point operations of the transformer's blocks for one picture."""
    # BEGIN SOLUTION
    passes = steps * (2 if guided else 1)
    return passes * depth * tokens * (28 * width**2 + 4 * tokens * width)
    # END SOLUTION


# %% tags=["check", "nbval-ignore-output"]
generation_flops = check("12.2", generation_flops)

# %% tags=["nbval-check-output"]
paper = GeneratorConfig.preset("paper")
cost = {
    f: generation_flops((512 // f) ** 2, paper.width, paper.depth, 1, False) for f in (8, 16, 32)
}
for f, operations in cost.items():
    print(f"f{f:<2d} at 512 px: {(512 // f) ** 2:4d} tokens, {operations / cost[32]:4.1f} times f32")
print("12 guided steps:", 2 * 12, "passes; token by token, 64 tokens:", 2 * 64, "passes")
small = GeneratorConfig.preset("small")
larger = generation_flops(256, small.width, 6, 1, False) / generation_flops(64, small.width, 6, 1, False)
print(f"`small`, one pass at 512 px against 256 px: {larger:.2f} times")

# %% [markdown]
# f8 at 512 pixels has 16 times as many tokens as f32 and costs 23 times as much a pass. The paper's speed begins here: not with a faster network, but with fewer tokens.
#
# Is the formula true? torch can count what a network really does.

# %% tags=["nbval-check-output"]
tiny = GeneratorConfig.preset("nano", text_length=5)
net = random_generator(tiny)
with torch.inference_mode():
    memory = net.read_text(*random_words(net, 5))
    counted = flops.count_flops(lambda: net.predict(torch.zeros(1, 4, 4, dtype=torch.int64), memory))
formula = generation_flops(16, tiny.width, tiny.depth, 1, False)
head = 2 * 16 * tiny.width * tiny.num_codes
to_words = tiny.depth * 4 * 16 * 5 * tiny.width
print(f"counted {counted:,} = blocks {formula:,} + token head {head:,} + looking at 5 words {to_words:,}")
assert counted == formula + head + to_words

# %% tags=["nbval-ignore-output"]
same_as_library(generation_flops, flops.generation_flops, lambda: (37, 20, 3, 5, True))

# %% [markdown]
# ## 4. What a faster part buys
#
# The bar of section 1 has parts. Make one of them faster: what does the whole gain? The other parts stay. That is **Amdahl's law**:
#
# $$S = \frac{\sum_p t_p}{\sum_p t_p / s_p}$$
#
# In words: the old time over the new one; every part takes its own time divided by its own factor, and a part nobody touched has factor 1.
#
# | symbol | meaning | shape | code |
# |---|---|---|---|
# | $t_p$ | seconds (or share) of part $p$ | name to number | `parts` |
# | $s_p$ | how many times as fast it becomes | name to number | `faster` |
# | $S$ | how many times as fast the whole becomes | number | returned |

# %% [markdown] tags=["exercise-text"]
# ### Exercise 12.3 - What the whole gains
# difficulty: 2/5 · importance: 5/5 · 6 min · needs: none
#
# Write `total_speedup(parts, faster)`. `parts` is a dict from names to seconds or shares; `faster` has factors for some of these names. Give back one number.
#
# Used in `dcar_edu.bench.flops.total_speedup`.
#
# <details><summary>Hint 1</summary>
#
# Old time over new time. Which parts does the new time have?
# </details>
# <details><summary>Hint 2</summary>
#
# `faster.get(name, 1)` is 1 for parts that stay. The old time need not be 1.
# </details>
# <details><summary>Hint 3</summary>
#
# `sum(parts.values()) / sum(t / faster.get(name, 1) for name, t in parts.items())`
# </details>
# <details><summary>Expected</summary>
#
# Parts .1, .6, .1, .2; the second one 5 times as fast: 1.92.
# </details>


# %% tags=["exercise"]
def total_speedup(parts, faster):
    """How many times as fast the whole becomes."""
    # BEGIN SOLUTION
    after = sum(seconds / faster.get(name, 1) for name, seconds in parts.items())
    return sum(parts.values()) / after
    # END SOLUTION


# %% tags=["check", "nbval-ignore-output"]
total_speedup = check("12.3", total_speedup)

# %% tags=["nbval-check-output"]
parts = {"text": 0.1, "steps": 0.6, "head": 0.1, "decoder": 0.2}
for factor in (2, 5, 1000):
    print(f"steps {factor:4d} times as fast: the whole {total_speedup(parts, {'steps': factor}):.2f} times")
print(f"steps and decoder 5 times: {total_speedup(parts, {'steps': 5, 'decoder': 5}):.2f} times")
table_4 = {"head": 1 / 10.3 - 1 / 11.4, "all else": 1 / 11.4}  # the paper's seconds a picture
print(f"a head 2 times as fast, in the paper's Table 4: {total_speedup(table_4, {'head': 2}):.2f} times")

# %% [markdown]
# ## 5. One change at a time
#
# Now the ideas of DC-AR, each switched off alone. The body is always the same random network, drawing 256 pixels by the paper's plan: f32, 12 steps, guidance, 20 steps of the head. Then:
#
# - **64 steps**: here that is one token a step, as a model that writes token by token must.
# - **f16, f8**: less compression, 4 and 16 times as many tokens.
# - **no head, 8, 50 steps**: the price of residuals.
# - **512 px**: four times the pixels.

# %% [markdown] tags=["predict"]
# **What do you expect?** Order them by seconds: 64 steps, f16, f8, head 50, 512 px. By which factor does each slow the picture down?
#
# <details><summary>Answer</summary>
#
# The bill says: 64 steps cost 64/12 = 5.3 times the passes. f16 has 256 tokens, as 512 px has: about 4 times the passes each, and 512 px paints four times the pixels too. f8 makes the passes 23 times as dear. A head of 50 steps costs 2.5 times a small part. Passes are three quarters of the picture, so each factor shrinks a little on its way to the whole. Read on whether the clock agrees with the bill.
# </details>

# %% tags=["nbval-ignore-output"]
how = {"preset": preset, "size": 256, "place": place}
changes = {
    "the plan": {},
    "64 steps": {"num_steps": 64},
    "f16": {"downsample": 16},
    "f8": {"downsample": 8},
    "no head": {"residual_steps": 0},
    "head 8": {"residual_steps": 8},
    "head 50": {"residual_steps": 50},
    "512 px": {"size": 512},
}
painters = [ours(**(how | change), name=name) for name, change in changes.items()]
measured = study.take_apart(painters, L.device, repeats=L.budget.repeats, steps=L.budget.steps)
base = sum(measured["the plan"].values())
for painter in painters:
    whole = sum(measured[painter.name].values())
    run = min(L.budget.steps, painter.num_steps)
    note = f"  ({run} of {painter.num_steps} steps timed)" if run < painter.num_steps else ""
    print(f"{painter.name:10s}{whole:8.3f} s {whole / base:6.2f} times the plan{note}")
L.report(slowdown_64_steps=sum(measured["64 steps"].values()) / base,
         slowdown_f16=sum(measured["f16"].values()) / base)

# %%
figures.show(
    stacked(measured),
    alt="Eight bars of seconds a picture, divided into parts. The plan and the heads are short, 512 "
    "pixels and f16 a few times as long, 64 steps longer, f8 by far the longest; passes dominate.",
)

# %% [markdown]
# **What to notice.** *Compression buys most*, because tokens enter twice: each costs its layers, and each looks at all others. *Few steps* come second. The head is cheap in any case. And read one part down the bars: the decoder of f8 is not slower than that of f32. Both paint the same pixels, and the costly layers are those at the top.
#
# Does the clock agree with the bill? One point for each bar: what `generation_flops` foretells for the passes, against their seconds.

# %%
config = GeneratorConfig.preset(preset)
foretold, found = [], []
for painter in painters:
    foretold.append(generation_flops(painter.tokens, config.width, config.depth, painter.num_steps, True))
    found.append(measured[painter.name]["passes"])
figure, ((axis,),) = figures.panels(width=5.5, height=3.4)
for name, x, y, mark in zip(changes, foretold, found, "osD^vP*X"):
    axis.loglog(x / 1e9, y, mark, markersize=7, label=name)
del painters  # eight networks: half a gigabyte
rate = foretold[0] / found[0]
ends = [min(foretold) / 1e9, max(foretold) / 1e9]
axis.loglog(ends, [1e9 * x / rate for x in ends], "k:", label=f"{rate / 1e9:.0f} GFLOP a second")
axis.set(xlabel="operations of the passes, in GFLOP", ylabel="seconds of the passes")
axis.tick_params(which="minor", labelbottom=False, labelleft=False)
axis.legend(fontsize=7, ncols=2)
figures.show(
    figure,
    alt="Seconds of the passes against foretold operations on two logarithmic scales. The points of "
    "eight settings lie close to a dotted line of constant rate.",
)

# %% [markdown]
# **What to notice.** Over more than one power of ten the points keep near one line: operations foretell seconds, within a factor of two. What leaves the line is worth a thought. More steps lie *on* it: a step is a step. More tokens lie *below*: their matrices are larger, and a processor gets through large matrices at a better rate than through small ones. So compression gains a little less on the clock than in the bill. On a GPU this is stronger still: a pass of 64 tokens mostly waits for its hundreds of small calls to be *ordered* (rule 2 of section 2, the other way round). `torch.compile` and CUDA graphs are made against that.
#
# And all of them together? From the slowest plan to the paper's, one idea after the other:

# %% tags=["nbval-ignore-output"]
slow = {"num_steps": 64, "residual_steps": 50}
ladder = {"f8, 64 steps, head 50": 8, "f16": 16, "f32": 32}
rungs = [ours(**how, **slow, downsample=f, name=name) for name, f in ladder.items()]
fall = study.take_apart(rungs, L.device, repeats=1, steps=L.budget.steps)
del rungs
fall |= {"12 steps": measured["head 50"], "head 20": measured["the plan"]}
totals = {name: sum(parts.values()) for name, parts in fall.items()}
figure, ((axis,),) = figures.panels(width=8, height=3)
before = None
for rung, whole in enumerate(totals.values()):
    if before is None:
        axis.bar(rung, whole, color="#999999")
    else:
        axis.bar(rung, before - whole, bottom=whole, color="C0")
        axis.text(rung, before * 1.1, f"{before / whole:.1f}x", ha="center", fontsize=9)
    before = whole
axis.bar(len(totals), before, color="C2", hatch="..")
axis.set_xticks(range(len(totals) + 1), [*totals, "the plan"], fontsize=8)
axis.set(yscale="log", ylabel="seconds a picture", ylim=(before / 3, None))
axis.margins(y=0.1)
figures.show(
    figure,
    alt="A waterfall on a logarithmic scale: from the slowest plan with f8, 64 steps and 50 head steps, "
    "each idea takes a piece off. f16, f32 and 12 steps take large pieces, the head a small one.",
)
print(f"together: {totals['f8, 64 steps, head 50'] / totals['head 20']:.0f} times as fast")

# %% [markdown]
# **What to notice.** Gains on the *same* part multiply: fewer tokens, and fewer passes over them. Gains on *different* parts only add up what they save. And the order matters for the label: the head's 50 steps are nothing beside f8, and something beside the finished plan.

# %% [markdown]
# ## 6. Latency and throughput
#
# **Latency**: how long does one person wait? **Throughput**: how many pictures does the machine draw a second? With a batch the machine works better, and everyone waits for the last one.

# %% tags=["nbval-ignore-output"]
batches = [1, 2, 4, 8][: L.budget.batches]
crowd = [ours(**how, batch=batch, name=f"{batch}") for batch in batches]
together = study.take_apart(crowd, L.device, repeats=L.budget.repeats, steps=L.budget.steps)
del crowd
wait = [batch * sum(together[f"{batch}"].values()) for batch in batches]
figure, axes = figures.panels(1, 2, height=2.6)
axes[0, 0].plot(batches, wait, "o-")
axes[0, 0].set(xlabel="pictures together", ylabel="seconds until all are there", title="latency")
axes[0, 1].plot(batches, [b / w for b, w in zip(batches, wait)], "s--", color="C1")
axes[0, 1].set(xlabel="pictures together", ylabel="pictures a second", title="throughput")
for axis in axes[0]:
    axis.set(xticks=batches, ylim=(0, 1.15 * axis.get_ylim()[1]))
figures.show(
    figure,
    alt="Two curves against the batch size, 1 to 8. Latency grows nearly in a straight line; throughput "
    "rises a little and flattens.",
)

# %% [markdown]
# **What to notice.** On one thread of a CPU a batch of eight buys a third more pictures, and each person waits six times as long: one picture alone already keeps the thread busy. A GPU has thousands of multipliers; one picture of 64 tokens leaves most of them idle, and throughput climbs steeply until they are busy. Hence the paper's two numbers: 0.4 seconds for one picture, 10.3 pictures a second in batches.

# %% [markdown]
# ## 7. Three patients
#
# Three copies of the shipped model came in from users. One complains that it is slow, one is proud how fast it is, one is well. Each drew the same wolf.

# %% tags=["nbval-ignore-output"]
settings = {
    "A": {"num_steps": 12, "residual_steps": 100},
    "B": {"num_steps": 2, "residual_steps": 20},
    "C": {"num_steps": 12, "residual_steps": 20},
}
patients = {name: study.draw_timed(model, [prompt], seed=SEED, **s) for name, s in settings.items()}
one = study.draw_timed(model, [prompt], seed=SEED, num_steps=4, residual_steps=10)[1]
one = {part: value / {"passes": 4, "choice": 4, "head": 10}.get(part, 1) for part, value in one.items()}
print("seconds a picture" + "".join(f"{part:>10s}" for part in one))
for name, (_, spent) in patients.items():
    print(f"patient {name}" + " " * 8 + "".join(f"{spent[part]:10.3f}" for part in one))
print("one of each" + " " * 6 + "".join(f"{value:10.3f}" for value in one.values()))
for name, (_, spent) in patients.items():
    calls = {part: spent[part] / one[part] for part in ("passes", "head")}
    print(f"patient {name}: about {calls['passes']:.0f} steps, about {calls['head']:.0f} steps of the head")

# %%
figures.show(
    figures.image_grid(
        [picture[0].cpu() for picture, _ in patients.values()],
        [f"patient {name}, {sum(spent.values()):.2f} s" for name, (_, spent) in patients.items()],
        columns=3,
    ),
    alt="Three nearly identical wolves, drawn by patients A, B and C, with their seconds above.",
)

# %% [markdown]
# **What to notice.** The table gives both away, the pictures neither. The last row is the cost of *one* step of each kind; divide, and you have counted how often each part ran without looking at a single setting. A: some ninety to a hundred steps of the head, five times what it needs (lesson 09: from 20 on nothing changes). B: two steps.
#
# But B's wolf is as good as C's! So why not draw everything in two steps? Because this prompt cannot show it. The model knows this wolf by heart: the words alone tell every token, and tokens that are certain need not see each other. To see what steps are *for*, ask for something that leaves a choice. Here are drawings without any prompt, by the smaller shipped model.

# %%
free = course.stage("12", "shipped").to(L.device)
seeds = 8
rows = {n: study.draw_timed(free, [""] * seeds, seed=100 + SEED, num_steps=n)[0] for n in (1, 2, 4, 12)}
figures.show(
    figures.image_grid(
        torch.cat(list(rows.values())).cpu(),
        columns=seeds,
        row_titles=[f"{n} step{'s' * (n > 1)}" for n in rows],
        tile=0.85,
    ),
    alt="Four rows of eight drawings without a prompt. In one step all are the same blob. In two "
    "and four they are jumbles of unrelated patches; in twelve some are one thing, a fruit or a ball.",
)

# %% tags=["nbval-ignore-output"]
open_runs = {}
for line in results("08_open"):
    if line["budget"] == "cpu":
        open_runs.setdefault(line["arm"], []).append(line["metrics"])
print("no prompt, 48 drawings a seed, three seeds (lesson 08): KID x 1000, lower is better")
for arm in ("1 step", "2 steps", "4 steps", "8 steps", "12 steps"):
    values = [run["kid_efficientnet"] for run in open_runs.get(arm, [])]
    if len(values) > 1:
        print(f"  {arm:10s}{statistics.mean(values):7.0f} ± {statistics.stdev(values):.0f}")

# %% [markdown]
# **What to notice.** In one step every place takes its own best guess, and all eight drawings are the same average of everything. In two, places choose apart: an ear here, a wheel there. In twelve some drawings have become one thing (this small model seldom does better without a prompt), and the KID falls with every step. *Fast and broken* is a failure that the stopwatch never sees. Measure speed and quality together, and on prompts that can fail.
#
# So this is the paper's check of failures, both ways: well over half a second at 512 pixels, look at the steps of the head and of the unmasking; broken structure, look whether somebody unmasks too fast.

# %% [markdown]
# ## 8. Beside other models
#
# The paper compares with trained models of other people. We do it with random weights, which change no time, and give everyone *our* size: bodies and decoders have as many weights as ours, within 5 %. What stays as published is the idea: aMUSEd (masked tokens at f16), PixArt (diffusion at f8, 20 steps), Sana (diffusion at f32, 20 steps), and our own twins. Run with `dcar experiment 12_peers`, in turn, in CPU seconds of one thread.

# %%
arms = {}
for line in results("12_peers"):
    if line["budget"] == "cpu":
        arms[line["arm"]] = line["metrics"]
names = ("ours", "ours_at_f16", "ours_at_f8", "token_by_token", "aMUSEd", "PixArt", "Sana")
for arm in ("256px_latency", "256px_throughput", "512px_latency", "512px_throughput"):
    if arm not in arms:
        print(f"{arm}: no result yet; dcar experiment 12_peers --arm {arm}\n")
        continue
    run = arms[arm]
    print(f"{arm.replace('_', ', ')}, {run['pictures']:.0f} at a time")
    print(f"  {'':16s}{'seconds':>9s}{'decoder':>9s}{'times ours':>12s}{'no decoders':>13s}   lowest - highest round")
    for name in names:
        low, high = run[f"{name}_ratio_low"], run[f"{name}_ratio_high"]
        partly = run[f"{name}_timed_steps"] < run[f"{name}_steps"]
        note = f"   {run[f'{name}_timed_steps']:.0f} of {run[f'{name}_steps']:.0f} steps timed" * partly
        print(
            f"  {name.replace('_', ' '):16s}{run[f'{name}_seconds']:9.2f}"
            f"{run[f'{name}_part_decoder']:9.2f}{run[f'{name}_ratio']:12.2f}"
            f"{run[f'{name}_without_decoder_ratio']:13.2f}   {low:.2f} - {high:.2f}{note}"
        )
    print()

# %%
arm = next((a for a in ("512px_latency", "256px_latency") if a in arms), None)
if arm:
    shown = {}
    for name in names:
        if name not in ("ours_at_f8", "token_by_token"):
            parts = ("words", "passes", "choice", "head", "decoder")
            spent = {part: arms[arm].get(f"{name}_part_{part}", 0.0) for part in parts}
            shown[name.replace("_", " ")] = spent
    figures.show(
        stacked(shown, f"CPU seconds, {arm.replace('_', ', ')}"),
        alt="Five bars divided into parts: ours, ours at f16, aMUSEd, PixArt and Sana. Ours is the "
        "shortest, Sana close behind; PixArt is the longest, and its decoder alone takes longer than "
        "our whole picture.",
    )

# %% [markdown]
# **What to notice.** *Against models with more tokens the claim holds*: our twins at f16 and f8, token by token, and PixArt, whose 1,024 tokens take 20 steps. There the passes decide.
#
# *aMUSEd* needs a second look. At 512 pixels it is more than twice as slow as we are, and nearly all of that is its **decoder**, which has as many weights as ours but works at full resolution in its last stages, where ours has none. (At their *published* widths the decoders of aMUSEd and PixArt take 35 and 44 seconds for this picture; ours takes 0.4.) Without decoders the two are nearly equal, 1.1 times for one picture and 1.4 in a batch: aMUSEd halves its grid inside the network, so its transformer sees 256 tokens, as ours does. That is compression too, only later.
#
# *Sana* has our compression and our decoder. Nothing is won by tokens: 20 steps stand against 12, and we pay for a head that Sana does not need. So at 512 pixels the ratio is 1.3 for one picture and 1.2 in a batch, and misses both of the paper's numbers, 2.0 (latency) and 1.5 (throughput), which it reports against this very model. 20 / 12 is 1.67, but each of Sana's passes costs a little less than ours, and our head takes its share. The paper timed models of 590 and 671 million weights on a GPU, where other things weigh. Whether the missing part lies there, a CPU cannot tell.

# %% [markdown]
# ## 9. Time in training
#
# Resolution is the last dial. The paper trains at 256 pixels and finishes at 512: 760 GPU hours instead of 1,440 from scratch (lesson 11). The same bill explains it: a step at 512 pixels costs about four times as much.

# %% tags=["nbval-check-output"]
ratio = 1440 / 760
step = generation_flops(256, paper.width, paper.depth, 1, False)
step /= generation_flops(64, paper.width, paper.depth, 1, False)
print(f"paper: {ratio:.2f} times fewer GPU hours; one pass at 512 px costs {step:.2f} times one at 256 px")
print(f"200,000 steps at 256 and 50,000 at 512: as much as {200 / step + 50:.0f},000 steps at 512")

# %% tags=["nbval-ignore-output"]
crossing = {}
for line in results("11_cross"):
    if line["budget"] == "cpu":
        crossing.setdefault(line["arm"], {})[line["seed"]] = line["metrics"]
if "scratch" not in crossing or len(crossing) < 2:
    print("no results of lesson 11 yet: dcar experiment 11_cross")
for arm in crossing:
    spent = [study.reached(run, 0.9) for run in crossing[arm].values()]
    shown = ", ".join("never" if one is None else f"{one:.1f}" for one in spent)
    print(f"{arm:12s} TFLOP until 90 % of hidden tokens are guessed, a number a seed: {shown}")

# %% [markdown]
# **What to notice.** Lesson 11 gave every arm the same bill and let it decide which part to spend on the small grid. A quarter of it, and the mark is reached with about a tenth less computing than from scratch; with an eighth, with a twentieth less; with a half, never within the bill. So growing helps here too, but not by the paper's 1.9; lesson 11 looks for the reason. Time in training is bought like time in drawing: know the bill, then measure.

# %% [markdown]
# ## Quiz

# %% tags=["quiz", "nbval-ignore-output"]
course.quiz("12")

# %% [markdown] tags=["recap"]
# ## What you take with you
#
# 1. **Four rules**: warm up, wait for the device, take the middle, compare in turn.
# 2. Five numbers give the **operations** of a drawing. Tokens enter twice, so compression buys most; steps come next; the head is cheap.
# 3. **Amdahl**: gains on one part multiply, gains on different parts only save their own share, and what stays is the bound.
# 4. **Latency** and **throughput** are two numbers.
# 5. Divide a part's seconds by the cost of one call, and the table tells how often it ran. Speed alone never tells that a picture is broken.
#
# **New terms:** latency, throughput, warm-up call, utilisation, Amdahl's law. `course.glossary()` explains them.
#
# **You now know** `dcar bench parts`, `dcar bench peers`, and `dcar_edu.bench.timing`. On a GPU try `dcar bench parts --device cuda --way graphs`: it also prints the **utilisation** of every part.
#
# **To read on:** [DC-AE](https://arxiv.org/abs/2410.10733), where f32 comes from; [Sana](https://arxiv.org/abs/2410.10629), the fastest of the paper's opponents; [aMUSEd](https://arxiv.org/abs/2401.01808).
#
# **Next:** lesson 13 asks how *good* the pictures are, with an error bar.

# %% tags=["nbval-ignore-output"]
#@title Download my answers (on Colab)
import sys

if "google.colab" in sys.modules:
    L.save_answers()

# %% tags=["finish", "nbval-ignore-output"]
L.finish()
