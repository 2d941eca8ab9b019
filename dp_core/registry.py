"""Knows what is installed, by name: lists components, resolves the names in a config, builds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from dp_core.component import KINDS, Component
from dp_core.config.presets import SUFFIX, Preset, Presets
from dp_core.discovery.installed import installed_plugins
from dp_core.discovery.loading import PluginRecord, load_plugins
from dp_core.discovery.switches import LOAD, NO_AUTOLOAD, STRICT, Switches
from dp_core.errors import PluginError, did_you_mean, quoted


class Registry:
    """The components of a set of plugins.

    Components are identified by (kind, distribution, name). Configs may write the short name while it is unique, or
    ``<distribution>/<name>``; what is stored in run directories and checkpoints is always the latter.
    """

    def __init__(self, plugins: Iterable[PluginRecord]) -> None:
        self.plugins = tuple(plugins)
        self._components = tuple(component for plugin in self.plugins for component in plugin.components)

    @classmethod
    def discover(cls) -> Registry:
        """Ask every installed plugin that is not switched off (`dp_core.discovery.switches`).

        Imports their ``plugin.py`` and ``config.py``, nothing heavy.

        Raises:
            PluginError: a plugin was asked for that is not there; or DP_STRICT_PLUGINS is set, and a plugin is broken
                or a name is offered twice.
        """
        switches = Switches.from_environment()
        registry = cls(load_plugins(installed_plugins(), switches))
        registry.require_what_was_asked_for()
        if switches.strict:
            registry.require_sound()
        return registry

    @property
    def presets(self) -> Presets:
        """The configs that can be named: dp-core's, and those that plugins ship, by their distribution."""
        shipped = [
            Preset(f"{plugin.distribution}/{name}", plugin.distribution, plugin.configs.on_disk() / f"{name}{SUFFIX}")
            for plugin in self.plugins
            if plugin.configs is not None
            for name in plugin.configs.files()
        ]
        return Presets(shipped, {p.distribution: self.why_absent(f"{p.distribution}/") for p in self.plugins})

    def components(self, kind: str | None = None) -> list[Component]:
        """List the components of ``kind``, or of all kinds, sorted by kind, name and distribution.

        Raises:
            PluginError: there is no such kind.
        """
        if kind is not None and kind not in KINDS:
            raise PluginError(f"unknown kind '{kind}'; the kinds are {', '.join(KINDS)}")
        chosen = [component for component in self._components if kind in (None, component.kind)]
        return sorted(chosen, key=lambda c: (KINDS.index(c.kind), c.name, c.distribution))

    def resolve(self, kind: str, name: str) -> Component:
        """Return the component that a config means by ``name``, short or qualified.

        Raises:
            PluginError: nobody offers it, or several distributions do and the name does not say which.
        """
        matches = [c for c in self.components(kind) if name in (c.name, c.qualified_name)]
        if len(matches) == 1:
            return matches[0]
        raise PluginError(_ambiguous(matches) if matches else self._unknown(kind, name))

    def clashes(self, kind: str | None = None) -> list[str]:
        """Describe each name that several distributions offer, one line each; only using the short name is an error."""
        offers: dict[tuple[str, str], list[Component]] = {}
        for component in self.components(kind):
            offers.setdefault((component.kind, component.name), []).append(component)
        return [_ambiguous(components) for components in offers.values() if len(components) > 1]

    def require_what_was_asked_for(self) -> None:
        """Raise if ``-p`` or its environment variable names what is neither installed nor a module.

        Raises:
            PluginError: naming every such plugin.
        """
        known = {name for plugin in self.plugins if not plugin.is_absent for name in (plugin.name, plugin.distribution)}
        if absent := [plugin for plugin in self.plugins if plugin.is_absent]:
            hints = [did_you_mean(plugin.name, sorted(known)) for plugin in absent]
            lines = [
                f"-p or {LOAD} names '{plugin.name}': {'; '.join(filter(None, (plugin.cause, hint)))}"
                for plugin, hint in zip(absent, hints, strict=True)
            ]
            raise PluginError("\n".join(lines))

    def require_sound(self) -> None:
        """Raise for every broken plugin and every clash, which are otherwise only listed.

        Raises:
            PluginError: naming every broken plugin and every name that is offered twice.
        """
        faults = [str(plugin) for plugin in self.plugins if plugin.status == "broken"] + self.clashes()
        if faults:
            tracebacks = "\n".join(plugin.traceback for plugin in self.plugins if plugin.traceback)
            # As the cause: whoever asks for a traceback sees them, and the message stays one line a fault.
            raise PluginError(
                "\n".join([f"{STRICT} is set, and plugins are at fault", *(f"  {fault}" for fault in faults)])
            ) from (PluginError(tracebacks) if tracebacks else None)

    def build(self, kind: str, block: Mapping[str, Any] | str, **runtime: Any) -> Any:
        """Check a config block and construct its component.

        Args:
            kind: one of `dp_core.component.KINDS`.
            block: as in YAML: ``{"name": "unet1d", "kernel_size": 5}``, or just the name.
            runtime: the keywords of this kind, see `dp_core.interfaces`.

        Raises:
            ConfigError: options that are wrong, all of them.
        """
        from dp_core.config.structure import structure_block

        return structure_block(self, kind, block, runtime).build(**runtime)

    def _unknown(self, kind: str, name: str) -> str:
        if not self.plugins:
            return f"unknown {kind} '{name}'; no plugins are installed: run `pip install -e .` in dp-core's folder"
        names = sorted({component.name for component in self.components(kind)})
        installed = f"installed are {', '.join(names)}" if names else f"no {kind} is installed"
        hint = did_you_mean(name.rpartition("/")[2], names, installed)
        if heirs := [c for c in self.components(kind) for former in c.formerly if _names(name, c.distribution, former)]:
            return f"unknown {kind} '{name}'; it was renamed {quoted((c.name for c in heirs), ' or ')}"
        if why := self.why_absent(name):
            return f"unknown {kind} '{name}'; {why}; {hint}"
        if off := sorted({p.distribution for p in self.plugins if p.cause.startswith(f"by {NO_AUTOLOAD}")}):
            hint = hint if names else f"no {kind} is loaded"
            note = f"{NO_AUTOLOAD} leaves out plugins of {', '.join(off)}; load them with -p {off[0]}"
            return f"unknown {kind} '{name}'; {hint}; {note}"
        unused = [plugin.name for plugin in self.plugins if plugin.status != "ok"]
        note = f" (not available, see dp-run --list: {', '.join(unused)})" if unused else ""
        return f"unknown {kind} '{name}'; {hint}{note}"

    def why_absent(self, name: str) -> str:
        """Say which unused plugins probably offer the component ``name``, and why they are unused; empty if none do."""
        distribution, _, short = name.rpartition("/")
        unused = [plugin for plugin in self.plugins if plugin.status != "ok"]
        of_distribution = [plugin for plugin in unused if distribution in ("", plugin.distribution)]
        same_name = [plugin for plugin in of_distribution if plugin.name == short]
        suspects = same_name or (of_distribution if distribution else [])
        if len(suspects) > 3:
            return f"{len(suspects)} plugins of {distribution} are not in use, see dp-run --list"
        return "; ".join(map(str, suspects))


def _names(name: str, distribution: str, short: str) -> bool:
    return name in (short, f"{distribution}/{short}")


def _ambiguous(components: list[Component]) -> str:
    choices = quoted((component.qualified_name for component in components), " or ")
    return f"{components[0].label} is provided by {len(components)} packages; write {choices}"
