"""`DPMSolver`: DPM-Solver++ (Lu et al. 2022), an ordinary differential equation solved from several past steps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler
from torch import Tensor

from dp_schedulers.discrete import DiscreteScheduler, diffusers_options, noise_options

if TYPE_CHECKING:
    from dp_schedulers.config import DPMSolverConfig


class DPMSolver(DiscreteScheduler):
    """Samples a network trained for `DDPM` in very few steps, without fresh noise.

    Visits the times that `DDIM` visits: those of diffusers' own solver coincide when there are nearly as many steps as
    times, which divides by zero. Predictions are clipped here, which diffusers does not offer for it; without that, the
    first one is noise amplified by up to 2000 (cosine schedule).
    """

    def __init__(self, config: DPMSolverConfig) -> None:
        solver = DPMSolverMultistepScheduler(
            **noise_options(config),
            prediction_type="sample",
            algorithm_type="dpmsolver++",
            solver_order=config.solver_order,
        )
        super().__init__(config, solver)
        self._ddim: Any = DDIMScheduler(**diffusers_options(config))

    def _start(self, count: int) -> Tensor:
        self._ddim.set_timesteps(count)
        times: Tensor = self._ddim.timesteps
        self._process.set_timesteps(timesteps=times.tolist())
        return times

    def _step(self, prediction: Tensor, time: int, sample: Tensor, generator: torch.Generator | None) -> Tensor:
        return super()._step(self._clean(prediction, time, sample), time, sample, generator)

    def _clean(self, prediction: Tensor, time: int, sample: Tensor) -> Tensor:
        """The clean trajectory that the network means, (B, T, D)."""
        alpha = self._process.alphas_cumprod[time]
        signal, sigma = alpha.sqrt(), (1 - alpha).sqrt()
        clean = prediction
        if self.config.prediction_type == "epsilon":
            clean = (sample - sigma * prediction) / signal
        elif self.config.prediction_type == "v_prediction":
            clean = signal * sample - sigma * prediction
        limit = self.config.clip_sample_range
        return clean.clamp(-limit, limit) if self.config.clip_sample else clean
