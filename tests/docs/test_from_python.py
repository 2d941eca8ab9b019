"""docs/from_python.md: its code runs, and its run stops, continues and is evaluated as it says."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dp_core import load_policy, runs
from dp_core.testing.fakes import installed

PAGE = "from_python.md"


@pytest.fixture
def work(page: Callable[[str], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder to work in, with the files of the page."""
    for name, text in page(PAGE).files().items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DP_PLUGINS", "")  # is put back when the page has changed it
    with installed(tmp_path):
        yield tmp_path


def test_its_code_does_what_it_says(work: Path, page: Callable[[str], Any], capsys: pytest.CaptureFixture[str]) -> None:
    (code,) = (block for block in page(PAGE).blocks("python") if not block.startswith("# "))
    done: dict[str, Any] = {}
    exec(compile(code, PAGE, "exec"), done)
    printed = capsys.readouterr().out

    assert re.findall(r"^(stopped|ended) after epoch (\d)", printed, re.M) == [("stopped", "2"), ("ended", "4")]
    assert done["evaluation"].log == Path("runs/mine/eval_latest/eval_log.json")
    assert done["evaluation"].log.is_file()


def test_its_functions_are_there(page: Callable[[str], Any]) -> None:
    table = re.findall(r"^\|.*\| `(\w+)\(", page(PAGE).text, re.M)

    assert [getattr(runs, name).__name__ for name in table] == ["start", "resume", "evaluate", "load_policy"]
    assert runs.load_policy is load_policy
