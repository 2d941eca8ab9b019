"""The noise that each step of a process adds, in plain numbers: options are judged before torch is imported."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Literal

BetaSchedule = Literal["squaredcos_cap_v2", "linear", "scaled_linear"]

_LARGEST = 0.999
"""As in diffusers: something of the data is left by every step of the cosine schedule."""


def betas(schedule: BetaSchedule, count: int, start: float, end: float) -> list[float]:
    """Compute the variance that each of ``count`` steps adds.

    Args:
        start: that of the first step, and ``end`` that of the last; the cosine schedule has its own.
    """
    if schedule == "linear":
        return _evenly(start, end, count)
    if schedule == "scaled_linear":
        return [root**2 for root in _evenly(start**0.5, end**0.5, count)]
    # Nichol and Dhariwal 2021, equation 17
    shares = [math.cos((step / count + 0.008) / 1.008 * math.pi / 2) ** 2 for step in range(count + 1)]
    return [min(1 - after / before, _LARGEST) for before, after in pairwise(shares)]


def data_shares(added: Sequence[float]) -> list[float]:
    """Compute the share of the data in the variance after each step that adds one of ``added``; it falls."""
    return list(accumulate((1 - beta for beta in added), lambda share, kept: share * kept))


def _evenly(first: float, last: float, count: int) -> list[float]:
    return [first + (last - first) * step / max(count - 1, 1) for step in range(count)]
