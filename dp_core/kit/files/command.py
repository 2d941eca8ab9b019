"""The ``dp-data download`` command that puts a published file or folder where a config names it.

What all such commands of plugins have in common; a plugin says what there is to get, and where from.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path, PurePosixPath

OUTPUT = Path("data")
"""The folder that archives are unpacked in, unless the user chooses another."""


def download_command(dataset: str, path: Path, name: str, *options: str) -> str:
    """Write the command that gets what is missing at ``path``, for messages.

    Args:
        name: of what is wanted, in its archive. Where ``path`` does not end with it, the command has no ``--output``.
        options: further ones, that choose ``name``.
    """
    parts = PurePosixPath(name).parts
    if path.parts[-len(parts) :] == parts and (output := Path(*path.parts[: -len(parts)])) != OUTPUT:
        options = (*options, "--output", str(output))
    return " ".join(["dp-data", "download", dataset, *options])


def download_parser(dataset: str, description: str) -> argparse.ArgumentParser:
    """Return the parser of the command, without options."""
    return argparse.ArgumentParser(
        prog=f"dp-data download {dataset}",
        description=description,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )


def add_archive_options(parser: argparse.ArgumentParser, unpacked: str, *addresses: str) -> None:
    """Add ``--output``, the folder to unpack in, and ``--source``, the archive.

    Args:
        unpacked: what is in that folder afterwards, for the help.
        addresses: of the archive. Where there are several, other options choose, and ``source`` is not set by default.
    """
    parser.add_argument("--output", type=Path, default=OUTPUT, help=f"folder that {unpacked} is in, or will be")
    source = "address of the archive, or an archive that was downloaded elsewhere"
    if len(addresses) == 1:
        parser.add_argument("--source", default=addresses[0], help=source)
    else:
        otherwise = f"if it is not given, {' or '.join(addresses)}"
        parser.add_argument("--source", default=argparse.SUPPRESS, help=f"{source}; {otherwise}")


def run_download(parser: argparse.ArgumentParser, argv: Sequence[str], download: Callable[..., Iterable[str]]) -> int:
    """Parse ``argv``, call ``download`` with the options, and print its lines; return the exit status.

    Raises:
        DpError: whatever ``download`` raises.
    """
    for line in download(**vars(parser.parse_args(argv))):
        print(line)  # noqa: T201 -- a command
    return 0
