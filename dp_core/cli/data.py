"""``dp-data COMMAND NAME``: what data sets offer to get or to make their demonstrations."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from dp_core.cli.command import add_common_options, run_command
from dp_core.component import Component, load_target
from dp_core.errors import DpError
from dp_core.registry import Registry


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``dp-data``: hand the remaining arguments to the command of the data set's plugin."""
    parser = argparse.ArgumentParser(
        prog="dp-data",
        description="Get or make demonstrations.",
        epilog="`dp-data --list` shows what there is; `dp-data COMMAND NAME --help` the options of one.",
    )
    parser.add_argument("command", nargs="?", help="for example download or expert")
    parser.add_argument("name", nargs="?", help="a data set, for example pusht")
    parser.add_argument("--list", action="store_true", help="show the commands of all data sets")
    add_common_options(parser)
    parser.add_argument("rest", nargs=argparse.REMAINDER, help="options of the command")
    arguments = parser.parse_args(argv)
    return run_command("dp-data", lambda: _dispatch(parser, arguments), arguments.traceback, arguments.plugins)


def _dispatch(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> int:
    datasets = [c for c in Registry.discover().components("dataset") if c.data_commands]
    if arguments.list:
        if arguments.command:
            raise DpError(f"--list shows all commands; leave out '{arguments.command}'")
        print("\n".join(f"dp-data {command} {c.name}" for c in datasets for command in sorted(c.data_commands)))
        return 0
    if not (arguments.command and arguments.name):
        parser.print_usage(sys.stderr)
        raise DpError(f"which command and data set? there are {_choices(datasets)}")
    for component in datasets:
        if (
            arguments.name in (component.name, component.qualified_name)
            and arguments.command in component.data_commands
        ):
            if missing := component.missing():
                raise DpError(
                    f"{component.label} needs {', '.join(missing)}; install with: {component.install_command}"
                )
            function = load_target(component.data_commands[arguments.command], component.label, component.distribution)
            return int(function(arguments.rest))
    raise DpError(f"there is no 'dp-data {arguments.command} {arguments.name}'; there are {_choices(datasets)}")


def _choices(datasets: list[Component]) -> str:
    return ", ".join(f"'{command} {c.name}'" for c in datasets for command in sorted(c.data_commands)) or "none"
