"""Confidence intervals: how sure one can be of a score from a few episodes."""

from __future__ import annotations

import math
from collections.abc import Sequence

_Z = 1.959964
"""Two-sided 95 % quantile of the normal distribution."""


def wilson_interval(n_successes: int, n_trials: int) -> tuple[float, float]:
    """Compute the 95 % confidence interval of a success rate (Wilson, 1927), which stays sensible near 0 and 1."""
    rate = n_successes / n_trials
    weight = _Z**2 / n_trials
    centre = (rate + weight / 2) / (1 + weight)
    half_width = _Z / (1 + weight) * math.sqrt(rate * (1 - rate) / n_trials + weight / (4 * n_trials))
    return max(centre - half_width, 0.0), min(centre + half_width, 1.0)


def mean_interval(scores: Sequence[float]) -> tuple[float, float]:
    """Compute the 95 % confidence interval of the mean of scores in [0, 1], by the normal approximation.

    One score tells nothing: (0, 1).
    """
    n = len(scores)
    if n < 2:
        return 0.0, 1.0
    mean = math.fsum(scores) / n
    variance = math.fsum((score - mean) ** 2 for score in scores) / (n - 1)
    half_width = _Z * math.sqrt(variance / n)
    return max(mean - half_width, 0.0), min(mean + half_width, 1.0)
