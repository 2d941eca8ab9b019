"""`DDPM`: denoising diffusion probabilistic models (Ho et al. 2020)."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from torch import Tensor

from dp_schedulers.discrete import DiscreteScheduler, Step, spaced_times
from dp_schedulers.prediction import x0_weights

if TYPE_CHECKING:
    from dp_schedulers.config import DDPMConfig

_SMALLEST_VARIANCE = 1e-20
"""As in diffusers."""


class DDPM(DiscreteScheduler):
    """Sample from the posterior of one step after the other, with fresh noise at every step but the last.

    The last is the last that is taken, whatever its time: diffusers adds noise where the last time is not 0, as with
    'trailing' spacing. With fewer steps than training it takes the posterior between the times it visits. The diffusers
    release that the paper's code was written for took that of neighbouring times, so such results differ.
    """

    config: DDPMConfig

    def times(self, count: int) -> Tensor:
        """Space ``count`` times evenly, (count,), int64, falling."""
        return spaced_times(self.config, count)

    def steps(self, times: Tensor) -> list[Step]:
        """Compute mean and variance of the posterior at each of ``times`` (Ho et al. 2020, equations 6 and 7).

        From t to the next time that is visited, s, with a_t = alphas_cumprod[t], alpha = a_t / a_s = 1 - beta of the
        whole way from s to t (the paper's alpha_t and beta_t where all times are visited) and z ~ N(0, I)::

            x_s = sqrt(a_s) beta / (1 - a_t) clip(x0) + sqrt(alpha) (1 - a_s) / (1 - a_t) x_t + std z
            std**2 = beta (1 - a_s) / (1 - a_t) if variance_type is 'fixed_small', beta if it is 'fixed_large'

        The last step arrives at a_s = 1, that is, at x0 alone, and adds no noise.
        """
        a = self.alphas_cumprod[times].tolist()
        return [*(self._step(a_t, a_s, self._std(a_t, a_s)) for a_t, a_s in pairwise(a)), self._step(a[-1], 1.0, None)]

    def _step(self, a_t: float, a_s: float, std: float | None) -> Step:
        alpha = a_t / a_s
        return Step(
            x0_weights=x0_weights(self.config.prediction_type, a_t),
            of_x0=(a_s**0.5 * (1 - alpha) / (1 - a_t),),
            of_x_t=alpha**0.5 * (1 - a_s) / (1 - a_t),
            std=std,
        )

    def _std(self, a_t: float, a_s: float) -> float:
        beta = 1 - a_t / a_s
        # The '_log' types mean the same variances; diffusers computes them by way of their logarithm.
        if self.config.variance_type.startswith("fixed_large"):
            variance = beta
        else:
            variance = max((1 - a_s) / (1 - a_t) * beta, _SMALLEST_VARIANCE)
        return float(variance**0.5)
