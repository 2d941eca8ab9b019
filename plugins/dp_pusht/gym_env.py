"""`PushTEnv`: Push-T as a gymnasium environment, step for step that of the paper's evaluation.

Gymnasium knows it as ``dp_pusht/PushT-v0`` once this module is imported, which a name in front of a colon asks for:

    import gymnasium

    env = gymnasium.make("dp_pusht.gym_env:dp_pusht/PushT-v0", obs_keys=["state"], legacy=True)
    observation, info = env.reset(seed=100_000)  # {"state": (5,)}: where the first test episode starts
    observation, reward, terminated, truncated, info = env.step([256, 300])  # the agent heads for x, y, in pixels
    image = env.render()  # RGB (256, 256, 3)

So made, an episode is truncated after 300 steps, as the paper's. Needs `pip install 'dp-core[pusht]'`; loads no torch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from dp_pusht.geometry import SUCCESS_COVERAGE, TABLE_SIZE, Vector, coverage, sample_start_state
from dp_pusht.observations import observe, require_known
from dp_pusht.render import render_frame
from dp_pusht.shapes import OBSERVATIONS
from dp_pusht.simulation import CONTROL_HZ, Simulation

_LARGEST_SEED = 2**32
_EPISODE_STEPS = 300


class PushTEnv(gymnasium.Env[dict[str, NDArray[Any]], NDArray[Any]]):
    """Push the T onto its mark with a round agent, by telling the agent where to go, ten times a second.

    An action is the agent's target (x, y) in pixels. The reward is the share of the goal that is covered, relative to
    the 95 % at which an episode terminates. Only `gymnasium.make` truncates episodes. ``info`` has ``coverage`` in
    [0, 1], ``is_success``, ``agent_velocity`` (2,) in pixels per second, and ``n_contacts``, see `Simulation`.

    Args:
        obs_keys: what to observe, from the keys of `dp_pusht.shapes.OBSERVATIONS`.
        legacy: start as the published evaluation and demonstrations do: a seed's angle turns the block about its
            centre of mass after it was placed, and so moves it.
        render_mode: ``rgb_array`` is the only one; without any, `render` draws all the same.
        render_size: side of the frames of `render`, in pixels.

    Raises:
        InputError: an observation is unknown.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": CONTROL_HZ}  # noqa: RUF012 -- gymnasium's interface

    def __init__(
        self,
        obs_keys: Sequence[str] = ("image", "agent_pos"),
        *,
        legacy: bool = False,
        render_mode: str | None = "rgb_array",
        render_size: int = 256,
    ) -> None:
        require_known(obs_keys)
        self.obs_keys = tuple(obs_keys)
        self.legacy = legacy
        self.render_mode = render_mode
        self.render_size = render_size
        self.action_space = gymnasium.spaces.Box(0.0, TABLE_SIZE, (2,), np.float32)
        spaces = {key: _space(key) for key in self.obs_keys}
        self.observation_space: gymnasium.Space[Any] = gymnasium.spaces.Dict(spaces)
        self._simulation = Simulation(count_contacts=True)
        self._action: tuple[float, float] | None = None
        self._covered_at: tuple[tuple[float, float, float], float] | None = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """Start an episode.

        Args:
            seed: chooses the start, the same as in the published evaluation; None for any.
            options: ``{"state": (5,)}`` starts from there instead; to continue a recorded state, ``legacy`` must be
                false, or the block is moved as it is for seeds.
        """
        super().reset(seed=seed)
        state = (options or {}).get("state")
        if state is None:
            state = sample_start_state(int(self.np_random.integers(_LARGEST_SEED)) if seed is None else seed)
        self._simulation = Simulation(count_contacts=True)
        self._simulation.set_state(state, position_first=self.legacy)
        self._simulation.settle()
        self._action = None
        return self._observe(), self._info()

    def step(self, action: Vector) -> tuple[dict[str, NDArray[Any]], float, bool, bool, dict[str, Any]]:
        """Let the agent head for ``action`` (2,): x, y, in pixels in [0, 512], for a tenth of a second."""
        self._simulation.step(action)
        self._action = (float(action[0]), float(action[1]))
        info = self._info()
        reward = min(info["coverage"] / SUCCESS_COVERAGE, 1.0)
        return self._observe(), reward, info["is_success"], False, info

    def render(self) -> NDArray[np.uint8]:
        """Draw the table, with a cross at the last action: RGB, uint8 (render_size, render_size, 3)."""
        return render_frame(self.state, self._action, self.render_size)

    @property
    def state(self) -> NDArray[np.float64]:
        """The state (5,): agent x, y, block x, y, in pixels, and the block's angle in [0, 2 pi)."""
        x, y, angle = self._simulation.block_pose
        return np.array([*self._simulation.agent_position, x, y, angle % (2 * math.pi)])

    def _observe(self) -> dict[str, NDArray[Any]]:
        return {key: value[0] for key, value in observe(self.state[None], self.obs_keys).items()}

    def _coverage(self) -> float:
        # The dearest part of a step, and most of the time the block does not move.
        pose = self._simulation.block_pose
        if self._covered_at is None or self._covered_at[0] != pose:
            self._covered_at = pose, coverage(pose)
        return self._covered_at[1]

    def _info(self) -> dict[str, Any]:
        covered = self._coverage()
        return {
            "coverage": covered,
            "is_success": covered > SUCCESS_COVERAGE,
            "agent_velocity": np.array(self._simulation.agent_velocity),
            "n_contacts": self._simulation.n_contacts,
        }


def _space(key: str) -> gymnasium.Space[Any]:
    if key == "image":
        return gymnasium.spaces.Box(0, 255, tuple(OBSERVATIONS[key]["shape"]), np.uint8)
    return gymnasium.spaces.Box(-np.inf, np.inf, tuple(OBSERVATIONS[key]["shape"]), np.float32)


# By name, so that a registered environment can be written down and made in other processes.
gymnasium.register("dp_pusht/PushT-v0", entry_point=f"{__name__}:PushTEnv", max_episode_steps=_EPISODE_STEPS)
