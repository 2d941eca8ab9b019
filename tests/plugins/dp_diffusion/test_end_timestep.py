"""A second time on its way from the scheduler through the policy to each of the networks."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from dp_core.errors import ConfigError, InputError
from dp_core.testing.case import with_tiny_parts
from dp_core.testing.samples import normalizer_for, raw_batch

SHAPE_META = {"obs": {"state": {"shape": [3], "type": "low_dim"}}, "action": {"shape": [2]}}
DENOISERS = {
    "unet1d": {"down_dims": [8, 8], "n_groups": 4, "kernel_size": 3, "diffusion_step_embed_dim": 4},
    "dit1d": {"n_layer": 1, "n_head": 2, "n_emb": 8},
    "transformer": {"n_layer": 1, "n_head": 2, "n_emb": 8},
}
ADDED = {"unet1d": "step_length_encoder", "dit1d": "step_length_mlp", "transformer": "step_length_emb"}
each_denoiser = pytest.mark.parametrize("denoiser", DENOISERS)
GLOBALLY = {"obs_as_global_cond": True}
INPAINTED = {"obs_as_global_cond": False}


@pytest.fixture
def build(registry):
    def build_policy(denoiser="dit1d", scheduler="mean_flow", **options):
        config = {
            "name": "diffusion",
            "horizon": 4,
            "n_obs_steps": 2,
            "n_action_steps": 2,
            "encoder": "lowdim",
            "denoiser": {"name": denoiser, **DENOISERS.get(denoiser, {})},
            "scheduler": scheduler,
            **options,
        }
        torch.manual_seed(0)
        policy = with_tiny_parts(registry).build("policy", config, shape_meta=SHAPE_META)
        policy.set_normalizer(normalizer_for(SHAPE_META))
        return policy

    return build_policy


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def shaken(policy):
    """Some networks start as zeros."""
    draw = generator(3)
    with torch.no_grad():
        for parameter in policy.model.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=draw))
    return policy


@each_denoiser
def test_without_a_second_time_a_network_is_what_it_was(build, denoiser):
    """With one it has more parameters, beside the others."""
    plain, more = (dict(build(denoiser, name).model.named_parameters()) for name in ("ddim", "mean_flow"))

    added = more.keys() - plain.keys()
    assert {name.partition(".")[0] for name in added} == {ADDED[denoiser]}
    assert [name for name in more if name not in added] == list(plain)


@each_denoiser
@pytest.mark.parametrize("way", [GLOBALLY, INPAINTED], ids=["global", "inpainting"])
def test_it_learns_and_acts(build, denoiser, way):
    policy = shaken(build(denoiser, {"name": "mean_flow", "num_inference_steps": 2}, **way))
    batch = raw_batch(SHAPE_META, 3, 4)

    policy.compute_loss(batch, generator()).backward()
    obs = {"state": batch["obs"]["state"][:, :2]}
    prefix = torch.full((3, 1, 2), 40.0)
    action = policy.eval().predict_action(obs, generator(), fixed_action_prefix=prefix)["action"]

    gradients = [parameter.grad for name, parameter in policy.model.named_parameters() if ADDED[denoiser] in name]
    assert gradients
    assert all(gradient.abs().sum() > 0 for gradient in gradients)
    assert action.isfinite().all()
    torch.testing.assert_close(action[:, :1], prefix)


@pytest.mark.parametrize("name", ["mip", "{name}"])
def test_a_prefix_is_exact_with_the_other_new_schedulers_too(build, name):
    diffusers = {"name": "diffusers", "scheduler": "EulerDiscreteScheduler", "num_inference_steps": 3}
    policy = shaken(build("unet1d", "mip" if name == "mip" else diffusers)).eval()
    prefix = torch.full((3, 2, 2), 40.0)

    action = policy.predict_action({"state": torch.zeros(3, 2, 3)}, generator(), fixed_action_prefix=prefix)["action"]

    torch.testing.assert_close(action, prefix)


@pytest.mark.parametrize("scheduler", ["mean_flow", "mip"])
def test_they_act_with_weights_of_lower_precision(build, scheduler):
    policy = build("unet1d", scheduler)
    obs = {"state": torch.zeros(2, 2, 3)}

    policy.prepare_inference(obs, dtype=torch.bfloat16)

    assert policy.predict_action(obs)["action"].dtype == torch.float32


@each_denoiser
def test_a_second_time_that_is_missing_or_not_expected_is_refused(build, denoiser):
    sample, time, cond = torch.zeros(2, 4, 2), torch.tensor(3.0), torch.zeros(2, 6)

    with pytest.raises(InputError) as missing:
        build(denoiser).model(sample, time, global_cond=cond)
    with pytest.raises(InputError) as given:
        build(denoiser, "ddim").model(sample, time, global_cond=cond, end_timestep=time)

    assert str(missing.value) == f"{denoiser}: 'end_timestep' is missing; the network was built with it"
    assert str(given.value) == f"{denoiser}: 'end_timestep' was given; the network was built without it"


def test_a_denoiser_that_does_not_take_it_is_refused_with_the_config(build):
    with pytest.raises(ConfigError) as caught:
        build("dp-core/tiny")

    assert str(caught.value) == (
        "policy 'diffusion' has 1 problem\n"
        "  denoiser: 'tiny' takes no 'end_timestep', which scheduler 'mean_flow' needs; choose another denoiser or "
        "scheduler; for authors of denoiser 'tiny': what it takes is named in 'takes' of TinyOptions, see "
        "dp_core.interfaces.denoiser"
    )


def test_the_check_imports_no_torch():
    program = (
        "import sys; from dp_diffusion.config import DiffusionConfig; from dp_core.config.checks import untaken_inputs;"
        "from dp_schedulers.config import MeanFlowConfig, MIPConfig; print('torch' in sys.modules)"
    )

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert done.stdout == "False\n"
