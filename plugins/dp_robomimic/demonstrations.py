"""`DemonstrationFile`: a file of demonstrations in robomimic's format.

``data/demo_<i>`` are episodes with ``actions`` (T, Da), ``obs/<key>`` (T, *shape) and ``states`` of the simulation
(T, S); the attribute ``env_args`` of ``data`` describes, in JSON, the environment that they were recorded in.
"""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from dp_core.errors import DataError, quoted

logger = logging.getLogger(__name__)

_REASONS = {
    "unable to lock file": "another process has it open for writing ({}); close it there, or, where the file system "
    "knows no locks, set HDF5_USE_FILE_LOCKING=FALSE",
    "already open for write": "it is open for writing, or its writer never closed it ({}); close it there, or, if that "
    "program is gone, run h5clear -s on the file",
    "truncated file": "is not a complete HDF5 file ({}); if it was downloaded or copied, do it again",
    "file signature not found": "is not a complete HDF5 file ({}); if it was downloaded or copied, do it again",
}
"""What to say and do about what the library gives as the reason."""


class DemonstrationFile:
    """A file that `open_demonstrations` has opened for reading; episodes are in the order of their numbers."""

    def __init__(self, path: Path, file: h5py.File) -> None:
        self.path = path
        self._data = file.get("data")
        names = [name for name in self._data or () if re.fullmatch(r"demo_\d+", name)]
        self._episodes = [self._data[name] for name in sorted(names, key=lambda name: int(name.removeprefix("demo_")))]
        if not self._episodes:
            raise DataError(f"{path}: has no 'data/demo_<number>'; expected demonstrations in robomimic's format")
        if others := [name for name in self._data if name not in names]:
            logger.warning("%s: left out of 'data' is what is not called 'demo_<number>': %s", path, quoted(others))

    @property
    def n_episodes(self) -> int:
        """The number of episodes, E."""
        return len(self._episodes)

    @property
    def episode_ends(self) -> NDArray[np.int64]:
        """The step after the last of each episode, int64 (E,)."""
        return np.cumsum([len(self._array(episode, "actions")) for episode in self._episodes], dtype=np.int64)

    @property
    def env_args(self) -> dict[str, Any]:
        """The ``env_name``, ``env_version`` and ``env_kwargs`` of the environment.

        Raises:
            DataError: the file does not say.
        """
        try:
            args: dict[str, Any] = json.loads(self._data.attrs["env_args"])
            if isinstance(args["env_name"], str) and isinstance(args["env_kwargs"], dict):
                return args
        except (KeyError, TypeError, ValueError):
            pass
        raise DataError(f"{self.path}: does not say which environment it is from: 'data' has no usable 'env_args'")

    def read(self, key: str) -> NDArray[Any]:
        """Read all steps of ``actions`` or ``obs/<key>``, (N, *shape).

        Raises:
            DataError: see `episodes`.
        """
        return np.concatenate(list(self.episodes(key)))

    def episodes(self, key: str) -> Iterator[NDArray[Any]]:
        """Yield ``actions`` or ``obs/<key>`` episode by episode, (T, *shape) each.

        Raises:
            DataError: an array is absent or damaged, or has another length or shape than the rest.
        """
        shape = self.shape(key)
        for episode, length in zip(self._episodes, np.diff(self.episode_ends, prepend=0), strict=True):
            array = self._array(episode, key)
            if len(array) != length:
                raise DataError(f"{self.path}: '{episode.name}' has {length} actions, but {len(array)} of '{key}'")
            if array.shape[1:] != shape:
                raise DataError(
                    f"{self.path}: '{episode.name}/{key}' has shape {array.shape[1:]} in each step, but in the first "
                    f"episode it is {shape}"
                )
            if not _is_written(array):
                raise DataError(
                    f"{self.path}: '{episode.name}/{key}' was never written, or in part only, and reads as "
                    f"{array.fillvalue}; record or convert it again, or delete the episode"
                )
            try:
                yield array[()]
            except OSError as error:
                raise DataError(f"{self.path}: '{episode.name}/{key}' cannot be read ({error})") from error

    def shape(self, key: str) -> tuple[int, ...]:
        """Return the shape of one step of ``key``."""
        return tuple(self._array(self._episodes[0], key).shape[1:])

    def is_float(self, key: str) -> bool:
        """Tell whether the first episode has ``key`` in floats."""
        return bool(self._array(self._episodes[0], key).dtype.kind == "f")

    def first_state(self, episode: int) -> NDArray[np.float64]:
        """Read the state of the simulation, float64 (S,), in which an episode begins.

        Raises:
            DataError: there are fewer episodes.
        """
        if episode >= self.n_episodes:
            raise DataError(f"{self.path}: has {self.n_episodes} episodes; there is no start number {episode}")
        state: NDArray[np.float64] = self._array(self._episodes[episode], "states")[0].astype(np.float64)
        return state

    def _array(self, episode: h5py.Group, key: str) -> h5py.Dataset:
        array = episode.get(key)
        if isinstance(array, h5py.Dataset) and array.ndim:
            return array
        parent, _, name = key.rpartition("/")
        known = episode.get(parent) if parent else episode
        hint = f"; choose from {quoted(sorted(known))}" if parent and isinstance(known, h5py.Group) else ""
        raise DataError(f"{self.path}: '{episode.name}' has no '{parent + '/' if parent else ''}{name}'{hint}")


@contextmanager
def open_demonstrations(path: Path) -> Iterator[DemonstrationFile]:
    """Open a file of demonstrations for reading.

    Raises:
        DataError: it is absent, damaged, or something else.
    """
    if not path.exists():
        raise DataError(f"{path}: does not exist; expected demonstrations in robomimic's format (.hdf5)")
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise DataError(f"{path}: {_why_not_opened(error)}") from error
    with file:
        yield DemonstrationFile(path, file)


def _why_not_opened(error: OSError) -> str:
    _, _, rest = str(error).partition("(")
    reason = " ".join(rest.removesuffix(")").split()) or str(error)
    for sign, text in _REASONS.items():
        if sign in reason:
            return text.format(reason)
    return f"cannot be opened ({os.strerror(error.errno) if error.errno else reason})"


def _is_written(array: h5py.Dataset) -> bool:
    """Tell whether all of it is in the file; what is not, the library reads as the fill value."""
    return array.size == 0 or array.id.get_space_status() == h5py.h5d.SPACE_STATUS_ALLOCATED
