"""`ReplayBuffer`: episodes in memory, and the file they are kept in."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import ArrayLike, NDArray
from zarr.codecs import ZstdCodec

from dp_core.errors import DataError, quoted
from dp_replay.episodes import checked_ends
from dp_replay.store import ALL_CHUNKS_WRITTEN, EPISODE_ENDS, open_store

_CHUNK_BYTES = 4_000_000
_WHOLE: Any = {
    "compressors": ZstdCodec(level=0, checksum=True),
    "config": {"write_empty_chunks": True},
}
"""How arrays are written, so that whatever is lost or changed later is noticed: each chunk with a checksum, and also
those that hold nothing but zeros."""


class ReplayBuffer:
    """Episodes of demonstrations: per key one array, all episodes one after the other in time.

    To train on your own recordings, write them once::

        buffer = ReplayBuffer()
        for recording in recordings:
            buffer.append(
                {
                    "image": recording.frames,        # (T, H, W, 3) uint8, T steps of this episode
                    "agent_pos": recording.positions, # (T, 2) what the robot measured
                    "action": recording.targets,      # (T, 2) where it was sent in that step
                }
            )
        buffer.save("data/mine.zarr.zip")

    and name the file in the config: ``dataset: {name: replay, path: data/mine.zarr.zip}``, with the same keys in
    ``shape_meta``. Step t of every array belongs together: the action is what was done after seeing the observation.
    """

    def __init__(self, data: Mapping[str, NDArray[Any]] | None = None, episode_ends: ArrayLike = ()) -> None:
        """Take over arrays (N, *shape) as they are; ``episode_ends`` (E,) is the step after the last of each episode.

        Raises:
            DataError: lengths do not match, or the ends do not rise.
        """
        self._episode_ends = list(checked_ends(np.asarray(episode_ends), "episode_ends"))
        # Parts are joined when they are asked for: appending episodes one by one stays linear in time.
        self._parts = {key: [array] for key, array in (data or {}).items()}
        for key, array in (data or {}).items():
            if len(array) != self.n_steps:
                raise DataError(f"'{key}' has {len(array)} steps, but the episodes have {self.n_steps}")

    @classmethod
    def load(
        cls,
        path: str | Path,
        keys: Iterable[str] | None = None,
        images: Mapping[str, tuple[int, ...]] | None = None,
    ) -> ReplayBuffer:
        """Read a replay buffer written by `save`, or one of the published data sets.

        Args:
            path: a folder, or a .zip that is a store or contains one.
            keys: what to read as it is stored; None for everything.
            images: keys to read as uint8 (N, C, H, W), with the (C, H, W) that is expected of each.

        Raises:
            DataError: see `open_store`; or a key is absent, or part of it.
        """
        images = images or {}
        with open_store(path) as store:
            wanted = list(store.keys() if keys is None else keys)
            store.require(dict.fromkeys([*wanted, *images]))
            data = {key: store.read(key) for key in wanted if key not in images}
            data |= {key: store.read_images(key, shape) for key, shape in images.items()}
            return cls(data, store.episode_ends)

    def append(self, episode: Mapping[str, ArrayLike]) -> None:
        """Add one episode, arrays (T, *shape) of equal length, which are copied.

        Raises:
            DataError: lengths differ, or keys, shapes or types are not those of the episodes before.
        """
        arrays = {key: np.array(values) for key, values in episode.items()}
        self._check_episode(arrays)
        for key, array in arrays.items():
            self._parts.setdefault(key, []).append(array)
        self._episode_ends.append(self.n_steps + len(array))

    def save(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Write to ``path`` in zarr's format 3: one file if the name ends in .zip, else a folder.

        What exists under that name is whole: it appears when everything is written. What is lost or damaged later, as
        in a copy that was interrupted, is noticed when it is read.

        Raises:
            DataError: there is nothing to write, or the path exists and ``overwrite`` is False.
        """
        path = Path(path)
        if not self.n_episodes:
            raise DataError(f"{path}: there are no episodes to save; append some first")
        if path.exists() and not overwrite:
            raise DataError(f"{path}: exists already; choose another name, or save with overwrite=True")
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}{path.suffix}")
        try:
            if path.suffix == ".zip":
                with zarr.storage.ZipStore(temporary, mode="w") as store:
                    self._write(store)
            else:
                self._write(temporary)
                if path.is_dir():
                    shutil.rmtree(path)
            temporary.replace(path)
        finally:
            _remove(temporary)
        return path

    @property
    def episode_ends(self) -> NDArray[np.int64]:
        """The step after the last of each episode, int64 (E,)."""
        return np.array(self._episode_ends, dtype=np.int64)

    @property
    def n_episodes(self) -> int:
        """The number of episodes, E."""
        return len(self._episode_ends)

    @property
    def n_steps(self) -> int:
        """The number of steps over all episodes, N."""
        return int(self._episode_ends[-1]) if self._episode_ends else 0

    def keys(self) -> list[str]:
        """List the names of the arrays."""
        return list(self._parts)

    def __contains__(self, key: object) -> bool:
        return key in self._parts

    def __getitem__(self, key: str) -> NDArray[Any]:
        """Return all steps of ``key``, (N, *shape), not a copy."""
        parts = self._parts[key]
        if len(parts) > 1:
            self._parts[key] = parts = [np.concatenate(parts)]
        return parts[0]

    def _check_episode(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        name = f"episode {self.n_episodes}"
        lengths = {key: len(array) if array.ndim else 0 for key, array in arrays.items()}
        if len(set(lengths.values())) != 1 or 0 in lengths.values():
            listed = ", ".join(f"'{key}' {length}" for key, length in lengths.items())
            raise DataError(f"{name}: expected arrays of one length, at least 1, got {listed or 'none'}")
        before = {key: parts[0] for key, parts in self._parts.items()} or arrays
        if arrays.keys() != before.keys():
            raise DataError(f"{name}: has {quoted(arrays)}; the episodes before have {quoted(before)}")
        for key, array in arrays.items():
            if array.dtype.kind not in "biuf":
                raise DataError(f"{name}: '{key}' is {array.dtype}; expected numbers")
            if (array.shape[1:], array.dtype) != (before[key].shape[1:], before[key].dtype):
                raise DataError(
                    f"{name}: '{key}' is {array.dtype} {array.shape[1:]} in each step; "
                    f"in the episodes before it is {before[key].dtype} {before[key].shape[1:]}"
                )

    def _write(self, store: Any) -> None:
        root = zarr.create_group(store, zarr_format=3, attributes={ALL_CHUNKS_WRITTEN: True})
        for key in self.keys():
            array = self[key]
            n_steps = max(1, _CHUNK_BYTES // max(1, array[:1].nbytes))
            chunks = (min(n_steps, len(array)), *array.shape[1:])
            root.create_array(f"data/{key}", data=array, chunks=chunks, **_WHOLE)
        root.create_array(EPISODE_ENDS, data=self.episode_ends, **_WHOLE)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
