"""The rules of encoders, and what is special about this one."""

from __future__ import annotations

import torch
from dp_core.registry import Registry
from dp_core.testing import EncoderConformance


class TestRules(EncoderConformance):
    """Shapes, gradients, saving: every rule for every one of these options, for images and for states."""

    component = "kestrel"
    configs = ({}, {"channels": 4, "feature_size": 8})


def test_features_of_the_keys_follow_each_other() -> None:
    shape_meta = {"obs": {"hand": {"shape": [3, 48, 48], "type": "rgb"}, "joints": {"shape": [7]}}}
    encoder = Registry.discover().build("encoder", {"name": "kestrel", "feature_size": 5}, shape_meta=shape_meta)
    obs = {"hand": torch.rand(2, 3, 48, 48), "joints": torch.rand(2, 7)}
    features = encoder(obs)
    other_joints = encoder(obs | {"joints": torch.rand(2, 7)})

    assert features.shape == (2, 10)
    assert torch.equal(features[:, :5], other_joints[:, :5])
    assert not torch.equal(features[:, 5:], other_joints[:, 5:])
