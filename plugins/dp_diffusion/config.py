"""Options of the diffusion policy."""

from __future__ import annotations

from collections.abc import Iterable

import attrs
from attrs.validators import ge

from dp_core import Slot, option, slot


@attrs.frozen(kw_only=True)
class DiffusionConfig:
    """Which steps are observed, predicted and executed, and the three parts that the policy is put together from."""

    horizon: int = option(
        help="Tp, steps of the predicted trajectory; its first is the oldest observation's", validator=ge(1)
    )
    n_obs_steps: int = option(help="To, observations that the policy sees, the current one included", validator=ge(1))
    n_action_steps: int = option(help="Ta, actions executed per prediction, from the current step on", validator=ge(1))
    obs_as_global_cond: bool = option(
        True,
        help="the denoiser is conditioned by all observation features; false: they are inpainted beside the actions",
    )
    encoder: Slot = slot("encoder", help="turns the observations of one step into a feature vector")
    denoiser: Slot = slot("denoiser", help="the network that is trained to denoise trajectories")
    scheduler: Slot = slot("scheduler", "ddpm", help="the noise process and its sampler")

    def check(self) -> Iterable[tuple[str, str]]:
        """What is observed and executed must lie within what is predicted."""
        limit = self.horizon - self.n_obs_steps + 1
        if limit < 1:
            yield "n_obs_steps", f"{self.n_obs_steps} is larger than horizon {self.horizon}; choose at most that"
        elif self.n_action_steps > limit:
            yield (
                "n_action_steps",
                f"{self.n_action_steps} steps, executed from observation step {self.n_obs_steps} on, end beyond "
                f"horizon {self.horizon}; choose at most {limit}",
            )
