"""The house rules: who may import whom, what is cheap to import, and that the installation is fresh."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CORE = ROOT / "dp_core"
PLUGINS = sorted(path for path in (ROOT / "plugins").iterdir() if path.name.startswith("dp_"))

ALLOWED = {(data_set, "dp_replay") for data_set in ("dp_pusht", "dp_robomimic", "dp_kitchen", "dp_blockpush")}
"""A plugin is exchanged alone; only a data set may build on the replay buffer."""

LIGHT_MODULES = [
    "dp_core",
    "dp_core.component",
    "dp_core.hooks",
    "dp_core.hook_manager",
    "dp_core.errors",
    "dp_core.discovery",
    "dp_core.registry",
    *(f"dp_core.config.{path.stem}" for path in sorted((CORE / "config").glob("[a-z]*.py"))),
    *(f"dp_core.cli.{path.stem}" for path in sorted((CORE / "cli").glob("[a-z]*.py"))),
]


def imports(path: Path) -> Iterator[str]:
    """Modules that a file imports, in functions too; not those that only type checkers import."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    skipped = {
        id(node)
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING"
        for statement in block.body
        for node in ast.walk(statement)
    }
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: write imports in full"
            yield node.module or ""


def packages(folder: Path) -> dict[str, set[str]]:
    """Top-level packages that each file below ``folder`` imports."""
    return {
        str(path.relative_to(ROOT)): {name.partition(".")[0] for name in imports(path)}
        for path in sorted(folder.rglob("*.py"))
    }


def test_the_platform_imports_no_plugin() -> None:
    plugins = {path.name for path in PLUGINS}

    assert {path: found & plugins for path, found in packages(CORE).items() if found & plugins} == {}


@pytest.mark.parametrize("plugin", PLUGINS, ids=lambda path: path.name)
def test_a_plugin_imports_no_other_unless_that_is_listed(plugin: Path) -> None:
    others = {path.name for path in PLUGINS} - {plugin.name} - {to for by, to in ALLOWED if by == plugin.name}

    assert {path: found & others for path, found in packages(plugin).items() if found & others} == {}


@pytest.mark.parametrize("plugin", PLUGINS, ids=lambda path: path.name)
def test_descriptions_and_options_import_nothing_heavy(plugin: Path) -> None:
    """`plugin.py` and `config.py` are imported for every listing: standard library, attrs, dp_core, themselves."""
    allowed = sys.stdlib_module_names | {"attr", "attrs", "dp_core", plugin.name}
    allowed |= {to for by, to in ALLOWED if by == plugin.name}
    found = packages(plugin)

    for name in ("__init__.py", "plugin.py", "config.py"):
        assert found.get(f"plugins/{plugin.name}/{name}", set()) - allowed == set()


def test_listing_and_checking_never_import_torch() -> None:
    """Neither directly nor through something else; the command line imports it once a config is known to be right."""
    plugins = [point.module for point in entry_points(group="dp_core.plugins") if is_there(point.module)]
    program = f"""
import importlib, sys
for name in {[*LIGHT_MODULES, *plugins]}:
    importlib.import_module(name)
    assert "torch" not in sys.modules, name
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)

    assert done.stderr == ""


def is_there(module: str) -> bool:
    package, _, rest = module.partition(".")
    return (ROOT / "plugins" / package / f"{rest}.py").is_file()


def test_the_installation_is_fresh() -> None:
    """An editable installation notes entry points once, when it is made."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for group in ("dp_core.plugins", "console_scripts"):
        written = project["scripts"] if group == "console_scripts" else project["entry-points"][group]
        installed = {
            point.name: point.value
            for point in entry_points(group=group)
            if point.dist and point.dist.name == "dp-core"
        }
        for name, value in written.items():
            assert installed.get(name) == value, (
                f"stale install: entry point '{name}' is in pyproject.toml but not in the environment; "
                "run pip install -e ."
            )
        assert set(installed) <= set(written), "stale install: run pip install -e ."


@pytest.mark.parametrize("plugin", PLUGINS, ids=lambda path: path.name)
def test_every_plugin_is_registered_and_laid_out_alike(plugin: Path) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

    assert f"{plugin.name}.plugin" in project["entry-points"]["dp_core.plugins"].values()
    assert ast.get_docstring(ast.parse((plugin / "__init__.py").read_text()))
    assert list(imports(plugin / "__init__.py")) == []
