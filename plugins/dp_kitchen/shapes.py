"""What the kitchen observes and does: what a `shape_meta` may ask for. Imports nothing heavy, for configs to check."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

OBSERVATION_SHAPE = [60]
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
    for key, asked in shape_meta["obs"].items():
        if key != "obs":
            yield f"shape_meta.obs has '{key}', which the kitchen does not give; choose from 'obs'"
        elif list(asked["shape"]) != OBSERVATION_SHAPE or asked.get("type", "low_dim") != "low_dim":
            yield (
                f"shape_meta.obs.obs is {asked.get('type', 'low_dim')} {list(asked['shape'])}; "
                f"the kitchen gives low_dim {OBSERVATION_SHAPE}"
            )
    if list(shape_meta["action"]["shape"]) != ACTION_SHAPE:
        yield (
            f"shape_meta.action is {list(shape_meta['action']['shape'])}; actions of the kitchen are {ACTION_SHAPE}: "
            "seven joints and two fingers"
        )
