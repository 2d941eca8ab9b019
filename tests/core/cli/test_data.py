"""`dp-data`: the commands of data sets, whoever ships them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from dp_core.cli.data import main
from dp_core.testing.fakes import installed, write_distribution

PLUGIN = """
import attrs
from dp_core import Component, hookimpl

DP_API = 1

@attrs.frozen(kw_only=True)
class Options:
    pass

@hookimpl
def dp_components():
    commands = {"record": f"{__package__}.record:main"}
    yield Component(
        kind="dataset", name="cart", target="a.b:C", config=Options, summary="", requires=(), data_commands=commands
    )
"""
RECORD = """
from dp_core import DpError

def main(argv):
    if argv:
        raise DpError(f"cannot record {argv}")
    print("recorded by", __package__)
    return 3
"""
FILES = {"plugin.py": PLUGIN, "record.py": RECORD}


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The distribution borel-data is installed, and dp-core's own plugins are left out."""
    monkeypatch.setenv("DP_DISABLE_PLUGINS", "dp-core")
    write_distribution(tmp_path, "borel-data", "1.2", {"borel": FILES})
    with installed(tmp_path):
        yield tmp_path


def test_a_command_gets_the_words_that_follow_and_its_status_is_that_of_the_program(
    site: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["record", "cart"]) == 3
    assert main(["record", "borel-data/cart"]) == 3
    assert capsys.readouterr().out == "recorded by dp_borel\n" * 2
    assert main(["record", "cart", "--fast"]) == 2
    assert capsys.readouterr().err == "dp-data: error: cannot record ['--fast']\n"


def test_a_name_of_two_packages_is_not_guessed(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_distribution(site, "lab-data", "0.1", {"lab": FILES})

    assert main(["--list"]) == 0
    assert capsys.readouterr().out == "dp-data record borel-data/cart\ndp-data record lab-data/cart\n"
    assert main(["record", "cart"]) == 2
    assert capsys.readouterr().err == (
        "dp-data: error: 'dp-data record cart' is provided by 2 packages; write 'dp-data record borel-data/cart' or "
        "'dp-data record lab-data/cart'\n"
    )
    assert main(["record", "lab-data/cart"]) == 3
    assert capsys.readouterr().out == "recorded by dp_lab\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["record", "pole"], "there is no 'dp-data record pole'; there are 'record cart'"),
        (["copy", "cart"], "there is no 'dp-data copy cart'; there are 'record cart'"),
        (["record"], "which command and data set? there are 'record cart'"),
        (
            ["record", "borel-data/cart", "-p", "no:borel"],
            "there is no 'dp-data record borel-data/cart'; the plugin 'borel' of borel-data 1.2 is disabled: by -p "
            "no:borel or DP_DISABLE_PLUGINS=borel; there are none",
        ),
    ],
)
def test_what_is_not_there_is_said(
    words: list[str], message: str, site: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = words[words.index("-p") :] if "-p" in words else []

    assert main([*options, *words[: len(words) - len(options)]]) == 2
    assert capsys.readouterr().err.endswith(f"dp-data: error: {message}\n")
