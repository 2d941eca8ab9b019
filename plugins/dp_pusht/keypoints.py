"""The nine points on the T that the low-dimensional observation of Push-T consists of."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

KEYPOINTS = np.array(
    [
        [9.26979, 90.04097],
        [-60.98347, -1.18673],
        [60.91276, -1.39336],
        [-0.2705, 25.54363],
        [-14.06493, 122.81585],
        [39.00274, 32.8574],
        [-39.96641, 32.72966],
        [-16.82434, 62.86318],
        [23.54146, -1.70029],
    ]
)
"""The keypoints in the block's frame, in pixels, (9, 2).

Fitted to the published demonstrations, whose authors sampled them farthest from each other: 1e-4 pixels from what is
recorded there in the median, and up to 2 in the few frames that were recorded while the block was being pushed.
"""


def keypoints(state: ArrayLike) -> NDArray[np.float32]:
    """Compute the keypoints on the table, float32 (..., 9, 2) in pixels, for ``state`` (..., 5), see `geometry`."""
    block = np.asarray(state, dtype=np.float64)[..., 2:5]
    cosine, sine = np.cos(block[..., 2, None]), np.sin(block[..., 2, None])
    x, y = KEYPOINTS.T
    turned = np.stack([cosine * x - sine * y, sine * x + cosine * y], axis=-1)
    return (turned + block[..., None, :2]).astype(np.float32)


def low_dim_observation(state: ArrayLike) -> NDArray[np.float32]:
    """Compute what ``obs`` is in `shape_meta`, (..., 20): the keypoints, x and y in turn, then the agent's position."""
    return join_observation(keypoints(state), np.asarray(state)[..., :2])


def join_observation(points: NDArray[Any], agent_pos: NDArray[Any]) -> NDArray[np.float32]:
    """Join keypoints (..., 9, 2) and the agent's position (..., 2) to float32 (..., 20)."""
    return np.concatenate([points.reshape(*points.shape[:-2], -1), agent_pos], axis=-1).astype(np.float32)
