"""Runners that return the right numbers of the wrong episodes, and one that is right."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from dp_core.kit.rollout.environment import Environment, Split, Start, Step
from dp_core.kit.rollout.runner import RolloutRunner
from dp_core.testing.tiny import TinyRunner


class Drift(Environment):
    """A point that moves part of the way to where actions say; nobody ever gets a reward."""

    def __init__(self) -> None:
        self.position = np.zeros(2)

    def reset(self, start: Start) -> None:
        self.position = self.rng(start).uniform(-1, 1, size=2)

    def rng(self, start: Start) -> Any:
        return np.random.default_rng(start.seed)

    def observe(self) -> dict[str, Any]:
        return {"position": self.position.astype(np.float32)}

    def step(self, action: Any) -> Step:
        self.position = self.position + 0.1 * (action - self.position)
        return Step(0.0)

    def render(self) -> Any:
        return np.zeros((4, 4, 3), np.uint8)


class Unseeded(Drift):
    def rng(self, start: Start) -> Any:
        return np.random.default_rng()


class Seeding(Drift):
    def rng(self, start: Start) -> Any:
        np.random.seed(start.seed)
        return np.random.default_rng(start.seed)


class Lagging(Drift):
    """Executes each action in the step after it."""

    def reset(self, start: Start) -> None:
        super().reset(start)
        self.action = self.position

    def step(self, action: Any) -> Step:
        self.action, previous = action, self.action
        return super().step(previous)


class DriftRunner(RolloutRunner):
    """Is right, and made for one task."""

    environment: type[Drift] = Drift

    def __init__(self, config: Any, *, shape_meta: Any, output_dir: Any) -> None:
        make = partial(self.environment)
        super().__init__(config, title="drift", make_environment=make, action_dim=2, output_dir=output_dir)

    def starts(self, split: Split, n_episodes: int) -> list[Start]:
        return [Start(split, seed) for seed in range(n_episodes)]


class UnseededRunner(DriftRunner):
    environment = Unseeded


class SeedingRunner(DriftRunner):
    environment = Seeding


class LaggingRunner(DriftRunner):
    environment = Lagging


class Practising(TinyRunner):
    """Evaluates in training mode."""

    def run(self, policy: Any) -> dict[str, Any]:
        policy.eval = lambda: policy
        return super().run(policy)


class Waking(TinyRunner):
    def run(self, policy: Any) -> dict[str, Any]:
        metrics = super().run(policy)
        policy.train()
        return metrics
