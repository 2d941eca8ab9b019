"""Files that appear whole, and names that only one process gets, however many start in the same second."""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import time
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path

LONGEST_NAME = 255 - len("..12345678.part")
"""The longest name of a file that `whole_file` can write, in bytes; file systems allow 255."""

_SECONDS_WITHOUT_A_BYTE = 600
"""After that long nobody writes to an unfinished file any more."""


@contextlib.contextmanager
def whole_file(target: Path, *, exclusive: bool = False) -> Iterator[Path]:
    """Give a path beside ``target`` to write to; it becomes ``target`` at the end of the block, unless that fails.

    Whenever the machine dies, the name holds either the old content or the new, whole. Nobody else writes to the path
    that is given: of several processes that write the same target, the last to end the block counts.

    Args:
        exclusive: never replace a file. Of several processes that write the same target, one succeeds.

    Raises:
        FileExistsError: ``exclusive``, and the target exists at the end of the block.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        if exclusive:
            _place(temporary, target)
        else:
            temporary.replace(target)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()
    _flush_folder(target.parent)


def remove_leftovers(folder: Path) -> None:
    """Remove unfinished files of killed processes; each may be as large as the file that `whole_file` was to write."""
    for path in folder.glob(".*.part"):
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime > _SECONDS_WITHOUT_A_BYTE:
                path.unlink()


def new_folder(paths: Iterable[Path]) -> Path:
    """Create the first of ``paths`` that does not exist, and return it.

    Creating it is the lock: no other process gets the same folder.
    """
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            path.mkdir()
            return path
    raise AssertionError("paths must not end")


def numbered(path: Path) -> Iterator[Path]:
    """Yield ``path``, then ``path`` with ``_2``, ``_3`` and so on at its end."""
    yield path
    for number in itertools.count(2):
        yield path.with_name(f"{path.name}_{number}")


def _place(source: Path, target: Path) -> None:
    """Give ``source`` the name of ``target`` if nobody has it."""
    try:
        os.link(source, target)
    except FileExistsError:
        raise
    except OSError:  # file systems without hard links
        with source.open("rb") as original, target.open("xb") as copy:
            shutil.copyfileobj(original, copy)


def _flush_folder(folder: Path) -> None:
    # The rename itself has to reach the disk. Not every file system lets a folder be opened.
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
