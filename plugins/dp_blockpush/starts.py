"""Draws where blocks and targets are at the start of an episode, as the original does, so that seeds mean the same."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from dp_core.errors import DpError

Pose = tuple[float, float, float]
"""A position x, y (m) and an angle (rad)."""

_CENTRE_X = 0.4
_BLOCKS_Y = -0.2
_TARGETS_Y = 0.2
_BLOCK_RANGE = (0.1, 0.15)
_TARGET_RANGE = (0.005, 0.0075)
_TARGET_DISTANCE_FROM_CENTRE = 0.12
_BLOCK_GAP = 0.1
_TARGET_GAP = 0.12
_ATTEMPTS = 1000


def draw_start(seed: int) -> tuple[tuple[Pose, Pose], tuple[Pose, Pose]]:
    """Draw the poses of the two blocks and of the two targets; those of a kind are apart in x."""
    rng = np.random.RandomState(seed)
    return _pair(lambda: _blocks(rng), _BLOCK_GAP), _pair(lambda: _targets(rng), _TARGET_GAP)


def _pair(draw: Callable[[], tuple[Pose, Pose]], gap: float) -> tuple[Pose, Pose]:
    for _ in range(_ATTEMPTS):
        first, second = draw()
        if abs(first[0] - second[0]) > gap:
            return first, second
    raise DpError("block pushing found no place for two blocks and targets; choose another seed")


def _blocks(rng: np.random.RandomState) -> tuple[Pose, Pose]:
    # The original's upper limit of the angle is given as the lower one, and 1 is the default of the upper.
    first = (*_near(rng, _CENTRE_X, _BLOCKS_Y, _BLOCK_RANGE), rng.uniform(math.pi, 1.0))
    second = (*_apart(rng, first[0], _BLOCK_GAP, _CENTRE_X, _BLOCKS_Y, _BLOCK_RANGE), rng.uniform(math.pi, 1.0))
    return first, second


def _targets(rng: np.random.RandomState) -> tuple[Pose, Pose]:
    offset = _TARGET_DISTANCE_FROM_CENTRE * rng.choice([-1, 1])
    tilt = math.pi / 30
    first = (*_near(rng, _CENTRE_X + offset, _TARGETS_Y, _TARGET_RANGE), math.pi + rng.uniform(-tilt, tilt))
    place = _apart(rng, first[0], _TARGET_GAP, _CENTRE_X - offset, _TARGETS_Y, _TARGET_RANGE)
    return first, (*place, math.pi + rng.uniform(-tilt, tilt))


def _near(rng: np.random.RandomState, x: float, y: float, reach: tuple[float, float]) -> tuple[float, float]:
    return x + rng.uniform(-reach[0], reach[0]), y + rng.uniform(-reach[1], reach[1])


def _apart(
    rng: np.random.RandomState, other_x: float, gap: float, x: float, y: float, reach: tuple[float, float]
) -> tuple[float, float]:
    """A place near x, y that is more than ``gap`` from ``other_x``, or the last one tried."""
    for _ in range(_ATTEMPTS):
        place = _near(rng, x, y, reach)
        if abs(place[0] - other_x) > gap:
            break
    return place
