# %% [markdown] tags=["header"]
# ---
# title: Text conditioning
# builds: cross-attention to padded prompts, a null text, and a small network that draws all tokens at once
# figures: 8
# wait: 3
# wait_gpu: 2
# gpu: false
# memory: 2 GB
# needs: 03
# writes: your progress file and one tile of the wolf strip
# ---

# %% [markdown] tags=["map"]
# A picture is a grid of token ids now. This lesson begins to draw such grids from words: it builds the way in for the text, and then draws all tokens in one go. That fails in an instructive way, and the failure is the reason for lesson 07.

# %% [markdown] tags=["objectives"]
# **When you are done you can**
#
# - turn prompts of different lengths into one tensor and a mask, and show that padding counts for nothing;
# - write cross-attention: places of the picture ask, words answer;
# - say what the null text is, and train a network with it;
# - measure what a small text encoder is blind to;
# - explain why a network that is right about every token still draws chimeras.
#
# **You need** lesson 03 (a picture as code ids) and softmax attention.
#
# **Short of time?** Sections 1, 3 and 5.

# %% tags=["setup"]
#@title Setup (run first)
# SETUP

# %% tags=["parameters"]
import os

BUDGET = os.environ.get("DCAR_BUDGET", "cpu")
SEED = 0

# %% tags=["start", "nbval-ignore-output"]
import torch
import torch.nn.functional as F
from einops import rearrange
from torch import nn

from dcar_edu import GeneratorConfig, MaskedGenerator, course
from dcar_edu.course import asking, check, figures, same_as_library
from dcar_edu.course.experiments import results
from dcar_edu.course.stages import keep_going
from dcar_edu.course.studies import study_06 as study
from dcar_edu.generator.transformer import MLP
from dcar_edu.state import warmed_cosine
from dcar_edu.text import TextStates

L = course.start("06", BUDGET, SEED)

# %% tags=["map", "nbval-ignore-output"]
course.course_map("06")

# %% [markdown]
# ## 1. One word, another picture
#
# The shipped model draws the same prompt with one word changed. Beside it: what it draws when it is told nothing.

# %%
model = course.stage("06", "shipped").to(L.device)
encoder = model.text_encoder
PROMPT = "a 3D emoji of a {} on a white background"
NOUNS = ["wolf", "frog", "rocket"]

drawn = model.generate([PROMPT.format(noun) for noun in NOUNS], seed=[SEED] * 3)
nothing = model.generate(["", ""], guidance=-1, seed=[SEED + 3, SEED + 4])

# %%
figures.show(
    figures.image_grid(
        [*drawn, *nothing],
        titles=[*(f"... a {noun} ..." for noun in NOUNS), "no text", "no text"],
        columns=5,
    ),
    alt="Five drawings: a wolf, a frog and a rocket, each from the same prompt with another noun; and "
    "two soft shapes without any text that look like no emoji in particular.",
)

# %% [markdown]
# **What to notice.** All five come from the same network. Only the words it reads differ, and in the last two there are none: it reads the **null text**. These shapes are what it holds for likely when it knows nothing.
#
# How do words get into a network that draws? In three steps, one a section: read them, let the picture ask them, and now and then take them away.

# %% [markdown]
# ## 2. A reader that never learns
#
# Reading is left to a **text encoder**: a language model that was trained on far more text than we have. Ours is **MiniLM**, with 22.7 million weights; the paper uses T5, which is larger. It cuts a prompt into **word pieces** and gives each piece a vector that depends on the whole sentence. It is *frozen*: we never train it.

# %% tags=["nbval-check-output"]
for prompt in ("a wolf", "a hedgehog on a white background"):
    print(encoder.pieces(prompt).tokens())

# %% [markdown]
# A rare word becomes several pieces (`##` joins one to the piece before it), and every prompt gets a start and an end piece. So prompts differ in length, and a batch needs one length. Short ones are filled up: **padding**. A **mask** says which pieces are real.

# %% [markdown] tags=["exercise-text"]
# ### Exercise 06.1 - Pad and mask
# difficulty: 1/5 · importance: 4/5 · 6 min · needs: none
#
# Write `pad_and_mask(ids, length)`. `ids` is a list of lists of whole numbers, one list a prompt. Give back two tensors (prompts, length): the ids as int64, filled up with 0 at the end, and a bool mask, True = real piece. A prompt that is too long loses its end.
#
# Used in `dcar_edu.text.TextEncoder`, by the tokenizer of the language model.
#
# <details><summary>Hint 1</summary>
#
# Begin with two tensors that are all padding, and fill in the rows one by one.
# </details>
# <details><summary>Hint 2</summary>
#
# Ask how *long* a prompt is, not what its ids are: 0 may be the id of a real piece.
# </details>
# <details><summary>Hint 3</summary>
#
# `kept = pieces[:length]`, then `padded[row, :len(kept)] = torch.tensor(kept)` and `mask[row, :len(kept)] = True`.
# </details>
# <details><summary>Expected</summary>
#
# The same two tensors that the language model's own tokenizer makes: compared below.
# </details>

# %% tags=["exercise"]
def pad_and_mask(ids, length):
    """Lists of word pieces as one tensor (prompts, length), and its mask."""
    # BEGIN SOLUTION
    padded = torch.zeros(len(ids), length, dtype=torch.int64)
    mask = torch.zeros(len(ids), length, dtype=torch.bool)
    for row, pieces in enumerate(ids):
        kept = list(pieces)[:length]
        padded[row, : len(kept)] = torch.tensor(kept)
        mask[row, : len(kept)] = True
    return padded, mask
    # END SOLUTION


# %% tags=["check", "nbval-ignore-output"]
pad_and_mask = check("06.1", pad_and_mask)

# %% tags=["nbval-check-output"]
prompts = ["a wolf", "a hedgehog on a white background"]
ids = encoder.pieces(prompts)["input_ids"]
padded, mask = pad_and_mask(ids, max(map(len, ids)))
theirs = encoder.pieces(prompts, padding=True, return_tensors="pt")
print("real pieces:", mask.sum(dim=1).tolist(), "of", mask.shape[1])
print("the tokenizer's ids:", torch.equal(padded, theirs["input_ids"]))
print("the tokenizer's mask:", torch.equal(mask.long(), theirs["attention_mask"]))
print("states:", tuple(encoder(prompts).states.shape))

# %% [markdown]
# What does MiniLM think is alike? Average the states of a prompt over its real pieces, and compare the directions of two averages:
#
# $$\bar s = \frac{\sum_j m_j \, s_j}{\sum_j m_j} \qquad \text{similarity} = \frac{\bar s_1 \cdot \bar s_2}{\lVert \bar s_1 \rVert \, \lVert \bar s_2 \rVert}$$
#
# | symbol | meaning | shape | code |
# |---|---|---|---|
# | $s_j$ | state of piece $j$ | (384,) | `text.states` |
# | $m_j$ | 1 for a real piece, 0 for padding | number | `text.mask` |

# %%
CAPTIONS = [
    "a cat to the left of a tree",
    "a tree to the left of a cat",
    "a tree to the right of a cat",
    "a dog to the left of a tree",
    "a red apple and a green pear",
    "a green apple and a red pear",
    "a rocket in space",
]


def directions(prompts):
    """One unit vector a prompt: the mean over its real pieces."""
    text = encoder(prompts)
    weights = text.mask[..., None].float()
    return F.normalize((text.states * weights).sum(1) / weights.sum(1), dim=1).cpu()


alike = directions(CAPTIONS) @ directions(CAPTIONS).T

# %%
figure, ((axis,),) = figures.panels(width=7.2, height=4)
axis.imshow(alike, cmap="cividis", vmin=0, vmax=1)
for row in range(len(CAPTIONS)):
    for column in range(len(CAPTIONS)):
        ink = "black" if alike[row, column] > 0.5 else "white"
        axis.text(column, row, f"{alike[row, column]:.2f}", ha="center", va="center", color=ink)
axis.set_xticks(range(len(CAPTIONS)), [str(1 + n) for n in range(len(CAPTIONS))])
axis.set_yticks(range(len(CAPTIONS)), [f"{text}  {1 + n}" for n, text in enumerate(CAPTIONS)])
axis.grid(False)
figures.show(
    figure,
    alt="A table of similarities between seven captions, 1 on the diagonal. The three captions with "
    "cat and tree are nearly 1 to each other, whatever their order; the two with apple and pear too. "
    "With a dog instead of the cat it is clearly less, and a rocket is like none of them.",
)

# %%
things = list(asking.THINGS)
pairs = list(zip(things, things[1:] + things[:1]))
SAID = {
    "the same place, said from the other side": "a {b} to the right of a {a}",
    "the opposite: places exchanged": "a {b} to the left of a {a}",
    "another thing instead of the first": "a ring to the left of a {b}",
}
own = directions([f"a {a} to the left of a {b}" for a, b in pairs])
for name, words in SAID.items():
    others = directions([words.format(a=a, b=b) for a, b in pairs])
    print(f"{name:42s} {(own * others).sum(1).mean():.3f}")

# %% [markdown]
# **What to notice.** To MiniLM a cat left of a tree and a tree left of a cat are nearly one sentence. It was trained to tell whether two sentences are *about* the same, and they are. Order, and which colour belongs to which thing (**binding**), hardly move its average. A sentence that says the opposite is even closer than one that says the same in other words.
#
# The average is not all, though. A generator reads the states one by one. Section 6 asks whether the order can still be found in them.

# %% [markdown]
# ## 3. Places ask, words answer
#
# In **cross-attention** each place of the picture sends a *question* $q$; each word piece offers a *key* $k$ and a *value* $v$. The more key and question agree, the more of that value the place takes home:
#
# $$\text{out}_i = \sum_j a_{ij} v_j \qquad a_{ij} = \frac{m_j \exp(q_i \cdot k_j / \sqrt d)}{\sum_l m_l \exp(q_i \cdot k_l / \sqrt d)}$$
#
# In words: a softmax over the *real* words. Padding gets weight 0 and has no part in the sum below either. A score of minus infinity does both at once.
#
# | symbol | meaning | shape | code |
# |---|---|---|---|
# | $q$ | questions of the places | (b, n, d) | `q` |
# | $k$, $v$ | keys and values of the word pieces | (b, s, d), (b, s, e) | `k`, `v` |
# | $m$ | True = real piece | (b, s) | `text_mask` |
# | $a$ | attention; each place's weights sum to 1 | (b, n, s) | `weights` |

# %% [markdown] tags=["exercise-text"]
# ### Exercise 06.2 - Cross-attention
# difficulty: 3/5 · importance: 5/5 · 10 min · needs: none
#
# Write `cross_attention(q, k, v, text_mask)` with the shapes of the table. Every prompt has at least one real piece. Give back (b, n, e).
#
# Used in `dcar_edu.generator.transformer.CrossAttention`.
#
# <details><summary>Hint 1</summary>
#
# Scores first: `q @ k.transpose(1, 2)` is (b, n, s). Do not forget the root of d.
# </details>
# <details><summary>Hint 2</summary>
#
# The mask (b, s) must reach scores (b, n, s): `text_mask[:, None]`. Padding is masked *before* the softmax; a score of 0 would still be a weight.
# </details>
# <details><summary>Hint 3</summary>
#
# `scores.masked_fill(~text_mask[:, None], float("-inf")).softmax(dim=-1) @ v`.
# </details>
# <details><summary>Expected</summary>
#
# The two golden lines below: rows sum to 1, and other padding words change nothing.
# </details>

# %% tags=["exercise"]
def cross_attention(q, k, v, text_mask):
    """What every place takes home from the real words."""
    # BEGIN SOLUTION
    scores = q @ k.transpose(1, 2) / q.shape[-1] ** 0.5
    scores = scores.masked_fill(~text_mask[:, None], float("-inf"))
    return scores.softmax(dim=-1) @ v
    # END SOLUTION


# %% tags=["check", "nbval-ignore-output"]
cross_attention = check("06.2", cross_attention)

# %% [markdown]
# A small trick: give every word a value of its own, a row of the unit matrix. Then what a place takes home *is* its attention weights.

# %% tags=["nbval-check-output"]
source = L.generator()
q, k, v = (torch.randn(2, n, 8, generator=source) for n in (16, 5, 5))
real = torch.tensor([[True] * 5, [True, True, False, False, False]])
weights = cross_attention(q, k, torch.eye(5).expand(2, -1, -1), real)
sums = (weights * real[:, None]).sum(dim=-1)
print("rows sum to 1 over real words:", torch.allclose(sums, torch.ones(2, 16)))

junk = torch.where(real[..., None], v, 100.0), torch.where(real[..., None], k, -7.0)
change = cross_attention(q, junk[1], junk[0], real) - cross_attention(q, k, v, real)
print("other padding words change the output by", change.abs().max().item())

# %%
same_as_library(cross_attention, study.attend, lambda: (q, k, v, real))

# %% [markdown]
# Does it matter? We draw three prompts in a batch with a long fourth one, and take the mask away.

# %%
class Unmasked(nn.Module):
    """The encoder with a planted bug: it says that every piece is real."""

    name, width = encoder.name, encoder.width

    def forward(self, prompts):
        text = encoder(prompts)
        return TextStates(text.states, torch.ones_like(text.mask))


short = [PROMPT.format(noun) for noun in NOUNS]
neighbour = "a very long prompt that tells of everything there is to see " * 4
drawings, tokens = {}, {}
for name, reader in (("masked", encoder), ("not masked", Unmasked())):
    model.text_encoder = reader
    drawings[name] = model.generate([*short, neighbour], seed=[SEED] * 4)[:3]
    alone = model.generate_tokens(short, seed=[SEED] * 3)
    beside = model.generate_tokens([*short, neighbour], seed=[SEED] * 4)[:3]
    tokens[name] = (alone != beside).sum().item()
model.text_encoder = encoder

# %%
figures.show(
    figures.image_grid(
        sum(drawings.values(), []), titles=NOUNS, columns=3, row_titles=list(drawings), tile=1.3
    ),
    alt="Two rows of a wolf, a frog and a rocket, drawn beside a long prompt. Above, with the mask, "
    "they look as in section 1. Below, without it, colours and shapes have changed.",
)
for name, changed in tokens.items():
    print(f"{name:10s} {changed} of {3 * 16} tokens change because of the neighbour")

# %% [markdown]
# **What to notice.** The long neighbour makes the batch longer, so each short prompt gets more padding. Nothing stops and nothing warns. Without the mask the very same prompt gives one picture alone and another in company. Compare a prompt alone and in a batch whenever you build something that reads text: with the mask not one token may change.

# %% [markdown]
# ## 4. The text that is not there
#
# Lesson 08 needs one network that can draw *with* and *without* a prompt. So in training some prompts are replaced by the **null text** $n$, a fixed table of random vectors, never trained:
#
# $$t_i = \begin{cases} n & \text{with probability } p \\ s_i & \text{otherwise} \end{cases}$$
#
# | symbol | meaning | shape | code |
# |---|---|---|---|
# | $s$ | states of the prompts | (b, s, d) | `text` |
# | $n$ | the null text, the same for all | (s, d) | `null` |
# | $p$ | share that is dropped; 0.1 is usual | number | `p` |

# %% [markdown] tags=["exercise-text"]
# ### Exercise 06.3 - Drop the text
# difficulty: 2/5 · importance: 4/5 · 6 min · needs: none
#
# Write `drop_text(text, null, p, generator)`. For each picture of the batch by itself: with probability `p` its whole text becomes `null`. Draw from `generator`, a `torch.Generator`.
#
# Used in `dcar_edu.generator.MaskedGenerator.read_text`.
#
# <details><summary>Hint 1</summary>
#
# One number a picture decides, not one a batch and not one a word.
# </details>
# <details><summary>Hint 2</summary>
#
# `torch.rand(len(text), generator=generator) < p` is True with probability p.
# </details>
# <details><summary>Hint 3</summary>
#
# `torch.where(drop[:, None, None], null, text)` picks one of the two for each picture.
# </details>
# <details><summary>Expected</summary>
#
# p = 0 changes nothing, p = 1 leaves only the null text.
# </details>

# %% tags=["exercise"]
def drop_text(text, null, p, generator):
    """Now and then the null text instead of a prompt's states."""
    # BEGIN SOLUTION
    drop = torch.rand(len(text), generator=generator) < p
    return torch.where(drop[:, None, None], null, text)
    # END SOLUTION


# %% tags=["check", "nbval-ignore-output"]
drop_text = check("06.3", drop_text)

# %% tags=["nbval-check-output"]
states, null = torch.randn(6, 5, 8, generator=source), torch.randn(5, 8, generator=source)
print("p = 0 changes nothing:", torch.equal(drop_text(states, null, 0.0, source), states))
tiny = MaskedGenerator(GeneratorConfig.preset("nano"))
grid = torch.full((2, 4, 4), tiny.mask_id)
told = tiny(grid, torch.randn(2, 5, 384, generator=source), real).logits
untold = tiny(grid, None, real).logits
print("prompt's branch", tuple(told.shape), "null branch", tuple(untold.shape))

# %% [markdown]
# Two branches of one shape can be added and subtracted. The scale $g$ says how far to go from the null branch *through* the prompt's and beyond, $\text{prompt} + g \, (\text{prompt} - \text{null})$: -1 is the null branch itself (that is how section 1 drew "no text"), 0 the prompt's, 4.5 the paper's choice. Lesson 08 opens this box.

# %%
course.explore(
    lambda guidance: model.generate(PROMPT.format("frog"), guidance=guidance, seed=SEED)[0],
    guidance=[-1.0, -0.5, 0.0, 2.0, 4.5],
    alt="Frogs drawn with growing guidance: a pale shape that is no frog at -1; frogs "
    "from -0.5 on, the first two with patches that are not green; a whole one at 2 and 4.5.",
)

# %% [markdown]
# ## 5. Experiment: everything at once
#
# Now we draw from words, in the simplest way one can think of. Each of the 16 places has a *position query*, a learnt vector. It asks the words, thinks, and names one of 1,024 codes. All places answer at the same time: **one shot**.

# %% [markdown]
# It learns two kinds of prompts, in equal shares:
#
# - **full**: "a 3D emoji of a wolf on a white background". One picture fits.
# - **open**: "an emoji of a wolf on a white background". Four pictures fit, one in each style; each time one of them is shown, drawn by lot.

# %% [markdown] tags=["predict"]
# **What do you expect?** The trained network draws (1) from a full prompt, (2) from the open prompt "an emoji of a wolf". For the open one it has seen four wolves, equally often. What does it draw: one of the four, their average, or something else? Would a larger network draw it better?
#
# <details><summary>Answer</summary>
#
# From a full prompt the right wolf. From the open prompt neither one wolf nor a grey average: each token is *sharp* and right, as one of the four wolves has it there, but the places do not agree on *which* wolf. A larger network would not help: the chances it learns are already the right ones.
# </details>

# %%
class OneShot(nn.Module):
    """All tokens at once: every place asks the words, and a head names its code."""

    def __init__(self, codes, places, width=128, heads=4):
        super().__init__()
        self.heads = heads
        self.places = nn.Parameter(torch.randn(places, width))
        self.words = nn.Linear(384, width)
        self.ask, self.tell = nn.Linear(width, width), nn.Linear(width, 2 * width)
        self.think = MLP(width, 4 * width, width)
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, codes)
        self.register_buffer("null_text", torch.randn(64, 384) / 384**0.5)

    def forward(self, text, mask, attend=cross_attention):
        x, words = self.places.expand(len(text), -1, -1), self.norm(self.words(text))
        parts = (self.norm(self.ask(x)), *self.tell(words).chunk(2, dim=-1))
        q, k, v = (rearrange(p, "b n (m d) -> (b m) n d", m=self.heads) for p in parts)
        seen = attend(q, k, v, mask.repeat_interleave(self.heads, dim=0))  # your function
        x = x + rearrange(seen, "(b m) n d -> b n (m d)", m=self.heads)
        return self.head(self.norm(x + self.think(self.norm(x))))


# %%
def read(captions):
    """States of all captions, on the CPU; once is enough, as the encoder is frozen."""
    text = encoder(captions)
    return TextStates(text.states.cpu(), text.mask.cpu())


asked = asking.emoji_prompts(model.tokenizer, L.budget.concepts)
text = read(asked.captions)
for kind in dict.fromkeys(asked.kinds):
    rows = asked.where(kind)
    print(f"{kind:5s} {len(rows):4d} prompts, such as: {asked.captions[rows[0]]}")


# %%
def train(net, asked, text, state, steps):
    """Learn to name the code of every place; yields the loss after every step."""
    device, null = net.places.device, net.null_text.cpu()
    while state.step < steps:
        rows, tokens = study.draw(asked, study.BATCH, state.generator)
        words, mask = text.states[rows], text.mask[rows]
        words = drop_text(words, null[: words.shape[1]], study.DROPPED, state.generator)
        logits = net(words.to(device), mask.to(device))
        loss = F.cross_entropy(logits.flatten(0, 1), tokens.flatten().to(device))
        loss.backward()
        rate = study.LEARNING_RATE * warmed_cosine(state.step, steps, study.WARMUP)
        state.apply_gradients(rate, clip=1.0)
        yield loss.item()
    state.use_average()


# %%
def learn(name, asked, text, steps):
    """Train a network for these prompts; the cell can be stopped and run again."""
    torch.manual_seed(SEED)
    net = OneShot(model.tokenizer.config.num_codes, asked.fits[0, 0].numel()).to(L.device)
    state = study.begin(net, SEED)
    run = train(net, asked, text, state, steps)
    losses = list(keep_going(f"06/{name}-{L.budget.name}-{SEED}", state, run, total=steps))
    print(f"loss {losses[0]:.2f} -> {losses[-1]:.2f}")
    return net.eval()


net = learn("one-shot", asked, text, L.budget.steps)

# %% [markdown]
# Wolf and frog, four times each: the four pictures that fit; drawn from the four full prompts; drawn four times from the open prompt. (The titles name the style of the two upper rows; the open prompt names none.) Letters say which style has this very token at this place: **3**D, **F**lat, **N**oto, **B**lob; = several, ? none. (All are decoded from codes alone, without residuals. That costs colour: two of the true frogs come out red.)

# %%
FULL = ["a 3D", "a flat", "a Noto", "a blob"]


def letter(token, fits):
    """Which of the four styles have this token?"""
    styles = [name for name, other in zip("3FNB", fits) if other == token]
    return styles[0] if len(styles) == 1 else "=" if styles else "?"


dice, rows, tokens = L.generator(1), [], []
for noun in ("wolf", "frog"):
    where = asked.captions.index(f"an emoji of a {noun} on a white background")
    full = [asked.captions.index(f"{a} emoji of a {noun} on a white background") for a in FULL]
    drawn = [study.draw_at_once(net, text, which, dice) for which in (full, [where] * 4)]
    tokens.append(torch.stack([asked.fits[where], *drawn]))
    rows.append(where)
shown = torch.cat(tokens, dim=1)  # (3, 8, 4, 4)

# %%
with torch.no_grad():
    pictures = [model.tokenizer.decode(part.to(L.device)).cpu() for part in shown]
wolf = pictures[2][0]  # this lesson's tile of the strip
names = ["true", "full prompt", "open prompt"]
styles = ["3D", "Flat", "Noto", "Blob"] * 2
figure = figures.image_grid(torch.cat(pictures), styles, 8, row_titles=names, tile=1.0)
for place, axis in enumerate(figure.axes[8:], start=8):
    row, column = divmod(place, 8)
    fits = asked.fits[rows[column // 4]]
    for y in range(4):
        for x in range(4):
            sign = letter(shown[row, column, y, x], fits[:, y, x])
            box = {"boxstyle": "square,pad=0.1", "facecolor": "white", "alpha": 0.6, "linewidth": 0}
            where = (32 * x + 15.5, 32 * y + 15.5)
            axis.text(*where, sign, ha="center", va="center", fontsize=7, bbox=box)
figures.show(
    figure,
    alt="Three rows of four wolves and four frogs. Above the true ones in four styles. In the middle "
    "those drawn from full prompts: nearly the same, with one letter all over each. Below those drawn "
    "from the open prompt: patchwork animals, with all four letters mixed.",
)

# %% [markdown]
# Now in numbers, for all prompts, eight drawings each:
#
# - **each**: share of tokens that *some* fitting picture has at this place;
# - **one**: share that the best *single* fitting picture explains;
# - **whole**: share of drawings that are one fitting picture, token for token.
#
# The last row is no network: at every place it takes the token of one of the four true pictures by lot. That is what a one-shot network draws that has learnt the chances *perfectly*.

# %%
found = study.judge(net, asked, text, L.generator(2))
ROWS = {"full": "full prompts", "open": "open prompts", "perfect": "open, perfect chances"}


def table(found, rows):
    """Three measures a row."""
    print(f"{'':24s}" + "".join(f"{name:>18s}" for name in ("each", "one", "whole")))
    for kind, title in rows.items():
        cells = [f"{found[f'{kind}_{name}']:.2f}" for name in ("each", "one", "whole")]
        print(f"{title:24s}" + "".join(f"{cell:>18s}" for cell in cells))


table(found, ROWS)
L.report(full_one=found["full_one"], open_each=found["open_each"], open_whole=found["open_whole"])

# %% [markdown]
# **What to notice.** Take the open prompts. Each *token* is right: some true picture has it just there. But the best single picture explains only about half of them, and not one drawing is whole. Such a patchwork is a **chimera**.
#
# Now the last row. A network that knew every chance *exactly* would do no better. With four equally likely pictures that differ at all 16 places, the chance that all places happen to take the same one is
#
# $$4 \cdot \left(\tfrac{1}{4}\right)^{16} \approx 10^{-9}$$
#
# | symbol | meaning |
# |---|---|
# | 4 | pictures that fit |
# | 16 | places that choose, each by itself |
#
# So it is neither the network nor the training: it is the *one shot*. What if the places could look at each other before they answer (self-attention)? Three runs of each, the lowest and the highest value:

# %%
runs = [line for line in results("06_one_shot") if line["budget"] == "cpu"]
for arm, title in (("alone", "places alone"), ("talking", "places look at each other")):
    seeds = [line["metrics"] for line in runs if line["arm"] == arm]
    for kind in ("full", "open") if seeds else ():
        values = [[one[f"{kind}_{name}"] for one in seeds] for name in ("each", "one", "whole")]
        cells = [f"{min(v):.2f} to {max(v):.2f}" for v in values]
        print(f"{title:26s} {kind}: each {cells[0]}, one {cells[1]}, whole {cells[2]}")

# %% [markdown]
# **What to notice.** It does not help: there is nothing to look at yet. No place has decided anything when it is asked what it sees in the others. In lesson 07 some places *have* decided, and then looking at each other is all it takes.
#
# ## 6. Where does a place look?
#
# The weights $a_{ij}$ say how much place $i$ takes from piece $j$. For a *word*, sum over its pieces, average over the heads, and lay the places out as they lie in the picture:
#
# $$M_{yx} = \frac{1}{H} \sum_{h=1}^{H} \; \sum_{j \in \text{word}} a^{(h)}_{ij}, \qquad i = y \cdot w + x$$
#
# | symbol | meaning | shape | code |
# |---|---|---|---|
# | $a^{(h)}$ | attention of head $h$ | (heads, h·w, s) | `weights` |
# | word | places of the word's pieces in the prompt | list | `pieces` |
# | $M$ | the word's map | (h, w) | |

# %% [markdown] tags=["exercise-text"]
# ### Exercise 06.4 - The map of a word
# difficulty: 2/5 · importance: 3/5 · 6 min · needs: 06.2
#
# Write `word_map(weights, pieces, h, w)`. `weights` is (heads, h·w, s), `pieces` a list of columns. Give back (h, w). The maps of all pieces together sum to 1 at every place.
#
# It looks into the attention that is Used in `dcar_edu.generator.transformer.CrossAttention`; drawing does not need it.
#
# <details><summary>Hint 1</summary>
#
# Three axes, three fates: heads are averaged, places are laid out, pieces are chosen and summed.
# </details>
# <details><summary>Hint 2</summary>
#
# `weights[:, :, pieces]` chooses the columns of one word.
# </details>
# <details><summary>Hint 3</summary>
#
# `.sum(dim=2).mean(dim=0).reshape(h, w)`.
# </details>
# <details><summary>Expected</summary>
#
# Below: one map for each word of "a cat to the left of a tree".
# </details>

# %% tags=["exercise"]
def word_map(weights, pieces, h, w):
    """How much each place of the picture looks at one word, (h, w)."""
    # BEGIN SOLUTION
    return weights[:, :, pieces].sum(dim=2).mean(dim=0).reshape(h, w)
    # END SOLUTION


# %% tags=["check", "nbval-ignore-output"]
word_map = check("06.4", word_map)

# %% [markdown]
# The shipped model has never seen two things in one picture. So we train the one-shot network anew, on **scenes**: pictures twice as wide as high, with one thing on either side, said from the left ("a cat to the left of a dog") or from the right ("a dog to the right of a cat"). Some pairs, cat and tree among them, it *never* sees together.

# %%
scenes = asking.scene_prompts(model.tokenizer, L.budget.things)
said = read(scenes.captions)
for kind in dict.fromkeys(scenes.kinds):
    print(f"{kind:7s} {len(scenes.where(kind)):4d} prompts")
drawer = learn("scenes", scenes, said, L.budget.scene_steps)

# %%
WANTED = ["a cat to the left of a tree", "a tree to the left of a cat", "a tree to the right of a cat"]
rows = [scenes.captions.index(prompt) for prompt in WANTED]
with torch.no_grad():
    tokens = study.draw_at_once(drawer, said, rows, L.generator(3))
    pictures = model.tokenizer.decode(tokens.to(L.device)).cpu()
figures.show(
    figures.image_grid(pictures, titles=WANTED, columns=3, tile=2.2),
    alt="Three wide drawings of a cat and a tree, from prompts of which the first and the last say "
    "the same and the one between them the opposite.",
)
found = study.judge(drawer, scenes, said, L.generator(4))
table(found, {"scene": "pairs it has learnt", "unseen": "pairs it never saw"})
L.report(unseen_one=found["unseen_one"])

# %%
def exchanged(prompt):
    """The prompt with its two things in each other's place."""
    middle = next(m for m in (" to the left of ", " to the right of ") if m in prompt)
    return middle.join(reversed(prompt.split(middle)))


rows = scenes.where("unseen")
others = [scenes.captions.index(exchanged(scenes.captions[row])) for row in rows]
tokens = study.draw_at_once(drawer, said, rows * 8, L.generator(5))
own, opposite = (
    (tokens == scenes.fits[which * 8, 0]).float().mean(dim=(1, 2)) for which in (rows, others)
)
print(f"{int((own > opposite).sum())} of {len(own)} drawings of unseen pairs have the order right")

# %% [markdown]
# **What to notice.** The prompts that MiniLM's average could not tell apart are drawn with cat and tree on the right sides, for a pair the network has never seen together. So the order is *in the states*, and cross-attention gets at it. "MiniLM loses order" is true of its average, and only half true of its states. Unseen pairs are drawn less exactly than learnt ones, and this is a tiny world of six things and one relation: in a large one the weakness comes back.
#
# Now the maps: where does each place of "a cat to the left of a tree" look?

# %%
@torch.no_grad()
def attention_of(net, prompt):
    """Attention of all layers and heads (layers x heads, places, pieces) to one prompt."""
    seen = []

    def spy(q, k, v, mask):
        unit = torch.eye(k.shape[1], device=k.device).expand(len(k), -1, -1)
        seen.append(cross_attention(q, k, unit, mask))  # the trick of section 3
        return cross_attention(q, k, v, mask)

    words = encoder([prompt])
    net(words.states, words.mask, attend=spy)
    return torch.cat(seen).cpu()


def words_of(prompt):
    """(word, places of its pieces) in reading order."""
    pieces = encoder.pieces(prompt)
    for number, word in enumerate(prompt.split()):
        yield word, [place for place, at in enumerate(pieces.word_ids()) if at == number]


# %%
weights = attention_of(drawer, WANTED[0])
maps = {f"{n + 1} {word}": word_map(weights, at, 4, 8) for n, (word, at) in enumerate(words_of(WANTED[0]))}
figure, axes = figures.panels(2, 4, width=8, height=2.9)
for axis, (word, found_map) in zip(axes.flat, maps.items()):
    axis.imshow(found_map, cmap="cividis", vmin=0, vmax=max(m.max() for m in maps.values()))
    axis.axvline(3.5, color="white", linewidth=1)
    axis.set(title=f"{word}: {found_map.mean():.0%}", xticks=[], yticks=[])
    axis.grid(False)
figures.show(
    figure,
    alt="Eight maps of 4 x 8 places, one for each word of 'a cat to the left of a tree'; bright "
    "where much attention goes to it. A line parts the left half from the right half.",
)
for word, found_map in maps.items():
    left, right = found_map[:, :4].mean(), found_map[:, 4:].mean()
    print(f"{word:7s} left half {left:.2f}, right half {right:.2f}")

# %% [markdown]
# **What to notice.** Each half of the picture has a word of its own. But look *which* word the left half reads: is it "cat"? MiniLM has let every piece look at every other, so the state of "to" or "left" may carry the cat as well, and the network reads it wherever it is easiest to read. The map shows **where** the network reads. It does not show **what stands there**, and it does not prove that the word matters. Bear that in mind whenever somebody explains a model with an attention map.

# %% [markdown]
# ## Quiz

# %% tags=["quiz", "nbval-ignore-output"]
course.quiz("06")

# %% [markdown] tags=["recap"]
# ## What you take with you
#
# 1. A **frozen text encoder** gives a state for each word piece. Places of the picture ask, words answer: **cross-attention**.
# 2. **Padding** must count for nothing. Forgetting the mask raises no error; comparing a prompt alone and in a batch finds it.
# 3. The **null text** replaces a tenth of the prompts in training. It makes guidance possible.
# 4. MiniLM's *average* hardly knows who stands left of whom. Its single states do.
# 5. Tokens that are drawn independently do not agree. Every one may be right, and the picture a **chimera**. What is missing is a look at what has been drawn already.
#
# **New terms:** text encoder, word piece, padding, cross-attention, null text, chimera. `course.glossary()` explains them.
#
# **You now know** `load_text_encoder`, `TextStates`, `dcar_edu.generator.transformer.CrossAttention` and `MaskedGenerator.read_text`.
#
# **To read on:** [Sentence-BERT](https://arxiv.org/abs/1908.10084) for encoders like MiniLM, [PixArt-alpha](https://arxiv.org/abs/2310.00426) for the transformer block with cross-attention, [Winoground](https://arxiv.org/abs/2204.03162) on order and binding.
#
# **Next:** lesson 07 hides some tokens and lets the network look at the others. That is how the places come to agree.

# %% tags=["nbval-ignore-output"]
#@title Download my answers (on Colab)
import sys

if "google.colab" in sys.modules:
    L.save_answers()

# %% tags=["finish", "nbval-ignore-output"]
L.finish(wolf=wolf)
