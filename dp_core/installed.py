"""`InstalledPlugin`: what the metadata of the environment say about plugins. Imports none of them."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable, Iterator
from importlib.metadata import Distribution, distributions, entry_points
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import attrs

from dp_core.hooks import ENTRY_POINT_GROUP

LOCAL = "local"
"""Stands for the distribution of what no package installs: modules that were loaded by name."""


@attrs.frozen(kw_only=True)
class InstalledPlugin:
    """One entry point, or a module that somebody asked for."""

    name: str
    module: str
    distribution: str = LOCAL
    version: str = ""
    editable: Path | None = None
    """Where the source of an editable install lies."""
    problem: str = ""
    """Why there is nothing to import."""


def installed_plugins() -> list[InstalledPlugin]:
    """Every plugin in this environment, in an order that does not depend on ``sys.path``."""
    return in_order(plugin for distribution in _distributions() for plugin in plugins_of(distribution))


def in_order(plugins: Iterable[InstalledPlugin]) -> list[InstalledPlugin]:
    """Sorted by distribution and name."""
    return sorted(plugins, key=lambda plugin: (plugin.distribution, plugin.name))


def plugins_of(distribution: Distribution) -> Iterator[InstalledPlugin]:
    """The plugins of one distribution, and what keeps others of it from being found."""
    # Metadata without a name are what an interrupted pip leaves behind.
    blank = InstalledPlugin(
        name="", module="", distribution=distribution.name or LOCAL, version=distribution.version or ""
    )
    try:
        points = {point.name: point.value for point in distribution.entry_points if point.group == ENTRY_POINT_GROUP}
    except Exception as error:
        problem = f"its entry_points.txt cannot be read: {type(error).__name__}: {error}"
        yield attrs.evolve(blank, name=blank.distribution, problem=problem)
        return
    source = _editable_source(distribution)
    for name, module in points.items():
        yield attrs.evolve(blank, name=name, module=module, editable=source)
    if source is None:
        return
    for name, module in _written_in(source).items():
        if name not in points:
            problem = (
                f"stale editable install: the entry point is in {source / 'pyproject.toml'}, but pip does not know "
                f"it yet; run `pip install -e {source}`"
            )
            yield attrs.evolve(blank, name=name, module=module, problem=problem)


def _distributions() -> list[Distribution]:
    """Those with plugins; of one that is there twice, the first on ``sys.path``."""
    try:
        points = entry_points(group=ENTRY_POINT_GROUP)
    except Exception:
        # One unreadable file of any package is enough. This way is slower, but asks each distribution alone.
        found = [d for d in distributions() if ENTRY_POINT_GROUP in _entry_points_text(d)]
        return list({d.name: d for d in reversed(found)}.values())
    return list({id(point.dist): point.dist for point in points if point.dist is not None}.values())


def _entry_points_text(distribution: Distribution) -> str:
    try:
        return distribution.read_text("entry_points.txt") or ""
    except ValueError:  # not UTF-8
        return ""


def _editable_source(distribution: Distribution) -> Path | None:
    """The folder that ``pip install -e`` was given, as pip writes it down (PEP 610)."""
    try:
        record = json.loads(distribution.read_text("direct_url.json") or "{}")
        url = urlsplit(record.get("url", ""))
        is_editable = record.get("dir_info", {}).get("editable") is True
    except (ValueError, AttributeError, TypeError):
        return None  # somebody else's file
    return Path(unquote(url.path)) if is_editable and url.scheme == "file" else None


def _written_in(source: Path) -> dict[str, Any]:
    """The entry points that the source asks for today."""
    try:
        project = tomllib.loads((source / "pyproject.toml").read_text(encoding="utf-8"))
        return dict(project["project"]["entry-points"][ENTRY_POINT_GROUP])
    except (OSError, ValueError, KeyError, TypeError):
        return {}
