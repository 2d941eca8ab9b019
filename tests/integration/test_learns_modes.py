"""Every noise process learns a distribution that is known, and every sampler finds it: two modes, at their shares.

The demonstrations go around an obstacle, to the left 3 times in 10 and else to the right, whatever is observed. Who
averages them runs into it. One small network is trained per process, and samplers are exchanged as at any evaluation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import zarr
from torch import Tensor

from dp_core import load_policy
from dp_core.cli.run import main
from dp_core.interfaces import BasePolicy
from dp_core.testing.fakes import installed, write_distribution

SHARE_LEFT = 0.3
SPREAD = 0.2
"""Standard deviation around each mode."""
N_SAMPLES = 1000
TOLERANCE = 0.06
"""Of the share of a mode: four standard deviations of a count of N_SAMPLES."""
LARGEST_DISTANCE = 0.03
"""Energy distance; two draws of the demonstrations are within 0.015 of each other."""

MLP = {
    "plugin.py": """
from dp_core import Component, hookimpl
from dp_modes.config import MLPConfig

DP_API = 1


@hookimpl
def dp_components():
    yield Component(kind="denoiser", name="mlp", target="dp_modes.mlp:MLP", config=MLPConfig, summary="three layers")
""",
    "config.py": """
import attrs

from dp_core import option


@attrs.frozen(kw_only=True)
class MLPConfig:
    width: int = option(128, help="of the hidden layers")
""",
    "mlp.py": """
import torch
from torch import nn

from dp_core.interfaces import BaseDenoiser


class MLP(BaseDenoiser):
    def __init__(self, config, *, input_dim, horizon, n_obs_steps, global_cond_dim, local_cond_dim=None):
        super().__init__()
        self.register_buffer("frequencies", torch.logspace(0, -2, 8))
        size, width = input_dim * horizon, config.width
        self.input = nn.Linear(size + global_cond_dim, width)
        self.layers = nn.ModuleList(nn.Linear(width, width) for _ in range(2))
        self.times = nn.ModuleList(nn.Linear(16, 2 * width) for _ in range(3))
        self.output = nn.Linear(width, size)

    def forward(self, sample, timestep, local_cond=None, global_cond=None):
        angles = timestep.expand(len(sample)).float()[:, None] * self.frequencies
        time = torch.cat([angles.sin(), angles.cos()], dim=-1)
        x = self.input(torch.cat([sample.flatten(1), global_cond], dim=-1))
        for layer, time_layer in zip([nn.Identity(), *self.layers], self.times, strict=True):
            scale, shift = time_layer(time).chunk(2, dim=-1)
            x = nn.functional.silu(layer(x) * (1 + scale) + shift)
        return self.output(x).view_as(sample)
""",
}

CONFIG = """
workspace: train
shape_meta:
  obs:
    state: {shape: [1], type: low_dim}
  action: {shape: [2]}
horizon: 2
n_obs_steps: 1
n_action_steps: 1
dataset: {name: replay, path: DATA, horizon: 2, n_obs_steps: 1, n_action_steps: 1}
policy:
  name: diffusion
  horizon: 2
  n_obs_steps: 1
  n_action_steps: 1
  encoder: lowdim
  denoiser: mlp
optimizer: {name: adamw, lr: 3.0e-3}
lr_schedule: {name: cosine, num_warmup_steps: 50}
dataloader: {batch_size: 256}
training: {num_epochs: 60, checkpoint_every: 1000, sample_every: 1000, sample_batch_size: 1, device: cpu}
"""

TRAINED = {
    "epsilon": "{name: ddpm}",
    "sample": "{name: ddpm, prediction_type: sample}",
    "v_prediction": "{name: ddpm, prediction_type: v_prediction}",
    "flow": "{name: flow_matching}",
}
SAMPLERS = [
    *(
        (process, sampler)
        for process in ("epsilon", "sample", "v_prediction")
        for sampler in (
            "{name: ddpm}",
            "{name: ddim, num_inference_steps: 20}",
            "{name: dpm_solver, num_inference_steps: 10}",
        )
    ),
    ("flow", "{name: flow_matching, num_inference_steps: 10}"),
    ("flow", "{name: flow_matching, solver: heun, num_inference_steps: 5}"),
]


def demonstrations(count: int, seed: int) -> Tensor:
    """Two steps around the obstacle, (count, 2, 2)."""
    generator = torch.Generator().manual_seed(seed)
    side = torch.where(torch.rand(count, generator=generator) < SHARE_LEFT, -1.0, 1.0)
    path = torch.stack([torch.stack([side, side], 1), torch.tensor([[-0.5, 0.5]]).expand(count, 2)], -1)
    return path + SPREAD * torch.randn(count, 2, 2, generator=generator)


def energy_distance(one: Tensor, other: Tensor) -> float:
    """Unbiased estimate of 2 E|X - Y| - E|X - X'| - E|Y - Y'| (Székely and Rizzo 2013): 0 for equal distributions."""

    def within(x: Tensor) -> Tensor:
        return torch.cdist(x, x).sum() / (len(x) * (len(x) - 1))

    one, other = one.flatten(1), other.flatten(1)
    return float(2 * torch.cdist(one, other).mean() - within(one) - within(other))


def shares(actions: Tensor) -> tuple[float, float]:
    """Of trajectories that pass on the left and on the right, within four standard deviations of the mode."""
    near = [((actions[..., 0] - side).abs() < 4 * SPREAD).all(1).float().mean().item() for side in (-1, 1)]
    return near[0], near[1]


def shortcomings(actions: Tensor) -> list[str]:
    """What tells these trajectories from demonstrations."""
    left, right = shares(actions)
    distance = energy_distance(actions, demonstrations(N_SAMPLES, seed=1))
    found = []
    if abs(left - SHARE_LEFT) > TOLERANCE:
        found.append(f"left {left:.3f}")
    if abs(right - (1 - SHARE_LEFT)) > TOLERANCE:
        found.append(f"right {right:.3f}")
    if distance > LARGEST_DISTANCE:
        found.append(f"energy distance {distance:.3f}")
    return found


def act(policy: BasePolicy) -> Tensor:
    observation = {"state": torch.zeros(N_SAMPLES, 1, 1)}
    return policy.predict_action(observation, generator=torch.Generator().manual_seed(0))["action_pred"]


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with the demonstrations and a config; the network is a plugin."""
    folder = tmp_path_factory.mktemp("modes")
    episodes = demonstrations(4096, seed=0).numpy()
    root = zarr.open_group(folder / "modes.zarr", mode="w")
    data, meta = root.create_group("data"), root.create_group("meta")
    data["action"] = episodes.reshape(-1, 2)
    data["state"] = np.zeros((episodes.shape[0] * 2, 1), np.float32)
    meta["episode_ends"] = np.arange(2, len(episodes) * 2 + 1, 2)
    (folder / "modes.yaml").write_text(CONFIG.replace("DATA", str(folder / "modes.zarr")))
    write_distribution(folder / "site-packages", "dp-modes", plugins={"modes": MLP})
    with installed(folder / "site-packages"):
        yield folder


@pytest.fixture(scope="module")
def checkpoint(task: Path) -> Callable[[str], Path]:
    """Trains for a process when it is first asked for."""

    def train(process: str) -> Path:
        output = task / process
        if not output.exists():
            assert main([str(task / "modes.yaml"), f"output_dir={output}", f"policy.scheduler={TRAINED[process]}"]) == 0
        return output / "checkpoints" / "latest.ckpt"

    return train


@pytest.mark.parametrize(("process", "sampler"), SAMPLERS)
def test_it_finds_both_modes_at_their_shares(checkpoint: Callable[[str], Path], process: str, sampler: str) -> None:
    policy = load_policy(checkpoint(process), overrides=[f"policy.scheduler={sampler}"])

    assert shortcomings(act(policy)) == []


def test_other_demonstrations_fall_short_of_nothing() -> None:
    assert shortcomings(demonstrations(N_SAMPLES, seed=2)) == []


@pytest.mark.parametrize("kind", ["untrained", "average", "one mode", "even shares", "no spread"])
def test_what_has_not_learned_the_distribution_falls_short(checkpoint: Callable[[str], Path], kind: str) -> None:
    right = torch.randn(N_SAMPLES, 2, 2) * SPREAD + torch.tensor([[1, -0.5], [1, 0.5]])
    if kind == "untrained":
        policy: Any = load_policy(checkpoint("epsilon"))
        for layer in policy.model.modules():
            if isinstance(layer, torch.nn.Linear):
                layer.reset_parameters()
        actions = act(policy)
    elif kind == "average":
        actions = demonstrations(N_SAMPLES, seed=2).mean(0, keepdim=True).expand(N_SAMPLES, 2, 2)
    elif kind == "one mode":
        actions = right
    elif kind == "no spread":
        actions = demonstrations(N_SAMPLES, seed=2).sign() * torch.tensor([1, 0.5])
    else:
        side = torch.tensor([-1.0, 1.0]).repeat(N_SAMPLES // 2)
        actions = right * torch.stack([side, torch.ones(N_SAMPLES)], -1)[:, None]

    assert shortcomings(actions) != []
