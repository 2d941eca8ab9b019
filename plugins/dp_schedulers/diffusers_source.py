"""What schedulers the installed diffusers has, and with which options: read from its source, which imports nothing.

Importing the library takes seconds, and torch; a mistake in a config is to be found before.
"""

from __future__ import annotations

import ast
import importlib.util
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import attrs

REQUIRED: Any = object()
"""Stands for the default of an option that has none, or one that is no plain value."""
_CLASS = re.compile(r"^class (\w+)\([^)]*\bSchedulerMixin\b", re.MULTILINE)


@attrs.frozen
class SchedulerSource:
    """The constructor and the methods of one class."""

    defaults: Mapping[str, Any]
    """What each option is if nobody says."""
    choices: Mapping[str, tuple[Any, ...]]
    """The values that an option can have, as far as its annotation lists them."""
    nullable: frozenset[str]
    """The options that may be null, by their default or their annotation."""
    methods: Mapping[str, tuple[str, ...]]
    """The arguments of each method that have no default, without ``self``."""


def scheduler_names() -> tuple[str, ...]:
    """List the scheduler classes of the installed diffusers; none where it is not installed."""
    return tuple(_files())


@cache
def scheduler_source(name: str) -> SchedulerSource:
    """Read one of `scheduler_names`."""
    tree = ast.parse(_files()[name].read_text(encoding="utf-8"))
    body = next(node.body for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name)
    functions = {node.name: node for node in body if isinstance(node, ast.FunctionDef)}
    arguments = functions["__init__"].args
    parameters = arguments.args[1:]
    defaults = [*(len(parameters) - len(arguments.defaults)) * [None], *arguments.defaults]
    values = {parameter.arg: _value(node) for parameter, node in zip(parameters, defaults, strict=True)}
    return SchedulerSource(
        defaults=values,
        choices={p.arg: choices for p in parameters if (choices := _choices(p.annotation))},
        nullable=frozenset(p.arg for p in parameters if values[p.arg] is None or _takes_none(p.annotation)),
        methods={method: _required(node.args) for method, node in functions.items()},
    )


@cache
def _files() -> Mapping[str, Path]:
    spec = importlib.util.find_spec("diffusers")
    found = {}
    for folder in (spec.submodule_search_locations or ()) if spec is not None else ():
        for file in sorted(Path(folder, "schedulers").glob("scheduling_*.py")):
            if not file.stem.endswith("_flax"):
                found.update(dict.fromkeys(_CLASS.findall(file.read_text(encoding="utf-8")), file))
    return found


def _required(arguments: ast.arguments) -> tuple[str, ...]:
    names = [argument.arg for argument in arguments.args]
    return tuple(names[1 : len(names) - len(arguments.defaults)])


def _value(node: ast.expr | None) -> Any:
    try:
        return REQUIRED if node is None else ast.literal_eval(node)
    except ValueError:
        return REQUIRED


def _takes_none(annotation: ast.expr | None) -> bool:
    return annotation is not None and re.search(r"\b(None|Optional)\b", ast.unparse(annotation)) is not None


def _choices(annotation: ast.expr | None) -> tuple[Any, ...]:
    is_literal = isinstance(annotation, ast.Subscript) and ast.unparse(annotation.value).endswith("Literal")
    if not (isinstance(annotation, ast.Subscript) and is_literal):
        return ()
    listed = annotation.slice.elts if isinstance(annotation.slice, ast.Tuple) else [annotation.slice]
    return tuple(_value(node) for node in listed)
