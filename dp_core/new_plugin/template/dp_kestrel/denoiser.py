"""`KestrelDenoiser`: three convolutions along the trajectory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from dp_core.interfaces import BaseDenoiser
from dp_core.kit.nn.time_embedding import SinusoidalPosEmb
from torch import Tensor, nn

if TYPE_CHECKING:
    from dp_kestrel.config import DenoiserOptions


class KestrelDenoiser(BaseDenoiser):
    """Lets every step of the trajectory see its neighbours, the time of the noise process, and the conditions."""

    def __init__(
        self,
        config: DenoiserOptions,
        *,
        input_dim: int,
        horizon: int,
        n_obs_steps: int,
        global_cond_dim: int | None = None,
        local_cond_dim: int | None = None,
    ) -> None:
        super().__init__()
        size, kernel = config.hidden_size, config.kernel_size
        seen = input_dim + config.time_size + (global_cond_dim or 0) + (local_cond_dim or 0)
        self.embedding = SinusoidalPosEmb(config.time_size)
        self.layers = nn.Sequential(
            nn.Conv1d(seen, size, kernel, padding=kernel // 2),
            nn.SiLU(),
            nn.Conv1d(size, size, kernel, padding=kernel // 2),
            nn.SiLU(),
            nn.Conv1d(size, input_dim, kernel, padding=kernel // 2),
        )

    def forward(
        self,
        sample: Tensor,
        timestep: Tensor,
        local_cond: Tensor | None = None,
        global_cond: Tensor | None = None,
    ) -> Tensor:
        """Denoise (B, T, D); a time is () or (B,), conditions are (B, T, L) and (B, G) or absent."""
        batch_size, n_steps, _ = sample.shape
        times = self.embedding(timestep.expand(batch_size)).to(sample.dtype)  # (B, time_size)
        parts = [sample, times[:, None].expand(-1, n_steps, -1)]
        if global_cond is not None:
            parts.append(global_cond[:, None].expand(-1, n_steps, -1))
        if local_cond is not None:
            parts.append(local_cond)
        seen = torch.cat(parts, dim=-1).transpose(1, 2)  # (B, channels, T), as convolutions want it
        return self.layers(seen).transpose(1, 2)
