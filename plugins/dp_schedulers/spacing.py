"""Which times of the process a sampler with evenly spaced times visits; the names are those of diffusers."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from dp_schedulers.config import SpacedOptions


def spaced_times(config: SpacedOptions, count: int) -> Tensor:
    """``count`` times, (count,), int64, falling.

    Those of diffusers, except that one step visits the last time with every spacing: at time 0, which it visits there
    with two of them, there is no noise to remove, and what is drawn to start from would be the result.
    """
    total = config.num_train_timesteps
    times: np.ndarray
    if config.timestep_spacing == "leading":
        times = config.first_time(count) - np.arange(count) * (total // count)
    elif config.timestep_spacing == "trailing":
        # By rounding errors, the range may have one number too many, which is close to 0.
        times = np.round(np.arange(total, 0, -total / count)[:count]) - 1
    else:
        times = np.linspace(0, total - 1, count).round()[::-1] if count > 1 else np.array([total - 1])
    return torch.from_numpy(times.astype(np.int64))
