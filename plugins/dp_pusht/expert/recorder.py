"""Records one demonstration: the expert at work from a given start, with shaky hands."""

from __future__ import annotations

import math

import numpy as np

from dp_pusht.demonstrations import Demonstration
from dp_pusht.expert.planner import Planner, ramp
from dp_pusht.expert.pushes import Point
from dp_pusht.geometry import SUCCESS_COVERAGE, TABLE_SIZE, coverage, sample_start_state, to_table
from dp_pusht.simulation import Simulation

MAX_STEPS = 300
DISTURBED = 0.3
"""The share of the episodes that start after the agent was dragged through the block: the T may then be anywhere."""
APPROACH_NOISE, PUSH_NOISE = 4.0, 2.0
"""The standard deviation, in pixels, of the noise on what is executed; the clean target is recorded: how to recover."""
_NOISE_MEMORY, _NOISE_INPUT = 0.8, 0.6
_MIDDLE_OF_BLOCK = np.array([[0.0, 45.0]])


def record_demonstration(start_seed: int) -> Demonstration | None:
    """Let the expert solve the task from the start that ``start_seed`` gives; None where it does not succeed."""
    return _Recorder(start_seed).record()


class _Recorder:
    def __init__(self, start_seed: int) -> None:
        self._random = np.random.default_rng(start_seed)
        self._planner = Planner()
        self._simulation = Simulation()
        self._simulation.set_state(sample_start_state(start_seed), position_first=True)
        self._simulation.settle()
        self._noise = (0.0, 0.0)
        self._states: list[tuple[float, ...]] = []
        self._actions: list[Point] = []

    def record(self) -> Demonstration | None:
        if self._random.random() < DISTURBED:
            self._disturb()
        while len(self._actions) < MAX_STEPS:
            for target, noise in self._next_targets():
                self._act(target, noise)
                if coverage(self._simulation.block_pose) > SUCCESS_COVERAGE:
                    return Demonstration(np.array(self._states), np.array(self._actions))
                if len(self._actions) == MAX_STEPS:
                    break
        return None

    def _next_targets(self) -> list[tuple[Point, float]]:
        """Targets, each with the noise that it is executed with."""
        simulation = self._simulation
        plan = self._planner.plan(simulation.agent_position, simulation.agent_velocity, simulation.block_pose)
        if plan is None:
            return [(target, APPROACH_NOISE) for target in self._wander()]
        # The hand gets steadier a little before the push.
        n_shaky = max(len(plan.approach) - 3, 0)
        targets = plan.approach + plan.push
        return [(target, APPROACH_NOISE if i < n_shaky else PUSH_NOISE) for i, target in enumerate(targets)]

    def _act(self, target: Point, noise: float) -> None:
        target = min(max(target[0], 0.0), float(TABLE_SIZE)), min(max(target[1], 0.0), float(TABLE_SIZE))
        x, y, angle = self._simulation.block_pose
        self._states.append((*self._simulation.agent_position, x, y, angle % (2 * math.pi)))
        self._actions.append(target)
        drawn = self._random.normal(0, noise, 2)
        self._noise = (
            _NOISE_MEMORY * self._noise[0] + _NOISE_INPUT * float(drawn[0]),
            _NOISE_MEMORY * self._noise[1] + _NOISE_INPUT * float(drawn[1]),
        )
        self._simulation.step((target[0] + self._noise[0], target[1] + self._noise[1]))

    def _wander(self) -> list[Point]:
        """A few steps towards a random place, for a new view on a block that no push improves."""
        place = self._random.uniform(80, 430, 2)
        return ramp(np.array([self._simulation.agent_position, place]), 12.0)[:8]

    def _disturb(self) -> None:
        """Drag the agent through the block towards a random place, unrecorded."""
        n_steps = int(self._random.integers(10, 60))
        middle = to_table(self._simulation.block_pose, _MIDDLE_OF_BLOCK)[0]
        through = np.clip(middle + self._random.normal(0, 25, 2), 20, 490)
        end = self._random.uniform(30, 480, 2)
        path = np.array([self._simulation.agent_position, through, end])
        for target in ramp(path, float(self._random.uniform(8, 18)))[:n_steps]:
            self._simulation.step(target)
        for _ in range(3):
            self._simulation.step(self._simulation.agent_position)
