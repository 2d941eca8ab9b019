"""Checks where episodes end, the same way wherever that comes from."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dp_core.errors import DataError


def checked_ends(ends: NDArray[Any], name: str) -> NDArray[np.int64]:
    """Check the steps after the last of each episode, (E,).

    Args:
        name: of the array, for messages.

    Raises:
        DataError: they are not whole numbers, or do not rise.
    """
    if ends.ndim != 1 or (len(ends) and ends.dtype.kind not in "iu"):
        raise DataError(f"{name} is {ends.dtype} {ends.shape}; expected whole numbers, one for each episode")
    ends = ends.astype(np.int64)
    lengths = np.diff(ends, prepend=0)
    if (lengths <= 0).any():
        episode = int((lengths <= 0).argmax())
        raise DataError(
            f"{name} must rise from episode to episode: it is the step after the last of each, counted from the start "
            f"of the data; episode {episode} has {lengths[episode]} steps"
        )
    return ends
