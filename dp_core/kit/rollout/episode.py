"""Episodes under a policy's chunks of actions: windows of observations out, actions in. No torch."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from dp_core.border import say_when
from dp_core.kit.rollout.environment import Environment, Start
from dp_core.kit.rollout.video import VideoWriter

Window = dict[str, NDArray[Any]]
"""``{key: (To, *shape)}``, oldest first."""


@attrs.frozen
class EpisodeOptions:
    """Say what all episodes of an evaluation have in common. Sent to worker processes."""

    make_environment: Callable[[], Environment]
    """Picklable: a function at the top of a module, a `functools.partial` of one, or a class."""
    n_obs_steps: int
    """To, observations in a window."""
    max_steps: int
    """Control steps after which an episode ends at the latest."""
    fps: float
    """Frames per second of videos."""
    steps_per_frame: int = 1
    """Control steps from one frame of a video to the next."""
    once: tuple[str, ...] = ()
    """Observations with ``when: episode``: those of the first moment count for the whole episode."""


@attrs.frozen
class Outcome:
    """Sum up a whole episode."""

    score: float
    """The score of the whole episode, in [0, 1], see `Environment.score`."""
    is_success: bool | None
    """Whether the task was done at some step, see `Step.is_success`; None if no step said."""
    rewards: NDArray[np.float64]
    """The rewards of the N control steps, (N,), see `Step.reward`."""
    measures: dict[str, float]
    """Further numbers by name, see `Environment.measure`."""


@attrs.frozen
class Report:
    """Say where an episode stands."""

    window: Window | None
    """What the policy sees next; None once the episode is over."""
    n_steps: int
    """Control steps done."""
    score: float
    """The score of the steps done so far, in [0, 1], see `Environment.score`."""
    outcome: Outcome | None = None
    """How the episode ended; None until it is over."""


class Episode:
    """Run one episode in ``environment``, until the task ends it, or for ``max_steps``."""

    def __init__(self, environment: Environment, start: Start, options: EpisodeOptions) -> None:
        self.environment = environment
        self._start = start
        self._options = options
        self._rewards: list[float] = []
        self._is_success: bool | None = None
        self._is_ended = False
        environment.reset(start)
        first = environment.observe()
        self._once = {key: first[key] for key in options.once if key in first}
        self._recent = deque([first], maxlen=options.n_obs_steps)
        self._video = VideoWriter(start.video, options.fps) if start.video else None
        self._film()

    def execute(self, actions: NDArray[Any]) -> None:
        """Execute a chunk of actions (Ta, Da), up to the end of the episode."""
        for index, action in enumerate(actions.astype(np.float64), start=1):
            if self.is_over:
                break
            with _saying_when(f"in step {len(self._rewards) + 1} of {_named(self._start)}"):
                step = self.environment.step(action)
                self._rewards.append(step.reward)
                if step.is_success is not None:
                    self._is_success = bool(self._is_success or step.is_success)
                self._is_ended = step.is_over
                self._film()
                # Nobody gets to see what is followed by To more observations, or by the end.
                if not self.is_over and index > len(actions) - self._options.n_obs_steps:
                    self._recent.append(self.environment.observe())
        if self.is_over and self._video is not None:
            self._video.finish()
            self._video = None

    def report(self) -> Report:
        """Report where the episode stands."""
        return Report(
            window=None if self.is_over else self._window(),
            n_steps=len(self._rewards),
            score=self._score(),
            outcome=self.outcome() if self.is_over else None,
        )

    def outcome(self) -> Outcome:
        """Sum up what has happened so far."""
        return Outcome(self._score(), self._is_success, np.array(self._rewards), self.environment.measure())

    def abandon(self) -> None:
        """Leave nothing behind if the episode is not over."""
        if self._video is not None:
            self._video.discard()
            self._video = None

    @property
    def is_over(self) -> bool:
        """Tell whether there is nothing more to execute."""
        return self._is_ended or len(self._rewards) >= self._options.max_steps

    def _score(self) -> float:
        return self.environment.score(np.array(self._rewards))

    def _film(self) -> None:
        if self._video is not None and len(self._rewards) % self._options.steps_per_frame == 0:
            self._video.append(self.environment.render())

    def _window(self) -> Window:
        """Stack the last To observations; the first is repeated where there are fewer."""
        padding = [self._recent[0]] * (self._options.n_obs_steps - len(self._recent))
        steps = [{**step, **self._once} for step in (*padding, *self._recent)]
        return {key: np.stack([_array(step[key]) for step in steps]) for key in steps[0]}


def _array(value: Any) -> NDArray[Any]:
    """Return an observation as it is; a string in an array that texts of any length can be stacked with."""
    return np.array(value, dtype=object) if isinstance(value, str) else value  # type: ignore[no-any-return]


@contextmanager
def _saying_when(when: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        say_when(error, when)
        raise


def _named(start: Start) -> str:
    return f"the {start.split} episode with seed {start.seed}"


class EpisodeGroup:
    """Run several episodes at a time, each under a number of the caller's choice.

    Environments are made where there is none that is idle, and used again by later episodes.
    """

    def __init__(self, options: EpisodeOptions) -> None:
        self._options = options
        self._environments: list[Environment] = []
        self._idle: deque[Environment] = deque()
        self._running: dict[int, Episode] = {}

    def start(self, starts: Mapping[int, Start]) -> dict[int, Report]:
        """Start some episodes beside those that are running."""
        for number, start in starts.items():
            with _saying_when(f"at the start of {_named(start)}"):
                if not self._idle:
                    self._environments.append(self._options.make_environment())
                    self._idle.append(self._environments[-1])
                self._running[number] = Episode(self._idle.popleft(), start, self._options)
        return {number: self._running[number].report() for number in starts}

    def execute(self, actions: Mapping[int, NDArray[Any]]) -> dict[int, Report]:
        """Execute a chunk of actions (Ta, Da) in each of some episodes; drop those that are over by then."""
        reports = {}
        for number, chunk in actions.items():
            episode = self._running[number]
            episode.execute(chunk)
            reports[number] = episode.report()
            if episode.is_over:
                self._idle.append(self._running.pop(number).environment)
        return reports

    def close(self) -> None:
        """Abandon what is running, and release the environments."""
        for episode in self._running.values():
            episode.abandon()
        for environment in self._environments:
            environment.close()
        self._running, self._environments, self._idle = {}, [], deque()
