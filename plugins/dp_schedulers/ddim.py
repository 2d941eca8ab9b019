"""`DDIM`: denoising diffusion implicit models (Song et al. 2021)."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from torch import Tensor

from dp_schedulers.discrete import DiscreteScheduler
from dp_schedulers.spacing import spaced_times
from dp_schedulers.steps import Step, clean_shares, noise_shares

if TYPE_CHECKING:
    from dp_schedulers.config import DDIMConfig


class DDIM(DiscreteScheduler):
    """Samples a network trained for `DDPM` in few steps, without fresh noise unless ``eta`` asks for it.

    Every step leads to the next time that is visited; with uneven spacing, diffusers steps a little beside it.
    """

    config: DDIMConfig

    def times(self, count: int) -> Tensor:
        """Evenly spaced."""
        return spaced_times(self.config, count)

    def steps(self, times: Tensor) -> list[Step]:
        """Song et al. 2021, equations 12 and 16. The last step adds no noise, even where it arrives at time 0."""
        last = 1.0 if self.config.set_alpha_to_one else self.alphas[0].item()
        alphas = self.alphas[times].tolist()
        steps = [self._step(alpha, before, self.config.eta) for alpha, before in pairwise(alphas)]
        return [*steps, self._step(alphas[-1], last, 0.0)]

    def _step(self, alpha: float, before: float, eta: float) -> Step:
        kind = self.config.prediction_type
        variance = eta**2 * (1 - before) / (1 - alpha) * (1 - alpha / before)
        of_noise = max(1 - before - variance, 0.0) ** 0.5
        noise_of_sample, noise_of_prediction = noise_shares(kind, alpha)
        return Step(
            mean=clean_shares(kind, alpha),
            clean=(before**0.5,),
            sample=of_noise * noise_of_sample,
            prediction=of_noise * noise_of_prediction,
            noise=variance**0.5 if eta else None,
        )
