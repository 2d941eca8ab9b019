"""`RemoteFile`: reads a published file where it is wanted, as if it were on this machine."""

from __future__ import annotations

import http.client
import io
from typing import TYPE_CHECKING, Any

from dp_core.errors import DownloadError
from dp_core.kit.files.download import open_address

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_NEARBY_BYTES = 1 << 17
"""To skip this far ahead, what lies between is read and dropped; beyond that, another response is requested."""


class RemoteFile(io.RawIOBase):
    """A file on a server that gives parts of it; `open_remote_file` opens it.

    What is read without a jump comes in one response, however much that is; where it breaks off, the next continues.
    """

    def __init__(self, address: str, size: int, *, otherwise: str) -> None:
        self.address = address
        self.size = size
        self._otherwise = otherwise
        self._position = 0
        self._response: Any = None
        self._next_byte = 0
        """Place in the file of the next byte that the response gives."""

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move to a position; only reading asks the server for anything."""
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self.size}[whence]
        if start + offset < 0:
            raise ValueError(f"{start + offset} is before the beginning of {self.address}")
        self._position = start + offset
        return self._position

    def readinto(self, buffer: WriteableBuffer) -> int:
        """Read the next bytes into ``buffer``, and return how many.

        Raises:
            DownloadError: the server cannot be reached, or a new connection ends before it gives anything.
        """
        wanted = memoryview(buffer).cast("B")[: max(0, self.size - self._position)]
        if not wanted:
            return 0
        count = self._receive(wanted) if self._has_come_to_the_position() else 0
        if not count:
            self._connect()
            count = self._receive(wanted)
        if not count:
            raise DownloadError(
                f"{self.address}: the connection ended after {self._position} of {self.size} bytes; try again"
            )
        self._position += count
        return count

    def close(self) -> None:
        self._disconnect()
        super().close()

    def _has_come_to_the_position(self) -> bool:
        ahead = self._position - self._next_byte
        if not 0 <= ahead <= _NEARBY_BYTES:
            return False
        dropped = memoryview(bytearray(ahead))
        while dropped and (count := self._receive(dropped)):
            dropped = dropped[count:]
        return not dropped

    def _receive(self, wanted: memoryview) -> int:
        """0: there is no response, or it has ended or broken off."""
        if self._response is None:
            return 0
        try:
            count: int = self._response.readinto(wanted)
        except (OSError, http.client.HTTPException):
            return 0
        self._next_byte += count
        return count

    def _connect(self) -> None:
        self._disconnect()
        response = open_address(self.address, otherwise=self._otherwise, start=self._position)
        if self._position and response.status != http.HTTPStatus.PARTIAL_CONTENT:
            response.close()  # it starts all over again, which it did not before
            return
        self._response, self._next_byte = response, self._position

    def _disconnect(self) -> None:
        if self._response is not None:
            self._response.close()
            self._response = None


def open_remote_file(address: str, *, otherwise: str) -> RemoteFile | None:
    """Ask whether the server of ``address`` gives parts of it, and how large it is.

    Args:
        otherwise: see `dp_core.kit.files.download.download`.

    Returns:
        None if it only gives the whole file.

    Raises:
        DownloadError: the server cannot be reached, or does not have the file.
    """
    with open_address(address, otherwise=otherwise, start=1) as response:
        if response.status != http.HTTPStatus.PARTIAL_CONTENT:
            return None
        size = response.headers.get("Content-Range", "").rpartition("/")[2]
    return RemoteFile(address, int(size), otherwise=otherwise) if size.isdecimal() else None
