"""``dp-run --check PLUGIN``: checks that the components of an installed plugin keep the rules of their kinds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dp_core.cli.command import USAGE_ERROR
from dp_core.discovery.loading import PluginRecord
from dp_core.discovery.switches import is_named
from dp_core.errors import ConfigError, PluginError, did_you_mean, quoted
from dp_core.registry import Registry


def is_config(registry: Registry, text: str) -> bool:
    """Tell whether ``--check`` is asked about a config, a file or a preset, and not about a plugin."""
    is_path = "/" in text or text.endswith((".yaml", ".yml"))  # no plugin is called so
    return is_path or Path(text).is_file() or registry.presets.get(text) is not None


def check_plugin(registry: Registry, name: str, overrides: Sequence[str] = ()) -> int:
    """Print a line for each component of a plugin, with default options. Status 2 if a rule is broken.

    Args:
        name: of its entry point, ``<distribution>:<name>``, or of the distribution: all its plugins.
        overrides: none; they change configs.

    Raises:
        PluginError: there is no such plugin, or it cannot be loaded.
    """
    from dp_core.testing.report import check_component  # imports torch

    plugins = find_plugins(registry, name)
    if overrides:
        raise PluginError(f"'{overrides[0]}' changes a config, and '{name}' is a plugin; leave it out")
    status = 0
    for plugin in plugins:
        print(f"{plugin.name} of {plugin.provider}")
        for component in plugin.components:
            found = check_component(registry, component)
            print(f"  {component.kind}/{component.name}: {found.summary()}")
            for line in found.details():
                print(f"    {line}")
            if found.broken:
                status = USAGE_ERROR
        if not _configs_are_sound(registry, plugin):
            status = USAGE_ERROR
    return status


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
