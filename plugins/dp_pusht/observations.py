"""Turns states of the table into what a policy observes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dp_core.errors import InputError, quoted
from dp_pusht.keypoints import keypoints, low_dim_observation
from dp_pusht.render import render_observation
from dp_pusht.shapes import OBSERVATIONS


def require_known(keys: Iterable[str]) -> None:
    """Raise `InputError` for a key that Push-T does not observe."""
    for key in keys:
        if key not in OBSERVATIONS:
            known = quoted(OBSERVATIONS)
            raise InputError(f"Push-T does not give the observation '{key}'; choose from {known}")


def observe(states: NDArray[np.float64], keys: Iterable[str]) -> dict[str, NDArray[Any]]:
    """Compute observations for ``states`` (N, 5).

    Returns:
        For each of ``keys`` (see `dp_pusht.shapes`) an array (N, ``*shape``): ``image`` uint8 (N, 3, 96, 96),
        everything else float32, in pixels and radians.
    """
    return {key: _OBSERVE[key](states) for key in keys}


def _images(states: NDArray[Any]) -> NDArray[np.uint8]:
    return np.stack([render_observation(state).transpose(2, 0, 1) for state in states])


_OBSERVE: dict[str, Callable[[NDArray[Any]], NDArray[Any]]] = {
    "image": _images,
    "agent_pos": lambda states: states[:, :2].astype(np.float32),
    "keypoint": keypoints,
    "state": lambda states: states.astype(np.float32),
    "obs": low_dim_observation,
}
