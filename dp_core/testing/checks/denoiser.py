"""The rules of denoisers, see `BaseDenoiser`."""

from __future__ import annotations

import torch

from dp_core.errors import quoted
from dp_core.testing import networks
from dp_core.testing.case import Case
from dp_core.testing.checks import modules
from dp_core.testing.checks.description import it_is_built_as_its_kind_is, options_survive_a_config_file
from dp_core.testing.samples import generator


def predictions_have_the_shape_of_the_sample(case: Case) -> None:
    """Check that a sample (B, T, D) gives finite predictions (B, T, D), float32."""
    denoiser = networks.built(case)
    for batch_size in (1, 3):
        inputs = networks.inputs_of(case, batch_size)
        prediction, expected = networks.output(case, denoiser, inputs), tuple(inputs["sample"].shape)
        if tuple(prediction.shape) != expected:
            case.fail(
                f"a sample of shape {expected} gave a prediction of shape {tuple(prediction.shape)}; "
                "expected that of the sample, (B, T, D)",
                "end with a layer of input_dim outputs for each of the steps that come in",
            )
        if prediction.dtype != torch.float32 or not prediction.isfinite().all():
            case.fail(
                f"predictions are {prediction.dtype}, finite: {bool(prediction.isfinite().all())}; "
                "expected finite torch.float32",
                "compute in the type of the sample, and keep clear of divisions by zero",
            )


def a_time_may_be_one_for_all_and_a_fraction(case: Case) -> None:
    """Check that times are () or (B,), int64 or float32; one for all means the same as that time for each."""
    denoiser = networks.built(case)
    inputs = networks.inputs_of(case)
    for dtype in (torch.int64, torch.float32):
        time = torch.tensor(7, dtype=dtype)
        answers = []
        for timestep in (time, time.expand(3)):
            try:
                answers.append(networks.output(case, denoiser, inputs | {"timestep": timestep}))
            except Exception as error:
                case.fail(
                    f"fails for a timestep of shape {tuple(timestep.shape)}, {dtype}: {type(error).__name__}: {error}; "
                    "expected a prediction",
                    "write timestep.expand(len(sample)), and convert it to the type that is needed",
                )
        if not torch.allclose(answers[0], answers[1], rtol=1e-4, atol=1e-5):
            case.fail(
                f"the {dtype} time 7 gave another prediction as () than as (3,); expected the same",
                "write timestep.expand(len(sample)) before anything else is done with it",
            )


def the_end_of_a_step_matters(case: Case) -> None:
    """Check that a denoiser that says it takes ``end_timestep`` tells ends apart, given as () or (B,), or prepared."""
    if "end_timestep" not in getattr(case.component.config, "takes", ()):
        return
    denoiser = case.build(has_end_timestep=True).eval()
    inputs = networks.inputs_of(case, 3)
    conditions = {name: inputs[name] for name in ("local_cond", "global_cond", "tokens") if name in inputs}
    _perturb(denoiser)  # some start as zeros

    def asked(end: torch.Tensor) -> torch.Tensor:
        prediction: torch.Tensor = denoiser(inputs["sample"], torch.tensor(7.0), end_timestep=end, **conditions)
        return prediction

    with torch.no_grad():
        near, far, each = (asked(end) for end in (torch.tensor(6.0), torch.tensor(0.5), torch.full((3,), 6.0)))
        prepared = denoiser.prepare(torch.tensor([9.0, 7.0]), **conditions, end_timesteps=torch.tensor([7.0, 6.0]))
        again = prepared(inputs["sample"], 1)
    if torch.allclose(near, far, rtol=1e-5, atol=1e-7):
        case.fail(
            "predicts the same wherever a step ends; expected predictions that depend on end_timestep",
            "embed it, or timestep - end_timestep, beside timestep; or leave it out of 'takes'",
        )
    for other, name in ((each, "for each member"), (again, "prepared")):
        if not torch.allclose(near, other, rtol=1e-4, atol=1e-5):
            case.fail(
                f"the end 6 gave another prediction as () than {name}; expected the same",
                "write (timestep - end_timestep).expand(len(sample)), and let prepare give what forward gives",
            )


def the_time_matters(case: Case) -> None:
    """Check that predictions change with the time: the same sample means another thing at another time."""
    for key in _ignored(case, are_times=True):
        case.fail(
            f"predictions are the same whatever the {key} is; expected them to depend on it",
            "embed it, and add or concatenate the embedding where the sample comes in",
        )


def the_sample_and_every_condition_matter(case: Case) -> None:
    """Check that predictions change with the sample and with each of the conditions that it is given."""
    for key in _ignored(case, are_times=False):
        case.fail(
            f"predictions are the same whatever '{key}' is; expected them to depend on it",
            "use all that forward is given, or refuse in the check method of the options what is not used",
        )


def what_is_not_decayed_exists(case: Case) -> None:
    """Check that ``no_weight_decay`` names parameters of the denoiser."""
    denoiser = networks.built(case)
    if unknown := sorted(denoiser.no_weight_decay() - dict(denoiser.named_parameters()).keys()):
        case.fail(
            f"no_weight_decay names {quoted(unknown)}; expected names of its own parameters",
            "return names as in named_parameters()",
        )


def _perturb(denoiser: torch.nn.Module) -> None:
    draw = generator()
    with torch.no_grad():
        for parameter in denoiser.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=draw))


CHECKS = (
    it_is_built_as_its_kind_is,
    options_survive_a_config_file,
    predictions_have_the_shape_of_the_sample,
    a_time_may_be_one_for_all_and_a_fraction,
    the_end_of_a_step_matters,
    the_time_matters,
    the_sample_and_every_condition_matter,
    what_is_not_decayed_exists,
    modules.members_of_a_batch_do_not_mix,
    *modules.CHECKS,
)


def _ignored(case: Case, *, are_times: bool) -> list[str]:
    """Name the times, or the other inputs, that a prediction does not change with.

    Many networks begin with zeros where conditions come in or predictions go out, so weights are moved first.
    """
    denoiser, draw = networks.built(case), generator()
    with torch.no_grad():
        for parameter in denoiser.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=draw))
    inputs, others = networks.inputs_of(case), networks.inputs_of(case, seed=1)
    prediction = networks.output(case, denoiser, inputs)
    return [
        key
        for key in inputs
        if networks.is_time(key) == are_times
        and torch.equal(prediction, networks.output(case, denoiser, inputs | {key: others[key]}))
    ]
