"""`InstalledPlugin`: what the metadata of the environment say about plugins. Imports none of them."""

from __future__ import annotations

import difflib
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
    """The folder with the source of an editable install."""
    problem: str = ""
    """The reason why there is nothing to import; empty if there is none."""

    def why_not_there(self, error: ModuleNotFoundError) -> str:
        """Explain why ``module`` cannot be found, and what to do."""
        if self.distribution == LOCAL:
            return f"no plugin, distribution or module has this name: {error}; {_where_modules_are(self.module)}"
        lost = f"the entry point names '{self.module}', which is not there: {error}"
        if self.editable is None:
            return lost
        stale = f"stale editable install of {self.editable}: {error}"
        if not self.editable.is_dir():
            return f"{stale}; that folder is gone"
        install = f"run `pip install -e {self.editable}`"
        written = _written_in(self.editable)
        if written and written.get(self.name) != self.module:
            return f"{stale}; {install}"
        if _has_module(self.editable, self.module):
            package = self.module.partition(".")[0]
            return (
                f"'{self.module}' is in {self.editable}, but not installed: {error}; see that "
                f"{self.editable / 'pyproject.toml'} finds the package '{package}' (packages.find), then {install}"
            )
        return (
            f"{lost}; correct the entry point in {self.editable / 'pyproject.toml'} or add the module, then {install}"
        )


def installed_plugins() -> list[InstalledPlugin]:
    """List every plugin in this environment, in an order that does not depend on ``sys.path``."""
    return in_order(plugin for distribution in _distributions() for plugin in plugins_of(distribution))


def in_order(plugins: Iterable[InstalledPlugin]) -> list[InstalledPlugin]:
    """Sort plugins by distribution and name."""
    return sorted(plugins, key=lambda plugin: (plugin.distribution, plugin.name))


def plugins_of(distribution: Distribution) -> Iterator[InstalledPlugin]:
    """Yield the plugins of one distribution, and what keeps others of it from being found."""
    # Metadata without a name are what an interrupted pip leaves behind.
    blank = InstalledPlugin(
        name="", module="", distribution=distribution.name or LOCAL, version=distribution.version or ""
    )
    try:
        points = {point.name: point.value for point in distribution.entry_points if point.group == ENTRY_POINT_GROUP}
        misspelt = [point for point in distribution.entry_points if _is_misspelt(point.group)]
    except Exception as error:
        problem = f"its entry_points.txt cannot be read: {type(error).__name__}: {error}"
        yield attrs.evolve(blank, name=blank.distribution, problem=problem)
        return
    source = _editable_source(distribution)
    written = _written_in(source) if source else {}
    for name, module in points.items():
        yield attrs.evolve(blank, name=name, module=module, editable=source)
    for point in misspelt:
        if point.name not in {**points, **written}:
            problem = (
                f"its entry point is in the group '{point.group}', where nobody looks; "
                f"rename that to '{ENTRY_POINT_GROUP}' in pyproject.toml and install it again"
            )
            yield attrs.evolve(blank, name=point.name, module=point.value, editable=source, problem=problem)
    for name, module in written.items():
        if name not in points:
            problem = (
                f"stale editable install: the entry point is in {source}/pyproject.toml, but pip does not know "
                f"it yet; run `pip install -e {source}`"
            )
            yield attrs.evolve(blank, name=name, module=module, editable=source, problem=problem)


def _distributions() -> list[Distribution]:
    """Those with plugins; of one that is there twice, the first on ``sys.path``."""
    try:
        every = entry_points()
        groups = [group for group in every.groups if group == ENTRY_POINT_GROUP or _is_misspelt(group)]
        points = [point for group in groups for point in every.select(group=group)]
    except Exception:
        # One unreadable file of any package is enough. This way is slower, but asks each distribution alone.
        found = [d for d in distributions() if ENTRY_POINT_GROUP in _entry_points_text(d)]
        return list({d.name: d for d in reversed(found)}.values())
    return list({id(point.dist): point.dist for point in points if point.dist is not None}.values())


def _is_misspelt(group: str) -> bool:
    """Whether this was to be the group of plugins: ``dp_core.plugin``, ``dp-core.plugins``."""
    return group != ENTRY_POINT_GROUP and bool(difflib.get_close_matches(group, [ENTRY_POINT_GROUP], cutoff=0.9))


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


def _has_module(source: Path, module: str) -> bool:
    """Whether a folder of sources has it, at its top or one below, as in ``src/``."""
    path = Path(*module.split("."))
    found = (source.glob(f"{folder}{file}") for folder in ("", "*/") for file in (f"{path}.py", path / "__init__.py"))
    return any(any(files) for files in found)


def _where_modules_are(module: str) -> str:
    file = Path(*module.split(".")).with_suffix(".py")
    if file.is_file():
        return f"there is {file} here: set PYTHONPATH=. so that Python finds it"
    return "a module has to be where Python looks, see PYTHONPATH"
