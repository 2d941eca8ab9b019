"""`Failure`: an error on its way from a worker process to the process that is to raise it."""

from __future__ import annotations

import pickle
import traceback
from typing import NoReturn

import attrs

from dp_core.errors import DpError

WHEN = "_dp_when"
"""The attribute of an error that says when it was raised."""
NOTES = "__notes__"
"""Python's own attribute for what `BaseException.add_note` was told."""


class WorkerError(Exception):
    """Show, as the cause of an error, where in a worker it was raised."""

    def __str__(self) -> str:
        return f"\n{self.args[0]}"


class UnportableError(RuntimeError):
    """Stand for an error that cannot be pickled. Its text begins with the type of the error."""


@attrs.frozen
class Failure:
    """Carry an error, which loses its traceback when it is pickled, together with that."""

    error: Exception
    traceback: str

    @classmethod
    def of(cls, error: Exception) -> Failure:
        """Pack an error that is being handled."""
        return cls(_portable(error), "".join(traceback.format_exception(error)))

    def reraise(self) -> NoReturn:
        """Raise the error; its cause shows the worker's own traceback."""
        raise self.error from WorkerError(self.traceback)


def _portable(error: Exception) -> Exception:
    """Return ``error``, or one that says the same if it cannot be pickled, or not be made again from its text alone."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        stand_in = (
            DpError(str(error)) if isinstance(error, DpError) else UnportableError(f"{type(error).__name__}: {error}")
        )
        # What was added on its way comes along.
        stand_in.__dict__.update({name: value for name, value in error.__dict__.items() if name in (WHEN, NOTES)})
        return stand_in
    return error
