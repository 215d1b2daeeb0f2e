"""SceneEval: does the picture show what the caption says? GenEval's protocol on our scenes."""

from dcar_edu.metrics.scenes.judge import SceneJudge, load_scene_judge, scene_ceiling
from dcar_edu.metrics.scenes.report import SceneReport, scene_report
from dcar_edu.metrics.scenes.scoring import Found, faults, relations, score_scene
from dcar_edu.metrics.scenes.specs import (
    COUNTS,
    TASKS,
    SceneSpec,
    Wanted,
    real_scenes,
    scene_prompts,
)

__all__ = [
    "COUNTS",
    "TASKS",
    "Found",
    "SceneJudge",
    "SceneReport",
    "SceneSpec",
    "Wanted",
    "faults",
    "load_scene_judge",
    "real_scenes",
    "relations",
    "scene_ceiling",
    "scene_prompts",
    "scene_report",
    "score_scene",
]
