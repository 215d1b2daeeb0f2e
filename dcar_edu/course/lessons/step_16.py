"""Lesson 16, exercises 3 and 4: what learns in fine-tuning, and one step of it."""

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dcar_edu.course.checks import Exercise, Mistake, Wrong

# 16.3 -----------------------------------------------------------------------------------------

PARTS = ("encoder", "codes", "decoder", "text encoder", "transformer", "residual head")
LEARN = ("decoder", "transformer", "residual head")

Weights = Mapping[str, Sequence[Tensor]]


def what_to_train(parts: Weights) -> list[Tensor]:
    """Let the right parts learn and give their weights: the reference answer of 16.3."""
    learning = []
    for name, weights in parts.items():
        for weight in weights:
            weight.requires_grad_(name in LEARN)
            if name in LEARN:
                learning.append(weight)
    return learning


def _test_what_to_train(fn: Callable, reference: Callable, generator: torch.Generator) -> None:
    order = torch.randperm(len(PARTS), generator=generator).tolist()
    for start in (True, False):
        parts = {
            PARTS[place]: [
                nn.Parameter(torch.randn(2, place + 1, generator=generator), requires_grad=start)
                for _ in range(2 + place % 2)
            ]
            for place in order
        }
        got = fn(parts)
        for name, weights in parts.items():
            _say_what_learns(name, weights, got)
        wanted = sum(len(parts[name]) for name in LEARN)
        if len(list(got)) != wanted:
            raise Wrong(f"got {len(list(got))} weights to train, expected {wanted}, each once.")


def _say_what_learns(name: str, weights: Sequence[Tensor], got: Any) -> None:
    try:
        listed = [any(weight is other for other in got) for weight in weights]
    except TypeError:
        raise Wrong(f"got {type(got).__name__}, expected a list of weights.") from None
    flags = [weight.requires_grad for weight in weights]
    should = name in LEARN
    why = {
        "encoder": "With another encoder the old token ids mean something else.",
        "codes": "With other codes the old token ids mean something else.",
        "text encoder": "The generator reads this one, and 40 captions teach no words.",
    }.get(name, "It is what has to learn your pictures.")
    for what, values in (("requires_grad", flags), ("a place in the list", listed)):
        if any(value != should for value in values):
            raise Wrong(
                f"the {name}: got {values.count(True)} of {len(values)} weights with {what}, "
                f"expected {'all' if should else 'none'}. {why}"
            )


def _learn_by_names(parts: Weights) -> list[Tensor]:
    frozen = {"encoder", "codes", "text encoder"}
    for name in frozen:
        for weight in parts[name]:
            weight.requires_grad = False
    learning = [w for name in parts.keys() - frozen for w in parts[name]]
    for weight in learning:
        weight.requires_grad = True
    return learning


def _and_also(*extra: str, flags: bool = True, frees: bool = True) -> Callable:
    """The reference with other parts, or with something left out."""

    def answer(parts: Weights) -> list[Tensor]:
        names, learning = {*LEARN, *extra}, []
        for name, weights in parts.items():
            for weight in weights:
                if name in names:
                    learning.append(weight)
                if flags and (frees or name not in names):
                    weight.requires_grad_(name in names)
        return learning

    return answer


# 16.4 -----------------------------------------------------------------------------------------


def train_step(
    net: nn.Module,
    frozen: nn.Module,
    optimiser: torch.optim.Optimizer,
    x: Tensor,
    y: Tensor,
    clip: float,
) -> float:
    """One step of fine-tuning behind a frozen part: the reference answer of 16.4."""
    with torch.no_grad():
        seen = frozen(x)
    loss = F.mse_loss(net(seen), y)
    optimiser.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(net.parameters(), clip)
    optimiser.step()
    return loss.item()


CLIP = 0.05
"""Short enough that every gradient of the test is shortened."""


def _test_train_step(fn: Callable, reference: Callable, generator: torch.Generator) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(torch.randint(10**6, (1,), generator=generator)))
        net = nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 2))
        frozen = nn.Sequential(nn.Linear(3, 5), nn.Tanh())
    batches = [
        (torch.randn(4, 3, generator=generator), 3 * torch.randn(4, 2, generator=generator))
        for _ in range(3)
    ]
    mine, ours = (_three_steps(step, net, frozen, batches) for step in (fn, reference))
    _compare(mine, ours)


def _three_steps(
    step: Callable, net: nn.Module, frozen: nn.Module, batches: Sequence[tuple[Tensor, Tensor]]
) -> dict[str, Any]:
    """Three steps on copies; what they gave and what they left."""
    net, frozen = deepcopy(net), deepcopy(frozen)
    optimiser = torch.optim.AdamW(net.parameters(), lr=0.05)
    losses, weights = [], []
    for x, y in batches:
        losses.append(step(net, frozen, optimiser, x, y, CLIP))
        weights.append([weight.detach().clone() for weight in net.parameters()])
    touched = [w.grad is not None for w in frozen.parameters()]
    kept = [w.detach().clone() for w in frozen.parameters()]
    return {"losses": losses, "weights": weights, "touched": touched, "frozen": kept}


def _compare(mine: dict[str, Any], ours: dict[str, Any]) -> None:
    for loss in mine["losses"]:
        if not isinstance(loss, float):
            raise Wrong(
                f"got {type(loss).__name__}, expected a float. A tensor keeps the graph of its "
                "step in memory, and a thousand of them fill it."
            )
    if any(mine["touched"]):
        raise Wrong(
            "got gradients on the frozen part, expected none: they cost time and memory, and an "
            "optimiser that holds them would change it."
        )
    if not all(torch.equal(a, b) for a, b in zip(mine["frozen"], ours["frozen"], strict=True)):
        raise Wrong("got other weights in the frozen part, expected the same to the last bit.")
    for number, (got, want) in enumerate(zip(mine["losses"], ours["losses"], strict=True), 1):
        same_weights = all(
            torch.equal(a, b)
            for a, b in zip(mine["weights"][number - 1], ours["weights"][number - 1], strict=True)
        )
        if abs(got - want) > 1e-5 * (1 + abs(want)):
            raise Wrong(f"step {number}: got the loss {got:.6f}, expected {want:.6f}.")
        if not same_weights:
            raise Wrong(
                f"step {number}: got a right loss and other weights afterwards, expected those of "
                "a clean gradient, shortened to `clip` BEFORE the optimiser's step."
            )


def _tidy_afterwards(
    net: nn.Module, frozen: nn.Module, optimiser: Any, x: Tensor, y: Tensor, clip: float
) -> float:
    for weight in net.parameters():
        weight.grad = None
    difference = net(frozen(x).detach()) - y
    loss = difference.square().mean()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(list(net.parameters()), clip)
    optimiser.step()
    optimiser.zero_grad()
    return float(loss.detach())


def _step(*, zero: bool = True, clips: str = "before", cut: bool = True, item: bool = True):
    """The reference with one part wrong."""

    def answer(
        net: nn.Module, frozen: nn.Module, optimiser: Any, x: Tensor, y: Tensor, clip: float
    ) -> Any:
        seen = frozen(x).detach() if cut else frozen(x)
        loss = F.mse_loss(net(seen), y)
        if zero:
            optimiser.zero_grad()
        loss.backward()
        if clips == "before":
            nn.utils.clip_grad_norm_(net.parameters(), clip)
        optimiser.step()
        if clips == "after":
            nn.utils.clip_grad_norm_(net.parameters(), clip)
        return loss.item() if item else loss

    return answer


STEP_EXERCISES = (
    Exercise(
        id="16.3",
        reference=what_to_train,
        test=_test_what_to_train,
        mistakes=(
            Mistake("the encoder learns too", _and_also("encoder")),
            Mistake("the codes learn too", _and_also("codes")),
            Mistake("the text encoder learns too", _and_also("text encoder")),
            Mistake("lists the right weights and freezes nothing", _and_also(flags=False)),
            Mistake("leaves frozen what was frozen before", _and_also(frees=False)),
        ),
        alternatives=(_learn_by_names,),
        used_in="dcar_edu.tokenizer.training.freeze",
        slow_factor=200,
    ),
    Exercise(
        id="16.4",
        reference=train_step,
        test=_test_train_step,
        mistakes=(
            Mistake("gradients pile up from step to step", _step(zero=False)),
            Mistake("shortens the gradient after the step", _step(clips="after")),
            Mistake("does not shorten the gradient", _step(clips="never")),
            Mistake("sends gradients into the frozen part", _step(cut=False)),
            Mistake("gives back a tensor, and with it the graph", _step(item=False)),
        ),
        alternatives=(_tidy_afterwards,),
        used_in="dcar_edu.generator.training.train_generator",
        slow_factor=200,
    ),
)
