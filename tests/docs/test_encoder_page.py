"""docs/plugins/encoder.md: its configs are sound."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import yaml

from dp_core.config import structure_block
from dp_core.registry import Registry
from dp_core.shape_meta import keys_once_per_episode

IMAGE = {"shape": [3, 96, 96], "type": "rgb"}
TASK = {
    "obs": {
        "front": IMAGE,
        "wrist": IMAGE,
        "cloud": {"shape": [64, 3], "type": "points"},
        "force": {"shape": [6]},
    },
    "action": {"shape": [2]},
}


@pytest.mark.parametrize("name", ["parts.yaml", "goals.yaml"])
def test_encoders_side_by_side_are_sound(name: str, page: Callable[[str], Any]) -> None:
    shown = yaml.safe_load(page("plugins/encoder.md").files()[name])
    shape_meta = {**TASK, **shown.get("shape_meta", {})}
    encoder = structure_block(Registry.discover(), "encoder", shown["policy"]["encoder"], {"shape_meta": shape_meta})

    keys = encoder.config.keys_of_parts(shape_meta["obs"])
    assert sorted(key for part in keys.values() for key in part) == sorted(shape_meta["obs"])
    assert keys_once_per_episode(shape_meta) == (["goal", "instruction"] if name == "goals.yaml" else [])
