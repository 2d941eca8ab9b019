"""The rules of data sets hold for ids, text, depth, single numbers and goals, as well as for images and numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dp_core.registry import Registry
from dp_core.testing.case import Case, NotChecked
from dp_core.testing.checks.dataset import CHECKS
from dp_core.testing.examples import Setting
from dp_replay.buffer import ReplayBuffer

SHAPE_META = {
    "obs": {
        "ids": {"shape": [4], "type": "tokens", "vocabulary_size": 7},
        "told": {"shape": [], "type": "text"},
        "force": {"shape": []},
        "depth": {"shape": [1, 4, 4], "type": "depth"},
        "goal": {"shape": [3], "when": "episode"},
    },
    "action": {"shape": [2]},
}
OPTIONS = {"horizon": 8, "n_obs_steps": 2, "n_action_steps": 4, "val_ratio": 0.3}


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    draw, buffer = np.random.default_rng(0), ReplayBuffer()
    for _ in range(6):
        steps = {
            "ids": draw.integers(7, size=(20, 4)),
            "told": ["push"] * 20,
            "force": draw.random(20),
            "depth": draw.random((20, 1, 4, 4)),
            "action": draw.random((20, 2)),
        }
        buffer.append(steps, once={"goal": draw.random(3)})
    path: Path = buffer.save(tmp_path_factory.mktemp("data") / "mixed.zarr")
    registry = Registry.discover()
    return Case(
        component=registry.resolve("dataset", "replay"),
        registry=registry,
        options={**OPTIONS, "path": str(path)},
        setting=Setting(runtime={"shape_meta": SHAPE_META}),
    )


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_a_correct_data_set_of_other_modalities_keeps_every_rule(case: Case, check: Any) -> None:
    try:
        check(case)
    except NotChecked as reason:
        assert "nobody says which steps are whose" in str(reason)  # noqa: PT017 -- the others have to be checked
