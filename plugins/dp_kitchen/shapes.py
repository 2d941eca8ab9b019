"""The observations and actions of the kitchen, which a `shape_meta` may ask for. Light, so that configs can check."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from dp_core.shape_meta import task_problems

OBSERVATIONS: dict[str, dict[str, Any]] = {"obs": {"shape": [60], "type": "low_dim"}}
"""Positions of nine joints of the robot and of 21 of the furniture, then 30 zeros, the place of a goal."""
ACTION_SHAPE = [9]
"""Seven joints of the arm and two fingers: velocities as shares of 2 rad/s, or positions."""
FOLDER = "kitchen"
"""The folder of what follows, in the published archive."""
LOGS = f"{FOLDER}/kitchen_demos_multitask"
"""The folder of the demonstrations with joint positions."""
ARRAYS = ("observations_seq.npy", "actions_seq.npy", "existence_mask.npy")
"""The files of the demonstrations with joint velocities."""
STARTS = ("all_init_qpos.npy", "all_init_qvel.npy")
"""The files of the states that demonstrations begin in."""


def unknown_to_kitchen(shape_meta: Mapping[str, Any]) -> Iterable[str]:
    """Report what a well-formed `shape_meta` asks for and the kitchen does not have, one message each."""
    return task_problems(shape_meta, "the kitchen", OBSERVATIONS, ACTION_SHAPE, "seven joints and two fingers")
