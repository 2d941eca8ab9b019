"""Image backbones of timm as an observation encoder."""

from __future__ import annotations

import copy
import math
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Tensor, nn

from dp_core.config.declared import TOKENS
from dp_core.interfaces import BaseEncoder, ModuleAttrMixin
from dp_core.kit.nn.vision import run_networks
from dp_core.shape_meta import keys_of_type, obs_shape
from dp_timm.augmentation import create_transform
from dp_timm.backbone import Layout, create_backbone
from dp_timm.pooling import FeatureAggregation

if TYPE_CHECKING:
    from dp_timm.config import TimmConfig


class TimmEncoder(ModuleAttrMixin, FeatureAggregation, BaseEncoder):
    """A model of timm per camera, or one for all; other keys unchanged.

    Features are those of the cameras, then the low-dimensional keys, each in the order of their names. That and the
    names of parameters are those of UMI's ``TimmObsEncoder``. With ``feature_aggregation: tokens`` each place of an
    image is a token, and each low-dimensional key is projected to one; which token is what, their order says.
    """

    def __init__(self, config: TimmConfig, *, shape_meta: dict[str, Any]) -> None:
        super().__init__()
        self._config = config
        self._low_dim = sorted(keys_of_type(shape_meta, "low_dim"))
        self.output_dim = sum(math.prod(obs_shape(shape_meta, key)) for key in self._low_dim)
        cameras = {key: obs_shape(shape_meta, key) for key in sorted(keys_of_type(shape_meta, "rgb"))}
        inputs = dict.fromkeys(config.model_input(shape) for shape in cameras.values())
        backbones = {shape: create_backbone(config, shape) for shape in inputs}
        self._layouts: dict[str, Layout] = {}
        self.key_transform_map = nn.ModuleDict()
        self.key_model_map = nn.ModuleDict()
        for key, shape in cameras.items():
            backbone = backbones[config.model_input(shape)]
            self._layouts[key] = backbone.layout
            self.key_transform_map[key] = create_transform(config, shape, backbone.statistics)
            # Models for images of the same shape begin with the same weights, as UMI's do.
            self.key_model_map[key] = backbone.model if config.share_rgb_model else copy.deepcopy(backbone.model)
        if backbones:
            size, *map_size = next(iter(backbones.values())).feature_shape
            if config.gives == TOKENS:
                maps = [backbones[config.model_input(shape)].feature_shape[1:] for shape in cameras.values()]
                self._init_tokens(size, sum(map(math.prod, maps)), shape_meta)
            elif config.feature_aggregation:
                size = self.init_aggregation(config, size, (map_size[0], map_size[1]))
            if config.gives != TOKENS:
                self.output_dim += len(cameras) * size
        if config.frozen:
            self.key_model_map.requires_grad_(False).eval()

    def _init_tokens(self, size: int, n_places: int, shape_meta: dict[str, Any]) -> None:
        # By number, as keys may have dots; in the order of the keys' names.
        sizes = [math.prod(obs_shape(shape_meta, key)) for key in self._low_dim]
        self.low_dim_projections = nn.ModuleList([nn.Linear(each, size) for each in sizes])
        self.output_dim, self.n_tokens = size, n_places + len(sizes)

    def train(self, mode: bool = True) -> Self:
        """Switch mode, but keep frozen models in evaluation, so that they neither drift nor drop anything."""
        super().train(mode)
        if self._config.frozen:
            self.key_model_map.eval()
        return self

    def lr_multipliers(self) -> dict[str, float]:
        """Return the relative learning rate of the models, which may have been trained before; see `BaseEncoder`."""
        factor = self._config.lr_multiplier
        names = [f"key_model_map.{name}" for name, _ in self.key_model_map.named_parameters()]
        return dict.fromkeys(names, factor) if factor != 1 else {}

    def forward(self, obs: dict[str, Tensor]) -> Tensor:
        """Encode normalised observations {key: (N, *shape)} of one step as features (N, Do); see `BaseEncoder`.

        Or as tokens (N, L, Do), those of the images first.
        """
        models = list(self.key_model_map.values())
        # A shared model sees all images at once, because the statistics of a batch are those of all cameras.
        is_shared = self._config.share_rgb_model and bool(models)
        features = run_networks(obs, self.key_transform_map, models[0] if is_shared else models)
        if self._config.feature_aggregation:
            maps = [layout.to_maps(given) for layout, given in zip(self._layouts.values(), features, strict=True)]
            if self._config.gives == TOKENS:
                places = [each.flatten(2).transpose(1, 2) for each in maps]  # (N, H*W, C)
                states = zip(self.low_dim_projections, self._low_dim, strict=True)
                tokens = [project(obs[key].reshape(len(obs[key]), 1, -1)) for project, key in states]  # (N, 1, C)
                return torch.cat([*places, *tokens], dim=1)
            features = [self.aggregate(given) for given in maps]
        return torch.cat([*features, *(obs[key].reshape(len(obs[key]), -1) for key in self._low_dim)], dim=-1)
