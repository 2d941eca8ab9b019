"""The assembled hybrid policy with the transformer against the original's numbers (tests/golden/README.md, j)."""

import json

import numpy as np
import pytest
import torch

pytest.importorskip("robomimic", reason="pip install --no-deps robomimic==0.3.0")

SHAPE_META = {
    "obs": {"image": {"shape": [3, 96, 96], "type": "rgb"}, "agent_pos": {"shape": [2], "type": "low_dim"}},
    "action": {"shape": [2]},
}
BLOCK = {
    "name": "diffusion",
    "horizon": 10,
    "n_obs_steps": 2,
    "n_action_steps": 8,
    "encoder": {"name": "robomimic", "crop_shape": [76, 76]},
    "denoiser": {"name": "transformer", "n_layer": 2, "n_head": 4, "n_emb": 32},
}


@pytest.fixture(scope="module")
def original(golden):
    return np.load(golden("j_transformer_hybrid_cond.npz"))


@pytest.fixture
def policy(registry, original, tensors):
    policy = registry.build("policy", BLOCK, shape_meta=SHAPE_META)
    policy.load_state_dict(tensors(original, "sd/"), strict=True)
    return policy.eval()


@pytest.fixture
def batch(original):
    image, agent_pos = original["batch/obs/image_uint8"], original["batch/obs/agent_pos"]
    return {
        "obs": {"image": torch.from_numpy(image), "agent_pos": torch.from_numpy(agent_pos)},
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
    np.testing.assert_allclose(norms, expected, rtol=0, atol=2.9e-3 * expected.max())


@pytest.mark.parametrize("sampler", ["ddpm100", "ddim8"])
def test_actions_are_those_of_the_original(registry, policy, batch, original, sampler):
    sampling = {"num_inference_steps": int(sampler[4:]), "timestep_spacing": "leading"}
    policy.scheduler = registry.build("scheduler", {"name": sampler[:4], **sampling})
    torch.manual_seed(1234)

    result = policy.predict_action({key: value[:, :2] for key, value in batch["obs"].items()})

    for name in ("action", "action_pred"):
        np.testing.assert_allclose(result[name], original[f"{sampler}/{name}"], rtol=0, atol=0.076)


def test_weight_decay_has_the_original_s_groups(registry, policy, golden):
    options = {"name": "adamw", "weight_decay": 1e-3, "encoder_weight_decay": 1e-6}

    groups = registry.build("optimizer", options, policy=policy).param_groups

    expected = json.loads(golden("j_configs.json").read_text())["transformer_hybrid_cond"]["optimizer_groups"]
    expected[1]["n"] -= 1  # of the original's empty parameter
    assert [{"n": len(group["params"]), "weight_decay": group["weight_decay"]} for group in groups] == expected
