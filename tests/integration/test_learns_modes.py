"""Every noise process, mode and network learns a distribution that is known, and every sampler finds it.

The demonstrations go around an obstacle, to the left or to the right; what is observed says how often. Who averages
them runs into it, and who does not look gets the shares wrong. Small networks are trained, and samplers are exchanged
as at any evaluation.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
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

SHARE_LEFT = {0: 0.3, 1: 0.8}
"""By the state that is observed."""
SPREAD = 0.2
"""Standard deviation around each mode."""
N_SAMPLES = 1000
TOLERANCE = 0.08
"""Of the share of a mode. N_SAMPLES give a standard deviation of 0.015; five seeds of each training: within 0.061."""
LARGEST_DISTANCE = 0.03
"""Energy distance. Two draws of the demonstrations are within 0.015; five seeds of each training: within 0.021."""

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
from typing import ClassVar

import attrs

from dp_core import option


@attrs.frozen(kw_only=True)
class MLPConfig:
    takes: ClassVar[tuple[str, ...]] = ("end_timestep",)

    width: int = option(128, help="of the hidden layers")
""",
    "mlp.py": """
import torch
from torch import nn

from dp_core.interfaces import BaseDenoiser


class MLP(BaseDenoiser):
    def __init__(
        self,
        config,
        *,
        input_dim,
        horizon,
        n_obs_steps,
        global_cond_dim,
        local_cond_dim=None,
        has_end_timestep=False,
    ):
        super().__init__()
        self.register_buffer("frequencies", torch.logspace(0, -2, 8))
        size, width = input_dim * horizon, config.width
        cond_size = (global_cond_dim or 0) + horizon * (local_cond_dim or 0)
        self.input = nn.Linear(size + cond_size, width)
        self.layers = nn.ModuleList(nn.Linear(width, width) for _ in range(2))
        self.times = nn.ModuleList(nn.Linear(32 if has_end_timestep else 16, 2 * width) for _ in range(3))
        self.output = nn.Linear(width, size)

    def forward(self, sample, timestep, local_cond=None, global_cond=None, end_timestep=None):
        times = [timestep] if end_timestep is None else [timestep, timestep - end_timestep]
        angles = [time.expand(len(sample)).float()[:, None] * self.frequencies for time in times]
        angles = torch.cat(angles, dim=-1)
        time = torch.cat([angles.sin(), angles.cos()], dim=-1)
        known = [cond.flatten(1) for cond in (local_cond, global_cond) if cond is not None]
        x = self.input(torch.cat([sample.flatten(1), *known], dim=-1))
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
dataset: {name: replay, path: DATA, horizon: 2, n_obs_steps: 1, n_action_steps: 1, full_obs_horizon: true}
policy:
  name: diffusion
  horizon: 2
  n_obs_steps: 1
  n_action_steps: 1
  encoder: lowdim
  denoiser: mlp
optimizer: {name: adamw, lr: 6.0e-3, betas: [0.9, 0.99]}
lr_schedule: {name: cosine, num_warmup_steps: 50}
dataloader: {batch_size: 256}
training: {num_epochs: 30, checkpoint_every: 1000, sample_every: 1000, sample_batch_size: 1, device: cpu}
"""

SHORTER = ["training.num_epochs=20"]
FEWER_SAMPLES = ["dataloader.batch_size=128", "optimizer.lr=3.0e-3"]
"""For networks that are slower than the MLP and learn more from a sample."""
SLOWLY = ["dataloader.batch_size=128", "optimizer.lr=1.0e-3", "training.num_epochs=10"]
"""The transformer starts with weights so small that it long overlooks the state; faster, some seeds still half do."""
TRANSFORMER = "name: transformer, n_layer: 2, n_head: 2, n_emb: 64, p_drop_attn: 0.0"
TRAINED = {
    "epsilon": ["policy.scheduler={name: ddpm}"],
    "sample": ["policy.scheduler={name: ddpm, prediction_type: sample}"],
    "v_prediction": ["policy.scheduler={name: ddpm, prediction_type: v_prediction}"],
    "flow": ["policy.scheduler={name: flow_matching}", *SHORTER],
    "mean flow": ["policy.scheduler={name: mean_flow}", *SHORTER],
    "mip": ["policy.scheduler={name: mip}", *SHORTER],
    "local": ["policy={obs_as_global_cond: false, obs_as_local_cond: true}", *SHORTER],
    "inpainting": ["policy={obs_as_global_cond: false}"],
    "inpainting flow": ["policy={obs_as_global_cond: false, scheduler: flow_matching}", *SHORTER],
    "action steps only": ["policy.pred_action_steps_only=true", *SHORTER],
    "several perturbed noises": [
        "policy={train_diffusion_n_samples: 4, input_pertub: 0.05}",
        "dataloader.batch_size=64",
        "training.num_epochs=7",
    ],
    "unet1d": [
        "policy.denoiser={name: unet1d, down_dims: [32], diffusion_step_embed_dim: 32, kernel_size: 3}",
        *FEWER_SAMPLES,
        "training.num_epochs=5",
    ],
    "dit1d": [
        "policy.denoiser={name: dit1d, n_layer: 2, n_head: 2, n_emb: 32, p_drop: 0.0}",
        *FEWER_SAMPLES,
        "training.num_epochs=7",
    ],
    "transformer": [f"policy.denoiser={{{TRANSFORMER}, causal_attn: false}}", *SLOWLY],
    "causal transformer": [f"policy.denoiser={{{TRANSFORMER}}}", *SLOWLY],
}
"""What differs from the config above."""
DDPM = "{name: ddpm}"
DDIM = "{name: ddim, num_inference_steps: 20}"
DPM_SOLVER = "{name: dpm_solver, num_inference_steps: 10}"
EULER = "{name: flow_matching, num_inference_steps: 10}"
HEUN = "{name: flow_matching, solver: heun, num_inference_steps: 5}"
UNIPC = "{name: diffusers, scheduler: UniPCMultistepScheduler, options: {thresholding: true}, num_inference_steps: 10}"
SAMPLERS = [
    *itertools.product(["epsilon", "sample", "v_prediction"], [DDPM, DDIM, DPM_SOLVER]),
    *itertools.product(["inpainting"], [DDPM, DDIM, "{name: dpm_solver, num_inference_steps: 20}"]),
    *itertools.product(["flow", "inpainting flow"], [EULER, HEUN]),
    *itertools.product(["local", "action steps only", "several perturbed noises"], [DDIM]),
    *itertools.product(["unet1d", "dit1d", "transformer"], [DDIM]),
    ("sample", UNIPC),
]


def demonstrations(state: int, count: int, seed: int) -> Tensor:
    """Two steps around the obstacle, (count, 2, 2)."""
    generator = torch.Generator().manual_seed(seed)
    side = torch.where(torch.rand(count, generator=generator) < SHARE_LEFT[state], -1.0, 1.0)
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


def shortcomings(actions: Mapping[int, Tensor], first: int = 0) -> list[str]:
    """What tells these trajectories, or parts of them from step ``first`` on, from demonstrations; by state."""
    found = []
    for state, paths in actions.items():
        left, right = shares(paths)
        demonstrated = demonstrations(state, N_SAMPLES, seed=1)[:, first : first + paths.shape[1]]
        distance = energy_distance(paths, demonstrated)
        if abs(left - SHARE_LEFT[state]) > TOLERANCE:
            found.append(f"state {state}: left {left:.3f}")
        if abs(right - (1 - SHARE_LEFT[state])) > TOLERANCE:
            found.append(f"state {state}: right {right:.3f}")
        if distance > LARGEST_DISTANCE:
            found.append(f"state {state}: energy distance {distance:.3f}")
    return found


def act(policy: BasePolicy) -> dict[int, Tensor]:
    states = torch.arange(2.0).repeat_interleave(N_SAMPLES)[:, None, None]
    generator = torch.Generator().manual_seed(0)
    actions = policy.predict_action({"state": states}, generator=generator)["action_pred"]
    return dict(enumerate(actions.chunk(2)))


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with the demonstrations and a config; the network is a plugin."""
    folder = tmp_path_factory.mktemp("modes")
    count = 4096
    episodes = np.concatenate([demonstrations(state, count, seed=3 + state).numpy() for state in SHARE_LEFT])
    root = zarr.open_group(folder / "modes.zarr", mode="w")
    data, meta = root.create_group("data"), root.create_group("meta")
    data["action"] = episodes.reshape(-1, 2)
    data["state"] = np.repeat(np.array([[0], [1]], np.float32), 2 * count, axis=0)
    meta["episode_ends"] = np.arange(2, len(episodes) * 2 + 1, 2)
    (folder / "modes.yaml").write_text(CONFIG.replace("DATA", str(folder / "modes.zarr")))
    write_distribution(folder / "site-packages", "dp-modes", plugins={"modes": MLP})
    with installed(folder / "site-packages"):
        yield folder


@pytest.fixture(scope="module")
def checkpoint(task: Path) -> Callable[[str], Path]:
    """Trains when it is first asked for that."""

    def train(name: str) -> Path:
        output = task / name.replace(" ", "-")
        if not output.exists():
            assert main([str(task / "modes.yaml"), f"output_dir={output}", *TRAINED[name]]) == 0
        return output / "checkpoints" / "latest.ckpt"

    return train


@pytest.mark.slow
@pytest.mark.parametrize(("trained", "sampler"), SAMPLERS)
def test_it_finds_both_modes_at_their_shares(checkpoint: Callable[[str], Path], trained: str, sampler: str) -> None:
    policy = load_policy(checkpoint(trained), overrides=[f"policy.scheduler={sampler}"])

    assert shortcomings(act(policy)) == []


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 5])
def test_one_step_of_average_velocities_finds_both_modes(checkpoint: Callable[[str], Path], count: int) -> None:
    """A little less sharply than the samplers above do in ten; their mean is at a distance of more than 0.5."""
    steps = [f"policy.scheduler.num_inference_steps={count}"]
    actions = act(load_policy(checkpoint("mean flow"), overrides=steps))

    for state, paths in actions.items():
        left, right = shares(paths)
        assert left == pytest.approx(SHARE_LEFT[state], abs=0.15)
        assert left + right > 0.85
        assert energy_distance(paths, demonstrations(state, N_SAMPLES, seed=1)) < 3 * LARGEST_DISTANCE


@pytest.mark.slow
def test_a_regression_in_two_steps_finds_one_mode(checkpoint: Callable[[str], Path]) -> None:
    """The first step predicts the mean, between the modes; the second leads to the more frequent one, always."""
    one_step = load_policy(checkpoint("mip"), overrides=["policy.scheduler.num_inference_steps=1"])
    means, actions = act(one_step), act(load_policy(checkpoint("mip")))

    for state, paths in actions.items():
        mode = -1 if SHARE_LEFT[state] > 0.5 else 1
        assert means[state][..., 0].mean().item() == pytest.approx(1 - 2 * SHARE_LEFT[state], abs=0.1)
        assert (paths[..., 0] * mode).mean() > (means[state][..., 0] * mode).mean() + 0.05
        assert paths.std(0).max() < 1e-3


@pytest.mark.slow
def test_a_causal_transformer_finds_the_modes_of_each_step(checkpoint: Callable[[str], Path]) -> None:
    """Of each alone: later steps tell on which side a noisy step is, too, and a causal network may not look at them.

    So some of its paths change sides on the way. The best predictor is known for such demonstrations (a mixture of
    normal distributions): with this sampler it never does so, and the best causal one does in 13 % and 10 %.
    """
    policy = load_policy(checkpoint("causal transformer"), overrides=[f"policy.scheduler={DDIM}"])

    paths = act(policy)

    for step in (0, 1):
        assert shortcomings({state: path[:, [step]] for state, path in paths.items()}, first=step) == []
    assert all(0.05 < 1 - sum(shares(path)) < 0.25 for path in paths.values())


def test_other_demonstrations_fall_short_of_nothing() -> None:
    assert shortcomings({state: demonstrations(state, N_SAMPLES, seed=2) for state in SHARE_LEFT}) == []


@pytest.mark.parametrize("kind", ["untrained", "average", "one mode", "shares of the other state", "no spread"])
def test_what_has_not_learned_the_distribution_falls_short(checkpoint: Callable[[str], Path], kind: str) -> None:
    others = {state: demonstrations(state, N_SAMPLES, seed=2) for state in SHARE_LEFT}
    if kind == "untrained":
        policy: Any = load_policy(checkpoint("epsilon"))
        for layer in policy.model.modules():
            if isinstance(layer, torch.nn.Linear):
                layer.reset_parameters()
        actions = act(policy)
    elif kind == "average":
        actions = {state: paths.mean(0, keepdim=True).expand_as(paths) for state, paths in others.items()}
    elif kind == "one mode":
        right = torch.tensor([1.0, 0.0])
        actions = {state: paths.abs() * right + paths * (1 - right) for state, paths in others.items()}
    elif kind == "no spread":
        actions = {state: paths.sign() * torch.tensor([1, 0.5]) for state, paths in others.items()}
    else:
        actions = {0: others[1], 1: others[0]}

    assert {found[:7] for found in shortcomings(actions)} == {"state 0", "state 1"}
