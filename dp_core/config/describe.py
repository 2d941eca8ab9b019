"""Describes the options of a component in words: a table of them, and an example. Imports no implementation."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import attrs

from dp_core.component import Component
from dp_core.config.fields import HELP, SLOT, Slot
from dp_core.config.task import ShapeMeta


def option_rows(cls: type) -> Iterator[tuple[str, str, str, str]]:
    """Yield dotted name, type, default and help of every option of a config class, and of the classes in it."""
    for name, hint, field in _fields(cls):
        yield name, _type_name(hint, field), _default(field), field.metadata.get(HELP, "")


def option_records(cls: type) -> Iterator[dict[str, Any]]:
    """Yield the facts of `option_rows` for programs: ``default`` is a value, null where one is ``required``."""
    for name, hint, field in _fields(cls):
        default, is_required = _default_value(field), field.default is attrs.NOTHING
        yield {
            "name": name,
            "type": _type_name(hint, field),
            "required": is_required,
            "default": None if is_required else attrs.asdict(default) if attrs.has(type(default)) else default,
            "help": field.metadata.get(HELP, ""),
        }


def _fields(cls: type, prefix: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Yield the dotted name, the annotation and the attrs field of every option."""
    hints = typing.get_type_hints(cls)
    for field in attrs.fields(cls):
        hint = hints[field.name]
        if hint is Component:
            continue
        yield f"{prefix}{field.name}", hint, field
        for nested in (arg for arg in (hint, *get_args(hint)) if attrs.has(arg) and arg is not Slot):
            entry = "*." if get_origin(hint) is dict else ""  # a name that the user chooses
            yield from _fields(nested, f"{prefix}{field.name}.{entry}")


def example(component: Component) -> list[str]:
    """Return lines of a config: required options with a stand-in, up to three of the others with their default."""
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
        return [f"{key}: {value}" for key, value in entries]
    if component.kind == "callback":
        return ["callbacks:", f"  my_{component.name}:", *(f"    {key}: {value}" for key, value in entries)]
    if component.kind == "modality":
        entries[0] = ("type", component.name)
        lines = [f"      {key}: {value}" for key, value in (("shape", "<[int, ...]>"), *entries)]
        return ["shape_meta:", "  obs:", f"    my_{component.name}:", *lines]
    return [f"{component.kind}:", *(f"  {key}: {value}" for key, value in entries)]


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
    if attrs.has(hint) or hint is ShapeMeta:
        return "mapping"
    return {Path: "path", str: "str"}.get(hint, getattr(hint, "__name__", "any"))


def _default(field: Any) -> str:
    if field.default is attrs.NOTHING:
        return "required"
    default = _default_value(field)
    return "defaults below" if attrs.has(type(default)) else _yaml(default)


def _default_value(field: Any) -> Any:
    return field.default.factory() if isinstance(field.default, attrs.Factory) else field.default  # type: ignore[arg-type]


def _yaml(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_yaml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_yaml(item) for item in value) + "]"
    return str(value)
