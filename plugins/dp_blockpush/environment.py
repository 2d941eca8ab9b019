"""`BlockPushEnvironment`: block pushing with two blocks and two targets as the runner uses it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dp_blockpush.shapes import EFFECTOR_TARGET
from dp_blockpush.simulation import Simulation
from dp_blockpush.starts import draw_start
from dp_core.kit.rollout.environment import Environment, Start, Step

_TOLERANCE = 0.05
_ENTERED = 0.49
_COMPLETE = 0.51
_MOVED = 1e-3


class BlockPushEnvironment(Environment):
    """Pays 0.49 for a block that enters a target, 0.51 and the end once both are in, each in one of its own.

    The rules and the seeds are those of the original's ``BlockPushMultimodal``, so that the score of an episode, the
    sum of the different rewards it got, is 0, 0.49 or 1 (0.51 if both blocks arrive at once).
    """

    def __init__(self, *, abs_action: bool, obs_eef_target: bool) -> None:
        self._simulation = Simulation()
        self._abs_action = abs_action
        self._obs_eef_target = obs_eef_target

    def reset(self, start: Start) -> None:
        """Put the arm, blocks and targets where the seed says."""
        self._simulation.reset(*draw_start(start.seed))
        self._targets = self._simulation.targets()
        self._blocks = self._simulation.blocks()
        self._first_distances = np.linalg.norm(self._blocks[:, :2], axis=1)
        self._has_moved = np.zeros(2, dtype=bool)
        self._has_entered = np.zeros((2, 2), dtype=bool)
        self._rewards: list[float] = []

    def observe(self) -> dict[str, NDArray[Any]]:
        """Return ``{"obs": (16,)}``, float32: blocks, effector, where it was sent, targets; m and rad."""
        simulation = self._simulation
        parts = (self._blocks, simulation.effector(), simulation.effector_target, self._targets)
        obs = np.concatenate([np.ravel(part) for part in parts], dtype=np.float32)
        if not self._obs_eef_target:
            obs[EFFECTOR_TARGET] = 0
        return {"obs": obs}

    def step(self, action: NDArray[np.float64]) -> Step:
        """Send the effector to ``action`` (2,): x, y, in m, or so far from where it was sent before."""
        simulation = self._simulation
        simulation.send_effector(action if self._abs_action else simulation.effector_target + action)
        simulation.advance()
        self._blocks = simulation.blocks()
        # Measured from the foot of the arm, as in the original, so a move around it goes unnoticed.
        distances = np.linalg.norm(self._blocks[:, :2], axis=1)
        self._has_moved |= np.abs(distances - self._first_distances) > _MOVED
        reward = self._reward()
        self._rewards.append(reward)
        return Step(reward, is_over=reward >= 0.5, is_success=reward >= 0.5)

    def score(self, rewards: NDArray[np.float64]) -> float:
        """Return the sum of the different rewards among those of an episode (steps,), at most 1."""
        return min(float(np.unique(rewards).sum()), 1.0)

    def measure(self) -> dict[str, float]:
        """Return as 0 or 1 whether one block reached a target (``p1``), or both did (``p2``), and which did what."""
        score = self.score(np.array(self._rewards))
        measures = {"p1": float(score > 0.4), "p2": float(score > 0.9)}
        measures |= {f"REACH_{block}": float(self._has_moved[block]) for block in range(2)}
        for block, target in np.ndindex(2, 2):
            measures[f"TARGET_{block}_{target}"] = float(self._has_entered[block, target])
        return measures

    def render(self) -> NDArray[np.uint8]:
        """Draw the scene, uint8 (H, W, 3); see `Simulation.render`."""
        return self._simulation.render()

    def close(self) -> None:
        """Free the simulation."""
        self._simulation.close()

    def _reward(self) -> float:
        distances = np.linalg.norm(self._blocks[:, None, :2] - self._targets[None, :, :2], axis=-1)
        is_inside = distances < _TOLERANCE  # (block, target)
        newly = is_inside & ~self._has_entered
        self._has_entered |= newly
        nearest = distances.argmin(axis=1)
        if is_inside.any(axis=1).all() and nearest[0] != nearest[1]:
            return _COMPLETE
        return _ENTERED * int(newly.sum())
