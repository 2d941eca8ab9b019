"""How noise grows over the steps of a process, in plain numbers: options are judged before torch is imported."""

from __future__ import annotations

import math
from itertools import accumulate, pairwise
from typing import Literal

BetaSchedule = Literal["squaredcos_cap_v2", "linear", "scaled_linear"]

_LARGEST = 0.999
"""As in diffusers: something of x0 is left by every step of the cosine schedule."""


def betas(schedule: BetaSchedule, count: int, start: float, end: float) -> list[float]:
    """Compute beta_t, the variance of the noise that each of ``count`` steps adds.

    Args:
        start: beta of the first step, and ``end`` that of the last; the cosine schedule has its own.
    """
    if schedule == "linear":
        return _evenly(start, end, count)
    if schedule == "scaled_linear":
        return [root**2 for root in _evenly(start**0.5, end**0.5, count)]
    # Nichol and Dhariwal 2021, equation 17: alphas_cumprod is f(t) / f(0), which beta_t = 1 - f(t) / f(t - 1) gives.
    f = [math.cos((t / count + 0.008) / 1.008 * math.pi / 2) ** 2 for t in range(count + 1)]
    return [min(1 - after / before, _LARGEST) for before, after in pairwise(f)]


def alphas_cumprod(schedule: BetaSchedule, count: int, start: float, end: float) -> list[float]:
    """Compute the product of 1 - beta over all steps up to each time; it falls, and is between 0 and 1."""
    alphas = (1 - beta for beta in betas(schedule, count, start, end))
    return list(accumulate(alphas, lambda product, alpha: product * alpha))


def _evenly(first: float, last: float, count: int) -> list[float]:
    return [first + (last - first) * step / max(count - 1, 1) for step in range(count)]
