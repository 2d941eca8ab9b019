"""`PushTDataset`: demonstrations of Push-T, the project's own or the published ones."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dp_pusht.config import PushTDatasetConfig
from dp_pusht.demonstrations import SHIPPED, load_demonstrations
from dp_pusht.frames import load_frames
from dp_pusht.keypoints import join_observation
from dp_pusht.observations import observe
from dp_pusht.shapes import OBSERVATIONS
from dp_replay.buffer import ReplayBuffer
from dp_replay.dataset import ReplayDataset

IMAGE_SHAPE = tuple(OBSERVATIONS["image"]["shape"])


class PushTDataset(ReplayDataset):
    """Windows over demonstrations of Push-T; see `dp_pusht.shapes` for the keys that ``shape_meta`` can name.

    The published archive gives the images and keypoints that were recorded. The other files hold states and actions
    only: their images are drawn on first use and kept in a cache.
    """

    def __init__(self, config: PushTDatasetConfig, *, shape_meta: dict[str, Any]) -> None:
        path = config.path or SHIPPED
        load = load_compact if path.suffix == ".npz" else load_archive
        super().__init__(config, load(path, shape_meta["obs"]), shape_meta=shape_meta, source=path)


def load_compact(path: Path, keys: Collection[str]) -> ReplayBuffer:
    """Read observations ``keys`` and actions from a file of `dp_pusht.demonstrations`."""
    stored = load_demonstrations(path)
    state, episode_ends = stored["state"], stored["episode_ends"]
    data = observe(state, [key for key in keys if key != "image"])
    if "image" in keys:
        data["image"] = load_frames(state, episode_ends)
    return ReplayBuffer({**data, "action": stored["action"]}, episode_ends)


def load_archive(path: Path, keys: Collection[str]) -> ReplayBuffer:
    """Read observations ``keys`` and actions as they were recorded in the published archive."""
    wanted = {"state", "action"} | ({"keypoint"} if {"keypoint", "obs"} & set(keys) else set())
    stored = ReplayBuffer.load(path, keys=sorted(wanted), images={"img": IMAGE_SHAPE} if "image" in keys else {})
    recorded: dict[str, Callable[[], NDArray[Any]]] = {
        "image": lambda: stored["img"],
        "agent_pos": lambda: stored["state"][:, :2],
        "keypoint": lambda: stored["keypoint"],
        "state": lambda: stored["state"],
        "obs": lambda: join_observation(stored["keypoint"], stored["state"][:, :2]),
    }
    data: dict[str, NDArray[Any]] = {key: recorded[key]() for key in keys}
    return ReplayBuffer({**data, "action": np.asarray(stored["action"])}, stored.episode_ends)
