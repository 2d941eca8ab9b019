"""Noise processes and samplers. Whole trajectories of the original are compared in dp_diffusion/test_*_golden.py."""

import copy

import pytest
import torch

from dp_core.errors import ConfigError, InputError
from dp_core.interfaces import Inpaint
from dp_schedulers.prediction import noise_weights, x0_weights

SHAPE = (3, 4, 2)
EVENLY_SPACED = pytest.mark.parametrize("name", ["ddpm", "ddim"])
EACH = pytest.mark.parametrize("name", ["ddpm", "ddim", "dpm_solver"])
PREDICTIONS = ["epsilon", "sample", "v_prediction"]


@pytest.fixture
def build(registry):
    def build_scheduler(name="ddpm", **options):
        return registry.build("scheduler", {"name": name, **options})

    return build_scheduler


@pytest.fixture
def data():
    return torch.rand(SHAPE, generator=torch.Generator().manual_seed(0)) * 2 - 1


def noise_like(x, seed=1):
    return torch.randn(x.shape, generator=torch.Generator().manual_seed(seed))


def oracle(scheduler, data):
    """A denoiser that knows the data."""

    def denoise(sample, time):
        times = time.expand(len(sample))
        signal = scheduler.add_noise(torch.ones_like(data), torch.zeros_like(data), times)
        sigma = scheduler.add_noise(torch.zeros_like(data), torch.ones_like(data), times)
        return scheduler.target(data, (sample - signal * data) / sigma, times)

    return denoise


def visited(scheduler, count):
    times = []

    def denoise(sample, time):
        times.append(time.item())
        return torch.zeros_like(sample)

    scheduler.sample(denoise, SHAPE, count)
    return times


@EACH
def test_noise_grows_as_in_the_original(build, data, name):
    """``alphas_cumprod`` of 100 steps of the capped cosine schedule."""
    times = torch.tensor([0, 50, 99])

    signal = build(name).add_noise(torch.ones(SHAPE), torch.zeros(SHAPE), times)
    sigma = build(name).add_noise(torch.zeros(SHAPE), torch.ones(SHAPE), times)

    expected = torch.tensor([0.99936872, 0.47826463, 2.42857e-7])
    torch.testing.assert_close(signal[:, 0, 0].square(), expected, rtol=1e-5, atol=1e-9)
    torch.testing.assert_close((signal.square() + sigma.square()), torch.ones(SHAPE))


@EACH
def test_targets_follow_the_prediction_type(build, data, name):
    noise, times = noise_like(data), torch.tensor([0, 40, 99])
    process = build(name)

    velocity = build(name, prediction_type="v_prediction").target(data, noise, times)

    assert process.target(data, noise, times) is noise
    assert build(name, prediction_type="sample").target(data, noise, times) is data
    expected = process.add_noise(noise, -data, times)  # sqrt(a) noise - sqrt(1 - a) data
    torch.testing.assert_close(velocity, expected)


@pytest.mark.parametrize("prediction_type", PREDICTIONS)
def test_x0_and_noise_follow_from_a_target_that_is_hit(build, data, prediction_type):
    scheduler, noise = build(prediction_type=prediction_type), noise_like(data)

    for time in (0, 40, 90):
        times = torch.full((len(data),), time)
        x_t, output = scheduler.add_noise(data, noise, times), scheduler.target(data, noise, times)
        for weights, expected in ((x0_weights, data), (noise_weights, noise)):
            of_x_t, of_output = weights(prediction_type, scheduler.alphas_cumprod[time].item())
            torch.testing.assert_close(of_x_t * x_t + of_output * output, expected, rtol=0, atol=1e-5)


@EVENLY_SPACED
@pytest.mark.parametrize("prediction_type", PREDICTIONS)
@pytest.mark.parametrize("spacing", ["leading", "trailing"])
def test_sampling_with_a_perfect_network_ends_at_the_data(build, data, name, prediction_type, spacing):
    scheduler = build(name, prediction_type=prediction_type, timestep_spacing=spacing, num_inference_steps=10)

    sample = scheduler.sample(oracle(scheduler, data), SHAPE)

    # With 'trailing' the first time is the last of the process, where the noise hides the data almost completely.
    torch.testing.assert_close(sample, data, rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("count", "times"),
    [(16, list(range(90, -1, -6))), (10, list(range(90, -1, -10))), (8, list(range(84, -1, -12)))],
)
@EVENLY_SPACED
def test_fewer_steps_visit_the_times_of_the_original(build, name, count, times):
    leading = {"timestep_spacing": "leading"}

    assert visited(build(name, **leading), count) == times
    assert visited(build(name, num_inference_steps=count, **leading), None) == times


@EVENLY_SPACED
def test_sampling_starts_at_the_last_time(build, name):
    assert visited(build(name), 4) == [99, 74, 49, 24]
    assert visited(build(name), 10) == list(range(99, 0, -10))
    assert visited(build(name, timestep_spacing="linspace"), 4) == [99, 66, 33, 0]


def test_steps_offset_shifts_the_times(build):
    offset = {"steps_offset": 3, "timestep_spacing": "leading"}

    assert visited(build("ddim", num_inference_steps=4, **offset), None) == [78, 53, 28, 3]


@EACH
def test_without_a_number_it_samples_every_step(build, name):
    assert visited(build(name, num_inference_steps=None), None) == list(range(99, -1, -1))


def test_dpm_solver_visits_times_evenly_spaced_in_the_signal_to_noise_ratio(build):
    assert visited(build("dpm_solver"), None) == [94, 89, 80, 63, 42, 23, 11, 5, 2, 0]
    assert visited(build("dpm_solver"), 1) == [94]
    assert visited(build("dpm_solver", beta_schedule="linear"), 2) == [99, 0]


@pytest.mark.parametrize("prediction_type", PREDICTIONS)
@pytest.mark.parametrize("solver_order", [1, 2, 3])
def test_dpm_solver_takes_any_number_of_steps(build, data, solver_order, prediction_type):
    scheduler = build("dpm_solver", solver_order=solver_order, prediction_type=prediction_type)

    for count in (1, 2, 3, 14, 15, 50, 97, 100):
        times = visited(scheduler, count)
        assert len(set(times)) == count
        assert times == sorted(times, reverse=True)
        torch.testing.assert_close(scheduler.sample(oracle(scheduler, data), SHAPE, count), data, rtol=0, atol=1e-4)


@pytest.mark.parametrize("prediction_type", PREDICTIONS)
def test_dpm_solver_of_first_order_is_ddim(build, prediction_type):
    """Lu et al. 2022, section 4.1. They visit the same times when they visit all."""
    options = {"prediction_type": prediction_type, "num_inference_steps": 100, "clip_sample": False}

    one, other = (
        scheduler.sample(lambda sample, time: 0.5 * sample.sin(), SHAPE, generator=torch.Generator().manual_seed(3))
        for scheduler in (build("ddim", **options), build("dpm_solver", solver_order=1, **options))
    )

    torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


def test_dpm_solver_of_second_order_is_closer_to_the_solution(build):
    """Of normally distributed data the solution is known: noise scaled to the data's standard deviation."""
    scale = 0.3

    def error(order, count):
        scheduler = build("dpm_solver", solver_order=order, clip_sample=False)

        def denoise(sample, time):
            times = time.expand(len(sample))
            signal = scheduler.add_noise(torch.ones_like(sample), torch.zeros_like(sample), times)
            variance = signal.square() * scale**2 + 1 - signal.square()
            return (1 - signal.square()).sqrt() * sample / variance

        generator = torch.Generator().manual_seed(3)
        noise = torch.randn(SHAPE, generator=torch.Generator().manual_seed(3))
        sample = scheduler.sample(denoise, SHAPE, count, generator)
        return (sample / noise - scale).abs().max().item() / scale

    assert error(1, 10) > 0.1
    assert error(2, 10) < error(1, 10) / 8


def test_draws_of_ddpm_are_the_initial_noise_and_one_per_step_but_the_last(build):
    torch.manual_seed(1234)
    build("ddpm").sample(lambda sample, time: sample, SHAPE, 4)
    after = torch.rand(1)

    torch.manual_seed(1234)
    for _ in range(4):
        torch.randn(SHAPE)
    assert torch.equal(after, torch.rand(1))


def test_dpm_solver_draws_the_initial_noise_only(build):
    torch.manual_seed(1234)
    build("dpm_solver").sample(lambda sample, time: sample, SHAPE, 4)
    after = torch.rand(1)

    torch.manual_seed(1234)
    torch.randn(SHAPE)
    assert torch.equal(after, torch.rand(1))


@pytest.mark.parametrize(("eta", "draws"), [(0.0, 1), (1.0, 4)])
def test_ddim_draws_only_where_eta_asks_for_noise(build, eta, draws):
    torch.manual_seed(1234)
    build("ddim", eta=eta).sample(lambda sample, time: sample, SHAPE, 4)
    after = torch.rand(1)

    torch.manual_seed(1234)
    for _ in range(draws):
        torch.randn(SHAPE)
    assert torch.equal(after, torch.rand(1))


@EACH
def test_a_generator_makes_sampling_repeatable_and_leaves_the_global_state_alone(build, name):
    scheduler, state = build(name), torch.get_rng_state()

    first, second = (
        scheduler.sample(lambda sample, time: 0.1 * sample, SHAPE, 5, generator=torch.Generator().manual_seed(3))
        for _ in range(2)
    )
    times = scheduler.sample_timesteps(1000, torch.device("cpu"), torch.Generator().manual_seed(3))

    assert torch.equal(first, second)
    assert torch.equal(torch.get_rng_state(), state)
    assert (times.dtype, times.min().item(), times.max().item()) == (torch.int64, 0, 99)


@EACH
def test_known_entries_are_held_at_every_step(build, data, name):
    mask = torch.zeros(SHAPE, dtype=torch.bool)
    mask[:, :2, 1:] = True
    seen = []

    def denoise(sample, time):
        seen.append(sample)
        return torch.zeros_like(sample)

    values = torch.where(mask, data, torch.nan)  # what is not known is never looked at
    sample = build(name).sample(denoise, SHAPE, 5, inpaint=Inpaint(mask, values))

    assert all(torch.equal(step[mask], data[mask]) for step in [*seen, sample])
    assert sample.isfinite().all()


@EACH
def test_predicted_trajectories_are_clipped(build, name):
    def far_away(sample, time):
        return torch.full_like(sample, 100)

    def sample(**options):
        return build(name, prediction_type="sample", **options).sample(far_away, SHAPE, 5).abs().max().item()

    assert sample() == pytest.approx(1)
    assert sample(clip_sample_range=2.0) == pytest.approx(2)
    assert sample(clip_sample=False) == pytest.approx(100)


def test_a_copy_samples_on_its_own(build):
    scheduler = build("ddpm")
    twin = copy.deepcopy(scheduler)

    assert visited(twin, 10) == visited(scheduler, 10)


@EACH
def test_more_sampling_steps_than_training_steps_are_reported(build, name):
    with pytest.raises(ConfigError) as configured:
        build(name, num_inference_steps=200)
    with pytest.raises(InputError) as asked:
        build(name).sample(lambda sample, time: sample, SHAPE, 101)

    assert str(configured.value) == (
        f"scheduler '{name}' has 1 problem\n"
        "  num_inference_steps: 200 is more than num_train_timesteps 100; choose at most 100"
    )
    assert str(asked.value) == "num_inference_steps: 101 is more than num_train_timesteps 100; choose at most 100"


@pytest.mark.parametrize("name", ["ddpm", "ddim", "dpm_solver", "flow_matching"])
@pytest.mark.parametrize("count", [0, -1])
def test_a_call_for_no_steps_is_reported(build, name, count):
    with pytest.raises(InputError) as asked:
        build(name).sample(lambda sample, time: sample, SHAPE, count)

    assert str(asked.value) == (
        f"num_inference_steps: {count} is less than 1; choose at least 1, or None for the configured"
    )


@EACH
@pytest.mark.parametrize("schedule", ["linear", "scaled_linear"])
def test_noise_that_would_shrink_is_reported(build, name, schedule):
    with pytest.raises(ConfigError) as configured:
        build(name, beta_schedule=schedule, beta_start=0.02, beta_end=0.01)

    assert str(configured.value) == (
        f"scheduler '{name}' has 1 problem\n"
        "  beta_start: 0.02 is larger than beta_end 0.01, and noise grows with time; choose at most 0.01"
    )


@EACH
def test_a_process_whose_end_no_number_holds_is_reported(build, name):
    """Of a larger ``beta_end``, sampling would divide by 0."""
    with pytest.raises(ConfigError) as configured:
        build(name, beta_schedule="linear", num_train_timesteps=1000, beta_end=0.2)
    scheduler = build(name, beta_schedule="linear", num_train_timesteps=1000, beta_end=0.15)

    assert str(configured.value) == (
        f"scheduler '{name}' has 1 problem\n"
        "  beta_end: 0.2 leaves a share of 2e-47 of the data after 1000 steps, which is nothing in single precision; "
        "choose less, or fewer num_train_timesteps"
    )
    assert scheduler.sample(lambda sample, time: sample, SHAPE).isfinite().all()
    assert build(name, beta_schedule="linear", beta_start=1e-7).alphas_cumprod[0] < 1


@EACH
def test_the_cosine_schedule_has_no_use_for_either_end(build, name):
    alpha = build(name, beta_start=0.02, beta_end=0.01).add_noise(torch.ones(1), torch.zeros(1), torch.tensor([50]))

    assert alpha == build(name).add_noise(torch.ones(1), torch.zeros(1), torch.tensor([50]))


def test_an_offset_beyond_the_process_is_reported(build):
    with pytest.raises(ConfigError) as configured:
        build("ddim", steps_offset=1, timestep_spacing="leading")
    fewer = build("ddim", steps_offset=1, timestep_spacing="leading", num_inference_steps=10)
    with pytest.raises(InputError) as asked:
        fewer.sample(lambda sample, time: sample, SHAPE, 100)

    problem = "steps_offset: 1 starts 100 sampling steps after the last time, 99; choose at most 0"
    assert str(configured.value) == f"scheduler 'ddim' has 1 problem\n  {problem}"
    assert str(asked.value) == problem


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@EACH
def test_training_on_the_gpu_does_not_keep_sampling_from_the_cpu(build, data, name):
    """The tables of diffusers follow its last ``add_noise`` to the device; ours stay."""
    scheduler = build(name)

    noisy = scheduler.add_noise(data.cuda(), data.cuda(), torch.tensor([0, 40, 99], device="cuda"))
    sample = scheduler.sample(lambda sample, time: sample, SHAPE, 4)

    assert (noisy.device.type, sample.device.type) == ("cuda", "cpu")


SAMPLERS = [
    {"name": "ddpm"},
    {"name": "ddim", "num_inference_steps": 10, "eta": 1.0},
    {"name": "dpm_solver", "num_inference_steps": 10},
    {"name": "flow_matching"},
]


@pytest.mark.parametrize("is_inpainting", [False, True])
@pytest.mark.parametrize("options", SAMPLERS, ids=lambda options: options["name"])
def test_with_a_generator_for_each_row_a_row_is_sampled_as_if_it_were_alone(build, data, options, is_inpainting):
    scheduler = build(**options)
    known = Inpaint(torch.rand(SHAPE, generator=torch.Generator().manual_seed(9)) < 0.3, data)

    def sample(rows, generator):
        inpaint = Inpaint(known.mask[rows], known.values[rows]) if is_inpainting else None
        shape = (len(rows), *SHAPE[1:])
        return scheduler.sample(lambda sample, time: 0.1 * sample, shape, None, generator, inpaint)

    seeds = (7, 8, 7)
    together = sample([0, 1, 2], [torch.Generator().manual_seed(seed) for seed in seeds])
    alone = [sample([row], torch.Generator().manual_seed(seed)) for row, seed in enumerate(seeds)]

    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-6, atol=1e-6)
