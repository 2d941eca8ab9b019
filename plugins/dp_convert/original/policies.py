"""Policies of the original: constructor arguments, with their defaults, to a block ``policy`` and a `shape_meta`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from dp_convert.block import Block
from dp_core.shape_meta import keys_of_type

Policy = tuple[dict[str, Any], dict[str, Any]]
"""The block ``policy`` and ``shape_meta``."""


def read_policy(policy: Block, top: Mapping[str, Any], notes: list[str]) -> Policy:
    """Read the block ``policy`` of an original config.

    Args:
        top: the whole config.
        notes: gets what the user should know.
    """
    target = policy.target()
    if target not in POLICIES:
        policy.fail("_target_", f"'{target or 'nothing'}' is not one of {', '.join(POLICIES)}")
        return {}, {}
    block, shape_meta = POLICIES[target](policy, top)
    policy.finish()
    notes += _encoder_notes(block["encoder"], shape_meta, top)
    return block, shape_meta


def _unet_hybrid(policy: Block, top: Mapping[str, Any]) -> Policy:
    block = _steps(policy)
    block["obs_as_global_cond"] = policy.take("obs_as_global_cond", True)
    shape_meta = _shape_meta(policy, top)
    block["encoder"] = _robomimic_encoder(policy, shape_meta)
    block["denoiser"] = _unet_of_image_policy(policy)
    return block, shape_meta


def _unet_image(policy: Block, top: Mapping[str, Any]) -> Policy:
    block = _steps(policy)
    block["obs_as_global_cond"] = policy.take("obs_as_global_cond", True)
    shape_meta = _shape_meta(policy, top)
    frozen = bool(_mapping(top.get("training")).get("freeze_encoder", False))
    block["encoder"] = _multi_image_encoder(policy.block("obs_encoder"), frozen)
    block["denoiser"] = _unet_of_image_policy(policy)
    return block, shape_meta


def _transformer_hybrid(policy: Block, top: Mapping[str, Any]) -> Policy:
    block = _steps(policy)
    block["obs_as_global_cond"] = policy.take("obs_as_cond", True)
    block["pred_action_steps_only"] = policy.take("pred_action_steps_only", False)
    shape_meta = _shape_meta(policy, top)
    block["encoder"] = _robomimic_encoder(policy, shape_meta)
    block["denoiser"] = {
        "name": "transformer",
        "n_layer": policy.take("n_layer", 8),
        "n_cond_layers": policy.take("n_cond_layers", 0),
        "n_head": policy.take("n_head", 4),
        "n_emb": policy.take("n_emb", 256),
        "p_drop_emb": policy.take("p_drop_emb", 0.0),
        "p_drop_attn": policy.take("p_drop_attn", 0.3),
        "causal_attn": policy.take("causal_attn", True),
        "time_as_cond": policy.take("time_as_cond", True),
    }
    return block, shape_meta


def _unet_lowdim(policy: Block, top: Mapping[str, Any]) -> Policy:
    block = _steps(policy)
    block["obs_as_global_cond"] = policy.take("obs_as_global_cond", False)
    block["obs_as_local_cond"] = policy.take("obs_as_local_cond", False)
    block["pred_action_steps_only"] = policy.take("pred_action_steps_only", False)
    block["oa_step_convention"] = policy.take("oa_step_convention", False)
    block["encoder"] = {"name": "lowdim"}
    model = policy.block("model")
    _expect_target(model, "ConditionalUnet1D")
    # What follows from the task and the way of conditioning.
    model.ignore("input_dim", "local_cond_dim", "global_cond_dim")
    block["denoiser"] = _unet(model, kernel_size=3, cond_predict_scale=False)
    model.finish()
    return block, _lowdim_shape_meta(policy)


def _transformer_lowdim(policy: Block, top: Mapping[str, Any]) -> Policy:
    block = _steps(policy)
    block["obs_as_global_cond"] = policy.take("obs_as_cond", False)
    block["pred_action_steps_only"] = policy.take("pred_action_steps_only", False)
    block["encoder"] = {"name": "lowdim"}
    model = policy.block("model")
    _expect_target(model, "TransformerForDiffusion")
    # What follows from the task and the way of conditioning; obs_as_cond is overwritten by the original itself.
    model.ignore("input_dim", "output_dim", "cond_dim", "obs_as_cond", "n_obs_steps")
    trajectory_steps = block["n_action_steps"] if block["pred_action_steps_only"] else block["horizon"]
    model.expect("horizon", trajectory_steps)
    block["denoiser"] = {
        "name": "transformer",
        "n_layer": model.take("n_layer", 12),
        "n_cond_layers": model.take("n_cond_layers", 0),
        "n_head": model.take("n_head", 12),
        "n_emb": model.take("n_emb", 768),
        "p_drop_emb": model.take("p_drop_emb", 0.1),
        "p_drop_attn": model.take("p_drop_attn", 0.1),
        "causal_attn": model.take("causal_attn", False),
        "time_as_cond": model.take("time_as_cond", True),
    }
    model.finish()
    return block, _lowdim_shape_meta(policy)


POLICIES: dict[str, Callable[[Block, Mapping[str, Any]], Policy]] = {
    "DiffusionUnetHybridImagePolicy": _unet_hybrid,
    "DiffusionUnetImagePolicy": _unet_image,
    "DiffusionTransformerHybridImagePolicy": _transformer_hybrid,
    "DiffusionUnetLowdimPolicy": _unet_lowdim,
    "DiffusionTransformerLowdimPolicy": _transformer_lowdim,
}
"""The readers of policies, by the name of the class."""


def _steps(policy: Block) -> dict[str, Any]:
    return {
        "name": "diffusion",
        "horizon": policy.take("horizon"),
        "n_obs_steps": policy.take("n_obs_steps"),
        "n_action_steps": policy.take("n_action_steps"),
        "scheduler": _scheduler(policy.block("noise_scheduler"), policy.take("num_inference_steps", None)),
    }


def _unet_of_image_policy(policy: Block) -> dict[str, Any]:
    return _unet(policy, kernel_size=5, cond_predict_scale=True)


def _unet(block: Block, kernel_size: int, cond_predict_scale: bool) -> dict[str, Any]:
    """The network's options, with the defaults of whoever constructs it."""
    return {
        "name": "unet1d",
        "diffusion_step_embed_dim": block.take("diffusion_step_embed_dim", 256),
        "down_dims": block.take("down_dims", [256, 512, 1024]),
        "kernel_size": block.take("kernel_size", kernel_size),
        "n_groups": block.take("n_groups", 8),
        "cond_predict_scale": block.take("cond_predict_scale", cond_predict_scale),
    }


def _robomimic_encoder(policy: Block, shape_meta: Mapping[str, Any]) -> dict[str, Any]:
    if shape_meta and not keys_of_type(shape_meta, "rgb"):
        policy.ignore("crop_shape", "obs_encoder_group_norm", "eval_fixed_crop")
        return {"name": "lowdim"}
    return {
        "name": "robomimic",
        "crop_shape": policy.take("crop_shape", [76, 76]),
        "obs_encoder_group_norm": policy.take("obs_encoder_group_norm", False),
        "eval_fixed_crop": policy.take("eval_fixed_crop", False),
    }


def _multi_image_encoder(encoder: Block, frozen: bool) -> dict[str, Any]:
    _expect_target(encoder, "MultiImageObsEncoder")
    encoder.ignore("shape_meta")
    network = encoder.block("rgb_model")
    _expect_target(network, "get_resnet")
    weights = network.take("weights", None)
    # They matter to a new training only. R3M's are not torchvision's.
    weights = weights if weights in ("IMAGENET1K_V1", "IMAGENET1K_V2") else None
    share_rgb_model = encoder.take("share_rgb_model", False)
    random_crop = encoder.take("random_crop", True)
    crop_shape = encoder.take("crop_shape", None)
    imagenet_norm = encoder.take("imagenet_norm", False)
    block = {
        "name": "multi_image",
        "rgb_model": network.take("name"),
        "weights": weights,
        "resize_shape": encoder.take("resize_shape", None),
        # The original's torchvision, 0.13, did not smooth images that shrink.
        "antialias": False,
        # With random_crop: false the original loses the crop altogether.
        "crop_shape": crop_shape if random_crop else None,
        # The original leaves batch normalisation in a shared model.
        "use_group_norm": encoder.take("use_group_norm", False) and not share_rgb_model,
        "share_rgb_model": share_rgb_model,
        "imagenet_norm": imagenet_norm,
        "normalize_twice": imagenet_norm,
        "frozen": frozen and weights is not None,
    }
    network.finish()
    encoder.finish()
    return block


def _encoder_notes(encoder: Mapping[str, Any], shape_meta: Mapping[str, Any], top: Mapping[str, Any]) -> Iterator[str]:
    size = encoder.get("resize_shape")
    shapes = [shape_meta["obs"][key].get("shape") for key in keys_of_type(shape_meta, "rgb")] if shape_meta else []
    if size and any(isinstance(shape, list) and shape[1:] != size for shape in shapes):
        yield (
            "images are resized as by torchvision before 0.17; weights that were trained with a newer one want "
            "policy.encoder.antialias=true"
        )
    if _mapping(top.get("training")).get("freeze_encoder") and not encoder.get("frozen"):
        yield (
            "training.freeze_encoder is not carried over, as the weights that training began with are not those of "
            "torchvision; training on changes the encoder"
        )


def _scheduler(scheduler: Block, num_inference_steps: int | None) -> dict[str, Any]:
    target = scheduler.target()
    if target not in _SCHEDULERS:
        scheduler.fail("_target_", f"'{target or 'nothing'}' is not one of {', '.join(_SCHEDULERS)}")
        return {}
    name, options = _SCHEDULERS[target]
    block = {"name": name, "num_inference_steps": num_inference_steps}
    # The defaults are those of diffusers, which differ from ours.
    defaults = {
        "num_train_timesteps": 1000,
        "beta_schedule": "linear",
        "beta_start": 0.0001,
        "beta_end": 0.02,
        "prediction_type": "epsilon",
        **options,
    }
    block |= {option: scheduler.take(option, default) for option, default in defaults.items()}
    scheduler.expect("trained_betas", None)
    scheduler.expect("thresholding", False)
    scheduler.expect("rescale_betas_zero_snr", False)
    scheduler.ignore("dynamic_thresholding_ratio", "sample_max_value")
    if name == "dpm_solver":
        block["clip_sample"] = False
        scheduler.expect("algorithm_type", "dpmsolver++")
        scheduler.ignore("solver_type", "lower_order_final")
    scheduler.finish()
    return block


_CLIPPED = {"clip_sample": True, "clip_sample_range": 1.0}
_SCHEDULERS: dict[str, tuple[str, dict[str, Any]]] = {
    "DDPMScheduler": ("ddpm", {**_CLIPPED, "variance_type": "fixed_small", "timestep_spacing": "leading"}),
    "DDIMScheduler": (
        "ddim",
        {**_CLIPPED, "set_alpha_to_one": True, "steps_offset": 0, "timestep_spacing": "leading"},
    ),
    "DPMSolverMultistepScheduler": ("dpm_solver", {"solver_order": 2}),
}


def _shape_meta(policy: Block, top: Mapping[str, Any]) -> dict[str, Any]:
    given = policy.take("shape_meta", top.get("shape_meta"))
    if not (isinstance(given, Mapping) and isinstance(given.get("obs"), Mapping)):
        policy.fail("shape_meta", f"expected a mapping with 'obs' and 'action', got {given!r}")
        return {}
    obs = {key: {"type": "low_dim", **_mapping(spec)} for key, spec in given["obs"].items()}
    return {"obs": obs, "action": {"shape": _mapping(given.get("action")).get("shape")}}


def _lowdim_shape_meta(policy: Block) -> dict[str, Any]:
    obs_dim, action_dim = policy.take("obs_dim"), policy.take("action_dim")
    return {"obs": {"obs": {"shape": [obs_dim], "type": "low_dim"}}, "action": {"shape": [action_dim]}}


def _expect_target(block: Block, expected: str) -> None:
    if (target := block.target()) != expected:
        block.fail("_target_", f"'{target or 'nothing'}' has no counterpart here; expected {expected}")


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
