"""`KestrelEncoder`: a small network for each observation."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import torch
from dp_core.interfaces import BaseEncoder
from torch import Tensor, nn

if TYPE_CHECKING:
    from dp_kestrel.config import EncoderOptions


class KestrelEncoder(BaseEncoder):
    """Joins the features of all observations, in the order of `shape_meta`."""

    def __init__(self, config: EncoderOptions, *, shape_meta: dict[str, Any]) -> None:
        super().__init__()
        self._keys = list(shape_meta["obs"])
        self.networks = nn.ModuleList(_network(spec, config) for spec in shape_meta["obs"].values())
        self.output_dim = len(self._keys) * config.feature_size

    def forward(self, obs: dict[str, Tensor]) -> Tensor:
        """Encode images (N, C, H, W) and states (N, *shape), both in [-1, 1], to features (N, output_dim)."""
        features = [network(obs[key]) for key, network in zip(self._keys, self.networks, strict=True)]
        return torch.cat(features, dim=-1)


def _network(spec: dict[str, Any], config: EncoderOptions) -> nn.Module:
    """For a camera, convolutions that halve the image and an average over it; for a state, a layer."""
    if spec.get("type") != "rgb":
        return nn.Sequential(nn.Flatten(), nn.Linear(math.prod(spec["shape"]), config.feature_size), nn.SiLU())
    sizes = [spec["shape"][0], *(config.channels * 2**depth for depth in range(3))]
    layers: list[nn.Module] = []
    for size, next_size in pairwise(sizes):
        layers += [nn.Conv2d(size, next_size, kernel_size=3, stride=2, padding=1), nn.SiLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(sizes[-1], config.feature_size))
