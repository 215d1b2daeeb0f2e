"""From anything that can be looked at to one output of a notebook, with its words beside it."""

import base64
import contextlib
import io
import sys
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image

from dcar_edu.course.frontend import in_kernel, publish
from dcar_edu.images import to_pil

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

STYLE = Path(__file__).with_name("style.mplstyle")
LARGEST = 300_000
"""Bytes above which a picture is stored with 256 colours."""


@contextlib.contextmanager
def styled() -> Iterator[None]:
    """Draw in the course's style inside this block.

    Raises:
        RuntimeError: matplotlib is not installed.
    """
    try:
        import matplotlib.style
    except ImportError as error:
        raise RuntimeError(
            "figures need matplotlib. Install it: pip install 'dcar_edu[course]'"
        ) from error
    with matplotlib.style.context(STYLE):
        yield


def use_style() -> None:
    """Give figures that a notebook draws itself with pyplot the same look, in sharp PNG.

    Raises:
        RuntimeError: matplotlib is not installed.
    """
    with styled():
        import matplotlib.style
    matplotlib.style.use(STYLE)
    if in_kernel():
        with contextlib.suppress(ImportError):
            from matplotlib_inline.backend_inline import set_matplotlib_formats

            set_matplotlib_formats("retina")


def panels(
    rows: int = 1, columns: int = 1, *, width: float = 8, height: float = 3.5, **more: Any
) -> tuple["Figure", np.ndarray]:
    """Make a figure with ``rows`` x ``columns`` axes in the course's style.

    Args:
        rows: rows of axes.
        columns: axes in a row.
        width: in inches; 8 fills a notebook's width.
        height: in inches.
        more: for ``Figure.subplots``, such as ``sharey=True`` or ``width_ratios=[2, 1]``.

    Returns:
        The figure and its axes ``(rows, columns)``.
    """
    with styled():
        from matplotlib.figure import Figure

        figure = Figure(figsize=(width, height), layout="constrained")
        if {"width_ratios", "height_ratios"} & set(more):
            ratios = {k: more.pop(k) for k in ("width_ratios", "height_ratios") if k in more}
            more["gridspec_kw"] = ratios
        return figure, figure.subplots(rows, columns, squeeze=False, **more)


def to_picture(what: Any) -> Image.Image:
    """Turn a PIL picture, an image, pixels or a figure into an RGB picture.

    Args:
        what: PIL; float tensor ``(3, h, w)`` in [-1, 1]; uint8 ``(h, w, 3)``; matplotlib figure.

    Raises:
        ValueError: it is none of these.
    """
    if isinstance(what, Image.Image):
        return what.convert("RGB")
    floats = isinstance(what, torch.Tensor) and what.is_floating_point()
    if floats and what.ndim == 3 and what.shape[0] == 3:
        return to_pil(what)
    if isinstance(what, (torch.Tensor, np.ndarray)):
        pixels = np.asarray(what)
        if pixels.dtype == np.uint8 and pixels.ndim == 3 and pixels.shape[-1] == 3:
            return Image.fromarray(pixels)
    elif hasattr(what, "savefig"):
        buffer = io.BytesIO()
        what.savefig(buffer, format="png", dpi=200, facecolor="white")
        return Image.open(buffer).convert("RGB")
    shape = f" of shape {tuple(what.shape)}" if hasattr(what, "shape") else ""
    raise ValueError(
        "a picture is a PIL picture, a float image (3, h, w) in [-1, 1], uint8 pixels (h, w, 3) "
        f"or a matplotlib figure, got {type(what).__name__}{shape}. Show one of a batch: images[0]."
    )


def png(picture: Image.Image) -> bytes:
    """Encode as PNG; a large one with 256 colours, so that notebooks stay small."""

    def encode(one: Image.Image) -> bytes:
        buffer = io.BytesIO()
        one.save(buffer, format="PNG", optimize=True)
        return buffer.getvalue()

    data = encode(picture)
    if len(data) > LARGEST:
        data = min(data, encode(picture.quantize(256)), key=len)
    return data


def show(what: Any, *, alt: str, width: int | None = None) -> None:
    """Show one figure or picture in the notebook.

    Args:
        what: whatever :func:`to_picture` takes. Several pictures: ``image_grid`` first.
        alt: what is seen in it, in a sentence, for those who cannot see it.
        width: in screen pixels; default: a figure's own width, a picture at twice its size up to
            512.

    Raises:
        ValueError: ``alt`` says nothing, or ``what`` is no picture.
    """
    if len(alt.split()) < 3:
        raise ValueError(
            f"alt must say in a sentence what is seen in the figure, got {alt!r}. "
            "Write what a reader should notice, such as 'A wolf appears in 12 steps.'"
        )
    picture, is_figure = to_picture(what), hasattr(what, "savefig")
    if width is None:
        width = picture.width // 2 if is_figure else min(2 * picture.width, max(512, picture.width))
    if not is_figure and picture.width < width:
        size = (width, round(width * picture.height / picture.width))
        picture = picture.resize(size, Image.Resampling.NEAREST)
    data = {
        "image/png": base64.b64encode(png(picture)).decode() + "\n",
        "text/plain": f"[picture] {alt}",
    }
    height = round(width * picture.height / picture.width)
    publish(data, {"image/png": {"alt": alt, "width": width, "height": height}})
    if is_figure and "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close(what)  # or the notebook shows it a second time


def image_grid(
    images: Any,
    titles: Sequence[str] | None = None,
    columns: int = 4,
    *,
    row_titles: Sequence[str] | None = None,
    tile: float = 1.6,
) -> "Figure":
    """Lay pictures out in rows.

    Args:
        images: a batch ``(b, 3, h, w)`` in [-1, 1], or a list of what ``to_picture`` takes.
        titles: one over each picture; or ``columns`` titles, over the first row only.
        columns: pictures in a row.
        row_titles: one to the left of each row.
        tile: width of a picture in inches; made smaller when a row would not fit.

    Raises:
        ValueError: no pictures, or titles that do not fit their number.
    """
    pictures = [to_picture(image) for image in images]
    rows = -(-len(pictures) // max(columns, 1))
    _check_titles(len(pictures), rows, columns, titles, row_titles)
    side = min(tile, (8.0 - (1.2 if row_titles else 0)) / columns)
    titles = [_wrapped(title, int(13 * side)) for title in titles or ()]
    lines = max((title.count("\n") + 1 for title in titles), default=0)
    shape = max(p.height / p.width for p in pictures)
    text = 0.2 * lines * (rows if len(titles) > columns else 1)
    width = side * columns + (1.2 if row_titles else 0)
    figure, axes = panels(rows, columns, width=width, height=side * shape * rows + text + 0.1)
    for place, ax in enumerate(axes.flat):
        if place >= len(pictures):
            ax.set_axis_off()
            continue
        picture_on(ax, pictures[place])
        if place < len(titles):
            ax.set_title(titles[place], fontsize=9, pad=3)
        if row_titles is not None and place % columns == 0:
            ax.set_ylabel(row_titles[place // columns], rotation=0, ha="right", va="center")
    return figure


def _check_titles(
    count: int,
    rows: int,
    columns: int,
    titles: Sequence[str] | None,
    row_titles: Sequence[str] | None,
) -> None:
    if count == 0 or columns < 1:
        raise ValueError(
            f"image_grid needs at least one picture and one column, got {count} pictures in "
            f"{columns} columns."
        )
    if titles is not None and len(titles) not in (count, columns):
        raise ValueError(
            f"titles must be one a picture ({count}) or one a column ({columns}), "
            f"got {len(titles)}."
        )
    if row_titles is not None and len(row_titles) != rows:
        raise ValueError(f"row_titles must be one a row ({rows}), got {len(row_titles)}.")


def _wrapped(title: str, most: int) -> str:
    return "\n".join(textwrap.fill(line, max(most, 6)) for line in title.splitlines())


def picture_on(ax: "Axes", picture: Image.Image) -> None:
    """Draw a picture on axes, without ticks, grid or frame."""
    ax.imshow(picture)
    ax.set_xticks([])
    ax.set_yticks([])
    ax.grid(False)
    for spine in ax.spines.values():
        spine.set_visible(False)
