"""`ReplayStore`: a zarr replay buffer on disk, opened for reading.

The layout is that of the published data sets: ``data/<key>`` are arrays whose first dimension is time, all episodes
one after the other, and ``meta/episode_ends`` says where each ends. ``once/<key>``, which `ReplayBuffer.save` writes
where there are any, are arrays whose first dimension is the episode. Formats 2 and 3 of zarr are read.

What zarr puts in place of a chunk file that is absent, its fill value, is never taken for a recording in silence. A
store's summary of metadata (consolidated metadata) is not read: it goes stale when the store is appended to.
"""

from __future__ import annotations

import logging
import os
import zipfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from tqdm import tqdm

from dp_core.errors import DataError, quoted
from dp_core.kit.data.images import Layout, NotUnitRangeError, convert_images, layout_of
from dp_replay.chunks import Faults, FilesInFolder, FilesInZip, StoreFiles
from dp_replay.episodes import checked_ends

logger = logging.getLogger(__name__)

DATA = "data"
ONCE = "once"
"""The group of arrays with a row for each episode."""
EPISODE_ENDS = "meta/episode_ends"
ALL_CHUNKS_WRITTEN = "all_chunks_written"
"""The attribute of a store that was written with a file for every chunk, even an empty one; an absent one was lost."""
_METADATA_FILES = (".zarray", "zarr.json")
_BLOCK_STEPS = 128
"""Images are read about this many at a time, but never less than a chunk."""
_SECONDS_UNTIL_PROGRESS = 1.0


class ReplayStore:
    """A replay buffer that `open_store` has opened for reading."""

    def __init__(self, path: Path, root: zarr.Group, files: StoreFiles) -> None:
        self.path = path
        per_step, once = _arrays_of(path, root, DATA), _arrays_of(path, root, ONCE)
        if not per_step:
            raise DataError(f"{path}: is not a replay buffer: there is no array in 'data'")
        self.once = frozenset(once)
        """Names of the arrays that have a row for each episode."""
        self._arrays = {**per_step, **once}
        self._files = files
        self._has_all_chunks = root.attrs.get(ALL_CHUNKS_WRITTEN) is True
        self.episode_ends = _checked_ends(path, root, files)
        """Step after the last of each episode, (E,), int64, rising."""
        for key, array in once.items():
            if array.shape[:1] != self.episode_ends.shape or key in per_step:
                raise DataError(
                    f"{path}: '{ONCE}/{key}' has shape {array.shape}, and there are {len(self.episode_ends)} episodes; "
                    f"expected a row for each, and no '{DATA}/{key}' beside it"
                )
        for key, array in per_step.items():
            if array.shape[:1] != (self.episode_ends[-1],):
                raise DataError(
                    f"{path}: '{key}' has shape {array.shape}, but the episodes have {self.episode_ends[-1]} steps; "
                    "every array must have one entry per step"
                )

    def keys(self) -> list[str]:
        """List the names of the arrays, sorted."""
        return sorted(self._arrays)

    def require(self, keys: Iterable[str]) -> None:
        """Raise `DataError` unless all ``keys`` are there, whole; to be called before they are read.

        Stores of other programs may leave out chunks on purpose, those that hold nothing but the fill value. For them,
        what is absent is a warning.
        """
        keys = list(keys)
        if missing := [key for key in keys if key not in self._arrays]:
            raise DataError(f"{self.path}: has no {quoted(missing)}; choose from {quoted(self.keys())}")
        faults = [Faults.of(self._arrays[key], self._files) for key in keys]
        _refuse(self.path, faults, absent=self._has_all_chunks)
        if any(fault.absent for fault in faults):
            logger.warning(
                "%s: %s; unless such values were recorded, copy or convert it again; ReplayBuffer.load and save make a "
                "store that is known to be whole",
                self.path, "; ".join(f"{each.absence}, read as {each.fill_value}" for each in faults if each.absent),
            )  # fmt: skip

    def shape(self, key: str) -> tuple[int, ...]:
        """Return the shape of one step of ``key``."""
        return tuple(self._arrays[key].shape[1:])

    def read(self, key: str) -> NDArray[Any]:
        """Read all of ``key`` as it is stored, (N, *shape).

        Raises:
            DataError: it cannot be read.
        """
        array = self._arrays[key]
        with self._reporting(key):
            return np.asarray(array[:])

    def read_images(self, key: str, shape: tuple[int, ...]) -> NDArray[np.uint8]:
        """Read images as uint8 (N, C, H, W), converted block by block; see `convert_images` for what may be stored.

        Args:
            shape: (C, H, W) that is expected. Stored may be this or (H, W, C).

        Raises:
            DataError: the size or the values of the images are others.
        """
        array = self._arrays[key]
        name = f"{self.path}: '{key}'"
        layout = layout_of(name, self.shape(key), shape)
        images = np.empty((array.shape[0], *shape), np.uint8)
        with self._reporting(key):
            try:
                self._fill(images, array, name, layout, unit_range=array.dtype.kind == "f")
            except NotUnitRangeError:
                self._fill(images, array, name, layout, unit_range=False)
        return images

    def _fill(
        self, images: NDArray[np.uint8], array: zarr.Array[Any], name: str, layout: Layout, unit_range: bool
    ) -> None:
        chunk = array.chunks[0]
        n_steps = chunk * max(1, _BLOCK_STEPS // chunk)

        def fill(start: int) -> None:
            block = slice(start, start + n_steps)
            images[block] = convert_images(np.asarray(array[block]), name, layout, unit_range)

        _for_each(fill, range(0, array.shape[0], n_steps), f"read {name}")

    @contextmanager
    def _reporting(self, key: str) -> Iterator[None]:
        try:
            yield
        except DataError:
            raise
        except Exception as error:  # codecs raise what they like
            raise DataError(f"{self.path}: '{key}' cannot be read ({error})") from error


@contextmanager
def open_store(path: str | Path) -> Iterator[ReplayStore]:
    """Open a replay buffer: a folder, or a .zip that is one or that contains one in a folder.

    Raises:
        DataError: there is none, it is damaged, or its arrays do not belong together.
    """
    path = Path(path)
    if not path.exists():
        raise DataError(f"{path}: does not exist; expected a zarr replay buffer, a folder or a .zip")
    if path.is_dir():
        if not any((path / EPISODE_ENDS / name).exists() for name in _METADATA_FILES):
            raise DataError(f"{path}: is not a replay buffer: there is no '{EPISODE_ENDS}' in it")
        yield ReplayStore(path, _open_group(path, path), FilesInFolder(path))
        return
    with _opened(path) as archive:
        inside = _find_in_zip(path, archive.namelist())
        with zarr.storage.ZipStore(path, mode="r") as store:
            yield ReplayStore(path, _open_group(path, store, inside), FilesInZip(archive))


def _opened(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except zipfile.BadZipFile as error:
        raise DataError(
            f"{path}: is neither a folder nor a complete .zip; if it was downloaded or copied, do it again"
        ) from error
    except OSError as error:
        raise DataError(f"{path}: cannot be opened ({error.strerror or error})") from error


def _find_in_zip(path: Path, names: list[str]) -> str:
    """The folder of the replay buffer in a .zip, ``""`` for the archive itself."""
    ends = tuple(f"{EPISODE_ENDS}/{name}" for name in _METADATA_FILES)
    roots = {name[: -len(end)].rstrip("/") for name in names for end in ends if f"/{name}".endswith(f"/{end}")}
    if not roots:
        raise DataError(f"{path}: contains no replay buffer: there is no '{EPISODE_ENDS}' in it")
    if len(roots) > 1:
        raise DataError(f"{path}: contains several replay buffers, {quoted(sorted(roots))}; unpack it and choose one")
    return roots.pop()


def _open_group(path: Path, store: Any, inside: str = "") -> zarr.Group:
    try:
        return zarr.open_group(store, path=inside, mode="r", use_consolidated=False)
    except Exception as error:  # zarr's own errors have no common base
        raise DataError(f"{path}: cannot be opened ({error})") from error


def _arrays_of(path: Path, root: zarr.Group, name: str) -> dict[str, zarr.Array[Any]]:
    """Return the arrays of a group by name; none if there is no such group."""
    try:
        group = root[name]
        return dict(group.arrays()) if isinstance(group, zarr.Group) else {}
    except KeyError:
        return {}
    except Exception as error:  # a codec that is not installed, damaged metadata
        raise DataError(f"{path}: cannot be opened ({error})") from error


def _checked_ends(path: Path, root: zarr.Group, files: StoreFiles) -> NDArray[np.int64]:
    try:
        array = root[EPISODE_ENDS]
        if not isinstance(array, zarr.Array):
            raise DataError(f"{path}: has no episodes: '{EPISODE_ENDS}' is a group; expected an array")
        _refuse(path, [Faults.of(array, files)], absent=True)  # whoever wrote it: no episode ends at the fill value
        ends = np.asarray(array[:])
    except DataError:
        raise
    except Exception as error:
        raise DataError(f"{path}: '{EPISODE_ENDS}' cannot be read ({error})") from error
    if not len(ends):
        raise DataError(f"{path}: has no episodes: '{EPISODE_ENDS}' is {ends.dtype} {ends.shape}")
    return checked_ends(ends, f"{path}: '{EPISODE_ENDS}'")


def _refuse(path: Path, faults: Iterable[Faults], *, absent: bool) -> None:
    """Raise `DataError` where chunk files are cut, or also where they are ``absent``."""
    cut = [each.cuts for each in faults if each.cut]
    lost = [each.absence for each in faults if absent and each.absent]
    if cut or lost:
        # zarr drops what it appends if it is zeros, unless told otherwise.
        hint = "; append to it with write_empty_chunks, if zarr did" if lost else ""
        raise DataError(f"{path}: is not complete: {'; '.join(cut + lost)}; copy or save it again{hint}")


def _for_each(function: Callable[[int], None], starts: range, description: str) -> None:
    """Call ``function`` in several threads, as decompressing and converting run side by side, and show progress."""
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        try:
            results = pool.map(function, starts)
            for _ in tqdm(
                results, description, total=len(starts), unit="block", disable=None, delay=_SECONDS_UNTIL_PROGRESS
            ):
                pass
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
