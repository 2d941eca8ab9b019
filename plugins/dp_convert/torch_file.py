"""Files of `torch.save`, read without `torch.load`: through `RestrictedUnpickler`, and without a copy in memory.

Both formats: the zip archive, whose tensors stay on disk until they are used, and the older stream.
"""

from __future__ import annotations

import io
import struct
import zipfile
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from torch import Tensor

from dp_convert.restricted_pickle import RestrictedUnpickler, Substitute, TypeName
from dp_core.errors import CheckpointError

_STORAGES = {
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}

_LEGACY_START = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
"""The pickle of the magic number that the older format begins with."""
_LEGACY_PROTOCOL = 1001


def read_torch_file(path: Path) -> Any:
    """Return what was given to `torch.save`, running nothing in the file; tensors are on the CPU, and the caller's own.

    Raises:
        CheckpointError: there is no such file, it is damaged, or it holds more than tensors and plain values.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file")
    with path.open("rb") as file:
        start = file.read(len(_LEGACY_START))
        try:
            if zipfile.is_zipfile(path):
                return _read_zip(path)
            if start == _LEGACY_START:
                return _LegacyFile(path, file).load()
        except CheckpointError:
            raise
        # A damaged file, or one made to do harm, can fail in any way.
        except Exception as error:
            raise CheckpointError(f"{path}: incomplete or damaged: {error}; use another file") from error
    raise CheckpointError(f"{path}: incomplete or damaged, or not a file of torch.save")


class _StorageType:
    __slots__ = ("dtype",)

    def __init__(self, dtype: torch.dtype) -> None:
        self.dtype = dtype


def _substitutes() -> dict[str, Any]:
    return {
        "torch._utils._rebuild_tensor_v2": Substitute(_rebuild_tensor),
        "torch._utils._rebuild_parameter": Substitute(lambda data, requires_grad, hooks: data),
        "torch.Size": Substitute(tuple),
        "torch.device": TypeName(),
        **{f"torch.{name}": _StorageType(dtype) for name, dtype in _STORAGES.items()},
    }


def _rebuild_tensor(storage: Tensor, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: Any) -> Tensor:
    # torch checks that the view lies within the storage.
    return storage.as_strided(size, stride, offset)


def _read_zip(path: Path) -> Any:
    with zipfile.ZipFile(path) as archive:
        if archive.testzip() is not None:
            raise CheckpointError(f"{path}: incomplete or damaged; use another file")
        return _ZipFile(path, archive).load()


class _ZipFile:
    """``<folder>/data.pkl`` names the tensors' numbers, which are in ``<folder>/data/<key>``."""

    def __init__(self, path: Path, archive: zipfile.ZipFile) -> None:
        self._path = path
        self._archive = archive
        names = [name for name in archive.namelist() if name.count("/") == 1 and name.endswith("/data.pkl")]
        if len(names) != 1:
            found = f"there are {len(names)} data.pkl in it" if names else "there is no data.pkl in it"
            raise CheckpointError(f"{path}: a zip archive, but not one of torch.save: {found}")
        self._folder = names[0].removesuffix("data.pkl")
        if self._optional("byteorder") not in (None, b"little"):
            raise CheckpointError(f"{path}: written on a big-endian machine, whose files are not read")
        # Copy on write: tensors that the caller changes do not change the file.
        self._bytes = np.memmap(path, dtype=np.uint8, mode="c")
        self._storages: dict[str, Tensor] = {}

    def load(self) -> Any:
        data = io.BytesIO(self._archive.read(f"{self._folder}data.pkl"))
        return RestrictedUnpickler(
            data, str(self._path), substitutes=_substitutes(), load_persistent=self._storage
        ).load()

    def _optional(self, name: str) -> bytes | None:
        full_name = f"{self._folder}{name}"
        return self._archive.read(full_name) if full_name in self._archive.namelist() else None

    def _storage(self, pid: Any) -> Tensor:
        dtype, key = _storage_key(self._path, pid)
        if key not in self._storages:
            self._storages[key] = _as_tensor(self._part(f"{self._folder}data/{key}"), dtype)
        return self._storages[key]

    def _part(self, name: str) -> np.ndarray:
        """The bytes of one part of the archive, (size,), uint8, where they are in the file."""
        info = self._archive.getinfo(name)
        if info.compress_type != zipfile.ZIP_STORED:
            return np.frombuffer(bytearray(self._archive.read(name)), dtype=np.uint8)
        lengths = self._bytes[info.header_offset + 26 : info.header_offset + 30].tobytes()
        name_length, extra_length = struct.unpack("<HH", lengths)
        start = info.header_offset + 30 + name_length + extra_length
        return self._bytes[start : start + info.file_size]


class _LegacyFile:
    """Five pickles, of which the fourth is the object and the last lists the tensors whose numbers follow."""

    def __init__(self, path: Path, file: IO[bytes]) -> None:
        self._path = path
        self._file = file
        self._size = path.stat().st_size
        self._storages: dict[str, Tensor] = {}

    def load(self) -> Any:
        if self._unpickle() != _LEGACY_PROTOCOL:
            raise CheckpointError(f"{self._path}: written by a version of torch that is too old")
        if not self._unpickle().get("little_endian", True):
            raise CheckpointError(f"{self._path}: written on a big-endian machine, whose files are not read")
        loaded = self._unpickle()
        for key in self._unpickle():
            self._fill(self._storages[key])
        return loaded

    def _unpickle(self) -> Any:
        return RestrictedUnpickler(
            self._file, str(self._path), substitutes=_substitutes(), load_persistent=self._storage
        ).load()

    def _storage(self, pid: Any) -> Tensor:
        dtype, key = _storage_key(self._path, pid)
        count = pid[4]
        if not 0 <= count * dtype.itemsize <= self._size:
            raise CheckpointError(f"{self._path}: incomplete or damaged; use another file")
        if key not in self._storages:
            self._storages[key] = torch.empty(count, dtype=dtype)
        return self._storages[key]

    def _fill(self, storage: Tensor) -> None:
        (count,) = struct.unpack("<q", self._file.read(8))
        numbers = storage.view(torch.uint8).numpy()
        if count != len(storage) or self._file.readinto(numbers) != len(numbers):  # type: ignore[attr-defined]
            raise CheckpointError(f"{self._path}: incomplete or damaged; use another file")


def _storage_key(path: Path, pid: Any) -> tuple[torch.dtype, str]:
    if not (isinstance(pid, tuple) and len(pid) >= 5 and pid[0] == "storage" and isinstance(pid[1], _StorageType)):
        raise CheckpointError(f"{path}: refers to an object outside of it, {pid!r}, which is not a tensor's storage")
    return pid[1].dtype, str(pid[2])


def _as_tensor(numbers: np.ndarray, dtype: torch.dtype) -> Tensor:
    if numbers.ctypes.data % dtype.itemsize:
        numbers = numbers.copy()
    return torch.from_numpy(np.asarray(numbers)).view(dtype) if numbers.size else torch.empty(0, dtype=dtype)
