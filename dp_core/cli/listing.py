"""``dp-run --list`` and ``--describe``: what is installed, which options it has, and the configs that come with it.

Imports no implementation.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from dp_core.component import KINDS, Component
from dp_core.config.describe import example, option_records, option_rows
from dp_core.discovery.installed import LOCAL
from dp_core.discovery.loading import PluginRecord
from dp_core.errors import PluginError
from dp_core.registry import Registry

_TITLES = {kind: f"{kind}s" for kind in KINDS} | {
    "policy": "policies",
    "modality": "modalities",
    "lr_schedule": "learning-rate schedules",
}


def kind_meant(text: str) -> str:
    """Return the kind that ``text`` names, in the singular, in the plural or as the list does; else ``text`` itself."""
    titles = {title: kind for kind in KINDS for title in (f"{kind}s", _TITLES[kind])}
    return titles.get(text, text)


def list_text(registry: Registry, kind: str | None, verbose: bool) -> str:
    """List components by kind, then the plugins that cannot be used."""
    lines: list[str] = []
    for each in [kind] if kind else KINDS:
        components = registry.components(each)
        if components:
            lines += [_TITLES[each], *_table(_rows(components)), ""]
    if clashes := registry.clashes(kind):
        lines += ["names that several packages offer", *(f"  {clash}" for clash in clashes), ""]
    if noted := [plugin for plugin in registry.plugins if plugin.note]:
        lines += ["plugins to fix", *_table((p.name, p.provider, p.note) for p in noted), ""]
    lines += _not_in_use(unused := [plugin for plugin in registry.plugins if plugin.status != "ok"])
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
    """Return the facts of `list_text` for programs.

    A component is ``ok`` or ``needs`` packages; a plugin is ``ok``, ``broken`` or ``disabled``.
    """
    components = [_facts(component) for component in registry.components(kind)]
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


def describe_text(registry: Registry, what: str) -> str:
    """Show summary, provider, options and an example of the component ``kind/name``."""
    component = _component(registry, what)
    provider = f"{component.distribution} {component.version}".strip()
    lines = [f"{component.kind}/{component.name}: {component.summary}", f"provided by {provider} ({component.target})"]
    if missing := component.missing():
        lines.append(f"needs {', '.join(missing)}, not installed: {component.install_command}")
    rows = list(option_rows(component.config))
    lines += ["", "options" if rows else "no options", *_table(rows), ""]
    lines += ["example", *(f"  {line}" for line in example(component))]
    return "\n".join(lines)


def describe_json(registry: Registry, what: str) -> str:
    """Return the facts of `describe_text` for programs."""
    component = _component(registry, what)
    facts = _facts(component) | {
        "target": component.target,
        "install_command": component.install_command if component.missing() else "",
        "options": list(option_records(component.config)),
        "example": "\n".join(example(component)) + "\n",
    }
    return json.dumps(facts, indent=2, default=str)


def configs_text(registry: Registry) -> str:
    """List the configs that can be run, those that can be extended, and the plugins whose configs are not there."""
    presets = registry.presets.all()
    table = dict(zip(presets, _table((p.name, p.distribution, p.summary) for p in presets), strict=True))
    lines = ["to run: dp-run NAME", *(line for preset, line in table.items() if not preset.is_fragment), ""]
    lines += ["to build on: `extends: [NAME, ...]` in a config"]
    lines += [*(line for preset, line in table.items() if preset.is_fragment), ""]
    lines += _not_in_use([plugin for plugin in registry.plugins if plugin.status != "ok"], "dp-run --list -v")
    return "\n".join(lines).rstrip()


def configs_json(registry: Registry) -> str:
    """Return the facts of `configs_text` for programs, and where the files are."""
    return json.dumps(
        [
            {
                "name": preset.name,
                "distribution": preset.distribution,
                "is_fragment": preset.is_fragment,
                "path": str(preset.path),
                "summary": preset.summary,
            }
            for preset in registry.presets.all()
        ],
        indent=2,
    )


def _not_in_use(plugins: list[PluginRecord], option: str = "-v") -> list[str]:
    if not plugins:
        return []
    hint = f" ({option} for the traceback)" if any(plugin.traceback for plugin in plugins) else ""
    rows = [(p.name, p.provider, f"{p.status}: {p.cause}") for p in plugins]
    return [f"plugins not in use{hint}", *_table(rows), ""]


def _component(registry: Registry, what: str) -> Component:
    kind, _, name = what.partition("/")
    if kind_meant(kind) not in KINDS or not name:
        if registry.presets.get(what) is not None:
            raise PluginError(f"'{what}' is a config; dp-run --print-config {what} shows all of it")
        raise PluginError(f"'{what}' is not KIND/NAME, such as encoder/timm; the kinds are {', '.join(KINDS)}")
    return registry.resolve(kind_meant(kind), name)


def _facts(component: Component) -> dict[str, Any]:
    return {
        "kind": component.kind,
        "name": component.name,
        "qualified_name": component.qualified_name,
        "distribution": component.distribution,
        "version": component.version,
        "summary": component.summary,
        "status": "needs" if component.missing() else "ok",
        "missing": list(component.missing()),
    }


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
