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
from dp_replay.recorded import are_strings, as_recorded, require_name, require_text
from dp_replay.store import ALL_CHUNKS_WRITTEN, DATA, EPISODE_ENDS, ONCE, open_store

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

    def __init__(
        self,
        data: Mapping[str, NDArray[Any]] | None = None,
        episode_ends: ArrayLike = (),
        once: Mapping[str, NDArray[Any]] | None = None,
    ) -> None:
        """Take over arrays as they are.

        Args:
            data: (N, *shape) by key, the steps of all episodes.
            episode_ends: (E,), the step after the last of each episode.
            once: (E, *shape) by key, what was recorded once in an episode.

        Raises:
            DataError: lengths do not match, the ends do not rise, or a key is in both.
        """
        self._episode_ends = list(checked_ends(np.asarray(episode_ends), "episode_ends"))
        # Parts are joined when they are asked for: appending episodes one by one stays linear in time.
        self._parts = {key: [array] for key, array in (data or {}).items()}
        for key, array in (data or {}).items():
            if len(array) != self.n_steps:
                raise DataError(f"'{key}' has {len(array)} steps, but the episodes have {self.n_steps}")
        self._once = {key: [array] for key, array in (once or {}).items()}
        for key, array in (once or {}).items():
            if len(array) != self.n_episodes or key in self._parts:
                raise DataError(
                    f"'{key}' is to be once in an episode and has {len(array)} rows; expected {self.n_episodes}, and "
                    "no array of the same name beside it"
                )

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
            wanted = list(dict.fromkeys([*(store.keys() if keys is None else keys), *images]))
            store.require(wanted)
            read = {key: store.read_images(key, images[key]) if key in images else store.read(key) for key in wanted}
            once = {key: array for key, array in read.items() if key in store.once}
            data = {key: array for key, array in read.items() if key not in once}
            return cls(data, store.episode_ends, once)

    def append(self, episode: Mapping[str, ArrayLike], once: Mapping[str, ArrayLike] | None = None) -> None:
        """Add one episode.

        Args:
            episode: arrays or tensors (T, *shape) of equal length, which are copied: numbers, or strings (T,). Tensors
                of bfloat16 become float32.
            once: what is observed once, at the begin of the episode, such as the image of a goal (C, H, W) or a
                sentence: ``{"goal": image}``. Its key has ``when: episode`` in ``shape_meta``.

        Raises:
            DataError: lengths differ, keys, shapes or types are not those of the episodes before, a key cannot be the
                name of an array, or values are neither numbers nor strings.
        """
        where = f"episode {self.n_episodes}"
        arrays = as_recorded(episode, where)
        rows = {key: array[None] for key, array in as_recorded({} if once is None else once, where, once=True).items()}
        self._check_episode(arrays, rows)
        n_steps = self.n_steps + len(next(iter(arrays.values())))
        for key, array in arrays.items():
            self._parts.setdefault(key, []).append(array)
        for key, row in rows.items():
            self._once.setdefault(key, []).append(row)
        self._episode_ends.append(n_steps)

    def save(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Write to ``path`` in zarr's format 3: one file if the name ends in .zip, else a folder.

        What exists under that name is whole: it appears when everything is written. What is lost or damaged later, as
        in a copy that was interrupted, is noticed when it is read.

        Raises:
            DataError: there is nothing to write, a key cannot be the name of an array, or the path exists and
                ``overwrite`` is False.
        """
        path = Path(path)
        if not self.n_episodes:
            raise DataError(f"{path}: there are no episodes to save; append some first")
        for key in self.keys():
            require_name(key, str(path))
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
        """List the names of the arrays; those recorded once in an episode are the last."""
        return [*self._parts, *self._once]

    @property
    def once_keys(self) -> list[str]:
        """The names of the arrays that have a row for each episode, not for each step."""
        return list(self._once)

    def __contains__(self, key: object) -> bool:
        return key in self._parts or key in self._once

    def __getitem__(self, key: str) -> NDArray[Any]:
        """Return all steps of ``key``, (N, *shape), or all episodes, (E, *shape); not a copy."""
        place = self._parts if key in self._parts else self._once
        parts = place[key]
        if len(parts) > 1:
            place[key] = parts = [np.concatenate(parts)]
        return parts[0]

    def at_each_step(self, key: str, name: str) -> NDArray[Any]:
        """Return what was recorded at each step, (N, *shape).

        Args:
            name: of the data, for messages.

        Raises:
            DataError: it was recorded once in an episode, or not at all.
        """
        if key in self._once:
            raise DataError(f"{name} was recorded once in an episode; say when: episode in shape_meta.obs.{key}")
        return self._recorded(key, name)

    def once_per_episode(self, key: str, name: str) -> NDArray[Any]:
        """Return what was recorded once in each episode, or did not change in it, (E, *shape).

        Args:
            name: of the data, for messages.

        Raises:
            DataError: it changes within an episode, or was not recorded at all.
        """
        array = self._recorded(key, name)
        if key in self._once:
            return array
        starts = np.array([0, *self._episode_ends[:-1]])
        episodes = np.searchsorted(self.episode_ends, np.arange(len(array)), side="right")
        first = array[starts]
        same = (array == first[episodes]).reshape(len(array), -1).all(axis=1)
        if not same.all():
            step = int(np.argmin(same))
            raise DataError(
                f"{name} has when: episode, and changes in step {step - starts[episodes[step]]} of episode "
                f"{episodes[step]}; record it once in an episode, or leave out when"
            )
        return first

    def _recorded(self, key: str, name: str) -> NDArray[Any]:
        if key not in self:
            raise DataError(f"{name} was not recorded; there is {quoted(self.keys())}")
        return self[key]

    def _check_episode(self, arrays: Mapping[str, NDArray[Any]], once: Mapping[str, NDArray[Any]]) -> None:
        name = f"episode {self.n_episodes}"
        if both := [key for key in once if key in arrays]:
            raise DataError(f"{name}: {quoted(both)} is given at each step and once; choose one of them")
        self._check_when(arrays, once, name)
        lengths = {key: len(array) if array.ndim else 0 for key, array in arrays.items()}
        if len(set(lengths.values())) != 1 or 0 in lengths.values():
            listed = ", ".join(f"'{key}' {length}" for key, length in lengths.items())
            raise DataError(f"{name}: expected arrays of one length, at least 1, got {listed or 'none'}")
        given = {**arrays, **once}
        before = {key: parts[0] for key, parts in (*self._parts.items(), *self._once.items())} or given
        if given.keys() != before.keys():
            raise DataError(f"{name}: has {quoted(given)}; the episodes before have {quoted(before)}")
        for key, array in given.items():
            if array.dtype.kind not in "biufO" or (array.dtype.kind == "O" and not are_strings(array)):
                raise DataError(f"{name}: '{key}' is {array.dtype}; expected numbers or strings")
            if (array.shape[1:], array.dtype) != (before[key].shape[1:], before[key].dtype):
                raise DataError(
                    f"{name}: '{key}' is {_type(array)} {array.shape[1:]} in each step; "
                    f"in the episodes before it is {_type(before[key])} {before[key].shape[1:]}"
                )

    def _check_when(self, arrays: Mapping[str, Any], once: Mapping[str, Any], name: str) -> None:
        choose = "choose one of them for all episodes"
        if moved := [key for key in once if key in self._parts]:
            raise DataError(f"{quoted(moved)} is observed once in {name} and at each step before; {choose}")
        if moved := [key for key in arrays if key in self._once]:
            raise DataError(f"{quoted(moved)} is observed at each step in {name} and once before; {choose}")

    def _write(self, store: Any) -> None:
        root = zarr.create_group(store, zarr_format=3, attributes={ALL_CHUNKS_WRITTEN: True})
        for key in self.keys():
            array = self[key]
            if array.dtype.kind == "O":
                if not are_strings(array):
                    raise DataError(f"'{key}' is object; expected numbers or strings")
                require_text(array, f"'{key}'")
                array = array.astype(np.dtypes.StringDType())  # of any length, in UTF-8
            n_steps = max(1, _CHUNK_BYTES // max(1, array[:1].nbytes))
            chunks = (min(n_steps, len(array)), *array.shape[1:])
            root.create_array(f"{ONCE if key in self._once else DATA}/{key}", data=array, chunks=chunks, **_WHOLE)
        root.create_array(EPISODE_ENDS, data=self.episode_ends, **_WHOLE)


def _type(array: NDArray[Any]) -> str:
    return "strings" if array.dtype.kind == "O" else str(array.dtype)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
