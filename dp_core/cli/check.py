"""``dp-run --check PLUGIN``: checks that the components of an installed plugin keep the rules of their kinds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from dp_core.cli.command import USAGE_ERROR
from dp_core.discovery.loading import PluginRecord
from dp_core.discovery.switches import is_named
from dp_core.errors import ConfigError, PluginError, did_you_mean, quoted
from dp_core.registry import Registry

_TASK = "shape_meta"


def is_config(registry: Registry, text: str) -> bool:
    """Tell whether ``--check`` is asked about a config, a file or a preset, and not about a plugin."""
    is_path = "/" in text or text.endswith((".yaml", ".yml"))  # no plugin is called so
    return is_path or Path(text).is_file() or registry.presets.get(text) is not None


def check_plugin(registry: Registry, name: str, overrides: Sequence[str] = ()) -> int:
    """Print a line for each component of a plugin. Status 2 if a rule is broken, or nothing fits the overrides.

    Args:
        name: of its entry point, ``<distribution>:<name>``, or of the distribution: all its plugins.
        overrides: ``key=value``, for the components that have such an option; ``shape_meta={...}`` is the task to try.

    Raises:
        ConfigError: an override is none.
        PluginError: there is no such plugin, it cannot be loaded, or none of its components has such an option.
    """
    plugins = find_plugins(registry, name)
    given = _given(name, overrides, plugins)
    from dp_core.testing.report import check_component  # imports torch

    status = 0
    for plugin in plugins:
        print(f"{plugin.name} of {plugin.provider}")
        for component in plugin.components:
            options = {key: value for key, value in given.items() if key in attrs.fields_dict(component.config)}
            found = check_component(registry, component, options, given.get(_TASK))
            print(f"  {component.kind}/{component.name}: {found.summary()}")
            for line in found.details():
                print(f"    {line}")
            if found.broken or (given and found.refused and not found.settings):
                status = USAGE_ERROR
        if not _configs_are_sound(registry, plugin):
            status = USAGE_ERROR
    return status


def _given(name: str, overrides: Sequence[str], plugins: list[PluginRecord]) -> Mapping[str, Any]:
    """Read overrides, each of which has to be an option of some component of ``plugins``, or the task."""
    if not overrides:
        return {}
    from dp_core.config.compose import apply_overrides  # imports omegaconf

    given: Mapping[str, Any] = apply_overrides({}, overrides)
    configs = [component.config for plugin in plugins for component in plugin.components]
    known = {option for config in configs for option in attrs.fields_dict(config)} | {_TASK}
    if unknown := sorted(given.keys() - known):
        hint = did_you_mean(unknown[0], sorted(known), "dp-run --describe KIND/NAME shows the options of a component")
        raise PluginError(f"'{unknown[0]}' is no option of what '{name}' has; {hint}")
    return given


def find_plugins(registry: Registry, name: str) -> list[PluginRecord]:
    """Find the plugins that ``name`` means; arguments and errors as in `check_plugin`."""
    matches = [p for p in registry.plugins if name in (p.name, f"{p.distribution}:{p.name}")]
    of_distribution = [p for p in registry.plugins if is_named(name, [p.distribution])]
    if not matches and of_distribution:
        matches = of_distribution
    elif len(matches) > 1:
        choices = quoted((f"{plugin.distribution}:{plugin.name}" for plugin in matches), " or ")
        raise PluginError(f"plugin '{name}' is provided by {len(matches)} packages; write {choices}")
    if not matches:
        known = [*(plugin.name for plugin in registry.plugins), *(preset.name for preset in registry.presets.all())]
        otherwise = "dp-run --list shows plugins, dp-run --list configs configs"
        hint = did_you_mean(name.rpartition(":")[2], known, otherwise)
        raise PluginError(f"'{name}' is neither a config (no such file, does not end in .yaml) nor a plugin; {hint}")
    if unusable := [plugin for plugin in matches if plugin.status != "ok"]:
        raise PluginError("; ".join(map(str, unusable)))
    return matches


def _configs_are_sound(registry: Registry, plugin: PluginRecord) -> bool:
    """Print a line for each config of a plugin that is whole, and what is wrong with it; tell whether nothing is."""
    from dp_core.run_config import load_config

    is_sound = True
    names = [f"{plugin.distribution}/{name}" for name in (plugin.configs.files() if plugin.configs else ())]
    for preset in filter(None, map(registry.presets.get, names)):
        if preset.is_fragment:
            continue
        try:
            load_config(registry, preset.name)
            print(f"  config {preset.name}: ok")
        except ConfigError as error:
            is_sound = False
            print(f"  config {preset.name}: broken")
            print("\n".join(f"    {line}" for line in str(error).splitlines()))
    return is_sound
