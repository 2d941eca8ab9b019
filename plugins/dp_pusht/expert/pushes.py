"""Finds what a straight push does to the T, by trying it in a simulation of its own."""

from __future__ import annotations

import math

import attrs

from dp_pusht.geometry import GOAL_POSE, OUTLINE, SUCCESS_COVERAGE, TABLE_SIZE, coverage, to_table
from dp_pusht.simulation import Simulation

Point = tuple[float, float]
Pose = tuple[float, float, float]

SPEED = 11.0
"""The pixels that the target advances in one control step."""
LONGEST = 22
"""The control steps after which a push ends at the latest."""
HOLD = 3
"""The control steps at the end of a push in which the target rests, so that the agent catches up."""
_LOOK_FOR_SUCCESS = 6
_WORSE, _STALLED = 6.0, 7
_MARGIN = 8.0

_CORNERS = OUTLINE.tolist()
_GOAL_CORNERS = to_table(GOAL_POSE, OUTLINE).tolist()


def distance_to_goal(pose: Pose) -> float:
    """Compute the mean distance of the corners of the T from where they belong, in pixels."""
    x, y, angle = pose
    cosine, sine = math.cos(angle), math.sin(angle)
    total = 0.0
    for (a, b), (goal_x, goal_y) in zip(_CORNERS, _GOAL_CORNERS, strict=True):
        total += math.hypot(cosine * a - sine * b + x - goal_x, sine * a + cosine * b + y - goal_y)
    return total / len(_CORNERS)


@attrs.frozen
class Push:
    """A straight push: from where, and in which direction (a unit vector)."""

    start: Point
    direction: Point

    def point(self, length: float) -> Point:
        """Compute where the push is after ``length`` pixels."""
        return self.start[0] + self.direction[0] * length, self.start[1] + self.direction[1] * length

    def shifted(self, sideways: float) -> Push:
        """Return the same push, started ``sideways`` pixels beside."""
        x, y = self.direction
        return Push((self.start[0] - y * sideways, self.start[1] + x * sideways), self.direction)

    def targets(self, length: float) -> list[Point]:
        """List one target per control step for a push of ``length`` pixels."""
        ramp = [self.point(SPEED * (index + 1)) for index in range(int(length // SPEED))]
        return [_on_table(point) for point in (*ramp, *[self.point(length)] * (1 + HOLD))]


@attrs.frozen
class Exploration:
    """The best moment of one long push: remaining distance to the goal, length so far, control steps so far."""

    distance: float
    length: float
    steps: int


@attrs.frozen
class Outcome:
    """The result of a push: remaining distance to the goal, whether it solves the task, and after how many steps."""

    distance: float
    is_success: bool
    steps: int


class PushSimulator:
    """Tries pushes. Outcomes depend slightly on what was tried before: use a fresh one per episode."""

    def __init__(self) -> None:
        self._simulation = Simulation()

    def explore(self, push: Push, pose: Pose) -> Exploration:
        """Push far, and find the length after which the block is closest to the goal.

        The block stops at once when the agent does, so one long push tells about all shorter ones.
        """
        self._simulation.set_state((*push.start, *pose))
        best = Exploration(distance_to_goal(pose), 0.0, 0)
        since_best = 0
        for step in range(LONGEST):
            self._simulation.step(push.point(SPEED * (step + 1)))
            distance = distance_to_goal(self._simulation.block_pose)
            x, y = self._simulation.agent_position
            if distance < best.distance:
                length = (x - push.start[0]) * push.direction[0] + (y - push.start[1]) * push.direction[1]
                best, since_best = Exploration(distance, length, step), 0
            else:
                since_best += 1
            is_off_table = not (_is_inside(x) and _is_inside(y))
            if is_off_table or distance > best.distance + _WORSE or since_best > _STALLED:
                break
        return best

    def execute(self, targets: list[Point], pose: Pose, position: Point, velocity: Point = (0.0, 0.0)) -> Outcome:
        """Follow ``targets`` from ``position``; stop early where the task is solved."""
        self._simulation.set_state((*position, *pose), agent_velocity=velocity)
        for step, target in enumerate(targets):
            self._simulation.step(target)
            if step >= len(targets) - _LOOK_FOR_SUCCESS and coverage(self._simulation.block_pose) > SUCCESS_COVERAGE:
                return Outcome(distance_to_goal(self._simulation.block_pose), True, step + 1)
        return Outcome(distance_to_goal(self._simulation.block_pose), False, len(targets))


def _is_inside(coordinate: float) -> bool:
    return _MARGIN < coordinate < TABLE_SIZE - _MARGIN


def _on_table(point: Point) -> Point:
    return min(max(point[0], 0.0), float(TABLE_SIZE)), min(max(point[1], 0.0), float(TABLE_SIZE))
