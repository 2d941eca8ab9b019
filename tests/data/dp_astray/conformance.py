"""What the components of this package are made for."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from dp_core.testing import DatasetConformance, RunnerConformance


class WalkConformance(DatasetConformance):
    shape_metas: ClassVar = {
        "a walk": {
            "obs": {"position": {"shape": [2], "type": "low_dim"}, "eye": {"shape": [3, 4, 4], "type": "rgb"}},
            "action": {"shape": [2]},
        }
    }

    @staticmethod
    def record(folder: Path, episodes: list[dict[str, Any]]) -> dict[str, Any]:
        for number, episode in enumerate(episodes):
            np.savez(folder / f"{number}.npz", **episode)
        return {"folder": folder}


class DriftConformance(RunnerConformance):
    shape_metas: ClassVar = {
        "a drift": {"obs": {"position": {"shape": [2], "type": "low_dim"}}, "action": {"shape": [2]}}
    }
