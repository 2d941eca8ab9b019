"""How sure one can be of a score from a few episodes."""

from __future__ import annotations

import pytest

from dp_core.kit.rollout.confidence import mean_interval, wilson_interval


def test_intervals() -> None:
    """Wilson: 8 of 50, value computed by hand from the formula; a mean of constants has no uncertainty."""
    low, high = wilson_interval(8, 50)

    assert (low, high) == pytest.approx((0.0834, 0.2851), abs=1e-4)
    assert wilson_interval(0, 10)[0] == pytest.approx(0.0)
    assert wilson_interval(10, 10)[1] == pytest.approx(1.0)
    assert mean_interval([0.5] * 10) == (0.5, 0.5)
    assert mean_interval([0.0, 1.0]) == (0.0, 1.0)
    assert mean_interval([0.7]) == (0.0, 1.0)
