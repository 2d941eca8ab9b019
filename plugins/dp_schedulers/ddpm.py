"""`DDPM`: denoising diffusion probabilistic models (Ho et al. 2020)."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from torch import Tensor

from dp_schedulers.discrete import DiscreteScheduler
from dp_schedulers.spacing import spaced_times
from dp_schedulers.steps import Step, clean_shares

if TYPE_CHECKING:
    from dp_schedulers.config import DDPMConfig

_SMALLEST_VARIANCE = 1e-20
"""As in diffusers."""


class DDPM(DiscreteScheduler):
    """Samples from the posterior of one step after the other, with fresh noise at every step but the last.

    The last is the last that is taken, whatever its time: diffusers adds noise where the last time is not 0, as with
    'trailing' spacing. With fewer steps than training it takes the posterior between the times it visits. The diffusers
    release that the paper's code was written for took that of neighbouring times, so such results differ.
    """

    config: DDPMConfig

    def times(self, count: int) -> Tensor:
        """Evenly spaced."""
        return spaced_times(self.config, count)

    def steps(self, times: Tensor) -> list[Step]:
        """Mean and variance of the posterior (Ho et al. 2020, equations 6 and 7)."""
        alphas = self.alphas[times].tolist()
        steps = [self._step(alpha, before, self._deviation(alpha, before)) for alpha, before in pairwise(alphas)]
        return [*steps, self._step(alphas[-1], 1.0, None)]

    def _step(self, alpha: float, before: float, noise: float | None) -> Step:
        ratio = alpha / before  # of the one step that leads from the next time to this
        return Step(
            mean=clean_shares(self.config.prediction_type, alpha),
            clean=(before**0.5 * (1 - ratio) / (1 - alpha),),
            sample=ratio**0.5 * (1 - before) / (1 - alpha),
            noise=noise,
        )

    def _deviation(self, alpha: float, before: float) -> float:
        of_process = 1 - alpha / before
        if self.config.variance_type.startswith("fixed_large"):
            variance = of_process
        else:
            variance = max((1 - before) / (1 - alpha) * of_process, _SMALLEST_VARIANCE)
        return float(variance**0.5)
