"""Converts rotations of absolute actions: axis times angle in files and simulation, six numbers for the policy.

The six numbers are the first two rows of the rotation matrix (Zhou et al., 2019, On the Continuity of Rotation
Representations in Neural Networks), which have no jumps that a network would have to learn.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dp_robomimic.shapes import ARM_SIZE, RAW_ARM_SIZE, RotationRep

_ROTATION = slice(3, 6)
Array = NDArray[np.float64]


def actions_to_policy(actions: NDArray[Any], rotation_rep: RotationRep) -> Array:
    """Convert absolute actions (..., 7 per arm) of a file to those that the policy learns (..., 7 or 10 per arm)."""
    if rotation_rep == "axis_angle":
        return actions.astype(np.float64)
    arms = actions.astype(np.float64).reshape(*actions.shape[:-1], -1, RAW_ARM_SIZE)
    rotation = axis_angle_to_6d(arms[..., _ROTATION])
    arms = np.concatenate([arms[..., :3], rotation, arms[..., 6:]], axis=-1)
    return arms.reshape(*actions.shape[:-1], -1)


def actions_to_simulation(actions: NDArray[Any], rotation_rep: RotationRep) -> Array:
    """Convert absolute actions (..., 7 or 10 per arm) of the policy to those of the simulation (..., 7 per arm).

    It inverts `actions_to_policy`; six numbers need not be a rotation exactly.
    """
    if rotation_rep == "axis_angle":
        return actions.astype(np.float64)
    arms = actions.astype(np.float64).reshape(*actions.shape[:-1], -1, ARM_SIZE[rotation_rep])
    rotation = axis_angle_from_6d(arms[..., 3:9])
    arms = np.concatenate([arms[..., :3], rotation, arms[..., 9:]], axis=-1)
    return arms.reshape(*actions.shape[:-1], -1)


def axis_angle_to_6d(rotation: Array) -> Array:
    """Convert rotations (..., 3), whose length is the angle in rad, to six numbers (..., 6), by Rodrigues' formula."""
    angle = np.linalg.norm(rotation, axis=-1)[..., None, None]
    cross = np.zeros((*rotation.shape[:-1], 3, 3))
    x, y, z = np.moveaxis(rotation, -1, 0)
    cross[..., 0, 1], cross[..., 0, 2], cross[..., 1, 2] = -z, y, -x
    cross[..., 1, 0], cross[..., 2, 0], cross[..., 2, 1] = z, -y, x
    # sin(a) / a and (1 - cos(a)) / a^2, which are good at 0, too
    first, second = np.sinc(angle / np.pi), np.sinc(angle / (2 * np.pi)) ** 2 / 2
    matrix = np.eye(3) + first * cross + second * (cross @ cross)
    return matrix[..., :2, :].reshape(*rotation.shape[:-1], 6)


def axis_angle_from_6d(values: Array) -> Array:
    """Convert six numbers (..., 6) to axis times angle (..., 3), with an angle in [0, pi].

    Rows are made orthogonal; the first keeps its direction.
    """
    first = _unit(values[..., :3])
    second = values[..., 3:]
    second = _unit(second - (first * second).sum(axis=-1, keepdims=True) * first)
    matrix = np.stack([first, second, np.cross(first, second)], axis=-2)
    quaternion = _quaternion(matrix)
    sine = np.linalg.norm(quaternion[..., 1:], axis=-1, keepdims=True)
    angle = 2 * np.arctan2(sine, quaternion[..., :1])
    # angle / sin(angle / 2), which goes to 2 at 0
    factor = np.divide(angle, sine, out=np.full_like(sine, 2.0), where=sine > 0)
    return quaternion[..., 1:] * factor


def _quaternion(matrix: Array) -> Array:
    """(..., 3, 3) to (w, x, y, z) with w >= 0, from the largest component: grippers often are turned by pi."""
    trace = np.trace(matrix, axis1=-2, axis2=-1)
    m = np.moveaxis(matrix, (-2, -1), (0, 1))
    # Four times the products of every pair of components, (..., 4, 4)
    products = np.stack(
        [
            np.stack([1 + trace, m[2, 1] - m[1, 2], m[0, 2] - m[2, 0], m[1, 0] - m[0, 1]], axis=-1),
            np.stack([m[2, 1] - m[1, 2], 1 + 2 * m[0, 0] - trace, m[0, 1] + m[1, 0], m[0, 2] + m[2, 0]], axis=-1),
            np.stack([m[0, 2] - m[2, 0], m[0, 1] + m[1, 0], 1 + 2 * m[1, 1] - trace, m[1, 2] + m[2, 1]], axis=-1),
            np.stack([m[1, 0] - m[0, 1], m[0, 2] + m[2, 0], m[1, 2] + m[2, 1], 1 + 2 * m[2, 2] - trace], axis=-1),
        ],
        axis=-2,
    )
    largest = np.diagonal(products, axis1=-2, axis2=-1).argmax(axis=-1)[..., None, None]
    quaternion = _unit(np.take_along_axis(products, largest, axis=-2)[..., 0, :])
    return np.where(quaternion[..., :1] < 0, -quaternion, quaternion)


def _unit(vector: Array) -> Array:
    return vector / np.maximum(np.linalg.norm(vector, axis=-1, keepdims=True), 1e-12)
