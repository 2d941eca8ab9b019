"""What every test shares: where the golden numbers and the published demonstrations are."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# The tensors of tests are small: threads would only wait for each other. Children inherit it.
os.environ.setdefault("OMP_NUM_THREADS", "1")

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture(scope="session")
def golden() -> Path:
    """Folder of numbers made by the original code (tests/golden/README.md), or the one that DP_GOLDEN names."""
    return Path(os.environ.get("DP_GOLDEN") or GOLDEN)


@pytest.fixture(scope="session")
def pusht_archive() -> Path:
    """The published human demonstrations, where the machine has them."""
    path = os.environ.get("DP_PUSHT_ARCHIVE")
    if not path:
        pytest.skip("DP_PUSHT_ARCHIVE does not name the published Push-T archive")
    return Path(path)
