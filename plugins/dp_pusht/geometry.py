"""The T, its goal and the table, in numbers.

Lengths are pixels of the 512 x 512 table, x to the right and y down; angles are radians, clockwise as seen on screen.
A *pose* is (x, y, angle) of the block's origin, the middle of the outer edge of its bar. A *state* is what the
demonstrations record: (agent x, agent y, block x, block y, block angle).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

Vector = Sequence[float] | NDArray[np.floating[Any]]
"""A few numbers: a point, a pose or a state."""

TABLE_SIZE = 512
AGENT_RADIUS = 15.0
GOAL_POSE = (256.0, 256.0, math.pi / 4)
SUCCESS_COVERAGE = 0.95
"""The share of the goal that has to be covered; rewards are relative to it."""

BAR = ((-60.0, 30.0), (60.0, 30.0), (60.0, 0.0), (-60.0, 0.0))
STEM = ((-15.0, 30.0), (-15.0, 120.0), (15.0, 120.0), (15.0, 30.0))
OUTLINE = np.array([(-60, 0), (60, 0), (60, 30), (15, 30), (15, 120), (-15, 120), (-15, 30), (-60, 30)], dtype=float)
"""The corners of the whole T in the block's frame, (8, 2), in pixels."""


def to_table(pose: Vector, points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Move ``points`` (N, 2) from the block's frame to the table."""
    x, y, angle = pose
    cosine, sine = math.cos(angle), math.sin(angle)
    # Written out, because a matrix product may round differently on another machine, and the expert is reproducible.
    return np.stack(
        [cosine * points[:, 0] - sine * points[:, 1] + x, sine * points[:, 0] + cosine * points[:, 1] + y], axis=1
    )


def block_polygon(pose: Vector) -> shapely.Polygon:
    """Make the outline of the T at ``pose``, on the table."""
    return shapely.Polygon(to_table(pose, OUTLINE))


GOAL_POLYGON = block_polygon(GOAL_POSE)


def coverage(pose: Vector) -> float:
    """Compute the share of the goal that the block covers, in [0, 1]."""
    return float(block_polygon(pose).intersection(GOAL_POLYGON).area / GOAL_POLYGON.area)


def sample_start_state(seed: int) -> NDArray[np.float64]:
    """Draw the start state (5,) that ``seed`` gives, as the published evaluation does: before it settles."""
    random = np.random.RandomState(seed)
    agent = random.randint(50, 450), random.randint(50, 450)
    block = random.randint(100, 400), random.randint(100, 400)
    return np.array([*agent, *block, random.randn() * 2 * math.pi - math.pi])
