"""`KestrelRunner`: evaluates a policy in an environment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from dp_core.kit.rollout.environment import Environment, Split, Start, Step
from dp_core.kit.rollout.runner import RolloutRunner
from dp_core.shape_meta import keys_once_per_episode
from numpy.typing import NDArray

if TYPE_CHECKING:
    from dp_kestrel.config import RunnerOptions


class KestrelRunner(RolloutRunner):
    """Evaluates many episodes at a time; scores, intervals, videos and worker processes are `RolloutRunner`'s."""

    def __init__(self, config: RunnerOptions, *, shape_meta: Mapping[str, Any], output_dir: str | Path) -> None:
        super().__init__(
            config,
            title="Kestrel",
            make_environment=partial(KestrelEnvironment, shape_meta, config.reach),
            action_dim=shape_meta["action"]["shape"][0],
            output_dir=output_dir,
            once=keys_once_per_episode(shape_meta),
        )
        self.config = config

    def starts(self, split: Split, n_episodes: int) -> Sequence[Start]:
        """Return the same in every run, and others for testing than for training."""
        first = 0 if split == "train" else self.config.test_start_seed
        return [Start(split, first + index) for index in range(n_episodes)]


class KestrelEnvironment(Environment):
    """A point that has to get to the origin, and goes part of the way to where an action says. Put your robot here."""

    def __init__(self, shape_meta: Mapping[str, Any], reach: float) -> None:
        self._shape_meta = shape_meta
        self._reach = reach
        self._position: NDArray[np.float64] = np.zeros(shape_meta["action"]["shape"])

    def reset(self, start: Start) -> None:
        """Begin somewhere in [-1, 1]."""
        self._position = np.random.default_rng(start.seed).uniform(-1, 1, size=self._position.shape)

    def observe(self) -> dict[str, NDArray[Any]]:
        """Fill every observation, ``{key: (*shape)}``, with the position, images as shades of grey."""
        return {
            key: self._fill(tuple(spec["shape"]), spec.get("type")) for key, spec in self._shape_meta["obs"].items()
        }

    def step(self, action: NDArray[np.float64]) -> Step:
        """Move by ``action`` (Da,); the reward is 1 at the origin, and the episode is over close to it."""
        self._position += self._reach * (action - self._position)
        distance = float(np.linalg.norm(self._position))
        return Step(reward=1 / (1 + distance), is_over=distance < 0.05, is_success=distance < 0.05)

    def render(self) -> NDArray[np.uint8]:
        """Draw the point, black on white, uint8 (96, 96, 3)."""
        frame = np.full((96, 96, 3), 255, np.uint8)
        row, column = np.resize(48 + 40 * self._position.clip(-1, 1), 2).astype(int)
        frame[row - 2 : row + 3, column - 2 : column + 3] = 0
        return frame

    def _fill(self, shape: tuple[int, ...], kind: str | None) -> NDArray[Any]:
        if kind == "rgb":
            return np.resize(127.5 + 127.5 * self._position.clip(-1, 1), shape).astype(np.uint8)
        return np.resize(self._position, shape).astype(np.float32)
