"""`outlier_in`: a few steps so far from all others that scaling by limits leaves no room for the others.

A sensor that dropped out for a step, a typing error, another unit: one such number, and the normalizer maps the rest of
its entry to one spot, which the policy then cannot resolve.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_SHARE = 1e-3
"""Steps at either end of an entry that may be outliers; at least one."""
_RATIO = 20
"""Times the range of the other steps that an outlier has to lie away."""
_FEWEST = 20
"""Steps from which on a far one is not a matter of chance."""
_LONGEST = 3
"""Steps in a row that may be an outlier; what lasts longer is a state of the robot, however rare."""


def outlier_in(values: NDArray[np.floating[Any]], episode_ends: NDArray[np.int64]) -> str | None:
    """Look for outliers in each entry of (N, *shape); describe those of the worst entry, if there are any.

    Entries that are constant but for a few steps have none: a button that is hardly ever pressed looks the same.
    """
    if len(values) < _FEWEST:
        return None
    n_out = max(1, int(_SHARE * len(values)))
    columns = np.ascontiguousarray(values.reshape(len(values), -1).T)  # (D, N)
    ranked = np.partition(columns, (n_out, -1 - n_out), axis=1)
    low, high = ranked[:, n_out].astype(np.float64), ranked[:, -1 - n_out].astype(np.float64)
    whole = columns.max(axis=1).astype(np.float64) - columns.min(axis=1)
    inner = high - low
    suspects = np.flatnonzero((inner > 0) & (whole > _RATIO * inner))
    found = {entry: far for entry in suspects if (far := _far_steps(columns[entry], low[entry], high[entry])).size}
    if not found:
        return None
    worst = max(found, key=lambda entry: whole[entry] / inner[entry])
    step = int(found[worst][0])
    episode = int(np.searchsorted(episode_ends, step, side="right"))
    start = episode_ends[episode - 1] if episode else 0
    others = f", and {len(found) - 1} other entries have such steps" if len(found) > 1 else ""
    return (
        f"entry {_index(int(worst), values.shape[1:])} is {columns[worst, step]:.6g} in step {step - start} of episode "
        f"{episode}, far from all but {found[worst].size} of its {len(values)} values, which lie from {low[worst]:.6g} "
        f"to {high[worst]:.6g}{others}; scaled by its limits, they are left {inner[worst] / whole[worst]:.2g} of the "
        "range; correct such steps, or leave out the episode"
    )


def _far_steps(column: NDArray[Any], low: float, high: float) -> NDArray[np.int64]:
    """Steps of (N,) that are far from the range [low, high] of the others, if they are few enough in a row."""
    far = np.flatnonzero(np.abs(column - (low + high) / 2) > _RATIO / 2 * (high - low))
    in_a_row = np.diff(np.flatnonzero(np.diff(far, prepend=-2, append=far[-1:] + 2) > 1)) if far.size else far
    return far if (in_a_row <= _LONGEST).all() else far[:0]


def _index(entry: int, shape: tuple[int, ...]) -> str:
    return ", ".join(str(index) for index in np.unravel_index(entry, shape or (1,)))
