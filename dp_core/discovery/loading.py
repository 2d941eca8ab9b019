"""Loads plugins one by one, and keeps what went wrong with each instead of failing.

A plugin counts as a whole: it is loaded, checked and asked for its components, and only then accepted.
"""

from __future__ import annotations

import importlib
import logging
import re
import sys
import time
import traceback
from collections.abc import Iterable, Iterator, Mapping
from contextlib import redirect_stdout
from functools import cache
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Literal

import attrs
import pluggy

from dp_core.component import API, Component
from dp_core.config.presets import ConfigFolder
from dp_core.discovery.hook_manager import HookManager
from dp_core.discovery.installed import LOCAL, InstalledPlugin
from dp_core.discovery.switches import DISABLE, Switches, is_named, is_tracing, trace
from dp_core.errors import PluginError, did_you_mean, quoted
from dp_core.hooks import DiscoveryHooks
from dp_core.moved import new_place

CONFIGS = "DP_CONFIGS"
"""What a plugin module calls the folder of its configs."""
DISCOVERY_HOOK = DiscoveryHooks.dp_components.__name__
BUSY, SLOW = 0.2, 1.0
"""The seconds of computing, and the seconds in all, from which loading a plugin counts as slow. The latter are many,
since a machine that is busy with something else makes everything slow."""

_FOLDER = re.compile(r"\w[\w-]*(/\w[\w-]*)*")
_MODULE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")

logger = logging.getLogger(__name__)


class _NoSuchPluginError(PluginError):
    """A plugin was asked for by a name that nothing has."""


@attrs.frozen
class PluginRecord:
    """One plugin that is installed or was asked for, whether it works or not."""

    name: str
    distribution: str
    version: str
    status: Literal["ok", "broken", "disabled"]
    components: tuple[Component, ...] = ()
    configs: ConfigFolder | None = None
    """The configs that come with the plugin, by name."""
    cause: str = ""
    """Why the plugin is not in use, in one line."""
    traceback: str = ""
    note: str = ""
    """A fault of a plugin that is in use all the same, in one line."""
    is_absent: bool = False
    """Whether nothing that is installed or can be imported has this name, which somebody asked for."""
    is_editable: bool = False
    """Whether it is installed with ``pip install -e``: whoever reads about a fault can fix it."""

    @property
    def provider(self) -> str:
        """The distribution and its version: ``dp-depth 0.3.1``."""
        return f"{self.distribution} {self.version}".strip()

    def __str__(self) -> str:
        """Name the plugin and say why it is not in use, for messages."""
        return f"the plugin '{self.name}' of {self.provider} is {self.status}: {self.cause}"


def load_plugins(plugins: Iterable[InstalledPlugin], switches: Switches | None = None) -> list[PluginRecord]:
    """Load each plugin that is switched on; record a broken one with its cause, and continue with the others."""
    switches = switches or Switches()
    manager = HookManager(DiscoveryHooks)
    records: list[PluginRecord] = []
    owners: dict[_Offer, str] = {}
    plugins = list(_without_overwritten(list(plugins)))
    plugins += _asked_for(switches, plugins)
    for text in _without_effect(switches, plugins):
        _warn_once(text)
    for plugin in plugins:
        begin, begin_computing = time.perf_counter(), time.process_time()
        record = _disabled(plugin, switches) or _load(manager, plugin, owners)
        seconds, computing = time.perf_counter() - begin, time.process_time() - begin_computing
        if record.status == "ok" and (computing > BUSY or seconds > SLOW):
            note = f"slow: every start waits {seconds:.1f} s for it; leave imports and work to the targets"
            record = attrs.evolve(record, note=note)
        if is_tracing():
            _trace(record, plugin, seconds)
        owners.update(dict.fromkeys(_offers(record.distribution, record.components, record.configs), record.name))
        records.append(record)
    return records


def _without_overwritten(plugins: list[InstalledPlugin]) -> Iterator[InstalledPlugin]:
    """Give a problem to plugins of several distributions that are one module: the last that pip installed is there."""
    owners: dict[str, set[str]] = {}
    for plugin in plugins:
        owners.setdefault(plugin.module, set()).add(plugin.distribution)
    for plugin in plugins:
        if plugin.problem or len(owners[plugin.module]) == 1:
            yield plugin
            continue
        others = quoted(sorted(owners[plugin.module] - {plugin.distribution}))
        problem = (
            f"its module '{plugin.module}' is also one of {others}, and one has overwritten the files of the other; "
            "uninstall both and install one"
        )
        yield attrs.evolve(plugin, problem=problem)


def _asked_for(switches: Switches, plugins: list[InstalledPlugin]) -> list[InstalledPlugin]:
    """Modules that are to be loaded by name; nobody has installed them as plugins."""
    known = [name for plugin in plugins for name in _names(plugin)]
    return [InstalledPlugin(name=name, module=name) for name in switches.load if not is_named(name, known)]


def _without_effect(switches: Switches, plugins: list[InstalledPlugin]) -> Iterator[str]:
    """A line for each name that is to be left out and that nothing has."""
    known = [name for plugin in plugins for name in _names(plugin)]
    for name in switches.disabled:
        # A module that the environment loads and -p leaves out is no longer among the plugins.
        if is_named(name, known) or (_MODULE.fullmatch(name) and find_spec(name.partition(".")[0])):
            continue
        hint = did_you_mean(name, known, "dp-run --list shows what is installed")
        if len(name.split()) > 1:
            hint = "names are separated by commas"
        yield f"-p no: or {DISABLE} names '{name}', which is no plugin, distribution or module here; {hint}"


@cache
def _warn_once(text: str) -> None:
    logger.warning("%s", text)


def _names(plugin: InstalledPlugin) -> tuple[str, ...]:
    return (plugin.name, plugin.distribution, plugin.module)


def _disabled(plugin: InstalledPlugin, switches: Switches) -> PluginRecord | None:
    cause = switches.why_not(_names(plugin))
    return PluginRecord(plugin.name, plugin.distribution, plugin.version, "disabled", cause=cause) if cause else None


def _load(manager: HookManager, plugin: InstalledPlugin, owners: Mapping[_Offer, str]) -> PluginRecord:
    registered_name = f"{plugin.distribution}:{plugin.name}"
    try:
        # What a plugin prints must not get into what a command prints, `--list --json` for example.
        with redirect_stdout(sys.stderr):
            module = _import(plugin)
            _check_api(module, is_local=plugin.distribution == LOCAL)
            manager.register(module, name=registered_name)
            components = tuple(
                attrs.evolve(
                    component, distribution=plugin.distribution, version=plugin.version, plugin=module.__name__
                )
                for component in _call_plugin(manager, module)
            )
            configs = _configs_of(module)
        _check_duplicates(_offers(plugin.distribution, components, configs), owners)
    except (Exception, SystemExit) as error:  # some modules call sys.exit() where something is missing
        # pluggy before 1.7 keeps a plugin that failed its validation.
        if manager.has_plugin(registered_name):
            manager.unregister(name=registered_name)
        cause = str(error) if isinstance(error, PluginError) else f"{type(error).__name__}: {error}{new_place(error)}"
        cause = " ".join(cause.split())
        trace = "".join(traceback.format_exception(error))
        return PluginRecord(
            plugin.name,
            plugin.distribution,
            plugin.version,
            "broken",
            cause=cause,
            traceback=trace,
            is_absent=isinstance(error, _NoSuchPluginError),
            is_editable=plugin.editable is not None,
        )
    return PluginRecord(plugin.name, plugin.distribution, plugin.version, "ok", components, configs)


def _import(plugin: InstalledPlugin) -> ModuleType:
    if plugin.problem:
        raise PluginError(plugin.problem)
    if plugin.distribution == LOCAL and plugin.module.endswith(".py"):
        module = ".".join(Path(plugin.module).with_suffix("").parts)
        raise _NoSuchPluginError(f"'{plugin.module}' is a file, expected a module; leave out .py: -p {module}")
    error_class = _NoSuchPluginError if plugin.distribution == LOCAL else PluginError
    if not _MODULE.fullmatch(plugin.module):
        where = "a plugin" if plugin.distribution == LOCAL else f"the entry point '{plugin.name}'"
        raise error_class(f"{where} must name a module such as 'dp_depth.plugin', got '{plugin.module}'")
    try:
        return importlib.import_module(plugin.module)
    except ModuleNotFoundError as error:
        if not f"{plugin.module}.".startswith(f"{error.name}."):
            raise  # something that the module imports
        raise error_class(plugin.why_not_there(error)) from error


def _check_api(module: ModuleType, *, is_local: bool) -> None:
    declared = getattr(module, "DP_API", None)
    if declared is None:
        meant = f"{module.__name__}.plugin"
        is_beside = is_local and hasattr(module, "__path__") and find_spec(meant) is not None
        hint = f"; did you mean -p {meant}?" if is_beside else ""
        raise PluginError(f"add DP_API = {API} to {module.__name__}{hint}")
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


def _configs_of(module: ModuleType) -> ConfigFolder | None:
    """The folder that the plugin names, beside its module."""
    declared = getattr(module, CONFIGS, None)
    if declared is None:
        return None
    where = f"{CONFIGS} in {module.__name__}"
    if not isinstance(declared, str) or not _FOLDER.fullmatch(declared):
        raise PluginError(f"{where} must name a folder beside that file, such as 'configs', got {declared!r}")
    package = module.__name__ if hasattr(module, "__path__") else module.__name__.rpartition(".")[0]
    beside = files(package) if package else Path(module.__file__ or "").parent
    folder = beside.joinpath(declared)
    configs = ConfigFolder(folder)
    if not folder.is_dir() or not configs.files():
        raise PluginError(
            f"{where} names '{declared}', where there is no .yaml file; does [tool.setuptools.package-data] in "
            "pyproject.toml name them?"
        )
    return configs


_Offer = tuple[str, str, str]
"""The kind, the distribution and the name of something that no other plugin of the distribution may offer."""


def _offers(distribution: str, components: Iterable[Component], configs: ConfigFolder | None) -> Iterator[_Offer]:
    yield from ((component.kind, distribution, component.name) for component in components)
    yield from (("config", distribution, name) for name in (configs.files() if configs else ()))


def _check_duplicates(offers: Iterable[_Offer], owners: Mapping[_Offer, str]) -> None:
    seen = dict(owners)
    for offer in offers:
        kind, distribution, name = offer
        if offer in seen:
            raise PluginError(
                f"{kind} '{name}' is offered twice by {distribution}"
                + (f", also by its plugin '{seen[offer]}'" if seen[offer] else "")
            )
        seen[offer] = ""


def _trace(record: PluginRecord, plugin: InstalledPlugin, seconds: float) -> None:
    what = ", ".join(component.label for component in record.components) or record.cause or "no components"
    took = f" in {1e3 * seconds:.1f} ms" if record.status != "disabled" else ""
    trace(f"plugin '{record.name}' of {record.provider} ({plugin.module}) {record.status}{took}: {what}")
