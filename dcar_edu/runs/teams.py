"""Teams of several processes, number formats, and weights spread over GPUs.

``accelerate launch`` and ``torchrun`` start one process a GPU and tell each its number;
:func:`make_team` reads that. Without them it makes a team of one.
"""

import importlib.util
import os
import warnings
from contextlib import AbstractContextManager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from dcar_edu.generator.model import MaskedGenerator
from dcar_edu.team import Team
from dcar_edu.tokenizer.hybrid import HybridTokenizer
from dcar_edu.tokenizer.step import last_layer

BF16_CAPABILITY = (8, 0)
"""GPUs from here on compute in bfloat16; older ones only imitate it, slowly."""


def make_team(precision: str = "auto", accumulate: int = 1) -> Team:
    """The team that this process belongs to; call it once, before the models are made.

    Args:
        precision: ``"fp32"``, ``"bf16"`` (matrix products in bfloat16, weights and losses in
            float32), or ``"auto"``: bf16 where the GPU computes in it, else fp32.
        accumulate: micro-batches a step. They need less memory and change no number, except where
            BatchNorm or the discriminator's adaptive weight looks at the batch.

    Raises:
        ValueError: an unknown or unfit number format, or accelerate is missing where it is needed.
    """
    several = int(os.environ.get("WORLD_SIZE", "1")) > 1
    mixed = _mixed(precision)
    if several or mixed:
        if importlib.util.find_spec("accelerate"):
            from accelerate import Accelerator

            kind = "bf16" if mixed else "no"
            on_cpu = not torch.cuda.is_available()  # else it takes each process for the only one
            return Processes(Accelerator(mixed_precision=kind, cpu=on_cpu), accumulate)
        if several or precision == "bf16":
            what = "several processes" if several else "bf16"
            raise ValueError(
                f"{what} need the package accelerate, which is missing. Install it with "
                "'pip install accelerate', or train one process in fp32."
            )
    team = Team(accumulate, "cuda" if torch.cuda.is_available() else "cpu")
    if mixed:
        team.say(
            "this GPU can train in bf16, which needs 'pip install accelerate': going on in fp32"
        )
    return team


def _mixed(precision: str) -> bool:
    """Whether to compute in bfloat16."""
    configured = os.environ.get("ACCELERATE_MIXED_PRECISION", "no")
    for asked in (precision, configured):
        if asked in ("fp16", "fp8"):
            raise ValueError(
                f"{asked} is not offered: its numbers end at 65,504, and losses and gradients of "
                "these models leave that range unnoticed. Use precision='bf16' on a GPU of compute "
                "capability 8.0 or more, else 'fp32', in 'accelerate config' too."
            )
    if precision not in ("auto", "fp32", "bf16"):
        raise ValueError(f"precision must be 'auto', 'fp32' or 'bf16', got '{precision}'.")
    able = torch.cuda.is_available() and torch.cuda.get_device_capability() >= BF16_CAPABILITY
    if precision == "bf16" and not able:
        there = torch.cuda.get_device_name() if torch.cuda.is_available() else "a CPU"
        raise ValueError(
            f"bf16 needs a GPU of compute capability 8.0 or more, and this is {there}. "
            "Use precision='auto', which then trains in fp32."
        )
    return able and precision != "fp32"


class Processes(Team):
    """One process a GPU (or several on a CPU), each with its rows of every batch.

    Each holds all weights, unless accelerate was configured for FSDP: then each holds a share of
    weights, averages and optimizer, and gathers a layer's weights while it computes with them.
    """

    def __init__(self, accelerator: Any, micro: int = 1):
        super().__init__(micro, accelerator.device if torch.cuda.is_available() else "cpu")
        self.accelerator = accelerator
        self.rank, self.size = accelerator.process_index, accelerator.num_processes
        fsdp = os.environ.get("ACCELERATE_USE_FSDP", "false").lower() == "true"
        self.sharded = fsdp and self.size > 1

    def precision(self) -> AbstractContextManager:
        """Autocast to bfloat16, if the team was made for it."""
        return self.accelerator.autocast()

    def agree(self, flag: bool) -> bool:
        """What the first process says."""
        answer = torch.tensor([int(flag and self.is_first)], device=self.device)
        return bool(self.total(answer).item())

    def any(self, flag: bool) -> bool:
        """Whether it holds for some process."""
        return bool(self.total(torch.tensor([int(flag)], device=self.device)).item())

    def total(self, tensor: Tensor) -> Tensor:
        """The sum over all processes."""
        if self.size == 1:
            return tensor
        summed = tensor.detach().clone()
        dist.all_reduce(summed)
        return summed

    def gather(self, tensor: Tensor) -> Tensor:
        """The tensors of all processes, which have one shape, one below the other."""
        if self.size == 1:
            return tensor
        parts = [torch.empty_like(tensor) for _ in range(self.size)]
        dist.all_gather(parts, tensor.detach().contiguous())
        return torch.cat(parts)

    def prepare(self, *models: nn.Module) -> None:
        """Give every process the first one's weights; share them out under FSDP."""
        super().prepare(*models)
        if self.size == 1:
            return
        for model in models:
            if self.device.type == "cuda":
                nn.SyncBatchNorm.convert_sync_batchnorm(model)
            with torch.no_grad():
                for tensor in (*model.parameters(), *model.buffers()):
                    dist.broadcast(tensor, src=0)
            if self.sharded:
                shard(model, self.device, self.size)

    def sum_gradients(self, model: nn.Module) -> None:
        """Add up each gradient over all processes; of those that FSDP shares out it made means."""
        if self.size == 1:
            return
        gradients = [p.grad for p in model.parameters() if p.grad is not None]
        for share in (self.local(g) for g in gradients if self.local(g) is not g):
            share *= self.size
        self._sum_in_place([g for g in gradients if self.local(g) is g])
        averages = [
            average
            for layer in model.modules()
            if isinstance(layer, nn.modules.batchnorm._BatchNorm)
            for average in (layer.running_mean, layer.running_var)
            if average is not None
        ]
        self._sum_in_place(averages)  # each process saw other rows
        for average in averages:
            average /= self.size

    def _sum_in_place(self, tensors: list[Tensor]) -> None:
        for kind in dict.fromkeys(t.dtype for t in tensors):  # in one order on all processes
            some = [t for t in tensors if t.dtype == kind]
            flat = torch.cat([t.flatten() for t in some])
            dist.all_reduce(flat)
            for tensor, piece in zip(some, flat.split([t.numel() for t in some]), strict=True):
                tensor.copy_(piece.view_as(tensor))

    def clip(self, model: nn.Module, limit: float) -> float:
        """Shorten the gradient to ``limit``; returns its norm before."""
        if not self.sharded:
            return super().clip(model, limit)
        gradients = [p.grad for p in model.parameters() if p.grad is not None]
        shares = [self.local(g) for g in gradients if self.local(g) is not g]
        alone = [g for g in gradients if self.local(g) is g]
        square = self.total(nn.utils.get_total_norm(shares).square())
        norm = (square + nn.utils.get_total_norm(alone).square()).sqrt()
        for gradient in (*shares, *alone):
            gradient *= (limit / (norm + 1e-6)).clamp(max=1)  # as torch's clip_grad_norm_ does
        return norm.item()

    def local(self, tensor: Tensor) -> Tensor:
        """What this process holds of a tensor, as a plain one."""
        return tensor.to_local() if _shared_out(tensor) else tensor  # type: ignore[attr-defined]

    def whole(self, tensor: Tensor) -> Tensor:
        """The whole of a tensor that may be shared out; all processes call it together."""
        return tensor.full_tensor() if _shared_out(tensor) else tensor  # type: ignore[attr-defined]

    def share(self, tensor: Tensor, like: Tensor) -> Tensor:
        """Share ``tensor`` out as ``like`` is."""
        if not _shared_out(like):
            return tensor
        from torch.distributed.tensor import distribute_tensor

        return distribute_tensor(tensor.to(like.device), like.device_mesh, like.placements)  # type: ignore[attr-defined]

    def end(self) -> None:
        """Part from the other processes, when all is done."""
        self.accelerator.end_training()


def _shared_out(tensor: Tensor) -> bool:
    return hasattr(tensor, "to_local")


def shard(model: nn.Module, device: torch.device, size: int) -> None:
    """Share a model's weights out over ``size`` processes (torch's ``fully_shard``, in place).

    The units below are gathered one at a time. Whole on every process stay the codes, which the
    training loop moves itself, and the last layer, whose gradient the adversarial loss asks for.

    Raises:
        ValueError: no model that it knows.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    kept: set[nn.Parameter] = set()
    if isinstance(model, HybridTokenizer):
        parts = (model.encoder, model.decoder)
        units = [unit for part in parts for unit in (*part, part)]
        kept = {last_layer(model)}  # type: ignore[arg-type]
    elif isinstance(model, MaskedGenerator):
        layers = [unit for block in model.blocks for unit in (block.attention, block.mlp)]  # type: ignore[union-attr]
        units = [*layers, model.residual_head, model]
    else:
        raise ValueError(
            f"FSDP shares out a HybridTokenizer or a MaskedGenerator, got {type(model).__name__}. "
            "Train it with every weight on every GPU: 'accelerate launch --multi_gpu'."
        )
    # Its outputs may be views, which must not be changed in place; the models never do.
    warnings.filterwarnings("ignore", message="FSDP2-wrapped module .* returned a view")
    mesh = init_device_mesh(device.type, (size,))
    for unit in units:
        fully_shard(unit, mesh=mesh, ignored_params=kept)
