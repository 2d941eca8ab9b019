"""Options of the schedulers. The names are those of diffusers, the defaults the paper's."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar, Literal

import attrs
from attrs.validators import and_, ge, gt, le, lt, optional

from dp_core import NoiseProcess, option

_IS_BETA = and_(gt(0), lt(1))


@attrs.frozen(kw_only=True)
class DiscreteOptions:
    """A noise process in ``num_train_timesteps`` steps, and what is common to its samplers. Schedulers inherit these.

    Those with equal options of this class train the same network, so one can sample for the other.
    """

    process: ClassVar[NoiseProcess] = NoiseProcess(
        "variance preserving",
        options=("num_train_timesteps", "beta_schedule", "beta_start", "beta_end", "prediction_type"),
        data_options=("clip_sample", "clip_sample_range"),
    )

    num_train_timesteps: int = option(100, help="steps of the process that training sees", validator=ge(1))
    beta_schedule: Literal["squaredcos_cap_v2", "linear", "scaled_linear"] = option(
        "squaredcos_cap_v2", help="how noise grows with time; the cosine schedule takes no beta_start and beta_end"
    )
    beta_start: float = option(1e-4, help="variance added by the first step", validator=_IS_BETA)
    beta_end: float = option(0.02, help="variance added by the last step", validator=_IS_BETA)
    prediction_type: Literal["epsilon", "sample", "v_prediction"] = option(
        "epsilon", help="what the network predicts: the noise, the clean trajectory or the velocity between them"
    )
    clip_sample: bool = option(True, help="clip the predicted clean trajectory at every step")
    clip_sample_range: float = option(1.0, help="largest normalised value after clipping", validator=gt(0))
    num_inference_steps: int | None = option(
        None, help="network calls per prediction; null: num_train_timesteps", validator=optional(ge(1))
    )

    def check(self) -> Iterable[tuple[str, str]]:
        """Noise grows, and sampling visits times of the process."""
        if self.beta_schedule != "squaredcos_cap_v2" and self.beta_start > self.beta_end:
            yield (
                "beta_start",
                f"{self.beta_start} is larger than beta_end {self.beta_end}, and noise grows with time; "
                f"choose at most {self.beta_end}",
            )
        yield from self.sampling_problems(self.num_inference_steps)

    def sampling_problems(self, num_inference_steps: int | None) -> Iterable[tuple[str, str]]:
        """What is wrong with that number of sampling steps, as pairs of option and message."""
        steps = self.num_train_timesteps
        if num_inference_steps is not None and num_inference_steps > steps:
            yield (
                "num_inference_steps",
                f"{num_inference_steps} is more than num_train_timesteps {steps}; choose at most {steps}",
            )


@attrs.frozen(kw_only=True)
class SpacedOptions(DiscreteOptions):
    """For samplers that visit evenly spaced times."""

    timestep_spacing: Literal["leading", "trailing", "linspace"] = option(
        "leading",
        help="which times sampling visits: 'leading' ends at 0, 'trailing' starts at the last, 'linspace' both",
    )


@attrs.frozen(kw_only=True)
class DDPMConfig(SpacedOptions):
    """Options of the scheduler ``ddpm``."""

    variance_type: Literal["fixed_small", "fixed_small_log", "fixed_large", "fixed_large_log"] = option(
        "fixed_small", help="noise added while sampling: that of the posterior (small) or of the process (large)"
    )


@attrs.frozen(kw_only=True)
class DDIMConfig(SpacedOptions):
    """Options of the scheduler ``ddim``."""

    set_alpha_to_one: bool = option(True, help="the last step arrives at the clean trajectory; false: at time 0")
    steps_offset: int = option(0, help="added to every time with 'leading' spacing", validator=ge(0))
    eta: float = option(0.0, help="noise added while sampling: 0 none, 1 as much as ddpm", validator=[ge(0), le(1)])

    def sampling_problems(self, num_inference_steps: int | None) -> Iterable[tuple[str, str]]:
        """Adds that the offset must not lead beyond the process."""
        yield from super().sampling_problems(num_inference_steps)
        steps = self.num_train_timesteps
        count = num_inference_steps or steps
        largest = steps - 1 - (count - 1) * (steps // count)
        if self.timestep_spacing == "leading" and self.steps_offset > largest:
            yield (
                "steps_offset",
                f"{self.steps_offset} starts {count} sampling steps after the last time, {steps - 1}; "
                f"choose at most {largest}",
            )


@attrs.frozen(kw_only=True)
class DPMSolverConfig(DiscreteOptions):
    """Options of the scheduler ``dpm_solver``."""

    num_inference_steps: int | None = option(
        10, help="network calls per prediction; null: num_train_timesteps", validator=optional(ge(1))
    )
    solver_order: Literal[1, 2, 3] = option(
        2, help="predictions that one step is extrapolated from; 1 is ddim without noise, 3 rarely better than 2"
    )


@attrs.frozen(kw_only=True)
class FlowMatchingConfig:
    """Options of the scheduler ``flow_matching``."""

    process: ClassVar[NoiseProcess] = NoiseProcess("rectified flow", options=("timestep_scale",))

    solver: Literal["euler", "heun"] = option(
        "euler", help="how a step is integrated; heun is of second order and calls the network twice"
    )
    num_inference_steps: int = option(10, help="steps from noise to data", validator=ge(1))
    timestep_sampling: Literal["uniform", "logit_normal", "beta"] = option(
        "uniform",
        help="the times that training sees: evenly, most in the middle (Esser et al. 2024), or most near the noise "
        "(Black et al. 2024)",
    )
    timestep_scale: float = option(
        100.0,
        help="the network is given times from 0 (data) to this (noise); 100 is what denoisers for ddpm are built for",
        validator=gt(0),
    )
