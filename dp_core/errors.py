"""The errors that users can cause. The command line prints these without a traceback and exits with status 2.

One is not the user's: of a `ComponentError`, the status is 1, and the traceback is in the run's directory.

Texts say where, what was found, what was expected and what to do: lower case, no full stop, names in quotes.
Invariants that only we can break are `assert`s.
"""

from __future__ import annotations

import difflib
import logging
from collections.abc import Callable, Iterable, Sequence

import attrs

logger = logging.getLogger(__name__)


class DpError(Exception):
    """Base of everything that a user, a config, a file or a plugin can cause."""


@attrs.frozen
class Problem:
    """One thing that is wrong in a config: the dotted path of the option and what is wrong with it."""

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message


class ConfigError(DpError, ValueError):
    """A config cannot be used. Carries every problem found, not only the first; ``notes`` may explain them."""

    def __init__(self, source: str, problems: Sequence[Problem], notes: Sequence[str] = ()) -> None:
        self.source = source
        self.problems = tuple(problems)
        self.notes = tuple(notes)
        count = "1 problem" if len(self.problems) == 1 else f"{len(self.problems)} problems"
        lines = [*(f"  {problem}" for problem in self.problems), *(f"  note: {note}" for note in notes)]
        super().__init__("\n".join([f"{source} has {count}", *lines]))


class PluginError(DpError):
    """A plugin does not follow the rules, or a component cannot be found."""


class ComponentError(PluginError):
    """The code of a component failed: for those who wrote it. What it raised is the cause, if it raised something.

    The text names the place in the config, the component and what ships it; so do the attributes.
    """

    def __init__(self, message: str, *, path: str = "", component: str = "", provider: str = "") -> None:
        super().__init__(message)
        self.path = path
        """The dotted path of the block in the config, such as ``policy.encoder``; empty if it is not known."""
        self.component = component
        """The component, such as ``encoder 'depth'``."""
        self.provider = provider
        """The distribution and its version, such as ``dp-lab 0.3``."""


class MissingDependencyError(DpError, ImportError):
    """A component needs a package that is not installed."""


class ComponentLoadError(DpError, ImportError):
    """The implementation of a component cannot be imported."""


class DataError(DpError, ValueError):
    """A data set is absent, incomplete or does not match `shape_meta`."""


class DownloadError(DpError):
    """A published file cannot be fetched, or is not what was expected."""


class CheckpointError(DpError):
    """A checkpoint cannot be read, or was made with plugins that are not available here."""


class UnsoundStateError(CheckpointError):
    """The state of a run holds NaN or infinity where numbers have to be: it is neither kept nor continued from."""


class InputError(DpError, ValueError):
    """A tensor or value handed to a component has the wrong shape, dtype or range."""


def quoted(names: Iterable[object], last: str = ", ") -> str:
    """List names for a message: ``'a', 'b'``.

    Args:
        last: goes before the last of several names, as in ``'a' or 'b'``.
    """
    *others, end = [f"'{name}'" for name in names] or [""]
    return f"{', '.join(others)}{last}{end}" if others else end


def did_you_mean(word: str, choices: Iterable[str], otherwise: str = "", *, n: int = 1) -> str:
    """Suggest the choices that ``word`` is probably a misspelling of.

    Args:
        otherwise: returned if it resembles none of them.
        n: how many choices to suggest at most.

    Returns:
        ``did you mean 'x'?``, without a separator before it.
    """
    close = difflib.get_close_matches(word, list(choices), n=n)
    return f"did you mean {quoted(close, ' or ')}?" if close else otherwise


def attempt_all(*calls: Callable[[], object]) -> None:
    """Make every call, whatever the others raise. Errors are logged: there is another one, which is to be raised."""
    for call in calls:
        try:
            call()
        except Exception as error:
            logger.error("besides, %s: %s", type(error).__name__, error)
