"""The manifest: which components made something, from which distributions, for which plugin API. No torch.

It is part of every checkpoint and of every ``config.resolved.yaml``, and is compared with what is installed before
any component is imported: `compare`. A component that is absent and a newer plugin API are errors; other versions are
a warning.
"""

from __future__ import annotations

import logging
import platform
import re
import sys
from collections.abc import Collection, Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import attrs

from dp_core.component import API, Component
from dp_core.config.schema import WorkspaceConfig
from dp_core.config.tree import components_of
from dp_core.discovery.installed import LOCAL
from dp_core.discovery.switches import LOAD
from dp_core.errors import PluginError, Problem, quoted
from dp_core.registry import Registry

logger = logging.getLogger(__name__)


def manifest(cfg: WorkspaceConfig) -> dict[str, Any]:
    """Note which components a config uses and which versions of their distributions are installed here.

    Returns:
        Plain: ``components`` and ``kinds`` by dotted path, ``distributions`` with their versions, ``modules`` by path
        where no distribution does (name and file), ``api`` and ``python``.
    """
    components = dict(components_of(cfg))
    names = {c.distribution for c in components.values()} | {"dp-core", "torch"}
    names |= {package for c in components.values() for package in c.requires}
    versions = {name: found for name in sorted(names) if (found := _version(name))}
    return {
        "components": {path: component.qualified_name for path, component in components.items()},
        "kinds": {path: component.kind for path, component in components.items()},
        "distributions": versions,
        "modules": {path: _module(c) for path, c in components.items() if c.distribution == LOCAL},
        "api": API,
        "python": platform.python_version(),
    }


def as_manifest(value: Any) -> dict[str, Any]:
    """Return ``value`` with every part that it lacks: files of earlier versions and edited ones may lack any."""
    parts = value if isinstance(value, Mapping) else {}
    empty = {"components": {}, "kinds": {}, "distributions": {}, "modules": {}, "api": API, "python": ""}
    return {key: parts[key] if isinstance(parts.get(key), type(none)) else none for key, none in empty.items()}


@attrs.frozen
class Comparison:
    """What something was made with, compared with what is installed here."""

    absent: tuple[Problem, ...]
    """Components that are not available, with what to do, and a plugin API that this dp-core does not know."""
    lacking: tuple[Problem, ...]
    """Packages that components which are available need, and that are not installed."""
    other_versions: tuple[str, ...]
    """What is installed in another version."""

    def warn(self, source: object) -> None:
        """Log the other versions, if there are any, as one warning about the file ``source``."""
        if self.other_versions:
            lines = [f"  {line}" for line in self.other_versions]
            logger.warning("%s", "\n".join([f"{source}: made with other versions than are installed here", *lines]))


def compare(made_with: Any, registry: Registry, data: Mapping[str, Any], parts: Collection[str]) -> Comparison:
    """Compare a manifest with what is installed here.

    Args:
        made_with: the manifest as a file has it, whole or not.
        data: the config that it belongs to, with changes or without: what was replaced is not needed.
        parts: keys of ``data`` that are needed, all if it is ``data`` itself.
    """
    made_with = as_manifest(made_with)
    absent, lacking = [], []
    if made_with["api"] > API:
        message = f"made with plugin API {made_with['api']}; this dp-core has API {API}; upgrade dp-core"
        absent.append(Problem("", message))
    for path, kind, name in _needed(made_with, data, parts):
        try:
            component = registry.resolve(kind, name)
        except PluginError:
            absent.append(Problem(path, f"{name}: {_how_to_get(path, name, made_with, registry)}"))
            continue
        if missing := component.missing():
            needs = quoted(missing)
            lacking.append(Problem(path, f"{name}: needs {needs}; install with: {component.install_command}"))
    return Comparison(tuple(absent), tuple(lacking), tuple(_other_versions(made_with)))


def _other_versions(made_with: Mapping[str, Any]) -> Iterator[str]:
    for name, there in made_with["distributions"].items():
        if (here := _version(name)) and here != there:
            yield f"{name} {here} is installed; made with {there}"
    if made_with["api"] < API:
        yield f"this dp-core has plugin API {API}; made with {made_with['api']}"


def _needed(
    made_with: Mapping[str, Any], data: Mapping[str, Any], parts: Collection[str]
) -> list[tuple[str, str, str]]:
    """Path, kind and qualified name of each component that is needed, and that no override replaced or removed."""
    kinds = made_with["kinds"]
    return [
        (path, kinds[path], name)
        for path, name in made_with["components"].items()
        if path in kinds and path.partition(".")[0] in parts and _name_at(data, path) == name
    ]


def _name_at(data: Any, path: str) -> str | None:
    for key in re.findall(r"[^.\[\]]+", path):
        if isinstance(data, list) and key.isdigit() and int(key) < len(data):
            data = data[int(key)]
        else:
            data = data.get(key) if isinstance(data, Mapping) else None
    return data.get("name") if isinstance(data, Mapping) else data


def _how_to_get(path: str, name: str, made_with: Mapping[str, Any], registry: Registry) -> str:
    if why := registry.why_absent(name):
        return why
    distribution = name.partition("/")[0]
    if distribution == LOCAL:
        module = made_with["modules"].get(path, {})
        where = f"the module {module['name']} ({module['file']})" if module else "a module"
        name = module.get("name", "MODULE")
        return f"came from {where}, which no package installs; load it with -p {name} or, in Python, {LOAD}={name}"
    here, there = _version(distribution), made_with["distributions"].get(distribution)
    wanted = f"{distribution}=={there}" if there else distribution
    state = (
        f"{distribution} {here} is installed, which does not offer it" if here else f"{distribution} is not installed"
    )
    return f"{state}; install with: pip install {wanted}"


def _module(component: Component) -> dict[str, str]:
    module = sys.modules.get(component.plugin)
    return {"name": component.plugin, "file": str(getattr(module, "__file__", None) or "unknown file")}


def _version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None
