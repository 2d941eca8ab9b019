"""What every test shares: where the golden numbers and the published demonstrations are."""

from __future__ import annotations

import os
from collections.abc import Callable
from fnmatch import fnmatch
from pathlib import Path

import pytest

# The tensors of tests are small: threads would only wait for each other. Children inherit it.
os.environ.setdefault("OMP_NUM_THREADS", "1")

GOLDEN = Path(__file__).parent / "golden"
TOO_LARGE = ("i_checkpoint_*", "k_timm_vit_tiny_cls.npz")
"""Files that the project does not hold; only where DP_GOLDEN has them are they tried."""


@pytest.fixture(scope="session")
def golden() -> Callable[[str], Path]:
    """``golden(name)``: a file of numbers made by the original code (tests/golden/README.md).

    The folder that DP_GOLDEN names goes first; it may hold more than the project does, and need not hold all of it.
    """
    folders = [Path(folder) for folder in (os.environ.get("DP_GOLDEN"), GOLDEN) if folder]

    def find(name: str) -> Path:
        for folder in folders:
            if (folder / name).is_file():
                return folder / name
        assert any(fnmatch(name, pattern) for pattern in TOO_LARGE), f"there is no golden file '{name}'"
        pytest.skip(f"'{name}' is not in {' or '.join(map(str, folders))}")

    return find


@pytest.fixture(scope="session")
def pusht_archive() -> Path:
    """The published human demonstrations, where the machine has them."""
    path = os.environ.get("DP_PUSHT_ARCHIVE")
    if not path:
        pytest.skip("DP_PUSHT_ARCHIVE does not name the published Push-T archive")
    return Path(path)
