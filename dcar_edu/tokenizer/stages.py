"""The plan of a training run: stages as data, and the numbers around them.

Source: DC-AR (arXiv:2507.04947), three-stage adaptation; 1:4:1 from its 10/40/10 epochs.
"""

from dataclasses import dataclass

from dcar_edu.tokenizer.hybrid import PARTS, LatentPath


@dataclass(frozen=True)
class Stage:
    """One stretch of training: how long, on which path, and which parts learn."""

    name: str
    steps: int
    path: LatentPath
    trains: tuple[str, ...] = PARTS
    starts_codes: bool = False
    """Put the codes at latents of the first batches before the stage begins."""

    def __post_init__(self) -> None:
        """Check the parts' names."""
        if self.steps < 0 or not set(self.trains) <= set(PARTS):
            raise ValueError(
                f"a stage trains parts out of {PARTS} for 0 or more steps, got {self.trains} and "
                f"{self.steps}. Correct the stage '{self.name}'."
            )


def three_stages(steps: int, shares: tuple[int, ...] = (1, 4, 1)) -> tuple[Stage, ...]:
    """The paper's plan for a run of ``steps`` steps in all.

    Raises:
        ValueError: not three shares, or fewer steps than shares.

    Example:
        >>> [(stage.name, stage.steps) for stage in three_stages(600)]
        [('warm-up', 100), ('discrete', 400), ('alternate', 100)]
    """
    if len(shares) != 3 or steps < sum(shares):
        raise ValueError(
            f"three_stages needs three shares and at least {sum(shares)} steps, got shares="
            f"{shares} and steps={steps}. Train longer."
        )
    warmup, last = (steps * share // sum(shares) for share in (shares[0], shares[2]))
    return (
        Stage("warm-up", warmup, "continuous", ("encoder", "decoder")),
        Stage("discrete", steps - warmup - last, "discrete", starts_codes=True),
        Stage("alternate", last, "alternate", ("decoder",)),
    )


@dataclass(frozen=True)
class TokenizerTraining:
    """How to train; the paper states stages only, the other numbers are ours."""

    stages: tuple[Stage, ...]
    learning_rate: float = 1e-3
    betas: tuple[float, ...] = (0.9, 0.99)
    weight_decay: float = 1e-4
    warmup_steps: int = 50
    clip: float = 1.0
    ema_decay: float = 0.999
    l1: float = 1.0
    l2: float = 0.0
    perceptual_weight: float = 0.0
    code_weight: float = 1.0
    revive_every: int = 0
    """Restart unused codes every so many steps of a stage that trains codes; 0: never."""
    seed: int = 0

    @property
    def steps(self) -> int:
        """Steps of all stages."""
        return sum(stage.steps for stage in self.stages)

    def stage_at(self, step: int) -> tuple[Stage, int]:
        """The stage of ``step`` (counted from 0) and the step inside it."""
        for stage in self.stages:
            if step < stage.steps:
                return stage, step
            step -= stage.steps
        raise ValueError(f"the plan ends {step + 1} steps earlier. Add steps to a stage.")
