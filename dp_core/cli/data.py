"""``dp-data COMMAND NAME``: what data sets offer to get or to make their demonstrations."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from dp_core.cli.command import add_common_options, run_command
from dp_core.component import Component, load_target
from dp_core.errors import DpError, quoted
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
    registry = Registry.discover()
    datasets = [c for c in registry.components("dataset") if c.data_commands]
    if arguments.list:
        if arguments.command:
            raise DpError(f"--list shows all commands; leave out '{arguments.command}'")
        print("\n".join(f"dp-data {choice}" for choice in _choices(datasets)))
        return 0
    if not (arguments.command and arguments.name):
        parser.print_usage(sys.stderr)
        raise DpError(f"which command and data set? there are {quoted(_choices(datasets)) or 'none'}")
    component = _chosen(registry, datasets, arguments.command, arguments.name)
    if missing := component.missing():
        raise DpError(f"{component.label} needs {', '.join(missing)}; install with: {component.install_command}")
    function = load_target(component.data_commands[arguments.command], component.label, component.distribution)
    return int(function(arguments.rest))


def _chosen(registry: Registry, datasets: list[Component], command: str, name: str) -> Component:
    wanted = [c for c in datasets if name in (c.name, c.qualified_name) and command in c.data_commands]
    if len(wanted) == 1:
        return wanted[0]
    if wanted:
        choices = quoted((f"dp-data {command} {c.qualified_name}" for c in wanted), " or ")
        raise DpError(f"'dp-data {command} {name}' is provided by {len(wanted)} packages; write {choices}")
    why = f"{absent}; " if (absent := registry.why_absent(name)) else ""
    raise DpError(f"there is no 'dp-data {command} {name}'; {why}there are {quoted(_choices(datasets)) or 'none'}")


def _choices(datasets: list[Component]) -> list[str]:
    names = [c.name for c in datasets]
    shown = {c: c.name if names.count(c.name) == 1 else c.qualified_name for c in datasets}
    return [f"{command} {name}" for c, name in shown.items() for command in sorted(c.data_commands)]
