"""Which times of the process a sampler with evenly spaced times visits; the names are those of diffusers."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from dp_schedulers.config import SpacedOptions


def spaced_times(config: SpacedOptions, count: int, offset: int = 0) -> Tensor:
    """``count`` times, (count,), int64, falling.

    Args:
        offset: added to every time where the spacing is ``leading``.
    """
    total = config.num_train_timesteps
    times: np.ndarray
    if config.timestep_spacing == "leading":
        times = np.arange(count)[::-1] * (total // count) + offset
    elif config.timestep_spacing == "trailing":
        times = np.round(np.arange(total, 0, -total / count)) - 1
    else:
        times = np.linspace(0, total - 1, count).round()[::-1]
    return torch.from_numpy(times.astype(np.int64))
