"""The other modes of the low-dimensional policies against the original's numbers (tests/golden/README.md, j)."""

import numpy as np
import pytest
import torch

SHAPE_META = {"obs": {"obs": {"shape": [5], "type": "low_dim"}}, "action": {"shape": [2]}}
BLOCK = {
    "name": "diffusion",
    "horizon": 16,
    "n_obs_steps": 2,
    "n_action_steps": 8,
    "encoder": "lowdim",
    "scheduler": {"name": "ddim", "num_inference_steps": 8, "timestep_spacing": "leading"},
}
UNET = {"name": "unet1d", "diffusion_step_embed_dim": 8, "down_dims": [8, 16], "kernel_size": 3}
TRANSFORMER = {"name": "transformer", "n_layer": 1, "n_head": 2, "n_emb": 16}
MODES = {
    "unet_local": {"denoiser": UNET, "obs_as_global_cond": False, "obs_as_local_cond": True},
    "unet_inpaint": {"denoiser": UNET, "obs_as_global_cond": False},
    "unet_global_oldconv": {"denoiser": UNET, "oa_step_convention": False},
    "unet_predactiononly": {"denoiser": UNET, "pred_action_steps_only": True},
    "unet_predactiononly_oldconv": {"denoiser": UNET, "pred_action_steps_only": True, "oa_step_convention": False},
    "transformer_inpaint": {
        "denoiser": {**TRANSFORMER, "causal_attn": False, "time_as_cond": False},
        "obs_as_global_cond": False,
    },
    "transformer_predactiononly": {"denoiser": TRANSFORMER, "pred_action_steps_only": True},
}


@pytest.fixture(scope="module")
def original(golden):
    return np.load(golden("j_lowdim_modes.npz"))


@pytest.fixture(scope="module", params=list(MODES))
def mode(request):
    return request.param


@pytest.fixture
def policy(registry, original, tensors, mode):
    policy = registry.build("policy", {**BLOCK, **MODES[mode]}, shape_meta=SHAPE_META)
    weights = tensors(original, f"{mode}/sd/")
    policy.load_state_dict(weights, strict=True)
    assert policy.state_dict().keys() == weights.keys()
    return policy.eval()


def test_loss_and_gradients_are_those_of_the_original(policy, mode, original):
    batch = {"obs": {"obs": torch.from_numpy(original["obs"])}, "action": torch.from_numpy(original["action"])}

    torch.manual_seed(7)
    loss = policy(batch)
    loss.backward()

    assert loss.item() == pytest.approx(original[f"{mode}/loss_seed7"].item(), abs=2.6e-5)
    parameters = dict(policy.named_parameters())
    names, expected = original[f"{mode}/grad_names"], original[f"{mode}/grad_l2"]
    norms = [parameters[name].grad.double().norm().item() for name in names]
    np.testing.assert_allclose(norms, expected, rtol=0, atol=1e-5 * expected.max())  # CPUs differ by 4e-6


def test_actions_are_those_of_the_original(policy, mode, original):
    torch.manual_seed(1234)

    result = policy.predict_action({"obs": torch.from_numpy(original["obs"][:, :2])})

    for name in ("action", "action_pred"):
        np.testing.assert_allclose(result[name], original[f"{mode}/ddim8_seed1234/{name}"], rtol=0, atol=0.076)
