"""Evaluation in Push-T: our runner, against environments that observe after every step and a policy asked about all.

    python benchmarks/rollouts.py [--workers 2]

The policy costs nothing here, so what is timed is physics, drawing and bookkeeping; see `sampling.py` for networks.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from common import Report, Settings, Table, compare, parse, take_turns
from dp_core.interfaces import BasePolicy, Generators
from dp_core.kit.rollout.environment import Start
from dp_pusht.config import PushTRunnerConfig
from dp_pusht.environment import PushTEnvironment
from dp_pusht.runner import PushTRunner
from dp_pusht.shapes import ACTION_SHAPE, OBSERVATIONS

N_OBS_STEPS, N_ACTION_STEPS = 2, 8
PLAIN, OURS = "plain", "ours"
_CENTRE, _RADIUS, _TURN = 256.0, 120.0, 0.3
_FIRST_SEED = 100_000


class Circling(BasePolicy):
    """Sends the agent around the middle of the table, through whatever is in its way."""

    def compute_loss(self, batch: dict[str, Any], generator: torch.Generator | None = None) -> Tensor:
        """Return 0: there is nothing to learn."""
        return torch.zeros(())

    def predict_action(self, obs: dict[str, Tensor], generator: Generators = None) -> dict[str, Tensor]:
        """Return chunks that depend on the last position alone, (B, Ta, 2)."""
        x, y = (obs["agent_pos"][:, -1] - _CENTRE).double().unbind(1)
        angles = torch.atan2(y, x)[:, None] + _TURN * torch.arange(1, N_ACTION_STEPS + 1)
        actions = _CENTRE + _RADIUS * torch.stack([angles.cos(), angles.sin()], dim=-1)
        return {"action": actions.float(), "action_pred": actions.float()}


def main(argv: Sequence[str] | None = None) -> None:
    """Print a table for images and one for keypoints."""
    settings = parse(__doc__ or "", argv, rounds=5, add=_add_options)
    report = Report("rollouts", settings)
    for title, keys in {"images": ("image", "agent_pos"), "keypoints": ("keypoint", "agent_pos")}.items():
        report.add(_measure(title, keys, settings))
    report.finish()


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--episodes", type=int, default=10, help="at a time; default 10")
    parser.add_argument("--workers", type=int, default=2, help="processes for the last row; default 2; 0: none")


def _measure(title: str, keys: tuple[str, ...], settings: Settings) -> Table:
    n_episodes, max_steps = (2, 16) if settings.quick else (settings.options.episodes, 100)
    policy = Circling()
    seeds = range(_FIRST_SEED, _FIRST_SEED + n_episodes)
    with tempfile.TemporaryDirectory() as folder:
        runners = {OURS: _runner(keys, n_episodes, max_steps, 0, folder)}
        if settings.options.workers and not settings.quick:
            workers = settings.options.workers
            runners[f"ours, {workers} processes"] = _runner(keys, n_episodes, max_steps, workers, folder)
        ways: dict[str, Callable[[], list[float]]] = {PLAIN: partial(_plain_scores, keys, seeds, max_steps, policy)}
        ways |= {name: partial(_scores, runner, policy, seeds) for name, runner in runners.items()}
        scores = {name: torch.tensor(way()) for name, way in ways.items()}
        compared = [compare(f"scores, plain and {name}", scores[PLAIN], scores[name], 0) for name in runners]
        values = take_turns(ways, settings.rounds, per=n_episodes * max_steps)
        for runner in runners.values():
            runner.close()
    return Table(f"{n_episodes} episodes from {title}, one control step", PLAIN, values, "ms", compared)


def _runner(keys: tuple[str, ...], n_episodes: int, max_steps: int, workers: int, folder: str) -> PushTRunner:
    config = PushTRunnerConfig(
        n_obs_steps=N_OBS_STEPS,
        n_action_steps=N_ACTION_STEPS,
        n_train=0,
        n_test=n_episodes,
        n_test_vis=0,
        max_steps=max_steps,
        num_workers=workers,
        test_start_seed=_FIRST_SEED,
    )
    shape_meta = {"obs": {key: OBSERVATIONS[key] for key in keys}, "action": {"shape": ACTION_SHAPE}}
    return PushTRunner(config, shape_meta=shape_meta, output_dir=folder)


def _scores(runner: PushTRunner, policy: BasePolicy, seeds: Sequence[int]) -> list[float]:
    metrics = runner.run(policy)
    return [metrics[f"test/sim_max_reward_{seed}"] for seed in seeds]


def _plain_scores(keys: tuple[str, ...], seeds: Sequence[int], max_steps: int, policy: BasePolicy) -> list[float]:
    """All environments run until the last is over; the policy is asked about all of them."""
    environments = [PushTEnvironment(keys, legacy=True) for _ in seeds]
    recent = []
    for environment, seed in zip(environments, seeds, strict=True):
        environment.reset(Start("test", seed))
        recent.append(deque([environment.observe()] * N_OBS_STEPS, maxlen=N_OBS_STEPS))
    rewards: list[list[float]] = [[] for _ in seeds]
    is_over = [False] * len(seeds)
    while not all(is_over):
        obs = {key: torch.from_numpy(np.stack([np.stack([o[key] for o in seen]) for seen in recent])) for key in keys}
        chunks = policy.predict_action(obs)["action"].numpy()
        for index, (environment, chunk) in enumerate(zip(environments, chunks, strict=True)):
            for action in chunk.astype(np.float64):
                if is_over[index]:
                    break
                step = environment.step(action)
                recent[index].append(environment.observe())
                rewards[index].append(step.reward)
                is_over[index] = step.is_over or len(rewards[index]) >= max_steps
    for environment in environments:
        environment.close()
    return [max(of_episode) for of_episode in rewards]


if __name__ == "__main__":
    main()
