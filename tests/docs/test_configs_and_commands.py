"""docs/configs_and_commands.md: a lab's package, installed by pip, has the configs and commands that the page shows."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dp_core.checkpoint import read_payload
from dp_core.cli.data import main as dp_data
from dp_core.cli.run import main as dp_run
from dp_core.testing.fakes import installed

PAGE = "configs_and_commands.md"


@pytest.fixture(scope="module")
def site_packages(page: Callable[[str], Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where pip has installed the package of the page."""
    source, folder = tmp_path_factory.mktemp("borel-data"), tmp_path_factory.mktemp("site-packages")
    for path, text in {**page(PAGE).files(), "borel_data/__init__.py": ""}.items():
        (source / path).parent.mkdir(parents=True, exist_ok=True)
        # The first line says where the file goes; in a config it would be the summary.
        (source / path).write_text(text.partition("\n")[2], encoding="utf-8")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", "install"]
    command = [*pip, "--no-index", "--no-build-isolation", "--no-deps", "--target", str(folder), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def site(
    site_packages: Path, page: Callable[[str], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    """It is installed, and the present folder holds nothing but the config that a reader writes."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text(page(PAGE).files()["mine.yaml"])
    with installed(site_packages) as folder:
        yield folder


def test_commands_print_what_is_shown(
    site: Path, page: Callable[[str], Any], capfd: pytest.CaptureFixture[str]
) -> None:
    """In this order: made by one command, trained on by the next. Between lines that are shown, others may come."""
    parts = re.split(r"^\$ ", "".join(page(PAGE).blocks("console")), flags=re.M)[1:]
    assert len(parts) == 7
    for part in parts:
        command, *expected = part.splitlines()
        run(shlex.split(command), site)
        captured = capfd.readouterr()
        printed = iter([" ".join(line.split()) for line in (captured.out + captured.err).splitlines()])
        missing = [line for line in expected if " ".join(line.split()) not in printed]
        assert missing == [], command

    manifest = read_payload("runs/pendulum/checkpoints/latest.ckpt")["manifest"]
    assert manifest["components"]["dataset"] == "borel-data/pendulum"


def run(words: list[str], site: Path) -> None:
    commands = {"dp-run": dp_run, "dp-data": dp_data}
    if words[0] in commands:
        assert commands[words[0]](words[1:]) == 0
        return
    program = [sys.executable, site / "bin" / words[0], *words[1:]]  # a script of pip
    paths = os.pathsep.join([str(site), *sys.path])
    subprocess.run(program, env=os.environ | {"PYTHONPATH": paths}, timeout=60, check=False)


def test_its_fragment_can_be_built_on(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert dp_run(["--check", "mine.yaml"]) == 0
    assert capsys.readouterr().out.startswith("mine.yaml: ok\n")
