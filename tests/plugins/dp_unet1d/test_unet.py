"""The 1-D U-Net against the original's numbers (tests/golden/README.md, a), and its rules."""

import json

import numpy as np
import pytest
import torch

from dp_core.errors import ConfigError, InputError

SMALL = {"diffusion_step_embed_dim": 8, "down_dims": [8, 16], "kernel_size": 3, "n_groups": 4}
OUTPUT_TOLERANCE = 2.6e-5
GRADIENT_TOLERANCE = 1.2e-5
"""Relative to the largest."""


@pytest.fixture
def build(registry):
    def build_unet(*, input_dim=2, horizon=16, global_cond_dim=None, local_cond_dim=None, **options):
        return registry.build(
            "denoiser",
            {"name": "unet1d", **options},
            input_dim=input_dim,
            horizon=horizon,
            n_obs_steps=2,
            global_cond_dim=global_cond_dim,
            local_cond_dim=local_cond_dim,
        )

    return build_unet


@pytest.fixture(params=["k5_scale_global", "k5_scale_local_global"])
def original(request, golden, build, tensors):
    """A network with the original's weights, and the file of its numbers."""
    configs = json.loads(golden("a_unet1d_configs.json").read_text())
    options = {name: value for name, value in configs[request.param].items() if name != "works_for_horizon"}
    file = np.load(golden(f"a_unet1d_{request.param}.npz"))
    unet = build(**options)
    weights = tensors(file, "sd/")
    unet.load_state_dict(weights, strict=True)
    assert list(unet.state_dict()) == list(weights)  # the order is that of optimizer states
    return unet, file


def call(unet, inputs, timestep=None):
    timestep = inputs["timestep"] if timestep is None else timestep
    return unet(inputs["sample"], timestep, inputs.get("local_cond"), inputs.get("global_cond"))


@pytest.mark.parametrize("length", [16, 8, 12])
def test_outputs_are_those_of_the_original(original, tensors, length):
    unet, file = original
    inputs = tensors(file, f"T{length}/")

    with torch.no_grad():
        out = call(unet, inputs)
        out_of_one_time = call(unet, inputs, torch.tensor(50))

    torch.testing.assert_close(out, inputs["out"], rtol=0, atol=OUTPUT_TOLERANCE)
    torch.testing.assert_close(out_of_one_time, inputs["out_scalar_t50"], rtol=0, atol=OUTPUT_TOLERANCE)


def test_gradients_are_those_of_the_original(original, tensors):
    unet, file = original
    inputs = tensors(file, "T16/")
    inputs["sample"].requires_grad_()
    parameters = dict(unet.named_parameters())

    call(unet, inputs).square().sum().backward()

    expected = inputs["grad_sample_of_sum_out_squared"]
    tolerance = GRADIENT_TOLERANCE * expected.abs().max().item()
    torch.testing.assert_close(inputs["sample"].grad, expected, rtol=0, atol=tolerance)
    assert sorted(parameters) == file["param_names_sorted"].tolist()
    gradients = [parameters[name].grad for name in sorted(parameters)]
    norms = [0.0 if gradient is None else gradient.double().norm().item() for gradient in gradients]
    expected_norms = file["T16/grad_param_l2"]
    np.testing.assert_allclose(norms, expected_norms, rtol=0, atol=GRADIENT_TOLERANCE * expected_norms.max())


def test_a_seed_draws_the_original_s_initial_weights(registry):
    """Sums computed with the original's network: those of weights made after each of its parts."""
    sums = {
        "up_modules.0.1.cond_encoder.1.weight": -1.71323,
        "up_modules.0.2.conv.weight": -0.15474,
        "down_modules.0.0.residual_conv.weight": 0.67967,
        "down_modules.0.1.cond_encoder.1.weight": 1.07337,
        "down_modules.0.2.conv.weight": 0.07998,
        "down_modules.1.1.cond_encoder.1.weight": 0.27824,
        "final_conv.1.weight": 0.94771,
    }
    options = {"diffusion_step_embed_dim": 8, "down_dims": [8, 16], "kernel_size": 3, "cond_predict_scale": False}
    sizes = {"input_dim": 2, "horizon": 16, "n_obs_steps": 2, "global_cond_dim": 7, "local_cond_dim": 3}

    torch.manual_seed(0)
    weights = registry.build("denoiser", {"name": "unet1d", **options}, **sizes).state_dict()

    assert {name: round(weights[name].double().sum().item(), 5) for name in sums} == sums


def test_second_local_encoder_gets_no_gradient_and_is_frozen(build):
    unet = build(local_cond_dim=3, **SMALL)

    unet(torch.randn(2, 4, 2), torch.tensor(5), local_cond=torch.randn(2, 4, 3)).sum().backward()

    without = {name for name, parameter in unet.named_parameters() if parameter.grad is None}
    assert without == {name for name, _ in unet.named_parameters() if name.startswith("local_cond_encoder.1.")}
    assert without == {name for name, parameter in unet.named_parameters() if not parameter.requires_grad}


@pytest.mark.parametrize(
    ("input_dim", "global_cond_dim", "options", "count"),
    [
        (2, 10, {}, 65_353_218),
        (2, 40, {}, 65_783_298),
        (22, None, {}, 65_245_718),
        (2, 132, {"diffusion_step_embed_dim": 128, "down_dims": [512, 1024, 2048]}, 251_511_938),
        (10, 274, {"diffusion_step_embed_dim": 128, "down_dims": [512, 1024, 2048]}, 255_612_042),
        (2, 260, {"diffusion_step_embed_dim": 128}, 66_708_354),
    ],
)
def test_it_has_as_many_parameters_as_the_paper_says(build, input_dim, global_cond_dim, options, count):
    with torch.device("meta"):
        unet = build(input_dim=input_dim, global_cond_dim=global_cond_dim, **options)

    assert sum(parameter.numel() for parameter in unet.parameters()) == count


def test_a_condition_that_only_shifts_has_one_number_per_channel(build):
    unet = build(global_cond_dim=3, cond_predict_scale=False, **SMALL)
    sample = torch.randn(2, 4, 2)

    out = unet(sample, torch.tensor([1, 2]), global_cond=torch.randn(2, 3))

    assert out.shape == sample.shape
    assert unet.mid_modules[0].cond_encoder[1].out_features == 16


def test_samples_of_a_batch_do_not_see_each_other(build):
    unet = build(global_cond_dim=3, **SMALL)
    sample, cond, times = torch.randn(3, 8, 2), torch.randn(3, 3), torch.tensor([0, 5, 99])

    together = unet(sample, times, global_cond=cond)
    alone = torch.cat([unet(sample[i : i + 1], times[i], global_cond=cond[i : i + 1]) for i in range(3)])

    torch.testing.assert_close(together, alone, rtol=0, atol=1e-5)


def test_one_level_takes_any_length(build):
    unet = build(horizon=7, **{**SMALL, "down_dims": [8]})

    assert unet(torch.randn(1, 7, 2), torch.tensor(3)).shape == (1, 7, 2)


def test_it_runs_in_half_precision(build):
    unet = build(global_cond_dim=3, **SMALL).to(torch.bfloat16)

    out = unet(
        torch.randn(2, 4, 2, dtype=torch.bfloat16), torch.tensor(9), global_cond=torch.randn(2, 3, dtype=torch.bfloat16)
    )

    assert out.dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (
            {"horizon": 10},
            "down_dims: horizon 10 is not divisible by 4, which the 3 levels of down_dims need; choose 8 or 12",
        ),
        (
            {"horizon": 3},
            "down_dims: horizon 3 is not divisible by 4, which the 3 levels of down_dims need; choose 4",
        ),
        (
            {"down_dims": [256, 500, 1024]},
            "n_groups: 8 does not divide 500 of down_dims; choose one that divides all",
        ),
        (
            {"down_dims": [36, 64], "n_groups": 4},
            "down_dims: the first, 36, is not divisible by 8, the groups of the last normalisation; choose 32",
        ),
        (
            {"kernel_size": 4},
            "kernel_size: 4 is not a positive odd number, and would change the length of the trajectory; choose 3 or 5",
        ),
        (
            {"diffusion_step_embed_dim": 7},
            "diffusion_step_embed_dim: 7 is not an even number of at least 4, and a time is embedded as pairs of sine "
            "and cosine; choose 8",
        ),
    ],
)
def test_options_that_do_not_fit_are_reported(build, options, problem):
    with pytest.raises(ConfigError) as error:
        build(**options)

    assert str(error.value) == f"denoiser 'unet1d' has 1 problem\n  {problem}"


def test_a_trajectory_that_cannot_be_halved_is_reported(build):
    with pytest.raises(InputError) as error:
        build(**SMALL)(torch.randn(1, 5, 2), torch.tensor(0))

    assert str(error.value) == (
        "unet1d: the length of the trajectory 5 is not divisible by 2, which the 2 levels of down_dims need; "
        "choose 4 or 6"
    )


def test_conditions_must_be_those_it_was_built_with(build):
    sample, time = torch.randn(1, 4, 2), torch.tensor(0)

    with pytest.raises(InputError) as missing:
        build(global_cond_dim=3, **SMALL)(sample, time)
    with pytest.raises(InputError) as unexpected:
        build(**SMALL)(sample, time, local_cond=torch.randn(1, 4, 3))

    assert str(missing.value) == "unet1d: 'global_cond' is missing; the network was built with it"
    assert str(unexpected.value) == "unet1d: 'local_cond' was given; the network was built without it"


@pytest.mark.parametrize("cond_predict_scale", [True, False])
@pytest.mark.parametrize(("global_cond_dim", "local_cond_dim"), [(5, None), (5, 3), (None, 3), (None, None)])
def test_a_prepared_chunk_is_denoised_as_any_other(build, global_cond_dim, local_cond_dim, cond_predict_scale):
    torch.manual_seed(0)
    unet = build(
        global_cond_dim=global_cond_dim, local_cond_dim=local_cond_dim, **SMALL, cond_predict_scale=cond_predict_scale
    )
    sample, times = torch.randn(3, 4, 2), torch.tensor([90, 40, 0])
    conditions = {
        "global_cond": None if global_cond_dim is None else torch.randn(3, global_cond_dim),
        "local_cond": None if local_cond_dim is None else torch.randn(3, 4, local_cond_dim),
    }

    denoise = unet.prepare(times, **conditions)

    for i, time in enumerate(times):
        torch.testing.assert_close(denoise(sample, i), unet(sample, time, **conditions), rtol=0, atol=2e-6)
