"""A task small enough to train in a second: two blobs of actions, state observations, no environment."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import zarr

CONFIG = """
workspace: train
shape_meta:
  obs:
    state: {shape: [3], type: low_dim}
  action: {shape: [2]}
horizon: 8
n_obs_steps: 2
n_action_steps: 4
dataset:
  name: replay
  path: PATH
  horizon: 8
  n_obs_steps: 2
  n_action_steps: 4
  val_ratio: 0.2
policy:
  name: diffusion
  horizon: 8
  n_obs_steps: 2
  n_action_steps: 4
  encoder: lowdim
  denoiser: {name: unet1d, down_dims: [8, 16], diffusion_step_embed_dim: 8, kernel_size: 3, n_groups: 4}
  scheduler: {name: ddim, num_inference_steps: 2}
optimizer: {name: adamw, lr: 1.0e-3}
lr_schedule: {name: cosine, num_warmup_steps: 3}
dataloader: {batch_size: 8}
training: {num_epochs: 3, checkpoint_every: 1, device: cpu}
callbacks:
  log: {name: json_log}
  topk: {name: topk, monitor_key: val_loss, mode: min, k: 2, format_str: "epoch={epoch:04d}-{val_loss:.4f}.ckpt"}
"""


@pytest.fixture
def tiny_config(tmp_path: Path) -> Path:
    """A config file beside its data: 5 episodes of 20 steps, 7 to 9 batches of 8 windows an epoch."""
    generator = np.random.default_rng(0)
    root = zarr.open_group(tmp_path / "tiny.zarr", mode="w")
    data, meta = root.create_group("data"), root.create_group("meta")
    data["state"] = generator.normal(size=(100, 3)).astype(np.float32)
    data["action"] = generator.normal(size=(100, 2)).astype(np.float32)
    meta["episode_ends"] = np.arange(20, 101, 20)
    path = tmp_path / "tiny.yaml"
    path.write_text(CONFIG.replace("PATH", str(tmp_path / "tiny.zarr")))
    return path
