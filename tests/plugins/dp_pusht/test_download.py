"""``dp-data download pusht`` against a server and files of our own: nothing here reaches the network."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from dp_core.errors import DataError
from dp_pusht.download import check_archive, download
from dp_pusht.download_cli import main
from dp_replay.buffer import ReplayBuffer

HINT = "download it on a machine that can reach it, then: dp-data download pusht --source FILE"


class QuietHandler(SimpleHTTPRequestHandler):
    """Serves a folder; ``cut.zip`` ends early."""

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass

    def copyfile(self, source, outputfile) -> None:
        content = source.read()
        outputfile.write(content[:-10] if self.path.endswith("cut.zip") else content)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("server")
    shapes = {"action": (2,), "img": (4, 4, 3), "keypoint": (9, 2), "state": (5,)}
    archive = ReplayBuffer({key: np.zeros((7, *shape), np.float32) for key, shape in shapes.items()}, [3, 7])
    archive.save(folder / "pusht.zip")
    (folder / "cut.zip").write_bytes((folder / "pusht.zip").read_bytes())
    (folder / "page.html").write_text("<html>Please log in</html>")
    return folder


@pytest.fixture(scope="module")
def address(folder: Path) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(QuietHandler, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def error_of(source: str, output: Path, **numbers: int) -> str:
    """The message, having made sure that nothing was left behind."""
    with pytest.raises(DataError) as caught:
        download(source, output, **({"n_episodes": 2, "n_steps": 7} | numbers))
    assert list(output.parent.iterdir()) == []
    return str(caught.value)


def test_an_archive_is_downloaded(address, folder, tmp_path):
    output = tmp_path / "data" / "pusht.zip"

    download(f"{address}/pusht.zip", output, n_episodes=2, n_steps=7)

    assert output.read_bytes() == (folder / "pusht.zip").read_bytes()
    assert list(output.parent.iterdir()) == [output]


def test_an_archive_is_taken_from_a_file(folder, tmp_path):
    download(str(folder / "pusht.zip"), tmp_path / "mine.zip", n_episodes=2, n_steps=7)

    assert (tmp_path / "mine.zip").read_bytes() == (folder / "pusht.zip").read_bytes()


def test_a_connection_that_ends_early_is_said(address, folder, tmp_path):
    size = (folder / "cut.zip").stat().st_size

    assert error_of(f"{address}/cut.zip", tmp_path / "a.zip") == (
        f"{address}/cut.zip: the connection ended after {size - 10} of {size} bytes; try again"
    )


def test_a_page_in_place_of_the_archive_is_said(address, tmp_path):
    output = tmp_path / "a.zip"

    assert error_of(f"{address}/page.html", output) == (
        f"{address}/page.html: is neither a folder nor a complete .zip; if it was downloaded or copied, do it again; "
        f"nothing was written to '{output}'"
    )


def test_another_number_of_episodes_or_steps_is_said(folder, tmp_path):
    source, output = str(folder / "pusht.zip"), tmp_path / "a.zip"
    nothing = f"; nothing was written to '{output}'"

    assert error_of(source, output, n_episodes=206) == f"{source}: has 2 episodes; expected 206{nothing}"
    assert error_of(source, output, n_steps=25650) == f"{source}: has 7 steps; expected 25650{nothing}"


def test_a_server_that_does_not_have_it_is_said(address, tmp_path):
    assert error_of(f"{address}/none.zip", tmp_path / "a.zip") == (
        f"{address}/none.zip: the server answers 404 File not found; {HINT}"
    )


def test_without_a_network_it_is_said_what_to_do(tmp_path):
    assert error_of("http://127.0.0.1:1/pusht.zip", tmp_path / "a.zip") == (
        f"http://127.0.0.1:1/pusht.zip: cannot be reached ([Errno 111] Connection refused); {HINT}"
    )


def test_a_source_that_is_not_there_is_said(tmp_path):
    assert error_of("none.zip", tmp_path / "a.zip") == (
        "none.zip: cannot be read (No such file or directory); give a file or an address"
    )


def test_the_command_says_what_it_has_got_and_does_not_fetch_it_twice(pusht_archive, tmp_path, capsys):
    output = tmp_path / "pusht.zip"

    assert main(["--output", str(output), "--source", str(pusht_archive)]) == 0
    assert main(["--output", str(output), "--source", "nowhere"]) == 0

    assert capsys.readouterr().out.splitlines() == [
        f"{output}: 206 episodes, 25650 steps, 31 MB; use it with dataset.path={output}",
        f"{output}: is there already, and complete",
    ]
    check_archive(output)


def test_a_file_that_is_something_else_is_not_replaced(tmp_path):
    output = tmp_path / "pusht.zip"
    output.write_text("mine")

    with pytest.raises(DataError, match="is neither a folder nor a complete"):
        main(["--output", str(output)])

    assert output.read_text() == "mine"
