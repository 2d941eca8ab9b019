"""Fetches published files, such as demonstrations and weights: whole or not at all, with progress.

Only what a user asks for is fetched. Whoever calls says what to do where an address is out of reach.
"""

from __future__ import annotations

import http.client
import io
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, TypeVar

from tqdm import tqdm

from dp_core.atomic import whole_file
from dp_core.errors import DataError, DownloadError

_BLOCK_BYTES = 1 << 20
_TIMEOUT_SECONDS = 60

_T = TypeVar("_T")


def download(address: str, target: Path, *, otherwise: str, check: Callable[[Path], None] | None = None) -> None:
    """Fetch ``address`` to ``target``, which exists afterwards only if it is complete.

    Args:
        otherwise: what the user can do where the address cannot be reached; ends the message.
        check: is given the complete file under another name, and raises what is wrong with it.

    Raises:
        DownloadError: the server cannot be reached, does not have the file or ends early; or it cannot be written.
    """
    try:
        with whole_file(target) as temporary:
            fetch(address, temporary, otherwise=otherwise)
            if check is not None:
                check(temporary)
    except OSError as error:
        raise cannot_be_written(target, error) from error


def fetch(address: str, target: Path, *, otherwise: str) -> None:
    """Write what ``address`` holds to ``target``; continue where a connection breaks off, if the server can do that.

    Args:
        otherwise: see `download`.

    Raises:
        DownloadError: see `download`.
    """
    try:
        with (
            target.open("wb") as file,
            tqdm(desc=f"download {address}", unit="B", unit_scale=True, disable=None) as progress,
        ):
            _fetch(address, file, progress, otherwise)
    except OSError as error:
        raise cannot_be_written(target, error) from error


def _fetch(address: str, file: IO[bytes], progress: Any, otherwise: str) -> None:
    size: int | None = None
    while True:
        start = file.tell()
        with open_address(address, otherwise=otherwise, start=start) as response:
            if start and response.status != http.HTTPStatus.PARTIAL_CONTENT:
                break  # this server starts all over again
            if not start:
                size = progress.total = _length(response)
            is_whole = _copy(response, file, progress)
        if is_whole and size in (None, file.tell()):
            return
        if file.tell() == start:
            break
    received = file.tell() if size is None else f"{file.tell()} of {size}"
    raise DownloadError(f"{address}: the connection ended after {received} bytes; try again")


def open_address(address: str, *, otherwise: str, start: int = 0) -> Any:
    """Open ``address`` for reading, from byte ``start`` on where the server can do that (status 206).

    Args:
        otherwise: see `download`.

    Raises:
        DownloadError: the server cannot be reached, or does not have the file.
    """
    try:
        request = urllib.request.Request(address, headers={"Range": f"bytes={start}-"} if start else {})
        return urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS)
    except urllib.error.HTTPError as error:
        error.close()  # it is the response, too
        raise DownloadError(f"{address}: the server answers {error.code} {error.reason}; {otherwise}") from error
    except (OSError, ValueError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        raise DownloadError(f"{address}: cannot be reached ({reason}); {otherwise}") from error


def _length(response: Any) -> int | None:
    length = response.headers.get("Content-Length")
    return int(length) if length else None


def _copy(response: Any, file: IO[bytes], progress: Any) -> bool:
    """Copy until the response ends, or breaks off: then False."""
    while True:
        try:
            block = response.read(_BLOCK_BYTES)
        except (OSError, http.client.HTTPException):
            return False
        if not block:
            return True
        file.write(block)
        progress.update(len(block))


def is_address(source: str) -> bool:
    """Tell whether ``source`` is an address; else it is the path of a file that was downloaded elsewhere."""
    return "://" in source


def open_local(source: str) -> io.BufferedReader:
    """Open a file that was downloaded elsewhere.

    Raises:
        DownloadError: it cannot be read.
    """
    try:
        return Path(source).open("rb")
    except OSError as error:
        raise DownloadError(f"{source}: cannot be read ({error.strerror}); give a file or an address") from error


def checked(check: Callable[[Path], _T], fetched: Path, *, source: str, target: Path) -> _T:
    """Run ``check`` on what was fetched from ``source``, still under a temporary name, and return what it finds out.

    Raises:
        DataError: what ``check`` raises, said of ``source``.
    """
    try:
        return check(fetched)
    except DataError as error:
        reason = str(error).removeprefix(f"{fetched}: ")
        raise DataError(f"{source}: {reason}; nothing was written to '{target}'") from error


def cannot_be_written(target: Path, error: OSError) -> DownloadError:
    """Make the error to raise for ``error`` while writing ``target``."""
    return DownloadError(f"{target}: cannot be written ({error.strerror or error})")
