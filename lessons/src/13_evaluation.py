# %% [markdown] tags=["header"]
# ---
# title: Evaluation
# builds: four measures, from Fréchet distance to bootstrap, each in a few lines
# figures: 10
# wait: 4
# wait_gpu: 3
# gpu: false
# memory: 2 GB
# needs: 01, 05, 10
# writes: your progress file
# ---

# %% [markdown] tags=["map"]
# The model draws. How good is it? "Look at these nice pictures" is no answer: somebody chose them. A number alone is none either. This lesson builds the numbers that papers print, puts an error bar on each, and takes the shipped model to where it has never been: new backgrounds, new styles, new things, scenes, photographs.

# %% [markdown] tags=["objectives"]
# **When you are done you can**
#
# - compute the Fréchet distance that FID is made of, and say on which features;
# - say why few pictures make it too large, and why the kernel distance (KID) is not fooled;
# - check *what* was drawn: retrieval for one thing, GenEval's rules for scenes;
# - put a bootstrap interval on any of these, and read what it forbids you to say;
# - name what a benchmark in one style cannot see.
#
# **You need** lessons 01 (PSNR, splits), 05 (KID, features) and 10 (the two paths). A CPU is enough.
#
# **Short of time?** Sections 1, 2, 5 and 6.

# %% tags=["setup"]
#@title Setup (run first)
# SETUP

# %% tags=["parameters"]
import os

BUDGET = os.environ.get("DCAR_BUDGET", "cpu")
SEED = 0

# %% tags=["start", "nbval-ignore-output"]
import torch

from dcar_edu import course
from dcar_edu.course import check, figures, real_sets
from dcar_edu.course.experiments import results
from dcar_edu.course.studies import study_13 as study
from dcar_edu.data import CaptionedScenes
from dcar_edu.metrics import frechet_distance, kid, psnr
from dcar_edu.metrics.alignment import rank
from dcar_edu.metrics.frechet import FeatureStatistics, frechet_of_features
from dcar_edu.metrics.scenes import TASKS, real_scenes, relations, scene_prompts
from dcar_edu.metrics.sheets import extremes
from dcar_edu.metrics.subject import Subject

L = course.start("13", BUDGET, SEED)

# %% tags=["map", "nbval-ignore-output"]
course.course_map("13")

# %% [markdown]
# ## 1. Not the nice ones: best, median, worst
#
# `emoji-256-cpu` has learnt 560 things in the style "3D" on two backgrounds. We ask for some of them, and for things of the 105 that *no* part of it has ever seen. A judge from lesson 05's shelf (`load_alignment`) ranks all 1,378 labels of the data by how well they fit each drawing. From that order we show the best, the middle and the last.

# %%
subject = Subject.load(study.MODEL)
found = {kind: study.draw_kind(subject, kind, L.budget.drawn, SEED) for kind in ("learnt", "concepts")}

# %%
tiles, titles = [], []
for result in found.values():
    picked = [place for some in extremes(study.order(result), 1).values() for place in some]
    for drawn, real, place in zip(*study.show(subject, result, picked), picked):
        tiles += [drawn, real]
        rank_of = int(result.places.ahead["hybrid"][place]) + 1
        titles += [f"rank {rank_of}", result.pictures.examples[place].label]
figures.show(
    figures.image_grid(tiles, titles, columns=6, row_titles=["learnt", "unseen\nconcepts"], tile=1.1),
    alt="Two rows of three pairs, drawn beside real: best, median and worst. Learnt prompts: the best "
    "pairs look alike, the worst drawing is a mixture. Unseen concepts: the drawings are other "
    "things than the real ones, mixtures of what was learnt.",
)
for kind, result in found.items():
    r1 = result.numbers["hybrid"]["r1"]
    print(f"{kind}: {len(result.pictures)} prompts, the right label comes first in {100 * r1:.0f} %")

# %% [markdown]
# **What to notice.** The titles on the left of each pair say at which rank the right label came, of 1,378. In the first row the best is good and the worst is bad, and either alone would have told you a lie. In the second row even the best misses. That is the whole lesson in one figure: *which pictures*, *which prompts*, *compared with what*.

# %% [markdown]
# ## 2. Do two sets look alike? The Fréchet distance
#
# Lesson 05 compared sets of pictures by KID. Papers print FID. Both look at **features**: vectors that a frozen network makes of pictures. FID takes each set for a cloud with a mean and a covariance, and asks how far it is to move the one cloud onto the other:
#
# $$d^2 = \|\mu_1 - \mu_2\|^2 + \mathrm{tr}\,\Sigma_1 + \mathrm{tr}\,\Sigma_2 - 2\,\mathrm{tr}\,(\Sigma_1 \Sigma_2)^{1/2}$$
#
# In words: the squared way between the middles, plus all spread, minus twice the spread that both have in common. Two equal clouds have 0.
#
# | symbol | meaning | shape | code |
# |---|---|---|---|
# | $\mu_1, \mu_2$ | mean of the features of each set | (d,) | `m1`, `m2` |
# | $\Sigma_1, \Sigma_2$ | covariance | (d, d) | `c1`, `c2` |
# | $\mathrm{tr}$ | trace: the sum of the diagonal | number | `.trace()` |
# | $(\cdot)^{1/2}$ | root of a matrix: $R$ with $R R = \Sigma_1 \Sigma_2$. *Not* the root of each number | (d, d) | see hint 1 |

# %% [markdown] tags=["exercise-text"]
# ### Exercise 13.1 - Fréchet
# difficulty: 3/5 · importance: 4/5 · 10 min · needs: none
#
# Write `frechet(m1, c1, m2, c2)`: means (d,), covariances (d, d), float64. Give back one number.
#
# Used in `dcar_edu.metrics.frechet.frechet_distance`.
#
# <details><summary>Hint 1</summary>
#
# You need no matrix root, only its trace, and the trace is the sum of the eigenvalues. The eigenvalues of a root are the roots of the eigenvalues.
# </details>
# <details><summary>Hint 2</summary>
#
# `torch.linalg.eigvals(c1 @ c2)` gives them as complex numbers whose imaginary parts are 0 but for rounding: take `.real`, and cut what rounding made negative.
# </details>
# <details><summary>Hint 3</summary>
#
# `shared = torch.linalg.eigvals(c1 @ c2).real.clamp(min=0).sqrt().sum()`, then the four terms. `(m1 - m2).square().sum()` is the first.
# </details>
# <details><summary>Expected</summary>
#
# Two normal clouds on a line, N(0, 1) and N(3, 4) (the 4 is a variance): 3 x 3 for the way, 1 + 4 - 2 x 2 = 1 for the spread, 10 together.
# </details>

# %% tags=["exercise"]
def frechet(m1, c1, m2, c2):
    """Squared distance of two clouds: means (d,), covariances (d, d)."""
    # BEGIN SOLUTION
    shared = torch.linalg.eigvals(c1 @ c2).real.clamp(min=0).sqrt().sum()
    return (m1 - m2).square().sum() + c1.trace() + c2.trace() - 2 * shared
    # END SOLUTION


# %% tags=["check", "nbval-ignore-output"]
frechet = check("13.1", frechet)

# %% tags=["nbval-check-output"]
def line(*numbers):
    return torch.tensor(numbers, dtype=torch.float64)


value = frechet(line(0), line(1)[None], line(3), line(4)[None])
print(f"N(0, 1) and N(3, 4): {float(value):.1f}")

# %% tags=["nbval-ignore-output"]
def library(m1, c1, m2, c2):
    """The library's class holds mean and covariance of features that came in batches."""
    sides = []
    for mean, covariance in ((m1, c1), (m2, c2)):
        side = FeatureStatistics()
        side.count, side.mean, side.scatter = 10, mean, 9 * covariance
        sides.append(side)
    return frechet_distance(*sides)


def clouds():
    """Means and covariances of two clouds that spread in ways of their own."""
    made = [torch.randn(40, 5, dtype=torch.float64) @ torch.randn(5, 5, dtype=torch.float64) for _ in "ab"]
    return tuple(part for points in made for part in (points.mean(0), points.T.cov()))


for _ in range(3):
    made = clouds()
    print(f"two random clouds: yours {float(frechet(*made)):.6f}, the library's {library(*made):.6f}")

# %% [markdown]
# **Name the features.** The same pictures have one distance on Inception's features, another on EfficientNet's. They are as different as metres and degrees. Only the first is FID. Inception's weights come in no package, so our numbers look at EfficientNet-Lite0's 1,280 features, and are called `fid_efficientnet` and `kid_efficientnet` wherever they are printed. They compare with each other, never with a paper.

# %% [markdown]
# ## 3. How many pictures?
#
# A covariance of 1,280 features holds 820,000 different numbers. Estimated from 100 pictures, it is mostly noise. What does that do to the distance? We take 3D emoji, cut them at random into two halves, and compare **the halves with each other**. Both halves come from one set, so the truth is 0. Beside it: 3D against Noto emoji, which do look different.

# %% [markdown] tags=["predict"]
# **What do you expect?** Four curves against the number of pictures n: FD and KID, of two halves of one set and of two styles. Which are flat?
#
# <details><summary>Answer</summary>
#
# Both KID curves are flat from about 32 pictures on: KID has no bias, it only wobbles, though with 8 pictures a lot. Both FD curves fall with n, and that of the two halves falls to its true value 0 only with far more pictures than there are. At the left end, *the same set* looks further from itself than you would ever believe.
# </details>

# %%
half = L.budget.pictures
both, _ = real_sets.emoji_features("3d", 2 * half, L.generator())
noto, _ = real_sets.emoji_features("noto", half, L.generator(1))
counts = [n for n in (8, 16, 32, 64, 128, 256, 400, 500) if n <= half]
curves = {
    "one set, halved": real_sets.against_number(both[:half], both[half:], counts),
    "3D and Noto": real_sets.against_number(both[:half], noto, counts),
}

# %%
figure, (axes,) = figures.panels(1, 2, height=3.2)
for axis, name in zip(axes, ("FD", "KID x 1000")):
    for mark, (says, values) in zip("os", curves.items()):
        axis.plot(counts, values[name], f"{mark}-", label=says)
    axis.axhline(0, color="black", linestyle=":")
    axis.set(xscale="log", xlabel="pictures in each set", ylabel=f"{name}, EfficientNet features")
    axis.set_xticks(counts[::2], [str(n) for n in counts[::2]])
    axis.minorticks_off()
axes[0].legend()
figures.show(
    figure,
    alt="Left: the Frechet distance against the number of pictures. Both curves fall steeply: that of "
    "one set halved falls toward 0 and does not reach it, that of two styles lies above. Right: the "
    "kernel distance; from 32 pictures on both curves are flat, one set halved at 0, two styles at 200.",
)
few, many = counts[0], counts[-1]
for says, values in curves.items():
    print(f"{says:16s} FD at {few}: {values['FD'][0]:6.1f}, at {many}: {values['FD'][-1]:6.1f}")

# %% [markdown]
# **What to notice.** Read the FD of 3D against Noto at the right end, and find the place on the *other* curve, of one set with itself, that is as high. With so few pictures the two questions give the same answer. An FID is worth something only beside the number of pictures, and only against another FID of *as many*. This is why papers take 30,000 or 50,000, and why we print KID first.

# %% [markdown]
# ## 4. Alike is not right
#
# A distance between sets never asks what a picture shows. So here are two answers to the same 3D captions, both made of real pictures: the **right things** in Noto style, and **wrong things** in 3D style. Which is better?

# %%
reference, answers, labels = real_sets.rivals(L.budget.pictures // 2, SEED)
tiles = torch.cat([reference.pictures, *(answer.pictures for answer in answers)])
figures.show(
    figures.image_grid(tiles, labels[:6] + [""] * 12, columns=6, row_titles=[
        "3D: the\nreference", "right things,\nNoto style", "wrong things,\n3D style"], tile=1.0),
    alt="Three rows of six emoji. The first: 3D emoji with their names. The second shows the same "
    "things, drawn flat. The third shows other things, in the glossy look of the first row.",
)

# %% [markdown]
# For the second question, **what does it show**, the alignment head gives each picture and each label a place on a sphere, and `similarity[i, j]` is how close picture `i` lies to label `j`. **Recall at k**, R@k, is the share of pictures whose own label is among the first k.

# %% [markdown] tags=["exercise-text"]
# ### Exercise 13.2 - Recall at k
# difficulty: 2/5 · importance: 4/5 · 7 min · needs: none
#
# Write `recall_at(similarity, k)`. `similarity` is (n, m) with m >= n: row i is picture i, column j is text j, and text i is the right one for picture i. Give back a share from 0 to 1. A wrong text that is *as* close as the right one stands before it: a judge that cannot tell has not found it.
#
# Used in `dcar_edu.metrics.alignment.rank`.
#
# <details><summary>Hint 1</summary>
#
# You need no sorting. How many texts of the row are at least as close as the right one?
# </details>
# <details><summary>Hint 2</summary>
#
# `rows = torch.arange(len(similarity))`; `similarity[rows, rows]` are the right ones, (n,). Give it a second axis and compare with `>=`.
# </details>
# <details><summary>Hint 3</summary>
#
# `(similarity >= own).sum(1) - 1` counts those ahead: the right one is not ahead of itself. It is a hit if fewer than k are.
# </details>
# <details><summary>Expected</summary>
#
# A judge that says 0 to every pair has a recall of 0. If you get 1, ties have won.
# </details>

# %% tags=["exercise"]
def recall_at(similarity, k):
    """Share of pictures whose own text, in column i of row i, is among the first k."""
    # BEGIN SOLUTION
    rows = torch.arange(len(similarity))
    own = similarity[rows, rows][:, None]
    ahead = (similarity >= own).sum(1) - 1
    return (ahead < k).float().mean()
    # END SOLUTION


# %% tags=["check", "nbval-ignore-output"]
recall_at = check("13.2", recall_at)

# %% tags=["nbval-check-output"]
print(f"recall at 1 of an all-zero matrix: {float(recall_at(torch.zeros(5, 9), 1)):.1f}")

# %% tags=["nbval-ignore-output"]
some = torch.randn(6, 9, generator=L.generator(3))
ours = rank(some, torch.arange(6))
print(f"random similarities: yours {float(recall_at(some, 1)):.4f} and {float(recall_at(some, 5)):.4f}, "
      f"the library's {ours.r1:.4f} and {ours.r5:.4f}")

# %%
texts = real_sets.judge().read(labels).cpu()
print(f"{'':26s}{'FD':>8s}{'KID x 1000':>12s}{'R@1, %':>9s}   ({len(labels)} pictures and captions)")
for answer in (reference, *answers):
    places = real_sets.judge().place(answer.features).cpu()
    first = 100 * float(recall_at(places @ texts.T, 1))
    fd = frechet_of_features(reference.features, answer.features)
    distance = "" if answer is reference else f"{1000 * kid(reference.features, answer.features):.0f}"
    print(f"{answer.says:26s}{fd:8.1f}{distance:>12s}{first:9.0f}")

# %% [markdown]
# **What to notice.** By both distances the *wrong* things are far better, as they have the look of the reference. By R@1 they are worth nothing. This is a real trap. MJHQ-30K, the paper's benchmark for FID, holds 30,000 pictures that people liked, all made by one program, Midjourney, with its polish. A model that has learnt this look gets a good FID there, whatever it draws; a model that draws plain snapshots of the right things does not. So one benchmark in one style is weak evidence. The paper adds GenEval, which asks for content.

# %% [markdown]
# ## 5. Scenes: GenEval's rules
#
# "A cat to the left of a dog": no distance and no list of labels can check this. **GenEval** lets a detector find all things in a picture and then applies rules. `CaptionedScenes` has the same six tasks, so we can do the same: that is **SceneEval**, 553 prompts, as many of each task as GenEval has.

# %% tags=["nbval-check-output"]
specs = scene_prompts(0)
for task in TASKS:
    of_task = [spec for spec in specs if spec.task == task]
    print(f"{task:9s}{len(of_task):4d}   {of_task[0].caption}")

# %% [markdown]
# The rules, GenEval's own:
#
# - a thing counts if the judge is surer than **0.3**; in the task "counting", surer than **0.9**;
# - every thing asked for must be there **at least** as often as asked, and in "counting" **exactly** as often;
# - colours and relations are asked of the **surest** things of each name, not of any that fits;
# - a relation holds only with a **margin**: the middles must be apart by more than a tenth of both sizes. `relations(box, other_box)` is given, and says on which sides the first box lies: a set such as `{"to the left of"}`, or an empty one.
#
# | name | meaning |
# |---|---|
# | `spec.task` | one of six: `single`, `two`, `counting`, `colours`, `position`, `binding` |
# | `spec.objects` | what is wanted: each with `.label`, `.colour` (or None) and `.count` |
# | `spec.relation` | of the first to the second thing, or None |
# | `found` | list of what the judge saw: each with `.label`, `.colour`, `.box`, `.score` |

# %% [markdown] tags=["exercise-text"]
# ### Exercise 13.3 - Score a scene
# difficulty: 3/5 · importance: 4/5 · 10 min · needs: none
#
# Write `score_scene(spec, found)`: True if the picture passes. `relations` is imported.
#
# Used in `dcar_edu.metrics.scenes.scoring.score_scene`.
#
# <details><summary>Hint 1</summary>
#
# First throw away what the judge is unsure of, and sort the rest by score, the surest first. Then go through `spec.objects`.
# </details>
# <details><summary>Hint 2</summary>
#
# For each wanted thing: `alike = [f for f in sure if f.label == wanted.label]`. Too few: False. Counting and too many: False. A colour is asked of `alike[: wanted.count]`.
# </details>
# <details><summary>Hint 3</summary>
#
# Keep `alike[0]` of each wanted thing. At the end: `not spec.relation or spec.relation in relations(chosen[0].box, chosen[1].box)`.
# </details>
# <details><summary>Expected</summary>
#
# Real scenes, with their true boxes, all pass: 1.0. A blank picture passes nothing: 0.0.
# </details>

# %% tags=["exercise"]
def score_scene(spec, found):
    """Whether what was found in a picture is what the spec asks for, by GenEval's rules."""
    # BEGIN SOLUTION
    bar = 0.9 if spec.task == "counting" else 0.3
    sure = sorted((f for f in found if f.score > bar), key=lambda f: -f.score)
    chosen = []
    for wanted in spec.objects:
        alike = [f for f in sure if f.label == wanted.label]
        if len(alike) < wanted.count:
            return False
        if spec.task == "counting" and len(alike) > wanted.count:
            return False
        if wanted.colour and any(f.colour != wanted.colour for f in alike[: wanted.count]):
            return False
        chosen.append(alike[0])
    return not spec.relation or spec.relation in relations(chosen[0].box, chosen[1].box)
    # END SOLUTION


# %% tags=["check", "nbval-ignore-output"]
score_scene = check("13.3", score_scene)

# %%
scenes = CaptionedScenes("train", 128)
laid_out = real_scenes(specs, scenes, torch.Generator().manual_seed(0))
truth = [study.truly_found(example) for example in laid_out]
passed = [score_scene(spec, things) for spec, things in zip(specs, truth)]
print(f"real scenes, true boxes: {sum(passed) / len(passed):.2f}")
print(f"blank pictures: {sum(score_scene(spec, []) for spec in specs) / len(specs):.2f}")

# %%
shown = [next(i for i, spec in enumerate(specs) if spec.task == task) for task in TASKS]
pictures = scenes.render([laid_out[place] for place in shown])
figures.show(
    study.boxed(pictures, [truth[place] for place in shown], [specs[place].task for place in shown]),
    alt="Six real scenes, one a task, with a box around each thing: one thing; two things; several of "
    "one kind; a coloured shape; two things beside or above each other; two coloured shapes.",
)

# %% [markdown]
# **What to notice.** With true boxes every real scene passes, so the *rules* are fair. A model's pictures have no true boxes. A judge must find them: a small detector that was trained on scenes, `load_scene_judge()`. It makes mistakes of its own. What *real* scenes score with it is the **ceiling** of every model, and section 8 prints it beside each score.

# %% [markdown]
# ## 6. An error bar on anything
#
# 40 of 100 pictures pass. With another hundred prompts it would not be 40 again. How far could it have been? The **bootstrap** answers without any formula: take the 100 results you have for the whole world, draw 100 of them *with repetition*, note the mean, do it 2,000 times. The middle 95 % of these means is the **interval**.

# %% [markdown] tags=["exercise-text"]
# ### Exercise 13.4 - Interval
# difficulty: 2/5 · importance: 5/5 · 6 min · needs: none
#
# Write `interval(values, n, generator)`: `values` (N,) is one number a picture; draw `n` resamples from `generator`; give back `(low, high)`, the 2.5 % and 97.5 % quantiles of their means.
#
# Used in `dcar_edu.metrics.distribution.mean_interval`.
#
# <details><summary>Hint 1</summary>
#
# `torch.randint(len(values), (n, len(values)), generator=generator)` draws places, with repetition, for all resamples at once.
# </details>
# <details><summary>Hint 2</summary>
#
# A resample is as long as `values`. You look at the spread of the *means*, not of the values.
# </details>
# <details><summary>Hint 3</summary>
#
# `means = values[rows].float().mean(1)`, then `means.quantile(torch.tensor([0.025, 0.975]))`.
# </details>
# <details><summary>Expected</summary>
#
# 40 hits in 100: from .30 to .50. A width of 0 means that you drew without repetition.
# </details>

# %% tags=["exercise"]
def interval(values, n, generator):
    """Bootstrap interval of the mean of values (N,), at 95 %: (low, high)."""
    # BEGIN SOLUTION
    rows = torch.randint(len(values), (n, len(values)), generator=generator)
    means = values[rows].float().mean(1)
    low, high = means.quantile(torch.tensor([0.025, 0.975]))
    return low.item(), high.item()
    # END SOLUTION


# %% tags=["check", "nbval-ignore-output"]
interval = check("13.4", interval)

# %% tags=["nbval-check-output"]
low, high = interval((torch.arange(100) < 40).float(), 20000, torch.Generator().manual_seed(0))
print(f"40 hits in 100: {low:.1f} to {high:.1f}")

# %%
figure, ((axis,),) = figures.panels(1, 1, height=2.9)
for size, colour in ((25, "C2"), (100, "C0"), (553, "C1")):
    hits = (torch.arange(size) < 0.4 * size).float()
    low, high = interval(hits, 4000, torch.Generator().manual_seed(size))
    middle = hits.mean().item()
    axis.errorbar([size], [middle], [[middle - low], [high - middle]], fmt="o", color=colour, capsize=6)
    axis.annotate(f"[{low:.2f}, {high:.2f}]", (size, high), (0, 8), textcoords="offset points", ha="center")
axis.set(xscale="log", xlim=(15, 900), ylim=(0.1, 0.75), xlabel="pictures", ylabel="share that passes")
axis.set_xticks([25, 100, 553], ["25", "100", "553"])
axis.minorticks_off()
figures.show(
    figure,
    alt="Three points at a share of 0.4 with error bars: 25 pictures from about 0.2 to 0.6, 100 pictures "
    "from 0.3 to 0.5, 553 pictures from 0.36 to 0.44.",
)

# %% [markdown]
# **What to notice.** Four times the pictures halve the bar. With GenEval's 553 it is still 8 points wide. So a model at 42 % and one at 45 % are *not* told apart by one run each, although tables print such rows every day. What a wide interval forbids is the word "better".

# %% [markdown]
# ## 7. Experiment: one new thing at a time
#
# `13_splits` asks the shipped model four kinds of prompts: what it **learnt**; the same with a background it has not learnt (**colours**); with a style it has not learnt (**styles**); and concepts that no part of it has seen (**concepts**). 64 prompts each, a run a seed. For each prompt it also lets the *tokenizer* redraw the real picture.

# %% [markdown] tags=["predict"]
# **What do you expect?** For which kinds does R@1 stay up, for which does it fall to nothing? And does the tokenizer's PSNR fall as well?
#
# <details><summary>Answer</summary>
#
# See the figure. The two halves of the model do not behave alike, and the reason is what each of them has to know.
# </details>

# %% tags=["experiment", "nbval-ignore-output"]
mine = found["concepts"].numbers
low, high = mine["hybrid"]["r1_interval"]
print(f"yours, {mine['prompts']} unseen concepts: R@1 {mine['hybrid']['r1']:.2f} [{low:.2f}, {high:.2f}], "
      f"real pictures {mine['real']['r1']:.2f}")

# %%
table = {kind: [] for kind in study.KINDS}
for run in results("13_splits"):
    if run["budget"] == "cpu":
        table[run["arm"]].append(run["metrics"])
complete = all(table.values())
if not complete:
    print("no results yet: run dcar experiment 13_splits --budget cpu --seed 0 (and 1, 2)")


def pooled(kind, name):
    """Mean over the runs of a kind, and the interval of a share by the bootstrap over prompts."""
    runs = table[kind]
    mean = sum(run[name] for run in runs) / len(runs)
    if not name.startswith("r1"):
        return mean, mean, mean
    total = int(sum(run["prompts"] for run in runs))
    hits = (torch.arange(total) < round(mean * total)).float()
    return mean, *interval(hits, 2000, torch.Generator().manual_seed(0))


columns = ("r1_hybrid", "r1_discrete", "r1_real", "psnr_hybrid", "kid_efficientnet_hybrid", "fid_efficientnet_hybrid")
if complete:
    runs = min(len(found) for found in table.values())
    print(f"{runs} runs" + " " * 4 + "".join(f"{c.replace('_efficientnet', ''):>14s}" for c in columns))
    for kind in study.KINDS:
        print(f"{kind:10s}" + "".join(f"{pooled(kind, c)[0]:14.2f}" for c in columns))

# %%
figure, ((left, right),) = figures.panels(1, 2, height=3.3)
for shift, (name, mark, says) in enumerate((("r1_hybrid", "o", "drawn, hybrid"), ("r1_discrete", "s", "drawn, codes only"), ("r1_real", "^", "real pictures"))):
    if complete:
        middles, lows, highs = zip(*(pooled(kind, name) for kind in study.KINDS))
        places = [i + 0.16 * (shift - 1) for i in range(4)]
        bars = [[m - a for m, a in zip(middles, lows)], [b - m for m, b in zip(middles, highs)]]
        left.errorbar(places, middles, bars, fmt=mark, capsize=4, label=says)
for name, mark, says in (("psnr_hybrid", "o", "hybrid"), ("psnr_discrete", "s", "codes only")):
    if complete:
        right.plot(range(4), [pooled(kind, name)[0] for kind in study.KINDS], f"{mark}-", label=says)
for axis, label in ((left, "R@1 among 1,378 labels"), (right, "PSNR of the tokenizer, dB")):
    axis.set_xticks(range(4), study.KINDS)
    axis.set(ylabel=label)
    axis.legend(fontsize=8)
left.set_ylim(-0.05, 1.05)
figures.show(
    figure,
    alt="Left: R@1 for four kinds of prompts. Real pictures lie near 0.9 everywhere. Drawn ones are "
    "high for learnt prompts and fall to nearly nothing for unseen concepts. Right: the PSNR of the "
    "tokenizer is a few dB lower for what was not learnt, and about equal among the unseen kinds.",
)

# %% [markdown]
# **What to notice.** **The generator knows what it has read.** Of the learnt prompts about half come first. With a new background there are fewer, but the intervals overlap: from R@1 this experiment cannot tell. (KID can: it grows in each of the three runs.) In a new style three in ten still show the right thing, while the distances grow three times as large: it draws the thing in the only style it has. R@1 alone or KID alone would tell half of this. And of 192 prompts for concepts that it has never seen not one comes first: it must draw something, and mixes what it knows.
#
# **The tokenizer knows how pictures are made.** For new backgrounds and new concepts alike it loses about 2 dB against pictures that it has learnt by heart, and no more. Its codes name edges and shades, and those are the same in a thing that nobody has shown it. Other styles are harder, by 4 dB; they have other edges.
#
# **The judge is part of the number.** Even of the real pictures in unseen styles it misses about one in eight. And hybrid against codes only: the intervals overlap everywhere, so we cannot tell.

# %% [markdown]
# ## 8. Experiment: scenes, task by task
#
# The shipped model has learnt single emoji, each alone in the middle. It has never seen two things in one picture. Can it put together what it knows? Prompts ask for the style and the backgrounds that it has learnt, so only the *composition* is new. The judge looks at each drawing, and your rules say pass or fail.

# %% [markdown] tags=["predict"]
# **What do you expect?** In which tasks does it pass at all? Mind that `single` asks for one thing, but among 80 nouns, of which it has not learnt all.
#
# <details><summary>Answer</summary>
#
# See below. And look at the boxes before you look at the scores: a score says how often, a picture says why.
# </details>

# %% tags=["experiment", "nbval-ignore-output"]
drawn = study.draw_scenes(subject, L.budget.scenes, SEED)
verdicts = [score_scene(spec, things) for spec, things in zip(drawn.specs, drawn.found)]
print(f"yours: {sum(verdicts)} of {len(verdicts)} drawings pass")

# %%
shown = [next(i for i, spec in enumerate(drawn.specs) if spec.task == task) for task in TASKS]
figures.show(
    study.boxed(
        drawn.pictures[shown],
        [[thing for thing in drawn.found[i] if thing.score > 0.3] for i in shown],
        [f"{drawn.specs[i].task}: {'passes' if verdicts[i] else 'fails'}" for i in shown],
    ),
    alt="Six drawings, one a task, with a box around each thing that the judge is surer of than 0.3. "
    "The single thing is right. The others show one of two things, or a mixture without a name.",
)
for place in shown:
    seen = ", ".join(f"{t.colour or ''} {t.label} {t.score:.2f}".strip() for t in drawn.found[place] if t.score > 0.3)
    print(f"{drawn.specs[place].caption}\n    found: {seen or 'nothing'}")

# %%
scores = {arm: [] for arm in (study.MODEL, "real scenes", "shuffled captions", "blank")}
for run in results("13_scenes"):
    if run["budget"] == "cpu":
        scores[run["arm"]].append(run["metrics"])


def share(arm, task):
    """Passed drawings of a task over all runs, and the interval."""
    total = sum(run[f"prompts_{task}"] for run in scores[arm])
    hits = sum(round(run[task] * run[f"prompts_{task}"]) for run in scores[arm])
    passed = (torch.arange(int(total)) < hits).float()
    return passed.mean().item(), *interval(passed, 2000, torch.Generator().manual_seed(1)), int(total)


if not all(scores.values()):
    print("no results yet: run dcar experiment 13_scenes --budget cpu --seed 0 (and 1, 2)")
for arm in scores:
    if scores[arm]:
        cells = [share(arm, task) for task in TASKS]
        print(f"{arm:18s}" + "".join(f"{task:>10s} {100 * m:3.0f} %" for task, (m, *_) in zip(TASKS, cells)))

# %%
figure, ((axis,),) = figures.panels(1, 1, height=3.2)
for shift, (arm, mark) in enumerate(zip(scores, "os^")):
    if scores[arm]:
        middles, lows, highs, totals = zip(*(share(arm, task) for task in TASKS))
        places = [i + 0.16 * (shift - 1) for i in range(len(TASKS))]
        bars = [[m - a for m, a in zip(middles, lows)], [b - m for m, b in zip(middles, highs)]]
        label = "real scenes: the ceiling" if arm == "real scenes" else arm
        axis.errorbar(places, middles, bars, fmt=mark, capsize=4, label=label)
axis.set_xticks(range(len(TASKS)), TASKS)
axis.set(ylabel="share that passes", ylim=(-0.05, 1.05))
axis.legend(fontsize=8, loc="center right")
figures.show(
    figure,
    alt="Share that passes in each of six tasks. Real scenes lie at or near 1 in all of them, shuffled "
    "captions at or near 0. The shipped model passes a good part of single, and next to nothing else.",
)

# %% [markdown]
# **What to notice.** Three in four of the single things pass: it has learnt 62 of the 80 nouns, and those it can draw. Of every other task not one drawing in 60 passes. The pictures above say why: in the middle stands one of the things, or a mixture of both. The model recalls, and there is no picture of two things to recall. Shuffled captions pass next to never, so a pass is not luck; real scenes pass nearly always, so it is not the judge that holds the model back.
#
# Two cautions. With 0 hits the bootstrap draws an interval of no width: *it cannot see what never happened*. The **rule of three** can: if 0 of n pass, the true share may still be up to about 3/n, here 5 %. And `single` looks better than R@1 of learnt prompts in section 7, at about one half. There 1,378 labels compete, here the judge knows 83 names. A score means something only beside what it competed with.

# %% [markdown]
# ## 9. Photographs, and other data
#
# The tokenizer was trained on emoji and nothing else. Does it redraw a photograph? Twelve of them, free of rights (`data/photos`), which it has never seen:

# %%
photos, names = real_sets.photographs()
tokens = subject.tokenizer.encode(photos)
with torch.no_grad():
    ways = {
        "original": photos,
        "codes only": subject.tokenizer.decode(tokens.indices),
        "hybrid": subject.tokenizer.decode(tokens.indices, tokens.residuals),
    }
close = {name: psnr(pictures, photos) for name, pictures in ways.items() if name != "original"}
some = [names.index(n) for n in ("a kingfisher on a branch", "a red panda", "an owl on a branch", "Neuschwanstein Castle", "a cup of coffee on a wooden table")]
titles = [""] * 5 + [f"{v:.1f} dB" for values in close.values() for v in values[some].tolist()]
figures.show(
    figures.image_grid(
        torch.cat([pictures[some] for pictures in ways.values()]), titles, columns=5,
        row_titles=list(ways), tile=1.1,
    ),
    alt="Three rows of five photographs: a kingfisher, a red panda, an owl, a castle, a cup of coffee. "
    "Originals; from codes only they are blurred patches of nearly the right colours; with residuals "
    "shapes are clearer, fine detail is gone. PSNR stands above each.",
)
for name, values in close.items():
    low, high = interval(values, 2000, L.generator(2))
    print(f"{name:10s} {values.mean():.1f} dB [{low:.1f}, {high:.1f}] over {len(photos)} photographs")

# %% [markdown]
# **What to notice.** The photographs come back as paintings with a broad brush: 16.4 dB from codes only and 17.8 with residuals, where emoji of unseen *concepts* have about 20.5 and 22.5 (section 7). Large shapes survive, and most colours: look at what became of the grey behind the owl. Fur, feathers and windows are gone. An unseen emoji is a new thing made of known parts: flat areas, clean edges. A photograph is made of other parts, and no code stands for them. So how far "held out" is from what was learnt matters more than that it was held out. The paper's tokenizer has learnt from photographs; to judge it by emoji would be as unfair.

# %% [markdown]
# ### Sets from the Hub
#
# The same measures on the field's own sets are one command each; captions are drawn, pictures redrawn, and each number gets its interval:
#
# ```
# dcar evaluate emoji-256-cpu --guidance 1 --reference coco --prompts 256
# dcar evaluate emoji-256-cpu --reference lsun --pictures 256          # no captions: redrawn only
# dcar evaluate emoji-256-cpu --guidance 1 --reference mjhq-30k --prompts 30000
# dcar evaluate my-model --reference hub:somebody/pictures --caption-column text
# ```
#
# Pictures come as a stream and are dropped again, so 30,000 need no more memory than 300. If this machine is online, here are six photographs of COCO, redrawn.

# %% tags=["nbval-ignore-output"]
batch = real_sets.hub_batch("coco", 6) if L.budget.name != "smoke" else None
if batch is None:
    print("the Hub cannot be reached, or the library 'datasets' is not installed: skipped")
else:
    with torch.no_grad():
        seen = subject.tokenizer.encode(batch.images)
        again = subject.tokenizer.decode(seen.indices, seen.residuals)
    print(f"COCO, {len(again)} photographs: {psnr(again, batch.images).mean():.1f} dB, hybrid")
    print(f"first caption: {batch.captions[0]}")

# %% [markdown]
# ## Quiz

# %% tags=["quiz", "nbval-ignore-output"]
course.quiz("13")

# %% [markdown] tags=["recap"]
# ## What you take with you
#
# 1. **Choose before you look**: prompts by a seed, and best, median *and* worst.
# 2. **Name the features, the size and the number of pictures** with every distance. FD falls with the number; KID does not.
# 3. **Alike is not right.** A distance sees the style first. Ask for content too: R@k, scenes.
# 4. **A score has a ceiling**: what real pictures get from the same judge.
# 5. **No number without an interval**, and no "better" within one.
#
# **New terms:** Frechet distance, recall at k, bootstrap, confidence interval, SceneEval, ceiling, reference set. `course.glossary()` explains them.
#
# **You now know** `dcar_edu.metrics`: `frechet`, `alignment`, `scenes`, `distribution`; and what `dcar evaluate` and `dcar scenes` print.
#
# **To read on:** [FID](https://arxiv.org/abs/1706.08500), [KID](https://arxiv.org/abs/1801.01401), [GenEval](https://arxiv.org/abs/2310.11513), [MJHQ-30K](https://arxiv.org/abs/2402.17245), and [what FID misses](https://arxiv.org/abs/2401.09603).
#
# **Next:** lesson 14 lets the model change a part of a picture and leave the rest alone.

# %% tags=["nbval-ignore-output"]
#@title Download my answers (on Colab)
import sys

if "google.colab" in sys.modules:
    L.save_answers()

# %% tags=["finish", "nbval-ignore-output"]
L.finish()
