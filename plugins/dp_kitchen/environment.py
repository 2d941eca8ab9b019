"""`KitchenEnvironment`: the Franka kitchen as the runner uses it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dp_core.kit.rollout.environment import Environment, Start, Step
from dp_kitchen.simulation import Simulation
from dp_kitchen.state import N_ROBOT, TASKS, measured, observation, tasks_done

_LARGEST_ACTION = 2.0
"""rad/s (fingers: m/s) of an action of 1."""
_LARGEST_VELOCITY = 10.0


class KitchenEnvironment(Environment):
    """The kitchen with seven tasks in any order; the reward of a step is the number of tasks that it completes first.

    The rules are those of the original's ``KitchenAllV0``: observation with uniform noise, control relative to what
    was observed last, goals and tolerance, 40 physics steps of 2 ms per action. Every episode of the test split starts
    in the same state; its seed draws the noise alone. Differences:

    - The model and the version of MuJoCo are others; without noise, they can give the same numbers: see `Simulation`.
    - Noise comes from another generator, so a seed is not the same episode as there.

    Args:
        abs_action: actions are positions of the joints, not velocities.
        robot_noise_ratio: see `dp_kitchen.state.measured`.
        render_hw: height and width of frames.
    """

    def __init__(self, *, abs_action: bool, robot_noise_ratio: float, render_hw: tuple[int, int]) -> None:
        self._simulation = Simulation(render_hw=render_hw)
        self._abs_action = abs_action
        self._noise_ratio = robot_noise_ratio
        self._done: set[str] = set()

    def reset(self, start: Start) -> None:
        """Begin in ``start.state``, (qpos (30,), qvel (29,)) of the whole simulation, or where test episodes do."""
        self._simulation.reset(start.state)
        self._rng = np.random.default_rng(start.seed)
        self._done = set()
        self._measure()

    def observe(self) -> dict[str, NDArray[Any]]:
        """Return ``{"obs": (60,)}``, float32: measured positions and the empty goal."""
        return {"obs": observation(self._measured)}

    def step(self, action: NDArray[np.float64]) -> Step:
        """Execute an action (9,): positions (rad, m), or shares of 2 rad/s and m/s in [-1, 1]."""
        self._simulation.advance(self._target(action))
        self._measure()
        newly_done = tasks_done(self._measured) - self._done
        self._done |= newly_done
        is_complete = len(self._done) == len(TASKS)
        return Step(float(len(newly_done)), is_over=is_complete, is_success=is_complete)

    def score(self, rewards: NDArray[np.float64]) -> float:
        """Return the share of the tasks that are done, in [0, 1], from the rewards (steps,) of an episode."""
        return float(rewards.sum()) / len(TASKS)

    def measure(self) -> dict[str, float]:
        """Return as ``p_n``, 0 or 1, whether n tasks or more were done."""
        return {f"p_{n}": float(len(self._done) >= n) for n in range(1, len(TASKS) + 1)}

    def render(self) -> NDArray[np.uint8]:
        """Draw the kitchen, uint8 (H, W, 3); see `Simulation.render`."""
        return self._simulation.render()

    def close(self) -> None:
        """Free the simulation."""
        self._simulation.close()

    def _measure(self) -> None:
        # Once per step: the policy sees what control refers to and tasks are judged by.
        self._measured = measured(self._simulation.positions(), self._noise_ratio, self._rng)

    def _target(self, action: NDArray[np.float64]) -> NDArray[np.floating]:
        """Positions (9,) that the robot is sent to."""
        seconds = self._simulation.control_period
        here = self._measured[:N_ROBOT]
        velocity = (action - here) / seconds if self._abs_action else np.clip(action, -1, 1) * _LARGEST_ACTION
        return here + np.clip(velocity, -_LARGEST_VELOCITY, _LARGEST_VELOCITY) * seconds
