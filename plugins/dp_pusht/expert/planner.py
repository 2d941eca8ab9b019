"""Chooses the next push, and the targets that carry it out."""

from __future__ import annotations

import math
from collections.abc import Iterator

import attrs
import numpy as np
import shapely
from numpy.typing import NDArray

from dp_pusht.expert.contacts import contact_points
from dp_pusht.expert.pushes import Exploration, Point, Pose, Push, PushSimulator, distance_to_goal
from dp_pusht.expert.reach import CLEARANCE, ReachMap
from dp_pusht.geometry import AGENT_RADIUS, TABLE_SIZE, block_polygon, to_table
from dp_pusht.simulation import STEPS_PER_CONTROL, TIME_STEP, accelerate

APPROACH_SPEED = 16.0
"""The pixels that the target advances in one control step on the way to a push."""
SIDEWAYS = 5.0
"""The pixels to either side at which a push has to work when it starts there: it is imitated, not replayed."""
_BORDER = 14.0
_WORTHWHILE = 0.15
_MOST_EFFICIENT, _MOST_EFFECTIVE = 10, 4
_LENGTH_CHANGES = (-6, -4, -3, -2, -1, 0, 1, 2, 3, 4, 6)


@attrs.frozen
class Plan:
    """Targets, one per control step: first those of the approach, then those of the push."""

    approach: list[Point]
    push: list[Point]


@attrs.frozen
class _Candidate:
    push: Push
    exploration: Exploration
    steps: float
    """Control steps that approach and push will take, roughly."""

    def score(self, distance_now: float, distance_then: float) -> float:
        """Progress per control step, on a logarithmic scale: the last pixels count as much as the first."""
        return math.log((distance_now + 0.3) / (distance_then + 0.3)) / self.steps


class Planner:
    """Plans one push after the other. Holds a simulator, so use a fresh one per episode (see `PushSimulator`)."""

    def __init__(self) -> None:
        self._simulator = PushSimulator()
        self._points, self._normals = contact_points()

    def plan(self, agent: Point, velocity: Point, pose: Pose) -> Plan | None:
        """Plan the next approach and push; None where no push helps.

        Args:
            agent: where the agent is, in pixels.
            velocity: its velocity, in pixels per second.
            pose: the pose of the block.
        """
        block = block_polygon(pose)
        reach = ReachMap(agent, block)
        chosen = self._choose(pose, self._candidates(pose, block, reach))
        if chosen is None:
            return None
        approach, arrival, speed = _approach(agent, velocity, reach.path(chosen.push.start), block)
        return Plan(approach, self._push_targets(chosen, pose, arrival, speed))

    def _candidates(self, pose: Pose, block: shapely.Polygon, reach: ReachMap) -> Iterator[_Candidate]:
        """Pushes that can be reached and that bring the block nearer to the goal."""
        distance_now = distance_to_goal(pose)
        normals = to_table((0.0, 0.0, pose[2]), self._normals)
        starts = to_table(pose, self._points) + CLEARANCE * normals
        for start, normal in zip(starts.tolist(), normals.tolist(), strict=True):
            if not all(_BORDER < value < TABLE_SIZE - _BORDER for value in start):
                continue
            if block.distance(shapely.Point(start)) < CLEARANCE - 4.5 or math.isinf(reach.cost(start)):
                continue
            push = Push(tuple(start), (-normal[0], -normal[1]))
            exploration = self._simulator.explore(push, pose)
            if exploration.length > 0 and exploration.distance <= distance_now - _WORTHWHILE:
                steps = 0.8 * reach.cost(start) / APPROACH_SPEED + exploration.steps + 9
                yield _Candidate(push, exploration, steps)

    def _choose(self, pose: Pose, candidates: Iterator[_Candidate]) -> _Candidate | None:
        """Look closer at the most promising candidates and take the best."""
        distance_now = distance_to_goal(pose)
        ranked = sorted(candidates, key=lambda c: -c.score(distance_now, c.exploration.distance))
        effective = sorted(ranked, key=lambda c: c.exploration.distance)[:_MOST_EFFECTIVE]
        best, best_score = None, 0.0
        for candidate in ranked[:_MOST_EFFICIENT] + effective:
            score = self._robust_score(candidate, pose, distance_now)
            if score > best_score:
                best, best_score = candidate, score
        return best

    def _robust_score(self, candidate: _Candidate, pose: Pose, distance_now: float) -> float:
        """Score of what the push leads to on average when it is started a little beside; solving the task counts."""
        outcomes = []
        for sideways in (0.0, -SIDEWAYS, SIDEWAYS):
            push = candidate.push.shifted(sideways)
            targets = push.targets(candidate.exploration.length)
            outcomes.append(self._simulator.execute(targets, pose, push.start))
        score = candidate.score(distance_now, sum(o.distance for o in outcomes) / len(outcomes))
        if outcomes[0].is_success:
            score += 0.3 * sum(o.is_success for o in outcomes) / len(outcomes) + 0.2 + 1 / candidate.steps
        return score

    def _push_targets(self, chosen: _Candidate, pose: Pose, position: Point, velocity: Point) -> list[Point]:
        """Targets of the push, its length refined for the place and speed with which the approach really ends."""
        best: list[Point] = []
        best_distance = math.inf
        for change in _LENGTH_CHANGES:
            if chosen.exploration.length + change <= 1:
                continue
            targets = chosen.push.targets(chosen.exploration.length + change)
            outcome = self._simulator.execute(targets, pose, position, velocity)
            distance = outcome.distance - 100 * outcome.is_success
            if distance < best_distance:
                best, best_distance = targets[: outcome.steps], distance
        return best


def ramp(path: NDArray[np.float64], speed: float) -> list[Point]:
    """Spread points at ``speed`` pixels from one another along ``path`` (N, 2), from after its start to its end."""
    points = []
    x, y = path[0].tolist()
    remaining = speed
    for corner_x, corner_y in path[1:].tolist():
        while (distance := math.hypot(corner_x - x, corner_y - y)) > remaining:
            x += (corner_x - x) / distance * remaining
            y += (corner_y - y) / distance * remaining
            points.append((x, y))
            remaining = speed
        x, y = corner_x, corner_y
        remaining -= distance
    return [*points, (x, y)]


def _approach(
    agent: Point, velocity: Point, path: NDArray[np.float64], block: shapely.Polygon
) -> tuple[list[Point], Point, Point]:
    """Targets along ``path``, slow enough not to touch the block; with the agent's final position and velocity."""
    goal: Point = tuple(path[-1].tolist())
    speed = APPROACH_SPEED
    for _ in range(5):
        targets = [*ramp(path, speed), goal, goal]
        trail, position, final_velocity = _follow(agent, velocity, targets)
        if _keeps_clear(trail, block):
            break
        speed *= 0.7
    for _ in range(4):
        is_near = math.dist(position, goal) <= 2.5 and math.hypot(*final_velocity) <= 25
        if is_near:
            break
        targets.append(goal)
        _, position, final_velocity = _follow(position, final_velocity, [goal])
    return targets, position, final_velocity


def _follow(position: Point, velocity: Point, targets: list[Point]) -> tuple[NDArray[np.float64], Point, Point]:
    """The agent's motion towards ``targets`` on an empty table: trail (N, 2), final position and velocity."""
    x, y = position
    velocity_x, velocity_y = velocity
    trail = []
    for target_x, target_y in targets:
        for step in range(STEPS_PER_CONTROL):
            velocity_x, velocity_y = accelerate(x, y, velocity_x, velocity_y, target_x, target_y)
            x += velocity_x * TIME_STEP
            y += velocity_y * TIME_STEP
            if step % 5 == 4:
                trail.append((x, y))
    return np.array(trail), (x, y), (velocity_x, velocity_y)


def _keeps_clear(trail: NDArray[np.float64], block: shapely.Polygon) -> bool:
    """Whether the agent, once it has left the block, stays away from it, and leaves it without turning back."""
    distance = shapely.distance(block, shapely.points(trail))
    is_free = distance > AGENT_RADIUS + 1.5
    free_from = int(np.argmax(is_free)) if is_free.any() else 0
    leaves = np.diff(distance[: free_from + 1]) > -0.3
    return bool((distance[free_from:] > AGENT_RADIUS + 0.7).all() and leaves.all())
