"""The state of the kitchen as a policy sees it, and which tasks it has done. NumPy only."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

N_ROBOT = 9
"""Positions of the robot: seven joints (rad), two fingers (m)."""
N_OBJECTS = 21
"""Positions of the furniture: four burners with knobs, light, cabinets, microwave, and the kettle (7)."""
N_POSITIONS = N_ROBOT + N_OBJECTS

NOISE_AMPLITUDE = np.repeat(
    np.array([0.1, 0.005, 0.0005, 0.005, 0.1, 0.005, 0.1, 0.005], np.float32), [9, 2, 6, 3, 3, 3, 3, 1]
)
"""The largest error of each measured position, (30,), in its unit, by the specification of the robot's model."""

TASKS: Mapping[str, tuple[slice, tuple[float, ...]]] = {
    "bottom burner": (slice(11, 13), (-0.88, -0.01)),
    "top burner": (slice(15, 17), (-0.92, -0.01)),
    "light switch": (slice(17, 19), (-0.69, -0.05)),
    "slide cabinet": (slice(19, 20), (0.37,)),
    "hinge cabinet": (slice(20, 22), (0.0, 1.45)),
    "microwave": (slice(22, 23), (-0.75,)),
    "kettle": (slice(23, 30), (-0.23, 0.75, 1.62, 0.99, 0.0, 0.0, -0.06)),
}
"""The positions that each task is about, and the values that they have to reach."""
_TOLERANCE = 0.3


def positions_of(qpos: NDArray[np.floating]) -> NDArray[np.floating]:
    """Pick the robot's and the furniture's positions (..., 30) out of those of the whole simulation (..., nq)."""
    return np.concatenate([qpos[..., :N_ROBOT], qpos[..., -N_OBJECTS:]], axis=-1)


def measured(positions: NDArray[np.floating], noise_ratio: float, rng: np.random.Generator) -> NDArray[np.floating]:
    """Add the noise of a measurement to positions (..., 30): uniform, ``noise_ratio`` times the amplitude at most."""
    return positions + noise_ratio * NOISE_AMPLITUDE * rng.uniform(-1.0, 1.0, positions.shape)


def observation(positions: NDArray[np.floating]) -> NDArray[np.float32]:
    """Append the empty goal to positions (..., 30); return float32 (..., 60)."""
    return np.concatenate([positions, np.zeros_like(positions)], axis=-1, dtype=np.float32)


def tasks_done(positions: NDArray[np.floating]) -> set[str]:
    """Name the tasks whose goal is reached in positions (30,)."""
    return {name for name, (part, goal) in TASKS.items() if np.linalg.norm(positions[part] - goal) < _TOLERANCE}
