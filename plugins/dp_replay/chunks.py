"""`Faults`: chunk files of an array that are absent or cut, which zarr reads as if there was nothing wrong.

An absent file is read as the fill value of the array. Where the codec is Blosc, the end of a file that was cut is read
from whatever lies behind it in memory; other codecs find that out themselves.
"""

from __future__ import annotations

import itertools
import zipfile
from abc import ABC, abstractmethod
from pathlib import Path
from typing import IO, Any

import attrs
import zarr

_BLOSC_HEADER_BYTES = 16
"""Of a compressed block; the last four are the size of all of it."""


class StoreFiles(ABC):
    """The files of a store, as they lie on disk; paths have ``/`` between folders."""

    @abstractmethod
    def sizes(self, folder: str) -> dict[str, int]:
        """Measure all files below ``folder``, in bytes, by their paths relative to it."""

    @abstractmethod
    def open(self, path: str) -> IO[bytes]:
        """Open the file at ``path`` for reading."""


class FilesInFolder(StoreFiles):
    """A store that is a folder."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def sizes(self, folder: str) -> dict[str, int]:
        """Measure all files below ``folder``; see `StoreFiles.sizes`."""
        below = self._root / folder
        return {file.relative_to(below).as_posix(): file.stat().st_size for file in below.rglob("*") if file.is_file()}

    def open(self, path: str) -> IO[bytes]:
        """Open the file at ``path``; see `StoreFiles.open`."""
        return (self._root / path).open("rb")


class FilesInZip(StoreFiles):
    """A store in a .zip."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive

    def sizes(self, folder: str) -> dict[str, int]:
        """Measure all members below ``folder``; see `StoreFiles.sizes`."""
        start = f"{folder}/"
        members = [member for member in self._archive.infolist() if member.filename.startswith(start)]
        return {member.filename.removeprefix(start): member.file_size for member in members}

    def open(self, path: str) -> IO[bytes]:
        """Open the member at ``path``; see `StoreFiles.open`."""
        return self._archive.open(path)


@attrs.frozen
class Faults:
    """Chunk files of one array that are absent or cut; with sharding, the files are shards."""

    array: zarr.Array[Any]
    n_files: int
    """The number of files that there should be."""
    absent: tuple[str, ...]
    cut: tuple[str, ...]

    @classmethod
    def of(cls, array: zarr.Array[Any], files: StoreFiles) -> Faults:
        """Compare the files that ``array`` should have with those there are; lists its folder once."""
        sizes = files.sizes(array.path)
        names = _chunk_names(array)
        present = [name for name in names if name in sizes]
        is_blosc = array.shards is None and "blosc" in type(next(iter(array.compressors[-1:]), None)).__name__.lower()
        cut = [name for name in present if is_blosc and _is_cut(files, f"{array.path}/{name}", sizes[name])]
        return cls(array, len(names), tuple(name for name in names if name not in sizes), tuple(cut))

    @property
    def absence(self) -> str:
        """The text about absent files: ``chunk files of 'pos' are absent: 2 of 160, the first 'data/pos/c/3/0'``.

        Only for faults that have some.
        """
        return self._said("absent", self.absent)

    @property
    def cuts(self) -> str:
        """The text about files that are cut, of the form of `absence`; only for faults that have some."""
        return self._said("cut short", self.cut)

    @property
    def fill_value(self) -> Any:
        """The value that is read where a file is absent."""
        return self.array.dtype.type(0) if self.array.fill_value is None else self.array.fill_value

    def _said(self, what: str, names: tuple[str, ...]) -> str:
        path = self.array.path
        count = f"{len(names)} of {self.n_files}, the first '{path}/{names[0]}'"
        return f"chunk files of '{path.rpartition('/')[2]}' are {what}: {count}"


def _chunk_names(array: zarr.Array[Any]) -> list[str]:
    counts = (-(-size // step) for size, step in zip(array.shape, array.shards or array.chunks, strict=True))
    return [array.metadata.encode_chunk_key(indices) for indices in itertools.product(*map(range, counts))]


def _is_cut(files: StoreFiles, path: str, size: int) -> bool:
    """Tell whether a chunk of Blosc is shorter than it says."""
    with files.open(path) as file:
        header = file.read(_BLOSC_HEADER_BYTES)
    return size < max(_BLOSC_HEADER_BYTES, int.from_bytes(header[-4:], "little"))
