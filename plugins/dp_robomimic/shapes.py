"""Checks what a `shape_meta` asks of robomimic's demonstrations and tasks. Light, so that configs can check."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from dp_core.errors import quoted

RotationRep = Literal["rotation_6d", "axis_angle"]

JOINED = "obs"
"""The one key of low-dimensional policies: ``obs_keys``, one after the other."""
RAW_ARM_SIZE = 7
"""The numbers of one arm in a file: position, axis times angle, gripper."""
ARM_SIZE: dict[RotationRep, int] = {"rotation_6d": 10, "axis_angle": RAW_ARM_SIZE}
"""The numbers of one arm in absolute actions, as the policy gives them."""


def obs_problems(shape_meta: Mapping[str, Any], obs_keys: Sequence[str] | None) -> Iterable[tuple[str, str]]:
    """Report what does not fit in the observations of a well-formed `shape_meta`: pairs of an option and a message."""
    if obs_keys is None:
        return
    if not obs_keys:
        yield "obs_keys", "is empty; name the observations to join, or use null for those of shape_meta"
    if list(shape_meta["obs"]) != [JOINED] or len(shape_meta["obs"][JOINED]["shape"]) != 1:
        keys = quoted(shape_meta["obs"])
        yield (
            "obs_keys",
            f"joins observations to one vector '{JOINED}', but shape_meta.obs has {keys}; "
            f"let it have '{JOINED}' alone, or set obs_keys: null",
        )


def action_problems(
    shape_meta: Mapping[str, Any], abs_action: bool, rotation_rep: RotationRep
) -> Iterable[tuple[str, str]]:
    """Report what does not fit in the action of a well-formed `shape_meta`: pairs of an option and a message."""
    size = shape_meta["action"]["shape"][0]
    if abs_action and size % ARM_SIZE[rotation_rep]:
        yield (
            "abs_action",
            f"gives {ARM_SIZE[rotation_rep]} numbers per arm with rotation_rep '{rotation_rep}', "
            f"but shape_meta.action is [{size}]; expected a multiple",
        )
