"""`BlockPushDataset`: demonstrations of block pushing."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from dp_blockpush.config import BlockPushDatasetConfig
from dp_blockpush.shapes import EFFECTOR_TARGET
from dp_core.normalizer import SingleFieldLinearNormalizer, array_to_stats
from dp_replay.buffer import ReplayBuffer
from dp_replay.dataset import ReplayDataset

_GROUPS = ([0, 3, 6, 8, 10, 13], [1, 4, 7, 9, 11, 14], [2, 5, 12, 15])
"""Entries of an observation that are x, y and angles."""


class BlockPushDataset(ReplayDataset):
    """Windows over demonstrations of pushing two blocks into two targets, in either order."""

    def __init__(self, config: BlockPushDatasetConfig, *, shape_meta: dict[str, Any]) -> None:
        buffer = ReplayBuffer.load(config.path, keys=("obs", "action"))
        if not config.obs_eef_target:
            buffer["obs"][..., EFFECTOR_TARGET] = 0
        super().__init__(config, buffer, shape_meta=shape_meta, source=config.path)
        self._groups_entries = config.use_manual_normalizer

    def _field(self, key: str, values: Tensor) -> SingleFieldLinearNormalizer:
        """Scale every entry by its limits, or those of observations by the limits of all x, of all y, of all angles."""
        if key == "obs" and self._groups_entries:
            return _grouped(values.numpy(), self._config.range_eps)
        return super()._field(key, values)


def _grouped(values: NDArray[np.float32], range_eps: float) -> SingleFieldLinearNormalizer:
    """Map the limits of each group of entries of (N, 16) to [-1, 1]; a group that never moves is only shifted."""
    stats = array_to_stats(values)
    shared = {name: stats[name].copy() for name in ("min", "max")}
    for group in _GROUPS:
        shared["min"][group] = stats["min"][group].min()
        shared["max"][group] = stats["max"][group].max()
    field = SingleFieldLinearNormalizer.create_range(stats | shared, range_eps=range_eps)
    return SingleFieldLinearNormalizer.create_manual(field.scale, field.offset, stats, remark=field.remark)
