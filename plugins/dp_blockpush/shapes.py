"""The observations and actions of block pushing, which a `shape_meta` may ask for. Light, so that configs can check."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from dp_core.shape_meta import task_problems

OBSERVATIONS: dict[str, dict[str, Any]] = {"obs": {"shape": [16], "type": "low_dim"}}
"""Block x, y and angle, twice; effector x, y; where it is sent x, y; target x, y and angle, twice. m and rad."""
EFFECTOR_TARGET = slice(8, 10)
ACTION_SHAPE = [2]
"""x and y that the effector is sent to, m: from where it was sent before, or absolute."""


def published_name(abs_action: bool) -> str:
    """Return the name of the replay buffer in the published archive."""
    return f"block_pushing/multimodal_push_seed{'_abs' if abs_action else ''}.zarr"


def unknown_to_block_pushing(shape_meta: Mapping[str, Any]) -> Iterable[str]:
    """Report what a well-formed `shape_meta` asks for and block pushing does not have, one message each."""
    return task_problems(shape_meta, "block pushing", OBSERVATIONS, ACTION_SHAPE, "x, y")
