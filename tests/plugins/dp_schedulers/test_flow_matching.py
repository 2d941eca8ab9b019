"""Rectified flow: the paths, the times, and that both solvers follow a known velocity to where it leads."""

import copy

import pytest
import torch

from dp_core.errors import ConfigError
from dp_core.interfaces import Inpaint

SHAPE = (3, 4, 2)
BOTH = pytest.mark.parametrize("solver", ["euler", "heun"])


@pytest.fixture
def build(registry):
    def build_scheduler(**options):
        return registry.build("scheduler", {"name": "flow_matching", **options})

    return build_scheduler


@pytest.fixture
def data():
    return torch.rand(SHAPE, generator=torch.Generator().manual_seed(0)) * 2 - 1


def seeded(seed=3):
    return torch.Generator().manual_seed(seed)


def visited(scheduler, count=None):
    times = []

    def denoise(sample, time):
        times.append(time.item())
        return torch.zeros_like(sample)

    scheduler.sample(denoise, SHAPE, count)
    return times


def test_paths_lead_straight_from_data_to_noise_at_the_speed_that_is_learned(build, data):
    scheduler, noise = build(), torch.randn(SHAPE, generator=seeded())

    start, quarter, end = (scheduler.add_noise(data, noise, torch.full((3,), t)) for t in (0.0, 25.0, 100.0))

    torch.testing.assert_close(start, data)
    torch.testing.assert_close(end, noise)
    torch.testing.assert_close(quarter, data + 0.25 * scheduler.target(data, noise, torch.full((3,), 25.0)))


@pytest.mark.parametrize(
    ("timestep_sampling", "mean", "in_the_middle"),
    [("uniform", 0.5, 0.5), ("logit_normal", 0.5, 0.728), ("beta", 0.6, 0.525)],
)
def test_training_sees_the_times_it_is_told_to(build, timestep_sampling, mean, in_the_middle):
    """Mean and share between 0.25 and 0.75, of the whole range."""
    scheduler = build(timestep_sampling=timestep_sampling)

    times = scheduler.sample_timesteps(20000, torch.device("cpu"), seeded()) / 100

    assert times.dtype == torch.float32
    assert 0 <= times.min() < 0.01 + 0.02 * (timestep_sampling != "uniform")
    assert 0.97 < times.max() <= 1
    assert times.mean().item() == pytest.approx(mean, abs=0.01)
    assert ((times > 0.25) & (times < 0.75)).float().mean().item() == pytest.approx(in_the_middle, abs=0.015)


def test_the_network_is_asked_at_evenly_spaced_times(build):
    assert visited(build(), 4) == [100, 75, 50, 25]
    assert visited(build(solver="heun", num_inference_steps=2)) == [100, 50, 50, 25]
    assert visited(build(timestep_scale=1.0), 2) == [1, 0.5]


@BOTH
@pytest.mark.parametrize("count", [1, 7])
def test_a_straight_path_is_followed_exactly(build, data, solver, count):
    noise = torch.randn(SHAPE, generator=seeded())

    sample = build(solver=solver).sample(lambda sample, time: noise - data, SHAPE, count, generator=seeded())

    torch.testing.assert_close(sample, data)


@pytest.mark.parametrize(("solver", "order"), [("euler", 1), ("heun", 2)])
def test_twice_the_steps_leave_the_error_that_the_order_promises(build, solver, order):
    """Of normally distributed data the end is known: noise scaled to the data's standard deviation."""
    scale = 0.3

    def denoise(sample, time):
        t = time / 100
        return sample * (t - (1 - t) * scale**2) / ((1 - t) ** 2 * scale**2 + t**2)

    def error(count):
        sample = build(solver=solver).sample(denoise, SHAPE, count, generator=seeded(), dtype=torch.float64)
        noise = torch.randn(SHAPE, generator=seeded(), dtype=torch.float64)
        return (sample / noise - scale).abs().max().item()

    assert error(40) / error(80) == pytest.approx(2**order, rel=0.15)


@BOTH
def test_a_generator_makes_sampling_repeatable_and_leaves_the_global_state_alone(build, solver):
    scheduler, state = build(solver=solver), torch.get_rng_state()

    first, second = (
        scheduler.sample(lambda sample, time: 0.1 * sample, SHAPE, 5, generator=seeded()) for _ in range(2)
    )

    assert torch.equal(first, second)
    assert torch.equal(torch.get_rng_state(), state)


@BOTH
def test_known_entries_are_held_at_every_call(build, data, solver):
    mask = torch.zeros(SHAPE, dtype=torch.bool)
    mask[:, :2, 1:] = True
    seen = []

    def denoise(sample, time):
        seen.append(sample)
        return torch.ones_like(sample)

    values = torch.where(mask, data, torch.nan)  # what is not known is never looked at
    sample = build(solver=solver).sample(denoise, SHAPE, 5, inpaint=Inpaint(mask, values))

    assert all(torch.equal(step[mask], data[mask]) for step in [*seen, sample])
    assert sample.isfinite().all()


def test_a_copy_samples_on_its_own(build):
    scheduler = build()

    assert visited(copy.deepcopy(scheduler)) == visited(scheduler)


def test_the_unet_takes_its_times(registry, build, data):
    unet = registry.build(
        "denoiser",
        {"name": "unet1d", "down_dims": [8], "diffusion_step_embed_dim": 8},
        input_dim=2,
        horizon=4,
        n_obs_steps=1,
        global_cond_dim=None,
        local_cond_dim=None,
    )

    with torch.no_grad():
        sample = build(solver="heun").sample(unet, SHAPE, 2)
        half, other_half = unet(data, torch.tensor(50.0)), unet(data, torch.tensor(50.5))

    assert sample.isfinite().all()
    assert not torch.equal(half, other_half)


def test_options_of_other_processes_are_unknown(build):
    with pytest.raises(ConfigError) as caught:
        build(prediction_type="epsilon", solver="rk4")

    assert str(caught.value) == (
        "scheduler 'flow_matching' has 2 problems\n"
        "  prediction_type: unknown option; the options are solver, num_inference_steps, timestep_sampling, "
        "timestep_scale\n"
        "  solver: 'rk4' is not one of 'euler', 'heun'"
    )


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_it_samples_on_the_gpu(build):
    sample = build().sample(lambda sample, time: sample * time, SHAPE, 3, device="cuda")

    assert sample.device.type == "cuda"
