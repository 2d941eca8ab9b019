"""`LowdimEncoder`: the observation is the feature."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from dp_core.interfaces import BaseEncoder
from dp_core.shape_meta import keys_of_type, obs_shape

if TYPE_CHECKING:
    from dp_lowdim.config import LowdimConfig


class LowdimEncoder(BaseEncoder):
    """Concatenates all low-dimensional keys, flattened, in the order of `shape_meta`.

    Has no parameters, so that a policy with it has the state dict of the original's low-dimensional policies.
    """

    def __init__(self, config: LowdimConfig, *, shape_meta: dict[str, Any]) -> None:
        super().__init__()
        self._keys = keys_of_type(shape_meta, "low_dim")
        self.output_dim = sum(math.prod(obs_shape(shape_meta, key)) for key in self._keys)

    def forward(self, obs: dict[str, Tensor]) -> Tensor:
        """Concatenate normalised observations {key: (N, *shape)} of one step to features (N, Do); see `BaseEncoder`."""
        return torch.cat([obs[key].reshape(len(obs[key]), -1) for key in self._keys], dim=-1)
