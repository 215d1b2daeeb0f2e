"""Compare a student's result with ours, and say in words how the two differ.

Checks use :func:`same`, :func:`same_gradient`, :func:`rejects` and :class:`Spy`; each raises
:class:`Wrong` with a message that names the symptom, never the line. Notebooks use
:func:`same_as_library` and :func:`expect_error`.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor


class Wrong(Exception):
    """A check's verdict: the answer is not right, and this is the symptom."""


def same(got: Any, want: Any, what: str, *, atol: float = 1e-5, rtol: float = 1e-4) -> None:
    """Ask that ``got`` equals ``want``; say what differs and where first.

    Tuples, lists and dicts are compared part by part. A number may come as a zero-dimensional
    tensor. Integer widths and float widths may differ; integer against float may not.

    Args:
        got: what the student's function gave back.
        want: what ours gave back.
        what: what it is, in the student's words ("the grid of a 256x512 picture").
        atol: largest absolute difference that still counts as equal.
        rtol: largest difference relative to ``want``.

    Raises:
        Wrong: names ``what``, what was got and what was expected.
    """
    if got is None and want is not None:
        raise Wrong(
            f"{what}: got None, expected {describe(want)}. Does the function return its result?"
        )
    if isinstance(want, Tensor):
        _same_tensor(got, want, what, atol, rtol)
    elif isinstance(want, Mapping):
        if not isinstance(got, Mapping) or set(got) != set(want):
            raise Wrong(f"{what}: got {describe(got)}, expected {describe(want)}.")
        for key in want:
            same(got[key], want[key], f"{what}, entry {key!r}", atol=atol, rtol=rtol)
    elif isinstance(want, (tuple, list)):
        if not isinstance(got, (tuple, list)) or len(got) != len(want):
            raise Wrong(f"{what}: got {describe(got)}, expected {describe(want)}.")
        for place, (one, other) in enumerate(zip(got, want, strict=True)):
            where = f"{what} (got {describe(got)}, expected {describe(want)}), part {place}"
            same(one, other, where, atol=atol, rtol=rtol)
    else:
        _same_scalar(got, want, what, atol, rtol)


def _same_scalar(got: Any, want: Any, what: str, atol: float, rtol: float) -> None:
    if isinstance(got, (Tensor, np.ndarray, np.generic)) and got.ndim == 0:
        got = got.item()
    numbers = isinstance(want, (int, float)) and not isinstance(want, bool)
    if numbers and isinstance(got, (int, float)) and not isinstance(got, bool):
        close = abs(got - want) <= atol + rtol * abs(want) if isinstance(want, float) else True
        if isinstance(want, int):
            close = got == want
        if close:
            return
    elif type(got) is type(want) and got == want:
        return
    raise Wrong(f"{what}: got {describe(got)}, expected {describe(want)}.")


def _same_tensor(got: Any, want: Tensor, what: str, atol: float, rtol: float) -> None:
    if isinstance(got, np.ndarray):
        got = torch.from_numpy(got)
    if not isinstance(got, Tensor):
        raise Wrong(f"{what}: got {describe(got)}, expected a tensor of shape {_shape(want)}.")
    if got.shape != want.shape:
        hint = ""
        if sorted(got.shape) == sorted(want.shape):
            hint = " The axes are there, but in another order."
        raise Wrong(
            f"{what}: got shape {_shape(got)}, expected shape {_shape(want)} "
            f"(type got {_kind(got)}, expected {_kind(want)}).{hint}"
        )
    if _kind(got) != _kind(want):
        raise Wrong(f"{what}: got type {got.dtype}, expected {want.dtype}. The shape is right.")
    mine, ours = got.detach().cpu().double(), want.detach().cpu().double()
    bad = ~torch.isclose(mine, ours, atol=atol, rtol=rtol, equal_nan=True)
    if not bad.any():
        return
    first = tuple(int(i) for i in bad.nonzero()[0])
    gap = (mine - ours).abs()
    raise Wrong(
        f"{what}: {int(bad.sum())} of {bad.numel()} values differ. First at index {first}: "
        f"got {_short(got[first].item())}, expected {_short(want[first].item())}; "
        f"largest difference {_short(gap.max().item())}.{_symptom(mine, ours, atol, rtol)}"
    )


def _symptom(got: Tensor, want: Tensor, atol: float, rtol: float) -> str:
    """Say in one sentence how two tensors of one shape differ as a whole, if that is simple."""
    if got.isnan().any():
        return f" {int(got.isnan().sum())} values are nan (not a number)."

    def close(one: Tensor, other: Tensor) -> bool:
        return torch.allclose(one, other, atol=atol, rtol=rtol)

    if got.numel() < 2 or not got.isfinite().all():
        return ""
    if close(got.flatten().sort().values, want.flatten().sort().values):
        return " The values are right, but they stand in the wrong places."
    if want.abs().max() > atol:
        ratio = (got * want).sum() / (want * want).sum()
        if ratio.abs() > 1e-3 and close(got, ratio * want):
            if abs(ratio + 1) < 1e-3:
                return " Every value has the wrong sign."
            return f" Every value is {_short(ratio.item())} times what it should be."
    shift = (got - want).mean()
    if close(got, want + shift):
        return f" Every value is off by the same {shift.item():+.4g}."
    return ""


def same_gradient(
    got: Tensor, want: Tensor, inputs: Mapping[str, Tensor], what: str, *, rtol: float = 1e-4
) -> None:
    """Ask that two results send the same gradient back to every input.

    Args:
        got: the student's result, computed from ``inputs``.
        want: ours, computed from the same ``inputs``.
        inputs: name -> leaf tensor that requires a gradient.
        what: what the result is.
        rtol: largest relative difference that still counts as equal.

    Raises:
        Wrong: names the input, and how its gradient differs.
    """
    mine, ours = _gradients(got, inputs), _gradients(want, inputs)
    for name in inputs:
        label = f"{what}: the value may be right, but the gradient on {name} is not"
        left, right = mine[name], ours[name]
        if left is None and right is not None and right.abs().max() > 1e-6:
            raise Wrong(f"{label}: got none at all, expected one of shape {_shape(right)}.")
        if right is None and left is not None and left.abs().max() > 1e-6:
            raise Wrong(f"{label}: got {describe(left)}, expected none: it must be cut off there.")
        if left is not None and right is not None:
            same(left, right, label, atol=1e-6, rtol=rtol)


def _gradients(result: Tensor, inputs: Mapping[str, Tensor]) -> dict[str, Tensor | None]:
    if not isinstance(result, Tensor) or not result.requires_grad:
        return dict.fromkeys(inputs)
    # Uneven weights, so that a gradient which only fits the sum of the result is seen.
    weights = torch.linspace(0.5, 1.5, result.numel(), device=result.device).reshape(result.shape)
    found = torch.autograd.grad(
        (result * weights).sum(), list(inputs.values()), retain_graph=True, allow_unused=True
    )
    return dict(zip(inputs, found, strict=True))


def rejects(
    fn: Callable, *arguments: Any, what: str, error: type[Exception] = ValueError, **named: Any
) -> None:
    """Ask that ``fn(*arguments)`` raises ``error``.

    Raises:
        Wrong: it gave back a result, or raised another kind of error.
    """
    try:
        got = fn(*arguments, **named)
    except error:
        return
    except NotImplementedError:
        raise
    except Exception as other:
        raise Wrong(
            f"{what}: expected a {error.__name__}, got {type(other).__name__}: {other}."
        ) from other
    raise Wrong(f"{what}: expected a {error.__name__}, got {describe(got)} without any error.")


class Spy:
    """A function that writes down how it was called, to count calls and look at arguments.

    Args:
        fn: what really answers.

    Attributes:
        calls: one tuple of positional arguments a call, tensors copied as they were.
    """

    def __init__(self, fn: Callable) -> None:
        self.fn = fn
        self.calls: list[tuple] = []

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        """Write the arguments down, then answer."""
        self.calls.append(tuple(copied(a) for a in (*arguments, *named.values())))
        return self.fn(*arguments, **named)


def same_as_library(
    fn: Callable, library_fn: Callable, make_inputs: Callable[[], tuple], *, atol: float = 1e-5
) -> bool:
    """Print whether your function and the library's give the same on the same inputs.

    Args:
        fn: yours.
        library_fn: the one in ``dcar_edu``.
        make_inputs: called once; gives the tuple of arguments for both.
        atol: largest absolute difference that still counts as equal.

    Returns:
        True if they agree. Otherwise the line shows the first place where they differ.
    """
    arguments = make_inputs()
    got, want = fn(*copied(arguments)), library_fn(*copied(arguments))
    name = f"{library_fn.__module__}.{getattr(library_fn, '__qualname__', 'function')}"
    try:
        same(got, want, f"against {name}", atol=atol)
    except Wrong as wrong:
        print(f"different: {wrong}")
        return False
    print(f"same as {name}{_largest_gap(got, want)}")
    return True


def _largest_gap(got: Any, want: Any) -> str:
    if not isinstance(want, Tensor) or want.numel() == 0:
        return ""
    gap = (torch.as_tensor(got).double().cpu() - want.double().cpu()).abs().max().item()
    return f" (largest difference {gap:.1e} over {want.numel()} values)"


def expect_error(call: Callable[[], Any], contains: str = "") -> None:
    """Run ``call``, which must fail, and print the error instead of stopping the notebook.

    Raises:
        ValueError: nothing failed, or the message lacks ``contains``.
    """
    try:
        call()
    except Exception as error:
        if contains not in str(error):
            raise ValueError(
                f"expect_error wants a message with '{contains}', got: {error}"
            ) from error
        print(f"{type(error).__name__}: {error}")
        return
    raise ValueError(f"expect_error wants an error with '{contains}', but the call went through.")


def copied(value: Any) -> Any:
    """Copy tensors inside tuples, lists and dicts; hand anything else through."""
    if isinstance(value, Tensor):
        return value.detach().clone().requires_grad_(value.requires_grad)
    if isinstance(value, np.ndarray):
        return value.copy()
    if type(value) in (tuple, list):
        return type(value)(copied(v) for v in value)
    return {k: copied(v) for k, v in value.items()} if type(value) is dict else value


def describe(value: Any) -> str:
    """Say a value in one short line: numbers and words as they are, tensors by shape."""
    if isinstance(value, Tensor):
        values = ""
        if value.numel() <= 8:
            values = f", values {value.detach().cpu().tolist()}"
        return f"a tensor of shape {_shape(value)}, type {value.dtype}{values}"
    if isinstance(value, (bool, int, float, str)) or value is None:
        return _short(value)
    text = repr(value)
    return f"{type(value).__name__} {text if len(text) <= 120 else text[:117] + '...'}"


def _shape(tensor: Any) -> str:
    return str(tuple(tensor.shape))


def _kind(tensor: Tensor) -> str:
    if tensor.dtype == torch.bool:
        return "bool"
    return "float" if tensor.is_floating_point() else "integer"


def _short(value: Any) -> str:
    return f"{value:.5g}" if isinstance(value, float) else repr(value)
