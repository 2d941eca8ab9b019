"""`PointNetEncoder`: the encoder of 3D Diffusion Policy (Ze et al., RSS 2024), a small PointNet (Qi et al., 2017)."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from dp_core.interfaces import BaseEncoder
from dp_core.shape_meta import keys_of_type, obs_shape

if TYPE_CHECKING:
    from dp_pointnet.config import PointNetConfig


class PointNetEncoder(BaseEncoder):
    """A `PointNet` per key of points; other keys unchanged. Features are concatenated in the order of `shape_meta`."""

    def __init__(self, config: PointNetConfig, *, shape_meta: dict[str, Any]) -> None:
        super().__init__()
        self._keys = list(shape_meta["obs"])
        clouds = keys_of_type(shape_meta, "points")
        self.nets = nn.ModuleDict({key: PointNet(config, obs_shape(shape_meta, key)[1]) for key in clouds})
        self.output_dim = len(clouds) * config.feature_dimension + sum(
            math.prod(obs_shape(shape_meta, key)) for key in keys_of_type(shape_meta, "low_dim")
        )

    def forward(self, obs: dict[str, Tensor]) -> Tensor:
        """Encode normalised observations {key: (N, *shape)} of one step as features (N, Do); see `BaseEncoder`."""
        features = [
            self.nets[key](obs[key]) if key in self.nets else obs[key].reshape(len(obs[key]), -1) for key in self._keys
        ]
        return torch.cat(features, dim=-1)


class PointNet(nn.Module):
    """Sends every point through the same layers, and takes the maximum over points: their order does not matter.

    Without the T-Nets and the batch normalisation of PointNet, which Ze et al. found to hurt.
    """

    def __init__(self, config: PointNetConfig, in_channels: int) -> None:
        """Build the network for points of ``in_channels`` numbers, x, y and z first."""
        super().__init__()
        sizes = (in_channels, *config.channels)
        layers = [part for pair in pairwise(sizes) for part in (nn.Linear(*pair), nn.LayerNorm(pair[1]), nn.ReLU())]
        self.mlp = nn.Sequential(*layers)
        self.final_projection = nn.Sequential(
            nn.Linear(sizes[-1], config.feature_dimension), nn.LayerNorm(config.feature_dimension)
        )

    def forward(self, points: Tensor) -> Tensor:
        """Encode points (N, P, 3 + C) as features (N, feature_dimension)."""
        features: Tensor = self.final_projection(self.mlp(points).amax(dim=1))
        return features
