"""`scheduler/diffusers`: the numbers of the library, and those of our own samplers where both are the same."""

import json
import subprocess
import sys

import diffusers
import pytest
import torch

from dp_core.errors import ConfigError, InputError
from dp_core.interfaces import Inpaint
from dp_schedulers.diffusers_config import DiffusersConfig
from dp_schedulers.diffusers_source import REQUIRED, scheduler_names, scheduler_source

SHAPE = (3, 8, 2)
COSINE = {"num_train_timesteps": 100, "beta_schedule": "squaredcos_cap_v2"}


@pytest.fixture
def build(registry):
    def build_scheduler(scheduler, count=20, **options):
        block = {"name": "diffusers", "scheduler": scheduler, "options": options, "num_inference_steps": count}
        return registry.build("scheduler", block)

    return build_scheduler


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def network(sample, time):
    """Stands in for a denoiser: bounded, and different at every time."""
    return torch.tanh(1.3 * sample + 0.01 * time.float().reshape(-1, 1, 1)) * 0.7


@pytest.mark.parametrize("prediction_type", ["epsilon", "sample", "v_prediction"])
@pytest.mark.parametrize(
    ("name", "ours", "given"),
    [
        ("DDPMScheduler", {"name": "ddpm", "timestep_spacing": "leading"}, {}),
        ("DDIMScheduler", {"name": "ddim", "timestep_spacing": "trailing"}, {"timestep_spacing": "trailing"}),
    ],
)
def test_losses_and_samples_are_those_of_our_own(registry, build, name, ours, given, prediction_type):
    own = registry.build("scheduler", {**ours, "prediction_type": prediction_type, "num_inference_steps": 10})
    scheduler = build(name, 10, **COSINE, prediction_type=prediction_type, **given)
    x0 = torch.rand(SHAPE, generator=seeded())

    losses = [each.loss(network, x0, seeded(1)) for each in (own, scheduler)]
    samples = [each.sample(network, SHAPE, generator=seeded(1)) for each in (own, scheduler)]

    assert torch.equal(*losses)
    torch.testing.assert_close(*samples, rtol=2e-5, atol=2e-5)
    assert scheduler.largest_sample == own.largest_sample == 1


def test_samples_are_those_of_our_solver(registry, build):
    """Whose times are chosen in another way, so both visit all, and neither clips."""
    own = registry.build("scheduler", {"name": "dpm_solver", "clip_sample": False, "prediction_type": "sample"})
    scheduler = build("DPMSolverMultistepScheduler", **COSINE, prediction_type="sample", timestep_spacing="trailing")

    samples = [each.sample(network, SHAPE, 100, seeded(1)) for each in (own, scheduler)]

    torch.testing.assert_close(*samples, rtol=1e-4, atol=1e-4)
    assert scheduler.largest_sample is None


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("DDPMScheduler", {"rescale_betas_zero_snr": True}),
        ("UniPCMultistepScheduler", {}),
        ("EulerDiscreteScheduler", {"timestep_spacing": "linspace"}),
        ("FlowMatchEulerDiscreteScheduler", {"shift": 3.0}),
        ("UniPCMultistepScheduler", {"prediction_type": "flow_prediction", "use_flow_sigmas": True, "flow_shift": 2.0}),
    ],
)
def test_noise_is_added_as_the_class_adds_it(build, name, options):
    """The last rounds its times down, and so adds up to a thousandth more noise than they say."""
    scheduler = build(name, num_train_timesteps=1000, **options)
    x0, noise = torch.rand(5, 8, 2, generator=seeded()), torch.randn(5, 8, 2, generator=seeded(1))
    times = scheduler.sample_timesteps(5, torch.device("cpu"), seeded(2))

    found = scheduler.add_noise(x0, noise, times)

    process = getattr(diffusers, name)(num_train_timesteps=1000, **options)
    if name.startswith("FlowMatch"):
        expected = process.scale_noise(x0, times, noise)
    else:
        process.set_timesteps(1000)
        expected = process.add_noise(x0, noise, times)
        if name.startswith("Euler"):  # scales what it shows the network
            expected = expected / (1 + process.add_noise(0 * x0, 0 * noise + 1, times).square()).sqrt()
    torch.testing.assert_close(found, expected, rtol=0, atol=5e-3 if options.get("use_flow_sigmas") else 1e-4)


@pytest.mark.parametrize(
    "name", ["DDPMScheduler", "EulerAncestralDiscreteScheduler", "FlowMatchEulerDiscreteScheduler"]
)
def test_samples_are_those_of_the_library(build, name):
    process = getattr(diffusers, name)(num_train_timesteps=100)
    process.set_timesteps(7)
    draw = seeded(1)
    expected = torch.randn(SHAPE, generator=draw) * getattr(process, "init_noise_sigma", 1.0)
    for time in process.timesteps:
        shown = process.scale_model_input(expected, time) if hasattr(process, "scale_model_input") else expected
        expected = process.step(network(shown, time), time, expected, generator=draw).prev_sample

    sample = build(name, 7, num_train_timesteps=100).sample(network, SHAPE, generator=seeded(1))

    torch.testing.assert_close(sample, expected)


def test_known_entries_are_shown_as_they_are(build):
    mask = torch.zeros(SHAPE, dtype=torch.bool)
    mask[:, :2] = True
    known = Inpaint(mask, torch.full(SHAPE, 0.25))
    shown = []

    def denoise(sample, time):
        shown.append(sample)
        return network(sample, time)

    sample = build("EulerDiscreteScheduler", 5).sample(denoise, SHAPE, generator=seeded(), inpaint=known)

    assert all((x[mask] == 0.25).all() for x in [*shown, sample])


def test_all_classes_of_the_library_are_found_in_its_source():
    known = {name for name in dir(diffusers) if name.endswith("Scheduler") and not name.startswith("Flax")}

    assert known & set(scheduler_names()) >= {"DDPMScheduler", "UniPCMultistepScheduler", "EDMEulerScheduler"}
    assert scheduler_source("DDPMScheduler").defaults["num_train_timesteps"] == 1000
    assert scheduler_source("DDPMScheduler").methods["step"] == ("model_output", "timestep", "sample")


@pytest.mark.parametrize(
    ("block", "message"),
    [
        (
            {"scheduler": "UniPCMultistepSchedular"},
            "scheduler: 'UniPCMultistepSchedular' is no scheduler of the installed diffusers; did you mean "
            "'UniPCMultistepScheduler'?",
        ),
        (
            {"scheduler": "UniPC"},
            "scheduler: 'UniPC' is no scheduler of the installed diffusers; did you mean 'UniPCMultistepScheduler'?",
        ),
        (
            {"scheduler": "KarrasVeScheduler"},
            "scheduler: 'KarrasVeScheduler' is no scheduler of the installed diffusers; usual ones are "
            "'DDIMScheduler', 'DPMSolverMultistepScheduler', 'UniPCMultistepScheduler' and "
            "'FlowMatchEulerDiscreteScheduler'; https://huggingface.co/docs/diffusers/api/schedulers/overview lists "
            "all",
        ),
        (
            {"scheduler": "DDPMScheduler", "options": {"beta_shedule": "linear"}},
            "options.beta_shedule: unknown option; did you mean 'beta_schedule'?",
        ),
        (
            {"scheduler": "EDMEulerScheduler"},
            "scheduler: 'EDMEulerScheduler' has neither betas nor the straight paths of flow matching to train with; "
            "choose another class",
        ),
        (
            {"scheduler": "RePaintScheduler"},
            "scheduler: 'RePaintScheduler' is given more at each step than a prediction, a time and a sample: "
            "model_output, timestep, sample, original_image, mask; choose another class",
        ),
        (
            {"scheduler": "DPMSolverSDEScheduler"},
            "scheduler: 'DPMSolverSDEScheduler' draws from a seed of its own, so that episodes cannot have noise of "
            "theirs; choose another class",
        ),
    ],
)
def test_mistakes_are_reported_with_the_config(registry, block, message):
    with pytest.raises(ConfigError) as error:
        registry.build("scheduler", {"name": "diffusers", **block})

    assert str(error.value) == f"scheduler 'diffusers' has 1 problem\n  {message}"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_train_timesteps": "many"}, "num_train_timesteps: expected a whole number, got 'many'"),
        ({"num_train_timesteps": 10.5}, "num_train_timesteps: expected a whole number, got 10.5"),
        ({"num_train_timesteps": 0}, "num_train_timesteps: 0 is less than 1; choose at least 1"),
        ({"num_train_timesteps": None}, "num_train_timesteps: expected a whole number, got null"),
        ({"beta_end": [1]}, "beta_end: expected a number, got [1]"),
        (
            {"beta_start": -0.1},
            "beta_start: -0.1 is no variance between 0 and 1, both excluded; choose one, such as 0.0001",
        ),
        ({"clip_sample": 1}, "clip_sample: expected true or false, got 1"),
        ({"trained_betas": "many"}, "trained_betas: expected a list of numbers, got 'many'"),
        ({"trained_betas": [0.1, 1]}, "trained_betas: 1 is no variance between 0 and 1, both excluded; choose one"),
        (
            {"trained_betas": [0.1, 0.2]},
            "trained_betas: its length is 2, and num_train_timesteps is 1000; give a value for each time",
        ),
    ],
)
def test_values_are_checked_by_the_defaults_of_the_class(registry, options, message):
    with pytest.raises(ConfigError) as error:
        registry.build("scheduler", {"name": "diffusers", "scheduler": "DDIMScheduler", "options": options})

    assert str(error.value) == f"scheduler 'diffusers' has 1 problem\n  options.{message}"


def test_all_defaults_pass_and_so_does_what_the_source_allows():
    """Null where an annotation has it, whole numbers for others, and those of a flow, written with a point."""
    options = {"num_train_timesteps": 2.0, "trained_betas": [0.1, 0.2], "beta_end": 0.5, "use_karras_sigmas": None}

    assert list(DiffusersConfig(scheduler="EulerDiscreteScheduler", options=options).check()) == []
    for name in scheduler_names():
        defaults = {key: value for key, value in scheduler_source(name).defaults.items() if value is not REQUIRED}
        found = dict(DiffusersConfig(scheduler=name, options=defaults).check())
        assert not [place for place in found if place.startswith("options")]


@pytest.mark.parametrize(
    ("name", "count", "reason"),
    [
        ("DDPMScheduler", 120, "`num_inference_steps`: 120 cannot be larger than `self.config.train_timesteps`: 100"),
        ("LCMScheduler", 60, "The combination of `original_steps x strength`: 50 x 1.0 is smaller than"),
        ("UniPCMultistepScheduler", 120, "its steps do not lead to a finite trajectory; choose fewer steps, or other"),
    ],
)
def test_steps_that_the_class_cannot_take_are_reported_before_training(build, name, count, reason):
    """And when a call asks for them. Some classes say so, others fail at some step or return no numbers."""
    with pytest.raises(InputError) as built:
        build(name, count, num_train_timesteps=100)
    with pytest.raises(InputError) as called:
        build(name, 5, num_train_timesteps=100).sample(network, SHAPE, count)

    start = f"num_inference_steps: {count} steps of {name} fail with num_train_timesteps 100 and its other options: "
    assert str(built.value) == str(called.value)
    assert str(built.value).startswith(start + reason)
    assert str(built.value).endswith("; choose fewer steps, or other options")
    assert "\n" not in str(built.value)


def test_values_are_checked_as_far_as_the_source_lists_them(registry):
    if not scheduler_source("DDPMScheduler").choices.get("prediction_type"):
        pytest.skip("this release lists no values")
    block = {"name": "diffusers", "scheduler": "DDPMScheduler", "options": {"prediction_type": "epsilom"}}

    with pytest.raises(ConfigError, match=r"options.prediction_type: 'epsilom' is not one of 'epsilon'.*'epsilon'\?"):
        registry.build("scheduler", block)


def test_what_only_the_class_knows_is_reported_in_one_line(build):
    with pytest.raises(InputError) as error:
        build("EulerDiscreteScheduler", beta_schedule="linaer")

    assert str(error.value).startswith("scheduler: EulerDiscreteScheduler cannot be made with these options: linaer is")
    assert "\n" not in str(error.value)


def test_a_flow_needs_the_sigmas_of_a_flow(build):
    with pytest.raises(InputError) as error:
        build("UniPCMultistepScheduler", prediction_type="flow_prediction")

    assert str(error.value) == (
        "scheduler: UniPCMultistepScheduler with prediction_type 'flow_prediction' steps along straight paths with "
        "use_flow_sigmas: true alone; set it"
    )


def test_a_config_is_checked_without_importing_the_library():
    program = (
        "import json, sys; from dp_schedulers.diffusers_config import DiffusersConfig as C;"
        "found = list(C(scheduler='DDPMSchedule').check());"
        "print(json.dumps([len(found), 'torch' in sys.modules, 'diffusers' in sys.modules]))"
    )

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert json.loads(done.stdout) == [1, False, False]


def test_without_the_library_nothing_is_checked(monkeypatch):
    """Then the component says that it is missing."""
    monkeypatch.setattr("dp_schedulers.diffusers_config.scheduler_names", tuple)

    assert list(DiffusersConfig(scheduler="Anything").check()) == []
