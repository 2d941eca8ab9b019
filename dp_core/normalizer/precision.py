"""Finds what float32 cannot tell apart, and what a normalizer takes for a constant, before numbers are cast."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

LEVELS = 1000
"""The steps that float32 must be able to tell apart in the range of an entry."""
SPACING = 2.0**-23
"""The distance between float32 numbers, as a share of their magnitude."""
_MAX_NAMED = 8
"""Entries that a message names."""


def coarse_entries(low: ArrayLike, high: ArrayLike, range_eps: float) -> str:
    """Describe the entries that float32 cannot resolve: so far from zero that a thousandth of their range is lost.

    Args:
        low: smallest value of each entry, as it is stored, of any shape.
        high: largest, likewise.
        range_eps: entries with a smaller range are constants, however coarse.

    Returns:
        A clause for a message, empty if all is well.
    """
    low, high = _flat(low), _flat(high)
    spacing = np.maximum(abs(low), abs(high)) * SPACING
    bad = np.flatnonzero((high - low >= range_eps) & (high > low) & (spacing * LEVELS > high - low))
    if not len(bad):
        return ""
    worst = bad[np.argmax(spacing[bad] / (high - low)[bad])]
    return (
        f"{_entries(bad, low.size)} too far from zero for float32: entry {worst} goes from {low[worst]:.10g} to "
        f"{high[worst]:.10g}, a range of {high[worst] - low[worst]:.3g}, where numbers are {spacing[worst]:.3g} apart; "
        "subtract an origin, such as its first value, from the data and from what the policy will be given, or choose "
        "a range_eps above the range of what does not matter"
    )


def constant_entries(low: ArrayLike, high: ArrayLike, range_eps: float) -> str:
    """Describe the entries that vary so little that they are taken for constants; arguments as for `coarse_entries`.

    Returns:
        A clause for a message, empty if there are none.
    """
    spread = _flat(high) - _flat(low)
    small = np.flatnonzero((spread > 0) & (spread < range_eps))
    if not len(small):
        return ""
    return (
        f"{_entries(small, spread.size)} taken for constant, shifted and not scaled: the range, at most "
        f"{spread[small].max():.3g}, is below range_eps {range_eps:g}; choose a smaller one if such changes matter"
    )


def _flat(values: Any) -> NDArray[np.float64]:
    return np.asarray(values, np.float64).reshape(-1)


def _entries(indices: NDArray[np.intp], count: int) -> str:
    """``entry 3 of 7 is`` or ``entries 3, 4 of 7 are``."""
    names = ", ".join(map(str, indices[:_MAX_NAMED])) + (", ..." if len(indices) > _MAX_NAMED else "")
    return f"entry {names} of {count} is" if len(indices) == 1 else f"entries {names} of {count} are"
