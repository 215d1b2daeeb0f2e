"""The plan of a training run: stages as data, and the numbers around them.

Source: DC-AR (arXiv:2507.04947), three-stage adaptation; 1:4:1 from its 10/40/10 epochs. It says
"reconstruction + GAN" without weights; in which stages the discriminator takes part is ours.
"""

from dataclasses import dataclass, replace
from itertools import pairwise

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
    adversarial: bool = False
    """Let a discriminator take part, if the training's ``gan_weight`` is above 0."""

    def __post_init__(self) -> None:
        """Check the parts' names, and that a discriminator has a decoder to teach."""
        if self.steps < 0 or not set(self.trains) <= set(PARTS):
            raise ValueError(
                f"a stage trains parts out of {PARTS} for 0 or more steps, got {self.trains} and "
                f"{self.steps}. Correct the stage '{self.name}'."
            )
        if self.adversarial and "decoder" not in self.trains:
            raise ValueError(
                "an adversarial stage must train the decoder, which the discriminator teaches; "
                f"the stage '{self.name}' trains {self.trains}. Add 'decoder'."
            )


def three_stages(steps: int, shares: tuple[int, ...] = (1, 4, 1)) -> tuple[Stage, ...]:
    """The paper's plan for a run of ``steps`` steps in all.

    With a ``gan_weight`` the discriminator takes part from stage 2 on: in stage 1 the pictures are
    still so far from the originals that telling them apart teaches nothing.

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
        Stage("discrete", steps - warmup - last, "discrete", starts_codes=True, adversarial=True),
        Stage("alternate", last, "alternate", ("decoder",), adversarial=True),
    )


def share_out(stages: tuple[Stage, ...], steps: int) -> tuple[Stage, ...]:
    """The stages with ``steps`` steps in all, in the proportion of their own steps.

    Raises:
        ValueError: fewer steps than stages.

    Example:
        >>> [stage.steps for stage in share_out(three_stages(6), 100)]
        [17, 66, 17]
    """
    whole, passed, ends = sum(stage.steps for stage in stages), 0, [0]
    for stage in stages:
        passed += stage.steps
        ends.append(round(steps * passed / whole))
    shared = [end - begin for begin, end in pairwise(ends)]
    if steps < sum(1 for stage in stages if stage.steps):
        raise ValueError(
            f"{steps} steps are too few for the stages {', '.join(s.name for s in stages)}. "
            "Train longer, or leave a stage out."
        )
    for place, stage in enumerate(stages):
        if stage.steps and not shared[place]:  # none is rounded away
            shared[shared.index(max(shared))] -= 1
            shared[place] = 1
    return tuple(replace(stage, steps=mine) for stage, mine in zip(stages, shared, strict=True))


@dataclass(frozen=True)
class TokenizerTraining:
    """How to train; the paper states stages only, the other numbers are ours."""

    stages: tuple[Stage, ...]
    """Steps of each stage; 0: left out."""
    learning_rate: float = 1e-3
    """At its highest; then half a cosine down to a twentieth."""
    betas: tuple[float, ...] = (0.9, 0.99)
    """Memory of AdamW's two averages."""
    weight_decay: float = 1e-4
    """Of matrices and filters only."""
    warmup_steps: int = 50
    """Steps in which the learning rate rises."""
    clip: float = 1.0
    """Longest gradient; a longer one is shortened to it."""
    ema_decay: float = 0.999
    """Memory of the averaged weights, which are the result."""
    l1: float = 1.0
    """Weight of the mean absolute error of pixels."""
    l2: float = 0.0
    """Weight of their mean squared error."""
    perceptual_weight: float = 0.0
    """Of the perceptual distance; 0: off. DC-AE's community configs use 0.25."""
    gan_weight: float = 0.0
    """Of the adversarial loss in stages marked ``adversarial``, times the adaptive weight; 0: off.
    1d-tokenizer uses 0.1 (without the adaptive weight)."""
    gan_learning_rate: float = 2e-4
    """Of the discriminator, on the same schedule."""
    gan_lecam: float = 0.0
    """Of the LeCam regulariser of the discriminator; 1d-tokenizer uses 0.001."""
    gan_width: int = 64
    """Channels of the discriminator's first layer, a multiple of 8."""
    gan_layers: int = 3
    """How often the discriminator halves the picture."""
    code_weight: float = 1.0
    """Of the codebook's loss, in stages that train codes."""
    revive_every: int = 0
    """Restart unused codes every so many steps of a stage that trains codes; 0: never."""
    seed: int = 0
    """Of all that is drawn at random, the first weights included."""

    def __post_init__(self) -> None:
        """Check the adversarial part."""
        if self.gan_weight and not any(stage.adversarial for stage in self.stages):
            raise ValueError(
                f"gan_weight={self.gan_weight} needs a stage with adversarial=True, and no stage "
                "has it. Mark one, or set gan_weight=0."
            )
        if min(self.gan_weight, self.gan_lecam) < 0 or self.gan_width % 8 or self.gan_layers < 1:
            raise ValueError(
                "gan_weight and gan_lecam must be 0 or more, gan_width a multiple of 8 and "
                f"gan_layers at least 1, got {self.gan_weight}, {self.gan_lecam}, "
                f"{self.gan_width} and {self.gan_layers}."
            )

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
