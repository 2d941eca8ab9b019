"""What is installed, by name: lists components, resolves the names in a config, builds."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

from dp_core.component import KINDS, Component
from dp_core.discovery import PluginRecord, installed_entry_points, load_plugins
from dp_core.errors import PluginError


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
        """Ask every installed plugin. Imports their ``plugin.py`` and ``config.py``, nothing heavy."""
        return cls(load_plugins(installed_entry_points()))

    def components(self, kind: str | None = None) -> list[Component]:
        """Components of ``kind``, or all, sorted by kind, name and distribution."""
        if kind is not None and kind not in KINDS:
            raise PluginError(f"unknown kind '{kind}'; the kinds are {', '.join(KINDS)}")
        chosen = [component for component in self._components if kind in (None, component.kind)]
        return sorted(chosen, key=lambda c: (KINDS.index(c.kind), c.name, c.distribution))

    def resolve(self, kind: str, name: str) -> Component:
        """The component that a config means by ``name``.

        Raises:
            PluginError: nobody offers it, or several distributions do and the name does not say which.
        """
        matches = [c for c in self.components(kind) if name in (c.name, c.qualified_name)]
        if len(matches) == 1:
            return matches[0]
        if matches:
            choices = " or ".join(f"'{component.qualified_name}'" for component in matches)
            raise PluginError(f"{kind} '{name}' is provided by {len(matches)} packages; write {choices}")
        raise PluginError(self._unknown(kind, name))

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
        close = difflib.get_close_matches(name.rpartition("/")[2], names, n=1)
        installed = f"installed are {', '.join(names)}" if names else f"no {kind} is installed"
        hint = f"did you mean '{close[0]}'?" if close else installed
        broken = [plugin.name for plugin in self.plugins if plugin.status == "broken"]
        note = f" (not available, see dp-run --list: {', '.join(broken)})" if broken else ""
        return f"unknown {kind} '{name}'; {hint}{note}"
