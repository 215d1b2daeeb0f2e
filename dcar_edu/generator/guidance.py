"""Classifier-free guidance: how hard each step leans on the text.

Source: classifier-free guidance (arXiv:2207.12598); the power-cosine weight from MDT
(arXiv:2303.14389), as in DC-AR's released code.
"""

import math
from dataclasses import dataclass

from torch import Tensor

SCHEDULES = ("constant", "linear", "power-cosine")


def guide(cond: Tensor, uncond: Tensor, scale: float | Tensor) -> Tensor:
    """Push a guess away from the one made without text: ``cond + s * (cond - uncond)``.

    ``s = 0`` is no guidance. The other common form, ``uncond + w * (cond - uncond)``, has
    ``w = s + 1``: the paper's 4.5 is 5.5 for diffusers users.

    Example:
        >>> import torch
        >>> guide(torch.tensor(3.0), torch.tensor(1.0), 4.5).item()
        12.0
    """
    return cond + scale * (cond - uncond)


@dataclass(frozen=True)
class Guidance:
    """The scale ``s`` of :func:`guide` in every step, and for the residuals.

    | schedule | ``s`` in step ``k`` of ``K`` | ``s`` of the residuals |
    |---|---|---|
    | constant | ``scale`` | ``scale`` |
    | linear | ``scale * (k - 1) / K`` | ``scale`` |
    | power-cosine | ``(scale - 1) * (1 - cos(pi * ((k - 1) / K) ** power)) / 2`` | last step's |

    Power-cosine is stated as a weight ``w = s + 1`` that rises from 1 towards ``scale``; a scale
    below 1 is no guidance there.

    Raises:
        ValueError: an unknown schedule, or a power that is not above 0.

    Source:
        DC-AR's released code, observed: ``k - 1`` and not ``k``, so the first step is unguided.

    Deviates:
        The released residual sampler reads power-cosine's last weight ``w`` as a scale ``s``, one
        unit stronger than the tokens', and draws unguided at a constant scale of exactly 1. Pass
        ``residual`` for that: :func:`dcar_edu.interop.released_guidance` does.

    Example:
        >>> [round(Guidance(4.5, "power-cosine").at(k, 12) + 1, 3) for k in (1, 6, 12)]
        [1.0, 1.107, 4.18]
    """

    scale: float = 4.5
    schedule: str = "constant"
    power: float = 2.5
    """Of power-cosine: the larger, the later guidance sets in."""
    residual: float | None = None
    """``s`` of the residuals instead of the schedule's."""

    def __post_init__(self) -> None:
        """Check the schedule's name and power."""
        if self.schedule not in SCHEDULES:
            raise ValueError(
                f"guidance_schedule must be one of {', '.join(SCHEDULES)}; got '{self.schedule}'."
            )
        if self.power <= 0:
            raise ValueError(f"power must be above 0, got {self.power}. DC-AR uses 2.5.")

    def at(self, step: int, num_steps: int) -> float:
        """``s`` in step ``step`` (from 1) of ``num_steps``."""
        share = (step - 1) / num_steps
        if self.schedule == "linear":
            return self.scale * share
        if self.schedule == "power-cosine":
            rise = (1 - math.cos(math.pi * share**self.power)) / 2
            return max(self.scale - 1, 0) * rise
        return self.scale

    def for_residuals(self, num_steps: int) -> float:
        """``s`` of the residuals after ``num_steps`` steps."""
        if self.residual is not None:
            return self.residual
        return self.at(num_steps, num_steps) if self.schedule == "power-cosine" else self.scale

    @property
    def off(self) -> bool:
        """Nothing is ever guided, so the pass without text is not needed."""
        return not self.scale and not self.residual
