"""The processes that share one training, and how a process cuts its own rows into pieces.

A *whole batch* is what one optimizer step learns from. With N processes each works on its own
rows of it, and may cut those into *micro-batches* that fit its memory, one after another. Every
process draws the random numbers of the whole batch and uses those of its rows, so the result does
not depend on how the work was cut. ``dcar_edu.runs.teams`` makes teams of several processes.
"""

from contextlib import AbstractContextManager, nullcontext
from itertools import pairwise

import torch
from torch import Tensor, nn


class Team:
    """A team of one: the whole batch is its own, and every sum is already there.

    Args:
        micro: micro-batches a step; their gradients are added up.
        device: where the models of this process live.

    Raises:
        ValueError: less than one micro-batch.

    Example:
        >>> team = Team(micro=2)
        >>> team.rows(6), team.parts(5)
        (slice(0, 6, None), [slice(0, 2, None), slice(2, 5, None)])
    """

    rank = 0
    size = 1
    sharded = False
    """Whether each process holds only a share of the weights (FSDP)."""

    def __init__(self, micro: int = 1, device: torch.device | str = "cpu"):
        if micro < 1:
            raise ValueError(f"micro-batches a step must be 1 or more, got {micro}. Pass 1.")
        self.micro, self.device, self.halved = micro, torch.device(device), False

    @property
    def is_first(self) -> bool:
        """Whether this process writes files and speaks."""
        return self.rank == 0

    def rows(self, n: int) -> slice:
        """This process's rows of a whole batch of ``n``.

        Raises:
            ValueError: ``n`` does not divide evenly.
        """
        if n % self.size:
            raise ValueError(
                f"a batch of {n} cannot be split evenly over {self.size} processes. "
                f"Use a multiple of {self.size}."
            )
        each = n // self.size
        return slice(self.rank * each, (self.rank + 1) * each)

    def parts(self, n: int) -> list[slice]:
        """The micro-batches of this process's ``n`` rows, of equal length but for one row."""
        bounds = [n * i // self.micro for i in range(self.micro + 1)]
        return [slice(start, end) for start, end in pairwise(bounds) if start < end]

    def halve(self, where: str, *, again: bool = True) -> None:
        """Work in micro-batches of half the size from now on; helps once.

        Args:
            where: the place to name.
            again: whether the work can be repeated at all.

        Raises:
            ValueError: it was not enough the first time, or cannot be repeated.
        """
        if self.halved or not again:
            raise ValueError(
                f"the GPU ran out of memory at {where} with {self.micro} micro-batches a step. "
                "Accumulate over more micro-batches, lower the batch or the resolution, train in "
                "bf16, or spread the weights over several GPUs (FSDP)."
            )
        self.halved, self.micro = True, 2 * self.micro
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        self.say(
            f"out of GPU memory at {where}: going on with {self.micro} micro-batches a step; the "
            "whole batch stays. BatchNorm, if the model has it, now sees smaller batches."
        )

    def say(self, text: str) -> None:
        """Print on the first process only."""
        if self.is_first:
            print(text, flush=True)

    def precision(self) -> AbstractContextManager:
        """Compute inside in the team's number format; a team of one: in that of the weights."""
        return nullcontext()

    def agree(self, flag: bool) -> bool:
        """What the first process says, for decisions such as stopping."""
        return flag

    def any(self, flag: bool) -> bool:
        """Whether it holds for some process."""
        return flag

    def total(self, tensor: Tensor) -> Tensor:
        """The sum over all processes."""
        return tensor

    def mean(self, tensor: Tensor) -> Tensor:
        """The mean over all processes, which have equally many rows."""
        return self.total(tensor) / self.size

    def gather(self, tensor: Tensor) -> Tensor:
        """The tensors of all processes, one below the other."""
        return tensor

    def prepare(self, *models: nn.Module) -> None:
        """Make the processes begin with the same weights; share them out under FSDP."""
        norms = (m for m in models[0].modules() if isinstance(m, nn.modules.batchnorm._BatchNorm))
        if any(True for _ in norms) and self.size * self.micro > 1:
            where = "a process's" if self.device.type == "cpu" else "all GPUs'"
            self.say(
                f"this model has BatchNorm, which sees {where} micro-batch, not the whole batch: "
                "with other processes or micro-batches the numbers differ a little."
            )

    def sum_gradients(self, model: nn.Module) -> None:
        """Add up each gradient over all processes, in place."""

    def clip(self, model: nn.Module, limit: float) -> float:
        """Shorten the gradient to ``limit``; returns its norm before."""
        return float(nn.utils.clip_grad_norm_(model.parameters(), limit))

    def local(self, tensor: Tensor) -> Tensor:
        """What this process holds of a tensor, as a plain one."""
        return tensor

    def whole(self, tensor: Tensor) -> Tensor:
        """The tensor that this process holds all or, under FSDP, a share of."""
        return tensor

    def weights(self, model: nn.Module) -> dict[str, Tensor]:
        """All weights of a model, whole, on the CPU; every process of the team calls it."""
        whole = {k: self.whole(v.detach()) for k, v in model.state_dict().items()}
        return {k: v.cpu() for k, v in whole.items()}

    def share(self, tensor: Tensor, like: Tensor) -> Tensor:
        """What this process keeps of a whole tensor: what it keeps of ``like``."""
        return tensor

    def end(self) -> None:
        """Part from the other processes, when all is done."""
