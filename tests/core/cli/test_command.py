"""How commands end: what the machine refuses is one line, our own mistakes are tracebacks, and who may talk."""

from __future__ import annotations

import logging
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from dp_core.cli.command import USAGE_ERROR, run_command, set_up_logging


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()

    def command() -> int:
        (tmp_path / "file" / "run").mkdir()
        return 0

    assert run_command("dp-x", command) == USAGE_ERROR
    assert capsys.readouterr().err == f"dp-x: error: {tmp_path}/file/run: Not a directory\n"


def test_errors_that_name_no_file_are_not_hidden() -> None:
    def command() -> int:
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        run_command("dp-x", command)


def test_plugins_may_inform_and_everybody_may_warn(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = logging.getLogger()
    level = root.level
    monkeypatch.setattr(root, "handlers", [])
    set_up_logging()

    logging.getLogger("dp_replay.dataset").info("90 of 206 episodes")
    logging.getLogger("somebody").info("chatter")
    logging.getLogger("somebody").warning("careful")
    root.setLevel(level)

    assert capsys.readouterr().err == "INFO: 90 of 206 episodes\nWARNING: careful\n"


@pytest.mark.parametrize("command", ["dp_core.cli.run", "dp_core.cli.eval", "dp_core.cli.data", "dp_convert.cli"])
def test_every_command_says_its_version_without_torch(command: str) -> None:
    program = f"""
import atexit, sys
from {command} import main
atexit.register(lambda: print("torch" in sys.modules))
main(["--version"])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"dp-core {version('dp-core')}\nFalse\n"
