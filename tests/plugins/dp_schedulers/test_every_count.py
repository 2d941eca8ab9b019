"""Every sampler at every number of steps, with networks that are right: of known data, the best answer is known too.

Of normally distributed data the best network is a formula; one value alone is the limit of no spread. Advice belongs to
the promise: where a number of steps is good for little, the options say so.
"""

import logging
import math

import pytest
import torch

SHAPE = (500, 4, 2)
MEAN, DEVIATION = 0.4, 0.2
PREDICTIONS = ["epsilon", "sample", "v_prediction"]
SPACINGS = ["leading", "trailing", "linspace"]
COUNTS = [1, 2, 3, 4, 5, 8, 10, 13, 16, 25, 29, 34, 50, 51, 62, 99, 100]
"""Those that divide 100, those with which 'trailing' once went beyond 0, and some that leave much over."""

SAMPLERS = [
    *(
        {"name": "ddpm", "variance_type": variance, "timestep_spacing": spacing}
        for variance in ("fixed_small", "fixed_large")
        for spacing in SPACINGS
    ),
    *({"name": "ddim", "eta": eta, "timestep_spacing": spacing} for eta in (0.0, 1.0) for spacing in SPACINGS),
    {"name": "ddim", "set_alpha_to_one": False},
    *({"name": "dpm_solver", "solver_order": order} for order in (1, 2, 3)),
    *({"name": "flow_matching", "solver": solver} for solver in ("euler", "heun")),
]
OTHER_PREDICTIONS = [
    {**sampler, "prediction_type": prediction}
    for sampler in ({"name": "ddpm"}, {"name": "ddim"}, {"name": "dpm_solver"})
    for prediction in PREDICTIONS[1:]
]
OTHER_PROCESSES = [
    {**sampler, "beta_schedule": "linear", "num_train_timesteps": 1000}
    for sampler in ({"name": "ddpm"}, {"name": "ddim"}, {"name": "dpm_solver"})
]


def named(sampler):
    return "-".join(str(value) for value in sampler.values())


every_sampler = pytest.mark.parametrize("options", [*SAMPLERS, *OTHER_PREDICTIONS, *OTHER_PROCESSES], ids=named)


@pytest.fixture
def build(registry):
    def build_scheduler(**options):
        return registry.build("scheduler", options)

    return build_scheduler


@pytest.fixture
def build_unclipped(build):
    """So that what is sampled of a formula is a formula."""
    return lambda **options: build(**({} if options["name"] == "flow_matching" else {"clip_sample": False}), **options)


def advice(scheduler, count):
    """What speaks against that number of steps even where the network is right."""
    found = scheduler.config.sampling_advice(count) if hasattr(scheduler.config, "sampling_advice") else []
    return [option for option, message in found if "network that predicts noise" not in message]


def best_network(scheduler, mean, deviation):
    """Predicts, of normally distributed data, what is most likely: a straight line at each time."""
    lines = {}

    def answer(sample, time):
        one, times = torch.ones(1, 1, 1, dtype=sample.dtype), time.reshape(1)
        signal, sigma = scheduler.add_noise(one, 0 * one, times), scheduler.add_noise(0 * one, one, times)
        surprise = (sample - signal * mean) / (signal**2 * deviation**2 + sigma**2)
        return scheduler.target(mean + deviation**2 * signal * surprise, sigma * surprise, times).item()

    def denoise(sample, time):
        key = time.item()
        if key not in lines:
            at_0, at_1 = (answer(sample.new_full((1, 1, 1), value), time) for value in (0, 1))
            lines[key] = at_0, at_1 - at_0
        height, slope = lines[key]
        return height + slope * sample

    return denoise


def samples(scheduler, counts, deviation):
    network = best_network(scheduler, MEAN, deviation)
    for count in counts:
        generator = torch.Generator().manual_seed(0)
        yield count, scheduler.sample(network, SHAPE, count, generator, dtype=torch.float64)


def visited(scheduler, count):
    times = []

    def denoise(sample, time):
        times.append(time.item())
        return torch.zeros_like(sample)

    scheduler.sample(denoise, (1, 1, 1), count)
    return times


@every_sampler
def test_more_steps_never_give_worse_samples(build_unclipped, options):
    """Errors of mean and spread in standard deviations of the data: at most that of answering with the mean alone."""
    scheduler = build_unclipped(**options)
    best = 1.0

    counts = [count for count in COUNTS if not advice(scheduler, count)]
    for count, sample in samples(scheduler, counts, DEVIATION):
        error = max(abs(sample.mean().item() - MEAN), abs(sample.std().item() - DEVIATION)) / DEVIATION
        assert error < best + 0.06, count
        best = min(best, error)

    assert best < 0.13


@every_sampler
def test_what_is_the_same_in_all_demonstrations_is_sampled_at_every_count(build_unclipped, options):
    scheduler = build_unclipped(**options)
    keeps_noise = options.get("set_alpha_to_one") is False  # as much as there is at time 0

    for count, sample in samples(scheduler, [1, 2, 3, 10, 29, 34, 51, 100], 0.0):
        assert (sample - MEAN).abs().mean() < (0.03 if keeps_noise else 1e-3), count


@pytest.mark.parametrize("variance_type", ["fixed_small", "fixed_small_log", "fixed_large", "fixed_large_log"])
@pytest.mark.parametrize("spacing", SPACINGS)
def test_the_last_step_of_ddpm_adds_no_noise(build, variance_type, spacing):
    scheduler = build(name="ddpm", variance_type=variance_type, timestep_spacing=spacing, prediction_type="sample")

    for count in (1, 2, 10, 16, 51, 100):
        assert scheduler.sample(lambda sample, time: torch.zeros_like(sample), (8, 4, 2), count).count_nonzero() == 0


@pytest.mark.parametrize("spacing", SPACINGS)
def test_the_last_step_of_ddim_adds_no_noise(build, spacing):
    """Even where it ends at time 0, and comes from a later one."""
    scheduler = build(name="ddim", eta=1.0, set_alpha_to_one=False, timestep_spacing=spacing, prediction_type="sample")

    for count in (1, 2, 10, 51, 100):
        times = scheduler.times(count)
        assert [step.std is None for step in scheduler.steps(times)] == [False] * (count - 1) + [True]


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("steps", [1, 2, 7, 10, 64, 100, 1000])
def test_every_count_visits_as_many_times_of_the_process(build, spacing, steps):
    scheduler = build(name="ddim", timestep_spacing=spacing, num_train_timesteps=steps)

    for count in range(1, steps + 1):
        times = scheduler.times(count).tolist()
        assert len(times) == count
        assert times == sorted(set(times), reverse=True)
        assert 0 <= times[-1] <= times[0] < steps
        if spacing != "leading" or count in (1, steps):
            assert times[0] == steps - 1


@pytest.mark.parametrize("steps", [1, 10, 100])
def test_every_count_of_dpm_solver_visits_as_many_times_of_the_process(build, steps):
    """The first is the noisiest at which a network that predicts noise can tell the data, if that leaves enough."""
    scheduler = build(name="dpm_solver", num_train_timesteps=steps, num_inference_steps=1)
    visible = sum(a_t >= 1 / 257 for a_t in scheduler.alphas_cumprod.tolist())

    for count in range(1, steps + 1):
        times = scheduler.times(count).tolist()
        assert len(times) == count
        assert times == sorted(set(times), reverse=True)
        assert times[0] == max(visible, count) - 1
        assert times[-1] == 0 or count == 1


@pytest.mark.parametrize("name", ["ddpm", "ddim"])
@pytest.mark.parametrize("spacing", SPACINGS)
def test_sampling_starts_where_the_data_are_hidden_or_is_advised_against(build, name, spacing):
    scheduler = build(name=name, timestep_spacing=spacing)

    for count in range(1, 101):
        if not advice(scheduler, count):
            assert scheduler.alphas_cumprod[scheduler.times(count)[0]] < 0.051, count


@pytest.mark.parametrize("solver", ["euler", "heun"])
def test_every_count_of_flow_matching_begins_at_the_noise(build, solver):
    """And never asks at t = 0, where the velocity of the noise cannot be told."""
    scheduler = build(name="flow_matching", solver=solver)

    for count in range(1, 101):
        starts = torch.linspace(100, 0, count + 1)
        if solver == "heun":  # at both ends of every step, and in the middle of the last
            starts = torch.stack([starts[:-1], torch.cat([starts[1:-1], starts[-2:-1] / 2])], 1).flatten()
        else:
            starts = starts[:-1]
        assert visited(scheduler, count) == pytest.approx(starts.tolist())


# -- advice -----------------------------------------------------------------------------------------------------------

AT_TIME_50 = "from noise alone at time 50 of 100, where the network expects a share of 0.48 of the data"
LEADING = {"timestep_spacing": "leading"}
AT_ONCE = "alone, where a network that predicts noise tells next to nothing of the data; choose at least"
CHANGES_NOTHING = "spacing; choose 0, or 'leading' for timestep_spacing"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"beta_schedule": "linear"},
            "beta_schedule: 'linear' from 0.0001 to 0.02 leaves a share of 0.36 of the data after 100 steps, and "
            "sampling starts from noise alone, which the network never saw: the mean of samples is off by up to 0.60 "
            "standard deviations of the data; choose 'squaredcos_cap_v2', or at least 0.09 for beta_end, or 1000 "
            "for num_train_timesteps",
        ),
        (
            {"beta_schedule": "scaled_linear", "num_train_timesteps": 10, "beta_end": 0.001},
            "beta_schedule: 'scaled_linear' from 0.0001 to 0.001 leaves a share of 1.00 of the data after 10 steps, "
            "and sampling starts from noise alone, which the network never saw: the mean of samples is off by up to "
            "1.00 standard deviations of the data; choose 'squaredcos_cap_v2', or at least 0.83 for beta_end",
        ),
        (
            {**LEADING, "num_inference_steps": 51},
            f"num_inference_steps: 51 with 'leading' spacing starts {AT_TIME_50}; "
            "choose 50 or 86, or 'trailing' for timestep_spacing",
        ),
        (
            {**LEADING, "num_inference_steps": 2},
            f"num_inference_steps: 2 with 'leading' spacing starts {AT_TIME_50}; "
            "choose 9, or 'trailing' for timestep_spacing",
        ),
        (
            {**LEADING, "num_inference_steps": 2, "steps_offset": 5},
            "num_inference_steps: 2 with 'leading' spacing starts from noise alone at time 55 of 100, where the "
            "network expects a share of 0.40 of the data; choose 5, or 'trailing' for timestep_spacing",
        ),
        ({"num_inference_steps": 1}, f"num_inference_steps: 1 can remove noise at time 99 {AT_ONCE} 2"),
        (
            {"num_inference_steps": 2, "timestep_spacing": "linspace"},
            f"num_inference_steps: 2 can remove noise at time 99 {AT_ONCE} 3",
        ),
        (
            {"name": "dpm_solver", "num_inference_steps": 2},
            f"num_inference_steps: 2 can remove noise at time 94 {AT_ONCE} 3",
        ),
        (
            {"num_inference_steps": 10, "clip_sample": False},
            "clip_sample: false keeps errors as they are, and at time 99, where sampling starts, those of a network "
            "that predicts noise are multiplied by 2029; choose true, or a few steps of 'dpm_solver', which starts "
            "later",
        ),
        (
            {"clip_sample_range": 0.5},
            "clip_sample_range: 0.5 cuts off what is demonstrated, which reaches 1; choose at least 1",
        ),
        (
            {"set_alpha_to_one": False, "num_train_timesteps": 10},
            "set_alpha_to_one: false arrives at time 0, where noise of standard deviation 0.17 is left in the "
            "actions; choose true",
        ),
        ({"steps_offset": 1}, f"steps_offset: 1 changes nothing with 'trailing' {CHANGES_NOTHING}"),
        (
            {"name": "ddpm", "timestep_spacing": "linspace", "variance_type": "fixed_large", "num_inference_steps": 5},
            "variance_type: 'fixed_large' with 5 steps of 'linspace' spacing adds noise of standard deviation "
            "0.39 before time 0, where next to none can be removed; choose 'fixed_small', or 'trailing' for "
            "timestep_spacing",
        ),
    ],
)
def test_what_is_hardly_meant_is_advised_against(build, caplog, options, message):
    name = options.get("name", "ddim")

    build(**{"name": name, **options})

    assert [record.getMessage() for record in caplog.records] == [f"scheduler '{name}': {message}"]


@pytest.mark.parametrize(
    "options",
    [
        {"name": "ddpm"},
        {"name": "ddpm", "variance_type": "fixed_large", **LEADING},
        {"name": "ddim", "num_inference_steps": 10, **LEADING},
        {"name": "ddim", "num_inference_steps": 16, **LEADING},
        {"name": "ddim", "num_inference_steps": 50, **LEADING},
        *({"name": "ddim", "num_inference_steps": count} for count in range(2, 101)),
        {"name": "ddim", "num_inference_steps": 1, "prediction_type": "sample"},
        *({"name": "ddim", "num_train_timesteps": steps, "set_alpha_to_one": False} for steps in (50, 100, 1000)),
        {"name": "dpm_solver"},
        {"name": "flow_matching"},
        {"name": "ddpm", "beta_schedule": "linear", "num_train_timesteps": 1000},
        {"name": "ddpm", "beta_schedule": "linear", "beta_end": 0.2},
        {"name": "ddpm", "num_train_timesteps": 1},
    ],
)
def test_what_is_meant_is_not(build, caplog, options):
    build(**options)

    assert caplog.records == []


def test_a_number_of_steps_that_a_call_asks_for_is_advised_against_once(build, caplog):
    scheduler = build(name="ddim", num_inference_steps=50, **LEADING)

    for count in (None, 50, 51, 51):
        visited(scheduler, count)

    assert [(record.levelno, record.getMessage()) for record in caplog.records] == [
        (
            logging.WARNING,
            f"num_inference_steps: 51 with 'leading' spacing starts {AT_TIME_50}; "
            "choose 50 or 86, or 'trailing' for timestep_spacing",
        )
    ]


@pytest.mark.parametrize("schedule", ["squaredcos_cap_v2", "linear", "scaled_linear"])
@pytest.mark.parametrize("steps", [1, 2, 100, 1000])
def test_advice_sees_the_process_that_is_sampled(build, schedule, steps):
    scheduler = build(name="ddpm", beta_schedule=schedule, num_train_timesteps=steps)

    judged = scheduler.config.alphas_cumprod()

    assert len(judged) == steps
    assert all(
        math.isclose(one, other, rel_tol=1e-3, abs_tol=1e-12)
        for one, other in zip(judged, scheduler.alphas_cumprod.tolist(), strict=True)
    )
