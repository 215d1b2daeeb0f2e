"""What a training run must remember to go on exactly where it stopped.

Optimizer, averaged weights, random source and step: both training loops keep theirs here, and a
recipe that was killed reads it back.
"""

import dataclasses
import math
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Self, TypeVar

import torch
from safetensors.torch import load_file
from safetensors.torch import save as to_bytes
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from dcar_edu import checkpoint

Item = TypeVar("Item")


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Matrices and filters with weight decay; norms, biases and embedding tables without."""
    tables = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding)}
    parameters = [p for name, p in model.named_parameters() if not name.endswith("codes")]
    codes = [p for name, p in model.named_parameters() if name.endswith("codes")]
    decayed = [p for p in parameters if p.ndim > 1 and id(p) not in tables]
    plain = [p for p in parameters if p.ndim <= 1 or id(p) in tables] + codes
    groups = [{"params": decayed, "weight_decay": weight_decay}]
    return [*groups, {"params": plain, "weight_decay": 0.0}]


def warmed_cosine(step: int, steps: int, warmup: int, floor: float = 0.05) -> float:
    """Learning-rate factor at ``step`` (from 0): linear up, then half a cosine down to ``floor``.

    Example:
        >>> [round(warmed_cosine(s, steps=100, warmup=10), 3) for s in (0, 9, 10, 55, 99)]
        [0.1, 1.0, 1.0, 0.517, 0.05]
    """
    if step < warmup:
        return (step + 1) / warmup
    share = (step - warmup) / max(1, steps - 1 - warmup)
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * min(1.0, share)))


def average_decay(updates: int, target: float) -> float:
    """EMA decay after ``updates``: short memory at first, so that it never lags far behind."""
    return min(target, (1 + updates) / (10 + updates))


def endless(batches: Iterable[Item]) -> Iterator[Item]:
    """Go through ``batches`` again and again.

    Raises:
        ValueError: there is none, or a one-time iterator has ended.
    """
    while True:
        empty = True
        for batch in batches:
            empty = False
            yield batch
        if empty:
            raise ValueError(
                "the batches ended before the training did. Pass a list or a DataLoader, which can "
                "start again, or an iterator that is long enough."
            )


@dataclasses.dataclass
class Learner:
    """A network that learns beside the model, such as a discriminator, and its optimizer."""

    model: nn.Module
    optimizer: torch.optim.Optimizer


@dataclasses.dataclass
class TrainingState:
    """All that changes while training, beside what the config says."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    average: AveragedModel
    generator: torch.Generator
    step: int = 0
    memory: dict[str, Tensor] = dataclasses.field(default_factory=dict)
    """Small tensors of a loop's own, such as counts of code use."""
    rival: Learner | None = None

    @classmethod
    def begin(
        cls,
        model: nn.Module,
        *,
        learning_rate: float,
        betas: tuple[float, ...],
        weight_decay: float,
        ema_decay: float,
        seed: int = 0,
    ) -> Self:
        """Start a run: AdamW, an EMA with warm-up, and a CPU random source."""
        groups = parameter_groups(model, weight_decay)
        optimizer = torch.optim.AdamW(groups, lr=learning_rate, betas=(betas[0], betas[1]))

        def blend(averages: Any, currents: Any, count: Any) -> None:
            weight = 1 - average_decay(int(count), ema_decay)
            torch._foreach_lerp_(list(averages), list(currents), weight)

        average = AveragedModel(model, multi_avg_fn=blend)
        average.requires_grad_(False)
        return cls(model, optimizer, average, torch.Generator().manual_seed(seed))

    def apply_gradients(self, learning_rate: float, clip: float) -> float:
        """Clip, step and average; returns the gradient's norm before clipping."""
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), clip)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.average.update_parameters(self.model)
        self.step += 1
        return float(norm)

    def use_average(self) -> None:
        """Put the averaged weights into the model."""
        self.model.load_state_dict(self.average.module.state_dict())

    def save(self, folder: str | os.PathLike) -> None:
        """Write everything as one safetensors file, whole or not at all."""
        tensors = {f"model.{k}": v for k, v in self.model.state_dict().items()}
        tensors |= {f"average.{k}": v for k, v in self.average.state_dict().items()}
        tensors |= {f"optimizer.{k}": v for k, v in _moments(self.optimizer).items()}
        if self.rival:
            tensors |= {f"rival.model.{k}": v for k, v in self.rival.model.state_dict().items()}
            moments = _moments(self.rival.optimizer)
            tensors |= {f"rival.optimizer.{k}": v for k, v in moments.items()}
        tensors |= {f"memory.{k}": v for k, v in self.memory.items()}
        tensors["generator"] = self.generator.get_state()
        tensors["step"] = torch.tensor(self.step)
        whole = {k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}
        checkpoint.write_atomically(Path(folder) / "state.safetensors", to_bytes(whole))

    def load(self, folder: str | os.PathLike) -> bool:
        """Go on from :meth:`save`; False when there is nothing to go on from.

        Raises:
            ValueError: the file is damaged, or belongs to another model.
        """
        path = Path(folder) / "state.safetensors"
        if not path.is_file():
            return False
        try:
            tensors = load_file(path)
            self._fill(tensors)
        except Exception as error:
            raise ValueError(
                f"cannot go on from '{path}': {error}. Delete the file to start again."
            ) from error
        return True

    def _fill(self, tensors: dict[str, Tensor]) -> None:
        def part(prefix: str) -> dict[str, Tensor]:
            names = (k for k in tensors if k.startswith(prefix))
            return {k.removeprefix(prefix): tensors[k] for k in names}

        self.model.load_state_dict(part("model."))
        self.average.load_state_dict(part("average."))
        _fill_moments(self.optimizer, part("optimizer."))
        if bool(self.rival) != bool(part("rival.")):
            raise ValueError(
                f"it was saved with{'out' if self.rival else ''} a second network, and this run "
                f"has {'one' if self.rival else 'none'}"
            )
        if self.rival:
            self.rival.model.load_state_dict(part("rival.model."))
            _fill_moments(self.rival.optimizer, part("rival.optimizer."))
        self.memory = part("memory.")
        self.generator.set_state(tensors["generator"])
        self.step = int(tensors["step"])


def _moments(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """What an optimizer remembers, by "parameter.name"."""
    state = optimizer.state_dict()["state"]
    return {f"{number}.{k}": v for number, values in state.items() for k, v in values.items()}


def _fill_moments(optimizer: torch.optim.Optimizer, moments: dict[str, Tensor]) -> None:
    numbers: dict[int, dict[str, Tensor]] = {}
    for key, value in moments.items():
        number, name = key.split(".")
        numbers.setdefault(int(number), {})[name] = value
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": numbers, "param_groups": groups})
