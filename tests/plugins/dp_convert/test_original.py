"""`dp-convert` of the original's checkpoints: made here, with the original's config, names and golden weights."""

import json
import lzma

import dill
import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from dp_convert.cli import main
from dp_convert.original.checkpoint import convert_config, read_original
from dp_convert.original.nodes import plain_config
from dp_core import load_policy
from dp_core.cli.eval import main as evaluate
from dp_core.config.structure import structure_run
from dp_core.errors import ConfigError
from dp_core.workspace import BaseWorkspace

PACKAGE = "diffusion_policy"
DDIM8 = "policy.scheduler={name: ddim, num_inference_steps: 8, timestep_spacing: leading}"

SCHEDULER = {
    "_target_": "diffusers.schedulers.scheduling_ddpm.DDPMScheduler",
    "num_train_timesteps": 100,
    "beta_start": 0.0001,
    "beta_end": 0.02,
    "beta_schedule": "squaredcos_cap_v2",
    "variance_type": "fixed_small",
    "clip_sample": True,
    "prediction_type": "epsilon",
}
ADAMW = {"_target_": "torch.optim.AdamW", "lr": 1e-4, "betas": [0.95, 0.999], "eps": 1e-8, "weight_decay": 1e-6}
TRAINING = {
    "device": "cuda:0", "seed": 42, "debug": False, "resume": True, "lr_scheduler": "cosine", "lr_warmup_steps": 500,
    "num_epochs": 50, "gradient_accumulate_every": 1, "use_ema": True, "rollout_every": 50, "checkpoint_every": 50,
    "val_every": 1, "sample_every": 5, "max_train_steps": None, "max_val_steps": None, "tqdm_interval_sec": 1.0,
}  # fmt: skip
PUSHT_RUNNER = {
    "n_train": 6, "n_train_vis": 2, "train_start_seed": 0, "n_test": 50, "n_test_vis": 4, "legacy_test": True,
    "test_start_seed": 100000, "max_steps": 300, "n_obs_steps": "${n_obs_steps}",
    "n_action_steps": "${n_action_steps}", "fps": 10, "past_action": "${past_action_visible}", "n_envs": None,
}  # fmt: skip
WINDOWS = {
    "horizon": "${horizon}",
    "pad_before": "${eval:'${n_obs_steps}-1+${n_latency_steps}'}",
    "pad_after": "${eval:'${n_action_steps}-1'}",
    "seed": 42,
    "val_ratio": 0.02,
}
KEYPOINTS = {
    "name": "pusht_lowdim",
    "obs_dim": 20,
    "action_dim": 2,
    "env_runner": {
        "_target_": f"{PACKAGE}.env_runner.pusht_keypoints_runner.PushTKeypointsRunner",
        "keypoint_visible_rate": "${keypoint_visible_rate}",
        "n_latency_steps": "${n_latency_steps}",
        "agent_keypoints": False,
        **PUSHT_RUNNER,
    },
    "dataset": {
        "_target_": f"{PACKAGE}.dataset.pusht_dataset.PushTLowdimDataset",
        "zarr_path": "data/pusht/pusht_cchi_v7_replay.zarr",
        "max_train_episodes": 90,
        **WINDOWS,
    },
}
IMAGES = {
    "name": "pusht_image",
    "shape_meta": {
        "obs": {"image": {"shape": [3, 96, 96], "type": "rgb"}, "agent_pos": {"shape": [2]}},
        "action": {"shape": [2]},
    },
    "env_runner": {"_target_": f"{PACKAGE}.env_runner.pusht_image_runner.PushTImageRunner", **PUSHT_RUNNER},
    "dataset": {
        "_target_": f"{PACKAGE}.dataset.pusht_image_dataset.PushTImageDataset",
        "zarr_path": "data/pusht/pusht_cchi_v7_replay.zarr",
        "max_train_episodes": 90,
        **WINDOWS,
    },
}
STEPS = {"horizon": "${horizon}", "n_action_steps": "${eval:'${n_action_steps}+${n_latency_steps}'}",
         "n_obs_steps": "${n_obs_steps}", "num_inference_steps": 100, "noise_scheduler": SCHEDULER}  # fmt: skip


def config(policy, task, **changes):
    """A config in the original's words, interpolations and all."""
    return {
        "name": "train_diffusion",
        "_target_": f"{PACKAGE}.workspace.some_workspace.SomeWorkspace",
        "task_name": "${task.name}",
        "exp_name": "default",
        "horizon": 16,
        "n_obs_steps": 2,
        "n_action_steps": 8,
        "n_latency_steps": 0,
        "past_action_visible": False,
        "keypoint_visible_rate": 1.0,
        "policy": {**STEPS, **policy},
        "ema": {"_target_": f"{PACKAGE}.model.diffusion.ema_model.EMAModel", "power": 0.75},
        "dataloader": {"batch_size": 64, "num_workers": 8, "shuffle": True, "pin_memory": True},
        "val_dataloader": {"batch_size": 64, "num_workers": 8, "shuffle": False, "pin_memory": True},
        "optimizer": ADAMW,
        "training": TRAINING,
        "logging": {"name": "${now:%Y.%m.%d-%H.%M.%S}_${name}_${task_name}"},
        "checkpoint": {"topk": {"monitor_key": "test_mean_score", "mode": "max", "k": 5, "format_str": "{epoch}.ckpt"}},
        "task": task,
        **changes,
    }


def save(path, cfg, model, ema_model=None):
    """A file as the original's workspaces write it."""
    states = {"model": model, "optimizer": {"state": {0: {"step": torch.tensor(3.0)}}, "param_groups": []}}
    if ema_model is not None:
        states["ema_model"] = ema_model
    pickles = {
        name: dill.dumps(value) for name, value in (("_output_dir", "/data/x"), ("global_step", 3), ("epoch", 1))
    }
    payload = {"cfg": OmegaConf.create(cfg), "state_dicts": states, "pickles": pickles}
    torch.save(payload, path, pickle_module=dill)
    return path


def convert(tmp_path, cfg, model, ema_model=None):
    source = save(tmp_path / "original.ckpt", cfg, model, model if ema_model is None else ema_model)
    assert main([str(source), str(tmp_path / "ours.ckpt")]) == 0
    return tmp_path / "ours.ckpt"


def target(name):
    return {"_target_": f"{PACKAGE}.policy.some_module.{name}"}


def act(policy, obs):
    observed = {key: value[:, : policy.config.n_obs_steps] for key, value in obs.items()}  # as the original cuts them
    return policy.predict_action(observed, generator=torch.Generator().manual_seed(1234))


UNET_LOWDIM = {
    **target("DiffusionUnetLowdimPolicy"),
    "model": {
        "_target_": f"{PACKAGE}.model.diffusion.conditional_unet1d.ConditionalUnet1D",
        "input_dim": "${eval: ${task.action_dim} if ${policy.obs_as_global_cond} else ${task.action_dim} * 11}",
        "local_cond_dim": None,
        "global_cond_dim": "${eval: ${task.obs_dim}*${n_obs_steps} if ${policy.obs_as_global_cond} else None}",
    },
    "obs_dim": "${task.obs_dim}",
    "action_dim": "${task.action_dim}",
    "obs_as_local_cond": False,
    "obs_as_global_cond": True,
    "pred_action_steps_only": False,
    "oa_step_convention": True,
}
UNET_HYBRID = {
    **target("DiffusionUnetHybridImagePolicy"),
    "shape_meta": "${task.shape_meta}",
    "obs_as_global_cond": True,
    "crop_shape": [76, 76],
    "diffusion_step_embed_dim": 32,
    "down_dims": [32, 64, 128],
    "obs_encoder_group_norm": True,
    "eval_fixed_crop": True,
}
TRANSFORMER_HYBRID = {
    **target("DiffusionTransformerHybridImagePolicy"),
    "shape_meta": "${task.shape_meta}",
    "crop_shape": [76, 76],
    "obs_encoder_group_norm": True,
    "eval_fixed_crop": True,
    "n_layer": 2,
    "n_emb": 32,
}


def test_unet_from_keypoints_acts_as_in_the_original(golden, tensors, tmp_path):
    file = np.load(golden("j_unet_lowdim_global.npz"))
    settings = json.loads(golden("j_configs.json").read_text())["unet_lowdim_global"]
    network = {key: value for key, value in settings["unet"].items() if not key.endswith("_dim") or "embed" in key}
    policy = {**UNET_LOWDIM, "model": {**UNET_LOWDIM["model"], **network}, **settings["policy"]}

    path = convert(tmp_path, config(policy, KEYPOINTS), tensors(file, "sd/"))

    actions = act(load_policy(path, overrides=[DDIM8]), {"obs": torch.from_numpy(file["batch/obs"])})
    for name in ("action", "action_pred"):
        torch.testing.assert_close(actions[name], torch.from_numpy(file[f"ddim8/{name}"]), rtol=0, atol=0.076)


@pytest.mark.parametrize(
    ("name", "policy", "changes"),
    [
        ("i_hybrid_crop76", UNET_HYBRID, {}),
        ("j_transformer_hybrid_cond", TRANSFORMER_HYBRID, {"horizon": 10, "optimizer": {
            "transformer_weight_decay": 1e-3, "obs_encoder_weight_decay": 1e-6, "learning_rate": 1e-4,
            "betas": [0.9, 0.95]}}),
    ],
    ids=["unet", "transformer"],
)  # fmt: skip
def test_hybrid_policies_act_as_in_the_original(name, policy, changes, golden, tensors, tmp_path):
    pytest.importorskip("robomimic", reason="pip install --no-deps robomimic==0.3.0")
    file = np.load(golden(f"{name}.npz"))

    path = convert(tmp_path, config(policy, IMAGES, **changes), tensors(file, "sd/"))

    obs = {
        "image": torch.from_numpy(file["batch/obs/image_uint8"]),
        "agent_pos": torch.from_numpy(file["batch/obs/agent_pos"]),
    }
    actions = act(load_policy(path, overrides=[DDIM8]), obs)
    torch.testing.assert_close(actions["action_pred"], torch.from_numpy(file["ddim8/action_pred"]), rtol=0, atol=0.076)


MODES = {
    "unet_local": {"obs_as_local_cond": True, "obs_as_global_cond": False},
    "unet_inpaint": {"obs_as_global_cond": False},
    "unet_global_oldconv": {"oa_step_convention": False},
}


@pytest.mark.parametrize("mode", MODES)
def test_every_way_of_conditioning_is_converted(mode, golden, tensors, tmp_path):
    """The numbers are those that the policy itself is tested with."""
    file = np.load(golden("j_lowdim_modes.npz"))
    weights = tensors(file, f"{mode}/sd/")
    width = weights["model.final_conv.0.block.0.weight"].shape[0]
    network = {"diffusion_step_embed_dim": weights["model.diffusion_step_encoder.3.weight"].shape[0],
               "down_dims": [width, 2 * width], "kernel_size": weights["model.final_conv.0.block.0.weight"].shape[2],
               "cond_predict_scale": True}  # fmt: skip
    task = {**KEYPOINTS, "obs_dim": 5, "env_runner": {"_target_": "x.RealPushTImageRunner"}, "dataset": {}}
    policy = {**UNET_LOWDIM, "model": {**UNET_LOWDIM["model"], **network}, **MODES[mode]}

    path = convert(tmp_path, config(policy, task), weights)

    actions = act(load_policy(path, overrides=[DDIM8]), {"obs": torch.from_numpy(file["obs"])})
    expected = torch.from_numpy(file[f"{mode}/ddim8_seed1234/action"])
    torch.testing.assert_close(actions["action"], expected, rtol=0, atol=0.076)


def normalizer_of(registry, shape_meta):
    fields = {}
    for key, spec in [*shape_meta["obs"].items(), ("action", shape_meta["action"])]:
        size = 1 if spec.get("type") == "rgb" else spec["shape"][0]
        for name, value in (
            ("scale", 2.0),
            ("offset", -1.0),
            *((f"input_stats.{n}", 0.5) for n in ("max", "mean", "min", "std")),
        ):
            fields[f"normalizer.params_dict.{key}.{name}"] = torch.full((size,), value)
    return fields


@pytest.mark.parametrize(
    ("original", "ours"),
    [
        ({"share_rgb_model": True, "use_group_norm": True}, {"share_rgb_model": True}),
        (
            {"imagenet_norm": True, "use_group_norm": True, "crop_shape": [76, 76], "random_crop": True},
            {"imagenet_norm": True, "normalize_twice": True, "use_group_norm": True, "crop_shape": [76, 76]},
        ),
        ({"crop_shape": [76, 76], "random_crop": False, "resize_shape": [80, 80]}, {"resize_shape": [80, 80]}),
    ],
    ids=["shared keeps batch norm", "normalised twice", "lost crop"],
)
def test_image_policies_are_rebuilt_with_what_their_encoder_really_did(original, ours, registry, tmp_path):
    shape_meta = IMAGES["shape_meta"]
    block = {
        "name": "diffusion", "horizon": 16, "n_obs_steps": 2, "n_action_steps": 8,
        "encoder": {"name": "multi_image", "use_group_norm": False, "antialias": False, **ours},
        "denoiser": {"name": "unet1d", "diffusion_step_embed_dim": 16, "down_dims": [16, 32]},
        "scheduler": {"name": "ddim", "num_inference_steps": 8, "timestep_spacing": "leading"},
    }  # fmt: skip
    built = registry.build("policy", block, shape_meta=shape_meta).eval()
    built.load_state_dict(built.state_dict() | normalizer_of(registry, shape_meta))
    policy = {
        **target("DiffusionUnetImagePolicy"),
        "shape_meta": "${task.shape_meta}",
        "obs_encoder": {
            "_target_": f"{PACKAGE}.model.vision.multi_image_obs_encoder.MultiImageObsEncoder",
            "shape_meta": "${task.shape_meta}",
            "rgb_model": {"_target_": f"{PACKAGE}.model.vision.model_getter.get_resnet", "name": "resnet18",
                          "weights": None},
            **original,
        },
        "diffusion_step_embed_dim": 16,
        "down_dims": [16, 32],
    }  # fmt: skip

    path = convert(tmp_path, config(policy, IMAGES), built.state_dict())

    obs = {"image": torch.randint(0, 256, (1, 2, 3, 96, 96), dtype=torch.uint8), "agent_pos": torch.rand(1, 2, 2)}
    converted = load_policy(path, overrides=[DDIM8])
    torch.testing.assert_close(act(converted, obs)["action"], act(built, obs)["action"], rtol=0, atol=0)


@pytest.mark.parametrize(
    ("encoder", "weights", "frozen", "expected"),
    [
        (
            {"resize_shape": [80, 80]}, None, False,
            ["images are resized as by torchvision before 0.17; weights that were trained with a newer one want "
             "policy.encoder.antialias=true"],
        ),
        ({"resize_shape": [96, 96]}, "IMAGENET1K_V1", True, []),
        (
            {}, "r3m", True,
            ["training.freeze_encoder is not carried over, as the weights that training began with are not those of "
             "torchvision; training on changes the encoder"],
        ),
    ],
    ids=["resized", "frozen", "frozen R3M"],
)  # fmt: skip
def test_what_an_image_encoder_loses_is_mentioned(encoder, weights, frozen, expected):
    policy = {
        **target("DiffusionUnetImagePolicy"),
        "shape_meta": "${task.shape_meta}",
        "obs_encoder": {
            "_target_": f"{PACKAGE}.model.vision.multi_image_obs_encoder.MultiImageObsEncoder",
            "rgb_model": {"_target_": f"{PACKAGE}.model.vision.model_getter.get_resnet", "name": "resnet18",
                          "weights": weights},
            **encoder,
        },
    }  # fmt: skip
    data = plain_config(config(policy, IMAGES))
    data["training"]["freeze_encoder"] = frozen

    converted = convert_config(data, "a file", notes := [])

    assert notes == expected
    assert converted["policy"]["encoder"]["frozen"] is (weights == "IMAGENET1K_V1")


def lowdim_transformer(registry, **model):
    """A policy with fresh weights and the block that the original would have made it from."""
    shape_meta = {"obs": {"obs": {"shape": [20], "type": "low_dim"}}, "action": {"shape": [2]}}
    block = {
        "name": "diffusion", "horizon": 16, "n_obs_steps": 2, "n_action_steps": 8, "encoder": "lowdim",
        "denoiser": {"name": "transformer", "n_layer": 2, "n_head": 4, "n_emb": 32, "causal_attn": True},
        "scheduler": {"name": "ddim", "num_inference_steps": 8, "timestep_spacing": "leading"},
    }  # fmt: skip
    built = registry.build("policy", block, shape_meta=shape_meta).eval()
    built.load_state_dict(built.state_dict() | normalizer_of(registry, shape_meta))
    policy = {
        **target("DiffusionTransformerLowdimPolicy"),
        "model": {
            "_target_": f"{PACKAGE}.model.diffusion.transformer_for_diffusion.TransformerForDiffusion",
            "input_dim": "${eval:'${task.action_dim} if ${policy.obs_as_cond} else 22'}",
            "output_dim": "${policy.model.input_dim}", "horizon": "${horizon}", "n_obs_steps": "${n_obs_steps}",
            "cond_dim": "${eval:'${task.obs_dim} if ${policy.obs_as_cond} else 0'}", "n_layer": 2, "n_head": 4,
            "n_emb": 32, "p_drop_emb": 0.0, "p_drop_attn": 0.3, "causal_attn": True, "time_as_cond": True,
            "obs_as_cond": "${policy.obs_as_cond}", "n_cond_layers": 0, **model,
        },
        "obs_dim": "${task.obs_dim}", "action_dim": "${task.action_dim}", "obs_as_cond": True,
        "pred_action_steps_only": False,
    }  # fmt: skip
    return built, policy


def test_transformer_from_keypoints_acts_as_before(registry, tmp_path):
    built, policy = lowdim_transformer(registry)
    optimizer = {"learning_rate": 1e-4, "weight_decay": 1e-3, "betas": [0.9, 0.95]}

    path = convert(tmp_path, config(policy, KEYPOINTS, optimizer=optimizer), built.state_dict())

    obs = {"obs": torch.rand(2, 2, 20)}
    assert torch.equal(act(load_policy(path, overrides=[DDIM8]), obs)["action"], act(built, obs)["action"])


def test_averaged_weights_are_those_that_act(registry, tmp_path):
    built, policy = lowdim_transformer(registry)
    raw = {name: torch.zeros_like(value) for name, value in built.state_dict().items()}

    path = convert(tmp_path, config(policy, KEYPOINTS), raw, ema_model=built.state_dict())

    states = torch.load(path, weights_only=True)["state_dicts"]
    assert states["model"]["model.head.weight"].abs().sum() == 0
    assert load_policy(path).state_dict()["model.head.weight"].abs().sum() > 0
    assert states["ema"] == {"optimization_step": 4}
    assert (states["progress"]["epoch"], states["progress"]["global_step"]) == (2, 4)


def test_a_run_without_averaging_stays_one(registry, tmp_path):
    built, policy = lowdim_transformer(registry)
    source = save(
        tmp_path / "o.ckpt", config(policy, KEYPOINTS, training={**TRAINING, "use_ema": False}), built.state_dict()
    )

    conversion = read_original(source)

    assert conversion.data["ema"] is None
    assert set(conversion.state_dicts) == {"model", "progress"}


def test_the_config_says_what_the_original_did(registry, tmp_path):
    _, policy = lowdim_transformer(registry)

    cfg = read_original(save(tmp_path / "o.ckpt", config(policy, KEYPOINTS), {"a": torch.zeros(1)})).data

    assert cfg["dataset"] == {
        "name": "pusht", "path": "data/pusht/pusht_cchi_v7_replay.zarr", "horizon": 16, "n_obs_steps": 2,
        "n_action_steps": 8, "full_obs_horizon": False, "seed": 42, "val_ratio": 0.02, "max_train_episodes": 90,
    }  # fmt: skip
    assert cfg["runner"]["name"] == "pusht"
    assert (cfg["runner"]["legacy_test"], cfg["runner"]["n_test"], cfg["runner"]["max_steps"]) == (True, 50, 300)
    assert cfg["optimizer"] == {
        "name": "adamw", "lr": 1e-4, "betas": [0.95, 0.999], "eps": 1e-8, "weight_decay": 1e-6
    }  # fmt: skip
    assert cfg["lr_schedule"] == {"name": "cosine", "num_warmup_steps": 500}
    assert cfg["ema"]["power"] == 0.75


ROBOT = {
    "n_train": 6, "n_train_vis": 2, "n_test": 50, "n_test_vis": 4, "test_start_seed": 100000, "max_steps": 400,
    "n_obs_steps": "${n_obs_steps}", "n_action_steps": "${n_action_steps}", "fps": 10, "crf": 22,
    "past_action": "${past_action_visible}", "abs_action": True, "n_envs": 28,
}  # fmt: skip
ROBOMIMIC_KEYS = ["object", "robot0_eef_pos", "robot0_eef_quat", "robot0_gripper_qpos"]
LOWDIM_TASKS = {
    "robomimic": {
        "obs_dim": 23,
        "action_dim": 10,
        "env_runner": {
            "_target_": "x.RobomimicLowdimRunner", "dataset_path": "low_dim_abs.hdf5", "obs_keys": ROBOMIMIC_KEYS,
            "train_start_idx": 0, "render_hw": [128, 128], "n_latency_steps": "${n_latency_steps}", **ROBOT,
        },
        "dataset": {
            "_target_": "x.RobomimicReplayLowdimDataset", "dataset_path": "low_dim_abs.hdf5", "abs_action": True,
            "obs_keys": ROBOMIMIC_KEYS, "use_legacy_normalizer": False, "max_train_episodes": None, **WINDOWS,
        },
    },
    "kitchen": {
        "obs_dim": 60,
        "action_dim": 9,
        "env_runner": {
            "_target_": "x.KitchenLowdimRunner", "dataset_dir": "data/kitchen", "train_start_seed": 0,
            "render_hw": [240, 360], "robot_noise_ratio": 0.1, **ROBOT,
        },
        "dataset": {
            "_target_": "x.KitchenMjlLowdimDataset", "dataset_dir": "data/kitchen/logs", "abs_action": True,
            "robot_noise_ratio": 0.1, **WINDOWS,
        },
    },
    "blockpush": {
        "obs_dim": 16,
        "action_dim": 2,
        "env_runner": {
            "_target_": "x.BlockPushLowdimRunner", "train_start_seed": 0, "obs_eef_target": True, **ROBOT,
        },
        "dataset": {
            "_target_": "x.BlockPushLowdimDataset", "zarr_path": "data/push.zarr", "obs_eef_target": True,
            "use_manual_normalizer": False, **WINDOWS,
        },
    },
}  # fmt: skip


@pytest.mark.parametrize("name", LOWDIM_TASKS)
def test_tasks_from_states_keep_their_data_set_and_runner(name, registry):
    _, policy = lowdim_transformer(registry)

    data = convert_config(plain_config(config(policy, {"name": name, **LOWDIM_TASKS[name]})), "a file", notes := [])

    cfg = structure_run(registry, data, name)
    assert (cfg.dataset.component.name, cfg.runner.component.name) == (name, name)
    assert cfg.runner.config.abs_action
    assert notes == []


def test_a_robomimic_task_from_images_keeps_its_data_set_and_runner(registry):
    images = {"shape": [3, 84, 84], "type": "rgb"}
    obs = {"agentview_image": images, "robot0_eef_pos": {"shape": [3]}, "robot0_eef_quat": {"shape": [4]}}
    task = {
        "shape_meta": {"obs": obs, "action": {"shape": [10]}},
        "env_runner": {
            "_target_": "x.RobomimicImageRunner", "dataset_path": "image_abs.hdf5", "train_start_idx": 0,
            "shape_meta": "${task.shape_meta}", "render_obs_key": "agentview_image", "tqdm_interval_sec": 1.0, **ROBOT,
        },
        "dataset": {
            "_target_": "x.RobomimicReplayImageDataset", "dataset_path": "image_abs.hdf5", "use_cache": True,
            "shape_meta": "${task.shape_meta}", "n_obs_steps": "${n_obs_steps}", "abs_action": True,
            "rotation_rep": "rotation_6d", "use_legacy_normalizer": False, **WINDOWS,
        },
    }  # fmt: skip

    data = convert_config(plain_config(config(UNET_HYBRID, task)), "a file", [])

    cfg = structure_run(registry, data, "robomimic")
    assert (cfg.dataset.component.name, cfg.runner.component.name) == ("robomimic", "robomimic")
    assert str(cfg.runner.config.path) == "image_abs.hdf5"


def test_everything_without_a_counterpart_is_listed_at_once(registry, tmp_path):
    _, policy = lowdim_transformer(registry, window="hann")
    policy["noise_scheduler"] = {**SCHEDULER, "_target_": "diffusers.EulerDiscreteScheduler"}
    policy["predict_epsilon"] = True
    source = save(tmp_path / "o.ckpt", config(policy, KEYPOINTS, optimizer={"_target_": "torch.optim.RMSprop"}), {})

    source = save(
        source, config(policy, KEYPOINTS, optimizer={"_target_": "torch.optim.RMSprop"}), {"a": torch.ones(1)}
    )
    with pytest.raises(ConfigError) as error:
        read_original(source)

    assert str(error.value) == (
        f"the config in {source} has 4 problems\n"
        "  policy.noise_scheduler._target_: 'EulerDiscreteScheduler' is not one of DDPMScheduler, DDIMScheduler, "
        "DPMSolverMultistepScheduler\n"
        "  policy.model.window: is not known to dp-convert\n"
        "  policy.predict_epsilon: is not known to dp-convert\n"
        "  optimizer._target_: 'RMSprop' has no counterpart here; expected AdamW or Adam"
    )


def test_a_policy_of_another_kind_is_refused(tmp_path):
    source = save(tmp_path / "o.ckpt", config(target("BETLowdimPolicy"), KEYPOINTS), {"a": torch.ones(1)})

    with pytest.raises(ConfigError) as error:
        read_original(source)

    assert str(error.value.problems[0]) == (
        "policy._target_: 'BETLowdimPolicy' is not one of DiffusionUnetHybridImagePolicy, DiffusionUnetImagePolicy, "
        "DiffusionTransformerHybridImagePolicy, DiffusionUnetLowdimPolicy, DiffusionTransformerLowdimPolicy"
    )


def test_a_task_that_is_not_simulated_becomes_a_replay_buffer_without_a_runner(registry, tmp_path, capsys):
    built, policy = lowdim_transformer(registry)
    task = {**KEYPOINTS, "env_runner": {"_target_": "x.RealPushTImageRunner"},
            "dataset": {"_target_": "x.RealPushTImageDataset", "dataset_path": "data/real", **WINDOWS}}  # fmt: skip

    path = convert(tmp_path, config(policy, task), built.state_dict())

    cfg = torch.load(path, weights_only=True)["cfg"]
    assert (cfg["runner"], cfg["dataset"]["name"], cfg["dataset"]["path"]) == (None, "dp-core/replay", "data/real")
    assert capsys.readouterr().err.splitlines()[-3:] == [
        "note: the optimizer's state is not carried over; training continues with a new one",
        "note: the data set RealPushTImageDataset has no counterpart here; 'dataset' is set to a replay buffer in "
        "'data/real', which matters to training only",
        "note: the task is not simulated; 'runner' is null",
    ]


def test_a_file_is_not_overwritten_unless_asked(registry, tmp_path, capsys):
    built, policy = lowdim_transformer(registry)
    path = convert(tmp_path, config(policy, KEYPOINTS), built.state_dict())
    source = str(tmp_path / "original.ckpt")

    assert main([source, str(path)]) == 2
    assert capsys.readouterr().err.endswith(
        f"dp-convert: error: {path}: exists already; choose another name, or overwrite it with --force\n"
    )
    assert main([source, str(path), "--force"]) == 0
    assert main([source, source, "--force"]) == 2


def test_a_converted_checkpoint_evaluates_without_the_data_set(registry, tmp_path):
    pytest.importorskip("pymunk")
    built, policy = lowdim_transformer(registry)
    path = convert(tmp_path, config(policy, KEYPOINTS), built.state_dict())

    status = evaluate(
        [str(path), "--episodes", "1", "--device", "cpu", DDIM8, "runner.max_steps=8", "runner.n_test_vis=0"]
    )

    assert status == 0
    assert "test/mean_score" in json.loads((tmp_path / "eval_ours" / "eval_log.json").read_text())


def test_training_goes_on_where_the_original_stopped(registry, tmp_path):
    built, policy = lowdim_transformer(registry)
    cfg = config(policy, {**KEYPOINTS, "env_runner": {}}, training={**TRAINING, "num_epochs": 3, "max_train_steps": 2})
    source = save(tmp_path / "original.ckpt", cfg, built.state_dict(), built.state_dict())
    latest = tmp_path / "run" / "checkpoints" / "latest.ckpt"
    latest.parent.mkdir(parents=True)
    assert main([str(source), str(latest)]) == 0

    from dp_core.cli.run import main as run

    overrides = ["dataset.path=null", "dataset.max_train_episodes=3", "training.max_val_steps=1", "training.device=cpu"]
    assert run(["--resume", str(tmp_path / "run"), *overrides]) == 0

    progress = torch.load(latest, weights_only=True)["state_dicts"]["progress"]
    assert (progress["epoch"], progress["global_step"]) == (3, 6)


@pytest.mark.parametrize("name", ["lowdim_new", "lowdim_old", "hybrid_new", "hybrid_old"])
def test_files_that_the_original_wrote_give_its_actions(name, golden, tmp_path):
    """To 10 times the deviation between the original's pinned and today's packages."""
    packed = golden(f"i_checkpoint_{name}.ckpt.xz")
    expected = np.load(golden(f"i_checkpoint_{name}_expected.npz"))
    source, path = tmp_path / "original.ckpt", tmp_path / "ours.ckpt"
    source.write_bytes(lzma.decompress(packed.read_bytes()))

    assert main([str(source), str(path)]) == 0

    obs = {
        key.removeprefix("obs/"): torch.from_numpy(expected[key]) for key in expected.files if key.startswith("obs/")
    }
    obs = {key.removesuffix("_uint8"): value for key, value in obs.items()}
    policy = load_policy(path, overrides=[DDIM8])
    for key in ("ema_model", "model"):
        policy.load_state_dict(torch.load(path, weights_only=True)["state_dicts"][key], strict=True)
        wanted = torch.from_numpy(expected[f"{key}/ddim8_seed1234/action_pred"])
        torch.testing.assert_close(act(policy, obs)["action_pred"], wanted, rtol=0, atol=0.034)


def test_a_checkpoint_opens_as_a_workspace(registry, tmp_path):
    built, policy = lowdim_transformer(registry)
    path = convert(tmp_path, config(policy, KEYPOINTS), built.state_dict())

    workspace = BaseWorkspace.create_from_checkpoint(path, output_dir=tmp_path / "run")

    assert torch.equal(workspace.ema_model.model.head.weight, built.model.head.weight)
    assert workspace.progress.epoch == 2
