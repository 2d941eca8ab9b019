"""Lists where on the outline of the T the expert may push."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dp_pusht.geometry import OUTLINE

SPACING = 28.0
"""Pixels between two contacts on one edge. Few contacts: the same situation gets the same answer."""


def contact_points(spacing: float = SPACING) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Spread contacts over the outline, at least two on each edge.

    Returns:
        Points and outward normals, each (N, 2), in the block's frame.
    """
    points, normals = [], []
    for start, end in zip(OUTLINE, np.roll(OUTLINE, -1, axis=0), strict=True):
        length = float(np.abs(end - start).sum())  # every edge is parallel to an axis
        along = (end - start) / length
        count = max(2, round(length / spacing))
        for index in range(count):
            points.append(start + (index + 0.5) / count * (end - start))
            normals.append((along[1], -along[0]))
    return np.array(points), np.array(normals)
