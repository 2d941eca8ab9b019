"""R3M as an observation encoder, without its package."""

from __future__ import annotations

import copy
import math
from typing import TYPE_CHECKING, Any, Self

import torchvision
from torch import Tensor, nn

from dp_core.interfaces import BaseEncoder
from dp_core.kit.nn.image_statistics import Standardize
from dp_core.kit.nn.vision import RandomCrop, encode_cameras
from dp_core.pretrained import pretrained_weights_wanted
from dp_core.shape_meta import keys_of_type, obs_shape
from dp_r3m.weights import load_r3m

if TYPE_CHECKING:
    from dp_r3m.config import R3MConfig

_RESIZED, _CROP = 256, (224, 224)


class R3MEncoder(BaseEncoder):
    """A network of R3M per camera, or one for all; other keys unchanged.

    Features are those of the cameras, then the low-dimensional keys, each in the order of `shape_meta`.
    """

    def __init__(self, config: R3MConfig, *, shape_meta: dict[str, Any]) -> None:
        super().__init__()
        cameras = keys_of_type(shape_meta, "rgb")
        self._low_dim = keys_of_type(shape_meta, "low_dim")
        self._model_of = {key: cameras[0] if config.share_rgb_model else key for key in cameras}
        self._is_frozen = config.frozen
        self._lr_multiplier = config.lr_multiplier
        self.transforms = nn.ModuleDict({key: _transform(config, obs_shape(shape_meta, key)) for key in cameras})
        self.models = nn.ModuleDict()
        self.output_dim = sum(math.prod(obs_shape(shape_meta, key)) for key in self._low_dim)
        if cameras:
            model, features = _create(config)
            self.models.update({name: copy.deepcopy(model) for name in dict.fromkeys(self._model_of.values())})
            self.output_dim += features * len(cameras)
        if self._is_frozen:
            self.models.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> Self:
        """Switch mode, but keep frozen networks in evaluation, so that their batch statistics do not drift."""
        super().train(mode)
        if self._is_frozen:
            self.models.eval()
        return self

    def lr_multipliers(self) -> dict[str, float]:
        """Return the relative learning rate of every parameter; see `BaseEncoder`."""
        factor = self._lr_multiplier
        names = [name for name, _ in self.named_parameters()]
        return dict.fromkeys(names, factor) if factor != 1 else {}

    def forward(self, obs: dict[str, Tensor]) -> Tensor:
        """Encode normalised observations {key: (N, *shape)} of one step as features (N, Do); see `BaseEncoder`."""
        # One camera after the other, also through a network that they share: its statistics are those of each.
        networks = [self.models[owner] for owner in self._model_of.values()]
        return encode_cameras(obs, self.transforms, networks, self._low_dim)


def _create(config: R3MConfig) -> tuple[nn.Module, int]:
    """The network, and the size of its features."""
    model = torchvision.models.get_model(config.model_name, weights=None)
    features: int = model.fc.in_features
    model.fc = nn.Identity()
    if config.pretrained and pretrained_weights_wanted():
        load_r3m(model, config)
    return model, features


def _transform(config: R3MConfig, image_shape: tuple[int, ...]) -> nn.Sequential:
    """R3M's own: the shorter side to 256, 224 x 224 of it, ImageNet's statistics; images of 224 x 224 stay whole.

    The original left all of it out.
    """
    steps: list[nn.Module] = []
    if image_shape[1:] != _CROP:
        steps.append(torchvision.transforms.Resize(_RESIZED, antialias=True))
        steps.append(RandomCrop(_CROP) if config.random_crop else torchvision.transforms.CenterCrop(_CROP))
    return nn.Sequential(*steps, Standardize())
