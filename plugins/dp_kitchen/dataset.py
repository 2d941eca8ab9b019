"""`KitchenDataset`: demonstrations of the Franka kitchen."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dp_core.errors import DataError
from dp_kitchen.config import KitchenDatasetConfig
from dp_kitchen.mujoco_logs import read_log
from dp_kitchen.shapes import ARRAYS
from dp_kitchen.state import N_POSITIONS, N_ROBOT, measured, observation, positions_of
from dp_replay.buffer import ReplayBuffer
from dp_replay.dataset import ReplayDataset

logger = logging.getLogger(__name__)

_STEPS_OF_LOG = 40
"""Logs are at 500 Hz; the robot is controlled at 12.5 Hz."""


class KitchenDataset(ReplayDataset):
    """Windows over demonstrations, with joint velocities (arrays) or joint positions (logs) for actions.

    The noise of ``robot_noise_ratio`` is drawn once, while loading, from ``seed``. The original reads logs in the order
    of the file system, so that noise and validation episodes differ from machine to machine; here they are sorted.
    """

    def __init__(self, config: KitchenDatasetConfig, *, shape_meta: dict[str, Any]) -> None:
        buffer = load_logs(config) if config.abs_action else load_arrays(config.path)
        super().__init__(config, buffer, shape_meta=shape_meta, source=config.path)


def load_arrays(folder: Path) -> ReplayBuffer:
    """Read the demonstrations with joint velocities: observations, actions, and a mask of the steps that exist.

    Arrays are (episodes, steps, ...), as the original reads them, or (steps, episodes, ...), as they were published
    first: the mask, whose episodes are ones and then zeros, tells which. Where it fits both, the first is taken.

    Raises:
        DataError: a file is absent or damaged, or they do not belong together.
    """
    observations, actions, mask = (load_array(folder / name) for name in ARRAYS)
    if mask.ndim != 2 or not observations.shape[:2] == actions.shape[:2] == mask.shape:
        shapes = ", ".join(f"'{name}' {a.shape}" for name, a in zip(ARRAYS, (observations, actions, mask), strict=True))
        raise DataError(f"{folder}: shapes do not match: {shapes}; expected the same first two numbers")
    exists = mask == 1
    if not (exists | (mask == 0)).all():
        raise DataError(f"{folder}: '{ARRAYS[2]}' has other numbers than 0 and 1, so it is not a mask of steps")
    if not _has_episodes_in_rows(exists):
        observations, actions, exists = (array.swapaxes(0, 1) for array in (observations, actions, exists))
        if not _has_episodes_in_rows(exists):
            raise DataError(f"{folder}: '{ARRAYS[2]}' is not a mask: expected ones, then zeros, for every episode")
        logger.info("%s: the first dimension of the arrays is time", folder)
    return ReplayBuffer({"obs": observations[exists], "action": actions[exists]}, np.cumsum(exists.sum(axis=1)))


def load_logs(config: KitchenDatasetConfig) -> ReplayBuffer:
    """Read every 40th step of every log below the folder, in the order of their names.

    Raises:
        DataError: there is none that can be read. Those that cannot are named in warnings and left out.
    """
    paths = sorted(config.path.rglob("*.mjl"))
    rng = np.random.default_rng(config.seed)
    buffer = ReplayBuffer()
    failures = []
    for path in paths:
        try:
            positions, actions = _read_episode(path)
        except DataError as error:
            failures.append(str(error))
            continue
        if config.robot_noise_ratio:
            positions = measured(positions, config.robot_noise_ratio, rng)
        buffer.append({"obs": observation(positions), "action": actions})
    if not buffer.n_episodes:
        reason = f"the first of {len(failures)} says: {failures[0]}" if failures else "there is none in this folder"
        raise DataError(f"{config.path}: no .mjl log can be read; {reason}")
    for failure in failures:
        logger.warning("%s; this log is left out", failure)
    return buffer


def _read_episode(path: Path) -> tuple[NDArray[np.floating], NDArray[np.float32]]:
    """Positions (T, 30) and actions (T, 9) at the rate of control."""
    log = read_log(path)
    if log.qpos.shape[1] < N_POSITIONS or log.ctrl.shape[1] != N_ROBOT:
        raise DataError(
            f"{path}: is not of the kitchen: it has {log.qpos.shape[1]} positions and {log.ctrl.shape[1]} controls; "
            f"expected {N_POSITIONS} or more and {N_ROBOT}"
        )
    return positions_of(log.qpos[::_STEPS_OF_LOG]), log.ctrl[::_STEPS_OF_LOG]


def load_array(path: Path) -> NDArray[Any]:
    """Open an array of numbers without reading it.

    Raises:
        DataError: it is absent or damaged.
    """
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)  # type: ignore[no-any-return]
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read ({error}); expected an array of numbers, whole") from error


def _has_episodes_in_rows(exists: NDArray[np.bool_]) -> bool:
    """Whether every row is at least one True, and then nothing but False."""
    return bool(exists[:, 0].all() and (exists[:, :-1] >= exists[:, 1:]).all())
