"""The common ground of all commands: some options, their log, and how they end.

When something is wrong, that is one clear message, and a traceback only when asked for. The status is 2 for what the
user can fix, and 1 where the code of a component failed.
"""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from collections.abc import Callable, Iterable
from importlib.metadata import version
from typing import Any

from dp_core.discovery.switches import DISABLE, LOAD, NO_AUTOLOAD, STRICT, TRACE, switched
from dp_core.errors import ComponentError, DpError

COMPONENT_ERROR = 1
"""The exit status where the code of a component failed."""
USAGE_ERROR = 2
"""The exit status of a mistake in the input."""
INTERRUPTED = 130
"""The exit status after Ctrl-C."""


def add_common_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--traceback`` and ``-p``, whose values are for `run_command`, and ``--version``."""
    parser.add_argument("--traceback", action="store_true", help="show where an error comes from")
    parser.add_argument("--version", action=_Version, help="show the version of dp-core")
    group = parser.add_argument_group(
        "plugins",
        f"NAME is a plugin, its distribution or a module. Environment variables do the same: {LOAD}=A,B and "
        f"{DISABLE}=A,B; besides, {NO_AUTOLOAD}=1 loads only what is named, {STRICT}=1 makes a broken plugin an error, "
        f"{TRACE}=1 shows each plugin that is loaded and each hook that is called.",
    )
    group.add_argument(
        "-p",
        dest="plugins",
        action="append",
        default=[],
        metavar="NAME",
        help="load NAME too, which need not be installed; `-p no:NAME`: never import it",
    )


class _Version(argparse.Action):
    """Looks the version up once it is asked for; argparse's own action wants it for every command."""

    def __init__(self, option_strings: list[str], dest: str, help: str) -> None:  # noqa: A002
        super().__init__(option_strings, dest=argparse.SUPPRESS, default=argparse.SUPPRESS, nargs=0, help=help)

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        print(f"dp-core {version('dp-core')}")
        parser.exit()


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
        print(f"{program}: error: {_with_notes(error, str(error))}", file=sys.stderr)
        return COMPONENT_ERROR if isinstance(error, ComponentError) else USAGE_ERROR
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
        print(f"{program}: error: {_with_notes(error, f'{error.filename}: {error.strerror}')}", file=sys.stderr)
        return USAGE_ERROR


def _with_notes(error: BaseException, text: str) -> str:
    """Append what was added to an error on its way, such as what a run has saved."""
    return "\n".join([text, *getattr(error, "__notes__", [])])


def set_up_logging() -> None:
    """Show the program's own messages on stderr, short."""
    import logging

    handler = logging.StreamHandler()
    # Ours and our plugins' from INFO on, and warnings of everybody.
    handler.addFilter(lambda record: record.levelno >= logging.WARNING or record.name.startswith("dp_"))
    logging.basicConfig(level=logging.INFO, format="%(levelname)s: %(message)s", handlers=[handler])
