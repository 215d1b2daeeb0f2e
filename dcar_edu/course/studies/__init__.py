"""What the experiments do: ``study_NN.py`` holds the ``EXPERIMENTS`` of lesson NN.

One that is long may have a file of its own, ``study_NN_name.py``.
"""

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
