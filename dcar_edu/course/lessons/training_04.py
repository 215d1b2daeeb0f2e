"""Lesson 04, exercises 3 to 5: the plan, what is frozen, and the size of what is left."""

import math
from collections.abc import Callable, Iterable, Mapping
from copy import deepcopy
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dcar_edu.course.checks import Exercise, Mistake, Wrong, same

# 04.3 -----------------------------------------------------------------------------------------

Plan = list[tuple[str, tuple[str, ...], int]]


def stage_plan(steps: int) -> Plan:
    """The three stages as data: the reference answer of 04.3."""
    short = steps // 6
    return [
        ("continuous", ("encoder", "decoder"), short),
        ("discrete", ("encoder", "quantizer", "decoder"), steps - 2 * short),
        ("alternate", ("decoder",), short),
    ]


def _test_stage_plan(fn: Callable, reference: Callable, generator: torch.Generator) -> None:
    odd = int(torch.randint(50, 90, (1,), generator=generator)) * 6 + 5
    for steps in (600, 100, 7, odd):
        got, want = fn(steps), reference(steps)
        if len(got) != 3 or any(len(stage) != 3 for stage in got):
            raise Wrong(f"{steps} steps: got {got}, expected three triples (path, parts, steps).")
        if [path for path, _, _ in got] != [path for path, _, _ in want]:
            raise Wrong(
                f"{steps} steps: got the paths {[s[0] for s in got]}, expected "
                f"{[s[0] for s in want]}."
            )
        for (path, parts, _), (_, wanted, _) in zip(got, want, strict=True):
            if set(parts) != set(wanted):
                raise Wrong(
                    f"the stage '{path}' trains the wrong parts: got {sorted(parts)}, expected "
                    f"{sorted(wanted)}."
                )
        lengths = [int(s[2]) for s in got]
        if sum(lengths) != steps:
            raise Wrong(
                f"{steps} steps: got {lengths}, which add up to {sum(lengths)}, expected "
                f"{steps}. No step may be lost or added."
            )
        wanted = [s[2] for s in want]
        if any(abs(one - other) > 2 for one, other in zip(lengths, wanted, strict=True)):
            raise Wrong(f"{steps} steps: got {lengths}, expected {wanted}, which is 1 : 4 : 1.")


def _as_lists(steps: int) -> list:
    first, last = round(steps / 6), round(steps / 6)
    return [
        ["continuous", ["decoder", "encoder"], first],
        ["discrete", ["decoder", "encoder", "quantizer"], steps - first - last],
        ["alternate", ["decoder"], last],
    ]


def _with_lengths(steps: int, lengths: Iterable[int]) -> Plan:
    return [(*stage[:2], n) for stage, n in zip(stage_plan(steps), lengths, strict=True)]


def _thirds(steps: int) -> Plan:
    return _with_lengths(steps, (steps // 3, steps - 2 * (steps // 3), steps // 3))


def _loses_steps(steps: int) -> Plan:
    return _with_lengths(steps, (steps // 6, 4 * (steps // 6), steps // 6))


def _encoder_in_stage_three(steps: int) -> Plan:
    plan = stage_plan(steps)
    return [*plan[:2], ("alternate", ("encoder", "decoder"), plan[2][2])]


def _codes_in_warm_up(steps: int) -> Plan:
    plan = stage_plan(steps)
    return [("continuous", ("encoder", "quantizer", "decoder"), plan[0][2]), *plan[1:]]


# 04.4 -----------------------------------------------------------------------------------------


def freeze(parts: Mapping[str, nn.Module], trained: Iterable[str]) -> list[nn.Parameter]:
    """Let only some parts learn, and give their parameters: the reference answer of 04.4."""
    parameters = []
    for name, part in parts.items():
        learns = name in trained
        part.requires_grad_(learns)
        part.train(learns)
        if learns:
            parameters += list(part.parameters())
    return parameters


def _parts(seed: int) -> dict[str, nn.Module]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return {
            "encoder": nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 4)),
            "quantizer": nn.Linear(4, 4, bias=False),
            "decoder": nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 3)),
        }


def _test_freeze(fn: Callable, reference: Callable, generator: torch.Generator) -> None:
    seed = int(torch.randint(1000, (1,), generator=generator))
    parts, wanted = _parts(seed), _parts(seed)
    for trained in (("encoder", "decoder"), ("decoder",), ("encoder", "quantizer", "decoder")):
        got, want = fn(parts, trained), reference(wanted, trained)
        what = f"after freeze(parts, {trained})"
        for name, part in parts.items():
            _learns_or_not(part, name, name in trained, what)
        _right_parameters(got, want, parts, trained, what)
        before = {name: deepcopy(part.state_dict()) for name, part in parts.items()}
        _one_step(parts, got, torch.randn(6, 3, generator=generator))
        for name, part in parts.items():
            old = before[name]
            moved = [key for key, now in part.state_dict().items() if now.ne(old[key]).any()]
            if name not in trained and moved:
                raise Wrong(
                    f"{what} and one batch: got another {moved[0]} in the frozen {name}, expected "
                    "the same bits. BatchNorm's averages move without a gradient: is it in eval?"
                )
            if name in trained and not moved:
                raise Wrong(f"{what} and one batch: got the same {name}, expected it to learn.")


def _learns_or_not(part: nn.Module, name: str, learns: bool, what: str) -> None:
    flags = {p.requires_grad for p in part.parameters()}
    if flags != {learns}:
        why = "it was not thawed" if learns else "eval mode alone does not freeze"
        raise Wrong(
            f"{what}: got requires_grad {sorted(flags)} in the {name}, expected {learns}: {why}."
        )
    if learns and not part.training:
        raise Wrong(f"{what}: got the {name} in eval mode, expected train mode while it learns.")


def _right_parameters(
    got: Any, want: list, parts: Mapping[str, nn.Module], trained: tuple[str, ...], what: str
) -> None:
    learning = {id(p) for name in trained for p in parts[name].parameters()}
    if {id(p) for p in got} != learning or len(got) != len(want):
        raise Wrong(
            f"{what}: got {len(got)} parameters, expected the {len(want)} of "
            f"{' and '.join(trained)}, each once."
        )


def _one_step(parts: Mapping[str, nn.Module], parameters: Iterable[Any], x: Tensor) -> None:
    drawn = parts["decoder"](parts["quantizer"](parts["encoder"](x)))
    gradients = torch.autograd.grad((drawn - x).square().mean(), list(parameters))
    with torch.no_grad():
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter -= 0.1 * gradient.sign()


def _freeze_then_thaw(parts: Mapping[str, nn.Module], trained: Iterable[str]) -> list[nn.Parameter]:
    for part in parts.values():
        part.eval()
        for parameter in part.parameters():
            parameter.requires_grad = False
    for name in trained:
        for parameter in parts[name].train().parameters():
            parameter.requires_grad = True
    return [p for part in parts.values() for p in part.parameters() if p.requires_grad]


def _only_eval(parts: Mapping[str, nn.Module], trained: Iterable[str]) -> list[nn.Parameter]:
    for name, part in parts.items():
        part.train(name in trained)
    return [p for name in trained for p in parts[name].parameters()]


def _norms_still_move(parts: Mapping[str, nn.Module], trained: Iterable[str]) -> list[nn.Parameter]:
    for name, part in parts.items():
        part.requires_grad_(name in trained)
    return [p for name in trained for p in parts[name].parameters()]


def _never_thaws(parts: Mapping[str, nn.Module], trained: Iterable[str]) -> list[nn.Parameter]:
    for name, part in parts.items():
        if name not in trained:
            part.requires_grad_(False)
            part.eval()
    return [p for name in trained for p in parts[name].parameters()]


def _all_parameters(parts: Mapping[str, nn.Module], trained: Iterable[str]) -> list[nn.Parameter]:
    freeze(parts, trained)
    return [p for part in parts.values() for p in part.parameters()]


# 04.5 -----------------------------------------------------------------------------------------


def residual_stats(residual: Tensor) -> tuple[float, float]:
    """Size of the residuals and the cosine they leave: the reference answer of 04.5."""
    rms = residual.pow(2).mean().sqrt().item()
    cosine = 1 - residual.pow(2).sum(dim=1).mean().item() / 2
    return rms, cosine


def _test_residual_stats(fn: Callable, reference: Callable, generator: torch.Generator) -> None:
    unit = F.normalize(torch.randn(2, 6, 3, 4, generator=generator), dim=1)
    noise = torch.linspace(0.1, 0.9, 12).reshape(3, 4)  # near codes and far ones
    near = F.normalize(unit + noise * torch.randn(unit.shape, generator=generator), dim=1)
    residual = unit - near
    got, (rms, cosine) = fn(residual), reference(residual)
    length = residual.norm(dim=1)
    for wrong, symptom in (
        (length.mean().item(), "this is the mean length of a residual vector"),
        (length.square().mean().sqrt().item(), "this is the length of a residual VECTOR"),
        (residual.abs().mean().item(), "this is the mean of the absolute values"),
    ):
        if math.isclose(float(got[0]), wrong, rel_tol=1e-4):
            raise Wrong(
                f"rms: {symptom}, got {wrong:.4f}, expected {rms:.4f}: the root of the mean square "
                "of one element."
            )
    same(got[0], rms, "the rms of one residual element", atol=1e-5)
    for wrong, symptom in (
        (1 - length.mean().item() / 2, "1 - |r| / 2 was taken, the length is not squared"),
        (1 - residual.square().mean().item() / 2, "the squares were averaged over the channels"),
    ):
        if math.isclose(float(got[1]), wrong, rel_tol=1e-5):
            raise Wrong(f"cosine: {symptom}. got {wrong:.4f}, expected {cosine:.4f}.")
    same(got[1], cosine, "the mean cosine between latent and code", atol=1e-5)


def _from_the_rms(residual: Tensor) -> tuple[Tensor, Tensor]:
    square = (residual * residual).mean()
    return square.sqrt(), 1 - residual.shape[1] * square / 2


def _length_for_element(residual: Tensor) -> tuple[float, float]:
    return residual.norm(dim=1).mean().item(), residual_stats(residual)[1]


def _mean_of_absolutes(residual: Tensor) -> tuple[float, float]:
    return residual.abs().mean().item(), residual_stats(residual)[1]


def _length_not_squared(residual: Tensor) -> tuple[float, float]:
    return residual_stats(residual)[0], 1 - residual.norm(dim=1).mean().item() / 2


def _averaged_over_channels(residual: Tensor) -> tuple[float, float]:
    return residual_stats(residual)[0], 1 - residual.pow(2).mean().item() / 2


TRAINING = (
    Exercise(
        id="04.3",
        reference=stage_plan,
        test=_test_stage_plan,
        mistakes=(
            Mistake("three equal thirds", _thirds),
            Mistake("whole-number division loses steps", _loses_steps),
            Mistake("trains the encoder in the last stage", _encoder_in_stage_three),
            Mistake("trains the codes in the warm-up", _codes_in_warm_up),
        ),
        alternatives=(_as_lists,),
        used_in="dcar_edu.tokenizer.stages.three_stages",
    ),
    Exercise(
        id="04.4",
        reference=freeze,
        test=_test_freeze,
        mistakes=(
            Mistake("only eval mode, gradients still flow", _only_eval),
            Mistake("BatchNorm of the frozen part still moves", _norms_still_move),
            Mistake("never thaws a part again", _never_thaws),
            Mistake("hands all parameters to the optimiser", _all_parameters),
        ),
        alternatives=(_freeze_then_thaw,),
        used_in="dcar_edu.tokenizer.training.freeze",
    ),
    Exercise(
        id="04.5",
        reference=residual_stats,
        test=_test_residual_stats,
        mistakes=(
            Mistake("the length of a residual, not one element", _length_for_element),
            Mistake("the mean of absolute values", _mean_of_absolutes),
            Mistake("1 - |r| / 2, not squared", _length_not_squared),
            Mistake("averages the squares over the channels", _averaged_over_channels),
        ),
        alternatives=(_from_the_rms,),
        used_in="dcar_edu.tokenizer.training.measure_latents",
    ),
)
