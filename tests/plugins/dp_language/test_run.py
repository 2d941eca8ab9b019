"""An instruction from the recording to the act, on a machine that has no embedder."""

import shutil

import numpy as np
import pytest
import torch

from dp_core.runs import load_policy, resume, start
from dp_replay.buffer import ReplayBuffer

pytest.importorskip("transformers")
pytest.importorskip("zarr")

CONFIG = """
workspace: train
shape_meta:
  obs: {state: {shape: [3]}, instruction: {shape: [], type: text, when: episode}}
  action: {shape: [2]}
dataset: {name: replay, path: PATH/mine.zarr, horizon: 4, n_obs_steps: 2, n_action_steps: 2}
policy:
  name: diffusion
  horizon: 4
  n_obs_steps: 2
  n_action_steps: 2
  encoder:
    name: concat
    parts:
      task: {keys: [instruction], encoder: {name: sentence, checkpoint_path: PATH/embedder, feature_dimension: 4}}
      states: {encoder: lowdim}
  denoiser: {name: unet1d, down_dims: [8, 16], diffusion_step_embed_dim: 8, kernel_size: 3, n_groups: 4}
  scheduler: {name: ddim, num_inference_steps: 2}
optimizer: adamw
lr_schedule: constant
dataloader: {batch_size: 8}
training: {num_epochs: 1, device: cpu}
"""


def test_a_run_needs_the_embedder_when_it_starts_and_never_again(write_embedder, tmp_path):
    embedder = write_embedder(tmp_path / "embedder")
    draw = np.random.default_rng(0)
    buffer = ReplayBuffer()
    for sentence in ("push the block", "pull the block"):
        steps = {"state": draw.normal(size=(8, 3)), "action": draw.normal(size=(8, 2))}
        buffer.append(steps, once={"instruction": sentence})
    buffer.save(tmp_path / "mine.zarr")
    config = tmp_path / "mine.yaml"
    config.write_text(CONFIG.replace("PATH", str(tmp_path)))
    workspace = start(config, [f"output_dir={tmp_path / 'run'}"])
    shutil.rmtree(embedder)

    policy = load_policy(workspace.get_checkpoint_path())
    state = torch.zeros(1, 2, 3)
    push, pull = (
        policy.predict_action({"state": state, "instruction": [[text] * 2]}, torch.Generator().manual_seed(0))["action"]
        for text in ("push the block", "pull the block")
    )
    assert push.shape == (1, 2, 2)
    assert not torch.equal(push, pull)
    assert resume(tmp_path / "run", ["training.num_epochs=2"]).progress.epoch == 2
