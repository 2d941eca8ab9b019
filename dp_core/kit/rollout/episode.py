"""Episodes under a policy's chunks of actions: windows of observations out, actions in. No torch."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from dp_core.kit.rollout.environment import Environment, Start
from dp_core.kit.rollout.video import VideoWriter

Window = dict[str, NDArray[Any]]
"""``{key: (To, *shape)}``, oldest first."""


@attrs.frozen
class EpisodeOptions:
    """What all episodes of an evaluation have in common. Sent to worker processes."""

    make_environment: Callable[[], Environment]
    """Picklable: a function at the top of a module, a `functools.partial` of one, or a class."""
    n_obs_steps: int
    max_steps: int
    fps: float
    """Frames per second of videos."""
    steps_per_frame: int = 1
    """Control steps from one frame of a video to the next."""


@attrs.frozen
class Report:
    """Where an episode stands: what the policy sees next (None once it is over), steps done, score so far."""

    window: Window | None
    n_steps: int
    score: float


@attrs.frozen
class Outcome:
    """A whole episode: its score, whether it succeeded, rewards (N,), and what `Environment.measure` gave."""

    score: float
    is_success: bool
    rewards: NDArray[np.float64]
    measures: dict[str, float]


class Episode:
    """One episode in ``environment``, until the task ends it, or for ``max_steps``."""

    def __init__(self, environment: Environment, start: Start, options: EpisodeOptions) -> None:
        self._environment = environment
        self._options = options
        self._rewards: list[float] = []
        self._is_success = False
        self._is_ended = False
        environment.reset(start)
        self._recent = deque([environment.observe()], maxlen=options.n_obs_steps)
        self._video = VideoWriter(start.video, options.fps) if start.video else None
        self._film()

    def execute(self, actions: NDArray[Any]) -> None:
        """Execute a chunk of actions (Ta, Da), up to the end of the episode."""
        for index, action in enumerate(actions.astype(np.float64), start=1):
            if self.is_over:
                break
            step = self._environment.step(action)
            self._rewards.append(step.reward)
            self._is_success |= step.is_success
            self._is_ended = step.is_over
            self._film()
            # Nobody gets to see what is followed by To more observations, or by the end.
            if not self.is_over and index > len(actions) - self._options.n_obs_steps:
                self._recent.append(self._environment.observe())
        if self.is_over and self._video is not None:
            self._video.finish()
            self._video = None

    def report(self) -> Report:
        """See `Report`."""
        return Report(window=None if self.is_over else self._window(), n_steps=len(self._rewards), score=self._score())

    def outcome(self) -> Outcome:
        """What has happened so far."""
        return Outcome(self._score(), self._is_success, np.array(self._rewards), self._environment.measure())

    def abandon(self) -> None:
        """Leave nothing behind if the episode is not over."""
        if self._video is not None:
            self._video.discard()
            self._video = None

    @property
    def is_over(self) -> bool:
        """Whether there is nothing more to execute."""
        return self._is_ended or len(self._rewards) >= self._options.max_steps

    def _score(self) -> float:
        return self._environment.score(np.array(self._rewards))

    def _film(self) -> None:
        if self._video is not None and len(self._rewards) % self._options.steps_per_frame == 0:
            self._video.append(self._environment.render())

    def _window(self) -> Window:
        """The last To observations; the first is repeated where there are fewer."""
        padding = [self._recent[0]] * (self._options.n_obs_steps - len(self._recent))
        steps = [*padding, *self._recent]
        return {key: np.stack([step[key] for step in steps]) for key in steps[0]}


class EpisodeGroup:
    """Several episodes, numbered in the order of their starts. Environments are used again by later ones."""

    def __init__(self, options: EpisodeOptions) -> None:
        self._options = options
        self._environments: list[Environment] = []
        self._episodes: list[Episode] = []

    def start(self, starts: Sequence[Start]) -> list[Report]:
        """Drop what there was and start new episodes."""
        self._abandon()
        while len(self._environments) < len(starts):
            self._environments.append(self._options.make_environment())
        for environment, start in zip(self._environments, starts, strict=False):
            self._episodes.append(Episode(environment, start, self._options))
        return [episode.report() for episode in self._episodes]

    def execute(self, actions: Mapping[int, NDArray[Any]]) -> dict[int, Report]:
        """Execute a chunk of actions (Ta, Da) in each of some episodes."""
        for index, chunk in actions.items():
            self._episodes[index].execute(chunk)
        return {index: self._episodes[index].report() for index in actions}

    def outcomes(self) -> list[Outcome]:
        """Of all episodes."""
        return [episode.outcome() for episode in self._episodes]

    def close(self) -> None:
        """Release the environments."""
        self._abandon()
        for environment in self._environments:
            environment.close()
        self._environments = []

    def _abandon(self) -> None:
        for episode in self._episodes:
            episode.abandon()
        self._episodes = []
