"""Provides images for demonstrations that hold states only: drawn once, then read from a cache.

The cache is in `dp_core.kit.files.cache.cache_folder`.
"""

from __future__ import annotations

import hashlib
import logging

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from dp_core.errors import DataError
from dp_core.kit.files.cache import cache_folder
from dp_pusht.render import IMAGE_SIZE, render_observation
from dp_replay.buffer import ReplayBuffer

logger = logging.getLogger(__name__)

_SECONDS_UNTIL_PROGRESS = 1.0
_N_PROBES = 8


def load_frames(states: NDArray[np.float32], episode_ends: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Load images of ``states`` (N, 5) as uint8 (N, 3, 96, 96) from the cache, or draw them and put them there."""
    path = cache_folder() / f"pusht-frames-{_fingerprint(states)}.zarr.zip"
    if path.exists():
        try:
            return ReplayBuffer.load(path, keys=["image"])["image"]
        except DataError as error:
            logger.warning("%s; the images are drawn again", error)
    frames = render_frames(states)
    try:
        ReplayBuffer({"image": frames}, episode_ends).save(path, overwrite=True)
    except OSError as error:
        logger.warning("images cannot be kept for the next run in %s (%s); set DP_CACHE_DIR", path.parent, error)
    return frames


def render_frames(states: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Draw images of ``states`` (N, 5), uint8 (N, 3, 96, 96), with a progress bar where it takes long."""
    frames = np.empty((len(states), 3, IMAGE_SIZE, IMAGE_SIZE), np.uint8)
    progress = tqdm(states, "draw images", unit="image", disable=None, delay=_SECONDS_UNTIL_PROGRESS)
    for frame, state in zip(frames, progress, strict=True):
        frame[:] = render_observation(state).transpose(2, 0, 1)
    return frames


def _fingerprint(states: NDArray[np.float32]) -> str:
    """Changes with the states and with what any part of the renderer, its libraries included, makes of some of them."""
    digest = hashlib.sha256(np.ascontiguousarray(states).tobytes())
    probes = states[np.linspace(0, len(states) - 1, _N_PROBES).astype(int)]
    digest.update(render_frames(probes).tobytes())
    return digest.hexdigest()[:16]
