"""SceneEval: does the picture show what the caption says? GenEval's protocol on our scenes."""

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
    "SceneSpec",
    "Wanted",
    "faults",
    "real_scenes",
    "relations",
    "scene_prompts",
    "score_scene",
]
