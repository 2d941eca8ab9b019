"""`DDIM`: denoising diffusion implicit models (Song et al. 2021)."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from torch import Tensor

from dp_schedulers.discrete import DiscreteScheduler, Step, spaced_times
from dp_schedulers.prediction import noise_weights, x0_weights

if TYPE_CHECKING:
    from dp_schedulers.config import DDIMConfig


class DDIM(DiscreteScheduler):
    """Sample a network trained for `DDPM` in few steps, without fresh noise unless ``eta`` asks for it.

    Every step leads to the next time that is visited; with uneven spacing, diffusers steps a little beside it.
    """

    config: DDIMConfig

    def times(self, count: int) -> Tensor:
        """Space ``count`` times evenly, (count,), int64, falling."""
        return spaced_times(self.config, count)

    def steps(self, times: Tensor) -> list[Step]:
        """Compute the update at each of ``times`` (Song et al. 2021, equations 12 and 16).

        From t to the next time that is visited, s, with a_t = alphas_cumprod[t] and z ~ N(0, I)::

            x_s = sqrt(a_s) clip(x0) + sqrt(1 - a_s - std**2) noise + std z
            std = eta sqrt((1 - a_s) / (1 - a_t)) sqrt(1 - a_t / a_s)

        The paper writes sigma for std. x0 and noise are what the network means (`prediction`); the noise is that of x0
        before it is clipped, as in diffusers. The last step arrives at a_s = 1, which is x0, or with
        ``set_alpha_to_one: false`` at a_s = alphas_cumprod[0], and adds no fresh noise even there.
        """
        last = 1.0 if self.config.set_alpha_to_one else self.alphas_cumprod[0].item()
        a = self.alphas_cumprod[times].tolist()
        return [*(self._step(a_t, a_s, self.config.eta) for a_t, a_s in pairwise(a)), self._step(a[-1], last, 0.0)]

    def _step(self, a_t: float, a_s: float, eta: float) -> Step:
        kind = self.config.prediction_type
        variance = eta**2 * (1 - a_s) / (1 - a_t) * (1 - a_t / a_s)
        of_noise = max(1 - a_s - variance, 0.0) ** 0.5  # rounding may make it negative
        noise_of_x_t, noise_of_output = noise_weights(kind, a_t)
        return Step(
            x0_weights=x0_weights(kind, a_t),
            of_x0=(a_s**0.5,),
            of_x_t=of_noise * noise_of_x_t,
            of_output=of_noise * noise_of_output,
            std=variance**0.5 if eta else None,
        )
