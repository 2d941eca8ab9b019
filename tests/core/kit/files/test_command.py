"""What the commands ``dp-data download`` of all plugins have in common."""

from __future__ import annotations

from pathlib import Path

import pytest

from dp_core.kit.files.command import add_archive_options, download_command, download_parser, run_download


def run(argv: list[str], *addresses: str) -> dict[str, object]:
    """The options that the function which downloads receives."""
    parser = download_parser("sheep", "Get sheep.")
    parser.add_argument("--count", type=int, default=3, help="how many")
    add_archive_options(parser, "the folder meadow", *addresses)
    received: dict[str, object] = {}

    def download(**options: object) -> list[str]:
        received.update(options)
        return ["one", "two"]

    assert run_download(parser, argv, download) == 0
    return received


def test_the_options_go_to_the_function_and_its_lines_are_printed(capsys):
    assert run([], "https://a") == {"count": 3, "output": Path("data"), "source": "https://a"}
    assert capsys.readouterr().out == "one\ntwo\n"
    assert run(["--count", "5", "--output", "there", "--source", "a.zip"], "https://a") == {
        "count": 5,
        "output": Path("there"),
        "source": "a.zip",
    }


def test_of_several_archives_the_function_chooses(capsys):
    assert run([], "https://a", "https://b") == {"count": 3, "output": Path("data")}
    assert run(["--source", "a.zip"], "https://a", "https://b")["source"] == "a.zip"


def test_the_help_says_what_is_in_the_folder_and_where_the_archives_are(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")

    with pytest.raises(SystemExit) as caught:
        run(["--help"], "https://a", "https://b")

    assert caught.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    assert text.startswith("usage: dp-data download sheep [-h] [--count COUNT] [--output OUTPUT] [--source SOURCE] ")
    assert "--count COUNT how many (default: 3)" in text
    assert "--output OUTPUT folder that the folder meadow is in, or will be (default: data)" in text
    assert text.endswith(
        "--source SOURCE address of the archive, or an archive that was downloaded elsewhere; "
        "if it is not given, https://a or https://b"
    )


@pytest.mark.parametrize(
    ("path", "command"),
    [
        ("data/meadow/sheep.zip", "dp-data download sheep --small"),
        ("/disk/meadow/sheep.zip", "dp-data download sheep --small --output /disk"),
        ("meadow/sheep.zip", "dp-data download sheep --small --output ."),
        ("mine/sheep.zip", "dp-data download sheep --small"),
    ],
)
def test_the_command_puts_a_file_where_it_is_missing(path, command):
    assert download_command("sheep", Path(path), "meadow/sheep.zip", "--small") == command
