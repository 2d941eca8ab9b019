"""Options of the scheduler ``diffusers``, which are those of a class of that library. Imports neither it nor torch."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any, get_args

import attrs
from attrs.validators import ge

from dp_core import NoiseProcess, option
from dp_core.config.wording import describe, not_one_of, show, unknown_option
from dp_core.errors import quoted
from dp_schedulers.betas import BetaSchedule, alphas_cumprod
from dp_schedulers.config import FAINTEST_SIGNAL
from dp_schedulers.diffusers_source import REQUIRED, SchedulerSource, scheduler_names, scheduler_source

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
_USUAL = ("DDIMScheduler", "DPMSolverMultistepScheduler", "UniPCMultistepScheduler", "FlowMatchEulerDiscreteScheduler")
_MOST_MEANT = 3


@attrs.frozen(kw_only=True)
class DiffusersConfig:
    """Choose a scheduler class of diffusers, its options and its number of steps."""

    scheduler: str = option(help="the class, such as UniPCMultistepScheduler or FlowMatchEulerDiscreteScheduler")
    options: dict[str, Any] = option(
        factory=dict, help="options of that class, by name; the others have the defaults of diffusers"
    )
    num_inference_steps: int = option(20, help="steps, as the class counts them, per prediction", validator=ge(1))

    def check(self) -> Iterable[tuple[str, str]]:
        """Report classes, options and values that the installed diffusers does not take, or that cannot be used."""
        names = scheduler_names()
        if not names:
            return  # not installed, which is said where the component is imported
        if self.scheduler not in names:
            yield (
                "scheduler",
                f"'{self.scheduler}' is no scheduler of the installed diffusers; {_meant(self.scheduler)}",
            )
            return
        source = scheduler_source(self.scheduler)
        if problem := _why_not(self.scheduler):
            yield "scheduler", f"'{self.scheduler}' {problem}; choose another class"
            return
        steps = self.options.get("num_train_timesteps", source.defaults["num_train_timesteps"])
        for name, value in self.options.items():
            if problem := _wrong_with(name, value, source, steps):
                yield f"options.{name}", problem

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


def _wrong_with(name: str, value: Any, source: SchedulerSource, steps: Any) -> str | None:
    """Say what is wrong with the value of an option, as far as the source of the class tells.

    Args:
        steps: num_train_timesteps, which may be wrong itself.
    """
    if name not in source.defaults:
        return unknown_option(name, source.defaults)
    if value is None and name in source.nullable:
        return None
    if choices := source.choices.get(name):
        return None if value in choices else not_one_of(value, choices)
    if name == "trained_betas":
        return _wrong_with_betas(value, steps)
    kind = type(source.defaults[name])
    if not _is(kind, value) and not (name == "num_train_timesteps" and _is_whole(value)):
        return f"expected {describe(kind)}, got {show(value)}"
    if name == "num_train_timesteps" and value < 1:
        return f"{show(value)} is less than 1; choose at least 1"
    if name in ("beta_start", "beta_end") and not 0 < value < 1:
        return (
            f"{show(value)} is no variance between 0 and 1, both excluded; choose one, such as {source.defaults[name]}"
        )
    return None


def _wrong_with_betas(value: Any, steps: Any) -> str | None:
    if not isinstance(value, list | tuple) or not all(_is(float, beta) for beta in value):
        return f"expected a list of numbers, got {show(value)}"
    if outside := [beta for beta in value if not 0 < beta < 1]:
        return f"{show(outside[0])} is no variance between 0 and 1, both excluded; choose one"
    if len(value) != steps:
        return f"its length is {len(value)}, and num_train_timesteps is {show(steps)}; give a value for each time"
    return None


def _is(kind: type, value: Any) -> bool:
    """Tell whether a value may stand for a default of this type; of other types than the plain ones, all may."""
    if kind in (int, float):
        return isinstance(value, int if kind is int else (int, float)) and not isinstance(value, bool)
    return isinstance(value, kind) if kind in (bool, str) else True


def _is_whole(value: Any) -> bool:
    """Tell whether a value is a float that is a whole number: taken over from a flow, whose times have a scale."""
    return isinstance(value, float) and value.is_integer()


def _meant(word: str) -> str:
    """Suggest the usable classes that ``word`` is short for or a misspelling of; else name a few, and where all are."""
    stems = {name.removesuffix("Scheduler").lower(): name for name in scheduler_names()}
    # What all names end in, misspelt or not, would make them resemble each other.
    stem = re.sub(r"[^a-z0-9]", "", re.sub(r"(?<=.)sched\w*$", "", word.lower()))
    same = [stem] if stem in stems else []
    starting = [other for other in stems if len(stem) > 1 and other.startswith(stem)]
    containing = [other for other in stems if len(stem) > 1 and stem in other]
    for found in (same, starting, containing, get_close_matches(stem, list(stems), n=_MOST_MEANT, cutoff=0.7)):
        if names := [stems[other] for other in found if not _why_not(stems[other])]:
            return f"did you mean {quoted(names[:_MOST_MEANT], ' or ')}?"
    return (
        f"usual ones are {quoted(_USUAL, ' and ')}; "
        "https://huggingface.co/docs/diffusers/api/schedulers/overview lists all"
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
