"""The rules of optimizers, and what is special about this one."""

from __future__ import annotations

import torch
from dp_core.registry import Registry
from dp_core.testing import OptimizerConformance


class TestRules(OptimizerConformance):
    """What is trained, saving: every rule for every one of these options."""

    component = "kestrel"
    configs = ({}, {"lr": 0.1, "alpha": 0.9})


def test_the_first_step_does_not_depend_on_the_size_of_the_gradient() -> None:
    steps = []
    for size in (1.0, 1000.0):
        layer = torch.nn.Linear(1, 1, bias=False)
        before = layer.weight.item()
        optimizer = Registry.discover().build("optimizer", {"name": "kestrel", "lr": 0.1, "alpha": 0.99}, policy=layer)
        layer.weight.grad = torch.full((1, 1), size)
        optimizer.step()
        steps.append(layer.weight.item() - before)

    torch.testing.assert_close(steps, [-1.0, -1.0])  # lr / sqrt(1 - alpha)
