"""Takes single members out of published archives (.zip), which may be far larger than what is wanted of them.

Of an archive on a server, only the directory and the wanted members are fetched. A member is kept compressed beside
its target until it is complete, so that the next call continues where one was interrupted; until then it takes up
space twice.
"""

from __future__ import annotations

import contextlib
import io
import logging
import shutil
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path, PureWindowsPath
from typing import Any

import attrs
from tqdm import tqdm

from dp_core.atomic import whole_file
from dp_core.errors import DataError, DownloadError, quoted
from dp_core.kit.files.download import cannot_be_written, checked, fetch, is_address, open_local
from dp_core.kit.files.remote_file import open_remote_file

logger = logging.getLogger(__name__)

_BLOCK_BYTES = 1 << 20
_READ_AHEAD_BYTES = 1 << 16
_LOCAL_HEADER = struct.Struct("<4s22xHH")
"""What a member begins with: a signature, and the lengths of its name and of an extra field, which follow."""
_SIGNATURE = b"PK\x03\x04"
_SECONDS_UNTIL_PROGRESS = 1.0
_ELSEWHERE = "download it on a machine that can reach it, then name the file with --source"

_Members = dict[str, zipfile.ZipInfo]


@attrs.frozen(kw_only=True)
class Wanted:
    """A file or a folder to take out of an archive."""

    name: str
    """The name in the archive, with ``/`` between folders; the archive may have it in further folders."""
    target: Path
    check: Callable[[Path], str]
    """Receives the complete file or folder; says what it holds, such as '200 demonstrations', or raises `DataError`."""


def take(source: str, wanted: Iterable[Wanted]) -> Iterator[str]:
    """Put what is wanted in its place unless it is there already; yield a line about each when that is done.

    What is there afterwards is complete. Where nothing is missing, ``source`` is not looked at.

    Args:
        source: the archive: an address, or the path of a file that was downloaded elsewhere; what a command calls
            ``--source``.

    Raises:
        DataError: something does not pass its check. What was there before is left alone.
        DownloadError: the archive cannot be read or is damaged, or does not have what is wanted.
    """
    absent = []
    for item in wanted:
        if item.target.exists():
            yield f"{item.target}: is there already, with {_found(item)}"
        else:
            absent.append(item)
    if absent:
        with open_archive(source, room=absent[0].target.parent) as archive:
            for item in absent:
                yield f"{item.target}: {archive.take(item)}"


@contextlib.contextmanager
def open_archive(source: str, *, room: Path) -> Iterator[Archive]:
    """Open an archive for reading; see `take` for its ``source``.

    Args:
        room: folder that the whole archive is kept in while it is open, if its server gives no parts of it.
    """
    if not is_address(source):
        with open_local(source) as file:
            yield Archive(source, file)
    elif remote := open_remote_file(source, otherwise=_ELSEWHERE):
        with io.BufferedReader(remote, _READ_AHEAD_BYTES) as file:
            yield Archive(source, file, is_remote=True)
    else:
        logger.warning(
            "%s: the server gives no parts of this file, so all of it is fetched; to keep it for other calls, download "
            "it yourself and use --source FILE",
            source,
        )
        with _fetched(source, room) as file:
            yield Archive(source, file)


@contextlib.contextmanager
def _fetched(source: str, room: Path) -> Iterator[io.BufferedReader]:
    try:
        room.mkdir(parents=True, exist_ok=True)
        folder = tempfile.TemporaryDirectory(prefix=".download.", dir=room)
    except OSError as error:
        raise cannot_be_written(room, error) from error
    with folder:
        path = Path(folder.name) / "archive.zip"
        fetch(source, path, otherwise=_ELSEWHERE)
        with path.open("rb") as file:
            yield file


class Archive:
    """An archive that `open_archive` has opened for reading."""

    def __init__(self, source: str, file: io.BufferedReader[Any], *, is_remote: bool = False) -> None:
        self.source = source
        self._file = file
        self._is_remote = is_remote
        try:
            members = zipfile.ZipFile(file).infolist()
        except zipfile.BadZipFile as error:
            raise DownloadError(
                f"{source}: is not a complete .zip; if it was downloaded or copied, do it again"
            ) from error
        for member in members:
            if _leads_out(member.filename):
                raise DownloadError(
                    f"{source}: its member '{member.filename}' leads out of the folder it is unpacked in; "
                    "use the published archive"
                )
        # The Macintosh packs notes on files in this folder, under the names of the files.
        kept = [member for member in members if not (member.is_dir() or member.filename.startswith("__MACOSX/"))]
        self._members = sorted(kept, key=lambda member: member.header_offset)

    def take(self, wanted: Wanted) -> str:
        """Unpack a file or a folder to its target, which is not there yet; say what it holds, and its size.

        Raises:
            DataError, DownloadError: see `take`.
        """
        members = self._find(wanted.name)
        n_bytes = sum(member.file_size for member in members.values())
        try:
            with tqdm(
                desc=f"download {wanted.name}",
                total=sum(member.compress_size for member in members.values()),
                unit="B",
                unit_scale=True,
                disable=None if self._is_remote else True,
            ) as progress:
                put = self._put_file if "" in members else self._put_folder
                return f"{put(members, wanted, progress)}, {_readable(n_bytes)}"
        except OSError as error:
            raise cannot_be_written(wanted.target, error) from error

    def _find(self, name: str) -> _Members:
        """Members by their paths below ``name``, which is ``""`` for a file, in the order of the archive."""
        found = {}
        for member in self._members:
            _, inside, path = f"/{member.filename}/".partition(f"/{name}/")
            if inside:
                found[path.rstrip("/")] = member
        if not found:
            raise DownloadError(f"{self.source}: has no '{name}'; it has {self._similar(name)}")
        for member in found.values():
            if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise DownloadError(
                    f"{self.source}: '{member.filename}' is packed by method {member.compress_type}, which is not "
                    "supported; unpack the archive with another program"
                )
        return found

    def _similar(self, name: str) -> str:
        """Members that are called as the last part of ``name``, or what is at the top of the archive."""
        names = [member.filename for member in self._members]
        last = name.rpartition("/")[2]
        similar = {path for path in names if f"/{path}".endswith(f"/{last}")} or {path.split("/")[0] for path in names}
        return quoted(sorted(similar)) or "nothing"

    def _put_file(self, members: _Members, wanted: Wanted, progress: Any) -> str:
        with whole_file(wanted.target) as temporary:
            self._unpack(members[""], wanted.target, temporary, progress)
            return checked(wanted.check, temporary, source=self.source, target=wanted.target)

    def _put_folder(self, members: _Members, wanted: Wanted, progress: Any) -> str:
        """Fill a folder beside the target, where an interrupted call may have begun, and rename it at the end."""
        folder = wanted.target.with_name(f".{wanted.target.name}.part")
        for path, member in members.items():
            target = folder / path
            if target.exists() and target.stat().st_size == member.file_size:
                progress.update(member.compress_size)
                continue
            with whole_file(target) as temporary:
                self._unpack(member, target, temporary, progress)
        try:
            holds = checked(wanted.check, folder, source=self.source, target=wanted.target)
        except DataError:
            shutil.rmtree(folder)
            raise
        folder.rename(wanted.target)
        return holds

    def _unpack(self, member: zipfile.ZipInfo, target: Path, temporary: Path, progress: Any) -> None:
        packed = target.with_name(f".{target.name}.{member.CRC:08x}.part")  # a member of another archive has another
        try:
            with self._packed(member, packed, progress) as file, zipfile.ZipExtFile(file, "r", member) as content:
                _write(content, member, temporary)
        except (zipfile.BadZipFile, zlib.error, EOFError) as error:
            packed.unlink(missing_ok=True)
            raise DownloadError(f"{self.source}: '{member.filename}' is damaged ({error}); try again") from error
        packed.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _packed(self, member: zipfile.ZipInfo, path: Path, progress: Any) -> Iterator[Any]:
        """A file that continues with what is in the member, as it is packed; of a remote archive, that is ``path``."""
        if not self._is_remote:
            self._seek(member)
            yield self._file
            return
        path.touch()
        with path.open("rb+") as file:  # not to append: two calls at a time write the same to the same places
            self._fetch(member, file, progress)
            file.seek(0)
            yield file

    def _fetch(self, member: zipfile.ZipInfo, file: Any, progress: Any) -> None:
        """Add to ``file`` what it does not have of the member yet."""
        position = file.seek(0, io.SEEK_END)
        progress.update(position)
        if position < member.compress_size:
            self._seek(member, position)
        while position < member.compress_size:
            block = self._file.read1(min(_BLOCK_BYTES, member.compress_size - position))
            if not block:
                raise zipfile.BadZipFile("the archive ends before it does")
            file.write(block)
            progress.update(len(block))
            position += len(block)

    def _seek(self, member: zipfile.ZipInfo, position: int = 0) -> None:
        """Go to a position in a member as it is packed."""
        self._file.seek(member.header_offset)
        header = self._file.read(_LOCAL_HEADER.size)
        if not header.startswith(_SIGNATURE) or len(header) < _LOCAL_HEADER.size:
            raise zipfile.BadZipFile("it is not where the archive's directory says")
        _, name_length, extra_length = _LOCAL_HEADER.unpack(header)
        self._file.seek(name_length + extra_length + position, io.SEEK_CUR)


def _found(wanted: Wanted) -> str:
    try:
        return wanted.check(wanted.target)
    except DataError as error:
        raise DataError(f"{error}; move it away to get the published one") from error


def _write(content: zipfile.ZipExtFile, member: zipfile.ZipInfo, target: Path) -> None:
    """Unpack to ``target``. The end of ``content`` cannot be read if its checksum is wrong."""
    reporting = tqdm.wrapattr(
        content,
        "read",
        desc=f"unpack {member.filename}",
        total=member.file_size,
        disable=None,
        delay=_SECONDS_UNTIL_PROGRESS,
    )
    with reporting as reader, target.open("wb") as file:
        shutil.copyfileobj(reader, file, _BLOCK_BYTES)


def _leads_out(name: str) -> bool:
    """Whether a member's name is absolute or has ``..``, on this or another system."""
    path = PureWindowsPath(name)  # takes / and \ for separators
    return bool(path.anchor) or ".." in path.parts


def _readable(n_bytes: int) -> str:
    return f"{n_bytes / 1e9:.1f} GB" if n_bytes >= 1e9 else f"{n_bytes / 1e6:.1f} MB"
