"""Walks over a typed config: back to plain containers, its components, what this machine lacks to run it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs

from dp_core.component import Component
from dp_core.config.fields import Slot
from dp_core.config.rules import reports
from dp_core.config.task import ShapeMeta
from dp_core.config.wording import join_path
from dp_core.errors import Problem, quoted


def unstructure(value: Any) -> Any:
    """Convert a typed config to the plain containers it came from, complete with defaults and qualified names."""
    if isinstance(value, Slot):
        return {"name": value.component.qualified_name, **unstructure(value.config)}
    if isinstance(value, Component):
        return value.qualified_name
    if isinstance(value, ShapeMeta):
        return unstructure(value.qualified())
    if attrs.has(type(value)):
        return {field.name: unstructure(getattr(value, field.name)) for field in attrs.fields(type(value))}
    if isinstance(value, Mapping):
        return {key: unstructure(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [unstructure(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def components_of(config: Any, path: str = "") -> Iterator[tuple[str, Component]]:
    """Yield every component chosen in a typed config, with its dotted path; parents before children."""
    for name, value in children(config):
        here = join_path(path, name)
        if isinstance(value, Component):
            yield here, value
        elif isinstance(value, Slot):
            # Modalities are named by `type`, other components by the block itself.
            yield join_path(here, "type") if isinstance(config, ShapeMeta) else here, value.component
            yield from components_of(value.config, here)
        else:
            yield from components_of(value, here)


def option_paths(config: Any, path: str = "") -> Iterator[str]:
    """Yield the dotted path of every option that a typed config has; those of items of lists have none."""
    options = config.config if isinstance(config, Slot) else config
    for name, value in () if isinstance(options, list | tuple) else children(options):
        here = join_path(path, name)
        if is_options(options):
            yield here
        yield from option_paths(value, here)


def preflight(config: Any, path: str = "", owner: str = "") -> Iterator[Problem]:
    """Report what this machine lacks to run a valid config, or a part of one: required packages, files.

    Args:
        owner: whose options they are, for messages.

    Raises:
        PluginError: a ``preflight`` method of a plugin fails.
    """
    component = config.component if isinstance(config, Slot) else config
    owner = owner_of(config) or owner
    if isinstance(component, Component) and (missing := component.missing()):
        names = quoted(missing)
        yield Problem(path, f"{component.label} needs {names}; install with: {component.install_command}")
    options = config.config if isinstance(config, Slot) else config
    if is_options(options) and hasattr(options, "preflight"):
        for name, message in reports(options, "preflight", owner):
            yield Problem(join_path(path, name), message)
    for name, value in children(options):
        yield from preflight(value, join_path(path, name), owner)


def owner_of(node: Any) -> str:
    """Name the component whose options begin at ``node``, for messages; empty if none does."""
    component = node.component if isinstance(node, Slot) else getattr(node, "workspace", None)
    return f"{component.label} of {component.distribution}" if isinstance(component, Component) else ""


def is_options(node: Any) -> bool:
    """Tell whether a node is a block of options."""
    return attrs.has(type(node)) and not isinstance(node, Slot | Component)


def children(node: Any) -> Iterable[tuple[str, Any]]:
    """List what is directly inside a block, a mapping or a list, with its name."""
    if is_options(node):
        return [(field.name, getattr(node, field.name)) for field in attrs.fields(type(node))]
    if isinstance(node, ShapeMeta):
        return [(f"obs.{key}", modality) for key, modality in node.modalities.items()]
    if isinstance(node, Mapping):
        return [(str(key), value) for key, value in node.items()]
    if isinstance(node, list | tuple):
        return [(f"[{index}]", value) for index, value in enumerate(node)]
    return []
