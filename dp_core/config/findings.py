"""`Findings`: what both passes over a config find wrong, and what they advise against, reported at the end."""

from __future__ import annotations

import logging
from collections.abc import Container, Iterable, Mapping, Sequence
from typing import Any

import attrs

from dp_core.config.tree import option_paths
from dp_core.config.wording import unknown_option
from dp_core.errors import ConfigError, Problem, did_you_mean

INVALID: Any = object()
"""Stands for a value that could not be structured; the problem is recorded."""
_UNKNOWN = "unknown option"
"""Stands for the message about an option that there is not, until it is known which options there are elsewhere."""

logger = logging.getLogger(__name__)


class Findings:
    """Problems and advice, each with its path, and which values nobody is to look at any more."""

    def __init__(self, idle: Container[str] = ()) -> None:
        """``idle`` are the paths of each ``null`` that is known to take nothing away."""
        self._idle = idle
        self.problems: list[Problem] = []
        self._advice: list[Problem] = []
        self.origins: dict[str, str] = {}
        """Variables that values come from, by the path of the option that they are for."""
        self.renamed: dict[str, str] = {}
        """By the path that an option had in an earlier version, its name today."""
        self._unknown: dict[str, tuple[str, Sequence[str]]] = {}
        """By its path, an unknown option, and those that there are in its place."""
        self._unsound: dict[int, tuple[Any, set[str]]] = {}
        """By id: a config object (kept, so that no other gets its id), and its options that something is wrong with."""

    def fail(self, path: str, message: str) -> Any:
        """Record a problem; returns `INVALID`."""
        if path in self.origins:
            message += f" (from {self.origins[path]})"
        self.problems.append(Problem(path, message))
        return INVALID

    def advise(self, path: str, message: str) -> None:
        """Record what is possible, but hardly meant."""
        self._advice.append(Problem(path, message))

    def removes(self, path: str, name: str, entries: Iterable[str]) -> bool:
        """Record a problem if ``null`` at ``path`` was to remove an entry, and there is none called ``name``.

        Args:
            entries: those that there are in its place.

        Returns:
            whether it is sound.
        """
        if path not in self._idle:
            return True
        hint = did_you_mean(name, entries, "leave it out")
        self.fail(path, f"null removes an entry that a config below puts there; there is none called '{name}'; {hint}")
        return False

    def unknown_option(self, path: str, name: str, known: Sequence[str]) -> None:
        """Record an option that its block, which has ``known``, does not have."""
        self._unknown[path] = (name, known)
        self.fail(path, _UNKNOWN)

    def mark_unsound(self, config: Any, *names: str) -> None:
        """Note that something is wrong with options of a config object."""
        self._unsound.setdefault(id(config), (config, set()))[1].update(names)

    def is_sound(self, config: Any, name: str | None = None) -> bool:
        """Tell whether nothing is wrong with an option or a property of a config object, or with all of it."""
        _, unsound = self._unsound.get(id(config), (None, set()))
        is_option = attrs.has(type(config)) and name in attrs.fields_dict(type(config))
        return name not in unsound if is_option else not unsound  # a property can depend on every option

    def report(self, source: str, structured: Mapping[str, Any]) -> None:
        """End both passes.

        Args:
            structured: what they made, by its path.

        Raises:
            ConfigError: with all problems. There is no advice then.
        """
        if self.problems:
            there = [path for start, node in structured.items() for path in option_paths(node, start)]
            raise ConfigError(source, [self._worded(problem, there) for problem in self.problems])
        for advice in self._advice:
            logger.warning("%s: %s", source, advice)

    def _worded(self, problem: Problem, there: list[str]) -> Problem:
        if problem.message != _UNKNOWN:
            return problem
        if problem.path in self.renamed:
            return Problem(problem.path, f"unknown option; it was renamed '{self.renamed[problem.path]}'")
        return Problem(problem.path, unknown_option(*self._unknown[problem.path], there))
