"""docs/api.md: what is public is listed, says what it is, and is all that dp-core's own plugins use."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.docs.api import PUBLIC, public, public_names

ROOT = Path(__file__).parents[2]
USERS = sorted([*(ROOT / "plugins").glob("dp_*"), ROOT / "dp_core" / "new_plugin" / "template" / "dp_kestrel"])
MODULES = {module: names for section in PUBLIC for module, names in section.modules.items()}


def uses(package: Path) -> Iterator[tuple[str, str, str]]:
    """Where, from which module of others of dp-core, and which name; for type checkers, too."""
    for path in sorted(package.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                yield from ((str(path.relative_to(ROOT)), alias.name, "") for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                yield from ((str(path.relative_to(ROOT)), node.module or "", alias.name) for alias in node.names)


@pytest.mark.parametrize("package", USERS, ids=lambda path: path.name)
def test_own_plugins_use_what_is_public_and_nothing_else(package: Path) -> None:
    """If a plugin needs more, others do: add it to PUBLIC in scripts/docs/api.py, with a line on what it is."""
    known = public_names()
    foreign = {"dp_core", *(path.name for path in USERS)} - {package.name}
    private = [
        f"{where}: {module}.{name}"
        for where, module, name in uses(package)
        if module.partition(".")[0] in foreign and name not in known.get(module, ())
    ]

    assert private == []


def test_every_public_name_says_what_it_is() -> None:
    bare = [
        f"{module}.{each.name}"
        for module, names in MODULES.items()
        for each in public(module, names)
        if not each.summary
    ]

    assert len(MODULES) > 40
    assert bare == [], "give these a docstring, or a string below if they are constants"


@pytest.mark.parametrize("module", MODULES)
def test_what_is_listed_can_be_imported(module: str) -> None:
    """Reading the sources found what Python finds; a fixture and a class are what they are said to be."""
    imported = importlib.import_module(module)

    assert [name for name in public_names()[module] if not hasattr(imported, name)] == []
    if hasattr(imported, "__all__"):
        assert public_names()[module] == set(imported.__all__)


def test_no_module_is_listed_twice() -> None:
    assert len(MODULES) == sum(len(section.modules) for section in PUBLIC)
