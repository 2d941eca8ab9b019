"""The rules of learning-rate schedules, and what is special about this one."""

from __future__ import annotations

import pytest
import torch
from dp_core.registry import Registry
from dp_core.testing import LrScheduleConformance


class TestRules(LrScheduleConformance):
    """Rates, resuming, saving: every rule for every one of these options."""

    component = "kestrel"
    configs = ({}, {"n_drops": 0}, {"n_drops": 5, "factor": 0.5})


def test_it_drops_at_even_distances() -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = Registry.discover().build(
        "lr_schedule", {"name": "kestrel", "n_drops": 2, "factor": 0.1}, optimizer=optimizer, num_training_steps=6
    )
    rates = []
    for _ in range(8):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()

    assert rates == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01, 0.01, 0.01])
