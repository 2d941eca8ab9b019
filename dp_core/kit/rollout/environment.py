"""`Environment`: one task in simulation, as a runner sees it. No torch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, Literal

import attrs
import numpy as np
from numpy.typing import NDArray

Split = Literal["train", "test"]


@attrs.frozen
class Start:
    """How an episode begins. Travels to worker processes, so it has to be picklable."""

    split: Split
    seed: int
    """Names the episode in metrics."""
    state: Any = None
    """Whatever `Environment.reset` needs to know besides the seed."""
    video: Path | None = None
    """File to film the episode to; filled in by `RolloutRunner`."""


@attrs.frozen
class Step:
    """What an action led to."""

    reward: float
    is_over: bool = False
    """The task ends the episode here."""
    is_success: bool = False


class Environment(ABC):
    """One environment, reset for one episode after the other. Made in the process that it lives in."""

    @abstractmethod
    def reset(self, start: Start) -> None:
        """Begin an episode."""

    @abstractmethod
    def observe(self) -> dict[str, NDArray[Any]]:
        """The present observation, ``{key: (*shape)}``: images uint8 (C, H, W), everything else float32.

        Called only where a policy may get to see it, so this is the place to draw images.
        """

    @abstractmethod
    def step(self, action: NDArray[np.float64]) -> Step:
        """Execute one action (Da,) for one control step.

        Raises:
            DpError: what the user can do about it.
        """

    @abstractmethod
    def render(self) -> NDArray[np.uint8]:
        """A frame for the video, RGB (H, W, 3) with even H and W."""

    def score(self, rewards: NDArray[np.float64]) -> float:
        """Of an episode, from the rewards so far (N,), N >= 0; in [0, 1]. Here: the best of them."""
        return float(rewards.max(initial=0.0))

    def measure(self) -> dict[str, float]:
        """Further numbers about the episode that just went, whose mean over episodes is reported by their name.

        The same names for every episode.
        """
        return {}

    def close(self) -> None:
        """Release what the environment holds."""
