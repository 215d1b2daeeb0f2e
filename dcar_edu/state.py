"""What a training run must remember to go on exactly where it stopped.

Optimizer, averaged weights, random source and step: both training loops keep theirs here, and a
recipe that was killed reads it back.
"""

import dataclasses
import hashlib
import math
import os
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Self, TypeVar

import torch
from safetensors import safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from dcar_edu import checkpoint
from dcar_edu.team import Team

Item = TypeVar("Item")
Result = TypeVar("Result")


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
    team: Team = dataclasses.field(default_factory=Team)

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
        team: Team | None = None,
    ) -> Self:
        """Start a run: AdamW, an EMA with warm-up, and a CPU random source."""
        team = team or Team()

        def blend(averages: Any, currents: Any, count: Any) -> None:
            weight = 1 - average_decay(int(count), ema_decay)
            ours, theirs = ([team.local(t) for t in some] for some in (averages, currents))
            torch._foreach_lerp_(ours, theirs, weight)

        average = AveragedModel(model, multi_avg_fn=blend)
        average.requires_grad_(False)
        team.prepare(model, average.module)
        groups = parameter_groups(model, weight_decay)  # after prepare, which may replace weights
        optimizer = torch.optim.AdamW(groups, lr=learning_rate, betas=(betas[0], betas[1]))
        return cls(model, optimizer, average, torch.Generator().manual_seed(seed), team=team)

    def join(self, team: Team | None) -> None:
        """Go on in ``team``; None: in the one that the run began in.

        Raises:
            ValueError: several processes that did not begin the run together.
        """
        if team and team is not self.team and max(team.size, self.team.size) > 1:
            raise ValueError(
                "the state was begun in another team, so the processes may hold other weights. "
                "Pass the team to begin(model, config, team) too."
            )
        self.team = team or self.team

    def attempt(self, work: Callable[..., Result], *inputs: Any) -> Result:
        """``work(*inputs, self)``, which adds up gradients; once more when GPU memory runs out.

        The second time begins where the first did, with the same random numbers, but in smaller
        micro-batches.

        Raises:
            ValueError: memory ran out again, or (with FSDP or a second network) while the
                processes wait for each other inside the step, so that it cannot be repeated.
        """
        models = [self.model, *([self.rival.model] if self.rival else [])]
        buffers = [buffer for model in models for buffer in model.buffers()]
        before, kept = self.generator.get_state(), [buffer.clone() for buffer in buffers]
        entangled = self.team.size > 1 and (self.team.sharded or self.rival is not None)
        while True:
            for model in models:
                model.zero_grad(set_to_none=True)
            try:
                result, full = work(*inputs, self), False
            except torch.OutOfMemoryError:
                full = True  # mended below: the exception keeps the tensors of the step alive
            if not (full if entangled else self.team.any(full)):
                return result
            self.team.halve(f"step {self.step}", again=not entangled)
            self.generator.set_state(before)
            for buffer, value in zip(buffers, kept, strict=True):
                buffer.copy_(value)

    def apply_gradients(self, learning_rate: float, clip: float) -> float:
        """Clip, step and average; returns the gradient's norm before clipping."""
        self.team.sum_gradients(self.model)
        norm = self.team.clip(self.model, clip)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.average.update_parameters(self.model)
        self.step += 1
        return norm

    def use_average(self) -> None:
        """Put the averaged weights into the model."""
        self.model.load_state_dict(self.average.module.state_dict())

    def save(self, folder: str | os.PathLike) -> None:
        """Write everything as one safetensors file, whole or not at all.

        Every process of a team calls it; the first one writes.

        Raises:
            ValueError: the processes do not hold the same random numbers any more.
        """
        mark = torch.tensor([zlib.crc32(self.generator.get_state().numpy().data)])
        if len(self.team.gather(mark.to(self.team.device)).unique()) > 1:
            raise ValueError(
                f"the random sources of the processes differ at step {self.step}, so their masks "
                "and noise do not belong together. Draw the whole batch from state.generator on "
                "every process and then keep team.rows of it."
            )
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
        whole = {}
        for name, tensor in tensors.items():
            value = self.team.whole(tensor.detach())  # all processes take part
            if self.team.is_first:
                whole[name] = value.cpu().contiguous().clone()
        if self.team.is_first:
            data = to_bytes(whole, metadata={"digest": digest(whole)})
            checkpoint.write_atomically(Path(folder) / "state.safetensors", data)

    def load(self, folder: str | os.PathLike) -> bool:
        """Go on from :meth:`save`; False when there is nothing to go on from.

        Raises:
            ValueError: the file is damaged, or belongs to another model.
        """
        path = Path(folder) / "state.safetensors"
        if not path.is_file():
            return False
        try:
            self._fill(_verified(path))
        except Exception as error:
            raise ValueError(
                f"cannot go on from '{path}': {error}. Delete the file to start again."
            ) from error
        return True

    def _fill(self, tensors: dict[str, Tensor]) -> None:
        def part(prefix: str) -> dict[str, Tensor]:
            names = (k for k in tensors if k.startswith(prefix))
            return {k.removeprefix(prefix): tensors[k] for k in names}

        for model, prefix in ((self.model, "model."), (self.average, "average.")):
            now, then = model.state_dict(), part(prefix)
            model.load_state_dict(
                {k: self.team.share(v, now[k]) if k in now else v for k, v in then.items()}
            )
        _fill_moments(self.optimizer, part("optimizer."), self.team)
        if bool(self.rival) != bool(part("rival.")):
            raise ValueError(
                f"it was saved with{'out' if self.rival else ''} a second network, and this run "
                f"has {'one' if self.rival else 'none'}"
            )
        if self.rival:
            self.rival.model.load_state_dict(part("rival.model."))
            _fill_moments(self.rival.optimizer, part("rival.optimizer."), Team())
        self.memory = part("memory.")
        self.generator.set_state(tensors["generator"])
        self.step = int(tensors["step"])


def _moments(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """What an optimizer remembers, by "parameter.name"."""
    state = optimizer.state_dict()["state"]
    return {f"{number}.{k}": v for number, values in state.items() for k, v in values.items()}


def _fill_moments(optimizer: torch.optim.Optimizer, moments: dict[str, Tensor], team: Team) -> None:
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    numbers: dict[int, dict[str, Tensor]] = {}
    for key, value in moments.items():
        number, name = key.split(".")
        like = parameters[int(number)]
        value = team.share(value, like) if value.shape == like.shape else value
        numbers.setdefault(int(number), {})[name] = value
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": numbers, "param_groups": groups})


def digest(tensors: Mapping[str, Tensor]) -> str:
    """64 hex digits over the names, types, shapes and bytes of CPU tensors."""
    found = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name]
        found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        found.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()


def _verified(path: Path) -> dict[str, Tensor]:
    """The tensors of a file, if they are those that were written to it."""
    try:
        with safe_open(path, framework="pt") as file:  # type: ignore[no-untyped-call]
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            written = file.metadata()
    except Exception as error:
        raise ValueError(f"the file is damaged ({error})") from error
    if written is not None and written.get("digest") != digest(tensors):  # None: before digests
        raise ValueError("the file is damaged (its content is not what was written)")
    return tensors
