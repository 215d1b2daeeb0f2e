"""The map of DC-AR at the head of every lesson, with the lesson's part lit."""

from typing import TYPE_CHECKING, Any, NamedTuple

from dcar_edu.course.picture import panels, show

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class Part(NamedTuple):
    """One box of the map: words, middle and size."""

    words: str
    x: float
    y: float
    wide: float = 13.0
    high: float = 12.0


PARTS = {
    "prompt": Part("prompt\n“a 3D emoji\nof a wolf”", 7, 44),
    "text": Part("text\nencoder", 24, 44),
    "transformer": Part("masked\ntransformer\n12 steps", 42, 44),
    "tokens": Part("tokens", 61, 44, 11, 11),
    "head": Part("diffusion\nhead", 42, 24),
    "residual": Part("residual", 61, 24, 11, 11),
    "decoder": Part("decoder", 78.5, 34),
    "drawing": Part("picture", 94, 34, 11, 11),
    "data": Part("pictures\nand captions", 7, 6),
    "encoder": Part("encoder\n32 times\nsmaller", 24, 6),
    "quantizer": Part("quantizer\ncode + rest", 42, 6),
    "score": Part("how good\nis it?", 94, 6),
}
ARROWS = (
    ("prompt", "text"),
    ("text", "transformer"),
    ("transformer", "tokens"),
    ("transformer", "head"),
    ("head", "residual"),
    ("tokens", "decoder"),
    ("residual", "decoder"),
    ("decoder", "drawing"),
    ("drawing", "score"),
    ("data", "encoder"),
    ("encoder", "quantizer"),
)
LIT: dict[str, tuple[str, ...]] = {
    "00": ("prompt", "text", "transformer", "tokens", "head", "residual", "decoder", "drawing"),
    "01": ("data", "encoder"),
    "02": ("encoder", "decoder"),
    "03": ("quantizer", "tokens"),
    "04": ("encoder", "quantizer", "tokens", "residual", "decoder"),
    "05": ("decoder", "drawing", "score"),
    "06": ("prompt", "text"),
    "07": ("transformer",),
    "08": ("transformer", "tokens"),
    "09": ("head", "residual"),
    "10": ("transformer", "tokens", "head", "residual", "decoder", "drawing"),
    "11": ("transformer", "tokens", "drawing"),
    "12": ("text", "transformer", "head", "decoder"),
    "13": ("drawing", "score"),
    "14": ("tokens", "residual", "decoder", "drawing"),
    "15": ("quantizer", "tokens", "transformer"),
    "16": tuple(PARTS),
}


def course_map(number: str) -> None:
    """Show the map of DC-AR with the part of lesson ``number`` lit.

    Raises:
        ValueError: there is no such lesson.
    """
    if number not in LIT:
        raise ValueError(f"the map knows lessons {', '.join(LIT)}, got '{number}'.")
    lit = LIT[number]
    figure, axes = panels(height=4.6)
    ax = axes[0, 0]
    ax.set(xlim=(-1, 101), ylim=(-4, 56), aspect="equal")
    ax.set_axis_off()
    for start, end in ARROWS:
        _arrow(ax, PARTS[start], PARTS[end])
    _targets(ax)
    for name, part in PARTS.items():
        _box(ax, part, name in lit)
    note: dict[str, Any] = {"color": "#444444", "fontsize": 9, "style": "italic"}
    ax.text(0, 53.5, "drawing: from words to a picture", **note)
    ax.text(0, 15.5, "training: what the two right answers are", **note)
    names = ", ".join(PARTS[name].words.replace("\n", " ") for name in lit)
    show(
        figure,
        alt="Map of DC-AR. Drawing: prompt, text encoder, masked transformer in 12 steps, then "
        "tokens and, through a diffusion head, the residual; a decoder makes the picture. "
        "Training: pictures, encoder, quantizer give tokens and residual. "
        f"Lit in lesson {number}: {names}.",
    )


def _box(ax: "Axes", part: Part, lit: bool) -> None:
    from matplotlib.patches import FancyBboxPatch

    look: dict[str, Any] = {"facecolor": "#F2F2F2", "edgecolor": "#9A9A9A", "linewidth": 1.2}
    if lit:
        look = {"facecolor": "#FFE2A8", "edgecolor": "#8A5A00", "linewidth": 2.8}
    corner = (part.x - part.wide / 2, part.y - part.high / 2)
    ax.add_patch(
        FancyBboxPatch(
            corner, part.wide, part.high, boxstyle="round,pad=0,rounding_size=1.5", zorder=3, **look
        )
    )
    weight = "bold" if lit else "normal"
    words: dict[str, Any] = {
        "ha": "center",
        "va": "center",
        "fontsize": 9,
        "zorder": 5,
        "weight": weight,
    }
    if part.words in ("tokens", "residual"):
        _cells(ax, part, whole=part.words == "tokens")
        ax.text(part.x, part.y + part.high / 2 + 2, part.words, **words)
    else:
        ax.text(part.x, part.y, part.words, **words)


def _cells(ax: "Axes", part: Part, whole: bool) -> None:
    """A small 4x4 grid: whole numbers for the tokens, small shades for the residual."""
    from matplotlib.patches import Rectangle

    colours = ["#0072B2", "#56B4E9", "#E69F00", "#009E73", "#CC79A7", "#F0E442"]
    side = 2.0
    for place in range(16):
        row, column = divmod(place, 4)
        corner = (part.x - 2 * side + column * side, part.y + side - row * side)
        shade = 0.65 + 0.3 * ((place * 7 + 3) % 11) / 11
        colour = colours[(place * place + 3 * row) % 6] if whole else str(shade)
        ax.add_patch(
            Rectangle(corner, side, side, facecolor=colour, edgecolor="white", lw=0.8, zorder=4)
        )


def _arrow(ax: "Axes", start: Part, end: Part) -> None:
    """From the edge of one box to the edge of the next: across if they differ in x, else down."""
    look = {"arrowstyle": "-|>", "color": "#555555", "lw": 1.5, "shrinkA": 1, "shrinkB": 1}
    if start.x == end.x:
        sign = 1 if end.y > start.y else -1
        tail = (start.x, start.y + sign * start.high / 2)
        tip = (end.x, end.y - sign * end.high / 2)
    else:
        tail, tip = (start.x + start.wide / 2, start.y), (end.x - end.wide / 2, end.y)
    ax.annotate("", tip, tail, arrowprops=look, zorder=2)


def _targets(ax: "Axes") -> None:
    """Dashed: the quantizer's code and rest are what transformer and head learn to give."""
    quantizer, residual, tokens = PARTS["quantizer"], PARTS["residual"], PARTS["tokens"]
    right, between = quantizer.x + quantizer.wide / 2, 52.0
    left, below = tokens.x - tokens.wide / 2, residual.y - residual.high / 2
    look: dict[str, Any] = {"color": "#555555", "lw": 1.3, "linestyle": "--", "zorder": 1}
    ax.plot([right, between, between, left - 1], [8, 8, tokens.y - 3.5, tokens.y - 3.5], **look)
    ax.plot([right, residual.x, residual.x], [4, 4, below - 1], **look)
    tip = {"arrowstyle": "-|>", "color": "#555555", "lw": 1.3}
    ax.annotate("", (left, tokens.y - 3.5), (left - 1.5, tokens.y - 3.5), arrowprops=tip)
    ax.annotate("", (residual.x, below), (residual.x, below - 1.5), arrowprops=tip)
