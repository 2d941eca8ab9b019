"""A small convolutional encoder, made to learn much from few steps on a CPU."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from dp_core.interfaces import BaseEncoder
from dp_core.kit.nn.vision import RandomCrop
from dp_core.shape_meta import image_keys, keys_of_type, obs_shape

if TYPE_CHECKING:
    from dp_cnn.config import CnnConfig


class CnnEncoder(BaseEncoder):
    """A `CameraNet` per camera; other keys unchanged. Features are concatenated in the order of `shape_meta`."""

    def __init__(self, config: CnnConfig, *, shape_meta: dict[str, Any]) -> None:
        super().__init__()
        self._keys = list(shape_meta["obs"])
        cameras = image_keys(shape_meta)
        self.nets = nn.ModuleDict({key: CameraNet(config, obs_shape(shape_meta, key)) for key in cameras})
        self.output_dim = len(cameras) * config.feature_dimension + sum(
            math.prod(obs_shape(shape_meta, key)) for key in keys_of_type(shape_meta, "low_dim")
        )

    def forward(self, obs: dict[str, Tensor]) -> Tensor:
        """Encode normalised observations {key: (N, *shape)} of one step as features (N, Do); see `BaseEncoder`."""
        features = [
            self.nets[key](obs[key]) if key in self.nets else obs[key].reshape(len(obs[key]), -1) for key in self._keys
        ]
        return torch.cat(features, dim=-1)


class CameraNet(nn.Sequential):
    """Averages, standardises, convolves and flattens images (N, C, H, W) to features (N, feature_dimension).

    Every channel is normalised within its image. Learning the pose of Push-T's block, it about halves the training
    error of groups of 16 channels in the same time, and unlike batch normalisation it has no running statistics, which
    an average of the weights can only copy. Flattened maps tell positions from the first step on, which spatial softmax
    has to learn.
    """

    def __init__(self, config: CnnConfig, image_shape: tuple[int, ...]) -> None:
        """Build the network for images of ``image_shape`` (C, H, W), before cropping."""
        layers: list[nn.Module] = [RandomCrop(config.crop_shape)] if config.crop_shape else []
        layers += [nn.AvgPool2d(config.downsample), nn.InstanceNorm2d(image_shape[0])]
        channels = image_shape[0]
        for index, out_channels in enumerate(config.channels):
            layers += _convolution(channels, out_channels, kernel_size=5 if index == 0 else 3)
            channels = out_channels
        size = channels * math.prod(config.map_size(image_shape[1:]))
        super().__init__(*layers, nn.Flatten(), nn.Linear(size, config.feature_dimension), nn.ReLU())


def _convolution(in_channels: int, out_channels: int, kernel_size: int) -> list[nn.Module]:
    return [
        nn.Conv2d(in_channels, out_channels, kernel_size, stride=2, padding=kernel_size // 2, bias=False),
        nn.GroupNorm(out_channels, out_channels),
        nn.ReLU(),
    ]
