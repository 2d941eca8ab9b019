"""``required_plugins``: distributions that a config asks for, compared with what is installed before all else."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement
from packaging.version import InvalidVersion

from dp_core.discovery.installed import LOCAL
from dp_core.discovery.switches import is_named
from dp_core.errors import Problem
from dp_core.registry import Registry

KEY = "required_plugins"


def unmet_requirements(required: Any, registry: Registry) -> Iterator[Problem]:
    """Report the entries of ``required_plugins``, such as ``["dp-depth>=0.3"]``, that are malformed or not met."""
    if not isinstance(required, list):
        yield Problem(KEY, f"expected a list such as [dp-depth>=0.3], got {required!r}")
        return
    for index, text in enumerate(required):
        if message := _unmet(text, registry):
            yield Problem(f"{KEY}[{index}]", message)


def _unmet(text: Any, registry: Registry) -> str:
    try:
        requirement = Requirement(text)
    except (InvalidRequirement, TypeError):
        return f"expected a distribution and its versions, such as 'dp-depth>=0.3', got {text!r}"
    if requirement.marker is not None and not requirement.marker.evaluate():
        return ""
    command = f"pip install '{requirement}'"
    try:
        here = version(requirement.name)
    except PackageNotFoundError:
        owners = [p.distribution for p in registry.plugins if p.name == requirement.name and p.distribution != LOCAL]
        hint = f"did you mean '{owners[0]}', which offers the plugin of this name?" if owners else ""
        return f"{requirement.name} is not installed; {hint or f'install with: {command}'}"
    if not _is_met(requirement, here):
        return f"{requirement} is required, but {requirement.name} {here} is installed; install with: {command}"
    plugins = [plugin for plugin in registry.plugins if is_named(requirement.name, [plugin.distribution])]
    if not plugins:
        return f"{requirement.name} {here} is installed, but offers no plugins"
    return "; ".join(str(plugin) for plugin in plugins if plugin.status != "ok")


def _is_met(requirement: Requirement, here: str) -> bool:
    try:
        return requirement.specifier.contains(here, prereleases=True)
    except InvalidVersion:
        return not str(requirement.specifier)
