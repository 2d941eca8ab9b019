"""docs/from_the_original.md names nothing that does not exist."""

from __future__ import annotations

import re
from pathlib import Path

import attrs
import pytest

from dp_convert.original.policies import POLICIES
from dp_convert.original.tasks import DATASETS, RUNNERS
from dp_core.component import KINDS
from dp_core.registry import Registry

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "from_the_original.md").read_text(encoding="utf-8")

# A kind and a name in backquotes; then, after a colon, options up to the end of the cell or a semicolon.
REFERENCE = re.compile(rf"`({'|'.join(KINDS)})/(\w+)(?:: (\w+))?`((?:, `\w+`)*)")


@pytest.fixture(scope="module")
def registry() -> Registry:
    return Registry.discover()


def rows() -> list[tuple[str, str]]:
    cells = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in PAGE.splitlines() if line.startswith("|")
    ]
    return [(row[0], row[1]) for row in cells if len(row) == 2 and row[0] not in ("original", "---")]


def references() -> list[tuple[str, str, list[str]]]:
    """(kind, name, options) of every mention in a table."""
    found = []
    for _, cell in rows():
        for kind, name, option, more in REFERENCE.findall(cell):
            options = [option, *re.findall(r"\w+", more)] if option else []
            found.append((kind, name, options))
    return found


def test_the_tables_are_read() -> None:
    assert len(rows()) > 50
    assert ("encoder", "multi_image", ["rgb_model", "weights"]) in references()


@pytest.mark.parametrize(("kind", "name", "options"), references())
def test_every_component_and_option_that_is_named_exists(
    kind: str, name: str, options: list[str], registry: Registry
) -> None:
    component = registry.resolve(kind, name)

    assert set(options) <= set(attrs.fields_dict(component.config))


@pytest.mark.parametrize("name", [*POLICIES, *DATASETS, *RUNNERS])
def test_every_class_that_can_be_converted_is_in_the_table(name: str) -> None:
    assert any(f"`{name}`" in left for left, _ in rows())


def test_components_that_are_named_outside_of_references_are_none() -> None:
    """Otherwise a mistyped kind would not be checked."""
    for _, cell in rows():
        for word in re.findall(r"`(\w+)/\w+", cell):
            assert word in (*KINDS, "task")


def test_the_readme_leads_there() -> None:
    assert "docs/from_the_original.md" in (ROOT / "README.md").read_text(encoding="utf-8")
