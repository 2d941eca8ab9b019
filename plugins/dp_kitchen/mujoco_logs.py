"""Reads ``.mjl`` logs: what MuJoCo's teleoperation recorded at every step of the simulation."""

from __future__ import annotations

from pathlib import Path

import attrs
import numpy as np
from numpy.typing import NDArray

from dp_core.errors import DataError

_N_SIZES = 7
_MOCAP_SIZE = 7
"""Numbers per motion-capture body: position and quaternion."""


@attrs.frozen
class Log:
    """Positions (N, nq) and controls (N, nu) of all recorded steps, float32."""

    qpos: NDArray[np.float32]
    ctrl: NDArray[np.float32]


def read_log(path: Path) -> Log:
    """Read one log.

    The file begins with seven int32: nq, nv, nu, the number of motion-capture bodies, of sensor values, of user values,
    and the length of the model's name, which follows. Then comes one record of float32 per step: time, qpos, qvel,
    ctrl, motion capture, sensors, user. All little-endian.

    Raises:
        DataError: the file is not such a log, or incomplete.
    """
    content = path.read_bytes()
    sizes = np.frombuffer(content[: 4 * _N_SIZES], "<i4") if len(content) >= 4 * _N_SIZES else np.array([-1])
    if (sizes < 0).any():
        raise DataError(f"{path}: is not an .mjl log: it does not begin with seven sizes")
    nq, nv, nu, n_mocap, n_sensor, n_user, name_length = sizes.tolist()
    records = content[4 * _N_SIZES + name_length :]
    length = 1 + nq + nv + nu + _MOCAP_SIZE * n_mocap + n_sensor + n_user
    if not records or len(records) % (4 * length):
        raise DataError(
            f"{path}: is incomplete: {len(records)} bytes of records, which have {4 * length} each; copy it again"
        )
    values = np.frombuffer(records, "<f4").reshape(-1, length)
    return Log(qpos=values[:, 1 : 1 + nq], ctrl=values[:, 1 + nq + nv : 1 + nq + nv + nu])
