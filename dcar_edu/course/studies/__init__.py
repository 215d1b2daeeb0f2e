"""What the experiments do: ``study_NN.py`` holds the ``EXPERIMENTS`` of lesson NN."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Experiment:
    """What is compared.

    ``run(arm, seed, budget)`` gives the metrics of one run as plain numbers.
    """

    says: str
    arms: tuple[str, ...]
    run: Callable[[str, int, str], dict[str, float]]
