"""How every command ends when something is wrong: one clear message, status 2; tracebacks only when asked for."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Iterable

from dp_core.discovery.switches import switched
from dp_core.errors import DpError

USAGE_ERROR = 2
INTERRUPTED = 130


def run_command(
    program: str, command: Callable[[], int], show_traceback: bool = False, plugins: Iterable[str] = ()
) -> int:
    """Call ``command``; turn what users can cause into a message and an exit status.

    Args:
        plugins: the values of ``-p``, see `dp_core.discovery.switches`.
    """
    try:
        with switched(plugins):
            status = command()
        sys.stdout.flush()  # here, where a closed pipe can still be dealt with
        return status
    except DpError as error:
        if show_traceback:
            traceback.print_exc()
        print(f"{program}: error: {error}", file=sys.stderr)
        return USAGE_ERROR
    except KeyboardInterrupt:
        print(f"\n{program}: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of our output (head, less) is gone; Python must not complain when it closes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        # A folder that cannot be written to, a full disk: told apart from our own mistakes by the file it names.
        if error.filename is None:
            raise
        if show_traceback:
            traceback.print_exc()
        print(f"{program}: error: {error.filename}: {error.strerror}", file=sys.stderr)
        return USAGE_ERROR


def set_up_logging() -> None:
    """Show the program's own messages on stderr, short."""
    import logging

    handler = logging.StreamHandler()
    # Ours and our plugins' from INFO on, and warnings of everybody.
    handler.addFilter(lambda record: record.levelno >= logging.WARNING or record.name.startswith("dp_"))
    logging.basicConfig(level=logging.INFO, format="%(levelname)s: %(message)s", handlers=[handler])
