"""Options of the schedulers. The names are those of diffusers, the defaults the paper's.

Except for ``timestep_spacing``: with as many steps as in training, as in the paper, all of them are the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar, Literal

import attrs
from attrs.validators import ge, gt, le, lt, optional

from dp_core import NoiseProcess, option
from dp_schedulers.betas import BetaSchedule, alphas_cumprod
from dp_schedulers.prediction import PredictionType

_IS_BETA: Sequence[Callable[..., Any]] = (ge(1e-7), lt(1))
"""Less is nothing beside 1 in single precision, and noise that is not there cannot be removed."""
_SMALLEST_LAST_ALPHA_CUMPROD = 2.0**-126
"""At the last time: less is nothing in single precision, and cannot be divided by."""
_LARGEST_LAST_ALPHA_CUMPROD = 0.01
"""At the last time. Sampling starts from noise alone, so that the mean of samples misses that of the data by up to the
root of this, a tenth, of their standard deviation. The cosine schedule ends below 1e-3, and the usual linear one, of
1000 steps, at 4e-5."""
_LARGEST_FIRST_ALPHA_CUMPROD = 0.05
"""At the first time that 'leading' spacing visits, beyond that at the last time. A Push-T policy scores 0.25 to 0.70
where it is larger, and hardly less than with the other spacings where it is not."""
FAINTEST_SIGNAL = 1 / 16
"""Smallest ratio of signal to noise, sqrt(a_t) / sqrt(1 - a_t) with a_t = alphas_cumprod[t], at which a network that
predicts noise can tell x0. Of fainter signals its errors are multiplied by more than the inverse, which clipping makes
good and nothing else."""
_LARGEST_LATE_NOISE = 0.05
"""Variance of what may be added on the way to time 0; x0 is between -1 and 1."""
_LARGEST_LEFT_NOISE = 0.01
"""Variance of what may be left in actions between -1 and 1."""


@attrs.frozen(kw_only=True)
class DiscreteOptions:
    """Describe a noise process in ``num_train_timesteps`` steps, and what its samplers have in common.

    Schedulers inherit these. Those with equal options of this class train the same network, so one can sample for the
    other. Times are 0..num_train_timesteps - 1, and alphas_cumprod[t] is what x_t has of the variance of x0.
    """

    process: ClassVar[NoiseProcess] = NoiseProcess(
        "variance preserving",
        options=("num_train_timesteps", "beta_schedule", "beta_start", "beta_end", "prediction_type"),
        data_options=("clip_sample", "clip_sample_range"),
    )

    num_train_timesteps: int = option(100, help="steps of the process that training sees", validator=ge(1))
    beta_schedule: BetaSchedule = option(
        "squaredcos_cap_v2", help="how noise grows with time; the cosine schedule takes no beta_start and beta_end"
    )
    beta_start: float = option(1e-4, help="variance added by the first step", validator=_IS_BETA)
    beta_end: float = option(0.02, help="variance added by the last step", validator=_IS_BETA)
    prediction_type: PredictionType = option(
        "epsilon", help="what the network predicts: the noise, the clean trajectory or the velocity between them"
    )
    clip_sample: bool = option(True, help="clip the predicted clean trajectory at every step")
    clip_sample_range: float = option(1.0, help="largest normalised value after clipping", validator=gt(0))
    num_inference_steps: int | None = option(
        None, help="network calls per prediction; null: num_train_timesteps", validator=optional(ge(1))
    )

    def check(self) -> Iterable[tuple[str, str]]:
        """Tell what is wrong: noise has to grow, and sampling to visit times of the process."""
        if self.beta_schedule != "squaredcos_cap_v2" and self.beta_start > self.beta_end:
            yield (
                "beta_start",
                f"{self.beta_start} is larger than beta_end {self.beta_end}, and noise grows with time; "
                f"choose at most {self.beta_end}",
            )
        elif (last := self.alphas_cumprod()[-1]) < _SMALLEST_LAST_ALPHA_CUMPROD:
            yield (
                "beta_end",
                f"{self.beta_end} leaves a share of {last:.0e} of the data after {self.num_train_timesteps} steps, "
                "which is nothing in single precision; choose less, or fewer num_train_timesteps",
            )
        yield from self.sampling_problems(self.num_inference_steps)

    def advise(self) -> Iterable[tuple[str, str]]:
        """Tell what is unwise: the process should end in noise, sampling start there, and nothing of x0 be clipped."""
        last = self.alphas_cumprod()[-1]
        if last > _LARGEST_LAST_ALPHA_CUMPROD:
            yield (
                "beta_schedule",
                f"'{self.beta_schedule}' from {self.beta_start} to {self.beta_end} leaves a share of {last:.2f} of "
                f"the data after {self.num_train_timesteps} steps, and sampling starts from noise alone, which the "
                f"network never saw: the mean of samples is off by up to {last**0.5:.2f} standard deviations of the "
                f"data; choose {', or '.join(self._noisier())}",
            )
        if self.clip_sample and self.clip_sample_range < 1:
            yield (
                "clip_sample_range",
                f"{self.clip_sample_range} cuts off what is demonstrated, which reaches 1; choose at least 1",
            )
        yield from self.sampling_advice(self.num_inference_steps)

    def alphas_cumprod(self) -> list[float]:
        """Compute alphas_cumprod of all times, falling, in double precision; samplers have the bits of diffusers."""
        return alphas_cumprod(self.beta_schedule, self.num_train_timesteps, self.beta_start, self.beta_end)

    def _noisier(self) -> Iterable[str]:
        """Find options whose process ends in noise."""
        yield "'squaredcos_cap_v2'"
        ends = (percent / 100 for percent in range(1, 100))
        if end := next((end for end in ends if self._ends_in_noise(self.num_train_timesteps, end)), None):
            yield f"at least {end} for beta_end"
        if self._ends_in_noise(1000, self.beta_end):
            yield "1000 for num_train_timesteps"

    def _ends_in_noise(self, steps: int, end: float) -> bool:
        return alphas_cumprod(self.beta_schedule, steps, self.beta_start, end)[-1] <= _LARGEST_LAST_ALPHA_CUMPROD

    def first_time(self, count: int) -> int:
        """Return the noisiest time that ``count`` sampling steps visit."""
        return self.num_train_timesteps - 1

    @property
    def fewest_steps(self) -> int:
        """Return how many steps it takes to remove noise at more than the first time; at time 0 there is none."""
        return 2

    def sampling_advice(self, num_inference_steps: int | None) -> Iterable[tuple[str, str]]:
        """Tell what is unwise about that number of sampling steps, as pairs of option and message."""
        if self.prediction_type != "epsilon":
            return
        count = num_inference_steps or self.num_train_timesteps
        first = self.first_time(count)
        a_t = self.alphas_cumprod()[first]
        # x0 = (x_t - sqrt(1 - a_t) noise) / sqrt(a_t)
        multiple = ((1 - a_t) / a_t) ** 0.5
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
    """Add how times are spaced, for samplers that visit evenly spaced ones."""

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
        """Return 3 for 'linspace', whose two steps are the last time and time 0; 'leading' has advice of its own."""
        return 3 if self.timestep_spacing == "linspace" else 2

    def sampling_advice(self, num_inference_steps: int | None) -> Iterable[tuple[str, str]]:
        """Add that sampling has to start where x0 is hidden."""
        yield from super().sampling_advice(num_inference_steps)
        if self.timestep_spacing == "leading":
            yield from self._leading_advice(num_inference_steps or self.num_train_timesteps)

    def _leading_advice(self, count: int) -> Iterable[tuple[str, str]]:
        first = self._first_alphas_cumprod()
        largest = self.alphas_cumprod()[-1] + _LARGEST_FIRST_ALPHA_CUMPROD
        if first[count] > largest:
            good = [other for other, a_t in first.items() if other > 1 and a_t <= largest]
            nearest = [other for other in good if other < count][-1:] + [other for other in good if other > count][:1]
            counts = f"{' or '.join(map(str, nearest))}, or " if nearest else ""
            yield (
                "num_inference_steps",
                f"{count} with 'leading' spacing starts from noise alone at time {self.first_time(count)} of "
                f"{self.num_train_timesteps}, where the network expects a share of {first[count]:.2f} of the data; "
                f"choose {counts}'trailing' for timestep_spacing",
            )

    def _first_alphas_cumprod(self) -> dict[int, float]:
        """Compute alphas_cumprod of the first time, by the numbers of sampling steps that are possible."""
        a = self.alphas_cumprod()
        firsts = {count: self.first_time(count) for count in range(1, len(a) + 1)}
        return {count: a[first] for count, first in firsts.items() if first < len(a)}


@attrs.frozen(kw_only=True)
class DDPMConfig(SpacedOptions):
    """Configure the scheduler ``ddpm``."""

    variance_type: Literal["fixed_small", "fixed_small_log", "fixed_large", "fixed_large_log"] = option(
        "fixed_small", help="noise added while sampling: that of the posterior (small) or of the process (large)"
    )

    def sampling_advice(self, num_inference_steps: int | None) -> Iterable[tuple[str, str]]:
        """Add that noise must not be added where none can be removed any more."""
        yield from super().sampling_advice(num_inference_steps)
        count = num_inference_steps or self.num_train_timesteps
        if self.variance_type.startswith("fixed_large") and self.timestep_spacing != "trailing" and count > 1:
            a = self.alphas_cumprod()
            variance = 1 - a[(self.num_train_timesteps - 1) // (count - 1)] / a[0]
            if variance > _LARGEST_LATE_NOISE:
                yield (
                    "variance_type",
                    f"'{self.variance_type}' with {count} steps of '{self.timestep_spacing}' spacing adds noise of "
                    f"standard deviation {variance**0.5:.2f} before time 0, where next to none can be removed; choose "
                    "'fixed_small', or 'trailing' for timestep_spacing",
                )


@attrs.frozen(kw_only=True)
class DDIMConfig(SpacedOptions):
    """Configure the scheduler ``ddim``."""

    set_alpha_to_one: bool = option(True, help="the last step arrives at the clean trajectory; false: at time 0")
    steps_offset: int = option(0, help="added to every time with 'leading' spacing; else unused", validator=ge(0))
    eta: float = option(0.0, help="noise added while sampling: 0 none, 1 as much as ddpm", validator=[ge(0), le(1)])

    def advise(self) -> Iterable[tuple[str, str]]:
        """Add that the offset is for one spacing alone, and what noise is left in the actions."""
        yield from super().advise()
        left = 1 - self.alphas_cumprod()[0]
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
        """Return that of the spacing and the offset together, which 'leading' spacing alone has."""
        return super().first_time(count) + (self.steps_offset if self.timestep_spacing == "leading" else 0)

    def sampling_problems(self, num_inference_steps: int | None) -> Iterable[tuple[str, str]]:
        """Add that the offset must not lead beyond the process."""
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
    """Configure the scheduler ``dpm_solver``."""

    num_inference_steps: int | None = option(
        10, help="network calls per prediction; null: num_train_timesteps", validator=optional(ge(1))
    )
    solver_order: Literal[1, 2, 3] = option(
        2, help="predictions that one step is extrapolated from; 1 is ddim without noise, 3 rarely better than 2"
    )

    def first_time(self, count: int) -> int:
        """Return the noisiest time with a signal that is not too faint, or a noisier one if too few times lie below."""
        visible = sum(a_t >= (1 - a_t) * FAINTEST_SIGNAL**2 for a_t in self.alphas_cumprod())
        return max(visible, count, 1) - 1

    @property
    def fewest_steps(self) -> int:
        """Return 3: two steps are the noisiest time and time 0."""
        return 3


@attrs.frozen(kw_only=True)
class FlowMatchingConfig:
    """Configure the scheduler ``flow_matching``."""

    process: ClassVar[NoiseProcess] = NoiseProcess("rectified flow", options=("timestep_scale",))

    solver: Literal["euler", "heun"] = option(
        "euler",
        help="how a step is integrated; euler calls the network once a step, heun twice, and is of second order",
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


@attrs.frozen(kw_only=True)
class MeanFlowConfig:
    """Configure the scheduler ``mean_flow``."""

    needs: ClassVar[tuple[str, ...]] = ("end_timestep",)
    process: ClassVar[NoiseProcess] = NoiseProcess("mean flow", options=("timestep_scale",))

    num_inference_steps: int = option(1, help="steps from noise to data; one call of the network each", validator=ge(1))
    interval_ratio: float = option(
        0.75,
        help="share of training samples that learn an average over an interval of times; the others learn the velocity "
        "at a time, as in flow matching; the paper has 0.75 for CIFAR-10 and 0.25 for ImageNet",
        validator=[ge(0), le(1)],
    )
    time_mean: float = option(-0.4, help="of the logit-normal distribution of times; less is nearer to the data")
    time_std: float = option(1.0, help="its standard deviation before the sigmoid", validator=gt(0))
    adaptive_power: float = option(
        0.0,
        help="p of the weight 1 / (error + adaptive_eps)**p of a sample; 1, the paper's for images, prefers what is "
        "learnt already, and so the mode that is demonstrated most",
        validator=ge(0),
    )
    adaptive_eps: float = option(1e-3, help="see adaptive_power; in squared normalised units", validator=gt(0))
    timestep_scale: float = option(
        1.0,
        help="the network is given times from 0 (data) to this (noise); it is differentiated with respect to them, so "
        "that more, and embeddings that turn faster, make targets that vary more",
        validator=gt(0),
    )

    def advise(self, training: Any = None) -> Iterable[tuple[str, str]]:
        """Tell that networks which are to be compiled are not, in training."""
        if getattr(training, "compile", False):
            yield (
                "name",
                "training.compile: true has no effect on training steps of the denoiser: 'mean_flow' differentiates it "
                "forward, which what is compiled cannot be; sampling is compiled",
            )


@attrs.frozen(kw_only=True)
class MIPConfig:
    """Configure the scheduler ``mip``."""

    process: ClassVar[NoiseProcess] = NoiseProcess("two-step regression", options=("t_star", "timestep_scale"))

    t_star: float = option(
        0.9,
        help="share of the trajectory in what the second step is given; the rest is noise in training, nothing in "
        "sampling",
        validator=[gt(0), lt(1)],
    )
    num_inference_steps: int = option(
        2, help="network calls: 1 is plain regression, 2 the paper's; more repeat the second", validator=ge(1)
    )
    timestep_scale: float = option(
        100.0, help="the first step is given this time, and the second (1 - t_star) of it", validator=gt(0)
    )
