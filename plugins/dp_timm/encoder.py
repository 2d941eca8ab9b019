"""Image backbones of timm as an observation encoder."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from dp_core.errors import DpError
from dp_core.interfaces import BaseEncoder
from dp_core.shape_meta import keys_of_type, obs_shape
from dp_core.vision import RandomCrop, SpatialSoftmax
from dp_timm.backbone import create_backbone, unsuitable

if TYPE_CHECKING:
    from dp_timm.config import TimmConfig


class TimmEncoder(BaseEncoder):
    """A model of timm per camera, or one for all; other keys unchanged.

    Features are those of the cameras, then the low-dimensional keys, each in the order of `shape_meta`.
    """

    def __init__(self, config: TimmConfig, *, shape_meta: dict[str, Any]) -> None:
        super().__init__()
        cameras = keys_of_type(shape_meta, "rgb")
        self._low_dim = keys_of_type(shape_meta, "low_dim")
        self._model_of = {key: cameras[0] if config.share_rgb_model else key for key in cameras}
        self.crop = RandomCrop(config.crop_shape) if config.crop_shape else nn.Identity()
        models = {
            key: CameraModel(config, obs_shape(shape_meta, key)) for key in dict.fromkeys(self._model_of.values())
        }
        self.models = nn.ModuleDict(models)
        low_dim = sum(torch.Size(obs_shape(shape_meta, key)).numel() for key in self._low_dim)
        self.output_dim = low_dim + sum(models[owner].output_dim for owner in self._model_of.values())

    def forward(self, obs: dict[str, Tensor]) -> Tensor:
        """Encode; see `BaseEncoder`."""
        images = [self.models[owner](self.crop(obs[key])) for key, owner in self._model_of.items()]
        return torch.cat([*images, *(obs[key].flatten(1) for key in self._low_dim)], dim=-1)


class CameraModel(nn.Module):
    """From images in [-1, 1], already cropped, to one feature vector each."""

    backbone: Any
    output_dim: int

    def __init__(self, config: TimmConfig, image_shape: tuple[int, ...]) -> None:
        """Build for one camera, whose images are ``image_shape`` (C, H, W) before cropping."""
        super().__init__()
        image_shape = (image_shape[0], *(config.crop_shape or image_shape[1:]))
        self.backbone = create_backbone(config, image_shape)
        self.standardize: nn.Module = nn.Identity()
        if config.has_pretrained_weights:
            self.standardize = Standardize(self.backbone.pretrained_cfg, image_shape[0])
        self.pool: SpatialSoftmax | None = None
        if config.pool == "spatial_softmax":
            channels = _map_channels(self.backbone, config.model_name, image_shape)
            self.pool = SpatialSoftmax(channels, config.num_kp)
            self.output_dim = self.pool.output_dim
        else:
            self.output_dim = _output_shape(self.backbone, self.backbone, config.model_name, image_shape)[-1]

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, output_dim)."""
        images = self.standardize(images)
        features: Tensor  # without a pool of ours, the model ends with its own
        features = self.backbone(images) if self.pool is None else self.pool(self.backbone.forward_features(images))
        return features


class Standardize(nn.Module):
    """From [-1, 1] to the mean and standard deviation of the images that a model of timm was trained on."""

    scale: Tensor
    offset: Tensor

    def __init__(self, pretrained_cfg: dict[str, Any], channels: int) -> None:
        super().__init__()
        mean, std = torch.tensor(pretrained_cfg["mean"]), torch.tensor(pretrained_cfg["std"])
        if len(mean) != channels:  # depth, or several images stacked
            mean, std = mean.mean().expand(channels), std.mean().expand(channels)
        # (x / 2 + 1 / 2 - mean) / std
        self.register_buffer("scale", (0.5 / std)[:, None, None], persistent=False)
        self.register_buffer("offset", ((0.5 - mean) / std)[:, None, None], persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H, W)."""
        return images * self.scale + self.offset


def _map_channels(backbone: Any, name: str, image_shape: tuple[int, ...]) -> int:
    shape = _output_shape(backbone, backbone.forward_features, name, image_shape)
    if len(shape) != 4 or shape[1] != backbone.num_features:
        raise DpError(
            f"encoder 'timm': pool 'spatial_softmax' needs feature maps (N, C, H, W), and '{name}' gives "
            f"{list(shape)}; choose a convolutional model, or 'pool: model'"
        )
    return shape[1]


def _output_shape(
    backbone: nn.Module, function: Callable[[Tensor], Tensor], name: str, image_shape: tuple[int, ...]
) -> torch.Size:
    backbone.eval()  # statistics of batches stay as they are
    try:
        with torch.no_grad():
            return function(torch.zeros(1, *image_shape)).shape
    except (RuntimeError, AssertionError) as error:
        raise unsuitable(name, image_shape, error) from error
    finally:
        backbone.train()
