"""Measures what schedulers represent of two modes, in how many network calls: energy distances, not times.

    python benchmarks/modes.py [--rounds 3] [--json results.json]

The demonstrations pass an obstacle to the left or to the right; a state says how often. The same small U-Net is trained
with each scheduler, once for each round (its seed), and sampled in different numbers of steps. An energy distance is 0
for equal distributions; that of demonstrations to others of them is shown for comparison, and so is that of their mean.
A few minutes for each round on a CPU.
"""

from __future__ import annotations

import copy
import statistics
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from common import Report, parse
from dp_core.interfaces import BasePolicy
from dp_core.normalizer import LinearNormalizer, SingleFieldLinearNormalizer
from dp_core.registry import Registry

SHARE_LEFT = (0.3, 0.8)
"""By the state that is observed."""
SPREAD = 0.2
"""Standard deviation around each mode."""
COUNT = 4096
"""Demonstrations of each state."""
SHAPE_META = {"obs": {"state": {"shape": [1], "type": "low_dim"}}, "action": {"shape": [2]}}
UNET = {"name": "unet1d", "down_dims": [64], "diffusion_step_embed_dim": 32, "kernel_size": 3}
BATCH_SIZE, N_STEPS, LEARNING_RATE = 256, 1500, 3e-3

TRAINED: dict[str, dict[str, Any]] = {
    "ddpm": {"name": "ddpm"},
    "flow_matching": {"name": "flow_matching"},
    "mean_flow": {"name": "mean_flow"},
    "mip": {"name": "mip"},
}
_UNIPC = {"name": "diffusers", "scheduler": "UniPCMultistepScheduler", "num_inference_steps": 10}
_UNIPC |= {"options": {"num_train_timesteps": 100, "beta_schedule": "squaredcos_cap_v2", "thresholding": True}}
SAMPLED: tuple[tuple[str, dict[str, Any], int], ...] = (
    ("ddpm", {"name": "ddpm"}, 100),
    ("ddpm", {"name": "ddim"}, 10),
    ("ddpm", _UNIPC, 10),
    ("flow_matching", {"name": "flow_matching"}, 10),
    ("flow_matching", {"name": "flow_matching"}, 1),
    ("mean_flow", {"name": "mean_flow"}, 1),
    ("mean_flow", {"name": "mean_flow"}, 2),
    ("mean_flow", {"name": "mean_flow"}, 5),
    ("mip", {"name": "mip"}, 1),
    ("mip", {"name": "mip"}, 2),
)
"""What was trained, what samples, and in how many steps."""


def demonstrations(state: int, count: int, seed: int) -> Tensor:
    """Draw two steps around the obstacle, (count, 2, 2)."""
    generator = torch.Generator().manual_seed(seed)
    side = torch.where(torch.rand(count, generator=generator) < SHARE_LEFT[state], -1.0, 1.0)
    path = torch.stack([torch.stack([side, side], 1), torch.tensor([[-0.5, 0.5]]).expand(count, 2)], -1)
    return path + SPREAD * torch.randn(count, 2, 2, generator=generator)


def energy_distance(one: Tensor, other: Tensor) -> float:
    """Estimate 2 E|X - Y| - E|X - X'| - E|Y - Y'| without bias (Székely and Rizzo 2013)."""

    def within(x: Tensor) -> Tensor:
        return torch.cdist(x, x).sum() / (len(x) * (len(x) - 1))

    one, other = one.flatten(1), other.flatten(1)
    return float(2 * torch.cdist(one, other).mean() - within(one) - within(other))


def train(registry: Registry, scheduler: Mapping[str, Any], seed: int, n_steps: int) -> BasePolicy:
    """Train a policy; return the average of its weights."""
    torch.manual_seed(seed)
    steps = {"horizon": 2, "n_obs_steps": 1, "n_action_steps": 1}
    block = {"name": "diffusion", **steps, "encoder": "lowdim", "denoiser": UNET, "scheduler": scheduler}
    actions = torch.cat([demonstrations(state, COUNT, 3 + state) for state in (0, 1)])
    states = torch.arange(2.0).repeat_interleave(COUNT)[:, None, None].expand(-1, 2, -1)
    policy: BasePolicy = registry.build("policy", block, shape_meta=SHAPE_META)
    policy.set_normalizer(_normalizer(states, actions))
    average = copy.deepcopy(policy)
    optimizer = torch.optim.AdamW(policy.parameters(), LEARNING_RATE, betas=(0.9, 0.99))
    rates = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=n_steps, pct_start=0.1)
    for step in range(n_steps):
        chosen = torch.randint(0, len(actions), (BATCH_SIZE,))
        policy({"obs": {"state": states[chosen]}, "action": actions[chosen]}).backward()
        torch.nn.utils.clip_grad_norm_(policy.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        rates.step()
        with torch.no_grad():
            for kept, new in zip(average.parameters(), policy.parameters(), strict=True):
                kept.lerp_(new, 1 - min(0.995, (1 + step) / (10 + step)))
    return average.eval()


def _normalizer(states: Tensor, actions: Tensor) -> LinearNormalizer:
    normalizer = LinearNormalizer(SHAPE_META)
    for key, values in (("state", states), ("action", actions)):
        flat = values.reshape(-1, values.shape[-1])
        stats = {"min": flat.amin(0), "max": flat.amax(0), "mean": flat.mean(0), "std": flat.std(0)}
        normalizer[key] = SingleFieldLinearNormalizer.create_range(stats)
    return normalizer


def act(policy: BasePolicy, count: int) -> tuple[Tensor, ...]:
    """Sample paths (count, 2, 2) for each state."""
    states = torch.arange(2.0).repeat_interleave(count)[:, None, None]
    return policy.predict_action({"state": states}, torch.Generator().manual_seed(0))["action_pred"].chunk(2)


def judge(paths: Sequence[Tensor]) -> float:
    """Return the energy distance to the demonstrations, the mean over the states."""
    shown = [demonstrations(state, len(own), seed=1) for state, own in enumerate(paths)]
    return statistics.mean(energy_distance(own, other) for own, other in zip(paths, shown, strict=True))


def main(argv: Sequence[str] | None = None) -> int:
    """Train, sample, and print a table for the documentation."""
    settings = parse(__doc__ or "", argv, rounds=3)
    report, registry = Report("modes", settings), Registry.discover()
    n_paths = 50 if settings.quick else 2000
    results: dict[str, list[float]] = {}
    others = [demonstrations(state, n_paths, seed=2) for state in (0, 1)]
    results["demonstrations"] = [judge(others)]
    results["their mean"] = [judge([paths.mean(0, keepdim=True).expand_as(paths) for paths in others])]
    for seed in range(settings.rounds):
        trained = {
            name: train(registry, block, seed, 2 if settings.quick else N_STEPS) for name, block in TRAINED.items()
        }
        for weights, block, n_steps in SAMPLED:
            policy = copy.copy(trained[weights])
            policy.scheduler = registry.build("scheduler", {**block, "num_inference_steps": n_steps})
            result = judge(act(policy, n_paths))
            results.setdefault(f"{block.get('scheduler', block['name'])}, {n_steps}", []).append(result)
    print("| scheduler, steps | energy distance |\n|---|---|")
    for name, rounds in results.items():
        distance = statistics.mean(rounds)
        print(f"| {name} | {distance:.3f} |")
        report.keep(name, distance)
    report.finish()
    return 0


if __name__ == "__main__":
    sys.exit(main())
