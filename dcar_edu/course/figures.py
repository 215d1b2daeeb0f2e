"""Figures of the lessons: one look, fixed sizes, words for every picture.

Functions here give back a matplotlib figure; show it with ``show(figure, alt="...")``.
``course_map``, ``wolf_strip`` and ``animate`` know what they show, and show it themselves.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch

from dcar_edu.course.film import animate
from dcar_edu.course.overview import course_map
from dcar_edu.course.picture import (
    image_grid,
    panels,
    picture_on,
    png,
    show,
    styled,
    to_picture,
    use_style,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "animate",
    "course_map",
    "curve",
    "film_strip",
    "image_grid",
    "panels",
    "png",
    "reveal_map",
    "show",
    "styled",
    "to_picture",
    "use_style",
    "wolf_strip",
]

MARKERS = "os^DvPX"
EMPTY = "#B0B0B0"
WOLF_LESSONS = ("01", "02", "03", "04", "06", "07", "08", "10", "11", "14")
"""Lessons that add a tile to the wolf strip."""


def film_strip(
    records: Sequence[Any], *, picture: int = 0, columns: int = 6, tile: float = 1.6
) -> "Figure":
    """The steps of one drawing, side by side; tokens still hidden are covered by crosses.

    Args:
        records: what ``list(model.generate_steps(prompts))`` gives, or some of it.
        picture: which of the prompts.
        columns: steps in a row.
        tile: width of a picture in inches; made smaller when a row would not fit.

    Raises:
        ValueError: no records.
    """
    if not records:
        raise ValueError("film_strip needs the records of a run: list(model.generate_steps(...)).")
    titles = []
    for record in records:
        hidden = int(record.mask[picture].sum())
        titles.append(f"step {record.step}: {hidden} hidden")
    grid = image_grid([r.preview[picture] for r in records], titles, columns, tile=tile)
    for ax, record in zip(grid.axes, records, strict=False):
        cover_hidden(ax, record.mask[picture])
    return grid


def cover_hidden(ax: "Axes", mask: torch.Tensor) -> None:
    """Cover the hidden tokens of a picture that is drawn on ``ax``.

    Args:
        ax: axes with one picture on them.
        mask: bool ``(h, w)``, True = hidden.
    """
    from matplotlib.patches import Rectangle

    right, bottom = ax.get_xlim()[1] + 0.5, ax.get_ylim()[0] + 0.5
    high, wide = bottom / mask.shape[0], right / mask.shape[1]
    for row, column in mask.nonzero().tolist():
        corner = (column * wide - 0.5, row * high - 0.5)
        look: Any = {"facecolor": "#DDDDDD", "edgecolor": "white", "hatch": "xx", "linewidth": 1}
        ax.add_patch(Rectangle(corner, wide, high, **look))


def curve(
    values: Sequence[float] | Mapping[str, Sequence[float]],
    band: tuple[Sequence[float], Sequence[float]] | None = None,
    *,
    x: Sequence[float] | None = None,
    xlabel: str = "step",
    ylabel: str = "loss",
    log: bool = False,
) -> "Figure":
    """Draw one curve or several; each has its own line style and marker beside its colour.

    Args:
        values: one list of numbers, or name -> list.
        band: lowest and highest value of the reference runs, drawn grey behind the curves.
        x: where the values stand; default 1, 2, 3 ...
        xlabel: name of the horizontal axis.
        ylabel: name of the vertical axis.
        log: logarithmic vertical axis.
    """
    lines = values if isinstance(values, Mapping) else {"yours": values}
    with styled():
        figure, axes = panels()
        ax = axes[0, 0]
        if band is not None:
            low, high = band
            places = x if x is not None and len(x) == len(low) else range(1, len(low) + 1)
            ax.fill_between(places, low, high, color="#CCCCCC", label="three runs of ours")
        for number, (name, line) in enumerate(lines.items()):
            places = x if x is not None else range(1, len(line) + 1)
            every = max(1, len(line) // 10)
            ax.plot(places, line, marker=MARKERS[number % 7], markevery=every, label=name)
        ax.set(xlabel=xlabel, ylabel=ylabel, yscale="log" if log else "linear")
        if band is not None or len(lines) > 1:
            ax.legend()
    return figure


def reveal_map(order: torch.Tensor, picture: Any = None) -> "Figure":
    """In which step did each token appear? Early ones are dark, late ones bright.

    Args:
        order: int ``(h, w)``, 1 = first step.
        picture: drawn beside the map when given.
    """
    rows, columns = order.shape
    side = 3.2
    figure, axes = panels(
        1, 1 if picture is None else 2, width=side * (1 if picture is None else 2)
    )
    ax = axes[0, -1]
    ax.imshow(order.cpu().numpy(), cmap="cividis")
    middle = (order.max() + order.min()).item() / 2
    for row in range(rows):
        for column in range(columns):
            step = int(order[row, column])
            ink = "black" if step > middle else "white"
            ax.text(column, row, str(step), ha="center", va="center", color=ink, fontsize=9)
    ax.set(xticks=[], yticks=[], title="step in which a token appeared")
    ax.grid(False)
    ax.spines[:].set_visible(False)
    if picture is not None:
        picture_on(axes[0, 0], to_picture(picture))
        axes[0, 0].set_title("the picture")
    return figure


def wolf_strip(tiles: Mapping[str, Any]) -> None:
    """Show the same wolf as it looks after each lesson; places to come are dashed.

    Args:
        tiles: lesson number ("01") -> picture.
    """
    from matplotlib.patches import Rectangle

    numbers = sorted({*WOLF_LESSONS, *tiles})
    figure, axes = panels(1, len(numbers), width=8, height=8 / len(numbers) + 0.3)
    for number, ax in zip(numbers, axes[0], strict=True):
        if number in tiles:
            picture_on(ax, to_picture(tiles[number]))
        else:
            picture_on(ax, to_picture(torch.ones(3, 8, 8)))
            ax.set(xlim=(0, 7), ylim=(7, 0))
            look: Any = {"fill": False, "edgecolor": EMPTY, "linestyle": "--", "linewidth": 1.5}
            ax.add_patch(Rectangle((0, 0), 7, 7, **look))
        ax.set_title(number, fontsize=9, pad=3, color="black" if number in tiles else "#767676")
    done = ", ".join(sorted(tiles)) or "no lesson yet"
    show(figure, alt=f"The wolf strip: one wolf after each lesson. Filled so far: {done}.")
