"""`Block`: a part of a foreign config, read option by option, so that nothing in it is overlooked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dp_core.errors import Problem

_MISSING: Any = object()


class Block:
    """Options that are taken out one after another; `finish` reports those that nobody took.

    Problems are gathered, not raised, so that a user hears of all of them at once.
    """

    def __init__(self, data: Any, path: str, problems: list[Problem]) -> None:
        self.path = path
        self.problems = problems
        self._left: dict[str, Any] = {}
        if isinstance(data, Mapping):
            self._left = dict(data)
        elif data is not None:
            self.fail("", f"expected a mapping of options, got {data!r}")

    def take(self, name: str, default: Any = _MISSING) -> Any:
        """Return the value of an option, which counts as read from now on; without ``default`` it has to be there."""
        if name in self._left:
            return self._left.pop(name)
        if default is _MISSING:
            self.fail(name, "is missing")
            return None
        return default

    def __contains__(self, name: str) -> bool:
        return name in self._left

    def block(self, name: str) -> Block:
        """Return the block below ``name``; an empty one if it is absent."""
        return Block(self.take(name, None), self._at(name), self.problems)

    def target(self) -> str:
        """Return the class that hydra would make from this block, its name without module; empty if none is named."""
        return str(self.take("_target_", "")).rpartition(".")[2]

    def expect(self, name: str, *values: Any) -> None:
        """Read an option that has no counterpart here: it must be absent or one of ``values``, the usual one first."""
        value = self.take(name, values[0])
        if value not in values:
            expected = " or ".join(repr(allowed) for allowed in values)
            self.fail(name, f"{value!r} has no counterpart here; only {expected} can be converted")

    def ignore(self, *names: str) -> None:
        """Read options that change nothing here."""
        for name in names:
            self._left.pop(name, None)

    def left(self) -> list[str]:
        """List the names of what was not read."""
        return list(self._left)

    def finish(self) -> None:
        """Report every option that was not read."""
        for name in self.left():
            self.fail(name, "is not known to dp-convert")

    def fail(self, name: str, message: str) -> None:
        """Record what is wrong with option ``name``, or with the block if that is empty."""
        self.problems.append(Problem(self._at(name), message))

    def _at(self, name: str) -> str:
        return f"{self.path}.{name}".strip(".")
