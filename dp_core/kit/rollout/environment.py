"""`Environment`: one task in simulation, as a runner sees it. No torch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, Literal

import attrs
import numpy as np
from numpy.typing import NDArray

Split = Literal["train", "test"]
"""Whether an episode starts as a demonstration did, or as none did."""


@attrs.frozen
class Start:
    """Say how an episode begins. Travels to worker processes, so it has to be picklable."""

    split: Split
    seed: int
    """Names the episode in metrics, and decides, with its split and the runner's seed, what the policy draws in it."""
    state: Any = None
    """Whatever `Environment.reset` needs to know besides the seed."""
    video: Path | None = None
    """File to film the episode to; filled in by `RolloutRunner`."""


@attrs.frozen
class Step:
    """Report what one action led to."""

    reward: float
    """The reward of this control step, a finite number; `Environment.score` makes a score of all of an episode. In
    [0, 1], unless a task has a score of its own."""
    is_over: bool = False
    """Whether the task ends the episode here, be it by success or by failure."""
    is_success: bool | None = None
    """Whether the task is done; once is enough for the episode to count as a success. None in every step of every
    episode: the task has no notion of success, and no rate of it is reported, see `RolloutOptions.has_success`."""


class Environment(ABC):
    """Simulate one task, for one episode after the other. Made in the process that it lives in."""

    @abstractmethod
    def reset(self, start: Start) -> None:
        """Begin an episode, which must depend on ``start`` alone and not on the episodes before."""

    @abstractmethod
    def observe(self) -> dict[str, NDArray[Any]]:
        """Return the present observation, ``{key: (*shape)}``: images uint8 (C, H, W), everything else float32.

        For other modalities it is what they take, such as integer ids, and a string for text. Of keys that
        ``shape_meta`` marks with ``when: episode``, that after `reset` counts; later ones need not have them.

        Called only where a policy may get to see it, so this is the place to draw images.
        """

    @abstractmethod
    def step(self, action: NDArray[np.float64]) -> Step:
        """Execute one action (Da,), float64 in raw units, for one control step.

        Raises:
            DpError: what the user can do about it.
        """

    @abstractmethod
    def render(self) -> NDArray[np.uint8]:
        """Draw a frame for the video, RGB, uint8 (H, W, 3), with even H and W."""

    def score(self, rewards: NDArray[np.float64]) -> float:
        """Score an episode, in [0, 1], from its rewards so far (N,), N >= 0; here, by the best of them."""
        return float(rewards.max(initial=0.0))

    def measure(self) -> dict[str, float]:
        """Return further numbers about the episode that is just over; their mean over episodes is reported by name.

        The names are the same for every episode.
        """
        return {}

    def close(self) -> None:
        """Release what the environment holds."""
