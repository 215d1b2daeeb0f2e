"""Read a folder of pictures, judge them, and write down the scores with examples."""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from dcar_edu import checkpoint, images
from dcar_edu.metrics.scenes.files import read_pictures, read_prompts
from dcar_edu.metrics.scenes.judge import SceneJudge, scene_ceiling
from dcar_edu.metrics.scenes.report import SceneReport, scene_report
from dcar_edu.metrics.scenes.scoring import Found
from dcar_edu.metrics.scenes.sheets import examples, judged_sheet
from dcar_edu.metrics.scenes.specs import SceneSpec

RIGHT, WRONG = 2, 3
"""Examples of each task on the two sheets."""


@dataclass(frozen=True)
class Scored:
    """A folder's pictures, judged."""

    names: list[str]
    specs: list[SceneSpec]
    found: list[list[Found]]
    report: SceneReport
    sheets: dict[str, Image.Image]
    """``right`` and ``wrong``: where there are such pictures."""

    def save(self, folder: str | os.PathLike) -> Path:
        """Write ``scores.md``, ``scores.json``, the sheets, and what was found in each picture."""
        folder = Path(folder)
        links = "".join(
            f"\n![Pictures judged {name}: what was found, what was asked]({name}.webp)\n"
            for name in self.sheets
        )
        text = f"# SceneEval\n\n{self.report.markdown()}{links}"
        checkpoint.write_atomically(folder / "scores.md", text.encode())
        numbers = json.dumps(self._numbers(), indent=1)
        checkpoint.write_atomically(folder / "scores.json", numbers.encode())
        rows = zip(self.names, self.report.faults, self.found, strict=True)
        lines = [
            json.dumps({"picture": name, "faults": wrong, "found": [asdict(f) for f in seen]})
            for name, wrong, seen in rows
        ]
        checkpoint.write_atomically(folder / "found.jsonl", "\n".join([*lines, ""]).encode())
        for name, picture in self.sheets.items():
            images.save(picture, folder / f"{name}.webp")
        return folder

    def _numbers(self) -> dict[str, Any]:
        report = self.report
        return {
            "tasks": {task: asdict(score) for task, score in report.tasks.items()},
            "overall": asdict(report.overall),
            "splits": {split: asdict(score) for split, score in report.splits.items()},
            "ceiling": report.ceiling,
        }


def score_folder(judge: SceneJudge, folder: str | os.PathLike) -> Scored:
    """Judge the pictures of a folder against its prompts.

    Raises:
        ValueError: prompts or pictures are missing.
    """
    prompts = read_prompts(folder)
    names, specs = [name for name, _ in prompts], [spec for _, spec in prompts]
    found: list[list[Found]] = []
    for lot in read_pictures(folder, names, judge.network.config.side):
        found += judge(lot)
    report = scene_report(specs, found, ceiling=scene_ceiling())
    sheets = {}
    for kind, each in (("right", RIGHT), ("wrong", WRONG)):
        places = examples(specs, report.faults, kind == "right", each)
        if places:
            shown = next(read_pictures(folder, [names[p] for p in places], 192))
            sheets[kind] = judged_sheet(
                list(shown),
                [specs[p] for p in places],
                [found[p] for p in places],
                [report.faults[p] for p in places],
            )
    return Scored(names, specs, found, report, sheets)
