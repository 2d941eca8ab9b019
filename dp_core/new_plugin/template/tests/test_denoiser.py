"""The rules of denoisers, and what is special about this one."""

from __future__ import annotations

import torch
from dp_core.registry import Registry
from dp_core.testing import DenoiserConformance


class TestRules(DenoiserConformance):
    """Shapes, times, gradients, saving: every rule for every one of these options, with and without conditions."""

    component = "kestrel"
    configs = ({}, {"hidden_size": 8, "kernel_size": 3})


def test_it_sees_as_far_as_its_three_kernels_reach() -> None:
    sizes = {"input_dim": 2, "horizon": 16, "n_obs_steps": 2, "global_cond_dim": None, "local_cond_dim": None}
    denoiser = Registry.discover().build("denoiser", {"name": "kestrel", "kernel_size": 3}, **sizes)
    sample = torch.zeros(1, 16, 2)
    changed = sample.clone()
    changed[:, 8] = 1.0
    time = torch.tensor(10)
    difference = (denoiser(changed, time) - denoiser(sample, time)).abs().sum(-1)[0]

    assert (difference > 0).nonzero().flatten().tolist() == list(range(5, 12))
