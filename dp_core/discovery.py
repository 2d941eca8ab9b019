"""Loads plugins one by one from their entry points, and keeps what went wrong with each instead of failing.

A plugin counts as a whole: it is loaded, checked and asked for its components, and only then accepted.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterable
from importlib.metadata import EntryPoint, entry_points
from types import ModuleType
from typing import Any, Literal

import attrs
import pluggy

from dp_core.component import API, Component
from dp_core.errors import PluginError
from dp_core.hook_manager import HookManager
from dp_core.hooks import ENTRY_POINT_GROUP, DiscoveryHooks

DISCOVERY_HOOK = DiscoveryHooks.dp_components.__name__


@attrs.frozen
class PluginRecord:
    """One plugin that is installed, whether it works or not."""

    name: str
    distribution: str
    version: str
    status: Literal["ok", "broken"]
    components: tuple[Component, ...] = ()
    cause: str = ""
    """One line, where the plugin is broken."""
    traceback: str = ""


def installed_entry_points() -> list[EntryPoint]:
    """Entry points of all plugins, sorted so that nothing depends on the order of ``sys.path``."""
    return sorted(entry_points(group=ENTRY_POINT_GROUP), key=lambda point: (_distribution(point)[0], point.name))


def load_plugins(points: Iterable[EntryPoint]) -> list[PluginRecord]:
    """Load each plugin; a broken one is recorded with its cause and takes nothing down."""
    manager = HookManager(DiscoveryHooks)
    records: list[PluginRecord] = []
    owners: dict[tuple[str, str, str], str] = {}
    for point in points:
        record = _load_plugin(manager, point, owners)
        owners.update({(c.kind, c.distribution, c.name): record.name for c in record.components})
        records.append(record)
    return records


def _load_plugin(
    manager: pluggy.PluginManager, point: EntryPoint, owners: dict[tuple[str, str, str], str]
) -> PluginRecord:
    distribution, version = _distribution(point)
    registered_name = f"{distribution}:{point.name}"
    try:
        module = point.load()
        _check_api(module, point)
        manager.register(module, name=registered_name)
        components = tuple(
            attrs.evolve(component, distribution=distribution, version=version)
            for component in _call_plugin(manager, module)
        )
        _check_duplicates(components, owners)
    except (Exception, SystemExit) as error:  # some modules call sys.exit() where something is missing
        # pluggy before 1.7 keeps a plugin that failed its validation.
        if manager.has_plugin(registered_name):
            manager.unregister(name=registered_name)
        cause = str(error) if isinstance(error, PluginError) else f"{type(error).__name__}: {error}"
        cause = " ".join(cause.split())
        trace = "".join(traceback.format_exception(error))
        return PluginRecord(point.name, distribution, version, "broken", cause=cause, traceback=trace)
    return PluginRecord(point.name, distribution, version, "ok", components)


def _distribution(point: EntryPoint) -> tuple[str, str]:
    # Metadata without a name are what an interrupted pip leaves behind.
    if point.dist is None or point.dist.name is None:
        return "local", ""
    return point.dist.name, point.dist.version or ""


def _check_api(module: Any, point: EntryPoint) -> None:
    if not isinstance(module, ModuleType):
        raise PluginError(f"the entry point '{point.value}' must name a module, got {type(module).__name__}")
    declared = getattr(module, "DP_API", None)
    if declared is None:
        raise PluginError(f"add DP_API = {API} to {module.__name__}")
    if type(declared) is not int:
        raise PluginError(f"DP_API in {module.__name__} must be a whole number, got {declared!r}")
    if declared != API:
        newer = "dp-core" if declared > API else "the plugin"
        raise PluginError(f"written for plugin API {declared}; this dp-core has API {API}; upgrade {newer}")


def _call_plugin(manager: pluggy.PluginManager, module: ModuleType) -> Iterable[Component]:
    """Ask this plugin only, so that what it says has an owner."""
    implementations = [i for i in manager.hook.dp_components.get_hookimpls() if i.plugin is module]
    if not implementations:
        raise PluginError(f"{module.__name__} has no {DISCOVERY_HOOK}")
    described = implementations[0].function()
    for component in described if isinstance(described, Iterable) else [described]:
        if not isinstance(component, Component):
            raise PluginError(f"{DISCOVERY_HOOK} must yield Component objects, got {component!r}")
        yield component


def _check_duplicates(components: Iterable[Component], owners: dict[tuple[str, str, str], str]) -> None:
    seen = dict(owners)
    for component in components:
        key = (component.kind, component.distribution, component.name)
        if key in seen:
            raise PluginError(
                f"{component.label} is offered twice by {component.distribution}"
                + (f", also by its plugin '{seen[key]}'" if seen[key] else "")
            )
        seen[key] = ""
