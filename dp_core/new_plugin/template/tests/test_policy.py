"""The rules of policies, and what is special about this one."""

from __future__ import annotations

import torch
from dp_core.registry import Registry
from dp_core.testing import PolicyConformance


class TestRules(PolicyConformance):
    """Losses, actions, units, saving: every rule for every one of these options."""

    component = "kestrel"
    configs = ({"encoder": "dp-core/tiny"}, {"encoder": "lowdim", "hidden_size": 16})


def test_it_can_learn_a_batch_by_heart() -> None:
    block = {"name": "kestrel", "horizon": 16, "n_obs_steps": 2, "n_action_steps": 8, "encoder": "lowdim"}
    shape_meta = {"obs": {"joints": {"shape": [7], "type": "low_dim"}}, "action": {"shape": [2]}}
    policy = Registry.discover().build("policy", block, shape_meta=shape_meta)
    joints, action = torch.rand(4, 2, 7), torch.rand(4, 16, 2)
    policy.normalizer.fit({"joints": joints, "action": action})
    batch = {"obs": {"joints": joints}, "action": action}
    optimizer = torch.optim.Adam(policy.parameters(), lr=1e-2)
    loss_before = policy.compute_loss(batch).item()
    for _ in range(200):
        optimizer.zero_grad()
        policy.compute_loss(batch).backward()
        optimizer.step()

    assert policy.compute_loss(batch).item() < 0.01 * loss_before
