"""Tasks of the original: its data sets and environment runners to blocks ``dataset`` and ``runner``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import attrs

from dp_convert.block import Block


@attrs.frozen
class Steps:
    """The options that data sets and runners share with the policy."""

    horizon: int
    n_obs_steps: int
    n_action_steps: int
    n_latency_steps: int
    full_obs_horizon: bool
    shape_meta: Mapping[str, Any]


def read_dataset(dataset: Block, steps: Steps, notes: list[str]) -> dict[str, Any]:
    """Read the block ``dataset``; one without a counterpart becomes ``replay``, which a user can complete."""
    target = dataset.target()
    windows = {
        "horizon": steps.horizon,
        "n_obs_steps": steps.n_obs_steps,
        "n_action_steps": steps.n_action_steps,
        "full_obs_horizon": steps.full_obs_horizon,
        "seed": dataset.take("seed", 42),
        "val_ratio": dataset.take("val_ratio", 0.0),
        "max_train_episodes": dataset.take("max_train_episodes", None),
    }
    # They follow from the steps above.
    dataset.ignore("shape_meta", "horizon", "n_obs_steps", "pad_before", "pad_after", "n_latency_steps")
    read = DATASETS.get(target)
    if read is None:
        path = dataset.take("dataset_path", None) or dataset.take("zarr_path", None) or "unknown"
        notes.append(
            f"the data set {target or 'of the original'} has no counterpart here; 'dataset' is set to a replay buffer "
            f"in '{path}', which matters to training only"
        )
        return {"name": "replay", "path": path, **windows}
    block = {**windows, **read(dataset)}
    dataset.finish()
    return block


def read_runner(runner: Block, steps: Steps, notes: list[str]) -> dict[str, Any] | None:
    """Read the block ``runner``; None for a task that is not simulated here."""
    target = runner.target()
    if target not in RUNNERS:
        if target not in ("", "RealPushTImageRunner"):
            notes.append(f"the runner {target} has no counterpart here; 'runner' is null, so dp-eval needs one named")
        else:
            notes.append("the task is not simulated; 'runner' is null")
        return None
    if steps.n_latency_steps:
        notes.append(f"n_latency_steps {steps.n_latency_steps} cannot be simulated here; 'runner' is null")
        return None
    episodes = {
        name: runner.take(name) for name in ("n_train", "n_train_vis", "n_test", "n_test_vis", "test_start_seed")
    }
    block = {"n_obs_steps": steps.n_obs_steps, "n_action_steps": steps.n_action_steps, **episodes}
    for name in ("max_steps", "fps"):
        if (value := runner.take(name, None)) is not None:
            block[name] = value
    # How many environments fit into memory is this machine's business; videos are made our way.
    runner.ignore(
        "n_envs", "crf", "tqdm_interval_sec", "render_size", "past_action", "n_latency_steps", "shape_meta",
        "n_obs_steps", "n_action_steps",
    )  # fmt: skip
    unlike, own = RUNNERS[target](runner)
    runner.finish()
    if unlike:
        notes.append(f"the runner's {unlike} has no counterpart here; 'runner' is null")
        return None
    return {**block, **own}


def _pusht_image_dataset(dataset: Block) -> dict[str, Any]:
    return {"name": "pusht", "path": dataset.take("zarr_path")}


def _pusht_lowdim_dataset(dataset: Block) -> dict[str, Any]:
    dataset.expect("obs_key", "keypoint")
    dataset.expect("state_key", "state")
    dataset.expect("action_key", "action")
    return {"name": "pusht", "path": dataset.take("zarr_path")}


def _robomimic_image_dataset(dataset: Block) -> dict[str, Any]:
    return {
        "name": "robomimic",
        "path": dataset.take("dataset_path"),
        "abs_action": dataset.take("abs_action", False),
        "rotation_rep": dataset.take("rotation_rep", "rotation_6d"),
        "use_legacy_normalizer": dataset.take("use_legacy_normalizer", False),
        "use_cache": dataset.take("use_cache", False),
    }


def _robomimic_lowdim_dataset(dataset: Block) -> dict[str, Any]:
    return {
        "name": "robomimic",
        "path": dataset.take("dataset_path"),
        "obs_keys": dataset.take("obs_keys", ["object", "robot0_eef_pos", "robot0_eef_quat", "robot0_gripper_qpos"]),
        "abs_action": dataset.take("abs_action", False),
        "rotation_rep": dataset.take("rotation_rep", "rotation_6d"),
        "use_legacy_normalizer": dataset.take("use_legacy_normalizer", False),
    }


def _kitchen_dataset(dataset: Block) -> dict[str, Any]:
    return {"name": "kitchen", "path": dataset.take("dataset_dir"), "abs_action": False}


def _kitchen_logs_dataset(dataset: Block) -> dict[str, Any]:
    return {
        "name": "kitchen",
        "path": dataset.take("dataset_dir"),
        "abs_action": dataset.take("abs_action", True),
        "robot_noise_ratio": dataset.take("robot_noise_ratio", 0.0),
    }


def _block_push_dataset(dataset: Block) -> dict[str, Any]:
    dataset.expect("obs_key", "obs")
    dataset.expect("action_key", "action")
    return {
        "name": "blockpush",
        "path": dataset.take("zarr_path"),
        "obs_eef_target": dataset.take("obs_eef_target", True),
        "use_manual_normalizer": dataset.take("use_manual_normalizer", False),
    }


DATASETS: dict[str, Callable[[Block], dict[str, Any]]] = {
    "PushTImageDataset": _pusht_image_dataset,
    "PushTLowdimDataset": _pusht_lowdim_dataset,
    "RobomimicReplayImageDataset": _robomimic_image_dataset,
    "RobomimicReplayLowdimDataset": _robomimic_lowdim_dataset,
    "KitchenLowdimDataset": _kitchen_dataset,
    "KitchenMjlLowdimDataset": _kitchen_logs_dataset,
    "BlockPushLowdimDataset": _block_push_dataset,
}
"""The readers of options that are not a matter of windows, by the name of the data set's class."""


def _pusht_image_runner(runner: Block) -> tuple[str, dict[str, Any]]:
    return "", {"name": "pusht", **_pusht_starts(runner)}


def _pusht_keypoints_runner(runner: Block) -> tuple[str, dict[str, Any]]:
    own = {"name": "pusht", **_pusht_starts(runner)}
    visible, agent = runner.take("keypoint_visible_rate", 1.0), runner.take("agent_keypoints", False)
    unlike = f"keypoint_visible_rate {visible}" if visible != 1 else "agent_keypoints true" if agent else ""
    return unlike, own


def _pusht_starts(runner: Block) -> dict[str, Any]:
    return {
        "train_start_seed": runner.take("train_start_seed", 0),
        "legacy_test": runner.take("legacy_test", False),
    }


def _robomimic_image_runner(runner: Block) -> tuple[str, dict[str, Any]]:
    return "", {
        "name": "robomimic",
        "path": runner.take("dataset_path"),
        "abs_action": runner.take("abs_action", False),
        "train_start_idx": runner.take("train_start_idx", 0),
        "render_obs_key": runner.take("render_obs_key", "agentview_image"),
    }


def _robomimic_lowdim_runner(runner: Block) -> tuple[str, dict[str, Any]]:
    return "", {
        "name": "robomimic",
        "path": runner.take("dataset_path"),
        "obs_keys": runner.take("obs_keys"),
        "abs_action": runner.take("abs_action", False),
        "train_start_idx": runner.take("train_start_idx", 0),
        "render_obs_key": f"{runner.take('render_camera_name', 'agentview')}_image",
        "render_hw": runner.take("render_hw", [256, 256]),
    }


def _kitchen_runner(runner: Block) -> tuple[str, dict[str, Any]]:
    return "", {
        "name": "kitchen",
        "dataset_dir": runner.take("dataset_dir"),
        "train_start_seed": runner.take("train_start_seed", 0),
        "abs_action": runner.take("abs_action", False),
        "robot_noise_ratio": runner.take("robot_noise_ratio", 0.1),
        "render_hw": runner.take("render_hw", [240, 360]),
    }


def _block_push_runner(runner: Block) -> tuple[str, dict[str, Any]]:
    return "", {
        "name": "blockpush",
        "train_start_seed": runner.take("train_start_seed", 0),
        "abs_action": runner.take("abs_action", False),
        "obs_eef_target": runner.take("obs_eef_target", True),
    }


RUNNERS: dict[str, Callable[[Block], tuple[str, dict[str, Any]]]] = {
    "PushTImageRunner": _pusht_image_runner,
    "PushTKeypointsRunner": _pusht_keypoints_runner,
    "RobomimicImageRunner": _robomimic_image_runner,
    "RobomimicLowdimRunner": _robomimic_lowdim_runner,
    "KitchenLowdimRunner": _kitchen_runner,
    "BlockPushLowdimRunner": _block_push_runner,
}
"""The readers of what cannot be simulated here and of options that not all runners have, by the name of the class."""
