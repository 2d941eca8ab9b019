"""Sampling from tables of coefficients gives what diffusers' own step-by-step schedulers give."""

import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler, DPMSolverMultistepScheduler

SHAPE = (3, 8, 2)
PREDICTIONS = ["epsilon", "sample", "v_prediction"]
SPACINGS = ["leading", "trailing", "linspace"]
each_prediction = pytest.mark.parametrize("prediction_type", PREDICTIONS)
each_spacing = pytest.mark.parametrize("spacing", SPACINGS)
clipped_or_not = pytest.mark.parametrize("clip_sample", [True, False])


def network(sample, time):
    """Stands in for a denoiser: bounded, and different at every time."""
    return torch.tanh(1.3 * sample + 0.01 * float(time)) * 0.7


def seeded():
    return torch.Generator().manual_seed(1)


def step_by_step(process, times, clean=None, **options):
    """With diffusers alone; ``clean(prediction, time, sample)`` is done to every prediction."""
    generator = seeded()
    sample = torch.randn(SHAPE, generator=generator)
    for time in times:
        prediction = network(sample, time)
        if clean is not None:
            prediction = clean(prediction, time, sample)
        result = process.step(prediction, time, sample, generator=generator, **options)
        sample = result.prev_sample
    # After its last step DDPM of diffusers adds noise, unless that was at time 0.
    return result.pred_original_sample if isinstance(process, DDPMScheduler) else sample


def check(scheduler, process, count, **options):
    process.set_timesteps(count)
    assert scheduler.times(count).tolist() == process.timesteps.tolist()

    sample = scheduler.sample(network, SHAPE, count, seeded())

    expected = step_by_step(process, process.timesteps.tolist(), **options)
    torch.testing.assert_close(sample, expected, rtol=2e-5, atol=2e-5)


def of_diffusers(kind, prediction_type, spacing, clip_sample, **options):
    return kind(
        num_train_timesteps=100,
        beta_schedule="squaredcos_cap_v2",
        prediction_type=prediction_type,
        timestep_spacing=spacing,
        clip_sample=clip_sample,
        **options,
    )


@pytest.mark.parametrize("schedule", ["squaredcos_cap_v2", "linear", "scaled_linear"])
@pytest.mark.parametrize("steps", [1, 2, 100, 1000])
def test_noise_grows_as_in_diffusers_to_the_bit(registry, schedule, steps):
    options = {"beta_schedule": schedule, "num_train_timesteps": steps, "beta_start": 1e-3, "beta_end": 0.03}
    scheduler = registry.build("scheduler", {"name": "ddpm", **options})

    assert torch.equal(scheduler.alphas_cumprod.float(), DDPMScheduler(**options).alphas_cumprod)


@each_spacing
@pytest.mark.parametrize("steps", [10, 50, 100])
def test_times_are_those_of_diffusers_at_every_count(registry, spacing, steps):
    """Where those are times: 'trailing' has one too many at some counts, such as 29 of 100, and that is -1."""
    scheduler = registry.build("scheduler", {"name": "ddim", "num_train_timesteps": steps, "timestep_spacing": spacing})
    process = DDIMScheduler(num_train_timesteps=steps, timestep_spacing=spacing)

    for count in range(2, steps + 1):
        process.set_timesteps(count)
        expected = [time for time in process.timesteps.tolist() if time >= 0]
        assert scheduler.times(count).tolist() == expected


@pytest.mark.parametrize("count", [100, 16, 2])
@pytest.mark.parametrize("variance_type", ["fixed_small", "fixed_small_log", "fixed_large"])
@each_prediction
@each_spacing
@clipped_or_not
def test_ddpm(registry, count, variance_type, prediction_type, spacing, clip_sample):
    options = {"prediction_type": prediction_type, "timestep_spacing": spacing, "clip_sample": clip_sample}
    scheduler = registry.build("scheduler", {"name": "ddpm", "variance_type": variance_type, **options})

    process = of_diffusers(DDPMScheduler, prediction_type, spacing, clip_sample, variance_type=variance_type)
    check(scheduler, process, count)


@pytest.mark.parametrize(("spacing", "count"), [("leading", 100), ("leading", 16), ("leading", 2), ("trailing", 10)])
@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
@each_prediction
@clipped_or_not
def test_ddim(registry, count, eta, prediction_type, spacing, clip_sample):
    """Where times are evenly spaced; diffusers steps beside the next time where they are not."""
    options = {"prediction_type": prediction_type, "timestep_spacing": spacing, "clip_sample": clip_sample}
    scheduler = registry.build("scheduler", {"name": "ddim", "eta": eta, **options})

    check(scheduler, of_diffusers(DDIMScheduler, prediction_type, spacing, clip_sample), count, eta=eta)


@pytest.mark.parametrize("options", [{"set_alpha_to_one": False}, {"steps_offset": 3}])
def test_ddim_ends_where_its_options_say(registry, options):
    scheduler = registry.build(
        "scheduler", {"name": "ddim", "num_inference_steps": 10, "timestep_spacing": "leading", **options}
    )

    check(scheduler, of_diffusers(DDIMScheduler, "epsilon", "leading", True, **options), 10)


@pytest.mark.parametrize("spacing", ["trailing", "linspace"])
def test_ddim_with_uneven_times_arrives_where_the_equation_leads(registry, spacing):
    """Noise is predicted perfectly, so every step must arrive at the very mixture of the next time."""
    scheduler = registry.build("scheduler", {"name": "ddim", "timestep_spacing": spacing, "clip_sample": False})
    data = torch.full(SHAPE, 0.5)
    noise = torch.randn(SHAPE, generator=seeded())
    seen = []

    def denoise(sample, time):
        seen.append((sample, time))
        return (sample - scheduler.alphas_cumprod[time].sqrt() * data) / (1 - scheduler.alphas_cumprod[time]).sqrt()

    sample = scheduler.sample(denoise, SHAPE, 7, seeded())

    first = scheduler.alphas_cumprod[seen[0][1]]
    noise = (noise - first.sqrt() * data) / (1 - first).sqrt()  # of which the first sample consists
    for mixed, time in seen:
        torch.testing.assert_close(mixed, scheduler.add_noise(data, noise, time[None]), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(sample, data, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("count", [1, 2, 3, 10, 14, 15, 20, 100])
@pytest.mark.parametrize("solver_order", [1, 2, 3])
@each_prediction
@clipped_or_not
def test_dpm_solver(registry, count, solver_order, prediction_type, clip_sample):
    """Predictions are made clean trajectories and clipped before diffusers sees them: its solver does not clip."""
    options = {"solver_order": solver_order, "prediction_type": prediction_type, "clip_sample": clip_sample}
    scheduler = registry.build("scheduler", {"name": "dpm_solver", **options})
    process = DPMSolverMultistepScheduler(
        num_train_timesteps=100,
        beta_schedule="squaredcos_cap_v2",
        prediction_type="sample",
        algorithm_type="dpmsolver++",
        solver_order=solver_order,
    )
    times = scheduler.times(count).tolist()
    process.set_timesteps(timesteps=times)

    def clean(prediction, time, sample):
        alpha = process.alphas_cumprod[time]
        signal, sigma = alpha.sqrt(), (1 - alpha).sqrt()
        meant = {
            "epsilon": (sample - sigma * prediction) / signal,
            "sample": prediction,
            "v_prediction": signal * sample - sigma * prediction,
        }[prediction_type]
        return meant.clamp(-1, 1) if clip_sample else meant

    sample = scheduler.sample(network, SHAPE, count, seeded())

    torch.testing.assert_close(sample, step_by_step(process, times, clean), rtol=2e-5, atol=2e-5)
