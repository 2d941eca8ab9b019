"""`SinusoidalPosEmb`: how denoisers receive the time of the noise process.

Not a component, and nothing in core uses it: it saves plugins from writing it once more.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from dp_core.errors import InputError


class SinusoidalPosEmb(nn.Module):
    """Embeds times as sines and cosines of frequencies from 1 down to 1/10000 (Vaswani et al. 2017)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, times: Tensor) -> Tensor:
        """Embed times (B,) of any dtype as (B, dim), float32: lower precision cannot tell the frequencies apart."""
        half = self.dim // 2
        exponents = torch.arange(half, device=times.device) * (-math.log(10000) / (half - 1))
        angles = times.float()[:, None] * exponents.exp()
        return torch.cat([angles.sin(), angles.cos()], dim=-1)


def check_end_timestep(end_timestep: Tensor | None, is_expected: bool, name: str) -> None:
    """Raise InputError unless a second time is there exactly if the denoiser ``name`` was built to take one."""
    if (end_timestep is not None) != is_expected:
        found, built = ("is missing", "with") if is_expected else ("was given", "without")
        raise InputError(f"{name}: 'end_timestep' {found}; the network was built {built} it")
