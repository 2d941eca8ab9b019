"""`DDIM`: denoising diffusion implicit models (Song et al. 2021)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from diffusers import DDIMScheduler

from dp_schedulers.discrete import DiscreteScheduler, diffusers_options

if TYPE_CHECKING:
    from dp_schedulers.config import DDIMConfig


class DDIM(DiscreteScheduler):
    """Samples a network trained for `DDPM` in few steps, without fresh noise unless ``eta`` asks for it."""

    def __init__(self, config: DDIMConfig) -> None:
        process = DDIMScheduler(
            **diffusers_options(config), set_alpha_to_one=config.set_alpha_to_one, steps_offset=config.steps_offset
        )
        super().__init__(config, process, step_options={"eta": config.eta})
