"""Options of the schedulers. The names are those of diffusers, the defaults the paper's.

Except for ``timestep_spacing``: with as many steps as in training, as in the paper, all of them are the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar, Literal

import attrs
from attrs.validators import ge, gt, le, lt, optional

from dp_core import NoiseProcess, option
from dp_schedulers.betas import betas, data_shares

_IS_BETA: Sequence[Callable[..., Any]] = (ge(1e-7), lt(1))
"""Less is nothing beside 1 in single precision, and noise that is not there cannot be removed."""
_SMALLEST_LAST_SHARE = 2.0**-126
"""Of the data in the variance at the last time: less is nothing in single precision, and cannot be divided by."""
_LARGEST_LAST_SHARE = 0.01
"""Of the data in the variance at the last time. Sampling starts from noise alone, so that the mean of samples misses
that of the data by up to the root of this, a tenth, of their standard deviation. The cosine schedule ends below 1e-3,
and the usual linear one, of 1000 steps, at 4e-5."""
_LARGEST_FIRST_SHARE = 0.05
"""Of the data in the variance at the first time that 'leading' spacing visits, beyond that at the last time. A Push-T
policy scores 0.25 to 0.70 where it is larger, and hardly less than with the other spacings where it is not."""
FAINTEST_SIGNAL = 1 / 16
"""Ratio to the noise of the faintest data that a network that predicts noise can tell. Of fainter ones its errors are
multiplied by more than the inverse, which clipping makes good and nothing else."""
_LARGEST_LATE_NOISE = 0.05
"""Variance of what may be added on the way to time 0; the data are between -1 and 1."""
_LARGEST_LEFT_NOISE = 0.01
"""Variance of what may be left in actions between -1 and 1."""


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
        elif (share := self.data_shares()[-1]) < _SMALLEST_LAST_SHARE:
            yield (
                "beta_end",
                f"{self.beta_end} leaves a share of {share:.0e} of the data after {self.num_train_timesteps} steps, "
                "which is nothing in single precision; choose less, or fewer num_train_timesteps",
            )
        yield from self.sampling_problems(self.num_inference_steps)

    def advise(self) -> Iterable[tuple[str, str]]:
        """The process ends in noise, sampling starts there, and nothing of the data is clipped."""
        share = self.data_shares()[-1]
        if share > _LARGEST_LAST_SHARE:
            yield (
                "beta_schedule",
                f"'{self.beta_schedule}' from {self.beta_start} to {self.beta_end} leaves a share of {share:.2f} of "
                f"the data after {self.num_train_timesteps} steps, and sampling starts from noise alone, which the "
                f"network never saw: the mean of samples is off by up to {share**0.5:.2f} standard deviations of the "
                f"data; choose {', or '.join(self._noisier())}",
            )
        if self.clip_sample and self.clip_sample_range < 1:
            yield (
                "clip_sample_range",
                f"{self.clip_sample_range} cuts off what is demonstrated, which reaches 1; choose at least 1",
            )
        yield from self.sampling_advice(self.num_inference_steps)

    def data_shares(self) -> list[float]:
        """Share of the data in the variance at each time, falling."""
        return data_shares(betas(self.beta_schedule, self.num_train_timesteps, self.beta_start, self.beta_end))

    def _noisier(self) -> Iterable[str]:
        """Options whose process ends in noise."""
        yield "'squaredcos_cap_v2'"
        ends = (percent / 100 for percent in range(1, 100))
        if end := next((end for end in ends if self._ends_in_noise(self.num_train_timesteps, end)), None):
            yield f"at least {end} for beta_end"
        if self._ends_in_noise(1000, self.beta_end):
            yield "1000 for num_train_timesteps"

    def _ends_in_noise(self, steps: int, end: float) -> bool:
        return data_shares(betas(self.beta_schedule, steps, self.beta_start, end))[-1] <= _LARGEST_LAST_SHARE

    def first_time(self, count: int) -> int:
        """Return the noisiest time that ``count`` sampling steps visit."""
        return self.num_train_timesteps - 1

    @property
    def fewest_steps(self) -> int:
        """How many sampling steps it takes to remove noise at more than the first time; at time 0 there is none."""
        return 2

    def sampling_advice(self, num_inference_steps: int | None) -> Iterable[tuple[str, str]]:
        """Tell what is unwise about that number of sampling steps, as pairs of option and message."""
        if self.prediction_type != "epsilon":
            return
        count = num_inference_steps or self.num_train_timesteps
        first = self.first_time(count)
        share = self.data_shares()[first]
        multiple = ((1 - share) / share) ** 0.5
        if not self.clip_sample and multiple > 1 / FAINTEST_SIGNAL:
            yield (
                "clip_sample",
                f"false keeps errors as they are, and at time {first}, where sampling starts, those of a network that "
                f"predicts noise are multiplied by {multiple:.0f}; choose true, or a few steps of 'dpm_solver', which "
                "starts later",
            )
        if count < min(self.fewest_steps, self.num_train_timesteps):
            yield (
                "num_inference_steps",
                f"{count} can remove noise at time {first} alone, where a network that predicts noise tells next to "
                f"nothing of the data; choose at least {self.fewest_steps}",
            )

    def sampling_problems(self, num_inference_steps: int | None) -> Iterable[tuple[str, str]]:
        """Tell what is wrong with that number of sampling steps, as pairs of option and message."""
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
        "trailing",
        help="which times sampling visits: 'trailing' starts at the last, 'leading' ends at 0, as in the original, "
        "'linspace' both",
    )

    def first_time(self, count: int) -> int:
        """Return the last time; with 'leading' spacing an earlier one, by as much as steps are apart or more."""
        last = self.num_train_timesteps - 1
        is_leading = self.timestep_spacing == "leading" and count > 1
        return (count - 1) * (self.num_train_timesteps // count) if is_leading else last

    @property
    def fewest_steps(self) -> int:
        """Two steps of 'linspace' are the last time and time 0; for 'leading' there is advice of its own."""
        return 3 if self.timestep_spacing == "linspace" else 2

    def sampling_advice(self, num_inference_steps: int | None) -> Iterable[tuple[str, str]]:
        """Adds that sampling has to start where the data are hidden."""
        yield from super().sampling_advice(num_inference_steps)
        if self.timestep_spacing == "leading":
            yield from self._leading_advice(num_inference_steps or self.num_train_timesteps)

    def _leading_advice(self, count: int) -> Iterable[tuple[str, str]]:
        share = self._first_shares()
        largest = self.data_shares()[-1] + _LARGEST_FIRST_SHARE
        if share[count] > largest:
            good = [other for other, first in share.items() if other > 1 and first <= largest]
            nearest = [other for other in good if other < count][-1:] + [other for other in good if other > count][:1]
            counts = f"{' or '.join(map(str, nearest))}, or " if nearest else ""
            yield (
                "num_inference_steps",
                f"{count} with 'leading' spacing starts from noise alone at time {self.first_time(count)} of "
                f"{self.num_train_timesteps}, where the network expects a share of {share[count]:.2f} of the data; "
                f"choose {counts}'trailing' for timestep_spacing",
            )

    def _first_shares(self) -> dict[int, float]:
        """Share of the data at the first time, by the numbers of sampling steps that are possible."""
        shares = self.data_shares()
        firsts = {count: self.first_time(count) for count in range(1, len(shares) + 1)}
        return {count: shares[first] for count, first in firsts.items() if first < len(shares)}


@attrs.frozen(kw_only=True)
class DDPMConfig(SpacedOptions):
    """Options of the scheduler ``ddpm``."""

    variance_type: Literal["fixed_small", "fixed_small_log", "fixed_large", "fixed_large_log"] = option(
        "fixed_small", help="noise added while sampling: that of the posterior (small) or of the process (large)"
    )

    def sampling_advice(self, num_inference_steps: int | None) -> Iterable[tuple[str, str]]:
        """Adds that noise must not be added where none can be removed any more."""
        yield from super().sampling_advice(num_inference_steps)
        count = num_inference_steps or self.num_train_timesteps
        if self.variance_type.startswith("fixed_large") and self.timestep_spacing != "trailing" and count > 1:
            shares = self.data_shares()
            variance = 1 - shares[(self.num_train_timesteps - 1) // (count - 1)] / shares[0]
            if variance > _LARGEST_LATE_NOISE:
                yield (
                    "variance_type",
                    f"'{self.variance_type}' with {count} steps of '{self.timestep_spacing}' spacing adds noise of "
                    f"standard deviation {variance**0.5:.2f} before time 0, where next to none can be removed; choose "
                    "'fixed_small', or 'trailing' for timestep_spacing",
                )


@attrs.frozen(kw_only=True)
class DDIMConfig(SpacedOptions):
    """Options of the scheduler ``ddim``."""

    set_alpha_to_one: bool = option(True, help="the last step arrives at the clean trajectory; false: at time 0")
    steps_offset: int = option(0, help="added to every time with 'leading' spacing; else unused", validator=ge(0))
    eta: float = option(0.0, help="noise added while sampling: 0 none, 1 as much as ddpm", validator=[ge(0), le(1)])

    def advise(self) -> Iterable[tuple[str, str]]:
        """Adds that the offset is for one spacing alone, and what noise is left in the actions."""
        yield from super().advise()
        left = 1 - self.data_shares()[0]
        if not self.set_alpha_to_one and left > _LARGEST_LEFT_NOISE:
            yield (
                "set_alpha_to_one",
                f"false arrives at time 0, where noise of standard deviation {left**0.5:.2f} is left in the actions; "
                "choose true",
            )
        if self.steps_offset and self.timestep_spacing != "leading":
            yield (
                "steps_offset",
                f"{self.steps_offset} changes nothing with '{self.timestep_spacing}' spacing; choose 0, or 'leading' "
                "for timestep_spacing",
            )

    def first_time(self, count: int) -> int:
        """Add the offset, which 'leading' spacing alone has."""
        return super().first_time(count) + (self.steps_offset if self.timestep_spacing == "leading" else 0)

    def sampling_problems(self, num_inference_steps: int | None) -> Iterable[tuple[str, str]]:
        """Adds that the offset must not lead beyond the process."""
        yield from super().sampling_problems(num_inference_steps)
        last = self.num_train_timesteps - 1
        count = num_inference_steps or self.num_train_timesteps
        largest = last - super().first_time(count)
        if self.timestep_spacing == "leading" and self.steps_offset > largest:
            yield (
                "steps_offset",
                f"{self.steps_offset} starts {count} sampling steps after the last time, {last}; "
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

    def first_time(self, count: int) -> int:
        """Return the noisiest time with a signal that is not too faint, or a noisier one if too few times lie below."""
        visible = sum(share >= (1 - share) * FAINTEST_SIGNAL**2 for share in self.data_shares())
        return max(visible, count, 1) - 1

    @property
    def fewest_steps(self) -> int:
        """Two steps are the noisiest time and time 0."""
        return 3


@attrs.frozen(kw_only=True)
class FlowMatchingConfig:
    """Options of the scheduler ``flow_matching``."""

    process: ClassVar[NoiseProcess] = NoiseProcess("rectified flow", options=("timestep_scale",))

    solver: Literal["euler", "heun"] = option(
        "euler",
        help="how a step is integrated; heun is of second order and calls the network twice, save in the last step",
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
