"""The robomimic encoder against the original's numbers (tests/golden/README.md, i)."""

import numpy as np
import pytest
import torch

from dp_core.errors import DpError
from dp_robomimic.config import RobomimicConfig
from dp_robomimic.plugin import dp_components

pytest.importorskip("robomimic", reason="pip install --no-deps robomimic==0.3.0")

PUSHT = {"obs": {"image": {"shape": [3, 96, 96], "type": "rgb"}, "agent_pos": {"shape": [2]}}, "action": {"shape": [2]}}
TOLERANCE = 3.9e-5


def build(shape_meta, **options):
    component = next(iter(dp_components()))
    return component.load()(RobomimicConfig(**options), shape_meta=shape_meta)


def weights(file, prefix="sd/"):
    return {name.removeprefix(prefix): torch.from_numpy(file[name]) for name in file.files if name.startswith(prefix)}


@pytest.fixture(scope="module")
def two_cameras(golden):
    return np.load(golden("i_encoder_2cam_gn_crop40.npz"))


@pytest.fixture(scope="module")
def two_cameras_obs(two_cameras):
    return weights(two_cameras, "obs/")


@pytest.fixture(scope="module")
def two_cameras_meta(two_cameras, two_cameras_obs):
    obs = {}
    for key in two_cameras["obs_key_order"].tolist():
        value = two_cameras_obs[key]
        obs[key] = {"shape": list(value.shape[1:]), "type": "rgb" if value.ndim == 4 else "low_dim"}
    return {"obs": obs, "action": {"shape": [2]}}


@pytest.mark.parametrize("eval_fixed_crop", [True, False])
def test_features_are_those_of_the_original(two_cameras, two_cameras_obs, two_cameras_meta, eval_fixed_crop):
    encoder = build(two_cameras_meta, crop_shape=(40, 40), eval_fixed_crop=eval_fixed_crop)
    encoder.load_state_dict(weights(two_cameras), strict=True)

    evaluated = encoder.eval()(two_cameras_obs)
    torch.manual_seed(3)
    trained = encoder.train()(two_cameras_obs)

    assert encoder.output_dim == evaluated.shape[1] == 135
    np.testing.assert_allclose(evaluated.detach(), two_cameras["features_eval"], rtol=0, atol=TOLERANCE)
    np.testing.assert_allclose(trained.detach(), two_cameras["features_train_seed3"], rtol=0, atol=TOLERANCE)


def test_features_of_the_hybrid_policy_are_those_of_the_original(golden):
    file = np.load(golden("i_hybrid_crop76.npz"))
    encoder = build(PUSHT)
    encoder.load_state_dict(weights(file, "sd/obs_encoder."), strict=True)
    image = torch.from_numpy(file["batch/obs/image_uint8"][:, :2]).flatten(0, 1).float() / 255 * 2 - 1
    agent_pos = torch.from_numpy(file["batch/obs/agent_pos"][:, :2]).flatten(0, 1)
    scale, offset = (
        torch.from_numpy(file[f"sd/normalizer.params_dict.agent_pos.{name}"]) for name in ("scale", "offset")
    )

    features = encoder.eval()({"image": image, "agent_pos": agent_pos * scale + offset})

    np.testing.assert_allclose(features.detach(), file["eval/encoder_features_B*To"], rtol=0, atol=TOLERANCE)


def test_size_is_that_of_the_original():
    encoder = build(PUSHT)

    assert encoder.output_dim == 66
    assert sum(parameter.numel() for parameter in encoder.parameters()) == 11_197_088


def test_without_cropping_the_whole_image_is_seen():
    meta = {"obs": {"image": {"shape": [3, 40, 48], "type": "rgb"}}, "action": {"shape": [2]}}
    whole, equal = build(meta, crop_shape=None), build(meta, crop_shape=(40, 48))
    equal.load_state_dict(whole.state_dict(), strict=True)
    obs = {"image": torch.rand(2, 3, 40, 48)}

    torch.testing.assert_close(whole.train()(obs), equal.train()(obs), rtol=0, atol=0)


def test_state_alone_is_flattened_and_concatenated():
    meta = {"obs": {"pose": {"shape": [2, 3]}, "grip": {"shape": [1]}}, "action": {"shape": [2]}}
    encoder = build(meta)
    obs = {"grip": torch.full((4, 1), 6.0), "pose": torch.arange(6.0).view(2, 3).expand(4, 2, 3)}

    assert encoder.output_dim == 7
    assert encoder(obs).tolist() == [[0, 1, 2, 3, 4, 5, 6]] * 4


def test_batch_norm_stays_on_request():
    names = {type(module).__name__ for module in build(PUSHT, obs_encoder_group_norm=False).modules()}

    assert "BatchNorm2d" in names
    assert "GroupNorm" not in names


def test_options_set_the_size_of_the_feature():
    assert build(PUSHT, feature_dimension=16, num_kp=4).output_dim == 18


def test_building_is_silent(capfd):
    """Warnings would be errors here, and robomimic's notes go to stdout."""
    encoder = build(PUSHT)

    assert capfd.readouterr() == ("", "")
    assert "(obs_nets)" in repr(encoder)


def test_crop_larger_than_an_image_is_a_config_problem():
    problems = list(RobomimicConfig(crop_shape=(128, 128)).check(shape_meta=PUSHT))

    message = "[128, 128] is larger than the image (96, 96) of 'image'; choose at most 96 x 96"
    assert problems == [("crop_shape", message)]


@pytest.mark.parametrize("crop_shape", [None, (96, 96), (84, 96)])
def test_crop_up_to_the_whole_image_is_fine(crop_shape):
    assert list(RobomimicConfig(crop_shape=crop_shape).check(shape_meta=PUSHT)) == []


def test_absent_library_is_named_with_the_command_that_installs_it(monkeypatch):
    monkeypatch.setattr("dp_core.component._is_installed", lambda name: name != "robomimic")
    component = next(iter(dp_components()))

    with pytest.raises(DpError) as raised:
        component.load()

    assert str(raised.value) == (
        "encoder 'robomimic' needs 'robomimic', which is not installed; install with: "
        "pip install --no-deps robomimic==0.3.0 && pip install 'dp-core[robomimic]'"
    )
