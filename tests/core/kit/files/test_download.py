"""Downloads against a server of our own: nothing here reaches the network."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from dp_core.atomic import whole_file
from dp_core.errors import DownloadError
from dp_core.kit.files.download import download

CONTENT = bytes(range(256)) * 12_000
HINT = "fetch it elsewhere"


class Server(BaseHTTPRequestHandler):
    """Breaks off in the middle of ``/broken`` and ``/stubborn``; continues the first when asked for the rest."""

    def do_GET(self) -> None:
        start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").rstrip("-"))
        if self.path == "/none":
            return self.send_error(404)
        continues = start and self.path == "/broken"
        content = CONTENT[start:] if continues else CONTENT
        self.send_response(206 if continues else 200)
        if self.path != "/chunks":
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        is_cut = self.path == "/stubborn" or (self.path == "/broken" and start < len(CONTENT) // 2)
        self.wfile.write(content[: len(content) // 2 if is_cut else None])
        return None

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def error_of(address: str, target: Path, **options: object) -> str:
    """The message, having made sure that nothing was left behind."""
    with pytest.raises(DownloadError) as caught:
        download(address, target, otherwise=HINT, **options)
    assert list(target.parent.iterdir()) == []
    return str(caught.value)


@pytest.mark.parametrize("name", ["whole", "chunks", "broken"])
def test_a_file_is_fetched_also_where_its_length_is_not_told_or_connections_break_off(address, tmp_path, name):
    target = tmp_path / "folder" / "file"

    download(f"{address}/{name}", target, otherwise=HINT)

    assert target.read_bytes() == CONTENT
    assert list(target.parent.iterdir()) == [target]


def test_a_file_on_this_machine_has_an_address_too(tmp_path):
    (tmp_path / "source").write_bytes(b"weights")

    download((tmp_path / "source").as_uri(), tmp_path / "target", otherwise=HINT)

    assert (tmp_path / "target").read_bytes() == b"weights"


def test_a_server_that_cannot_go_on_is_said(address, tmp_path):
    assert error_of(f"{address}/stubborn", tmp_path / "file") == (
        f"{address}/stubborn: the connection ended after {len(CONTENT) // 2} of {len(CONTENT)} bytes; try again"
    )


def test_a_server_that_does_not_have_it_is_said(address, tmp_path):
    assert error_of(f"{address}/none", tmp_path / "file") == f"{address}/none: the server answers 404 Not Found; {HINT}"


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ("http://127.0.0.1:1/file", "[Errno 111] Connection refused"),
        ("nowhere", "unknown url type: 'nowhere'"),
    ],
)
def test_without_a_network_it_is_said_what_to_do(tmp_path, wrong, reason):
    assert error_of(wrong, tmp_path / "file") == f"{wrong}: cannot be reached ({reason}); {HINT}"


def test_what_the_check_refuses_is_not_kept(address, tmp_path):
    def check(fetched: Path) -> None:
        raise DownloadError(f"{fetched.stat().st_size} bytes are not enough")

    assert error_of(f"{address}/whole", tmp_path / "file", check=check) == f"{len(CONTENT)} bytes are not enough"


def test_a_folder_that_cannot_be_written_to_is_said(address, tmp_path):
    (tmp_path / "file").write_text("mine")
    target = tmp_path / "file" / "below"

    with pytest.raises(DownloadError) as caught:
        download(f"{address}/whole", target, otherwise=HINT)

    assert str(caught.value) == f"{target}: cannot be written (File exists)"


def test_what_was_there_survives_a_failure(tmp_path):
    target = tmp_path / "file"
    target.write_text("old")

    with pytest.raises(UnicodeEncodeError), whole_file(target) as temporary:
        temporary.write_text("half \udcff")

    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]
