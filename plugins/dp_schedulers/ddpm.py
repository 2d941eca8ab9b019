"""`DDPM`: denoising diffusion probabilistic models (Ho et al. 2020)."""

from __future__ import annotations

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

    With fewer steps than training it takes the posterior between the times it visits. The diffusers release that the
    paper's code was written for took that of neighbouring times, so such results differ.
    """

    config: DDPMConfig

    def times(self, count: int) -> Tensor:
        """Evenly spaced."""
        return spaced_times(self.config, count)

    def steps(self, times: Tensor) -> list[Step]:
        """Mean and variance of the posterior (Ho et al. 2020, equations 6 and 7)."""
        steps = []
        alphas = [*self.alphas[times].tolist(), 1.0]
        for alpha, before, time in zip(alphas, alphas[1:], times.tolist(), strict=False):
            ratio = alpha / before  # of the one step that leads from the next time to this
            steps.append(
                Step(
                    mean=clean_shares(self.config.prediction_type, alpha),
                    clean=(before**0.5 * (1 - ratio) / (1 - alpha),),
                    sample=ratio**0.5 * (1 - before) / (1 - alpha),
                    noise=self._deviation(alpha, before) if time > 0 else None,
                )
            )
        return steps

    def _deviation(self, alpha: float, before: float) -> float:
        of_process = 1 - alpha / before
        if self.config.variance_type.startswith("fixed_large"):
            variance = of_process
        else:
            variance = max((1 - before) / (1 - alpha) * of_process, _SMALLEST_VARIANCE)
        return float(variance**0.5)
