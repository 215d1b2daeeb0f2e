"""``explore(fn, ...)``: move a slider and look; a contact sheet where nothing can be moved."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from dcar_edu.course.frontend import is_live
from dcar_edu.course.picture import image_grid, show, to_picture

MOST_PRESETS = 5


def explore(
    fn: Callable[..., Any],
    *,
    alt: str,
    presets: Sequence[Mapping[str, Any]] | None = None,
    **sliders: Sequence[Any],
) -> None:
    """Show what ``fn`` draws for values that the reader picks.

    In a live notebook every value gets a slider (arrow keys) and a box to type in. Elsewhere, or
    with ``DCAR_WIDGETS=0``, ``fn`` is called on three to five values and all pictures are shown
    side by side. No widget state is kept in the notebook either way.

    Args:
        fn: takes the sliders' names, gives back a picture or a figure.
        alt: what the pictures show, in a sentence.
        presets: three to five settings for the contact sheet; default: spread over the range.
        sliders: name -> ``(low, high)`` or ``(low, high, step)`` for numbers, or a list of choices.

    Raises:
        ValueError: no slider, a range that is none, or presets that do not fit.
    """
    if not sliders:
        raise ValueError("explore needs at least one slider, such as guidance=(0, 8).")
    for name, span in sliders.items():
        _check_span(name, span)
    chosen = list(spread(sliders) if presets is None else presets)
    if presets is not None and not 3 <= len(chosen) <= MOST_PRESETS:
        raise ValueError(f"presets must be 3 to {MOST_PRESETS} settings, got {len(chosen)}.")
    for setting in chosen:
        if set(setting) != set(sliders):
            raise ValueError(
                f"each preset must name exactly {', '.join(sliders)}, got {', '.join(setting)}."
            )
    if is_live():
        _show_sliders(fn, alt, sliders)
        return
    pictures = [to_picture(fn(**setting)) for setting in chosen]
    titles = ["\n".join(f"{k} = {v}" for k, v in setting.items()) for setting in chosen]
    show(image_grid(pictures, titles, columns=len(pictures)), alt=alt)


def _check_span(name: str, span: Sequence[Any]) -> None:
    number = isinstance(span, tuple) and all(isinstance(v, (int, float)) for v in span)
    good = len(span) in (2, 3) and span[0] < span[1] if number else isinstance(span, list) and span
    if not good:
        raise ValueError(
            f"slider '{name}' must be (low, high), (low, high, step) or a list of choices, "
            f"got {span!r}."
        )


def spread(sliders: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """Up to five settings that move all sliders together from their first value to their last."""
    own = {name: few_values(span) for name, span in sliders.items()}
    count = max(len(picked) for picked in own.values())
    return [
        {name: _evenly(picked, count)[place] for name, picked in own.items()}
        for place in range(count)
    ]


def few_values(span: Sequence[Any]) -> list[Any]:
    """Up to five values of a slider, the first and the last among them."""
    if isinstance(span, list):
        return _evenly(span, min(MOST_PRESETS, len(span)))
    low, high, step = _bounds(span)
    most = int((high - low) / step + 1e-9)
    places = _evenly(range(most + 1), min(MOST_PRESETS, most + 1))
    picked = [low + step * place for place in places]
    return picked if _whole(span) else [round(float(value), 6) for value in picked]


def _evenly(items: Sequence[Any], count: int) -> list[Any]:
    return [items[round(i * (len(items) - 1) / max(count - 1, 1))] for i in range(count)]


def _bounds(span: Sequence[Any]) -> tuple[Any, Any, Any]:
    low, high = span[0], span[1]
    step = 1 if _whole(span) else (high - low) / 100
    return low, high, span[2] if len(span) == 3 else step


def _whole(span: Sequence[Any]) -> bool:
    return all(isinstance(v, int) for v in span)


def _show_sliders(fn: Callable[..., Any], alt: str, sliders: Mapping[str, Sequence[Any]]) -> None:
    import ipywidgets
    from IPython.display import clear_output, display

    screen = ipywidgets.Output()
    rows, inputs = [], {}
    for name, span in sliders.items():
        inputs[name], row = _slider(ipywidgets, name, span)
        rows.append(row)

    def draw(_: Any = None) -> None:
        with screen:
            clear_output(wait=True)
            show(fn(**{name: widget.value for name, widget in inputs.items()}), alt=alt)

    for widget in inputs.values():
        widget.observe(draw, "value")
    display(ipywidgets.VBox([*rows, screen]))
    draw()


def _slider(ipywidgets: Any, name: str, span: Sequence[Any]) -> tuple[Any, Any]:
    """The widget that holds the value, and the row to show: label, slider, box to type in."""
    if isinstance(span, list):
        choice = ipywidgets.Dropdown(options=span, description=name)
        return choice, choice
    kind, box = ("IntSlider", "BoundedIntText")
    if not _whole(span):
        kind, box = ("FloatSlider", "BoundedFloatText")
    low, high, step = _bounds(span)
    bounds = {"min": low, "max": high, "step": step, "value": low}
    slider = getattr(ipywidgets, kind)(
        description=name, readout=False, continuous_update=False, **bounds
    )
    typed = getattr(ipywidgets, box)(layout=ipywidgets.Layout(width="90px"), **bounds)
    ipywidgets.link((slider, "value"), (typed, "value"))
    return slider, ipywidgets.HBox([slider, typed])
