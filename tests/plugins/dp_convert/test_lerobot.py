"""`dp-convert` of LeRobot's checkpoints against numbers made with LeRobot 0.4.4 (tests/golden/README.md, m)."""

import json
import math

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from dp_convert.cli import main
from dp_core import load_policy
from dp_core.errors import ConfigError

pytest.importorskip("torchvision")

VARIANTS = ["one_camera", "two_cameras_and_environment", "one_step_batch_norm", "no_camera"]


def pattern(count, start):
    """Numbers in [-0.5, 0.5), (count,), float32."""
    return ((np.arange(count, dtype=np.int64) * 197 + start) % 509).astype(np.float32) / 509 - 0.5


def pattern_weights(shapes):
    """The weights of the golden numbers: by formula, so that they need not be stored."""
    state = {}
    for start, (name, shape) in enumerate(sorted(shapes.items())):
        count = math.prod(shape)
        values = pattern(count, start)
        if len(shape) > 1:
            values = values * 2 / math.sqrt(count / shape[0])
        elif name.endswith(("running_var", ".weight")):
            values = 1 + 0.2 * values
        state[name] = torch.from_numpy(np.asarray(values, dtype=np.float32).reshape(shape))
    return state


def pattern_images(shape, start):
    """The images of the golden numbers, uint8."""
    return ((np.arange(math.prod(shape), dtype=np.int64) * 7919 + 31 * start) % 251).astype(np.uint8).reshape(shape)


def read(golden, variant):
    file = np.load(golden("m_lerobot.npz"))
    return {name.removeprefix(f"{variant}/"): file[name] for name in file.files if name.startswith(f"{variant}/")}


def config_of(numbers):
    return json.loads(str(numbers["config"]))


def weights_of(numbers):
    weights = pattern_weights(json.loads(str(numbers["shapes"])))
    for name in [name for name in weights if name.endswith("running_var")]:
        weights[name.replace("running_var", "num_batches_tracked")] = torch.tensor(0)
    return weights


def stats_of(numbers):
    return {
        name.removeprefix("stats/"): torch.from_numpy(v) for name, v in numbers.items() if name.startswith("stats/")
    }


def write_folder(folder, config, weights, numbers=None):
    """A folder as LeRobot writes it; without ``numbers`` there is no preprocessor."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    save_file(weights, folder / "model.safetensors")
    if numbers is not None:
        (folder / "policy_preprocessor.json").write_text(str(numbers["preprocessor"]))
        save_file(stats_of(numbers), folder / "policy_preprocessor_step_3_normalizer_processor.safetensors")
    return folder


def observation(numbers, policy):
    """Observations under our names."""
    steps, obs = config_of(numbers)["n_obs_steps"], {}
    for index, (key, spec) in enumerate(config_of(numbers)["input_features"].items()):
        name = key.removeprefix("observation.").replace("images.", "")
        is_image = spec["type"] == "VISUAL"
        images = torch.from_numpy(pattern_images((3, steps, *spec["shape"]), index)) if is_image else None
        obs[name] = images if is_image else torch.from_numpy(numbers[f"obs/{key}"])
    return {key: obs["state" if key == "agent_pos" else key] for key in policy.shape_meta["obs"]}


@pytest.mark.parametrize("variant", VARIANTS)
def test_actions_are_those_of_lerobot(variant, golden, tmp_path):
    """Float32 rounding of both: LeRobot normalises by (x - min) / (max - min) * 2 - 1, here it is one factor."""
    numbers = read(golden, variant)
    folder = write_folder(tmp_path / "lerobot", config_of(numbers), weights_of(numbers), numbers)

    assert main([str(folder), str(tmp_path / "ours.ckpt")]) == 0

    policy = load_policy(tmp_path / "ours.ckpt")
    obs = observation(numbers, policy)
    features = policy._encode(obs).flatten(1)
    torch.testing.assert_close(features, torch.from_numpy(numbers["global_cond"]), rtol=1e-5, atol=3e-5)
    action = policy.predict_action(obs, generator=torch.Generator().manual_seed(1234))["action"]
    torch.testing.assert_close(action, torch.from_numpy(numbers["action"]), rtol=0, atol=5e-3)  # of 0 to 500


def test_the_format_of_2024_has_statistics_among_the_weights(golden, tmp_path):
    numbers = read(golden, "one_camera")
    config, weights = config_of(numbers), weights_of(numbers)
    config["input_shapes"] = {key: spec["shape"] for key, spec in config.pop("input_features").items()}
    config["output_shapes"] = {key: spec["shape"] for key, spec in config.pop("output_features").items()}
    config["input_normalization_modes"] = {"observation.image": "mean_std", "observation.state": "min_max"}
    config["output_normalization_modes"] = {"action": "min_max"}
    del config["normalization_mapping"]
    for name, value in stats_of(numbers).items():
        key, _, statistic = name.rpartition(".")
        owners = ["normalize_targets", "unnormalize_outputs"] if key == "action" else ["normalize_inputs"]
        for owner in owners:
            weights[f"{owner}.buffer_{key.replace('.', '_')}.{statistic}"] = value.clone()
    weights["diffusion.rgb_encoder.pool.pos_grid"] = torch.zeros(4, 2)
    folder = write_folder(tmp_path / "lerobot", config, weights)

    assert main([str(folder / "model.safetensors"), str(tmp_path / "ours.ckpt")]) == 0

    policy = load_policy(tmp_path / "ours.ckpt")
    action = policy.predict_action(observation(numbers, policy), generator=torch.Generator().manual_seed(1234))[
        "action"
    ]
    torch.testing.assert_close(action, torch.from_numpy(numbers["action"]), rtol=0, atol=5e-3)


def test_push_t_gets_its_runner_and_the_names_of_its_observations(golden, tmp_path):
    numbers = read(golden, "one_camera")
    config = config_of(numbers)
    config["input_features"]["observation.image"]["shape"] = [3, 96, 96]
    folder = write_folder(tmp_path / "lerobot", config, weights_of(numbers), numbers)
    (folder / "train_config.json").write_text(json.dumps({"env": {"type": "pusht"}}))

    assert main([str(folder), str(tmp_path / "ours.ckpt")]) == 0

    cfg = torch.load(tmp_path / "ours.ckpt", weights_only=True)["cfg"]
    assert cfg["runner"]["name"] == "dp-core/pusht"
    assert list(cfg["shape_meta"]["obs"]) == ["agent_pos", "image"]
    assert cfg["policy"]["scheduler"]["timestep_spacing"] == "leading"  # that of diffusers, if nobody says


def test_missing_statistics_are_reported_not_skipped(golden, tmp_path, capsys):
    numbers = read(golden, "no_camera")
    folder = write_folder(tmp_path / "lerobot", config_of(numbers), weights_of(numbers))

    assert main([str(folder), str(tmp_path / "ours.ckpt")]) == 2
    assert capsys.readouterr().err == (
        f"dp-convert: error: {folder}: 'observation.state' is normalised by 'MIN_MAX', but there is no min and max of "
        "it, neither in policy_preprocessor.json's file nor in model.safetensors; without it the actions would be "
        "wrong\n"
    )
    assert not (tmp_path / "ours.ckpt").exists()


def test_a_value_that_never_changed_comes_back_as_it_was(golden, tmp_path):
    numbers = dict(read(golden, "no_camera"))
    numbers["stats/action.min"] = np.array([7.0, 20.0], dtype=np.float32)
    numbers["stats/action.max"] = np.array([7.0, 480.0], dtype=np.float32)
    folder = write_folder(tmp_path / "lerobot", config_of(numbers), weights_of(numbers), numbers)

    main([str(folder), str(tmp_path / "ours.ckpt")])

    policy = load_policy(tmp_path / "ours.ckpt")
    assert (policy.predict_action(observation(numbers, policy))["action"][..., 0] - 7).abs().max() <= 2e-4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"type": "act"}, "FOLDER: a policy of type 'act'; only 'diffusion' can be converted"),
        (
            {"noise_scheduler_type": "EDM", "output_features": {}},
            "FOLDER/config.json has 2 problems\n  output_features: 'action' is missing\n"
            "  noise_scheduler_type: 'EDM' has no counterpart here; expected DDPM or DDIM",
        ),
    ],
)
def test_what_has_no_counterpart_is_named(change, message, golden, tmp_path, capsys):
    numbers = read(golden, "no_camera")
    folder = write_folder(tmp_path / "lerobot", config_of(numbers) | change, weights_of(numbers), numbers)

    assert main([str(folder), str(tmp_path / "ours.ckpt")]) == 2
    assert capsys.readouterr().err == f"dp-convert: error: {message.replace('FOLDER', str(folder))}\n"


def test_an_unknown_option_is_mentioned(golden, tmp_path, capsys):
    numbers = read(golden, "no_camera")
    folder = write_folder(tmp_path / "lerobot", config_of(numbers) | {"future": 1}, weights_of(numbers), numbers)

    main([str(folder), str(tmp_path / "ours.ckpt")])

    assert "note: not known, and left out: future\n" in capsys.readouterr().err


def test_weights_of_another_network_do_not_fit(golden, tmp_path, capsys):
    numbers = read(golden, "no_camera")
    weights = weights_of(numbers) | {"diffusion.extra.weight": torch.zeros(1)}
    folder = write_folder(tmp_path / "lerobot", config_of(numbers), weights, numbers)

    assert main([str(folder), str(tmp_path / "ours.ckpt")]) == 2
    assert capsys.readouterr().err.endswith("its config describes: there is no 'diffusion.extra.weight' here\n")


def test_a_folder_without_the_files_is_no_checkpoint(tmp_path, capsys):
    assert main([str(tmp_path), str(tmp_path / "ours.ckpt")]) == 2
    assert capsys.readouterr().err == (
        f"dp-convert: error: {tmp_path / 'config.json'}: no such file; "
        "expected a .ckpt file of the original, or a folder of LeRobot's with config.json and model.safetensors\n"
    )


def test_crops_are_random_in_training_and_fixed_in_evaluation(registry):
    shape_meta = {
        "obs": {"camera": {"shape": [3, 64, 64], "type": "rgb"}, "state": {"shape": [2], "type": "low_dim"}},
        "action": {"shape": [2]},
    }
    encoder = registry.build("encoder", {"name": "lerobot", "crop_shape": [48, 48]}, shape_meta=shape_meta)
    obs = {"camera": torch.rand(4, 3, 64, 64) * 2 - 1, "state": torch.rand(4, 2)}

    evaluated = [encoder.eval()(obs) for _ in range(2)]
    trained = [encoder.train()(obs) for _ in range(2)]

    assert torch.equal(*evaluated)
    assert not torch.equal(*trained)
    assert evaluated[0].shape == (4, encoder.output_dim) == (4, 66)


def test_images_have_three_channels_as_with_lerobot(registry):
    shape_meta = {"obs": {"depth": {"shape": [1, 96, 96], "type": "rgb"}}, "action": {"shape": [2]}}

    with pytest.raises(ConfigError) as error:
        registry.build("encoder", "lerobot", shape_meta=shape_meta)

    assert str(error.value).endswith(
        "name: 'lerobot' takes images of 3 channels, and those of 'depth' have 1; choose 'timm'"
    )
