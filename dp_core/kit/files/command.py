"""The ``dp-data download`` command that puts a published file or folder where a config names it."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

OUTPUT = Path("data")
"""Folder that archives are unpacked in, unless the user chooses another."""


def download_command(dataset: str, path: Path, name: str, *options: str) -> str:
    """Return the command, for the message that there is nothing at ``path``.

    Args:
        name: of what is wanted, in its archive. Where ``path`` does not end with it, the command has no ``--output``.
        options: further ones, that choose ``name``.
    """
    parts = PurePosixPath(name).parts
    if path.parts[-len(parts) :] == parts and (output := Path(*path.parts[: -len(parts)])) != OUTPUT:
        options = (*options, "--output", str(output))
    return " ".join(["dp-data", "download", dataset, *options])
