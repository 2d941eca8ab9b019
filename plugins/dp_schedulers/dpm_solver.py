"""`DPMSolver`: DPM-Solver++ (Lu et al. 2022), an ordinary differential equation solved from several past steps."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from diffusers import DPMSolverMultistepScheduler
from torch import Tensor

from dp_schedulers.discrete import DiscreteScheduler, noise_options

if TYPE_CHECKING:
    from dp_schedulers.config import DPMSolverConfig

_FAINTEST_SIGNAL = 1 / 16
"""Where sampling starts, as a ratio to the noise. A network that predicts noise tells the data of fainter ones only
with large errors, which few steps do not make good."""


class DPMSolver(DiscreteScheduler):
    """Samples a network trained for `DDPM` in very few steps, without fresh noise.

    The equation is solved in the logarithm of the signal-to-noise ratio, and the times visited are evenly spaced in it.
    Predicted trajectories are clipped here, since the solver of diffusers does not clip.
    """

    def __init__(self, config: DPMSolverConfig) -> None:
        solver = DPMSolverMultistepScheduler(
            **noise_options(config),
            prediction_type="sample",
            algorithm_type="dpmsolver++",
            solver_order=config.solver_order,
        )
        super().__init__(config, solver)

    def _start(self, count: int) -> Tensor:
        times = self._times(count)
        self._process.set_timesteps(timesteps=times.tolist())
        return times

    def _times(self, count: int) -> Tensor:
        """Times nearest to an even spacing, none of them twice, (count,), int64, falling."""
        ratios = self._process.lambda_t  # logarithms, falling with time
        noisiest = max(int((ratios >= math.log(_FAINTEST_SIGNAL)).sum()) - 1, 0)
        wanted = torch.linspace(float(ratios[noisiest]), float(ratios[0]), count).flip(0)
        nearest = (ratios - wanted[:, None]).abs().argmin(dim=1)
        # Rising by at least one at every step, with enough times left for the steps to come.
        rank = torch.arange(count)
        times = torch.cummax(nearest - rank, dim=0).values + rank
        return torch.minimum(times, len(ratios) - count + rank).flip(0)

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
