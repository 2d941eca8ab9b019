"""`RobosuiteEnvironment`: a task of robosuite as the runner uses it. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from dp_core.errors import DataError
from dp_core.kit.rollout.environment import Environment, Start, Step
from dp_robomimic.rotations import actions_to_simulation
from dp_robomimic.shapes import JOINED, RotationRep
from dp_robomimic.simulation import Simulation

_IMAGE_SUFFIX = "_image"
_OBJECT_KEYS = {"object": "object-state"}
"""Names that robomimic's files have for observations of robosuite."""


@attrs.frozen
class Setup:
    """The options of what to simulate, observe and film."""

    env_args: dict[str, Any]
    """The description of the environment in the file of demonstrations; see `DemonstrationFile.env_args`."""
    image_shapes: dict[str, tuple[int, ...]]
    """The shape (C, H, W) of each image, by key."""
    low_dim_keys: tuple[str, ...]
    is_joined: bool
    """Whether low-dimensional observations form one vector."""
    abs_action: bool
    rotation_rep: RotationRep
    render_key: str
    render_hw: tuple[int, int]
    is_filmed: bool
    """Whether some episode is filmed; without films and images no graphics library is needed."""


class RobosuiteEnvironment(Environment):
    """Episodes start from a state of a demonstration or from a seed, which means what it means in the original.

    An episode ends with success; the original continues until the last step, which changes nothing about the score.
    """

    def __init__(self, setup: Setup) -> None:
        self._setup = setup
        draws = setup.is_filmed or bool(setup.image_shapes)
        self._simulation = Simulation(setup.env_args, abs_action=setup.abs_action, draws=draws)

    def reset(self, start: Start) -> None:
        """Begin in ``start.state`` (N,), as a demonstration records it, or where the seed says.

        Raises:
            DataError: that is not a state of this task.
        """
        self._simulation.reset(start.seed)
        if start.state is None:
            return
        try:
            self._simulation.set_state(start.state)
        except (ValueError, AssertionError) as error:
            raise DataError(
                f"the start of demonstration {start.seed} has {len(start.state)} numbers, which are not a state of "
                f"{self._simulation.name} in the installed robosuite ({error})"
            ) from error

    def observe(self) -> dict[str, NDArray[Any]]:
        """Return low-dimensional observations (D,), float32, and images (C, H, W), uint8."""
        setup = self._setup
        observed = self._simulation.observe()
        low_dim = {key: _low_dim(observed, key) for key in setup.low_dim_keys}
        if setup.is_joined:
            low_dim = {JOINED: np.concatenate(list(low_dim.values()))}
        images = {
            key: self._draw(key, shape[1], shape[2]).transpose(2, 0, 1) for key, shape in setup.image_shapes.items()
        }
        return {**low_dim, **images}

    def step(self, action: NDArray[np.float64]) -> Step:
        """Execute an action: changes (7 per arm), or poses (7 or 10 per arm), rotations as ``rotation_rep`` says."""
        if self._setup.abs_action:
            action = actions_to_simulation(action, self._setup.rotation_rep)
        reward = self._simulation.step(action)
        is_success = self._simulation.is_solved()
        return Step(reward, is_over=is_success, is_success=is_success)

    def render(self) -> NDArray[np.uint8]:
        """Draw what the camera of the films sees: RGB (H, W, 3)."""
        return self._draw(self._setup.render_key, *self._setup.render_hw)

    def close(self) -> None:
        """Free the simulation."""
        self._simulation.close()

    def _draw(self, key: str, height: int, width: int) -> NDArray[np.uint8]:
        return self._simulation.render(key.removesuffix(_IMAGE_SUFFIX), height, width)


def _low_dim(observed: Mapping[str, Any], key: str) -> NDArray[np.float32]:
    name = _OBJECT_KEYS.get(key, key)
    if name not in observed:
        raise DataError(f"the environment does not give the observation '{key}'; it gives {sorted(observed)}")
    return np.asarray(observed[name], np.float32).reshape(-1)
