"""Options of the diffusion policy."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import attrs
from attrs.validators import ge

from dp_core import Slot, option, slot
from dp_core.config.checks import untaken_inputs, untaken_tokens
from dp_core.config.declared import TOKENS, WINDOW, gives, sees


@attrs.frozen(kw_only=True)
class DiffusionConfig:
    """Which steps are observed, predicted and executed, and the three parts that the policy is put together from."""

    horizon: int = option(help="Tp, steps of a training window; its first is the oldest observation's", validator=ge(1))
    n_obs_steps: int = option(help="To, observations that the policy sees, the current one included", validator=ge(1))
    n_action_steps: int = option(help="Ta, actions executed per prediction", validator=ge(1))
    obs_as_global_cond: bool = option(
        True,
        help="the denoiser is conditioned by all observation features at once; if neither this nor "
        "obs_as_local_cond: features are inpainted beside the actions",
    )
    obs_as_local_cond: bool = option(
        False, help="each step of the trajectory is conditioned by the observation features of its own time"
    )
    oa_step_convention: bool = option(
        True,
        help="the first executed action is of the step of the last observation; false: of the step after it, as in "
        "the original's first low-dimensional U-Nets",
    )
    pred_action_steps_only: bool = option(
        False, help="predict the executed actions alone, not the whole horizon; needs obs_as_global_cond"
    )
    input_pertub: float = option(
        0.0,
        help="training adds this much more noise than the target tells of, for robustness against the sampler's own "
        "errors (Ning et al. 2023, who choose 0.1)",
        validator=ge(0),
    )
    train_diffusion_n_samples: int = option(
        1, help="noises and times drawn per encoded observation and training step", validator=ge(1)
    )
    cache_obs_features: bool = option(
        False,
        help="while acting, do not encode again what the previous call saw; saves time where observation windows of "
        "consecutive calls overlap",
    )
    check_obs: bool = option(
        True,
        help="refuse to act on observations that are NaN, infinite, or images out of range, and to give actions that "
        "are not finite; costs less than 0.1 ms on a CPU, on a GPU a few more kernels; false: actions come of them",
    )
    encoder: Slot = slot("encoder", help="turns the observations of a step into a feature vector, or into tokens")
    denoiser: Slot = slot("denoiser", help="the network that is trained to denoise trajectories")
    scheduler: Slot = slot("scheduler", "ddpm", help="the noise process and its sampler")

    @property
    def inpaints(self) -> bool:
        """Whether observation features are a part of the trajectory."""
        return not (self.obs_as_global_cond or self.obs_as_local_cond)

    @property
    def first_action_step(self) -> int:
        """Step of the window whose action is executed first."""
        return self.n_obs_steps - 1 if self.oa_step_convention else self.n_obs_steps

    @property
    def trajectory_steps(self) -> int:
        """T, the steps that the denoiser sees."""
        return self.n_action_steps if self.pred_action_steps_only else self.horizon

    def check(self, dataset: Any = None) -> Iterable[tuple[str, str]]:
        """Yield steps that do not lie within a window, and parts or ways to condition that exclude each other."""
        for message in untaken_inputs(self.denoiser, self.scheduler):
            yield "denoiser", message
        limit = self.horizon - self.first_action_step
        if self.n_obs_steps > self.horizon:
            yield "n_obs_steps", f"{self.n_obs_steps} is larger than horizon {self.horizon}; choose at most that"
        elif limit < 1:
            yield (
                "oa_step_convention",
                f"false leaves no action to execute after {self.n_obs_steps} observed steps of horizon {self.horizon}; "
                "choose true, or a longer horizon",
            )
        elif self.n_action_steps > limit:
            yield (
                "n_action_steps",
                f"{self.n_action_steps} steps, executed from step {self.first_action_step + 1} on, end beyond "
                f"horizon {self.horizon}; choose at most {limit}",
            )
        if self.obs_as_local_cond and self.obs_as_global_cond:
            yield "obs_as_local_cond", "true excludes obs_as_global_cond: true; choose one of them"
        elif self.pred_action_steps_only and not self.obs_as_global_cond:
            yield (
                "pred_action_steps_only",
                "true leaves no place for observations in the trajectory; set obs_as_global_cond: true",
            )
        elif self.inpaints and isinstance(dataset, Slot) and not getattr(dataset.config, "full_obs_horizon", True):
            yield (
                "obs_as_global_cond",
                "false inpaints observations, which is learnt from those of the whole horizon; "
                "set dataset.full_obs_horizon: true, or condition globally or locally",
            )
        yield from self._encoder_problems()

    def _encoder_problems(self) -> Iterable[tuple[str, str]]:
        """What encoders of windows and of tokens do not go with."""
        for message in untaken_tokens(self.encoder, self.denoiser):
            yield "denoiser", message
        sees_window = sees(self.encoder) == WINDOW
        name = self.encoder.component.name
        if not sees_window and gives(self.encoder) != TOKENS:
            return
        if not self.obs_as_global_cond:
            does = "sees the window as a whole" if sees_window else "gives tokens"
            yield (
                "obs_as_local_cond" if self.obs_as_local_cond else "obs_as_global_cond",
                f"{str(self.obs_as_local_cond).lower()} needs one vector for each step, and encoder '{name}' {does}; "
                "set obs_as_global_cond: true, or choose another encoder",
            )
        if sees_window and self.cache_obs_features:
            yield (
                "cache_obs_features",
                f"true keeps what was encoded step by step, and encoder '{name}' sees the window as a whole; "
                "leave it out",
            )
