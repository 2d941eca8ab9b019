"""Freed memory is kept where the allocator can do that."""

import subprocess
import sys

import pytest

from dp_core.training.allocator import keep_freed_memory

FAULTS = """
import resource
import numpy as np
from dp_core.training.allocator import keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        np.ones(50_000_000, np.uint8)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

usual = faults()
if keep_freed_memory():
    faults()
    kept = faults()
    keep_freed_memory(False)
    print(usual, kept, faults())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator")
def test_memory_that_was_freed_is_used_again() -> None:
    done = subprocess.run([sys.executable, "-c", FAULTS], capture_output=True, text=True, check=True)
    if not done.stdout:
        pytest.skip("this is not glibc's allocator")

    usual, kept, again = map(int, done.stdout.split())
    assert kept < usual / 20
    assert again > usual / 2


def test_elsewhere_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")

    assert not keep_freed_memory()
