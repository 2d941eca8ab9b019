"""`RobomimicDataset`: windows of demonstrations in robomimic's format."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from dp_core.errors import DataError
from dp_core.normalizer import SingleFieldLinearNormalizer, array_to_stats
from dp_core.shape_meta import keys_of_type, obs_shape
from dp_replay.buffer import ReplayBuffer
from dp_replay.dataset import ReplayDataset
from dp_robomimic.config import RobomimicDatasetConfig
from dp_robomimic.demonstrations import DemonstrationFile, open_demonstrations
from dp_robomimic.images import load_images
from dp_robomimic.rotations import actions_to_policy
from dp_robomimic.shapes import ARM_SIZE, JOINED, RAW_ARM_SIZE

Stats = dict[str, NDArray[Any]]


class RobomimicDataset(ReplayDataset):
    """Windows over the demonstrations of a file, scaled as in the original, so that its weights fit.

    Actions that are changes are used as they are, as the controller's inputs are in [-1, 1]. Of absolute actions,
    positions are scaled to [-1, 1]. So are observations, but for quaternions, which are used as they are; the vector of
    ``obs_keys`` is divided by its largest number.
    """

    def __init__(self, config: RobomimicDatasetConfig, *, shape_meta: dict[str, Any]) -> None:
        with open_demonstrations(config.path) as file:
            data = {"action": _actions(file, config), **_observations(file, config, shape_meta)}
            buffer = ReplayBuffer(data, file.episode_ends)
        super().__init__(config, buffer, shape_meta=shape_meta, source=config.path)
        self.config = config

    def _field(self, key: str, values: Tensor) -> SingleFieldLinearNormalizer:
        stats = array_to_stats(values.numpy().reshape(len(values), -1))
        if key == "action":
            if not self.config.abs_action:
                return _identity(stats)
            if self.config.use_legacy_normalizer:
                return _largest(stats)
            return _positions_only(stats, ARM_SIZE[self.config.rotation_rep], self.config.range_eps)
        if self.config.obs_keys is not None:
            return _largest(stats)
        if _is_quaternion(key):
            return _identity(stats)
        return SingleFieldLinearNormalizer.create_range(stats, range_eps=self.config.range_eps)


def _actions(file: DemonstrationFile, config: RobomimicDatasetConfig) -> NDArray[Any]:
    actions = file.read("actions").astype(np.float32)
    if not config.abs_action:
        return actions
    if actions.ndim != 2 or actions.shape[1] % RAW_ARM_SIZE:
        raise DataError(
            f"{file.path}: 'actions' has shape {actions.shape[1:]} in each step; absolute actions have {RAW_ARM_SIZE} "
            "numbers per arm: position, axis times angle, gripper"
        )
    return actions_to_policy(actions, config.rotation_rep).astype(np.float32)


def _observations(
    file: DemonstrationFile, config: RobomimicDatasetConfig, shape_meta: dict[str, Any]
) -> dict[str, NDArray[Any]]:
    if config.obs_keys is not None:
        parts = [file.read(f"obs/{key}").astype(np.float32) for key in config.obs_keys]
        return {JOINED: np.concatenate(parts, axis=-1)}
    images = keys_of_type(shape_meta, "rgb")
    return {
        key: load_images(file, key, obs_shape(shape_meta, key), use_cache=config.use_cache)
        if key in images
        else _low_dim(file, key)
        for key in shape_meta["obs"]
    }


def _low_dim(file: DemonstrationFile, key: str) -> NDArray[Any]:
    values = file.read(f"obs/{key}")
    # Quaternions are not scaled: however little they vary, float32 is good for them, and nobody has to ask.
    return values.astype(np.float32) if _is_quaternion(key) else values


def _is_quaternion(key: str) -> bool:
    return key.endswith("quat")


def _identity(stats: Stats) -> SingleFieldLinearNormalizer:
    return SingleFieldLinearNormalizer.create_manual(np.ones_like(stats["min"]), np.zeros_like(stats["min"]), stats)


def _largest(stats: Stats) -> SingleFieldLinearNormalizer:
    """One factor for all dimensions, which brings the largest number to 1; zeros alone are left as they are."""
    largest = max(stats["max"].max(), np.abs(stats["min"]).max()) or 1
    scale = np.full_like(stats["max"], 1 / largest)
    return SingleFieldLinearNormalizer.create_manual(scale, np.zeros_like(scale), stats)


def _positions_only(stats: Stats, arm_size: int, range_eps: float) -> SingleFieldLinearNormalizer:
    """Position to [-1, 1], rotation and gripper as they are, with nominal statistics; for each arm."""
    is_position = np.arange(len(stats["min"])) % arm_size < 3
    nominal = {"min": -1.0, "max": 1.0, "mean": 0.0, "std": 1.0}
    known = {name: np.where(is_position, stats[name], nominal[name]) for name in stats}
    return SingleFieldLinearNormalizer.create_range(known, range_eps=range_eps)
