"""Episodes of Push-T under a policy's chunks of actions: windows of observations out, actions in. No torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from dp_pusht.env import PushTEnv
from dp_pusht.observations import observe

Window = dict[str, NDArray[Any]]
"""``{key: (To, *shape)}``, oldest first."""


@attrs.frozen
class EpisodeOptions:
    """What all episodes of an evaluation have in common."""

    obs_keys: tuple[str, ...]
    n_obs_steps: int
    max_steps: int
    legacy: bool


@attrs.frozen
class Report:
    """Where an episode stands: what the policy sees next (None once it is over), steps done, best reward so far."""

    window: Window | None
    n_steps: int
    max_reward: float


@attrs.frozen
class Trajectory:
    """A whole episode: ``states`` (N + 1, 5), ``actions`` (N, 2), ``rewards`` (N,), and whether it reached the goal."""

    states: NDArray[np.float64]
    actions: NDArray[np.float64]
    rewards: NDArray[np.float64]
    is_success: bool


class Episode:
    """One episode, from the start that ``seed`` gives until success or the last step."""

    def __init__(self, seed: int, options: EpisodeOptions) -> None:
        # Only the states are asked for here: an image is drawn when it is part of a window, not at every step.
        self._env = PushTEnv(("state",), legacy=options.legacy)
        self._env.reset(seed=seed)
        self._options = options
        self._states = [self._env.state]
        self._actions: list[NDArray[np.float64]] = []
        self._rewards: list[float] = []
        self._is_success = False

    def execute(self, actions: NDArray[Any]) -> None:
        """Execute a chunk of actions (Ta, 2), up to the end of the episode."""
        for action in actions.astype(np.float64):
            if self._is_over:
                return
            _, reward, self._is_success, _, _ = self._env.step(action)
            self._states.append(self._env.state)
            self._actions.append(action)
            self._rewards.append(reward)

    def report(self) -> Report:
        """See `Report`."""
        return Report(
            window=None if self._is_over else self._window(),
            n_steps=len(self._actions),
            max_reward=max(self._rewards, default=0.0),
        )

    def trajectory(self) -> Trajectory:
        """What has happened so far."""
        return Trajectory(
            np.array(self._states), np.array(self._actions), np.array(self._rewards), is_success=self._is_success
        )

    @property
    def _is_over(self) -> bool:
        return self._is_success or len(self._actions) >= self._options.max_steps

    def _window(self) -> Window:
        """The last To observations; the first is repeated where there are fewer."""
        recent = self._states[-self._options.n_obs_steps :]
        padding = [recent[0]] * (self._options.n_obs_steps - len(recent))
        return observe(np.array(padding + recent), self._options.obs_keys)


class EpisodeGroup:
    """Several episodes, numbered in the order of their seeds."""

    def __init__(self, options: EpisodeOptions) -> None:
        self._options = options
        self._episodes: list[Episode] = []

    def start(self, seeds: Sequence[int]) -> list[Report]:
        """Drop what there was and start new episodes."""
        self._episodes = [Episode(seed, self._options) for seed in seeds]
        return [episode.report() for episode in self._episodes]

    def execute(self, actions: Mapping[int, NDArray[Any]]) -> dict[int, Report]:
        """Execute a chunk of actions (Ta, 2) in each of some episodes."""
        for index, chunk in actions.items():
            self._episodes[index].execute(chunk)
        return {index: self._episodes[index].report() for index in actions}

    def trajectories(self) -> list[Trajectory]:
        """Of all episodes."""
        return [episode.trajectory() for episode in self._episodes]

    def close(self) -> None:
        """Nothing to release."""
