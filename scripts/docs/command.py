"""``python -m scripts.docs``: write the pages that are made from the code."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from dp_core.cli.command import run_command
from scripts.docs.api import api_page
from scripts.docs.components import components_page, own_components
from scripts.docs.hooks import hooks_page


def main(argv: Sequence[str] | None = None) -> int:
    """Write the pages into the folder that the arguments name, and return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m scripts.docs", description="Write api.md, components.md and hooks.md, from the code."
    )
    parser.add_argument("--output", type=Path, default=Path("docs"), metavar="DIR", help="where to; default: docs")
    arguments = parser.parse_args(argv)
    return run_command("docs", lambda: _write(arguments.output))


def _write(folder: Path) -> int:
    for name, text in pages().items():
        (folder / name).write_text(text, encoding="utf-8")
        print(f"wrote {folder / name}")
    return 0


def pages() -> dict[str, str]:
    """Return the text of every page by its file name."""
    return {"api.md": api_page(), "components.md": components_page(own_components()), "hooks.md": hooks_page()}
