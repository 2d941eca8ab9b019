"""Keeps memory that a training step frees for the next step, instead of returning it to the system."""

from __future__ import annotations

import ctypes
import sys

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -3, -4
"""Parameters of glibc's ``mallopt``."""
_USUAL = {_MMAP_MAX: 65536, _MMAP_THRESHOLD: 32 * 2**20, _TRIM_THRESHOLD: 64 * 2**20}
"""What glibc itself arrives at in a process that frees tensors of all sizes: it raises its thresholds up to these."""
_KEEP = {_MMAP_MAX: 0, _TRIM_THRESHOLD: 2**31 - 1}


def keep_freed_memory(is_wanted: bool = True) -> bool:
    """Have the process keep what it frees; with False, release it and return to the usual behaviour.

    glibc maps every large tensor anew and returns it to the system when it is freed. The system then clears each page
    when it is first touched: for a network of 250 million weights, whose gradients and activations come and go with
    every step, that is a fifth of a step on a CPU. What is kept is as much as was in use at the same time.

    Returns:
        Whether the process has such an allocator. Others, such as jemalloc, keep memory by themselves.
    """
    if sys.platform != "linux":
        return False
    libc = ctypes.CDLL(None)
    if not (hasattr(libc, "mallopt") and hasattr(libc, "malloc_trim")):
        return False
    is_set = all(libc.mallopt(name, value) for name, value in (_KEEP if is_wanted else _USUAL).items())
    if not is_wanted:
        libc.malloc_trim(0)
    return is_set
