"""What a scene shows and where: drawn before any picture is touched.

Layouts are in 1/32 of the picture; every thing has a cell of its own, so no two overlap.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from dcar_edu.data.captions import article, counted

HELD_OUT = 0.1  # of the compositions, by hash of their content
KINDS = ("single", "two", "count", "position", "size", "colour", "binding")
SHAPE_STYLES = ("3d", "flat", "noto")  # the blob set lacks most colours
COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "brown", "black", "white")
SHAPES = ("circle", "square", "heart")
UNITS = 32
RELATIONS = {  # the direction from the second thing to the first
    "to the left of": (-1, 0),
    "to the right of": (1, 0),
    "above": (0, -1),
    "below": (0, 1),
}
# The 80 nouns; where the CLDR label is another word, it follows after the colon.
NOUNS = dict(
    (entry.split(":") * 2)[:2]
    for entry in """cat,dog,wolf,fox,bear,panda,koala,lion,tiger,horse,cow,pig,goat,rabbit,mouse,
    frog,turtle,snake,crab,octopus,whale,dolphin,shark,snail,spider,butterfly,bee:honeybee,owl,
    penguin,duck,unicorn,tree:deciduous tree,cactus,mushroom,rose,tulip,sunflower,apple:red apple,
    banana,pear,pineapple,strawberry,avocado,pizza,cookie,doughnut,egg,hot dog,lollipop,
    cake:birthday cake,airplane,bicycle,bus,ambulance,fire engine,helicopter,motorcycle,sailboat,
    train,tractor,rocket,house,castle,tent,umbrella,star,sun,snowman,cloud,guitar,violin,key,ring,
    crown,camera,laptop,telephone,television,backpack,candle""".replace("\n    ", "").split(",")
)  # fmt: skip


@dataclass(frozen=True)
class Plan:
    """What a scene holds before it is laid out."""

    kind: str
    content: str
    nouns: tuple[str, ...]
    relation: str | None = None

    @property
    def is_held_out(self) -> bool:
        """Decide by content, not by order, relation, style or background."""
        key = f"scene:{self.kind}:{'|'.join(sorted(self.nouns))}"
        return int(hashlib.sha256(key.encode()).hexdigest()[:8], 16) / 16**8 < HELD_OUT


def draw_integer(generator: torch.Generator, low: int, high: int) -> int:
    """Draw an integer from low to high, both included."""
    return int(torch.randint(low, high + 1, (), generator=generator))


def pick(generator: torch.Generator, values: Sequence[str], count: int = 1) -> list[str]:
    """Draw different values."""
    left = list(values)
    return [left.pop(draw_integer(generator, 0, len(left) - 1)) for _ in range(count)]


def make_plan(kind: str, background: str, generator: torch.Generator) -> Plan:
    """Draw what a scene of this kind shows."""
    relation = None
    if kind in ("colour", "binding"):
        colours = [colour for colour in COLOURS if colour not in background.split()]
        count = 1 if kind == "colour" else 2
        pairs = zip(pick(generator, colours, count), pick(generator, SHAPES, count), strict=True)
        nouns = [f"{colour} {shape}" for colour, shape in pairs]
        content = " and ".join(map(article, nouns))
    elif kind in ("single", "count"):
        number = 1 if kind == "single" else draw_integer(generator, 2, 4)
        nouns = pick(generator, list(NOUNS)) * number
        content = counted(nouns[0], number)
    else:
        nouns = first, second = pick(generator, list(NOUNS), 2)
        content = f"{article(first)} and {article(second)}"
        if kind == "position":
            relation = pick(generator, list(RELATIONS))[0]
            content = f"{article(first)} {relation} {article(second)}"
        elif kind == "size":
            content = f"a large {first} and a small {second}"
    return Plan(kind, content, tuple(nouns), relation)


def lay_out(plan: Plan, generator: torch.Generator) -> list[tuple[int, int, int]]:
    """Draw left, top and side of every tile, each inside a cell of its own."""
    if len(plan.nouns) == 1:
        side = draw_integer(generator, 16, 28)
        left, top = (draw_integer(generator, 1, UNITS - 1 - side) for _ in "xy")
        return [(left, top, side)]
    sides = [draw_integer(generator, 11, 15) for _ in plan.nouns]
    if plan.kind == "size":
        sides = [15, draw_integer(generator, 6, 7)]
    if len(sides) > 2:
        corners = pick(generator, ["00", "01", "10", "11"], len(sides))
        starts = [(16 * int(corner[0]), 16 * int(corner[1])) for corner in corners]
        return [
            (
                x + draw_integer(generator, 0, 16 - side),
                y + draw_integer(generator, 0, 16 - side),
                side,
            )
            for (x, y), side in zip(starts, sides, strict=True)
        ]
    relation = plan.relation or pick(generator, list(RELATIONS))[0]
    across, down = RELATIONS[relation]
    places = []
    for order, side in zip((0, 1), sides, strict=True):
        # The first object lies in the half that the relation names; along the other axis both
        # stay near the middle, so that the relation is the larger of the two distances.
        half = 16 * ((across + down > 0) == (order == 0))
        along = half + draw_integer(generator, 0, 16 - side)
        other = (UNITS - side) // 2 + draw_integer(generator, -3, 3)
        places.append((along, other, side) if across else (other, along, side))
    return places
