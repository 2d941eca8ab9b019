"""How noise grows over the steps of a process: what diffusers calls ``alphas_cumprod``, to the bit.

diffusers itself takes longer to import than torch does.
"""

from __future__ import annotations

import torch
from torch import Tensor

from dp_schedulers.betas import betas
from dp_schedulers.config import DiscreteOptions


def data_shares(options: DiscreteOptions) -> Tensor:
    """Share of the data in the variance at each time, (num_train_timesteps,), float32, falling."""
    # Only float32 from the start gives the bits of diffusers; `betas` in float64 would differ in the last.
    count, start, end = options.num_train_timesteps, options.beta_start, options.beta_end
    if options.beta_schedule == "linear":
        added = torch.linspace(start, end, count, dtype=torch.float32, device="cpu")
    elif options.beta_schedule == "scaled_linear":
        added = torch.linspace(start**0.5, end**0.5, count, dtype=torch.float32, device="cpu") ** 2
    else:
        added = torch.tensor(betas(options.beta_schedule, count, start, end), dtype=torch.float32, device="cpu")
    return (1 - added).cumprod(0)
