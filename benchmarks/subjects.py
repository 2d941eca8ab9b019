"""What is measured: the paper's Push-T policies, from images and from states, and random data for them."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dp_core.interfaces import BasePolicy
from dp_core.registry import Registry
from dp_core.run_config import load_config
from dp_core.testing.samples import normalizer_for, raw_batch, raw_obs

CONFIGS = Path(__file__).parents[1] / "configs"
ACTION_RANGE = 100.0
"""The range of raw actions, see `dp_core.testing.samples`."""

_SILENT = ("callbacks.log=null", "callbacks.progress=null", "callbacks.topk=null", "runner=null")
_TINY = ("policy.denoiser.down_dims=[16,32]", "policy.denoiser.diffusion_step_embed_dim=16")
_SMALL_UNET = ("policy.denoiser.down_dims=[256,512,1024]", "policy.denoiser.diffusion_step_embed_dim=256")


def image_config(quick: bool, overrides: Sequence[str] = ()) -> Any:
    """Configure images and the agent's position: ResNet-18 on crops of 84, U-Net (512, 1024, 2048), 263 M weights."""
    return _config("pusht_image_unet_hybrid", [*(_TINY if quick else ()), *overrides])


def state_config(quick: bool, overrides: Sequence[str] = ()) -> Any:
    """Configure keypoints and the U-Net of the original's config for states, (256, 512, 1024), 65 M weights."""
    return _config("pusht_lowdim_unet", [*(_TINY if quick else _SMALL_UNET), *overrides])


def make_policy(config: Any, device: torch.device) -> BasePolicy:
    """Make the policy of a config, with the same random weights at every call and a normalizer for the data below."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        policy: BasePolicy = config.policy.build(shape_meta=config.shape_meta)
    policy.set_normalizer(normalizer_for(config.shape_meta))
    return policy.to(device)


def make_batch(config: Any, batch_size: int, device: torch.device) -> dict[str, Any]:
    """Make a batch as our data sets do: observations that the policy sees, images as uint8; pinned for a GPU."""
    batch = raw_batch(config.shape_meta, batch_size, config.horizon)
    batch["obs"] = {key: value[:, : config.n_obs_steps].contiguous() for key, value in batch["obs"].items()}
    return _pinned(batch, device)


def make_plain_batch(config: Any, batch_size: int, device: torch.device) -> dict[str, Any]:
    """Make the batch as the straightforward data set does: observations of the whole horizon, images as floats."""
    batch = raw_batch(config.shape_meta, batch_size, config.horizon)
    batch["obs"] = {key: _as_float(value) for key, value in batch["obs"].items()}
    return _pinned(batch, device)


def make_obs(config: Any, device: torch.device) -> dict[str, Tensor]:
    """Make what one robot sees: ``{key: (1, To, *shape)}``, images as uint8."""
    obs = raw_obs(config.shape_meta, 1, config.n_obs_steps)
    return {key: value.to(device) for key, value in obs.items()}


def make_plain_obs(config: Any, device: torch.device) -> dict[str, Tensor]:
    """Make what one robot sees, images as floats in [0, 1]."""
    return {key: _as_float(value) for key, value in make_obs(config, device).items()}


def _config(name: str, overrides: Sequence[str]) -> Any:
    return load_config(Registry.discover(), CONFIGS / f"{name}.yaml", [*_SILENT, *overrides])


def _as_float(values: Tensor) -> Tensor:
    return values.float() / 255 if values.dtype == torch.uint8 else values


def _pinned(batch: dict[str, Any], device: torch.device) -> dict[str, Any]:
    if device.type != "cuda":
        return batch
    batch = copy.copy(batch)
    return {"obs": {k: v.pin_memory() for k, v in batch["obs"].items()}, "action": batch["action"].pin_memory()}
