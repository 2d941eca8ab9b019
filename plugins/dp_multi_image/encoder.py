"""`MultiImageEncoder`: a ResNet of torchvision per camera, or one for all."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Any, Self

import torchvision
from torch import Tensor, nn

from dp_core.interfaces import BaseEncoder, ModuleAttrMixin
from dp_core.kit.nn.image_statistics import IMAGENET_MEAN, IMAGENET_STD, Standardize
from dp_core.kit.nn.vision import RandomCrop, encode_cameras
from dp_core.shape_meta import image_keys, keys_of_type, obs_shape
from dp_multi_image.resnet import create_resnet

if TYPE_CHECKING:
    from dp_multi_image.config import MultiImageConfig

SHARED = "rgb"
"""The name of the network of all cameras."""


class MultiImageEncoder(ModuleAttrMixin, BaseEncoder):
    """Resizes, crops, normalises and encodes the image of each camera; other keys unchanged.

    Features are those of the cameras, then the low-dimensional keys, each in the order of their names. That, the names
    of parameters and the order of draws are those of the original's ``MultiImageObsEncoder``. Two of its faults are
    not: it crops only at random or not at all, and leaves a shared network its batch normalisation.
    """

    def __init__(self, config: MultiImageConfig, *, shape_meta: dict[str, Any]) -> None:
        super().__init__()
        cameras = {key: obs_shape(shape_meta, key)[0] for key in sorted(image_keys(shape_meta))}
        self._low_dim = sorted(keys_of_type(shape_meta, "low_dim"))
        self._is_shared = config.share_rgb_model and bool(cameras)
        self._is_frozen = config.frozen
        self._lr_multiplier = config.lr_multiplier
        self.key_transform_map = nn.ModuleDict({key: _transform(config, key, cameras[key]) for key in cameras})
        self.key_model_map = nn.ModuleDict()
        self.output_dim = sum(math.prod(obs_shape(shape_meta, key)) for key in self._low_dim)
        # All networks of the same shape begin with the same weights, as the original's do.
        networks = {channels: create_resnet(config, channels) for channels in set(cameras.values())}
        for key, channels in cameras.items():
            model, features = networks[channels]
            self.key_model_map[SHARED if self._is_shared else key] = model if self._is_shared else copy.deepcopy(model)
            self.output_dim += features
        if self._is_frozen:
            self.key_model_map.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> Self:
        """Switch mode, but keep frozen networks in evaluation, so that their batch statistics do not drift."""
        super().train(mode)
        if self._is_frozen:
            self.key_model_map.eval()
        return self

    def lr_multipliers(self) -> dict[str, float]:
        """Return the relative learning rate of every parameter; see `BaseEncoder`."""
        factor = self._lr_multiplier
        names = [name for name, _ in self.named_parameters()]
        return dict.fromkeys(names, factor) if factor != 1 else {}

    def forward(self, obs: dict[str, Tensor]) -> Tensor:
        """Encode normalised observations {key: (N, *shape)} of one step as features (N, Do); see `BaseEncoder`."""
        networks = self.key_model_map[SHARED] if self._is_shared else list(self.key_model_map.values())
        return encode_cameras(obs, self.key_transform_map, networks, self._low_dim)


def _transform(config: MultiImageConfig, camera: str, channels: int) -> nn.Sequential:
    steps: list[nn.Module] = []
    if size := config.resized(camera):
        steps.append(torchvision.transforms.Resize(size, antialias=config.antialias))
    if size := config.cropped(camera):
        steps.append(RandomCrop(size) if config.random_crop else torchvision.transforms.CenterCrop(size))
    if config.has_imagenet_norm:
        steps.append(_imagenet_norm(channels, config.normalize_twice))
    return nn.Sequential(*steps)


def _imagenet_norm(channels: int, twice: bool) -> Standardize:
    """From [-1, 1] to the statistics of ImageNet, or to their averages where there are not three channels."""
    mean: Sequence[float] = IMAGENET_MEAN
    std: Sequence[float] = IMAGENET_STD
    if channels != 3:
        mean, std = (fmean(mean),) * channels, (fmean(std),) * channels
    if twice:
        # `Standardize` takes x from [-1, 1] to [0, 1]; of these the result is (x - mean) / std.
        return Standardize([(1 + value) / 2 for value in mean], [value / 2 for value in std])
    return Standardize(mean, std)
