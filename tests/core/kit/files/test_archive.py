"""Archives on a server of our own, which gives parts of files or does not: nothing here reaches the network."""

from __future__ import annotations

import contextlib
import logging
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from dp_core.errors import DataError, DownloadError
from dp_core.kit.files.archive import Wanted, take
from dp_core.kit.files.remote_file import open_remote_file

HINT = "download it on a machine that can reach it, then name the file with --source"
NOISE = np.random.default_rng(0).bytes(3 << 20)
"""Cannot be packed any smaller, so that there is something to interrupt."""
NAME = "set/big.bin"


class Server(ThreadingHTTPServer):
    """Serves one folder, notes where it was asked to begin, and can break off.

    Under ``/whole`` it does not know of parts.
    """

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.folder = folder
        self.reset()

    def reset(self) -> None:
        self.starts: list[int] = []
        self.bytes_until_break: list[int] = []
        """For each of the next answers from beyond byte 1."""

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        gives_parts = not self.path.startswith("/whole/")
        path = self.server.folder / self.path.rpartition("/")[2]
        if not path.is_file():
            return self.send_error(404)
        content = path.read_bytes()
        start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").rstrip("-")) if gives_parts else 0
        self.server.starts.append(start)
        n_bytes = self.server.bytes_until_break.pop(0) if start > 1 and self.server.bytes_until_break else len(content)
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        with contextlib.suppress(OSError):  # whoever asked has enough
            self.wfile.write(content[start : start + n_bytes])
        return None

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("server")
    with zipfile.ZipFile(folder / "set.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("set/before.bin", NOISE)
        archive.writestr("set/tree/a", "first")
        archive.writestr("set/tree/deep/b", b"second" * 1000)
        archive.writestr("set/tree/empty", "")
        # Not packed, and with a header that is longer than the archive's directory says, as those of large files are.
        with archive.open(zipfile.ZipInfo("set/tree/stored"), "w", force_zip64=True) as member:
            member.write(b"stored")
        archive.writestr("set/tree/nothing/", "")
        archive.writestr("__MACOSX/set/tree/._a", "notes")
        archive.writestr(NAME, NOISE[::-1])
        archive.writestr("set/after.bin", NOISE)
    with zipfile.ZipFile(folder / "nested.zip", "w") as archive:
        archive.writestr("data/set/tree/a", "nested")
    damaged = bytearray((folder / "set.zip").read_bytes())
    with zipfile.ZipFile(folder / "set.zip") as archive:
        damaged[archive.getinfo("set/after.bin").header_offset - 100] ^= 1
    (folder / "damaged.zip").write_bytes(damaged)
    (folder / "page.zip").write_text("<html>Please log in</html>")
    return folder


@pytest.fixture
def server(folder: Path) -> Iterator[Server]:
    with Server(folder) as server:
        thread = threading.Thread(target=server.serve_forever, args=[0.01])
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def size_of(path: Path) -> str:
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return f"{sum(file.stat().st_size for file in files)} bytes"


def wanted(folder: Path, name: str = NAME, check=size_of) -> Wanted:
    return Wanted(name=name, target=folder / name, check=check)


def error_of(source: str, item: Wanted, kind: type[Exception] = DownloadError) -> str:
    """The message, having made sure that there is nothing where the user looks."""
    with pytest.raises(kind) as caught:
        list(take(source, [item]))
    assert not item.target.exists()
    return str(caught.value)


def files_below(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


TREE = {"a": b"first", "deep/b": b"second" * 1000, "empty": b"", "stored": b"stored"}


# -- what is fetched --------------------------------------------------------------------------------------------------


def test_only_the_member_is_fetched_in_one_answer(server, tmp_path):
    lines = list(take(f"{server.address}/set.zip", [wanted(tmp_path)]))

    assert lines == [f"{tmp_path}/{NAME}: 3145728 bytes, 3.1 MB"]
    assert files_below(tmp_path) == {NAME: NOISE[::-1]}
    size = (server.folder / "set.zip").stat().st_size
    in_the_middle = [start for start in server.starts if 1 < start < size - 10_000]
    assert len(in_the_middle) == 1


def test_a_folder_is_fetched_in_one_answer(server, tmp_path):
    lines = list(take(f"{server.address}/set.zip", [wanted(tmp_path, "set/tree")]))

    assert lines == [f"{tmp_path}/set/tree: 6011 bytes, 0.0 MB"]
    assert files_below(tmp_path / "set" / "tree") == TREE
    assert [path.name for path in (tmp_path / "set").iterdir()] == ["tree"]


def test_an_archive_on_this_machine_is_unpacked(folder, tmp_path):
    source = str(folder / "set.zip")

    list(take(source, [wanted(tmp_path), wanted(tmp_path, "set/tree")]))

    assert files_below(tmp_path) == {NAME: NOISE[::-1]} | {f"set/tree/{path}": text for path, text in TREE.items()}


def test_the_archive_may_have_it_in_another_folder(folder, tmp_path):
    list(take(str(folder / "nested.zip"), [wanted(tmp_path, "set/tree/a")]))

    assert files_below(tmp_path) == {"set/tree/a": b"nested"}


def test_what_is_there_is_not_fetched_again(tmp_path):
    (tmp_path / "set").mkdir()
    (tmp_path / NAME).write_text("mine")

    assert list(take("nowhere", [wanted(tmp_path)])) == [f"{tmp_path}/{NAME}: is there already, with 4 bytes"]


def test_of_a_server_that_gives_no_parts_the_whole_archive_is_fetched(server, tmp_path, caplog):
    address = f"{server.address}/whole/set.zip"

    with caplog.at_level(logging.WARNING):
        list(take(address, [wanted(tmp_path, "set/tree")]))

    assert files_below(tmp_path) == {f"set/tree/{path}": text for path, text in TREE.items()}
    assert [path.name for path in (tmp_path / "set").iterdir()] == ["tree"]
    assert caplog.messages == [
        f"{address}: the server gives no parts of this file, so all of it is fetched; to keep it for other calls, "
        "download it yourself and use --source FILE"
    ]


# -- interruptions ----------------------------------------------------------------------------------------------------


def test_a_connection_that_breaks_off_is_made_again(server, tmp_path):
    with zipfile.ZipFile(server.folder / "set.zip") as archive:
        start = archive.getinfo(NAME).header_offset
    directory = [1 << 20] * (n_requests_of_directory(server, tmp_path) - 1)
    server.bytes_until_break = [*directory, 1_000_000, 1_000_000]

    list(take(f"{server.address}/set.zip", [wanted(tmp_path)]))

    assert (tmp_path / NAME).read_bytes() == NOISE[::-1]
    assert server.starts[-3:] == [start, start + 1_000_000, start + 2_000_000]


def n_requests_of_directory(server: Server, folder: Path) -> int:
    """Including the one that asks whether there are parts."""
    with pytest.raises(DownloadError):
        list(take(f"{server.address}/set.zip", [wanted(folder, "none")]))
    count = len(server.starts)
    server.reset()
    return count


def test_the_next_call_goes_on_where_a_file_was_interrupted(server, tmp_path):
    address = f"{server.address}/set.zip"
    directory = [1 << 20] * (n_requests_of_directory(server, tmp_path) - 1)
    server.bytes_until_break = [*directory, 1_000_000, 0]

    message = error_of(address, wanted(tmp_path))
    with zipfile.ZipFile(server.folder / "set.zip") as archive:
        member = archive.getinfo(NAME)
    size = (server.folder / "set.zip").stat().st_size
    assert message == (
        f"{address}: the connection ended after {member.header_offset + 1_000_000} of {size} bytes; try again"
    )

    server.reset()
    list(take(address, [wanted(tmp_path)]))

    assert files_below(tmp_path) == {NAME: NOISE[::-1]}
    in_the_middle = [start for start in server.starts if 1 < start < size - 10_000]
    assert in_the_middle == [member.header_offset, member.header_offset + 1_000_000]


def test_the_next_call_keeps_the_whole_files_of_a_folder(folder, tmp_path):
    begun = tmp_path / "set" / ".tree.part"
    begun.mkdir(parents=True)
    (begun / "a").write_bytes(b"FIRST")  # as long as it has to be
    (begun / "stored").write_bytes(b"sto")

    list(take(str(folder / "set.zip"), [wanted(tmp_path, "set/tree")]))

    assert files_below(tmp_path / "set") == {f"tree/{path}": text for path, text in TREE.items()} | {"tree/a": b"FIRST"}


def test_something_else_in_its_place_is_left_alone(folder, tmp_path):
    def check(path: Path) -> str:
        raise DataError(f"{path}: is too small")

    (tmp_path / "set").mkdir()
    (tmp_path / NAME).write_text("mine")
    with pytest.raises(DataError) as caught:
        list(take(str(folder / "set.zip"), [wanted(tmp_path, check=check)]))

    assert str(caught.value) == f"{tmp_path}/{NAME}: is too small; move it away to get the published one"
    assert files_below(tmp_path) == {NAME: b"mine"}


# -- what is wrong ----------------------------------------------------------------------------------------------------


def test_a_damaged_member_is_said_and_not_kept(server, tmp_path):
    for source in (f"{server.address}/damaged.zip", str(server.folder / "damaged.zip")):
        assert error_of(source, wanted(tmp_path)) == (
            f"{source}: '{NAME}' is damaged (Bad CRC-32 for file '{NAME}'); try again"
        )
        assert files_below(tmp_path) == {}


@pytest.mark.parametrize("name", [NAME, "set/tree"])
def test_what_does_not_pass_its_check_is_not_kept(folder, tmp_path, name):
    def check(path: Path) -> str:
        raise DataError(f"{path}: is too small")

    source, item = str(folder / "set.zip"), wanted(tmp_path, name, check)

    assert error_of(source, item, DataError) == f"{source}: is too small; nothing was written to '{item.target}'"
    assert files_below(tmp_path) == {}


@pytest.mark.parametrize("name", ["../evil", "set/../../evil", "/evil", "C:/evil", "..\\evil", "\\evil"])
def test_members_that_would_be_written_elsewhere_are_refused(tmp_path, name):
    source = tmp_path / "evil.zip"
    with zipfile.ZipFile(source, "w") as archive:
        archive.writestr(NAME, "good")
        archive.writestr(name, "evil")

    assert error_of(str(source), wanted(tmp_path)) == (
        f"{source}: its member '{name}' leads out of the folder it is unpacked in; use the published archive"
    )


def test_what_the_archive_does_not_have_is_said_with_what_it_has(folder, tmp_path):
    source = str(folder / "set.zip")

    assert (
        error_of(source, wanted(tmp_path, "other/big.bin")) == f"{source}: has no 'other/big.bin'; it has 'set/big.bin'"
    )
    assert error_of(source, wanted(tmp_path, "other/tree")) == f"{source}: has no 'other/tree'; it has 'set'"


def test_other_ways_of_packing_are_said(tmp_path):
    source = tmp_path / "set.zip"
    with zipfile.ZipFile(source, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr(NAME, "packed")

    assert error_of(str(source), wanted(tmp_path)) == (
        f"{source}: '{NAME}' is packed by method 14, which is not supported; unpack the archive with another program"
    )


def test_a_page_in_place_of_the_archive_is_said(server, tmp_path):
    source = f"{server.address}/page.zip"

    assert error_of(source, wanted(tmp_path)) == (
        f"{source}: is not a complete .zip; if it was downloaded or copied, do it again"
    )


def test_a_source_that_is_not_there_is_said(server, tmp_path):
    assert error_of("none.zip", wanted(tmp_path)) == (
        "none.zip: cannot be read (No such file or directory); give a file or an address"
    )
    assert error_of(f"{server.address}/none.zip", wanted(tmp_path)) == (
        f"{server.address}/none.zip: the server answers 404 Not Found; {HINT}"
    )


def test_without_a_network_it_is_said_what_to_do(tmp_path):
    assert error_of("http://127.0.0.1:1/set.zip", wanted(tmp_path)) == (
        f"http://127.0.0.1:1/set.zip: cannot be reached ([Errno 111] Connection refused); {HINT}"
    )


def test_a_folder_that_cannot_be_written_to_is_said(server, tmp_path):
    (tmp_path / "set").write_text("mine")

    for source in (f"{server.address}/set.zip", str(server.folder / "set.zip")):
        assert error_of(source, wanted(tmp_path)) == f"{tmp_path}/{NAME}: cannot be written (File exists)"
    assert error_of(f"{server.address}/whole/set.zip", wanted(tmp_path)) == (
        f"{tmp_path}/set: cannot be written (File exists)"
    )


# -- a file on a server, read as one on this machine -------------------------------------------------------------------


def test_a_remote_file_reads_as_a_local_one_does(server, folder):
    content = (folder / "set.zip").read_bytes()
    file = open_remote_file(f"{server.address}/set.zip", otherwise=HINT)
    assert file is not None

    with file:
        for position in (5, len(content) // 2, len(content) // 2 + 5000, 100):
            file.seek(position)
            buffer = bytearray(1000)
            count = file.readinto(buffer)
            assert buffer[:count] == content[position : position + count]
            assert file.tell() == position + count
        assert file.seek(-3, 2) == len(content) - 3
        assert file.readall() == content[-3:]
        assert file.read(1) == b""
        assert file.seek(7, 1) == len(content) + 7
        assert file.read(1) == b""
        with pytest.raises(ValueError, match=r"^-1 is before the beginning of http"):
            file.seek(-1)
    assert server.starts == [1, 5, len(content) // 2, 100, len(content) - 3]
