"""The observations and actions of Push-T, which a `shape_meta` may ask for. Light, so that configs can check."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from dp_core.shape_meta import task_problems

OBSERVATIONS: dict[str, dict[str, Any]] = {
    "image": {"shape": [3, 96, 96], "type": "rgb"},
    "agent_pos": {"shape": [2], "type": "low_dim"},
    "keypoint": {"shape": [9, 2], "type": "low_dim"},
    "state": {"shape": [5], "type": "low_dim"},
    "obs": {"shape": [20], "type": "low_dim"},
}
"""The observations by key: ``state`` is agent x, y, block x, y and angle; ``obs`` the nine keypoints, flattened, then
the agent's position.
"""
ACTION_SHAPE = [2]


def unknown_to_pusht(shape_meta: Mapping[str, Any]) -> Iterable[str]:
    """Report what a well-formed `shape_meta` asks for and Push-T does not have, one message each."""
    return task_problems(shape_meta, "Push-T", OBSERVATIONS, ACTION_SHAPE, "x, y")
