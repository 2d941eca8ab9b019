"""`KestrelScheduler`: straight paths from noise to actions (rectified flow, Liu et al. 2023)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from dp_core.interfaces import BaseScheduler, Generators, Inpaint, draw_noise
from dp_core.interfaces.scheduler import Denoise
from torch import Tensor

if TYPE_CHECKING:
    from dp_kestrel.config import SchedulerOptions


class KestrelScheduler(BaseScheduler):
    """Mixes actions and noise as ``(1 - t) x0 + t noise``; the network learns the velocity ``noise - x0``."""

    def __init__(self, config: SchedulerOptions) -> None:
        self.config = config

    def sample_timesteps(
        self, batch_size: int, device: torch.device, generator: torch.Generator | None = None
    ) -> Tensor:
        """Draw times (B,), float32, from 0 (data) to timestep_scale (noise)."""
        return torch.rand(batch_size, device=device, generator=generator) * self.config.timestep_scale

    def add_noise(self, x0: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """Mix actions and noise, each (B, T, D), at times (B,)."""
        t = (timesteps / self.config.timestep_scale).to(x0.dtype)[:, None, None]
        return (1 - t) * x0 + t * noise

    def target(self, x0: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """Return the velocity, (B, T, D), which is the same at all times."""
        return noise - x0

    def sample(
        self,
        denoise: Denoise,
        shape: tuple[int, ...],
        num_inference_steps: int | None = None,
        generator: Generators = None,
        inpaint: Inpaint | None = None,
        *,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> Tensor:
        """Go from noise to trajectories (B, T, D) in equal steps; what ``inpaint`` knows is kept."""
        n_steps = num_inference_steps or self.config.num_inference_steps
        times = torch.linspace(self.config.timestep_scale, 0, n_steps + 1, device=device)
        sample = draw_noise(shape, generator, device=device, dtype=dtype)
        for time in times[:-1]:
            sample = sample - denoise(_with_known(sample, inpaint), time) / n_steps
        return _with_known(sample, inpaint)


def _with_known(sample: Tensor, inpaint: Inpaint | None) -> Tensor:
    return sample if inpaint is None else torch.where(inpaint.mask, inpaint.values, sample)
