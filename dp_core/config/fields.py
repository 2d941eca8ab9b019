"""The means by which a config class declares its options: `option`, and `slot` where a component is plugged in."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from dp_core.border import Origin, naming
from dp_core.border.origin import remember
from dp_core.component import Component, Kind
from dp_core.errors import PluginError

HELP = "dp_help"
SLOT = "dp_slot"


@attrs.frozen
class Slot:
    """A component chosen for a place in a config, with its checked options.

    Holds nothing but plain data, so it survives pickling to worker processes.
    """

    component: Component
    config: Any
    path: str = attrs.field(default="", eq=False, repr=False)
    """The dotted path of the place, such as ``policy.encoder``, for messages; empty where it is not known."""

    @property
    def origin(self) -> Origin:
        """What messages say about what is built here."""
        return Origin.of(self.component, self.path)

    def build(self, **runtime: Any) -> Any:
        """Import the component and construct it as ``target(config, **runtime)``.

        Raises:
            MissingDependencyError, ComponentLoadError: the component cannot be imported.
            ComponentError: its constructor raises something, be it on its own or in what it builds in turn.
        """
        target = self.component.load()
        with naming(self.origin):
            built = target(self.config, **runtime)
        remember(built, self.origin, target)
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
