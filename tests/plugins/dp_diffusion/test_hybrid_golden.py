"""The assembled hybrid policy of the paper against the original's numbers (tests/golden/README.md, i)."""

import copy

import numpy as np
import pytest
import torch

from dp_core.training.ema import EMAModel

pytest.importorskip("robomimic", reason="pip install --no-deps robomimic==0.3.0")

SHAPE_META = {
    "obs": {"image": {"shape": [3, 96, 96], "type": "rgb"}, "agent_pos": {"shape": [2], "type": "low_dim"}},
    "action": {"shape": [2]},
}
BLOCK = {
    "name": "diffusion",
    "horizon": 16,
    "n_obs_steps": 2,
    "n_action_steps": 8,
    "encoder": {"name": "robomimic", "crop_shape": [76, 76]},
    "denoiser": {"name": "unet1d", "diffusion_step_embed_dim": 32, "down_dims": [32, 64, 128]},
}


@pytest.fixture(scope="module")
def original(golden):
    return np.load(golden("i_hybrid_crop76.npz"))


@pytest.fixture(scope="module")
def weights(original, tensors):
    return tensors(original, "sd/")


@pytest.fixture
def policy(registry, weights):
    policy = registry.build("policy", BLOCK, shape_meta=SHAPE_META)
    policy.load_state_dict(weights, strict=True)
    return policy.eval()


@pytest.fixture
def batch(original):
    image, agent_pos = original["batch/obs/image_uint8"], original["batch/obs/agent_pos"]
    return {
        "obs": {"image": torch.from_numpy(image), "agent_pos": torch.from_numpy(agent_pos)},
        "action": torch.from_numpy(original["batch/action"]),
    }


def test_the_state_dict_is_that_of_the_original(policy, weights):
    """Optimizer states are stored by position, so the order matters as well."""
    names = [name for name in policy.state_dict() if not name.startswith("normalizer.")]

    assert set(policy.state_dict()) == set(weights)
    trained = [name for name, _ in policy.named_parameters()]
    assert trained == [name for name in weights if name in trained]
    assert (names[0], names[-1]) == ("_dummy_variable", "mask_generator._dummy_variable")


def test_loss_and_gradients_are_those_of_the_original(policy, batch, original):
    torch.manual_seed(7)
    loss = policy(batch)
    loss.backward()

    assert loss.item() == pytest.approx(original["loss_eval_mode_seed7/loss"].item(), abs=2.4e-6)
    parameters = dict(policy.named_parameters())
    norms = [parameters[name].grad.double().norm().item() for name in original["loss_eval_mode_seed7/grad_names"]]
    expected = original["loss_eval_mode_seed7/grad_l2"]
    np.testing.assert_allclose(norms, expected, rtol=0, atol=1.4e-5 * expected.max())


def test_loss_with_random_crops_is_that_of_the_original(policy, batch, original):
    """Equal only if crops, noise and timesteps are drawn in the original's order."""
    torch.manual_seed(11)

    loss = policy.train()(batch)

    assert loss.item() == pytest.approx(original["loss_train_mode_seed11/loss"].item(), abs=8.4e-6)


def test_float_images_in_0_to_1_are_the_same_as_bytes(policy, batch):
    floats = copy.deepcopy(batch)
    floats["obs"]["image"] = batch["obs"]["image"] / 255

    losses = [policy.compute_loss(b, torch.Generator().manual_seed(0)).item() for b in (batch, floats)]

    assert losses[0] == losses[1]


@pytest.mark.parametrize(
    "sampler", ["ddpm100", "ddpm10", "ddim16", "ddim10", "ddim8", "ddim8_predsample", "ddpm100_predsample"]
)
def test_actions_are_those_of_the_original(registry, policy, batch, original, sampler):
    process, _, prediction = sampler.partition("_")
    policy.scheduler = registry.build(
        "scheduler",
        {
            "name": process[:4],
            "num_inference_steps": int(process[4:]),
            "timestep_spacing": "leading",
            "prediction_type": "sample" if prediction else "epsilon",
        },
    )
    inputs, outputs = [], []
    policy.model.register_forward_pre_hook(lambda _, args: inputs.append(args[0]))
    policy.model.register_forward_hook(lambda _, args, output: outputs.append(output))
    torch.manual_seed(1234)

    result = policy.predict_action({key: value[:, :2] for key, value in batch["obs"].items()})

    steps = original[f"{sampler}/traj_step_idx"]
    for name, trajectory in (("traj_model_input", inputs), ("traj_model_output", outputs)):
        expected = original[f"{sampler}/{name}"]
        np.testing.assert_allclose(torch.stack(trajectory)[steps], expected, rtol=0, atol=2.4e-4)
    for name in ("action", "action_pred"):
        np.testing.assert_allclose(result[name], original[f"{sampler}/{name}"], rtol=0, atol=0.067)


def test_training_goes_the_way_of_the_original(registry, policy, batch, original):
    """Five steps of AdamW with warm-up, and the average of the weights."""
    averaged = copy.deepcopy(policy)
    optimizer = registry.build("optimizer", "adamw", policy=policy)
    schedule = registry.build(
        "lr_schedule", {"name": "cosine", "num_warmup_steps": 3}, optimizer=optimizer, num_training_steps=10
    )
    ema = EMAModel(averaged, power=0.75)

    losses = []
    for step in range(5):
        torch.manual_seed(100 + step)
        loss = policy(batch)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
        ema.step(policy)
        losses.append(loss.item())

    np.testing.assert_allclose(losses, original["train5/losses"], rtol=0, atol=4e-3)
    names = original["train5/names"].tolist()
    for state, expected in ((policy.state_dict(), "param_l2"), (averaged.state_dict(), "ema_l2")):
        norms = [state[name].double().norm().item() for name in names]
        np.testing.assert_allclose(norms, original[f"train5/{expected}"], rtol=0, atol=4e-4)
