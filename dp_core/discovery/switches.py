"""`Switches`: which plugins are loaded. Kept in environment variables, so that processes started later see the same.

A plugin is named by its entry point (``timm``), its distribution (``dp-depth``: all its plugins) or its module.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager

import attrs

from dp_core.errors import DpError

LOAD = "DP_PLUGINS"
DISABLE = "DP_DISABLE_PLUGINS"
NO_AUTOLOAD = "DP_DISABLE_PLUGIN_AUTOLOAD"
STRICT = "DP_STRICT_PLUGINS"
TRACE = "DP_TRACE_PLUGINS"


@attrs.frozen(kw_only=True)
class Switches:
    """The plugins that the user wants loaded; by default, everything that is installed."""

    load: tuple[str, ...] = ()
    """Modules to load although they are not installed, and plugins to load although ``autoload`` is off."""
    disabled: tuple[str, ...] = ()
    """Plugins that are never imported, whatever else names them."""
    autoload: bool = True
    strict: bool = False
    """Whether a broken plugin or a name that two packages offer is an error at once, not only where it is needed."""

    @classmethod
    def from_environment(cls) -> Switches:
        """Read the switches that this process was started with, ``-p`` included."""
        return cls(
            load=tuple(_names(LOAD)),
            disabled=tuple(_names(DISABLE)),
            autoload=not _is_on(NO_AUTOLOAD),
            strict=_is_on(STRICT),
        )

    def why_not(self, names: Collection[str]) -> str:
        """Say why a plugin is not to be loaded; empty if it is.

        Args:
            names: what the plugin goes by, its own name first.
        """
        if blocking := [name for name in self.disabled if is_named(name, names)]:
            return f"by -p no:{blocking[0]} or {DISABLE}={blocking[0]}"
        if not self.autoload and not any(is_named(name, names) for name in self.load):
            return f"by {NO_AUTOLOAD}; load it with -p {next(iter(names))}"
        return ""


@contextmanager
def switched(options: Iterable[str]) -> Iterator[None]:
    """Apply the values of ``-p`` options, ``NAME`` and ``no:NAME``, in this process and those that it starts.

    They override the environment, and of two that name the same plugin the last one counts.

    Raises:
        DpError: an option without a name.
    """
    wanted = {LOAD: _names(LOAD), DISABLE: _names(DISABLE)}
    for option in options:
        blocks, name = option.startswith("no:"), option.removeprefix("no:").strip()
        if not name:
            raise DpError(f"-p '{option}' names no plugin; write -p NAME or -p no:NAME")
        for variable in wanted:
            wanted[variable] = [other for other in wanted[variable] if not is_named(other, [name])]
        wanted[DISABLE if blocks else LOAD].append(name)
    former = {variable: os.environ.get(variable) for variable in wanted}
    _set({variable: ",".join(names) or None for variable, names in wanted.items()})
    try:
        yield
    finally:
        _set(former)


def is_named(name: str, names: Collection[str]) -> bool:
    """Tell whether ``name`` is one of ``names``; ``dp_depth`` and ``dp-depth`` are the same, as for pip."""
    return normalized(name) in map(normalized, names)


def normalized(name: str) -> str:
    """Write the name of a distribution as package indexes compare it (PEP 503)."""
    # packaging has this, too; importing it takes a tenth of the time of a listing.
    return re.sub(r"[-_.]+", "-", name).lower()


def is_tracing() -> bool:
    """Tell whether to show every load of a plugin and every call of a hook."""
    return _is_on(TRACE)


def trace(text: str) -> None:
    """Show one event of the life of plugins on stderr."""
    sys.stderr.write(f"trace: {text}\n")


def _names(variable: str) -> list[str]:
    return [name.strip() for name in os.environ.get(variable, "").split(",") if name.strip()]


def _is_on(variable: str) -> bool:
    return os.environ.get(variable, "") not in ("", "0")


def _set(variables: dict[str, str | None]) -> None:
    for variable, value in variables.items():
        if value is None:
            os.environ.pop(variable, None)
        else:
            os.environ[variable] = value
