"""`DDPM`: denoising diffusion probabilistic models (Ho et al. 2020)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from diffusers import DDPMScheduler

from dp_schedulers.discrete import DiscreteScheduler, diffusers_options

if TYPE_CHECKING:
    from dp_schedulers.config import DDPMConfig


class DDPM(DiscreteScheduler):
    """Samples from the posterior of one step after the other, with fresh noise at every step but the last.

    With fewer steps than training it takes the posterior between the times it visits. The diffusers release that the
    paper's code was written for took that of neighbouring times, so such results differ.
    """

    def __init__(self, config: DDPMConfig) -> None:
        super().__init__(config, DDPMScheduler(**diffusers_options(config), variance_type=config.variance_type))
