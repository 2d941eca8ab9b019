"""Every built-in component passes the conformance class of its kind: the very classes that authors of plugins use."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dp_core import testing
from dp_core.registry import Registry
from dp_core.testing.conformance import Conformance

SMALL_IMAGE = {
    "an image and a state": {
        "obs": {
            "front": {"shape": [3, 40, 40], "type": "rgb"},
            "grip": {"shape": [2, 2], "type": "low_dim"},
        },
        "action": {"shape": [2]},
    }
}
PUSHT = {"keypoints": {"obs": {"obs": {"shape": [20], "type": "low_dim"}}, "action": {"shape": [2]}}}
KITCHEN = {"kitchen": {"obs": {"obs": {"shape": [60], "type": "low_dim"}}, "action": {"shape": [9]}}}
BLOCKS = {"blocks": {"obs": {"obs": {"shape": [16], "type": "low_dim"}}, "action": {"shape": [2]}}}
ARM = {
    "an arm": {
        "obs": {
            "agentview_image": {"shape": [3, 6, 8], "type": "rgb"},
            "robot0_eef_quat": {"shape": [4], "type": "low_dim"},
        },
        "action": {"shape": [7]},
    }
}

CLOUD = {
    "points and a state": {
        "obs": {"cloud": {"shape": [20, 3], "type": "points"}, "grip": {"shape": [2], "type": "low_dim"}},
        "action": {"shape": [2]},
    }
}
IDS = {"ids": {"obs": {"words": {"shape": [3], "type": "tokens", "vocabulary_size": 5}}, "action": {"shape": [2]}}}

CROP = {"crop_shape": [36, 36]}
SMALL_CNN = {"name": "cnn", "channels": [4, 8], "feature_dimension": 8}
PATCHES = {"name": "timm", "model_name": "test_vit", "resize_shape": [32, 32], "feature_aggregation": "tokens"}
OVER_TIME = {"name": "temporal", "encoder": "lowdim", "n_emb": 8, "n_layer": 1}
SCHEDULER = "dp-core/tiny"
EPISODES = {"n_train": 1, "n_train_vis": 0, "n_test": 1, "n_test_vis": 1, "max_steps": 10}
WINDOW = {"horizon": 4, "n_obs_steps": 2, "n_action_steps": 2, "val_ratio": 0.4}
Episodes = list[dict[str, Any]]


def record_buffer(folder: Path, episodes: Episodes) -> dict[str, Any]:
    """A replay buffer, whose images have their channels last."""
    from dp_replay.buffer import ReplayBuffer

    buffer = ReplayBuffer()
    for episode in episodes:
        buffer.append({key: np.moveaxis(v, 1, -1) if v.dtype == np.uint8 else v for key, v in episode.items()})
    buffer.save(folder / "mine.zarr")
    return {"path": folder / "mine.zarr"}


def record_blocks(folder: Path, episodes: Episodes) -> dict[str, Any]:
    return {**record_buffer(folder, episodes), "obs_eef_target": True}


def record_pusht(folder: Path, episodes: Episodes) -> dict[str, Any]:
    """The published archive, which has keypoints and states for what is observed as one vector."""
    stored = []
    for episode in episodes:
        keypoints, agent = np.split(episode["obs"], [18], axis=1)
        state = np.pad(agent, [(0, 0), (0, 3)])
        stored.append({"keypoint": keypoints.reshape(-1, 9, 2), "state": state, "action": episode["action"]})
    return record_buffer(folder, stored)


def record_kitchen(folder: Path, episodes: Episodes) -> dict[str, Any]:
    """Arrays of the longest episode's length, and a mask of the steps that exist."""
    longest = max(len(episode["action"]) for episode in episodes)
    padded = {key: np.stack([np.resize(e[key], (longest, *e[key].shape[1:])) for e in episodes]) for key in episodes[0]}
    mask = [np.arange(longest) < len(episode["action"]) for episode in episodes]
    np.save(folder / "observations_seq.npy", padded["obs"])
    np.save(folder / "actions_seq.npy", padded["action"])
    np.save(folder / "existence_mask.npy", np.array(mask, float))
    return {"path": folder}


def record_arm(folder: Path, episodes: Episodes) -> dict[str, Any]:
    import h5py

    with h5py.File(folder / "arm.hdf5", "w") as file:
        for number, episode in enumerate(episodes):
            group = file.create_group(f"data/demo_{number}")
            group["obs/agentview_image"] = np.moveaxis(episode["agentview_image"], 1, -1)
            group["obs/robot0_eef_quat"] = episode["robot0_eef_quat"]
            group["actions"] = episode["action"]
    return {"path": folder / "arm.hdf5"}


EXAMPLES: dict[tuple[str, str], dict[str, Any]] = {
    ("callback", "json_log"): {"configs": [{"flush_every": 3}]},
    ("callback", "topk"): {
        "configs": [{"k": 1}, {"monitor_key": "train_loss", "mode": "min", "format_str": "{epoch}"}]
    },
    ("callback", "wandb"): {"configs": [{"mode": "disabled"}]},
    ("dataset", "blockpush"): {"configs": [WINDOW], "shape_metas": BLOCKS, "record": record_blocks},
    ("dataset", "kitchen"): {"configs": [WINDOW], "shape_metas": KITCHEN, "record": record_kitchen},
    ("dataset", "pusht"): {
        "configs": [{"val_ratio": 0.02, "path": None}],
        "shape_metas": PUSHT,
        "record": record_pusht,
    },
    ("dataset", "replay"): {"configs": [WINDOW], "shape_metas": SMALL_IMAGE, "record": record_buffer},
    ("dataset", "robomimic"): {"configs": [WINDOW], "shape_metas": ARM, "record": record_arm},
    ("denoiser", "dit1d"): {"configs": [{"n_layer": 2, "n_head": 2, "n_emb": 16}]},
    ("denoiser", "transformer"): {
        "configs": [
            {"n_layer": 2, "n_head": 2, "n_emb": 16},
            {"n_layer": 1, "n_head": 2, "n_emb": 16, "n_cond_layers": 1, "causal_attn": False},
        ]
    },
    ("denoiser", "unet1d"): {
        "configs": [
            {"down_dims": [8, 16], "diffusion_step_embed_dim": 8, "n_groups": 4, "cond_predict_scale": scale}
            for scale in (True, False)
        ]
    },
    ("encoder", "cnn"): {
        "configs": [{"channels": [4, 8], "feature_dimension": 8, **CROP}],
        "shape_metas": SMALL_IMAGE,
    },
    ("encoder", "concat"): {
        "configs": [
            {"parts": {"rest": {"encoder": "lowdim"}, "eye": {"keys": ["front"], "encoder": SMALL_CNN}}},
            {"parts": {"eye": {"keys": ["front"], "encoder": PATCHES}, "rest": {"encoder": "lowdim"}}, "token_dim": 8},
            {"parts": {"eye": {"keys": ["front"], "encoder": PATCHES}, "rest": {"encoder": OVER_TIME}}},
        ],
        "shape_metas": SMALL_IMAGE,
    },
    ("encoder", "lerobot"): {
        "configs": [{"spatial_softmax_num_keypoints": 4, **CROP}],
        "shape_metas": SMALL_IMAGE,
    },
    ("encoder", "multi_image"): {
        "configs": [{"use_group_norm": True, **CROP}],
        "shape_metas": SMALL_IMAGE,
    },
    ("encoder", "pointnet"): {"configs": [{"channels": [8, 8], "feature_dimension": 4}], "shape_metas": CLOUD},
    ("encoder", "r3m"): {"configs": [{"frozen": True}], "shape_metas": SMALL_IMAGE},
    ("encoder", "robomimic"): {
        "configs": [{"feature_dimension": 8, "num_kp": 4, **CROP}],
        "shape_metas": SMALL_IMAGE,
    },
    ("encoder", "temporal"): {"configs": [{"encoder": "lowdim", "n_emb": 8, "n_layer": 1}]},
    ("encoder", "token_embedding"): {
        "configs": [{"embedding_dim": 4, "as_tokens": as_tokens} for as_tokens in (False, True)],
        "shape_metas": IDS,
    },
    ("encoder", "timm"): {
        "configs": [{"model_name": "test_resnet", **CROP}, {k: v for k, v in PATCHES.items() if k != "name"}],
        "shape_metas": SMALL_IMAGE,
    },
    ("policy", "diffusion"): {
        "configs": [
            {"scheduler": SCHEDULER},
            {"scheduler": SCHEDULER, "obs_as_global_cond": False},
            {"scheduler": SCHEDULER, "obs_as_global_cond": False, "obs_as_local_cond": True},
            {"scheduler": SCHEDULER, "pred_action_steps_only": True, "cache_obs_features": True},
        ],
        "shape_metas": SMALL_IMAGE,
    },
    ("runner", "blockpush"): {"configs": [EPISODES], "shape_metas": BLOCKS},
    ("runner", "kitchen"): {"configs": [{**EPISODES, "n_train": 0}], "shape_metas": KITCHEN},
    ("runner", "pusht"): {"configs": [EPISODES], "shape_metas": PUSHT},
    ("scheduler", "diffusers"): {
        "configs": [
            {"scheduler": name, "options": {"num_train_timesteps": 100, **options}}
            for name, options in (
                ("DDPMScheduler", {"beta_schedule": "squaredcos_cap_v2"}),
                ("UniPCMultistepScheduler", {"beta_schedule": "squaredcos_cap_v2", "prediction_type": "sample"}),
                ("HeunDiscreteScheduler", {"beta_end": 0.2, "prediction_type": "v_prediction"}),
                ("FlowMatchEulerDiscreteScheduler", {}),
                ("DPMSolverMultistepScheduler", {"use_flow_sigmas": True, "prediction_type": "flow_prediction"}),
            )
        ]
    },
    ("workspace", "train"): {"configs": [{"training": {"device": "cpu"}, "lr_schedule": "constant"}]},
}
"""Small ones, by kind and name; the others pass with their defaults."""
ELSEWHERE = {("runner", "robomimic"), ("encoder", "sentence")}
"""Need files, of a simulator and of an embedder; see dp_robomimic/test_runner.py and dp_language/test_sentence.py."""


def conformance_class(kind: str, name: str) -> type[Conformance]:
    """As an author would write it."""
    base = getattr(testing, f"{kind.title().replace('_', '')}Conformance")
    attributes = {"component": f"dp-core/{name}", **EXAMPLES.get((kind, name), {})}
    return type(f"Test_{kind}_{name}", (base,), attributes)


BUILT_IN = [(c.kind, c.name) for c in Registry.discover().components() if c.distribution == "dp-core"]
globals().update(
    {f"Test_{kind}_{name}": conformance_class(kind, name) for kind, name in BUILT_IN if (kind, name) not in ELSEWHERE}
)


def test_every_example_is_of_a_component_that_exists() -> None:
    assert EXAMPLES.keys() <= set(BUILT_IN)


@pytest.fixture(autouse=True, scope="module")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DP_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        yield
