"""What block pushing observes and does: what a `shape_meta` may ask for. Light, so that configs can check."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

OBSERVATION_SHAPE = [16]
"""Block x, y and angle, twice; effector x, y; where it is sent x, y; target x, y and angle, twice. m and rad."""
EFFECTOR_TARGET = slice(8, 10)
ACTION_SHAPE = [2]
"""x and y that the effector is sent to, m: from where it was sent before, or absolute."""


def published_name(abs_action: bool) -> str:
    """Return the name of the replay buffer in the published archive."""
    return f"block_pushing/multimodal_push_seed{'_abs' if abs_action else ''}.zarr"


def unknown_to_block_pushing(shape_meta: Mapping[str, Any]) -> Iterable[str]:
    """Report what a well-formed `shape_meta` asks for and block pushing does not have, one message each."""
    for key, asked in shape_meta["obs"].items():
        if key != "obs":
            yield f"shape_meta.obs has '{key}', which block pushing does not give; choose from 'obs'"
        elif list(asked["shape"]) != OBSERVATION_SHAPE or asked.get("type", "low_dim") != "low_dim":
            yield (
                f"shape_meta.obs.obs is {asked.get('type', 'low_dim')} {list(asked['shape'])}; "
                f"block pushing gives low_dim {OBSERVATION_SHAPE}"
            )
    if list(shape_meta["action"]["shape"]) != ACTION_SHAPE:
        yield (
            f"shape_meta.action is {list(shape_meta['action']['shape'])}; actions of block pushing are {ACTION_SHAPE}: "
            "x, y"
        )
