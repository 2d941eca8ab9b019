"""docs/exactness.md: its code runs, and its command says what it says there."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from typing import Any

import pytest

from dp_core.cli.run import main as dp_run

PAGE = "exactness.md"


def test_its_code_runs(page: Callable[[str], Any]) -> None:
    (block,) = page(PAGE).blocks("python")

    exec(compile(block, PAGE, "exec"), {})


def test_its_command_says_what_it_says(
    page: Callable[[str], Any], capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    (block,) = page(PAGE).blocks("console")
    command, *expected = block.splitlines()
    status = dp_run(shlex.split(command)[2:])
    said = [f"{record.levelname}: {record.getMessage()}" for record in caplog.records]

    assert status == 0
    assert [*said, *capsys.readouterr().out.splitlines()] == expected


def test_it_speaks_of_options_that_there_are(page: Callable[[str], Any]) -> None:
    options = (page("components.md").text).replace("`", "")
    named = {name.rpartition(".")[2] for name in re.findall(r"`([a-z_.]+)(?:: \w+)?`", page(PAGE).text)}
    others = {"low_dim", "rgb", "predict_action", "shape_meta", "val_loss", "leading", "trailing"}
    others |= {"timm", "cnn", "r3m", "dpm_solver"}

    assert {name for name in named - others if name not in options} == set()
