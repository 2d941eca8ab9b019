"""The rules of runners, and what is special about this one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from dp_core.interfaces import BasePolicy, Generators
from dp_core.registry import Registry
from dp_core.testing import RunnerConformance
from torch import Tensor


class TestRules(RunnerConformance):
    """Scores, repeatability, the policy left alone: every rule for images and for states."""

    component = "kestrel"
    configs = ({"n_test": 2, "max_steps": 20}, {"n_train": 1, "n_test": 1, "max_steps": 20, "reach": 0.5})


class GoesHome(BasePolicy):
    """Sends the point to the origin, or to where ``action`` says."""

    def __init__(self, action: float = 0.0) -> None:
        super().__init__()
        self.action = action

    def compute_loss(self, batch: dict[str, Any], generator: torch.Generator | None = None) -> Tensor:
        raise NotImplementedError

    def predict_action(self, obs: dict[str, Tensor], generator: Generators = None) -> dict[str, Tensor]:
        actions = torch.full((len(obs["state"]), 8, 2), self.action)
        return {"action": actions, "action_pred": actions}


def test_a_policy_that_knows_the_way_scores_higher(tmp_path: Path) -> None:
    shape_meta = {"obs": {"state": {"shape": [2]}}, "action": {"shape": [2]}}
    block = {"name": "kestrel", "n_obs_steps": 2, "n_action_steps": 8}
    runner = Registry.discover().build("runner", block, shape_meta=shape_meta, output_dir=tmp_path)
    right, wrong = runner.run(GoesHome()), runner.run(GoesHome(5.0))
    runner.close()

    assert right["test/success_rate"] == 1.0
    assert right["test/mean_score"] > 0.95 > wrong["test/mean_score"]
