"""The assembled low-dimensional policy against the original's numbers (tests/golden/README.md, j)."""

import numpy as np
import pytest
import torch

SHAPE_META = {"obs": {"obs": {"shape": [20], "type": "low_dim"}}, "action": {"shape": [2]}}
BLOCK = {
    "name": "diffusion",
    "horizon": 16,
    "n_obs_steps": 2,
    "n_action_steps": 8,
    "encoder": "lowdim",
    "denoiser": {"name": "unet1d", "diffusion_step_embed_dim": 32, "down_dims": [32, 64, 128]},
}


@pytest.fixture(scope="module")
def original(golden):
    return np.load(golden("j_unet_lowdim_global.npz"))


@pytest.fixture
def policy(registry, original, tensors):
    policy = registry.build("policy", BLOCK, shape_meta=SHAPE_META)
    weights = tensors(original, "sd/")
    policy.load_state_dict(weights, strict=True)
    assert list(policy.state_dict()) == list(weights)
    return policy.eval()


@pytest.fixture
def batch(original):
    return {
        "obs": {"obs": torch.from_numpy(original["batch/obs"])},
        "action": torch.from_numpy(original["batch/action"]),
    }


def test_loss_and_gradients_are_those_of_the_original(policy, batch, original):
    torch.manual_seed(7)
    loss = policy(batch)
    loss.backward()

    assert loss.item() == pytest.approx(original["loss_eval_mode_seed7/loss"].item(), abs=2.6e-5)
    parameters = dict(policy.named_parameters())
    norms = [parameters[name].grad.double().norm().item() for name in original["loss_eval_mode_seed7/grad_names"]]
    expected = original["loss_eval_mode_seed7/grad_l2"]
    np.testing.assert_allclose(norms, expected, rtol=0, atol=3.4e-6 * expected.max())


@pytest.mark.parametrize("sampler", ["ddpm100", "ddim8"])
def test_actions_are_those_of_the_original(registry, policy, batch, original, sampler):
    sampling = {"num_inference_steps": int(sampler[4:]), "timestep_spacing": "leading"}
    policy.scheduler = registry.build("scheduler", {"name": sampler[:4], **sampling})
    torch.manual_seed(1234)

    result = policy.predict_action({"obs": batch["obs"]["obs"][:, :2]})

    for name in ("action", "action_pred"):
        np.testing.assert_allclose(result[name], original[f"{sampler}/{name}"], rtol=0, atol=0.076)
