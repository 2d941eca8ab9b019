"""`PushTEnvironment`: Push-T as the runner uses it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dp_core.kit.rollout.environment import Environment, Start, Step
from dp_pusht.gym_env import PushTEnv
from dp_pusht.observations import observe

_FRAME_SIZE = 256


class PushTEnvironment(Environment):
    """The task as the paper evaluates it: episodes start from their seed and end with success.

    Args:
        legacy: see `PushTEnv`.
    """

    def __init__(self, obs_keys: tuple[str, ...], *, legacy: bool) -> None:
        # Only the states are asked for here: an image is drawn when it is part of a window, not at every step.
        self._env = PushTEnv(("state",), legacy=legacy, render_size=_FRAME_SIZE)
        self._obs_keys = obs_keys

    def reset(self, start: Start) -> None:
        """Begin where the seed says, or in ``start.state``; see `PushTEnv.reset`."""
        self._env.reset(seed=start.seed, options=start.state)

    def observe(self) -> dict[str, NDArray[Any]]:
        """Return the observations that were asked for; see `dp_pusht.observations.observe` for shapes and types."""
        return {key: values[0] for key, values in observe(self._env.state[None], self._obs_keys).items()}

    def step(self, action: NDArray[np.float64]) -> Step:
        """Let the agent head for ``action`` (2,): x, y, in pixels, for 0.1 s."""
        _, reward, is_success, _, _ = self._env.step(action)
        return Step(reward, is_over=is_success, is_success=is_success)

    def render(self) -> NDArray[np.uint8]:
        """Draw the table, with a cross where the last action sends the agent: RGB, uint8 (256, 256, 3)."""
        return self._env.render()
