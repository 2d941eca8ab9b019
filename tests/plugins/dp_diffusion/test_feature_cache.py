"""What a policy keeps of the last call; the policy's own tests say when it is used."""

from __future__ import annotations

import pickle

import torch
from torch import nn

from dp_diffusion.feature_cache import FeatureCache


def test_a_copy_keeps_nothing_so_that_depth_of_16_bits_can_be_pickled() -> None:
    cache = FeatureCache(nn.Linear(1, 1))
    cache.features({"depth": torch.ones(1, 2, 1).to(torch.uint16)}, lambda obs: obs["depth"].float())

    again = pickle.loads(pickle.dumps(cache))

    assert again.features({"depth": torch.ones(1, 2, 1)}, lambda obs: obs["depth"] + 1).flatten().tolist() == [2, 2]
