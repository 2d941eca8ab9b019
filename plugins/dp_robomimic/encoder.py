"""The observation encoder of robomimic 0.3, built from its networks without its global state."""

from __future__ import annotations

import contextlib
import io
import warnings
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from dp_core.interfaces import BaseEncoder
from dp_core.kit.nn.vision import RandomCrop, replace_batch_norm
from dp_core.shape_meta import keys_of_type, obs_shape

# On import robomimic prints a note about a private settings file.
with contextlib.redirect_stdout(io.StringIO()):
    from robomimic.models.obs_core import CropRandomizer, VisualCore

if TYPE_CHECKING:
    from dp_robomimic.config import RobomimicConfig


class RobomimicEncoder(BaseEncoder):
    """ResNet-18, spatial softmax and a linear layer with ReLU per camera; other keys unchanged.

    Features are concatenated in the order of `shape_meta`. The original configures a whole BC-RNN of robomimic and
    keeps its encoder; this builds the same modules directly, with the same parameter names.
    """

    def __init__(self, config: RobomimicConfig, *, shape_meta: dict[str, Any]) -> None:
        super().__init__()
        self._keys = list(shape_meta["obs"])
        shapes = {key: obs_shape(shape_meta, key) for key in keys_of_type(shape_meta, "rgb")}
        self.crops = nn.ModuleDict({key: _crop(config, shape) for key, shape in shapes.items()})
        self.obs_nets = nn.ModuleDict({key: _visual_core(config, shape) for key, shape in shapes.items()})
        self.output_dim = len(shapes) * config.feature_dimension + sum(
            torch.Size(obs_shape(shape_meta, key)).numel() for key in keys_of_type(shape_meta, "low_dim")
        )

    def forward(self, obs: dict[str, Tensor]) -> Tensor:
        """Encode normalised observations {key: (N, *shape)} of one step as features (N, Do); see `BaseEncoder`."""
        return torch.cat([self._encode(key, obs[key]) for key in self._keys], dim=-1)

    def _encode(self, key: str, value: Tensor) -> Tensor:
        if key not in self.obs_nets:
            return value.reshape(len(value), -1)
        return torch.relu(self.obs_nets[key](self.crops[key](value)))


def _visual_core(config: RobomimicConfig, shape: tuple[int, ...]) -> nn.Module:
    height, width = config.crop_shape or shape[1:]
    with warnings.catch_warnings():
        # robomimic calls torchvision by argument names of the past.
        warnings.filterwarnings("ignore", category=UserWarning, module="torchvision")
        core = VisualCore(
            input_shape=[shape[0], height, width],
            backbone_class="ResNet18Conv",
            backbone_kwargs={"pretrained": False, "input_coord_conv": False},
            pool_class="SpatialSoftmax",
            pool_kwargs={
                "num_kp": config.num_kp,
                "temperature": 1.0,
                "learnable_temperature": False,
                "noise_std": 0.0,
            },
            flatten=True,
            feature_dimension=config.feature_dimension,
        )
    return replace_batch_norm(core) if config.obs_encoder_group_norm else core


def _crop(config: RobomimicConfig, shape: tuple[int, ...]) -> nn.Module:
    if config.crop_shape is None or config.crop_shape == shape[1:]:
        return nn.Identity()
    return RandomCrop(config.crop_shape) if config.eval_fixed_crop else _RobomimicCrop(config.crop_shape, shape)


class _RobomimicCrop(nn.Module):
    """robomimic's own crop as a plain module: same draws as `RandomCrop`, and from version 0.3 the centre in eval()."""

    def __init__(self, crop_shape: tuple[int, int], image_shape: tuple[int, ...]) -> None:
        super().__init__()
        self.randomizer = CropRandomizer(image_shape, *crop_shape)

    def forward(self, images: Tensor) -> Tensor:
        cropped: Tensor = self.randomizer.forward_in(images)
        return cropped
