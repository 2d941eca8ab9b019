"""Options of the scheduler ``diffusers``, which are those of a class of that library. Imports neither it nor torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, get_args

import attrs
from attrs.validators import ge

from dp_core import NoiseProcess, option
from dp_core.config.wording import not_one_of, unknown_option
from dp_core.errors import did_you_mean
from dp_schedulers.betas import BetaSchedule, alphas_cumprod
from dp_schedulers.config import FAINTEST_SIGNAL
from dp_schedulers.diffusers_source import REQUIRED, scheduler_names, scheduler_source

_OF_BETAS = ("num_train_timesteps", "beta_schedule", "beta_start", "beta_end", "prediction_type")
_OF_CLIPPING = ("clip_sample", "clip_sample_range")
_UNUSUAL = ("trained_betas", "rescale_betas_zero_snr")
"""What makes another process of the same betas."""
_LIMITS = ("thresholding", "clip_sample")
"""Options that keep within bounds what faint signals are multiplied to; lambda_min_clipped leaves them out."""
_OTHER = {
    "DPMSolverSDEScheduler": "draws from a seed of its own, so that episodes cannot have noise of theirs",
    "DDIMInverseScheduler": "leads from data to noise",
    "DPMSolverMultistepInverseScheduler": "leads from data to noise",
    "FlowMapEulerDiscreteScheduler": "needs a network that is given a second time, as 'mean_flow' trains",
}
"""Classes that have what is needed and are for something else."""


@attrs.frozen(kw_only=True)
class DiffusersConfig:
    """Choose a scheduler class of diffusers, its options and its number of steps."""

    scheduler: str = option(help="the class, such as UniPCMultistepScheduler or FlowMatchEulerDiscreteScheduler")
    options: dict[str, Any] = option(
        factory=dict, help="options of that class, by name; the others have the defaults of diffusers"
    )
    num_inference_steps: int = option(20, help="steps, as the class counts them, per prediction", validator=ge(1))

    def check(self) -> Iterable[tuple[str, str]]:
        """Report classes and options that the installed diffusers does not have, and classes that cannot be used."""
        names = scheduler_names()
        if not names:
            return  # not installed, which is said where the component is imported
        if self.scheduler not in names:
            hint = did_you_mean(self.scheduler, names, f"it has {', '.join(names)}")
            yield "scheduler", f"'{self.scheduler}' is no scheduler of the installed diffusers; {hint}"
            return
        source = scheduler_source(self.scheduler)
        if problem := _why_not(self.scheduler):
            yield "scheduler", f"'{self.scheduler}' {problem}; choose another class"
            return
        for name, value in self.options.items():
            if name not in source.defaults:
                yield f"options.{name}", unknown_option(name, source.defaults)
            elif (choices := source.choices.get(name)) and value not in choices:
                yield f"options.{name}", not_one_of(value, choices)

    def advise(self) -> Iterable[tuple[str, str]]:
        """Tell that faint signals need a limit, where the network predicts noise."""
        process = self.noise_process(attrs.asdict(self))
        if process is None or not process.name.startswith("variance preserving"):
            return
        options = {**scheduler_source(self.scheduler).defaults, **self.options}
        is_limited = any(options.get(name) for name in _LIMITS) or "lambda_min_clipped" in self.options
        if options["prediction_type"] != "epsilon" or is_limited:
            return
        schedule, count = options["beta_schedule"], options["num_train_timesteps"]
        if schedule not in get_args(BetaSchedule) or not isinstance(count, int) or options.get("trained_betas"):
            return
        last = alphas_cumprod(schedule, count, options["beta_start"], options["beta_end"])[-1]
        if last < (1 - last) * FAINTEST_SIGNAL**2:
            factor = ((1 - last) / last) ** 0.5
            remedies = [*(f"{name}: true" for name in _LIMITS if name in options), "or prediction_type: sample"]
            yield (
                "options",
                "nothing limits errors of a network that predicts noise, which are multiplied by "
                f"{factor:.0f} at the last time; set {', '.join(remedies)}",
            )

    @classmethod
    def noise_process(cls, block: Mapping[str, Any]) -> NoiseProcess | None:
        """Tell which process the class in a config block reverses; None where it is not known."""
        name, given = block.get("scheduler"), block.get("options") or {}
        if name not in scheduler_names() or _why_not(name) or not isinstance(given, Mapping):
            return None
        defaults = scheduler_source(name).defaults
        if "beta_schedule" not in defaults or {**defaults, **given}.get("prediction_type") == "flow_prediction":
            place = {"timestep_scale": "options.num_train_timesteps"}
            default = {"timestep_scale": defaults["num_train_timesteps"]}
            return NoiseProcess("rectified flow", options=("timestep_scale",), places=place, defaults=default)
        unusual = tuple(option for option in _UNUSUAL if given.get(option))
        options = _OF_BETAS + unusual
        clipping = tuple(option for option in _OF_CLIPPING if option in defaults)
        return NoiseProcess(
            ", ".join(("variance preserving", *unusual)),
            options=options,
            data_options=clipping,
            places={option: f"options.{option}" for option in options + clipping},
            defaults={option: defaults[option] for option in options + clipping if defaults[option] is not REQUIRED},
        )


def _why_not(name: str) -> str | None:
    """Say why a class cannot be used here, whatever its options."""
    source = scheduler_source(name)
    step = source.methods.get("step", ())
    if name in _OTHER:
        return _OTHER[name]
    mixes = "beta_schedule" in source.defaults or "scale_noise" in source.methods
    if not mixes or "num_train_timesteps" not in source.defaults:
        return "has neither betas nor the straight paths of flow matching to train with"
    if step[:3] != ("model_output", "timestep", "sample") or len(step) > 3:
        return f"is given more at each step than a prediction, a time and a sample: {', '.join(step) or 'nothing'}"
    return None
