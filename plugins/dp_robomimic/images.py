"""Provides the images of a file of demonstrations, unpacked once.

Files compress images, or keep channels last, and are too large for the memory of many machines. So images are written
to `dp_core.kit.files.cache.cache_folder` as they are needed, and mapped from there: the system keeps in memory what
fits, and all processes of all runs share it.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from dp_core.atomic import whole_file
from dp_core.errors import DataError
from dp_core.kit.data.images import convert_images, layout_of
from dp_core.kit.files.cache import cache_folder
from dp_core.observations import UNIT_TOLERANCE
from dp_robomimic.demonstrations import DemonstrationFile

logger = logging.getLogger(__name__)

_FORMAT = 1
_FLOAT_FORMAT = 2
"""Of images that are floats; they were all taken for 0..255 at first."""
_SECONDS_UNTIL_PROGRESS = 1.0


def load_images(file: DemonstrationFile, key: str, shape: tuple[int, ...], *, use_cache: bool) -> NDArray[np.uint8]:
    """Load images ``key`` of all steps, uint8 (N, C, H, W); with ``use_cache``, they are mapped from the cache."""
    if not use_cache:
        return np.concatenate(list(_converted(file, key, shape)))
    path = cache_folder() / f"robomimic-{_fingerprint(file, key, shape)}.npy"
    expected = (int(file.episode_ends[-1]), *shape)
    if (images := _open(path, expected)) is not None:
        return images
    try:
        _write(path, expected, _converted(file, key, shape))
    except OSError as error:
        logger.warning(
            "'%s' cannot be kept in %s and is held in memory (%s); set DP_CACHE_DIR", key, path.parent, error
        )
        return np.concatenate(list(_converted(file, key, shape)))
    images = _open(path, expected)
    if images is None:
        raise DataError(f"{path}: cannot be read although it has just been written; set DP_CACHE_DIR")
    return images


def _converted(file: DemonstrationFile, key: str, shape: tuple[int, ...]) -> Iterator[NDArray[np.uint8]]:
    """Per episode uint8 (T, C, H, W), with a progress bar where it takes long."""
    name = f"{file.path}: 'obs/{key}'"
    layout = layout_of(name, file.shape(f"obs/{key}"), shape)
    unit_range = _has_unit_range(file, key)
    episodes = tqdm(
        file.episodes(f"obs/{key}"),
        f"unpack {key}",
        total=file.n_episodes,
        unit="episode",
        disable=None,
        delay=_SECONDS_UNTIL_PROGRESS,
    )
    for images in episodes:
        yield convert_images(images, name, layout, unit_range)


def _has_unit_range(file: DemonstrationFile, key: str) -> bool:
    """Whether images are floats up to 1, which all of them tell: a dark episode in 0..255 may look the same."""
    if not file.is_float(f"obs/{key}"):
        return False
    return all(images.max(initial=0) <= 1 + UNIT_TOLERANCE for images in file.episodes(f"obs/{key}"))


def _open(path: Path, shape: tuple[int, ...]) -> NDArray[np.uint8] | None:
    try:
        # Copy on write: torch wants arrays that can be written to.
        images = np.load(path, mmap_mode="c", allow_pickle=False)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        logger.warning("%s: cannot be read (%s); the images are unpacked again", path, error)
        return None
    return np.asarray(images) if images.shape == shape and images.dtype == np.uint8 else None


def _write(path: Path, shape: tuple[int, ...], blocks: Iterator[NDArray[np.uint8]]) -> None:
    """A file of that name is whole. It is written in order, so that a full disk is an error and not a crash."""
    header: dict[str, Any] = {"descr": "|u1", "fortran_order": False, "shape": shape}
    with whole_file(path) as temporary, temporary.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for block in blocks:
            file.write(np.ascontiguousarray(block).data)


def _fingerprint(file: DemonstrationFile, key: str, shape: tuple[int, ...]) -> str:
    """Changes with the file and with all that decides what its images become."""
    status = file.path.stat()
    version = _FLOAT_FORMAT if file.is_float(f"obs/{key}") else _FORMAT
    identity = (version, str(file.path.resolve()), status.st_size, status.st_mtime_ns, key, tuple(shape))
    return hashlib.sha256(repr(identity).encode()).hexdigest()[:16]
