"""LeRobot's diffusion-policy checkpoints: ``config.json``, ``model.safetensors`` and, since 2025, the processors'."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from dp_convert.block import Block
from dp_convert.conversion import Conversion
from dp_convert.lerobot.names import our_weights
from dp_convert.lerobot.statistics import Statistics, image_stats, normalizer_field
from dp_core.errors import CheckpointError, ConfigError, Problem

_STATE, _ENV_STATE, _ACTION = "observation.state", "observation.environment_state", "action"

_NOT_OF_THE_POLICY = (
    "type", "device", "use_amp", "use_peft", "push_to_hub", "repo_id", "private", "tags", "license", "pretrained_path",
    "drop_n_last_frames", "do_mask_loss_for_padding", "pretrained_backbone_weights", "compile_model", "compile_mode",
    "gradient_checkpointing", "scheduler_name", "optimizer_eps", "normalization_mapping", "input_normalization_modes",
    "output_normalization_modes", "crop_ratio",
)  # fmt: skip
"""Of a run, of training, or read elsewhere."""


def read_lerobot(folder: Path) -> Conversion:
    """Read a folder that LeRobot's ``save_pretrained`` wrote.

    Raises:
        CheckpointError: files are missing or damaged.
        ConfigError: parts of its config that have no counterpart here, all of them.
    """
    config = _read_json(folder / "config.json")
    kind = config.get("type", "diffusion")
    if kind != "diffusion":
        raise CheckpointError(f"{folder}: a policy of type '{kind}'; only 'diffusion' can be converted")
    weights = _read_tensors(folder / "model.safetensors")
    statistics = Statistics(config, weights, _processor_statistics(folder))
    problems: list[Problem] = []
    notes: list[str] = []
    is_pusht = _is_pusht(folder)
    block = Block(config, "", problems)
    features = _features(block)
    names = _our_keys(features, is_pusht)
    data = _config(block, features, names, is_pusht, notes)
    block.ignore(*_NOT_OF_THE_POLICY)
    if unknown := block.left():
        # LeRobot adds options with every version; what changes the network shows in its weights, which have to fit.
        notes.append(f"not known, and left out: {', '.join(unknown)}")
    if problems:
        raise ConfigError(f"{folder / 'config.json'}", problems)

    state = our_weights(weights)
    images = [key for key, spec in data["shape_meta"]["obs"].items() if spec["type"] == "rgb"]
    for theirs, ours in names.items():
        statistic = statistics.of(theirs, "rgb" if ours in images else "low_dim", folder)
        if ours in images:
            state |= image_stats(ours, statistic)
        state |= normalizer_field(ours, statistic, is_image=ours in images)
    return Conversion(data, {"model": state}, notes)


def _features(block: Block) -> dict[str, tuple[int, ...]]:
    """Shapes by LeRobot's keys, observations first, in LeRobot's order of features."""
    if "input_shapes" in block:  # until 2025
        inputs, outputs = block.take("input_shapes"), block.take("output_shapes")
    else:
        inputs, outputs = (
            {key: spec["shape"] for key, spec in (block.take(f"{side}_features") or {}).items()}
            for side in ("input", "output")
        )
    images = [key for key in inputs if key.startswith("observation.image")]
    order = [_STATE, *images, _ENV_STATE]
    for key in inputs:
        if key not in order:
            block.fail(f"input_features.{key}", "has no counterpart here; expected state, images, environment state")
    if _STATE not in inputs:
        block.fail("input_features", f"'{_STATE}' is missing")
    if _ACTION not in outputs:
        block.fail("output_features", f"'{_ACTION}' is missing")
    shapes = {key: tuple(inputs[key]) for key in order if key in inputs}
    return {**shapes, _ACTION: tuple(outputs.get(_ACTION, ()))}


def _our_keys(features: Mapping[str, Any], is_pusht: bool) -> dict[str, str]:
    """Our names of LeRobot's keys; those of our Push-T where that is the task."""
    names = {key: key.removeprefix("observation.").replace("images.", "").replace(".", "_") for key in features}
    if is_pusht and _STATE in names:
        names[_STATE] = "agent_pos"
    return names


def _config(
    block: Block, features: Mapping[str, tuple[int, ...]], names: Mapping[str, str], is_pusht: bool, notes: list[str]
) -> dict[str, Any]:
    images = [key for key in features if key.startswith("observation.image")]
    obs = {
        names[key]: {"shape": list(shape), "type": "rgb" if key in images else "low_dim"}
        for key, shape in features.items()
        if key != _ACTION
    }
    steps = {name: block.take(name) for name in ("horizon", "n_obs_steps", "n_action_steps")}
    runner = None
    if is_pusht and set(obs) <= {"image", "agent_pos"}:
        runner = {"name": "pusht", "n_obs_steps": steps["n_obs_steps"], "n_action_steps": steps["n_action_steps"]}
    else:
        notes.append("the task is not known; 'runner' is null")
    notes.append("the data set is not part of the file; 'dataset' is set to a replay buffer 'unknown'")
    return {
        "workspace": "train",
        "run_name": "lerobot",
        "shape_meta": {"obs": obs, "action": {"shape": list(features[_ACTION])}},
        **steps,
        "policy": {
            "name": "diffusion",
            **steps,
            "encoder": _encoder(block, has_images=bool(images)),
            "denoiser": {
                "name": "unet1d",
                "diffusion_step_embed_dim": block.take("diffusion_step_embed_dim", 128),
                "down_dims": block.take("down_dims", [512, 1024, 2048]),
                "kernel_size": block.take("kernel_size", 5),
                "n_groups": block.take("n_groups", 8),
                "cond_predict_scale": block.take("use_film_scale_modulation", True),
            },
            "scheduler": _scheduler(block),
        },
        "dataset": {"name": "replay", "path": "unknown", **steps},
        "runner": runner,
        "optimizer": {
            "name": "adam",
            "lr": block.take("optimizer_lr", 1e-4),
            "betas": block.take("optimizer_betas", [0.95, 0.999]),
            "weight_decay": block.take("optimizer_weight_decay", 1e-6),
        },
        "lr_schedule": {"name": "cosine", "num_warmup_steps": block.take("scheduler_warmup_steps", 500)},
        "ema": None,
        "training": {"num_epochs": 1},
        "callbacks": {"log": {"name": "json_log"}, "progress": {"name": "progress"}},
    }


def _encoder(block: Block, *, has_images: bool) -> dict[str, Any]:
    resize_shape, crop_shape = block.take("resize_shape", None), block.take("crop_shape", None)
    ratio = block.take("crop_ratio", 1.0)
    if resize_shape is not None:
        # LeRobot then takes the crop from the ratio alone.
        crop_shape = [int(size * ratio) for size in resize_shape] if ratio < 1 else None
    encoder = {
        "name": "lerobot",
        "vision_backbone": block.take("vision_backbone", "resnet18"),
        "resize_shape": resize_shape,
        "crop_shape": crop_shape,
        "crop_is_random": block.take("crop_is_random", True),
        "use_group_norm": block.take("use_group_norm", True),
        "spatial_softmax_num_keypoints": block.take("spatial_softmax_num_keypoints", 32),
        "use_separate_rgb_encoder_per_camera": block.take("use_separate_rgb_encoder_per_camera", False),
    }
    return encoder if has_images else {"name": "lowdim"}


def _scheduler(block: Block) -> dict[str, Any]:
    kind = block.take("noise_scheduler_type", "DDPM")
    if kind not in ("DDPM", "DDIM"):
        block.fail("noise_scheduler_type", f"{kind!r} has no counterpart here; expected DDPM or DDIM")
    return {
        "name": str(kind).lower(),
        "num_train_timesteps": block.take("num_train_timesteps", 100),
        "num_inference_steps": block.take("num_inference_steps", None),
        "beta_schedule": block.take("beta_schedule", "squaredcos_cap_v2"),
        "beta_start": block.take("beta_start", 0.0001),
        "beta_end": block.take("beta_end", 0.02),
        "prediction_type": block.take("prediction_type", "epsilon"),
        "clip_sample": block.take("clip_sample", True),
        "clip_sample_range": block.take("clip_sample_range", 1.0),
        "timestep_spacing": "leading",  # LeRobot leaves it to diffusers
    }


def _processor_statistics(folder: Path) -> dict[str, Tensor]:
    """``{key.statistic: tensor}`` of the preprocessor, empty where the file has none: it is in the weights then."""
    path = folder / "policy_preprocessor.json"
    if not path.is_file():
        return {}
    found: dict[str, Tensor] = {}
    for step in _read_json(path).get("steps", []):
        if step.get("registry_name") == "normalizer_processor" and step.get("state_file"):
            # A name in the same folder, whatever the file says.
            found |= _read_tensors(folder / Path(step["state_file"]).name)
    return found


def _is_pusht(folder: Path) -> bool:
    """Whether the run's own config, where it is in the folder, names the environment or data of Push-T."""
    path = folder / "train_config.json"
    if not path.is_file():
        return False
    config = _read_json(path)
    env, dataset = config.get("env") or {}, config.get("dataset") or {}
    return env.get("type") == "pusht" or "pusht" in str(dataset.get("repo_id", ""))


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise CheckpointError(
            f"{path}: no such file; expected a .ckpt file of the original, or a folder of LeRobot's with "
            "config.json and model.safetensors"
        )
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CheckpointError(f"{path}: not valid JSON: {error}") from error
    if not isinstance(data, dict):
        raise CheckpointError(f"{path}: expected a mapping of options at the top")
    return data


def _read_tensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not path.is_file():
        raise CheckpointError(f"{path}: no such file")
    try:
        return dict(load_file(path))
    except SafetensorError as error:
        raise CheckpointError(f"{path}: incomplete or damaged: {error}") from error
