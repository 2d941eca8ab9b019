"""``-p``, which every command has that asks for components."""

from __future__ import annotations

from argparse import ArgumentParser

from dp_core.discovery.switches import DISABLE, LOAD, NO_AUTOLOAD, STRICT, TRACE


def add_plugin_option(parser: ArgumentParser) -> None:
    """Add ``-p``; its values are for `run_command`."""
    group = parser.add_argument_group(
        "plugins",
        f"NAME is a plugin, its distribution or a module. Environment variables do the same: {LOAD}=A,B and "
        f"{DISABLE}=A,B; besides, {NO_AUTOLOAD}=1 loads only what is named, {STRICT}=1 makes a broken plugin an error, "
        f"{TRACE}=1 shows each plugin that is loaded and each hook that is called.",
    )
    group.add_argument(
        "-p",
        dest="plugins",
        action="append",
        default=[],
        metavar="NAME",
        help="load NAME too, which need not be installed; `-p no:NAME`: never import it",
    )
