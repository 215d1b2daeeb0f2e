"""How far a long measurement is."""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from torch import Tensor


@dataclass
class Progress:
    """Says how far a part is: at its end, and before that every ten seconds."""

    say: Callable[[str], None]

    def begin(self, part: str, total: int) -> None:
        """Start counting."""
        self.part, self.total, self.done, self.said = part, total, 0, time.monotonic()

    def add(self, count: int) -> None:
        """So many more are done."""
        self.done += count
        if self.done >= self.total or time.monotonic() - self.said > 10:
            self.say(f"{self.part}: {self.done}/{self.total}")
            self.said = time.monotonic()

    def watch(self, batches: Iterable[Tensor]) -> Iterator[Tensor]:
        """Count pictures as they pass; a batch counts when the next one is asked for."""
        for batch in batches:
            yield batch
            self.add(len(batch))
