"""The folder for files that can be made again."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """Return the folder for files that can be made again; the user may delete it at any time.

    It is ``$DP_CACHE_DIR``, by default ``dp-core`` in ``$XDG_CACHE_HOME`` or ``~/.cache``.
    """
    if folder := os.environ.get("DP_CACHE_DIR"):
        return Path(folder)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dp-core"
