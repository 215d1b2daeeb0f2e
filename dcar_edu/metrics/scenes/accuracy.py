"""How good is the judge itself? On scenes whose truth is known."""

from collections.abc import Sequence
from dataclasses import dataclass

from dcar_edu.data import SceneExample
from dcar_edu.metrics.scenes.judge import overlap
from dcar_edu.metrics.scenes.scoring import CONFIDENCE, Found
from dcar_edu.metrics.scenes.specs import split_name

CLOSE = 0.5
"""A box is right when it and the true one share at least this much."""


@dataclass(frozen=True)
class Accuracy:
    """Right answers of the judge in some pictures."""

    pictures: int
    things: int
    """In all pictures together."""
    right: int
    """Things found with the right name, box and colour."""
    alarms: int
    """Found where no such thing is."""

    @property
    def per_thing(self) -> float:
        """The share of things found."""
        return self.right / self.things if self.things else float("nan")

    @property
    def alarms_per_picture(self) -> float:
        """False alarms in a picture, on average."""
        return self.alarms / self.pictures


def accuracy(examples: Sequence[SceneExample], found: Sequence[Sequence[Found]]) -> Accuracy:
    """Compare what the judge found, one list a picture, with what is there.

    Only what it is surer of than 0.3 is read. Each true thing can be found once: a second box for
    it is a false alarm.
    """
    right = alarms = 0
    for example, seen in zip(examples, found, strict=True):
        hits = _hits(example, [thing for thing in seen if thing.score > CONFIDENCE])
        right += hits
        alarms += sum(thing.score > CONFIDENCE for thing in seen) - hits
    things = sum(len(example.objects) for example in examples)
    return Accuracy(len(examples), things, right, alarms)


def _hits(example: SceneExample, seen: list[Found]) -> int:
    """Things of one scene that were found, each paired with one box."""
    left = list(seen)
    hits = 0
    for thing in example.objects:
        name = split_name(thing.noun)
        for one in left:
            if (one.label, one.colour) == name and overlap(one.box, thing.box) >= CLOSE:
                left.remove(one)
                hits += 1
                break
    return hits


def by(
    what: str, examples: Sequence[SceneExample], found: Sequence[Sequence[Found]]
) -> dict[str, Accuracy]:
    """The same for each ``style``, ``kind`` or ``background`` apart, in order of the names."""
    places: dict[str, list[int]] = {}
    for place, example in enumerate(examples):
        places.setdefault(getattr(example, what), []).append(place)
    return {
        name: accuracy([examples[p] for p in some], [found[p] for p in some])
        for name, some in sorted(places.items())
    }
