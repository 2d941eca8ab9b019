"""``dp-run --list`` and ``--describe``: what is installed and which options it has. Imports no implementation."""

from __future__ import annotations

import json
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import attrs

from dp_core.component import KINDS, Component
from dp_core.config.fields import HELP, SLOT, Slot
from dp_core.errors import PluginError
from dp_core.installed import LOCAL
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
        lines += ["plugins to mend", *_table((p.name, p.provider, p.note) for p in noted), ""]
    if unused := [plugin for plugin in registry.plugins if plugin.status != "ok"]:
        hint = " (-v for the traceback)" if any(plugin.traceback for plugin in unused) else ""
        rows = [(p.name, p.provider, f"{p.status}: {p.cause}") for p in unused]
        lines += [f"plugins not in use{hint}", *_table(rows), ""]
    for plugin in unused if verbose else []:
        if plugin.traceback:
            whom = "" if plugin.distribution == LOCAL else f" contact the authors of {plugin.distribution}"
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
    rows = list(_options(component.config))
    lines += ["", "options" if rows else "no options", *_table(rows), "", "example", *_example(component)]
    return "\n".join(lines)


def _rows(components: list[Component]) -> Iterator[tuple[str, str, str]]:
    names = [component.name for component in components]
    for c in components:
        shown = c.name if names.count(c.name) == 1 else c.qualified_name
        missing = c.missing()
        state = f"needs {', '.join(missing)} -- {c.install_command}" if missing else c.summary
        yield shown, f"{c.distribution} {c.version}".strip(), state


def _options(cls: type, prefix: str = "") -> Iterator[tuple[str, str, str, str]]:
    hints = typing.get_type_hints(cls)
    for field in attrs.fields(cls):
        hint = hints[field.name]
        if hint is Component:
            continue
        yield f"{prefix}{field.name}", _type_name(hint, field), _default(field), field.metadata.get(HELP, "")
        for nested in (arg for arg in (hint, *get_args(hint)) if attrs.has(arg) and arg is not Slot):
            yield from _options(nested, f"{prefix}{field.name}.")


def _type_name(hint: Any, field: Any) -> str:
    origin, args = get_origin(hint), get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_type_name(arg, field) for arg in args)
    if hint is type(None):
        return "null"
    if hint is Any:
        return "any"
    if hint is Slot:
        return str(field.metadata[SLOT])
    if origin is Literal:
        return " | ".join(str(arg) for arg in args)
    if origin is tuple and args[-1] is not Ellipsis:
        return "[" + ", ".join(_type_name(arg, field) for arg in args) + "]"
    if origin in (list, tuple):
        return f"[{_type_name(args[0], field)}, ...]"
    if origin is dict or hint is dict:
        return f"{{key: {_type_name(args[1], field)}}}" if args else "mapping"
    if attrs.has(hint):
        return "mapping"
    return {Path: "path", str: "str"}.get(hint, getattr(hint, "__name__", "any"))


def _default(field: Any) -> str:
    if field.default is attrs.NOTHING:
        return "required"
    if isinstance(field.default, attrs.Factory):  # type: ignore[arg-type]
        default = field.default.factory()
        return "defaults below" if attrs.has(type(default)) else _yaml(default)
    return _yaml(field.default)


def _example(component: Component) -> list[str]:
    """A block that can be pasted: required options with a stand-in, up to three of the others with their default."""
    entries = [("name", component.name)]
    hints = typing.get_type_hints(component.config)
    optional = 0
    for field in attrs.fields(component.config):
        hint = hints[field.name]
        if hint is Component:
            continue
        if field.default is attrs.NOTHING:
            entries.append((field.name, "{name: ...}" if hint is Slot else f"<{_type_name(hint, field)}>"))
        elif optional < 3 and not isinstance(field.default, attrs.Factory):  # type: ignore[arg-type]
            entries.append((field.name, _default(field)))
            optional += 1
    if component.kind == "workspace":
        entries[0] = ("workspace", component.name)
        return [f"  {key}: {value}" for key, value in entries]
    return [f"  {component.kind}:", *(f"    {key}: {value}" for key, value in entries)]


def _yaml(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_yaml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_yaml(item) for item in value) + "]"
    return str(value)


def _table(rows: Any) -> list[str]:
    rows = [tuple(str(cell) for cell in row) for row in rows]
    if not rows:
        return []
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]) - 1)]
    return [
        "  " + "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[-1]]).rstrip()
        for row in rows
    ]
