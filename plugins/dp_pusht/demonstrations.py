"""The compact file of Push-T demonstrations: what the project ships, and what ``dp-data expert pusht`` writes.

Positions are stored in steps of 1/64 pixel, counted from -256, and angles of 1/10000 radian, as differences from one
time step to the next, their low and high bytes apart: that compresses to a third of the float32 values.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from dp_core.atomic import whole_file
from dp_core.errors import DataError, InputError

SHIPPED = Path(__file__).parent / "data" / "demonstrations.npz"
FORMAT = 1

_STEPS_PER_UNIT = np.array([64, 64, 64, 64, 10_000, 64, 64], dtype=np.float64)
_ORIGIN = np.array([-256, -256, -256, -256, 0, -256, -256], dtype=np.float64)
_N_STATE = 5
_LARGEST = 2**16 - 1


@attrs.frozen
class Demonstration:
    """One episode: ``state`` (N, 5) before each action, angles in [0, 2 pi), and ``action`` (N, 2); float64."""

    state: NDArray[np.float64]
    action: NDArray[np.float64]


def save_demonstrations(path: str | Path, demonstrations: Sequence[Demonstration]) -> None:
    """Write demonstrations to ``path``, rounded as described above. A file of that name is whole.

    Raises:
        InputError: a position is not in [-256, 768) pixels, or an angle not in [0, 6.55] radians.
    """
    values = np.concatenate([np.hstack([d.state, d.action]) for d in demonstrations])
    rounded = np.round((values - _ORIGIN) * _STEPS_PER_UNIT)
    if not (rounded.min() >= 0 and rounded.max() <= _LARGEST):  # so that NaN is found, too
        raise InputError(f"{path}: a position or an angle is far off the table; nothing was written")
    # Differences wrap around at 2**16, and so do the sums of them when the file is read.
    steps = rounded.astype(np.uint16)
    differences = np.diff(steps, axis=0, prepend=np.zeros_like(steps[:1])).T.copy()
    arrays: dict[str, Any] = {
        "format": np.int64(FORMAT),
        "low": (differences & 0xFF).astype(np.uint8),
        "high": (differences >> 8).astype(np.uint8),
        "episode_ends": np.cumsum([len(d.action) for d in demonstrations], dtype=np.int64),
    }
    with whole_file(Path(path)) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)


def load_demonstrations(path: str | Path = SHIPPED) -> dict[str, NDArray[Any]]:
    """Read what `save_demonstrations` wrote.

    Returns:
        ``state`` (N, 5) float32: agent x, y, block x, y in pixels and block angle in [0, 2 pi), before each action;
        ``action`` (N, 2) float32: the agent's target x, y in pixels; ``episode_ends`` (E,) int64.

    Raises:
        DataError: there is no such file, or it is something else.
    """
    try:
        # Opened here: numpy leaves a damaged file open.
        with Path(path).open("rb") as opened, np.load(opened) as file:
            differences = file["low"] + (file["high"].astype(np.uint16) << 8)
            episode_ends, version = file["episode_ends"], int(file["format"])
    except FileNotFoundError as error:
        raise DataError(f"{path}: there is no such file; make it with: dp-data expert pusht --output {path}") from error
    except (KeyError, ValueError, OSError, EOFError, NotImplementedError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"{path}: not a file of Push-T demonstrations ({error})") from error
    if version != FORMAT:
        raise DataError(f"{path}: has format {version}; this version of dp-core reads format {FORMAT}")
    steps = np.cumsum(differences.T, axis=0, dtype=np.uint16)
    values = (steps / _STEPS_PER_UNIT + _ORIGIN).astype(np.float32)
    return {"state": values[:, :_N_STATE], "action": values[:, _N_STATE:], "episode_ends": episode_ends}
