"""``python -m dp_core.new_plugin``: write a package with a plugin, to be filled with life."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from dp_core.cli.command import run_command
from dp_core.component import KINDS
from dp_core.errors import DpError, PluginError
from dp_core.new_plugin.names import why_not
from dp_core.new_plugin.package import component_name, package_files, package_name
from dp_core.registry import Registry


def main(argv: Sequence[str] | None = None) -> int:
    """Write the package that the arguments of ``python -m dp_core.new_plugin`` ask for; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m dp_core.new_plugin",
        description="Write a package with a plugin that is listed, passes its tests and trains as it is.",
        epilog="example: python -m dp_core.new_plugin dp-depth --kind encoder",
    )
    parser.add_argument(
        "name", metavar="NAME", help="of the distribution; its package and components are called so, without 'dp-'"
    )
    parser.add_argument(
        "--kind",
        action="append",
        required=True,
        dest="kinds",
        metavar="KIND",
        help=f"of the component; give it again for a package with several; {', '.join(KINDS)}",
    )
    parser.add_argument("--output", type=Path, default=Path(), metavar="DIR", help="where its folder goes; default: .")
    arguments = parser.parse_args(argv)
    return run_command("new_plugin", lambda: _write(arguments.name, arguments.kinds, arguments.output))


def _write(name: str, kinds: Sequence[str], parent: Path) -> int:
    _check(name, kinds)
    folder = parent / name
    if folder.exists():
        raise DpError(f"'{folder}' exists already; choose another name, or another folder with --output")
    files = package_files(name, set(kinds))
    for path, text in files.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
    package, component = package_name(name), component_name(name)
    print(f"wrote {len(files)} files in {folder}; its README says what is where")
    print(f"the package to import is {package}, and configs say {component}. Next:")
    print(f"  pip install -e '{folder}[test]'")
    print(f"  dp-run --check {component}")
    print(f"  python -m pytest {folder}")
    print(f"  dp-run {folder / 'train.yaml'}")
    return 0


def _check(name: str, kinds: Sequence[str]) -> None:
    """Nothing that is installed may have these names already."""
    if why := why_not(name):
        raise DpError(why)
    registry, component = Registry.discover(), component_name(name)
    for kind in kinds:
        if taken := [c for c in registry.components(kind) if c.name == component]:
            raise PluginError(f"{taken[0].distribution} has a {kind} '{component}' already; choose another name")
