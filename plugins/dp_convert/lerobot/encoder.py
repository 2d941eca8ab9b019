"""`LeRobotEncoder`: ResNet, spatial softmax, linear layer and ReLU, with LeRobot's names and order of features."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F

from dp_core.interfaces import BaseEncoder
from dp_core.kit.nn.image_statistics import IMAGENET_MEAN, IMAGENET_STD
from dp_core.kit.nn.vision import RandomCrop, center_crop, replace_batch_norm
from dp_core.shape_meta import keys_of_type, obs_shape

if TYPE_CHECKING:
    from dp_convert.config import LeRobotConfig


class LeRobotEncoder(BaseEncoder):
    """Encodes the observations of a policy that LeRobot trained.

    Features are concatenated as LeRobot does: the low-dimensional keys before the first image in `shape_meta`, then the
    images, then the other low-dimensional keys. Images are normalised by the mean and the deviation of each channel,
    which are part of the state dict; those of ImageNet, where nobody loads others.
    """

    def __init__(self, config: LeRobotConfig, *, shape_meta: dict[str, Any]) -> None:
        super().__init__()
        images, keys = keys_of_type(shape_meta, "rgb"), list(shape_meta["obs"])
        first = keys.index(images[0])
        self._before = [key for key in keys[:first] if key not in images]
        self._images = images
        self._after = [key for key in keys[first:] if key not in images]
        self._separate = config.use_separate_rgb_encoder_per_camera
        self.rgb_encoder: nn.Module
        if self._separate:
            self.rgb_encoder = nn.ModuleList([_RgbEncoder(config) for _ in images])
        else:
            self.rgb_encoder = _RgbEncoder(config)
        self.image_stats = nn.ModuleDict({key.replace(".", "_"): _ImageStats() for key in images})
        low_dim = sum(math.prod(obs_shape(shape_meta, key)) for key in self._before + self._after)
        self.output_dim = len(images) * 2 * config.spatial_softmax_num_keypoints + low_dim

    def forward(self, obs: dict[str, Tensor]) -> Tensor:
        """Encode normalised observations {key: (N, *shape)} of one step as features (N, Do); see `BaseEncoder`."""
        images = [stats(obs[key]) for key, stats in zip(self._images, self.image_stats.values(), strict=True)]
        if isinstance(self.rgb_encoder, nn.ModuleList):
            features = [encode(image) for encode, image in zip(self.rgb_encoder, images, strict=True)]
        else:
            # One pass for all cameras, as batch statistics are common to them.
            features = list(self.rgb_encoder(torch.cat(images)).chunk(len(images)))
        before = [obs[key].reshape(len(obs[key]), -1) for key in self._before]
        after = [obs[key].reshape(len(obs[key]), -1) for key in self._after]
        return torch.cat([*before, *features, *after], dim=-1)


class _ImageStats(nn.Module):
    """Normalises one camera's images."""

    mean: Tensor
    std: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).reshape(-1, 1, 1))
        self.register_buffer("std", torch.tensor(IMAGENET_STD).reshape(-1, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, H, W) in [-1, 1] -> the same, with mean 0 and deviation 1 over the training data."""
        return ((images + 1) / 2 - self.mean) / self.std


class _RgbEncoder(nn.Module):
    """Encodes normalised images. Names of modules are LeRobot's."""

    def __init__(self, config: LeRobotConfig) -> None:
        super().__init__()
        self._resize_shape = config.resize_shape
        self._crop_shape = config.crop_shape
        self._random_crop = RandomCrop(config.crop_shape) if config.crop_shape and config.crop_is_random else None
        resnet = getattr(torchvision.models, config.vision_backbone)(weights=None)
        self.backbone = nn.Sequential(*list(resnet.children())[:-2])
        if config.use_group_norm:
            replace_batch_norm(self.backbone)
        count = config.spatial_softmax_num_keypoints
        self.pool = _KeypointPool(resnet.fc.in_features, count)
        self.out = nn.Linear(2 * count, 2 * count)

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) -> (N, 2 * keypoints)."""
        return torch.relu(self.out(self.pool(self.backbone(self._cut(images)))))

    def _cut(self, images: Tensor) -> Tensor:
        if self._resize_shape is not None:
            images = F.interpolate(images, self._resize_shape, mode="bilinear", align_corners=False, antialias=True)
        if self._crop_shape is None:
            return images
        return center_crop(images, self._crop_shape) if self._random_crop is None else self._random_crop(images)


class _KeypointPool(nn.Module):
    """Spatial softmax (Finn et al., ICRA 2016). Coordinates are computed, so that images of any size will do."""

    def __init__(self, in_channels: int, count: int) -> None:
        super().__init__()
        self.nets = nn.Conv2d(in_channels, count, kernel_size=1)

    def forward(self, features: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, 2 * count): x, y of the first keypoint, of the second, ..."""
        maps = self.nets(features)
        height, width = maps.shape[-2:]
        attention = maps.flatten(2).softmax(-1)  # (N, count, H*W)
        rows = torch.linspace(-1, 1, height, device=maps.device, dtype=maps.dtype)
        columns = torch.linspace(-1, 1, width, device=maps.device, dtype=maps.dtype)
        grid = torch.stack([columns.repeat(height), rows.repeat_interleave(width)], dim=-1)  # (H*W, 2)
        return (attention @ grid).flatten(1)
