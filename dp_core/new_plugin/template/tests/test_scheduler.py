"""The rules of schedulers, and what is special about this one."""

from __future__ import annotations

import torch
from dp_core.registry import Registry
from dp_core.testing import SchedulerConformance


class TestRules(SchedulerConformance):
    """Shapes, random numbers, known values: every rule for every one of these options."""

    component = "kestrel"
    configs = ({}, {"num_inference_steps": 1, "timestep_scale": 1.0})


def test_with_the_true_velocity_it_arrives_whatever_the_number_of_steps() -> None:
    scheduler = Registry.discover().build("scheduler", {"name": "kestrel", "timestep_scale": 1.0})
    data = torch.full((2, 4, 3), 5.0)

    for n_steps in (1, 3, 10):
        # On the path from the noise to the data, x - data is t times the velocity.
        sample = scheduler.sample(lambda x, t: (x - data) / t, data.shape, n_steps)
        torch.testing.assert_close(sample, data)
