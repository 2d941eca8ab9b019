"""Many processes want the same name in the same moment: each gets what it was promised."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from dp_core.atomic import LONGEST_NAME, new_folder, whole_file

N = 8

# Waits for the others to have imported everything, so that all ask in the same moment.
ASKER = """
import itertools, sys, time
from pathlib import Path
from dp_core.atomic import new_folder
folder, ready = Path(sys.argv[1]), Path(sys.argv[2])
ready.mkdir(parents=True, exist_ok=True)
(ready / sys.argv[3]).touch()
while len(list(ready.iterdir())) < int(sys.argv[4]):
    pass
print(new_folder(folder / f"run_{number}" for number in itertools.count()))
"""


def at_once(work: Callable[[int], None]) -> list[BaseException | None]:
    """What each of `N` threads raised that began together."""
    start = threading.Barrier(N)
    raised: list[BaseException | None] = [None] * N

    def one(index: int) -> None:
        start.wait()
        try:
            work(index)
        except BaseException as error:
            raised[index] = error

    threads = [threading.Thread(target=one, args=(index,)) for index in range(N)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return raised


def write(target: Path, text: str, *, exclusive: bool = False) -> None:
    with whole_file(target, exclusive=exclusive) as temporary:
        temporary.write_text(text)


@pytest.mark.parametrize("has_links", [True, False])
def test_one_of_many_makes_a_file_and_the_others_hear_that_it_is_there(
    has_links: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError

    if not has_links:
        monkeypatch.setattr(os, "link", refuse)

    raised = at_once(lambda index: write(tmp_path / "x", f"{index}" * 100_000, exclusive=True))

    (winner,) = [index for index, error in enumerate(raised) if error is None]
    assert {type(error) for error in raised} == {type(None), FileExistsError}
    assert (tmp_path / "x").read_text() == f"{winner}" * 100_000
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_writers_of_the_same_file_leave_that_of_one_of_them_whole(tmp_path: Path) -> None:
    raised = at_once(lambda index: write(tmp_path / "x", f"{index}" * 100_000))

    assert raised == [None] * N
    assert (tmp_path / "x").read_text() in [f"{index}" * 100_000 for index in range(N)]
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_a_block_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    write(tmp_path / "x", "old")

    with pytest.raises(UnicodeEncodeError), whole_file(tmp_path / "x") as temporary:
        temporary.write_text("new \udc80", encoding="utf-8")

    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]


def test_the_longest_name_can_be_written(tmp_path: Path) -> None:
    write(tmp_path / ("x" * LONGEST_NAME), "text")

    assert [len(path.name) for path in tmp_path.iterdir()] == [LONGEST_NAME]


def test_processes_that_ask_at_once_get_a_folder_each(tmp_path: Path) -> None:
    command = [sys.executable, "-c", ASKER, tmp_path / "new" / "runs", tmp_path / "ready"]
    started = [
        subprocess.Popen([*command, str(index), "4"], stdout=subprocess.PIPE, text=True, stderr=subprocess.STDOUT)
        for index in range(4)
    ]
    answers = sorted(process.communicate(timeout=60)[0].strip() for process in started)

    assert answers == [str(tmp_path / "new" / "runs" / f"run_{number}") for number in range(4)]


def test_a_name_that_a_file_has_is_taken(tmp_path: Path) -> None:
    (tmp_path / "a_0").touch()
    (tmp_path / "a_1").symlink_to("nowhere")

    assert new_folder(tmp_path / f"a_{number}" for number in itertools.count()) == tmp_path / "a_2"


def test_a_folder_in_a_file_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "runs").touch()

    with pytest.raises(OSError, match="runs"):
        new_folder(tmp_path / "runs" / f"a_{number}" for number in itertools.count())
