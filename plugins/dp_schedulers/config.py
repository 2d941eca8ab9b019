"""Options of the schedulers. The names are those of diffusers, the defaults the paper's."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import attrs
from attrs.validators import and_, ge, gt, le, lt, optional

from dp_core import option

_IS_BETA = and_(gt(0), lt(1))


@attrs.frozen(kw_only=True)
class DiscreteOptions:
    """A noise process in ``num_train_timesteps`` steps, and what is common to its samplers. Schedulers inherit these.

    ``DDPM`` and ``DDIM`` with equal options of this class train the same network, so one can sample for the other.
    """

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
    timestep_spacing: Literal["leading", "trailing", "linspace"] = option(
        "leading",
        help="which times sampling visits: 'leading' ends at 0, 'trailing' starts at the last, 'linspace' both",
    )

    def check(self) -> Iterable[tuple[str, str]]:
        """Sampling cannot take more steps than there are."""
        if message := too_many_steps(self.num_inference_steps, self.num_train_timesteps):
            yield "num_inference_steps", message


@attrs.frozen(kw_only=True)
class DDPMConfig(DiscreteOptions):
    """Options of the scheduler ``ddpm``."""

    variance_type: Literal["fixed_small", "fixed_small_log", "fixed_large", "fixed_large_log"] = option(
        "fixed_small", help="noise added while sampling: that of the posterior (small) or of the process (large)"
    )


@attrs.frozen(kw_only=True)
class DDIMConfig(DiscreteOptions):
    """Options of the scheduler ``ddim``."""

    set_alpha_to_one: bool = option(True, help="the last step arrives at the clean trajectory; false: at time 0")
    steps_offset: int = option(0, help="added to every time with 'leading' spacing", validator=ge(0))
    eta: float = option(0.0, help="noise added while sampling: 0 none, 1 as much as ddpm", validator=[ge(0), le(1)])

    def check(self) -> Iterable[tuple[str, str]]:
        """The first time visited must be one of the process."""
        yield from super().check()
        count = self.num_inference_steps or self.num_train_timesteps
        largest = self.num_train_timesteps - 1 - (count - 1) * (self.num_train_timesteps // count)
        if self.timestep_spacing == "leading" and self.steps_offset > largest >= 0:
            yield (
                "steps_offset",
                f"{self.steps_offset} starts {count} sampling steps after the last time, "
                f"{self.num_train_timesteps - 1}; choose at most {largest}",
            )


def too_many_steps(num_inference_steps: int | None, num_train_timesteps: int) -> str | None:
    """What is wrong with a number of sampling steps."""
    if num_inference_steps is None or num_inference_steps <= num_train_timesteps:
        return None
    return (
        f"{num_inference_steps} is more than num_train_timesteps {num_train_timesteps}; "
        f"choose at most {num_train_timesteps}"
    )
