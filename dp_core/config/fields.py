"""The means by which a config class declares its options: `option`, and `slot` where a component is plugged in."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from dp_core.component import Component, Kind
from dp_core.errors import PluginError

HELP = "dp_help"
SLOT = "dp_slot"
_COMPONENT = "dp_component"
"""Attribute of modules that were built for a slot."""


@attrs.frozen
class Slot:
    """A component chosen for a place in a config, with its checked options.

    Holds nothing but plain data, so it survives pickling to worker processes.
    """

    component: Component
    config: Any

    def build(self, **runtime: Any) -> Any:
        """Import the component and construct it as ``target(config, **runtime)``."""
        return _marked(self.component.load()(self.config, **runtime), self.component)


def component_of(module: object) -> Component | None:
    """Return the component that built a module, or the original of a copy; None if none did."""
    # Not getattr: a module that hands on the attributes of what it wraps is not what it wraps.
    component = vars(module).get(_COMPONENT)
    return component if isinstance(component, Component) else None


def _marked(built: Any, component: Component) -> Any:
    """Let a module know its component, so that weights of an earlier version find their upgrade at any depth.

    In the module, so that copies, such as averaged weights, know it too. Of others, the state may be all attributes.
    What a component passes on from another keeps the first.
    """
    if hasattr(built, "named_modules") and component_of(built) is None:
        setattr(built, _COMPONENT, component)
    return built


def option(
    default: Any = attrs.NOTHING,
    *,
    help: str | None = None,  # noqa: A002 -- the word users of argparse and attrs expect
    factory: Callable[[], Any] | None = None,
    validator: Callable[..., Any] | Sequence[Callable[..., Any]] | None = None,
) -> Any:
    """Declare one option of a component.

    Args:
        default: leave out to make the option required.
        help: one line, shown by ``dp-run --describe``: meaning, unit, shape. It must be given.
        factory: makes the default where it is mutable.
        validator: attrs validators for ranges; run after the type is checked.

    Raises:
        PluginError: there is no help; names the class and the line.
    """
    if help is None:
        caller = sys._getframe(1)
        code = caller.f_code
        where = f"{code.co_name}, {Path(code.co_filename).name} line {caller.f_lineno}"
        raise PluginError(f"{where}: option() lacks help; write option(..., help='one line: meaning, unit, shape')")
    if factory is not None:
        default = attrs.Factory(factory)
    return attrs.field(default=default, validator=validator, metadata={HELP: help}, kw_only=True)


def slot(
    kind: Kind,
    default: Mapping[str, Any] | str | Any | None = attrs.NOTHING,
    *,
    help: str = "",  # noqa: A002
) -> Any:
    """Declare a place where a component of ``kind`` is plugged in; annotate it ``Slot`` or ``Slot | None``.

    Args:
        default: a block (``{"name": "ddpm"}``), a name, None for an empty slot, or nothing: required.
    """
    return attrs.field(default=default, metadata={HELP: help, SLOT: kind}, kw_only=True)


def slots(kind: Kind, *, help: str = "") -> Any:  # noqa: A002
    """Declare a mapping of freely named places for components, annotated ``dict[str, Slot]``; null removes an entry."""
    return attrs.field(factory=dict, metadata={HELP: help, SLOT: kind}, kw_only=True)
