"""``dp-run --list`` and ``--describe``: what is installed and which options it has. Imports no implementation."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from dp_core.component import KINDS, Component
from dp_core.config.describe import example, option_rows
from dp_core.discovery.installed import LOCAL
from dp_core.errors import PluginError
from dp_core.registry import Registry

_TITLES = {"policy": "policies", "lr_schedule": "learning-rate schedules"}


def list_text(registry: Registry, kind: str | None, verbose: bool) -> str:
    """Components by kind, then the plugins that cannot be used."""
    lines: list[str] = []
    for each in [kind] if kind else KINDS:
        components = registry.components(each)
        if components:
            lines += [_TITLES.get(each, f"{each}s"), *_table(_rows(components)), ""]
    if clashes := registry.clashes(kind):
        lines += ["names that several packages offer", *(f"  {clash}" for clash in clashes), ""]
    if noted := [plugin for plugin in registry.plugins if plugin.note]:
        lines += ["plugins to fix", *_table((p.name, p.provider, p.note) for p in noted), ""]
    if unused := [plugin for plugin in registry.plugins if plugin.status != "ok"]:
        hint = " (-v for the traceback)" if any(plugin.traceback for plugin in unused) else ""
        rows = [(p.name, p.provider, f"{p.status}: {p.cause}") for p in unused]
        lines += [f"plugins not in use{hint}", *_table(rows), ""]
    for plugin in unused if verbose else []:
        if plugin.traceback:
            is_own = plugin.is_editable or plugin.distribution == LOCAL
            whom = "" if is_own else f" contact the authors of {plugin.distribution}"
            lines += [f"{plugin.name}:{whom}", plugin.traceback]
    if kind and registry.plugins and not registry.components(kind):
        lines.insert(0, f"no {kind} is installed\n")
    if not registry.plugins:
        lines.append("no plugins found: dp-core is not installed here; run `pip install -e .` in its folder")
    return "\n".join(lines).rstrip()


def list_json(registry: Registry, kind: str | None, verbose: bool) -> str:
    """The same facts for programs: a component is ``ok`` or ``needs`` packages; a plugin, ok, broken or disabled."""
    components = [
        {
            "kind": c.kind,
            "name": c.name,
            "qualified_name": c.qualified_name,
            "distribution": c.distribution,
            "version": c.version,
            "summary": c.summary,
            "status": "needs" if c.missing() else "ok",
            "missing": list(c.missing()),
        }
        for c in registry.components(kind)
    ]
    plugins = [
        {
            "name": p.name,
            "distribution": p.distribution,
            "version": p.version,
            "status": p.status,
            "cause": p.cause,
            "note": p.note,
            **({"traceback": p.traceback} if verbose else {}),
        }
        for p in registry.plugins
    ]
    return json.dumps({"components": components, "plugins": plugins, "clashes": registry.clashes(kind)}, indent=2)


def describe(registry: Registry, what: str) -> str:
    """Summary, provider, options and an example of the component ``kind/name``."""
    kind, _, name = what.partition("/")
    if kind not in KINDS or not name:
        raise PluginError(f"'{what}' is not KIND/NAME, such as encoder/timm; the kinds are {', '.join(KINDS)}")
    component = registry.resolve(kind, name)
    provider = f"{component.distribution} {component.version}".strip()
    lines = [f"{kind}/{component.name}: {component.summary}", f"provided by {provider} ({component.target})"]
    if missing := component.missing():
        lines.append(f"needs {', '.join(missing)}, not installed: {component.install_command}")
    rows = list(option_rows(component.config))
    lines += ["", "options" if rows else "no options", *_table(rows), ""]
    lines += ["example", *(f"  {line}" for line in example(component))]
    return "\n".join(lines)


def _rows(components: list[Component]) -> Iterator[tuple[str, str, str]]:
    names = [component.name for component in components]
    for c in components:
        shown = c.name if names.count(c.name) == 1 else c.qualified_name
        missing = c.missing()
        state = f"needs {', '.join(missing)} -- {c.install_command}" if missing else c.summary
        yield shown, f"{c.distribution} {c.version}".strip(), state


def _table(rows: Any) -> list[str]:
    rows = [tuple(str(cell) for cell in row) for row in rows]
    if not rows:
        return []
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]) - 1)]
    return [
        "  " + "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[-1]]).rstrip()
        for row in rows
    ]
