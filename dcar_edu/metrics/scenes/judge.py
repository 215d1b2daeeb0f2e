"""The judge of SceneEval: a shipped detector that says what is where in a picture."""

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from dcar_edu import checkpoint, images
from dcar_edu.data.composition import SHAPES
from dcar_edu.metrics.scenes.network import CellOutput, SceneNetwork
from dcar_edu.metrics.scenes.scoring import Box, Found

CHUNK = 64
"""Pictures seen at once."""
FLOOR = 0.1
"""What is less sure than this is not reported; every rule of the score asks for more."""
OVERLAP = 0.5
"""Of two boxes that overlap more, only the surer one stays: one thing has one name."""


@dataclass(frozen=True)
class SceneJudge:
    """Sees what is in pictures; from :func:`load_scene_judge`."""

    network: SceneNetwork

    @torch.no_grad()
    def __call__(self, pictures: Tensor) -> list[list[Found]]:
        """Look at pictures ``(b, 3, H, W)`` in [-1, 1], resized to the network's own side.

        Returns:
            For each picture what was found, the surest first.

        Raises:
            ValueError: not such a batch.
        """
        if pictures.ndim != 4 or pictures.shape[1] != 3:
            raise ValueError(
                f"the judge needs pictures (b, 3, H, W) in [-1, 1], got {tuple(pictures.shape)}. "
                "Stack them into one batch."
            )
        weights, side = next(self.network.parameters()), self.network.config.side
        found = []
        for part in pictures.split(CHUNK):
            output = self.network(images.resize(part.to(weights), (side, side)))
            found += [self._read(output, row) for row in range(len(part))]
        return found

    def _read(self, output: CellOutput, row: int) -> list[Found]:
        """Gather what the cells of one picture say; cells of one thing agree, the surest speaks."""
        chances = output.names[row].float().softmax(0)[1:].flatten(1)
        scores, labels = (values.cpu() for values in chances.max(0))
        colours = output.colours[row].argmax(0).flatten().cpu()
        boxes = place_boxes(output.boxes[row].float().cpu()).flatten(1)
        config = self.network.config
        kept: list[Found] = []
        for cell in scores.argsort(descending=True).tolist():
            if scores[cell] < FLOOR:
                break
            left, top, right, bottom = boxes[:, cell].tolist()
            box = (left, top, right, bottom)
            if all(overlap(box, thing.box) <= OVERLAP for thing in kept):
                label = config.labels[labels[cell]]
                colour = config.colours[colours[cell]] if label in SHAPES else None
                kept.append(Found(label, colour, box, scores[cell].item()))
        return kept


def load_scene_judge(device: torch.device | str = "cpu") -> SceneJudge:
    """Load the shipped judge; its card ``data/judges/scenes/README.md`` says how good it is."""
    return SceneJudge(SceneNetwork.from_pretrained(_shipped()).to(device))


def scene_ceiling() -> dict[str, float]:
    """What real scenes of the prompts score with the shipped judge, by task and ``overall``."""
    return json.loads((_shipped() / "metrics.json").read_text("utf-8"))["real"]


def _shipped() -> Path:
    return checkpoint.data_folder() / "judges" / "scenes"


def place_boxes(said: Tensor) -> Tensor:
    """Turn what cells say of boxes ``(4, g, g)`` into left, top, right, bottom in [0, 1]."""
    cells = said.shape[-1]
    middle = torch.arange(cells) + 0.5
    across, down = said[0] + middle, said[1] + middle[:, None]
    width, height = said[2:].exp() / 2
    box = torch.stack([across - width, down - height, across + width, down + height])
    return (box / cells).clamp(0, 1)


def overlap(one: Box, two: Box) -> float:
    """Shared area of two boxes as a share of what both cover (intersection over union).

    Example:
        >>> overlap((0.0, 0.0, 1.0, 0.5), (0.0, 0.0, 0.5, 1.0))
        0.3333333333333333
    """
    width = min(one[2], two[2]) - max(one[0], two[0])
    height = min(one[3], two[3]) - max(one[1], two[1])
    shared = max(width, 0.0) * max(height, 0.0)
    both = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (one, two)) - shared
    return shared / both if both else 0.0
