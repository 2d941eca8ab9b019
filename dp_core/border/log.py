"""The run's own record of what ended it, so that nobody has to run again to see a traceback."""

from __future__ import annotations

import datetime
import logging
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from dp_core.border.naming import named
from dp_core.errors import ComponentError, DpError

ERROR_LOG = "error.log"
"""The file in a run directory. A run that is continued and fails again adds to it."""
logger = logging.getLogger(__name__)


def recorded(error: BaseException, component: object, folder: Callable[[], Path]) -> BaseException:
    """Return ``error`` as `named` does, for the end of a run, after its traceback was written to the run's directory.

    It is appended to `ERROR_LOG`, and a note says so. Of a mistake of the user's, the message says all. Where the file
    cannot be written, that is logged.

    Args:
        component: the workspace, or its `Origin`.
        folder: names the run directory, or makes it; called once there is something to write.
    """
    if not isinstance(error, Exception):
        return error
    end = named(error, component)
    if not isinstance(end, DpError) or isinstance(end, ComponentError):
        _write(end, folder())
    return end


@contextmanager
def naming_the_end(component: object, folder: Callable[[], Path]) -> Iterator[None]:
    """Do the same with what is raised in the ``with`` block.

    Args:
        component, folder: as in `recorded`.
    """
    try:
        yield
    except Exception as error:
        raise recorded(error, component, folder)  # noqa: B904 -- it has its cause


def _write(error: Exception, folder: Path) -> None:
    path = folder / ERROR_LOG
    now = datetime.datetime.now().astimezone()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            file.write(f"{now:%Y-%m-%d %H:%M:%S %z}\n{''.join(traceback.format_exception(error))}\n")
    except OSError as problem:
        logger.error("the traceback cannot be written to %s: %s", path, problem)
        return
    error.add_note(f"the traceback is in {path}")
